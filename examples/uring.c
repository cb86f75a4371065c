/* SPDX-License-Identifier: MIT */
/*
 * uring: a client whose only blocking call is io_uring_enter(2). Prompts go out as SQEs of its own
 * ring, and one multishot poll wakes it for tokens. Everything else a server does (sockets, files,
 * timers) would be further SQEs of the same ring.
 *
 *	cc uring.c $(pkg-config --cflags --libs libllm liburing) -o uring
 *	./uring [SOCKET]
 */
#include <errno.h>
#include <liburing.h>
#include <llm.h>
#include <stdbool.h>
#include <stdio.h>

enum { N = 3 };

struct client {
	struct io_uring ring;
	struct llm *s;
	struct llm_prepared sends[N]; /* each the user_data of its SQE; NULL is the poll's */
	unsigned n_live;	      /* requests without END */
};

static int submit_prompts(struct client *c)
{
	static const char *const prompts[N] = {"Red, green,", "Monday, Tuesday,", "Earth, Mars,"};

	for (unsigned i = 0; i < N; i++) {
		struct llm_request req = LLM_REQUEST_INIT;
		struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
		int err;

		req.prompt = prompts[i];
		req.flags = LLM_FLAG_RAW;
		req.max_tokens = 16;
		req.user_data = i;
		err = llm_prep_submit(c->s, sqe, &req, &c->sends[i]);
		if (err)
			return err;
		io_uring_sqe_set_data(sqe, &c->sends[i]);
		c->n_live++;
	}
	return 0;
}

static int wait_for_news(struct client *c)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
	int err = llm_prep_wait(c->s, sqe);

	io_uring_sqe_set_data(sqe, NULL);
	return err;
}

/* All events there are: after the poll was armed, and after each of its completions. */
static int take_events(struct client *c)
{
	struct llm_event ev;
	int got;

	while ((got = llm_next(c->s, &ev, 0)) == 1) {
		if (ev.type == LLM_EVENT_TOKENS)
			printf("%u: %.*s\n", (unsigned)ev.user_data, (int)ev.text_len, ev.text);
		else
			printf("%u: end, %u tokens %s\n", (unsigned)ev.user_data,
			       ev.generated_tokens, ev.message);
		c->n_live -= ev.type == LLM_EVENT_END;
		llm_seen(c->s);
	}
	return got;
}

/* One completion. 0 or -errno. */
static int take_completion(struct client *c, struct io_uring_cqe *cqe)
{
	struct llm_prepared *sent = io_uring_cqe_get_data(cqe);
	bool is_last = !(cqe->flags & IORING_CQE_F_MORE);
	int res = cqe->res, err;

	io_uring_cqe_seen(&c->ring, cqe);
	if (sent)
		return llm_prep_done(c->s, sent, res);
	if (is_last) {
		err = wait_for_news(c);
		if (!err && io_uring_submit(&c->ring) < 0)
			err = -EIO;
		if (err)
			return err;
	}
	return take_events(c);
}

static int run(struct client *c)
{
	struct io_uring_cqe *cqe;
	int err = submit_prompts(c);

	if (!err)
		err = wait_for_news(c);
	if (!err && io_uring_submit(&c->ring) < 0)
		err = -EIO;
	if (!err)
		err = take_events(c);
	while (!err && c->n_live) {
		err = io_uring_wait_cqe(&c->ring, &cqe);
		if (!err)
			err = take_completion(c, cqe);
	}
	return err;
}

int main(int argc, char **argv)
{
	static struct client c;
	int err = llm_open(argc > 1 ? argv[1] : NULL, NULL, &c.s);

	if (err) {
		fprintf(stderr, "uring: %s\n", llm_strerror(err));
		return 1;
	}
	err = io_uring_queue_init(16, &c.ring, 0);
	if (!err)
		err = run(&c);
	if (err)
		fprintf(stderr, "uring: %s\n",
			*llm_error(c.s) ? llm_error(c.s) : llm_strerror(err));
	llm_close(c.s);
	return err != 0;
}
