/* SPDX-License-Identifier: MIT */
/*
 * kernel_test: what the kernel tests share: a seeded generator, aligned memory with a canary
 * behind it, random GGUF blocks and their values in double by the published formats, and bitwise
 * comparison in which a NaN equals a NaN.
 */
#ifndef DEVLLM_KERNEL_TEST_H
#define DEVLLM_KERNEL_TEST_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/test.h"

/* The table under test beside the reference; NULL, said once, where this CPU has none. */
static inline const struct kernel_ops *fast_ops(void)
{
	static int has_told;
	const struct kernel_ops *ops = kernels_find("avx2");

	if (!ops && !has_told++)
		printf("no AVX2 here: only the reference is checked\n");
	return ops;
}

/* splitmix64 */
static inline uint64_t random_u64(void)
{
	static uint64_t state = 20240229;
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_u64() % n);
}

/* -1..1 */
static inline float random_float(void)
{
	return (float)(int64_t)random_u64() * 0x1p-63f;
}

/* 64-byte aligned, zeroed. */
static inline void *get_mem(size_t n_bytes)
{
	void *p = aligned_alloc(64, (n_bytes + 127) / 64 * 64);

	if (!p)
		abort();
	memset(p, 0, (n_bytes + 127) / 64 * 64);
	return p;
}

static inline float *random_floats(size_t n, float scale)
{
	float *x = get_mem(n * sizeof(*x));

	for (size_t i = 0; i < n; i++)
		x[i] = random_float() * scale;
	return x;
}

/* Index of the first element that differs, or -1. */
static inline long first_difference(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&a[i], &b[i], sizeof(*a)) && !(isnan(a[i]) && isnan(b[i])))
			return (long)i;
	return -1;
}

static inline void fill_act(struct kernel_act *act, uint32_t n_rows, uint32_t n_cols)
{
	kernels_act_init(act, n_rows, n_cols, get_mem(kernels_act_bytes(n_rows, n_cols)));
}

/* f32 is the first plane, so it is the memory. */
static inline void free_act(struct kernel_act *act)
{
	free(act->f32);
}

/* Whether all four quantized planes of n_rows are the same. */
static inline int same_act(const struct kernel_act *a, const struct kernel_act *b, size_t n_rows)
{
	size_t n_blocks = n_rows * (a->n_cols / KERNEL_BLOCK);

	return !memcmp(a->q, b->q, n_blocks * KERNEL_BLOCK) &&
	       !memcmp(a->sum, b->sum, n_blocks * 2 * sizeof(*a->sum)) &&
	       first_difference(a->d, b->d, n_blocks) < 0 &&
	       first_difference(a->dsum, b->dsum, n_blocks) < 0;
}

static const uint32_t all_types[] = {KERNEL_F32,  KERNEL_F16,  KERNEL_BF16, KERNEL_Q8_0,
				     KERNEL_Q4_0, KERNEL_Q4_1, KERNEL_Q5_0, KERNEL_Q5_1};
#define N_TYPES (sizeof(all_types) / sizeof(*all_types))

static inline int is_float_type(uint32_t type)
{
	return type == KERNEL_F32 || type == KERNEL_F16 || type == KERNEL_BF16;
}

/* Bytes of a GGUF block of 32, or of a float, and the elements it holds. */
static inline size_t raw_bytes(uint32_t type)
{
	switch (type) {
	case KERNEL_F32:
		return 4;
	case KERNEL_Q8_0:
		return 34;
	case KERNEL_Q4_0:
		return 18;
	case KERNEL_Q4_1:
		return 20;
	case KERNEL_Q5_0:
		return 22;
	case KERNEL_Q5_1:
		return 24;
	default:
		return 2;
	}
}

static inline size_t raw_row_bytes(uint32_t type, size_t n_cols)
{
	return raw_bytes(type) * (is_float_type(type) ? n_cols : n_cols / 32);
}

