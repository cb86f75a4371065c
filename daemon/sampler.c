/* SPDX-License-Identifier: MIT */
/*
 * sampler: see daemon/sampler.h.
 *
 * Floats become integers at once: a logit its rank (an order-preserving u32, 0 for what may not be
 * drawn), a probability its mass. From there all is exact, so the filters need no sort: a threshold
 * rank is found by a histogram of the ranks' leading bits, refined inside the one bin in which the
 * wanted amount is reached (radix selection), three passes of 11, 11 and 10 bits. top-k is that
 * selection with every token weighing 1, top-p the same with masses. Of tokens that share the
 * threshold rank the lowest ids stay.
 */
#include "daemon/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define RADIX_BITS 11
#define RADIX_BINS (1u << RADIX_BITS)
#define MASS_BITS 40 /* of the likeliest token; a vocabulary of 2^22 still sums below 2^63 */

/* The scratch: [n] each, then the histogram. */
struct draw {
	uint64_t *mass;
	uint64_t *bins; /* [RADIX_BINS] */
	uint32_t *rank;
	uint32_t n;
};

size_t sampler_scratch_bytes(uint32_t n_vocab)
{
	return RADIX_BINS * sizeof(uint64_t) +
	       (size_t)n_vocab * (sizeof(uint64_t) + sizeof(uint32_t));
}

void sampler_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
	uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
	uint32_t k0 = key[0], k1 = key[1];

	for (int round = 0; round < 10; round++) {
		const uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;

		x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
		x1 = (uint32_t)b;
		x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
		x3 = (uint32_t)a;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	out[0] = x0;
	out[1] = x1;
	out[2] = x2;
	out[3] = x3;
}

static bool is_banned(const struct sampler_params *p, uint32_t id)
{
	for (uint32_t i = 0; i < p->n_banned; i++)
		if (p->banned[i] == id)
			return true;
	return false;
}

static uint32_t lowest_allowed(const struct sampler_params *p, uint32_t n)
{
	for (uint32_t id = 0; id < n; id++)
		if (!is_banned(p, id))
			return id;
	return 0;
}

/* The id of the greatest logit; NaN compares false and so never wins. */
static uint32_t draw_greedy(const struct sampler_params *p, const float *logits, uint32_t n)
{
	float best = -INFINITY;
	uint32_t id = n;

	for (uint32_t i = 0; i < n; i++) {
		if (logits[i] > best && !is_banned(p, i)) {
			best = logits[i];
			id = i;
		}
	}
	return id < n ? id : lowest_allowed(p, n);
}

