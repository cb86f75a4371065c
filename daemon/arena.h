/* SPDX-License-Identifier: MIT */
/*
 * arena: one mapping, handed out piece by piece: weights, KV pools, workspaces.
 *
 * Zeroed by the system and touched by nobody before its first user, so that on a machine with
 * several memory nodes a page lands near the worker that fills it; huge pages are asked for. Sizes
 * are found by running the same sequence of `arena_take` twice: before `arena_map` it only counts
 * and gives NULL, after it the pieces come out. Owned and called by one thread.
 */
#ifndef DEVLLM_ARENA_H
#define DEVLLM_ARENA_H

#include <stddef.h>

#include "daemon/error.h"

struct arena {
	unsigned char *base; /* NULL while counting */
	size_t taken_bytes;
	size_t mapped_bytes;
};

/* n elements of size bytes, aligned to 64 bytes; NULL while counting. Too much fails in the map. */
void *arena_take(struct arena *a, size_t n, size_t size);

/* Maps what was counted and starts again from the first piece. -ENOMEM; what: for the message. */
int arena_map(struct arena *a, const char *what, struct error *err);

void arena_unmap(struct arena *a);

#endif
