/* SPDX-License-Identifier: MIT */
/*
 * merge: the loop that both kinds of BPE share. Neighbours are joined, best pair first, until no
 * pair that is left may be joined.
 *
 *	  h   e   l   l   o		pair ranks 3 - 0 7:  "ll" is joined first
 *	  h   e   [ll]    o		ranks of [ll] with its new neighbours are asked for
 *
 * A rule says which pair may be joined, at what rank (lower is sooner) and into what; among equal
 * ranks the leftmost goes first. The queue is a binary heap of (rank, left) with lazy deletion:
 * an entry counts only while its left symbol still has that rank, O(n log n) in all.
 *
 * Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units",
 * 2016, with the queue of SentencePiece. Works on the caller's memory; any thread.
 */
#ifndef DEVLLM_MERGE_H
#define DEVLLM_MERGE_H

#include <stddef.h>
#include <stdint.h>

#define MERGE_NEVER UINT32_MAX /* the rank of a pair that may not be joined */

/* A stretch of the text. Dead once joined to its left neighbour. */
struct merge_symbol {
	uint32_t begin, end; /* byte offsets in the text */
	uint32_t prev, next; /* its neighbours' indexes, MERGE_NEVER at the ends */
	uint32_t symbol;     /* what it is, in the rule's terms */
	uint32_t rank;	     /* of the pair it forms with next, or MERGE_NEVER */
	uint32_t joined;     /* what that pair becomes */
};

/* The work space of one encode call, grown as needed; zero is empty. */
struct merge_work {
	struct merge_symbol *symbols; /* [n] the text, left to right */
	uint32_t n, cap;
	uint64_t *heap; /* [n_heap] rank << 32 | index of the left symbol */
	uint32_t n_heap;
};

struct merge_rule {
	/* Sets left->rank and left->joined for the pair (left, right). */
	void (*find)(const void *ctx, const char *text, struct merge_symbol *left,
		     const struct merge_symbol *right);
	const void *ctx;
};

/* Empties w and makes room for n symbols. 0 or -ENOMEM. */
int merge_begin(struct merge_work *w, uint32_t n);

/* Appends a symbol within that room; it begins where the one before ends. */
void merge_add(struct merge_work *w, uint32_t symbol, uint32_t n_bytes);

/* Joins. Afterwards the symbols that are left are the chain from index 0 along next. */
void merge_run(struct merge_work *w, const struct merge_rule *rule, const char *text);

void merge_work_exit(struct merge_work *w);

#endif
