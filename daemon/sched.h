/* SPDX-License-Identifier: MIT */
/*
 * sched: which sequences run in the next step, with how many tokens each.
 *
 * Pure: state in, plan out. No clock, no I/O, no device, no randomness; the same calls give the same plans.
 * Called by the daemon's heart, by llmbench and by the simulator, each on one thread.
 *
 *	sched_add --> WAITING --plan admits--> RUNNING --sched_remove--> gone
 *	                 ^                        |
 *	                 +------- preempted ------+   (pages dropped, tokens kept: recompute)
 *
 * A step: sched_plan(), the engine runs it, then sched_advance() for the plan and sched_append() for each
 * token drawn; sched_remove() for whoever ended. Removal is allowed at any time between steps.
 *
 * Rules (numbered; tests cite them)
 *	 1  decodes first, then prefill chunks fill the token budget
 *	 2  across tenants: least virtual tokens / weight first (VTC); inside one: priority, then arrival
 *	 3  a newly busy tenant's counter is lifted to the least of the busy ones
 *	 4  only sequences with ring credit run
 *	 5  preemption by recompute: stalled holders of pages first; then the newest of the most over-served tenant
 *	 6  no admission past a preempted sequence of the same tenant
 *	 7  a resumed sequence emits a token before it may be preempted again
 *	 8  prompt + max_tokens beyond the pool is refused at sched_add() with both numbers
 *	 9  an exclusive sequence's rows run alone in their step; other steps run in between
 *	10  charges: prefill w_prompt per token that is not a prefix hit, output w_output per token; recompute after a
 *	    preemption is not charged again; what was charged stays charged after a cancel
 *	11  pages below the watermark are kept for running decodes: no admission may take them
 */
#ifndef DEVLLM_SCHED_H
#define DEVLLM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/error.h"
#include "daemon/kvcache.h"

struct prefix;
struct sched;

enum sched_state { SCHED_NONE, SCHED_WAITING, SCHED_RUNNING };

/* A sequence. Embedded in the daemon's request; fields above the line are the creator's, below are sched's. */
struct sched_seq {
	uint64_t arrival;	/* order inside the tenant; unique */
	uint32_t tenant;	/* index from sched_tenant() */
	int32_t priority;	/* higher first */
	uint32_t *ids;		/* prompt then output; room for n_prompt + max_tokens, owned by the creator */
	uint32_t n_prompt;
	uint32_t max_tokens;	/* output bound, >= 1 */
	bool has_credit;	/* room in the client's ring for one more step; set before sched_plan() */
	bool is_exclusive;	/* rule 9 */
	/* ---- */
	enum sched_state state;
	uint32_t n_ids;		/* prompt + output so far */
	uint32_t n_cached;	/* leading ids whose KV is in pages */
	uint32_t n_prefix_hit;	/* of the first admission: ids found in the prefix cache */
	uint32_t n_charged;	/* leading ids already charged */
	uint32_t n_preemptions;
	bool is_preempted;	/* waiting again after a preemption */
	bool must_emit;		/* rule 7 */
	struct kvcache_table table;
	uint32_t n_published;	/* leading pages known to the prefix cache */
	uint8_t chain[32];	/* hash chain after n_published pages */
	struct sched_seq *prev, *next; /* its tenant's waiting list, or the running list */
	void *owner;		/* for the creator's use */
};

struct sched_config {
	uint32_t step_tokens;	/* most tokens in a step, >= 1 */
	uint32_t max_seqs;	/* most sequences in a step */
	uint32_t chunk_tokens;	/* most prefill tokens of one sequence in a step; 0: step_tokens */
	uint32_t watermark_pages;
	uint32_t w_prompt, w_output; /* VTC weights; 1 and 2 as a rule */
	bool preempt_each_step;	/* test switch: forces the rare path */
};

struct plan_row {
	struct sched_seq *seq;
	uint32_t pos0;		/* = seq->n_cached */
	uint32_t n_tokens;	/* ids[pos0 .. pos0+n_tokens-1] */
	bool needs_logits;	/* the last of all its ids so far is among them: a token will be drawn */
};

struct plan {
	struct plan_row *rows;	/* [max_seqs], owned by the sched, valid until the next sched_plan() */
	uint32_t n_rows;
	uint32_t n_tokens;
	uint32_t n_preempted;	/* in the making of this plan */
	bool is_exclusive;
};

/* One tenant as stats and tests see it. */
struct sched_tenant_info {
	uint64_t vtc;		/* virtual tokens */
	uint64_t n_prompt, n_output, n_prefix_hit; /* tokens served */
	uint32_t weight;
	uint32_t n_waiting, n_running;
};

int sched_create(const struct sched_config *cfg, struct kvcache *kv, struct prefix *prefix, struct sched **out);
void sched_destroy(struct sched *s);

/* Adds a tenant (weight >= 1; secret keys its prefix cache). Returns its index, or -ENOMEM. */
int sched_tenant(struct sched *s, uint32_t weight, const uint8_t secret[32]);
/* Drops a tenant that has no sequence left; its index may be given again. */
void sched_tenant_drop(struct sched *s, uint32_t tenant);
void sched_tenant_info(const struct sched *s, uint32_t tenant, struct sched_tenant_info *out);

/* Takes a sequence in. -E2BIG with err (both numbers) when it can never fit the pool. */
int sched_add(struct sched *s, struct sched_seq *q, struct error *err);
/* Takes it out in any state and drops its pages (full ones stay in the prefix cache). */
void sched_remove(struct sched *s, struct sched_seq *q);

/* Plans a step of at most `budget` tokens (<= step_tokens). n_rows == 0: nothing can run. */
void sched_plan(struct sched *s, uint32_t budget, struct plan *out);
/* The step ran: the plan's tokens are in the cache, charges are made, full pages are published. */
void sched_advance(struct sched *s, const struct plan *p);
/* One drawn token of a row with needs_logits, after sched_advance(). */
void sched_append(struct sched *s, struct sched_seq *q, uint32_t id);

uint32_t sched_n_waiting(const struct sched *s);
uint32_t sched_n_running(const struct sched *s);

#endif
