/* SPDX-License-Identifier: MIT */
/*
 * prefix: see daemon/prefix.h. Called by the sched on the daemon's one thread.
 *
 *	            prefix_publish
 *	unknown ----------------------> IN USE <---- prefix_lookup ----+
 *	   ^                              |                            |
 *	   |                              +-- last table releases --> IDLE
 *	   +---- prefix_evict, quota, prefix_clear --------------------+
 *
 * An entry is a full page of each group, named by the hash of all the tokens up to its end. IN USE:
 * at least one sequence's table holds it as well; IDLE: only the cache does. kvcache tells which by
 * its watcher, `page_shared()`, so nothing is ever searched for.
 *
 *	I1  a table that holds an entry's page holds the pages of all entries before it in the
 *	    chain: prefix_lookup() fills tables from the root, and prefix_publish() replaces a page
 *	    whose equal is known by that one. So what is before an IN USE entry is IN USE
 *	I2  in both idle lists an entry comes before those it hangs below: kvcache_release() lets go
 *	    of the last page first, and by I1 nothing before a page can become idle before it.
 *	    So the head of a list is a leaf, and the leaf unused for longest
 *	I3  an entry holds one reference on its page in each group, and no other entry names it
 *
 * Hashes are keyed with the tenant's secret: nobody can aim at a bucket or at another's entry. They
 * are trusted to find an entry, not to tell that it is the right one: the ids are compared, too.
 */
#include "daemon/prefix.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define CHAIN_BYTES 32
#define OWNER_BUCKETS 256 /* by the secret's first byte; secrets are random */

static_assert(CHAIN_BYTES == crypto_generichash_BYTES, "the chain is one BLAKE2b-256");

/* Whoever shares a secret. Lives while it has an entry. */
struct owner {
	uint8_t secret[32];
	struct owner *next;	  /* in its bucket */
	uint32_t n_pages;	  /* entries */
	uint32_t idle_first, idle_last;
};

struct entry {
	uint8_t chain[CHAIN_BYTES]; /* hash of everything up to this page's end */
	uint32_t ids[KVCACHE_PAGE_TOKENS];
	uint32_t pages[ENGINE_MAX_KV_GROUPS];
	struct owner *owner;	    /* NULL: the entry is free */
	uint32_t before;	    /* the entry of the page before, NONE for the first */
	uint32_t n_shared;	    /* groups whose page a table holds as well; 0: IDLE */
	uint32_t bucket_next;	    /* also links the free entries */
	uint32_t idle_prev, idle_next;	 /* all idle entries, oldest first */
	uint32_t owner_prev, owner_next; /* its owner's */
};

struct prefix {
	struct kvcache *kv;
	uint32_t n_groups, quota_pages;
	uint8_t salt[32];
	struct entry *entries;			     /* [n_entries], one per page of the pool */
	uint32_t n_entries, free_first;
	uint32_t *entry_of[ENGINE_MAX_KV_GROUPS];    /* [page of the group], NONE: not known */
	uint32_t *buckets;			     /* [bucket_mask + 1] */
	uint32_t bucket_mask;
	uint32_t idle_first, idle_last, n_idle;
	struct owner *owners[OWNER_BUCKETS];
	struct prefix_stats stats;
};

static void page_shared(void *arg, uint32_t group, uint32_t page, bool is_shared);

/* ---- creation ------------------------------------------------------------------------------- */

static int allocate(struct prefix *p)
{
	uint32_t n_buckets = 1;

	while (n_buckets < p->n_entries)
		n_buckets *= 2;
	p->bucket_mask = n_buckets - 1;
	p->entries = calloc(p->n_entries, sizeof(*p->entries));
	p->buckets = malloc(n_buckets * sizeof(*p->buckets));
	if (!p->entries || !p->buckets)
		return -ENOMEM;
	memset(p->buckets, 0xff, n_buckets * sizeof(*p->buckets));
	for (uint32_t i = 0; i < p->n_entries; i++)
		p->entries[i].bucket_next = i + 1 < p->n_entries ? i + 1 : NONE;
	for (uint32_t g = 0; g < p->n_groups; g++) {
		uint32_t n = kvcache_pages_total(p->kv, g);

		p->entry_of[g] = malloc(n * sizeof(*p->entry_of[g]));
		if (!p->entry_of[g])
			return -ENOMEM;
		memset(p->entry_of[g], 0xff, n * sizeof(*p->entry_of[g]));
	}
	return 0;
}