/* Order-preserving: a < b as floats if and only if rank(a) < rank(b); NaN and -infinity are 0. */
static uint32_t rank_of(float x)
{
	uint32_t bits;

	if (!(x > -INFINITY))
		return 0;
	x += 0.0f; /* -0 and 0 tie */
	memcpy(&bits, &x, sizeof(bits));
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/*
 * 2^MASS_BITS * exp(x) for x < 0, rounded down. Only additions, multiplications and exact scaling
 * in double, so the bits are the same everywhere: x = n ln2 + r, |r| <= ln2 / 2, Taylor to r^7
 * (error below 2^-27, as fine as the logits are).
 */
static uint64_t mass_of(double x)
{
	static const double factors[] = { 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0,
					  1.0 };
	double n, r, sum = 1.0 / 5040;
	uint64_t bits;

	if (!(x >= -MASS_BITS * 0.6931471805599454))
		return 0;
	n = (double)(int64_t)(x * 1.4426950408889634 - 0.5); /* to nearest, as x < 0 */
	r = x - n * 0.6931471805599453;
	for (size_t i = 0; i < sizeof(factors) / sizeof(*factors); i++)
		sum = sum * r + factors[i];
	bits = (uint64_t)(1023 + MASS_BITS + (int64_t)n) << 52;
	memcpy(&r, &bits, sizeof(r));
	return (uint64_t)(sum * r);
}

/* Ranks of all ids; false when nothing may be drawn. */
static bool rank_all(struct draw *d, const struct sampler_params *p, const float *logits)
{
	uint32_t top = 0;

	for (uint32_t i = 0; i < d->n; i++)
		d->rank[i] = rank_of(logits[i]);
	for (uint32_t i = 0; i < p->n_banned; i++)
		if (p->banned[i] < d->n)
			d->rank[p->banned[i]] = 0;
	for (uint32_t i = 0; i < d->n; i++)
		top = d->rank[i] > top ? d->rank[i] : top;
	return top;
}

/* Masses of the ids that are left, 0 for the others. */
static void weigh(struct draw *d, const struct sampler_params *p, const float *logits)
{
	const double inverse = 1.0 / (double)p->temperature;
	float max = -INFINITY;

	for (uint32_t i = 0; i < d->n; i++)
		if (d->rank[i] && logits[i] > max)
			max = logits[i];
	for (uint32_t i = 0; i < d->n; i++) {
		if (!d->rank[i])
			d->mass[i] = 0;
		else if (logits[i] >= max) /* infinity minus infinity is not a number */
			d->mass[i] = (uint64_t)1 << MASS_BITS;
		else
			d->mass[i] = mass_of(((double)logits[i] - (double)max) * inverse);
	}
}

/*
 * Keeps the likeliest ids until their amounts reach `wanted`, which the sum of all must not fall
 * below; the others get rank 0. The amount of an id is its mass, or 1.
 */
static void keep_top(struct draw *d, uint64_t wanted, bool is_mass)
{
	uint32_t prefix = 0, mask = 0;

	for (int shift = 32 - RADIX_BITS; mask != UINT32_MAX;) {
		const uint32_t n_bins = shift ? RADIX_BINS : 1u << (32 - 2 * RADIX_BITS);
		uint32_t bin;

		memset(d->bins, 0, RADIX_BINS * sizeof(*d->bins));
		for (uint32_t i = 0; i < d->n; i++)
			if (d->rank[i] && (d->rank[i] & mask) == prefix)
				d->bins[(d->rank[i] >> shift) & (n_bins - 1)] +=
					is_mass ? d->mass[i] : 1;
		for (bin = n_bins - 1; bin && d->bins[bin] < wanted; bin--)
			wanted -= d->bins[bin];
		prefix |= bin << shift;
		mask |= (n_bins - 1) << shift;
		shift = shift > RADIX_BITS ? shift - RADIX_BITS : 0;
	}
	/* prefix is the threshold rank, wanted what ids of that very rank have to give. */
	for (uint32_t i = 0; i < d->n; i++) {
		const uint64_t amount = is_mass ? d->mass[i] : 1;

		if (d->rank[i] > prefix)
			continue;
		if (d->rank[i] == prefix && wanted)
			wanted -= amount < wanted ? amount : wanted;
		else
			d->rank[i] = 0;
	}
}

static uint64_t total_mass(const struct draw *d)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < d->n; i++)
		sum += d->mass[i];
	return sum;
}

static void filter_top_k(struct draw *d, uint32_t k)
{
	uint32_t n_left = 0;

	for (uint32_t i = 0; i < d->n; i++)
		n_left += d->rank[i] != 0;
	if (k && k < n_left)
		keep_top(d, k, false);
}

/* The fewest likeliest ids that have together at least p of the mass; one at least. */
static void filter_top_p(struct draw *d, double p)
{
	const uint64_t total = total_mass(d);
	uint64_t wanted = p > 0 ? (uint64_t)ceil(p * (double)total) : 1;

	if (!(p < 1))
		return;
	wanted = wanted < 1 ? 1 : wanted;
	keep_top(d, wanted < total ? wanted : total, true);
	for (uint32_t i = 0; i < d->n; i++)
		if (!d->rank[i])
			d->mass[i] = 0;
}

uint32_t sampler_draw(const struct sampler_params *p, uint32_t token_index, const float *logits,
		      uint32_t n_vocab, void *scratch)
{
	const uint32_t counter[4] = { token_index };
	const uint32_t key[2] = { (uint32_t)p->seed, (uint32_t)(p->seed >> 32) };
	struct draw d = { .n = n_vocab };
	uint64_t point;
	uint32_t random[4], id = 0;

	if (!(p->temperature > 0))
		return draw_greedy(p, logits, n_vocab);
	d.mass = scratch;
	d.bins = d.mass + n_vocab;
	d.rank = (uint32_t *)(d.bins + RADIX_BINS);
	if (!rank_all(&d, p, logits))
		return lowest_allowed(p, n_vocab);
	filter_top_k(&d, p->top_k);
	weigh(&d, p, logits);
	filter_top_p(&d, (double)p->top_p);
	/* A point in [0, total): 64 random bits as a fraction. */
	sampler_philox(counter, key, random);
	point = (uint64_t)((unsigned __int128)((uint64_t)random[1] << 32 | random[0]) *
			   total_mass(&d) >> 64);
	while (d.mass[id] <= point)
		point -= d.mass[id++];
	return id;
}
