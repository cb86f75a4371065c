/* SPDX-License-Identifier: MIT */
/*
 * Each numbered rule of daemon/sched.h, by small cases whose plans can be worked out by hand.
 * Marks: san
 */
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
static struct world *open_with(const struct sched_config *cfg, uint32_t pool_pages, bool has_prefix)
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

static struct sched_config usual(void)
{
	return (struct sched_config){.step_tokens = 64, .max_seqs = 8, .chunk_tokens = 32,
				     .w_prompt = 1, .w_output = 2};
}

static struct world *open_usual(uint32_t pool_pages)
{
	struct sched_config cfg = usual();

	return open_with(&cfg, pool_pages, false);
}

static void close_world(struct world *w)
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
static struct sched_seq *make(struct world *w, uint32_t tenant, uint32_t n_prompt, uint32_t max)
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

static struct sched_seq *add(struct world *w, uint32_t tenant, uint32_t n_prompt, uint32_t max)
{
	struct sched_seq *q = make(w, tenant, n_prompt, max);

	CHECK_EQ(sched_add(w->s, q, NULL), 0);
	return q;
}

/* One whole step; whoever has all of its tokens is removed. */
static void step_of(struct world *w, uint32_t budget)
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

static void step(struct world *w)
{
	step_of(w, MANY);
}

/* Its tokens in the newest plan. */
static uint32_t row(const struct world *w, const struct sched_seq *q)
{
	for (uint32_t i = 0; i < w->p.n_rows; i++) {
		if (w->p.rows[i].seq == q)
			return w->p.rows[i].n_tokens;
	}
	return 0;
}

static struct sched_tenant_info info(const struct world *w, uint32_t tenant)
{
	struct sched_tenant_info i;

	sched_tenant_info(w->s, tenant, &i);
	return i;
}

static uint32_t n_output(const struct sched_seq *q)
{
	return q->n_ids - q->n_prompt;
}

/* 1: decodes first, then prefill chunks fill the token budget. */
static void rule_1(void)
{
	struct world *w = open_usual(100);
	struct sched_seq *a = add(w, 0, 5, 50), *b = add(w, 1, 5, 50), *c, *d, *e;

	step(w);
	CHECK(row(w, a) == 5 && row(w, b) == 5);
	c = add(w, 0, 100, 10);
	d = add(w, 1, 100, 10);
	e = add(w, 1, 100, 10);
	step(w);
	CHECK(row(w, a) == 1 && row(w, b) == 1);
	/* Two chunks of 32 do not fit beside two decodes: 32 and 30, and none for the third. */
	CHECK_EQ(row(w, c) + row(w, d), 62);
	CHECK_EQ(row(w, e), 0);
	CHECK_EQ(w->p.n_tokens, 64);
	/* The budget is an input, decodes come first even when it is small. */
	step_of(w, 3);
	CHECK(row(w, a) == 1 && row(w, b) == 1);
	CHECK_EQ(w->p.n_tokens, 3);
	step_of(w, 1);
	CHECK_EQ(row(w, a) + row(w, b), 1);
	step_of(w, 0);
	CHECK_EQ(w->p.n_rows, 0);
	/* A prompt of 10,000 tokens would be no different: no step has more than the budget. */
	for (uint32_t n = n_output(a); n < 20; n++) {
		step(w);
		CHECK_EQ(row(w, a), 1);
	}
	close_world(w);
}

