/* SPDX-License-Identifier: MIT */
/*
 * connection: see daemon/connection.h.
 */
#include "daemon/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/body.h"
#include "daemon/clock.h"
#include "daemon/closer.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/intake.h"
#include "daemon/stats.h"

/* One packet as it was read. */
struct incoming {
	struct packet packet;
	int fds[CLOSER_PACKET_FDS];
	unsigned n_fds;
};

/* ---- what it is told ------------------------------------------------------------------------ */

void connection_turn_away(int fd, const struct error *why, const __u64 numbers[2])
{
	struct llm_refused refused = {.status = why->code, .got = numbers[0], .limit = numbers[1]};
	struct packet_out out = {
		.type = LLM_PACKET_REFUSED, .payload = &refused, .len = sizeof(refused)};

	memcpy(refused.message, why->text, strnlen(why->text, sizeof(refused.message) - 1));
	packet_send(fd, &out);
}

/* ---- what it sent --------------------------------------------------------------------------- */

static void take_fds(struct msghdr *msg, struct incoming *in)
{
	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		size_t n;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (n > CLOSER_PACKET_FDS - in->n_fds)
			n = CLOSER_PACKET_FDS - in->n_fds;
		memcpy(in->fds + in->n_fds, CMSG_DATA(h), n * sizeof(int));
		in->n_fds += (unsigned)n;
	}
}

/*
 * One message into iov: its length, 0 at the end, -errno; fds in *in. All that a message can carry
 * has room: what the kernel drops it closes right here, on our time.
 */
static ssize_t receive(int fd, struct iovec *iov, struct incoming *in, bool *is_cut)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(CLOSER_PACKET_FDS * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	in->n_fds = 0;
	if (n < 0)
		return -errno;
	take_fds(&msg, in);
	*is_cut = msg.msg_flags & MSG_TRUNC;
	return n;
}

/* The next packet carries descriptors; it stays where it is, and so do they. */
static bool has_fds(int fd)
{
	struct msghdr msg = {0};

	return recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT) >= 0 && msg.msg_flags & MSG_CTRUNC;
}

/* Memfds are closed, the rest is the closer's. Returns how many those are. */
static unsigned close_fds(struct door_socket *door, const struct incoming *in, uid_t uid)
{
	int slow[CLOSER_PACKET_FDS];
	unsigned n_slow = 0;

	for (unsigned i = 0; i < in->n_fds; i++)
		if (closer_is_quick(in->fds[i]))
			close(in->fds[i]);
		else
			slow[n_slow++] = in->fds[i];
	if (n_slow)
		closer_give(door->closer, slow, n_slow, uid);
	return n_slow;
}

void connection_close_fd(struct door_socket *door, int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	ssize_t n;

	/*
	 * Nothing comes in any more. An unread packet would reset the connection, and the peer
	 * would lose our last word; and its descriptors would be closed with the socket.
	 */
	shutdown(fd, SHUT_RDWR);
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	do {
		struct incoming in;
		char byte;
		bool is_cut;

		if (!closer_may_receive(door->closer, peer.uid) && has_fds(fd)) {
			closer_give(door->closer, &fd, 1, peer.uid);
			return;
		}
		n = receive(fd, &(struct iovec){&byte, sizeof(byte)}, &in, &is_cut);
		close_fds(door, &in, peer.uid);
	} while (n > 0 || n == -EINTR);
	close(fd);
}

void connection_refuse(struct connection *c, const struct error *why, const __u64 numbers[2])
{
	struct daemon *d = c->door->d;

	if (d->stats && c->state == CONNECTION_HELLO)
		stats_count(d->stats, STATS_SESSIONS_REFUSED, 1);
	else if (d->stats)
		stats_count(d->stats, STATS_SESSIONS_BROKEN, 1);
	connection_turn_away(c->src.fd, why, numbers);
	connection_destroy(c);
}

