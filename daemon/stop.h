/* SPDX-License-Identifier: MIT */
/*
 * stop: stop strings over a stream of text.
 *
 * The stream stops at the first byte where any of the strings ends; if several end there, the
 * longest counts. So the result depends on the text alone, not on how tokens cut it. What might
 * still become a stop string is held back: the longest end of the stream that begins one of them.
 * One automaton per string (Knuth, Morris, Pratt, "Fast pattern matching in strings", 1977): a few
 * compares per byte and string, amortized. Pure; one per request.
 */
#ifndef DEVLLM_STOP_H
#define DEVLLM_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi/llm_msg.h"

struct stop_set;

int stop_create(struct stop_set **out);
void stop_destroy(struct stop_set *s);

/* 1..LLM_MAX_STOP_LEN bytes, at most LLM_MAX_STOPS times. 0, -EINVAL, -ENOSPC, -ENOMEM. */
int stop_add(struct stop_set *s, const char *text, uint32_t len);

uint32_t stop_count(const struct stop_set *s);

/* Forgets the stream, keeps the strings. */
void stop_reset(struct stop_set *s);

struct stop_result {
	bool is_stopped;
	uint32_t n_taken; /* bytes of the new text looked at: all, or up to the end of the stop */
	uint32_t n_held;  /* last bytes of the stream so far that are held; is_stopped: the stop */
};

/* The next len bytes of the stream. After is_stopped: stop_reset() first. */
void stop_feed(struct stop_set *s, const char *text, size_t len, struct stop_result *out);

#endif
