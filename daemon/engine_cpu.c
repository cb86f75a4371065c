/* SPDX-License-Identifier: MIT */
/*
 * engine_cpu: steps on the CPU, a team of threads through `forward()`.
 *
 * The caller is worker 0, so a step is done when submit() returns; depth is 1. Owns the team, the
 * packed weights, the workspace and the KV pools; everything is allocated by open() and
 * kv_create(), and a step allocates nothing.
 *
 *	open: team -> kernels -> weights -> workspace      kv_create: pools -> RoPE tables
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/engine.h"
#include "daemon/forward.h"

enum step_state { STEP_NONE, STEP_DONE };

struct cpu {
	struct engine base;
	const struct model *model;
	const struct kernel_ops *ops;
	struct team *team;
	struct weights weights;
	struct workspace work;
	struct arena pool;   /* all KV groups */
	uint32_t n_pages[ENGINE_MAX_KV_GROUPS];
	uint32_t n_positions; /* that context, pool and RoPE tables allow; 0 before kv_create() */
	struct forward forward;
	enum step_state step;
};

/* A sample() under way. */
struct sampling {
	const struct cpu *c;
	struct engine_batch *batch;
};

static struct cpu *cpu_of(struct engine *e)
{
	return (struct cpu *)e;
}

static void cpu_close(struct engine *e)
{
	struct cpu *c = cpu_of(e);

	for (uint32_t i = 0; i < c->model->n_ropes; i++)
		rope_destroy(&c->forward.ropes[i]);
	arena_unmap(&c->pool);
	workspace_destroy(&c->work);
	weights_destroy(&c->weights);
	team_destroy(c->team);
	free(c);
}

static int open_parts(struct cpu *c, const struct engine_args *a, struct error *err)
{
	struct workspace_limits limits = {
		.n_tokens = a->max_step_tokens, .n_seqs = a->max_seqs,
		.n_logit_rows = a->max_logit_rows ? a->max_logit_rows : a->max_seqs,
	};
	struct weights_args weights = { .model = c->model, .ops = c->ops, .is_f32 = a->is_f32 };
	int rc;

	rc = team_create(a->n_threads, a->is_pinned, &c->team, err);
	if (rc)
		return rc;
	limits.n_workers = team_size(c->team);
	weights.team = c->team;
	rc = weights_create(&weights, &c->weights, err);
	if (rc)
		return rc;
	return workspace_create(c->model, &limits, &c->work, err);
}

static int cpu_open(const struct engine_args *a, struct engine **out, struct error *err)
{
	const struct kernel_ops *ops = kernels_find(a->kernels);
	struct cpu *c;
	int rc;

	if (!ops)
		return error_set(err, -ENOTSUP, "kernels %s: unknown, or this CPU cannot run them; "
				 "known: auto, avx2, ref", a->kernels ? a->kernels : "auto");
	if (!a->model || !a->max_step_tokens || !a->max_seqs)
		return error_set(err, -EINVAL, "the cpu engine needs a model and room; it has "
				 "%s model, %u tokens, %u sequences", a->model ? "a" : "no",
				 a->max_step_tokens, a->max_seqs);
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_set(err, -ENOMEM, "no memory for the engine");
	c->base.ops = &engine_cpu;
	c->model = a->model;
	c->ops = ops;
	rc = open_parts(c, a, err);
	if (rc) {
		cpu_close(&c->base);
		return rc;
	}
	c->forward.model = c->model;
	c->forward.weights = &c->weights;
	c->forward.ops = ops;
	c->forward.team = c->team;
	c->forward.work = &c->work;
	*out = &c->base;
	return 0;
}

