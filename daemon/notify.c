/* SPDX-License-Identifier: MIT */
/*
 * notify: see daemon/notify.h. A message is one datagram to $NOTIFY_SOCKET. libsystemd reads the
 * watchdog's setting; its sd_notify() is not used to send, because it waits while the supervisor's
 * queue is full, and nobody outside may stop the heart. A status that finds no room is lost, the
 * next one comes in a second; READY and STOPPING are tried until they are sent.
 */
#include "daemon/notify.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define RETRY_NS 100000000u

struct notify {
	int fd; /* -1: no supervisor */
	struct sockaddr_un to;
	socklen_t to_bytes;
	char pending[300]; /* READY or STOPPING that found no room; empty: none */
	uint64_t retry_ns; /* when it is tried again */
	uint64_t every_ns; /* half of WatchdogSec=, 0: no watchdog */
	uint64_t last_ns;  /* newest ping */
};

int notify_create(struct notify **out)
{
	struct notify *n = calloc(1, sizeof(*n));
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;
	uint64_t timeout_us = 0;

	*out = n;
	if (!n)
		return -ENOMEM;
	n->fd = -1;
	if (!len || (*path != '/' && *path != '@') || len >= sizeof(n->to.sun_path))
		return 0;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, path, len);
	if (*path == '@')
		n->to.sun_path[0] = 0; /* the abstract name space */
	n->to_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		return -errno;
	if (sd_watchdog_enabled(0, &timeout_us) > 0)
		n->every_ns = timeout_us * 1000 / 2;
	return 0;
}

void notify_destroy(struct notify *n)
{
	if (n && n->fd >= 0)
		close(n->fd);
	free(n);
}

/* True: it is on its way. */
static bool say(struct notify *n, const char *text)
{
	if (!n || n->fd < 0)
		return true;
	return sendto(n->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&n->to, n->to_bytes) >= 0;
}

static void say_for_sure(struct notify *n, const char *text)
{
	if (!n)
		return;
	n->pending[0] = 0;
	if (!say(n, text))
		snprintf(n->pending, sizeof(n->pending), "%s", text);
}

void notify_ready(struct notify *n, const char *status)
{
	char text[300];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
	say_for_sure(n, text);
}

void notify_status(struct notify *n, const char *status)
{
	char text[300];

	snprintf(text, sizeof(text), "STATUS=%s", status);
	say(n, text);
}

void notify_stopping(struct notify *n)
{
	say_for_sure(n, "STOPPING=1\nSTATUS=draining");
}

void notify_progress(struct notify *n, uint64_t now_ns)
{
	if (!n)
		return;
	if (n->pending[0] && now_ns >= n->retry_ns) {
		n->retry_ns = now_ns + RETRY_NS;
		if (say(n, n->pending))
			n->pending[0] = 0;
	}
	if (!n->every_ns || now_ns - n->last_ns < n->every_ns)
		return;
	/* Lost: tried again in a tenth of the time. */
	n->last_ns = say(n, "WATCHDOG=1") ? now_ns : now_ns - n->every_ns / 10 * 9;
}

uint64_t notify_due_ns(const struct notify *n)
{
	uint64_t ping_ns = n && n->every_ns ? n->last_ns + n->every_ns : 0;

	if (!n || !n->pending[0] || (ping_ns && ping_ns < n->retry_ns))
		return ping_ns;
	return n->retry_ns ? n->retry_ns : 1;
}
