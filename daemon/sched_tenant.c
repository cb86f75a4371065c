/* SPDX-License-Identifier: MIT */
/*
 * sched_tenant: the tenants of the sched: their counters (VTC) and their places in its heaps.
 *
 * "Fairness in Serving Large Language Models" (Sheng et al., OSDI 2024), algorithm 2, with weights:
 * a tenant's counter grows by what it is served, divided by its weight; who waits with the least
 * counter is admitted first; who begins to wait is lifted to the least of those that wait, so that
 * idling earns nothing. docs/scheduler.md derives the bound. Called by sched.c and sched_plan.c.
 *
 *	idle --sched_tenant_ready (lift)--> waits --sched_tenant_unready--> idle, or only running
 *
 * A dropped tenant keeps its struct until its place is given away: to the same secret at any time,
 * to another one only when its counter is not ahead. Leaving in debt and coming back gains nothing.
 */
#include "daemon/sched_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The counter that a tenant which begins to wait starts from, at the least. */
static uint64_t floor_of(const struct sched *s)
{
	const struct sched_node *top = sched_heap_top(&s->waiting);
	uint64_t vtc = s->left_last ? s->left_last->vtc : 0;

	if (top)
		return top->key;
	/* Nobody waited: whoever runs got ahead of nobody. Start no lower than rule 12 allows. */
	for (const struct sched_tenant *t = s->running; t; t = t->next) {
		if (t->vtc > t->ahead_max && t->vtc - t->ahead_max > vtc)
			vtc = t->vtc - t->ahead_max;
	}
	return vtc;
}

/*
 * Rule 12: what the pool's tokens are worth, less the most that a step can cost, so that the gap
 * stays below the former when the pause begins a step late; but half of it at the least.
 */
static uint64_t ahead_max(const struct sched *s, uint32_t weight)
{
	const struct sched_config *cfg = &s->cfg;
	uint64_t w = cfg->w_prompt > cfg->w_output ? cfg->w_prompt : cfg->w_output;
	uint64_t pool = w * s->n_pool_pages * KVCACHE_PAGE_TOKENS;
	uint64_t rows = cfg->max_seqs < cfg->step_tokens ? cfg->max_seqs : cfg->step_tokens;
	uint64_t step = (uint64_t)cfg->w_prompt * cfg->step_tokens + cfg->w_output * rows;

	return (step < pool / 2 ? pool - step : pool / 2) * SCHED_VTC_SCALE / weight;
}

static struct sched_tenant *tenant_find(struct sched *s, const uint8_t secret[32])
{
	uint64_t floor = floor_of(s);
	struct sched_tenant *spare = NULL;

	for (uint32_t i = 0; i < s->n_tenants; i++) {
		struct sched_tenant *t = s->tenants[i];

		if (!t->is_dropped)
			continue;
		if (!memcmp(t->secret, secret, sizeof(t->secret)))
			return t;
		if (!spare && t->vtc <= floor)
			spare = t;
	}
	return spare;
}

static struct sched_tenant *tenant_add(struct sched *s)
{
	struct sched_tenant *t, **all;

	all = realloc(s->tenants, (s->n_tenants + 1) * sizeof(struct sched_tenant *));
	if (!all)
		return NULL;
	s->tenants = all;
	if (sched_heap_reserve(&s->waiting, s->n_tenants + 1) ||
	    sched_heap_reserve(&s->planning, s->n_tenants + 1))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->index = s->n_tenants;
	s->tenants[s->n_tenants++] = t;
	return t;
}

int sched_tenant(struct sched *s, uint32_t weight, const uint8_t secret[32])
{
	struct sched_tenant *t = tenant_find(s, secret);

	if (!t)
		t = tenant_add(s);
	if (!t)
		return -ENOMEM;
	if (!t->is_dropped || memcmp(t->secret, secret, sizeof(t->secret))) {
		memcpy(t->secret, secret, sizeof(t->secret));
		t->n_prompt = t->n_output = t->n_prefix_hit = 0;
	}
	t->is_dropped = false;
	t->weight = weight ? weight : 1;
	t->vtc_rest = 0;
	t->ahead_max = ahead_max(s, t->weight);
	return (int)t->index;
}

