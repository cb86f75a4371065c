/* SPDX-License-Identifier: MIT */
/*
 * No page leaks, is given out twice or is counted wrongly in a million random operations on 40
 * tables; a table wastes less than one page; growing is all or nothing; the watcher hears of
 * watched pages alone. A plain count of who holds what, kept here, must agree throughout.
 * Marks: san
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/kvcache.h"
#include "tests/test.h"

enum { N_GROUPS = 3, N_TABLES = 40, N_OPERATIONS = 1000000, MOST_TOKENS = 900, MOST_PAGES = 210 };

static const uint64_t seed = 77;
static const uint32_t n_pages[N_GROUPS] = {200, 150, 210};

struct world {
	struct kvcache *kv;
	struct kvcache_table tables[N_TABLES];
	uint32_t n_tokens[N_TABLES];
	uint32_t refs[N_GROUPS][MOST_PAGES]; /* the count that must agree */
	uint32_t n_held[N_GROUPS];	     /* pages with refs > 0 */
	uint32_t held_page[N_GROUPS];	     /* a reference outside of the tables */
	bool is_held;
	uint64_t random;
	uint64_t n_refused, n_shared, n_heard;
};

static uint32_t draw(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((w->random >> 33) % below);
}

static void count(struct world *w, uint32_t group, uint32_t page, int by)
{
	uint32_t *refs = &w->refs[group][page];

	if (by > 0 && !*refs)
		w->n_held[group]++;
	*refs = (uint32_t)((int)*refs + by);
	if (by < 0 && !*refs)
		w->n_held[group]--;
}

static void check_counts(const struct world *w)
{
	for (uint32_t g = 0; g < N_GROUPS; g++) {
		CHECK_EQ(kvcache_pages_free(w->kv, g), n_pages[g] - w->n_held[g]);
		for (uint32_t page = 0; page < n_pages[g]; page++) {
			CHECK_EQ(kvcache_page_refs(w->kv, g, page), w->refs[g][page]);
		}
	}
}

static void grow(struct world *w, uint32_t i)
{
	struct kvcache_table *t = &w->tables[i];
	uint32_t had = t->n_pages, n = w->n_tokens[i] + 1 + draw(w, 120);
	uint32_t n_free = kvcache_least_free(w->kv), want = kvcache_pages_for(n);
	int rc;

	if (n > MOST_TOKENS)
		return;
	rc = kvcache_grow(w->kv, t, n);
	if (want > had && want - had > n_free) {
		w->n_refused++;
		/* A growth that lacks pages changes nothing. */
		CHECK(rc == -ENOSPC && t->n_pages == had);
		return;
	}
	/* A table has the pages for its tokens and wastes less than one. */
	CHECK(!rc && t->n_pages == want);
	CHECK(t->n_pages * KVCACHE_PAGE_TOKENS - n < KVCACHE_PAGE_TOKENS);
	w->n_tokens[i] = n;
	for (uint32_t g = 0; g < N_GROUPS; g++) {
		for (uint32_t at = had; at < t->n_pages; at++) {
			/* A page that is given out was free. */
			CHECK_EQ(w->refs[g][t->pages[g][at]], 0);
			count(w, g, t->pages[g][at], 1);
		}
	}
}

static void release(struct world *w, uint32_t i)
{
	struct kvcache_table *t = &w->tables[i];

	for (uint32_t g = 0; g < N_GROUPS; g++) {
		for (uint32_t at = 0; at < t->n_pages; at++)
			count(w, g, t->pages[g][at], -1);
	}
	kvcache_release(w->kv, t);
	w->n_tokens[i] = 0;
	CHECK(!t->n_pages && !t->cap_pages && !t->pages[0]);
}

/* A fresh table begins with the full pages of another one, as after a prefix hit. */
static void share(struct world *w, uint32_t i, uint32_t from)
{
	struct kvcache_table *t = &w->tables[i], *f = &w->tables[from];
	uint32_t n = w->n_tokens[from] / KVCACHE_PAGE_TOKENS;

	if (i == from || !n)
		return;
	release(w, i);
	n = 1 + draw(w, n);
	for (uint32_t at = 0; at < n; at++) {
		uint32_t pages[N_GROUPS];

		for (uint32_t g = 0; g < N_GROUPS; g++) {
			pages[g] = f->pages[g][at];
			count(w, g, pages[g], 1);
		}
		CHECK_EQ(kvcache_share(w->kv, t, pages), 0);
	}
	w->n_tokens[i] = n * KVCACHE_PAGE_TOKENS;
	w->n_shared += n;
}

static void hold(struct world *w, uint32_t i)
{
	if (w->is_held) {
		for (uint32_t g = 0; g < N_GROUPS; g++) {
			kvcache_page_put(w->kv, g, w->held_page[g]);
			count(w, g, w->held_page[g], -1);
		}
		w->is_held = false;
	} else if (w->tables[i].n_pages) {
		for (uint32_t g = 0; g < N_GROUPS; g++) {
			w->held_page[g] = w->tables[i].pages[g][0];
			kvcache_page_get(w->kv, g, w->held_page[g]);
			count(w, g, w->held_page[g], 1);
		}
		w->is_held = true;
	}
}