static void cpu_info(const struct engine *e, struct engine_info *out)
{
	const struct cpu *c = (const struct cpu *)e;
	const struct model *m = c->model;
	const int n = team_size(c->team);

	*out = (struct engine_info){
		.n_vocab = m->n_vocab, .n_context = m->n_context, .depth = 1,
		.n_kv_groups = m->n_kv_groups, .weights_bytes = c->weights.arena.taken_bytes,
		.workspace_bytes = c->work.arena.taken_bytes,
		.token_bytes = c->weights.token_bytes,
	};
	for (uint32_t g = 0; g < m->n_kv_groups; g++)
		out->kv_groups[g] = m->kv_groups[g];
	snprintf(out->name, sizeof(out->name), "cpu %s, %d thread%s%s", c->ops->name, n,
		 n == 1 ? "" : "s", team_is_pinned(c->team) ? " pinned" : "");
}

/* ---- the KV pool ----------------------------------------------------------------------------- */

/* Where each group's pages lie; every layer of a group has the same heads. */
static void lay_out_pool(struct cpu *c)
{
	const struct model *m = c->model;

	for (uint32_t i = m->n_layers; i-- > 0;) {
		const struct model_layer *d = &m->layers[i];

		c->forward.kv[d->kv_group] = (struct kernel_kv){
			.page_bytes = m->kv_groups[d->kv_group].page_bytes,
			.head_bytes = (size_t)2 * KERNEL_PAGE_TOKENS * d->head_dim *
				      sizeof(uint16_t),
			.n_kv_heads = d->n_kv_heads, .head_dim = d->head_dim,
		};
	}
	for (uint32_t g = 0; g < m->n_kv_groups; g++)
		c->forward.kv[g].base =
			arena_take(&c->pool, c->n_pages[g], m->kv_groups[g].page_bytes);
}