/* 2: least virtual tokens / weight first; inside a tenant priority, then arrival. */
static void rule_2(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b, *c, *d;
	struct world *w;
	uint8_t secret[32] = {9};
	int heavy;

	cfg.max_seqs = 1;
	w = open_with(&cfg, 100, false);
	a = add(w, 0, 20, 1);
	b = add(w, 0, 20, 1);
	c = add(w, 0, 20, 1);
	d = make(w, 0, 20, 1);
	d->priority = 2;
	CHECK_EQ(sched_add(w->s, d, NULL), 0);
	step(w);
	CHECK(row(w, d));
	step(w);
	CHECK(row(w, a));
	/* Tenant 1 begins where tenant 0 stands, which has waited longer: they take turns. */
	d = add(w, 1, 20, 1);
	CHECK_EQ(info(w, 1).vtc, 44);
	step(w);
	CHECK(row(w, b));
	step(w);
	CHECK(row(w, d));
	step(w);
	CHECK(row(w, c));
	close_world(w);

	/* One row at a time, always someone waiting: service in proportion to the weights. */
	w = open_with(&cfg, 100, false);
	heavy = sched_tenant(w->s, 3, secret);
	for (uint32_t i = 0; i < 30; i++) {
		add(w, 0, 10, 20);
		add(w, (uint32_t)heavy, 10, 20);
	}
	for (uint32_t i = 0; i < 400; i++)
		step(w);
	CHECK(info(w, 0).n_waiting && info(w, (uint32_t)heavy).n_waiting);
	CHECK_EQ(info(w, (uint32_t)heavy).n_output, 300);
	CHECK_EQ(info(w, 0).n_output, 100);
	close_world(w);
}

/* 2: the first in the order that lacks pages ends admission; what runs goes on. */
static void rule_2_blocked(void)
{
	struct world *w = open_usual(10);
	struct sched_seq *a = add(w, 0, 100, 60), *big, *small;

	step(w);
	big = add(w, 1, 250, 10);
	small = add(w, 0, 3, 3);
	step(w);
	CHECK(row(w, a) && !row(w, big) && !row(w, small));
	CHECK_EQ(big->state, SCHED_WAITING);
	while (a->state != SCHED_NONE)
		step(w);
	CHECK_EQ(small->state, SCHED_WAITING);
	step(w);
	CHECK(row(w, big) == 32 && row(w, small) == 3);
	close_world(w);
}

/* 3: whoever begins to wait is lifted to the least of those that wait, or to who left last. */
static void rule_3(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b;
	struct world *w;

	cfg.max_seqs = 1;
	w = open_with(&cfg, 100, false);
	a = add(w, 0, 60, 40);
	for (uint32_t i = 0; i < 30; i++)
		step(w);
	CHECK_EQ(info(w, 0).vtc, 60 + 2 * 29);
	/* Nobody waits; the last to wait was tenant 0. */
	b = add(w, 1, 10, 5);
	CHECK_EQ(info(w, 1).vtc, 60 + 2 * 29);
	while (b->state != SCHED_NONE)
		step(w);
	CHECK_EQ(a->state, SCHED_NONE);
	CHECK_EQ(info(w, 1).vtc, 60 + 2 * 29 + 10 + 2 * 5);
	/* The last to wait was tenant 1; tenant 0 is ahead of it and is not pulled back. */
	add(w, 1, 10, 5);
	CHECK_EQ(info(w, 1).vtc, 60 + 2 * 29 + 10 + 2 * 5);
	add(w, 0, 10, 5);
	CHECK_EQ(info(w, 0).vtc, 60 + 2 * 40);
	sched_remove(w->s, &w->seqs[w->n_seqs - 2]);
	/* Lifted to the least of those that wait: tenant 0 alone. */
	add(w, 1, 10, 5);
	CHECK_EQ(info(w, 1).vtc, 60 + 2 * 40);
	close_world(w);
}

/* 4: only sequences with ring credit run. */
static void rule_4(void)
{
	struct world *w = open_usual(100);
	struct sched_seq *a = add(w, 0, 10, 50), *b = make(w, 0, 10, 50), *c;

	b->has_credit = false;
	CHECK_EQ(sched_add(w->s, b, NULL), 0);
	c = add(w, 0, 10, 50);
	step(w);
	CHECK(row(w, a) && !row(w, b) && row(w, c));
	sched_credit(w->s, a, false);
	sched_credit(w->s, b, true);
	step(w);
	CHECK(!row(w, a) && row(w, b) == 10 && row(w, c) == 1);
	/* Nothing is lost by a stall. */
	CHECK_EQ(a->state, SCHED_RUNNING);
	sched_credit(w->s, a, true);
	step(w);
	CHECK_EQ(row(w, a), 1);
	CHECK_EQ(a->n_preemptions, 0);
	/* While waiting, credit may come and go. */
	a = make(w, 1, 10, 5);
	CHECK_EQ(sched_add(w->s, a, NULL), 0);
	sched_credit(w->s, a, false);
	sched_credit(w->s, a, false);
	step(w);
	CHECK_EQ(a->state, SCHED_WAITING);
	sched_credit(w->s, a, true);
	sched_credit(w->s, a, true);
	step(w);
	CHECK_EQ(row(w, a), 10);
	close_world(w);
}

