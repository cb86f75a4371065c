/* SPDX-License-Identifier: MIT */
/*
 * The rules of daemon/sched.h on order, charges and tenants (1 to 4, 8 to 10, 13), each by small
 * cases whose plans can be worked out by hand. tests/unit/sched_pages.c has those on pages.
 * Marks: san
 */
#include "tests/sched_world.h"

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

/* 13: who has all rows gives one up to the head of a tenant that had less. */
static void rule_13(void)
{
	struct sched_config cfg = usual();
	struct sched_seq *hog[4], *late;
	struct world *w;

	cfg.max_seqs = 2;
	w = open_with(&cfg, 100, false);
	for (int i = 0; i < 4; i++)
		hog[i] = add(w, 0, 5, 500);
	step(w);
	CHECK(row(w, hog[0]) && row(w, hog[1]));
	step(w);
	CHECK(row(w, hog[0]) && row(w, hog[1]));
	/* Its tenant begins where the hog's stands, which is ahead after one more row. */
	late = add(w, 1, 5, 500);
	step(w);
	CHECK(row(w, hog[0]) == 1 && !row(w, hog[1]) && row(w, late) == 5);
	/* From here on they share; no row stays empty. */
	for (int i = 0; i < 30; i++) {
		step(w);
		CHECK_EQ(w->p.n_rows, 2);
	}
	CHECK(n_output(late) >= 28);
	/* Nobody of another tenant waits: the hog's own heads get no row before his decodes. */
	sched_remove(w->s, late);
	step(w);
	CHECK(row(w, hog[0]) == 1 && row(w, hog[1]) == 1);
	close_world(w);
	/* A prompt of several chunks gets on, too; the next of its tenant waits for a free row. */
	for (int n_more = 0; n_more < 2; n_more++) {
		w = open_with(&cfg, 100, false);
		for (int i = 0; i < 4; i++)
			hog[i] = add(w, 0, 5, 500);
		step(w);
		late = add(w, 1, 100, 500);
		if (n_more)
			add(w, 1, 5, 500);
		for (int i = 0; i < 100; i++) {
			step(w);
			CHECK(row(w, hog[0]) == 1 && w->p.n_rows == 2);
			CHECK(sched_n_running(w->s) <= 3);
		}
		CHECK(info(w, 1).n_prompt == 100 && n_output(late) > 20);
		/* What each has had since, 300 in all, differs by no more than a chunk. */
		CHECK(info(w, 0).vtc < info(w, 1).vtc + 32);
		CHECK(info(w, 1).vtc < info(w, 0).vtc + 32);
		close_world(w);
	}
	/* A head without pages does not leave a row empty. */
	w = open_with(&cfg, 10, false);
	hog[0] = add(w, 0, 5, 140);
	hog[1] = add(w, 0, 5, 140);
	for (int i = 0; i < 40; i++)
		step(w);
	late = add(w, 1, 280, 10);
	step(w);
	CHECK_EQ(late->state, SCHED_WAITING);
	CHECK(row(w, hog[0]) == 1 && row(w, hog[1]) == 1);
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
	rule_8();
	rule_9();
	rule_10();
	same_memory();
	last_token();
	rule_13();
	tenants();
	return test_done();
}
