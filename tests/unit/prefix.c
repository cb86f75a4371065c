/* SPDX-License-Identifier: MIT */
/*
 * The prefix cache finds what it should and nothing else: never across tenants or salts, never by
 * hash alone; it evicts leaf first and oldest use first, keeps quotas, leaves the last token of a
 * prompt to be computed, merges equal pages, and agrees with a plain model in random operations.
 * Marks: san
 *
 * `crypto_generichash()` is defined here, over libsodium's `crypto_generichash_blake2b()`, so that
 * all hashes can be made to collide.
 */
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/prefix.h"
#include "tests/test.h"

enum { GROUPS = 2, POOL = 40, PAGE = KVCACHE_PAGE_TOKENS };

static const uint64_t seed = 4711;
static bool hashes_collide;

/* As <sodium.h> declares it. */
#define HASH_PARAMETERS                                                                      \
	unsigned char *out, size_t out_len, const unsigned char *in, unsigned long long in_len, \
		const unsigned char *key, size_t key_len

int crypto_generichash(HASH_PARAMETERS)
{
	if (!hashes_collide)
		return crypto_generichash_blake2b(out, out_len, in, in_len, key, key_len);
	memset(out, 7, out_len);
	return 0;
}

/* A cache of its own pool, and a sequence of it. */
struct world {
	struct kvcache *kv;
	struct prefix *p;
};

struct seq {
	struct kvcache_table t;
	uint32_t ids[8 * PAGE];
	uint32_t n_ids;
	uint8_t secret[32], chain[32];
	uint32_t n_found, n_published;
};

static struct world world_create(uint8_t salt_byte, uint32_t quota)
{
	const uint32_t n_pages[GROUPS] = {POOL, POOL + 3};
	uint8_t salt[32] = {salt_byte};
	struct world w;

	if (kvcache_create(GROUPS, n_pages, &w.kv) ||
	    prefix_create(w.kv, GROUPS, salt, quota, &w.p))
		exit(1);
	return w;
}

static void world_destroy(struct world *w)
{
	CHECK_EQ(kvcache_least_free(w->kv) + prefix_evictable(w->p), POOL);
	prefix_destroy(w->p);
	CHECK_EQ(kvcache_pages_free(w->kv, 0), POOL);
	CHECK_EQ(kvcache_pages_free(w->kv, 1), POOL + 3);
	kvcache_destroy(w->kv);
}

/* A prompt whose page i holds text[i] in every id, with n more ids at its end. */
static struct seq seq_of(uint8_t tenant, const char *text, uint32_t n_more)
{
	struct seq q = {.secret = {tenant}};

	for (; *text; text++) {
		for (uint32_t i = 0; i < PAGE; i++)
			q.ids[q.n_ids++] = (uint32_t)*text;
	}
	for (uint32_t i = 0; i < n_more; i++)
		q.ids[q.n_ids++] = '.';
	return q;
}

static struct prefix_text text_of(struct seq *q)
{
	return (struct prefix_text){
		.secret = q->secret, .ids = q->ids, .table = &q->t, .chain = q->chain};
}

static uint32_t look_up(struct world *w, struct seq *q)
{
	struct prefix_text text = text_of(q);

	return prefix_lookup(w->p, &text, q->n_ids);
}

static bool publish(struct world *w, struct seq *q, uint32_t index)
{
	struct prefix_text text = text_of(q);

	return prefix_publish(w->p, &text, index);
}

/* What the sched does: look up, compute the rest, publish full pages. Returns the pages found. */
static uint32_t start(struct world *w, struct seq *q)
{
	q->n_found = look_up(w, q);
	CHECK_EQ(q->t.n_pages, q->n_found);
	CHECK(q->n_found * PAGE < q->n_ids);
	CHECK_EQ(kvcache_grow(w->kv, &q->t, q->n_ids), 0);
	q->n_published = q->n_found;
	while ((q->n_published + 1) * PAGE <= q->n_ids && publish(w, q, q->n_published))
		q->n_published++;
	return q->n_found;
}

static void stop(struct world *w, struct seq *q)
{
	kvcache_release(w->kv, &q->t);
}

static uint32_t visit(struct world *w, uint8_t tenant, const char *text, uint32_t n_more)
{
	struct seq q = seq_of(tenant, text, n_more);
	uint32_t found = start(w, &q);

	stop(w, &q);
	return found;
}