static void random_operations(struct world *w)
{
	for (uint32_t n = 0; n < N_OPERATIONS; n++) {
		uint32_t i = draw(w, N_TABLES), what = draw(w, 100);

		if (what < 80)
			grow(w, i);
		else if (what < 90)
			release(w, i);
		else if (what < 97)
			share(w, i, draw(w, N_TABLES));
		else
			hold(w, i);
		if (n % 10000 == 0)
			check_counts(w);
	}
	check_counts(w);
	if (w->is_held)
		hold(w, 0);
	for (uint32_t i = 0; i < N_TABLES; i++)
		release(w, i);
	check_counts(w);
	for (uint32_t g = 0; g < N_GROUPS; g++)
		CHECK_EQ(kvcache_pages_free(w->kv, g), n_pages[g]);
	printf("seed %llu: %llu growths refused, %llu pages shared\n", (unsigned long long)seed,
	       (unsigned long long)w->n_refused, (unsigned long long)w->n_shared);
	CHECK(w->n_refused > 1000 && w->n_shared > 1000);
}

static void hear(void *arg, uint32_t group, uint32_t page, bool is_shared)
{
	struct world *w = arg;

	CHECK_EQ(group, 1);
	CHECK_EQ(page, w->held_page[1]);
	CHECK_EQ(is_shared, w->n_heard % 2 == 0);
	w->n_heard++;
}

/* Becomes shared and unshared: told once each; a second sharer, or a page not watched: silence. */
static void watching(struct world *w)
{
	struct kvcache_table t = {0};

	CHECK_EQ(kvcache_grow(w->kv, &t, 64), 0);
	kvcache_set_watcher(w->kv, hear, w);
	w->held_page[1] = t.pages[1][0];
	kvcache_page_watch(w->kv, 1, t.pages[1][0], true);
	kvcache_page_get(w->kv, 0, t.pages[0][0]);
	kvcache_page_get(w->kv, 1, t.pages[1][0]);
	CHECK_EQ(w->n_heard, 1);
	kvcache_page_get(w->kv, 1, t.pages[1][0]);
	kvcache_page_put(w->kv, 1, t.pages[1][0]);
	CHECK_EQ(w->n_heard, 1);
	kvcache_page_put(w->kv, 1, t.pages[1][0]);
	kvcache_page_put(w->kv, 0, t.pages[0][0]);
	CHECK_EQ(w->n_heard, 2);
	kvcache_page_watch(w->kv, 1, t.pages[1][0], false);
	kvcache_release(w->kv, &t);
	CHECK_EQ(w->n_heard, 2);
}

static void limits(void)
{
	const uint32_t none[2] = {4, 0}, huge[1] = {UINT32_MAX / 2}, small[2] = {4, 5};
	struct kvcache_table t = {0};
	struct kvcache *kv;

	CHECK_EQ(kvcache_create(0, small, &kv), -EINVAL);
	CHECK_EQ(kvcache_create(ENGINE_MAX_KV_GROUPS + 1, small, &kv), -EINVAL);
	CHECK_EQ(kvcache_create(2, none, &kv), -EINVAL);
	CHECK_EQ(kvcache_create(1, huge, &kv), -EINVAL);
	CHECK_EQ(kvcache_create(2, small, &kv), 0);
	CHECK_EQ(kvcache_n_groups(kv), 2);
	CHECK_EQ(kvcache_least_total(kv), 4);
	CHECK_EQ(kvcache_reserve(kv, &t, 4), 0);
	CHECK_EQ(t.cap_pages, 4);
	CHECK_EQ(kvcache_grow(kv, &t, 129), -ENOSPC);
	CHECK_EQ(t.n_pages, 0);
	CHECK_EQ(kvcache_grow(kv, &t, 128), 0);
	CHECK_EQ(kvcache_grow(kv, &t, 1), 0);
	CHECK_EQ(t.n_pages, 4);
	CHECK_EQ(kvcache_least_free(kv), 0);
	CHECK_EQ(kvcache_pages_free(kv, 1), 1);
	kvcache_release(kv, &t);
	CHECK_EQ(kvcache_least_free(kv), 4);
	kvcache_destroy(kv);
	kvcache_destroy(NULL);
	CHECK_EQ(kvcache_pages_for(0), 0);
	CHECK_EQ(kvcache_pages_for(1), 1);
	CHECK_EQ(kvcache_pages_for(32), 1);
	CHECK_EQ(kvcache_pages_for(33), 2);
}

int main(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || kvcache_create(N_GROUPS, n_pages, &w->kv))
		return 1;
	w->random = seed;
	random_operations(w);
	watching(w);
	kvcache_destroy(w->kv);
	free(w);
	limits();
	return test_done();
}
