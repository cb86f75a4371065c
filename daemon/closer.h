/* SPDX-License-Identifier: MIT */
/*
 * closer: closes descriptors that clients sent, away from the heart.
 *
 * Whose file it is decides how long its close() takes: a FUSE server may never answer, a TCP socket
 * may linger for days. So the heart closes only what it knows (`closer_is_quick()`) and hands over
 * the rest. Threads, CLOSER_THREADS at most, started when there is work and gone when there is
 * none, do nothing but close; they touch no state of the daemon's, and nobody waits for them. What
 * they are stuck in is bounded by `closer_may_receive()`: a user whose descriptors do not close
 * may send no more.
 *
 * The heart's thread calls everything here.
 */
#ifndef DEVLLM_CLOSER_H
#define DEVLLM_CLOSER_H

#include <stdbool.h>
#include <sys/types.h>

#define CLOSER_THREADS 8u
#define CLOSER_PACKET_FDS 253u /* SCM_MAX_FD: the kernel lets no message carry more */
#define CLOSER_UID_FDS 16u     /* not closed yet: a user with that many sends no more */

struct closer;

/* max_fds: received of all users and not closed yet. 0, -ENOMEM. */
int closer_create(unsigned max_fds, struct closer **out);
/* What is stuck stays open until the process ends. */
void closer_destroy(struct closer *c);

/* A memfd, or another file of the kernel's own that cannot make its closer wait. */
bool closer_is_quick(int fd);

/* fds: [n], the closer's from now on. uid: whose they are. Never waits, never fails. */
void closer_give(struct closer *c, const int *fds, unsigned n, uid_t uid);

/* Whether a message of this user may be read that carries descriptors. */
bool closer_may_receive(struct closer *c, uid_t uid);

/* As many as it may hold are not closed yet. */
bool closer_is_full(struct closer *c);

/* How many of this user's are not closed yet. */
unsigned closer_count(struct closer *c, uid_t uid);

#endif