static void kick(struct session *s)
{
	struct connection *c = s->door_data;
	struct packet_out out = {.type = LLM_PACKET_KICK};
	int rc = packet_send(c->src.fd, &out);

	/* A full socket is readable, which wakes as well. A dead one hangs up by itself. */
	if (s->daemon->stats)
		stats_count(s->daemon->stats, rc ? STATS_KICKS_SKIPPED : STATS_KICKS, 1);
}

static void broken(struct session *s)
{
	struct connection *c = s->door_data;
	struct error why;

	error_set(&why, -EPROTO, "%s", s->why_broken);
	/* session_break() has counted it. */
	connection_turn_away(c->src.fd, &why, (__u64[2]){0, 0});
	connection_destroy(c);
}

static const struct session_door session_ops = {.name = "socket", .kick = kick, .broken = broken};

/* ---- life ----------------------------------------------------------------------------------- */

static void leave_hellos(struct connection *c)
{
	struct door_socket *door = c->door;

	if (!c->hello_by_ns)
		return;
	c->hello_by_ns = 0;
	if (c->hello_next)
		c->hello_next->hello_prev = c->hello_prev;
	else
		door->last_hello = c->hello_prev;
	if (c->hello_prev)
		c->hello_prev->hello_next = c->hello_next;
	else
		door->hellos = c->hello_next;
}

static void join_lists(struct connection *c)
{
	struct door_socket *door = c->door;

	c->next = door->connections;
	if (c->next)
		c->next->prev = c;
	door->connections = c;
	door->n_connections++;
	c->hello_prev = door->last_hello;
	if (c->hello_prev)
		c->hello_prev->hello_next = c;
	else
		door->hellos = c;
	door->last_hello = c;
}

static void leave_lists(struct connection *c)
{
	leave_hellos(c);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		c->door->connections = c->next;
	c->door->n_connections--;
}

void connection_destroy(struct connection *c)
{
	struct door_socket *door = c->door;

	loop_remove(door->d->loop, &c->src);
	if (c->session) {
		session_destroy(c->session);
		tenant_uncharge_session(c->tenant, &c->want);
	}
	tenant_put(door->d->tenants, c->tenant);
	leave_lists(c);
	connection_close_fd(door, c->src.fd);
	door->is_done |= door->is_serving_one;
	free(c);
}

/* ---- HELLO ---------------------------------------------------------------------------------- */

static int send_welcome(struct connection *c)
{
	struct daemon *d = c->door->d;
	struct session *s = c->session;
	const struct config_limits *l = &d->config->limits;
	struct llm_welcome w = {.abi = LLM_ABI,
				.session_id = s->id,
				.id_base = LLM_ID_SOCKET | (__u64)s->id << 32,
				.body_bytes = l->body_credit_bytes,
				.max_body_bytes = l->max_body_bytes,
				.max_requests = s->max_requests,
				.ring = s->memory.layout,
				.context_tokens = d->context_tokens,
				.vocab_size = d->info.n_vocab,
				.token_bytes = d->info.token_bytes};
	struct packet_out out = {.type = LLM_PACKET_WELCOME,
				 .payload = &w,
				 .len = sizeof(w),
				 .fds = s->memory.fds,
				 .n_fds = 2};
	int rc;

	_Static_assert(sizeof(w.model) == sizeof(d->model_name), "a model's name");
	memcpy(w.model, d->model_name, sizeof(w.model));
	w.model[sizeof(w.model) - 1] = 0;
	rc = packet_send(c->src.fd, &out);
	ring_close_fds(&s->memory);
	return rc;
}

/* Everything that can be refused, before anything is allocated; then the charge. */
static int charge(struct connection *c, const struct llm_hello *h, __u64 numbers[2],
		  struct error *err)
{
	struct daemon *d = c->door->d;
	const struct config_limits *l = &d->config->limits;
	uint64_t got_limit[2] = {0};
	int rc;

