/* SPDX-License-Identifier: MIT */
/*
 * rude: a client that breaks one rule of the socket door, chosen by name, and tells how it went.
 *
 * A program of the e2e tests. It speaks the packets of uapi/llm_msg.h itself, without libllm, which
 * would not let it. Every wait is bounded by 10 s. It prints one line: "refused STATUS MESSAGE" (a
 * REFUSED packet came), "closed" (disconnected without one), "end REASON STATUS MESSAGE" (the
 * request's END), or "served" (nothing happened within a second), so that the script can say what
 * it must be.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "uapi/llm_msg.h"

struct client {
	int fd;
	struct llm_welcome welcome;
	const volatile struct llm_ring_producer *p;
	volatile struct llm_ring_consumer *c;
	const unsigned char *data; /* D, once */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "rude: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void send_raw(struct client *k, const void *data, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	/* Already disconnected is an answer, which report() finds. */
	if (sendmsg(k->fd, &msg, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		die("sendmsg");
}

static void send_packet(struct client *k, unsigned type, __u64 id, const void *data, size_t len)
{
	unsigned char buf[4096] = {0};
	struct llm_packet head = {
		.type = (__u16)type, .hdr_len = sizeof(head), .len = (__u32)len, .request_id = id};

	memcpy(buf, &head, sizeof(head));
	if (len)
		memcpy(buf + sizeof(head), data, len);
	send_raw(k, buf, sizeof(head) + len, -1);
}

static void dial(struct client *k, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	k->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (k->fd < 0 || connect(k->fd, (struct sockaddr *)&addr, sizeof(addr)))
		die(path);
}

static void hello(struct client *k, __u32 ring_bytes, __u32 max_requests)
{
	struct llm_hello h = {.abi = LLM_ABI,
			      .max_requests = max_requests,
			      .ring_bytes = ring_bytes,
			      .name = "rude"};

	send_packet(k, LLM_PACKET_HELLO, 0, &h, sizeof(h));
}

/* WELCOME and the ring. */
static void take_welcome(struct client *k)
{
	struct {
		struct llm_packet head;
		struct llm_welcome welcome;
	} in;
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = {&in, sizeof(in)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	unsigned char *ring;
	int fds[2];
	size_t page;

	if (recvmsg(k->fd, &msg, 0) < (ssize_t)sizeof(in) || in.head.type != LLM_PACKET_WELCOME)
		die("no WELCOME");
	memcpy(fds, CMSG_DATA(&control.align), sizeof(fds));
	k->welcome = in.welcome;
	page = in.welcome.ring.page_bytes;
	ring = mmap(NULL, 2 * page + in.welcome.ring.map_bytes, PROT_READ, MAP_SHARED, fds[0], 0);
	k->c = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	if (ring == MAP_FAILED || k->c == MAP_FAILED)
		die("mmap");
	k->p = (const void *)(ring + page);
	k->data = ring + 2 * page;
	/* The daemon's pages are not ours to write, however we ask. */
	if (mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0) != MAP_FAILED ||
	    !ftruncate(fds[0], 0) || !ftruncate(fds[1], 0))
		die("a sealed memfd could be written or cut");
}

static void open_session(struct client *k, const char *path)
{
	dial(k, path);
	hello(k, 8192, 4);
	take_welcome(k);
}

/* A body of five ids and max_tokens; returns its length. */
static size_t make_body(unsigned char *to, __u32 max_tokens)
{
	struct llm_body body = {.size = sizeof(body),
				.flags = LLM_BODY_RAW | LLM_BODY_IGNORE_EOS,
				.max_tokens = max_tokens,
				.top_p = 1,
				.repetition_penalty = 1,
				.n_tlvs = 1};
	struct llm_tlv tlv = {LLM_TLV_IDS, 20};
	__u32 ids[6] = {5, 6, 7, 8, 9, 0};

	memcpy(to, &body, sizeof(body));
	memcpy(to + sizeof(body), &tlv, sizeof(tlv));
	memcpy(to + sizeof(body) + sizeof(tlv), ids, sizeof(ids));
	return sizeof(body) + sizeof(tlv) + sizeof(ids);
}

static void submit(struct client *k, __u64 id, __u32 max_tokens)
{
	unsigned char body[256];

	send_packet(k, LLM_PACKET_SUBMIT, id, body, make_body(body, max_tokens));
}

static void wait_for_tokens(struct client *k, __u64 n_bytes)
{
	for (int i = 0; i < 10000 && k->p->pos < n_bytes; i++)
		usleep(1000);
	if (k->p->pos < n_bytes)
		die("no tokens came");
}

/* The newest END in the ring, if there is one, printed. */
static bool print_end(struct client *k)
{
	__u64 end = k->p ? k->p->pos : 0;

	for (__u64 at = 0; at + sizeof(struct llm_record) <= end;) {
		struct llm_record r;
		struct llm_end e;

		memcpy(&r, k->data + at % k->welcome.ring.map_bytes, sizeof(r));
		if (r.type == LLM_RECORD_END) {
			memcpy(&e, k->data + (at + sizeof(r)) % k->welcome.ring.map_bytes,
			       sizeof(e));
			printf("end %u %d %s\n", e.reason, e.status, e.message);
			return true;
		}
		at += r.len ? r.len : end;
	}
	return false;
}

/* What the daemon did about it. wants_end: an END is awaited, else a disconnection. */
static void report(struct client *k, bool wants_end)
{
	struct {
		struct llm_packet head;
		struct llm_refused refused;
		char more[256];
	} in;
	ssize_t n;

	/* Kicks that lie there already are not waited for, so time is counted apart from them. */
	for (int waited = 0; waited < (wants_end ? 1000 : 100);) {
		struct pollfd p = {.fd = k->fd, .events = POLLIN};

		if (wants_end && print_end(k))
			return;
		if (poll(&p, 1, 10) <= 0) {
			waited++;
			continue;
		}
		n = recv(k->fd, &in, sizeof(in), MSG_DONTWAIT);
		if (n < 0 && errno != ECONNRESET)
			continue;
		if (n <= 0) {
			puts("closed");
			return;
		}
		if (in.head.type == LLM_PACKET_REFUSED) {
			printf("refused %d %s\n", in.refused.status, in.refused.message);
			return;
		}
	}
	puts("served");
}

/* ---- the rules that it breaks ------------------------------------------------------------ */

static void lie_ahead(struct client *k)
{
	submit(k, k->welcome.id_base | 1, 4000);
	wait_for_tokens(k, 64);
	k->c->pos = k->p->pos + 4096;
}

static void lie_back(struct client *k)
{
	submit(k, k->welcome.id_base | 1, 4000);
	/* The daemon looks when it needs room: four rings' worth later it has seen C move. */
	for (__u64 at = 64; at < 4 * 8192; at = k->p->pos + 64) {
		wait_for_tokens(k, at);
		__atomic_store_n(&k->c->pos, k->p->pos, __ATOMIC_RELEASE);
		send_packet(k, LLM_PACKET_ROOM, 0, NULL, 0);
	}
	k->c->pos = 0;
}

static void lie_odd(struct client *k)
{
	submit(k, k->welcome.id_base | 1, 4000);
	wait_for_tokens(k, 64);
	k->c->pos = 3;
}

static void foreign_id(struct client *k)
{
	submit(k, k->welcome.id_base + (1ull << 32) + 1, 4);
}

static void same_id(struct client *k)
{
	submit(k, k->welcome.id_base | 7, 4);
	submit(k, k->welcome.id_base | 7, 4);
}

static void no_id(struct client *k)
{
	submit(k, k->welcome.id_base, 4);
}

static void over_credit(struct client *k)
{
	for (__u64 i = 1; i <= 5; i++)
		submit(k, k->welcome.id_base | i, 4000);
}

static void second_hello(struct client *k)
{
	hello(k, 8192, 4);
}

static void short_packet(struct client *k)
{
	send_raw(k, "abc", 3, -1);
}

static void wrong_length(struct client *k)
{
	struct llm_packet head = {.type = LLM_PACKET_CANCEL, .hdr_len = sizeof(head), .len = 77};

	send_raw(k, &head, sizeof(head), -1);
}

static void long_header(struct client *k)
{
	unsigned char buf[sizeof(struct llm_packet) + 8] = {0};
	struct llm_packet head = {.type = LLM_PACKET_CANCEL, .hdr_len = sizeof(buf)};

	memcpy(buf, &head, sizeof(head));
	buf[sizeof(head)] = 1; /* a field of a version that the daemon does not know */
	send_raw(k, buf, sizeof(buf), -1);
}

static void unknown_type(struct client *k)
{
	send_packet(k, 999, 0, NULL, 0);
}

/* A body in a memfd that could still shrink under the reader. */
static void unsealed_body(struct client *k)
{
	struct llm_packet head = {.type = LLM_PACKET_SUBMIT,
				  .hdr_len = sizeof(head),
				  .request_id = k->welcome.id_base | 1};
	int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, 100000))
		die("memfd");
	send_raw(k, &head, sizeof(head), fd);
}

