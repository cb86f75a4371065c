/* SPDX-License-Identifier: MIT */
/*
 * layout: where an element of a packed weight lies. The drawing is in kernels/README.md.
 *
 * A panel holds 16 rows. Quantized: blocks of 32 along K ascending; inside a block, groups of 4 k;
 * in a group the byte of (row r, k = 4g + j) is byte 4r + j, so a dword is one row's four k. Two
 * such groups of 64 bytes share a chunk of 64 bytes when they are nibbles: even group low, odd
 * group high. Q5 adds 64 bytes a block behind the nibbles: bit g of byte i is the fifth bit of
 * group g, byte i. Scales plane: per block 16 f16 scales, then 16 f16 mins where the type has
 * them. Float: per k the 16 rows' elements as they are in the file; no scales plane.
 *
 * Owned by pack.c; read by every op that touches a weight.
 */
#ifndef DEVLLM_KERNELS_LAYOUT_H
#define DEVLLM_KERNELS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* What there is to know about a weight type. */
struct layout_type {
	uint32_t type;	       /* enum kernel_type */
	uint32_t raw_bytes;    /* of a GGUF block of 32, or of one float */
	uint32_t quants_bytes; /* of 16 rows x 32, or of 16 floats */
	uint32_t scales_bytes; /* of 16 rows x 32; 0 for floats */
	int32_t offset;	       /* subtracted from the stored integer */
	bool has_min;
};

/* NULL: not a type of these kernels. */
static inline const struct layout_type *layout_of(uint32_t type)
{
	static const struct layout_type types[] = {
		{KERNEL_F32, 4, 64, 0, 0, false},      {KERNEL_F16, 2, 32, 0, 0, false},
		{KERNEL_BF16, 2, 32, 0, 0, false},     {KERNEL_Q8_0, 34, 512, 32, 0, false},
		{KERNEL_Q4_0, 18, 256, 32, 8, false},  {KERNEL_Q4_1, 20, 256, 64, 0, true},
		{KERNEL_Q5_0, 22, 320, 32, 16, false}, {KERNEL_Q5_1, 24, 320, 64, 0, true},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

static inline bool layout_is_float(const struct layout_type *t)
{
	return !t->scales_bytes;
}

static inline uint32_t layout_panels(uint32_t n_rows)
{
	return n_rows / KERNEL_PANEL + (n_rows % KERNEL_PANEL != 0);
}

/* Bytes of one panel in the quants plane. */
static inline size_t layout_panel_bytes(const struct layout_type *t, uint32_t n_cols)
{
	return (size_t)(layout_is_float(t) ? n_cols : n_cols / KERNEL_BLOCK) * t->quants_bytes;
}

/* Bytes of one panel in the scales plane. */
static inline size_t layout_panel_scales(const struct layout_type *t, uint32_t n_cols)
{
	return (size_t)(n_cols / KERNEL_BLOCK) * t->scales_bytes;
}

/* The integer stored for (row, k) of a packed block, offset not yet taken off. */
static inline int32_t layout_get(const struct layout_type *t, const uint8_t *block, uint32_t row,
				 uint32_t k)
{
	uint32_t g = k / 4, byte = 4 * row + k % 4;
	int32_t v;

	if (t->type == KERNEL_Q8_0)
		return (int8_t)block[64 * g + byte];
	v = block[64 * (g / 2) + byte] >> (4 * (g % 2)) & 15;
	if (t->quants_bytes == 320)
		v |= (block[256 + byte] >> g & 1) << 4;
	return v;
}

/* A worker's share [*from, *to) of n things. */
static inline void layout_share(struct kernel_part part, size_t n, size_t *from, size_t *to)
{
	*from = n * (size_t)part.rank / (size_t)part.n;
	*to = n * ((size_t)part.rank + 1) / (size_t)part.n;
}

#endif
