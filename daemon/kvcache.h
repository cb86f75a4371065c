/* SPDX-License-Identifier: MIT */
/*
 * kvcache: who owns which page. Pages of 32 tokens, one pool per KV group, reference-counted.
 *
 * Holds page numbers only; the bytes are the engine's. Pure bookkeeping: no clock, no I/O, no device.
 * A page with one reference may be written by its sequence; a shared one is read only. Called by the sched on
 * the daemon's one thread. The prefix cache (daemon/prefix.h) keeps full pages that no sequence uses and gives
 * them back, leaf first and oldest first, when the pool runs dry.
 */
#ifndef DEVLLM_KVCACHE_H
#define DEVLLM_KVCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/engine.h"

#define KVCACHE_PAGE_TOKENS ENGINE_PAGE_TOKENS

struct kvcache;

/* A sequence's pages: table[g][i] holds positions i*32 .. i*32+31 of group g. */
struct kvcache_table {
	uint32_t *pages[ENGINE_MAX_KV_GROUPS];
	uint32_t n_pages;   /* the same count in every group */
	uint32_t cap_pages; /* allocated length of each array */
};

int kvcache_create(uint32_t n_groups, const uint32_t *n_pages, struct kvcache **out);
void kvcache_destroy(struct kvcache *kv);

/* Makes the table long enough for n_tokens: all or nothing; -ENOSPC when pages lack, -ENOMEM. */
int kvcache_grow(struct kvcache *kv, struct kvcache_table *t, uint32_t n_tokens);
/* Drops the sequence's references and the arrays; the table is empty after. */
void kvcache_release(struct kvcache *kv, struct kvcache_table *t);

void kvcache_page_get(struct kvcache *kv, uint32_t group, uint32_t page);
void kvcache_page_put(struct kvcache *kv, uint32_t group, uint32_t page);

uint32_t kvcache_pages_total(const struct kvcache *kv, uint32_t group);
uint32_t kvcache_pages_free(const struct kvcache *kv, uint32_t group);
static inline uint32_t kvcache_pages_for(uint64_t n_tokens)
{
	return (uint32_t)((n_tokens + KVCACHE_PAGE_TOKENS - 1) / KVCACHE_PAGE_TOKENS);
}

#endif
