/* SPDX-License-Identifier: MIT */
/*
 * matmul on AVX2, float weights (F32, F16, BF16): tiles of one panel (16 rows) by 1-6 rows of f32
 * activations, lanes are weight rows, acc = fma(w, x, acc) with k ascending as in matmul.c. With
 * one row of activations four panels go together, or the additions would wait for each other.
 *
 * Called by kernel_matmul_avx2() on every worker; panels are split between them.
 */
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

#define TILE 6
#define PANELS 4 /* of a tile with one row */

/* Eight weights, rows 8h to 8h + 7 of column k. */
INLINE __m256 load_weights(uint32_t type, const uint8_t *panel, size_t k, int h)
{
	size_t at = k * KERNEL_PANEL + 8 * (size_t)h;

	if (type == KERNEL_F32)
		return _mm256_loadu_ps((const float *)panel + at);
	if (type == KERNEL_F16)
		return avx2_halves(panel + 2 * at);
	return _mm256_castsi256_ps(_mm256_slli_epi32(
		_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(panel + 2 * at))), 16));
}

/* A tile: n_panels panels from `panel` on, n rows from `row` on. */
struct tile {
	const struct kernel_matmul_args *a;
	size_t panel, panel_bytes, row;
};

INLINE void store_tile(const struct tile *t, size_t panel, size_t row, __m256 low, __m256 high)
{
	const struct kernel_matmul_args *a = t->a;
	size_t n0 = panel * KERNEL_PANEL, n = a->w->n_rows - n0;
	float *out = a->out + row * a->ldo + n0;

	for (size_t h = 0; h < 2; h++) {
		__m256 y = h ? high : low;
		size_t left = n > 8 * h ? n - 8 * h : 0;
		__m256i mask = avx2_mask(left < 8 ? left : 8);

		if (a->bias)
			y = _mm256_add_ps(y, _mm256_maskload_ps(a->bias + n0 + 8 * h, mask));
		if (a->is_add)
			y = _mm256_add_ps(_mm256_maskload_ps(out + 8 * h, mask), y);
		_mm256_maskstore_ps(out + 8 * h, mask, y);
	}
}

INLINE void run_tile(const struct tile *t, uint32_t type, int n_panels, int n)
{
	const uint8_t *panel = t->a->w->quants + t->panel * t->panel_bytes;
	const size_t n_cols = t->a->w->n_cols;
	const float *x = t->a->x->f32 + t->row * n_cols;
	__m256 acc[TILE][2]; /* [rows or panels][half] */

	UNROLL
	for (int i = 0; i < n_panels * n; i++)
		acc[i][0] = acc[i][1] = _mm256_setzero_ps();
	for (size_t k = 0; k < n_cols; k++) {
		UNROLL
		for (int i = 0; i < n_panels * n; i++) {
			const int p = n == 1 ? i : 0, m = n == 1 ? 0 : i;
			const uint8_t *w = panel + (size_t)p * t->panel_bytes;
			__m256 v = _mm256_broadcast_ss(x + (size_t)m * n_cols + k);

			UNROLL
			for (int h = 0; h < 2; h++)
				acc[i][h] =
					_mm256_fmadd_ps(load_weights(type, w, k, h), v, acc[i][h]);
		}
	}
	UNROLL
	for (int i = 0; i < n_panels * n; i++)
		store_tile(t, t->panel + (n == 1 ? (size_t)i : 0),
			   t->row + (n == 1 ? 0 : (size_t)i), acc[i][0], acc[i][1]);
}

#define INSTANCE(type, n_panels, n)                                      \
	static void tile_##type##_##n_panels##_##n(const struct tile *t) \
	{                                                                \
		run_tile(t, KERNEL_##type, n_panels, n);                 \
	}
#define INSTANCES(type)      \
	INSTANCE(type, 4, 1) \
	INSTANCE(type, 1, 1) \
	INSTANCE(type, 1, 2) \
	INSTANCE(type, 1, 3) \
	INSTANCE(type, 1, 4) \
	INSTANCE(type, 1, 5) \
	INSTANCE(type, 1, 6)

INSTANCES(F32)
INSTANCES(F16)
INSTANCES(BF16)

/* [type][rows], and [type][0] for PANELS panels by one row */
#define ROW(type)                                                                           \
	{                                                                                   \
		tile_##type##_4_1, tile_##type##_1_1, tile_##type##_1_2, tile_##type##_1_3, \
			tile_##type##_1_4, tile_##type##_1_5, tile_##type##_1_6             \
	}
static void (*const tiles[3][TILE + 1])(const struct tile *) = {ROW(F32), ROW(F16), ROW(BF16)};

void kernel_matmul_float_avx2(const struct kernel_matmul_args *a)
{
	const struct layout_type *l = layout_of(a->w->type);
	struct tile t = {.a = a, .panel_bytes = layout_panel_bytes(l, a->w->n_cols)};
	size_t type = a->w->type == KERNEL_F32 ? 0 : a->w->type == KERNEL_F16 ? 1 : 2, to, n;

	layout_share(a->part, layout_panels(a->w->n_rows), &t.panel, &to);
	while (t.panel < to) {
		if (a->n_rows == 1 && to - t.panel >= PANELS) {
			t.row = 0;
			tiles[type][0](&t);
			t.panel += PANELS;
			continue;
		}
		for (t.row = 0; t.row < a->n_rows; t.row += n) {
			n = a->n_rows - t.row < TILE ? a->n_rows - t.row : TILE;
			tiles[type][n](&t);
		}
		t.panel++;
	}
}
