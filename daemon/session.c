/* SPDX-License-Identifier: MIT */
/*
 * session: see daemon/session.h. Lists, credit, records. The ring's fences are in uapi/llm_ring.h.
 */
#include "daemon/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/fault.h"
#include "daemon/log.h"
#include "daemon/outflow.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"

#define END_RECORD_BYTES ((uint32_t)(sizeof(struct llm_record) + sizeof(struct llm_end)))

_Static_assert(SESSION_END_BYTES + SESSION_STEP_BYTES <= LLM_ROOM,
	       "a drained ring has credit for a step of every request");

static void count(const struct daemon *d, enum stats_counter which)
{
	if (d->stats)
		stats_count(d->stats, which, 1);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* Printable ASCII; whatever else a client calls itself is its own affair. */
static void copy_name(char to[32], const char *from)
{
	size_t i;

	for (i = 0; i < 31 && from[i]; i++)
		to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
	to[i] = 0;
}

static void link_session(struct session *s)
{
	struct daemon *d = s->daemon;

	s->next = d->sessions;
	if (d->sessions)
		d->sessions->prev = s;
	d->sessions = s;
	d->n_sessions++;
}

static void unlink_session(struct session *s)
{
	struct daemon *d = s->daemon;
	struct session **at;

	for (at = &d->written; s->is_written && *at; at = &(*at)->next_written)
		if (*at == s) {
			*at = s->next_written;
			break;
		}
	for (at = &d->broken; *at; at = &(*at)->next_broken)
		if (*at == s) {
			*at = s->next_broken;
			break;
		}
	if (s->next)
		s->next->prev = s->prev;
	if (s->prev)
		s->prev->next = s->next;
	else
		d->sessions = s->next;
	d->n_sessions--;
}

int session_create(const struct session_args *args, struct session **out, struct error *err)
{
	struct session *s;
	int rc;

	*out = NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, -ENOMEM, "a session: no memory");
	rc = ring_create(args->ring_bytes, &s->memory, err);
	if (rc) {
		free(s);
		return rc;
	}
	rc = llm_ring_init(&s->ring, &s->memory.layout, s->memory.p, s->memory.c, s->memory.data);
	if (rc) {
		ring_destroy(&s->memory);
		free(s);
		return error_set(err, rc, "a ring of %u bytes", args->ring_bytes);
	}
	s->daemon = args->daemon;
	s->tenant = args->tenant;
	s->door = args->door;
	s->door_data = args->door_data;
	s->id = args->id;
	s->uid = args->uid;
	s->pid = args->pid;
	s->opened_ns = args->now_ns;
	s->max_requests = args->max_requests;
	copy_name(s->name, args->name);
	*s->memory.k = (struct llm_ring_state){.magic = LLM_RING_MAGIC,
					       .abi = LLM_ABI,
					       .session_id = s->id,
					       .daemon_alive = 1,
					       .state_seq = 1};
	link_session(s);
	*out = s;
	return 0;
}

void session_destroy(struct session *s)
{
	struct llm_ring_state *k = s->memory.k;

	s->state = SESSION_CLOSED;
	while (s->requests)
		request_end_plain(s->requests, LLM_END_CANCELED, -ECANCELED,
				  "the client closed the session");
	while (s->unsent)
		session_remove_request(s, s->unsent);
	__atomic_store_n(&k->closed, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&k->state_seq, k->state_seq + 1, __ATOMIC_RELEASE);
	unlink_session(s);
	ring_destroy(&s->memory);
	free(s);
}

void session_break(struct session *s, const char *why)
{
	if (s->state != SESSION_OPEN)
		return;
	s->state = SESSION_BROKEN;
	s->why_broken = why;
	s->next_broken = s->daemon->broken;
	s->daemon->broken = s;
	log_warn(s->daemon->messages, "session %u (%s, uid %u, pid %d): %s; disconnected", s->id,
		 s->name, s->uid, s->pid, why);
	count(s->daemon, STATS_SESSIONS_BROKEN);
}

void session_sweep(struct daemon *d)
{
	while (d->broken) {
		struct session *s = d->broken;

		d->broken = s->next_broken;
		s->next_broken = NULL;
		s->door->broken(s);
	}
}

