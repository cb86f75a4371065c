/* SPDX-License-Identifier: MIT */
/*
 * The heart never waits for close(): what clients send is closed elsewhere however long that takes,
 * who sent it may send little more, and everybody else is served.
 * Marks: san
 */
#include <netinet/in.h>

#include "tests/tiny_door.h"

/* A socket whose last close() takes a minute, or until the listening one is closed. */
static int slow_socket(int listening)
{
	const struct linger linger = {1, 60};
	static const char zeros[1 << 16];
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_EQ(getsockname(listening, (struct sockaddr *)&addr, &len), 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
		;
	CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

/* n descriptors whose last owner is whoever reads them. */
static void send_slow(int fd, struct message *m, unsigned n, int listening)
{
	m->n_fds = n;
	for (unsigned i = 0; i < n; i++)
		m->fds[i] = slow_socket(listening);
	CHECK(send_message(fd, m) > 0);
	for (unsigned i = 0; i < n; i++)
		close(m->fds[i]);
	m->n_fds = 0;
}

/*
 * Descriptors that do not close: as a body, more than a body has, unread behind a broken rule, with
 * one who is turned away, and from one whose others do not close yet. The door goes on.
 */
static void test_slow_fds(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct tenant *mine = tenant_get(t.d.tenants, getuid());
	uint64_t began_ns = clock_now_ns();
	unsigned before = n_open_fds();
	struct llm_welcome w, w2;
	int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, quiet;
	struct message m, body = submit(0, 4);

	CHECK_EQ(bind(listening, (struct sockaddr *)&any, sizeof(any)), 0);
	CHECK_EQ(listen(listening, 100), 0);
	quiet = open_session(&w2);
	fd = open_session(&w);
	m = packet(LLM_PACKET_SUBMIT, w.id_base | 1);
	send_slow(fd, &m, 1, listening);
	pump();
	CHECK_STR(t.d.ended->end.message, "the body's descriptor is no sealed memfd");
	/* Read and not read, of one who is cut off. */
	m = packet(999, 0);
	send_slow(fd, &m, 1, listening);
	send_slow(fd, &m, 2, listening);
	refused(fd, -EPROTO, "type 999");
	mine->limits.max_connections = 1;
	for (int i = 0; i < 8; i++)
		tenant_get(t.d.tenants, getuid());
	send_slow(fd = dial(), &m, 1, listening);
	refused(fd, -ENOBUFS, "connections, at most 1");
	mine->limits.max_connections = 0;
	for (int i = 0; i < 8; i++)
		tenant_put(t.d.tenants, mine);
	CHECK_EQ(closer_count(t.d.door->closer, getuid()), 5);
	/* More than fits anything we take. Then he has sent enough, and loses what he has left. */
	fd = open_session(&w);
	m = packet(LLM_PACKET_ROOM, 0);
	send_slow(fd, &m, MAX_FDS, listening);
	pump();
	CHECK_EQ(closer_count(t.d.door->closer, getuid()), 5 + MAX_FDS);
	m = packet(LLM_PACKET_SUBMIT, w.id_base | 1);
	m.n_fds = 1;
	m.fds[0] = memfd_of("", 0, F_SEAL_WRITE);
	send_message(fd, &m);
	close(m.fds[0]);
	refused(fd, -EBUSY, "25 descriptors that llmd still tries to close");
	CHECK_EQ(closer_count(t.d.door->closer, getuid()), 6 + MAX_FDS);
	/* Who sends none is served. */
	body.head.request_id = w2.id_base | 1;
	send_message(quiet, &body);
	pump();
	CHECK_EQ(t.d.n_requests, 1);
	close(quiet);
	CHECK(clock_now_ns() - began_ns < 30000000000);
	close(listening);
	wait_for_closer();
	tenant_put(t.d.tenants, mine);
	nothing_is_left();
	CHECK_EQ(n_open_fds(), before);
}

/* The closer is full: nobody new is let in until it has room. */
static void test_full_closer(void)
{
	struct closer *kept = t.d.door->closer;
	struct message m = hello(4, 16384);
	int fd, pipe_fds[2];

	CHECK_EQ(closer_create(0, &t.d.door->closer), 0);
	send_message(fd = dial(), &m);
	pump();
	CHECK_EQ(receive(fd, &m), 0);
	CHECK(door_socket_next_ns(t.d.door) > clock_now_ns());
	door_socket_expire(t.d.door, clock_now_ns());
	pump();
	CHECK_EQ(receive(fd, &m), 0);
	CHECK_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
	close(pipe_fds[1]);
	closer_give(t.d.door->closer, pipe_fds, 1, getuid());
	wait_for_closer();
	closer_destroy(t.d.door->closer);
	t.d.door->closer = kept;
	door_socket_expire(t.d.door, clock_now_ns());
	pump();
	CHECK_EQ(receive(fd, &m), LLM_PACKET_WELCOME);
	close(m.fds[0]);
	close(m.fds[1]);
	close(fd);
	nothing_is_left();
}

int main(void)
{
	const char *dir = getenv("TMPDIR");
	struct door_socket_args args = {
		.path = path, .mode = 0600, .group = (gid_t)-1, .serve_fd = -1};
	struct error err = {0};

	snprintf(path, sizeof(path), "%s/closer.%d", dir ? dir : "/tmp", (int)getpid());
	tiny_init(&t);
	t.config.limits.hello_timeout_ms = 5000;
	CHECK_EQ(loop_create(LOOP_EPOLL, &t.d.loop, &err), 0);
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), 0);
	test_slow_fds();
	test_full_closer();
	door_socket_destroy(t.d.door);
	loop_destroy(t.d.loop);
	tiny_exit(&t);
	return test_done();
}
