/* SPDX-License-Identifier: MIT */
/*
 * team: the compute threads of an engine. n workers; the thread that created the team is worker 0.
 *
 * `team_run` has every worker call the same function (SPMD) and returns when all have come back;
 * inside it `team_barrier` is where they meet. A waiting worker spins for some 30 us and then
 * sleeps on a futex: inside a step it is awake, an idle team costs no CPU. Only the creating
 * thread may call `team_run` and `team_destroy`, and no run may start inside another.
 */
#ifndef DEVLLM_TEAM_H
#define DEVLLM_TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/error.h"

#define TEAM_MAX_THREADS 256

struct team;

/* What a worker runs; rank 0..n-1, rank 0 on the thread that called `team_run`. */
typedef void (*team_fn)(void *arg, int rank, int n);

/*
 * Starts n_threads - 1 threads; 0: one thread per physical core that this process may run on. With
 * is_pinned each worker, the caller included, is bound to a CPU of its own, cores before their
 * second hardware threads; nothing is bound when there are fewer CPUs than workers. Threads that
 * the caller makes afterwards inherit its one CPU. -EINVAL for more than TEAM_MAX_THREADS, -ENOMEM,
 * -EAGAIN when the system gives no thread.
 */
int team_create(uint32_t n_threads, bool is_pinned, struct team **out, struct error *err);

/* Ends the threads; the caller gets the affinity back that it had. NULL is allowed. */
void team_destroy(struct team *t);

int team_size(const struct team *t);
bool team_is_pinned(const struct team *t);

void team_run(struct team *t, team_fn fn, void *arg);

/* Inside a run: nobody leaves before all have come; what was written before is seen after. */
void team_barrier(struct team *t);

#endif