/* 5: stalled holders of pages first, whoever they are. */
static void rule_5_stalled(void)
{
	struct world *w = open_usual(4);
	struct sched_seq *a = add(w, 1, 31, 60), *b = add(w, 0, 31, 60), *c = add(w, 0, 31, 60);

	step_of(w, 62);
	CHECK(row(w, a) == 31 && row(w, b) == 31 && !row(w, c));
	step(w);
	CHECK_EQ(row(w, c), 31);
	/* The oldest of the least served one, but its client does not read. */
	sched_credit(w->s, a, false);
	step(w);
	step(w);
	CHECK_EQ(a->n_preemptions, 1);
	CHECK(!b->n_preemptions && !c->n_preemptions);
	CHECK(row(w, b) && row(w, c));
	CHECK_EQ(a->n_cached, 0);
	CHECK_EQ(n_output(a), 2);
	close_world(w);

	/* Even where one that runs comes later in the order. */
	w = open_usual(3);
	a = add(w, 1, 31, 60);
	b = add(w, 0, 31, 60);
	c = add(w, 0, 20, 60);
	step(w);
	step(w);
	sched_credit(w->s, a, false);
	step(w);
	CHECK(a->n_preemptions == 1 && row(w, b) == 1 && row(w, c));
	CHECK_EQ(c->n_preemptions, 0);
	close_world(w);

	/* An admission that lacks pages preempts stalled ones, and them only. */
	w = open_usual(4);
	a = add(w, 0, 40, 20);
	b = add(w, 1, 40, 20);
	step(w);
	step(w);
	c = add(w, 0, 10, 5);
	step(w);
	CHECK_EQ(c->state, SCHED_WAITING);
	sched_credit(w->s, b, false);
	step(w);
	CHECK_EQ(row(w, c), 10);
	CHECK(b->n_preemptions == 1 && !a->n_preemptions);
	close_world(w);
}

/* 5: then the newest of the most over-served; the last in the order waits and takes nothing. */
static void rule_5_order(void)
{
	struct world *w = open_usual(4);
	struct sched_seq *a = add(w, 0, 31, 60), *b = add(w, 0, 31, 60), *c = add(w, 1, 31, 60);

	step_of(w, 62);
	step(w);
	CHECK(row(w, a) && row(w, c) && row(w, b) == 31);
	/* a and b have 62 + 2 * 3 virtual tokens, c 31 + 2 * 2; a and c need the last page. */
	CHECK(info(w, 0).vtc > info(w, 1).vtc);
	step(w);
	CHECK_EQ(b->n_preemptions, 1);
	CHECK_EQ(b->state, SCHED_WAITING);
	CHECK(!a->n_preemptions && !c->n_preemptions);
	CHECK(row(w, a) && row(w, c));
	close_world(w);

	/* Of several the newest of the most over-served, though it needs nothing itself. */
	w = open_usual(3);
	c = add(w, 1, 31, 60);
	a = add(w, 0, 26, 60);
	b = add(w, 0, 5, 60);
	for (uint32_t i = 0; !c->n_preemptions && !a->n_preemptions && !b->n_preemptions; i++) {
		CHECK(i < 5);
		step(w);
	}
	CHECK(info(w, 0).vtc > info(w, 1).vtc);
	CHECK(b->n_preemptions == 1 && row(w, a) && row(w, c));
	close_world(w);

	/* Same, but b of tenant 0 is the one that needs the page: it waits, c and a go on. */
	w = open_usual(4);
	a = add(w, 0, 33, 20);
	c = add(w, 1, 5, 20);
	b = add(w, 0, 30, 12);
	for (uint32_t i = 0; i < 8; i++)
		step(w);
	CHECK_EQ(kvcache_least_free(w->kv), 0);
	CHECK(row(w, a) && row(w, c) && !row(w, b));
	CHECK_EQ(b->n_cached, 32);
	for (uint32_t i = 0; i < 40; i++)
		step(w);
	CHECK_EQ(b->state, SCHED_NONE);
	CHECK_EQ(a->n_preemptions + b->n_preemptions + c->n_preemptions, 0);
	close_world(w);
}

