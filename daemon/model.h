/* SPDX-License-Identifier: MIT */
/*
 * model: what a GGUF file says about a network, checked, as data: one descriptor per layer.
 *
 * A family (the file's `general.architecture`) is a row in a table of daemon/model.c; everything
 * that differs between families and layers is a field here, and `forward()` reads the fields.
 * Adding a family means a row and, where it does something new, a field. An architecture, tensor
 * type or setting that is not known is refused by name; a tensor that no field asked for is
 * refused too, because leaving it out would give wrong text without a word.
 *
 * Holds pointers into the gguf, which must outlive it. Packing the weights for a device is the
 * engine's business (daemon/weights.h). Read-only after the load: any thread.
 *
 * Letters: D width, H query heads, G KV heads, K head_dim, F feed-forward width, V vocabulary.
 */
#ifndef DEVLLM_MODEL_H
#define DEVLLM_MODEL_H

#include <stdint.h>

#include "daemon/engine.h"
#include "daemon/error.h"
#include "daemon/gguf.h"
#include "kernels/kernels.h"

#define MODEL_NAME_MAX 128
#define MODEL_MAX_LAYERS 1024
#define MODEL_MAX_HEAD_DIM 512
#define MODEL_MAX_ROPES 2

/* A matrix [N][K_in] of the file and its bias [N], NULL where it has none. */
struct model_matrix {
	const struct gguf_tensor *weight;
	const struct gguf_tensor *bias;
};

/* How positions turn heads; layers name one by index. */
struct model_rope {
	enum kernel_rope kind;
	uint32_t n_dims;  /* rotated leading dims of a head, even */
	float base;	  /* angle of pair i at position p: p / scale * base^(-2i / n_dims) */
	float scale;	  /* linear context extension; 1: none */
	const struct gguf_tensor *factors; /* [n_dims / 2] divisors of the angles, or NULL */
};

struct model_layer {
	uint32_t n_heads;    /* H */
	uint32_t n_kv_heads; /* G */
	uint32_t head_dim;   /* K */
	uint32_t n_ffn;	     /* F */
	uint32_t window;     /* attention reaches back so many positions; 0: all */
	uint32_t rope;	     /* index into model.ropes */
	uint32_t kv_group;   /* index into model.kv_groups */
	uint32_t kv_layer;   /* index inside the group */
	float attention_scale;
	float softcap;	     /* of attention scores; 0: none */
	enum kernel_glu glu;
	const struct gguf_tensor *attn_norm; /* [D] */
	const struct gguf_tensor *ffn_norm;  /* [D] */
	struct model_matrix q;		     /* [H*K][D] */
	struct model_matrix k, v;	     /* [G*K][D] */
	struct model_matrix o;		     /* [D][H*K] */
	struct model_matrix gate, up;	     /* [F][D] */
	struct model_matrix down;	     /* [D][F] */
};

struct model {
	char name[MODEL_NAME_MAX];	   /* `general.name`, or the architecture's */
	const char *architecture;
	const struct gguf *gguf;
	uint32_t n_layers;
	uint32_t n_embd;		   /* D */
	uint32_t n_vocab;		   /* V: rows of the embedding */
	uint32_t n_context;		   /* trained context, tokens */
	float norm_eps;
	float embed_scale;		   /* embeddings are multiplied by it */
	uint32_t n_ropes;
	struct model_rope ropes[MODEL_MAX_ROPES];
	uint32_t n_kv_groups;
	struct engine_kv_group kv_groups[ENGINE_MAX_KV_GROUPS]; /* pages of f16 K and V */
	struct model_matrix embed;	   /* [V][D] */
	struct model_matrix head;	   /* [V][D]; the same tensor as embed when they are tied */
	const struct gguf_tensor *output_norm; /* [D] */
	struct model_layer layers[];	   /* [n_layers] */
};

/*
 * Reads the descriptor out of g. 0 and *out; -ENOTSUP for an architecture, setting or tensor type
 * that is not known, -EBADMSG for a file that contradicts itself or lacks something; err names the
 * key or tensor and both numbers. model_free() takes it back; NULL is allowed there.
 */
int model_load(const struct gguf *g, struct model **out, struct error *err);
void model_free(struct model *m);

#endif
