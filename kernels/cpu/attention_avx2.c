/* SPDX-License-Identifier: MIT */
/*
 * attention on AVX2: the arithmetic of attention.c, with queries in groups that share the page
 * loads: all heads of a KV group, and in prefill several rows of a sequence. What a query computes
 * does not depend on who is in its group. Head sizes that are no multiple of 8 go to the reference.
 *
 * Workers split (group of rows, head) by cost, one unit per tile and row, so that the long rows of
 * a prefill chunk are spread evenly. All scratch is on the stack, about 100 KiB.
 */
#include <math.h>

#include "kernels/cpu/attention_tile_avx2.h"
#include "kernels/cpu/exp_avx2.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/page.h"

#define MAX_QUERIES 32	/* of a group */
#define ACC_FLOATS 2048 /* of a group's accumulators */
#define WIDE_QUERIES 5	/* from here on pages are widened first */

/* A query's softmax under way; its accumulator is in the group. */
struct state {
	float max, sum;
};

/* Queries that pass over the same pages: rows of one sequence, heads of one KV head; row-major. */
struct group {
	const struct kernel_attention_args *a;
	const struct kernel_seq *seq;
	size_t first_pos, n_rows; /* of the rows */
	uint32_t head, n_heads;	  /* heads head .. head + n_heads - 1 */
	size_t n_queries;	  /* n_rows * n_heads */
	struct state span[MAX_QUERIES], total[MAX_QUERIES];
	size_t from[MAX_QUERIES], to[MAX_QUERIES]; /* slots of the tile that each query sees */
	float c[MAX_QUERIES];			   /* rescale of the tile */
	float p[MAX_QUERIES][KERNEL_PAGE_TOKENS] __attribute__((aligned(64)));
	float span_acc[ACC_FLOATS], total_acc[ACC_FLOATS];
	float k[KERNEL_MAX_HEAD_DIM * KERNEL_PAGE_TOKENS] __attribute__((aligned(64)));
	float v[KERNEL_MAX_HEAD_DIM * KERNEL_PAGE_TOKENS] __attribute__((aligned(64)));
};

/* ---- one tile -------------------------------------------------------------------------------- */

#define INSTANCE(n)                                                     \
	static void score_##n(const struct score_args *a, bool is_wide) \
	{                                                               \
		if (is_wide)                                            \
			score_rows(a, true, n);                         \
		else                                                    \
			score_rows(a, false, n);                        \
	}
INSTANCE(1)
INSTANCE(2)
INSTANCE(3)
INSTANCE(4)
#undef INSTANCE

#define INSTANCE(n)                                                     \
	static void value_##n(const struct value_args *a, bool is_wide) \
	{                                                               \
		if (is_wide)                                            \
			value_rows(a, true, n);                         \
		else                                                    \
			value_rows(a, false, n);                        \
	}
INSTANCE(1)
INSTANCE(2)
INSTANCE(3)

static void (*const score[SCORE_ROWS])(const struct score_args *, bool) = {score_1, score_2,
									   score_3, score_4};
static void (*const value[VALUE_ROWS])(const struct value_args *, bool) = {value_1, value_2,
									   value_3};

/* Lanes 8i .. of the slots from..to-1. */
INLINE __m256 seen(size_t from, size_t to, int i)
{
	const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
					      _mm256_set1_epi32(8 * i));
	__m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)from), lane);
	__m256i before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)to), lane);

	return _mm256_castsi256_ps(_mm256_andnot_si256(below, before_end));
}

INLINE float max_lanes(__m256 v)
{
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* Scores of query i to probabilities in place; max, sum and the rescale follow. */
static void softmax_tile(struct group *g, size_t i)
{
	const __m256 scale = _mm256_set1_ps(g->a->scale), cap = _mm256_set1_ps(g->a->softcap);
	const __m256 low = _mm256_set1_ps(-INFINITY);
	struct state *st = &g->span[i];
	__m256 max = _mm256_set1_ps(st->max), s[4], m[4];
	float c;

	for (int o = 0; o < 4; o++) {
		s[o] = _mm256_mul_ps(_mm256_load_ps(g->p[i] + 8 * o), scale);
		if (g->a->softcap > 0)
			s[o] = _mm256_mul_ps(cap, tanh_avx2(_mm256_div_ps(s[o], cap)));
		m[o] = seen(g->from[i], g->to[i], o);
		s[o] = _mm256_blendv_ps(low, s[o], m[o]);
		max = _mm256_max_ps(s[o], max); /* a NaN score leaves max alone */
	}
	c = max_lanes(max);
	max = _mm256_set1_ps(c);
	for (int o = 0; o < 4; o++) {
		s[o] = _mm256_and_ps(exp_avx2(_mm256_sub_ps(s[o], max)), m[o]);
		_mm256_store_ps(g->p[i] + 8 * o, s[o]);
	}
	/* As a rule the maximum stays, and exp(0) is 1. */
	c = st->max - c;
	g->c[i] = c == 0 ? 1 : _mm256_cvtss_f32(exp_avx2(_mm256_set1_ps(c)));
	st->max = _mm256_cvtss_f32(max);
	st->sum = __builtin_fmaf(st->sum, g->c[i],
				 avx2_sum(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3])));
}

