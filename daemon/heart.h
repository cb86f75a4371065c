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

/* d->loop is open; 0, -ENOMEM, -errno of signalfd(2). */
int heart_create(struct daemon *d, struct heart **out);
void heart_destroy(struct heart *h);

/*
 * Blocks the signals that the heart takes by descriptor; before any thread is made, since threads
 * inherit it. SIGTERM and SIGINT: drain, the second time stop. SIGHUP: reopen the request log.
 */
int heart_block_signals(void);

/* Turns until the daemon is drained or stopped. 0, or -errno when the loop failed. */
int heart_run(struct daemon *d);

/* One turn. 1: go on, 0: drained or stopped, -errno. */
int heart_turn(struct daemon *d);

/* No new work from here on; the heart returns when the last request has ended. */
void heart_drain(struct daemon *d);
/* Ends every request (CANCELED, -ESHUTDOWN) in this turn's flush; the heart returns after it. */
void heart_stop(struct daemon *d);

#endif
