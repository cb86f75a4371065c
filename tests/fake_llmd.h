/* SPDX-License-Identifier: MIT */
/*
 * fake_llmd: the daemon's end of a session, played by a test over a socketpair.
 *
 * Nothing in it waits, so one thread can be both ends: fake_open() puts the WELCOME into the socket
 * before llm_open() looks for it; then the test reads packets, writes records and lies as it likes.
 */
#ifndef DEVLLM_FAKE_LLMD_H
#define DEVLLM_FAKE_LLMD_H

#include <errno.h>
#include <fcntl.h>
#include <llm.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/test.h"
#include "uapi/llm_ring.h"

#define FAKE_PAGE 4096u
#define FAKE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct fake {
	int fd, client_fd;	  /* the two ends */
	int ring_fd, consumer_fd; /* memfds */
	struct llm_ring_state *k;
	struct llm_ring_producer *p;
	struct llm_ring_consumer *c;
	unsigned char *data;
	struct llm_ring ring;
	struct llm_welcome welcome; /* what will be said; a test may change it */
	struct llm_hello hello;	    /* what was heard */
};

/* One packet as it came, with the descriptor that came beside it or -1. */
struct fake_packet {
	struct llm_packet head;
	unsigned char payload[LLM_INLINE_BODY_BYTES + 1024];
	int fd;
};

static inline int fake_memfd(size_t n_bytes, int seals)
{
	int fd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)n_bytes) || fcntl(fd, F_ADD_SEALS, seals))
		abort();
	return fd;
}

static inline void fake_map(struct fake *f, uint32_t capacity)
{
	size_t ahead = 2 * FAKE_PAGE;
	unsigned char *at = mmap(NULL, ahead + 2 * (size_t)capacity, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	f->ring_fd = fake_memfd(ahead + capacity, FAKE_SEALS);
	f->consumer_fd = fake_memfd(FAKE_PAGE, FAKE_SEALS);
	mmap(at, ahead + capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f->ring_fd, 0);
	mmap(at + ahead + capacity, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
	     f->ring_fd, (off_t)ahead);
	f->k = (struct llm_ring_state *)(void *)at;
	f->p = (struct llm_ring_producer *)(void *)(at + FAKE_PAGE);
	f->data = at + ahead;
	f->c = mmap(NULL, FAKE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->consumer_fd, 0);
	if (f->c == MAP_FAILED)
		abort();
}

/* A daemon that is ready to be greeted, generous unless the test changes f->welcome. */
static inline void fake_init(struct fake *f, uint32_t capacity)
{
	int fds[2];

	memset(f, 0, sizeof(*f));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		abort();
	f->fd = fds[0];
	f->client_fd = fds[1];
	fake_map(f, capacity);
	f->welcome = (struct llm_welcome){
		.abi = LLM_ABI,
		.session_id = 7,
		.id_base = LLM_ID_SOCKET | 7ull << 32,
		.body_bytes = 1u << 20,
		.max_body_bytes = 512u << 10,
		.max_requests = capacity / LLM_ROOM,
		.ring = {.page_bytes = FAKE_PAGE, .capacity = capacity, .map_bytes = capacity},
		.context_tokens = 4096,
		.vocab_size = 49152,
		.model = "fake",
		.token_bytes = 1000,
	};
	*f->k = (struct llm_ring_state){
		.magic = LLM_RING_MAGIC, .abi = LLM_ABI, .session_id = 7, .daemon_alive = 1};
	f->c->waiting = 1;
	if (llm_ring_init(&f->ring, &f->welcome.ring, f->p, f->c, f->data))
		abort();
}

/* One packet with descriptors beside it; their number decides. */
static inline bool fake_send_fds(struct fake *f, struct iovec iov[2], const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (n_fds) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
	}
	return sendmsg(f->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static inline bool fake_send(struct fake *f, uint16_t type, const void *payload, size_t n)
{
	struct llm_packet head = {.type = type, .hdr_len = sizeof(head), .len = (uint32_t)n};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)payload, n}};

	return fake_send_fds(f, iov, NULL, 0);
}

/* WELCOME as f->welcome stands, with any descriptors. */
static inline void fake_welcome_with(struct fake *f, const int *fds, size_t n_fds)
{
	struct llm_packet head = {
		.type = LLM_PACKET_WELCOME, .hdr_len = sizeof(head), .len = sizeof(f->welcome)};
	struct iovec iov[2] = {{&head, sizeof(head)}, {&f->welcome, sizeof(f->welcome)}};

	if (!fake_send_fds(f, iov, fds, n_fds))
		abort();
}

static inline void fake_welcome(struct fake *f)
{
	int fds[2] = {f->ring_fd, f->consumer_fd};

	fake_welcome_with(f, fds, 2);
}

static inline void fake_refuse(struct fake *f, int status, const char *message)
{
	struct llm_refused r = {.status = status, .got = 3, .limit = 2};

	snprintf(r.message, sizeof(r.message), "%s", message);
	if (!fake_send(f, LLM_PACKET_REFUSED, &r, sizeof(r)))
		abort();
}

