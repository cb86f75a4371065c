/* SPDX-License-Identifier: MIT */
/*
 * kv_write: rotated q, and rotated k and plain v rounded to f16, land in the right slots and
 * nowhere else, for both pairings and partial rotation, several sequences, any parts; AVX2 gives
 * the same bits.
 * Marks: san
 */
#include "kernels/cpu/f16.h"

#include "tests/kernels/kernel_test.h"

#define N_PAGES 12
#define N_POS 160

struct rig {
	struct kernel_kv_write_args a;
	struct kernel_seq seqs[3];
	uint32_t pages[3][5];
	float *q, *k, *v, *cos, *sin;
	uint32_t n_rows;
};

static void setup(struct rig *r, uint32_t dims, uint32_t rope_dims, enum kernel_rope rope)
{
	static const uint32_t n_rows[3] = {1, 37, 3}, pos0[3] = {0, 63, 95};
	size_t n_angles = (size_t)N_POS * rope_dims / 2;

	memset(r, 0, sizeof(*r));
	for (uint32_t s = 0, row = 0; s < 3; row += n_rows[s++]) {
		r->seqs[s] = (struct kernel_seq){row, n_rows[s], pos0[s], r->pages[s]};
		for (uint32_t i = 0; i < 4; i++)
			r->pages[s][i] = (s + 3 * i) * 7 % N_PAGES;
		r->n_rows += n_rows[s];
	}
	r->k = random_floats((size_t)r->n_rows * (2 * dims + 3), 2);
	r->v = random_floats((size_t)r->n_rows * (2 * dims + 1),
			     70000); /* some overflow to infinity */
	r->q = random_floats((size_t)r->n_rows * (6 * dims + 5), 2);
	r->k[1] = NAN;
	r->v[0] = -INFINITY;
	r->cos = random_floats(n_angles, 1);
	r->sin = random_floats(n_angles, 1);
	r->a = (struct kernel_kv_write_args){.seqs = r->seqs,
					     .n_seqs = 3,
					     .k = r->k,
					     .v = r->v,
					     .ldq = 6 * dims + 5,
					     .ldk = 2 * dims + 3,
					     .ldv = 2 * dims + 1,
					     .n_heads = 6,
					     .rope = rope,
					     .rope_dims = rope_dims,
					     .rope_cos = r->cos,
					     .rope_sin = r->sin,
					     .kv = {.page_bytes = 3 * 2 * 128 * (size_t)dims,
						    .head_bytes = 128 * (size_t)dims,
						    .n_kv_heads = 2,
						    .head_dim = dims,
						    .layer = 2}};
}

static void teardown(struct rig *r)
{
	free(r->k);
	free(r->v);
	free(r->q);
	free(r->cos);
	free(r->sin);
}

/* Runs into fresh pages full of 0xa5 and a copy of q. */
static void run(struct rig *r, const struct kernel_ops *ops, int n, uint8_t **pages, float **q)
{
	size_t n_bytes = N_PAGES * r->a.kv.page_bytes;

	*pages = get_mem(n_bytes);
	memset(*pages, 0xa5, n_bytes);
	*q = get_mem((size_t)r->n_rows * r->a.ldq * 4);
	memcpy(*q, r->q, (size_t)r->n_rows * r->a.ldq * 4);
	r->a.kv.base = *pages;
	r->a.q = *q;
	r->a.part.n = n;
	for (r->a.part.rank = 0; r->a.part.rank < n; r->a.part.rank++)
		ops->kv_write(&r->a);
}

static double rotated(const struct rig *r, const float *x, uint32_t i, size_t pos)
{
	uint32_t n = r->a.rope == KERNEL_ROPE_NONE ? 0 : r->a.rope_dims, half = n / 2, pair, i0, i1;
	double c, s;

	if (i >= n)
		return (double)x[i];
	pair = r->a.rope == KERNEL_ROPE_NEOX ? i % half : i / 2;
	i0 = r->a.rope == KERNEL_ROPE_NEOX ? pair : 2 * pair;
	i1 = r->a.rope == KERNEL_ROPE_NEOX ? pair + half : 2 * pair + 1;
	c = (double)r->cos[pos * half + pair];
	s = (double)r->sin[pos * half + pair];
	return i == i0 ? (double)x[i0] * c - (double)x[i1] * s
		       : (double)x[i0] * s + (double)x[i1] * c;
}

