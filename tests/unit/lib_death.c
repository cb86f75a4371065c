/* SPDX-License-Identifier: MIT */
/*
 * The daemon goes: what it wrote before is still read, then each request in flight gets exactly one
 * END, and every call says that it is over.
 *
 * Marks: san
 */
#include <poll.h>

#include "tests/fake_llmd.h"

/* The ENDs of the n requests first, first + 1, ... and then nothing. */
static void expect_ends(struct llm *s, uint64_t first, unsigned n, int status, const char *message)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_event ev;
	struct llm_info info;

	for (unsigned i = 0; i < n; i++) {
		CHECK_EQ(llm_next(s, &ev, -1), 1);
		CHECK_EQ(ev.type, LLM_EVENT_END);
		CHECK(ev.id == first + i);
		CHECK_EQ(ev.user_data, first + i);
		CHECK_EQ(ev.reason, LLM_REASON_HOSTDOWN);
		CHECK_EQ(ev.status, status);
		CHECK_STR(ev.message, message);
	}
	CHECK_EQ(llm_next(s, &ev, -1), -EHOSTDOWN);
	CHECK_EQ(llm_next(s, &ev, 0), -EHOSTDOWN);
	CHECK_STR(llm_error(s), message);
	req.prompt = "x";
	CHECK_EQ(llm_submit(s, &req, NULL), -EHOSTDOWN);
	CHECK_EQ(llm_submit_many(s, &req, 1, NULL), -EHOSTDOWN);
	CHECK_EQ(llm_cancel(s, 0), -EHOSTDOWN);
	llm_seen(s);
	llm_info(s, &info);
	CHECK_EQ(info.is_alive, 0);
	CHECK_EQ(info.n_requests, 0);
}

/* A session with n requests in flight, user_data their id. */
static struct llm *with_requests(struct fake *f, unsigned n, uint64_t *first)
{
	struct llm *s = fake_session(f, n + 1);
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;

	req.prompt = "x";
	*first = f->welcome.id_base | 1;
	for (unsigned i = 0; i < n; i++) {
		req.user_data = *first + i;
		CHECK_EQ(llm_submit(s, &req, NULL), 0);
		CHECK_EQ(fake_receive(f, &in), LLM_PACKET_SUBMIT);
	}
	return s;
}

static void test_eof(void)
{
	struct llm_event ev;
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 3, &first);
	struct pollfd p = {.fd = llm_fd(s), .events = llm_poll_events(s)};

	/* Written, and neither published with a kick nor followed by anything. */
	fake_tokens(&f, first + 1, 0, 1, "a");
	fake_end(&f, first + 1, LLM_END_EOS, 0, "");
	llm_ring_publish(&f.ring);
	fake_die(&f);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(llm_next(s, &ev, -1), 1);
	CHECK_EQ(ev.type, LLM_EVENT_TOKENS);
	CHECK_EQ(llm_next(s, &ev, -1), 1);
	CHECK(ev.id == first + 1 && ev.reason == LLM_REASON_EOS);
	CHECK_EQ(llm_next(s, &ev, -1), 1);
	CHECK(ev.id == first && ev.reason == LLM_REASON_HOSTDOWN);
	expect_ends(s, first + 2, 1, -EHOSTDOWN, "the daemon has gone");
	llm_close(s);
	fake_exit(&f);
}

/* Records written between the last look at the ring and the look at the socket are not lost. */
static void test_eof_after_drain(void)
{
	struct llm_event ev;
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 1, &first);

	CHECK_EQ(llm_next(s, &ev, 0), 0);
	fake_end(&f, first, LLM_END_EOS, 0, "");
	fake_publish(&f);
	fake_die(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.reason, LLM_REASON_EOS);
	expect_ends(s, first, 0, 0, "the daemon has gone");
	llm_close(s);
	fake_exit(&f);
}

/* A daemon that dies with our packets unread: the socket reports a reset first. */
static void test_reset(void)
{
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 2, &first);

	CHECK_EQ(llm_cancel(s, first), 0);
	fake_die(&f);
	expect_ends(s, first, 2, -EHOSTDOWN, "the daemon has gone");
	llm_close(s);
	fake_exit(&f);
}

/* Noticed by a submit: the request that failed has no END, the others have theirs. */
static void test_submit_notices(void)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 2, &first);

	fake_die(&f);
	req.prompt = "x";
	CHECK_EQ(llm_submit(s, &req, NULL), -EHOSTDOWN);
	expect_ends(s, first, 2, -EHOSTDOWN, "the daemon has gone");
	llm_close(s);
	fake_exit(&f);
}

static void test_refused(void)
{
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 2, &first);

	fake_refuse(&f, -EDQUOT, "3 requests, limit 2");
	fake_die(&f);
	expect_ends(s, first, 2, -EDQUOT, "3 requests, limit 2");
	llm_close(s);
	fake_exit(&f);

	/* The same, noticed by a packet that cannot be sent. */
	s = with_requests(&f, 2, &first);
	fake_refuse(&f, -EDQUOT, "3 requests, limit 2");
	fake_die(&f);
	CHECK_EQ(llm_cancel(s, 0), -EHOSTDOWN);
	expect_ends(s, first, 2, -EDQUOT, "3 requests, limit 2");
	llm_close(s);
	fake_exit(&f);
}

static void test_state(void)
{
	struct llm_event ev;
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 1, &first);

	f.k->state_seq = 5;
	fake_send(&f, LLM_PACKET_STATE, NULL, 0);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK_EQ(f.c->state_seen, 5);
	f.k->closed = 1;
	fake_send(&f, LLM_PACKET_STATE, NULL, 0);
	expect_ends(s, first, 1, -EHOSTDOWN, "the daemon has closed the session");
	llm_close(s);
	fake_exit(&f);
}

/* Packets: unknown ones and ones with a longer header pass, a length that lies does not. */
static void test_packets(void)
{
	struct {
		struct llm_packet head;
		uint64_t more;
	} longer = {.head = {.type = LLM_PACKET_KICK, .hdr_len = sizeof(longer)}};
	struct llm_event ev;
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 1, &first);

	fake_send(&f, 999, "of tomorrow", 11);
	CHECK(send(f.fd, &longer, sizeof(longer), 0) == (ssize_t)sizeof(longer));
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	longer.head.len = 1000;
	CHECK(send(f.fd, &longer, sizeof(longer), 0) == (ssize_t)sizeof(longer));
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK(ev.id == first);
	CHECK_EQ(ev.status, -EPROTO);
	CHECK_EQ(llm_next(s, &ev, 0), -EHOSTDOWN);
	llm_close(s);
	fake_exit(&f);

	s = with_requests(&f, 1, &first);
	CHECK(send(f.fd, "short", 5, 0) == 5);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.status, -EPROTO);
	llm_close(s);
	fake_exit(&f);
}

/* The daemon hangs up and has also left a ring that cannot be: the first reason is told. */
static void test_lie_after_eof(void)
{
	struct fake f;
	uint64_t first;
	struct llm *s = with_requests(&f, 2, &first);
	struct llm_event ev;

	fake_die(&f);
	CHECK_EQ(llm_cancel(s, 0), -EHOSTDOWN);
	f.p->pos = 12345678;
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK(ev.id == first);
	expect_ends(s, first + 1, 1, -EHOSTDOWN, "the daemon has gone");
	llm_close(s);
	fake_exit(&f);
}

int main(void)
{
	test_eof();
	test_eof_after_drain();
	test_reset();
	test_submit_notices();
	test_refused();
	test_state();
	test_packets();
	test_lie_after_eof();
	return test_done();
}