	numbers[0] = numbers[1] = 0;
	if (d->is_draining)
		return error_set(err, -ESHUTDOWN, "the daemon is shutting down");
	if (l->max_sessions && d->n_sessions >= l->max_sessions) {
		numbers[0] = (__u64)d->n_sessions + 1;
		numbers[1] = l->max_sessions;
		return error_set(err, -ENOBUFS,
				 "the daemon would have %u sessions, at most %u are allowed",
				 d->n_sessions + 1, l->max_sessions);
	}
	if (c->door->last_session == INT32_MAX)
		return error_set(err, -ENOSPC, "the daemon has used up its session numbers");
	c->want = (struct tenant_want){.max_requests = h->max_requests,
				       .ring_bytes = ring_cost_bytes(h->ring_bytes)};
	rc = tenant_charge_session(c->tenant, &c->want, got_limit, err);
	numbers[0] = got_limit[0];
	numbers[1] = got_limit[1];
	return rc;
}

static int open_session(struct connection *c, const struct llm_hello *h, struct error *err)
{
	struct session_args args = {.daemon = c->door->d,
				    .tenant = c->tenant,
				    .door = &session_ops,
				    .door_data = c,
				    .id = ++c->door->last_session,
				    .uid = c->uid,
				    .pid = c->pid,
				    .name = h->name,
				    .max_requests = h->max_requests,
				    .ring_bytes = h->ring_bytes,
				    .now_ns = clock_now_ns()};
	int rc = session_create(&args, &c->session, err);

	if (rc) {
		tenant_uncharge_session(c->tenant, &c->want);
		return rc;
	}
	c->state = CONNECTION_SESSION;
	leave_hellos(c);
	rc = send_welcome(c);
	return rc ? error_set(err, rc, "sending WELCOME: %s", strerror(-rc)) : 0;
}

/* The handlers: true: the connection lives. */
static bool take_hello(struct connection *c, const struct packet *p, size_t *n_read)
{
	struct daemon *d = c->door->d;
	struct llm_hello h;
	struct error why;
	__u64 numbers[2];
	int rc = packet_parse_hello(p, &h, numbers, &why);

	if (!rc)
		rc = charge(c, &h, numbers, &why);
	if (!rc) {
		*n_read += c->want.ring_bytes; /* which the kernel clears */
		rc = open_session(c, &h, &why);
	}
	if (rc) {
		connection_refuse(c, &why, numbers);
		return false;
	}
	if (d->stats)
		stats_count(d->stats, STATS_SESSIONS_OPENED, 1);
	return true;
}

/* ---- SUBMIT --------------------------------------------------------------------------------- */

/* The rules whose breach means that the client lost count. */
static int check_submit(const struct connection *c, const struct packet *p, size_t n_body,
			__u64 numbers[2], struct error *err)
{
	const struct session *s = c->session;
	uint64_t credit = c->door->d->config->limits.body_credit_bytes;
	uint64_t base = LLM_ID_SOCKET | (uint64_t)s->id << 32, id = p->head.request_id;

	numbers[0] = numbers[1] = 0;
	if (id >> 32 != base >> 32 || (uint32_t)id <= s->last_number)
		return error_set(err, -EPROTO,
				 "SUBMIT of id 0x%" PRIx64 ", ids above 0x%" PRIx64 " expected", id,
				 base | s->last_number);
	if (s->n_requests >= s->max_requests) {
		numbers[0] = s->n_requests + 1;
		numbers[1] = s->max_requests;
		return error_set(err, -EPROTO, "%u requests without END, %u were granted",
				 s->n_requests + 1, s->max_requests);
	}
	if (s->body_bytes + n_body > credit) {
		numbers[0] = s->body_bytes + n_body;
		numbers[1] = credit;
		return error_set(err, -EPROTO,
				 "%zu bytes of bodies without END, %" PRIu64 " were granted",
				 s->body_bytes + n_body, credit);
	}
	return 0;
}

/* What is wrong with him who asks, not with what he says: the request ends, the session lives. */
static int check_tenant(const struct connection *c, size_t n_body, struct request_refusal *how)
{
	uint64_t numbers[2];
	struct error err;
	int rc = tenant_check_body(c->tenant, n_body, numbers, &err);

	if (!rc)
		return 0;
	return request_refuse(how,
			      &(struct request_refusal){.status = rc,
							.err_field = LLM_FIELD_QUOTA,
							.got = numbers[0],
							.limit = numbers[1]},
			      "%s", err.text);
}

