/* SPDX-License-Identifier: MIT */
/*
 * request: one prompt and its tokens, from the door to the one exit.
 *
 *	door --intake_parse--> PARSED --intake_admit--> ACTIVE --request_end--> ENDED --request_free
 *	            |                        |             ^ step: append ids, text, gaps
 *	            +------ refused ---------+---------------- request_end with a status
 *
 * Every request leaves through request_end(): success, refusal, cancel, deadline, death of the client. It takes
 * the sequence out of the sched, writes the END record (room was reserved at SUBMIT), feeds stats and the
 * request log, and marks the request ENDED; it is freed at the end of the heart's turn, when no plan names it.
 * All on the daemon's one thread. Times are CLOCK_MONOTONIC nanoseconds, 0 = has not happened.
 */
#ifndef DEVLLM_REQUEST_H
#define DEVLLM_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/detokenizer.h"
#include "daemon/sampler.h"
#include "daemon/sched.h"
#include "uapi/llm_msg.h"

struct daemon;
struct session;
struct tenant;

enum request_state { REQUEST_PARSED, REQUEST_ACTIVE, REQUEST_ENDED };

struct request_times {
	uint64_t arrived_ns;	/* SUBMIT was read */
	uint64_t tokenized_ns;	/* prompt ids known */
	uint64_t tokenize_ns;	/* how long that took */
	uint64_t admitted_ns;	/* first row in a plan */
	uint64_t first_ns, last_ns; /* first and newest token produced */
	uint64_t deadline_ns;	/* absolute, 0: none */
	uint64_t stalled_ns;	/* begin of the present stall for ring credit */
	uint64_t stall_ns;	/* sum of finished ones */
	uint64_t *gaps_ns;	/* [n_gaps] every inter-token gap */
	uint32_t n_gaps;
};

struct request_stops {
	char *text[LLM_MAX_STOPS]; /* [len] not terminated */
	uint32_t len[LLM_MAX_STOPS];
	uint32_t n_text;
	uint32_t *ids;
	uint32_t n_ids;
};

struct request {
	/* what the client said */
	uint64_t id, user_data;
	uint32_t flags;		/* enum llm_body_flag */
	uint32_t min_tokens;
	struct sampler_params params;
	struct request_stops stops;
	size_t body_bytes;	/* credit held until END */
	char *prompt;		/* UTF-8, freed after tokenizing; NULL when ids came */
	uint32_t prompt_len;

	/* who */
	struct daemon *daemon;
	struct session *session; /* NULL after the client is gone */
	struct tenant *tenant;
	struct request *session_prev, *session_next; /* its session's live requests */
	struct request *all_prev, *all_next;	     /* the daemon's live requests, or its ENDED ones */

	/* where it stands */
	enum request_state state;
	struct sched_seq seq;	/* seq.owner = the request; seq.ids is the request's array */
	uint32_t n_published;	/* output ids written to the ring */
	struct detokenizer *detok;
	char held[LLM_MAX_STOP_LEN + LLM_TOKENS_MAX_TEXT]; /* text that may be the start of a stop string */
	uint32_t n_held;
	struct request_times times;

	/* how it ended */
	enum llm_end_reason reason;
	int status;		/* 0 or -errno */
	enum llm_field err_field;
	uint64_t got, limit;
	char message[LLM_MESSAGE_MAX];
};

#endif
