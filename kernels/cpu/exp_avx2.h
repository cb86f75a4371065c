/* SPDX-License-Identifier: MIT */
/*
 * exp_avx2: eight lanes of exp.h, the same operations in the same order, so the same bits.
 */
#ifndef DEVLLM_KERNELS_EXP_AVX2_H
#define DEVLLM_KERNELS_EXP_AVX2_H

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/exp.h"

INLINE __m256 exp_avx2(__m256 x)
{
	const __m256 round = _mm256_set1_ps(EXP_ROUND);
	__m256 is_low = _mm256_cmp_ps(x, _mm256_set1_ps(EXP_LOW), _CMP_LT_OQ), t, n, r, p;
	__m256i k, half;

	x = _mm256_min_ps(_mm256_set1_ps(EXP_HIGH), x); /* a NaN comes from the second */
	t = _mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), round);
	n = _mm256_sub_ps(t, round);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_HIGH), x);
	r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_LOW), r);
	p = _mm256_fmadd_ps(_mm256_set1_ps(EXP_P4), r, _mm256_set1_ps(EXP_P3));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_P2));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_P1));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_P0));
	p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
	p = _mm256_add_ps(p, _mm256_set1_ps(1));
	k = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(round));
	half = _mm256_srai_epi32(k, 1);
	k = _mm256_add_epi32(_mm256_sub_epi32(k, half), _mm256_set1_epi32(127));
	half = _mm256_add_epi32(half, _mm256_set1_epi32(127));
	p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(half, 23)));
	p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(k, 23)));
	return _mm256_andnot_ps(is_low, p);
}

INLINE __m256 tanh_avx2(__m256 x)
{
	const __m256 one = _mm256_set1_ps(1), two = _mm256_set1_ps(2);
	__m256 e = exp_avx2(_mm256_add_ps(x, x));

	return _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
}

/* x / (1 + exp(y)) */
INLINE __m256 gate_avx2(__m256 x, __m256 y)
{
	return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), exp_avx2(y)));
}

INLINE __m256 silu_avx2(__m256 x)
{
	return gate_avx2(x, _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
}

INLINE __m256 gelu_tanh_avx2(__m256 x)
{
	__m256 y = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(GELU_C3),
				   _mm256_set1_ps(GELU_C1));

	return gate_avx2(x, _mm256_mul_ps(x, y));
}

#endif
