/* SPDX-License-Identifier: MIT */
/*
 * pack: GGUF blocks into panels (layout.h). Moves bits, computes nothing, so there is one version.
 *
 * GGUF blocks of 32 (ggml's published formats, all little-endian): d f16, then for _1 types m f16,
 * then for Q5 the 32 fifth bits as u32 (bit k of element k), then 16 bytes whose low nibbles are
 * elements 0-15 and high nibbles 16-31; Q8_0: d f16, 32 int8. Values: d*q, d*(q-8), d*(q-16),
 * d*q+m.
 *
 * Called by every worker while a model is loaded, panels split between them.
 */
#include <string.h>

#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

bool kernel_has_type(uint32_t type)
{
	return layout_of(type);
}

void kernel_pack_bytes(uint32_t type, uint32_t n_rows, uint32_t n_cols, size_t *quants,
		       size_t *scales)
{
	const struct layout_type *t = layout_of(type);

	*quants = layout_panels(n_rows) * layout_panel_bytes(t, n_cols);
	*scales = layout_panels(n_rows) * layout_panel_scales(t, n_cols);
}

/* The 32 stored integers of a GGUF block. */
static void unpack_raw(const struct layout_type *t, const uint8_t *raw, uint8_t q[KERNEL_BLOCK])
{
	uint32_t high = 0;

	raw += t->has_min ? 4 : 2;
	if (t->type == KERNEL_Q8_0) {
		memcpy(q, raw, KERNEL_BLOCK);
		return;
	}
	if (t->quants_bytes == 320) {
		memcpy(&high, raw, sizeof(high));
		raw += sizeof(high);
	}
	for (int k = 0; k < 16; k++) {
		q[k] = (uint8_t)((raw[k] & 15) | (high >> k & 1) << 4);
		q[k + 16] = (uint8_t)(raw[k] >> 4 | (high >> (k + 16) & 1) << 4);
	}
}

/* Puts row `row` of a block; the block's bytes were zero. */
static void put_row(const struct layout_type *t, uint8_t *block, const uint8_t *q, uint32_t row)
{
	if (t->type == KERNEL_Q8_0) {
		for (uint32_t g = 0; g < 8; g++)
			memcpy(block + 64 * g + 4 * row, q + 4 * g, 4);
		return;
	}
	for (uint32_t g = 0; g < 8; g++) {
		uint8_t *to = block + 64 * (g / 2) + 4 * row;

		for (uint32_t j = 0; j < 4; j++)
			to[j] |= (uint8_t)((q[4 * g + j] & 15) << (4 * (g % 2)));
	}
	if (t->quants_bytes != 320)
		return;
	for (uint32_t k = 0; k < KERNEL_BLOCK; k++)
		block[256 + 4 * row + k % 4] |= (uint8_t)(q[k] >> 4 << (k / 4));
}

static void pack_panel(const struct kernel_pack_args *a, const struct layout_type *t, size_t panel)
{
	const struct kernel_weight *w = a->w;
	size_t n_blocks = w->n_cols / KERNEL_BLOCK;
	uint8_t *quants = w->quants + panel * layout_panel_bytes(t, w->n_cols);
	uint8_t *scales = w->scales + panel * layout_panel_scales(t, w->n_cols);
	uint8_t q[KERNEL_BLOCK];

	memset(quants, 0, layout_panel_bytes(t, w->n_cols));
	memset(scales, 0, layout_panel_scales(t, w->n_cols));
	for (uint32_t r = 0; r < KERNEL_PANEL; r++) {
		size_t row = panel * KERNEL_PANEL + r;
		const uint8_t *raw = (const uint8_t *)a->raw + row * n_blocks * t->raw_bytes;

		if (row >= w->n_rows)
			return;
		for (size_t b = 0; b < n_blocks; b++, raw += t->raw_bytes) {
			unpack_raw(t, raw, q);
			put_row(t, quants + b * t->quants_bytes, q, r);
			memcpy(scales + b * t->scales_bytes + 2 * r, raw, 2);
			if (t->has_min)
				memcpy(scales + b * t->scales_bytes + 32 + 2 * r, raw + 2, 2);
		}
	}
}

static void pack_panel_float(const struct kernel_pack_args *a, const struct layout_type *t,
			     size_t panel)
{
	const struct kernel_weight *w = a->w;
	uint8_t *quants = w->quants + panel * layout_panel_bytes(t, w->n_cols);
	size_t size = t->raw_bytes;

	memset(quants, 0, layout_panel_bytes(t, w->n_cols));
	for (uint32_t r = 0; r < KERNEL_PANEL; r++) {
		size_t row = panel * KERNEL_PANEL + r;
		const uint8_t *raw = (const uint8_t *)a->raw + row * w->n_cols * size;

		if (row >= w->n_rows)
			return;
		for (size_t k = 0; k < w->n_cols; k++)
			memcpy(quants + (k * KERNEL_PANEL + r) * size, raw + k * size, size);
	}
}

void kernel_pack(const struct kernel_pack_args *a)
{
	const struct layout_type *t = layout_of(a->w->type);
	size_t from, to;

	layout_share(a->part, layout_panels(a->w->n_rows), &from, &to);
	for (size_t p = from; p < to; p++) {
		if (layout_is_float(t))
			pack_panel_float(a, t, p);
		else
			pack_panel(a, t, p);
	}
}
