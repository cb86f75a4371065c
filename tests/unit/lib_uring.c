/* SPDX-License-Identifier: MIT */
/*
 * llm_prep_submit(), llm_prep_done(), llm_prep_wait(): requests go out and news come in through a
 * program's own io_uring, in the order of their ids, and what was not sent costs nothing.
 *
 * Marks: san
 */
#include <liburing.h>
#include <poll.h>

#include "tests/fake_llmd.h"

enum { WAIT = 1 };

static struct io_uring ring;

static struct llm_request request(const char *prompt, uint64_t user_data)
{
	struct llm_request req = LLM_REQUEST_INIT;

	req.prompt = prompt;
	req.user_data = user_data;
	return req;
}

/* The next completion, which must be there: its result; *data is its user_data. */
static int complete(void **data, unsigned *flags)
{
	struct io_uring_cqe *cqe;
	int res;

	res = io_uring_peek_cqe(&ring, &cqe);
	CHECK_EQ(res, 0);
	if (res)
		exit(test_done());
	*data = io_uring_cqe_get_data(cqe);
	*flags = cqe->flags;
	res = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

static bool is_idle(void)
{
	struct io_uring_cqe *cqe;

	return io_uring_peek_cqe(&ring, &cqe) == -EAGAIN;
}

/* One SQE for p; the session's answer. */
static int prepare(struct llm *s, const struct llm_request *req, struct llm_prepared *p)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	int err = llm_prep_submit(s, sqe, req, p);

	if (err)
		io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, p);
	return err;
}

static void test_submit(void)
{
	enum { N = 4 };
	char *large = calloc(1, 100001);
	struct llm_prepared p[N];
	struct fake_packet in;
	struct fake f;
	struct llm *s = fake_session(&f, N);
	struct llm_info info;
	struct llm_event ev;
	struct llm_request req;
	unsigned flags;
	void *data;

	memset(large, 'x', 100000);
	for (unsigned i = 0; i < N; i++) {
		char prompt[32];

		/* The request and its prompt go before the send. */
		snprintf(prompt, sizeof(prompt), "prompt %u", i);
		req = request(i == 2 ? large : prompt, i);
		CHECK_EQ(prepare(s, &req, &p[i]), 0);
		CHECK(p[i].id == (f.welcome.id_base | (i + 1)));
		memset(prompt, 0, sizeof(prompt));
	}
	/* Nothing may overtake them. */
	CHECK_EQ(llm_submit(s, &req, NULL), -EBUSY);
	CHECK_EQ(llm_cancel(s, p[0].id), -EBUSY);
	CHECK_EQ(io_uring_submit(&ring), N);
	for (unsigned i = 0; i < N; i++) {
		int res = complete(&data, &flags);

		CHECK(data == &p[i]);
		CHECK_EQ(llm_prep_done(s, &p[i], res), 0);
		CHECK(p[i].id == (f.welcome.id_base | (i + 1)));
		CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_SUBMIT);
		CHECK(in.head.request_id == p[i].id && in.head.user_data == i);
		CHECK_EQ(in.fd >= 0, i == 2);
		if (in.fd >= 0)
			close(in.fd);
		else
			CHECK(in.payload[72 + 7] == '0' + i);
	}
	llm_info(s, &info);
	CHECK_EQ(info.n_requests, N);
	CHECK_EQ(llm_cancel(s, p[0].id), 0);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_CANCEL);
	for (unsigned i = 0; i < N; i++)
		fake_end(&f, p[i].id, LLM_END_EOS, 0, "");
	fake_publish(&f);
	for (unsigned i = 0; i < N; i++) {
		CHECK_EQ(llm_next(s, &ev, 0), 1);
		CHECK(ev.id == p[i].id && ev.user_data == i);
	}
	fake_submit(&f, s, 0);
	llm_close(s);
	fake_exit(&f);
	free(large);
}

