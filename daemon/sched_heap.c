/* SPDX-License-Identifier: MIT */
/*
 * sched_heap: see daemon/sched_heap.h. Called by the sched alone.
 */
#include "daemon/sched_heap.h"

#include <errno.h>
#include <stdlib.h>

int sched_heap_reserve(struct sched_heap *h, uint32_t cap)
{
	uint32_t twice = h->cap > UINT32_MAX / 2 ? UINT32_MAX : 2 * h->cap;
	struct sched_node **nodes;

	if (cap <= h->cap)
		return 0;
	cap = cap > twice ? cap : twice;
	nodes = realloc(h->nodes, cap * sizeof(struct sched_node *));
	if (!nodes)
		return -ENOMEM;
	h->nodes = nodes;
	h->cap = cap;
	return 0;
}

void sched_heap_exit(struct sched_heap *h)
{
	free(h->nodes);
	*h = (struct sched_heap){0};
}

static void put_at(struct sched_heap *h, uint32_t i, struct sched_node *node)
{
	h->nodes[i] = node;
	node->place = i + 1;
}

static void sift_up(struct sched_heap *h, uint32_t i, struct sched_node *node)
{
	while (i && sched_node_before(node, h->nodes[(i - 1) / 2])) {
		put_at(h, i, h->nodes[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put_at(h, i, node);
}

static void sift_down(struct sched_heap *h, uint32_t i, struct sched_node *node)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child + 1 < h->n && sched_node_before(h->nodes[child + 1], h->nodes[child]))
			child++;
		if (child >= h->n || !sched_node_before(h->nodes[child], node))
			break;
		put_at(h, i, h->nodes[child]);
		i = child;
	}
	put_at(h, i, node);
}

void sched_heap_moved(struct sched_heap *h, struct sched_node *node)
{
	uint32_t i = node->place - 1;

	if (i && sched_node_before(node, h->nodes[(i - 1) / 2]))
		sift_up(h, i, node);
	else
		sift_down(h, i, node);
}

void sched_heap_push(struct sched_heap *h, struct sched_node *node)
{
	sift_up(h, h->n++, node);
}

void sched_heap_remove(struct sched_heap *h, struct sched_node *node)
{
	struct sched_node *last = h->nodes[--h->n];

	if (last != node) {
		put_at(h, node->place - 1, last);
		sched_heap_moved(h, last);
	}
	node->place = 0;
}
