/* SPDX-License-Identifier: MIT */
/*
 * The rules of daemon/sched.h on pages (5 to 7, 11, 12): who is preempted for whom, who comes back
 * when, who is paused; each by small cases whose plans can be worked out by hand.
 * Marks: san
 */
#include "tests/sched_world.h"

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

/* 12: what waits of a tenant that is ahead is not admitted, though row and page are there. */
static void rule_12_waiting(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *a, *b, *c, *d;
	struct world *w;

	cfg.step_tokens = 512;
	cfg.max_seqs = 4;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 1, 100);
	b = add(w, 0, 1, 100);
	step(w);
	/* Seven pages, while the two of tenant 0 have two or more. */
	c = add(w, 1, 200, 5);
	d = add(w, 0, 5, 5);
	while (!c->was_admitted)
		step(w);
	/* A step can cost more than half of the pool here: half of the pool is the limit. */
	CHECK(info(w, 0).vtc > 250);
	CHECK(row(w, c) && !row(w, a) && !row(w, b) && !row(w, d));
	CHECK(a->n_preemptions == 1 && b->n_preemptions == 1);
	CHECK(!d->was_admitted && kvcache_least_free(w->kv) >= 1);
	close_world(w);

	/* Same with a row and pages for d left: steps of one token brought a so far ahead. */
	cfg.max_seqs = 2;
	w = open_with(&cfg, 8, false);
	a = add(w, 0, 1, 140);
	step(w);
	c = add(w, 1, 5, 5);
	d = add(w, 0, 5, 5);
	while (info(w, 0).vtc <= info(w, 1).vtc + 256) {
		CHECK(!c->was_admitted && a->state);
		step_of(w, 1);
	}
	step(w);
	CHECK(row(w, c) == 5 && w->p.n_rows == 1 && kvcache_least_free(w->kv) >= 1);
	CHECK(a->n_preemptions == 0 && d->state == SCHED_WAITING);
	step(w);
	CHECK(row(w, a) && row(w, c));
	close_world(w);
}

int main(void)
{
	rule_5_stalled();
	rule_5_order();
	rule_5_prefills();
	rule_5_next();
	rule_5_cursor();
	rule_6();
	rule_7();
	rule_7_first();
	recompute();
	rule_11();
	rule_12();
	rule_12_waiting();
	return test_done();
}
