/* SPDX-License-Identifier: MIT */
/*
 * request: see daemon/request.h. Birth, the one exit, and the heap of deadlines.
 */
#include "daemon/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/daemon.h"
#include "daemon/fault.h"
#include "daemon/intake.h"
#include "daemon/outflow.h"
#include "daemon/request_log.h"
#include "daemon/session.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"

int request_refuse(struct request_refusal *how, const struct request_refusal *init, const char *fmt,
		   ...)
{
	va_list args;

	*how = *init;
	how->reason = LLM_END_ERROR;
	va_start(args, fmt);
	vsnprintf(how->message, sizeof(how->message), fmt, args);
	va_end(args);
	return how->status;
}

/* ---- the lists of the daemon ---------------------------------------------------------------- */

static void push(struct request **list, struct request *r)
{
	r->all_prev = NULL;
	r->all_next = *list;
	if (*list)
		(*list)->all_prev = r;
	*list = r;
}

static void pull(struct request **list, struct request *r)
{
	if (r->all_next)
		r->all_next->all_prev = r->all_prev;
	if (r->all_prev)
		r->all_prev->all_next = r->all_next;
	else
		*list = r->all_next;
}

int request_create(struct session *s, const struct llm_packet *head, size_t body_bytes,
		   struct request **out)
{
	struct daemon *d = s->daemon;
	struct request *r = fault_hit(d->fault, FAULT_ALLOC) ? NULL : calloc(1, sizeof(*r));

	*out = r;
	if (!r)
		return -ENOMEM;
	r->id = head->request_id;
	r->user_data = head->user_data;
	r->body_bytes = body_bytes;
	r->daemon = d;
	r->session = s;
	r->tenant = s->tenant;
	r->times.arrived_ns = clock_now_ns();
	r->seq.arrival = ++d->arrivals;
	r->seq.tenant = s->tenant->sched_index;
	r->seq.has_credit = true;
	r->seq.owner = r;
	session_add_request(s, r);
	push(&d->requests, r);
	d->n_requests++;
	return 0;
}

void request_free(struct request *r)
{
	stop_destroy(r->stops);
	detokenizer_destroy(r->detok);
	free(r->stop_ids);
	free(r->banned);
	free(r->prompt);
	free(r->seq.ids);
	free(r->times.gaps_ns);
	free(r);
}

void request_reap(struct daemon *d)
{
	struct request *next;

	for (struct request *r = d->ended; r; r = next) {
		next = r->all_next;
		if (r->is_unsent)
			continue;
		pull(&d->ended, r);
		request_free(r);
	}
}

