/* SPDX-License-Identifier: MIT */
/*
 * sched_world: a sched with its pool, and whole steps of it, for tests that work plans out by hand.
 * Each step is checked for what holds of all plans. One world at a time; its sequences are removed
 * when it is closed.
 */
#ifndef DEVLLM_SCHED_WORLD_H
#define DEVLLM_SCHED_WORLD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/prefix.h"
#include "daemon/sched.h"
#include "tests/test.h"

enum { MOST_SEQS = 64, MOST_IDS = 4096, MANY = 100000 };

struct world {
	struct sched_config cfg;
	struct kvcache *kv;
	struct prefix *prefix;
	struct sched *s;
	struct plan p;
	struct sched_seq seqs[MOST_SEQS];
	uint32_t ids[MOST_SEQS][MOST_IDS];
	uint32_t n_seqs;
	uint64_t arrivals;
};

static struct world world;

/* Two tenants of weight 1, 0 and 1; steps of 64 tokens in chunks of 32, 8 rows, weights 1 and 2. */
static inline struct world *open_with(const struct sched_config *cfg, uint32_t pool_pages,
				      bool has_prefix)
{
	struct world *w = &world;
	uint8_t salt[32] = {0}, secret[32] = {0};

	memset(w, 0, sizeof(*w));
	w->cfg = *cfg;
	if (kvcache_create(1, &pool_pages, &w->kv) ||
	    (has_prefix && prefix_create(w->kv, 1, salt, pool_pages, &w->prefix)) ||
	    sched_create(&w->cfg, w->kv, w->prefix, &w->s))
		exit(1);
	for (int i = 0; i < 2; i++) {
		secret[0] = (uint8_t)i;
		CHECK_EQ(sched_tenant(w->s, 1, secret), i);
	}
	return w;
}

static inline struct sched_config usual(void)
{
	return (struct sched_config){.step_tokens = 64, .max_seqs = 8, .chunk_tokens = 32,
				     .w_prompt = 1, .w_output = 2};
}

static inline struct world *open_usual(uint32_t pool_pages)
{
	struct sched_config cfg = usual();

	return open_with(&cfg, pool_pages, false);
}

static inline void close_world(struct world *w)
{
	for (uint32_t i = 0; i < w->n_seqs; i++)
		sched_remove(w->s, &w->seqs[i]);
	CHECK_EQ(sched_n_waiting(w->s) + sched_n_running(w->s), 0);
	sched_destroy(w->s);
	prefix_destroy(w->prefix);
	CHECK_EQ(kvcache_least_free(w->kv), kvcache_least_total(w->kv));
	kvcache_destroy(w->kv);
}

/* Fills in a sequence whose prompt differs from all others in its first id. */
static inline struct sched_seq *make(struct world *w, uint32_t tenant, uint32_t n_prompt,
				     uint32_t max)
{
	struct sched_seq *q = &w->seqs[w->n_seqs];

	q->ids = w->ids[w->n_seqs];
	for (uint32_t i = 0; i < n_prompt && i < MOST_IDS; i++)
		q->ids[i] = i ? i : 1000 + w->n_seqs;
	q->tenant = tenant;
	q->arrival = w->arrivals++;
	q->n_prompt = n_prompt;
	q->max_tokens = max;
	q->has_credit = true;
	w->n_seqs++;
	return q;
}

static inline struct sched_seq *add(struct world *w, uint32_t tenant, uint32_t n_prompt,
				    uint32_t max)
{
	struct sched_seq *q = make(w, tenant, n_prompt, max);

	CHECK_EQ(sched_add(w->s, q, NULL), 0);
	return q;
}

/* One whole step; whoever has all of its tokens is removed. */
static inline void step_of(struct world *w, uint32_t budget)
{
	uint32_t n_tokens = 0;

	sched_plan(w->s, budget, &w->p);
	CHECK(w->p.n_rows <= w->cfg.max_seqs);
	for (uint32_t i = 0; i < w->p.n_rows; i++) {
		const struct plan_row *r = &w->p.rows[i];

		CHECK_EQ(r->seq->state, SCHED_RUNNING);
		CHECK(r->seq->has_credit);
		CHECK_EQ(r->pos0, r->seq->n_cached);
		CHECK_EQ(r->needs_logits, r->pos0 + r->n_tokens == r->seq->n_ids);
		CHECK(r->seq->n_ids < r->seq->n_prompt + r->seq->max_tokens);
		n_tokens += r->n_tokens;
		for (uint32_t k = 0; k < i; k++)
			CHECK(w->p.rows[k].seq != r->seq);
	}
	CHECK_EQ(w->p.n_tokens, n_tokens);
	CHECK(n_tokens <= budget && n_tokens <= w->cfg.step_tokens);
	sched_advance(w->s, &w->p);
	for (uint32_t i = 0; i < w->p.n_rows; i++) {
		struct sched_seq *q = w->p.rows[i].seq;

		if (w->p.rows[i].needs_logits)
			sched_append(w->s, q, 7);
		if (q->n_ids == q->n_prompt + q->max_tokens)
			sched_remove(w->s, q);
	}
}

static inline void step(struct world *w)
{
	step_of(w, MANY);
}

/* Its tokens in the newest plan. */
static inline uint32_t row(const struct world *w, const struct sched_seq *q)
{
	for (uint32_t i = 0; i < w->p.n_rows; i++) {
		if (w->p.rows[i].seq == q)
			return w->p.rows[i].n_tokens;
	}
	return 0;
}

static inline struct sched_tenant_info info(const struct world *w, uint32_t tenant)
{
	struct sched_tenant_info i;

	sched_tenant_info(w->s, tenant, &i);
	return i;
}

static inline uint32_t n_output(const struct sched_seq *q)
{
	return q->n_ids - q->n_prompt;
}

#endif