/* A pipe where a memfd should be. */
static void pipe_body(struct client *k)
{
	struct llm_packet head = {.type = LLM_PACKET_SUBMIT,
				  .hdr_len = sizeof(head),
				  .request_id = k->welcome.id_base | 1};
	int fds[2];

	if (pipe(fds))
		die("pipe");
	send_raw(k, &head, sizeof(head), fds[0]);
}

static void cancel_unknown(struct client *k)
{
	send_packet(k, LLM_PACKET_CANCEL, k->welcome.id_base | 99, NULL, 0);
	submit(k, k->welcome.id_base | 1, 2);
}

static void zero_tokens(struct client *k)
{
	submit(k, k->welcome.id_base | 1, 0);
}

/* Bodies of random bytes: each must end with a refusal; the last one is good. */
static void random_bodies(struct client *k)
{
	unsigned char body[512];
	__u64 seed = 1;

	for (__u64 i = 1; i <= 200; i++) {
		size_t len = i % sizeof(body);
		__u64 before = k->p->pos;

		for (size_t b = 0; b < len; b++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			body[b] = (unsigned char)(seed >> 56);
		}
		if (i % 2 && len >= sizeof(struct llm_body))
			make_body(body, 4); /* a good start and a bad rest */
		send_packet(k, LLM_PACKET_SUBMIT, k->welcome.id_base | i, body, len);
		wait_for_tokens(k, before + sizeof(struct llm_record) + sizeof(struct llm_end));
		k->c->pos = k->p->pos;
		send_packet(k, LLM_PACKET_ROOM, 0, NULL, 0);
	}
}

