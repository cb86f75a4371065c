/* SPDX-License-Identifier: MIT */
/*
 * outflow: see daemon/outflow.h.
 *
 * A token's way: does it end the request by itself (EOS, stop id)? Else it joins the ids, its text
 * joins r->held behind what a stop string held back, and what is certain is written: one TOKENS
 * record per token. r->held never holds more than a step's record can carry:
 *
 *	held back by a stop string	< LLM_MAX_STOP_LEN
 *	one push of the detokenizer	<= DETOKENIZER_PUSH_MAX
 *	its flush			<= 3
 */
#include "daemon/outflow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/fault.h"
#include "daemon/session.h"
#include "daemon/stats.h"

_Static_assert(LLM_MAX_STOP_LEN + DETOKENIZER_PUSH_MAX + 3 <= LLM_TOKENS_MAX_TEXT,
	       "a step's text fits one record");
_Static_assert(LLM_MAX_STOP_LEN + 3 <= SESSION_TAIL_BYTES, "held text fits the room of an END");

/* The array with room for one more than n elements, doubled when it is full; NULL: no memory. */
static void *grow(void *array, uint32_t n, uint32_t *cap, size_t elem_bytes)
{
	uint32_t want = *cap ? 2 * *cap : 64;
	void *grown;

	if (n < *cap)
		return array;
	grown = realloc(array, want * elem_bytes);
	if (grown)
		*cap = want;
	return grown;
}

/* No malloc per token: both arrays double. */
static int make_room(struct request *r)
{
	struct request_times *t = &r->times;
	uint32_t *ids = grow(r->seq.ids, r->seq.n_prompt + r->n_output, &r->cap_ids, sizeof(*ids));
	uint64_t *gaps;

	if (!ids)
		return -ENOMEM;
	r->seq.ids = ids;
	gaps = grow(t->gaps_ns, t->n_gaps, &t->cap_gaps, sizeof(*gaps));
	if (!gaps)
		return -ENOMEM;
	t->gaps_ns = gaps;
	return 0;
}