static void deallocate(struct prefix *p)
{
	for (uint32_t g = 0; g < p->n_groups; g++)
		free(p->entry_of[g]);
	free(p->buckets);
	free(p->entries);
	free(p);
}

int prefix_create(struct kvcache *kv, uint32_t n_groups, const uint8_t salt[32],
		  uint32_t quota_pages, struct prefix **out)
{
	struct prefix *p;

	if (n_groups != kvcache_n_groups(kv))
		return -EINVAL;
	/* Chooses BLAKE2b's implementation; harmless when done before. */
	if (sodium_init() < 0)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->kv = kv;
	p->n_groups = n_groups;
	p->quota_pages = quota_pages;
	memcpy(p->salt, salt, sizeof(p->salt));
	p->n_entries = kvcache_least_total(kv);
	p->idle_first = p->idle_last = NONE;
	if (allocate(p)) {
		deallocate(p);
		return -ENOMEM;
	}
	kvcache_set_watcher(kv, page_shared, p);
	*out = p;
	return 0;
}

void prefix_destroy(struct prefix *p)
{
	if (!p)
		return;
	prefix_clear(p);
	kvcache_set_watcher(p->kv, NULL, NULL);
	deallocate(p);
}

/* ---- owners --------------------------------------------------------------------------------- */

static struct owner **owner_link(struct prefix *p, const uint8_t secret[32])
{
	struct owner **link = &p->owners[secret[0]];

	while (*link && memcmp((*link)->secret, secret, sizeof((*link)->secret)))
		link = &(*link)->next;
	return link;
}

static struct owner *owner_get(struct prefix *p, const uint8_t secret[32])
{
	struct owner **link = owner_link(p, secret);

	if (*link)
		return *link;
	*link = calloc(1, sizeof(**link));
	if (!*link)
		return NULL;
	memcpy((*link)->secret, secret, sizeof((*link)->secret));
	(*link)->idle_first = (*link)->idle_last = NONE;
	return *link;
}

static void owner_put(struct prefix *p, struct owner *o)
{
	struct owner **link = owner_link(p, o->secret);

	if (o->n_pages)
		return;
	*link = o->next;
	free(o);
}

/* ---- the idle lists ------------------------------------------------------------------------- */

static void idle_add(struct prefix *p, uint32_t i)
{
	struct entry *e = &p->entries[i];
	struct owner *o = e->owner;

	e->idle_prev = p->idle_last;
	e->owner_prev = o->idle_last;
	e->idle_next = e->owner_next = NONE;
	*(p->idle_last == NONE ? &p->idle_first : &p->entries[p->idle_last].idle_next) = i;
	*(o->idle_last == NONE ? &o->idle_first : &p->entries[o->idle_last].owner_next) = i;
	p->idle_last = o->idle_last = i;
	p->n_idle++;
}

static void idle_del(struct prefix *p, uint32_t i)
{
	struct entry *e = &p->entries[i];
	struct owner *o = e->owner;

	*(e->idle_prev == NONE ? &p->idle_first : &p->entries[e->idle_prev].idle_next) =
		e->idle_next;
	*(e->idle_next == NONE ? &p->idle_last : &p->entries[e->idle_next].idle_prev) =
		e->idle_prev;
	*(e->owner_prev == NONE ? &o->idle_first : &p->entries[e->owner_prev].owner_next) =
		e->owner_next;
	*(e->owner_next == NONE ? &o->idle_last : &p->entries[e->owner_next].owner_prev) =
		e->owner_prev;
	p->n_idle--;
}

