/* SPDX-License-Identifier: MIT */
/*
 * Proves that Philox equals its published vectors; that top-k and top-p keep exactly what a full
 * sort keeps, ties to the lowest id; that draws follow the softmax (chi-square, fixed seeds); and
 * that NaN, infinities, bans and extreme parameters give a defined id.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/sampler.h"
#include "tests/test.h"

#define V 200

static uint64_t state = 1;

static uint32_t next(void)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33);
}

/* Known answers of Random123's kat_vectors, philox4x32 with 10 rounds. */
static void check_philox(void)
{
	static const uint32_t vectors[3][10] = {
		{ 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
		{ 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
		  0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
		{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
		  0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
	};
	uint32_t out[4];

	for (int i = 0; i < 3; i++) {
		sampler_philox(vectors[i], vectors[i] + 4, out);
		CHECK(!memcmp(out, vectors[i] + 6, sizeof(out)));
	}
}

static uint32_t draw(const struct sampler_params *p, uint32_t index, const float *x, uint32_t n)
{
	static uint64_t scratch[1 << 16];

	if (sampler_scratch_bytes(n) > sizeof(scratch))
		abort();
	return sampler_draw(p, index, x, n, scratch);
}

/* ---- against a full sort --------------------------------------------------------------------- */

struct item {
	float logit;
	uint32_t id;
};

static int by_logit(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit < y->logit ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/*
 * The ids that may be drawn, by sorting. Probabilities in double: an id so near to the edge of
 * top-p that rounding decides is marked 2 (may or may not be drawn).
 */
static void keep_by_sort(const struct sampler_params *p, const float *x, uint32_t n, uint8_t *keep)
{
	struct item *items = calloc(n, sizeof(*items));
	double sum = 0, so_far = 0;
	uint32_t n_left = n;

	memset(keep, 0, n);
	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct item){ x[i], i };
	qsort(items, n, sizeof(*items), by_logit);
	if (p->top_k && p->top_k < n)
		n_left = p->top_k;
	for (uint32_t i = 0; i < n_left; i++)
		sum += exp(((double)items[i].logit - (double)items[0].logit) /
			   (double)p->temperature);
	for (uint32_t i = 0; i < n_left; i++) {
		const double before = so_far / sum - (double)p->top_p;

		if (i && p->top_p < 1 && before >= 1e-6)
			break;
		keep[items[i].id] = i && p->top_p < 1 && before > -1e-6 ? 2 : 1;
		so_far += exp(((double)items[i].logit - (double)items[0].logit) /
			      (double)p->temperature);
	}
	free(items);
}

/* Many draws: none outside what the sort keeps, and all that are likely enough are seen. */
static void check_filter(const struct sampler_params *p, const float *x, uint32_t n)
{
	struct sampler_params q = *p;
	uint8_t keep[V], seen[V] = { 0 };
	uint32_t n_kept = 0, n_seen = 0, n_outside = 0;

	keep_by_sort(p, x, n, keep);
	for (uint32_t i = 0; i < 800; i++) {
		const uint32_t id = draw(&q, i, x, n);

		n_outside += !keep[id];
		seen[id] = 1;
	}
	CHECK_EQ(n_outside, 0);
	for (uint32_t i = 0; i < n; i++) {
		n_kept += keep[i] == 1;
		n_seen += seen[i];
	}
	/* Few enough and flat enough by the choice of temperatures: each one comes up. */
	if (n_kept <= 40 && p->temperature >= 2)
		CHECK(n_seen >= n_kept);
}

static void check_filters(void)
{
	static const uint32_t ks[] = { 0, 1, 2, 5, 40, 199, 200, 5000 };
	static const float ps[] = { 1, 0.999f, 0.9f, 0.5f, 0.01f, 0 };
	static const float ts[] = { 0.3f, 1, 3 };
	float x[V];

	for (int kind = 0; kind < 3; kind++) {
		/* Distinct values, many ties, few values of both signs. */
		for (uint32_t i = 0; i < V; i++)
			x[i] = kind == 0 ? (float)(next() % 100000) / 12500.0f - 4
			     : kind == 1 ? (float)(next() % 12) / 2
					 : (float)(next() % 3) - 1;
		for (size_t k = 0; k < sizeof(ks) / sizeof(*ks); k++)
			for (size_t i = 0; i < sizeof(ps) / sizeof(*ps); i++)
				for (size_t t = 0; t < sizeof(ts) / sizeof(*ts); t++)
					check_filter(&(struct sampler_params){
						.temperature = ts[t], .top_k = ks[k],
						.top_p = ps[i], .seed = 99 + k }, x, V);
	}
}

/* ---- the distribution ------------------------------------------------------------------------ */

static void check_chi_square(float temperature, uint64_t seed)
{
	enum { N = 16, DRAWS = 40000 };
	struct sampler_params p = { .temperature = temperature, .top_p = 1, .seed = seed };
	uint32_t counts[N] = { 0 };
	double sum = 0, chi = 0;
	float x[N];

	for (int i = 0; i < N; i++) {
		x[i] = (float)i * 0.2f - 1;
		sum += exp((double)x[i] / (double)temperature);
	}
	for (uint32_t i = 0; i < DRAWS; i++)
		counts[draw(&p, i, x, N)]++;
	for (int i = 0; i < N; i++) {
		const double want = DRAWS * exp((double)x[i] / (double)temperature) / sum;

		chi += (counts[i] - want) * (counts[i] - want) / want;
	}
	printf("temperature %g: chi-square %.1f of 15\n", (double)temperature, chi);
	CHECK(chi < 37.7); /* the 99.9 % point */
	CHECK(chi > 3.5);  /* as even as this is no chance either */
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void check_greedy(void)
{
	const struct sampler_params greedy = { 0 };
	const uint32_t bans[] = { 2, 4, 7 };
	const struct sampler_params banned = { .banned = bans, .n_banned = 3 };
	const float ties[] = { 1, 5, 7, 7, 7, 0, NAN, 9e9f };

	CHECK_EQ(draw(&greedy, 0, ties, 7), 2);
	CHECK_EQ(draw(&greedy, 0, ties, 8), 7);
	CHECK_EQ(draw(&banned, 0, ties, 8), 3);
}

static void check_edges(void)
{
	const uint32_t bans[] = { 0, 1, 2 };
	const float nans[] = { NAN, NAN, NAN }, minus[] = { -INFINITY, -INFINITY, NAN };
	const float inf[] = { 1, INFINITY, 2, INFINITY }, one[] = { NAN, -3, NAN };
	const float zeros[] = { -0.0f, 0.0f, -0.0f };
	struct sampler_params p = { .temperature = 1, .top_p = 1 };
	uint32_t seen[4] = { 0 };

	CHECK_EQ(draw(&(struct sampler_params){ 0 }, 0, nans, 3), 0);
	CHECK_EQ(draw(&p, 0, nans, 3), 0);
	CHECK_EQ(draw(&p, 0, minus, 3), 0);
	CHECK_EQ(draw(&p, 0, one, 3), 1);
	for (uint32_t i = 0; i < 100; i++)
		seen[draw(&p, i, inf, 4)]++;
	CHECK(seen[1] > 20 && seen[3] > 20 && seen[0] + seen[2] == 0);
	/* -0 and 0 tie: the lowest id stays. */
	p.top_k = 1;
	for (uint32_t i = 0; i < 10; i++)
		CHECK_EQ(draw(&p, i, zeros, 3), 0);
	p.banned = bans;
	p.n_banned = 2;
	CHECK_EQ(draw(&p, 0, zeros, 3), 2);
	CHECK_EQ(draw(&p, 0, nans, 3), 2);
	p.n_banned = 3;
	CHECK_EQ(draw(&p, 0, zeros, 3), 0);
	/* Temperatures next to zero are greedy, huge ones flat. */
	p = (struct sampler_params){ .temperature = 1e-38f, .top_p = 1 };
	CHECK_EQ(draw(&p, 0, one, 3), 1);
	p.temperature = 3e38f;
	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < 300; i++)
		seen[draw(&p, i, (const float[]){ 1, 20, -30 }, 3)]++;
	CHECK(seen[0] > 60 && seen[1] > 60 && seen[2] > 60);
}

/* The id depends on seed and index, and on nothing that was drawn before. */
static void check_keys(void)
{
	struct sampler_params p = { .temperature = 3, .top_p = 1, .seed = 5 };
	uint32_t first[50], n_other_seed = 0, n_other_index = 0;
	float x[V];

	for (uint32_t i = 0; i < V; i++)
		x[i] = (float)(i % 17);
	for (uint32_t i = 0; i < 50; i++)
		first[i] = draw(&p, i, x, V);
	for (uint32_t i = 50; i-- > 0;) {
		CHECK_EQ(draw(&p, i, x, V), first[i]);
		n_other_index += draw(&p, i + 1000, x, V) != first[i];
		p.seed ^= (uint64_t)1 << 40; /* the key's high word counts */
		n_other_seed += draw(&p, i, x, V) != first[i];
		p.seed ^= (uint64_t)1 << 40;
	}
	CHECK(n_other_index > 40 && n_other_seed > 40);
}

int main(void)
{
	check_philox();
	check_filters();
	check_chi_square(1, 1);
	check_chi_square(0.5f, 2);
	check_chi_square(4, 3);
	check_greedy();
	check_edges();
	check_keys();
	return test_done();
}
