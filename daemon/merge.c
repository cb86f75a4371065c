/* SPDX-License-Identifier: MIT */
/*
 * merge: see daemon/merge.h. Called by bpe and spm for each piece of text.
 */
#include "daemon/merge.h"

#include <errno.h>
#include <stdlib.h>

/* Entries that n symbols can cause: n - 1 pairs at first, two more at each of n - 1 joins. */
#define HEAP_PER_SYMBOL 3

int merge_begin(struct merge_work *w, uint32_t n)
{
	if (n > w->cap) {
		free(w->symbols);
		free(w->heap);
		w->symbols = malloc((size_t)n * sizeof(*w->symbols));
		w->heap = malloc((size_t)n * HEAP_PER_SYMBOL * sizeof(*w->heap));
		w->cap = n;
		if (!w->symbols || !w->heap) {
			merge_work_exit(w);
			return -ENOMEM;
		}
	}
	w->n = 0;
	w->n_heap = 0;
	return 0;
}

void merge_work_exit(struct merge_work *w)
{
	free(w->symbols);
	free(w->heap);
	*w = (struct merge_work){0};
}

void merge_add(struct merge_work *w, uint32_t symbol, uint32_t n_bytes)
{
	uint32_t i = w->n++, begin = i ? w->symbols[i - 1].end : 0;

	if (i)
		w->symbols[i - 1].next = i;
	w->symbols[i] = (struct merge_symbol){
		.begin = begin,
		.end = begin + n_bytes,
		.prev = i ? i - 1 : MERGE_NEVER,
		.next = MERGE_NEVER,
		.symbol = symbol,
		.rank = MERGE_NEVER,
	};
}

static void push(struct merge_work *w, uint64_t entry)
{
	uint32_t i = w->n_heap++;

	while (i && w->heap[(i - 1) / 2] > entry) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = entry;
}

static uint64_t pop(struct merge_work *w)
{
	uint64_t top = w->heap[0], last = w->heap[--w->n_heap];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= w->n_heap)
			break;
		if (child + 1 < w->n_heap && w->heap[child + 1] < w->heap[child])
			child++;
		if (w->heap[child] >= last)
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = last;
	return top;
}

/* Asks for the pair that begins with symbol i and queues it. */
static void consider(struct merge_work *w, const struct merge_rule *rule, const char *text,
		     uint32_t i)
{
	struct merge_symbol *left = &w->symbols[i];

	left->rank = MERGE_NEVER;
	if (left->next == MERGE_NEVER)
		return;
	rule->find(rule->ctx, text, left, &w->symbols[left->next]);
	if (left->rank != MERGE_NEVER)
		push(w, (uint64_t)left->rank << 32 | i);
}

void merge_run(struct merge_work *w, const struct merge_rule *rule, const char *text)
{
	for (uint32_t i = 0; i + 1 < w->n; i++)
		consider(w, rule, text, i);
	while (w->n_heap) {
		uint64_t entry = pop(w);
		uint32_t i = (uint32_t)entry;
		struct merge_symbol *left = &w->symbols[i], *right;

		if (left->rank != entry >> 32)
			continue; /* joined or re-ranked since */
		right = &w->symbols[left->next];
		left->symbol = left->joined;
		left->end = right->end;
		left->next = right->next;
		right->rank = MERGE_NEVER;
		if (left->next != MERGE_NEVER)
			w->symbols[left->next].prev = i;
		if (left->prev != MERGE_NEVER)
			consider(w, rule, text, left->prev);
		consider(w, rule, text, i);
	}
}