static bool is_one_of(const uint32_t *ids, uint32_t n, uint32_t id)
{
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The id that ends a request without being part of it. */
static bool is_end(const struct request *r, uint32_t id, struct request_refusal *how)
{
	*how = (struct request_refusal){0};
	if (r->n_output < r->min_tokens)
		return false; /* the sampler was not to draw it */
	if (is_one_of(r->stop_ids, r->n_stop_ids, id)) {
		how->reason = LLM_END_STOP;
		snprintf(how->message, sizeof(how->message), "stop id %u", id);
		return true;
	}
	if (!(r->flags & LLM_BODY_IGNORE_EOS) && r->daemon->tokenizer &&
	    tokenizer_is_eog(r->daemon->tokenizer, id)) {
		how->reason = LLM_END_EOS;
		return true;
	}
	return false;
}

/* The times of a token that counts. */
static void clock_token(struct request *r, uint64_t now_ns)
{
	struct request_times *t = &r->times;
	uint64_t gap_ns = now_ns - (t->last_ns ? t->last_ns : t->arrived_ns);

	if (t->first_ns)
		t->gaps_ns[t->n_gaps++] = gap_ns;
	else
		t->first_ns = now_ns;
	t->last_ns = now_ns;
	if (r->daemon->stats)
		stats_token(r->daemon->stats, r->tenant->stats_index, t->n_gaps == 0, gap_ns);
}

/* Appends id's text to r->held. Without a vocabulary (null engine) an id's text is its number. */
static uint32_t push_text(struct request *r, uint32_t id)
{
	size_t n = 0, room = sizeof(r->held) - r->n_held;

	if (r->has_text && r->detok)
		(void)detokenizer_push(r->detok, id, r->held + r->n_held, room, &n);
	else if (r->has_text)
		n = (size_t)snprintf(r->held + r->n_held, room, "<%u>", id);
	r->n_held += (uint32_t)n;
	return (uint32_t)n;
}

/*
 * How much of r->held may be written after n_new bytes were appended; true: a stop string ended,
 * and what it and all behind it took is cut off.
 */
static bool find_stop(struct request *r, uint32_t n_new, uint32_t *n_ready)
{
	struct stop_result found;

	*n_ready = r->n_held;
	if (!r->stops || r->n_output < r->min_tokens)
		return false;
	stop_feed(r->stops, r->held + r->n_held - n_new, n_new, &found);
	r->n_held -= n_new - found.n_taken;
	*n_ready = r->n_held - found.n_held;
	if (!found.is_stopped)
		return false;
	r->n_held = *n_ready;
	r->has_text = false;
	return true;
}

static int write_text(struct request *r, const uint32_t *id, uint32_t n_text)
{
	struct session_tokens t = {.request = r,
				   .first_index = id ? r->n_output - 1 : r->n_output,
				   .n = id ? 1 : 0,
				   .ids = id,
				   .text = r->held,
				   .text_len = r->flags & LLM_BODY_TOKENS ? 0 : n_text,
				   .produced_ns = r->times.last_ns};
	int rc = t.n || t.text_len ? session_write_tokens(r->session, &t) : 0;

	if (rc)
		return rc;
	memmove(r->held, r->held + n_text, r->n_held - n_text);
	r->n_held -= n_text;
	return 0;
}

/* The last text of the request joins r->held; nothing will come behind it. */
static void flush_text(struct request *r)
{
	size_t n = 0;
	uint32_t n_ready;

	if (r->has_text && r->detok)
		(void)detokenizer_flush(r->detok, r->held + r->n_held, sizeof(r->held) - r->n_held,
					&n);
	r->n_held += (uint32_t)n;
	/* U+FFFD may complete a stop string, which then cuts r->held. */
	if (n)
		(void)find_stop(r, (uint32_t)n, &n_ready);
	r->has_text = false;
}

void outflow_token(struct request *r, uint32_t id, uint64_t now_ns)
{
	struct request_refusal how;
	bool is_over = true;
	uint32_t n_ready;
	int rc;

	if (r->state != REQUEST_ACTIVE)
		return;
	if (is_end(r, id, &how)) {
		request_end(r, &how);
		return;
	}
	if (make_room(r)) {
		request_end_plain(r, LLM_END_ERROR, -ENOMEM, "no memory for another token");
		return;
	}
	sched_append(r->daemon->sched, &r->seq, id);
	r->n_output++;
	if (r->n_output >= r->min_tokens)
		r->params.n_banned = 0;
	clock_token(r, now_ns);
	if (find_stop(r, push_text(r, id), &n_ready))
		how = (struct request_refusal){.reason = LLM_END_STOP, .message = "stop string"};
	else if (r->n_output == r->seq.max_tokens)
		how = (struct request_refusal){.reason = LLM_END_LENGTH};
	else
		is_over = false;
	rc = write_text(r, &id, n_ready);
	if (!rc && is_over)
		request_end(r, &how);
	if (!rc || rc == -EPROTO)
		return;
	/* Credit was granted, so only a fault can be the cause. The token was never out. */
	r->n_output--;
	r->n_held = 0;
	r->has_text = false;
	request_end_plain(r, LLM_END_ERROR, rc, "the token could not be written");
}

bool outflow_end(struct request *r)
{
	struct llm_end end;

	flush_text(r);
	if (write_text(r, NULL, r->n_held) == -ENOBUFS)
		return false;
	request_fill_end(r, &end);
	return session_write_end(r->session, r, &end) != -ENOBUFS;
}

static void kick(struct session *s)
{
	if (!fault_hit(s->daemon->fault, FAULT_KICK))
		s->door->kick(s);
}

void outflow_flush(struct daemon *d)
{
	struct session *s, *next, *waiting = NULL;

	for (s = d->written; s; s = next) {
		next = s->next_written;
		if (!session_publish(s))
			continue;
		s->next_written = waiting;
		waiting = s;
	}
	d->written = NULL;
	for (s = waiting; s; s = next) {
		next = s->next_written;
		s->next_written = NULL;
		kick(s);
	}
}
