/* SPDX-License-Identifier: MIT */
/*
 * The socket door from both ends in one thread: who owns the path, caps before allocation, every
 * packet that breaks a rule, bodies in memfds, floods, silence, descriptors that nobody asked for.
 * Marks: san
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "daemon/connection.h"
#include "daemon/control.h"
#include "daemon/door_socket.h"
#include "tests/tiny_door.h"

/* ---- the path ------------------------------------------------------------------------------ */

static void test_path(void)
{
	struct door_socket_args args = {
		.path = path, .mode = 0620, .group = (gid_t)-1, .serve_fd = -1};
	struct door_socket *second;
	struct error err = {0};
	char want[256], long_path[300];
	struct stat st;
	int status, fd;

	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0640);
	snprintf(want, sizeof(want), "%s is served by the daemon with pid %d", path, getpid());
	CHECK_EQ(door_socket_create(&t.d, &args, &second, &err), -EADDRINUSE);
	CHECK_STR(err.text, want);
	pump();
	nothing_is_left();
	door_socket_stop(t.d.door);
	CHECK_EQ(stat(path, &st), -1);
	/* Stale: its owner is gone. */
	if (!fork()) {
		listener_open(&(struct listener){0}, path, 0600, (gid_t)-1, &err);
		_exit(0);
	}
	wait(&status);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(door_socket_create(&t.d, &args, &second, &err), 0);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0620);
	/* Taken away by somebody: not ours to remove. */
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	door_socket_destroy(second);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(door_socket_create(&t.d, &args, &second, &err), -EEXIST);
	snprintf(want, sizeof(want), "%s is there and is no socket", path);
	CHECK_STR(err.text, want);
	unlink(path);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	args.path = long_path;
	CHECK_EQ(door_socket_create(&t.d, &args, &second, &err), -ENAMETOOLONG);
	args.path = "/nowhere/llm.sock";
	CHECK_EQ(door_socket_create(&t.d, &args, &second, &err), -ENOENT);
}

/* ---- greeting ------------------------------------------------------------------------------ */

static void test_welcome(void)
{
	struct llm_welcome w;
	struct message m;
	int fd = open_session(&w);
	struct session *s = t.d.sessions;

	CHECK_EQ(w.abi, LLM_ABI);
	CHECK_EQ(w.id_base, LLM_ID_SOCKET | (uint64_t)w.session_id << 32);
	CHECK_EQ(w.max_requests, 4);
	CHECK_EQ(w.ring.capacity, 16384);
	CHECK_EQ(w.context_tokens, TINY_CONTEXT);
	CHECK_EQ(w.vocab_size, TINY_VOCAB);
	CHECK_STR(w.model, "tiny");
	CHECK_STR(s->name, "te?st");
	CHECK_EQ(s->uid, getuid());
	CHECK_EQ(s->pid, getpid());
	CHECK_EQ(s->memory.fds[0], -1);
	CHECK_EQ(s->tenant->ring_bytes, ring_cost_bytes(16384));
	m = packet(LLM_PACKET_CLOSE, 0);
	send_message(fd, &m);
	pump();
	CHECK_EQ(receive(fd, &m), -1);
	close(fd);
	nothing_is_left();
}

