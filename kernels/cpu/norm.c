/* SPDX-License-Identifier: MIT */
/*
 * norm: RMS norm of rows, plain C, and the tree that every sum over lanes uses.
 *
 * sum of squares over 16 virtual lanes (lane = column % 16, ascending, fma), folded 8-4-2-1; then
 * out = (x * (1 / sqrt(sum / n + eps))) * weight. Workers split rows.
 * Root mean square layer normalization: Zhang and Sennrich, 2019.
 */
#include <math.h>

#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quantize.h"

static float sum_of_squares(const float *x, size_t n)
{
	float lanes[16] = {0};

	for (size_t i = 0; i < n; i++)
		lanes[i % 16] = fmaf(x[i], x[i], lanes[i % 16]);
	for (int half = 8; half; half /= 2)
		for (int i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	return lanes[0];
}

void kernel_norm_ref(const struct kernel_norm_args *a)
{
	size_t n = a->n_cols, from, to;
	float y[KERNEL_BLOCK];

	layout_share(a->part, a->n_rows, &from, &to);
	for (size_t row = from; row < to; row++) {
		const float *x = a->x + row * a->ldx;
		float r = 1 / sqrtf(sum_of_squares(x, n) / (float)n + a->eps);

		for (size_t k = 0; k < n; k++) {
			y[k % KERNEL_BLOCK] = x[k] * r * a->weight[k];
			if (a->out)
				a->out[row * n + k] = y[k % KERNEL_BLOCK];
			if (a->q && k % KERNEL_BLOCK == KERNEL_BLOCK - 1)
				quantize_block(y, a->q, row, k / KERNEL_BLOCK);
		}
	}
}
