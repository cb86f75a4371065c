/* SPDX-License-Identifier: MIT */
/*
 * sched_plan: the making of one plan: who runs, who is admitted, who is preempted for it. The rules
 * are those of daemon/sched.h, the state that of daemon/sched.c, whose head has the invariants.
 *
 *	sched_plan()
 *	  find_paused()         rule 12
 *	  plan_exclusive()      every second time while there is one (rule 9), else
 *	  plan_decodes()        all that can, in the order of rule 2, but the last row (rule 13)
 *	  plan_prefills()       RUNNING prompts and WAITING heads, in the order of rule 2, while
 *	                        budget and rows last; a head without pages ends admission
 *	  plan_decodes()        what was left of rows and nobody took
 *
 * Both phases keep their tenants in a heap by counter and charge each row as it is planned, so that
 * the next row goes to whoever then has least. Within a phase a tenant's cursor walks its list.
 */
#include "daemon/sched_private.h"

#include <string.h>

struct planning {
	struct sched *s;
	struct plan *out;
	uint32_t budget;     /* tokens left */
	uint32_t n_runnable; /* RUNNING sequences that are not stalled */
	uint32_t n_stalled;  /* RUNNING sequences that are */
	uint32_t n_promised; /* pages that runnable ones lack for the tokens they have */
	bool wants_decodes;  /* the phase */
	bool is_blocked;     /* admission has ended */
};

enum victims {
	VICTIMS_STALLED, /* for an admission */
	VICTIMS_AFTER,	 /* for a row: stalled ones and those after it in the order */
	VICTIMS_ANY,	 /* for the test switch */
};

static struct sched_tenant *tenant_of(const struct sched *s, const struct sched_seq *q)
{
	return s->tenants[q->tenant];
}

static struct sched_tenant *top_waiting(const struct sched *s)
{
	struct sched_node *top = sched_heap_top(&s->waiting);

	return top ? sched_container(top, struct sched_tenant, waiting) : NULL;
}

static struct sched_tenant *top_planning(const struct sched *s)
{
	struct sched_node *top = sched_heap_top(&s->planning);

	return top ? sched_container(top, struct sched_tenant, planning) : NULL;
}

/* Holds pages and may not use them: its client reads nothing, or its tenant is far ahead. */
static bool is_stalled(const struct sched *s, const struct sched_seq *q)
{
	return !q->has_credit || tenant_of(s, q)->is_paused;
}

static bool has_row(const struct sched *s, const struct sched_seq *q)
{
	return q->planned_in == s->n_plans;
}

static bool can_run(const struct sched *s, const struct sched_seq *q)
{
	return !is_stalled(s, q) && !sched_is_complete(q) && !has_row(s, q);
}

/* Pages that it lacks for the tokens it has. */
static uint32_t pages_lacking(const struct sched_seq *q)
{
	uint32_t want = kvcache_pages_for(q->n_ids);

	return want > q->table.n_pages ? want - q->table.n_pages : 0;
}

/* Rule 2, across tenants. */
static bool seq_before(const struct sched *s, const struct sched_seq *a, const struct sched_seq *b)
{
	const struct sched_tenant *ta = tenant_of(s, a), *tb = tenant_of(s, b);

	return ta == tb ? sched_seq_before(a, b) : sched_node_before(&ta->waiting, &tb->waiting);
}

/* ---- preemption ----------------------------------------------------------------------------- */

static bool may_preempt(const struct planning *pl, const struct sched_seq *v, enum victims whom,
			const struct sched_seq *for_seq)
{
	if (v == for_seq || has_row(pl->s, v) || sched_is_complete(v))
		return false;
	if (is_stalled(pl->s, v))
		return v->table.n_pages;
	if (v->must_emit || whom == VICTIMS_STALLED)
		return false;
	if (whom == VICTIMS_ANY)
		return true;
	/* Rule 7 protects the resumed one so that it gets its token: it comes before all others. */
	return v->table.n_pages && (for_seq->must_emit || seq_before(pl->s, for_seq, v));
}

