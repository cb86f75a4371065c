/* SPDX-License-Identifier: MIT */
/*
 * Proves that every worker runs each job once, that a barrier publishes what was written before it,
 * that sleeping workers are woken, and that an idle team uses no CPU.
 * Marks: san
 */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "daemon/team.h"
#include "tests/test.h"

#define N_CELLS 16
#define N_ROUNDS 300

struct board {
	struct team *team;
	uint32_t cells[2][N_CELLS]; /* plain memory: only the barrier orders it */
	uint32_t n_runs[N_CELLS];
	unsigned int n_wrong;
};

/* Each round a worker writes its cell and reads its neighbour's of the round before. */
static void rounds(void *arg, int rank, int n)
{
	struct board *b = arg;

	for (uint32_t r = 0; r < N_ROUNDS; r++) {
		b->cells[r % 2][rank] = r * 100 + (uint32_t)rank;
		if (r % 97 == 0 && rank == (int)(r % (uint32_t)n))
			usleep(300); /* the others fall asleep */
		team_barrier(b->team);
		if (b->cells[r % 2][(rank + 1) % n] != r * 100 + (uint32_t)((rank + 1) % n))
			__atomic_fetch_add(&b->n_wrong, 1, __ATOMIC_RELAXED);
	}
}

static void count(void *arg, int rank, int n)
{
	struct board *b = arg;

	(void)n;
	b->n_runs[rank]++;
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void check_team(uint32_t n_threads)
{
	struct board b = { 0 };
	struct error err = { 0 };
	double before;

	CHECK_EQ(team_create(n_threads, false, &b.team, &err), 0);
	CHECK(!n_threads || team_size(b.team) == (int)n_threads);
	team_run(b.team, rounds, &b);
	CHECK_EQ(b.n_wrong, 0);
	for (int i = 0; i < 2000; i++)
		team_run(b.team, count, &b);
	usleep(20000);
	team_run(b.team, count, &b);
	for (int i = 0; i < team_size(b.team); i++)
		CHECK_EQ(b.n_runs[i], 2001);
	usleep(20000); /* past the spin */
	before = cpu_ms();
	usleep(200000);
	CHECK(cpu_ms() - before < 20);
	team_destroy(b.team);
}

/* A pinned team binds worker 0 to one CPU and gives the caller its mask back. */
static void check_pinning(void)
{
	cpu_set_t before, during, after;
	struct team *team;

	sched_getaffinity(0, sizeof(before), &before);
	CHECK_EQ(team_create(1, true, &team, NULL), 0);
	CHECK(team_is_pinned(team));
	sched_getaffinity(0, sizeof(during), &during);
	CHECK_EQ(CPU_COUNT(&during), 1);
	team_destroy(team);
	sched_getaffinity(0, sizeof(after), &after);
	CHECK(CPU_EQUAL(&before, &after));
	/* More workers than CPUs: nothing is bound. */
	if (CPU_COUNT(&before) < TEAM_MAX_THREADS) {
		CHECK_EQ(team_create((uint32_t)CPU_COUNT(&before) + 1, true, &team, NULL), 0);
		CHECK(!team_is_pinned(team));
		team_destroy(team);
	}
}

int main(void)
{
	struct error err = { 0 };
	struct team *team = NULL;

	check_team(0);
	check_team(1);
	check_team(2);
	check_team(7);
	check_pinning();
	CHECK_EQ(team_create(TEAM_MAX_THREADS + 1, false, &team, &err), -EINVAL);
	CHECK_STR(err.text, "257 threads asked for, at most 256 are possible");
	return test_done();
}
