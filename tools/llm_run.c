/* SPDX-License-Identifier: MIT */
/*
 * llm run: one prompt in, its tokens out as they come.
 *
 * With -m a private daemon serves the file and ends with us; with --connect the daemon at that
 * socket; with neither, whichever llm_open(NULL) finds. Text goes to stdout, everything about it to
 * stderr, except the last line of
 * --json. Ctrl-C cancels the request, waits for its END and exits 130.
 */
#include "tools/llm.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <llm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/option.h"
#include "tools/private.h"

struct run_options {
	const char *model, *connect, *system;
	uint32_t n_tokens, top_k, n_threads;
	uint64_t seed;
	float temperature, top_p;
	struct option_list stops;
	bool is_raw, wants_ids, wants_json, ignores_eos;
};

/* What came back, for --json and for the closing line. */
struct answer {
	char *text;
	size_t text_len, text_cap;
	uint32_t *ids;
	size_t n_ids, cap_ids;
	uint64_t submit_ns, first_ns;	      /* when the first token was here */
	uint64_t first_made_ns, last_made_ns; /* when the daemon had made them */
	struct llm_event end;		      /* pointers in it are not used */
};

static volatile sig_atomic_t was_interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	was_interrupted = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* All of stdin; NULL with errno. */
static char *read_stdin(size_t *len)
{
	size_t cap = 65536, n;
	char *text = malloc(cap), *more;

	*len = 0;
	while (text) {
		n = fread(text + *len, 1, cap - *len, stdin);
		*len += n;
		if (!n)
			break;
		if (*len < cap)
			continue;
		cap *= 2;
		more = realloc(text, cap);
		if (!more)
			free(text);
		text = more;
	}
	if (text && ferror(stdin)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Makes room for n more elements of `size` bytes. */
static bool grow(void **array, size_t *cap, size_t have, size_t n, size_t size)
{
	size_t want = have + n;
	void *more;

	if (want <= *cap)
		return true;
	want = want < 2 * *cap ? 2 * *cap : want + 256;
	more = realloc(*array, want * size);
	if (!more)
		return false;
	*array = more;
	*cap = want;
	return true;
}

static int take_tokens(const struct run_options *o, struct answer *a, const struct llm_event *ev)
{
	if (ev->n && !a->first_ns) {
		a->first_ns = now_ns();
		a->first_made_ns = ev->produced_ns;
	}
	if (ev->n)
		a->last_made_ns = ev->produced_ns;
	if (!grow((void **)&a->ids, &a->cap_ids, a->n_ids, ev->n, sizeof(*a->ids)) ||
	    !grow((void **)&a->text, &a->text_cap, a->text_len, ev->text_len, 1))
		return -ENOMEM;
	if (ev->n)
		memcpy(a->ids + a->n_ids, ev->ids, ev->n * sizeof(*a->ids));
	if (ev->text_len)
		memcpy(a->text + a->text_len, ev->text, ev->text_len);
	for (uint32_t i = 0; o->wants_ids && !o->wants_json && i < ev->n; i++)
		printf("%s%" PRIu32, a->n_ids + i ? " " : "", ev->ids[i]);
	if (!o->wants_ids && !o->wants_json)
		fwrite(ev->text, 1, ev->text_len, stdout);
	if (fflush(stdout))
		return -errno;
	a->n_ids += ev->n;
	a->text_len += ev->text_len;
	return 0;
}

/* Streams until the request's END. 0 or -errno; a->end is set on 0. */
static int stream(struct llm *s, uint64_t id, const struct run_options *o, struct answer *a)
{
	bool was_canceled = false;
	struct llm_event ev;
	int r;

	for (;;) {
		if (was_interrupted && !was_canceled) {
			was_canceled = true;
			llm_cancel(s, id);
		}
		r = llm_next(s, &ev, -1);
		if (r == -EINTR || !r)
			continue;
		if (r < 0)
			return r;
		if (ev.type == LLM_EVENT_END) {
			a->end = ev;
			return 0;
		}
		if (ev.type == LLM_EVENT_TOKENS)
			r = take_tokens(o, a, &ev);
		llm_seen(s);
		if (r < 0) {
			llm_cancel(s, id);
			return r;
		}
	}
}

static const char *reason_name(unsigned reason)
{
	static const char *const names[] = {"?",	"eos",	    "length", "stop",
					    "canceled", "deadline", "error",  "hostdown"};

	return names[reason < sizeof(names) / sizeof(*names) ? reason : 0];
}

/* Of the decode phase: the tokens after the first over the time that making them took. */
static double tokens_per_second(const struct answer *a)
{
	uint64_t span_ns = a->last_made_ns - a->first_made_ns;

	return a->n_ids > 1 && span_ns ? 1e9 * (double)(a->n_ids - 1) / (double)span_ns : 0;
}

static double ttft_ms(const struct answer *a)
{
	return a->first_ns ? 1e-6 * (double)(a->first_ns - a->submit_ns) : 0;
}

static int print_json(const struct answer *a)
{
	json_t *ids = json_array(), *line;
	int r;

	for (size_t i = 0; i < a->n_ids; i++)
		json_array_append_new(ids, json_integer(a->ids[i]));
	line = json_pack("{s:s%, s:o, s:s, s:i, s:i, s:f, s:f}", "text", a->text ? a->text : "",
			 a->text_len, "ids", ids, "reason", reason_name(a->end.reason),
			 "prompt_tokens", (int)a->end.prompt_tokens, "generated_tokens",
			 (int)a->end.generated_tokens, "ttft_ms", ttft_ms(a), "tps",
			 tokens_per_second(a));
	if (!line)
		return -ENOMEM;
	r = json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)) ? -EIO : 0;
	putchar('\n');
	json_decref(line);
	return r;
}

