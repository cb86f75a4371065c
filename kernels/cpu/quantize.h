/* SPDX-License-Identifier: MIT */
/*
 * quantize: one block of 32 activations to int8, in plain C (rule 3 of kernels/kernels.h), for
 * every reference op that quantizes what it produced. Pure functions, any thread.
 */
#ifndef DEVLLM_KERNELS_QUANTIZE_H
#define DEVLLM_KERNELS_QUANTIZE_H

#include <math.h>

#include "kernels/cpu/f16.h"
#include "kernels/kernels.h"

/* Quantizes x[32] into block `block` of row `row` of act. */
static inline void quantize_block(const float *x, const struct kernel_act *act, size_t row,
				  size_t block)
{
	size_t at = row * (act->n_cols / KERNEL_BLOCK) + block;
	int8_t *q = act->q + at * KERNEL_BLOCK;
	int16_t *sum = act->sum + at * 2;
	uint32_t max = 0; /* as bits: infinity and NaN are above every number */
	float d, inverse;

	for (int i = 0; i < KERNEL_BLOCK; i++) {
		uint32_t abs = f32_bits(x[i]) & 0x7fffffff;

		max = abs > max ? abs : max;
	}
	d = f32_of_bits(max) * (1.0f / 127);
	inverse = 1 / d;
	if (max >= 0x7f800000)
		d = NAN;
	else if (isinf(inverse))
		d = 0;
	sum[0] = sum[1] = 0;
	for (int i = 0; i < KERNEL_BLOCK; i++) {
		long v = d > 0 ? lrintf(x[i] * inverse) : 0;

		v = v > 127 ? 127 : v < -127 ? -127 : v;
		q[i] = (int8_t)v;
		sum[i / 16] = (int16_t)(sum[i / 16] + v);
	}
	act->d[at] = d;
	act->dsum[at] = d * (float)(sum[0] + sum[1]);
}

#endif
