/* SPDX-License-Identifier: MIT */
/*
 * matmul on AVX2, quantized weights: tiles of one panel (16 rows) by 1-3 rows of activations. The
 * arithmetic is matmul.c's; only where the integers wait differs.
 *
 * Few rows (decode) take a block's integers apart in registers. Many rows take a stretch of a panel
 * apart once into L1 and pass all tiles over it; the f32 accumulators wait in memory between two
 * stretches, which changes no bit.
 *
 *	u4, u5 integers		vpmaddubsw chained in i16, 8 (u5: 4) times: at most 8 * 2 * 15 * 127
 *				(4 * 2 * 31 * 127), below 32,768; then vpmaddwd by ones to i32
 *	s8 integers		vpmaddubsw of |w| and sign(w) * x, at most 2 * 128 * 127, then
 *				vpmaddwd by ones; they stay packed, only their scales are unpacked
 *
 * Float weights are in matmul_float_avx2.c. Called by every worker; panels are split between them.
 */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

#define TILE 3		  /* activation rows of a tile */
#define FEW_ROWS 6	  /* up to here: in registers */
#define MANY_ROWS 144	  /* rows that pass over one unpacked stretch; a multiple of TILE */
#define STRETCH_BLOCKS 24 /* blocks of a stretch */
#define APART 0x100 /* kind of a tile: enum kernel_type, or that with its weights taken apart */

/* A panel, or a stretch of it, by up to TILE rows of activations. */
struct tile {
	const uint8_t *quants; /* packed, or [block][512] of u8 */
	const uint8_t *scales; /* packed halves, or [block] of 16 f32 scales */
	const float *mins;     /* apart: [block] of 16 */
	size_t n_blocks;
	const int8_t *q;	   /* of the first row and block */
	const float *d, *dsum;	   /* the same */
	const int16_t *sum;	   /* the same */
	size_t q_stride, d_stride; /* between rows; sum's is 2 * d_stride */
	float *acc;		   /* [rows][16] */
};

/* What a tile holds in registers. */
struct regs {
	__m256i dot[TILE][2];
	__m256 acc[TILE][2];
	__m256 d[2], min[2];
};

INLINE bool is_five(int kind)
{
	return (kind & ~APART) == KERNEL_Q5_0 || (kind & ~APART) == KERNEL_Q5_1;
}

INLINE bool has_min(int kind)
{
	return (kind & ~APART) == KERNEL_Q4_1 || (kind & ~APART) == KERNEL_Q5_1;
}

/* Bytes of a block in the quants. */
INLINE size_t block_bytes(int kind)
{
	if (kind & APART || kind == KERNEL_Q8_0)
		return 512;
	return is_five(kind) ? 320 : 256;
}

/* ---- the integers of one block --------------------------------------------------------------- */