/* 5: decodes come first in a plan, but take nothing from a prefill that comes before them. */
static void rule_5_prefills(void)
{
	struct sched_config cfg = usual();
	uint8_t secret[32] = {9};
	struct sched_seq *d, *p;
	struct world *w;

	cfg.chunk_tokens = 4;
	w = open_with(&cfg, 4, false);
	d = add(w, 0, 30, 30);
	while (d->n_ids < 32)
		step(w);
	/* A tenant of much weight is hardly ever ahead. */
	p = add(w, (uint32_t)sched_tenant(w->s, 100, secret), 90, 5);
	sched_credit(w->s, d, false);
	for (uint32_t i = 0; i < 17; i++)
		step(w);
	CHECK_EQ(kvcache_least_free(w->kv), 0);
	CHECK_EQ(p->n_cached, 68);
	sched_credit(w->s, d, true);
	step(w);
	CHECK_EQ(row(w, d), 1);
	step(w);
	CHECK(!row(w, d) && row(w, p) == 4);
	CHECK(info(w, 0).vtc > info(w, p->tenant).vtc);
	CHECK(!p->n_preemptions && !d->n_preemptions);
	close_world(w);
}

/* 5: a prefill that lacks a page takes it from the next prefill of its own tenant. */
static void rule_5_next(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *d, *p, *q;
	struct world *w;

	cfg.chunk_tokens = 7;
	w = open_with(&cfg, 4, false);
	d = add(w, 0, 30, 60);
	while (d->n_ids < 31)
		step(w);
	p = add(w, 0, 60, 5);
	q = add(w, 0, 31, 5);
	step(w);
	CHECK(row(w, p) == 7 && row(w, q) == 7);
	sched_credit(w->s, q, false);
	while (p->n_cached < 28)
		step(w);
	/* d has taken the fourth page. What is left of its own page p may use without harm. */
	CHECK_EQ(kvcache_least_free(w->kv), 0);
	step(w);
	CHECK_EQ(row(w, p), 4);
	CHECK_EQ(q->n_preemptions, 0);
	sched_credit(w->s, q, true);
	step(w);
	CHECK_EQ(row(w, p), 7);
	CHECK_EQ(q->n_preemptions, 1);
	CHECK_EQ(row(w, q), 0);
	CHECK_EQ(q->state, SCHED_WAITING);
	while (q->state != SCHED_NONE)
		step(w);
	close_world(w);
}

/* 5: the next prefill in the list, preempted for the one before it, gets no row in that plan. */
static void rule_5_cursor(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *d, *p, *q;
	struct world *w;

	cfg.chunk_tokens = 20;
	w = open_with(&cfg, 5, false);
	d = add(w, 0, 30, 60);
	step(w);
	step(w);
	p = add(w, 0, 60, 5);
	q = add(w, 0, 60, 5);
	step(w);
	CHECK(row(w, p) == 20 && row(w, q) == 20);
	sched_credit(w->s, p, false);
	step(w);
	sched_credit(w->s, q, false);
	step(w);
	CHECK(d->table.n_pages == 2 && p->table.n_pages == 1 && q->table.n_pages == 2);
	sched_credit(w->s, p, true);
	step(w);
	CHECK_EQ(row(w, p), 12);
	sched_credit(w->s, q, true);
	step(w);
	CHECK(row(w, d) && row(w, p) == 20 && !row(w, q));
	CHECK_EQ(q->n_preemptions, 1);
	CHECK_EQ(kvcache_least_free(w->kv), 1);
	close_world(w);
}

