/* SPDX-License-Identifier: MIT */
/*
 * engine: what runs a step. null (fake tokens, no model), cpu, later cuda, behind one small ops struct.
 *
 * submit/poll with a depth: a step is submitted, polled, then sampled. On the CPU the caller is worker 0 of
 * the team, so submit() does the work and poll() has nothing to wait for; depth is 1. A device engine
 * returns from submit() at once and has a depth above 1.
 *
 * The batch is the plan of daemon/sched.h seen by the engine: rows of tokens, positions, page tables. It
 * must stay untouched from submit() until poll() has said 1.
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
	char name[64];	      /* "cpu avx2, 2 threads" */
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
	const struct model *model;   /* NULL for the null engine */
	uint32_t n_threads;	     /* 0: one per physical core allowed */
	bool is_pinned;		     /* pin the team's threads */
	const char *kernels;	     /* "auto", "ref", "avx2" */
	uint32_t max_step_tokens;    /* largest batch, T */
	uint32_t max_seqs;	     /* most sequences in a batch */
	uint32_t n_vocab, n_context; /* null engine only; 0: 49,152 and 8,192 */
	uint32_t null_step_us;	     /* null engine only: time a step takes */
};

/* One sequence's slice of a step. */
struct engine_seq {
	const uint32_t *ids;	     /* [n_tokens] */
	uint32_t n_tokens;
	uint32_t pos0;		     /* absolute position of ids[0] = tokens already in the cache */
	const uint32_t *pages[ENGINE_MAX_KV_GROUPS]; /* page ids, enough for pos0 + n_tokens */
	bool needs_logits;	     /* logits of the last row */
	/* sampling, read by sample() when needs_logits */
	const struct sampler_params *params;
	uint32_t token_index;	     /* index of the drawn token in the request's output, from 0 */
	uint32_t out_id;	     /* written by sample() */
	const float *out_logits;     /* [V] of the last row, written by poll(); NULL on the null engine */
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