/* Group g of half h (rows 8h to 8h + 7) of a packed block, as unsigned bytes. */
INLINE __m256i packed_bytes(int kind, const uint8_t *block, int g, int h)
{
	__m256i v = avx2_load(block + 64 * (g / 2) + 32 * h), high;

	v = _mm256_and_si256(g % 2 ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
	if (!is_five(kind))
		return v;
	high = avx2_load(block + 256 + 32 * h);
	high = _mm256_and_si256(high, _mm256_set1_epi8((char)(1 << g)));
	high = g < 4 ? _mm256_slli_epi16(high, 4 - g) : _mm256_srli_epi16(high, g - 4);
	return _mm256_or_si256(v, high);
}

/* x: the rows' int8 of this block. */
INLINE void dot_unsigned(int kind, int n, const uint8_t *block, const int8_t *const *x,
			 struct regs *r)
{
	const __m256i ones = _mm256_set1_epi16(1);
	__m256i chain[TILE][2];

	UNROLL
	for (int g = 0; g < 8; g++) {
		__m256i w[2];

		UNROLL
		for (int h = 0; h < 2; h++)
			w[h] = kind & APART ? avx2_load(block + 64 * g + 32 * h)
					    : packed_bytes(kind, block, g, h);
		UNROLL
		for (int m = 0; m < n; m++) {
			const __m256i v = avx2_dword(x[m] + 4 * g);

			UNROLL
			for (int h = 0; h < 2; h++) {
				const __m256i product = _mm256_maddubs_epi16(w[h], v);

				if (is_five(kind) && g == 4)
					r->dot[m][h] = _mm256_madd_epi16(chain[m][h], ones);
				if (g == 0 || (is_five(kind) && g == 4))
					chain[m][h] = product;
				else
					chain[m][h] = _mm256_add_epi16(chain[m][h], product);
				AVX2_KEEP_ORDER(chain[m][h]);
			}
		}
	}
	UNROLL
	for (int m = 0; m < n; m++) {
		UNROLL
		for (int h = 0; h < 2; h++) {
			__m256i v = _mm256_madd_epi16(chain[m][h], ones);

			r->dot[m][h] = is_five(kind) ? _mm256_add_epi32(r->dot[m][h], v) : v;
		}
	}
}

INLINE void dot_signed(int n, const uint8_t *block, const int8_t *const *x, struct regs *r)
{
	const __m256i ones = _mm256_set1_epi16(1);

	UNROLL
	for (int g = 0; g < 8; g++) {
		UNROLL
		for (int h = 0; h < 2; h++) {
			__m256i w = avx2_load(block + 64 * g + 32 * h), abs = _mm256_abs_epi8(w);

			UNROLL
			for (int m = 0; m < n; m++) {
				__m256i v = _mm256_sign_epi8(avx2_dword(x[m] + 4 * g), w);

				v = _mm256_madd_epi16(_mm256_maddubs_epi16(abs, v), ones);
				r->dot[m][h] = g ? _mm256_add_epi32(r->dot[m][h], v) : v;
			}
		}
	}
}

/* ---- tiles ----------------------------------------------------------------------------------- */

INLINE void load_scales(const struct tile *t, int kind, size_t b, struct regs *r)
{
	const uint8_t *at = t->scales + b * (has_min(kind) ? 64 : 32);

	UNROLL
	for (int h = 0; h < 2; h++) {
		if (kind & APART) {
			r->d[h] = _mm256_loadu_ps((const float *)t->scales + 16 * b + 8 * h);
			if (has_min(kind))
				r->min[h] = _mm256_loadu_ps(t->mins + 16 * b + 8 * h);
		} else {
			r->d[h] = avx2_halves(at + 16 * h);
			if (has_min(kind))
				r->min[h] = avx2_halves(at + 32 + 16 * h);
		}
	}
}

/* acc = fma(float(dot - offset * sum), dw * da, acc), then for mins acc = fma(min, dsum, acc). */
INLINE void scale_block(const struct tile *t, int kind, int n, size_t b, struct regs *r)
{
	const int type = kind & ~APART;
	const short offset = type == KERNEL_Q4_0 ? 8 : type == KERNEL_Q5_0 ? 16 : 0;

	UNROLL
	for (int m = 0; m < n; m++) {
		const size_t at = (size_t)m * t->d_stride + b;
		const __m256 d = _mm256_broadcast_ss(t->d + at);
		__m256i seed = _mm256_setzero_si256();

		if (offset)
			seed = _mm256_madd_epi16(avx2_dword(t->sum + 2 * at),
						 _mm256_set1_epi16((short)-offset));
		UNROLL
		for (int h = 0; h < 2; h++) {
			__m256i dot = r->dot[m][h];
			__m256 v = _mm256_cvtepi32_ps(offset ? _mm256_add_epi32(dot, seed) : dot);

			v = _mm256_fmadd_ps(v, _mm256_mul_ps(r->d[h], d), r->acc[m][h]);
			if (has_min(kind))
				v = _mm256_fmadd_ps(r->min[h], _mm256_broadcast_ss(t->dsum + at),
						    v);
			r->acc[m][h] = v;
		}
	}
}

/* n rows over the tile's blocks. kind and n are constants in each instance. */
INLINE void run_tile(const struct tile *t, int kind, int n)
{
	struct regs r;

	UNROLL
	for (int m = 0; m < n; m++)
		UNROLL
	for (int h = 0; h < 2; h++)
		r.acc[m][h] = _mm256_loadu_ps(t->acc + 16 * m + 8 * h);
	for (size_t b = 0; b < t->n_blocks; b++) {
		const uint8_t *block = t->quants + b * block_bytes(kind);
		const int8_t *x[TILE];

		UNROLL
		for (int m = 0; m < n; m++)
			x[m] = t->q + (size_t)m * t->q_stride + KERNEL_BLOCK * b;
		if ((kind & ~APART) == KERNEL_Q8_0)
			dot_signed(n, block, x, &r);
		else
			dot_unsigned(kind, n, block, x, &r);
		load_scales(t, kind, b, &r);
		scale_block(t, kind, n, b, &r);
	}
	UNROLL
	for (int m = 0; m < n; m++)
		UNROLL
	for (int h = 0; h < 2; h++)
		_mm256_storeu_ps(t->acc + 16 * m + 8 * h, r.acc[m][h]);
}

#define INSTANCE(type, n)                                    \
	static void tile_##type##_##n(const struct tile *t)  \
	{                                                    \
		run_tile(t, KERNEL_##type, n);               \
	}                                                    \
	static void apart_##type##_##n(const struct tile *t) \
	{                                                    \
		run_tile(t, KERNEL_##type | APART, n);       \
	}
#define INSTANCES(type) INSTANCE(type, 1) INSTANCE(type, 2) INSTANCE(type, 3)

INSTANCES(Q8_0)
INSTANCES(Q4_0)
INSTANCES(Q4_1)
INSTANCES(Q5_0)
INSTANCES(Q5_1)

/* [is apart][type][rows - 1] */
#define ROW(type)                                                                 \
	[0][KERNEL_##type] = {tile_##type##_1, tile_##type##_2, tile_##type##_3}, \
	[1][KERNEL_##type] = {apart_##type##_1, apart_##type##_2, apart_##type##_3}
static void (*const tiles[2][KERNEL_Q8_0 + 1][TILE])(const struct tile *) = {
	ROW(Q8_0), ROW(Q4_0), ROW(Q4_1), ROW(Q5_0), ROW(Q5_1)};

/* ---- panels ---------------------------------------------------------------------------------- */

/* Rows `row` .. of acc to out, with bias and residual. */
static void store_rows(const struct kernel_matmul_args *a, size_t panel, size_t row, size_t n_rows,
		       const float *acc)
{
	size_t n0 = panel * KERNEL_PANEL, n = a->w->n_rows - n0;

	n = n < KERNEL_PANEL ? n : KERNEL_PANEL;
	for (size_t m = 0; m < n_rows; m++, acc += KERNEL_PANEL) {
		float *out = a->out + (row + m) * a->ldo + n0;

		for (size_t i = 0; i < n; i++) {
			float y = a->bias ? acc[i] + a->bias[n0 + i] : acc[i];

			out[i] = a->is_add ? out[i] + y : y;
		}
	}
}

/* The tile of rows from `row` and blocks from `block` on. */
static struct tile tile_of(const struct kernel_matmul_args *a, size_t row, size_t block)
{
	size_t n_cols = a->w->n_cols, at = row * (n_cols / KERNEL_BLOCK) + block;

	return (struct tile){
		.q = a->x->q + at * KERNEL_BLOCK,
		.d = a->x->d + at,
		.dsum = a->x->dsum + at,
		.sum = a->x->sum + 2 * at,
		.q_stride = n_cols,
		.d_stride = n_cols / KERNEL_BLOCK,
	};
}

/* Up to FEW_ROWS rows: the packed panel goes through registers, once per tile. */
static void few_rows(const struct kernel_matmul_args *a, const struct layout_type *t, size_t panel)
{
	size_t n_tiles = (a->n_rows + TILE - 1) / TILE, row = 0;
	float acc[FEW_ROWS * KERNEL_PANEL] = {0};

	for (size_t i = 0; i < n_tiles; i++) {
		size_t n = (a->n_rows - row + n_tiles - i - 1) / (n_tiles - i);
		struct tile tile = tile_of(a, row, 0);

		tile.quants = a->w->quants + panel * layout_panel_bytes(t, a->w->n_cols);
		tile.scales = a->w->scales + panel * layout_panel_scales(t, a->w->n_cols);
		tile.n_blocks = a->w->n_cols / KERNEL_BLOCK;
		tile.acc = acc + row * KERNEL_PANEL;
		tiles[0][t->type][n - 1](&tile);
		row += n;
	}
	store_rows(a, panel, 0, a->n_rows, acc);
}

/* A stretch of a panel taken apart. */
struct stretch {
	uint8_t q[STRETCH_BLOCKS][512];
	float d[STRETCH_BLOCKS][KERNEL_PANEL];
	float min[STRETCH_BLOCKS][KERNEL_PANEL];
	float acc[MANY_ROWS][KERNEL_PANEL];
};

INLINE void unpack_block(int kind, const uint8_t *block, uint8_t *to)
{
	UNROLL
	for (int g = 0; g < 8; g++)
		UNROLL
	for (int h = 0; h < 2; h++)
		_mm256_store_si256((__m256i *)(to + 64 * g + 32 * h),
				   packed_bytes(kind, block, g, h));
}

static void unpack(const struct layout_type *t, const uint8_t *quants, const uint8_t *scales,
		   size_t n_blocks, struct stretch *s)
{
	for (size_t b = 0; b < n_blocks; b++) {
		const uint8_t *block = quants + b * t->quants_bytes;

		if (t->quants_bytes == 256)
			unpack_block(KERNEL_Q4_0, block, s->q[b]);
		else if (t->quants_bytes == 320)
			unpack_block(KERNEL_Q5_0, block, s->q[b]);
		for (size_t h = 0; h < 2; h++) {
			const uint8_t *at = scales + b * t->scales_bytes + 16 * h;

			_mm256_store_ps(s->d[b] + 8 * h, avx2_halves(at));
			if (t->has_min)
				_mm256_store_ps(s->min[b] + 8 * h, avx2_halves(at + 32));
		}
	}
}

/* Rows `row` to row + n_rows - 1, at most MANY_ROWS, over one panel. */
static void many_rows(const struct kernel_matmul_args *a, const struct layout_type *t, size_t panel,
		      size_t row, size_t n_rows)
{
	const uint8_t *quants = a->w->quants + panel * layout_panel_bytes(t, a->w->n_cols);
	const uint8_t *scales = a->w->scales + panel * layout_panel_scales(t, a->w->n_cols);
	size_t n_blocks = a->w->n_cols / KERNEL_BLOCK, n_stretches, from, to;
	struct stretch s __attribute__((aligned(64)));

	n_stretches = (n_blocks + STRETCH_BLOCKS - 1) / STRETCH_BLOCKS;
	memset(s.acc, 0, n_rows * sizeof(*s.acc));
	for (size_t i = 0; i < n_stretches; i++) {
		from = n_blocks * i / n_stretches;
		to = n_blocks * (i + 1) / n_stretches;
		unpack(t, quants + from * t->quants_bytes, scales + from * t->scales_bytes,
		       to - from, &s);
		for (size_t m = 0; m < n_rows; m += TILE) {
			struct tile tile = tile_of(a, row + m, from);
			size_t n = n_rows - m < TILE ? n_rows - m : TILE;

			tile.quants = t->type == KERNEL_Q8_0 ? quants + from * 512 : s.q[0];
			tile.scales = (const uint8_t *)s.d;
			tile.mins = s.min[0];
			tile.n_blocks = to - from;
			tile.acc = s.acc[m];
			tiles[1][t->type][n - 1](&tile);
		}
	}
	store_rows(a, panel, row, n_rows, s.acc[0]);
}

static void matmul_quants(const struct kernel_matmul_args *a, const struct layout_type *t)
{
	size_t n_passes = (a->n_rows + MANY_ROWS - 1) / MANY_ROWS, from, to, n;

	layout_share(a->part, layout_panels(a->w->n_rows), &from, &to);
	if (a->n_rows <= FEW_ROWS) {
		for (size_t panel = from; panel < to; panel++)
			few_rows(a, t, panel);
		return;
	}
	n = ((a->n_rows + n_passes - 1) / n_passes + TILE - 1) / TILE * TILE;
	for (size_t row = 0; row < a->n_rows; row += n)
		for (size_t panel = from; panel < to; panel++)
			many_rows(a, t, panel, row, a->n_rows - row < n ? a->n_rows - row : n);
}

void kernel_matmul_avx2(const struct kernel_matmul_args *a)
{
	const struct layout_type *t = layout_of(a->w->type);

	if (layout_is_float(t))
		kernel_matmul_float_avx2(a);
	else if (a->n_rows)
		matmul_quants(a, t);
}
