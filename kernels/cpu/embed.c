/* SPDX-License-Identifier: MIT */
/*
 * embed: gathers rows of a packed weight (the head's own panels: no second copy of the table) and
 * widens them to f32: w = d * float(q - offset), or fma(d, float(q), m), times the model's scale.
 *
 * One version: a row per token is too little work to deserve a second.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/f16.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/ops.h"

static float get_f16(const uint8_t *at)
{
	uint16_t h;

	memcpy(&h, at, sizeof(h));
	return f16_to_f32(h);
}

static float get_float(uint32_t type, const uint8_t *at)
{
	uint16_t h;
	float f;

	if (type == KERNEL_F16)
		return get_f16(at);
	if (type == KERNEL_BF16) {
		memcpy(&h, at, sizeof(h));
		return bf16_to_f32(h);
	}
	memcpy(&f, at, sizeof(f));
	return f;
}

static void embed_float(const struct kernel_embed_args *a, const struct layout_type *t, size_t row)
{
	const struct kernel_weight *w = a->w;
	uint32_t id = a->ids[row];
	const uint8_t *panel = w->quants + id / KERNEL_PANEL * layout_panel_bytes(t, w->n_cols);
	float *out = a->out + row * w->n_cols;

	for (size_t k = 0; k < w->n_cols; k++) {
		size_t at = (k * KERNEL_PANEL + id % KERNEL_PANEL) * t->raw_bytes;

		out[k] = get_float(w->type, panel + at) * a->scale;
	}
}

static void embed_quants(const struct kernel_embed_args *a, const struct layout_type *t, size_t row)
{
	const struct kernel_weight *w = a->w;
	uint32_t id = a->ids[row], r = id % KERNEL_PANEL;
	const uint8_t *block = w->quants + id / KERNEL_PANEL * layout_panel_bytes(t, w->n_cols);
	const uint8_t *scales = w->scales + id / KERNEL_PANEL * layout_panel_scales(t, w->n_cols);
	float *out = a->out + row * w->n_cols;

	for (size_t b = 0; b < w->n_cols / KERNEL_BLOCK; b++) {
		float d = get_f16(scales + 2 * r);
		float m = t->has_min ? get_f16(scales + 32 + 2 * r) : 0;

		for (uint32_t k = 0; k < KERNEL_BLOCK; k++) {
			float q = (float)(layout_get(t, block, r, k) - t->offset);

			*out++ = (t->has_min ? fmaf(d, q, m) : d * q) * a->scale;
		}
		block += t->quants_bytes;
		scales += t->scales_bytes;
	}
}

void kernel_embed(const struct kernel_embed_args *a)
{
	const struct layout_type *t = layout_of(a->w->type);
	size_t from, to;

	layout_share(a->part, a->n_tokens, &from, &to);
	for (size_t row = from; row < to; row++) {
		if (layout_is_float(t))
			embed_float(a, t, row);
		else
			embed_quants(a, t, row);
	}
}