/* 6: no admission past a preempted sequence of the same tenant, as long as it has credit. */
static void rule_6(void)
{
	struct world *w = open_usual(4);
	struct sched_seq *a = add(w, 0, 31, 60), *b = add(w, 0, 60, 60), *c, *d;

	step(w);
	step(w);
	step(w);
	CHECK_EQ(n_output(b), 2);
	while (!b->n_preemptions)
		step(w);
	/* b needs three pages, c one that is free, and c has the higher priority. */
	c = make(w, 0, 3, 3);
	c->priority = 9;
	CHECK_EQ(sched_add(w->s, c, NULL), 0);
	CHECK(kvcache_least_free(w->kv) >= 1);
	step(w);
	CHECK(row(w, a) && !row(w, b) && !row(w, c));
	/* It is its own client's fault when it stalls: then the others go on. */
	sched_credit(w->s, b, false);
	step(w);
	CHECK_EQ(row(w, c), 3);
	sched_credit(w->s, b, true);
	/* Another tenant is not held up, once it has had less and c's page is free. */
	while (c->state)
		step(w);
	d = add(w, 1, 3, 3);
	step(w);
	CHECK(d->was_admitted && b->state == SCHED_WAITING);
	while (b->state != SCHED_NONE)
		step(w);
	CHECK_EQ(n_output(b), 60);
	close_world(w);
}

/* 7: a resumed sequence emits before it is preempted again; and nothing livelocks. */
static void rule_7(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b;
	struct world *w;
	uint32_t n_steps = 0;

	cfg.preempt_each_step = true;
	cfg.chunk_tokens = 10;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 35, 20);
	b = add(w, 1, 35, 20);
	for (; (a->state || b->state) && n_steps < 2000; n_steps++) {
		uint32_t n_a = a->n_preemptions, n_b = b->n_preemptions;
		bool must_a = a->must_emit, must_b = b->must_emit;

		step(w);
		CHECK(w->p.n_rows);
		CHECK(!must_a || a->n_preemptions == n_a);
		CHECK(!must_b || b->n_preemptions == n_b);
	}
	CHECK(!a->state && !b->state);
	CHECK(a->n_preemptions > 5 && a->n_preemptions <= 21);
	CHECK(b->n_preemptions > 5 && b->n_preemptions <= 21);
	close_world(w);

	/* Two that need most of the pool each: each turn yields a token at least. */
	cfg.preempt_each_step = false;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 30, 200);
	b = add(w, 1, 30, 200);
	for (n_steps = 0; (a->state || b->state) && n_steps < 20000; n_steps++) {
		step(w);
		CHECK(w->p.n_rows);
	}
	CHECK(!a->state && !b->state);
	CHECK(a->n_preemptions + b->n_preemptions >= 1);
	printf("two sequences of 230 tokens in a pool of 256: %u steps, %u preemptions\n", n_steps,
	       a->n_preemptions + b->n_preemptions);
	CHECK(n_steps < 1000);
	close_world(w);
}

/* 7: the resumed one comes before all others when pages lack, else neither could go on. */
static void rule_7_first(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *d, *r, *x;
	struct world *w;

	cfg.chunk_tokens = 1;
	w = open_with(&cfg, 4, false);
	d = make(w, 0, 1, 100);
	d->has_credit = false;
	CHECK_EQ(sched_add(w->s, d, NULL), 0);
	r = add(w, 0, 70, 5);
	for (uint32_t i = 0; i < 70; i++)
		step(w);
	CHECK_EQ(n_output(r), 1);
	sched_credit(w->s, r, false);
	x = add(w, 1, 60, 5);
	step(w);
	CHECK_EQ(r->n_preemptions, 1);
	sched_remove(w->s, x);
	sched_credit(w->s, d, true);
	step(w);
	/* r is promised three pages, but d, which is older, takes two before r needs its third. */
	sched_credit(w->s, r, true);
	step(w);
	CHECK(row(w, r) && r->must_emit);
	for (uint32_t i = 0; i < 75; i++) {
		step(w);
		CHECK(w->p.n_rows);
	}
	CHECK_EQ(r->n_preemptions, 1);
	CHECK_EQ(d->n_preemptions, 1);
	CHECK(n_output(r) >= 2);
	close_world(w);
}

