/* SPDX-License-Identifier: MIT */
/*
 * loop: what the daemon waits for. File descriptors, and a time to wake up at the latest.
 *
 * Five functions over two backends: io_uring (multishot polls, one io_uring_enter per wait) and,
 * where the kernel or a sandbox refuses io_uring, epoll. Both are edge-triggered: a source's
 * function is called when something happened on its fd and once after `loop_add()`, if there is
 * something then; it reads until EAGAIN, or returns true to be called again in the next
 * `loop_wait()`, which then does not sleep. That is how a reader stays bounded per turn.
 *
 * Timers are the caller's: it passes the time left until the next one. Signals come by signalfd.
 * Used by the daemon's one thread only; functions are called from inside `loop_wait()` and may add
 * and remove any source, their own too.
 */
#ifndef DEVLLM_LOOP_H
#define DEVLLM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/error.h"

enum loop_kind {
	LOOP_AUTO,  /* io_uring, else epoll; the environment's LLM_LOOP=epoll|uring chooses */
	LOOP_URING, /* or fail */
	LOOP_EPOLL,
};

struct loop;

/* One fd. Owned by its creator, at a fixed address from loop_add() to loop_remove(). */
struct loop_source {
	int fd;
	short events; /* POLLIN, POLLOUT...; POLLERR and POLLHUP come unasked */
	/* revents: what happened, 0 when called again on its own wish. True: call again. */
	bool (*ready)(struct loop_source *src, short revents);
	/* ---- the loop's ---- */
	uint32_t slot; /* index + 1 in its table, 0: not added */
};

/* 0, or -errno with err. */
int loop_create(enum loop_kind kind, struct loop **out, struct error *err);
/* Sources may still be added; none is called any more. */
void loop_destroy(struct loop *l);

/* "io_uring", "epoll", "epoll (io_uring: Operation not permitted)": for one line at start. */
const char *loop_describe(const struct loop *l);

/* 0, -ENOMEM, -EBADF, -EPERM (a regular file) ... */
int loop_add(struct loop *l, struct loop_source *src);
/* src->fd is still open; the caller closes it afterwards. Not added: nothing happens. */
void loop_remove(struct loop *l, struct loop_source *src);

/*
 * Calls the functions of all sources that are ready; sleeps for at most timeout_ns (0: not at all,
 * < 0: for good) when there is none. Returns how many were called (0: time is up, or woken for
 * nothing), or -errno.
 */
int loop_wait(struct loop *l, int64_t timeout_ns);

/* Counts loop_wait(): who is called can tell one turn from the next. */
uint64_t loop_turn(const struct loop *l);

#endif
