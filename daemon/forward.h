/* SPDX-License-Identifier: MIT */
/*
 * forward: the transformer, top to bottom, as text that every worker of the team executes.
 *
 * Calls nothing but the kernel table (kernels/kernels.h); what differs between families is data
 * (daemon/model.h). No allocation, no lock, no system call but a barrier's sleep.
 */
#ifndef DEVLLM_FORWARD_H
#define DEVLLM_FORWARD_H

#include <stdint.h>

#include "daemon/model.h"
#include "daemon/rope.h"
#include "daemon/team.h"
#include "daemon/weights.h"
#include "daemon/workspace.h"

struct forward {
	/* set once by the engine */
	const struct model *model;
	const struct weights *weights;
	const struct kernel_ops *ops;
	struct team *team;
	struct workspace *work; /* ids, seqs and tails are this step's */
	struct kernel_kv kv[ENGINE_MAX_KV_GROUPS]; /* layer is filled in here */
	struct rope ropes[MODEL_MAX_ROPES];
	/* set for each step */
	uint32_t n_tokens;    /* T */
	uint32_t n_seqs;
	uint32_t n_tail_rows; /* R: rows whose logits are asked for */
	uint32_t n_tails;     /* sequences that have such rows */
};

/*
 * One pass: work->ids [T] of work->seqs through all layers; K and V go to the pages, logits of the
 * tail rows to work->logits [R][V]. Every worker calls it with its rank; before and after it the
 * team must have met (`team_run()` does that).
 */
void forward(struct forward *f, int rank);

#endif
