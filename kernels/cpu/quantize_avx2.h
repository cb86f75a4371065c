/* SPDX-License-Identifier: MIT */
/*
 * quantize_avx2: one block of 32 activations to int8, eight lanes at a time; the bits of
 * quantize.h.
 */
#ifndef DEVLLM_KERNELS_QUANTIZE_AVX2_H
#define DEVLLM_KERNELS_QUANTIZE_AVX2_H

#include <math.h>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/f16.h"
#include "kernels/kernels.h"

/* The largest of |x[32]|, as bits: infinity and NaN are above every number. */
INLINE uint32_t max_bits_avx2(const __m256 *v)
{
	const __m256i abs = _mm256_set1_epi32(0x7fffffff);
	__m256i max = _mm256_and_si256(_mm256_castps_si256(v[0]), abs);
	__m128i m;

	for (int i = 1; i < 4; i++)
		max = _mm256_max_epi32(max, _mm256_and_si256(_mm256_castps_si256(v[i]), abs));
	m = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(m);
}

/* Sum of eight i32. */
INLINE int sum_i32_avx2(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* Rounds v * inverse into q[32]; sums of each half. */
INLINE void round_block_avx2(const __m256 *v, float inverse, int8_t *q, int16_t *sum)
{
	const __m256i limit = _mm256_set1_epi32(127), low = _mm256_set1_epi32(-127);
	const __m256 scale = _mm256_set1_ps(inverse);
	__m256i n[4], bytes;

	for (int i = 0; i < 4; i++) {
		n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], scale));
		n[i] = _mm256_max_epi32(_mm256_min_epi32(n[i], limit), low);
	}
	sum[0] = (int16_t)sum_i32_avx2(_mm256_add_epi32(n[0], n[1]));
	sum[1] = (int16_t)sum_i32_avx2(_mm256_add_epi32(n[2], n[3]));
	bytes = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
	bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	_mm256_storeu_si256((__m256i *)q, bytes);
}

/* x[32] into block `at` of act, counted over all rows. */
INLINE void quantize_block_avx2(const float *x, const struct kernel_act *act, size_t at)
{
	__m256 v[4];
	uint32_t max;
	float d, inverse;

	for (int i = 0; i < 4; i++)
		v[i] = _mm256_loadu_ps(x + 8 * i);
	max = max_bits_avx2(v);
	d = f32_of_bits(max) * (1.0f / 127);
	inverse = 1 / d;
	if (max < 0x7f800000 && !isinf(inverse)) {
		round_block_avx2(v, inverse, act->q + at * KERNEL_BLOCK, act->sum + 2 * at);
	} else {
		d = max >= 0x7f800000 ? NAN : 0;
		memset(act->q + at * KERNEL_BLOCK, 0, KERNEL_BLOCK);
		memset(act->sum + 2 * at, 0, 2 * sizeof(*act->sum));
	}
	act->d[at] = d;
	act->dsum[at] = d * (float)(act->sum[2 * at] + act->sum[2 * at + 1]);
}

#endif
