/* SPDX-License-Identifier: MIT */
/*
 * pack: packed weights of every type, gathered by embed, are the GGUF blocks' values; panels
 * beyond the rows are zero; parts add up; planes have exactly the promised size.
 * Marks: san
 */
#include "tests/kernels/kernel_test.h"

static void check_shape(uint32_t type, uint32_t n_rows, uint32_t n_cols, float scale)
{
	const struct kernel_ops *ops = &kernels_ref, *fast = fast_ops();
	struct kernel_weight w = {.type = type, .n_rows = n_rows, .n_cols = n_cols};
	uint8_t *raw = random_raw(type, n_rows, n_cols);
	uint32_t *ids = get_mem(n_rows * sizeof(*ids));
	float *out = get_mem((size_t)n_rows * n_cols * 4),
	      *again = get_mem((size_t)n_rows * n_cols * 4);
	struct kernel_embed_args a = {.part = {0, 1},
				      .w = &w,
				      .ids = ids,
				      .n_tokens = n_rows,
				      .scale = scale,
				      .out = out};
	int n_wrong = 0;

	pack_raw(fast ? fast : ops, &w, raw);
	for (uint32_t i = 0; i < n_rows; i++)
		ids[i] = n_rows - 1 - i;
	ops->embed(&a);
	for (uint32_t i = 0; i < n_rows; i++) {
		const uint8_t *row = raw + ids[i] * raw_row_bytes(type, n_cols);

		for (uint32_t k = 0; k < n_cols; k++) {
			double want = raw_value(type, row, k) * (double)scale;
			double got = (double)out[(size_t)i * n_cols + k];

			n_wrong += fabs(got - want) > 1e-6 * fabs(want) + 1e-7;
		}
	}
	CHECK_EQ(n_wrong, 0);
	a.out = again;
	a.part.n = 3;
	for (a.part.rank = 0; a.part.rank < 3; a.part.rank++)
		(fast ? fast : ops)->embed(&a);
	CHECK(first_difference(out, again, (size_t)n_rows * n_cols) < 0);
	free_weight(&w);
	free(raw);
	free(ids);
	free(out);
	free(again);
}

/* Rows that only pad the last panel multiply to zero: their scales and floats are zero bits. */
static void check_padding(uint32_t type)
{
	struct kernel_weight w = {.type = type, .n_rows = 1, .n_cols = 32};
	uint8_t *raw = random_raw(type, 1, 32);
	size_t size = raw_bytes(type);

	pack_raw(&kernels_ref, &w, raw);
	for (size_t i = 0; i < w.scales_bytes / 2; i++)
		CHECK(i % 16 == 0 || (!w.scales[2 * i] && !w.scales[2 * i + 1]));
	for (size_t i = 0; is_float_type(type) && i < w.quants_bytes; i++)
		CHECK(i / size % 16 == 0 || !w.quants[i]);
	free_weight(&w);
	free(raw);
}

int main(void)
{
	for (size_t t = 0; t < N_TYPES; t++) {
		CHECK(kernels_ref.has_type(all_types[t]));
		check_shape(all_types[t], 1, 32, 1);
		check_shape(all_types[t], 16, 64, 1);
		check_shape(all_types[t], 37, 96, 24);
		check_shape(all_types[t], 130, 576, 1);
		if (is_float_type(all_types[t]))
			check_shape(all_types[t], 19, 7, 1);
		check_padding(all_types[t]);
	}
	CHECK(!kernels_ref.has_type(12));
	CHECK(!kernels_ref.has_type(~0u));
	return test_done();
}
