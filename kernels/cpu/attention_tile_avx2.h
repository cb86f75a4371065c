/* SPDX-License-Identifier: MIT */
/*
 * attention_tile_avx2: the two products of an attention tile, scores (lanes are positions) and
 * values (lanes are dims), for a few rows of queries at once so that they share each load of the
 * page.
 *
 * Pages are read as halves, or, when many queries pass over them, from a copy widened to f32. In
 * the instances `is_wide` and the counts are constants. attention.c says what is computed.
 */
#ifndef DEVLLM_KERNELS_ATTENTION_TILE_AVX2_H
#define DEVLLM_KERNELS_ATTENTION_TILE_AVX2_H

#include "kernels/cpu/avx2.h"
#include "kernels/kernels.h"

#define SCORE_ROWS 4 /* rows of queries that share a load of K */
#define VALUE_ROWS 3 /* rows of weights that share a load of V */

/* Eight elements of a page in halves, or of its copy in f32. */
INLINE __m256 tile_load(const uint8_t *at, bool is_wide)
{
	return is_wide ? _mm256_load_ps((const float *)at) : avx2_halves(at);
}

/* Dots of n query rows [n_dims] with all 32 positions of k [n_dims][32], into s[row][32]. */
struct score_args {
	const void *k;
	size_t n_dims;
	const float *const *q;
	float (*s)[KERNEL_PAGE_TOKENS];
};

INLINE void score_rows(const struct score_args *a, bool is_wide, int n)
{
	const int n_octets = n == 1 ? 4 : 2; /* of positions, at a time: eight sums under way */
	const size_t size = is_wide ? 4 : 2, n_dims = a->n_dims;
	const float *q[SCORE_ROWS];

	UNROLL
	for (int m = 0; m < n; m++)
		q[m] = a->q[m];
	for (size_t o = 0; o < 4; o += (size_t)n_octets) {
		const uint8_t *at = (const uint8_t *)a->k + 8 * size * o;
		__m256 acc[SCORE_ROWS][4];

		UNROLL
		for (int m = 0; m < n; m++)
			UNROLL
		for (int i = 0; i < n_octets; i++)
			acc[m][i] = _mm256_setzero_ps();
		for (size_t d = 0; d < n_dims; d++, at += KERNEL_PAGE_TOKENS * size) {
			__m256 k[4];

			UNROLL
			for (int i = 0; i < n_octets; i++)
				k[i] = tile_load(at + 8 * size * (size_t)i, is_wide);
			UNROLL
			for (int m = 0; m < n; m++) {
				const __m256 x = _mm256_broadcast_ss(q[m] + d);

				UNROLL
				for (int i = 0; i < n_octets; i++)
					acc[m][i] = _mm256_fmadd_ps(x, k[i], acc[m][i]);
			}
		}
		UNROLL
		for (int m = 0; m < n; m++)
			UNROLL
		for (int i = 0; i < n_octets; i++)
			_mm256_store_ps(a->s[m] + 8 * (o + (size_t)i), acc[m][i]);
	}
}

/*
 * acc[row] = acc[row] * c[row], then += p[row][j] * v[j] for positions from..to-1 ascending;
 * v [32][n_dims], acc rows n_dims apart.
 */
struct value_args {
	const void *v;
	size_t n_dims, from, to;
	const float (*p)[KERNEL_PAGE_TOKENS];
	const float *c;
	float *acc;
};

/* n_octets octets of dims from dim d on. */
INLINE void value_octets(const struct value_args *a, size_t d, int n_octets, bool is_wide, int n)
{
	const size_t size = is_wide ? 4 : 2, stride = a->n_dims * size, to = a->to;
	const uint8_t *at = (const uint8_t *)a->v + a->from * stride + d * size;
	const float(*const weights)[KERNEL_PAGE_TOKENS] = a->p;
	__m256 acc[VALUE_ROWS][4];

	UNROLL
	for (int m = 0; m < n; m++) {
		const __m256 c = _mm256_broadcast_ss(a->c + m);

		UNROLL
		for (int i = 0; i < n_octets; i++)
			acc[m][i] = _mm256_mul_ps(
				_mm256_loadu_ps(a->acc + (size_t)m * a->n_dims + d + 8 * (size_t)i),
				c);
	}
	for (size_t j = a->from; j < to; j++, at += stride) {
		__m256 p[VALUE_ROWS];

		UNROLL
		for (int m = 0; m < n; m++)
			p[m] = _mm256_broadcast_ss(weights[m] + j);
		UNROLL
		for (int i = 0; i < n_octets; i++) {
			const __m256 v = tile_load(at + 8 * size * (size_t)i, is_wide);

			UNROLL
			for (int m = 0; m < n; m++)
				acc[m][i] = _mm256_fmadd_ps(p[m], v, acc[m][i]);
		}
	}
	UNROLL
	for (int m = 0; m < n; m++)
		UNROLL
	for (int i = 0; i < n_octets; i++)
		_mm256_storeu_ps(a->acc + (size_t)m * a->n_dims + d + 8 * (size_t)i, acc[m][i]);
}

INLINE void value_rows(const struct value_args *a, bool is_wide, int n)
{
	size_t d = 0;

	for (; d + 32 <= a->n_dims; d += 32)
		value_octets(a, d, 4, is_wide, n);
	for (; d + 16 <= a->n_dims; d += 16)
		value_octets(a, d, 2, is_wide, n);
	for (; d < a->n_dims; d += 8)
		value_octets(a, d, 1, is_wide, n);
}

#endif
