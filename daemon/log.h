/* SPDX-License-Identifier: MIT */
/*
 * log: what the daemon tells a person, one line per fact, on stderr.
 *
 * Two levels: a fact (silent with --quiet) and a warning (never silent). Under systemd each line
 * carries its level as <6> or <4>. A reader that does not read stalls nobody: a line that stderr
 * has no room for is dropped and counted, and so are warnings beyond 20 in a second, which a
 * hostile client could cause; the count is told in the next line that gets through. The daemon's
 * one thread only.
 */
#ifndef DEVLLM_LOG_H
#define DEVLLM_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct log {
	int fd;			/* stderr as a rule */
	bool is_quiet;		/* no facts */
	bool has_levels;	/* stderr is the journal */
	uint64_t window_ns;	/* begin of the second that n_warnings counts */
	uint32_t n_warnings;
	uint64_t n_dropped;	/* lines not written and not yet told of */
};

void log_init(struct log *l, int fd, bool is_quiet);

/* l may be NULL: nothing is said. No newline; over 1,000 bytes: cut and marked "...". */
__attribute__((format(printf, 2, 3))) void log_info(struct log *l, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void log_warn(struct log *l, const char *fmt, ...);

#endif
