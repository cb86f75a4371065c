/* SPDX-License-Identifier: MIT */
/*
 * hello: one prompt in, its text out.
 *
 *	cc hello.c $(pkg-config --cflags --libs libllm) -o hello
 *	./hello [SOCKET]
 */
#include <llm.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_event ev = {0};
	struct llm *s;
	int err = llm_open(argc > 1 ? argv[1] : NULL, NULL, &s);

	if (err) {
		fprintf(stderr, "hello: %s\n", llm_strerror(err));
		return 1;
	}
	req.prompt = "The capital of France is";
	req.flags = LLM_FLAG_RAW;
	req.max_tokens = 64;
	err = llm_submit(s, &req, NULL);
	while (!err && llm_next(s, &ev, -1) == 1 && ev.type == LLM_EVENT_TOKENS) {
		fwrite(ev.text, 1, ev.text_len, stdout);
		fflush(stdout);
		llm_seen(s);
	}
	puts(ev.type == LLM_EVENT_END ? ev.message : llm_error(s));
	llm_close(s);
	return ev.type != LLM_EVENT_END || ev.status;
}
