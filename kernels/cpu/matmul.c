/* SPDX-License-Identifier: MIT */
/*
 * matmul: out[T][N] = x[T][K_in] * w[N][K_in]^T on packed weights, plain C: the meaning of every
 * faster version. Per output element one f32 accumulator, rule 1 of kernels/kernels.h. Workers
 * split panels.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

static float get_f16(const uint8_t *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return f16_to_f32(h);
}

/* Element k of a float panel's row. */
static float get_float(uint32_t type, const uint8_t *panel, size_t row, size_t k)
{
	size_t at = k * KERNEL_PANEL + row;
	uint16_t h;
	float f;

	if (type == KERNEL_F32) {
		memcpy(&f, panel + 4 * at, sizeof(f));
		return f;
	}
	memcpy(&h, panel + 2 * at, sizeof(h));
	return type == KERNEL_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

/* One output element: row n of the weight, row t of the activations. */
static float dot(const struct kernel_matmul_args *a, const struct layout_type *t, size_t n,
		 size_t row)
{
	const struct kernel_weight *w = a->w;
	size_t n_blocks = w->n_cols / KERNEL_BLOCK, r = n % KERNEL_PANEL;
	const uint8_t *block = w->quants + n / KERNEL_PANEL * layout_panel_bytes(t, w->n_cols);
	const uint8_t *scales = w->scales + n / KERNEL_PANEL * layout_panel_scales(t, w->n_cols);
	const int8_t *q = a->x->q + row * w->n_cols;
	float acc = 0;

	for (size_t b = 0; b < n_blocks; b++) {
		size_t at = row * n_blocks + b;
		int32_t sum = -t->offset * (a->x->sum[2 * at] + a->x->sum[2 * at + 1]);

		for (uint32_t k = 0; k < KERNEL_BLOCK; k++)
			sum += layout_get(t, block, (uint32_t)r, k) * q[b * KERNEL_BLOCK + k];
		acc = fmaf((float)sum, get_f16(scales + 2 * r) * a->x->d[at], acc);
		if (t->has_min)
			acc = fmaf(get_f16(scales + 32 + 2 * r), a->x->dsum[at], acc);
		block += t->quants_bytes;
		scales += t->scales_bytes;
	}
	return acc;
}

static float dot_float(const struct kernel_matmul_args *a, const struct layout_type *t, size_t n,
		       size_t row)
{
	const struct kernel_weight *w = a->w;
	const uint8_t *panel = w->quants + n / KERNEL_PANEL * layout_panel_bytes(t, w->n_cols);
	const float *x = a->x->f32 + row * w->n_cols;
	float acc = 0;

	for (size_t k = 0; k < w->n_cols; k++)
		acc = fmaf(get_float(w->type, panel, n % KERNEL_PANEL, k), x[k], acc);
	return acc;
}

void kernel_matmul_ref(const struct kernel_matmul_args *a)
{
	const struct layout_type *t = layout_of(a->w->type);
	size_t from, to;

	layout_share(a->part, layout_panels(a->w->n_rows), &from, &to);
	to = to * KERNEL_PANEL < a->w->n_rows ? to * KERNEL_PANEL : a->w->n_rows;
	for (size_t n = from * KERNEL_PANEL; n < to; n++) {
		for (size_t row = 0; row < a->n_rows; row++) {
			float *out = a->out + row * a->ldo + n;
			float y = layout_is_float(t) ? dot_float(a, t, n, row) : dot(a, t, n, row);

			if (a->bias)
				y += a->bias[n];
			*out = a->is_add ? *out + y : y;
		}
	}
}
