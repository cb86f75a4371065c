/* SPDX-License-Identifier: MIT */
/*
 * team: see daemon/team.h.
 *
 * Two words carry everything: `job`, counted up by the creator for each run, and `phase`, counted
 * up by the last worker that comes to a barrier. A run ends with a barrier. Whoever waits for a
 * word to change spins first, then registers in the word's count of sleepers and sleeps on it:
 *
 *	waiter: sleepers += 1; sleep while word == old
 *	waker:  word += 1; if sleepers: wake all
 *
 * Both sides do their two steps in that order with sequential consistency, so either the waker
 * sees the sleeper or the sleeper sees the new word (the futex compares it again): no wake-up is
 * lost. Data written before a barrier is published by the release in the waker's increment and
 * seen by the acquire of each waiter's load of the word; what earlier arrivals wrote reaches the
 * waker through the acquire-release of `n_arrived`.
 */
#include "daemon/team.h"

#include <errno.h>
#include <hwloc.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernels/kernels.h"

#define SPIN_NS 30000
#define SPINS_PER_CLOCK 16 /* pauses between two looks at the clock */

/* A word that is waited for, on its own cache line. */
struct event {
	_Alignas(64) _Atomic uint32_t word;
	_Atomic uint32_t n_sleepers;
};

struct worker {
	struct team *team;
	pthread_t thread; /* not of worker 0 */
	int rank;
	int cpu; /* to be bound to, or -1 */
};

struct team {
	struct event job;   /* creator to workers */
	struct event phase; /* barrier */
	_Alignas(64) _Atomic uint32_t n_arrived;
	/* the run; written before job is counted up */
	team_fn fn; /* NULL: end the thread */
	void *arg;

