/* SPDX-License-Identifier: MIT */
/*
 * loop: see daemon/loop.h. The table of sources and the calls of their functions; waiting itself is
 * the backend's (daemon/loop_uring.c, daemon/loop_epoll.c).
 *
 * A slot of the table outlives its sources: its generation grows with each, and an event carries
 * slot and generation, so an event for a source that was removed meanwhile reaches nobody, even
 * when another source took the slot.
 */
#include "daemon/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/loop_private.h"

struct slot {
	struct loop_source *src; /* NULL: free */
	uint32_t generation;
	uint32_t next_free; /* index + 1 */
	uint64_t called;    /* turn in which its source was called last */
	bool wants_again;   /* its source has more to do */
	short revents;	    /* what happened on its fd, for the next call */
};

struct loop {
	const struct loop_backend *backend;
	void *state; /* the backend's */
	struct slot *slots;
	uint32_t n_slots, cap_slots;
	uint32_t free;	  /* index + 1 of a free slot, 0: none */
	uint32_t n_again; /* slots that want to be called again */
	uint32_t first;	  /* where the next round of them begins */
	uint64_t turn;	  /* counts loop_wait() */
	char description[128];
};

static uint64_t key_of(const struct loop *l, uint32_t slot)
{
	return (uint64_t)l->slots[slot].generation << 32 | slot;
}

static int open_backend(struct loop *l, const struct loop_backend *b, struct error *err)
{
	int rc = b->open(&l->state);

	if (rc)
		return error_set(err, rc, "%s: %s", b->name, strerror(-rc));
	l->backend = b;
	snprintf(l->description, sizeof(l->description), "%s", b->name);
	return 0;
}

static int open_any(struct loop *l, struct error *err)
{
	const char *wish = getenv("LLM_LOOP");
	struct error why = {0};
	int rc;

	if (wish && !strcmp(wish, "epoll"))
		return open_backend(l, &loop_epoll, err);
	if (wish && !strcmp(wish, "uring"))
		return open_backend(l, &loop_uring, err);
	if (wish && *wish)
		return error_set(err, -EINVAL, "LLM_LOOP=%.32s: known are epoll and uring", wish);
	if (!open_backend(l, &loop_uring, &why))
		return 0;
	rc = open_backend(l, &loop_epoll, err);
	if (!rc)
		snprintf(l->description, sizeof(l->description), "epoll (%.100s)", why.text);
	return rc;
}

int loop_create(enum loop_kind kind, struct loop **out, struct error *err)
{
	struct loop *l = calloc(1, sizeof(*l));
	int rc;

	*out = NULL;
	if (!l)
		return error_set(err, -ENOMEM, "event loop: no memory");
	if (kind == LOOP_URING)
		rc = open_backend(l, &loop_uring, err);
	else if (kind == LOOP_EPOLL)
		rc = open_backend(l, &loop_epoll, err);
	else
		rc = open_any(l, err);
	if (rc) {
		free(l);
		return rc;
	}
	*out = l;
	return 0;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	l->backend->close(l->state);
	free(l->slots);
	free(l);
}

const char *loop_describe(const struct loop *l)
{
	return l->description;
}

static int grow_slots(struct loop *l)
{
	uint32_t cap = l->cap_slots ? 2 * l->cap_slots : 64;
	struct slot *slots = realloc(l->slots, cap * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	l->slots = slots;
	l->cap_slots = cap;
	return 0;
}

int loop_add(struct loop *l, struct loop_source *src)
{
	uint32_t i;
	int rc;

	if (fcntl(src->fd, F_GETFD) < 0)
		return -errno;
	if (!l->free) {
		if (l->n_slots == l->cap_slots) {
			rc = grow_slots(l);
			if (rc)
				return rc;
		}
		i = l->n_slots++;
		l->slots[i] = (struct slot){0};
	} else {
		i = l->free - 1;
		l->free = l->slots[i].next_free;
	}
	l->slots[i].src = src;
	l->slots[i].generation++;
	src->slot = i + 1;
	rc = l->backend->arm(l->state, key_of(l, i), src->fd, src->events);
	if (rc)
		loop_remove(l, src);
	return rc;
}

static void set_again(struct loop *l, uint32_t i, bool wants)
{
	if (l->slots[i].wants_again == wants)
		return;
	l->slots[i].wants_again = wants;
	if (wants)
		l->n_again++;
	else
		l->n_again--;
}

void loop_remove(struct loop *l, struct loop_source *src)
{
	uint32_t i = src->slot - 1;

	if (!src->slot)
		return;
	l->backend->disarm(l->state, key_of(l, i), src->fd);
	set_again(l, i, false);
	src->slot = 0;
	l->slots[i].src = NULL;
	l->slots[i].revents = 0;
	l->slots[i].generation++;
	l->slots[i].next_free = l->free;
	l->free = i + 1;
}

static void call(struct loop *l, uint32_t i)
{
	struct loop_source *src = l->slots[i].src;
	uint32_t generation = l->slots[i].generation;
	short revents = l->slots[i].revents;
	bool wants;

	set_again(l, i, false);
	l->slots[i].revents = 0;
	l->slots[i].called = l->turn;
	wants = src->ready(src, revents);
	/* If it removed itself its slot may be another's by now. */
	if (l->slots[i].generation == generation)
		set_again(l, i, wants);
}

static bool is_alive(const struct loop *l, const struct loop_event *e)
{
	uint32_t i = (uint32_t)e->key;

	return i < l->n_slots && key_of(l, i) == e->key && l->slots[i].src;
}

/*
 * Those who asked to be called again, round and round: who is called first may use up what its user
 * may do in a turn, so it must not always be the same one.
 */
static int call_again(struct loop *l)
{
	uint32_t n = l->n_slots, first = l->first;
	int n_called = 0;

	for (uint32_t k = 0; l->n_again && k < n; k++) {
		uint32_t i = (first + k) % n;

		if (!l->slots[i].wants_again || l->slots[i].called == l->turn)
			continue;
		if (!n_called++)
			l->first = i + 1;
		call(l, i);
	}
	return n_called;
}

int loop_wait(struct loop *l, int64_t timeout_ns)
{
	struct loop_event events[LOOP_MAX_EVENTS];
	int n, n_called;

	n = l->backend->wait(l->state, l->n_again ? 0 : timeout_ns, events);
	if (n < 0)
		return n;
	l->turn++;
	for (int k = 0; k < n; k++)
		if (is_alive(l, &events[k]))
			l->slots[(uint32_t)events[k].key].revents |= events[k].revents;
	n_called = call_again(l);
	for (int k = 0; k < n; k++) {
		uint32_t i = (uint32_t)events[k].key;

		if (!is_alive(l, &events[k]) || l->slots[i].called == l->turn)
			continue;
		if (!n_called++)
			l->first = i + 1;
		call(l, i);
	}
	return n_called;
}

uint64_t loop_turn(const struct loop *l)
{
	return l->turn;
}