void sched_tenant_drop(struct sched *s, uint32_t tenant)
{
	s->tenants[tenant]->is_dropped = true;
}

void sched_tenants_destroy(struct sched *s)
{
	for (uint32_t i = 0; i < s->n_tenants; i++) {
		sched_heap_exit(&s->tenants[i]->ready);
		free(s->tenants[i]);
	}
	free(s->tenants);
}

void sched_tenant_info(const struct sched *s, uint32_t tenant, struct sched_tenant_info *out)
{
	const struct sched_tenant *t = s->tenants[tenant];

	*out = (struct sched_tenant_info){
		.vtc = t->vtc / SCHED_VTC_SCALE,
		.n_prompt = t->n_prompt,
		.n_output = t->n_output,
		.n_prefix_hit = t->n_prefix_hit,
		.weight = t->weight,
		.n_waiting = t->n_waiting,
		.n_running = t->n_running,
	};
}

/* The heap of the plan being made follows the tenant's counter. */
static void plan_moved(struct sched *s, struct sched_tenant *t)
{
	t->planning.key = t->waiting.key;
	t->planning.tie = t->waiting.tie;
	if (t->planning.place)
		sched_heap_moved(&s->planning, &t->planning);
}

void sched_tenant_charge(struct sched *s, struct sched_tenant *t, uint64_t virtual_tokens)
{
	uint64_t due = virtual_tokens * SCHED_VTC_SCALE + t->vtc_rest;

	t->vtc += due / t->weight;
	t->vtc_rest = due % t->weight;
	t->waiting.key = t->vtc;
	if (t->waiting.place)
		sched_heap_moved(&s->waiting, &t->waiting);
	plan_moved(s, t);
}

/* Rule 3. */
static void join(struct sched *s, struct sched_tenant *t)
{
	uint64_t floor = floor_of(s);

	if (t->vtc < floor) {
		t->vtc = floor;
		t->vtc_rest = 0;
	}
	/* Among equals the one that has waited longest: newcomers without end pass nobody. */
	t->waiting.key = t->vtc;
	t->waiting.tie = s->n_joins++;
	sched_heap_push(&s->waiting, &t->waiting);
	plan_moved(s, t);
}

void sched_tenant_ready(struct sched *s, struct sched_tenant *t, struct sched_seq *q)
{
	/* Rule 6, then rule 2. */
	q->node.key = (uint64_t)((int64_t)INT32_MAX - q->priority);
	if (!q->is_preempted)
		q->node.key += 1ull << 32;
	q->node.tie = q->arrival;
	sched_heap_push(&t->ready, &q->node);
	if (t->ready.n == 1)
		join(s, t);
}

void sched_tenant_unready(struct sched *s, struct sched_tenant *t, struct sched_seq *q)
{
	sched_heap_remove(&t->ready, &q->node);
	if (!t->ready.n) {
		sched_heap_remove(&s->waiting, &t->waiting);
		s->left_last = t;
	}
}

void sched_tenant_run(struct sched *s, struct sched_tenant *t, struct sched_seq *q)
{
	struct sched_seq *before = t->last;

	/* From the end: the newest comes last as a rule. */
	while (before && sched_seq_before(q, before))
		before = before->prev;
	q->prev = before;
	q->next = before ? before->next : t->first;
	*(q->prev ? &q->prev->next : &t->first) = q;
	*(q->next ? &q->next->prev : &t->last) = q;
	if (t->n_running++)
		return;
	t->prev = NULL;
	t->next = s->running;
	if (t->next)
		t->next->prev = t;
	s->running = t;
}

void sched_tenant_unrun(struct sched *s, struct sched_tenant *t, struct sched_seq *q)
{
	*(q->prev ? &q->prev->next : &t->first) = q->next;
	*(q->next ? &q->next->prev : &t->last) = q->prev;
	q->prev = q->next = NULL;
	if (--t->n_running)
		return;
	t->is_paused = false;
	*(t->prev ? &t->prev->next : &s->running) = t->next;
	if (t->next)
		t->next->prev = t->prev;
}
