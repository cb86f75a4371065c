/* SPDX-License-Identifier: MIT */
/*
 * A request's tokens depend on its prompt alone, whatever sched, kvcache and prefix make of it: 64
 * requests alone, together, in chunks of 16 and 128, in a pool of barely one, with the prefix cache
 * cold and warm, preempted each step, stalled, exclusive, beside others that are canceled.
 * Marks: san
 *
 * The engine here keeps a chain of hashes where a real one keeps K and V: h[pos] = mix(h[pos-1],
 * id), stored in the slot that the page table names, in two groups of different size. A token is
 * drawn from all of h[0..last]. So a wrong page, a recompute that was left out, a stale prefix hit
 * or a write to a page of somebody else changes tokens. It also refuses to write to a shared page.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/prefix.h"
#include "daemon/sched.h"
#include "tests/test.h"

enum { N_REQUESTS = 64, N_TENANTS = 3, MOST_IDS = 512, VOCAB = 300 };
enum { N_GROUPS = 2, MOST_PAGES = 2048 };
enum { TINY = 16, MOST_STEPS = 200000 };

static const uint64_t seed = 20241;

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * 0x9e3779b97f4a7c15ull + b + 0x632be59bd9b4e019ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

struct setting {
	const char *name;
	uint32_t pool_pages, step_tokens, max_seqs, chunk_tokens, watermark_pages;
	bool has_prefix, preempt_each_step;
	uint32_t n_rounds;	/* the same requests again, in the same cache */
	uint32_t percent_canceled, percent_stalled, percent_exclusive;
	uint32_t n_at_once;	/* requests in the sched together */
	uint32_t quota_pages;	/* of the prefix cache, 0: no limit */
};

struct request {
	struct sched_seq seq;
	uint32_t ids[MOST_IDS];
	bool is_canceled;
};

struct world {
	const struct setting *set;
	struct kvcache *kv;
	struct prefix *prefix;
	struct sched *s;
	uint64_t kv_memory[N_GROUPS][MOST_PAGES * KVCACHE_PAGE_TOKENS];
	struct request r[N_REQUESTS];
	uint64_t random;
	uint32_t n_added, n_ended, n_preempted, n_merged, n_steps, n_hit_tokens;
};

static uint32_t want[N_REQUESTS][MOST_IDS], n_want[N_REQUESTS];

static uint32_t draw(struct world *w, uint32_t below)
{
	w->random = mix(w->random, 1);
	return (uint32_t)(w->random % below);
}

/* ---- the engine -------------------------------------------------------------------------- */

static uint64_t *slot(struct world *w, const struct sched_seq *q, uint32_t group, uint32_t pos)
{
	uint32_t page = q->table.pages[group][pos / KVCACHE_PAGE_TOKENS];

	return &w->kv_memory[group][page * KVCACHE_PAGE_TOKENS + pos % KVCACHE_PAGE_TOKENS];
}

static void engine_row(struct world *w, const struct plan_row *row)
{
	const struct sched_seq *q = row->seq;

	CHECK_EQ(row->pos0, q->n_cached);
	CHECK(row->n_tokens && row->pos0 + row->n_tokens <= q->n_ids);
	CHECK_EQ(q->table.n_pages, kvcache_pages_for(row->pos0 + row->n_tokens));
	for (uint32_t pos = row->pos0; pos < row->pos0 + row->n_tokens; pos++) {
		for (uint32_t g = 0; g < N_GROUPS; g++) {
			uint64_t before = pos ? *slot(w, q, g, pos - 1) : g;

			/* A page that is written is the sequence's own. */
			CHECK_EQ(kvcache_page_refs(w->kv, g, q->table.pages[g][pos / 32]), 1);
			*slot(w, q, g, pos) = mix(before, q->ids[pos]);
		}
	}
}

static uint32_t engine_draw(struct world *w, const struct sched_seq *q)
{
	uint64_t sum = 0;

	for (uint32_t pos = 0; pos < q->n_ids; pos++)
		sum = mix(sum, *slot(w, q, 0, pos) ^ *slot(w, q, 1, pos));
	return (uint32_t)(sum % VOCAB);
}

/* ---- requests ---------------------------------------------------------------------------- */

