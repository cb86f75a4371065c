/* SPDX-License-Identifier: MIT */
/*
 * matmul: on quantized activations the product is exact to f32 rounding for every weight type; a
 * row does not depend on T or parts; bias and residual come after the dot; AVX2 gives the
 * reference's bits over odd, tiny and saturating shapes, infinities and NaN.
 * Marks: san
 */
#include "tests/kernels/kernel_test.h"

struct rig {
	struct kernel_weight w;
	struct kernel_act x;
	uint8_t *raw;
	float *bias;
	uint32_t n_rows, ldo;
};

static void setup(struct rig *r, uint32_t type, uint32_t n, uint32_t k, uint32_t n_rows)
{
	struct kernel_quantize_args q = {.part = {0, 1}, .n_rows = n_rows, .act = &r->x};

	*r = (struct rig){.w = {.type = type, .n_rows = n, .n_cols = k}, .n_rows = n_rows};
	r->ldo = n + n_rows % 5;
	r->raw = random_raw(type, n, k);
	r->bias = random_floats(n, 1);
	pack_raw(&kernels_ref, &r->w, r->raw);
	fill_act(&r->x, n_rows, k);
	for (size_t i = 0; i < (size_t)n_rows * k; i++)
		r->x.f32[i] = random_float();
	if (!is_float_type(type))
		kernels_ref.quantize(&q);
}

static void teardown(struct rig *r)
{
	free_weight(&r->w);
	free_act(&r->x);
	free(r->raw);
	free(r->bias);
}

/* T rows from row `first`; parts n; out is ldo apart, with a canary in its gaps. */
static float *run(const struct rig *r, const struct kernel_ops *ops, uint32_t first,
		  uint32_t n_rows, int n)
{
	size_t k = r->w.n_cols, n_out = (size_t)n_rows * r->ldo;
	struct kernel_act x = r->x;
	struct kernel_matmul_args a = {.part = {0, n},
				       .w = &r->w,
				       .x = &x,
				       .n_rows = n_rows,
				       .out = get_mem(n_out * 4),
				       .ldo = r->ldo};

	x.f32 += first * k;
	x.q += first * k;
	x.d += first * (k / 32);
	x.dsum += first * (k / 32);
	x.sum += first * (k / 16);
	for (size_t i = 0; i < n_out; i++)
		a.out[i] = 42;
	for (; a.part.rank < n; a.part.rank++)
		ops->matmul(&a);
	for (size_t i = 0; i < n_out; i++)
		if (i % r->ldo >= r->w.n_rows)
			CHECK(a.out[i] == 42);
	return a.out;
}

/* Against double, on the activations as they were rounded. */
static void check_value(const struct rig *r, const float *out)
{
	uint32_t type = r->w.type, k = r->w.n_cols;
	int n_wrong = 0;

	for (size_t t = 0; t < r->n_rows; t += 1 + t / 3) {
		for (size_t n = 0; n < r->w.n_rows; n++) {
			const uint8_t *row = r->raw + n * raw_row_bytes(type, k);
			double want = 0, size = 0;

			for (size_t i = 0; i < k; i++) {
				double x = is_float_type(type) ? (double)r->x.f32[t * k + i]
							       : (double)r->x.d[(t * k + i) / 32] *
									 r->x.q[t * k + i];
				double v = raw_value(type, row, i) * x;

				want += v;
				size += fabs(v);
			}
			n_wrong += fabs((double)out[t * r->ldo + n] - want) >
				   1e-6 * (4 + sqrt(k)) * size;
		}
	}
	CHECK_EQ(n_wrong, 0);
}

static void check_fast(const struct rig *r, const float *want)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	size_t n_out = (size_t)r->n_rows * r->ldo;

	for (int n = 1; n <= 3; n++) {
		float *out = run(r, fast, 0, r->n_rows, n);

		CHECK(first_difference(want, out, n_out) < 0);
		free(out);
	}
	/* Rows alone and in small groups are the same rows. */
	for (uint32_t first = 0; first < r->n_rows; first += 1 + r->n_rows / 3) {
		for (uint32_t n = 1; n <= 7 && first + n <= r->n_rows; n += 3) {
			float *out = run(r, fast, first, n, 1);

			CHECK(first_difference(want + first * r->ldo, out, (size_t)n * r->ldo) < 0);
			free(out);
		}
	}
}