/* The next packet of the client: its type, 0 when there is none, -1 when it has closed. */
static inline int fake_receive(struct fake *f, struct fake_packet *in)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov[2] = {{&in->head, sizeof(in->head)}, {in->payload, sizeof(in->payload)}};
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(f->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	in->fd = -1;
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	if (n == 0)
		return -1;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&in->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	CHECK_EQ(in->head.hdr_len, sizeof(in->head));
	CHECK_EQ(n, sizeof(in->head) + in->head.len);
	return in->head.type;
}

/* Opens a session with the fake; args may be NULL. The client's end belongs to the session after 0.
 */
static inline int fake_open(struct fake *f, const struct llm_open_args *args, struct llm **s)
{
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct fake_packet in;
	int err;

	if (args)
		a = *args;
	else
		a.max_requests = f->welcome.max_requests;
	a.fd = f->client_fd;
	fake_welcome(f);
	err = llm_open(NULL, &a, s);
	if (fake_receive(f, &in) == LLM_PACKET_HELLO && in.head.len == sizeof(f->hello))
		memcpy(&f->hello, in.payload, sizeof(f->hello));
	return err;
}

/* A session with a ring for n requests, or the end of the test. */
static inline struct llm *fake_session(struct fake *f, uint32_t n_requests)
{
	struct llm *s;
	uint32_t capacity = 4096;

	while (capacity / LLM_ROOM < n_requests)
		capacity *= 2;
	fake_init(f, capacity);
	f->welcome.max_requests = n_requests;
	CHECK_EQ(fake_open(f, NULL, &s), 0);
	if (!s)
		exit(test_done());
	return s;
}

static inline void fake_exit(struct fake *f)
{
	uint32_t capacity = f->ring.capacity;

	munmap(f->k, 2 * FAKE_PAGE + 2 * (size_t)capacity);
	munmap(f->c, FAKE_PAGE);
	close(f->ring_fd);
	close(f->consumer_fd);
	if (f->fd >= 0)
		close(f->fd);
}

/* Ends the daemon: its end of the socket closes. */
static inline void fake_die(struct fake *f)
{
	close(f->fd);
	f->fd = -1;
}

/* ---- records ----------------------------------------------------------------------------- */

/* A record with n bytes of payload, not yet published. False: no room. */
static inline bool fake_record(struct fake *f, uint16_t type, uint64_t id, const void *payload,
			       size_t n)
{
	uint32_t len = (uint32_t)(sizeof(struct llm_record) + (n + 7) / 8 * 8);
	struct llm_record *r;
	void *at;

	if (llm_ring_reserve(&f->ring, len, &at))
		return false;
	memset(at, 0, len);
	r = at;
	*r = (struct llm_record){.len = len, .type = type, .request_id = id, .user_data = 99};
	if (n)
		memcpy(r + 1, payload, n);
	llm_ring_commit(&f->ring, len);
	return true;
}

/* Shows the records written and kicks a client that waits. True if it did. */
static inline bool fake_publish(struct fake *f)
{
	return llm_ring_publish(&f->ring) && fake_send(f, LLM_PACKET_KICK, NULL, 0);
}

/* n tokens first, first + 1, ... whose ids are 1000 + their index, and a text. */
static inline bool fake_tokens(struct fake *f, uint64_t id, uint32_t first, uint32_t n,
			       const char *text)
{
	struct {
		struct llm_tokens t;
		unsigned char rest[LLM_TOKENS_MAX_IDS * 4 + LLM_TOKENS_MAX_TEXT];
	} out = {.t = {.first_index = first,
		       .n = n,
		       .produced_ns = 5,
		       .text_len = (uint32_t)strlen(text)}};
	uint32_t ids[LLM_TOKENS_MAX_IDS];

	for (uint32_t i = 0; i < n; i++)
		ids[i] = 1000 + first + i;
	memcpy(out.rest, ids, n * sizeof(ids[0]));
	memcpy(out.rest + n * sizeof(ids[0]), text, strlen(text));
	return fake_record(f, LLM_RECORD_TOKENS, id, &out,
			   sizeof(out.t) + n * sizeof(ids[0]) + strlen(text));
}

static inline bool fake_end(struct fake *f, uint64_t id, uint32_t reason, int status,
			    const char *message)
{
	struct llm_end e = {.reason = reason, .status = status, .generated_tokens = 3};

	snprintf(e.message, sizeof(e.message), "%s", message);
	return fake_record(f, LLM_RECORD_END, id, &e, sizeof(e));
}

/* ---- the client's side, in one line ------------------------------------------------------- */

/* Submits a short prompt; its id. */
static inline uint64_t fake_submit(struct fake *f, struct llm *s, uint64_t user_data)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;
	uint64_t id = 0;

	req.prompt = "x";
	req.user_data = user_data;
	CHECK_EQ(llm_submit(s, &req, &id), 0);
	CHECK_EQ(fake_receive(f, &in), LLM_PACKET_SUBMIT);
	CHECK(in.head.request_id == id && in.head.user_data == user_data);
	return id;
}

#endif
