/* SPDX-License-Identifier: MIT */
/*
 * notify: see daemon/notify.h. The protocol is libsystemd's; this file only decides when to speak.
 */
#include "daemon/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

struct notify {
	uint64_t every_ns; /* half of WatchdogSec=, 0: no watchdog */
	uint64_t last_ns;  /* newest ping */
};

int notify_create(struct notify **out)
{
	struct notify *n = calloc(1, sizeof(*n));
	uint64_t timeout_us = 0;

	*out = n;
	if (!n)
		return -ENOMEM;
	if (sd_watchdog_enabled(0, &timeout_us) > 0)
		n->every_ns = timeout_us * 1000 / 2;
	return 0;
}

void notify_destroy(struct notify *n)
{
	free(n);
}

void notify_ready(struct notify *n, const char *status)
{
	if (n)
		sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(struct notify *n, const char *status)
{
	if (n)
		sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(struct notify *n)
{
	if (n)
		sd_notify(0, "STOPPING=1\nSTATUS=draining");
}

void notify_progress(struct notify *n, uint64_t now_ns)
{
	if (!n || !n->every_ns || now_ns - n->last_ns < n->every_ns)
		return;
	n->last_ns = now_ns;
	sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_due_ns(const struct notify *n)
{
	return n && n->every_ns ? n->last_ns + n->every_ns : 0;
}
