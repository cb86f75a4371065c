/* SPDX-License-Identifier: MIT */
/*
 * kernels: one args struct per op, one table of ops per instruction set.
 *
 * `forward()` in daemon/forward.c calls nothing but this table. Every op is SPMD: each worker of
 * the team calls it with its own `part`, the op computes that worker's share, and the caller puts a
 * barrier between an op that writes and one that reads. No op allocates, locks or waits. Arguments
 * are trusted: the engine has checked every id, position and page before a step.
 *
 * Shape letters (docs/glossary.md): T rows (tokens) of a step, D model width, H query heads, G KV
 * heads, K head_dim, F feed-forward width, V vocabulary; N x K_in a weight's rows and columns.
 *
 * Batch invariance is a law: every output row depends on its own input row and the weights alone,
 * bit for bit, whatever T, part.n or the instruction set (of a NaN only that it is one).
 *	1  integer dots are exact; per output element one f32 accumulator, K blocks ascending:
 *	   acc = fma(float(i32), dw*da, acc), then for types with mins acc = fma(m, dsum, acc);
 *	   float weights: acc = fma(w, x, acc), k ascending; threads split N or rows only
 *	2  format, precision and formula never depend on T
 *	3  activation scales per row and block of 32: d = max|x| * (1/127), q = round-half-even of
 *	   x * (1/d), clamped to +-127; a block of zeros, or one so small that 1/d is infinite, has
 *	   d = 0 and q = 0; a block with a non-finite x has d = NaN and q = 0
 *	4  attention always reads the rounded cache
 *	5  attention tiles are 32 positions aligned to absolute position, one online-softmax rescale
 *	   a tile; spans of 512 positions are computed apart and merged ascending; what a masked
 *	   slot holds never matters
 *	6  norm and softmax sums: 16 virtual lanes (lane = index % 16, ascending), then one fixed
 *	   tree 8-4-2-1; own exp; no contraction but explicit fma
 */
#ifndef DEVLLM_KERNELS_H
#define DEVLLM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_BLOCK 32	      /* weights and activations share this block along K_in */
#define KERNEL_PANEL 16	      /* weight rows per panel */
#define KERNEL_PAGE_TOKENS 32 /* KV positions of a page = an attention tile */
#define KERNEL_SPAN_TOKENS 512
#define KERNEL_MAX_HEAD_DIM 256

/* Type numbers are GGUF's. */
enum kernel_type {
	KERNEL_F32 = 0, KERNEL_F16 = 1, KERNEL_Q4_0 = 2, KERNEL_Q4_1 = 3,
	KERNEL_Q5_0 = 6, KERNEL_Q5_1 = 7, KERNEL_Q8_0 = 8, KERNEL_BF16 = 30,
};

/* One worker's share: rank of n. */
struct kernel_part {
	int rank, n;
};

/*
 * A weight matrix [N][K_in] packed in panels of 16 rows. The layout inside is the pack op's and
 * the matmul's business (kernels/README.md draws it), and the same for every table, so one packing
 * serves all; N is padded to a panel with zero rows.
 */
struct kernel_weight {
	uint32_t type;	   /* enum kernel_type */
	uint32_t n_rows;   /* N */
	uint32_t n_cols;   /* K_in; a multiple of 32 for quantized types */
	uint8_t *quants;   /* panels: integers, or the floats themselves */
	uint8_t *scales;   /* panels: scales (and mins); NULL for float types */
	size_t quants_bytes, scales_bytes;
};

/*
 * Rows of activations, f32 and (for quantized weights) int8 per block of 32. Rows are n_cols apart.
 * The planes may be set by hand or by `kernels_act_init()`. n_cols is a multiple of 32 wherever the
 * quantized planes are used.
 */
struct kernel_act {
	uint32_t n_cols;
	float *f32;	 /* [T][n_cols] */
	int8_t *q;	 /* [T][n_cols] */
	float *d;	 /* [T][n_cols / 32] scale of each block */
	int16_t *sum;	 /* [T][n_cols / 16] sum of q over each 16; 4-byte aligned */
	float *dsum;	 /* [T][n_cols / 32] d * float(sum of q over the block), for mins */
};

struct kernel_pack_args {
	struct kernel_part part;     /* splits panels */
	const void *raw;	     /* GGUF bytes, N rows of K_in */
	struct kernel_weight *w;     /* quants and scales allocated, 64-byte aligned */
};

struct kernel_embed_args {
	struct kernel_part part;     /* splits rows */
	const struct kernel_weight *w; /* [V][D] */
	const uint32_t *ids;	     /* [T], each below w->n_rows */
	uint32_t n_tokens;	     /* T */
	float scale;		     /* multiplied after dequantization (Gemma: sqrt(D)); else 1 */
	float *out;		     /* [T][D] */
};

struct kernel_norm_args {
	struct kernel_part part;     /* splits rows */
	const float *x;		     /* [T][ldx] */
	uint32_t n_rows, n_cols, ldx;
	const float *weight;	     /* [n_cols] */
	float eps;
	float *out;		     /* [T][n_cols], x * 1/rms * weight; may equal x when ldx ==
				      * n_cols; may be NULL if q */
	const struct kernel_act *q;  /* when not NULL: its q, d, sum, dsum are written as well */
};

