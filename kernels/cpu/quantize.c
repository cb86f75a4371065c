/* SPDX-License-Identifier: MIT */
/*
 * quantize: rows of f32 activations to int8 per block of 32, plain C. The rule is rule 3 of
 * kernels/kernels.h; the block itself is in quantize.h. Workers split blocks.
 */
#include "kernels/cpu/quantize.h"

#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

void kernel_quantize_ref(const struct kernel_quantize_args *a)
{
	size_t n_blocks = a->act->n_cols / KERNEL_BLOCK, from, to;

	layout_share(a->part, a->n_rows * n_blocks, &from, &to);
	for (size_t i = from; i < to; i++)
		quantize_block(a->act->f32 + i * KERNEL_BLOCK, a->act, i / n_blocks, i % n_blocks);
}
