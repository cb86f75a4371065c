/* SPDX-License-Identifier: MIT */
/*
 * stream: a prompt sampled with a temperature, streamed from an event loop: poll(2) waits for the
 * session beside whatever else a program has (here: Enter, which cancels), and the END tells where
 * the time went.
 *
 *	cc stream.c $(pkg-config --cflags --libs libllm) -o stream
 *	./stream [SOCKET] [PROMPT]
 */
#include <llm.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

static void print_end(const struct llm_event *ev)
{
	static const char *const reasons[] = {"?",	  "eos",      "length", "stop",
					      "canceled", "deadline", "error",	"hostdown"};

	printf("\n[%s%s%s: %u + %u tokens, waited %.1f ms, prefill %.1f ms, decode %.1f ms]\n",
	       reasons[ev->reason < 8 ? ev->reason : 0], *ev->message ? ", " : "", ev->message,
	       ev->prompt_tokens, ev->generated_tokens, 1e-6 * (double)ev->queue_ns,
	       1e-6 * (double)ev->prefill_ns, 1e-6 * (double)ev->decode_ns);
}

/* Takes every event there is. 1 while the request goes on, 0 after its END, or -errno. */
static int take_events(struct llm *s)
{
	struct llm_event ev;
	int got;

	while ((got = llm_next(s, &ev, 0)) == 1) {
		if (ev.type == LLM_EVENT_END) {
			print_end(&ev);
			return 0;
		}
		fwrite(ev.text, 1, ev.text_len, stdout);
		llm_seen(s);
	}
	fflush(stdout);
	return got < 0 ? got : 1;
}

static int stream(struct llm *s)
{
	struct pollfd fds[2] = {{.fd = llm_fd(s)}, {.fd = STDIN_FILENO, .events = POLLIN}};
	char line[256];
	int more;

	/* Wait only after llm_next() has said that there is nothing. */
	while ((more = take_events(s)) == 1) {
		fds[0].events = llm_poll_events(s);
		if (poll(fds, 2, -1) < 0)
			return -1;
		if (fds[1].revents) {
			if (read(STDIN_FILENO, line, sizeof(line)) > 0)
				llm_cancel(s, 0);
			fds[1].fd = -1;
		}
	}
	return more;
}

int main(int argc, char **argv)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_info info;
	struct llm *s;
	int err = llm_open(argc > 1 ? argv[1] : NULL, NULL, &s);

	if (err) {
		fprintf(stderr, "stream: %s\n", llm_strerror(err));
		return 1;
	}
	llm_info(s, &info);
	printf("[%s, context %u tokens; Enter cancels]\n", info.model, info.context_tokens);
	req.prompt = argc > 2 ? argv[2] : "Once upon a time";
	req.flags = LLM_FLAG_RAW;
	req.max_tokens = 200;
	req.temperature = 0.8f;
	req.top_p = 0.95f;
	err = llm_submit(s, &req, NULL);
	if (!err)
		err = stream(s);
	if (err)
		fprintf(stderr, "stream: %s\n", llm_error(s));
	llm_close(s);
	return err != 0;
}
