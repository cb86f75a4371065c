/* SPDX-License-Identifier: MIT */
/*
 * kvcache: who owns which page. Pages of 32 tokens, one pool per KV group, reference-counted.
 *
 * Holds page numbers only; the bytes are the engine's. Pure bookkeeping: no clock, no I/O, no
 * device. A page with one reference may be written by its sequence; a shared one is read only.
 * Called by the sched on the daemon's one thread. The prefix cache (daemon/prefix.h) keeps full
 * pages that no sequence uses and gives them back, leaf first and oldest first, when the pool runs
 * dry; it watches the pages it knows to learn which of them a sequence uses.
 */
#ifndef DEVLLM_KVCACHE_H
#define DEVLLM_KVCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/engine.h"

#define KVCACHE_PAGE_TOKENS ENGINE_PAGE_TOKENS

struct kvcache;

/* A sequence's pages: pages[g][i] holds positions i*32 .. i*32+31 of group g. */
struct kvcache_table {
	uint32_t *pages[ENGINE_MAX_KV_GROUPS];
	uint32_t n_pages;   /* the same count in every group */
	uint32_t cap_pages; /* allocated length of each array */
};

/* A watched page became shared (1 -> 2 references) or is so no longer (2 -> 1). */
typedef void kvcache_watcher(void *arg, uint32_t group, uint32_t page, bool is_shared);

/* n_pages[group] >= 1. -EINVAL, -ENOMEM. */
int kvcache_create(uint32_t n_groups, const uint32_t *n_pages, struct kvcache **out);
void kvcache_destroy(struct kvcache *kv);

/* Makes the table long enough for n_tokens: all or nothing; -ENOSPC when pages lack, -ENOMEM. */
int kvcache_grow(struct kvcache *kv, struct kvcache_table *t, uint32_t n_tokens);
/* Allocates the table's arrays ahead: kvcache_grow() up to n_pages cannot say -ENOMEM. */
int kvcache_reserve(const struct kvcache *kv, struct kvcache_table *t, uint32_t n_pages);
/* Appends pages[group], which others hold already, with a reference of the table's own; -ENOMEM. */
int kvcache_share(struct kvcache *kv, struct kvcache_table *t, const uint32_t *pages);
/* Drops the sequence's references, last page first, and the arrays; the table is empty after. */
void kvcache_release(struct kvcache *kv, struct kvcache_table *t);

void kvcache_page_get(struct kvcache *kv, uint32_t group, uint32_t page);
void kvcache_page_put(struct kvcache *kv, uint32_t group, uint32_t page);
uint32_t kvcache_page_refs(const struct kvcache *kv, uint32_t group, uint32_t page);

/* One watcher at a time (NULL: none); it hears of the pages marked by kvcache_page_watch(). */
void kvcache_set_watcher(struct kvcache *kv, kvcache_watcher *fn, void *arg);
void kvcache_page_watch(struct kvcache *kv, uint32_t group, uint32_t page, bool is_watched);

uint32_t kvcache_n_groups(const struct kvcache *kv);
uint32_t kvcache_pages_total(const struct kvcache *kv, uint32_t group);
uint32_t kvcache_pages_free(const struct kvcache *kv, uint32_t group);
/* Of the group that has least: pages of one index in every group. */
uint32_t kvcache_least_total(const struct kvcache *kv);
uint32_t kvcache_least_free(const struct kvcache *kv);

static inline uint32_t kvcache_pages_for(uint64_t n_tokens)
{
	return (uint32_t)((n_tokens + KVCACHE_PAGE_TOKENS - 1) / KVCACHE_PAGE_TOKENS);
}

#endif