/* Rule 5: a stalled one if there is any, and of those that come in question the last in order. */
static struct sched_seq *victim(const struct planning *pl, enum victims whom,
				const struct sched_seq *for_seq)
{
	struct sched_seq *found = NULL;
	bool found_stalled = false;

	for (const struct sched_tenant *t = pl->s->running; t; t = t->next) {
		for (struct sched_seq *q = t->first; q; q = q->next) {
			bool stalled = is_stalled(pl->s, q);

			if (!may_preempt(pl, q, whom, for_seq) || (found_stalled && !stalled))
				continue;
			if (!found || stalled != found_stalled || seq_before(pl->s, found, q))
				found = q;
			found_stalled = stalled;
		}
	}
	return found;
}

static void preempt(struct planning *pl, struct sched_seq *q)
{
	if (is_stalled(pl->s, q)) {
		pl->n_stalled--;
	} else {
		pl->n_runnable--;
		pl->n_promised -= pages_lacking(q);
	}
	sched_preempt(pl->s, q);
	pl->out->n_preempted++;
}

static bool make_room(struct planning *pl, enum victims whom, const struct sched_seq *for_seq)
{
	struct sched_seq *q = victim(pl, whom, for_seq);

	if (q)
		preempt(pl, q);
	return q;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static bool has_room(const struct planning *pl)
{
	return pl->budget && pl->out->n_rows < pl->s->cfg.max_seqs;
}

/* Gets the pages for up to n more tokens of q; returns for how many there are. */
static uint32_t fit(struct planning *pl, struct sched_seq *q, uint32_t n)
{
	struct sched *s = pl->s;
	uint32_t lacking = pages_lacking(q), have = q->table.n_pages;
	uint32_t want = kvcache_pages_for(q->n_cached + n);
	uint32_t room = have * KVCACHE_PAGE_TOKENS - q->n_cached, got, n_free;

	if (want <= have)
		return n;
	got = sched_pages_available(s);
	while (!room && !got && make_room(pl, VICTIMS_AFTER, q))
		got = sched_pages_available(s);
	got = got < want - have ? got : want - have;
	room += got * KVCACHE_PAGE_TOKENS;
	n = n < room ? n : room;
	if (!got)
		return n;
	n_free = kvcache_least_free(s->kv);
	if (got > n_free)
		prefix_evict(s->prefix, got - n_free);
	/* The pages are there and admit() made the arrays long enough. */
	if (kvcache_grow(s->kv, &q->table, q->n_cached + n))
		return 0;
	pl->n_promised -= lacking - pages_lacking(q);
	return n;
}

/* Rule 10. */
static void charge_row(struct sched *s, const struct plan_row *row)
{
	struct sched_seq *q = row->seq;
	struct sched_tenant *t = tenant_of(s, q);
	uint32_t end = row->pos0 + row->n_tokens, from = row->pos0, fresh = 0;

	if (end > q->n_prompt)
		end = q->n_prompt;
	if (from < q->n_charged)
		from = q->n_charged;
	if (end > from) {
		fresh = end - from;
		q->n_charged = end;
	}
	t->n_prompt += fresh;
	t->n_output += row->needs_logits;
	sched_tenant_charge(s, t, (uint64_t)fresh * s->cfg.w_prompt +
					  (row->needs_logits ? s->cfg.w_output : 0));
}

/* A row of at most n tokens, as far as pages go; false when it has none. */
static bool plan_row(struct planning *pl, struct sched_seq *q, uint32_t n)
{
	struct plan_row *row = &pl->out->rows[pl->out->n_rows];

	n = fit(pl, q, n);
	if (!n)
		return false;
	*row = (struct plan_row){
		.seq = q,
		.pos0 = q->n_cached,
		.n_tokens = n,
		.needs_logits = q->n_cached + n == q->n_ids,
	};
	q->planned_in = tenant_of(pl->s, q)->planned_in = pl->s->n_plans;
	pl->out->n_rows++;
	pl->out->n_tokens += n;
	pl->budget -= n;
	charge_row(pl->s, row);
	return true;
}

/* As plan_row(), as long as budget and chunk allow. */
static bool plan_chunk(struct planning *pl, struct sched_seq *q)
{
	uint32_t n = q->n_ids - q->n_cached;

	n = n < pl->budget ? n : pl->budget;
	n = n < pl->s->cfg.chunk_tokens ? n : pl->s->cfg.chunk_tokens;
	return plan_row(pl, q, n);
}

/* ---- admission ------------------------------------------------------------------------------ */

/* Are there n pages beyond those that are promised or kept (rule 11)? */
static bool has_pages(const struct planning *pl, uint32_t n)
{
	const struct sched *s = pl->s;
	uint64_t kept = pl->n_runnable ? s->cfg.watermark_pages : 0;

	return sched_pages_available(s) >= kept + pl->n_promised + n;
}

/* Nothing that could help the head that was blocked last has happened since. */
static bool is_still_blocked(const struct planning *pl, const struct sched_tenant *t,
			     const struct sched_seq *q)
{
	const struct sched_blocked *b = &pl->s->blocked;

	return b->seq == q && b->n_publishes == t->n_publishes && !pl->n_stalled &&
	       !has_pages(pl, b->n_pages);
}

static void block(struct planning *pl, const struct sched_tenant *t, struct sched_seq *q,
		  uint32_t lacking)
{
	struct sched *s = pl->s;
	uint32_t available = sched_pages_available(s);
	struct prefix_text text = sched_text(s, q);

	if (s->prefix)
		prefix_unlookup(s->prefix, &text, q->n_ids);
	else
		kvcache_release(s->kv, &q->table);
	/* What it found and nobody else uses is available again, but not for the rest of it. */
	s->blocked = (struct sched_blocked){
		.seq = q,
		.n_publishes = t->n_publishes,
		.n_pages = lacking + sched_pages_available(s) - available,
	};
	pl->is_blocked = true;
}

/* WAITING to RUNNING. */
static void start_running(struct planning *pl, struct sched_tenant *t, struct sched_seq *q)
{
	struct sched *s = pl->s;

	sched_tenant_unready(s, t, q);
	t->n_waiting--;
	s->n_waiting--;
	q->state = SCHED_RUNNING;
	q->n_published = q->table.n_pages;
	q->n_cached = q->n_published * KVCACHE_PAGE_TOKENS;
	if (!q->was_admitted) {
		q->n_prefix_hit = q->n_charged = q->n_cached;
		t->n_prefix_hit += q->n_cached;
	}
	q->was_admitted = true;
	q->must_emit = q->is_preempted;
	q->is_preempted = false;
	sched_tenant_run(s, t, q);
	s->n_running++;
	s->n_exclusive += q->is_exclusive;
	pl->n_runnable++;
	pl->n_promised += pages_lacking(q);
}

/* Admits the head of a tenant, when there are pages for all its tokens. */
static bool admit(struct planning *pl, struct sched_tenant *t, struct sched_seq *q)
{
	struct sched *s = pl->s;
	struct prefix_text text = sched_text(s, q);
	uint32_t lacking = kvcache_pages_for(q->n_ids);

	if (is_still_blocked(pl, t, q)) {
		pl->is_blocked = true;
		return false;
	}
	if (kvcache_reserve(s->kv, &q->table, kvcache_pages_for(q->n_prompt + q->max_tokens))) {
		kvcache_release(s->kv, &q->table);
		pl->is_blocked = true;
		return false;
	}
	if (s->prefix)
		lacking -= prefix_lookup(s->prefix, &text, q->n_ids);
	while (!has_pages(pl, lacking)) {
		if (!make_room(pl, VICTIMS_STALLED, NULL)) {
			block(pl, t, q, lacking);
			return false;
		}
	}
	start_running(pl, t, q);
	return true;
}

/* ---- phases --------------------------------------------------------------------------------- */

/* The first from q on that can run in this phase. */
static struct sched_seq *following(const struct planning *pl, struct sched_seq *q)
{
	while (q && (!can_run(pl->s, q) || q->is_exclusive ||
		     sched_is_decode(q) != pl->wants_decodes))
		q = q->next;
	return q;
}

static void phase_begin(struct planning *pl, bool wants_decodes)
{
	struct sched *s = pl->s;

	pl->wants_decodes = wants_decodes;
	for (struct sched_tenant *t = s->running; t; t = t->next) {
		t->cursor = following(pl, t->first);
		if (t->cursor)
			sched_heap_push(&s->planning, &t->planning);
	}
}

static void phase_end(struct planning *pl)
{
	struct sched_heap *h = &pl->s->planning;

	while (h->n)
		h->nodes[--h->n]->place = 0;
}

/* u has no row in this plan yet and comes before t. */
static bool is_without_row(const struct planning *pl, const struct sched_tenant *u,
			   const struct sched_tenant *t)
{
	return u->planned_in != pl->s->n_plans && !u->is_paused &&
	       sched_node_before(&u->waiting, &t->waiting);
}

/*
 * Rule 13: t would take the last row of the step for a decode, not its first, though a tenant that
 * comes before it has no row and a prompt to compute. Without this the rows would be t's until its
 * requests end, or rule 12 pauses it. Only a second row is taken, and only for a first one: else
 * more would run than there are rows, and decodes would wait for each other. O(running), once a
 * plan.
 */
static bool is_last_row(const struct planning *pl, const struct sched_tenant *t)
{
	const struct sched_tenant *u = top_waiting(pl->s);

	if (pl->out->n_rows + 1 < pl->s->cfg.max_seqs && pl->budget > 1)
		return false;
	if (t->planned_in != pl->s->n_plans)
		return false;
	if (u && !pl->is_blocked && is_without_row(pl, u, t))
		return true;
	for (u = pl->s->running; u; u = u->next) {
		if (!is_without_row(pl, u, t))
			continue;
		for (const struct sched_seq *q = u->first; q; q = q->next) {
			if (can_run(pl->s, q) && !q->is_exclusive && !sched_is_decode(q))
				return true;
		}
	}
	return false;
}

/* Returns whether it left the last row, or the last token, to a prompt (rule 13). */
static bool plan_decodes(struct planning *pl, bool leaves_row)
{
	struct sched *s = pl->s;
	struct sched_tenant *t;
	bool has_left = false;

	phase_begin(pl, true);
	for (t = top_planning(s); t && has_room(pl); t = top_planning(s)) {
		struct sched_seq *q = following(pl, t->cursor);

		if (!q) {
			sched_heap_remove(&s->planning, &t->planning);
			continue;
		}
		has_left = leaves_row && is_last_row(pl, t);
		if (has_left)
			break;
		t->cursor = q->next;
		plan_row(pl, q, 1);
	}
	phase_end(pl);
	return has_left;
}

/* The next in the order of rule 2: a RUNNING prompt q, or the head of t, or nothing (both NULL). */
static void next_prefill(struct planning *pl, struct sched_seq **q, struct sched_tenant **t)
{
	struct sched *s = pl->s;
	struct sched_tenant *busy = top_planning(s);
	struct sched_seq *head;

	while (busy) {
		*q = following(pl, busy->cursor);
		if (*q)
			break;
		sched_heap_remove(&s->planning, &busy->planning);
		busy = top_planning(s);
	}
	/* One that was paused at the start of the plan is so to its end. */
	*t = pl->is_blocked ? NULL : top_waiting(s);
	if (*t && (*t)->is_paused)
		*t = NULL;
	if (!busy)
		*q = NULL;
	if (!*t || !*q)
		return;
	head = sched_container(sched_heap_top(&(*t)->ready), struct sched_seq, node);
	if (seq_before(s, head, *q))
		*q = NULL;
	else
		*t = NULL;
}

static void plan_prefills(struct planning *pl)
{
	struct sched_tenant *t;
	struct sched_seq *q;

	phase_begin(pl, false);
	while (has_room(pl)) {
		next_prefill(pl, &q, &t);
		if (q) {
			tenant_of(pl->s, q)->cursor = q->next;
			plan_chunk(pl, q);
			continue;
		}
		if (!t)
			break;
		q = sched_container(sched_heap_top(&t->ready), struct sched_seq, node);
		/* An exclusive one gets its row in a step of its own. */
		if (admit(pl, t, q) && !q->is_exclusive)
			plan_chunk(pl, q);
	}
	phase_end(pl);
}

/* Rule 9: the first in order has the step to itself. */
static void plan_exclusive(struct planning *pl)
{
	struct sched *s = pl->s;
	struct sched_seq *first = NULL;

	for (const struct sched_tenant *t = s->running; t; t = t->next) {
		for (struct sched_seq *q = t->first; q; q = q->next) {
			if (!q->is_exclusive || !can_run(s, q))
				continue;
			if (!first || q->must_emit > first->must_emit ||
			    (q->must_emit == first->must_emit && seq_before(s, q, first)))
				first = q;
		}
	}
	if (first && has_room(pl))
		pl->out->is_exclusive = plan_chunk(pl, first);
}

/* ---- the plan ------------------------------------------------------------------------------- */

/* Rule 12, and what the RUNNING sequences need. */
static void find_paused(struct planning *pl)
{
	struct sched *s = pl->s;
	const struct sched_node *least = sched_heap_top(&s->waiting);

	pl->n_runnable = pl->n_stalled = pl->n_promised = 0;
	for (struct sched_tenant *t = s->running; t; t = t->next) {
		t->is_paused = least && t->vtc > least->key && t->vtc - least->key > t->ahead_max;
		for (const struct sched_seq *q = t->first; q; q = q->next) {
			if (is_stalled(s, q)) {
				pl->n_stalled++;
			} else if (!sched_is_complete(q)) {
				pl->n_runnable++;
				pl->n_promised += pages_lacking(q);
			}
		}
	}
}

static void make_plan(struct planning *pl)
{
	struct sched *s = pl->s;
	bool has_left;

	pl->is_blocked = false;
	if (s->n_exclusive && !s->was_exclusive)
		plan_exclusive(pl);
	if (pl->out->n_rows)
		return;
	has_left = plan_decodes(pl, true);
	plan_prefills(pl);
	/* No prompt took it, for lack of pages or being exclusive. */
	if (has_left && has_room(pl))
		plan_decodes(pl, false);
	if (!pl->out->n_rows && s->n_exclusive)
		plan_exclusive(pl);
}

void sched_plan(struct sched *s, uint32_t budget, struct plan *out)
{
	struct planning pl = {.s = s, .out = out};
	uint32_t n_preempted;

	*out = (struct plan){.rows = s->rows};
	s->n_plans++;
	pl.budget = budget < s->cfg.step_tokens ? budget : s->cfg.step_tokens;
	find_paused(&pl);
	if (s->cfg.preempt_each_step)
		make_room(&pl, VICTIMS_ANY, NULL);
	/*
	 * A preemption can lift its tenant (rule 3) past one whose turn was over, so a plan that
	 * preempted and got no row is made again. Each time fewer run: this ends.
	 */
	do {
		n_preempted = out->n_preempted;
		make_plan(&pl);
	} while (!out->n_rows && out->n_preempted > n_preempted);
	s->was_exclusive = out->is_exclusive;
}
