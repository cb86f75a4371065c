/* SPDX-License-Identifier: MIT */
/*
 * control: see daemon/control.h. Questions are answered at once, as one JSON text; the text then
 * leaves in packets, as fast as the peer's socket takes them, through a duplicate of the
 * connection's fd that the loop watches for room. At most one answer is under way per connection,
 * UID_ANSWERS per user, so that nobody who reads slowly keeps the others from asking.
 */
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/control_answer.h"
#include "daemon/daemon.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "uapi/llm_msg.h"

#define MAX_ANSWERS 64 /* of all users but administrators */
#define UID_ANSWERS 8
#define TIMEOUT_NS 5000000000u

struct control;

/* An answer on its way out. */
struct answer {
	struct loop_source source; /* first: ready() gets it; fd is ours */
	struct control *control;
	struct answer *next;
	uid_t uid;  /* who asked */
	char *text; /* [n] */
	size_t n, off;
	bool has_ended;	     /* the empty REPLY is sent */
	uint64_t expires_ns; /* CLOCK_MONOTONIC */
};

struct control {
	struct daemon *d;
	struct answer *answers;
	uint32_t n_answers;
};

int control_create(struct daemon *d, struct control **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->d = d;
	return 0;
}

/* Off the list, closed, freed. is_whole: the peer has all of it. */
static void answer_destroy(struct answer *a, bool is_whole)
{
	struct control *c = a->control;
	struct answer **at = &c->answers;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	c->n_answers--;
	loop_remove(c->d->loop, &a->source);
	/* Half an answer must not be followed by another: the connection ends, the door sees EOF.
	 */
	if (!is_whole)
		shutdown(a->source.fd, SHUT_RDWR);
	close(a->source.fd);
	free(a->text);
	free(a);
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	while (c->answers)
		answer_destroy(c->answers, false);
	free(c);
}

/* Sends what the socket takes now. 1: all of it; 0: later; -errno: the connection is gone. */
static int answer_send(struct answer *a)
{
	while (!a->has_ended) {
		size_t left = a->n - a->off;
		size_t n = left < CONTROL_CHUNK_BYTES ? left : CONTROL_CHUNK_BYTES;
		struct llm_packet head = {
			.type = LLM_PACKET_REPLY, .hdr_len = sizeof(head), .len = (__u32)n};
		struct iovec parts[2] = {{&head, sizeof(head)}, {a->text + a->off, n}};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

		if (sendmsg(a->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			if (errno == EINTR)
				continue;
			return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
		}
		a->has_ended = !n;
		a->off += n;
	}
	return 1;
}

static bool answer_ready(struct loop_source *source, short revents)
{
	struct answer *a = (struct answer *)source;
	int rc = answer_send(a);

	(void)revents;
	if (rc)
		answer_destroy(a, rc > 0);
	return false;
}

/* The same connection has an answer under way: descriptors of one socket have one inode. */
static bool is_busy(const struct control *c, int fd)
{
	struct stat ours, its;

	if (fstat(fd, &ours))
		return true;
	for (const struct answer *a = c->answers; a; a = a->next)
		if (!fstat(a->source.fd, &its) && its.st_ino == ours.st_ino &&
		    its.st_dev == ours.st_dev)
			return true;
	return false;
}

static bool has_room(const struct control *c, uid_t uid)
{
	uint32_t n = 0;

	for (const struct answer *a = c->answers; a; a = a->next)
		n += a->uid == uid;
	return n < UID_ANSWERS && (c->n_answers < MAX_ANSWERS || !uid || uid == geteuid());
}

/* Takes text over, freed in every case. */
static int answer_start(struct control *c, int fd, uid_t uid, char *text)
{
	struct answer *a = calloc(1, sizeof(*a));
	int rc;

	if (!a || !text) {
		free(text);
		free(a);
		return -ENOMEM;
	}
	a->control = c;
	a->uid = uid;
	a->text = text;
	a->n = strlen(text);
	a->text[a->n++] = '\n'; /* in place of the terminator, which nobody needs */
	a->expires_ns = clock_now_ns() + TIMEOUT_NS;
	a->source.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	a->source.events = POLLOUT;
	a->source.ready = answer_ready;
	if (a->source.fd < 0) {
		rc = -errno;
		free(a->text);
		free(a);
		return rc;
	}
	a->next = c->answers;
	c->answers = a;
	c->n_answers++;
	rc = answer_send(a);
	if (!rc)
		rc = loop_add(c->d->loop, &a->source);
	else if (rc < 0)
		rc = rc == -EPIPE || rc == -ECONNRESET ? 1 : rc;
	/* 1: sent, or nobody is there to read it; 0: under way. */
	if (rc)
		answer_destroy(a, rc > 0);
	return rc < 0 ? rc : 0;
}

int control_packet(struct daemon *d, int fd, uid_t uid, const void *json, size_t len)
{
	struct control *c = d->control;
	json_t *question, *reply;
	json_error_t where;
	char *text;

	if (len > CONTROL_MAX_BYTES)
		return -EMSGSIZE;
	if (is_busy(c, fd) || !has_room(c, uid))
		return -EBUSY;
	question = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
	if (question)
		reply = control_answer(d, uid, question);
	else
		reply = control_answer_error(-EINVAL, "the question is not JSON: %s at byte %d",
					     where.text, where.position);
	text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	json_decref(question);
	json_decref(reply);
	return answer_start(c, fd, uid, text);
}

void control_expire(struct control *c, uint64_t now_ns)
{
	struct answer *next;

	for (struct answer *a = c->answers; a; a = next) {
		next = a->next;
		if (now_ns >= a->expires_ns)
			answer_destroy(a, false);
	}
}

uint64_t control_next_ns(const struct control *c)
{
	uint64_t soonest = 0;

	for (const struct answer *a = c->answers; a; a = a->next)
		if (!soonest || a->expires_ns < soonest)
			soonest = a->expires_ns;
	return soonest;
}