static void test_bad_hellos(void)
{
	struct message m;
	struct llm_hello *h = (struct llm_hello *)m.payload;
	int fd = dial();

	m = packet(LLM_PACKET_SUBMIT, 1);
	send_message(fd, &m);
	refused(fd, -EPROTO, "a packet of type 2 before HELLO");
	m = hello(4, 16384);
	m.head.len = 8;
	send_message(fd = dial(), &m);
	refused(fd, -EPROTO, "a HELLO of 8 bytes, at least 56 expected");
	m = hello(4, 16384);
	h->abi = 9;
	send_message(fd = dial(), &m);
	refused(fd, -EPROTONOSUPPORT, "version 9, this llmd 1");
	m = hello(0, 16384);
	send_message(fd = dial(), &m);
	refused(fd, -EINVAL, "0 requests, 1 to 4096");
	m = hello(4097, 1u << 26);
	send_message(fd = dial(), &m);
	refused(fd, -EINVAL, "4097 requests");
	m = hello(9, 16384);
	send_message(fd = dial(), &m);
	refused(fd, -EINVAL, "16384 bytes, a power of two from 18432");
	m = hello(4, 12288);
	send_message(fd = dial(), &m);
	refused(fd, -EINVAL, "12288");
	m = hello(4, 1u << 27);
	send_message(fd = dial(), &m);
	refused(fd, -EINVAL, "134217728");
	m = hello(4, 16384);
	h->features = 1;
	send_message(fd = dial(), &m);
	refused(fd, -EOPNOTSUPP, "features 0x1");
	/* A longer HELLO is fine while its tail is zero. */
	m = hello(4, 16384);
	m.head.len += 16;
	send_message(fd = dial(), &m);
	pump();
	CHECK_EQ(receive(fd, &m), LLM_PACKET_WELCOME);
	close(m.fds[0]);
	close(m.fds[1]);
	close(fd);
	m = hello(4, 16384);
	m.payload[60] = 1;
	m.head.len += 16;
	send_message(fd = dial(), &m);
	refused(fd, -E2BIG, "more than this llmd knows");
	nothing_is_left();
}

/* The caps of one user: both numbers, and those who are in stay in. */
static void test_caps(void)
{
	struct config_limits kept = t.config.limits;
	struct tenant *mine = tenant_get(t.d.tenants, getuid());
	struct llm_welcome w;
	struct message m;
	int fds[40], fd;

	mine->limits.max_connections = 2;
	fds[0] = open_session(&w);
	fds[1] = open_session(&w);
	m = hello(4, 16384);
	send_message(fd = dial(), &m);
	refused(fd, -ENOBUFS, "3 connections, at most 2");
	mine->limits.max_connections = 0;
	mine->limits.max_requests = 10;
	send_message(fd = dial(), &m);
	refused(fd, -ENOBUFS, "12 requests at once, at most 10");
	mine->limits.max_requests = 0;
	mine->limits.max_ring_bytes = 2 * ring_cost_bytes(16384) + 1;
	send_message(fd = dial(), &m);
	refused(fd, -ENOBUFS, "bytes of rings");
	mine->limits.max_ring_bytes = 0;
	t.config.limits.max_sessions = 2;
	send_message(fd = dial(), &m);
	refused(fd, -ENOBUFS, "3 sessions, at most 2");
	t.config.limits = kept;
	/* Silent connections are bounded too. */
	mine->limits.max_connections = 2;
	for (int i = 2; i < 40; i++)
		fds[i] = dial();
	for (int i = 0; i < 5; i++)
		pump();
	CHECK_EQ(door_socket_n_connections(t.d.door), 9);
	CHECK_EQ(t.d.n_sessions, 2);
	CHECK_EQ(receive(fds[39], &m), LLM_PACKET_REFUSED);
	CHECK_EQ(receive(fds[0], &m), 0);
	mine->limits.max_connections = 0;
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	tenant_put(t.d.tenants, mine);
	nothing_is_left();
	CHECK_EQ(mine->n_sessions + mine->n_granted + mine->ring_bytes, 0);
}

static void test_silence(void)
{
	int a = dial(), b;
	uint64_t first;
	struct message m;

	pump();
	first = door_socket_next_ns(t.d.door);
	CHECK(first > clock_now_ns());
	b = dial();
	pump();
	CHECK_EQ(door_socket_next_ns(t.d.door), first);
	door_socket_expire(t.d.door, first - 1);
	CHECK_EQ(door_socket_n_connections(t.d.door), 2);
	m = hello(4, 16384);
	send_message(b, &m);
	pump();
	door_socket_expire(t.d.door, first + 10000000000);
	refused(a, -ETIMEDOUT, "no HELLO came in time");
	CHECK_EQ(door_socket_next_ns(t.d.door), 0);
	CHECK_EQ(receive(b, &m), LLM_PACKET_WELCOME);
	close(m.fds[0]);
	close(m.fds[1]);
	close(b);
	nothing_is_left();
}

