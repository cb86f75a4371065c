/* SPDX-License-Identifier: MIT */
/*
 * engine_null: fake tokens without a model, for everything around the engine.
 *
 * Its tokens notice what a real model's would: the cache of a position is a hash chain over all
 * ids up to it, kept in pages of a pool like keys and values are, and read back from the pages
 * that the batch names. A wrong page, a lost recompute, a chunk left out or two requests crossed
 * change the chain and with it every token after. It depends on nothing else: not on chunks,
 * batches, or time.
 *
 *	cache[p] = mix(cache[p - 1], ids[p])     token = 3 + mix(cache[last], seed) % (V - 3)
 *
 * (The seed takes part when the temperature is above 0.) Ids 0..2 are never drawn, so no request
 * ends by EOS. A step can be given a length: submit() returns at once and poll() says 0 until it
 * is over, so that the caller's asynchronous path is tested as well.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/engine.h"

#define DEFAULT_VOCAB 49152
#define DEFAULT_CONTEXT 8192
#define FIRST_ID 3 /* below are unk, bos, eos */
#define PAGE_BYTES (ENGINE_PAGE_TOKENS * sizeof(uint64_t))
#define CHAIN_START 0x9E3779B97F4A7C15u

enum step_state { STEP_NONE, STEP_RUNNING };

struct null {
	struct engine base;
	uint32_t n_vocab, n_context;
	uint32_t max_step_tokens, max_seqs;
	uint64_t step_ns;
	enum step_state step;
	uint64_t end_ns; /* CLOCK_MONOTONIC, when the step under way is over */
	uint32_t n_pages;
	uint64_t (*pool)[ENGINE_PAGE_TOKENS]; /* [n_pages], a chain value a position */
};

