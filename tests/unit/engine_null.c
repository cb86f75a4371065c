/* SPDX-License-Identifier: MIT */
/*
 * Proves that the null engine's tokens depend on ids and positions alone, whatever the chunks,
 * pages and batch, that a wrong page, a lost or repeated id and another's pages change them, that
 * it refuses what does not fit, and that a step can take time.
 * Marks: san
 */
#include <errno.h>
#include <time.h>

#include "daemon/engine.h"
#include "tests/test.h"

#define N_PAGES 8
#define N_IDS 100

static const struct sampler_params greedy;

static struct engine *open_null(const struct engine_args *args)
{
	struct engine *e = NULL;
	struct error err = { 0 };
	const uint32_t n_pages = N_PAGES;

	CHECK_EQ(engine_null.open(args, &e, &err), 0);
	CHECK_EQ(engine_null.kv_create(e, &n_pages, &err), 0);
	return e;
}

static int step(struct engine *e, struct engine_seq *s, uint32_t n_seqs)
{
	struct engine_batch b = { .seqs = s, .n_seqs = n_seqs };
	int rc;

	for (uint32_t i = 0; i < n_seqs; i++)
		b.n_tokens += s[i].n_tokens;
	rc = e->ops->submit(e, &b);
	if (rc)
		return rc;
	CHECK_EQ(e->ops->poll(e, true), 1);
	CHECK_EQ(e->ops->poll(e, false), 0);
	e->ops->sample(e, &b);
	return 0;
}

/* The token after ids[0..n-1] in chunks. */
static uint32_t token_after(struct engine *e, const uint32_t *ids, uint32_t chunk,
			    const uint32_t *pages)
{
	uint32_t id = 0;

	for (uint32_t pos = 0; pos < N_IDS; pos += chunk) {
		struct engine_seq s = { .ids = ids + pos, .pos0 = pos, .pages = { pages },
					.n_tokens = N_IDS - pos < chunk ? N_IDS - pos : chunk,
					.n_logit_rows = 1, .params = &greedy };

		CHECK_EQ(step(e, &s, 1), 0);
		id = s.out_id;
	}
	return id;
}

static void check_chain(void)
{
	const struct engine_args args = { .max_step_tokens = 2 * N_IDS, .max_seqs = 2 };
	static const uint32_t pages[] = { 3, 1, 6, 2 }, wrong[] = { 3, 1, 7, 2 };
	struct engine *e = open_null(&args);
	uint32_t ids[N_IDS + 1], want;

	for (uint32_t i = 0; i <= N_IDS; i++)
		ids[i] = i * 31 % 49152;
	want = token_after(e, ids, N_IDS, pages);
	CHECK(want >= 3 && want < 49152);
	CHECK_EQ(token_after(e, ids, 1, pages), want);
	CHECK_EQ(token_after(e, ids, 32, pages), want);
	CHECK_EQ(token_after(e, ids, 7, (const uint32_t[]){ 0, 4, 5, 7 }), want);
	CHECK(token_after(e, ids + 1, N_IDS, pages) != want);
	/* A last id at its position, but with another history in the pages: lost recompute. */
	{
		struct engine_seq s = { .ids = ids + 95, .n_tokens = 5, .pos0 = 95,
					.pages = { wrong }, .n_logit_rows = 1, .params = &greedy };

		CHECK_EQ(token_after(e, ids, N_IDS, pages), want);
		CHECK_EQ(step(e, &s, 1), 0);
		CHECK(s.out_id != want);
		s.pages[0] = pages;
		CHECK_EQ(step(e, &s, 1), 0);
		CHECK_EQ(s.out_id, want);
		s.pos0 = 94; /* an id left out */
		CHECK_EQ(step(e, &s, 1), 0);
		CHECK(s.out_id != want);
	}
	/* Two in one batch do not meet. */
	{
		struct engine_seq s[2] = {
			{ .ids = ids, .n_tokens = N_IDS, .pages = { pages }, .n_logit_rows = 1,
			  .params = &greedy },
			{ .ids = ids + 1, .n_tokens = 20, .pages = { (const uint32_t[]){ 5 } },
			  .n_logit_rows = 1, .params = &greedy },
		};

		CHECK_EQ(step(e, s, 2), 0);
		CHECK_EQ(s[0].out_id, want);
		CHECK(s[1].out_id != want);
	}
	engine_null.close(e);
}