/* ---- packets of a session ------------------------------------------------------------------ */

/* One broken rule in an open session. */
static void breaks(const struct message *m, int status, const char *part)
{
	struct llm_welcome w;
	int fd = open_session(&w);

	CHECK(send_message(fd, m) > 0);
	refused(fd, status, part);
}

static void test_bad_packets(void)
{
	struct message m;
	struct llm_welcome w;
	int fd = open_session(&w);

	send(fd, "abc", 3, 0);
	refused(fd, -EPROTO, "a packet of 3 bytes, at least 24");
	m = packet(LLM_PACKET_CANCEL, 0);
	m.head.hdr_len = 8;
	breaks(&m, -EPROTO, "header has 8");
	m.head.hdr_len = 400;
	breaks(&m, -EPROTO, "header has 400");
	m = hello(4, 16384);
	breaks(&m, -EPROTO, "type 1 in a session");
	m = packet(LLM_PACKET_CONTROL, 0);
	breaks(&m, -EPROTO, "type 32 in a session");
	m = packet(LLM_PACKET_RESUME, 0);
	breaks(&m, -EOPNOTSUPP, "RESUME: not in this version");
	m = packet(999, 0);
	breaks(&m, -EPROTO, "type 999");
	/* Lengths that are not those of the packet. */
	m = packet(LLM_PACKET_CANCEL, 0);
	m.head.hdr_len = 200;
	breaks(&m, -EPROTO, "a packet of 24 bytes says that its header has 200");
	{
		struct llm_packet h = {.type = LLM_PACKET_CANCEL, .hdr_len = sizeof(h), .len = 77};

		fd = open_session(&w);
		CHECK(send(fd, &h, sizeof(h), 0) > 0);
		/* What it says afterwards is not read, and does not keep it from hearing why. */
		CHECK(send(fd, &h, sizeof(h), 0) > 0);
		refused(fd, -EPROTO, "a packet of 24 bytes says that it has 77");
	}
	/* Longer than any packet. */
	m = packet(999, 0);
	{
		static unsigned char big[PACKET_MAX_BYTES + 100];

		memcpy(big, &m.head, sizeof(m.head));
		fd = open_session(&w);
		CHECK(send(fd, big, sizeof(big), 0) > 0);
		refused(fd, -EMSGSIZE, "a packet of more than");
	}
	/* Ids: another session's, not rising, 0. */
	m = submit(LLM_ID_SOCKET | 5, 4);
	breaks(&m, -EPROTO, "SUBMIT of id");
	fd = open_session(&w);
	m = submit(w.id_base | 2, 4);
	send_message(fd, &m);
	send_message(fd, &m);
	refused(fd, -EPROTO, "SUBMIT of id");
	fd = open_session(&w);
	m = submit(w.id_base, 4);
	send_message(fd, &m);
	refused(fd, -EPROTO, "SUBMIT of id");
	/* More than was granted. */
	fd = open_session(&w);
	for (uint32_t i = 1; i <= 5; i++) {
		m = submit(w.id_base | i, 4);
		send_message(fd, &m);
	}
	refused(fd, -EPROTO, "5 requests without END, 4 were granted");
	t.config.limits.body_credit_bytes = 200;
	fd = open_session(&w);
	for (uint32_t i = 1; i <= 3; i++) {
		m = submit(w.id_base | i, 4);
		send_message(fd, &m);
	}
	refused(fd, -EPROTO, "264 bytes of bodies without END, 200 were granted");
	t.config.limits.body_credit_bytes = 1u << 22;
	nothing_is_left();
}

