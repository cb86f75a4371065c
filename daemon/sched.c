/* SPDX-License-Identifier: MIT */
/*
 * sched: see daemon/sched.h for the contract and the rules. This file owns the life of a sequence;
 * daemon/sched_plan.c makes plans, daemon/sched_tenant.c keeps tenants and counters. Called by the
 * daemon's heart, by llmbench and by the simulator, each on one thread.
 *
 *	                          WAITING                                      RUNNING
 *	                +-- parked (no credit) --+
 *	sched_add() --> |     ^ sched_credit() v |  admit(), sched_plan.c   +-- runnable ---+
 *	                +-- in its tenant's heap-+ -----------------------> |  ^   credit,  |
 *	                            ^                                       |  v   rule 12  |
 *	                            +-------- sched_preempt() ------------- +-- stalled ----+
 *	sched_remove() leaves from anywhere: NONE
 *
 * What is kept where
 *	sched.waiting       heap of the tenants that have a sequence in their heap; by counter
 *	tenant.ready        heap of its WAITING sequences with credit; preempted first, then rule 2
 *	sched.running       list of the tenants that have a RUNNING sequence
 *	tenant.first..last  list of its RUNNING sequences; rule 2
 * A plan looks at RUNNING sequences and at the tops of heaps only: O(rows log tenants), however
 * many wait. RUNNING ones are at most max_seqs and those that stalled while they held pages.
 *
 * Who keeps the rules of sched.h
 *	1, 2  plan_decodes(), plan_prefills()        7  sched_append(), may_preempt()
 *	3     join()                                 8  sched_add()
 *	4     sched_credit(), can_run()              9  make_plan(), plan_exclusive()
 *	5     victim(), make_room()                 10  charge_row()
 *	6     the key of sched_tenant_ready()       11  has_pages()
 *	13    is_last_row()                         12  find_paused(), is_stalled()
 *
 * Invariants
 *	I1  a WAITING sequence holds no page; a RUNNING one holds ceil(n / 32) for the n tokens that
 *	    its newest row ended at
 *	I2  whoever is admitted finds the pages for all its present tokens free, beyond those
 *	    promised to RUNNING ones. So resumed sequences, which rule 7 protects, fit the pool
 *	    together, and the first of all RUNNING ones in the order can always get a page:
 *	    everybody else can be preempted for it, and alone it fits (rule 8). A plan without rows
 *	    means: nothing can run
 *	I3  each stay in RUNNING but the first yields a token (rule 7), of which there are
 *	    max_tokens: it is preempted max_tokens times at most, unless its client stalls it
 *	I4  rows are planned after every preemption that could concern them: no row's sequence is
 *	    preempted in the plan that names it
 */
#include "daemon/sched_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool config_is_valid(const struct sched_config *cfg)
{
	return cfg->step_tokens && cfg->max_seqs && cfg->w_prompt && cfg->w_prompt <= UINT16_MAX &&
	       cfg->w_output && cfg->w_output <= UINT16_MAX;
}

int sched_create(const struct sched_config *cfg, struct kvcache *kv, struct prefix *prefix,
		 struct sched **out)
{
	struct sched *s;

	if (!config_is_valid(cfg))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->rows = calloc(cfg->max_seqs, sizeof(*s->rows));
	if (!s->rows) {
		free(s);
		return -ENOMEM;
	}
	s->cfg = *cfg;
	if (!s->cfg.chunk_tokens || s->cfg.chunk_tokens > cfg->step_tokens)
		s->cfg.chunk_tokens = cfg->step_tokens;
	s->kv = kv;
	s->prefix = prefix;
	s->n_pool_pages = kvcache_least_total(kv);
	*out = s;
	return 0;
}

void sched_destroy(struct sched *s)
{
	if (!s)
		return;
	sched_tenants_destroy(s);
	sched_heap_exit(&s->waiting);
	sched_heap_exit(&s->planning);
	free(s->rows);
	free(s);
}

static int check(const struct sched *s, const struct sched_seq *q, struct error *err)
{
	uint64_t want = (uint64_t)q->n_prompt + q->max_tokens;
	uint64_t pool = (uint64_t)s->n_pool_pages * KVCACHE_PAGE_TOKENS;

	if (q->tenant >= s->n_tenants || s->tenants[q->tenant]->is_dropped)
		return error_set(err, -EINVAL, "tenant %u does not exist", q->tenant);
	if (!q->n_prompt || !q->max_tokens)
		return error_set(err, -EINVAL,
				 "prompt has %u tokens, max_tokens is %u: at least 1 each",
				 q->n_prompt, q->max_tokens);
	if (want > pool)
		return error_set(err, -E2BIG,
				 "prompt of %u tokens and max_tokens of %u are %llu tokens, "
				 "the KV pool holds %llu",
				 q->n_prompt, q->max_tokens, (unsigned long long)want,
				 (unsigned long long)pool);
	return 0;
}

