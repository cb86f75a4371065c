/* SPDX-License-Identifier: MIT */
/*
 * glu: gated activation of the feed-forward, act(gate) * up, plain C, quantized on the way out
 * when the next weight wants it. SiLU for SwiGLU, tanh-GELU for GeGLU (Shazeer, 2020). Workers
 * split blocks of 32 columns.
 */
#include "kernels/cpu/exp.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quantize.h"

void kernel_glu_ref(const struct kernel_glu_args *a)
{
	size_t n_blocks = (a->n_cols + KERNEL_BLOCK - 1) / KERNEL_BLOCK, from, to;
	float y[KERNEL_BLOCK];

	layout_share(a->part, a->n_rows * n_blocks, &from, &to);
	for (size_t i = from; i < to; i++) {
		size_t row = i / n_blocks, col = i % n_blocks * KERNEL_BLOCK;
		const float *gate = a->gate + row * a->ld + col, *up = a->up + row * a->ld + col;

		for (size_t k = 0; k < KERNEL_BLOCK && col + k < a->n_cols; k++) {
			bool is_silu = a->kind == KERNEL_SWIGLU;

			y[k] = (is_silu ? silu_f32(gate[k]) : gelu_tanh_f32(gate[k])) * up[k];
			if (a->out->f32)
				a->out->f32[row * a->n_cols + col + k] = y[k];
		}
		if (a->is_quantized)
			quantize_block(y, a->out, row, i % n_blocks);
	}
}
