/* SPDX-License-Identifier: MIT */
/*
 * sched: what a step costs the sched: `sched_plan()`, `sched_advance()` and 32 times
 * `sched_append()`, with 32 sequences running and others waiting. Not a test: it proves nothing and
 * passes nothing. Build it with `make build/tests/bench/sched`.
 *
 * The prefix cache is on, so one step in 32 also hashes 32 full pages; prompts differ. "blocked by
 * pages": rows are left, but the first that waits needs more pages than the bench leaves in the
 * pool, which each plan has to find out. "in and out": each step one sequence ends and one is
 * admitted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/prefix.h"
#include "daemon/sched.h"

enum { N_RUNNING = 32, N_STEPS = 4000, N_PROMPT = 64, MOST_IDS = 8192, N_HOGS = 128 };

struct setting {
	const char *name;
	uint32_t n_waiting, n_tenants, max_seqs;
	uint32_t waiting_prompt; /* tokens */
	bool is_blocked, is_in_and_out;
};

struct bench {
	struct kvcache *kv;
	struct kvcache_table hogs[N_HOGS]; /* pages of nobody */
	struct prefix *prefix;
	struct sched *s;
	struct sched_seq *seqs;
	uint32_t *ids, n_seqs;
	uint64_t arrivals;
	uint64_t ns[N_STEPS];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void add(struct bench *b, const struct setting *set, uint32_t i)
{
	struct sched_seq *q = &b->seqs[i];

	*q = (struct sched_seq){.arrival = b->arrivals, .has_credit = true};
	q->n_prompt = i < N_RUNNING ? N_PROMPT : set->waiting_prompt;
	q->max_tokens = MOST_IDS - q->n_prompt;
	q->tenant = (uint32_t)(b->arrivals++ % set->n_tenants);
	/* Only those that run are ever written to: the others may share one array. */
	q->ids = b->ids + (size_t)(i < 4 * N_RUNNING ? i : 4 * N_RUNNING) * MOST_IDS;
	q->ids[0] = (uint32_t)b->arrivals;
	if (sched_add(b->s, q, NULL))
		die("sched_add");
}

static void bench_open(struct bench *b, const struct setting *set)
{
	const struct sched_config cfg = {.step_tokens = 512, .max_seqs = set->max_seqs,
					 .chunk_tokens = 128, .watermark_pages = 8,
					 .w_prompt = 1, .w_output = 2};
	uint32_t n_pages = N_RUNNING * (N_PROMPT + N_STEPS + 32) / 32;
	uint8_t salt[32] = {0}, secret[32] = {0};

	b->n_seqs = N_RUNNING + set->n_waiting;
	b->seqs = calloc(b->n_seqs, sizeof(*b->seqs));
	b->ids = calloc((4 * N_RUNNING + 1) * (size_t)MOST_IDS, sizeof(*b->ids));
	if (!b->seqs || !b->ids || kvcache_create(1, &n_pages, &b->kv) ||
	    prefix_create(b->kv, 1, salt, n_pages, &b->prefix) ||
	    sched_create(&cfg, b->kv, b->prefix, &b->s))
		die("no memory");
	for (uint32_t i = 0; i < set->n_tenants; i++) {
		secret[0] = (uint8_t)i;
		secret[1] = (uint8_t)(i >> 8);
		if (sched_tenant(b->s, 1, secret) < 0)
			die("sched_tenant");
	}
}

static void bench_close(struct bench *b)
{
	for (uint32_t i = 0; i < b->n_seqs; i++)
		sched_remove(b->s, &b->seqs[i]);
	for (uint32_t i = 0; i < N_HOGS; i++)
		kvcache_release(b->kv, &b->hogs[i]);
	sched_destroy(b->s);
	prefix_destroy(b->prefix);
	kvcache_destroy(b->kv);
	free(b->seqs);
	free(b->ids);
}

/* Leaves 40 to 104 pages free. */
static void hog(struct bench *b)
{
	for (uint32_t i = 0; i < N_HOGS; i++) {
		uint32_t n_free = kvcache_least_free(b->kv);

		if (n_free > 104)
			kvcache_grow(b->kv, &b->hogs[i], 32 * 32);
		else if (n_free < 40)
			kvcache_release(b->kv, &b->hogs[i]);
	}
}

/* One step; returns its rows. */
static uint32_t step(struct bench *b)
{
	struct plan p;

	sched_plan(b->s, 512, &p);
	sched_advance(b->s, &p);
	for (uint32_t i = 0; i < p.n_rows; i++) {
		if (p.rows[i].needs_logits)
			sched_append(b->s, p.rows[i].seq, i);
	}
	return p.n_rows;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void run(const struct setting *set)
{
	struct bench *b = calloc(1, sizeof(*b));
	uint64_t sum = 0, n_rows = 0;

	if (!b)
		die("no memory");
	bench_open(b, set);
	for (uint32_t i = 0; i < N_RUNNING; i++)
		add(b, set, i);
	for (uint32_t i = 0; i < 10; i++)
		step(b);
	for (uint32_t i = N_RUNNING; i < b->n_seqs; i++)
		add(b, set, i);
	for (uint32_t n = 0; n < N_STEPS - 10; n++) {
		uint64_t begin;

		if (set->is_blocked)
			hog(b);
		begin = now_ns();
		if (set->is_in_and_out) {
			struct sched_seq *q = &b->seqs[n % N_RUNNING];

			sched_remove(b->s, q);
			add(b, set, n % N_RUNNING);
		}
		n_rows += step(b);
		b->ns[n] = now_ns() - begin;
		sum += b->ns[n];
	}
	qsort(b->ns, N_STEPS - 10, sizeof(b->ns[0]), by_size);
	printf("%-34s %5.1f rows, %6.0f ns a step; median %6llu, 99 %% %6llu\n", set->name,
	       (double)n_rows / (N_STEPS - 10), (double)sum / (N_STEPS - 10),
	       (unsigned long long)b->ns[N_STEPS / 2],
	       (unsigned long long)b->ns[N_STEPS * 99 / 100 - 10]);
	bench_close(b);
	free(b);
}

int main(void)
{
	static const struct setting settings[] = {
		{"none waiting", 0, 8, 32, 64, false, false},
		{"10,000 waiting", 10000, 8, 32, 64, false, false},
		{"10,000 waiting, of 1,000 tenants", 10000, 1000, 32, 64, false, false},
		{"10,000 waiting, blocked by pages", 10000, 8, 64, 8000, true, false},
		{"none waiting, in and out", 0, 8, 32, 64, false, true},
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		run(&settings[i]);
	return 0;
}