static bool take_submit(struct connection *c, const struct incoming *in, size_t *n_read)
{
	const struct packet *p = &in->packet;
	struct body_source src = {.packet = p,
				  .fds = in->fds,
				  .n_fds = in->n_fds,
				  .max_bytes = c->door->d->config->limits.max_body_bytes};
	struct body body;
	struct request_refusal how;
	struct error why;
	__u64 numbers[2];
	int refused = body_measure(&src, &body, &how);
	int rc = check_submit(c, p, refused ? 0 : body.len, numbers, &why);

	if (rc) {
		connection_refuse(c, &why, numbers);
		return false;
	}
	c->session->last_number = (uint32_t)p->head.request_id;
	if (!refused)
		refused = check_tenant(c, body.len, &how);
	if (!refused)
		refused = body_read(&body, &how);
	if (refused) {
		intake_refuse(c->session, &p->head, &how);
		return true;
	}
	intake_submit(c->session, &p->head, body.data, body.len);
	*n_read += body.len;
	body_exit(&body);
	return true;
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void take_cancel(struct connection *c, uint64_t id, size_t *n_read)
{
	struct request *next;

	for (struct request *r = c->session->requests; r; r = next) {
		next = r->session_next;
		*n_read += CONNECTION_CANCEL_BYTES;
		if (!id || r->id == id)
			request_cancel(r);
		if (r->id == id)
			return;
	}
}

static bool refuse_packet(struct connection *c, const struct packet *p)
{
	static const char *const states[] = {"before HELLO", "in a session",
					     "on a control connection"};
	struct error why;

	if (p->head.type == LLM_PACKET_RESUME)
		error_set(&why, -EOPNOTSUPP, "RESUME: not in this version of llmd");
	else
		error_set(&why, -EPROTO, "a packet of type %u %s", p->head.type, states[c->state]);
	connection_refuse(c, &why, (__u64[2]){p->head.type, 0});
	return false;
}

static bool take_control(struct connection *c, const struct packet *p)
{
	leave_hellos(c);
	c->state = CONNECTION_CONTROL;
	if (!control_packet(c->door->d, c->src.fd, c->uid, p->payload, p->head.len))
		return true;
	connection_destroy(c);
	return false;
}

static bool take_session_packet(struct connection *c, const struct incoming *in, size_t *n_read)
{
	const struct packet *p = &in->packet;

	switch (p->head.type) {
	case LLM_PACKET_SUBMIT:
		return take_submit(c, in, n_read);
	case LLM_PACKET_CANCEL:
		take_cancel(c, p->head.request_id, n_read);
		return true;
	case LLM_PACKET_ROOM: /* being awake is all it takes: session_grant() looks */
		return true;
	case LLM_PACKET_CLOSE:
		connection_destroy(c);
		return false;
	default:
		return refuse_packet(c, p);
	}
}

static bool take_packet(struct connection *c, const struct incoming *in, size_t *n_read)
{
	const struct packet *p = &in->packet;

	if (c->state == CONNECTION_SESSION)
		return take_session_packet(c, in, n_read);
	if (p->head.type == LLM_PACKET_CONTROL) {
		*n_read += CONNECTION_CONTROL_BYTES;
		return take_control(c, p);
	}
	if (c->state == CONNECTION_HELLO && p->head.type == LLM_PACKET_HELLO)
		return take_hello(c, p, n_read);
	return refuse_packet(c, p);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Its descriptors do not close, so it may send no more of them. */
static bool refuse_fds(struct connection *c)
{
	unsigned n = closer_count(c->door->closer, c->uid);
	struct error why;

	error_set(&why, -EBUSY,
		  "uid %u has %u descriptors that llmd still tries to close, no more are taken",
		  c->uid, n);
	connection_refuse(c, &why, (__u64[2]){n, CLOSER_UID_FDS});
	return false;
}

/* True: the connection lives, and there may be more. */
static bool read_one(struct connection *c, size_t *n_read, bool *is_empty)
{
	struct door_socket *door = c->door; /* stays when the connection goes */
	struct iovec iov = {door->packet, PACKET_MAX_BYTES};
	struct incoming in;
	struct error why;
	bool is_cut = false, lives = true;
	uid_t uid = c->uid;
	ssize_t n;

	*is_empty = false;
	if (!closer_may_receive(door->closer, uid) && has_fds(c->src.fd))
		return refuse_fds(c);
	n = receive(c->src.fd, &iov, &in, &is_cut);
	*is_empty = n == -EAGAIN || n == -EINTR;
	if (*is_empty)
		return true;
	if (n <= 0) {
		connection_destroy(c);
		lives = false;
	} else if (is_cut) {
		error_set(&why, -EMSGSIZE, "a packet of more than %u bytes", PACKET_MAX_BYTES);
		connection_refuse(c, &why, (__u64[2]){0, PACKET_MAX_BYTES});
		lives = false;
	} else if (packet_parse(door->packet, (size_t)n, &in.packet, &why)) {
		connection_refuse(c, &why, (__u64[2]){(__u64)n, 0});
		lives = false;
	} else {
		lives = take_packet(c, &in, n_read);
	}
	*n_read += n > 0 ? (size_t)n : 0;
	*n_read += CONNECTION_PACKET_BYTES * close_fds(door, &in, uid);
	return lives;
}

/* What this turn has left for the tenant. */
static bool may_read(const struct loop *l, struct tenant *t)
{
	if (t->read_turn != loop_turn(l)) {
		t->read_turn = loop_turn(l);
		t->read_bytes = 0;
	}
	return t->read_bytes < CONNECTION_TURN_BYTES;
}

static bool connection_ready(struct loop_source *src, short revents)
{
	struct connection *c = (struct connection *)src;
	const struct loop *l = c->door->d->loop;
	struct tenant *t = c->tenant; /* stays when the connection goes */

	/* What was sent before the peer hung up is of no use any more. */
	if (revents & (POLLHUP | POLLERR)) {
		connection_destroy(c);
		return false;
	}
	for (unsigned i = 0; i < CONNECTION_TURN_PACKETS && may_read(l, t); i++) {
		size_t n_read = 0;
		bool is_empty, lives = read_one(c, &n_read, &is_empty);

		t->read_bytes += is_empty ? 0 : n_read + CONNECTION_PACKET_BYTES;
		if (!lives || is_empty)
			return false;
	}
	return true;
}

/* ---- birth ---------------------------------------------------------------------------------- */

/* Sessions and, beside them, a few that are on their way or ask questions. */
static int check_peer(const struct tenant *t, __u64 numbers[2], struct error *err)
{
	uint32_t most = t->limits.max_connections;

	if (!most || t->n_refs <= most + 8)
		return 0;
	numbers[0] = t->n_refs;
	numbers[1] = most;
	return error_set(err, -ENOBUFS, "%s would have %u connections, at most %u are allowed",
			 t->name, t->n_refs, most);
}

int connection_create(struct door_socket *door, int fd, struct connection **out)
{
	struct daemon *d = door->d;
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct connection *c;
	struct tenant *t;
	struct error why;
	__u64 numbers[2] = {0};
	int rc;

	*out = NULL;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	t = tenant_get(d->tenants, peer.uid);
	rc = check_peer(t, numbers, &why);
	if (rc) {
		connection_turn_away(fd, &why, numbers);
		goto put_tenant;
	}
	rc = -ENOMEM;
	c = calloc(1, sizeof(*c));
	if (!c)
		goto put_tenant;
	c->src = (struct loop_source){.fd = fd, .events = POLLIN, .ready = connection_ready};
	c->door = door;
	c->uid = peer.uid;
	c->pid = peer.pid;
	c->tenant = t;
	c->hello_by_ns = clock_now_ns() + (uint64_t)d->config->limits.hello_timeout_ms * 1000000u;
	rc = loop_add(d->loop, &c->src);
	if (rc)
		goto free_connection;
	join_lists(c);
	*out = c;
	return 0;

free_connection:
	free(c);
put_tenant:
	tenant_put(d->tenants, t);
	return rc;
}