static void page_shared(void *arg, uint32_t group, uint32_t page, bool is_shared)
{
	struct prefix *p = arg;
	uint32_t i = p->entry_of[group][page];
	struct entry *e = &p->entries[i];

	if (is_shared) {
		if (!e->n_shared)
			idle_del(p, i);
		e->n_shared++;
	} else {
		e->n_shared--;
		if (!e->n_shared)
			idle_add(p, i);
	}
}

/* ---- entries -------------------------------------------------------------------------------- */

static void chain_start(const struct prefix *p, const uint8_t secret[32], uint8_t chain[32])
{
	crypto_generichash(chain, CHAIN_BYTES, p->salt, sizeof(p->salt), secret, 32);
}

/* next = the name of the page that holds ids[0..32) after what chain stands for. */
static void chain_next(const uint8_t secret[32], const uint8_t chain[32], const uint32_t *ids,
		       uint8_t next[32])
{
	uint8_t text[CHAIN_BYTES + KVCACHE_PAGE_TOKENS * sizeof(*ids)];

	memcpy(text, chain, CHAIN_BYTES);
	memcpy(text + CHAIN_BYTES, ids, KVCACHE_PAGE_TOKENS * sizeof(*ids));
	crypto_generichash(next, CHAIN_BYTES, text, sizeof(text), secret, 32);
}

static uint32_t *bucket_of(const struct prefix *p, const uint8_t chain[32])
{
	uint32_t hash;

	memcpy(&hash, chain, sizeof(hash));
	return &p->buckets[hash & p->bucket_mask];
}

static uint32_t entry_find(const struct prefix *p, const uint8_t chain[32], uint32_t before,
			   const uint32_t *ids)
{
	uint32_t i = *bucket_of(p, chain);

	for (; i != NONE; i = p->entries[i].bucket_next) {
		const struct entry *e = &p->entries[i];

		if (!memcmp(e->chain, chain, CHAIN_BYTES) && e->before == before &&
		    !memcmp(e->ids, ids, sizeof(e->ids)))
			return i;
	}
	return NONE;
}

/* Forgets an entry in either state; a table that holds its pages keeps them. */
static void entry_drop(struct prefix *p, uint32_t i)
{
	struct entry *e = &p->entries[i];
	uint32_t *link = bucket_of(p, e->chain);
	struct owner *o = e->owner;

	while (*link != i)
		link = &p->entries[*link].bucket_next;
	*link = e->bucket_next;
	if (!e->n_shared)
		idle_del(p, i);
	for (uint32_t g = 0; g < p->n_groups; g++) {
		p->entry_of[g][e->pages[g]] = NONE;
		kvcache_page_watch(p->kv, g, e->pages[g], false);
		kvcache_page_put(p->kv, g, e->pages[g]);
	}
	e->owner = NULL;
	e->bucket_next = p->free_first;
	p->free_first = i;
	p->stats.n_pages--;
	o->n_pages--;
	owner_put(p, o);
}

/* A new entry for page `index` of the table, which holds it: IN USE. */
static void entry_add(struct prefix *p, struct entry *e, const struct kvcache_table *t,
		      uint32_t index)
{
	uint32_t i = (uint32_t)(e - p->entries), *bucket = bucket_of(p, e->chain);

	e->n_shared = 0;
	for (uint32_t g = 0; g < p->n_groups; g++) {
		e->pages[g] = t->pages[g][index];
		p->entry_of[g][e->pages[g]] = i;
		kvcache_page_get(p->kv, g, e->pages[g]);
		kvcache_page_watch(p->kv, g, e->pages[g], true);
		e->n_shared++;
	}
	e->bucket_next = *bucket;
	*bucket = i;
	p->stats.n_pages++;
}

/* ---- what the sched calls ------------------------------------------------------------------- */

