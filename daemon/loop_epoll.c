/* SPDX-License-Identifier: MIT */
/*
 * loop_epoll: the backend for kernels and sandboxes without io_uring. Edge-triggered like the other
 * one, so that every rule of daemon/loop.h holds on both. Sleeps in ppoll() on the epoll fd, whose
 * timeout has nanoseconds.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "daemon/loop_private.h"

struct epoll_state {
	int fd;
};

static int epoll_open(void **out)
{
	struct epoll_state *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->fd < 0) {
		rc = -errno;
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void epoll_close(void *state)
{
	struct epoll_state *s = state;

	close(s->fd);
	free(s);
}

/* POLLIN, POLLOUT, POLLPRI, POLLERR, POLLHUP, POLLRDHUP have epoll's values on every Linux. */
_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLHUP == EPOLLHUP, "poll bits");
_Static_assert(POLLERR == EPOLLERR && POLLRDHUP == EPOLLRDHUP && POLLPRI == EPOLLPRI, "poll bits");

static int epoll_arm(void *state, uint64_t key, int fd, short events)
{
	struct epoll_state *s = state;
	struct epoll_event e = {.events = (uint32_t)(unsigned short)events | EPOLLET,
				.data.u64 = key};

	return epoll_ctl(s->fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static void epoll_disarm(void *state, uint64_t key, int fd)
{
	struct epoll_state *s = state;

	(void)key;
	/* Fails when arming failed: nothing to undo then. */
	epoll_ctl(s->fd, EPOLL_CTL_DEL, fd, NULL);
}

static int epoll_take(void *state, int64_t timeout_ns, struct loop_event *events)
{
	struct epoll_state *s = state;
	struct epoll_event got[LOOP_MAX_EVENTS];
	int n;

	if (timeout_ns) {
		struct pollfd p = {.fd = s->fd, .events = POLLIN};
		struct timespec ts = {.tv_sec = timeout_ns / 1000000000,
				      .tv_nsec = timeout_ns % 1000000000};

		n = ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL);
		if (n < 0)
			return errno == EINTR ? 0 : -errno;
		if (!n)
			return 0;
	}
	n = epoll_wait(s->fd, got, LOOP_MAX_EVENTS, 0);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++)
		events[i] = (struct loop_event){.key = got[i].data.u64,
						.revents = (short)(got[i].events & 0x7fff)};
	return n;
}

const struct loop_backend loop_epoll = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.arm = epoll_arm,
	.disarm = epoll_disarm,
	.wait = epoll_take,
};
