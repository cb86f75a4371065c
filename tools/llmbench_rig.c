/* SPDX-License-Identifier: MIT */
/*
 * llmbench: runs sequences the way llmd does, without doors: plan, step, sample, advance, append.
 * What is drawn is replaced by a random id, so that no text ends early and the work is the same
 * each time.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/gguf.h"
#include "daemon/kvcache.h"
#include "daemon/model.h"
#include "daemon/sched.h"
#include "tools/llmbench.h"

struct rig {
	struct rig_args args;
	struct gguf *gguf;
	struct model *model;
	struct engine *engine;
	struct engine_info info;
	struct kvcache *kv;
	struct sched *sched;
	uint32_t tenant;
	struct sched_seq *seqs;	      /* [max_seqs] */
	struct engine_seq *step_seqs; /* [max_seqs] */
	uint64_t random, n_added;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Any id but the first and last hundred, where control tokens live. */
static uint32_t random_id(struct rig *r)
{
	const uint32_t n = r->info.n_vocab, margin = n > 400 ? 100 : 0;

	r->random = r->random * 6364136223846793005u + 1442695040888963407u;
	return margin + (uint32_t)((r->random >> 33) % (n - 2 * margin));
}

static int open_engine(struct rig *r, struct error *err)
{
	const struct rig_args *a = &r->args;
	const struct engine_args args = {
		.model = r->model, .n_threads = a->n_threads, .is_pinned = true,
		.kernels = a->kernels, .max_step_tokens = a->step_tokens, .max_seqs = a->max_seqs,
	};
	uint32_t n_pages[ENGINE_MAX_KV_GROUPS];
	int rc = engine_cpu.open(&args, &r->engine, err);

	if (rc)
		return rc;
	engine_cpu.info(r->engine, &r->info);
	/* The last token drawn is not computed any more. */
	if (a->seq_tokens - 1 > r->info.n_context)
		return error_set(err, -EINVAL, "sequences of %u tokens, the model's context is %u",
				 a->seq_tokens - 1, r->info.n_context);
	/* Each sequence's last page may be in part. */
	for (uint32_t g = 0; g < r->info.n_kv_groups; g++)
		n_pages[g] = kvcache_pages_for(a->total_tokens) + a->max_seqs;
	rc = engine_cpu.kv_create(r->engine, n_pages, err);
	if (!rc && kvcache_create(r->info.n_kv_groups, n_pages, &r->kv))
		rc = error_set(err, -ENOMEM, "no memory for the page tables");
	return rc;
}

static int open_sched(struct rig *r, struct error *err)
{
	const struct sched_config cfg = {
		.step_tokens = r->args.step_tokens, .max_seqs = r->args.max_seqs,
		.w_prompt = 1, .w_output = 2,
	};
	const uint8_t secret[32] = { 0 };
	int rc = sched_create(&cfg, r->kv, NULL, &r->sched);

	if (!rc)
		rc = sched_tenant(r->sched, 1, secret);
	if (rc < 0)
		return error_set(err, rc, "the scheduler cannot be made");
	r->tenant = (uint32_t)rc;
	return 0;
}

static int open_seqs(struct rig *r, struct error *err)
{
	const uint32_t n = r->args.max_seqs;

	r->seqs = calloc(n, sizeof(*r->seqs));
	r->step_seqs = calloc(n, sizeof(*r->step_seqs));
	for (uint32_t i = 0; r->seqs && i < n; i++) {
		r->seqs[i].ids = calloc(r->args.seq_tokens, sizeof(uint32_t));
		if (!r->seqs[i].ids)
			return error_set(err, -ENOMEM, "no memory for %u sequences", n);
	}
	if (!r->seqs || !r->step_seqs)
		return error_set(err, -ENOMEM, "no memory for %u sequences", n);
	return 0;
}

