/* SPDX-License-Identifier: MIT */
/*
 * sched: which sequences run in the next step, with how many tokens each.
 *
 * Pure: state in, plan out. No clock, no I/O, no device, no randomness; the same calls give the
 * same plans. Called by the daemon's heart, by llmbench and by the simulator, each on one thread.
 *
 *	sched_add --> WAITING --plan admits--> RUNNING --sched_remove--> gone
 *	                 ^                        |
 *	                 +------- preempted ------+   (pages dropped, tokens kept: recompute)
 *
 * A step: sched_plan(), the engine runs it, then sched_advance() for the plan and sched_append()
 * for each token drawn; sched_remove() for whoever ended. Removal and sched_credit() are allowed at
 * any time between steps, that is not between sched_plan() and sched_advance().
 *
 * Rules (numbered; tests cite them; daemon/sched.c says who keeps each, docs/scheduler.md why)
 *	 1  decodes first, then prefill chunks fill the token budget
 *	 2  across tenants: least virtual tokens / weight first (VTC); inside one: priority, then
 *	    arrival. The first in this order that lacks pages ends admission for the step
 *	 3  a tenant whose first sequence begins to wait is lifted to the least counter of those
 *	    that wait already
 *	 4  only sequences with ring credit run, or are admitted
 *	 5  preemption by recompute: stalled holders of pages first; then the newest of the most
 *	    over-served tenant. Nobody preempts who comes before him in the order: he waits instead
 *	 6  no admission past a preempted sequence of the same tenant (one that has credit)
 *	 7  a resumed sequence emits a token before it may be preempted again (unless it stalls)
 *	 8  prompt + max_tokens beyond the pool is refused at sched_add(), with both numbers
 *	 9  an exclusive sequence's rows run alone in their step; other steps run in between
 *	10  charges, when the row is planned: prefill w_prompt per token that is not a prefix hit,
 *	    output w_output per token; recompute after a preemption is not charged again; what was
 *	    charged stays charged after a cancel
 *	11  pages below the watermark are kept for running decodes: no admission may take them,
 *	    unless nothing with credit runs
 *	12  a tenant further ahead of the least of those that wait than the tokens of the pool are
 *	    worth counts as stalled until the others have caught up
 *	13  the last of a step's rows is not the second of a tenant's decodes while a tenant that
 *	    comes before it has a prompt to compute and no row: nobody keeps all rows
 */
#ifndef DEVLLM_SCHED_H
#define DEVLLM_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/error.h"
#include "daemon/kvcache.h"
#include "daemon/sched_heap.h"

struct prefix;
struct sched;

enum sched_state { SCHED_NONE, SCHED_WAITING, SCHED_RUNNING };

/* Embedded in the daemon's request; fields above the line are the creator's, below are sched's. */
struct sched_seq {
	uint64_t arrival;    /* order inside the tenant; unique */
	uint32_t tenant;     /* index from sched_tenant() */
	int32_t priority;    /* higher first */
	uint32_t *ids;	     /* prompt, then output; [n_prompt + max_tokens], the creator's */
	uint32_t n_prompt;   /* tokens, >= 1 */
	uint32_t max_tokens; /* output bound, >= 1 */
	bool has_credit;     /* room in the client's ring for a step; sched_credit() changes it */
	bool is_exclusive;   /* rule 9 */
	/* ---- */
	enum sched_state state;
	uint32_t n_ids;	       /* prompt + output so far */
	uint32_t n_cached;     /* leading ids whose KV is in pages */
	uint32_t n_prefix_hit; /* of the first admission: ids found in the prefix cache */
	uint32_t n_charged;    /* leading prompt ids that are paid, or were a prefix hit */
	uint32_t n_preemptions;
	bool was_admitted;     /* once or more */
	bool is_preempted;     /* waiting again after a preemption */
	bool must_emit;	       /* rule 7 */
	struct kvcache_table table;
	uint32_t n_published;  /* leading pages known to the prefix cache */
	uint8_t chain[32];     /* hash chain after n_published pages */
	uint64_t planned_in;   /* number of the newest plan with a row of it */
	struct sched_node node; /* in its tenant's heap while WAITING with credit */
	struct sched_seq *prev, *next; /* its tenant's running list */
	void *owner;	       /* for the creator's use */
};

struct sched_config {
	uint32_t step_tokens;	  /* most tokens in a step, >= 1 */
	uint32_t max_seqs;	  /* most sequences in a step, >= 1 */
	uint32_t chunk_tokens;	  /* most prefill tokens of one sequence; 0: step_tokens */
	uint32_t watermark_pages; /* rule 11 */
	uint32_t w_prompt, w_output; /* virtual tokens per token, 1..65535; 1 and 2 as a rule */
	bool preempt_each_step;	  /* test switch: forces the rare path */
};

struct plan_row {
	struct sched_seq *seq;
	uint32_t pos0;	   /* = seq->n_cached */
	uint32_t n_tokens; /* ids[pos0 .. pos0+n_tokens-1] */
	bool needs_logits; /* the last of all its ids so far is among them: a token will be drawn */
};

struct plan {
	struct plan_row *rows; /* [max_seqs], the sched's, valid until the next sched_plan() */
	uint32_t n_rows;
	uint32_t n_tokens;
	uint32_t n_preempted;  /* in the making of this plan */
	bool is_exclusive;
};

/* One tenant as stats and tests see it. */
struct sched_tenant_info {
	uint64_t vtc; /* virtual tokens / weight, lifts included */
	uint64_t n_prompt, n_output, n_prefix_hit; /* tokens charged, charged, found */
	uint32_t weight;
	uint32_t n_waiting, n_running;
};

/* prefix may be NULL. -EINVAL: a field of cfg is out of its range; -ENOMEM. */
int sched_create(const struct sched_config *cfg, struct kvcache *kv, struct prefix *prefix,
		 struct sched **out);
/* Every sequence was removed before. */
void sched_destroy(struct sched *s);

/*
 * Adds a tenant (weight >= 1; secret keys its prefix cache). Returns its index, or -ENOMEM. One
 * that was dropped and comes back with the same secret finds its counter as it left it.
 */
int sched_tenant(struct sched *s, uint32_t weight, const uint8_t secret[32]);
/* Drops a tenant that has no sequence left; its index may be given again. */
void sched_tenant_drop(struct sched *s, uint32_t tenant);
void sched_tenant_info(const struct sched *s, uint32_t tenant, struct sched_tenant_info *out);

/* Takes a sequence in. -E2BIG with err (both numbers) when it can never fit; -EINVAL, -ENOMEM. */
int sched_add(struct sched *s, struct sched_seq *q, struct error *err);
/* Takes it out in any state and drops its pages (full ones stay in the prefix cache). */
void sched_remove(struct sched *s, struct sched_seq *q);
/*
 * The sequence's ring has room for one more step, or has none. The one way to change has_credit
 * after sched_add(): a WAITING sequence without it is not looked at until told here. O(log n).
 */
void sched_credit(struct sched *s, struct sched_seq *q, bool has_credit);

/* Plans a step of at most `budget` tokens (<= step_tokens). n_rows == 0: nothing can run. */
void sched_plan(struct sched *s, uint32_t budget, struct plan *out);
/* The step ran: the plan's tokens are in the cache, full pages are published. */
void sched_advance(struct sched *s, const struct plan *p);
/* One drawn token of a row with needs_logits, after sched_advance(). */
void sched_append(struct sched *s, struct sched_seq *q, uint32_t id);

uint32_t sched_n_waiting(const struct sched *s);
uint32_t sched_n_running(const struct sched *s);

#endif
