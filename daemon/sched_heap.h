/* SPDX-License-Identifier: MIT */
/*
 * sched_heap: a binary min-heap of nodes that live inside other structs, each of which knows its
 * place, so that any of them can be removed or re-keyed in O(log n). The sched orders a tenant's
 * waiting sequences and the tenants themselves with it. Room is reserved ahead: a push cannot fail.
 */
#ifndef DEVLLM_SCHED_HEAP_H
#define DEVLLM_SCHED_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched_node {
	uint64_t key, tie; /* least first: key, then tie; no two nodes of a heap agree in both */
	uint32_t place;	   /* 1 + index in the heap, 0: in none */
};

struct sched_heap {
	struct sched_node **nodes;
	uint32_t n, cap;
};

/* Room for cap nodes in all; -ENOMEM leaves the heap as it was. */
int sched_heap_reserve(struct sched_heap *h, uint32_t cap);
void sched_heap_exit(struct sched_heap *h);

void sched_heap_push(struct sched_heap *h, struct sched_node *node);
void sched_heap_remove(struct sched_heap *h, struct sched_node *node);
/* The node's key or tie was changed. */
void sched_heap_moved(struct sched_heap *h, struct sched_node *node);

static inline bool sched_node_before(const struct sched_node *a, const struct sched_node *b)
{
	return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

/* The least node, or NULL. */
static inline struct sched_node *sched_heap_top(const struct sched_heap *h)
{
	return h->n ? h->nodes[0] : NULL;
}

#endif