/* 8: what can never fit is refused, with both numbers. */
static void rule_8(void)
{
	struct world *w = open_usual(4);
	struct error err = {0};
	struct sched_seq *q = make(w, 0, 100, 29);

	CHECK_EQ(sched_add(w->s, q, &err), -E2BIG);
	CHECK_STR(err.text, "prompt of 100 tokens and max_tokens of 29 are 129 tokens, "
			    "the KV pool holds 128");
	CHECK_EQ(q->state, SCHED_NONE);
	q->max_tokens = UINT32_MAX;
	CHECK_EQ(sched_add(w->s, q, &err), -E2BIG);
	q->max_tokens = 0;
	CHECK_EQ(sched_add(w->s, q, &err), -EINVAL);
	q->max_tokens = 28;
	q->tenant = 2;
	CHECK_EQ(sched_add(w->s, q, &err), -EINVAL);
	/* What just fits has all it asked for, whatever the watermark. */
	q->tenant = 0;
	CHECK_EQ(sched_add(w->s, q, &err), 0);
	while (q->state != SCHED_NONE && w->arrivals < 200)
		step(w);
	CHECK_EQ(n_output(q), 28);
	close_world(w);
}

/* 9: exclusive rows run alone; other steps run in between. */
static void rule_9(void)
{
	struct world *w = open_usual(100);
	struct sched_seq *a = add(w, 0, 5, 60), *b = add(w, 0, 5, 60), *x = make(w, 1, 40, 10);
	struct sched_seq *y = make(w, 0, 40, 10);
	bool was_exclusive = true;

	x->is_exclusive = y->is_exclusive = true;
	CHECK_EQ(sched_add(w->s, x, NULL), 0);
	CHECK_EQ(sched_add(w->s, y, NULL), 0);
	for (uint32_t i = 0; i < 40; i++) {
		step(w);
		CHECK_EQ(w->p.is_exclusive, !was_exclusive);
		was_exclusive = w->p.is_exclusive;
		if (was_exclusive)
			CHECK(w->p.n_rows == 1 && (row(w, x) || row(w, y)));
		else
			CHECK(row(w, a) && row(w, b) && !row(w, x) && !row(w, y));
	}
	CHECK(!x->state);
	CHECK_EQ(n_output(a), 20);
	while (y->state)
		step(w);
	/* Alone in the sched, nothing has to run in between. */
	sched_remove(w->s, a);
	sched_remove(w->s, b);
	x = make(w, 1, 40, 3);
	x->is_exclusive = true;
	CHECK_EQ(sched_add(w->s, x, NULL), 0);
	for (uint32_t i = 0; i < 4; i++) {
		step(w);
		CHECK(row(w, x) && w->p.is_exclusive);
	}
	CHECK_EQ(x->state, SCHED_NONE);
	close_world(w);
}

/* 10: what is charged, and what is not. */
static void rule_10(void)
{
	struct sched_config cfg = usual();
	struct world *w = open_with(&cfg, 100, true);
	struct sched_seq *a = add(w, 0, 100, 10), *b;

	/* The prompt chunk by chunk, the output token by token. */
	step(w);
	CHECK_EQ(info(w, 0).vtc, 32);
	step(w);
	step(w);
	step(w);
	CHECK_EQ(info(w, 0).vtc, 100 + 2);
	while (a->state)
		step(w);
	CHECK_EQ(info(w, 0).vtc, 100 + 20);
	CHECK_EQ(info(w, 0).n_prompt, 100);
	CHECK_EQ(info(w, 0).n_output, 10);
	/* The same prompt again: three pages are found and are free of charge. */
	b = make(w, 0, 100, 10);
	memcpy(b->ids, a->ids, 100 * sizeof(*b->ids));
	CHECK_EQ(sched_add(w->s, b, NULL), 0);
	step(w);
	CHECK_EQ(b->n_prefix_hit, 96);
	CHECK_EQ(row(w, b), 4);
	CHECK_EQ(info(w, 0).n_prefix_hit, 96);
	CHECK_EQ(info(w, 0).vtc, 120 + 4 + 2);
	/* A cancel gives nothing back. */
	sched_remove(w->s, b);
	CHECK_EQ(info(w, 0).vtc, 120 + 4 + 2);
	close_world(w);

	/* Recompute is not charged again, with the prefix cache and without. */
	for (int has_prefix = 0; has_prefix < 2; has_prefix++) {
		cfg.preempt_each_step = true;
		w = open_with(&cfg, 100, has_prefix);
		a = add(w, 0, 100, 10);
		while (a->state)
			step(w);
		CHECK(a->n_preemptions >= 9);
		CHECK_EQ(info(w, 0).vtc, 120);
		CHECK_EQ(info(w, 0).n_prompt, 100);
		close_world(w);
	}
}

