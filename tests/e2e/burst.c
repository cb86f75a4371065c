/* SPDX-License-Identifier: MIT */
/*
 * burst: many requests from many processes, made from a seed, their ids printed in order.
 *
 * A program of the e2e tests, no test itself: two bursts with the same --seed ask the same
 * questions, so whatever the daemon's settings, the number of processes or the requests in flight,
 * their outputs must be equal byte for byte. One line a request: index, reason, status, prompt
 * tokens, ids. Each client checks on the way that nothing is lost, repeated or crossed: every
 * request has one END, indexes run 0..n-1, user_data comes back. Rates go to stderr as JSON.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <llm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct burst {
	const char *where;
	uint32_t n, n_procs, n_inflight; /* requests, clients, requests in flight per client */
	uint32_t isl_min, isl_max, osl_min, osl_max;
	uint32_t n_vocab, prefix_tokens; /* ids are drawn from 3..n_vocab-1 */
	uint64_t seed;
	bool is_seeded;	   /* odd requests sample with their own seed; else all are greedy */
	const char *pause; /* after its first event a client stops reading until this file exists */
	uint32_t ring_bytes; /* 0: libllm's own choice */
	bool needs_all;	     /* every request must end without an error */
};

struct flight {
	uint32_t index;
	uint64_t id;
	uint32_t *ids, n_ids;
	uint32_t *prompt;
	double submitted; /* s, CLOCK_MONOTONIC */
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void fail(const char *what, long long got, long long want)
{
	fprintf(stderr, "burst: %s: %lld, expected %lld\n", what, got, want);
	exit(1);
}

/* Request i of the burst: prompt ids, sampling, length. The same for the same seed. */
static void make_request(const struct burst *b, struct flight *f, struct llm_request *req)
{
	uint64_t key = mix(b->seed + f->index), prefix_key = mix(~b->seed - f->index % 4);
	uint32_t isl = b->isl_min + (uint32_t)(key % (b->isl_max - b->isl_min + 1));

	f->prompt = calloc(isl, sizeof(*f->prompt));
	f->ids = calloc(b->osl_max, sizeof(*f->ids));
	if (!f->prompt || !f->ids)
		fail("memory", 0, isl);
	for (uint32_t i = 0; i < isl; i++)
		f->prompt[i] = 3 + (uint32_t)(mix((i < b->prefix_tokens ? prefix_key : key) + i) %
					      (b->n_vocab - 3));
	req->ids = f->prompt;
	req->n_ids = isl;
	req->max_tokens = b->osl_min + (uint32_t)(mix(key) % (b->osl_max - b->osl_min + 1));
	req->flags = LLM_FLAG_RAW | (f->index % 3 ? LLM_FLAG_IGNORE_EOS : 0);
	req->user_data = f->index;
	req->has_seed = true;
	req->seed = key;
	if (b->is_seeded && f->index % 2) {
		req->temperature = 0.9f;
		req->top_k = f->index % 4 == 1 ? 40 : 0;
		req->top_p = f->index % 4 == 3 ? 0.9f : 1;
	}
}

/* Starts the client's next request if there is one and credit for it. 1 started, 0 not now. */
static int start(struct llm *s, const struct burst *b, struct flight *f, uint32_t index)
{
	struct llm_request req = LLM_REQUEST_INIT;
	int r;

	f->index = index;
	f->n_ids = 0;
	make_request(b, f, &req);
	f->submitted = now();
	r = llm_submit(s, &req, &f->id);
	if (r == 0)
		return 1;
	free(f->prompt);
	free(f->ids);
	f->ids = NULL;
	if (r != -ENOBUFS)
		fail(llm_strerror(r), r, 0);
	return 0;
}

static struct flight *find(struct flight *flights, uint32_t n, const struct llm_event *ev)
{
	for (uint32_t i = 0; i < n; i++)
		if (flights[i].ids && flights[i].id == ev->id) {
			if (flights[i].index != ev->user_data)
				fail("user_data", (long long)ev->user_data, flights[i].index);
			return &flights[i];
		}
	fail("an event for an unknown request", (long long)ev->id, 0);
}

static void print_end(struct flight *f, const struct llm_event *ev, FILE *out)
{
	/* The time is for the rates, and is taken off before the line is printed. */
	fprintf(out, "%.0f %u %u %d %u", 1e6 * (now() - f->submitted), f->index, ev->reason,
		ev->status, ev->prompt_tokens);
	for (uint32_t i = 0; i < f->n_ids; i++)
		fprintf(out, " %u", f->ids[i]);
	fputc('\n', out);
	free(f->prompt);
	free(f->ids);
	f->ids = NULL;
}

/* Takes one event; 1 when it was an END. */
static int take(const struct burst *b, struct flight *f, const struct llm_event *ev, FILE *out)
{
	if (ev->type == LLM_EVENT_TOKENS) {
		if (ev->first_index != f->n_ids)
			fail("first index", ev->first_index, f->n_ids);
		if (f->n_ids + ev->n > b->osl_max)
			fail("tokens", f->n_ids + ev->n, b->osl_max);
		memcpy(f->ids + f->n_ids, ev->ids, ev->n * sizeof(*f->ids));
		f->n_ids += ev->n;
		return 0;
	}
	if (ev->generated_tokens != f->n_ids)
		fail("generated tokens of END", ev->generated_tokens, f->n_ids);
	if (b->needs_all && ev->status)
		fail(ev->message, ev->status, 0);
	print_end(f, ev, out);
	return 1;
}

/* One client: requests rank, rank + n_procs, ... */
static void client(const struct burst *b, uint32_t rank, FILE *out)
{
	struct llm_open_args args = LLM_OPEN_ARGS_INIT;
	struct flight *flights = calloc(b->n_inflight, sizeof(*flights));
	uint32_t next = rank, n_live = 0;
	struct llm_event ev;
	bool has_paused = false;
	struct llm *s;
	int r;

	args.max_requests = b->n_inflight;
	args.ring_bytes = b->ring_bytes;
	r = llm_open(b->where, &args, &s);
	if (r || !flights)
		fail(llm_strerror(r), r, 0);
	while (next < b->n || n_live) {
		for (uint32_t i = 0; next < b->n && i < b->n_inflight; i++) {
			if (flights[i].ids || !start(s, b, &flights[i], next))
				continue;
			next += b->n_procs;
			n_live++;
		}
		r = llm_next(s, &ev, 60000);
		if (r < 0)
			fail(llm_strerror(r), r, 1);
		if (!r)
			fail("nothing came for 60 s; live requests", n_live, 0);
		if (b->pause && !has_paused) {
			has_paused = true;
			while (access(b->pause, F_OK))
				usleep(10000);
		}
		if (take(b, find(flights, b->n_inflight, &ev), &ev, out))
			n_live--;
		llm_seen(s);
	}
	if (llm_next(s, &ev, 0) == 1) /* a daemon that was drained is gone by now */
		fail("an event after the last END", ev.type, 0);
	llm_close(s);
	free(flights);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Puts one client's lines where their index says, and their times into us[]. */
static void sort_lines(const struct burst *b, FILE *file, char **lines, double *us)
{
	char *line = NULL, *rest;
	unsigned long i;
	size_t cap = 0;
	double t;

	rewind(file);
	while (getline(&line, &cap, file) > 0) {
		t = strtod(line, &rest);
		i = strtoul(rest, NULL, 10);
		if (i >= b->n || lines[i])
			fail("a request ended twice or is none of ours", (long long)i, b->n);
		us[i] = t;
		lines[i] = strdup(rest + 1);
	}
	free(line);
}

/* Prints the clients' lines in the order of their index, and the times to END. */
static void print_sorted(const struct burst *b, FILE **files)
{
	char **lines = calloc(b->n, sizeof(*lines));
	double *us = calloc(b->n, sizeof(*us));
	uint64_t n_tokens = 0;

	if (!lines || !us)
		fail("memory", 0, b->n);
	for (uint32_t p = 0; p < b->n_procs; p++) {
		sort_lines(b, files[p], lines, us);
		fclose(files[p]);
	}
	for (uint32_t i = 0; i < b->n; i++) {
		if (!lines[i])
			fail("a request is lost", i, b->n);
		fputs(lines[i], stdout);
		for (char *c = lines[i]; *c; c++)
			n_tokens += *c == ' ';
		n_tokens -= 3;
		free(lines[i]);
	}
	qsort(us, b->n, sizeof(*us), compare);
	fprintf(stderr, "{\"tokens\":%" PRIu64 ",\"p50_ms\":%.3f,\"p99_ms\":%.3f,", n_tokens,
		1e-3 * us[b->n / 2], 1e-3 * us[b->n - 1 - b->n / 100]);
	free(lines);
	free(us);
}

static void run(const struct burst *b)
{
	FILE **files = calloc(b->n_procs, sizeof(*files));
	double t0 = now(), d;
	int status;

	for (uint32_t p = 0; files && p < b->n_procs; p++) {
		pid_t pid;

		files[p] = tmpfile();
		if (!files[p])
			fail("tmpfile", errno, 0);
		pid = fork();
		if (pid < 0)
			fail("fork", errno, 0);
		if (!pid) {
			client(b, p, files[p]);
			exit(fflush(files[p]) ? 1 : 0);
		}
	}
	for (uint32_t p = 0; p < b->n_procs; p++)
		if (wait(&status) < 0 || status)
			fail("exit status of a client", status, 0);
	d = now() - t0;
	print_sorted(b, files);
	fprintf(stderr,
		"\"requests\":%u,\"processes\":%u,\"seconds\":%.3f,\"requests_per_s\":%.1f}\n",
		b->n, b->n_procs, d, b->n / d);
	free(files);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"connect", 1, 0, 'c'}, {"n", 1, 0, 'n'},
		{"procs", 1, 0, 'p'},	{"inflight", 1, 0, 'i'},
		{"isl-min", 1, 0, 'm'}, {"isl", 1, 0, 'l'},
		{"osl", 1, 0, 'o'},	{"osl-min", 1, 0, 'O'},
		{"vocab", 1, 0, 'v'},	{"prefix", 1, 0, 'x'},
		{"seed", 1, 0, 's'},	{"seeded", 0, 0, 'd'},
		{"any-end", 0, 0, 'a'}, {"pause", 1, 0, 'u'},
		{"ring", 1, 0, 'r'},	{0},
	};
	struct burst b = {.n = 64,
			  .n_procs = 1,
			  .n_inflight = 64,
			  .isl_min = 1,
			  .isl_max = 400,
			  .osl_min = 1,
			  .osl_max = 32,
			  .n_vocab = 512,
			  .seed = 1,
			  .needs_all = true};
	uint32_t *numbers[128] = {
		['n'] = &b.n,	      ['p'] = &b.n_procs, ['i'] = &b.n_inflight,
		['m'] = &b.isl_min,   ['l'] = &b.isl_max, ['o'] = &b.osl_max,
		['O'] = &b.osl_min,   ['v'] = &b.n_vocab, ['x'] = &b.prefix_tokens,
		['r'] = &b.ring_bytes};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) > 0) {
		if (c == '?')
			return 2;
		if (numbers[c])
			*numbers[c] = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'c')
			b.where = optarg;
		else if (c == 'u')
			b.pause = optarg;
		else if (c == 's')
			b.seed = strtoull(optarg, NULL, 10);
		else if (c == 'd')
			b.is_seeded = true;
		else if (c == 'a')
			b.needs_all = false;
	}
	if (!b.where || b.n_vocab < 4 || b.isl_max < b.isl_min || !b.osl_min ||
	    b.osl_max < b.osl_min || !b.n_procs) {
		fprintf(stderr, "usage: burst --connect PATH [--n N] [--procs P] ...\n");
		return 2;
	}
	run(&b);
	return 0;
}