/* Queries first..last-1 see something of the tile whose K is at `page`. */
static void score_tile(struct group *g, size_t first, size_t last, const uint16_t *page)
{
	const struct kernel_attention_args *a = g->a;
	bool is_wide = last - first >= WIDE_QUERIES;
	size_t n;

	for (size_t i = first; i < last; i += n) {
		const float *q[SCORE_ROWS];
		struct score_args s = {is_wide ? (const void *)g->k : page, a->kv.head_dim, q,
				       g->p + i};

		n = last - i < SCORE_ROWS ? last - i : SCORE_ROWS;
		for (size_t j = 0; j < n; j++) {
			size_t row =
				g->seq->row0 + (g->first_pos - g->seq->pos0) + (i + j) / g->n_heads;

			q[j] = a->q + row * a->ldq +
			       (g->head + (i + j) % g->n_heads) * a->kv.head_dim;
		}
		score[n - 1](&s, is_wide);
		for (size_t j = i; j < i + n; j++)
			softmax_tile(g, j);
	}
}

static void value_tile(struct group *g, size_t first, size_t last, const uint16_t *page)
{
	size_t dims = g->a->kv.head_dim, n;
	bool is_wide = last - first >= WIDE_QUERIES;

	for (size_t i = first; i < last; i += n) {
		struct value_args v = {.v = is_wide ? (const void *)g->v : page + 32 * dims,
				       .n_dims = dims,
				       .from = g->from[i],
				       .to = g->to[i],
				       .p = (const float(*)[KERNEL_PAGE_TOKENS])g->p + i,
				       .c = g->c + i,
				       .acc = g->span_acc + i * dims};

		for (n = 1; n < VALUE_ROWS && i + n < last; n++)
			if (g->from[i + n] != v.from || g->to[i + n] != v.to)
				break;
		value[n - 1](&v, is_wide);
	}
}

/* Copies the slots that somebody sees; what the others hold is never used. */
static void widen_page(struct group *g, const uint16_t *page)
{
	size_t n = (size_t)g->a->kv.head_dim * KERNEL_PAGE_TOKENS;

	for (size_t i = 0; i < n; i += 8) {
		_mm256_store_ps(g->k + i, avx2_halves(page + i));
		_mm256_store_ps(g->v + i, avx2_halves(page + n + i));
	}
}

/* ---- a group --------------------------------------------------------------------------------- */

/* First position that the query at pos sees. */
static size_t first_seen(const struct kernel_attention_args *a, size_t pos)
{
	return a->window && pos >= a->window ? pos - a->window + 1 : 0;
}

/* Sets the slots that each query sees of the tile at `at`; the queries that see any are [*first,
 * *last). */
static void set_slots(struct group *g, size_t at, size_t *first, size_t *last)
{
	*first = *last = 0;
	for (size_t i = 0; i < g->n_queries; i++) {
		size_t pos = g->first_pos + i / g->n_heads, low = first_seen(g->a, pos);

		if (pos < at) {
			*first = i + 1;
			continue;
		}
		if (low >= at + KERNEL_PAGE_TOKENS)
			break;
		g->from[i] = low > at ? low - at : 0;
		g->to[i] = pos - at < KERNEL_PAGE_TOKENS ? pos - at + 1 : KERNEL_PAGE_TOKENS;
		*last = i + 1;
	}
}

/* The span of query i joins its total. */
static void merge(struct group *g, size_t i)
{
	struct state *to = &g->total[i], *span = &g->span[i];
	size_t dims = g->a->kv.head_dim;
	float *acc = g->total_acc + i * dims, *span_acc = g->span_acc + i * dims;
	float max = span->max > to->max ? span->max : to->max;
	__m256 a = exp_avx2(_mm256_set1_ps(to->max - max));
	__m256 b = exp_avx2(_mm256_set1_ps(span->max - max));

	to->max = max;
	to->sum = __builtin_fmaf(to->sum, _mm256_cvtss_f32(a), span->sum * _mm256_cvtss_f32(b));
	for (size_t d = 0; d < dims; d += 8) {
		__m256 v = _mm256_mul_ps(_mm256_loadu_ps(span_acc + d), b);

		v = _mm256_fmadd_ps(_mm256_loadu_ps(acc + d), a, v);
		_mm256_storeu_ps(acc + d, v);
	}
}