/* A preempted sequence finds its pages again: the recompute is short. */
static void recompute(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b;
	struct world *w = open_with(&cfg, 100, true);

	a = add(w, 0, 100, 100);
	for (uint32_t i = 0; i < 40; i++)
		step(w);
	sched_credit(w->s, a, false);
	/* Needs two pages more than those that nobody holds. */
	b = add(w, 1, 3100, 1);
	step(w);
	CHECK_EQ(a->n_preemptions, 1);
	CHECK(row(w, b));
	sched_remove(w->s, b);
	sched_credit(w->s, a, true);
	step(w);
	CHECK_EQ(a->n_ids, 137 + 1);
	CHECK_EQ(row(w, a), 137 - 128);
	CHECK_EQ(a->n_prefix_hit, 0);
	CHECK_EQ(info(w, 0).n_prefix_hit, 0);
	close_world(w);
}

/* 11: admissions leave the watermark to running decodes, unless nothing runs. */
static void rule_11(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b;
	struct world *w;

	cfg.watermark_pages = 3;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 90, 20);
	b = add(w, 1, 60, 20);
	step(w);
	/* Three pages are promised to a, two would be b's: three are left, as many as are kept. */
	CHECK(row(w, a) && row(w, b));
	close_world(w);

	w = open_with(&cfg, 8, false);
	a = add(w, 0, 90, 20);
	b = add(w, 1, 65, 20);
	step(w);
	CHECK(row(w, a) && !row(w, b));
	while (a->state) {
		CHECK_EQ(b->state, SCHED_WAITING);
		step(w);
	}
	step(w);
	CHECK(row(w, b));
	close_world(w);

	/* A sequence as large as the pool is admitted when nothing runs. */
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 240, 16);
	step(w);
	CHECK(row(w, a));
	close_world(w);
}

/* 12: over-commitment lets a tenant get so far ahead of one that waits, and no further. */
static void rule_12(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b, *c;
	struct world *w;

	cfg.step_tokens = 8;
	cfg.max_seqs = 2;
	w = open_with(&cfg, 4, false);
	/* 124 and 50 tokens of output, one after the other: worth 348, the pool 256. */
	a = add(w, 0, 1, 124);
	b = add(w, 0, 1, 50);
	step(w);
	c = add(w, 1, 96, 4);
	while (b->state)
		step(w);
	CHECK_EQ(c->state, SCHED_WAITING);
	while (!c->was_admitted && a->state) {
		CHECK(info(w, 0).vtc - info(w, 1).vtc <= 256);
		step(w);
	}
	/* Then it counts as stalled: its pages go to the one that waits. */
	CHECK_EQ(a->n_preemptions, 1);
	CHECK(row(w, c) && info(w, 0).vtc - info(w, 1).vtc >= 200);
	while (a->state || c->state) {
		step(w);
		CHECK(w->p.n_rows);
	}
	CHECK_EQ(n_output(a), 124);
	close_world(w);
}

/* 12: what waits of a tenant that is ahead is not admitted either, though there is a row for it. */
static void rule_12_waiting(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b, *c, *d;
	struct world *w;

	cfg.step_tokens = 512;
	cfg.max_seqs = 2;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 1, 100);
	b = add(w, 0, 1, 100);
	step(w);
	c = add(w, 1, 5, 5);
	d = add(w, 0, 5, 5);
	while (!c->was_admitted)
		step(w);
	/* A step can cost more than half of the pool here: half of the pool is the limit. */
	CHECK(info(w, 0).vtc - info(w, 1).vtc > 250);
	CHECK(row(w, c) && !row(w, a) && !row(w, b) && !row(w, d));
	CHECK(a->n_preemptions == 0 && b->n_preemptions == 0);
	step(w);
	/* Nobody is behind who waits: all go on. */
	CHECK(row(w, a) + row(w, b) + row(w, c) >= 2);
	close_world(w);
}

