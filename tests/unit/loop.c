/* SPDX-License-Identifier: MIT */
/*
 * The event loop keeps its contract on io_uring and on epoll alike: calls on edges, calls again who
 * asks for it, survives sources that vanish while they are called, loses nothing on overflow.
 * Marks: san
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "daemon/loop.h"
#include "tests/test.h"

struct bell {
	struct loop_source src; /* an eventfd */
	struct loop *loop;
	struct bell *victim; /* removed when this one is called */
	struct bell *heir;   /* added then; gets the slot of the victim */
	unsigned n_called, n_again;
	short revents;
	bool is_drained; /* reads when called */
};

static bool on_bell(struct loop_source *src, short revents)
{
	struct bell *b = (struct bell *)src;
	uint64_t n;

	b->n_called++;
	b->revents = revents;
	if (b->is_drained && read(src->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		abort();
	if (b->victim)
		loop_remove(b->loop, &b->victim->src);
	if (b->heir && !b->heir->src.slot)
		CHECK_EQ(loop_add(b->loop, &b->heir->src), 0);
	if (!b->n_again)
		return false;
	b->n_again--;
	return true;
}

static void bell_init(struct bell *b, struct loop *l)
{
	*b = (struct bell){.loop = l};
	b->src.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	b->src.events = POLLIN;
	b->src.ready = on_bell;
}

static void ring_bell(struct bell *b)
{
	uint64_t one = 1;

	if (write(b->src.fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Sleeps until something is called; a loop may wake for nothing. */
static int next_call(struct loop *l)
{
	int n;

	do {
		n = loop_wait(l, -1);
	} while (!n);
	return n;
}

static void test_edges(struct loop *l)
{
	struct bell b;
	uint64_t start;

	bell_init(&b, l);
	ring_bell(&b);
	CHECK_EQ(loop_add(l, &b.src), 0);
	/* Ready before it was added. */
	CHECK_EQ(loop_wait(l, 1000000000), 1);
	CHECK_EQ(b.n_called, 1);
	CHECK_EQ(b.revents & POLLIN, POLLIN);
	/* Still readable, but nothing new happened. */
	CHECK_EQ(loop_wait(l, 0), 0);
	CHECK_EQ(loop_wait(l, 2000000), 0);
	CHECK_EQ(b.n_called, 1);
	ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	CHECK_EQ(b.n_called, 2);
	/* Ten rings before anybody listens are one call. */
	for (int i = 0; i < 10; i++)
		ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	CHECK_EQ(loop_wait(l, 0), 0);
	CHECK_EQ(b.n_called, 3);
	b.n_called = 2;
	/* Again three times, without sleeping, then no more. */
	b.n_again = 3;
	ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(next_call(l), 1);
		CHECK_EQ(b.revents, 0);
	}
	CHECK_EQ(b.n_called, 6);
	CHECK_EQ(loop_wait(l, 0), 0);
	/* New edge and wish at once: one call. */
	b.n_again = 1;
	ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	CHECK_EQ(b.n_called, 8);
	start = now_ns();
	CHECK_EQ(loop_wait(l, 3000000), 0);
	CHECK(now_ns() - start >= 3000000);
	loop_remove(l, &b.src);
	loop_remove(l, &b.src);
	ring_bell(&b);
	CHECK_EQ(loop_wait(l, 0), 0);
	CHECK_EQ(b.n_called, 8);
	close(b.src.fd);
	CHECK_EQ(loop_add(l, &b.src), -EBADF);
}

/* Two bells ring; whoever is called first removes the other, which must then not be called. */
static void test_removal(struct loop *l)
{
	struct bell a, b, c;

	bell_init(&a, l);
	bell_init(&b, l);
	bell_init(&c, l);
	a.victim = &b;
	b.victim = &a;
	a.heir = b.heir = &c;
	CHECK_EQ(loop_add(l, &a.src), 0);
	CHECK_EQ(loop_add(l, &b.src), 0);
	ring_bell(&a);
	ring_bell(&b);
	CHECK_EQ(next_call(l), 1);
	CHECK_EQ(a.n_called + b.n_called, 1);
	/* Its slot went to c, which has not rung. */
	CHECK(c.src.slot != 0);
	CHECK_EQ(loop_wait(l, 0), 0);
	CHECK_EQ(c.n_called, 0);
	/* Removes itself and says "again". */
	c.victim = &c;
	c.n_again = 1;
	ring_bell(&c);
	CHECK_EQ(next_call(l), 1);
	CHECK_EQ(loop_wait(l, 0), 0);
	CHECK_EQ(c.n_called, 1);
	loop_remove(l, &a.src);
	loop_remove(l, &b.src);
	close(a.src.fd);
	close(b.src.fd);
	close(c.src.fd);
}

/* More sources than one wait takes, and more news than any queue holds. */
static void test_many(struct loop *l)
{
	enum { N = 200 };
	static struct bell bells[N];
	unsigned n_called = 0;

	for (unsigned i = 0; i < N; i++) {
		bell_init(&bells[i], l);
		bells[i].is_drained = true;
		CHECK_EQ(loop_add(l, &bells[i].src), 0);
	}
	CHECK_EQ(loop_wait(l, 0), 0);
	for (unsigned k = 0; k < 50; k++)
		for (unsigned i = 0; i < N; i++)
			ring_bell(&bells[i]);
	while (loop_wait(l, 0) > 0)
		;
	for (unsigned i = 0; i < N; i++) {
		CHECK(bells[i].n_called >= 1);
		bells[i].n_called = 0;
		ring_bell(&bells[i]);
	}
	while (loop_wait(l, 0) > 0)
		;
	for (unsigned i = 0; i < N; i++) {
		n_called += bells[i].n_called >= 1;
		loop_remove(l, &bells[i].src);
		close(bells[i].src.fd);
	}
	CHECK_EQ(n_called, N);
}

static void test_hangup(struct loop *l)
{
	struct bell b = {.loop = l};
	int fds[2];
	char c;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	b.src = (struct loop_source){.fd = fds[0], .events = POLLIN, .ready = on_bell};
	CHECK_EQ(loop_add(l, &b.src), 0);
	CHECK_EQ(loop_wait(l, 0), 0);
	close(fds[1]);
	CHECK_EQ(next_call(l), 1);
	CHECK(b.revents & POLLHUP);
	loop_remove(l, &b.src);
	close(fds[0]);
	/* Removed and closed: the peer sees it at once, although the loop has not waited since. */
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	b.src = (struct loop_source){.fd = fds[0], .events = POLLIN, .ready = on_bell};
	CHECK_EQ(loop_add(l, &b.src), 0);
	CHECK_EQ(loop_wait(l, 0), 0);
	loop_remove(l, &b.src);
	close(fds[0]);
	CHECK_EQ(poll(&(struct pollfd){.fd = fds[1], .events = POLLIN}, 1, 2000), 1);
	CHECK_EQ(recv(fds[1], &c, 1, MSG_DONTWAIT), 0);
	close(fds[1]);
}

static void test_kind(enum loop_kind kind, const char *name)
{
	struct error err = {0};
	struct loop *l;
	int rc = loop_create(kind, &l, &err);

	if (rc && kind == LOOP_URING) {
		printf("no io_uring here: %s\n", err.text);
		return;
	}
	CHECK_EQ(rc, 0);
	CHECK_STR(loop_describe(l), name);
	test_edges(l);
	test_removal(l);
	test_many(l);
	test_hangup(l);
	loop_destroy(l);
}

static void test_choice(void)
{
	struct error err = {0};
	struct loop *l;

	setenv("LLM_LOOP", "epoll", 1);
	CHECK_EQ(loop_create(LOOP_AUTO, &l, &err), 0);
	CHECK_STR(loop_describe(l), "epoll");
	loop_destroy(l);
	setenv("LLM_LOOP", "select", 1);
	CHECK_EQ(loop_create(LOOP_AUTO, &l, &err), -EINVAL);
	CHECK_STR(err.text, "LLM_LOOP=select: known are epoll and uring");
	unsetenv("LLM_LOOP");
	CHECK_EQ(loop_create(LOOP_AUTO, &l, &err), 0);
	loop_destroy(l);
}

int main(void)
{
	test_choice();
	test_kind(LOOP_URING, "io_uring");
	test_kind(LOOP_EPOLL, "epoll");
	return test_done();
}
