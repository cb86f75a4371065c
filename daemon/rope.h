/* SPDX-License-Identifier: MIT */
/*
 * rope: the angles by which positions turn the heads (RoPE, Su et al. 2021), as tables.
 *
 * Made once, for the positions that the KV pool can hold. The kernels only read them, so that no
 * step computes a sine and every instruction set sees the same bits.
 */
#ifndef DEVLLM_ROPE_H
#define DEVLLM_ROPE_H

#include <stdint.h>

#include "daemon/error.h"

struct model_rope;

struct rope {
	float *cos, *sin; /* [n_positions][n_dims / 2] */
};

/* -ENOMEM with err. The angles are computed in double and rounded once. */
int rope_create(const struct model_rope *m, uint32_t n_positions, struct rope *out,
		struct error *err);
void rope_destroy(struct rope *r);

#endif
