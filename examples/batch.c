/* SPDX-License-Identifier: MIT */
/*
 * batch: many requests at once: several prompts, and for each of them n choices, which are n
 * requests with seeds in a row. Texts are collected by user_data and printed when all are done.
 *
 *	cc batch.c $(pkg-config --cflags --libs libllm) -o batch
 *	./batch [SOCKET]
 */
#include <errno.h>
#include <llm.h>
#include <stdio.h>
#include <string.h>

enum { N_PROMPTS = 3, N_CHOICES = 4, N = N_PROMPTS * N_CHOICES, TEXT_BYTES = 1024 };

static const char *const prompts[N_PROMPTS] = {"The sea is", "My favourite number is",
					       "Two plus two is"};

struct answer {
	char text[TEXT_BYTES];
	size_t len;
};

static void fill(struct llm_request *reqs)
{
	for (unsigned i = 0; i < N; i++) {
		reqs[i] = (struct llm_request)LLM_REQUEST_INIT;
		reqs[i].prompt = prompts[i / N_CHOICES];
		reqs[i].flags = LLM_FLAG_RAW;
		reqs[i].max_tokens = 24;
		reqs[i].temperature = 1;
		reqs[i].has_seed = 1;
		reqs[i].seed = 1234 + i % N_CHOICES;
		reqs[i].user_data = i;
	}
}

static void take(const struct llm_event *ev, struct answer *answers)
{
	struct answer *a = &answers[ev->user_data];

	if (ev->type == LLM_EVENT_END) {
		if (ev->status)
			snprintf(a->text, sizeof(a->text), "(%s)", ev->message);
		return;
	}
	if (a->len + ev->text_len < sizeof(a->text)) {
		memcpy(a->text + a->len, ev->text, ev->text_len);
		a->len += ev->text_len;
	}
}

/* Submits all N as credit allows and takes all their events. */
static int run(struct llm *s, const struct llm_request *reqs, struct answer *answers)
{
	unsigned n_submitted = 0, n_ended = 0;
	struct llm_event ev;

	while (n_ended < N) {
		int got = llm_submit_many(s, reqs + n_submitted, N - n_submitted, NULL);

		/* No credit now: an END brings some. */
		if (got < 0 && got != -ENOBUFS)
			return got;
		n_submitted += got > 0 ? (unsigned)got : 0;
		got = llm_next(s, &ev, -1);
		if (got < 0)
			return got;
		take(&ev, answers);
		n_ended += ev.type == LLM_EVENT_END;
		llm_seen(s);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct llm_request reqs[N];
	static struct answer answers[N];
	struct llm *s;
	int err = llm_open(argc > 1 ? argv[1] : NULL, NULL, &s);

	if (err) {
		fprintf(stderr, "batch: %s\n", llm_strerror(err));
		return 1;
	}
	fill(reqs);
	err = run(s, reqs, answers);
	if (err)
		fprintf(stderr, "batch: %s\n", llm_error(s));
	for (unsigned i = 0; !err && i < N; i++)
		printf("%s|%s\n", reqs[i].prompt, answers[i].text);
	llm_close(s);
	return err != 0;
}