/* The bodies of all sessions of a user: the request that is too much ends, nobody is cut off. */
static void test_body_cap(void)
{
	struct tenant *mine = tenant_get(t.d.tenants, getuid());
	struct llm_welcome w[2];
	struct message m = submit(0, 400);
	int fds[2] = {open_session(&w[0]), open_session(&w[1])};
	uint64_t len = m.head.len;

	mine->limits.max_body_bytes = 3 * len;
	for (uint32_t i = 0; i < 4; i++) {
		m.head.request_id = w[i % 2].id_base | (i + 1);
		send_message(fds[i % 2], &m);
		pump();
	}
	CHECK_EQ(t.d.n_requests, 3);
	CHECK_EQ(mine->body_bytes, 3 * len);
	CHECK_EQ(t.d.ended->end.status, -ENOBUFS);
	CHECK_EQ(t.d.ended->end.err_field, LLM_FIELD_QUOTA);
	CHECK_EQ(t.d.ended->end.got, 4 * len);
	CHECK_EQ(t.d.ended->end.limit, 3 * len);
	CHECK(strstr(t.d.ended->end.message, "352 bytes of requests without END, at most 264"));
	/* What has ended counts no more, whosever session it was. */
	close(fds[0]);
	pump();
	CHECK_EQ(mine->body_bytes, len);
	m.head.request_id = w[1].id_base | 9;
	send_message(fds[1], &m);
	pump();
	CHECK_EQ(mine->body_bytes, 2 * len);
	close(fds[1]);
	nothing_is_left();
	CHECK_EQ(mine->body_bytes, 0);
	mine->limits.max_body_bytes = 0;
	tenant_put(t.d.tenants, mine);
}

static void test_cancel(void)
{
	struct llm_welcome w;
	int fd = open_session(&w);
	struct message m;

	for (uint32_t i = 1; i <= 3; i++) {
		m = submit(w.id_base | i, 400);
		send_message(fd, &m);
	}
	pump();
	intake_run(&t.d);
	CHECK_EQ(t.d.n_requests, 3);
	m = packet(LLM_PACKET_CANCEL, w.id_base | 2);
	send_message(fd, &m);
	pump();
	CHECK_EQ(t.d.n_requests, 2);
	m.head.request_id = w.id_base | 77;
	send_message(fd, &m);
	m = packet(LLM_PACKET_ROOM, 0);
	send_message(fd, &m);
	pump();
	CHECK_EQ(t.d.n_requests, 2);
	CHECK_EQ(t.d.n_sessions, 1);
	m = packet(LLM_PACKET_CANCEL, 0);
	send_message(fd, &m);
	pump();
	CHECK_EQ(t.d.n_requests, 0);
	close(fd);
	nothing_is_left();
}

static const char *end_of(const struct message *m)
{
	static char message[LLM_MESSAGE_MAX];
	struct llm_welcome w;
	struct message copy = *m;
	int fd = open_session(&w);

	copy.head.request_id = w.id_base | 1;
	CHECK(send_message(fd, &copy) > 0);
	pump();
	strcpy(message, t.d.ended ? t.d.ended->end.message : "");
	close(fd);
	nothing_is_left();
	return message;
}

