/* SPDX-License-Identifier: MIT */
/*
 * fuzz_packet: whatever a peer sends on the socket door, the daemon neither crashes nor keeps
 * anything of it: no session, request, page, charge or descriptor.
 * Marks: san
 *
 * An input is a conversation: {u16 length, u8 memfds, the packet's bytes} and so on. It is held
 * with a real connection over a socketpair; the heart turns after each packet.
 */
#define FUZZ_ROUNDS 12000
#include "tests/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "daemon/closer.h"
#include "daemon/connection.h"
#include "daemon/control.h"
#include "daemon/door_socket.h"
#include "tests/tiny_daemon.h"

static struct tiny t;
static struct door_socket door;
static unsigned n_fds;

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void start(void)
{
	struct error err = {0};

	tiny_init(&t);
	t.config.limits.hello_timeout_ms = 1000000;
	t.config.limits.uid_ring_bytes = 1u << 20; /* a 64 MiB ring would only cost time */
	FUZZ_ASSERT(!loop_create(LOOP_EPOLL, &t.d.loop, &err));
	door.d = &t.d;
	door.listener.fd = door.spare_fd = -1;
	door.packet = malloc(PACKET_MAX_BYTES);
	FUZZ_ASSERT(!closer_create(2 * CLOSER_PACKET_FDS, &door.closer));
	t.d.door = &door;
	FUZZ_ASSERT(!control_create(&t.d, &t.d.control));
	n_fds = count_fds();
}

/* One packet with that many descriptors, which are never a good body. */
static void say(int fd, const uint8_t *data, size_t size, unsigned n_memfds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(3 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	for (unsigned i = 0; i < n_memfds; i++)
		((int *)(void *)CMSG_DATA(&control.align))[i] = fd;
	if (n_memfds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_memfds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n_memfds * sizeof(int));
	}
	(void)sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void turn(void)
{
	FUZZ_ASSERT(loop_wait(t.d.loop, 0) >= 0);
	while (closer_count(door.closer, getuid()))
		usleep(10);
	tiny_step(&t);
}

static void check_nothing_left(void)
{
	struct tenant *mine = tenant_get(t.d.tenants, getuid());

	FUZZ_ASSERT(!t.d.sessions && !t.d.requests && !t.d.ended && !t.d.busy && !t.d.written);
	FUZZ_ASSERT(!door.connections && !door.hellos && !door.n_connections);
	FUZZ_ASSERT(kvcache_pages_free(t.d.kv, 0) == TINY_PAGES);
	FUZZ_ASSERT(mine->n_refs == 1 && !mine->n_sessions && !mine->n_granted);
	FUZZ_ASSERT(!mine->ring_bytes && !mine->reserved_tokens);
	tenant_put(t.d.tenants, mine);
	FUZZ_ASSERT(count_fds() == n_fds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct connection *c;
	struct packet parsed;
	struct error err;
	int fds[2];

	if (!door.packet)
		start();
	packet_parse(data, size, &parsed, &err);
	FUZZ_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
	FUZZ_ASSERT(!connection_create(&door, fds[0], &c));
	door.last_session = 0; /* ids of the seeds are right */
	while (size >= 3) {
		size_t n = (size_t)data[0] | (size_t)data[1] << 8;
		unsigned n_memfds = data[2] & 3;

		data += 3;
		size -= 3;
		n = n < size ? n : size;
		if (n)
			say(fds[1], data, n, n_memfds);
		turn();
		data += n;
		size -= n;
	}
	turn();
	close(fds[1]);
	turn();
	turn();
	check_nothing_left();
	return 0;
}

struct seed {
	uint8_t bytes[2048];
	size_t size;
};

static void add(struct seed *s, struct llm_packet head, const void *payload, size_t len)
{
	uint8_t *at = s->bytes + s->size;
	size_t n = sizeof(head) + len;

	head.hdr_len = sizeof(head);
	head.len = (__u32)len;
	at[0] = (uint8_t)n;
	at[1] = (uint8_t)(n >> 8);
	at[2] = 0;
	memcpy(at + 3, &head, sizeof(head));
	if (len)
		memcpy(at + 3 + sizeof(head), payload, len);
	s->size += 3 + n;
}

const uint8_t *fuzz_seed(unsigned i, size_t *size)
{
	static const uint32_t ids[3] = {1, 2, 3};
	static struct seed seeds[3];
	struct llm_hello hello = {
		.abi = LLM_ABI, .max_requests = 4, .ring_bytes = 16384, .name = "fuzz"};
	const __u64 base = LLM_ID_SOCKET | 1ull << 32;
	struct seed *s = &seeds[i % 3];
	struct tiny_body b;

	if (i >= 3)
		return NULL;
	s->size = 0;
	if (i == 2)
		add(s, (struct llm_packet){.type = LLM_PACKET_CONTROL},
		    "{\"command\":\"requests\"}", 22);
	add(s, (struct llm_packet){.type = LLM_PACKET_HELLO}, &hello, sizeof(hello));
	for (unsigned k = 1; i == 1 && k <= 3; k++) {
		tiny_body_begin(&b)->max_tokens = 5;
		tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids));
		add(s, (struct llm_packet){.type = LLM_PACKET_SUBMIT, .request_id = base | k},
		    b.bytes, b.len);
	}
	add(s, (struct llm_packet){.type = LLM_PACKET_CANCEL, .request_id = base | 2}, NULL, 0);
	add(s, (struct llm_packet){.type = LLM_PACKET_ROOM}, NULL, 0);
	add(s, (struct llm_packet){.type = LLM_PACKET_CLOSE}, NULL, 0);
	*size = s->size;
	return s->bytes;
}
