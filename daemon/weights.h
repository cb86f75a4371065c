/* SPDX-License-Identifier: MIT */
/*
 * weights: a model's tensors packed for the CPU kernels, in one arena.
 *
 * `weights_create` repacks every matrix with the whole team and gives each tensor's mapping back as
 * soon as it is done, so that the peak is the packed weights and one tensor. What a family does not
 * have is NULL. Read-only afterwards; `forward()` on every worker reads it.
 */
#ifndef DEVLLM_WEIGHTS_H
#define DEVLLM_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/arena.h"
#include "daemon/error.h"
#include "kernels/kernels.h"

struct model;
struct team;

struct weights_matrix {
	struct kernel_weight w; /* [N][K_in] */
	float *bias;		/* [N] or NULL */
};

/* In which forms the matrices that read the same rows want them: f32, int8 or, when mixed, both. */
struct weights_input {
	bool is_f32, is_quantized;
};

struct weights_layer {
	float *attn_norm, *ffn_norm;	/* [D] */
	struct weights_matrix q;	/* [H*K][D] */
	struct weights_matrix k, v;	/* [G*K][D] */
	struct weights_matrix o;	/* [D][H*K] */
	struct weights_matrix gate, up;	/* [F][D] */
	struct weights_matrix down;	/* [D][F] */
	struct weights_input qkv_in, o_in, ffn_in, down_in;
};

struct weights {
	struct arena arena;
	struct weights_matrix embed; /* [V][D] */
	struct weights_matrix head;  /* [V][D]; embed's planes when they are tied */
	struct weights_input head_in;
	float *output_norm;	     /* [D] */
	size_t token_bytes;	     /* read to decode one token alone */
	struct weights_layer *layers; /* [n_layers] */
};

struct weights_args {
	const struct model *model;
	const struct kernel_ops *ops;
	struct team *team;
	bool is_f32; /* widen every matrix to f32 */
};

/* -ENOMEM, -ENOTSUP for a type that ops cannot pack. */
int weights_create(const struct weights_args *args, struct weights *out, struct error *err);
void weights_destroy(struct weights *w);

#endif
