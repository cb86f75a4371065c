/* SPDX-License-Identifier: MIT */
/*
 * llmeval: a model, its tokenizer and an engine; one sequence at a time, in chunks.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "daemon/gguf.h"
#include "daemon/model.h"
#include "tools/llmeval.h"

#define CHUNK_TOKENS 64 /* rows of logits held at once; large vocabularies have a MB a row */

struct eval_model {
	struct gguf *gguf;
	struct model *model;
	struct tokenizer *tokenizer;
	struct engine *engine;
	struct engine_info info;
	uint32_t *pages[ENGINE_MAX_KV_GROUPS]; /* 0, 1, 2... */
	uint32_t n_tokens;
};

static int open_kv(struct eval_model *m, struct error *err)
{
	const uint32_t n = (m->n_tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
	uint32_t n_pages[ENGINE_MAX_KV_GROUPS];

	for (uint32_t g = 0; g < m->info.n_kv_groups; g++) {
		n_pages[g] = n;
		m->pages[g] = calloc(n, sizeof(uint32_t));
		if (!m->pages[g])
			return error_set(err, -ENOMEM, "no memory for %u page numbers", n);
		for (uint32_t i = 0; i < n; i++)
			m->pages[g][i] = i;
	}
	return engine_cpu.kv_create(m->engine, n_pages, err);
}

static int open_all(struct eval_model *m, const struct eval_options *o, struct error *err)
{
	struct engine_args args = {
		.n_threads = o->n_threads, .is_pinned = true, .kernels = o->kernels,
		.is_f32 = o->is_f32, .max_step_tokens = CHUNK_TOKENS, .max_seqs = 1,
		.max_logit_rows = CHUNK_TOKENS,
	};
	int rc = gguf_open(o->model, &m->gguf, err);

	if (!rc)
		rc = model_load(m->gguf, &m->model, err);
	if (!rc)
		rc = tokenizer_create(m->gguf, &m->tokenizer, err);
	if (rc)
		return rc;
	if (m->n_tokens > m->model->n_context)
		return error_set(err, -EINVAL, "%u tokens are asked for, the model's context is %u",
				 m->n_tokens, m->model->n_context);
	args.model = m->model;
	rc = engine_cpu.open(&args, &m->engine, err);
	if (rc)
		return rc;
	engine_cpu.info(m->engine, &m->info);
	return open_kv(m, err);
}

int eval_open(const struct eval_options *o, uint32_t n_tokens, struct eval_model **out,
	      struct error *err)
{
	struct eval_model *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return error_set(err, -ENOMEM, "out of memory");
	m->n_tokens = n_tokens;
	rc = open_all(m, o, err);
	if (rc) {
		eval_close(m);
		return rc;
	}
	*out = m;
	return 0;
}

void eval_close(struct eval_model *m)
{
	if (m->engine)
		engine_cpu.close(m->engine);
	for (uint32_t g = 0; g < ENGINE_MAX_KV_GROUPS; g++)
		free(m->pages[g]);
	tokenizer_destroy(m->tokenizer);
	model_free(m->model);
	gguf_close(m->gguf);
	free(m);
}

const struct tokenizer *eval_tokenizer(const struct eval_model *m)
{
	return m->tokenizer;
}

uint32_t eval_n_vocab(const struct eval_model *m)
{
	return m->info.n_vocab;
}

int eval_rows(struct eval_model *m, const struct eval_rows *r)
{
	if (!r->n_ids || r->n_ids > m->n_tokens)
		return -EINVAL;
	for (uint32_t pos = 0; pos < r->n_ids; pos += CHUNK_TOKENS) {
		const uint32_t left = r->n_ids - pos;
		const uint32_t n = left < CHUNK_TOKENS ? left : CHUNK_TOKENS, end = pos + n;
		const uint32_t n_rows = end <= r->first ? 0 : r->first > pos ? end - r->first : n;
		struct engine_seq seq = { .ids = r->ids + pos, .n_tokens = n, .pos0 = pos,
					  .n_logit_rows = n_rows };
		struct engine_batch batch = { .seqs = &seq, .n_seqs = 1, .n_tokens = n };
		int rc;

		for (uint32_t g = 0; g < m->info.n_kv_groups; g++)
			seq.pages[g] = m->pages[g];
		rc = engine_cpu.submit(m->engine, &batch);
		while (!rc)
			rc = engine_cpu.poll(m->engine, true);
		if (rc < 0)
			return rc;
		for (uint32_t i = 0; i < n_rows; i++)
			r->fn(r->arg, end - n_rows + i,
			      seq.out_logits + (size_t)i * m->info.n_vocab);
	}
	return 0;
}

double eval_log_sum(const float *logits, uint32_t n)
{
	double sum = 0;
	float max = logits[0];

	for (uint32_t i = 1; i < n; i++)
		max = logits[i] > max ? logits[i] : max;
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)(logits[i] - max));
	return (double)max + log(sum);
}