/* Value of a half, by its definition. */
static inline double half_value(uint16_t h)
{
	int exp = h >> 10 & 31, frac = h & 1023;
	double v = exp == 31 ? (frac ? NAN : INFINITY)
		   : exp     ? ldexp(1024 + frac, exp - 25)
			     : ldexp(frac, -24);

	return h & 0x8000 ? -v : v;
}

/* n_rows x n_cols of random weights in GGUF's bytes: halves of 2^-7..2^-3 with either sign. */
static inline uint8_t *random_raw(uint32_t type, size_t n_rows, size_t n_cols)
{
	size_t n = n_rows * raw_row_bytes(type, n_cols), size = raw_bytes(type);
	uint8_t *raw = get_mem(n);

	for (size_t i = 0; i < n; i++)
		raw[i] = (uint8_t)random_u64();
	for (size_t i = 0; i < n; i += size) {
		uint16_t h[2];
		float f = random_float();

		for (int j = 0; j < 2; j++)
			h[j] = (uint16_t)(random_below(2) << 15 | (8 + random_below(4)) << 10 |
					  random_below(1024));
		if (type == KERNEL_F32)
			memcpy(raw + i, &f, 4);
		else if (type == KERNEL_BF16)
			memcpy(raw + i, (uint8_t *)&f + 2, 2);
		else
			memcpy(raw + i, h, type == KERNEL_Q4_1 || type == KERNEL_Q5_1 ? 4 : 2);
	}
	return raw;
}

/* Element k of a raw row, in double. */
static inline double raw_value(uint32_t type, const uint8_t *row, size_t k)
{
	const uint8_t *b = row + k / 32 * raw_bytes(type);
	size_t e = k % 32;
	uint16_t d, m;
	uint32_t high, bits;
	float f;
	int low;

	if (is_float_type(type)) {
		b = row + k * raw_bytes(type);
		memcpy(&d, b, 2);
		bits = (uint32_t)d << 16;
		memcpy(&f, type == KERNEL_F32 ? (const void *)b : &bits, 4);
		return type == KERNEL_F16 ? half_value(d) : (double)f;
	}
	memcpy(&d, b, 2);
	memcpy(&m, b + 2, 2);
	if (type == KERNEL_Q8_0)
		return half_value(d) * (int8_t)b[2 + e];
	b += type == KERNEL_Q4_1 || type == KERNEL_Q5_1 ? 4 : 2;
	if (type == KERNEL_Q4_0 || type == KERNEL_Q4_1) {
		low = e < 16 ? b[e] & 15 : b[e - 16] >> 4;
		return type == KERNEL_Q4_0 ? half_value(d) * (low - 8)
					   : half_value(d) * low + half_value(m);
	}
	memcpy(&high, b, 4);
	b += 4;
	low = (e < 16 ? b[e] & 15 : b[e - 16] >> 4) | (int)(high >> e & 1) << 4;
	return type == KERNEL_Q5_0 ? half_value(d) * (low - 16)
				   : half_value(d) * low + half_value(m);
}

/* Packs raw with ops, planes from get_mem; canaries behind both planes are checked. */
static inline void pack_raw(const struct kernel_ops *ops, struct kernel_weight *w, const void *raw)
{
	struct kernel_pack_args a = {.part = {0, 2}, .raw = raw, .w = w};

	ops->pack_bytes(w->type, w->n_rows, w->n_cols, &w->quants_bytes, &w->scales_bytes);
	w->quants = get_mem(w->quants_bytes + 8);
	w->scales = get_mem(w->scales_bytes + 8);
	memset(w->quants, 0x5a, w->quants_bytes + 8);
	memset(w->scales, 0x5a, w->scales_bytes + 8);
	for (; a.part.rank < 2; a.part.rank++)
		ops->pack(&a);
	CHECK(!memcmp(w->quants + w->quants_bytes, "ZZZZZZZZ", 8));
	CHECK(!memcmp(w->scales + w->scales_bytes, "ZZZZZZZZ", 8));
}

static inline void free_weight(struct kernel_weight *w)
{
	free(w->quants);
	free(w->scales);
}

#endif
