/* SPDX-License-Identifier: MIT */
/*
 * stats: counters and histograms, and their Prometheus text.
 *
 * Metric names are vLLM's where it has one, so that dashboards made for it work; `llm_` marks our
 * own. Every per-request metric has a `tenant` label whose cardinality is bounded: the first
 * STATS_MAX_TENANTS - 1 tenants get their own, later ones share "other". Fed by the heart (steps),
 * by outflow (tokens) and by request_end(); read by control. One thread, plain integers.
 */
#ifndef DEVLLM_STATS_H
#define DEVLLM_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct daemon;
struct request;
struct stats;

#define STATS_MAX_TENANTS 64

/* Events without a request, by number. */
enum stats_counter {
	STATS_SESSIONS_OPENED,
	STATS_SESSIONS_REFUSED,	 /* HELLO or connection refused */
	STATS_SESSIONS_BROKEN,	 /* disconnected for breaking the protocol */
	STATS_REQUESTS_REFUSED,	 /* END with an error before any step */
	STATS_KICKS,		 /* kick packets sent */
	STATS_KICKS_SKIPPED,	 /* not needed, or the client's socket was full */
	STATS_STALLS,		 /* times a sequence lost its ring credit */
	STATS_COUNTERS,		 /* how many there are */
};

int stats_create(struct stats **out);
void stats_destroy(struct stats *s);

/* A tenant's label number; call once per tenant, keep it. Never fails: at worst that of "other". */
uint32_t stats_tenant(struct stats *s, const char *name);

void stats_count(struct stats *s, enum stats_counter which, uint64_t n);

/* One output token: the first of its request (gap_ns = TTFT) or a later one (the gap). */
void stats_token(struct stats *s, uint32_t tenant, bool is_first, uint64_t gap_ns);

/* From request_end(): reason, ISL, OSL, the times, hits, preemptions of a finished request. */
void stats_request(struct stats *s, uint32_t tenant, const struct request *r, uint64_t now_ns);

/* From the heart: one finished step and what the heart itself cost. */
struct stats_step {
	uint64_t step_ns;  /* submit to poll's 1 */
	uint64_t sample_ns;
	uint64_t heart_ns; /* schedule and flush */
	uint32_t n_tokens, n_seqs, n_preempted;
};
void stats_step(struct stats *s, const struct stats_step *step);

/* Sums over all tenants. */
struct stats_totals {
	uint64_t n_prompt_tokens; /* of requests that came into a step */
	uint64_t n_output_tokens;
	uint64_t n_requests; /* finished, refused ones not counted */
	uint64_t n_preemptions;
};
void stats_totals(const struct stats *s, struct stats_totals *out);

/* The whole text, malloc'd and terminated; NULL without memory. Gauges are read from d. */
char *stats_metrics(const struct daemon *d);

#endif
