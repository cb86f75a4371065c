/* SPDX-License-Identifier: MIT */
/*
 * engine: what runs a step. null (fake tokens, no model), cpu, later cuda, behind one small ops
 * struct.
 *
 * submit/poll with a depth: a step is submitted, polled, then sampled. On the CPU the caller is
 * worker 0 of the team, so submit() does the work and poll() has nothing to wait for; depth is 1. A
 * device engine returns from submit() at once and has a depth above 1. One thread makes all the
 * calls, and it is the one that called open(): it becomes worker 0.
 *
 * The batch is the plan of daemon/sched.h seen by the engine: rows of tokens, positions, page
 * tables. It must stay untouched from submit() until poll() has said 1.
 */
#ifndef DEVLLM_ENGINE_H
#define DEVLLM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/error.h"
#include "daemon/sampler.h"

#define ENGINE_MAX_KV_GROUPS 4
#define ENGINE_PAGE_TOKENS 32

struct model;

/* A set of layers that share one page table. */
struct engine_kv_group {
	uint32_t n_layers;
	uint32_t window;   /* 0: full attention */
	size_t page_bytes; /* all layers of the group, 32 tokens */
};

struct engine_info {
	char name[64];	      /* "cpu avx2, 2 threads pinned" */
	uint32_t n_vocab;
	uint32_t n_context;   /* the model's trained context, tokens */
	uint32_t depth;	      /* steps in flight */
	uint32_t n_kv_groups;
	struct engine_kv_group kv_groups[ENGINE_MAX_KV_GROUPS];
	size_t weights_bytes; /* resident after load */
	size_t workspace_bytes;
	size_t token_bytes;   /* weight bytes read to decode one token alone */
};

struct engine_args {
	const struct model *model;   /* outlives the engine; NULL for the null engine */
	uint32_t n_threads;	     /* 0: one per physical core allowed */
	bool is_pinned;		     /* pin the team's threads, where there is a CPU for each */
	const char *kernels;	     /* "auto" (or NULL), "ref", "avx2" */
	bool is_f32;		     /* widen every weight to f32 at load: a numeric reference */
	uint32_t max_step_tokens;    /* largest batch, T */
	uint32_t max_seqs;	     /* most sequences in a batch */
	uint32_t max_logit_rows;     /* most rows with logits in a batch; 0: max_seqs */
	uint32_t n_vocab, n_context; /* null engine only; 0: 49,152 and 8,192 */
	uint32_t null_step_us;	     /* null engine only: time a step takes, microseconds */
};

/* One sequence's slice of a step. */
struct engine_seq {
	const uint32_t *ids;	     /* [n_tokens] */
	uint32_t n_tokens;
	uint32_t pos0;		     /* absolute position of ids[0] = tokens already in the cache */
	const uint32_t *pages[ENGINE_MAX_KV_GROUPS]; /* page ids, enough for pos0 + n_tokens */
	uint32_t n_logit_rows;	     /* logits of the last so many rows; 1: to draw, 0: none */
	/* sampling from the last row, by sample() when n_logit_rows > 0; params NULL: no draw */
	const struct sampler_params *params;
	uint32_t token_index;	     /* index of the drawn token in the request's output, from 0 */
	uint32_t out_id;	     /* written by sample() */
	const float *out_logits;     /* [n_logit_rows][V], valid from poll() to the next submit();
				      * NULL on the null engine */
};

struct engine_batch {
	struct engine_seq *seqs;
	uint32_t n_seqs;
	uint32_t n_tokens; /* sum over seqs */
};

struct engine;

struct engine_ops {
	const char *name; /* "null", "cpu", "cuda" */
	int (*open)(const struct engine_args *args, struct engine **out, struct error *err);
	void (*close)(struct engine *e);
	void (*info)(const struct engine *e, struct engine_info *out);
	/* The KV pool: n_pages[group]. Called once, before the first submit. */
	int (*kv_create)(struct engine *e, const uint32_t *n_pages, struct error *err);
	/*
	 * 0; -EINVAL when the batch is not what was agreed at open(): counts above the maxima, an
	 * id outside the vocabulary, a position outside context or pool, a page outside the pool.
	 * -EBUSY when depth steps are in flight.
	 */
	int (*submit)(struct engine *e, struct engine_batch *b);
	int (*poll)(struct engine *e, bool wait); /* 1 the oldest step is done, 0 not yet, -errno */
	void (*sample)(struct engine *e, struct engine_batch *b);
};

struct engine {
	const struct engine_ops *ops;
};

extern const struct engine_ops engine_null, engine_cpu;

/* By name; NULL when there is none. */
const struct engine_ops *engine_find(const char *name);

#endif
