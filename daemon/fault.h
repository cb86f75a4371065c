/* SPDX-License-Identifier: MIT */
/*
 * fault: breaking the daemon on purpose, at a named place, the n-th time it is reached (--fault).
 *
 *	point:action[:n][,point:action[:n]...]		publish:kill:3		alloc:fail
 *
 *	point	reached
 *	ring	before a record is written into a ring
 *	publish	records are written, P is not stored yet
 *	commit	P of every session is stored, no request of the step has been freed; cannot fail
 *	kick	before a client is kicked
 *	parse	before a body is parsed
 *	step	before a step is handed to the engine
 *	alloc	where the memory of a request is taken
 *	journal, rewrite	not in this version, which keeps no journal: refused by name
 *
 *	action	kill: SIGKILL to itself; stall: sleeps for good; fail: `fault_hit()` says true, once
 *
 * n counts from 1, which is also the default. Without --fault the pointer is NULL and a hit costs
 * one test.
 */
#ifndef DEVLLM_FAULT_H
#define DEVLLM_FAULT_H

#include <stdbool.h>

#include "daemon/error.h"

enum fault_point {
	FAULT_JOURNAL,
	FAULT_RING,
	FAULT_PUBLISH,
	FAULT_COMMIT,
	FAULT_KICK,
	FAULT_PARSE,
	FAULT_STEP,
	FAULT_ALLOC,
	FAULT_REWRITE,
	FAULT_POINTS, /* how many there are */
};

struct fault;

/* NULL or "" gives *out = NULL. -EINVAL with err naming the wrong part of the text; -ENOMEM. */
int fault_create(const char *spec, struct fault **out, struct error *err);
void fault_destroy(struct fault *f);

/* f may be NULL. True: fail here as if the machine had (no memory, no room, a short write). */
bool fault_hit(struct fault *f, enum fault_point point);

#endif
