/* SPDX-License-Identifier: MIT */
/*
 * norm on AVX2: the 16 virtual lanes of norm.c are two registers. Workers split rows.
 */
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quantize_avx2.h"

static float sum_of_squares(const float *x, size_t n)
{
	__m256 low = _mm256_setzero_ps(), high = low, v;
	size_t i = 0, left;

	for (; i + 16 <= n; i += 16) {
		v = _mm256_loadu_ps(x + i);
		low = _mm256_fmadd_ps(v, v, low);
		v = _mm256_loadu_ps(x + i + 8);
		high = _mm256_fmadd_ps(v, v, high);
	}
	/* Lanes past the end add +0 to sums that are never -0. */
	left = n - i;
	v = _mm256_maskload_ps(x + i, avx2_mask(left < 8 ? left : 8));
	low = _mm256_fmadd_ps(v, v, low);
	v = _mm256_maskload_ps(x + i + 8, avx2_mask(left > 8 ? left - 8 : 0));
	high = _mm256_fmadd_ps(v, v, high);
	return avx2_sum(low, high);
}

/* y[n] = x * r * weight, n up to 32. */
static void scale_block(const float *x, const float *weight, float r, size_t n, float *y)
{
	for (size_t i = 0; i < n; i += 8) {
		__m256i mask = avx2_mask(n - i < 8 ? n - i : 8);
		__m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(r));

		v = _mm256_mul_ps(v, _mm256_maskload_ps(weight + i, mask));
		_mm256_store_ps(y + i, v);
	}
}

static void norm_row(const struct kernel_norm_args *a, size_t row)
{
	const float *x = a->x + row * a->ldx;
	size_t n = a->n_cols, n_blocks = n / KERNEL_BLOCK;
	float r = 1 / sqrtf(sum_of_squares(x, n) / (float)n + a->eps);
	float y[KERNEL_BLOCK] __attribute__((aligned(32)));

	for (size_t k = 0; k < n; k += KERNEL_BLOCK) {
		size_t left = n - k < KERNEL_BLOCK ? n - k : KERNEL_BLOCK;

		scale_block(x + k, a->weight + k, r, left, y);
		if (a->out)
			memcpy(a->out + row * n + k, y, left * sizeof(*y));
		if (a->q && left == KERNEL_BLOCK)
			quantize_block_avx2(y, a->q, row * n_blocks + k / KERNEL_BLOCK);
	}
}

void kernel_norm_avx2(const struct kernel_norm_args *a)
{
	size_t from, to;

	layout_share(a->part, a->n_rows, &from, &to);
	for (size_t row = from; row < to; row++)
		norm_row(a, row);
}
