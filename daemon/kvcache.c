/* SPDX-License-Identifier: MIT */
/*
 * kvcache: see daemon/kvcache.h. Called by sched and prefix on the daemon's one thread.
 *
 * A page is free (0 references, on its group's stack of free pages), held by one table or by the
 * prefix cache (1), or shared (more). The stack gives the page freed last first: it is the one most
 * likely still in a CPU's cache, and the order is a function of the calls alone.
 *
 *	I1  every page is either on its group's stack or has a reference, never both
 *	I2  a table has the same number of pages in every group
 *	I3  a table of n tokens has ceil(n / 32) pages: less than one page is wasted
 */
#include "daemon/kvcache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct group {
	uint32_t *refs;	       /* [n_pages] */
	uint32_t *free_pages;  /* [n_pages], a stack of n_free */
	uint8_t *is_watched;   /* [n_pages] */
	uint32_t n_pages, n_free;
};

struct kvcache {
	struct group groups[ENGINE_MAX_KV_GROUPS];
	uint32_t n_groups;
	kvcache_watcher *watcher; /* NULL: none */
	void *watcher_arg;
};

static int group_init(struct group *g, uint32_t n_pages)
{
	g->refs = calloc(n_pages, sizeof(*g->refs));
	g->free_pages = calloc(n_pages, sizeof(*g->free_pages));
	g->is_watched = calloc(n_pages, sizeof(*g->is_watched));
	if (!g->refs || !g->free_pages || !g->is_watched)
		return -ENOMEM;
	/* Page 0 is given out first. */
	for (uint32_t i = 0; i < n_pages; i++)
		g->free_pages[i] = n_pages - 1 - i;
	g->n_pages = g->n_free = n_pages;
	return 0;
}

int kvcache_create(uint32_t n_groups, const uint32_t *n_pages, struct kvcache **out)
{
	struct kvcache *kv;
	int rc = -EINVAL;

	if (!n_groups || n_groups > ENGINE_MAX_KV_GROUPS)
		return -EINVAL;
	kv = calloc(1, sizeof(*kv));
	if (!kv)
		return -ENOMEM;
	kv->n_groups = n_groups;
	for (uint32_t i = 0; i < n_groups; i++) {
		if (!n_pages[i] || n_pages[i] > UINT32_MAX / KVCACHE_PAGE_TOKENS)
			goto destroy;
		rc = group_init(&kv->groups[i], n_pages[i]);
		if (rc)
			goto destroy;
		rc = -EINVAL;
	}
	*out = kv;
	return 0;
destroy:
	kvcache_destroy(kv);
	return rc;
}

void kvcache_destroy(struct kvcache *kv)
{
	if (!kv)
		return;
	for (uint32_t i = 0; i < kv->n_groups; i++) {
		free(kv->groups[i].refs);
		free(kv->groups[i].free_pages);
		free(kv->groups[i].is_watched);
	}
	free(kv);
}

void kvcache_page_get(struct kvcache *kv, uint32_t group, uint32_t page)
{
	struct group *g = &kv->groups[group];

	g->refs[page]++;
	if (g->refs[page] == 2 && g->is_watched[page])
		kv->watcher(kv->watcher_arg, group, page, true);
}

void kvcache_page_put(struct kvcache *kv, uint32_t group, uint32_t page)
{
	struct group *g = &kv->groups[group];

	g->refs[page]--;
	if (!g->refs[page])
		g->free_pages[g->n_free++] = page;
	else if (g->refs[page] == 1 && g->is_watched[page])
		kv->watcher(kv->watcher_arg, group, page, false);
}

uint32_t kvcache_page_refs(const struct kvcache *kv, uint32_t group, uint32_t page)
{
	return kv->groups[group].refs[page];
}

void kvcache_set_watcher(struct kvcache *kv, kvcache_watcher *fn, void *arg)
{
	kv->watcher = fn;
	kv->watcher_arg = arg;
}

void kvcache_page_watch(struct kvcache *kv, uint32_t group, uint32_t page, bool is_watched)
{
	kv->groups[group].is_watched[page] = is_watched;
}

int kvcache_reserve(const struct kvcache *kv, struct kvcache_table *t, uint32_t n_pages)
{
	if (n_pages <= t->cap_pages)
		return 0;
	for (uint32_t i = 0; i < kv->n_groups; i++) {
		uint32_t *pages = realloc(t->pages[i], n_pages * sizeof(*pages));

		/* Arrays grown so far stay longer than cap_pages says, which harms nobody. */
		if (!pages)
			return -ENOMEM;
		t->pages[i] = pages;
	}
	t->cap_pages = n_pages;
	return 0;
}

/* As kvcache_reserve(), doubling, for tables that grow one page at a time. */
static int reserve_more(const struct kvcache *kv, struct kvcache_table *t, uint32_t n_pages)
{
	uint32_t twice = t->cap_pages > UINT32_MAX / 2 ? UINT32_MAX : 2 * t->cap_pages;

	if (n_pages <= t->cap_pages)
		return 0;
	return kvcache_reserve(kv, t, n_pages > twice ? n_pages : twice);
}

int kvcache_grow(struct kvcache *kv, struct kvcache_table *t, uint32_t n_tokens)
{
	uint32_t want = kvcache_pages_for(n_tokens);

	if (want <= t->n_pages)
		return 0;
	if (kvcache_least_free(kv) < want - t->n_pages)
		return -ENOSPC;
	if (reserve_more(kv, t, want))
		return -ENOMEM;
	for (uint32_t i = 0; i < kv->n_groups; i++) {
		struct group *g = &kv->groups[i];

		for (uint32_t at = t->n_pages; at < want; at++) {
			uint32_t page = g->free_pages[--g->n_free];

			g->refs[page] = 1;
			t->pages[i][at] = page;
		}
	}
	t->n_pages = want;
	return 0;
}

int kvcache_share(struct kvcache *kv, struct kvcache_table *t, const uint32_t *pages)
{
	if (reserve_more(kv, t, t->n_pages + 1))
		return -ENOMEM;
	for (uint32_t i = 0; i < kv->n_groups; i++) {
		t->pages[i][t->n_pages] = pages[i];
		kvcache_page_get(kv, i, pages[i]);
	}
	t->n_pages++;
	return 0;
}

void kvcache_release(struct kvcache *kv, struct kvcache_table *t)
{
	while (t->n_pages) {
		t->n_pages--;
		for (uint32_t i = 0; i < kv->n_groups; i++)
			kvcache_page_put(kv, i, t->pages[i][t->n_pages]);
	}
	for (uint32_t i = 0; i < kv->n_groups; i++)
		free(t->pages[i]);
	memset(t, 0, sizeof(*t));
}

uint32_t kvcache_n_groups(const struct kvcache *kv)
{
	return kv->n_groups;
}

uint32_t kvcache_pages_total(const struct kvcache *kv, uint32_t group)
{
	return kv->groups[group].n_pages;
}

uint32_t kvcache_pages_free(const struct kvcache *kv, uint32_t group)
{
	return kv->groups[group].n_free;
}

uint32_t kvcache_least_total(const struct kvcache *kv)
{
	uint32_t least = UINT32_MAX;

	for (uint32_t i = 0; i < kv->n_groups; i++)
		least = kv->groups[i].n_pages < least ? kv->groups[i].n_pages : least;
	return least;
}

uint32_t kvcache_least_free(const struct kvcache *kv)
{
	uint32_t least = UINT32_MAX;

	for (uint32_t i = 0; i < kv->n_groups; i++)
		least = kv->groups[i].n_free < least ? kv->groups[i].n_free : least;
	return least;
}
