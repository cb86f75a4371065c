/* SPDX-License-Identifier: MIT */
/*
 * intake: from the bytes of a body to a sequence in the sched, or to a refusal with a sentence.
 *
 *	door: request_create() --intake_submit--> [tenant's queue] --intake_run--> sched_add()
 *	                              |                                |
 *	                              +----- request_end(refused) -----+
 *
 * `intake_parse()` works on a private copy that nobody else can change, checks every length, and
 * copies what it keeps; it is a fuzz target and pure. What this version cannot do is refused by
 * name, never ignored.
 *
 * Tokenizing runs on the heart, so `intake_run()` is bounded: INTAKE_TURN_BYTES of prompt text a
 * turn, but at least one prompt; tenants take turns. Measured on one core of a 2-core machine:
 * byte-level BPE 10 MB/s, SentencePiece 1.2 MB/s (0.7 on a text of 1 MB), so a flood of short
 * prompts delays a step by 2 or 14 ms. A single prompt is not cut: the longest stall is that of
 * context_tokens x the longest token of the vocabulary (4,096 x 48 bytes in a Llama 2: 0.2 s).
 * Longer text cannot fit and is refused unread.
 */
#ifndef DEVLLM_INTAKE_H
#define DEVLLM_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/request.h"

#define INTAKE_TURN_BYTES (16u << 10)

struct daemon;
struct session;

/* What the parser must know of the daemon. */
struct intake_limits {
	uint32_t n_vocab;
	uint32_t context_tokens;
	uint64_t max_text_bytes; /* longer text cannot fit the context; 0: no tokenizer, no text */
	const char *model_name;
};

/*
 * Fills r (parameters, stops, prompt or ids) from body: [len], 8-byte aligned, private. 0, or the
 * refusal as request_end() takes it: *how is filled and -errno returned.
 */
int intake_parse(struct request *r, const struct intake_limits *limits, const void *body,
		 size_t len, struct request_refusal *how);

/* SUBMIT arrived: creates the request, parses, queues it, or ends it with the refusal. */
void intake_submit(struct session *s, const struct llm_packet *head, const void *body, size_t len);

/* A body that never became bytes here (bad memfd, too large): the request ends with this. */
void intake_refuse(struct session *s, const struct llm_packet *head,
		   const struct request_refusal *how);

/* Tokenizes and admits what is queued, within the bound of a turn. True: more is waiting. */
bool intake_run(struct daemon *d);

/* A queued request ends before its turn: request_end() calls it. */
void intake_drop(struct request *r);

#endif
