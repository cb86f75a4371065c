/* SPDX-License-Identifier: MIT */
/*
 * quantize: int8 blocks are x * (1/d) rounded half to even and clamped, sums and d * sum match,
 * edge blocks (zeros, tiny, huge, infinite, NaN) follow the rule, parts add up, and AVX2 gives the
 * same bits.
 * Marks: san
 */
#include "tests/kernels/kernel_test.h"

static void quantize(const struct kernel_ops *ops, const struct kernel_act *act, uint32_t n_rows,
		     int n)
{
	struct kernel_quantize_args a = {.part = {0, n}, .n_rows = n_rows, .act = act};

	for (; a.part.rank < n; a.part.rank++)
		ops->quantize(&a);
}

/* The rule in double, on blocks of finite numbers of ordinary size. */
static int n_wrong(const struct kernel_act *act, size_t n_blocks)
{
	int wrong = 0;

	for (size_t b = 0; b < n_blocks; b++) {
		const float *x = act->f32 + 32 * b;
		float max = 0, d;
		int sum[2] = {0, 0};

		for (int i = 0; i < 32; i++)
			max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
		d = max * (1.0f / 127);
		wrong += act->d[b] != d;
		for (int i = 0; i < 32; i++) {
			double v = max > 0 ? nearbyint((double)(x[i] * (1 / d))) : 0;

			sum[i / 16] += act->q[32 * b + (size_t)i];
			wrong += (double)act->q[32 * b + (size_t)i] != fmin(fmax(v, -127), 127);
		}
		wrong += sum[0] != act->sum[2 * b] || sum[1] != act->sum[2 * b + 1];
		wrong += act->dsum[b] != d * (float)(sum[0] + sum[1]);
	}
	return wrong;
}

static void check_fast(const struct kernel_act *act, uint32_t n_rows)
{
	const struct kernel_ops *fast = fast_ops();
	struct kernel_act other;

	for (int n = 1; n <= 3; n++) {
		fill_act(&other, n_rows, act->n_cols);
		memcpy(other.f32, act->f32, (size_t)n_rows * act->n_cols * 4);
		quantize(fast && n < 3 ? fast : &kernels_ref, &other, n_rows, n);
		CHECK(same_act(act, &other, n_rows));
		free_act(&other);
	}
}

static void check_shape(uint32_t n_rows, uint32_t n_cols, float scale)
{
	struct kernel_act act;

	fill_act(&act, n_rows, n_cols);
	for (size_t i = 0; i < (size_t)n_rows * n_cols; i++)
		act.f32[i] = random_float() * scale;
	quantize(&kernels_ref, &act, n_rows, 1);
	CHECK_EQ(n_wrong(&act, (size_t)n_rows * n_cols / 32), 0);
	check_fast(&act, n_rows);
	free_act(&act);
}

/* Halves: with a maximum of 127 d is 1, so x is what is rounded. */
static void check_ties(void)
{
	static const float x[] = {127,	 0.5f,	 1.5f, 2.5f,	-0.5f,	    -1.5f,
				  -2.5f, 126.5f, -127, -126.5f, 0.49999997f};
	static const int want[] = {127, 0, 2, 2, 0, -2, -2, 126, -127, -126, 0};
	struct kernel_act act;

	fill_act(&act, 1, 32);
	memcpy(act.f32, x, sizeof(x));
	quantize(&kernels_ref, &act, 1, 1);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
		CHECK_EQ(act.q[i], want[i]);
	CHECK(act.d[0] == 1);
	check_fast(&act, 1);
	free_act(&act);
}

/* One number in an otherwise zero block: its d and q. */
static void check_edge(float x, float want_d, int want_q)
{
	for (uint32_t at = 0; at < 32; at += 5) {
		struct kernel_act act;

		fill_act(&act, 1, 32);
		act.f32[at] = x;
		quantize(&kernels_ref, &act, 1, 1);
		CHECK(isnan(want_d) ? isnan(act.d[0]) : act.d[0] == want_d);
		for (uint32_t i = 0; i < 32; i++)
			CHECK_EQ(act.q[i], i == at ? want_q : 0);
		CHECK(isnan(want_d) ? isnan(act.dsum[0]) : act.dsum[0] == want_d * (float)want_q);
		check_fast(&act, 1);
		free_act(&act);
	}
}

int main(void)
{
	kernels_thread_init();
	check_ties();
	check_edge(0, 0, 0);
	check_edge(-0.0f, 0, 0);
	check_edge(3.4028235e38f, 3.4028235e38f * (1.0f / 127), 127);
	check_edge(-3.4028235e38f, 3.4028235e38f * (1.0f / 127), -127);
	check_edge(1e-45f, 0, 0); /* 1/d is infinite */
	check_edge(3e-37f, 0, 0);
	check_edge(4e-37f, 4e-37f * (1.0f / 127), 127); /* d is denormal, 1/d is not infinite */
	check_edge(INFINITY, NAN, 0);
	check_edge(-INFINITY, NAN, 0);
	check_edge(NAN, NAN, 0);
	check_edge(-NAN, NAN, 0);
	check_shape(1, 32, 1);
	check_shape(3, 96, 1e-30f);
	check_shape(7, 576, 1e30f);
	check_shape(64, 1536, 3);
	return test_done();
}