int sched_add(struct sched *s, struct sched_seq *q, struct error *err)
{
	struct sched_tenant *t;
	int rc = check(s, q, err);

	if (rc)
		return rc;
	t = s->tenants[q->tenant];
	/* For every sequence it has, so that a preemption finds its place. */
	if (sched_heap_reserve(&t->ready, t->n_waiting + t->n_running + 1))
		return error_set(err, -ENOMEM, "no memory for a list of %u sequences",
				 t->n_waiting + t->n_running + 1);
	q->state = SCHED_WAITING;
	q->n_ids = q->n_prompt;
	q->n_cached = q->n_prefix_hit = q->n_charged = q->n_preemptions = q->n_published = 0;
	q->was_admitted = q->is_preempted = q->must_emit = false;
	memset(&q->table, 0, sizeof(q->table));
	q->planned_in = 0;
	q->node.place = 0;
	q->prev = q->next = NULL;
	t->n_waiting++;
	s->n_waiting++;
	if (q->has_credit)
		sched_tenant_ready(s, t, q);
	return 0;
}

static void stop_running(struct sched *s, struct sched_tenant *t, struct sched_seq *q)
{
	if (t->cursor == q)
		t->cursor = q->next;
	sched_tenant_unrun(s, t, q);
	s->n_running--;
	s->n_exclusive -= q->is_exclusive;
	kvcache_release(s->kv, &q->table);
}

void sched_remove(struct sched *s, struct sched_seq *q)
{
	struct sched_tenant *t;

	if (q->state == SCHED_NONE)
		return;
	t = s->tenants[q->tenant];
	if (q->state == SCHED_RUNNING) {
		stop_running(s, t, q);
	} else {
		t->n_waiting--;
		s->n_waiting--;
		if (q->node.place)
			sched_tenant_unready(s, t, q);
	}
	if (s->blocked.seq == q)
		s->blocked.seq = NULL;
	q->state = SCHED_NONE;
}

void sched_preempt(struct sched *s, struct sched_seq *q)
{
	struct sched_tenant *t = s->tenants[q->tenant];

	stop_running(s, t, q);
	q->state = SCHED_WAITING;
	q->n_cached = q->n_published = 0;
	q->n_preemptions++;
	q->is_preempted = true;
	q->must_emit = false;
	t->n_waiting++;
	s->n_waiting++;
	if (q->has_credit)
		sched_tenant_ready(s, t, q);
}

void sched_credit(struct sched *s, struct sched_seq *q, bool has_credit)
{
	q->has_credit = has_credit;
	if (q->state != SCHED_WAITING || (q->node.place != 0) == has_credit)
		return;
	if (has_credit)
		sched_tenant_ready(s, s->tenants[q->tenant], q);
	else
		sched_tenant_unready(s, s->tenants[q->tenant], q);
}

/* Pages that the row filled become known; one that cannot be kept is tried again with the next. */
static void publish(struct sched *s, struct sched_seq *q)
{
	struct prefix_text text = sched_text(s, q);

	while ((q->n_published + 1) * KVCACHE_PAGE_TOKENS <= q->n_cached) {
		if (!prefix_publish(s->prefix, &text, q->n_published))
			break;
		q->n_published++;
		s->tenants[q->tenant]->n_publishes++;
	}
}

void sched_advance(struct sched *s, const struct plan *p)
{
	for (uint32_t i = 0; i < p->n_rows; i++) {
		struct sched_seq *q = p->rows[i].seq;
		uint32_t full = q->n_cached / KVCACHE_PAGE_TOKENS;

		q->n_cached += p->rows[i].n_tokens;
		if (s->prefix && q->n_cached / KVCACHE_PAGE_TOKENS > full)
			publish(s, q);
	}
}

void sched_append(struct sched *s, struct sched_seq *q, uint32_t id)
{
	(void)s;
	if (sched_is_complete(q))
		return;
	q->ids[q->n_ids++] = id;
	q->must_emit = false;
}

uint32_t sched_n_waiting(const struct sched *s)
{
	return s->n_waiting;
}

uint32_t sched_n_running(const struct sched *s)
{
	return s->n_running;
}
