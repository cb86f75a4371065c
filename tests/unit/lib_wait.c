/* SPDX-License-Identifier: MIT */
/*
 * Waiting: llm_next() sleeps and is woken for every record whatever the moment (R3), a daemon
 * without room hears of it (R4), time-outs and signals end the wait, and poll(2) on llm_fd() serves
 * as well.
 *
 * Marks: san
 *
 * The daemon is a thread that sleeps on its socket when it has no room and sends each request's
 * tokens in steps of one to three records; a wake-up that is lost shows as a wait of SLEEP_MS.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#include "tests/fake_llmd.h"

enum { N_RECORDS = 30000, SLEEP_MS = 5000 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Empties the socket of ROOMs after a sleep; false if nothing came in time. */
static bool wait_for_room(struct fake *f)
{
	struct pollfd p = {.fd = f->fd, .events = POLLIN};
	char buf[64];

	if (poll(&p, 1, SLEEP_MS) != 1)
		return false;
	while (recv(f->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	return true;
}

/* Sends N_RECORDS and an END of request 1; null or what went wrong. */
static void *serve(void *arg)
{
	struct fake *f = arg;
	uint64_t id = f->welcome.id_base | 1;
	static const struct timespec pause = {0, 1000};

	for (uint32_t i = 0; i <= N_RECORDS;) {
		bool fits = i < N_RECORDS ? fake_tokens(f, id, i, 1, "token")
					  : fake_end(f, id, LLM_END_EOS, 0, "");

		if (fits)
			i++;
		if (!fits || i % 4 || i > N_RECORDS)
			fake_publish(f);
		/* The client gets to the end of the ring and goes to sleep. */
		if (i % 512 == 0)
			nanosleep(&pause, NULL);
		if (fits) {
			llm_ring_unstall(&f->ring);
			continue;
		}
		if (llm_ring_stall(&f->ring, LLM_ROOM) == 1 && !wait_for_room(f))
			return "the daemon heard of no room";
	}
	return NULL;
}

/* Reads all of it with llm_next() alone, or with poll() and llm_next(0). */
static void stream(bool uses_poll)
{
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	struct llm_event ev = {0};
	pthread_t daemon;
	uint32_t n = 0, n_sleeps = 0;
	void *said;
	int got;

	fake_submit(&f, s, 0);
	pthread_create(&daemon, NULL, serve, &f);
	do {
		struct pollfd p = {.fd = llm_fd(s), .events = llm_poll_events(s)};

		got = llm_next(s, &ev, uses_poll ? 0 : SLEEP_MS);
		if (!got && uses_poll) {
			got = poll(&p, 1, SLEEP_MS);
			n_sleeps++;
			continue;
		}
		if (got == 1 && ev.type == LLM_EVENT_TOKENS && ev.first_index != n++)
			got = -EIO;
		if (n % 5 == 0 || n > N_RECORDS - 5)
			llm_seen(s);
	} while (got == 1 && ev.type != LLM_EVENT_END);
	CHECK_EQ(got, 1);
	CHECK_EQ(n, N_RECORDS);
	if (got != 1)
		exit(test_done());
	if (uses_poll)
		CHECK(n_sleeps > 0);
	pthread_join(daemon, &said);
	CHECK_STR(said ? (char *)said : "", "");
	llm_close(s);
	fake_exit(&f);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void test_timeout_and_signal(void)
{
	struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval in_20_ms = {.it_value.tv_usec = 20000};
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	struct llm_event ev;
	double start = now();

	CHECK_EQ(llm_next(s, &ev, 30), 0);
	CHECK(now() - start >= 0.03);
	/* A kick about nothing does not end the wait early. */
	fake_send(&f, LLM_PACKET_KICK, NULL, 0);
	start = now();
	CHECK_EQ(llm_next(s, &ev, 30), 0);
	CHECK(now() - start >= 0.03);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &in_20_ms, NULL);
	CHECK_EQ(llm_next(s, &ev, -1), -EINTR);
	/* The wait can be taken up again. */
	fake_send(&f, 999, NULL, 0);
	CHECK_EQ(llm_next(s, &ev, 1), 0);
	llm_close(s);
	fake_exit(&f);
}

/* After llm_next() has returned 0 the next record makes the descriptor readable. */
static void test_fd(void)
{
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 0);
	struct pollfd p = {.fd = llm_fd(s), .events = llm_poll_events(s)};
	struct llm_event ev;

	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ(llm_next(s, &ev, 0), 0);
		CHECK_EQ(poll(&p, 1, 0), 0);
		fake_tokens(&f, id, i, 1, "a");
		CHECK(fake_publish(&f));
		CHECK_EQ(poll(&p, 1, 0), 1);
		CHECK_EQ(llm_next(s, &ev, 0), 1);
		llm_seen(s);
	}
	llm_close(s);
	fake_exit(&f);
}

/* The socket is full when ROOM is due: it is sent as soon as there is space, and asked for. */
static void test_room_later(void)
{
	struct fake f;
	struct llm *s;
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;
	struct llm_event ev;
	uint64_t id = 0;
	int type;

	fake_init(&f, 1 << 20);
	CHECK_EQ(fake_open(&f, NULL, &s), 0);
	req.prompt = "x";
	CHECK_EQ(llm_submit(s, &req, &id), 0);
	while (!llm_cancel(s, 0))
		;
	fake_tokens(&f, id, 0, 1, "a");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(llm_ring_stall(&f.ring, f.ring.capacity), 1);
	llm_seen(s);
	CHECK_EQ(llm_poll_events(s), POLLIN | POLLOUT);
	do
		type = fake_receive(&f, &in);
	while (type == LLM_PACKET_SUBMIT || type == LLM_PACKET_CANCEL);
	CHECK_EQ(type, 0);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_ROOM);
	CHECK_EQ(llm_poll_events(s), POLLIN);
	llm_close(s);
	fake_exit(&f);
}

int main(void)
{
	test_timeout_and_signal();
	test_fd();
	test_room_later();
	stream(false);
	stream(true);
	return test_done();
}