struct request *request_find(const struct daemon *d, uint64_t id)
{
	for (struct request *r = d->requests; r; r = r->all_next)
		if (r->id == id)
			return r;
	return NULL;
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static void place(struct request_deadlines *h, uint32_t slot, struct request *r)
{
	h->heap[slot] = r;
	r->deadline_slot = slot + 1;
}

static bool is_sooner(const struct request *a, const struct request *b)
{
	return a->times.deadline_ns < b->times.deadline_ns;
}

/* r goes where slot is empty, or above or below it. */
static void settle(struct request_deadlines *h, uint32_t slot, struct request *r)
{
	while (slot && is_sooner(r, h->heap[(slot - 1) / 2])) {
		place(h, slot, h->heap[(slot - 1) / 2]);
		slot = (slot - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * slot + 1;

		if (child + 1 < h->n && is_sooner(h->heap[child + 1], h->heap[child]))
			child++;
		if (child >= h->n || !is_sooner(h->heap[child], r))
			break;
		place(h, slot, h->heap[child]);
		slot = child;
	}
	place(h, slot, r);
}

int request_set_deadline(struct request *r, uint64_t deadline_ns)
{
	struct request_deadlines *h = &r->daemon->deadlines;

	if (h->n == h->cap) {
		uint32_t cap = h->cap ? 2 * h->cap : 64;
		struct request **heap = realloc(h->heap, cap * sizeof(struct request *));

		if (!heap)
			return -ENOMEM;
		h->heap = heap;
		h->cap = cap;
	}
	r->times.deadline_ns = deadline_ns;
	h->n++;
	settle(h, h->n - 1, r);
	return 0;
}

static void clear_deadline(struct request *r)
{
	struct request_deadlines *h = &r->daemon->deadlines;
	uint32_t slot = r->deadline_slot;

	if (!slot)
		return;
	r->deadline_slot = 0;
	h->n--;
	if (slot - 1 < h->n)
		settle(h, slot - 1, h->heap[h->n]);
	if (h->n)
		return;
	free(h->heap);
	*h = (struct request_deadlines){0};
}

uint64_t request_next_deadline(const struct daemon *d)
{
	return d->deadlines.n ? d->deadlines.heap[0]->times.deadline_ns : 0;
}

void request_expire(struct daemon *d, uint64_t now_ns)
{
	while (d->deadlines.n && d->deadlines.heap[0]->times.deadline_ns <= now_ns) {
		struct request *r = d->deadlines.heap[0];
		struct request_refusal how = {.reason = LLM_END_DEADLINE,
					      .status = -ETIMEDOUT,
					      .err_field = LLM_FIELD_DEADLINE,
					      .got = now_ns - r->times.arrived_ns,
					      .limit = r->times.deadline_ns - r->times.arrived_ns};

		snprintf(how.message, sizeof(how.message),
			 "deadline of %llu ms passed after %u tokens",
			 (unsigned long long)(how.limit / 1000000), r->n_output);
		request_end(r, &how);
	}
}

/* ---- the exit ------------------------------------------------------------------------------- */

void request_fill_end(const struct request *r, struct llm_end *end)
{
	const struct request_times *t = &r->times;
	uint64_t until = t->admitted_ns ? t->admitted_ns : t->ended_ns;

	*end = (struct llm_end){
		.reason = r->end.reason,
		.status = r->end.status,
		.err_field = r->end.err_field,
		.got = r->end.got,
		.limit = r->end.limit,
		.prompt_tokens = r->seq.n_prompt,
		.cached_tokens = r->seq.n_prefix_hit,
		.generated_tokens = r->n_output,
		.preemptions = r->seq.n_preemptions,
		.queue_ns = until - t->arrived_ns - t->tokenize_ns,
		.tokenize_ns = t->tokenize_ns,
		.prefill_ns = t->first_ns ? t->first_ns - t->admitted_ns : 0,
		.decode_ns = t->last_ns - t->first_ns,
	};
	memcpy(end->message, r->end.message, sizeof(end->message));
	end->message[sizeof(end->message) - 1] = 0;
}

/* What the books and the log keep of it. */
static void record(struct request *r, const struct session *s)
{
	struct daemon *d = r->daemon;
	struct request_log_who who = {.tenant = r->tenant->name,
				      .door = s->door->name,
				      .model = d->model_name,
				      .uid = s->uid,
				      .pid = s->pid};

	if (d->stats) {
		stats_request(d->stats, r->tenant->stats_index, r, r->times.ended_ns);
		if (r->end.reason == LLM_END_ERROR && !r->times.admitted_ns)
			stats_count(d->stats, STATS_REQUESTS_REFUSED, 1);
	}
	request_log_append(d->log, &who, r, r->times.ended_ns);
}

void request_end(struct request *r, const struct request_refusal *how)
{
	struct daemon *d = r->daemon;
	struct session *s = r->session;

	if (r->state == REQUEST_ENDED)
		return;
	r->times.ended_ns = clock_now_ns();
	if (r->times.stalled_ns && r->times.stalled_ns < r->times.ended_ns)
		r->times.stall_ns += r->times.ended_ns - r->times.stalled_ns;
	r->times.stalled_ns = 0;
	r->end = *how;
	intake_drop(r);
	clear_deadline(r);
	if (r->state == REQUEST_ACTIVE)
		sched_remove(d->sched, &r->seq);
	r->state = REQUEST_ENDED;
	if (r->is_charged)
		tenant_uncharge_request(r->tenant, r->seq.n_prompt, r->seq.max_tokens, r->n_output);
	r->is_charged = false;
	pull(&d->requests, r);
	push(&d->ended, r);
	d->n_requests--;
	record(r, s);
	if (s->state != SESSION_OPEN || outflow_end(r))
		session_remove_request(s, r);
	else
		session_defer_request(s, r);
	r->tenant = NULL;
}

void request_end_plain(struct request *r, enum llm_end_reason reason, int status,
		       const char *message)
{
	struct request_refusal how = {.reason = reason, .status = status};

	if (message)
		snprintf(how.message, sizeof(how.message), "%s", message);
	request_end(r, &how);
}

void request_cancel(struct request *r)
{
	request_end_plain(r, LLM_END_CANCELED, -ECANCELED, "canceled");
}
