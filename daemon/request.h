/* SPDX-License-Identifier: MIT */
/*
 * request: one prompt and its tokens, from the door to the one exit.
 *
 *	request_create --> PARSED --intake_run--> ACTIVE --request_end--> ENDED --> freed by
 *	                     |                      ^ step: ids, text, gaps   ^     request_reap()
 *	                     +--- refused, canceled, expired: request_end ----+
 *
 * PARSED   on its tenant's intake queue (or being parsed): prompt held, not yet ids
 * ACTIVE   in the sched
 * ENDED    on d->ended; in its session's `unsent` too while the END waits for room in the ring
 *
 * Every request leaves through `request_end()`: success, refusal, cancel, deadline, death of the
 * client. It takes the sequence out of the sched, writes the END record (room was reserved at
 * SUBMIT), feeds stats and the request log, and marks the request ENDED; it is freed at the end of
 * the heart's turn, when no plan names it. All on the daemon's one thread. Times are
 * CLOCK_MONOTONIC nanoseconds, 0 = has not happened.
 */
#ifndef DEVLLM_REQUEST_H
#define DEVLLM_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/detokenizer.h"
#include "daemon/sampler.h"
#include "daemon/sched.h"
#include "daemon/stop.h"
#include "uapi/llm_msg.h"

struct daemon;
struct session;
struct tenant;

enum request_state { REQUEST_PARSED, REQUEST_ACTIVE, REQUEST_ENDED };

struct request_times {
	uint64_t arrived_ns;	    /* SUBMIT was read */
	uint64_t tokenized_ns;	    /* prompt ids known */
	uint64_t tokenize_ns;	    /* how long that took */
	uint64_t admitted_ns;	    /* first row in a plan; set by the heart */
	uint64_t first_ns, last_ns; /* first and newest token produced */
	uint64_t ended_ns;	    /* request_end() */
	uint64_t deadline_ns;	    /* absolute, 0: none */
	uint64_t stalled_ns;	    /* begin of the present stall for ring credit */
	uint64_t stall_ns;	    /* sum of finished ones */
	uint64_t *gaps_ns;	    /* [n_gaps] every inter-token gap */
	uint32_t n_gaps, cap_gaps;
};

/* How a request ends; what its END says. */
struct request_refusal {
	enum llm_end_reason reason;
	int status; /* 0 or -errno */
	enum llm_field err_field;
	uint64_t got, limit; /* the two numbers of the message */
	char message[LLM_MESSAGE_MAX];
};

struct request {
	/* what the client said */
	uint64_t id, user_data;
	uint32_t flags;	     /* enum llm_body_flag */
	uint32_t max_tokens; /* as said; seq.max_tokens is the bound that holds */
	uint32_t min_tokens;
	struct sampler_params params; /* banned: EOS and stop ids while below min_tokens */
	uint32_t *stop_ids;	      /* [n_stop_ids] */
	uint32_t n_stop_ids;
	struct stop_set *stops; /* NULL: no stop strings */
	uint32_t *banned;	/* [n_banned] what params.banned points to */
	uint32_t n_banned;
	size_t body_bytes;   /* credit held until END */
	char *prompt;	     /* UTF-8, freed after tokenizing; NULL when ids came */
	uint32_t prompt_len; /* bytes */

	/* who */
	struct daemon *daemon;
	struct session *session;		     /* NULL after the client is gone */
	struct tenant *tenant;			     /* NULL once uncharged */
	struct request *session_prev, *session_next; /* its session's live or unsent requests */
	struct request *all_prev, *all_next;	     /* the daemon's live ones, or ENDED ones */
	struct request *intake_prev, *intake_next;   /* its tenant's queue */
	uint32_t deadline_slot;			     /* index + 1 in d->deadlines, 0: none */
	bool is_queued;				     /* on the intake queue */
	bool is_charged;			     /* its tokens are reserved on the tenant */
	bool is_unsent;				     /* END waits for room in the ring */

	/* where it stands */
	enum request_state state;
	struct sched_seq seq;	   /* seq.owner = the request; seq.ids is the request's array */
	uint32_t cap_ids;	   /* allocated length of seq.ids; outflow_token() grows it */
	uint32_t n_output;	   /* ids drawn and published */
	bool has_text;		   /* text is made of the ids to come: somebody looks at it */
	struct detokenizer *detok; /* NULL without has_text, or without a vocabulary */
	char held[LLM_MAX_STOP_LEN + LLM_TOKENS_MAX_TEXT]; /* text not yet written */
	uint32_t n_held;				   /* bytes */
	struct request_times times;

	struct request_refusal end; /* how it ended */
};

/* Requests with a deadline, soonest on top: a binary heap. Zero is empty. */
struct request_deadlines {
	struct request **heap; /* [n] */
	uint32_t n, cap;
};

/*
 * From SUBMIT: on the lists of session and daemon, PARSED, charged with body_bytes of credit. The
 * door has checked id and credit. 0, or -ENOMEM (the door disconnects: it cannot even say END).
 */
int request_create(struct session *s, const struct llm_packet *head, size_t body_bytes,
		   struct request **out);

/* The one exit. how is copied. Nothing when it has ended already. */
void request_end(struct request *r, const struct request_refusal *how);

/* request_end() with a reason and a status whose sentence needs no numbers. message may be NULL. */
void request_end_plain(struct request *r, enum llm_end_reason reason, int status,
		       const char *message);

/* The client or an administrator: END {CANCELED, -ECANCELED}. */
void request_cancel(struct request *r);

/* A live request of any session, or NULL. */
struct request *request_find(const struct daemon *d, uint64_t id);

/* Ends the requests whose deadline has passed. */
void request_expire(struct daemon *d, uint64_t now_ns);
/* The soonest deadline, 0: none. */
uint64_t request_next_deadline(const struct daemon *d);
/* r has a deadline from here on (times.deadline_ns). 0, -ENOMEM. */
int request_set_deadline(struct request *r, uint64_t deadline_ns);

/* End of the heart's turn: frees the ENDED ones whose END is written. */
void request_reap(struct daemon *d);

/* What it holds, and itself; it is on no list any more. */
void request_free(struct request *r);

/* Fills an END's numbers from r. */
void request_fill_end(const struct request *r, struct llm_end *end);

/* r->end filled and formatted; returns status. */
__attribute__((format(printf, 3, 4))) int request_refuse(struct request_refusal *how,
							 const struct request_refusal *init,
							 const char *fmt, ...);

#endif
