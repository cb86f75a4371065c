/* SPDX-License-Identifier: MIT */
/*
 * session.h: what the files of libllm share: the session and how its parts call each other.
 *
 * setup.c	  opens and closes; finds the door; who may use the session after fork
 * door_socket.c  the socket door: greeting, mapping, packets in and out
 * body.c	  a struct llm_request checked and encoded as the bytes of a body
 * flight.c	  the requests without END: ids, expected indexes, credit
 * submit.c	  requests and cancels out
 * reap.c	  records in: the ring's consumer
 * uring.c	  the same sends as SQEs of a program's own io_uring
 * control.c	  one question to the daemon itself, no session
 * strerror.c	  sentences
 *
 * How a session ends (llm_session_die(), once, from wherever it is noticed):
 *
 *	LIVE --EOF, REFUSED, EPIPE--> HUNG_UP: what is in the ring is still delivered, then the ENDs
 *	LIVE --an impossible ring or record--> BROKEN: the ring is not read again, only the ENDs
 *	HUNG_UP --the same--> BROKEN
 *
 * Names here start with llm_ because libllm.a shares its programs' name space; libllm.map hides
 * them.
 */
#ifndef LLM_SESSION_H
#define LLM_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/include/llm.h"
#include "uapi/llm_msg.h"
#include "uapi/llm_ring.h"

enum llm_life {
	LLM_LIVE,
	LLM_HUNG_UP,
	LLM_BROKEN,
};

/* A request without END. */
struct llm_flight {
	uint64_t id; /* 0: the entry is free */
	uint64_t user_data;
	uint32_t next_index; /* of the first token not yet delivered */
	uint32_t body_bytes; /* charged */
	uint32_t next;	     /* entry after this one in its chain or in the free list; LLM_NONE */
	bool is_prepared;    /* its llm_prep_submit() is not done: it may not have been sent */
};

#define LLM_NONE UINT32_MAX

/* The requests without END, found by id. */
struct llm_flights {
	struct llm_flight *entries; /* max_requests of them */
	uint32_t *buckets;	    /* first entry of each chain; LLM_NONE */
	uint32_t mask;		    /* buckets - 1 */
	uint32_t free;		    /* first free entry */
	uint32_t max_requests;
	uint32_t n_requests;
	uint32_t n_prepared;
	uint64_t body_bytes; /* charged by all of them */
};

struct llm {
	const volatile uint32_t *owner; /* 1, and 0 in a forked child, which gets a wiped page */
	int fd;
	enum llm_life life;
	int death;	      /* what calls on a dead session return; 0 while LIVE */
	int end_status;	      /* status of the ENDs that libllm makes for it */
	struct llm_ring ring; /* consumer's view */
	uint32_t n_unseen;    /* events returned since the last llm_seen() */
	bool owes_room;	      /* a ROOM could not be sent yet */
	bool awaits_out;      /* a SUBMIT or CANCEL could not be sent */
	uint32_t last_n;      /* last number given to a request: id_base | last_n */
	struct llm_flights flights;
	struct llm_welcome welcome;	    /* as checked */
	const struct llm_ring_state *state; /* K page */
	void *map;			    /* K, P, D, D again */
	size_t map_bytes;
	void *consumer_map;		  /* C page */
	char death_text[LLM_MESSAGE_MAX]; /* why the session is dead */
	char error_text[LLM_MESSAGE_MAX]; /* about the last call that failed */
};

/* A request as bytes: in data (malloc'd), or in a sealed memfd when that is >= 0. */
struct llm_encoded {
	void *data;
	uint32_t n_bytes;
	int memfd;
};

/* ---- setup.c ----------------------------------------------------------------------------- */

/* 0, or -EPERM in a forked child. */
static inline int llm_session_check(const struct llm *s)
{
	return *s->owner ? 0 : -EPERM;
}

/*
 * Marks the session dead, for the drawing above; the first reason is the one that is told. status
 * goes into the ENDs to come. Returns what calls on the session return from now on: -EHOSTDOWN, and
 * -EPROTO when it is BROKEN from the start.
 */
__attribute__((format(printf, 4, 5))) int llm_session_die(struct llm *s, enum llm_life life,
							  int status, const char *fmt, ...);