uint32_t prefix_lookup(struct prefix *p, const struct prefix_text *text, uint32_t n)
{
	struct kvcache_table *t = text->table;
	uint32_t most = n ? (n - 1) / KVCACHE_PAGE_TOKENS : 0, before = NONE;
	uint8_t next[CHAIN_BYTES];

	p->stats.n_lookups++;
	p->stats.n_asked_tokens += n;
	chain_start(p, text->secret, text->chain);
	while (t->n_pages < most) {
		const uint32_t *ids = text->ids + t->n_pages * KVCACHE_PAGE_TOKENS;
		uint32_t i;

		chain_next(text->secret, text->chain, ids, next);
		i = entry_find(p, next, before, ids);
		if (i == NONE || kvcache_share(p->kv, t, p->entries[i].pages))
			break;
		memcpy(text->chain, next, CHAIN_BYTES);
		before = i;
	}
	p->stats.n_hit_tokens += (uint64_t)t->n_pages * KVCACHE_PAGE_TOKENS;
	return t->n_pages;
}

void prefix_unlookup(struct prefix *p, const struct prefix_text *text, uint32_t n)
{
	p->stats.n_lookups--;
	p->stats.n_asked_tokens -= n;
	p->stats.n_hit_tokens -= (uint64_t)text->table->n_pages * KVCACHE_PAGE_TOKENS;
	kvcache_release(p->kv, text->table);
}

/* Gives the table the known page instead of its own equal one. */
static void merge(struct prefix *p, const struct entry *e, struct kvcache_table *t, uint32_t index)
{
	for (uint32_t g = 0; g < p->n_groups; g++) {
		if (t->pages[g][index] == e->pages[g])
			continue;
		kvcache_page_get(p->kv, g, e->pages[g]);
		kvcache_page_put(p->kv, g, t->pages[g][index]);
		t->pages[g][index] = e->pages[g];
	}
}

/* Counts one more page of the owner, if the quota allows or its oldest idle page makes room. */
static bool owner_charge(struct prefix *p, struct owner *o)
{
	o->n_pages++;
	if (o->n_pages <= p->quota_pages)
		return true;
	if (o->idle_first != NONE) {
		entry_drop(p, o->idle_first);
		p->stats.n_evicted++;
		return true;
	}
	o->n_pages--;
	return false;
}

bool prefix_publish(struct prefix *p, const struct prefix_text *text, uint32_t index)
{
	const uint32_t *ids = text->ids + index * KVCACHE_PAGE_TOKENS;
	struct kvcache_table *t = text->table;
	uint32_t before = index ? p->entry_of[0][t->pages[0][index - 1]] : NONE, i;
	uint8_t next[CHAIN_BYTES];
	struct owner *o;
	struct entry *e;

	if (index && (before == NONE || memcmp(p->entries[before].chain, text->chain, CHAIN_BYTES)))
		return false;
	chain_next(text->secret, text->chain, ids, next);
	i = entry_find(p, next, before, ids);
	if (i != NONE) {
		merge(p, &p->entries[i], t, index);
		memcpy(text->chain, next, CHAIN_BYTES);
		return true;
	}
	o = owner_get(p, text->secret);
	if (!o)
		return false;
	if (!owner_charge(p, o)) {
		owner_put(p, o);
		return false;
	}
	/* There is a free one: an entry holds a page of each group, and this page is in none. */
	e = &p->entries[p->free_first];
	p->free_first = e->bucket_next;
	memcpy(e->chain, next, CHAIN_BYTES);
	memcpy(e->ids, ids, sizeof(e->ids));
	e->owner = o;
	e->before = before;
	entry_add(p, e, t, index);
	memcpy(text->chain, next, CHAIN_BYTES);
	return true;
}

uint32_t prefix_evict(struct prefix *p, uint32_t n)
{
	uint32_t done = 0;

	while (done < n && p->idle_first != NONE) {
		entry_drop(p, p->idle_first);
		done++;
	}
	p->stats.n_evicted += done;
	return done;
}

uint32_t prefix_evictable(const struct prefix *p)
{
	return p->n_idle;
}

void prefix_clear(struct prefix *p)
{
	for (uint32_t i = 0; i < p->n_entries; i++) {
		if (p->entries[i].owner)
			entry_drop(p, i);
	}
}

void prefix_stats(const struct prefix *p, struct prefix_stats *out)
{
	*out = p->stats;
}
