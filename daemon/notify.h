/* SPDX-License-Identifier: MIT */
/*
 * notify: telling systemd how the daemon does (Type=notify, WatchdogSec=). Without a supervisor
 * every call does nothing.
 *
 * The watchdog is fed by progress: a turn that finished a step, or found nothing to run, may ping;
 * a step that never ends starves it. So a daemon whose engine hangs is restarted even though its
 * loop would turn.
 */
#ifndef DEVLLM_NOTIFY_H
#define DEVLLM_NOTIFY_H

#include <stdint.h>

struct notify;

int notify_create(struct notify **out);
void notify_destroy(struct notify *n);

/* All of these take n = NULL and then do nothing. */
void notify_ready(struct notify *n, const char *status);
void notify_status(struct notify *n, const char *status);
void notify_stopping(struct notify *n);

/* Progress was made; pings when half the watchdog's time has passed since the last one. */
void notify_progress(struct notify *n, uint64_t now_ns);
/* When notify_progress() has something to do: CLOCK_MONOTONIC; 0: never. */
uint64_t notify_due_ns(const struct notify *n);

#endif
