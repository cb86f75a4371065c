/* SPDX-License-Identifier: MIT */
/*
 * closer: see daemon/closer.h. The lock is held for a few pointers, never over a close().
 */
#include "daemon/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct job {
	struct job *next;
	int fd;
	uid_t uid;
};

struct closer {
	pthread_mutex_t lock; /* of all that follows */
	struct job *first, *last;	     /* wait for a thread */
	struct job *closing[CLOSER_THREADS]; /* each in some thread's hands, NULL: none */
	unsigned max_fds;
	unsigned n_jobs;    /* waiting and closing */
	unsigned n_threads; /* alive; the last one frees an orphan */
	bool is_orphan;	    /* closer_destroy() was called */
};

int closer_create(unsigned max_fds, struct closer **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	pthread_mutex_init(&(*out)->lock, NULL);
	(*out)->max_fds = max_fds;
	return 0;
}

static void destroy(struct closer *c)
{
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- the threads ---------------------------------------------------------------------------- */

/* Under the lock. */
static struct job *take(struct closer *c, unsigned *slot)
{
	struct job *j = c->first;

	*slot = 0;
	if (!j)
		return NULL;
	c->first = j->next;
	if (!c->first)
		c->last = NULL;
	while (c->closing[*slot])
		++*slot;
	c->closing[*slot] = j;
	return j;
}

static void start_thread(struct closer *c);

static void *closer_main(void *arg)
{
	struct closer *c = arg;
	struct job *j;
	unsigned slot;
	bool is_last;

	pthread_mutex_lock(&c->lock);
	for (j = take(c, &slot); j; j = take(c, &slot)) {
		/* This one may be stuck in a moment. */
		if (c->first)
			start_thread(c);
		pthread_mutex_unlock(&c->lock);
		close(j->fd);
		pthread_mutex_lock(&c->lock);
		c->closing[slot] = NULL;
		c->n_jobs--;
		free(j);
	}
	c->n_threads--;
	is_last = c->is_orphan && !c->n_threads;
	pthread_mutex_unlock(&c->lock);
	if (is_last)
		destroy(c);
	return NULL;
}

/* Under the lock. One that cannot be started now is tried again with the next descriptor. */
static void start_thread(struct closer *c)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (c->n_threads == CLOSER_THREADS || pthread_attr_init(&attr))
		return;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	c->n_threads++;
	if (pthread_create(&thread, &attr, closer_main, c))
		c->n_threads--;
	pthread_attr_destroy(&attr);
}

/* ---- the heart ------------------------------------------------------------------------------ */

void closer_destroy(struct closer *c)
{
	struct job *next;
	bool is_last;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->is_orphan = true;
	is_last = !c->n_threads;
	/* Threads that live close the rest; without one, the end of the process does. */
	for (struct job *j = is_last ? c->first : NULL; j; j = next) {
		next = j->next;
		free(j);
	}
	pthread_mutex_unlock(&c->lock);
	if (is_last)
		destroy(c);
}

bool closer_is_quick(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

void closer_give(struct closer *c, const int *fds, unsigned n, uid_t uid)
{
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < n; i++) {
		struct job *j = malloc(sizeof(*j));

		c->n_jobs++;
		/* No memory: it stays open and counted. Better one descriptor less than to wait. */
		if (!j)
			continue;
		*j = (struct job){.fd = fds[i], .uid = uid};
		if (c->last)
			c->last->next = j;
		else
			c->first = j;
		c->last = j;
	}
	if (c->first)
		start_thread(c);
	pthread_mutex_unlock(&c->lock);
}

/* Under the lock. */
static unsigned count(const struct closer *c, uid_t uid)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CLOSER_THREADS; i++)
		n += c->closing[i] && c->closing[i]->uid == uid;
	for (const struct job *j = c->first; j; j = j->next)
		n += j->uid == uid;
	return n;
}

bool closer_may_receive(struct closer *c, uid_t uid)
{
	bool may;

	pthread_mutex_lock(&c->lock);
	may = !c->n_jobs ||
	      (c->n_jobs + CLOSER_PACKET_FDS <= c->max_fds && count(c, uid) < CLOSER_UID_FDS);
	pthread_mutex_unlock(&c->lock);
	return may;
}

bool closer_is_full(struct closer *c)
{
	bool is_full;

	pthread_mutex_lock(&c->lock);
	is_full = c->n_jobs >= c->max_fds;
	pthread_mutex_unlock(&c->lock);
	return is_full;
}

unsigned closer_count(struct closer *c, uid_t uid)
{
	unsigned n;

	pthread_mutex_lock(&c->lock);
	n = count(c, uid);
	pthread_mutex_unlock(&c->lock);
	return n;
}
