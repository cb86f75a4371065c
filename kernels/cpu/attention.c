/* SPDX-License-Identifier: MIT */
/*
 * attention: causal softmax(q k / sqrt(K)) v over the paged, rounded cache, plain C.
 *
 * The arithmetic, which every version repeats (rules 4-6 of kernels/kernels.h):
 *
 *	tile of 32 positions, aligned
 *		s = dot(q, k) * scale, dot = fma over head_dim ascending; softcap
 *		m' = max(m, s..), c = exp(m - m'), p = exp(s - m') (masked: 0)
 *		l = fma(l, c, sum(p)), sum by 16 lanes, tree 8-4-2-1
 *		acc = acc * c, then acc = fma(p, v, acc), positions ascending
 *	span of 512 positions, aligned: starts with m = -inf, l = 0, acc = 0
 *	spans ascending, M = -inf, L = 0, ACC = 0 before the first
 *		m' = max(M, m), a = exp(M - m'), b = exp(m - m')
 *		L = fma(L, a, l * b), ACC = fma(ACC, a, acc * b)
 *	out = ACC * (1 / L)
 *
 * Online softmax: Milakov and Gimelshein, 2018. Workers split rows of the step.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/page.h"

/* A softmax under way. */
struct state {
	float max, sum;
	float acc[KERNEL_MAX_HEAD_DIM];
};

/* One query row and head, and the slots of a tile that it sees. */
struct query {
	const struct kernel_attention_args *a;
	const float *q;	   /* [K] */
	const uint16_t *k; /* the tile's page: K [K][32], V [32][K] behind it */
	size_t from, to;   /* slots seen: from..to-1 */
};

static float score(const struct query *x, size_t slot)
{
	size_t dims = x->a->kv.head_dim;
	float cap = x->a->softcap, s = 0;

	for (size_t d = 0; d < dims; d++)
		s = fmaf(x->q[d], f16_to_f32(x->k[d * KERNEL_PAGE_TOKENS + slot]), s);
	s *= x->a->scale;
	return cap > 0 ? cap * tanh_f32(s / cap) : s;
}

static float sum_tile(const float p[KERNEL_PAGE_TOKENS])
{
	float lanes[16];

	for (int i = 0; i < 16; i++)
		lanes[i] = p[i] + p[i + 16];
	for (int half = 8; half; half /= 2)
		for (int i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	return lanes[0];
}

static void add_tile(const struct query *x, struct state *st)
{
	size_t dims = x->a->kv.head_dim;
	const uint16_t *v = x->k + dims * KERNEL_PAGE_TOKENS;
	float s[KERNEL_PAGE_TOKENS], p[KERNEL_PAGE_TOKENS] = {0}, max = st->max, c;

	for (size_t j = x->from; j < x->to; j++) {
		s[j] = score(x, j);
		max = s[j] > max ? s[j] : max;
	}
	for (size_t j = x->from; j < x->to; j++)
		p[j] = exp_f32(s[j] - max);
	c = exp_f32(st->max - max);
	st->max = max;
	st->sum = fmaf(st->sum, c, sum_tile(p));
	for (size_t d = 0; d < dims; d++)
		st->acc[d] *= c;
	for (size_t j = x->from; j < x->to; j++)
		for (size_t d = 0; d < dims; d++)
			st->acc[d] = fmaf(p[j], f16_to_f32(v[j * dims + d]), st->acc[d]);
}

static void merge(struct state *to, const struct state *span, size_t dims)
{
	float max = span->max > to->max ? span->max : to->max;
	float a = exp_f32(to->max - max), b = exp_f32(span->max - max);

	to->max = max;
	to->sum = fmaf(to->sum, a, span->sum * b);
	for (size_t d = 0; d < dims; d++)
		to->acc[d] = fmaf(to->acc[d], a, span->acc[d] * b);
}

/* Row `row` of the step, at position pos of seq, head h. */
static void attend(const struct kernel_attention_args *a, const struct kernel_seq *seq, size_t pos,
		   uint32_t h)
{
	size_t dims = a->kv.head_dim, row = seq->row0 + (pos - seq->pos0), first, next;
	uint32_t g = h / (a->n_heads / a->kv.n_kv_heads);
	float *out = a->out + (row * a->n_heads + h) * dims;
	struct query x = {.a = a, .q = a->q + row * a->ldq + h * dims};
	struct state total = {.max = -INFINITY}, span = total;

	first = a->window && pos >= a->window ? pos - a->window + 1 : 0;
	for (size_t at = first; at <= pos; at = next) {
		if (at % KERNEL_SPAN_TOKENS == 0)
			span = (struct state){.max = -INFINITY};
		next = (at / KERNEL_PAGE_TOKENS + 1) * KERNEL_PAGE_TOKENS;
		x.k = page_head(&a->kv, seq->pages, at, g);
		x.from = at % KERNEL_PAGE_TOKENS;
		x.to = pos < next ? pos % KERNEL_PAGE_TOKENS + 1 : KERNEL_PAGE_TOKENS;
		add_tile(&x, &span);
		if (next > pos || next % KERNEL_SPAN_TOKENS == 0)
			merge(&total, &span, dims);
	}
	for (size_t d = 0; d < dims; d++)
		out[d] = total.acc[d] * (1 / total.sum);
}

void kernel_attention_ref(const struct kernel_attention_args *a)
{
	size_t item = 0, n = (size_t)a->part.n;

	for (uint32_t s = 0; s < a->n_seqs; s++) {
		const struct kernel_seq *seq = &a->seqs[s];

		for (size_t i = 0; i < seq->n_rows; i++)
			for (uint32_t h = 0; h < a->n_heads; h++)
				if (item++ % n == (size_t)a->part.rank)
					attend(a, seq, seq->pos0 + i, h);
	}
}