	int n;
	int n_started; /* threads to join */
	bool is_pinned;
	bool is_spinning;    /* a CPU for each worker */
	cpu_set_t caller_cpus; /* of the creating thread before it was bound */
	struct worker workers[TEAM_MAX_THREADS];
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Returns when the word is no longer `old`. */
static void event_wait(struct event *e, uint32_t old, bool is_spinning)
{
	uint64_t end_ns = 0;

	for (uint32_t i = 0; is_spinning; i++) {
		if (atomic_load_explicit(&e->word, memory_order_acquire) != old)
			return;
		cpu_relax();
		if (i % SPINS_PER_CLOCK)
			continue;
		if (!end_ns)
			end_ns = now_ns() + SPIN_NS;
		else if (now_ns() > end_ns)
			break;
	}
	atomic_fetch_add(&e->n_sleepers, 1);
	while (atomic_load(&e->word) == old)
		syscall(SYS_futex, &e->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
	atomic_fetch_sub(&e->n_sleepers, 1);
}

static void event_signal(struct event *e)
{
	atomic_fetch_add(&e->word, 1);
	if (atomic_load(&e->n_sleepers))
		syscall(SYS_futex, &e->word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void team_barrier(struct team *t)
{
	uint32_t phase;

	if (t->n == 1)
		return;
	/* Before arriving: after that the last one may count it up at any time. */
	phase = atomic_load_explicit(&t->phase.word, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&t->n_arrived, 1, memory_order_acq_rel) + 1 ==
	    (uint32_t)t->n) {
		atomic_store_explicit(&t->n_arrived, 0, memory_order_relaxed);
		event_signal(&t->phase);
	} else {
		event_wait(&t->phase, phase, t->is_spinning);
	}
}

void team_run(struct team *t, team_fn fn, void *arg)
{
	t->fn = fn;
	t->arg = arg;
	event_signal(&t->job);
	fn(arg, 0, t->n);
	team_barrier(t);
}

static void bind_to(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct team *t = w->team;

	bind_to(w->cpu);
	kernels_thread_init();
	for (uint32_t n_jobs = 0;; n_jobs++) {
		event_wait(&t->job, n_jobs, t->is_spinning);
		if (!t->fn)
			return NULL;
		t->fn(t->arg, w->rank, t->n);
		team_barrier(t);
	}
}

static bool is_allowed(const cpu_set_t *set, int cpu)
{
	return cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, set);
}

/*
 * Fills cpus[] with CPUs that this process may use, one of each core first, then their second
 * hardware threads and so on. Returns how many; *n_cores is how many cores they are.
 */
static int list_cpus(int cpus[TEAM_MAX_THREADS], int *n_cores, struct error *err)
{
	hwloc_topology_t topo;
	cpu_set_t allowed;
	int n = 0, n_before = -1;

	*n_cores = 0;
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return error_set(err, -errno, "sched_getaffinity: %s", strerror(errno));
	if (hwloc_topology_init(&topo))
		return error_set(err, -ENOMEM, "no memory for the CPU topology");
	hwloc_topology_set_all_types_filter(topo, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(topo, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
	if (hwloc_topology_load(topo)) {
		hwloc_topology_destroy(topo);
		return error_set(err, -EIO, "the CPU topology cannot be read");
	}
	/* Round r takes the r-th allowed CPU of each core, until a round finds none. */
	for (int round = 0; n > n_before; round++) {
		hwloc_obj_t core = NULL;

		n_before = n;
		while ((core = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_CORE, core))) {
			int cpu = hwloc_bitmap_first(core->cpuset), n_seen = 0;

			for (; cpu >= 0; cpu = hwloc_bitmap_next(core->cpuset, cpu))
				if (is_allowed(&allowed, cpu) && n_seen++ == round &&
				    n < TEAM_MAX_THREADS)
					cpus[n++] = cpu;
		}
		if (!round)
			*n_cores = n;
	}
	hwloc_topology_destroy(topo);
	if (!n) { /* a system that shows no cores: trust the mask alone */
		for (int cpu = 0; cpu < CPU_SETSIZE && n < TEAM_MAX_THREADS; cpu++)
			if (is_allowed(&allowed, cpu))
				cpus[n++] = cpu;
		*n_cores = n;
	}
	return n;
}

int team_create(uint32_t n_threads, bool is_pinned, struct team **out, struct error *err)
{
	int cpus[TEAM_MAX_THREADS], n_cpus, n_cores, rc;
	struct team *t;

	if (n_threads > TEAM_MAX_THREADS)
		return error_set(err, -EINVAL, "%u threads asked for, at most %d are possible",
				 n_threads, TEAM_MAX_THREADS);
	n_cpus = list_cpus(cpus, &n_cores, err);
	if (n_cpus < 0)
		return n_cpus;
	t = aligned_alloc(64, sizeof(*t));
	if (!t)
		return error_set(err, -ENOMEM, "no memory for the compute team");
	memset(t, 0, sizeof(*t));
	t->n = n_threads ? (int)n_threads : n_cores;
	t->is_spinning = t->n <= n_cpus;
	t->is_pinned = is_pinned && t->n <= n_cpus;
	sched_getaffinity(0, sizeof(t->caller_cpus), &t->caller_cpus);
	for (int i = 1; i < t->n; i++) {
		struct worker *w = &t->workers[i];

		*w = (struct worker){ .team = t, .rank = i, .cpu = t->is_pinned ? cpus[i] : -1 };
		rc = pthread_create(&w->thread, NULL, worker_main, w);
		if (rc) {
			error_set(err, -rc, "thread %d of %d: %s", i + 1, t->n, strerror(rc));
			team_destroy(t);
			return -rc;
		}
		t->n_started++;
	}
	/* Last, so that the new threads did not inherit it. */
	if (t->is_pinned)
		bind_to(cpus[0]);
	kernels_thread_init();
	*out = t;
	return 0;
}

void team_destroy(struct team *t)
{
	if (!t)
		return;
	t->fn = NULL;
	event_signal(&t->job);
	for (int i = 1; i <= t->n_started; i++)
		pthread_join(t->workers[i].thread, NULL);
	if (t->is_pinned)
		sched_setaffinity(0, sizeof(t->caller_cpus), &t->caller_cpus);
	free(t);
}

int team_size(const struct team *t)
{
	return t->n;
}

bool team_is_pinned(const struct team *t)
{
	return t->is_pinned;
}
