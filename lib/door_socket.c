/* SPDX-License-Identifier: MIT */
/*
 * door_socket: the socket door from the client's side: greeting, mapping, packets (llm_msg.h, 3).
 *
 * Owns the use of the session's descriptor and its mappings. The daemon's WELCOME and its two
 * memfds are checked before anything is mapped: sizes, seals, layout, so that neither a short file
 * nor one that shrinks later can turn a read into SIGBUS. Nothing here ever waits, except
 * llm_socket_connect() and llm_socket_greet() for as long as the program allows.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/session.h"

enum { MEMFD_RING, MEMFD_CONSUMER, N_MEMFDS };

/* A packet from the daemon, large enough for each of this version; longer ones lose their tail. */
struct incoming {
	struct llm_packet head;
	union {
		struct llm_welcome welcome;
		struct llm_refused refused;
		unsigned char bytes[512];
	} payload;
};

int llm_socket_connect(const char *path, int timeout_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	int fd, err = 0;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A daemon that accepts no one leaves connect() waiting; no other call on this socket
	 * waits. */
	if (timeout_ms >= 0)
		err = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!err)
		err = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	if (!err)
		return fd;
	err = errno == EAGAIN ? -ETIMEDOUT : -errno;
	close(fd);
	return err;
}

/* ---- greeting ---------------------------------------------------------------------------- */

static int send_hello(struct llm *s, const struct llm_greeting *greeting)
{
	struct {
		struct llm_packet head;
		struct llm_hello hello;
	} out = {
		.head = {.type = LLM_PACKET_HELLO,
			 .hdr_len = sizeof(out.head),
			 .len = sizeof(out.hello)},
		.hello = {.abi = LLM_ABI,
			  .max_requests = greeting->max_requests,
			  .ring_bytes = greeting->ring_bytes},
	};

	strncpy(out.hello.name, greeting->name, sizeof(out.hello.name) - 1);
	if (send(s->fd, &out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(out))
		return 0;
	/* One that refuses before it reads has said why: read that. */
	if (errno == EPIPE || errno == ECONNRESET)
		return 0;
	return llm_session_fail(s, -errno, "sending HELLO: %s", strerror(errno));
}

/* Keeps the descriptors of a message, at most N_MEMFDS; more of them are truncated by the kernel.
 */
static void take_fds(struct msghdr *msg, int fds[N_MEMFDS])
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && n <= N_MEMFDS)
			memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
}

/* The first packet. Its length, or -errno; fds are -1 where none came. */
static ssize_t receive_first(struct llm *s, int timeout_ms, struct incoming *in, int fds[N_MEMFDS])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(N_MEMFDS * sizeof(int))];
	} control;
	struct iovec iov = {in, sizeof(*in)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	ssize_t n;
	int ready = poll(&p, 1, timeout_ms);

	if (ready < 0)
		return llm_session_fail(s, -errno, "waiting for WELCOME: %s", strerror(errno));
	if (!ready)
		return llm_session_fail(s, -ETIMEDOUT, "no WELCOME came within %d ms", timeout_ms);
	n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	/* The reset is reported once, before what was sent ahead of it. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && errno != ECONNRESET)
		return llm_session_fail(s, -errno, "receiving WELCOME: %s", strerror(errno));
	if (n <= 0)
		return llm_session_fail(s, -EHOSTDOWN, "the daemon closed the connection unasked");
	take_fds(&msg, fds);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return llm_session_fail(s, -EPROTO, "the daemon's first packet is too long");
	return n;
}

/* Brings the payload of an n byte packet behind our own header. Its length, or -EPROTO. */
static ssize_t check_packet(struct incoming *in, size_t n)
{
	size_t hdr_len = in->head.hdr_len;

	if (n < sizeof(in->head) || hdr_len < sizeof(in->head) || hdr_len > n ||
	    in->head.len != n - hdr_len)
		return -EPROTO;
	memmove(&in->payload, (char *)in + hdr_len, n - hdr_len);
	memset(in->payload.bytes + (n - hdr_len), 0, sizeof(in->payload) - (n - hdr_len));
	return (ssize_t)(n - hdr_len);
}

static bool is_zero(const void *from, const void *to)
{
	for (const char *at = from; at < (const char *)to; at++)
		if (*at)
			return false;
	return true;
}

/* A refusal's own words: its status, sane, and its sentence in *text. */
static int read_refusal(const struct incoming *in, ssize_t n, char text[LLM_MESSAGE_MAX])
{
	const struct llm_refused *r = &in->payload.refused;

	if (n < (ssize_t)sizeof(*r) || r->status >= 0 || r->status < -4095) {
		strcpy(text, "the daemon refused without a reason");
		return -EPROTO;
	}
	memcpy(text, r->message, LLM_MESSAGE_MAX);
	text[LLM_MESSAGE_MAX - 1] = '\0';
	return r->status;
}

static int check_welcome(struct llm *s, const struct llm_greeting *greeting)
{
	const struct llm_welcome *w = &s->welcome;

	if (w->abi != LLM_ABI)
		return llm_session_fail(s, -EPROTO, "the daemon speaks version %u, this libllm %u",
					w->abi, LLM_ABI);
	if (w->features)
		return llm_session_fail(s, -EPROTO,
					"the daemon uses features 0x%llx that were not asked for",
					w->features);
	if (w->session_id >> 31 || w->id_base != (LLM_ID_SOCKET | (__u64)w->session_id << 32))
		return llm_session_fail(s, -EPROTO, "ids of session %u start at 0x%llx",
					w->session_id, w->id_base);
	if (!w->max_requests || w->max_requests > greeting->max_requests)
		return llm_session_fail(s, -EPROTO, "%u requests granted, %u asked for",
					w->max_requests, greeting->max_requests);
	if (llm_ring_check_layout(&w->ring) ||
	    w->ring.page_bytes % (unsigned long)sysconf(_SC_PAGESIZE) ||
	    w->ring.capacity / LLM_ROOM < w->max_requests)
		return llm_session_fail(s, -EPROTO,
					"a ring of %u bytes, pages of %u, for %u requests",
					w->ring.capacity, w->ring.page_bytes, w->max_requests);
	if (w->max_body_bytes < sizeof(struct llm_body) || w->max_body_bytes > LLM_MAX_BODY_BYTES)
		return llm_session_fail(s, -EPROTO, "bodies of up to %u bytes", w->max_body_bytes);
	if (!memchr(w->model, 0, sizeof(w->model)))
		return llm_session_fail(s, -EPROTO, "the model's name has no end");
	return 0;
}

/* ---- mapping ----------------------------------------------------------------------------- */

static int check_memfd(struct llm *s, int fd, size_t n_bytes)
{
	const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct stat st;
	int seals;

	if (fd < 0 || fstat(fd, &st))
		return llm_session_fail(s, -EPROTO, "WELCOME came without its two memfds");
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & needed) != needed)
		return llm_session_fail(s, -EPROTO,
					"a memfd of the ring has seals 0x%x, 0x%x needed",
					(unsigned)seals, (unsigned)needed);
	if (st.st_size != (off_t)n_bytes)
		return llm_session_fail(s, -EPROTO,
					"a memfd of the ring has %lld bytes, %zu expected",
					(long long)st.st_size, n_bytes);
	return 0;
}

