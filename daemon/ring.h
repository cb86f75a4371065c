/* SPDX-License-Identifier: MIT */
/*
 * ring: the memory of one ring on the socket door: two memfds, their seals, our mappings.
 *
 *	[0]	K page, P page, D		ours to write; the client's to read (FUTURE_WRITE)
 *	[1]	C page				the client's to write; ours to read
 *
 * All bytes exist before the client hears of them (fallocate), and both files are sealed against
 * shrinking, so neither side can send the other into SIGBUS. What stands in the ring is of no
 * interest here (uapi/llm_ring.h, daemon/session.c). Charged to the daemon's memory.
 */
#ifndef DEVLLM_RING_H
#define DEVLLM_RING_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/error.h"
#include "uapi/llm.h"

struct ring_memory {
	struct llm_ring_layout layout;
	int fds[2];		  /* for WELCOME; -1 once closed */
	struct llm_ring_state *k; /* begin of the one mapping: K, P, D, D again, C */
	struct llm_ring_producer *p;
	struct llm_ring_consumer *c; /* mapped read-only */
	void *data;		     /* 2 * map_bytes */
	size_t map_bytes;	     /* of the whole mapping */
};

/* Bytes of memory that a ring takes. */
size_t ring_cost_bytes(uint32_t capacity);

/* capacity: bytes, a power of two. All zero but `waiting` = 1. 0, -ENOMEM, -ENOSPC ... with err. */
int ring_create(uint32_t capacity, struct ring_memory *out, struct error *err);
void ring_destroy(struct ring_memory *r);

/* The client has its descriptors; ours are not needed any more. */
void ring_close_fds(struct ring_memory *r);

#endif
