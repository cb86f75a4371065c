/* SPDX-License-Identifier: MIT */
/*
 * cancel: starts two endless requests, ends one by its id after ten tokens and the other with all
 * that is left. A cancelled request still has its END; what it had made until then is kept.
 *
 *	cc cancel.c $(pkg-config --cflags --libs libllm) -o cancel
 *	./cancel [SOCKET]
 */
#include <llm.h>
#include <stdbool.h>
#include <stdio.h>

/* Reads until both have ended. 0 or -errno. */
static int run(struct llm *s, const uint64_t ids[2])
{
	bool was_canceled = false;
	unsigned n_ended = 0;
	struct llm_event ev;
	int err;

	while (n_ended < 2) {
		err = llm_next(s, &ev, -1);
		if (err < 0)
			return err;
		err = 0;
		if (ev.type == LLM_EVENT_END) {
			n_ended++;
			printf("request %u: %s after %u tokens\n", (unsigned)ev.user_data,
			       ev.reason == LLM_REASON_CANCELED ? "canceled" : "ended",
			       ev.generated_tokens);
			/* All that is left; nothing happens when nothing is. */
			err = llm_cancel(s, 0);
		} else if (ev.id == ids[0] && ev.first_index + ev.n >= 10 && !was_canceled) {
			was_canceled = true;
			err = llm_cancel(s, ids[0]);
		}
		llm_seen(s);
		if (err)
			return err;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct llm_request req = LLM_REQUEST_INIT;
	uint64_t ids[2];
	struct llm *s;
	int err = llm_open(argc > 1 ? argv[1] : NULL, NULL, &s);

	if (err) {
		fprintf(stderr, "cancel: %s\n", llm_strerror(err));
		return 1;
	}
	req.prompt = "One, two, three,";
	req.flags = LLM_FLAG_RAW | LLM_FLAG_IGNORE_EOS;
	for (unsigned i = 0; !err && i < 2; i++) {
		req.user_data = i;
		err = llm_submit(s, &req, &ids[i]);
	}
	if (!err)
		err = run(s, ids);
	if (err)
		fprintf(stderr, "cancel: %s\n", llm_error(s));
	llm_close(s);
	return err != 0;
}