/* Pages known of a text, with nothing changed but the order of use. */
static uint32_t known(struct world *w, uint8_t tenant, const char *text)
{
	struct seq q = seq_of(tenant, text, 1);
	uint32_t found = look_up(w, &q);
	struct prefix_text asked = text_of(&q);

	prefix_unlookup(w->p, &asked, q.n_ids);
	return found;
}

static void hits(void)
{
	struct world w = world_create(1, POOL), other = world_create(2, POOL);
	struct prefix_stats stats;

	CHECK_EQ(visit(&w, 1, "abc", 5), 0);
	CHECK_EQ(visit(&w, 1, "abc", 5), 3);
	CHECK_EQ(visit(&w, 1, "abd", 0), 2);
	/* The last token is left to be computed: 96 known ids are asked for, 64 are given. */
	CHECK_EQ(visit(&w, 1, "abc", 0), 2);
	CHECK_EQ(visit(&w, 1, "abc", 1), 3);
	/* Same ids elsewhere in the text. */
	CHECK_EQ(visit(&w, 1, "bc", 1), 0);
	CHECK_EQ(visit(&w, 1, "", 7), 0);
	prefix_stats(w.p, &stats);
	CHECK_EQ(stats.n_lookups, 7);
	CHECK_EQ(stats.n_hit_tokens, PAGE * (3 + 2 + 2 + 3));
	CHECK_EQ(stats.n_asked_tokens, 101 + 101 + 96 + 96 + 97 + 65 + 7);
	CHECK_EQ(stats.n_pages, 6);
	CHECK_EQ(known(&w, 1, "abc"), 3);
	prefix_stats(w.p, &stats);
	CHECK_EQ(stats.n_lookups, 7);
	/* Another tenant, another salt. */
	CHECK_EQ(visit(&w, 2, "abc", 5), 0);
	CHECK_EQ(visit(&w, 2, "abc", 5), 3);
	CHECK_EQ(visit(&other, 1, "abc", 5), 0);
	world_destroy(&w);
	world_destroy(&other);
}

/* The chain is what is trusted across pools, and it must depend on secret and salt. */
static void chains(void)
{
	struct world w = world_create(1, POOL), other = world_create(2, POOL);
	struct seq a = seq_of(1, "ab", 3), b = seq_of(2, "ab", 3), c = seq_of(1, "ab", 3);

	start(&w, &a);
	start(&w, &b);
	start(&other, &c);
	CHECK(memcmp(a.chain, b.chain, 32));
	CHECK(memcmp(a.chain, c.chain, 32));
	stop(&w, &a);
	stop(&w, &b);
	stop(&other, &c);
	world_destroy(&w);
	world_destroy(&other);
}

static void collisions(void)
{
	struct world w = world_create(1, POOL);

	hashes_collide = true;
	CHECK_EQ(visit(&w, 1, "abc", 5), 0);
	CHECK_EQ(visit(&w, 1, "xbc", 5), 0);
	CHECK_EQ(visit(&w, 1, "abc", 5), 3);
	CHECK_EQ(visit(&w, 1, "xbd", 5), 2);
	CHECK_EQ(visit(&w, 1, "bc", 5), 0);
	CHECK_EQ(known(&w, 1, "abd"), 2);
	world_destroy(&w);
	hashes_collide = false;
}

static void eviction(void)
{
	struct world w = world_create(1, POOL);
	struct seq q = seq_of(1, "xy", 1);
	struct prefix_stats stats;

	visit(&w, 1, "abc", 1);
	visit(&w, 1, "abd", 1);
	visit(&w, 1, "ef", 1);
	CHECK_EQ(prefix_evictable(w.p), 6);
	/* abc's leaf is the oldest; its a and b were used since. */
	CHECK_EQ(prefix_evict(w.p, 1), 1);
	CHECK_EQ(known(&w, 1, "ef"), 2);
	CHECK_EQ(known(&w, 1, "abd"), 3);
	CHECK_EQ(known(&w, 1, "abc"), 2);
	/* Those were uses: ef is the oldest now, its leaf first. */
	CHECK_EQ(prefix_evict(w.p, 1), 1);
	CHECK_EQ(known(&w, 1, "ef"), 1);
	/* Pages in use stay. */
	start(&w, &q);
	CHECK_EQ(prefix_evictable(w.p), 4);
	CHECK_EQ(prefix_evict(w.p, 100), 4);
	CHECK_EQ(known(&w, 1, "abd"), 0);
	CHECK_EQ(known(&w, 1, "xy"), 2);
	prefix_stats(w.p, &stats);
	CHECK_EQ(stats.n_evicted, 6);
	CHECK_EQ(stats.n_pages, 2);
	/* Forgetting takes no page from the one that uses it, and nothing hangs on what is gone. */
	prefix_clear(w.p);
	CHECK_EQ(known(&w, 1, "xy"), 0);
	CHECK_EQ(kvcache_page_refs(w.kv, 0, q.t.pages[0][0]), 1);
	CHECK(!publish(&w, &q, 2));
	stop(&w, &q);
	CHECK_EQ(kvcache_least_free(w.kv), POOL);
	world_destroy(&w);
}

