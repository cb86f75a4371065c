/* SPDX-License-Identifier: MIT */
/*
 * workspace: the buffers of a step, made once for the largest one, so that a step allocates
 * nothing.
 *
 * Letters as in kernels/kernels.h; T is here the most rows of a step, S the most sequences, R the
 * most rows with logits; H*K, G*K and F the largest of any layer. Owned by the engine.
 */
#ifndef DEVLLM_WORKSPACE_H
#define DEVLLM_WORKSPACE_H

#include <stdint.h>

#include "daemon/arena.h"
#include "daemon/engine.h"
#include "daemon/team.h"
#include "kernels/kernels.h"

/* Steps of at most so many rows are activated by every worker for itself (daemon/forward.c). */
#define WORKSPACE_OWN_ROWS 4

struct workspace_limits {
	uint32_t n_tokens;     /* T */
	uint32_t n_seqs;       /* S */
	uint32_t n_logit_rows; /* R */
	int n_workers;
};

struct workspace {
	struct arena arena;
	struct workspace_limits limits;
	/* what a step is given */
	uint32_t *ids;			/* [T] */
	struct kernel_seq *seqs[ENGINE_MAX_KV_GROUPS];	/* [S] */
	struct kernel_seq *tails[ENGINE_MAX_KV_GROUPS];	/* [S] the rows with logits, packed */
	uint32_t *tail_rows;		/* [R] row of the step behind each of them, ascending */
	float *logits;			/* [R][V] */
	/* what passes through the layers; act is laid out for the width of each use */
	float *x;			/* [T][D] the residual stream */
	float *q;			/* [T][H*K] */
	float *k, *v;			/* [T][G*K] */
	float *att;			/* [T][H*K] attention's result */
	float *gate, *up;		/* [T][F] */
	void *act;			/* a kernel_act of T rows of the widest */
	void *own_act[TEAM_MAX_THREADS]; /* a worker's: of WORKSPACE_OWN_ROWS rows */
	void *sampler[TEAM_MAX_THREADS]; /* a worker's scratch */
};

struct model;

/* -ENOMEM with err. */
int workspace_create(const struct model *m, const struct workspace_limits *limits,
		     struct workspace *out, struct error *err);
void workspace_destroy(struct workspace *w);

#endif
