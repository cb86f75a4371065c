/* SPDX-License-Identifier: MIT */
/*
 * tiny_door: a client of the socket door that lives in one thread with it: packets as they are,
 * good and bad, and what must not be left when it is gone.
 *
 * t is tests/tiny_daemon.h's, with loop and door made by the test at `path`.
 */
#ifndef DEVLLM_TINY_DOOR_H
#define DEVLLM_TINY_DOOR_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/closer.h"
#include "daemon/connection.h"
#include "daemon/door_socket.h"
#include "tests/tiny_daemon.h"

static struct tiny t;
static char path[108];

static inline void pump(void)
{
	for (int i = 0; i < 4; i++)
		CHECK(loop_wait(t.d.loop, 0) >= 0);
	session_sweep(&t.d);
}

static inline int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, path, sizeof(addr.sun_path));
	CHECK_EQ(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

enum { MAX_FDS = 20 };

struct message {
	struct llm_packet head;
	unsigned char payload[4096];
	int fds[MAX_FDS];
	unsigned n_fds;
};

static inline ssize_t send_message(int fd, const struct message *m)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)m, sizeof(m->head) + m->head.len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (m->n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(m->n_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(m->n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), m->fds, m->n_fds * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static inline struct message packet(enum llm_packet_type type, uint64_t id)
{
	return (struct message){.head = {.type = (__u16)type,
					 .hdr_len = sizeof(struct llm_packet),
					 .request_id = id}};
}

static inline struct message hello(uint32_t max_requests, uint32_t ring_bytes)
{
	struct message m = packet(LLM_PACKET_HELLO, 0);
	struct llm_hello h = {.abi = LLM_ABI,
			      .max_requests = max_requests,
			      .ring_bytes = ring_bytes,
			      .name = "te\nst"};

	m.head.len = sizeof(h);
	memcpy(m.payload, &h, sizeof(h));
	return m;
}

/* The next packet: its type, 0: none, -1: disconnected. */
static inline int receive(int fd, struct message *m)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec iov = {m, sizeof(m->head) + sizeof(m->payload)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return -1;
	m->n_fds = c ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
	if (c)
		memcpy(m->fds, CMSG_DATA(c), m->n_fds * sizeof(int));
	return m->head.type;
}

static inline int open_session(struct llm_welcome *w)
{
	int fd = dial();
	struct message m = hello(4, 16384);

	CHECK(send_message(fd, &m) > 0);
	pump();
	CHECK_EQ(receive(fd, &m), LLM_PACKET_WELCOME);
	CHECK_EQ(m.n_fds, 2);
	close(m.fds[0]);
	close(m.fds[1]);
	memcpy(w, m.payload, sizeof(*w));
	return fd;
}

/* What came is REFUSED with this status and a sentence that has this part; then the end. */
static inline void refused(int fd, int status, const char *part)
{
	struct llm_refused r;
	struct message m;
	int type;

	pump();
	do
		type = receive(fd, &m);
	while (type == LLM_PACKET_KICK);
	CHECK_EQ(type, LLM_PACKET_REFUSED);
	if (type == LLM_PACKET_REFUSED) {
		memcpy(&r, m.payload, sizeof(r));
		CHECK_EQ(r.status, status);
		if (!strstr(r.message, part))
			CHECK_STR(r.message, part);
		CHECK_EQ(receive(fd, &m), -1);
	}
	close(fd);
	pump();
}

static inline void nothing_is_left(void)
{
	pump();
	outflow_flush(&t.d);
	request_reap(&t.d);
	CHECK_EQ(door_socket_n_connections(t.d.door), 0);
	CHECK_EQ(t.d.n_sessions, 0);
	CHECK_EQ(t.d.n_requests, 0);
	CHECK(t.d.ended == NULL);
}

/* What the closer has is closed, at last. */
static inline void wait_for_closer(void)
{
	for (int i = 0; i < 10000 && closer_count(t.d.door->closer, getuid()); i++)
		usleep(1000);
	CHECK_EQ(closer_count(t.d.door->closer, getuid()), 0);
}

static inline unsigned n_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The same once it has stood for 50 ms: a door that went leaves threads that close what it had. */
static inline unsigned n_settled_fds(void)
{
	unsigned n = n_open_fds(), now;

	for (int still = 0; still < 50; still++) {
		usleep(1000);
		now = n_open_fds();
		if (now != n)
			still = 0;
		n = now;
	}
	return n;
}

static inline struct message submit(uint64_t id, uint32_t max_tokens)
{
	static const uint32_t ids[3] = {1, 2, 3};
	struct message m = packet(LLM_PACKET_SUBMIT, id);
	struct tiny_body b;

	tiny_body_begin(&b)->max_tokens = max_tokens;
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids));
	m.head.len = (__u32)b.len;
	memcpy(m.payload, b.bytes, b.len);
	return m;
}

static inline int memfd_of(const void *data, size_t n, int seals)
{
	int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CHECK_EQ(write(fd, data, n), n);
	CHECK_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#endif