/* ---- requests ------------------------------------------------------------------------------ */

static void append(struct request **first, struct request **last, struct request *r)
{
	r->session_prev = *last;
	r->session_next = NULL;
	if (*last)
		(*last)->session_next = r;
	else
		*first = r;
	*last = r;
}

static void cut(struct request **first, struct request **last, struct request *r)
{
	if (r->session_next)
		r->session_next->session_prev = r->session_prev;
	else
		*last = r->session_prev;
	if (r->session_prev)
		r->session_prev->session_next = r->session_next;
	else
		*first = r->session_next;
	r->session_prev = r->session_next = NULL;
}

void session_add_request(struct session *s, struct request *r)
{
	struct daemon *d = s->daemon;

	append(&s->requests, &s->last_request, r);
	s->body_bytes += r->body_bytes;
	s->tenant->body_bytes += r->body_bytes;
	if (s->n_requests++)
		return;
	s->busy_prev = NULL;
	s->busy_next = d->busy;
	if (d->busy)
		d->busy->busy_prev = s;
	d->busy = s;
}

void session_defer_request(struct session *s, struct request *r)
{
	cut(&s->requests, &s->last_request, r);
	append(&s->unsent, &s->last_unsent, r);
	r->is_unsent = true;
	s->is_short = true;
}

void session_remove_request(struct session *s, struct request *r)
{
	if (r->is_unsent)
		cut(&s->unsent, &s->last_unsent, r);
	else
		cut(&s->requests, &s->last_request, r);
	r->is_unsent = false;
	r->session = NULL;
	s->body_bytes -= r->body_bytes;
	s->tenant->body_bytes -= r->body_bytes;
	if (--s->n_requests)
		return;
	if (s->busy_next)
		s->busy_next->busy_prev = s->busy_prev;
	if (s->busy_prev)
		s->busy_prev->busy_next = s->busy_next;
	else
		s->daemon->busy = s->busy_next;
	s->busy_prev = s->busy_next = NULL;
}

/* ---- credit -------------------------------------------------------------------------------- */

/* C from the client's page; -EPROTO breaks the session. */
static int read_room(struct session *s)
{
	int room = llm_ring_room(&s->ring);

	if (room < 0)
		session_break(s, "the consumer position in its ring cannot be");
	return room;
}

static uint32_t reserved_bytes(const struct session *s)
{
	return s->max_requests * SESSION_END_BYTES;
}

static void set_credit(struct request *r, bool has_credit, uint64_t now_ns)
{
	struct request_times *t = &r->times;

	if (r->seq.has_credit == has_credit)
		return;
	if (has_credit) {
		t->stall_ns += now_ns - t->stalled_ns;
		t->stalled_ns = 0;
	} else {
		t->stalled_ns = now_ns;
		count(r->daemon, STATS_STALLS);
	}
	if (r->state == REQUEST_ACTIVE)
		sched_credit(r->daemon->sched, &r->seq, has_credit);
	else
		r->seq.has_credit = has_credit;
}

/* ENDs that waited; each that is written leaves the list. */
static void send_unsent(struct session *s)
{
	while (s->unsent && outflow_end(s->unsent))
		session_remove_request(s, s->unsent);
}

static void grant(struct session *s, uint64_t now_ns)
{
	uint32_t n_rows = 0, n_live = 0;
	int room;

	if (s->state != SESSION_OPEN)
		return;
	if (s->unsent)
		send_unsent(s);
	room = read_room(s);
	if (room < 0)
		return;
	if ((uint32_t)room > reserved_bytes(s))
		n_rows = ((uint32_t)room - reserved_bytes(s)) / SESSION_STEP_BYTES;
	if (n_rows >= s->n_requests && !s->unsent) {
		/* The rule. All have credit already, unless it was short before. */
		if (!s->is_short)
			return;
		s->is_short = false;
		llm_ring_unstall(&s->ring);
		n_rows = UINT32_MAX;
	} else {
		s->is_short = true;
	}
	/* Oldest first: the one that ends first frees the others. */
	for (struct request *r = s->requests; r; r = r->session_next, n_live++)
		set_credit(r, n_live < n_rows, now_ns);
	s->n_credit = n_live < n_rows ? n_live : n_rows;
}