static void store_group(const struct group *g)
{
	const struct kernel_attention_args *a = g->a;
	size_t dims = a->kv.head_dim;

	for (size_t i = 0; i < g->n_queries; i++) {
		size_t row = g->seq->row0 + (g->first_pos - g->seq->pos0) + i / g->n_heads;
		float *out = a->out + (row * a->n_heads + g->head + i % g->n_heads) * dims;
		const __m256 r = _mm256_set1_ps(1 / g->total[i].sum);

		for (size_t d = 0; d < dims; d += 8)
			_mm256_storeu_ps(
				out + d,
				_mm256_mul_ps(_mm256_loadu_ps(g->total_acc + i * dims + d), r));
	}
}

static void reset(struct state *st, float *acc, size_t n_queries, size_t dims)
{
	for (size_t i = 0; i < n_queries; i++)
		st[i] = (struct state){.max = -INFINITY};
	memset(acc, 0, n_queries * dims * sizeof(*acc));
}

static void run_group(struct group *g)
{
	const struct kernel_attention_args *a = g->a;
	size_t dims = a->kv.head_dim, last_pos = g->first_pos + g->n_rows - 1, first, last;
	size_t at = first_seen(a, g->first_pos) / KERNEL_PAGE_TOKENS * KERNEL_PAGE_TOKENS;

	g->n_queries = g->n_rows * g->n_heads;
	reset(g->total, g->total_acc, g->n_queries, dims);
	reset(g->span, g->span_acc, g->n_queries, dims);
	for (; at <= last_pos; at += KERNEL_PAGE_TOKENS) {
		size_t next = at + KERNEL_PAGE_TOKENS;
		const uint16_t *page = page_head(&a->kv, g->seq->pages, at,
						 g->head / (a->n_heads / a->kv.n_kv_heads));

		if (at % KERNEL_SPAN_TOKENS == 0)
			reset(g->span, g->span_acc, g->n_queries, dims);
		set_slots(g, at, &first, &last);
		if (last - first >= WIDE_QUERIES)
			widen_page(g, page);
		score_tile(g, first, last, page);
		value_tile(g, first, last, page);
		for (size_t i = first; i < last; i++)
			if (next % KERNEL_SPAN_TOKENS == 0 || next > g->first_pos + i / g->n_heads)
				merge(g, i);
	}
	store_group(g);
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* Most queries whose accumulators fit, of heads of one KV head first, then rows. */
static size_t max_queries(const struct kernel_attention_args *a)
{
	size_t n = ACC_FLOATS / a->kv.head_dim;

	return n < MAX_QUERIES ? n : MAX_QUERIES;
}

static size_t rows_per_group(const struct kernel_attention_args *a)
{
	size_t n = max_queries(a) / (a->n_heads / a->kv.n_kv_heads);

	return n ? n : 1;
}

/* Tiles that a head of the rows at first_pos .. first_pos + n_rows - 1 reads, times rows. */
static size_t cost(const struct kernel_attention_args *a, size_t first_pos, size_t n_rows)
{
	size_t last = (first_pos + n_rows - 1) / KERNEL_PAGE_TOKENS;

	return n_rows * (last - first_seen(a, first_pos) / KERNEL_PAGE_TOKENS + 1);
}

/* Heads head .. end - 1 of the group's rows, by KV head and at most max_queries() at a time. */
static void run_heads(struct group *g, uint32_t head, uint32_t end)
{
	uint32_t group = g->a->n_heads / g->a->kv.n_kv_heads, next;

	for (; head < end; head = next) {
		next = (head / group + 1) * group;
		if (next - head > max_queries(g->a))
			next = head + (uint32_t)max_queries(g->a);
		next = next < end ? next : end;
		g->head = head;
		g->n_heads = next - head;
		run_group(g);
	}
}

/*
 * Walks all groups of rows with their cost; a head belongs to the worker in whose share of the
 * total its cost begins. With to == 0 only adds up.
 */
static size_t walk(struct group *g, size_t from, size_t to)
{
	const struct kernel_attention_args *a = g->a;
	size_t rows = rows_per_group(a), total = 0;

	for (uint32_t s = 0; s < a->n_seqs; s++) {
		g->seq = &a->seqs[s];
		for (size_t i = 0; i < g->seq->n_rows; i += rows) {
			size_t left = g->seq->n_rows - i, each;
			uint32_t head = 0, end;

			g->first_pos = g->seq->pos0 + i;
			g->n_rows = left < rows ? left : rows;
			each = cost(a, g->first_pos, g->n_rows);
			while (head < a->n_heads && total + head * each < from)
				head++;
			for (end = head; end < a->n_heads && total + end * each < to; end++)
				;
			run_heads(g, head, end);
			total += a->n_heads * each;
		}
	}
	return total;
}

void kernel_attention_avx2(const struct kernel_attention_args *a)
{
	struct group g;
	size_t total;

	if (a->kv.head_dim % 8) {
		kernel_attention_ref(a);
		return;
	}
	g.a = a;
	total = walk(&g, 0, 0);
	walk(&g, total * (size_t)a->part.rank / (size_t)a->part.n,
	     total * ((size_t)a->part.rank + 1) / (size_t)a->part.n);
}
