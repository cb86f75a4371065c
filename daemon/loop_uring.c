/* SPDX-License-Identifier: MIT */
/*
 * loop_uring: the backend on io_uring. One multishot poll per source; arming is queued and goes to
 * the kernel with the next wait, so a turn without news costs no system call at all: completions
 * and the kernel's wish to be entered are both read from shared memory.
 *
 * A multishot poll ends by itself when the completion queue overflows; it is armed again then, and
 * arming looks at the fd at once, so nothing is missed. Disarming is submitted at once: until the
 * kernel has seen it, the poll holds the file, and the peer would not see our close.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/loop_private.h"

#define N_ENTRIES 256
#define N_COMPLETIONS 4096
#define NO_KEY UINT64_MAX /* of requests whose result is of no interest */

struct armed {
	uint64_t key; /* NO_KEY: none */
	int fd;
	short events;
	uint32_t place; /* index + 1 among the events being taken, 0: not among them */
};

struct uring_state {
	struct io_uring ring;
	struct armed *armed; /* [n_armed] by slot, to arm again */
	uint32_t n_armed;
};

static int uring_open(void **out)
{
	struct uring_state *s = calloc(1, sizeof(*s));
	struct io_uring_params p = {0};
	int rc;

	if (!s)
		return -ENOMEM;
	/* The first flags spare interrupts and, where the kernel has them, cost nothing. */
	p.flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
	p.cq_entries = N_COMPLETIONS;
	rc = io_uring_queue_init_params(N_ENTRIES, &s->ring, &p);
	if (rc == -EINVAL) {
		p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE,
					     .cq_entries = N_COMPLETIONS};
		rc = io_uring_queue_init_params(N_ENTRIES, &s->ring, &p);
	}
	if (!rc && !(p.features & IORING_FEAT_EXT_ARG)) { /* before 5.11: no timeout of wait */
		io_uring_queue_exit(&s->ring);
		rc = -EOPNOTSUPP;
	}
	if (rc) {
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void uring_close(void *state)
{
	struct uring_state *s = state;

	io_uring_queue_exit(&s->ring);
	free(s->armed);
	free(s);
}

/* Never NULL for long: the queue is emptied into the kernel when it is full. */
static struct io_uring_sqe *get_sqe(struct uring_state *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&s->ring);
	return io_uring_get_sqe(&s->ring);
}

static int queue_poll(struct uring_state *s, const struct armed *a)
{
	struct io_uring_sqe *sqe = get_sqe(s);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_multishot(sqe, a->fd, (unsigned)(unsigned short)a->events);
	io_uring_sqe_set_data64(sqe, a->key);
	return 0;
}

static int uring_arm(void *state, uint64_t key, int fd, short events)
{
	struct uring_state *s = state;
	uint32_t slot = (uint32_t)key;

	if (slot >= s->n_armed) {
		uint32_t n = slot < 64 ? 64 : 2 * slot;
		struct armed *armed = realloc(s->armed, n * sizeof(*armed));

		if (!armed)
			return -ENOMEM;
		s->armed = armed;
		for (uint32_t i = s->n_armed; i < n; i++)
			armed[i].key = NO_KEY;
		s->n_armed = n;
	}
	s->armed[slot] = (struct armed){.key = key, .fd = fd, .events = events};
	return queue_poll(s, &s->armed[slot]);
}

static void uring_disarm(void *state, uint64_t key, int fd)
{
	struct uring_state *s = state;
	uint32_t slot = (uint32_t)key;
	struct io_uring_sqe *sqe;

	(void)fd;
	if (slot >= s->n_armed || s->armed[slot].key != key)
		return;
	s->armed[slot].key = NO_KEY;
	sqe = get_sqe(s);
	if (!sqe)
		return;
	io_uring_prep_poll_remove(sqe, key);
	io_uring_sqe_set_data64(sqe, NO_KEY);
	io_uring_submit(&s->ring);
}

/*
 * One completion into the events. A busy fd completes once per packet: they become one event, so
 * that it neither is called twice in a turn nor hides the others. False: no place, take it later.
 */
static bool take(struct uring_state *s, const struct io_uring_cqe *cqe, struct loop_event *events,
		 uint32_t *n)
{
	uint64_t key = io_uring_cqe_get_data64(cqe);
	uint32_t slot = (uint32_t)key;
	struct armed *a = slot < s->n_armed ? &s->armed[slot] : NULL;
	short revents = cqe->res < 0 ? POLLERR : (short)(cqe->res & 0x7fff);

	if (!a || a->key != key)
		return true;
	if (!a->place && *n == LOOP_MAX_EVENTS)
		return false;
	if (!a->place) {
		events[*n] = (struct loop_event){.key = key};
		a->place = ++*n;
	}
	events[a->place - 1].revents |= revents;
	if (cqe->res >= 0 && !(cqe->flags & IORING_CQE_F_MORE))
		queue_poll(s, a);
	return true;
}

/* All completions that there are, at most as many as the queue holds. */
static int take_all(struct uring_state *s, struct loop_event *events)
{
	struct io_uring_cqe *cqes[LOOP_MAX_EVENTS];
	uint32_t n_events = 0;
	bool has_place = true;

	for (unsigned n_seen = 0, n, i; has_place && n_seen < N_COMPLETIONS; n_seen += i) {
		n = io_uring_peek_batch_cqe(&s->ring, cqes, LOOP_MAX_EVENTS);
		for (i = 0; i < n; i++) {
			has_place = take(s, cqes[i], events, &n_events);
			if (!has_place)
				break;
		}
		io_uring_cq_advance(&s->ring, i);
		if (!n)
			break;
	}
	for (uint32_t i = 0; i < n_events; i++)
		s->armed[(uint32_t)events[i].key].place = 0;
	return (int)n_events;
}

static int uring_take(void *state, int64_t timeout_ns, struct loop_event *events)
{
	struct uring_state *s = state;
	struct io_uring_cqe *cqe;
	int n = take_all(s, events), rc = 0;

	if (!n && timeout_ns > 0) {
		struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
					       .tv_nsec = timeout_ns % 1000000000};

		rc = io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &ts, NULL);
	} else if (!n && timeout_ns < 0) {
		rc = io_uring_submit_and_wait(&s->ring, 1);
	} else if (io_uring_sq_ready(&s->ring)) {
		rc = io_uring_submit(&s->ring);
	}
	/* Late, interrupted, or the completion queue is full: reading it helps them all. */
	if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN)
		return rc;
	return n ? n : take_all(s, events);
}

const struct loop_backend loop_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.arm = uring_arm,
	.disarm = uring_disarm,
	.wait = uring_take,
};
