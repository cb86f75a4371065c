/* SPDX-License-Identifier: MIT */
/*
 * glu on AVX2: the bits of glu.c. Workers split blocks of 32 columns.
 */
#include "kernels/cpu/exp_avx2.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/quantize_avx2.h"

/* y[n] = act(gate) * up, n up to 32; lanes past n are whatever zeros give. */
INLINE void gate_block(enum kernel_glu kind, const float *gate, const float *up, size_t n, float *y)
{
	for (size_t i = 0; i < n; i += 8) {
		__m256i mask = avx2_mask(n - i < 8 ? n - i : 8);
		__m256 g = _mm256_maskload_ps(gate + i, mask);

		g = kind == KERNEL_SWIGLU ? silu_avx2(g) : gelu_tanh_avx2(g);
		_mm256_store_ps(y + i, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, mask)));
	}
}

void kernel_glu_avx2(const struct kernel_glu_args *a)
{
	size_t n_blocks = (a->n_cols + KERNEL_BLOCK - 1) / KERNEL_BLOCK, from, to;
	float y[KERNEL_BLOCK] __attribute__((aligned(32)));

	layout_share(a->part, a->n_rows * n_blocks, &from, &to);
	for (size_t i = from; i < to; i++) {
		size_t row = i / n_blocks, col = i % n_blocks * KERNEL_BLOCK;
		size_t n = a->n_cols - col < KERNEL_BLOCK ? a->n_cols - col : KERNEL_BLOCK;
		const float *gate = a->gate + row * a->ld + col, *up = a->up + row * a->ld + col;

		if (a->kind == KERNEL_SWIGLU)
			gate_block(KERNEL_SWIGLU, gate, up, n, y);
		else
			gate_block(KERNEL_GEGLU_TANH, gate, up, n, y);
		if (a->out->f32)
			memcpy(a->out->f32 + row * a->n_cols + col, y, n * sizeof(*y));
		if (a->is_quantized)
			quantize_block_avx2(y, a->out, i);
	}
}
