/* SPDX-License-Identifier: MIT */
/*
 * quantize on AVX2: the bits of quantize.c. Workers split blocks.
 */
#include "kernels/cpu/quantize_avx2.h"

#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

void kernel_quantize_avx2(const struct kernel_quantize_args *a)
{
	size_t from, to;

	layout_share(a->part, a->n_rows * (size_t)(a->act->n_cols / KERNEL_BLOCK), &from, &to);
	for (size_t i = from; i < to; i++)
		quantize_block_avx2(a->act->f32 + i * KERNEL_BLOCK, a->act, i);
}
