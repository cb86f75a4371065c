/* SPDX-License-Identifier: MIT */
/*
 * outflow: what a drawn id becomes: text, stops, records, kicks.
 *
 *	heart: for each row with logits: outflow_token()  appends, detokenizes, looks for the end
 *	       once per step:            outflow_flush()  one P store per session, then kicks
 *
 * Ids are published in the step that drew them; text follows when it is whole characters and
 * cannot be the beginning of a stop string. An id that ends the request (EOS, stop id) is neither
 * published nor counted; the ids of a stop string are, its text is not. The daemon's one thread.
 */
#ifndef DEVLLM_OUTFLOW_H
#define DEVLLM_OUTFLOW_H

#include <stdbool.h>
#include <stdint.h>

struct daemon;
struct request;

/*
 * id was drawn for r (row with logits, after sched_advance()). Calls sched_append(), or
 * request_end() when the request is over. Nothing when r has ended already.
 */
void outflow_token(struct request *r, uint32_t id, uint64_t now_ns);

/*
 * Text and END of a request that ends: request_end() calls it. False: the END waits for room and
 * session_grant() sends it later.
 */
bool outflow_end(struct request *r);

/* Publishes every session written to, then kicks those whose clients wait. */
void outflow_flush(struct daemon *d);

#endif