/* ISL 1..400, every second one 1..50; OSL 1..112; four system prompts, shared by many. */
static void request_init(struct request *r, uint32_t index)
{
	uint64_t key = mix(seed, index);
	uint32_t n_shared = 40 * (uint32_t)(key % 5);
	uint32_t n = 1 + (uint32_t)(mix(key, 1) % (index % 2 ? 400 : 50));

	memset(r, 0, sizeof(*r));
	for (uint32_t i = 0; i < n; i++)
		r->ids[i] = (uint32_t)(mix(i < n_shared ? key % 4 : key, i) % VOCAB);
	r->seq.ids = r->ids;
	r->seq.n_prompt = n;
	r->seq.max_tokens = 1 + (uint32_t)(mix(key, 2) % 112);
	r->seq.tenant = index % N_TENANTS;
	r->seq.arrival = index;
	r->seq.priority = (int32_t)(mix(key, 3) % 3);
	r->seq.has_credit = true;
}

static void request_end(struct world *w, uint32_t i)
{
	struct sched_seq *q = &w->r[i].seq;

	sched_remove(w->s, q);
	w->n_ended++;
	if (!n_want[i]) {
		n_want[i] = q->n_ids;
		memcpy(want[i], q->ids, q->n_ids * sizeof(*q->ids));
	}
	if (!w->r[i].is_canceled)
		CHECK_EQ(q->n_ids, n_want[i]);
	CHECK(q->n_ids <= n_want[i] && !memcmp(q->ids, want[i], q->n_ids * sizeof(*q->ids)));
}

static void add_some(struct world *w, uint32_t only)
{
	while (w->n_added < N_REQUESTS && w->n_added - w->n_ended < w->set->n_at_once) {
		struct request *r = &w->r[w->n_added];

		if (only != N_REQUESTS && w->n_added != only) {
			w->n_added++;
			w->n_ended++;
			continue;
		}
		request_init(r, w->n_added);
		r->seq.is_exclusive = draw(w, 100) < w->set->percent_exclusive;
		r->seq.has_credit = draw(w, 100) >= w->set->percent_stalled;
		CHECK_EQ(sched_add(w->s, &r->seq, NULL), 0);
		w->n_added++;
	}
}

/* Rings fill and drain, clients go. */
static void disturb(struct world *w)
{
	uint32_t i = draw(w, N_REQUESTS);
	struct request *r = &w->r[i];

	if (w->set->percent_stalled) {
		for (uint32_t k = 0; k < w->n_added; k++) {
			if (w->r[k].seq.state != SCHED_NONE && draw(w, 4) == 0)
				sched_credit(w->s, &w->r[k].seq,
					     draw(w, 100) >= w->set->percent_stalled);
		}
	}
	if (r->seq.state != SCHED_NONE && draw(w, 100) < w->set->percent_canceled) {
		r->is_canceled = true;
		request_end(w, i);
	}
}

static void step(struct world *w, const struct plan *p)
{
	sched_advance(w->s, p);
	for (uint32_t k = 0; k < p->n_rows; k++) {
		struct sched_seq *q = p->rows[k].seq;

		if (!p->rows[k].needs_logits)
			continue;
		sched_append(w->s, q, engine_draw(w, q));
		/* Id 0 ends a text, as EOS does. */
		if (!q->ids[q->n_ids - 1] || q->n_ids == q->n_prompt + q->max_tokens)
			request_end(w, (uint32_t)q->arrival);
	}
}

static void run_round(struct world *w, uint32_t only)
{
	struct plan p;

	w->n_added = w->n_ended = 0;
	while (w->n_ended < N_REQUESTS && w->n_steps < MOST_STEPS) {
		add_some(w, only);
		disturb(w);
		sched_plan(w->s, w->set->step_tokens, &p);
		w->n_preempted += p.n_preempted;
		/* Without stalls there is always something to run. */
		if (w->set->percent_stalled == 0)
			CHECK(p.n_rows || w->n_ended == w->n_added);
		for (uint32_t k = 0; k < p.n_rows; k++)
			engine_row(w, &p.rows[k]);
		step(w, &p);
		w->n_steps++;
	}
	CHECK_EQ(w->n_ended, N_REQUESTS);
	CHECK_EQ(sched_n_running(w->s) + sched_n_waiting(w->s), 0);
	CHECK_EQ(kvcache_least_free(w->kv) + (w->prefix ? prefix_evictable(w->prefix) : 0),
		 w->set->pool_pages);
}

static struct world *world_create(const struct setting *set)
{
	const struct sched_config cfg = {
		.step_tokens = set->step_tokens, .max_seqs = set->max_seqs,
		.chunk_tokens = set->chunk_tokens, .watermark_pages = set->watermark_pages,
		.w_prompt = 1, .w_output = 2, .preempt_each_step = set->preempt_each_step,
	};
	const uint32_t n_pages[N_GROUPS] = {set->pool_pages, set->pool_pages + 7};
	struct world *w = calloc(1, sizeof(*w));
	uint8_t salt[32] = {3}, secret[32] = {0};