static int differs(double got, double want)
{
	return isnan(want) ? !isnan(got)
			   : !(got == want || fabs(got - want) <= 1e-3 * fabs(want) + 1e-3);
}

/* Every slot written holds its value; clears it to 0xa5 so that what is left must be untouched. */
static int n_wrong_rows(struct rig *r, const struct kernel_seq *seq, uint8_t *pages, const float *q)
{
	uint32_t dims = r->a.kv.head_dim;
	int n_wrong = 0;

	for (uint32_t i = 0; i < seq->n_rows; i++) {
		size_t row = seq->row0 + i, pos = seq->pos0 + i, slot = pos % 32;

		for (uint32_t e = 0; e < 6 * dims; e++)
			n_wrong += differs(
				(double)q[row * r->a.ldq + e],
				rotated(r, r->q + row * r->a.ldq + e / dims * dims, e % dims, pos));
		for (uint32_t e = 0; e < 2 * dims; e++) {
			size_t d = e % dims, head = 2 * r->a.kv.layer + e / dims;
			uint16_t *k =
				(uint16_t *)(pages + seq->pages[pos / 32] * r->a.kv.page_bytes +
					     head * r->a.kv.head_bytes);
			uint16_t *v = k + 32 * dims + slot * dims + d,
				 want = f16_from_f32(r->v[row * r->a.ldv + e]);

			k += 32 * d + slot;
			n_wrong += differs(half_value(*k),
					   rotated(r, r->k + row * r->a.ldk + e / dims * dims,
						   (uint32_t)d, pos));
			n_wrong += *v != want;
			*k = *v = 0xa5a5;
		}
	}
	return n_wrong;
}

/* Of a NaN only that it is one. */
static int same_halves(const uint8_t *a, const uint8_t *b, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i += 2) {
		uint16_t x, y;

		memcpy(&x, a + i, 2);
		memcpy(&y, b + i, 2);
		if (x != y && !(isnan(half_value(x)) && isnan(half_value(y))))
			return 0;
	}
	return 1;
}

static void check(uint32_t dims, uint32_t rope_dims, enum kernel_rope rope)
{
	const struct kernel_ops *fast = fast_ops() ? fast_ops() : &kernels_ref;
	uint8_t *pages, *other;
	float *q, *other_q;
	struct rig r;
	size_t n_bytes, n_left = 0;

	setup(&r, dims, rope_dims, rope);
	n_bytes = N_PAGES * r.a.kv.page_bytes;
	run(&r, &kernels_ref, 1, &pages, &q);
	for (int n = 1; n <= 3; n++) {
		run(&r, fast, n, &other, &other_q);
		CHECK(same_halves(pages, other, n_bytes));
		CHECK(first_difference(q, other_q, (size_t)r.n_rows * r.a.ldq) < 0);
		free(other);
		free(other_q);
	}
	for (int s = 0; s < 3; s++)
		CHECK_EQ(n_wrong_rows(&r, &r.seqs[s], pages, q), 0);
	for (size_t i = 0; i < n_bytes; i++)
		n_left += pages[i] != 0xa5;
	CHECK_EQ(n_left, 0);
	for (size_t i = 6 * dims; i < r.a.ldq; i++)
		CHECK(q[i] == r.q[i]);
	free(pages);
	free(q);
	teardown(&r);
}

int main(void)
{
	static const uint32_t dims[] = {2, 4, 6, 8, 16, 20, 64, 80, 96, 128, 256};

	kernels_thread_init();
	for (size_t i = 0; i < sizeof(dims) / sizeof(*dims); i++) {
		check(dims[i], dims[i], KERNEL_ROPE_NORM);
		check(dims[i], dims[i], KERNEL_ROPE_NEOX);
		check(dims[i], dims[i], KERNEL_ROPE_NONE);
		check(dims[i], (dims[i] + 3) / 4 * 2, KERNEL_ROPE_NORM);
		check(dims[i], (dims[i] + 3) / 4 * 2, KERNEL_ROPE_NEOX);
	}
	return test_done();
}
