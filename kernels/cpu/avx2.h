/* SPDX-License-Identifier: MIT */
/*
 * avx2: the few idioms that the AVX2 ops share. Included only by files compiled with
 * -mavx2 -mfma -mf16c; nothing here runs before kernels_find() has asked the CPU.
 */
#ifndef DEVLLM_KERNELS_AVX2_H
#define DEVLLM_KERNELS_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* Loops over registers must be unrolled whole, or the registers become memory. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define INLINE static inline __attribute__((always_inline))

/*
 * Keeps a chain of integer additions as it is written. gcc makes a tree of it, which needs more
 * registers than there are (a third of the speed in the largest tile); clang does not.
 */
#ifdef __clang__
#define AVX2_KEEP_ORDER(v) (void)(v)
#else
#define AVX2_KEEP_ORDER(v) __asm__("" : "+x"(v))
#endif

/* Four bytes at p in all lanes. */
INLINE __m256i avx2_dword(const void *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return _mm256_set1_epi32(v);
}

INLINE __m256i avx2_load(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

/* Eight halves at p. */
INLINE __m256 avx2_halves(const void *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* The first n of eight lanes, n in 0..8, for maskload and maskstore. */
INLINE __m256i avx2_mask(size_t n)
{
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

/* Sum of 16 lanes (low: 0-7, high: 8-15) by the tree 8-4-2-1. */
INLINE float avx2_sum(__m256 low, __m256 high)
{
	__m256 eight = _mm256_add_ps(low, high);
	__m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
	__m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));

	return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#endif
