/* SPDX-License-Identifier: MIT */
/*
 * log: see daemon/log.h. A line is written by one write(), so lines of several daemons do not mix,
 * and only when poll() says that there is room: a pipe then takes up to a page whole.
 */
#include "daemon/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"

#define LINE_BYTES 1000
#define WARNINGS_PER_SECOND 20

void log_init(struct log *l, int fd, bool is_quiet)
{
	*l = (struct log){.fd = fd, .is_quiet = is_quiet};
	l->has_levels = getenv("JOURNAL_STREAM") != NULL;
}

/* Writes text and a newline, or counts it as dropped. */
static void put(struct log *l, int level, const char *text)
{
	struct pollfd room = {.fd = l->fd, .events = POLLOUT};
	char line[LINE_BYTES + 64];
	int n;

	if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) {
		l->n_dropped++;
		return;
	}
	n = l->has_levels ? snprintf(line, sizeof(line), "<%d>", level) : 0;
	n += snprintf(line + n, sizeof(line) - (size_t)n, "llmd: %s", text);
	if (l->n_dropped)
		n += snprintf(line + n, sizeof(line) - (size_t)n, " (%llu lines before it dropped)",
			      (unsigned long long)l->n_dropped);
	line[n++] = '\n';
	if (write(l->fd, line, (size_t)n) < 0)
		l->n_dropped++;
	else
		l->n_dropped = 0;
}

static void format(char *text, const char *fmt, va_list args)
{
	int n = vsnprintf(text, LINE_BYTES, fmt, args);

	if (n >= LINE_BYTES)
		memcpy(text + LINE_BYTES - 4, "...", 4);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
}

void log_info(struct log *l, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list args;

	if (!l || l->is_quiet)
		return;
	va_start(args, fmt);
	format(text, fmt, args);
	va_end(args);
	put(l, 6, text);
}

void log_warn(struct log *l, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list args;
	uint64_t now;

	if (!l)
		return;
	now = clock_now_ns();
	if (now - l->window_ns > 1000000000u) {
		l->window_ns = now;
		l->n_warnings = 0;
	}
	if (++l->n_warnings > WARNINGS_PER_SECOND) {
		l->n_dropped++;
		return;
	}
	va_start(args, fmt);
	format(text, fmt, args);
	va_end(args);
	put(l, 4, text);
}