static void check_epilogue(const struct rig *r, const float *plain)
{
	const struct kernel_ops *tables[] = {&kernels_ref, fast_ops()};
	size_t n_out = (size_t)r->n_rows * r->ldo;
	float *start = random_floats(n_out, 1), *out = get_mem(n_out * 4);

	for (int i = 0; i < 6; i++) {
		struct kernel_matmul_args a = {.part = {0, 1},
					       .w = &r->w,
					       .x = &r->x,
					       .n_rows = r->n_rows,
					       .out = out,
					       .ldo = r->ldo,
					       .bias = i / 2 != 1 ? r->bias : NULL,
					       .is_add = i / 2 > 0};
		int n_wrong = 0;

		if (!tables[i % 2])
			continue;
		memcpy(out, start, n_out * 4);
		tables[i % 2]->matmul(&a);
		for (size_t j = 0; j < n_out; j++) {
			size_t n = j % r->ldo;
			float y = plain[j];

			if (n >= r->w.n_rows)
				continue;
			y = a.bias ? y + a.bias[n] : y;
			n_wrong += out[j] != (a.is_add ? start[j] + y : y);
		}
		CHECK_EQ(n_wrong, 0);
	}
	free(start);
	free(out);
}

static void check_shape(uint32_t type, uint32_t n, uint32_t k, uint32_t n_rows)
{
	struct rig r;
	float *want;

	setup(&r, type, n, k, n_rows);
	want = run(&r, &kernels_ref, 0, n_rows, 1);
	check_value(&r, want);
	check_fast(&r, want);
	if (n_rows == 7 || n_rows == 2)
		check_epilogue(&r, want);
	free(want);
	teardown(&r);
}

/* Every weight byte `fill`, every activation +-127: the sums that would saturate a careless i16. */
static void check_saturation(uint32_t type, int fill, int sign)
{
	struct kernel_quantize_args q = {.part = {0, 1}, .n_rows = 9};
	struct rig r;
	float *want;

	setup(&r, type, 16, 64, 9);
	for (size_t b = 0; b < 16 * 2; b++) {
		memset(r.raw + b * raw_bytes(type) + 2, fill, raw_bytes(type) - 2);
		memcpy(r.raw + b * raw_bytes(type), "\0\x3c\0\x3c",
		       type == KERNEL_Q4_1 || type == KERNEL_Q5_1 ? 4 : 2);
	}
	for (size_t i = 0; i < 9 * 64; i++)
		r.x.f32[i] = sign > 1 && i % 2 ? -127 : sign ? -127 : 127;
	q.act = &r.x;
	kernels_ref.quantize(&q);
	free_weight(&r.w);
	pack_raw(&kernels_ref, &r.w, r.raw);
	want = run(&r, &kernels_ref, 0, 9, 1);
	check_value(&r, want);
	check_fast(&r, want);
	free(want);
	teardown(&r);
}

/* A NaN or infinity in one row leaves the others alone. */
static void check_odd(uint32_t type)
{
	struct kernel_quantize_args q = {.part = {0, 1}, .n_rows = 5};
	float *clean, *want;
	struct rig r;

	setup(&r, type, 33, 64, 5);
	clean = run(&r, &kernels_ref, 0, 5, 1);
	r.x.f32[64 + 3] = NAN;
	r.x.f32[2 * 64 + 40] = INFINITY;
	q.act = &r.x;
	if (!is_float_type(type))
		kernels_ref.quantize(&q);
	want = run(&r, &kernels_ref, 0, 5, 1);
	CHECK(isnan(want[r.ldo]));
	CHECK(!isfinite(want[2 * r.ldo]));
	CHECK(first_difference(clean, want, 33) < 0);
	CHECK(first_difference(clean + 3 * r.ldo, want + 3 * r.ldo, r.ldo + 33) < 0);
	check_fast(&r, want);
	free(clean);
	free(want);
	teardown(&r);
}

int main(void)
{
	static const uint32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 31, 33, 64, 130};

	kernels_thread_init();
	for (size_t t = 0; t < N_TYPES; t++) {
		uint32_t type = all_types[t];

		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			check_shape(type, 49, 96, rows[i]);
			check_shape(type, 1, 32, rows[i]);
		}
		check_shape(type, 80, 576, 7);
		check_shape(type, 18, 1536, 13);
		check_shape(type, 17, 4128, 11);
		if (is_float_type(type)) {
			check_shape(type, 31, 1, 7);
			check_shape(type, 40, 77, 5);
		} else {
			for (int sign = 0; sign < 3; sign++) {
				check_saturation(type, 0xff, sign);
				check_saturation(type, 0x80, sign);
				check_saturation(type, 0x7f, sign);
				check_saturation(type, 0x00, sign);
			}
		}
		check_odd(type);
	}
	return test_done();
}
