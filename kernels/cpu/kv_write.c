/* SPDX-License-Identifier: MIT */
/*
 * kv_write: rotary position embedding of q (in place) and k, then k and v rounded to f16 into
 * their pages, plain C. K lies transposed, [head_dim][32 tokens], so that attention's lanes are
 * positions.
 *
 * Pair (x0, x1) at angle row `pos` becomes x0' = fma(x0, cos, -(x1 * sin)), x1' = fma(x0, sin, x1
 * * cos). NORM pairs neighbours, NEOX pairs i with i + rope_dims / 2; dims from rope_dims on are
 * left alone. RoFormer: Su et al., 2021. Workers split rows of the step.
 */
#include <math.h>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/page.h"

/* Rotated x[i] of one head; i below rope_dims. */
static float rotated(const struct kernel_kv_write_args *a, const float *x, uint32_t i, size_t pos)
{
	uint32_t half = a->rope_dims / 2;
	bool is_neox = a->rope == KERNEL_ROPE_NEOX;
	uint32_t pair = is_neox ? i % half : i / 2;
	uint32_t i0 = is_neox ? pair : 2 * pair, i1 = is_neox ? pair + half : 2 * pair + 1;
	float c = a->rope_cos[pos * half + pair], s = a->rope_sin[pos * half + pair];

	return i == i0 ? fmaf(x[i0], c, -(x[i1] * s)) : fmaf(x[i0], s, x[i1] * c);
}

static void rotate(const struct kernel_kv_write_args *a, const float *x, float *y, size_t pos)
{
	uint32_t n_dims = a->rope == KERNEL_ROPE_NONE ? 0 : a->rope_dims;

	for (uint32_t i = 0; i < a->kv.head_dim; i++)
		y[i] = i < n_dims ? rotated(a, x, i, pos) : x[i];
}

static void write_row(const struct kernel_kv_write_args *a, const struct kernel_seq *seq, size_t i)
{
	size_t row = seq->row0 + i, pos = seq->pos0 + i, dims = a->kv.head_dim;
	float y[KERNEL_MAX_HEAD_DIM];

	for (uint32_t h = 0; a->q && h < a->n_heads; h++) {
		float *q = a->q + row * a->ldq + h * dims;

		rotate(a, q, y, pos);
		for (size_t d = 0; d < dims; d++)
			q[d] = y[d];
	}
	for (uint32_t g = 0; g < a->kv.n_kv_heads; g++) {
		uint16_t *k = page_head(&a->kv, seq->pages, pos, g);
		uint16_t *v = k + dims * KERNEL_PAGE_TOKENS;
		size_t slot = pos % KERNEL_PAGE_TOKENS;

		rotate(a, a->k + row * a->ldk + g * dims, y, pos);
		for (size_t d = 0; d < dims; d++) {
			k[d * KERNEL_PAGE_TOKENS + slot] = f16_from_f32(y[d]);
			v[slot * dims + d] = f16_from_f32(a->v[row * a->ldv + g * dims + d]);
		}
	}
}

void kernel_kv_write_ref(const struct kernel_kv_write_args *a)
{
	size_t n_rows = 0, from, to;

	for (uint32_t s = 0; s < a->n_seqs; s++)
		n_rows += a->seqs[s].n_rows;
	layout_share(a->part, n_rows, &from, &to);
	for (uint32_t s = 0; s < a->n_seqs; s++) {
		for (size_t i = 0; i < a->seqs[s].n_rows; i++) {
			if (from <= i && i < to)
				write_row(a, &a->seqs[s], i);
		}
		from -= from < a->seqs[s].n_rows ? from : a->seqs[s].n_rows;
		to -= to < a->seqs[s].n_rows ? to : a->seqs[s].n_rows;
	}
}