	if (!w || kvcache_create(N_GROUPS, n_pages, &w->kv))
		exit(1);
	w->set = set;
	w->random = seed;
	if (set->has_prefix && prefix_create(w->kv, N_GROUPS, salt,
					     set->quota_pages ? set->quota_pages : MOST_PAGES,
					     &w->prefix))
		exit(1);
	if (sched_create(&cfg, w->kv, w->prefix, &w->s))
		exit(1);
	for (uint32_t t = 0; t < N_TENANTS; t++) {
		secret[0] = (uint8_t)t;
		CHECK_EQ(sched_tenant(w->s, 1 + t, secret), t);
	}
	return w;
}

static void world_destroy(struct world *w)
{
	sched_destroy(w->s);
	prefix_destroy(w->prefix);
	CHECK_EQ(kvcache_pages_free(w->kv, 0), kvcache_pages_total(w->kv, 0));
	CHECK_EQ(kvcache_pages_free(w->kv, 1), kvcache_pages_total(w->kv, 1));
	kvcache_destroy(w->kv);
	free(w);
}

static void run(const struct setting *set)
{
	struct world *w = world_create(set);

	for (uint32_t round = 0; round < set->n_rounds; round++)
		run_round(w, N_REQUESTS);
	if (w->prefix) {
		struct prefix_stats stats;

		prefix_stats(w->prefix, &stats);
		w->n_hit_tokens = (uint32_t)stats.n_hit_tokens;
	}
	printf("%-18s %6u steps, %5u preemptions, %7u tokens found in the prefix cache\n",
	       set->name, w->n_steps, w->n_preempted, w->n_hit_tokens);
	/* A setting that is meant to force the rare path did. */
	if (set->preempt_each_step || set->pool_pages == TINY)
		CHECK(w->n_preempted > 9);
	if (set->has_prefix)
		CHECK(w->n_hit_tokens > 0);
	world_destroy(w);
}

static void run_alone(void)
{
	const struct setting set = {.name = "alone", .pool_pages = 64, .step_tokens = 512,
				    .max_seqs = 1, .n_at_once = N_REQUESTS, .n_rounds = 1};

	for (uint32_t i = 0; i < N_REQUESTS; i++) {
		struct world *w = world_create(&set);

		run_round(w, i);
		world_destroy(w);
	}
}

static const struct setting settings[] = {
	{"together", 1024, 512, 64, 0, 8, .n_at_once = 64, .n_rounds = 1},
	{"chunk 16", 1024, 64, 32, 16, 8, .n_at_once = 64, .n_rounds = 1},
	{"chunk 128", 1024, 512, 64, 128, 8, .n_at_once = 64, .n_rounds = 1},
	{"step of 1 token", 256, 1, 8, 0, 2, .n_at_once = 9, .n_rounds = 1},
	{"tiny pool", TINY, 64, 16, 16, 1, .n_at_once = 64, .n_rounds = 1},
	{"tiny, no watermark", TINY, 512, 64, 0, 0, .n_at_once = 64, .n_rounds = 1},
	{"prefix cold, warm", 1024, 256, 32, 64, 8, true, .n_at_once = 64, .n_rounds = 3},
	{"prefix, tiny pool", TINY, 64, 16, 16, 1, true, .n_at_once = 64, .n_rounds = 2},
	{"prefix, quota", 200, 256, 32, 64, 2, true, .n_at_once = 30, .n_rounds = 2,
	 .quota_pages = 5},
	{"preempt each step", 200, 256, 16, 64, 2, false, true, .n_at_once = 16, .n_rounds = 1},
	{"same with prefix", 200, 256, 16, 64, 2, true, true, .n_at_once = 16, .n_rounds = 2},
	{"cancels", 100, 256, 16, 64, 2, true, .n_at_once = 40, .n_rounds = 3,
	 .percent_canceled = 50},
	{"stalls", 60, 256, 16, 64, 2, true, .n_at_once = 40, .n_rounds = 2,
	 .percent_stalled = 60},
	{"exclusive", 60, 256, 16, 64, 2, true, .n_at_once = 40, .n_rounds = 2,
	 .percent_exclusive = 20},
	{"all of it", TINY, 64, 8, 16, 1, true, true, 3, 10, 30, 10, 64, 4},
};

int main(void)
{
	printf("seed %llu\n", (unsigned long long)seed);
	run_alone();
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		run(&settings[i]);
	return test_done();
}
