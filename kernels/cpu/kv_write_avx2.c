/* SPDX-License-Identifier: MIT */
/*
 * kv_write on AVX2: the bits of kv_write.c. Workers split rows of the step.
 */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/page.h"

/* Pairs (i, i + half); y may be x. */
static void rotate_neox(const float *x, float *y, size_t half, const float *cos, const float *sin)
{
	for (size_t i = 0; i < half; i += 8) {
		__m256i mask = avx2_mask(half - i < 8 ? half - i : 8);
		__m256 x0 = _mm256_maskload_ps(x + i, mask);
		__m256 x1 = _mm256_maskload_ps(x + half + i, mask);
		__m256 c = _mm256_maskload_ps(cos + i, mask), s = _mm256_maskload_ps(sin + i, mask);

		_mm256_maskstore_ps(y + i, mask, _mm256_fmsub_ps(x0, c, _mm256_mul_ps(x1, s)));
		_mm256_maskstore_ps(y + half + i, mask,
				    _mm256_fmadd_ps(x0, s, _mm256_mul_ps(x1, c)));
	}
}

/* Pairs (2i, 2i + 1), four at a time; y may be x. */
static void rotate_norm(const float *x, float *y, size_t half, const float *cos, const float *sin)
{
	const __m256 sign = _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0);
	const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);

	for (size_t i = 0; i < half; i += 4) {
		size_t n = half - i < 4 ? half - i : 4;
		__m256i pairs = avx2_mask(n), mask = avx2_mask(2 * n);
		__m256 v = _mm256_maskload_ps(x + 2 * i, mask);
		__m256 c = _mm256_maskload_ps(cos + i, pairs),
		       s = _mm256_maskload_ps(sin + i, pairs);
		__m256 x0 = _mm256_moveldup_ps(v), x1 = _mm256_movehdup_ps(v);

		c = _mm256_permutevar8x32_ps(c, twice);
		s = _mm256_permutevar8x32_ps(s, twice);
		/* even lanes: fma(x0, c, -(x1 * s)), odd: fma(x0, s, x1 * c) */
		x1 = _mm256_xor_ps(_mm256_mul_ps(x1, _mm256_blend_ps(s, c, 0xaa)), sign);
		v = _mm256_fmadd_ps(x0, _mm256_blend_ps(c, s, 0xaa), x1);
		_mm256_maskstore_ps(y + 2 * i, mask, v);
	}
}

static void rotate(const struct kernel_kv_write_args *a, const float *x, float *y, size_t pos)
{
	size_t n_dims = a->rope == KERNEL_ROPE_NONE ? 0 : a->rope_dims, half = n_dims / 2;
	const float *cos = a->rope_cos + pos * half, *sin = a->rope_sin + pos * half;

	if (a->rope == KERNEL_ROPE_NEOX)
		rotate_neox(x, y, half, cos, sin);
	else if (a->rope == KERNEL_ROPE_NORM)
		rotate_norm(x, y, half, cos, sin);
	if (y != x)
		memcpy(y + n_dims, x + n_dims, (a->kv.head_dim - n_dims) * sizeof(*y));
}

/* n floats to halves, `stride` halves apart. */
static void put_halves(const float *x, size_t n, uint16_t *to, size_t stride)
{
	for (size_t i = 0; i < n; i += 8) {
		size_t left = n - i < 8 ? n - i : 8;
		__m256 v = _mm256_maskload_ps(x + i, avx2_mask(left));
		uint16_t h[8];

		_mm_storeu_si128((__m128i *)h, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
		if (stride == 1)
			memcpy(to + i, h, left * sizeof(*h));
		else
			for (size_t j = 0; j < left; j++)
				to[(i + j) * stride] = h[j];
	}
}

static void write_row(const struct kernel_kv_write_args *a, const struct kernel_seq *seq, size_t i)
{
	size_t row = seq->row0 + i, pos = seq->pos0 + i, dims = a->kv.head_dim;
	size_t slot = pos % KERNEL_PAGE_TOKENS;
	float y[KERNEL_MAX_HEAD_DIM];

	for (uint32_t h = 0; a->q && h < a->n_heads; h++) {
		float *q = a->q + row * a->ldq + h * dims;

		rotate(a, q, q, pos);
	}
	for (uint32_t g = 0; g < a->kv.n_kv_heads; g++) {
		uint16_t *k = page_head(&a->kv, seq->pages, pos, g);

		rotate(a, a->k + row * a->ldk + g * dims, y, pos);
		put_halves(y, dims, k + slot, KERNEL_PAGE_TOKENS);
		put_halves(a->v + row * a->ldv + g * dims, dims,
			   k + dims * (KERNEL_PAGE_TOKENS + slot), 1);
	}
}

void kernel_kv_write_avx2(const struct kernel_kv_write_args *a)
{
	size_t n_rows = 0, from, to;

	for (uint32_t s = 0; s < a->n_seqs; s++)
		n_rows += a->seqs[s].n_rows;
	layout_share(a->part, n_rows, &from, &to);
	for (uint32_t s = 0; s < a->n_seqs && to; s++) {
		size_t n = a->seqs[s].n_rows;

		for (size_t i = from; i < to && i < n; i++)
			write_row(a, &a->seqs[s], i);
		from -= from < n ? from : n;
		to -= to < n ? to : n;
	}
}
