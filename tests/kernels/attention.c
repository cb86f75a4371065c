/* SPDX-License-Identifier: MIT */
/*
 * attention: agrees with a double softmax over the rounded cache; a row does not depend on
 * chunking, other sequences, parts or what unwritten and masked slots hold; windows, soft cap,
 * grouped heads; AVX2 gives the reference's bits.
 * Marks: san
 */
#include "kernels/cpu/f16.h"

#include "tests/kernels/kernel_test.h"

struct rig {
	struct kernel_attention_args a;
	struct kernel_seq seq;
	uint32_t pages[64];
	uint8_t *mem;
	float *q; /* [n_pos][ldq]: a query for every position */
	uint32_t n_pos;
};

static uint16_t *slot_of(struct rig *r, uint32_t g, uint32_t pos, int is_v, uint32_t d)
{
	uint32_t dims = r->a.kv.head_dim;
	uint16_t *k = (uint16_t *)(r->mem + r->pages[pos / 32] * r->a.kv.page_bytes +
				   (r->a.kv.n_kv_heads + g) * r->a.kv.head_bytes);

	return is_v ? k + 32 * dims + pos % 32 * dims + d : k + d * 32 + pos % 32;
}

static void setup(struct rig *r, uint32_t dims, uint32_t n_heads, uint32_t n_kv_heads,
		  uint32_t n_pos)
{
	uint32_t n_pages = (n_pos + 31) / 32;

	memset(r, 0, sizeof(*r));
	r->a.kv = (struct kernel_kv){.page_bytes = 2 * n_kv_heads * 128 * (size_t)dims,
				     .layer = 1,
				     .head_bytes = 128 * (size_t)dims,
				     .n_kv_heads = n_kv_heads,
				     .head_dim = dims};
	for (uint32_t i = 0; i < n_pages; i++)
		r->pages[i] = (i * 7 + 3) % 61;
	r->mem = get_mem(61 * r->a.kv.page_bytes);
	memset(r->mem, 0xff, 61 * r->a.kv.page_bytes); /* NaN wherever nothing is written */
	r->n_pos = n_pos;
	r->a.ldq = n_heads * dims + 3;
	r->a.n_heads = n_heads;
	r->a.scale = 1 / sqrtf((float)dims);
	r->q = random_floats((size_t)n_pos * r->a.ldq, 4);
	r->a.kv.base = r->mem;
	for (uint32_t g = 0; g < n_kv_heads; g++)
		for (uint32_t pos = 0; pos < n_pos; pos++)
			for (uint32_t d = 0; d < 2 * dims; d++)
				*slot_of(r, g, pos, d >= dims, d % dims) =
					f16_from_f32(random_float() * 2);
}

static void teardown(struct rig *r)
{
	free(r->mem);
	free(r->q);
}

/* Rows of positions pos0 .. pos0 + n_rows - 1 as one sequence. */
static float *run(struct rig *r, const struct kernel_ops *ops, uint32_t pos0, uint32_t n_rows,
		  int n)
{
	struct kernel_attention_args a = r->a;
	struct kernel_seq seq = {0, n_rows, pos0, r->pages};

	a.seqs = &seq;
	a.n_seqs = 1;
	a.q = r->q + (size_t)pos0 * a.ldq;
	a.out = get_mem((size_t)n_rows * a.n_heads * a.kv.head_dim * 4);
	a.part.n = n;
	for (a.part.rank = 0; a.part.rank < n; a.part.rank++)
		ops->attention(&a);
	return a.out;
}

static double score(struct rig *r, uint32_t pos, uint32_t h, uint32_t at)
{
	uint32_t dims = r->a.kv.head_dim, g = h / (r->a.n_heads / r->a.kv.n_kv_heads);
	double s = 0;

	for (uint32_t d = 0; d < dims; d++)
		s += (double)r->q[(size_t)pos * r->a.ldq + h * dims + d] *
		     half_value(*slot_of(r, g, at, 0, d));
	s *= (double)r->a.scale;
	return r->a.softcap > 0 ? (double)r->a.softcap * tanh(s / (double)r->a.softcap) : s;
}

/* Row at pos, head h, in double; returns the worst distance from out[K]. */
static double distance(struct rig *r, uint32_t pos, uint32_t h, const float *out)
{
	uint32_t dims = r->a.kv.head_dim, g = h / (r->a.n_heads / r->a.kv.n_kv_heads);
	uint32_t from = r->a.window && pos >= r->a.window ? pos - r->a.window + 1 : 0;
	double acc[KERNEL_MAX_HEAD_DIM] = {0}, sum = 0, worst = 0, max = -INFINITY;

	for (uint32_t j = from; j <= pos; j++)
		max = fmax(max, score(r, pos, h, j));
	for (uint32_t j = from; j <= pos; j++) {
		double p = exp(score(r, pos, h, j) - max);

		sum += p;
		for (uint32_t d = 0; d < dims; d++)
			acc[d] += p * half_value(*slot_of(r, g, j, 1, d));
	}
	for (uint32_t d = 0; d < dims; d++)
		worst = fmax(worst, fabs(acc[d] / sum - (double)out[d]));
	return worst;
}