struct kernel_quantize_args {
	struct kernel_part part;     /* splits rows */
	uint32_t n_rows;
	const struct kernel_act *act; /* act->f32 [T][n_cols] to q, d, sum, dsum */
};

struct kernel_matmul_args {
	struct kernel_part part;     /* splits panels of N */
	const struct kernel_weight *w; /* [N][K_in] */
	const struct kernel_act *x;  /* [T][K_in]; float weights read f32, quantized the rest */
	uint32_t n_rows;	     /* T */
	float *out;		     /* [T][ldo] */
	uint32_t ldo;
	const float *bias;	     /* [N] or NULL */
	bool is_add;		     /* out += (residual), after the dot is complete */
};

enum kernel_rope { KERNEL_ROPE_NORM, KERNEL_ROPE_NEOX, KERNEL_ROPE_NONE };

/* One sequence's rows in a step. Two sequences share no rows, and no page that either writes. */
struct kernel_seq {
	uint32_t row0, n_rows;	     /* rows row0 .. row0+n_rows-1 of the step */
	uint32_t pos0;		     /* absolute position of the first; the others follow */
	const uint32_t *pages;	     /* page ids of this KV group, for pos0 + n_rows positions */
};

/*
 * The KV store of one group. Page p, layer l (index inside the group), head g lies at
 * base + p * page_bytes + (l * n_kv_heads + g) * head_bytes; there first K as [K][32], then V as
 * [32][K], f16. base is 64-byte aligned, page_bytes and head_bytes are multiples of 64.
 */
struct kernel_kv {
	uint8_t *base;
	size_t page_bytes;
	size_t head_bytes;	     /* 2 * 32 * head_dim * 2 */
	uint32_t n_kv_heads;	     /* G */
	uint32_t head_dim;	     /* K */
	uint32_t layer;		     /* index inside the group */
};

/* Applies RoPE to q in place and to k, rounds k and v to f16 and writes them to their pages. */
struct kernel_kv_write_args {
	struct kernel_part part;     /* splits rows */
	const struct kernel_seq *seqs;
	uint32_t n_seqs;
	struct kernel_kv kv;
	float *q;		     /* [T][ldq], H heads of K; NULL: nothing to rotate */
	const float *k, *v;	     /* [T][ldk], [T][ldv], G heads of K */
	uint32_t ldq, ldk, ldv;
	uint32_t n_heads;	     /* H */
	enum kernel_rope rope;
	uint32_t rope_dims;	     /* rotated leading dims of a head, even */
	const float *rope_cos, *rope_sin; /* [context][rope_dims / 2] */
};

struct kernel_attention_args {
	struct kernel_part part;     /* splits (sequence, row, KV head) items */
	const struct kernel_seq *seqs;
	uint32_t n_seqs;
	struct kernel_kv kv;
	const float *q;		     /* [T][ldq] rotated */
	uint32_t ldq;
	uint32_t n_heads;	     /* H, a multiple of G */
	float scale;		     /* 1/sqrt(K) as a rule */
	float softcap;		     /* 0: none */
	uint32_t window;	     /* 0: full; else positions pos-window+1..pos */
	float *out;		     /* [T][H*K] */
};

enum kernel_glu { KERNEL_SWIGLU, KERNEL_GEGLU_TANH };

struct kernel_glu_args {
	struct kernel_part part;     /* splits rows or columns */
	enum kernel_glu kind;
	const float *gate, *up;	     /* [T][ld] each */
	uint32_t n_rows, n_cols, ld;
	const struct kernel_act *out; /* f32 [T][n_cols] (or NULL if is_quantized) */
	bool is_quantized;	     /* also q, d, sum, dsum of out */
};

struct kernel_ops {
	const char *name;		 /* "ref", "avx2" */
	bool (*is_supported)(void);	 /* this CPU can run it */
	bool (*has_type)(uint32_t type); /* weights of this type */
	/* Bytes of the two planes of [n_rows][n_cols]; scales is 0 for float types. */
	void (*pack_bytes)(uint32_t type, uint32_t n_rows, uint32_t n_cols, size_t *quants,
			   size_t *scales);
	void (*pack)(const struct kernel_pack_args *a);
	void (*embed)(const struct kernel_embed_args *a);
	void (*norm)(const struct kernel_norm_args *a);
	void (*quantize)(const struct kernel_quantize_args *a);
	void (*matmul)(const struct kernel_matmul_args *a);
	void (*kv_write)(const struct kernel_kv_write_args *a);
	void (*attention)(const struct kernel_attention_args *a);
	void (*glu)(const struct kernel_glu_args *a);
};

extern const struct kernel_ops kernels_ref, kernels_avx2;

/* The fastest table of this CPU (NULL or "auto"), or the one named; NULL: none, or not runnable. */
const struct kernel_ops *kernels_find(const char *name);

/* Sets MXCSR (round to nearest, no flush to zero) for this thread; each worker calls it once. */
void kernels_thread_init(void);

/* Bytes that all planes of [n_rows][n_cols] need together. */
size_t kernels_act_bytes(uint32_t n_rows, uint32_t n_cols);

/* Lays the planes out in the caller's mem: `kernels_act_bytes()` of them, 64-byte aligned. */
void kernels_act_init(struct kernel_act *act, uint32_t n_rows, uint32_t n_cols, void *mem);

#endif
