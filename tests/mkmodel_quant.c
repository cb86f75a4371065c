/* SPDX-License-Identifier: MIT */
/*
 * mkmodel: floats to the stored types, the plain way (ggml's block formats), and the random
 * numbers.
 *
 *	Q8_0  d:f16 q:i8[32]                  x = d * q
 *	Q4_0  d:f16 q:u4[32]                  x = d * (q - 8)
 *	Q4_1  d:f16 m:f16 q:u4[32]            x = d * q + m
 *	Q5_0  d:f16 h:u32 q:u4[32]            x = d * (q + 16 * bit - 16)
 *	Q5_1  d:f16 m:f16 h:u32 q:u4[32]      x = d * (q + 16 * bit) + m
 *
 * Nibbles: element i in the low half of byte i, element i + 16 in its high half.
 */
#include <math.h>
#include <string.h>

#include "tests/mkmodel.h"

#define BLOCK 32

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

float random_normal(uint64_t *state)
{
	double sum = -6;

	for (int i = 0; i < 12; i++)
		sum += (double)(random_next(state) >> 11) * 0x1p-53;
	return (float)sum;
}

/* To nearest, ties to even; overflow is infinity. */
static uint16_t to_f16(float x)
{
	const uint16_t sign = signbit(x) ? 0x8000 : 0;
	double a = fabs((double)x);
	int exponent;

	if (!(a < 65520))
		return (uint16_t)(sign | 0x7C00);
	frexp(a, &exponent);
	if (exponent < -13)
		exponent = -13; /* subnormal: steps of 2^-24 */
	/* Steps of 2^(exponent - 11): the integer has 11 bits, a carry moves into the exponent. */
	a = nearbyint(ldexp(a, 11 - exponent));
	return (uint16_t)(sign | ((uint32_t)(exponent + 13) * 1024 + (uint32_t)a));
}

static float from_f16(uint16_t h)
{
	const int exponent = h >> 10 & 31;
	const double m = h & 1023;
	const double a = exponent ? ldexp(m + 1024, exponent - 25) : ldexp(m, -24);

	return (float)(h & 0x8000 ? -a : a);
}

static uint16_t to_bf16(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

size_t quant_bytes(uint32_t type, size_t n)
{
	switch (type) {
	case F32: return n * 4;
	case F16:
	case BF16: return n * 2;
	case Q8_0: return n / BLOCK * 34;
	case Q4_0: return n / BLOCK * 18;
	case Q4_1: return n / BLOCK * 20;
	case Q5_0: return n / BLOCK * 22;
	default: return n / BLOCK * 24;
	}
}

static uint8_t *put_f16(uint8_t *out, float x)
{
	const uint16_t h = to_f16(x);

	memcpy(out, &h, 2);
	return out + 2;
}

static int clamp(double q, int min, int max)
{
	return q < min ? min : q > max ? max : (int)q;
}

/* d: steps of the type; q = round((x - m) / d) + offset in 0..top. */
static void put_block(uint32_t type, const float *x, uint8_t *out)
{
	const int top = type == Q4_0 || type == Q4_1 ? 15 : 31;
	const int is_min = type == Q4_1 || type == Q5_1;
	const int offset = is_min ? 0 : (top + 1) / 2;
	float min = x[0], max = x[0], far = x[0], d;
	uint8_t q[BLOCK];
	uint32_t high = 0;

	for (int i = 0; i < BLOCK; i++) {
		min = fminf(min, x[i]);
		max = fmaxf(max, x[i]);
		far = fabsf(x[i]) > fabsf(far) ? x[i] : far;
	}
	/* Without a min the value farthest from zero gets the end that has a step more. */
	d = from_f16(to_f16(is_min ? (max - min) / (float)top : far / (float)-offset));
	out = put_f16(out, d);
	if (is_min)
		out = put_f16(out, min);
	else
		min = 0;
	for (int i = 0; i < BLOCK; i++) {
		const double steps = d != 0 ? nearbyint((x[i] - min) / d) : 0;

		q[i] = (uint8_t)clamp(steps + offset, 0, top);
	}
	if (top == 31) {
		for (int i = 0; i < BLOCK; i++)
			high |= (uint32_t)(q[i] >> 4) << i;
		memcpy(out, &high, 4);
		out += 4;
	}
	for (int i = 0; i < BLOCK / 2; i++)
		out[i] = (uint8_t)((q[i] & 15) | q[i + BLOCK / 2] << 4);
}

static void put_block_q8(const float *x, uint8_t *out)
{
	float max = 0, d;

	for (int i = 0; i < BLOCK; i++)
		max = fmaxf(max, fabsf(x[i]));
	d = from_f16(to_f16(max / 127));
	out = put_f16(out, d);
	for (int i = 0; i < BLOCK; i++)
		out[i] = (uint8_t)clamp(d != 0 ? nearbyint(x[i] / d) : 0, -127, 127);
}

void quant_row(uint32_t type, const float *x, size_t n, uint8_t *out)
{
	if (type == F32) {
		memcpy(out, x, n * 4);
		return;
	}
	if (type == F16 || type == BF16) {
		for (size_t i = 0; i < n; i++) {
			const uint16_t h = type == F16 ? to_f16(x[i]) : to_bf16(x[i]);

			memcpy(out + i * 2, &h, 2);
		}
		return;
	}
	for (size_t i = 0; i < n; i += BLOCK, out += quant_bytes(type, BLOCK)) {
		if (type == Q8_0)
			put_block_q8(x + i, out);
		else
			put_block(type, x + i, out);
	}
}