static void quota(void)
{
	struct world w = world_create(1, 3);
	struct seq a = seq_of(1, "abcde", 1), b = seq_of(1, "p", 1);
	uint8_t chain[32];

	visit(&w, 2, "xyz", 1);
	visit(&w, 1, "uv", 1);
	/* At its quota a tenant loses its own oldest pages, and never one in use. */
	start(&w, &a);
	CHECK_EQ(a.n_published, 3);
	CHECK_EQ(known(&w, 1, "uv"), 0);
	CHECK_EQ(known(&w, 2, "xyz"), 3);
	memcpy(chain, a.chain, 32);
	CHECK(!publish(&w, &a, 3));
	CHECK(!memcmp(chain, a.chain, 32));
	/* The page after one that is not known is not kept either. */
	CHECK(!publish(&w, &a, 4));
	start(&w, &b);
	CHECK_EQ(b.n_published, 0);
	stop(&w, &a);
	stop(&w, &b);
	CHECK_EQ(visit(&w, 1, "p", 1), 0);
	CHECK_EQ(visit(&w, 1, "p", 1), 1);
	CHECK_EQ(known(&w, 1, "abc"), 2);
	world_destroy(&w);

	w = world_create(1, 1);
	visit(&w, 1, "a", 1);
	visit(&w, 1, "b", 1);
	CHECK_EQ(known(&w, 1, "a"), 0);
	CHECK_EQ(known(&w, 1, "b"), 1);
	world_destroy(&w);
	w = world_create(1, 0);
	visit(&w, 1, "a", 1);
	CHECK_EQ(known(&w, 1, "a"), 0);
	world_destroy(&w);
}

/* Two compute the same text at once: the second gives up its copy and goes on with the first's. */
static void merging(void)
{
	struct world w = world_create(1, POOL);
	struct seq a = seq_of(1, "abc", 0), b = seq_of(1, "abd", 9);
	uint32_t n_free;

	a.n_found = look_up(&w, &a);
	CHECK_EQ(kvcache_grow(w.kv, &a.t, a.n_ids), 0);
	start(&w, &b);
	n_free = kvcache_least_free(w.kv);
	for (uint32_t i = 0; i < 3; i++)
		CHECK(publish(&w, &a, i));
	CHECK_EQ(kvcache_least_free(w.kv), n_free + 2);
	for (uint32_t g = 0; g < GROUPS; g++) {
		CHECK_EQ(a.t.pages[g][0], b.t.pages[g][0]);
		CHECK_EQ(a.t.pages[g][1], b.t.pages[g][1]);
		CHECK(a.t.pages[g][2] != b.t.pages[g][2]);
		CHECK_EQ(kvcache_page_refs(w.kv, g, a.t.pages[g][1]), 3);
		CHECK_EQ(kvcache_page_refs(w.kv, g, a.t.pages[g][2]), 2);
		/* What a sequence still writes to is its own. */
		CHECK_EQ(kvcache_page_refs(w.kv, g, b.t.pages[g][3]), 1);
	}
	stop(&w, &a);
	CHECK_EQ(prefix_evictable(w.p), 1);
	stop(&w, &b);
	CHECK_EQ(prefix_evictable(w.p), 4);
	world_destroy(&w);
}

/* ---- random operations against a plain model --------------------------------------------- */

enum { LETTERS = 3, DEPTH = 4, TENANTS = 3, SEQS = 6, NODES = 1 + 3 + 9 + 27 + 81, QUOTA = 14 };

/* Every text of up to four letters is a node of a tree; idle_at orders the idle ones by age. */
struct model {
	bool is_known[TENANTS][NODES];
	uint32_t n_users[TENANTS][NODES];
	uint64_t idle_at[TENANTS][NODES];
	uint64_t now;
	struct seq seqs[SEQS];
	uint32_t tenant[SEQS], path[SEQS][DEPTH], depth[SEQS];
	uint64_t random;
};

static uint32_t draw(struct model *m, uint32_t below)
{
	m->random = m->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((m->random >> 33) % below);
}

