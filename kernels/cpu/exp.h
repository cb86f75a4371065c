/* SPDX-License-Identifier: MIT */
/*
 * exp: the one exponential of the kernels, and what is made of it: sigmoid-weighted and tanh-GELU
 * gates, tanh. The AVX2 twin (exp_avx2.h) does the same operations in the same order, so both give
 * the same bits; tests/kernels/exp.c proves that and the error (at most 1 ulp, denormal results
 * too).
 *
 * exp(x) = 2^n * e^r, n = round(x / ln 2), |r| <= ln 2 / 2. e^r - 1 - r = r^2 * P(r), P of degree
 * 4, minimax on that interval (relative error of e^r 2^-27.9). 2^n is applied as two factors, so
 * that neither leaves the range of normal numbers. Pure functions, any thread.
 */
#ifndef DEVLLM_KERNELS_EXP_H
#define DEVLLM_KERNELS_EXP_H

#include <math.h>

#include "kernels/cpu/f16.h"

#define EXP_LOW (-104.0f) /* below: 0 */
#define EXP_HIGH 89.0f	  /* above: as here, infinity */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_LN2_HIGH 0x1.62e43p-1f /* times any n here, taken off x by fma: no rounding */
#define EXP_LN2_LOW (-0x1.05c61p-29f)
#define EXP_ROUND 0x1.8p+23f /* adding it rounds to an integer, which is then its low bits */
#define EXP_P0 0x1.fffffcp-2f
#define EXP_P1 0x1.55549p-3f
#define EXP_P2 0x1.5558fcp-5f
#define EXP_P3 0x1.123b9ap-7f
#define EXP_P4 0x1.6a215ap-10f

#define GELU_C1 (-0x1.988454p+0f) /* -2 sqrt(2/pi) */
#define GELU_C3 (-0x1.2444f2p-4f) /* the same * 0.044715 */

/* NaN gives NaN, -inf 0, +inf infinity. */
static inline float exp_f32(float x)
{
	float t, n, r, p;
	int32_t k, half;

	if (x < EXP_LOW)
		return 0;
	x = x > EXP_HIGH ? EXP_HIGH : x;
	t = fmaf(x, EXP_LOG2E, EXP_ROUND);
	n = t - EXP_ROUND;
	r = fmaf(n, -EXP_LN2_HIGH, x);
	r = fmaf(n, -EXP_LN2_LOW, r);
	p = fmaf(EXP_P4, r, EXP_P3);
	p = fmaf(p, r, EXP_P2);
	p = fmaf(p, r, EXP_P1);
	p = fmaf(p, r, EXP_P0);
	p = fmaf(p, r * r, r) + 1;
	if (x != x)
		return x;
	k = (int32_t)(f32_bits(t) - f32_bits(EXP_ROUND));
	half = k >> 1;
	p *= f32_of_bits((uint32_t)(half + 127) << 23);
	return p * f32_of_bits((uint32_t)(k - half + 127) << 23);
}

/* Absolute error 1e-7; saturates at +-1. */
static inline float tanh_f32(float x)
{
	return 1 - 2 / (exp_f32(x + x) + 1);
}

static inline float silu_f32(float x)
{
	return x / (1 + exp_f32(-x));
}

/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), which is x * sigmoid of twice that argument. */
static inline float gelu_tanh_f32(float x)
{
	return x / (1 + exp_f32(x * fmaf(x * x, GELU_C3, GELU_C1)));
}

#endif
