/* SPDX-License-Identifier: MIT */
/*
 * norm: RMS norm agrees with double arithmetic, in place and strided too; with q it quantizes what
 * it would have written; rows do not depend on their neighbours or on parts; AVX2 gives the same
 * bits.
 * Marks: san
 */
#include "tests/kernels/kernel_test.h"

static void run(const struct kernel_ops *ops, struct kernel_norm_args a, int n)
{
	a.part.n = n;
	for (a.part.rank = 0; a.part.rank < n; a.part.rank++)
		ops->norm(&a);
}

static void check_value(const struct kernel_norm_args *a)
{
	int n_wrong = 0;

	for (size_t r = 0; r < a->n_rows; r++) {
		double sum = 0;

		for (size_t k = 0; k < a->n_cols; k++)
			sum += pow((double)a->x[r * a->ldx + k], 2);
		for (size_t k = 0; k < a->n_cols; k++) {
			double want = (double)a->x[r * a->ldx + k] * (double)a->weight[k] /
				      sqrt(sum / a->n_cols + (double)a->eps);

			n_wrong +=
				fabs((double)a->out[r * a->n_cols + k] - want) > 2e-6 * fabs(want);
		}
	}
	CHECK_EQ(n_wrong, 0);
}

static void check_fast(const struct kernel_norm_args *a, const float *want)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	size_t n = (size_t)a->n_rows * a->n_cols;
	struct kernel_norm_args b = *a;
	float *out = get_mem(n * 4);

	b.out = out;
	for (int parts = 1; parts <= 3; parts++) {
		memset(out, 0, n * 4);
		run(fast, b, parts);
		CHECK(first_difference(want, out, n) < 0);
	}
	if (a->ldx == a->n_cols) {
		memcpy(out, a->x, n * 4);
		b.x = out;
		run(fast, b, 1);
		CHECK(first_difference(want, out, n) < 0);
		b.x = a->x;
	}
	/* The last row alone. */
	b.x = a->x + (size_t)(a->n_rows - 1) * a->ldx;
	b.n_rows = 1;
	run(fast, b, 1);
	CHECK(first_difference(want + n - a->n_cols, out, a->n_cols) < 0);
	free(out);
}

static void check_quantized(const struct kernel_norm_args *a, const float *want)
{
	const struct kernel_ops *tables[] = {&kernels_ref, fast_ops()};
	struct kernel_act expected, got;
	struct kernel_quantize_args q = {.part = {0, 1}, .n_rows = a->n_rows, .act = &expected};
	struct kernel_norm_args b = *a;

	fill_act(&expected, a->n_rows, a->n_cols);
	memcpy(expected.f32, want, (size_t)a->n_rows * a->n_cols * 4);
	kernels_ref.quantize(&q);
	for (int i = 0; i < 4; i++) {
		if (!tables[i / 2])
			continue;
		fill_act(&got, a->n_rows, a->n_cols);
		b.q = &got;
		b.out = i % 2 ? got.f32 : NULL;
		run(tables[i / 2], b, 2);
		CHECK(same_act(&expected, &got, a->n_rows));
		CHECK(!b.out || first_difference(want, got.f32, (size_t)a->n_rows * a->n_cols) < 0);
		free_act(&got);
	}
	free_act(&expected);
}

static void check_shape(uint32_t n_rows, uint32_t n_cols, uint32_t ldx, float scale)
{
	float *x = random_floats((size_t)n_rows * ldx, scale), *weight = random_floats(n_cols, 2);
	float *out = get_mem((size_t)n_rows * n_cols * 4);
	struct kernel_norm_args a = {.x = x,
				     .n_rows = n_rows,
				     .n_cols = n_cols,
				     .ldx = ldx,
				     .weight = weight,
				     .eps = 1e-5f,
				     .out = out};

	run(&kernels_ref, a, 1);
	check_value(&a);
	check_fast(&a, out);
	if (n_cols % 32 == 0)
		check_quantized(&a, out);
	x[n_cols / 2] = NAN;
	x[(size_t)(n_rows - 1) * ldx] = -INFINITY;
	run(&kernels_ref, a, 1);
	CHECK(isnan(out[0]));
	check_fast(&a, out);
	free(x);
	free(weight);
	free(out);
}

int main(void)
{
	kernels_thread_init();
	for (uint32_t n_cols = 1; n_cols < 70; n_cols += n_cols < 20 ? 1 : 7)
		check_shape(3, n_cols, n_cols + n_cols % 3, 1);
	check_shape(1, 576, 576, 1);
	check_shape(64, 576, 576, 100);
	check_shape(33, 2048, 2080, 1e-4f);
	check_shape(5, 1152, 1152, 1e15f);
	return test_done();
}