static uint32_t model_n_idle(const struct model *m)
{
	uint32_t n = 0;

	for (uint32_t t = 0; t < TENANTS; t++) {
		for (uint32_t i = 1; i < NODES; i++)
			n += m->is_known[t][i] && !m->n_users[t][i];
	}
	return n;
}

/* The idle leaf of one tenant, or of all (TENANTS), that was used longest ago. */
static bool model_evict(struct model *m, uint32_t tenant)
{
	uint32_t at_t = 0, at = 0;

	for (uint32_t t = 0; t < TENANTS; t++) {
		for (uint32_t i = 1; i < NODES; i++) {
			bool is_leaf = true;

			if ((tenant != TENANTS && t != tenant) || !m->is_known[t][i] ||
			    m->n_users[t][i])
				continue;
			for (uint32_t c = 1; c <= LETTERS && LETTERS * i + c < NODES; c++)
				is_leaf &= !m->is_known[t][LETTERS * i + c];
			if (is_leaf && (!at || m->idle_at[t][i] < m->idle_at[at_t][at])) {
				at_t = t;
				at = i;
			}
		}
	}
	if (at)
		m->is_known[at_t][at] = false;
	return at;
}

static uint32_t model_n_known(const struct model *m, uint32_t tenant)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < NODES; i++)
		n += m->is_known[tenant][i];
	return n;
}

static void random_start(struct world *w, struct model *m, uint32_t s)
{
	char text[DEPTH + 1] = {0};
	uint32_t t = draw(m, TENANTS), depth = 1 + draw(m, DEPTH), found = 0, kept;

	/* As the sched: no start without the pages for it. */
	while (kvcache_least_free(w->kv) < depth + 1) {
		CHECK_EQ(prefix_evict(w->p, 1), model_evict(m, TENANTS));
		if (!prefix_evictable(w->p) && kvcache_least_free(w->kv) < depth + 1)
			return;
	}
	for (uint32_t i = 0, node = 0; i < depth; i++) {
		text[i] = (char)('a' + draw(m, LETTERS));
		node = LETTERS * node + 1 + (uint32_t)(text[i] - 'a');
		m->path[s][i] = node;
		found += found == i && m->is_known[t][node];
	}
	m->tenant[s] = t;
	m->seqs[s] = seq_of((uint8_t)t, text, 1);
	for (uint32_t i = 0; i < found; i++)
		m->n_users[t][m->path[s][i]]++;
	for (kept = found; kept < depth; kept++) {
		uint32_t node = m->path[s][kept];

		if (model_n_known(m, t) >= QUOTA && !model_evict(m, t))
			break;
		m->is_known[t][node] = true;
		m->n_users[t][node] = 1;
	}
	m->depth[s] = kept;
	CHECK_EQ(start(w, &m->seqs[s]), found);
	CHECK_EQ(m->seqs[s].n_published, kept);
}

static void random_stop(struct world *w, struct model *m, uint32_t s)
{
	uint32_t t = m->tenant[s];

	for (uint32_t i = m->depth[s]; i-- > 0;) {
		if (!--m->n_users[t][m->path[s][i]])
			m->idle_at[t][m->path[s][i]] = ++m->now;
	}
	stop(w, &m->seqs[s]);
}

static void random_operations(void)
{
	struct world w = world_create(1, QUOTA);
	struct model *m = calloc(1, sizeof(*m));
	struct prefix_stats stats;

	if (!m)
		exit(1);
	m->random = seed;
	for (uint32_t n = 0; n < 50000; n++) {
		uint32_t s = draw(m, SEQS);

		if (m->seqs[s].t.n_pages)
			random_stop(&w, m, s);
		else
			random_start(&w, m, s);
		if (draw(m, 20) == 0)
			CHECK_EQ(prefix_evict(w.p, 1), model_evict(m, TENANTS));
		CHECK_EQ(prefix_evictable(w.p), model_n_idle(m));
	}
	prefix_stats(w.p, &stats);
	printf("seed %llu: %llu of %llu tokens found, %llu pages evicted\n",
	       (unsigned long long)seed, (unsigned long long)stats.n_hit_tokens,
	       (unsigned long long)stats.n_asked_tokens, (unsigned long long)stats.n_evicted);
	for (uint32_t s = 0; s < SEQS; s++) {
		if (m->seqs[s].t.n_pages)
			random_stop(&w, m, s);
	}
	free(m);
	world_destroy(&w);
}

int main(void)
{
	hits();
	chains();
	collisions();
	eviction();
	quota();
	merging();
	random_operations();
	return test_done();
}