/* Notes a sentence for llm_error(); returns err. */
__attribute__((format(printf, 3, 4))) int llm_session_fail(struct llm *s, int err, const char *fmt,
							   ...);

/* A socket connected to `where` (NULL: in the order that llm.h promises); -errno, error_text. */
int llm_session_connect(struct llm *s, const char *where, int timeout_ms);

/* Copies a caller's structure of its own size into ours; -EINVAL shorter than ours, -E2BIG unknown
 * tail. */
int llm_copy_sized(void *to, size_t to_bytes, const void *from);

/* ---- door_socket.c ----------------------------------------------------------------------- */

struct llm_greeting {
	uint32_t max_requests;
	uint32_t ring_bytes;
	int timeout_ms;
	const char *name;
};

/* A connected socket for the path, or -errno. */
int llm_socket_connect(const char *path, int timeout_ms);

/* HELLO, WELCOME and the mappings on s->fd. 0 or -errno, then error_text says why;
 * llm_socket_unmap() after both. */
int llm_socket_greet(struct llm *s, const struct llm_greeting *greeting);
void llm_socket_unmap(struct llm *s);

/* A packet without payload. 0, -ENOBUFS when the socket is full, or the session's death. */
int llm_socket_send(struct llm *s, enum llm_packet_type type, uint64_t id);

/* Sends without waiting. The same returns. */
int llm_socket_sendmsg(struct llm *s, const struct msghdr *msg);

/* What a sendmsg() or its completion gave: 0, -ENOBUFS, or the session's death. */
int llm_socket_sent(struct llm *s, int res);

/* Takes every packet that lies there; may find the session's end. */
void llm_socket_drain(struct llm *s);

/* ---- body.c ------------------------------------------------------------------------------ */

/* One TLV to be. */
struct llm_span {
	uint32_t type; /* enum llm_tlv_type */
	const void *data;
	size_t n_bytes;
};

#define LLM_BODY_SPANS (LLM_MAX_STOPS + 5)

/* What a body will hold and how long it is. Points into the request. */
struct llm_body_plan {
	struct llm_span spans[LLM_BODY_SPANS];
	uint32_t n_spans;
	uint64_t n_bytes;
};

/* Checks the request: 0, -EINVAL or -EMSGSIZE with a sentence in the session. */
int llm_body_measure(struct llm *s, const struct llm_request *req, struct llm_body_plan *plan);

/* Writes what was measured; 0 or -errno; llm_body_free() after 0. */
int llm_body_encode(const struct llm_request *req, const struct llm_body_plan *plan,
		    struct llm_encoded *out);
void llm_body_free(struct llm_encoded *body);

/* ---- flight.c ---------------------------------------------------------------------------- */

int llm_flights_init(struct llm_flights *f, uint32_t max_requests);
void llm_flights_exit(struct llm_flights *f);
struct llm_flight *llm_flight_add(struct llm_flights *f, uint64_t id);
struct llm_flight *llm_flight_find(struct llm_flights *f, uint64_t id);
void llm_flight_remove(struct llm_flights *f, struct llm_flight *flight);
/* The lowest id among those that were sent; NULL when there is none. */
struct llm_flight *llm_flight_oldest(struct llm_flights *f);

/* ---- submit.c ---------------------------------------------------------------------------- */

/* All of one SUBMIT that must not move while it is sent. */
struct llm_parcel {
	struct llm_packet packet;
	struct llm_encoded body;
	uint64_t id;
	size_t n_bytes; /* of the whole message */
	struct {
		uint64_t space[3]; /* a cmsghdr and one descriptor */
	} control;
};

/* Encodes, charges and numbers a request. 0 or -errno and nothing is held. */
int llm_parcel_make(struct llm *s, const struct llm_request *req, struct llm_parcel *out);

/* The request of the parcel was not sent: no credit is used, no event will come. */
void llm_parcel_take_back(struct llm *s, const struct llm_parcel *parcel);

/* Points msg and iov[2] at the parcel. */
void llm_parcel_address(struct llm_parcel *parcel, struct msghdr *msg, struct iovec iov[2]);

#endif
