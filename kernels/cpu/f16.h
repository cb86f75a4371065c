/* SPDX-License-Identifier: MIT */
/*
 * f16: half and bfloat16 to f32 and back in plain C, bit for bit what F16C does: round to nearest
 * even, denormals kept both ways, overflow to infinity, a NaN stays quiet with its upper payload.
 *
 * IEEE 754-2008 binary16. Pure functions, any thread.
 */
#ifndef DEVLLM_KERNELS_F16_H
#define DEVLLM_KERNELS_F16_H

#include <stdint.h>
#include <string.h>

static inline float f32_of_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static inline uint32_t f32_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static inline float f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 0x3ff;

	if (exp == 31)
		return f32_of_bits(sign | 0x7f800000 | frac << 13 | (frac ? 0x400000 : 0));
	if (exp)
		return f32_of_bits(sign | (exp + 112) << 23 | frac << 13);
	/* Denormal: frac * 2^-24 is exact in f32. */
	return f32_of_bits(sign | f32_bits((float)frac * 0x1p-24f));
}

static inline uint16_t f16_from_f32(float f)
{
	uint32_t bits = f32_bits(f), sign = bits >> 16 & 0x8000, abs = bits & 0x7fffffff;
	uint32_t shift, frac, half, h;

	if (abs > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (abs >> 13 & 0x3ff));
	if (abs >= 0x47800000) /* 65536 and above */
		return (uint16_t)(sign | 0x7c00);
	if (abs >= 0x38800000) { /* normal: 2^-14 and above */
		shift = 13;
		frac = abs - (112u << 23);
	} else if (abs >= 0x33000000) { /* half the least denormal and above */
		shift = 126 - (abs >> 23);
		frac = (abs & 0x7fffff) | 0x800000;
	} else {
		return (uint16_t)sign;
	}
	half = 1u << (shift - 1);
	h = frac >> shift;
	frac &= (1u << shift) - 1;
	h += frac > half || (frac == half && h & 1); /* a carry moves into the exponent: right */
	return (uint16_t)(sign | h);
}

static inline float bf16_to_f32(uint16_t h)
{
	return f32_of_bits((uint32_t)h << 16);
}

#endif