static struct null *null_of(struct engine *e)
{
	return (struct null *)e;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The finalizer of splitmix64 over both words. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t z = a + (b + 1) * 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static void null_close(struct engine *e)
{
	struct null *n = null_of(e);

	free(n->pool);
	free(n);
}

static int null_open(const struct engine_args *a, struct engine **out, struct error *err)
{
	const uint32_t n_vocab = a->n_vocab ? a->n_vocab : DEFAULT_VOCAB;
	struct null *n;

	if (n_vocab <= FIRST_ID)
		return error_set(err, -EINVAL, "a vocabulary of %u, the null engine needs %d",
				 n_vocab, FIRST_ID + 1);
	if (!a->max_step_tokens || !a->max_seqs)
		return error_set(err, -EINVAL, "room for %u tokens and %u sequences is none",
				 a->max_step_tokens, a->max_seqs);
	n = calloc(1, sizeof(*n));
	if (!n)
		return error_set(err, -ENOMEM, "no memory for the null engine");
	n->base.ops = &engine_null;
	n->n_vocab = n_vocab;
	n->n_context = a->n_context ? a->n_context : DEFAULT_CONTEXT;
	n->max_step_tokens = a->max_step_tokens;
	n->max_seqs = a->max_seqs;
	n->step_ns = (uint64_t)a->null_step_us * 1000;
	*out = &n->base;
	return 0;
}

static void null_info(const struct engine *e, struct engine_info *out)
{
	const struct null *n = (const struct null *)e;

	*out = (struct engine_info){
		.n_vocab = n->n_vocab, .n_context = n->n_context, .depth = 1, .n_kv_groups = 1,
		.kv_groups = { { .n_layers = 1, .page_bytes = PAGE_BYTES } },
	};
	snprintf(out->name, sizeof(out->name), "null, %llu us a step",
		 (unsigned long long)n->step_ns / 1000);
}

static int null_kv_create(struct engine *e, const uint32_t *n_pages, struct error *err)
{
	struct null *n = null_of(e);

	if (!n_pages[0])
		return error_set(err, -EINVAL, "KV group 0: 0 pages, at least 1 needed");
	n->pool = calloc(n_pages[0], sizeof(*n->pool));
	if (!n->pool)
		return error_set(err, -ENOMEM, "KV pool: no memory for %u pages of %zu bytes",
				 n_pages[0], PAGE_BYTES);
	n->n_pages = n_pages[0];
	return 0;
}

static bool is_valid_seq(const struct null *n, const struct engine_seq *s)
{
	uint64_t n_positions = (uint64_t)s->pos0 + s->n_tokens;

	if (!s->n_tokens || s->n_logit_rows > s->n_tokens || n_positions > n->n_context)
		return false;
	for (uint32_t i = 0; i < s->n_tokens; i++)
		if (s->ids[i] >= n->n_vocab)
			return false;
	for (uint64_t i = 0; i * ENGINE_PAGE_TOKENS < n_positions; i++)
		if (s->pages[0][i] >= n->n_pages)
			return false;
	return true;
}

static bool is_valid(const struct null *n, const struct engine_batch *b)
{
	uint64_t n_tokens = 0;

	if (!b->n_seqs || b->n_seqs > n->max_seqs)
		return false;
	for (uint32_t i = 0; i < b->n_seqs; i++) {
		if (!is_valid_seq(n, &b->seqs[i]))
			return false;
		n_tokens += b->seqs[i].n_tokens;
	}
	return n_tokens == b->n_tokens && n_tokens <= n->max_step_tokens;
}

/* The cache of one position, where the sequence's pages say it lies. */
static uint64_t *slot(struct null *n, const struct engine_seq *s, uint32_t pos)
{
	return &n->pool[s->pages[0][pos / ENGINE_PAGE_TOKENS]][pos % ENGINE_PAGE_TOKENS];
}

static int null_submit(struct engine *e, struct engine_batch *b)
{
	struct null *n = null_of(e);

	if (n->step != STEP_NONE)
		return -EBUSY;
	if (!is_valid(n, b))
		return -EINVAL;
	for (uint32_t i = 0; i < b->n_seqs; i++) {
		struct engine_seq *s = &b->seqs[i];
		uint64_t chain = s->pos0 ? *slot(n, s, s->pos0 - 1) : CHAIN_START;

		for (uint32_t k = 0; k < s->n_tokens; k++) {
			chain = mix(chain, s->ids[k]);
			*slot(n, s, s->pos0 + k) = chain;
		}
		s->out_logits = NULL;
	}
	n->end_ns = n->step_ns ? now_ns() + n->step_ns : 0;
	n->step = STEP_RUNNING;
	return 0;
}

static int null_poll(struct engine *e, bool wait)
{
	struct null *n = null_of(e);
	struct timespec end = { .tv_sec = (time_t)(n->end_ns / 1000000000u),
				.tv_nsec = (long)(n->end_ns % 1000000000u) };

	if (n->step != STEP_RUNNING)
		return 0;
	if (n->end_ns && now_ns() < n->end_ns) {
		if (!wait)
			return 0;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
			;
	}
	n->step = STEP_NONE;
	return 1;
}

static bool is_banned(const struct sampler_params *p, uint32_t id)
{
	for (uint32_t i = 0; i < p->n_banned; i++)
		if (p->banned[i] == id)
			return true;
	return false;
}

static void null_sample(struct engine *e, struct engine_batch *b)
{
	struct null *n = null_of(e);

	for (uint32_t i = 0; i < b->n_seqs; i++) {
		struct engine_seq *s = &b->seqs[i];
		uint32_t n_ids = n->n_vocab - FIRST_ID, pick;
		uint64_t chain;

		if (!s->n_logit_rows || !s->params)
			continue;
		chain = *slot(n, s, s->pos0 + s->n_tokens - 1);
		if (s->params->temperature > 0)
			chain = mix(chain, s->params->seed);
		pick = (uint32_t)(mix(chain, 0) % n_ids);
		/* A banned id gives way to the next; all banned: the first one comes back to. */
		for (uint32_t k = 0; k < n_ids && is_banned(s->params, FIRST_ID + pick); k++)
			pick = (pick + 1) % n_ids;
		s->out_id = FIRST_ID + pick;
	}
}

const struct engine_ops engine_null = {
	.name = "null",
	.open = null_open,
	.close = null_close,
	.info = null_info,
	.kv_create = null_kv_create,
	.submit = null_submit,
	.poll = null_poll,
	.sample = null_sample,
};
