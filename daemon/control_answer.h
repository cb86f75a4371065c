/* SPDX-License-Identifier: MIT */
/*
 * control_answer: from a question's JSON to its answer's, at one instant. No I/O. Called by
 * daemon/control.c, which owns how both travel.
 */
#ifndef DEVLLM_CONTROL_ANSWER_H
#define DEVLLM_CONTROL_ANSWER_H

#include <jansson.h>
#include <sys/types.h>

struct daemon;

/* The answer or the refusal, a new reference; NULL without memory. */
json_t *control_answer(struct daemon *d, uid_t uid, const json_t *question);

/* {"error": {"status": status, "message": ...}} */
__attribute__((format(printf, 2, 3))) json_t *control_answer_error(int status, const char *fmt,
								   ...);

#endif
