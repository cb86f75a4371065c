/* SPDX-License-Identifier: MIT */
/*
 * stats_private: the counters themselves, shared by daemon/stats.c, which writes them, and
 * daemon/stats_text.c, which reads them. Nobody else includes it.
 */
#ifndef DEVLLM_STATS_PRIVATE_H
#define DEVLLM_STATS_PRIVATE_H

#include "daemon/stats.h"

#define STATS_MAX_BUCKETS 24
#define STATS_REASONS 7 /* highest enum llm_end_reason */

struct stats_histogram {
	const uint64_t *bounds_ns; /* [n_bounds] upper, ascending */
	uint32_t n_bounds;
	uint64_t counts[STATS_MAX_BUCKETS + 1]; /* one per bucket; the last is above all bounds */
	uint64_t n, sum_ns;
};

/* What is kept per tenant label. */
struct stats_tenant {
	char name[64];
	uint64_t n_prompt_tokens, n_output_tokens, n_prefix_hits; /* tokens */
	uint64_t n_preemptions;
	uint64_t stall_ns;			/* without ring credit */
	uint64_t n_ended[STATS_REASONS + 1];	/* by enum llm_end_reason */
	struct stats_histogram ttft, itl, e2e, queue, prefill;
};

struct stats {
	struct stats_tenant tenants[STATS_MAX_TENANTS];
	uint32_t n_tenants;
	uint64_t counters[STATS_COUNTERS];
	struct stats_histogram step, heart;
	uint64_t sample_ns, n_step_tokens, n_step_seqs, n_preempted;
};

#endif