/* A few rows of out, which starts at position pos0, against double. */
static void check_value(struct rig *r, const float *out, uint32_t pos0)
{
	uint32_t dims = r->a.kv.head_dim;
	double worst = 0;

	for (uint32_t pos = pos0; pos < r->n_pos; pos += 1 + (r->n_pos - pos0) / 7) {
		for (uint32_t h = 0; h < r->a.n_heads; h += 2) {
			double e = distance(r, pos, h,
					    out + ((size_t)(pos - pos0) * r->a.n_heads + h) * dims);

			worst = e > worst || isnan(e) ? e : worst;
		}
	}
	CHECK(worst < 1e-5);
}

static void check_chunks(struct rig *r, const float *want, uint32_t pos0)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	size_t width = (size_t)r->a.n_heads * r->a.kv.head_dim;
	uint32_t n_rows = r->n_pos - pos0;

	for (int n = 1; n <= 3; n++) {
		float *out = run(r, fast, pos0, n_rows, n);

		CHECK(first_difference(want, out, n_rows * width) < 0);
		free(out);
	}
	for (uint32_t first = 0; first < n_rows; first += 1 + n_rows / 4) {
		static const uint32_t sizes[] = {1, 2, 5, 13, 32};

		for (size_t i = 0; i < 5; i++) {
			uint32_t size = sizes[i] < n_rows - first ? sizes[i] : n_rows - first;
			float *out = run(r, fast, pos0 + first, size, 1 + (int)(i % 2));

			CHECK(first_difference(want + first * width, out, size * width) < 0);
			free(out);
		}
	}
}

static void check_rows(struct rig *r, uint32_t pos0)
{
	float *want = run(r, &kernels_ref, pos0, r->n_pos - pos0, 1);

	check_value(r, want, pos0);
	check_chunks(r, want, pos0);
	free(want);
}

static void check_dims(uint32_t dims, uint32_t n_heads, uint32_t n_kv_heads)
{
	struct rig r;

	setup(&r, dims, n_heads, n_kv_heads, 107);
	check_rows(&r, 0);
	check_rows(&r, 70);
	r.a.window = 40;
	check_rows(&r, 20);
	r.a.softcap = 3;
	check_rows(&r, 100);
	r.a.window = 1;
	check_rows(&r, 60);
	teardown(&r);
}

static void check_long(void)
{
	struct rig r;

	setup(&r, 16, 3, 1, 1600);
	check_rows(&r, 1560);
	r.a.window = 600;
	check_rows(&r, 1570);
	r.a.window = 512;
	check_rows(&r, 1000);
	teardown(&r);
}

/* Two sequences of one step, the second at another place in the batch, are what each is alone. */
static void check_batch(void)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	struct kernel_seq seqs[3];
	struct kernel_attention_args a;
	float *first, *second;
	struct rig r;
	size_t width = 6 * 16;

	setup(&r, 16, 6, 2, 90);
	first = run(&r, &kernels_ref, 30, 11, 1);
	second = run(&r, &kernels_ref, 41, 33, 1);
	seqs[0] = (struct kernel_seq){0, 11, 30, r.pages};
	seqs[1] = (struct kernel_seq){11, 0, 0, r.pages};
	seqs[2] = (struct kernel_seq){11, 33, 41, r.pages};
	for (int n = 1; n <= 4; n++) {
		a = r.a;
		a.seqs = seqs;
		a.n_seqs = 3;
		a.q = r.q + 30 * (size_t)a.ldq;
		a.out = get_mem(44 * width * 4);
		a.part.n = n;
		for (a.part.rank = 0; a.part.rank < n; a.part.rank++)
			fast->attention(&a);
		CHECK(first_difference(first, a.out, 11 * width) < 0);
		CHECK(first_difference(second, a.out + 11 * width, 33 * width) < 0);
		free(a.out);
	}
	free(first);
	free(second);
	teardown(&r);
}

/* Infinite and NaN queries, keys and values give the same in both. */
static void check_odd(void)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	struct rig r;
	float *want, *got;

	setup(&r, 64, 3, 3, 40);
	r.q[5] = NAN;
	r.q[2 * (size_t)r.a.ldq + 70] = INFINITY;
	*slot_of(&r, 2, 20, 1, 7) = 0x7c00;
	*slot_of(&r, 1, 9, 0, 3) = 0xfc00;
	*slot_of(&r, 0, 34, 1, 63) = 0x7e00;
	want = run(&r, &kernels_ref, 0, 40, 1);
	got = run(&r, fast, 0, 40, 1);
	CHECK(isnan(want[0]));
	CHECK(first_difference(want, got, 40 * 192) < 0);
	free(want);
	free(got);
	teardown(&r);
}

int main(void)
{
	static const uint32_t dims[] = {8, 16, 20, 24, 64, 80, 96, 128, 256};

	kernels_thread_init();
	for (size_t i = 0; i < sizeof(dims) / sizeof(*dims); i++)
		check_dims(dims[i], 6, 2);
	check_dims(64, 9, 3);
	check_dims(8, 5, 5);
	check_dims(8, 8, 1);
	check_dims(16, 40, 1);
	check_long();
	check_batch();
	check_odd();
	return test_done();
}