/* K, P and D in one piece, then D again. All in address space reserved first: no mapping is hit. */
static int map_ring(struct llm *s, int fd)
{
	size_t ahead = 2 * (size_t)s->welcome.ring.page_bytes, data = s->welcome.ring.map_bytes;
	char *at = mmap(NULL, ahead + 2 * data, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	s->map = at;
	s->map_bytes = ahead + 2 * data;
	if (mmap(at, ahead + data, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    mmap(at + ahead + data, data, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)ahead) ==
		    MAP_FAILED)
		return -errno;
	if (madvise(at, s->map_bytes, MADV_DONTFORK) || madvise(at, s->map_bytes, MADV_DONTDUMP))
		return -errno;
	return 0;
}

static int map_consumer(struct llm *s, int fd)
{
	size_t n_bytes = s->welcome.ring.page_bytes;
	void *at = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	s->consumer_map = at;
	return madvise(at, n_bytes, MADV_DONTFORK) ? -errno : 0;
}

static int map_all(struct llm *s, const int fds[N_MEMFDS])
{
	size_t page = s->welcome.ring.page_bytes;
	char *at;
	int err = check_memfd(s, fds[MEMFD_RING], 2 * page + s->welcome.ring.map_bytes);

	if (!err)
		err = check_memfd(s, fds[MEMFD_CONSUMER], page);
	if (err)
		return err;
	err = map_ring(s, fds[MEMFD_RING]);
	if (!err)
		err = map_consumer(s, fds[MEMFD_CONSUMER]);
	if (err)
		return llm_session_fail(s, err, "mapping the ring: %s", strerror(-err));
	at = s->map;
	s->state = (const struct llm_ring_state *)(void *)at;
	if (s->state->magic != LLM_RING_MAGIC || s->state->abi != LLM_ABI)
		return llm_session_fail(s, -EPROTO,
					"the ring says 0x%x version %u, 0x%x version %u expected",
					s->state->magic, s->state->abi, LLM_RING_MAGIC, LLM_ABI);
	return llm_ring_init(&s->ring, &s->welcome.ring,
			     (struct llm_ring_producer *)(void *)(at + page), s->consumer_map,
			     at + 2 * page);
}

void llm_socket_unmap(struct llm *s)
{
	if (s->map)
		munmap(s->map, s->map_bytes);
	if (s->consumer_map)
		munmap(s->consumer_map, s->welcome.ring.page_bytes);
	s->map = NULL;
	s->consumer_map = NULL;
}

static int accept_answer(struct llm *s, const struct llm_greeting *greeting, struct incoming *in,
			 size_t n_packet)
{
	ssize_t n = check_packet(in, n_packet);
	char text[LLM_MESSAGE_MAX];
	int err;

	if (n < 0)
		return llm_session_fail(s, -EPROTO, "the first packet is not llmd's");
	if (in->head.type == LLM_PACKET_REFUSED) {
		err = read_refusal(in, n, text);
		return llm_session_fail(s, err, "%s", text);
	}
	if (in->head.type != LLM_PACKET_WELCOME || n < (ssize_t)sizeof(s->welcome))
		return llm_session_fail(s, -EPROTO,
					"a packet of type %u with %zd bytes is no WELCOME",
					in->head.type, n);
	if (!is_zero(in->payload.bytes + sizeof(s->welcome), in->payload.bytes + n))
		return llm_session_fail(s, -EPROTO, "WELCOME says more than this libllm knows");
	s->welcome = in->payload.welcome;
	return check_welcome(s, greeting);
}

int llm_socket_greet(struct llm *s, const struct llm_greeting *greeting)
{
	int err, fds[N_MEMFDS] = {-1, -1};
	struct incoming in;
	ssize_t n;

	err = send_hello(s, greeting);
	if (err)
		return err;
	n = receive_first(s, greeting->timeout_ms, &in, fds);
	err = n < 0 ? (int)n : accept_answer(s, greeting, &in, (size_t)n);
	if (!err)
		err = map_all(s, fds);
	for (int i = 0; i < N_MEMFDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return err;
}

/* ---- packets ----------------------------------------------------------------------------- */

int llm_socket_sent(struct llm *s, int res)
{
	if (res >= 0) {
		s->awaits_out = false;
		return 0;
	}
	if (res == -EAGAIN || res == -ENOBUFS) {
		s->awaits_out = true;
		return llm_session_fail(s, -ENOBUFS, "the socket to the daemon is full");
	}
	if (res == -EPIPE || res == -ECONNRESET || res == -ENOTCONN) {
		/* What the daemon said before it went, if anything, lies in the socket. */
		llm_socket_drain(s);
		return llm_session_die(s, LLM_HUNG_UP, -EHOSTDOWN, "the daemon has gone");
	}
	return llm_session_fail(s, res, "sending to the daemon: %s", strerror(-res));
}

int llm_socket_sendmsg(struct llm *s, const struct msghdr *msg)
{
	ssize_t n;

	do
		n = sendmsg(s->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return llm_socket_sent(s, n < 0 ? -errno : 0);
}

int llm_socket_send(struct llm *s, enum llm_packet_type type, uint64_t id)
{
	struct llm_packet packet = {
		.type = (__u16)type, .hdr_len = sizeof(packet), .request_id = id};
	struct iovec iov = {&packet, sizeof(packet)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return llm_socket_sendmsg(s, &msg);
}

static void read_state(struct llm *s)
{
	uint64_t seq = __atomic_load_n(&s->state->state_seq, __ATOMIC_ACQUIRE);

	if (__atomic_load_n(&s->state->closed, __ATOMIC_RELAXED))
		llm_session_die(s, LLM_HUNG_UP, -EHOSTDOWN, "the daemon has closed the session");
	__atomic_store_n(&s->ring.c->state_seen, seq, __ATOMIC_RELAXED);
}

static void take_packet(struct llm *s, struct incoming *in, size_t n_packet)
{
	ssize_t n = check_packet(in, n_packet);
	char text[LLM_MESSAGE_MAX];
	int status;

	if (n < 0) {
		llm_session_die(s, LLM_HUNG_UP, -EPROTO,
				"the daemon broke the protocol: a packet of %zu bytes says %u + %u",
				n_packet, in->head.hdr_len, in->head.len);
	} else if (in->head.type == LLM_PACKET_REFUSED) {
		status = read_refusal(in, n, text);
		llm_session_die(s, LLM_HUNG_UP, status, "%s", text);
	} else if (in->head.type == LLM_PACKET_STATE) {
		read_state(s);
	}
	/* A KICK says: look at the ring; whoever drains does. Others are of later versions. */
}

void llm_socket_drain(struct llm *s)
{
	struct incoming in;
	ssize_t n;

	while (s->life == LLM_LIVE) {
		n = recv(s->fd, &in, sizeof(in), MSG_DONTWAIT);
		if (n > 0) {
			take_packet(s, &in, (size_t)n);
			continue;
		}
		/* A reset is reported once, before what was sent ahead of it. */
		if (n < 0 && (errno == EINTR || errno == ECONNRESET))
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0)
			llm_session_die(s, LLM_HUNG_UP, -EHOSTDOWN, "reading from the daemon: %s",
					strerror(errno));
		else
			llm_session_die(s, LLM_HUNG_UP, -EHOSTDOWN, "the daemon has gone");
	}
}