/* The last line on stderr: how fast it was. */
static void print_closing(const struct answer *a, const struct llm_info *info)
{
	double tps = tokens_per_second(a);

	fprintf(stderr,
		"\nprompt %u tokens (%u cached), generated %u, %s; TTFT %.1f ms, %.1f tokens/s",
		a->end.prompt_tokens, a->end.cached_tokens, a->end.generated_tokens,
		reason_name(a->end.reason), ttft_ms(a), tps);
	if (info->token_bytes)
		fprintf(stderr, ", %.2f GB/s", 1e-9 * tps * (double)info->token_bytes);
	fputc('\n', stderr);
}

static int finish(const struct run_options *o, struct answer *a, struct llm *s)
{
	struct llm_info info;

	llm_info(s, &info);
	if (a->end.status && a->end.reason != LLM_REASON_CANCELED) {
		if (a->n_ids && !o->wants_json)
			putchar('\n');
		fprintf(stderr, "llm run: %s\n",
			a->end.message[0] ? a->end.message : llm_strerror(a->end.status));
		return a->end.reason == LLM_REASON_HOSTDOWN ? EXIT_NO_DAEMON : EXIT_FAILED;
	}
	if (o->wants_json) {
		if (print_json(a))
			return EXIT_FAILED;
	} else {
		putchar('\n');
	}
	if (fflush(stdout))
		return EXIT_FAILED;
	print_closing(a, &info);
	if (was_interrupted)
		return EXIT_INTERRUPTED;
	if (a->end.reason == LLM_REASON_CANCELED) {
		fprintf(stderr, "llm run: the answer is not complete: %s\n",
			a->end.message[0] ? a->end.message : "it was canceled");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int run_request(struct llm *s, const struct run_options *o, const char *prompt, size_t len)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct answer a = {0};
	uint64_t id;
	int r, status;

	req.prompt = prompt;
	req.prompt_len = len;
	req.flags = LLM_FLAG_RAW | (o->ignores_eos ? LLM_FLAG_IGNORE_EOS : 0);
	req.max_tokens = o->n_tokens;
	req.temperature = o->temperature;
	req.top_k = o->top_k;
	req.top_p = o->top_p;
	req.has_seed = o->seed != UINT64_MAX;
	req.seed = o->seed;
	req.stops = o->stops.items;
	req.n_stops = o->stops.n;
	a.submit_ns = now_ns();
	r = llm_submit(s, &req, &id);
	if (!r)
		r = stream(s, id, o, &a);
	if (r == -EPIPE) {
		/* Whoever read us has enough. */
		status = EXIT_FAILED;
	} else if (r) {
		fprintf(stderr, "llm run: %s\n", *llm_error(s) ? llm_error(s) : llm_strerror(r));
		status = EXIT_FAILED;
	} else {
		status = finish(o, &a, s);
	}
	free(a.text);
	free(a.ids);
	return status;
}

/* Opens the session that the options ask for. EXIT_DONE or an exit code; *p->pid is 0 without a
 * private daemon. */
static int open_session(const struct run_options *o, struct private_daemon *p, struct llm **s)
{
	struct llm_open_args args = LLM_OPEN_ARGS_INIT;
	char message[LLM_MESSAGE_MAX] = "";
	int r;

	args.name = "llm run";
	args.message = message;
	if (o->model) {
		if (access(o->model, R_OK)) {
			fprintf(stderr, "llm run: %s: %s\n", o->model, strerror(errno));
			return EXIT_FAILED;
		}
		r = private_start(o->model, o->n_threads, p);
		if (r) {
			fprintf(stderr, "llm run: cannot start llmd: %s\n", strerror(-r));
			return EXIT_NO_DAEMON;
		}
		args.fd = p->fd;
		/* A model of many gigabytes takes its time to load; if llmd fails, it closes. */
		args.timeout_ms = -1;
	}
	r = llm_open(o->connect, &args, s);
	if (!r)
		return EXIT_DONE;
	if (was_interrupted) {
		fputs("llm run: interrupted\n", stderr);
		return EXIT_INTERRUPTED;
	}
	if (o->model) {
		/* llmd has said on stderr why, if it could. */
		close(p->fd);
		fprintf(stderr, "llm run: llmd ended with status %d before it was ready\n",
			private_wait(p));
		return EXIT_FAILED;
	}
	fprintf(stderr, "llm run: %s\n", message[0] ? message : llm_strerror(r));
	return EXIT_NO_DAEMON;
}

static int check_options(const struct option_command *cmd, const struct run_options *o, int n_words)
{
	if (o->model && o->connect)
		return option_usage(cmd, "-m and --connect exclude each other");
	if (o->system)
		return option_usage(cmd, "--system needs chat templates, which come with a later "
					 "version");
	if (!o->is_raw)
		return option_usage(cmd, "chat templates come with a later version: give --raw to "
					 "run the prompt as it is");
	if (o->n_threads && !o->model)
		return option_usage(cmd, "--threads is for the private daemon of -m");
	if (n_words > 1)
		return option_usage(cmd, "one prompt is taken, %d words were given: quote it",
				    n_words);
	if (!n_words && isatty(0))
		return option_usage(cmd, "no prompt: give it as a word, or - for standard input");
	return 0;
}

static void catch_interrupt(void)
{
	struct sigaction act = {.sa_handler = on_interrupt};

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int run_prompt(const struct run_options *o, const char *prompt, size_t len)
{
	struct private_daemon p = {.pid = 0, .fd = -1};
	struct llm *s;
	int status;

	catch_interrupt();
	status = open_session(o, &p, &s);
	if (status != EXIT_DONE)
		return status;
	status = run_request(s, o, prompt, len);
	llm_close(s);
	if (p.pid && private_wait(&p) && status == EXIT_DONE)
		status = EXIT_FAILED;
	return status;
}

int llm_run_main(int argc, char **argv)
{
	struct run_options o = {.n_tokens = LLM_UNSET, .seed = UINT64_MAX, .top_p = 1};
	const struct option_def defs[] = {
		{"m", OPTION_TEXT, &o.model, "FILE", "run this GGUF file in a private daemon"},
		{"connect", OPTION_TEXT, &o.connect, "PATH", "use the daemon at this socket"},
		{"n", OPTION_U32, &o.n_tokens, "N", "at most N tokens (default: to the context)"},
		{"temp", OPTION_FLOAT, &o.temperature, "T", "temperature (default 0: greedy)"},
		{"top-k", OPTION_U32, &o.top_k, "K", "draw from the K likeliest (0: all)"},
		{"top-p", OPTION_FLOAT, &o.top_p, "P", "draw from the likeliest that sum to P"},
		{"seed", OPTION_U64, &o.seed, "S", "same seed, same answer (default: drawn)"},
		{"stop", OPTION_LIST, &o.stops, "TEXT", "end before this text; repeatable"},
		{"ignore-eos", OPTION_FLAG, &o.ignores_eos, NULL, "go on after the model ended"},
		{"system", OPTION_TEXT, &o.system, "TEXT", "system message (a later version)"},
		{"raw", OPTION_FLAG, &o.is_raw, NULL, "the prompt as it is, no chat template"},
		{"ids", OPTION_FLAG, &o.wants_ids, NULL, "print token ids instead of text"},
		{"json", OPTION_FLAG, &o.wants_json, NULL, "one JSON object when done"},
		{"threads", OPTION_U32, &o.n_threads, "N", "threads of the private daemon"},
		{NULL, 0, NULL, NULL, NULL},
	};
	const struct option_command cmd = {
		.name = "llm run",
		.usage = "[-m FILE | --connect PATH] [OPTION...] [PROMPT|-]",
		.about = "Runs one prompt and streams its answer to standard output.",
		.defs = defs,
	};
	char *text = NULL;
	size_t len;
	int n_words, status;

	status = option_parse(&cmd, argc, argv, &n_words);
	if (status != OPTION_GO)
		return status == OPTION_DONE ? EXIT_DONE : EXIT_USAGE;
	status = check_options(&cmd, &o, n_words);
	if (status)
		return EXIT_USAGE;
	if (n_words && strcmp(argv[1], "-"))
		return run_prompt(&o, argv[1], strlen(argv[1]));
	text = read_stdin(&len);
	if (!text) {
		fprintf(stderr, "llm run: standard input: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	status = run_prompt(&o, text, len);
	free(text);
	return status;
}
