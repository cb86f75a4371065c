/* SPDX-License-Identifier: MIT */
/*
 * heart: what a step costs beside the engine: schedule and flush, at 32 sequences with 32 open
 * rings.
 *
 *	make bench-heart		aim: a median of 300 us over 10,000 steps
 *
 * The daemon's own parts in this process, the null engine (a step that costs nothing), and a child
 * that reads 32 sessions through libllm, as fast as it can: so every step appends 32 records,
 * stores 32 positions, and kicks whoever sleeps. The heart's own account (stats_step()) is what is
 * reported.
 */
#include <errno.h>
#include <llm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/door_socket.h"
#include "daemon/heart.h"
#include "daemon/loop.h"
#include "daemon/stats_private.h"
#include "daemon/tenant.h"

enum { N_SESSIONS = 32, N_STEPS = 10000, N_WARM = 200, MAX_TOKENS = 30000, AIM_US = 300 };

static _Noreturn void fail_child(const char *what, int rc)
{
	fprintf(stderr, "bench-heart: client: %s: %s\n", what, llm_strerror(rc));
	_exit(1);
}

/* The child: one endless request a session, read until the daemon goes. Never returns. */
static void read_sessions(const char *path)
{
	static const uint32_t prompt[16] = {7, 8, 9};
	struct pollfd fds[N_SESSIONS];
	struct llm *s[N_SESSIONS];
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_event ev;

	req.ids = prompt;
	req.n_ids = 16;
	req.flags = LLM_FLAG_IGNORE_EOS;
	req.max_tokens = MAX_TOKENS;
	for (int i = 0; i < N_SESSIONS; i++) {
		int rc = llm_open(path, NULL, &s[i]);

		if (rc)
			fail_child("opening", rc);
		fds[i] = (struct pollfd){.fd = llm_fd(s[i]), .events = POLLIN};
	}
	for (int i = 0; i < N_SESSIONS; i++) {
		int rc = llm_submit(s[i], &req, NULL);

		if (rc)
			fail_child("submitting", rc);
	}
	for (;;) {
		for (int i = 0; i < N_SESSIONS; i++) {
			int r = llm_next(s[i], &ev, 0);

			for (; r == 1; r = llm_next(s[i], &ev, 0))
				if (ev.type == LLM_EVENT_END)
					fail_child("ended early", ev.status);
			if (r < 0)
				fail_child("reading", r);
			llm_seen(s[i]);
		}
		poll(fds, N_SESSIONS, 1000);
	}
}

/* The parts that `main()` would make, for the null engine and a socket at path. */
static int make_parts(struct daemon *d, const char *path, struct error *err)
{
	const struct config *c = d->config;
	const struct engine_args engine = {.max_step_tokens = c->step_tokens,
					   .max_seqs = c->max_seqs,
					   .n_context = c->context_tokens};
	const struct sched_config sched = {.step_tokens = c->step_tokens,
					   .max_seqs = c->max_seqs,
					   .w_prompt = 1,
					   .w_output = 2};
	const struct door_socket_args door = {
		.path = path, .mode = 0600, .group = (gid_t)-1, .serve_fd = -1};
	struct tenant_table_args tenants = {.config = c};
	uint32_t n_pages[ENGINE_MAX_KV_GROUPS] = {c->kv_pages};
	int rc = engine_null.open(&engine, &d->engine, err);

	if (rc)
		return rc;
	engine_null.info(d->engine, &d->info);
	d->context_tokens = d->info.n_context;
	snprintf(d->model_name, sizeof(d->model_name), "null");
	rc = engine_null.kv_create(d->engine, n_pages, err);
	if (!rc)
		rc = kvcache_create(1, n_pages, &d->kv);
	if (!rc)
		rc = sched_create(&sched, d->kv, NULL, &d->sched);
	if (!rc)
		rc = stats_create(&d->stats);
	tenants.sched = d->sched;
	tenants.stats = d->stats;
	if (!rc)
		rc = tenant_table_create(&tenants, &d->tenants, err);
	if (!rc)
		rc = loop_create(LOOP_AUTO, &d->loop, err);
	if (!rc)
		rc = control_create(d, &d->control);
	if (!rc)
		rc = heart_create(d, &d->heart);
	return rc ? rc : door_socket_create(d, &door, &d->door, err);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Turns until n steps with all sessions in them are measured; ns of each in cost. */
static int measure(struct daemon *d, uint64_t *cost, uint32_t n, uint64_t *turns_ns)
{
	uint32_t i = 0, n_warm = 0;
	uint64_t begin_ns = 0;

	while (i < n) {
		uint64_t sum = d->stats->heart.sum_ns, seqs = d->stats->n_step_seqs;
		int rc = heart_turn(d);

		if (rc <= 0)
			return rc ? rc : -ESHUTDOWN;
		if (d->stats->n_step_seqs - seqs != N_SESSIONS)
			continue;
		if (n_warm++ == N_WARM)
			begin_ns = clock_now_ns();
		if (n_warm > N_WARM)
			cost[i++] = d->stats->heart.sum_ns - sum;
	}
	*turns_ns = clock_now_ns() - begin_ns;
	return 0;
}

int main(void)
{
	char *argv[] = {"bench", "--engine",   "null", "--context",	 "32768", "--kv-pages",
			"32768", "--max-seqs", "32",   "--prefix-cache", "off",	  NULL};
	static uint64_t cost[N_STEPS];
	char dir[] = "/tmp/bench-heart-XXXXXX", path[64];
	struct config config;
	struct daemon d = {.config = &config};
	struct error err = {0};
	enum config_action action;
	uint64_t turns_ns = 0;
	pid_t pid;
	int rc;

	if (!mkdtemp(dir) || config_init(&config, 11, argv, &action, &err)) {
		fprintf(stderr, "bench-heart: %s\n", err.text);
		return 1;
	}
	snprintf(path, sizeof(path), "%s/sock", dir);
	rc = heart_block_signals();
	if (!rc)
		rc = make_parts(&d, path, &err);
	if (rc) {
		fprintf(stderr, "bench-heart: %s %s\n", strerror(-rc), err.text);
		return 1;
	}
	pid = fork();
	if (!pid)
		read_sessions(path);
	rc = measure(&d, cost, N_STEPS, &turns_ns);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	door_socket_destroy(d.door);
	rmdir(dir);
	if (rc) {
		fprintf(stderr, "bench-heart: the heart ended early: %s\n", strerror(-rc));
		return 1;
	}
	qsort(cost, N_STEPS, sizeof(cost[0]), by_value);
	printf("heart, %d sequences, %d rings, %d steps: median %.1f us, p99 %.1f us, "
	       "max %.1f us (aim %d us); whole turns %.1f us\n",
	       N_SESSIONS, N_SESSIONS, N_STEPS, (double)cost[N_STEPS / 2] / 1e3,
	       (double)cost[N_STEPS / 100 * 99] / 1e3, (double)cost[N_STEPS - 1] / 1e3, AIM_US,
	       (double)turns_ns / N_STEPS / 1e3);
	config_exit(&config);
	return 0;
}
