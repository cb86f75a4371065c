/* SPDX-License-Identifier: MIT */
/*
 * heart: the daemon's one loop: fetch -> schedule -> step -> sample -> flush -> sleep.
 *
 * Everything that happens in the daemon happens inside `heart_turn()`, on the main thread, in this
 * order. Owns the plan in flight, the clock of the turn and the way out (drain, stop); the parts
 * it calls own the rest.
 */
#ifndef DEVLLM_HEART_H
#define DEVLLM_HEART_H

#include <stdbool.h>
#include <stdint.h>

struct daemon;
struct heart;

int heart_create(struct daemon *d, struct heart **out);
void heart_destroy(struct heart *h);

/* Turns until the daemon is drained or stopped. 0, or -errno when the loop or the engine failed. */
int heart_run(struct daemon *d);

/* One turn. 1: more to do, 0: drained or stopped, -errno. */
int heart_turn(struct daemon *d);

/* No new work from here on; the heart returns when the last request has ended. */
void heart_drain(struct daemon *d);
/* Ends every request (CANCELED, -ESHUTDOWN) at the next flush; the heart returns after it. */
void heart_stop(struct daemon *d);

#endif