static void test_memfds(void)
{
	const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct message m, inline_one = submit(0, 4);
	size_t n = inline_one.head.len;
	struct llm_welcome w;
	unsigned before;
	int fd;

	before = n_settled_fds();
	m = packet(LLM_PACKET_SUBMIT, 0);
	m.n_fds = 1;
	m.fds[0] = memfd_of(inline_one.payload, n, all);
	fd = open_session(&w);
	m.head.request_id = w.id_base | 1;
	send_message(fd, &m);
	pump();
	CHECK_EQ(t.d.n_requests, 1);
	CHECK_EQ(t.d.requests->seq.n_prompt, 3);
	CHECK_EQ(t.d.requests->body_bytes, n);
	close(fd);
	nothing_is_left();
	/* Both ways at once, two memfds, descriptors with other packets: closed, never kept. */
	inline_one.n_fds = 1;
	inline_one.fds[0] = m.fds[0];
	CHECK(strstr(end_of(&inline_one), "inline or as one memfd") != NULL);
	m.n_fds = 3;
	m.fds[1] = m.fds[2] = m.fds[0];
	CHECK(strstr(end_of(&m), "inline or as one memfd") != NULL);
	fd = open_session(&w);
	m.head.type = LLM_PACKET_ROOM;
	send_message(fd, &m);
	pump();
	CHECK_EQ(t.d.n_sessions, 1);
	close(fd);
	close(m.fds[0]);
	/* Not sealed enough, not a memfd, too long. */
	m = packet(LLM_PACKET_SUBMIT, 0);
	m.n_fds = 1;
	m.fds[0] = memfd_of(inline_one.payload, n, F_SEAL_SHRINK | F_SEAL_GROW);
	CHECK_STR(end_of(&m), "the body's memfd has seals 0x6, 0xe (shrink, grow, write) expected");
	close(m.fds[0]);
	m.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK_STR(end_of(&m), "the body's descriptor is no sealed memfd");
	close(m.fds[0]);
	t.config.limits.max_body_bytes = (uint32_t)n - 1;
	m.fds[0] = memfd_of(inline_one.payload, n, all);
	CHECK_STR(end_of(&m), "the body has 88 bytes, at most 87 are allowed");
	inline_one.n_fds = 0;
	CHECK_STR(end_of(&inline_one), "the body has 88 bytes, at most 87 are allowed");
	t.config.limits.max_body_bytes = 1u << 20;
	close(m.fds[0]);
	m.fds[0] = memfd_of("", 0, all);
	CHECK(strstr(end_of(&m), "the body has 0 bytes") != NULL);
	close(m.fds[0]);
	m.n_fds = 0;
	CHECK(strstr(end_of(&m), "the body has 0 bytes") != NULL);
	wait_for_closer();
	CHECK_EQ(n_settled_fds(), before);
}

/* ---- floods, ends -------------------------------------------------------------------------- */

/* A turn reads CONNECTION_TURN_PACKETS of one peer, then the others have theirs. */
static void test_flood(void)
{
	struct llm_welcome w;
	int noisy = open_session(&w), quiet = open_session(&w);
	struct message m = packet(LLM_PACKET_ROOM, 0), s = submit(w.id_base | 1, 4);
	unsigned n = 0, n_turns = 0;

	while (send(noisy, &m, sizeof(m.head), MSG_DONTWAIT) > 0)
		n++;
	CHECK(n > 2 * CONNECTION_TURN_PACKETS);
	send_message(quiet, &s);
	for (int i = 0; i < 3 && !t.d.n_requests; i++)
		CHECK(loop_wait(t.d.loop, 0) >= 0);
	CHECK_EQ(t.d.n_requests, 1);
	/* The rest of the flood is still there: one turn did not take it all. */
	while (send(noisy, &m, sizeof(m.head), MSG_DONTWAIT) > 0)
		n++;
	while (loop_wait(t.d.loop, 0) > 0)
		n_turns++;
	CHECK(n_turns >= 4);
	CHECK(n_turns <= n / CONNECTION_TURN_PACKETS + 2);
	close(noisy);
	close(quiet);
	nothing_is_left();
}

/* A crowd that may not come in does not stand in the others' way: one turn is enough for it. */
static void test_crowd(void)
{
	enum { N = 120 };
	struct tenant *mine = tenant_get(t.d.tenants, getuid());
	unsigned n_refused = 0;
	struct message m;
	int fds[N];

	mine->limits.max_connections = 1;
	for (int i = 0; i < N; i++)
		fds[i] = dial();
	CHECK(loop_wait(t.d.loop, 0) >= 0);
	for (int i = 0; i < N; i++)
		n_refused += receive(fds[i], &m) == LLM_PACKET_REFUSED;
	CHECK_EQ(n_refused, N - 8); /* beside the one: seven on their way, and our reference */
	mine->limits.max_connections = 0;
	for (int i = 0; i < N; i++)
		close(fds[i]);
	tenant_put(t.d.tenants, mine);
	nothing_is_left();
}

