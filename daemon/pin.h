/* SPDX-License-Identifier: MIT */
/*
 * pin: holding on to CPUs and memory: what "a pinned daemon" means here.
 *
 *	threads to CPUs		daemon/team.h does it when the engine is opened; here it is checked
 *	memory to its node	allocations of each thread come from the node it runs on
 *	all memory resident	mlockall(2), pages locked as they are first touched
 *	huge pages		what the kernel offers to those who ask with madvise(2)
 *
 * Each refusal of the machine is one line at start, and fatal only where the configuration says
 * require. Called by `main()`, before the engine is opened and after.
 */
#ifndef DEVLLM_PIN_H
#define DEVLLM_PIN_H

#include <stdbool.h>

#include "daemon/config.h"
#include "daemon/error.h"

struct log;

/* Whether to pin threads: auto means yes for a daemon that listens, no for a private one. */
bool pin_wants_threads(const struct config *c);

/* Before the engine: the memory policy that its threads inherit. 0, or -errno when required. */
int pin_node(const struct config *c, struct log *messages, struct error *err);

/* After the engine: were threads bound, lock what is and what will be. The same. */
int pin_check_threads(const struct config *c, struct log *messages, struct error *err);
int pin_memory(const struct config *c, struct log *messages, struct error *err);

#endif
