/* SPDX-License-Identifier: MIT */
/*
 * f16: all 65,536 halves widen to their value and come back, floats round to the nearest even
 * half, and this CPU's F16C does the same to the bit.
 * Marks: san
 */
#include "kernels/cpu/f16.h"

#include <immintrin.h>

#include "tests/kernels/kernel_test.h"

__attribute__((target("f16c"))) static uint16_t hardware_from(float f)
{
	return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(f), 0), 0);
}

__attribute__((target("f16c"))) static float hardware_to(uint16_t h)
{
	return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* The nearest half of f by search among all, ties to even; f finite and below 65520. */
static uint16_t nearest(float f)
{
	uint16_t low = 0, high = 0x7bff;
	double v = fabs((double)f), below, above;

	while (low < high) {
		uint16_t mid = (uint16_t)((low + high + 1) / 2);

		if (half_value(mid) <= v)
			low = mid;
		else
			high = (uint16_t)(mid - 1);
	}
	below = v - half_value(low);
	above = low == 0x7bff ? 65536 - v : half_value((uint16_t)(low + 1)) - v;
	low = (uint16_t)(low + (above < below || (above == below && low & 1)));
	return (uint16_t)(low | (signbit(f) ? 0x8000 : 0));
}

static void check_widen(int has_f16c)
{
	for (uint32_t h = 0; h < 65536; h++) {
		float f = f16_to_f32((uint16_t)h);
		double v = half_value((uint16_t)h);

		CHECK(isnan(v) ? isnan(f) : (double)f == v && !signbit(f) == !signbit(v));
		CHECK(isnan(v) || f16_from_f32(f) == h);
		if (has_f16c) {
			CHECK_EQ(f32_bits(hardware_to((uint16_t)h)), f32_bits(f));
			CHECK_EQ(hardware_from(f), f16_from_f32(f));
		}
	}
}

static void check_round(int has_f16c)
{
	for (uint64_t bits = 0; bits < 0x100000000; bits += 4093) {
		float f = f32_of_bits((uint32_t)bits);
		uint16_t h = f16_from_f32(f);

		if (fabsf(f) < 65520)
			CHECK_EQ(h, nearest(f));
		else if (!isnan(f))
			CHECK_EQ(h, signbit(f) ? 0xfc00 : 0x7c00);
		if (has_f16c && h != hardware_from(f))
			CHECK_EQ(h, hardware_from(f));
	}
	/* Ties and their neighbours at every half. */
	for (uint16_t h = 0; h < 0x7bff; h++) {
		float mid = (float)((half_value(h) + half_value((uint16_t)(h + 1))) / 2);

		CHECK_EQ(f16_from_f32(mid), h + (h & 1));
		CHECK_EQ(f16_from_f32(nextafterf(mid, 0)), h);
		CHECK_EQ(f16_from_f32(nextafterf(mid, INFINITY)), h + 1);
	}
	CHECK_EQ(f16_from_f32(65519.996f), 0x7bff);
	CHECK_EQ(f16_from_f32(65520), 0x7c00);
	CHECK_EQ(f32_bits(bf16_to_f32(0x3f80)), f32_bits(1));
}

int main(void)
{
	int has_f16c = fast_ops() != NULL;

	check_widen(has_f16c);
	check_round(has_f16c);
	return test_done();
}