void session_grant(struct daemon *d, uint64_t now_ns)
{
	struct session *next;

	for (struct session *s = d->busy; s; s = next) {
		next = s->busy_next; /* sending its last END takes it off the list */
		grant(s, now_ns);
	}
}

bool session_may_sleep(struct daemon *d)
{
	bool is_full = !d->broken;

	for (struct session *s = d->busy; s; s = s->busy_next) {
		uint32_t want = END_RECORD_BYTES;
		int rc;

		if (!s->is_short || s->state != SESSION_OPEN)
			continue;
		/* Room for one more than have credit now; a lone END needs no more than itself. */
		if (!s->unsent)
			want = reserved_bytes(s) + (s->n_credit + 1) * SESSION_STEP_BYTES;
		rc = llm_ring_stall(&s->ring, want);
		if (rc < 0)
			session_break(s, "the consumer position in its ring cannot be");
		if (rc <= 0)
			is_full = false;
	}
	return is_full;
}

uint32_t session_fill_bytes(const struct session *s)
{
	return (uint32_t)(s->ring.stored - s->ring.seen);
}

/* ---- records ------------------------------------------------------------------------------- */

/* Room for a record of len bytes, its header filled and its end zeroed, or -errno. */
static int begin(struct session *s, const struct request *r, enum llm_record_type type,
		 uint32_t len, unsigned char **at)
{
	struct llm_record *head;
	uint32_t padded = (len + 7) & ~7u;
	void *p;
	int rc;

	if (s->state != SESSION_OPEN)
		return -EPROTO;
	if (fault_hit(s->daemon->fault, FAULT_RING))
		return -ENOBUFS;
	rc = llm_ring_reserve(&s->ring, padded, &p);
	if (rc == -EPROTO)
		session_break(s, "the consumer position in its ring cannot be");
	if (rc)
		return rc;
	head = p;
	*head = (struct llm_record){.len = padded,
				    .type = (uint16_t)type,
				    .request_id = r->id,
				    .user_data = r->user_data};
	*at = (unsigned char *)p + sizeof(*head);
	memset((unsigned char *)p + len, 0, padded - len);
	return 0;
}

static void commit(struct session *s, uint32_t len)
{
	llm_ring_commit(&s->ring, (len + 7) & ~7u);
	if (s->is_written)
		return;
	s->is_written = true;
	s->next_written = s->daemon->written;
	s->daemon->written = s;
}

int session_write_tokens(struct session *s, const struct session_tokens *t)
{
	struct llm_tokens head = {.first_index = t->first_index,
				  .n = t->n,
				  .produced_ns = t->produced_ns,
				  .text_len = t->text_len};
	uint32_t ids_bytes = t->n * (uint32_t)sizeof(uint32_t);
	uint32_t len =
		(uint32_t)(sizeof(struct llm_record) + sizeof(head)) + ids_bytes + t->text_len;
	unsigned char *at;
	int rc = begin(s, t->request, LLM_RECORD_TOKENS, len, &at);

	if (rc)
		return rc;
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	if (t->n)
		memcpy(at, t->ids, ids_bytes);
	if (t->text_len)
		memcpy(at + ids_bytes, t->text, t->text_len);
	commit(s, len);
	return 0;
}

int session_write_end(struct session *s, const struct request *r, const struct llm_end *end)
{
	unsigned char *at;
	int rc = begin(s, r, LLM_RECORD_END, END_RECORD_BYTES, &at);

	if (rc)
		return rc;
	memcpy(at, end, sizeof(*end));
	commit(s, END_RECORD_BYTES);
	return 0;
}

bool session_publish(struct session *s)
{
	s->is_written = false;
	if (s->state != SESSION_OPEN || s->ring.pos == s->ring.stored)
		return false;
	if (fault_hit(s->daemon->fault, FAULT_PUBLISH)) {
		session_break(s, "publishing failed (--fault)");
		return false;
	}
	return llm_ring_publish(&s->ring);
}