static int cpu_kv_create(struct engine *e, const uint32_t *n_pages, struct error *err)
{
	struct cpu *c = cpu_of(e);
	const struct model *m = c->model;
	uint64_t n_positions = m->n_context;
	int rc = 0;

	for (uint32_t g = 0; g < m->n_kv_groups; g++) {
		const uint64_t n = (uint64_t)n_pages[g] * ENGINE_PAGE_TOKENS;

		if (!n)
			return error_set(err, -EINVAL, "KV group %u: 0 pages, 1 needed", g);
		c->n_pages[g] = n_pages[g];
		n_positions = n < n_positions ? n : n_positions;
	}
	lay_out_pool(c);
	rc = arena_map(&c->pool, "KV pool", err);
	if (rc)
		return rc;
	lay_out_pool(c);
	for (uint32_t i = 0; !rc && i < m->n_ropes; i++)
		rc = rope_create(&m->ropes[i], (uint32_t)n_positions, &c->forward.ropes[i], err);
	if (!rc)
		c->n_positions = (uint32_t)n_positions;
	return rc;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Everything that kernels index with; they check nothing themselves. */
static bool is_valid_seq(const struct cpu *c, const struct engine_seq *s)
{
	uint32_t n_pages;

	if (!s->n_tokens || s->n_logit_rows > s->n_tokens || s->n_tokens > c->n_positions ||
	    s->pos0 > c->n_positions - s->n_tokens)
		return false;
	for (uint32_t i = 0; i < s->n_tokens; i++)
		if (s->ids[i] >= c->model->n_vocab)
			return false;
	n_pages = (s->pos0 + s->n_tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
	for (uint32_t g = 0; g < c->model->n_kv_groups; g++)
		for (uint32_t i = 0; i < n_pages; i++)
			if (s->pages[g][i] >= c->n_pages[g])
				return false;
	return true;
}

static bool is_valid(const struct cpu *c, const struct engine_batch *b)
{
	const struct workspace_limits *limits = &c->work.limits;
	uint64_t n_tokens = 0, n_logit_rows = 0;

	if (!b->n_seqs || b->n_seqs > limits->n_seqs)
		return false;
	for (uint32_t i = 0; i < b->n_seqs; i++) {
		if (!is_valid_seq(c, &b->seqs[i]))
			return false;
		n_tokens += b->seqs[i].n_tokens;
		n_logit_rows += b->seqs[i].n_logit_rows;
	}
	return n_tokens == b->n_tokens && n_tokens <= limits->n_tokens &&
	       n_logit_rows <= limits->n_logit_rows;
}

/* Rows of the batch, sequence after sequence, and of those with logits once more, packed. */
static void lay_out_step(struct cpu *c, const struct engine_batch *b)
{
	const uint32_t n_groups = c->model->n_kv_groups;
	struct workspace *w = &c->work;
	struct forward *f = &c->forward;
	uint32_t row = 0, n_tail_rows = 0, n_tails = 0;

	for (uint32_t i = 0; i < b->n_seqs; i++) {
		const struct engine_seq *s = &b->seqs[i];
		const uint32_t n_head = s->n_tokens - s->n_logit_rows;

		for (uint32_t k = 0; k < s->n_tokens; k++)
			w->ids[row + k] = s->ids[k];
		for (uint32_t g = 0; g < n_groups; g++) {
			w->seqs[g][i] = (struct kernel_seq){
				row, s->n_tokens, s->pos0, s->pages[g] };
			w->tails[g][n_tails] = (struct kernel_seq){
				n_tail_rows, s->n_logit_rows, s->pos0 + n_head, s->pages[g] };
		}
		for (uint32_t k = 0; k < s->n_logit_rows; k++)
			w->tail_rows[n_tail_rows++] = row + n_head + k;
		n_tails += s->n_logit_rows > 0;
		row += s->n_tokens;
	}
	f->n_tokens = row;
	f->n_seqs = b->n_seqs;
	f->n_tail_rows = n_tail_rows;
	f->n_tails = n_tails;
}

static void run_forward(void *arg, int rank, int n)
{
	(void)n;
	forward(arg, rank);
}

static int cpu_submit(struct engine *e, struct engine_batch *b)
{
	struct cpu *c = cpu_of(e);
	const float *logits = c->work.logits;

	if (c->step != STEP_NONE)
		return -EBUSY;
	if (!is_valid(c, b))
		return -EINVAL;
	lay_out_step(c, b);
	team_run(c->team, run_forward, &c->forward);
	for (uint32_t i = 0; i < b->n_seqs; i++) {
		b->seqs[i].out_logits = b->seqs[i].n_logit_rows ? logits : NULL;
		logits += (size_t)b->seqs[i].n_logit_rows * c->model->n_vocab;
	}
	c->step = STEP_DONE;
	return 0;
}

static int cpu_poll(struct engine *e, bool wait)
{
	struct cpu *c = cpu_of(e);

	(void)wait;
	if (c->step != STEP_DONE)
		return 0;
	c->step = STEP_NONE;
	return 1;
}

/* Worker rank draws for every n-th sequence. */
static void run_sample(void *arg, int rank, int n)
{
	const struct sampling *sampling = arg;
	const struct cpu *c = sampling->c;
	const uint32_t n_vocab = c->model->n_vocab;
	struct engine_batch *b = sampling->batch;

	for (uint32_t i = (uint32_t)rank; i < b->n_seqs; i += (uint32_t)n) {
		struct engine_seq *s = &b->seqs[i];

		if (!s->n_logit_rows || !s->params)
			continue;
		s->out_id = sampler_draw(s->params, s->token_index,
					 s->out_logits + (size_t)(s->n_logit_rows - 1) * n_vocab,
					 n_vocab, c->work.sampler[rank]);
	}
}

static void cpu_sample(struct engine *e, struct engine_batch *b)
{
	struct sampling sampling = { .c = cpu_of(e), .batch = b };

	if (b->n_seqs == 1)
		run_sample(&sampling, 0, 1); /* not worth waking the team */
	else
		team_run(sampling.c->team, run_sample, &sampling);
}

const struct engine_ops engine_cpu = {
	.name = "cpu",
	.open = cpu_open,
	.close = cpu_close,
	.info = cpu_info,
	.kv_create = cpu_kv_create,
	.submit = cpu_submit,
	.poll = cpu_poll,
	.sample = cpu_sample,
};