/* What a user sends over many connections costs a turn no more than over one. */
static void test_many_floods(void)
{
	enum { N = 6 };
	static unsigned char zeros[CONNECTION_TURN_BYTES];
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct llm_welcome w[N];
	int fds[N], body = memfd_of(zeros, sizeof(zeros), seals);

	for (int i = 0; i < N; i++)
		fds[i] = open_session(&w[i]);
	for (uint32_t n = 1; n <= 2; n++)
		for (int i = 0; i < N; i++) {
			struct message m = packet(LLM_PACKET_SUBMIT, w[i].id_base | n);

			m.fds[0] = body;
			m.n_fds = 1;
			CHECK(send_message(fds[i], &m) > 0);
		}
	/* One body uses up the turn; nobody has his second before everybody's first. */
	for (uint32_t turn = 1; turn <= 2 * N; turn++) {
		uint32_t n_taken = 0, most = 0;

		CHECK(loop_wait(t.d.loop, 0) >= 0);
		for (const struct session *s = t.d.sessions; s; s = s->next) {
			n_taken += s->last_number;
			most = s->last_number > most ? s->last_number : most;
		}
		CHECK_EQ(n_taken, turn);
		CHECK_EQ(most, turn <= N ? 1 : 2);
	}
	for (int i = 0; i < N; i++)
		close(fds[i]);
	close(body);
	nothing_is_left();
}

static void test_death(void)
{
	struct llm_welcome w;
	int fd = open_session(&w);
	struct message m;

	for (uint32_t i = 1; i <= 4; i++) {
		m = submit(w.id_base | i, 400);
		send_message(fd, &m);
	}
	pump();
	for (int i = 0; i < 5; i++)
		tiny_step(&t);
	CHECK_EQ(sched_n_running(t.d.sched), 4);
	CHECK(kvcache_pages_free(t.d.kv, 0) < TINY_PAGES);
	close(fd);
	CHECK(loop_wait(t.d.loop, 0) >= 1);
	CHECK_EQ(kvcache_pages_free(t.d.kv, 0), TINY_PAGES);
	CHECK_EQ(sched_n_running(t.d.sched), 0);
	nothing_is_left();
}

/* A client that never reads its socket is kicked until it is full, and that is all. */
static void test_full_socket(void)
{
	struct llm_welcome w;
	int fd = open_session(&w);
	struct message m = submit(w.id_base | 1, 900);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	send_message(fd, &m);
	pump();
	while (tiny_step(&t))
		;
	CHECK(t.d.sessions->is_short);
	for (int i = 0; i < 1000; i++)
		t.d.sessions->door->kick(t.d.sessions);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(t.d.n_sessions, 1);
	close(fd);
	nothing_is_left();
}

static void test_descriptors(void)
{
	struct rlimit kept, few;
	struct message m;
	int fds[8];

	getrlimit(RLIMIT_NOFILE, &kept);
	for (int i = 0; i < 8; i++)
		fds[i] = dial();
	few = kept;
	few.rlim_cur = (rlim_t)fds[7] + 4;
	setrlimit(RLIMIT_NOFILE, &few);
	for (int i = 0; i < 4; i++)
		pump();
	setrlimit(RLIMIT_NOFILE, &kept);
	CHECK_EQ(door_socket_n_connections(t.d.door), 3);
	CHECK_EQ(receive(fds[7], &m), LLM_PACKET_REFUSED);
	CHECK_EQ(((struct llm_refused *)m.payload)->status, -EMFILE);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	nothing_is_left();
}