/* Errors of preparing leave the SQE alone; errors of sending give everything back. */
static void test_failures(void)
{
	struct llm_request req = request("x", 0), bad = request(NULL, 0);
	struct llm_prepared p, q, r;
	struct fake_packet in;
	struct llm_event ev;
	struct llm_info info;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring), before = *sqe;
	unsigned flags;
	void *data;

	CHECK_EQ(llm_prep_submit(s, sqe, &bad, &p), -EINVAL);
	CHECK_EQ(p.id, 0);
	CHECK(!memcmp(sqe, &before, sizeof(before)));
	CHECK_EQ(llm_prep_done(s, &p, 0), -EINVAL);
	io_uring_prep_nop(sqe);
	io_uring_submit(&ring);
	complete(&data, &flags);

	/* Prepared and never given to the kernel. */
	CHECK_EQ(prepare(s, &req, &p), 0);
	CHECK_EQ(prepare(s, &req, &q), 0);
	CHECK_EQ(prepare(s, &req, &r), -ENOBUFS);
	CHECK_EQ(llm_prep_done(s, &p, -ECANCELED), -ECANCELED);
	CHECK_EQ(p.id, 0);
	CHECK_EQ(llm_prep_done(s, &q, -EAGAIN), -ENOBUFS);
	CHECK_EQ(llm_poll_events(s), POLLIN | POLLOUT);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK_EQ(llm_poll_events(s), POLLIN);
	llm_info(s, &info);
	CHECK_EQ(info.n_requests, 0);
	CHECK_EQ(fake_receive(&f, &in), 0);
	/* The two SQEs are still in the ring and point at p and q: let them do nothing. */
	for (unsigned i = ring.sq.sqe_head; i != ring.sq.sqe_tail; i++)
		io_uring_prep_nop(&ring.sq.sqes[i & *ring.sq.kring_mask]);
	CHECK_EQ(io_uring_submit(&ring), 3);
	for (int i = 0; i < 3; i++)
		complete(&data, &flags);
	/* Ids rise on over the two that were lost. */
	CHECK_EQ(fake_submit(&f, s, 0) & 0xffffffff, 3);

	/* The daemon goes while one is prepared: that one fails, the other has its END. */
	CHECK_EQ(prepare(s, &req, &p), 0);
	fake_die(&f);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.id & 0xffffffff, 3);
	CHECK_EQ(llm_next(s, &ev, 0), -EHOSTDOWN);
	CHECK_EQ(llm_prep_done(s, &p, complete(&data, &flags)), -EHOSTDOWN);
	CHECK_EQ(llm_next(s, &ev, 0), -EHOSTDOWN);
	CHECK_EQ(llm_prep_submit(s, NULL, &req, &p), -EHOSTDOWN);
	llm_close(s);
	fake_exit(&f);
}

/* A daemon that does not read: completions say so at once, in order, and nothing is left behind. */
static void test_full_socket(void)
{
	enum { N = 8 };
	char *text = calloc(1, 60001);
	struct llm_prepared p[N];
	struct llm_request req;
	struct fake_packet in;
	struct llm_info info;
	struct fake f;
	struct llm *s = fake_session(&f, N);
	unsigned n_sent = 0, flags;
	uint64_t last = 0;
	void *data;

	memset(text, 'x', 60000);
	req = request(text, 0);
	for (unsigned i = 0; i < N; i++)
		CHECK_EQ(prepare(s, &req, &p[i]), 0);
	CHECK_EQ(io_uring_submit(&ring), N);
	for (unsigned i = 0; i < N; i++) {
		int res = complete(&data, &flags), err = llm_prep_done(s, data, res);

		CHECK(err == 0 || err == -ENOBUFS);
		n_sent += !err;
	}
	CHECK(n_sent > 0 && n_sent < N);
	llm_info(s, &info);
	CHECK_EQ(info.n_requests, n_sent);
	for (unsigned i = 0; i < n_sent; i++) {
		CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_SUBMIT);
		CHECK(in.head.request_id > last);
		last = in.head.request_id;
	}
	CHECK_EQ(fake_receive(&f, &in), 0);
	llm_close(s);
	fake_exit(&f);
	free(text);
}

/* Each record written after llm_next() has returned 0 makes the multishot poll complete once more.
 */
static void test_wait(void)
{
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 0);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct llm_event ev;
	unsigned flags;
	void *data;

	/* Awake, with a record that no kick was sent for: the first llm_next() finds it. */
	fake_tokens(&f, id, 0, 1, "a");
	fake_tokens(&f, id, 1, 1, "a");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(llm_prep_wait(s, sqe), 0);
	io_uring_sqe_set_data64(sqe, WAIT);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	while (!is_idle())
		complete(&data, &flags);
	for (uint32_t i = 2; i < 20; i++) {
		fake_tokens(&f, id, i, 1, "a");
		CHECK(fake_publish(&f));
		CHECK(complete(&data, &flags) > 0);
		CHECK(flags & IORING_CQE_F_MORE);
		CHECK_EQ(llm_next(s, &ev, 0), 1);
		CHECK_EQ(ev.first_index, i);
		llm_seen(s);
		CHECK_EQ(llm_next(s, &ev, 0), 0);
		CHECK(is_idle());
	}
	fake_die(&f);
	CHECK(complete(&data, &flags) > 0);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.reason, LLM_REASON_HOSTDOWN);
	CHECK_EQ(ev.generated_tokens, 20);
	llm_close(s);
	fake_exit(&f);
}

int main(void)
{
	int err = io_uring_queue_init(16, &ring, 0);

	if (err == -ENOSYS || err == -EPERM)
		SKIP("io_uring is not available");
	CHECK_EQ(err, 0);
	test_submit();
	test_failures();
	test_full_socket();
	test_wait();
	io_uring_queue_exit(&ring);
	return test_done();
}