int rig_open(const struct rig_args *args, struct rig **out, struct error *err)
{
	struct rig *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return error_set(err, -ENOMEM, "out of memory");
	r->args = *args;
	r->random = 1;
	rc = gguf_open(args->model_path, &r->gguf, err);
	if (!rc)
		rc = model_load(r->gguf, &r->model, err);
	if (!rc)
		rc = open_engine(r, err);
	if (!rc)
		rc = open_sched(r, err);
	if (!rc)
		rc = open_seqs(r, err);
	if (rc) {
		rig_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

void rig_close(struct rig *r)
{
	for (uint32_t i = 0; r->seqs && i < r->args.max_seqs; i++)
		free(r->seqs[i].ids);
	free(r->seqs);
	free(r->step_seqs);
	if (r->sched)
		sched_destroy(r->sched);
	if (r->kv)
		kvcache_destroy(r->kv);
	if (r->engine)
		engine_cpu.close(r->engine);
	model_free(r->model);
	gguf_close(r->gguf);
	free(r);
}

void rig_info(const struct rig *r, struct engine_info *out)
{
	*out = r->info;
}

const char *rig_model_name(const struct rig *r)
{
	return r->model->name;
}

/* One turn of the heart, but for doors: 0 or -errno; -ENODATA when nothing could run. */
static int turn(struct rig *r)
{
	static const struct sampler_params greedy = { .top_p = 1 };
	struct engine_batch batch = { .seqs = r->step_seqs };
	struct plan plan;
	int rc;

	sched_plan(r->sched, r->args.step_tokens, &plan);
	if (!plan.n_rows)
		return -ENODATA;
	for (uint32_t i = 0; i < plan.n_rows; i++) {
		const struct plan_row *row = &plan.rows[i];
		struct engine_seq *s = &r->step_seqs[i];

		*s = (struct engine_seq){
			.ids = row->seq->ids + row->pos0, .n_tokens = row->n_tokens,
			.pos0 = row->pos0, .n_logit_rows = row->needs_logits, .params = &greedy,
			.token_index = row->seq->n_ids - row->seq->n_prompt,
		};
		for (uint32_t g = 0; g < r->info.n_kv_groups; g++)
			s->pages[g] = row->seq->table.pages[g];
	}
	batch.n_seqs = plan.n_rows;
	batch.n_tokens = plan.n_tokens;
	rc = engine_cpu.submit(r->engine, &batch);
	while (!rc)
		rc = engine_cpu.poll(r->engine, true);
	if (rc < 0)
		return rc;
	engine_cpu.sample(r->engine, &batch);
	sched_advance(r->sched, &plan);
	for (uint32_t i = 0; i < plan.n_rows; i++)
		if (plan.rows[i].needs_logits)
			sched_append(r->sched, plan.rows[i].seq, random_id(r));
	return 0;
}

static int add_all(struct rig *r, const struct rig_run *run)
{
	for (uint32_t i = 0; i < run->n_seqs; i++) {
		struct sched_seq *q = &r->seqs[i];
		uint32_t *ids = q->ids;
		int rc;

		*q = (struct sched_seq){
			.arrival = r->n_added++, .tenant = r->tenant, .ids = ids,
			.n_prompt = run->n_prompt, .max_tokens = run->n_decode + 1,
			.has_credit = true,
		};
		for (uint32_t k = 0; k < run->n_prompt; k++)
			ids[k] = random_id(r);
		rc = sched_add(r->sched, q, NULL);
		if (rc)
			return rc;
	}
	return 0;
}

/* Steps until every prompt is in the cache; who is done waits without credit. */
static int run_prompts(struct rig *r, const struct rig_run *run)
{
	for (uint32_t n_done = 0; n_done < run->n_seqs;) {
		int rc = turn(r);

		if (rc)
			return rc;
		for (uint32_t i = 0; i < run->n_seqs; i++) {
			struct sched_seq *q = &r->seqs[i];

			if (q->n_ids > q->n_prompt && q->has_credit) {
				sched_credit(r->sched, q, false);
				n_done++;
			}
		}
	}
	for (uint32_t i = 0; i < run->n_seqs; i++)
		sched_credit(r->sched, &r->seqs[i], true);
	return 0;
}

int64_t rig_measure(struct rig *r, const struct rig_run *run)
{
	int64_t start, end = 0;
	int rc = add_all(r, run);

	start = now_ns();
	if (!rc)
		rc = run_prompts(r, run);
	if (!run->is_prompt_timed)
		start = now_ns();
	for (uint32_t i = 0; !rc && i < run->n_decode; i++)
		rc = turn(r);
	end = now_ns();
	for (uint32_t i = 0; i < run->n_seqs; i++)
		if (r->seqs[i].state != SCHED_NONE)
			sched_remove(r->sched, &r->seqs[i]);
	return rc ? rc : end - start;
}
