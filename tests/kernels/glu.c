/* SPDX-License-Identifier: MIT */
/*
 * glu: SwiGLU and tanh-GeGLU agree with double arithmetic, quantize what they would have written,
 * do not depend on parts, and AVX2 gives the same bits, infinities and NaN included.
 * Marks: san
 */
#include "tests/kernels/kernel_test.h"

static void run(const struct kernel_ops *ops, struct kernel_glu_args a, int n)
{
	a.part.n = n;
	for (a.part.rank = 0; a.part.rank < n; a.part.rank++)
		ops->glu(&a);
}

static double gate(enum kernel_glu kind, double x)
{
	if (kind == KERNEL_SWIGLU)
		return x / (1 + exp(-x));
	return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static void check_value(const struct kernel_glu_args *a)
{
	int n_wrong = 0;

	for (size_t r = 0; r < a->n_rows; r++) {
		for (size_t k = 0; k < a->n_cols; k++) {
			double g = (double)a->gate[r * a->ld + k], u = (double)a->up[r * a->ld + k];
			double got = (double)a->out->f32[r * a->n_cols + k];

			n_wrong += fabs(got - gate(a->kind, g) * u) > 1e-6 * fabs(g * u);
		}
	}
	CHECK_EQ(n_wrong, 0);
}

static void check_others(struct kernel_glu_args a, const struct kernel_act *want)
{
	const struct kernel_ops *tables[] = {&kernels_ref, fast_ops()};
	size_t n = (size_t)a.n_rows * a.n_cols;

	for (int i = 0; i < 12; i++) {
		struct kernel_act got;
		float *f32;

		if (!tables[i % 2])
			continue;
		fill_act(&got, a.n_rows, a.n_cols);
		f32 = got.f32;
		a.out = &got;
		a.is_quantized = i / 2 % 2 && a.n_cols % 32 == 0;
		if (a.is_quantized && i > 8)
			got.f32 = NULL;
		run(tables[i % 2], a, i / 4 + 1);
		CHECK(!got.f32 || first_difference(want->f32, got.f32, n) < 0);
		CHECK(!a.is_quantized || same_act(want, &got, a.n_rows));
		got.f32 = f32;
		free_act(&got);
	}
}

static void check_shape(enum kernel_glu kind, uint32_t n_rows, uint32_t n_cols, uint32_t ld)
{
	static const float odd[] = {INFINITY, -INFINITY, NAN,	 0,    -0.0f,
				    1e38f,    -1e38f,	 1e-40f, -104, 88.8f};
	float *g = random_floats((size_t)n_rows * ld, 20),
	      *up = random_floats((size_t)n_rows * ld, 3);
	struct kernel_act out;
	struct kernel_glu_args a = {.kind = kind,
				    .gate = g,
				    .up = up,
				    .n_rows = n_rows,
				    .n_cols = n_cols,
				    .ld = ld,
				    .out = &out};

	fill_act(&out, n_rows, n_cols);
	a.is_quantized = n_cols % 32 == 0;
	run(&kernels_ref, a, 1);
	check_value(&a);
	check_others(a, &out);
	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd) && i < n_cols; i++)
		g[i] = odd[i];
	run(&kernels_ref, a, 1);
	check_others(a, &out);
	free_act(&out);
	free(g);
	free(up);
}

int main(void)
{
	kernels_thread_init();
	for (int kind = KERNEL_SWIGLU; kind <= KERNEL_GEGLU_TANH; kind++) {
		for (uint32_t n_cols = 1; n_cols < 50; n_cols += 3)
			check_shape((enum kernel_glu)kind, 2, n_cols, n_cols + 2);
		check_shape((enum kernel_glu)kind, 1, 1536, 1536);
		check_shape((enum kernel_glu)kind, 33, 96, 96);
	}
	return test_done();
}
