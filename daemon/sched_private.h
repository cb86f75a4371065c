/* SPDX-License-Identifier: MIT */
/*
 * sched_private: what sched.c, sched_tenant.c and sched_plan.c share; nobody else includes it.
 */
#ifndef DEVLLM_SCHED_PRIVATE_H
#define DEVLLM_SCHED_PRIVATE_H

#include <stddef.h>

#include "daemon/prefix.h"
#include "daemon/sched.h"

/* A counter holds virtual tokens / weight times this; what the division leaves is kept apart. */
#define SCHED_VTC_SCALE 4096

#define sched_container(node, type, member)                                    \
	((type *)(void *)((char *)(node)-offsetof(type, member)))

struct sched_tenant {
	uint32_t index;	    /* in sched.tenants */
	bool is_dropped;    /* no one's; kept for its counter while that is ahead */
	uint32_t weight;    /* >= 1 */
	uint8_t secret[32];
	uint64_t vtc;	    /* virtual tokens * SCHED_VTC_SCALE / weight */
	uint64_t vtc_rest;  /* of that division, < weight */
	uint64_t ahead_max; /* rule 12, in units of vtc */
	uint64_t n_prompt, n_output, n_prefix_hit; /* tokens */
	uint32_t n_waiting, n_running; /* sequences */
	uint64_t n_publishes;	       /* pages it made known */

	struct sched_heap ready;       /* WAITING with credit: preempted, priority, arrival */
	struct sched_node waiting;     /* in sched.waiting while ready has one: vtc, joined */
	struct sched_seq *first, *last; /* RUNNING, in the order of rule 2 */
	struct sched_tenant *prev, *next; /* in sched.running while it has a RUNNING one */

	/* while a plan is made */
	struct sched_node planning;    /* as waiting; in sched.planning */
	struct sched_seq *cursor;      /* its next RUNNING one in this phase */
	bool is_paused;		       /* rule 12 */
	uint64_t planned_in;	       /* number of the newest plan with a row of its sequences */
};

/* The head that could not be admitted, so that asking again is cheap while nothing has changed. */
struct sched_blocked {
	const struct sched_seq *seq; /* NULL: none */
	uint64_t n_publishes;	     /* of its tenant, then */
	uint32_t n_pages;	     /* that must be free or idle for it, rule 11 apart */
};

struct sched {
	struct sched_config cfg;
	struct kvcache *kv;
	struct prefix *prefix;		/* NULL: none */
	uint32_t n_pool_pages;
	struct sched_tenant **tenants;	/* [n_tenants]; dropped ones too */
	uint32_t n_tenants;
	struct sched_heap waiting;	/* tenants with a WAITING sequence that has credit */
	struct sched_tenant *left_last; /* the newest to leave that heap; NULL: none has yet */
	uint64_t n_joins;
	struct sched_tenant *running;	/* list of tenants with a RUNNING sequence */
	uint32_t n_waiting, n_running, n_exclusive; /* sequences; n_exclusive: RUNNING ones */

	struct sched_heap planning;	/* tenants with work in the phase of the plan being made */
	struct plan_row *rows;		/* [cfg.max_seqs] */
	uint64_t n_plans;
	bool was_exclusive;		/* the newest plan was */
	struct sched_blocked blocked;
};

/* ---- sched_tenant.c ------------------------------------------------------------------------- */

/* Charges virtual tokens; keeps both heaps of tenants in order. */
void sched_tenant_charge(struct sched *s, struct sched_tenant *t, uint64_t virtual_tokens);
/* Its sequence, WAITING with credit, enters or leaves its heap, and it the sched's heap. */
void sched_tenant_ready(struct sched *s, struct sched_tenant *t, struct sched_seq *q);
void sched_tenant_unready(struct sched *s, struct sched_tenant *t, struct sched_seq *q);
/* Its sequence enters or leaves the list of RUNNING ones. */
void sched_tenant_run(struct sched *s, struct sched_tenant *t, struct sched_seq *q);
void sched_tenant_unrun(struct sched *s, struct sched_tenant *t, struct sched_seq *q);
void sched_tenants_destroy(struct sched *s);

/* ---- sched.c -------------------------------------------------------------------------------- */

/* RUNNING to WAITING: pages dropped, tokens kept. */
void sched_preempt(struct sched *s, struct sched_seq *q);

/* All of its tokens were drawn; it waits to be removed. */
static inline bool sched_is_complete(const struct sched_seq *q)
{
	return q->n_ids == q->n_prompt + q->max_tokens;
}

/* It has emitted, and the next row of it is one token. */
static inline bool sched_is_decode(const struct sched_seq *q)
{
	return q->n_ids > q->n_prompt && q->n_cached + 1 == q->n_ids;
}

/* Rule 2, inside a tenant. */
static inline bool sched_seq_before(const struct sched_seq *a, const struct sched_seq *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

static inline struct prefix_text sched_text(const struct sched *s, struct sched_seq *q)
{
	return (struct prefix_text){.secret = s->tenants[q->tenant]->secret,
				    .ids = q->ids,
				    .table = &q->table,
				    .chain = q->chain};
}

/* Pages that a plan may take now: free ones and those that only the prefix cache holds. */
static inline uint32_t sched_pages_available(const struct sched *s)
{
	return kvcache_least_free(s->kv) + (s->prefix ? prefix_evictable(s->prefix) : 0);
}

#endif