static const struct rule {
	const char *name;
	void (*break_it)(struct client *k);
	bool wants_end;
} rules[] = {
	{"lie-ahead", lie_ahead, false},
	{"lie-back", lie_back, false},
	{"lie-odd", lie_odd, false},
	{"foreign-id", foreign_id, false},
	{"same-id", same_id, false},
	{"no-id", no_id, false},
	{"over-credit", over_credit, false},
	{"second-hello", second_hello, false},
	{"short-packet", short_packet, false},
	{"wrong-length", wrong_length, false},
	{"long-header", long_header, false},
	{"unknown-type", unknown_type, false},
	{"random-bodies", random_bodies, false},
	{"unsealed-body", unsealed_body, true},
	{"pipe-body", pipe_body, true},
	{"cancel-unknown", cancel_unknown, true},
	{"zero-tokens", zero_tokens, true},
};

/* Connections without end: how many got in before the first refusal, which is printed. */
static void crowd(const char *path, unsigned most)
{
	struct client k = {.fd = -1};

	for (unsigned i = 0; i < most; i++) {
		struct pollfd p;
		char first[sizeof(struct llm_packet)];

		dial(&k, path);
		hello(&k, 8192, 4);
		p = (struct pollfd){.fd = k.fd, .events = POLLIN};
		if (poll(&p, 1, 10000) <= 0)
			die("no answer");
		if (recv(k.fd, first, sizeof(first), MSG_PEEK) < (ssize_t)sizeof(first) ||
		    ((struct llm_packet *)(void *)first)->type != LLM_PACKET_WELCOME) {
			printf("%u in, then ", i);
			report(&k, false);
			return;
		}
	}
	printf("%u in\n", most);
}

int main(int argc, char **argv)
{
	struct client k = {.fd = -1};

	if (argc == 4 && !strcmp(argv[1], "crowd")) {
		crowd(argv[2], (unsigned)atoi(argv[3]));
		return 0;
	}
	for (size_t i = 0; argc == 3 && i < sizeof(rules) / sizeof(*rules); i++) {
		if (strcmp(argv[1], rules[i].name))
			continue;
		open_session(&k, argv[2]);
		rules[i].break_it(&k);
		report(&k, rules[i].wants_end);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "bad-hello")) {
		dial(&k, argv[2]);
		hello(&k, 12345, 4);
		report(&k, false);
		return 0;
	}
	fprintf(stderr, "usage: rude RULE SOCKET | rude crowd SOCKET N\n");
	return 2;
}