static void check_sampling(void)
{
	const struct engine_args args = { .max_step_tokens = 8, .max_seqs = 1, .n_vocab = 10 };
	struct engine *e = open_null(&args);
	static const uint32_t page = 0;
	struct sampler_params seeded = { .temperature = 1, .seed = 1 }, banning = { 0 };
	struct engine_seq s = { .pages = { &page }, .n_tokens = 1, .n_logit_rows = 1 };
	uint32_t seen[10] = { 0 }, n_other = 0;
	uint32_t bans[9] = { 0 };

	for (uint32_t i = 0; i < 10; i++) {
		uint32_t id = i, plain;

		s.ids = &id;
		s.params = &greedy;
		CHECK_EQ(step(e, &s, 1), 0);
		plain = s.out_id;
		seen[plain]++;
		s.params = &seeded;
		CHECK_EQ(step(e, &s, 1), 0);
		n_other += s.out_id != plain;
		banning.banned = &plain;
		banning.n_banned = 1;
		s.params = &banning;
		CHECK_EQ(step(e, &s, 1), 0);
		CHECK(s.out_id != plain && s.out_id >= 3 && s.out_id < 10);
	}
	CHECK(!seen[0] && !seen[1] && !seen[2]);
	CHECK(n_other > 3);
	for (uint32_t i = 0; i < 6; i++)
		bans[i] = i + 3;
	s.ids = &page; /* any id */
	banning.banned = bans;
	banning.n_banned = 6;
	CHECK_EQ(step(e, &s, 1), 0);
	CHECK_EQ(s.out_id, 9);
	engine_null.close(e);
}

static void check_refusals(void)
{
	const struct engine_args args = { .max_step_tokens = 64, .max_seqs = 2, .n_context = 64 };
	struct engine *e = open_null(&args);
	static const uint32_t pages[] = { 0, 1, 2 }, beyond[] = { 0, N_PAGES };
	uint32_t ids[80] = { 0 };
	struct engine_seq good = { .ids = ids, .n_tokens = 40, .pages = { pages } }, s = good;
	struct engine_seq three[3] = { good, good, good };
	struct engine_batch b = { &s, 1, 39 };

	CHECK_EQ(step(e, &s, 1), 0);
	s.pages[0] = beyond;
	CHECK_EQ(step(e, &s, 1), -EINVAL);
	s = good;
	s.pos0 = 25; /* 65 positions */
	CHECK_EQ(step(e, &s, 1), -EINVAL);
	s = good;
	ids[39] = 49152;
	CHECK_EQ(step(e, &s, 1), -EINVAL);
	ids[39] = 0;
	s.n_tokens = 0;
	CHECK_EQ(step(e, &s, 1), -EINVAL);
	s = good;
	s.n_logit_rows = 41;
	CHECK_EQ(step(e, &s, 1), -EINVAL);
	s = good;
	CHECK_EQ(engine_null.submit(e, &b), -EINVAL); /* the sum is 40 */
	CHECK_EQ(step(e, three, 2), -EINVAL); /* 80 tokens */
	for (int i = 0; i < 3; i++)
		three[i].n_tokens = 1;
	CHECK_EQ(step(e, three, 3), -EINVAL);
	CHECK_EQ(step(e, three, 2), 0);
	engine_null.close(e);
}

static void check_time(void)
{
	const struct engine_args args = { .max_step_tokens = 8, .max_seqs = 1,
					  .null_step_us = 30000 };
	struct engine *e = open_null(&args);
	static const uint32_t page = 0, id = 5;
	struct engine_seq s = { .ids = &id, .n_tokens = 1, .pages = { &page } };
	struct engine_batch b = { &s, 1, 1 };
	struct timespec t0, t1;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	CHECK_EQ(engine_null.submit(e, &b), 0);
	CHECK_EQ(engine_null.submit(e, &b), -EBUSY);
	CHECK_EQ(engine_null.poll(e, true), 1);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	CHECK((t1.tv_sec - t0.tv_sec) * 1000000000L + t1.tv_nsec - t0.tv_nsec >= 30000000);
	engine_null.close(e);
}

int main(void)
{
	CHECK(engine_find("null") == &engine_null);
	CHECK(engine_find("cpu") == &engine_cpu);
	CHECK(!engine_find("gpu"));
	check_chain();
	check_sampling();
	check_refusals();
	check_time();
	return test_done();
}
