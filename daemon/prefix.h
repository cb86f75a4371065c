/* SPDX-License-Identifier: MIT */
/*
 * prefix: full pages found again by what they hold.
 *
 * Key of page i = BLAKE2b(key: tenant secret; chain of page i-1, the 32 ids), so a hit never
 * crosses tenants and never tells one what another sent. The 32 ids are stored and compared on a
 * hit. Pure bookkeeping on the daemon's thread; it holds one reference on each page it knows.
 * Eviction is leaf first, oldest use first. A whole-prompt hit leaves the last token to compute.
 * Every group's page of the same index goes together: "a page" here is one of each group. Tenants
 * that were given the same secret share their pages and their quota.
 */
#ifndef DEVLLM_PREFIX_H
#define DEVLLM_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/kvcache.h"

struct prefix;

/*
 * salt: what else the KV depends on (model hash, KV type, adapter). quota_pages: most pages one
 * tenant keeps, 0 keeps none. One cache per pool: it becomes the pool's watcher. -EINVAL, -ENOMEM.
 */
int prefix_create(struct kvcache *kv, uint32_t n_groups, const uint8_t salt[32],
		  uint32_t quota_pages, struct prefix **out);
void prefix_destroy(struct prefix *p);

/* A sequence as the cache sees it; all of it is the caller's. */
struct prefix_text {
	const uint8_t *secret;	     /* [32] its tenant's */
	const uint32_t *ids;	     /* from position 0 */
	struct kvcache_table *table;
	uint8_t *chain;		     /* [32] hash after the pages found and published so far */
};

/*
 * Fills the empty table with the longest known run of full pages of ids[0..n), at most (n-1)/32
 * pages, taking a reference on each. Returns the pages found; chain is the hash after them.
 */
uint32_t prefix_lookup(struct prefix *p, const struct prefix_text *text, uint32_t n);
/* Gives back what prefix_lookup() of n ids found, as if it had not been asked. */
void prefix_unlookup(struct prefix *p, const struct prefix_text *text, uint32_t n);

/*
 * Makes page `index` of the table (full: its ids are computed) known and advances chain. All pages
 * before it came from prefix_lookup() or were published. When an equal page is known already, the
 * table gets that one and its own is freed. False, with nothing changed, when it cannot be kept:
 * the quota is used up by pages in use, or the page before it is not known any more.
 */
bool prefix_publish(struct prefix *p, const struct prefix_text *text, uint32_t index);

/* Gives back up to n pages that only the cache holds; returns how many. */
uint32_t prefix_evict(struct prefix *p, uint32_t n);
/* Pages that prefix_evict() could give back now. O(1). */
uint32_t prefix_evictable(const struct prefix *p);
/* Forgets everything; pages in use stay with their sequences. */
void prefix_clear(struct prefix *p);

struct prefix_stats {
	uint64_t n_lookups, n_hit_tokens, n_asked_tokens, n_evicted;
	uint32_t n_pages; /* known now */
};
void prefix_stats(const struct prefix *p, struct prefix_stats *out);

#endif