/* A head that could not be admitted leaves nothing behind for one that takes its memory. */
static void same_memory(void)
{
	struct world *w = open_usual(8);
	struct sched_seq *a = add(w, 0, 100, 50), *q;

	step(w);
	q = add(w, 0, 200, 5);
	step(w);
	step(w);
	CHECK_EQ(q->state, SCHED_WAITING);
	sched_remove(w->s, q);
	q->n_prompt = 5;
	CHECK_EQ(sched_add(w->s, q, NULL), 0);
	step(w);
	CHECK(row(w, a) && row(w, q) == 5);
	close_world(w);
}

/* A plan never goes beyond max_tokens, even when the creator forgets to remove. */
static void last_token(void)
{
	struct world *w = open_usual(100);
	struct sched_seq *q = add(w, 0, 5, 2);
	struct plan p;

	for (uint32_t i = 0; i < 2; i++) {
		sched_plan(w->s, 64, &p);
		CHECK_EQ(p.n_rows, 1);
		sched_advance(w->s, &p);
		sched_append(w->s, q, 7);
	}
	sched_append(w->s, q, 7);
	CHECK_EQ(n_output(q), 2);
	sched_plan(w->s, 64, &p);
	CHECK_EQ(p.n_rows, 0);
	close_world(w);
}

/* Tenants come and go: a place is given again, a debt is not forgotten. */
static void tenants(void)
{
	struct sched_config cfg = usual(), bad = usual();
	uint8_t one[32] = {1}, other[32] = {50};
	struct sched *none = NULL;
	struct sched_seq *a;
	struct world *w;

	cfg.max_seqs = 1;
	w = open_with(&cfg, 100, false);
	a = add(w, 1, 60, 40);
	step(w);
	add(w, 0, 10, 1);
	while (a->state)
		step(w);
	CHECK_EQ(info(w, 1).vtc, 140);
	CHECK_EQ(info(w, 0).vtc, 32);
	/* Tenant 0 waits with less: leaving in debt and coming back gains nothing. */
	sched_tenant_drop(w->s, 1);
	CHECK_EQ(sched_add(w->s, make(w, 1, 5, 5), NULL), -EINVAL);
	CHECK_EQ(sched_tenant(w->s, 1, other), 2);
	CHECK_EQ(sched_tenant(w->s, 1, one), 1);
	CHECK_EQ(info(w, 1).vtc, 140);
	CHECK_EQ(info(w, 1).n_prompt, 60);
	/* One that is not ahead makes room for another. */
	sched_tenant_drop(w->s, 2);
	other[0] = 51;
	CHECK_EQ(sched_tenant(w->s, 4, other), 2);
	CHECK_EQ(info(w, 2).weight, 4);
	CHECK_EQ(info(w, 2).n_prompt, 0);
	close_world(w);

	w = open_with(&cfg, 100, false);
	bad.step_tokens = 0;
	CHECK_EQ(sched_create(&bad, w->kv, NULL, &none), -EINVAL);
	bad = usual();
	bad.max_seqs = 0;
	CHECK_EQ(sched_create(&bad, w->kv, NULL, &none), -EINVAL);
	bad = usual();
	bad.w_output = 0;
	CHECK_EQ(sched_create(&bad, w->kv, NULL, &none), -EINVAL);
	close_world(w);
}

int main(void)
{
	rule_1();
	rule_2();
	rule_2_blocked();
	rule_3();
	rule_4();
	rule_5_stalled();
	rule_5_order();
	rule_5_prefills();
	rule_5_next();
	rule_5_cursor();
	rule_6();
	rule_7();
	rule_7_first();
	rule_8();
	rule_9();
	rule_10();
	recompute();
	rule_11();
	rule_12();
	rule_12_waiting();
	same_memory();
	last_token();
	tenants();
	return test_done();
}