static void test_control(void)
{
	struct message m = packet(LLM_PACKET_CONTROL, 0);
	int fd = dial();

	CHECK_EQ(control_create(&t.d, &t.d.control), 0);
	strcpy((char *)m.payload, "{\"command\":\"sessions\"}");
	m.head.len = (__u32)strlen((char *)m.payload);
	send_message(fd, &m);
	pump();
	CHECK_EQ(receive(fd, &m), LLM_PACKET_REPLY);
	CHECK(!memcmp(m.payload, "{\"sessions\":", 12));
	CHECK_EQ(receive(fd, &m), LLM_PACKET_REPLY);
	CHECK_EQ(m.head.len, 0);
	CHECK_EQ(door_socket_next_ns(t.d.door), 0);
	m = hello(4, 16384);
	send_message(fd, &m);
	refused(fd, -EPROTO, "type 1 on a control connection");
	control_destroy(t.d.control);
	nothing_is_left();
}

static void test_serve_fd(void)
{
	struct door_socket_args args = {.serve_fd = -1, .group = (gid_t)-1};
	struct door_socket *listening = t.d.door;
	struct error err = {0};
	struct message m = hello(4, 16384);
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	args.serve_fd = fds[0];
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), -EINVAL);
	CHECK(strstr(err.text, "is no Unix SEQPACKET socket") != NULL);
	close(fds[0]);
	close(fds[1]);
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), -EBADF);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	args.serve_fd = fds[0];
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), 0);
	send_message(fds[1], &m);
	pump();
	CHECK_EQ(receive(fds[1], &m), LLM_PACKET_WELCOME);
	close(m.fds[0]);
	close(m.fds[1]);
	CHECK_EQ(door_socket_is_done(t.d.door), false);
	close(fds[1]);
	pump();
	CHECK_EQ(door_socket_is_done(t.d.door), true);
	door_socket_destroy(t.d.door);
	t.d.door = listening;
}

static void test_drain(void)
{
	struct llm_welcome w;
	int fd = dial(), old = open_session(&w);
	struct message m = hello(4, 16384);

	t.d.is_draining = true;
	door_socket_stop(t.d.door);
	send_message(fd, &m);
	refused(fd, -ESHUTDOWN, "shutting down");
	m = submit(w.id_base | 1, 4);
	send_message(old, &m);
	pump();
	CHECK_EQ(t.d.ended->end.status, -ESHUTDOWN);
	close(old);
	nothing_is_left();
	t.d.is_draining = false;
}

static void run_all(enum loop_kind kind)
{
	struct door_socket_args args = {
		.path = path, .mode = 0640, .group = (gid_t)-1, .serve_fd = -1};
	struct error err = {0};

	tiny_init(&t);
	t.config.limits.hello_timeout_ms = 5000;
	if (loop_create(kind, &t.d.loop, &err)) {
		printf("%s\n", err.text);
		tiny_exit(&t);
		return;
	}
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), 0);
	CHECK_STR(err.text, "");
	test_welcome();
	test_bad_hellos();
	test_caps();
	test_silence();
	test_bad_packets();
	test_body_cap();
	test_cancel();
	test_memfds();
	test_flood();
	test_many_floods();
	test_crowd();
	test_death();
	test_full_socket();
	test_descriptors();
	test_control();
	test_serve_fd();
	test_drain();
	door_socket_destroy(t.d.door);
	CHECK_EQ(door_socket_create(&t.d, &args, &t.d.door, &err), 0);
	test_path();
	door_socket_destroy(t.d.door);
	t.d.door = NULL;
	loop_destroy(t.d.loop);
	tiny_exit(&t);
}

int main(void)
{
	const char *dir = getenv("TMPDIR");

	snprintf(path, sizeof(path), "%s/door.%d", dir ? dir : "/tmp", (int)getpid());
	run_all(LOOP_URING);
	run_all(LOOP_EPOLL);
	return test_done();
}
