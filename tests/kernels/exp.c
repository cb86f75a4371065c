/* SPDX-License-Identifier: MIT */
/*
 * exp: the exponential is within 2 ulp of libm over all its range, tanh and the gates within
 * theirs, and the AVX2 versions give the same bits.
 * Marks: san
 */
#include "kernels/cpu/exp.h"

#include <immintrin.h>

#include "tests/kernels/kernel_test.h"

/* The AVX2 twin, in a file that is compiled for any CPU. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "kernels/cpu/exp_avx2.h"

static void fast(const float *x, float y[4][8])
{
	__m256 v = _mm256_loadu_ps(x);

	_mm256_storeu_ps(y[0], exp_avx2(v));
	_mm256_storeu_ps(y[1], tanh_avx2(v));
	_mm256_storeu_ps(y[2], silu_avx2(v));
	_mm256_storeu_ps(y[3], gelu_tanh_avx2(v));
}
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* |got - want| in units of the last place of want. */
static double ulps(float got, double want)
{
	float f = (float)want;
	double unit = fabs((double)nextafterf(f, INFINITY) - (double)f);

	if (isinf(f) || isinf(got) || isnan(got))
		return f == got || (isnan(got) && isnan(want)) ? 0 : 1e9;
	return fabs((double)got - want) / unit;
}

static void check_exp(void)
{
	double worst = 0, at = 0;

	for (double x = -110; x < 95; x += 0.00037) {
		float f = (float)x;
		double u = ulps(exp_f32(f), exp((double)f));

		at = u > worst ? x : at;
		worst = u > worst ? u : worst;
	}
	printf("exp: worst error %.3f ulp at %.4f\n", worst, at);
	CHECK(worst <= 1);
	CHECK(exp_f32(0) == 1);
	CHECK(exp_f32(-0.0f) == 1);
	CHECK(exp_f32(INFINITY) == INFINITY);
	CHECK(exp_f32(-INFINITY) == 0);
	CHECK(isnan(exp_f32(NAN)));
	CHECK(isnan(exp_f32(-NAN)));
	CHECK(exp_f32(88.722f) < INFINITY);
	CHECK(exp_f32(88.73f) == INFINITY);
	CHECK(exp_f32(-103.9f) > 0);
	CHECK(exp_f32(1e-30f) == 1);
}

static void check_gates(void)
{
	double worst_tanh = 0, worst_silu = 0, worst_gelu = 0;

	for (double x = -30; x < 30; x += 0.000371) {
		float f = (float)x;
		double y = (double)f, inner = sqrt(2 / M_PI) * (y + 0.044715 * y * y * y);
		double e;

		e = fabs((double)tanh_f32(f) - tanh(y));
		worst_tanh = e > worst_tanh ? e : worst_tanh;
		e = fabs((double)silu_f32(f) - y / (1 + exp(-y))) / (fabs(y) + 1e-9);
		worst_silu = e > worst_silu ? e : worst_silu;
		e = fabs((double)gelu_tanh_f32(f) - y / 2 * (1 + tanh(inner))) / (fabs(y) + 1e-9);
		worst_gelu = e > worst_gelu ? e : worst_gelu;
	}
	printf("tanh %.2g absolute; silu %.2g, gelu %.2g of |x|\n", worst_tanh, worst_silu,
	       worst_gelu);
	CHECK(worst_tanh < 3e-7);
	CHECK(worst_silu < 3e-7);
	CHECK(worst_gelu < 4e-7);
	CHECK(tanh_f32(100) == 1);
	CHECK(tanh_f32(-100) == -1);
	CHECK(silu_f32(-1000) == 0);
	CHECK(gelu_tanh_f32(1000) == 1000);
	CHECK(gelu_tanh_f32(-1000) == 0);
}

/* Floats of every exponent, both signs, infinities and NaN. */
static void check_fast(void)
{
	float x[8], y[4][8], want[4][8];
	int n_wrong = 0;

	for (uint64_t bits = 0; bits < 0x100000000; bits += 8 * 509) {
		for (uint32_t i = 0; i < 8; i++) {
			x[i] = f32_of_bits((uint32_t)bits + 509 * i);
			want[0][i] = exp_f32(x[i]);
			want[1][i] = tanh_f32(x[i]);
			want[2][i] = silu_f32(x[i]);
			want[3][i] = gelu_tanh_f32(x[i]);
		}
		fast(x, y);
		n_wrong += first_difference(want[0], y[0], 32) >= 0;
	}
	CHECK_EQ(n_wrong, 0);
}

int main(void)
{
	kernels_thread_init();
	if (fast_ops())
		check_fast();
	check_exp();
	check_gates();
	return test_done();
}
