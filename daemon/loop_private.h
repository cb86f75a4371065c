/* SPDX-License-Identifier: MIT */
/*
 * loop_private: between daemon/loop.c (table of sources, dispatch) and its two backends, which turn
 * "tell me about this fd" into system calls and know no sources. Included by daemon/loop*.c only.
 */
#ifndef DEVLLM_LOOP_PRIVATE_H
#define DEVLLM_LOOP_PRIVATE_H

#include "daemon/loop.h"

#define LOOP_MAX_EVENTS 64 /* taken from a backend in one wait */

/* key: which registration; a key is never armed twice, so late news of a removed fd is known. */
struct loop_event {
	uint64_t key;
	short revents;
};

struct loop_backend {
	const char *name;
	int (*open)(void **state);
	void (*close)(void *state);
	int (*arm)(void *state, uint64_t key, int fd, short events);
	void (*disarm)(void *state, uint64_t key, int fd);
	/* timeout_ns < 0: for good. How many events, 0 also when interrupted; -errno. */
	int (*wait)(void *state, int64_t timeout_ns, struct loop_event *events);
};

extern const struct loop_backend loop_uring, loop_epoll;

#endif
