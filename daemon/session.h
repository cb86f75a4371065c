/* SPDX-License-Identifier: MIT */
/*
 * session: one client's ring, seen by its producer, and the requests that write to it.
 *
 *	session_create --> OPEN --session_break--> BROKEN --+
 *	                     |                              +--session_destroy--> gone
 *	                     +------- door closes it -------+
 *
 * The only file that writes a ring. A session does not know its door: kicks and the end of a liar
 * go through session_door. Room in the ring, in this order:
 *
 *	1  an END and the text held back until it: SESSION_END_BYTES for each of max_requests
 *	2  a step's TOKENS: SESSION_STEP_BYTES for each sequence that may run; who does not get
 *	   it has no credit (`session_grant()`) and is not scheduled
 *
 * LLM_ROOM covers both, so a client that gives space back always has credit for all its requests.
 * One that does not can use up even 1: its ENDs then wait in the session (`unsent`) until it does,
 * and count as live requests meanwhile. Nothing is ever dropped, nobody else waits.
 *
 * A consumer position that cannot be (ahead of P, moving back) makes the session BROKEN: nothing
 * is written to it any more, and at the next `session_sweep()` its door tells the client so.
 * The daemon's one thread.
 */
#ifndef DEVLLM_SESSION_H
#define DEVLLM_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/error.h"
#include "daemon/ring.h"
#include "daemon/tenant.h"
#include "uapi/llm_ring.h"

struct daemon;
struct request;
struct session;

/* Text that an END may bring along: a stop string's beginning, and three broken bytes as U+FFFD. */
#define SESSION_TAIL_BYTES 272u
#define SESSION_END_BYTES                                                    \
	((uint32_t)(2 * sizeof(struct llm_record) + sizeof(struct llm_end) + \
		    sizeof(struct llm_tokens) + SESSION_TAIL_BYTES))
/* One id and its text in one TOKENS record. */
#define SESSION_STEP_BYTES                                                      \
	((uint32_t)(sizeof(struct llm_record) + sizeof(struct llm_tokens) + 8 + \
		    LLM_TOKENS_MAX_TEXT))

enum session_state { SESSION_OPEN, SESSION_BROKEN, SESSION_CLOSED };

/* The door's side of a session. */
struct session_door {
	const char *name; /* "socket": request log, control */
	void (*kick)(struct session *s);
	/* The client lied: tell it and close; ends in `session_destroy()`. */
	void (*broken)(struct session *s);
};

struct session {
	struct daemon *daemon;
	struct tenant *tenant;
	const struct session_door *door;
	void *door_data; /* the door's connection */
	enum session_state state;
	uint32_t id; /* below 2^31, never reused */
	uid_t uid;
	pid_t pid;     /* in the daemon's pid namespace, at connect */
	char name[32]; /* what the client calls itself; terminated, printable */
	uint64_t opened_ns;

	/* the ring */
	struct llm_ring ring;
	struct ring_memory memory;

	/* the requests */
	uint32_t max_requests;	  /* without END, at once */
	uint32_t n_requests;	  /* live and unsent */
	uint64_t body_bytes;	  /* of their bodies */
	uint32_t last_number;	  /* of the newest id; ids rise */
	struct request *requests; /* live, oldest first (session_prev, session_next) */
	struct request *last_request;
	struct request *unsent; /* ended, END waits for room; oldest first */
	struct request *last_unsent;

	bool is_short;			       /* some request has no credit, or an END waits */
	bool is_written;		       /* on d->written */
	uint32_t n_credit;		       /* requests with credit while is_short */
	const char *why_broken;		       /* for the client */
	struct session *prev, *next;	       /* d->sessions */
	struct session *busy_prev, *busy_next; /* d->busy: those with requests */
	struct session *next_written;	       /* d->written */
	struct session *next_broken;	       /* d->broken */
};

struct session_args {
	struct daemon *daemon;
	struct tenant *tenant; /* charged by the caller */
	const struct session_door *door;
	void *door_data;
	uint32_t id;
	uid_t uid;
	pid_t pid;
	const char *name; /* at most 31 bytes are kept */
	uint32_t max_requests;
	uint32_t ring_bytes; /* power of two, >= max_requests * LLM_ROOM */
	uint64_t now_ns;
};

/* Makes the memfds, maps and seals them. 0, -ENOMEM, -ENOSPC ... with err. */
int session_create(const struct session_args *args, struct session **out, struct error *err);

/* Ends its requests (CANCELED, no record is written), marks K closed, unmaps, frees. */
void session_destroy(struct session *s);

/* The client broke the contract; takes effect at the next session_sweep(). why stays valid. */
void session_break(struct session *s, const char *why);
/* Closes broken sessions. Between steps only: it ends requests. */
void session_sweep(struct daemon *d);

/* ---- credit ---- */

/*
 * Before sched_plan(): sends ENDs that waited, and sets seq.has_credit of every live request.
 * O(sessions), and O(its requests) for sessions short of room.
 */
void session_grant(struct daemon *d, uint64_t now_ns);
/*
 * Before sleeping: asks every client that is short of room to say ROOM (rule R4). False: one has
 * room after all: call session_grant() again.
 */
bool session_may_sleep(struct daemon *d);

/* Bytes between C and P, clamped; for dumps. */
uint32_t session_fill_bytes(const struct session *s);

/* ---- records (outflow and request_end() call these) ---- */

/* n ids (<= LLM_TOKENS_MAX_IDS), text_len bytes (<= LLM_TOKENS_MAX_TEXT) of whole characters. */
struct session_tokens {
	const struct request *request;
	uint32_t first_index, n;
	const uint32_t *ids;
	const char *text;
	uint32_t text_len;
	uint64_t produced_ns;
};
/* 0; -ENOBUFS; -EPROTO: the session is broken now. Visible at the next outflow_flush(). */
int session_write_tokens(struct session *s, const struct session_tokens *t);
int session_write_end(struct session *s, const struct request *r, const struct llm_end *end);

/* Shows what was written; true: kick the client. */
bool session_publish(struct session *s);

/* ---- its requests (daemon/request.c calls these) ---- */

void session_add_request(struct session *s, struct request *r);
/* END is written, or will never be; credit comes back. In either list. */
void session_remove_request(struct session *s, struct request *r);
/* From the live ones to `unsent`. */
void session_defer_request(struct session *s, struct request *r);

#endif
