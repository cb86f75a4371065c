/* SPDX-License-Identifier: MIT */
/*
 * The sched under adversarial traffic: tenants that wait share within the bound of VTC, where first
 * come first served does not; as many tokens are served; no budget is left while eligible work
 * waits; everything ends in time; a prompt of 10,000 tokens delays no running decode.
 * Marks: san
 *
 * Each table is a traffic, drawn up front from the seed. It runs twice: with its tenants, and first
 * come first served, that is with everybody in one tenant, but measured by who they truly are.
 *
 * Service is w_prompt per prompt token computed for the first time and w_output per output token,
 * by the weight, counted here from the rows. A tenant is backlogged after a plan when it has a
 * sequence with credit that waits. The gap is the largest difference between the service of two of
 * them in any interval throughout which both were backlogged. The bound, U / weight + U / weight
 * with U = max(w_prompt * longest ISL, w_output * tokens of the pool), is derived in
 * docs/scheduler.md.
 *
 * Tokens served are compared when first come first served is done with all, and, where all tenants
 * send the same kind of request, also in the middle (less 1 %: the lengths drawn differ). Where
 * sequences are as large as the pool, the order changes how many fit together, and less than 98 %
 * is asked for; the table says how much. Where rows bind, the steps between two tokens of a request
 * are checked, too.
 *
 * Eligible, in a plan that preempted nobody and left budget and rows, is
 *	- a RUNNING sequence with credit, its tenant not ahead by more than rule 12 allows, without
 *	  a row or with a shorter one than its chunk, although a page is there;
 *	- the first in the order of the tenant that, among those that wait, has the least counter
 *	  when its turn comes, and there are pages for all its tokens beyond those that RUNNING ones
 *	  lack for theirs and the watermark.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/sched.h"
#include "tests/test.h"

enum { MOST_TENANTS = 8, MOST_CLIENTS = 10, W_PROMPT = 1, W_OUTPUT = 2 };

static const uint64_t seed = 31337;

/* A kind of sender. Lengths are uniform in a range; its requests come evenly in its time. */
struct client {
	uint32_t tenant;
	uint32_t n_requests;
	uint32_t isl[2], osl[2];
	uint32_t from_step, to_step; /* when they arrive */
	uint32_t on_steps, off_steps; /* they only arrive while on; 0: always */
	bool cancels;		     /* with its last token still to come */
	bool is_harmonic;	     /* k-th output length is osl[1] / (k % 32 + 1) */
	uint32_t percent_stalled;    /* of the time its ring is full */
	uint32_t percent_exclusive;
};

struct table {
	const char *name;
	struct client clients[MOST_CLIENTS];
	uint32_t weights[MOST_TENANTS]; /* 0: 1 */
	uint32_t pool_pages, step_tokens, max_seqs, chunk_tokens, watermark_pages;
	bool fcfs_fails;	     /* the gap of first come first served is over the bound */
	bool is_uneven;		     /* tenants send different kinds of requests */
	double least_percent;	     /* of the tokens of first come first served; 0: 98 */
	double most_steps_a_token;   /* in the mean; 0: not checked */
};

struct request {
	struct sched_seq seq;
	uint32_t tenant;	     /* true one */
	uint32_t step, order;	     /* arrival */
	uint32_t osl;
	uint32_t n_prompt_done;	     /* prompt tokens counted as service */
	uint32_t ended_step;
	uint32_t token_step;	     /* of its newest token */
	bool cancels;
	uint32_t percent_stalled;
};

/* One pair of tenants while both are backlogged. */
struct pair {
	double low, high, worst;
	bool is_open;
};

struct sim {
	const struct table *table;
	struct kvcache *kv;
	struct sched *s;
	struct request *r;
	uint32_t n_requests, n_tenants, longest_isl, n_added, n_ended, first_live;
	bool is_fcfs;
	uint32_t step;
	uint64_t vtc_before[MOST_TENANTS]; /* at the begin of the plan */
	uint32_t n_preempted;
	uint64_t n_tokens;		   /* served */
	uint64_t *n_tokens_by;		   /* served before each step */
	double service[MOST_TENANTS];
	struct pair pairs[MOST_TENANTS][MOST_TENANTS];
	uint64_t n_idle_checked;
	uint64_t n_gaps, gap_steps;	   /* between the tokens of a request */
	uint64_t random;
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint32_t draw(struct sim *sim, uint32_t below)
{
	sim->random = mix(sim->random);
	return (uint32_t)(sim->random % below);
}

static uint32_t weight_of(const struct table *t, uint32_t tenant)
{
	return t->weights[tenant] ? t->weights[tenant] : 1;
}

static double most_of(double a, double b)
{
	return a > b ? a : b;
}

/* U, of which twice is the bound for two tenants of weight 1. */
static double unit_of(const struct sim *sim)
{
	return most_of(W_PROMPT * (double)sim->longest_isl,
		       W_OUTPUT * (double)sim->table->pool_pages * KVCACHE_PAGE_TOKENS);
}

static double bound_of(const struct sim *sim, uint32_t a, uint32_t b)
{
	return unit_of(sim) / weight_of(sim->table, a) + unit_of(sim) / weight_of(sim->table, b);
}

/* ---- traffic ----------------------------------------------------------------------------- */

static uint32_t between(struct sim *sim, const uint32_t range[2])
{
	return range[0] + draw(sim, range[1] - range[0] + 1);
}

static void add_client(struct sim *sim, const struct client *c)
{
	uint32_t span = c->to_step - c->from_step + 1, period = c->on_steps + c->off_steps;

	for (uint32_t k = 0; k < c->n_requests; k++) {
		struct request *r = &sim->r[sim->n_requests++];
		uint32_t at = c->from_step + (uint32_t)((uint64_t)k * span / c->n_requests);

		/* What falls into an off time comes in the next on time. */
		if (period && at % period >= c->on_steps)
			at = (at / period + 1) * period;
		r->step = at;
		r->order = sim->n_requests;
		r->tenant = c->tenant;
		r->osl = c->is_harmonic ? c->osl[1] / (k % 32 + 1) : between(sim, c->osl);
		r->cancels = c->cancels && r->osl > 1;
		r->percent_stalled = c->percent_stalled;
		r->seq.n_prompt = between(sim, c->isl);
		r->seq.max_tokens = r->osl;
		r->seq.is_exclusive = draw(sim, 100) < c->percent_exclusive;
		r->seq.ids = calloc(r->seq.n_prompt + r->osl, sizeof(uint32_t));
		if (!r->seq.ids)
			exit(1);
		if (r->seq.n_prompt > sim->longest_isl)
			sim->longest_isl = r->seq.n_prompt;
		if (c->tenant >= sim->n_tenants)
			sim->n_tenants = c->tenant + 1;
	}
}

static int by_arrival(const void *a, const void *b)
{
	const struct request *ra = a, *rb = b;

	if (ra->step != rb->step)
		return ra->step < rb->step ? -1 : 1;
	return ra->order < rb->order ? -1 : 1;
}

static void traffic(struct sim *sim)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < MOST_CLIENTS; i++)
		n += sim->table->clients[i].n_requests;
	sim->r = calloc(n, sizeof(*sim->r));
	if (!sim->r)
		exit(1);
	for (uint32_t i = 0; i < MOST_CLIENTS; i++)
		add_client(sim, &sim->table->clients[i]);
	qsort(sim->r, n, sizeof(*sim->r), by_arrival);
}

static struct sim *sim_create(const struct table *t, bool is_fcfs)
{
	const struct sched_config cfg = {
		.step_tokens = t->step_tokens, .max_seqs = t->max_seqs,
		.chunk_tokens = t->chunk_tokens, .watermark_pages = t->watermark_pages,
		.w_prompt = W_PROMPT, .w_output = W_OUTPUT,
	};
	struct sim *sim = calloc(1, sizeof(*sim));
	uint8_t secret[32] = {0};

	if (!sim || kvcache_create(1, &t->pool_pages, &sim->kv) ||
	    sched_create(&cfg, sim->kv, NULL, &sim->s))
		exit(1);
	sim->table = t;
	sim->is_fcfs = is_fcfs;
	sim->random = seed;
	traffic(sim);
	for (uint32_t i = 0; i < sim->n_tenants; i++) {
		secret[0] = (uint8_t)i;
		CHECK_EQ(sched_tenant(sim->s, weight_of(t, i), secret), i);
	}
	return sim;
}

static void sim_destroy(struct sim *sim)
{
	sched_destroy(sim->s);
	CHECK_EQ(kvcache_least_free(sim->kv), sim->table->pool_pages);
	kvcache_destroy(sim->kv);
	for (uint32_t i = 0; i < sim->n_requests; i++)
		free(sim->r[i].seq.ids);
	free(sim->r);
	free(sim->n_tokens_by);
	free(sim);
}

/* ---- the two laws ------------------------------------------------------------------------ */

/* Live requests are r[first_live .. n_added), with gaps. */
static void check_gap(struct sim *sim)
{
	bool is_backlogged[MOST_TENANTS] = {0};

	for (uint32_t i = sim->first_live; i < sim->n_added; i++) {
		if (sim->r[i].seq.state == SCHED_WAITING && sim->r[i].seq.has_credit)
			is_backlogged[sim->r[i].tenant] = true;
	}
	for (uint32_t a = 0; a < sim->n_tenants; a++) {
		for (uint32_t b = a + 1; b < sim->n_tenants; b++) {
			struct pair *p = &sim->pairs[a][b];
			double d = sim->service[a] - sim->service[b];

			if (!is_backlogged[a] || !is_backlogged[b]) {
				p->is_open = false;
				continue;
			}
			if (!p->is_open) {
				p->is_open = true;
				p->low = p->high = d;
			}
			p->low = d < p->low ? d : p->low;
			p->high = d > p->high ? d : p->high;
			p->worst = most_of(p->worst, p->high - p->low);
		}
	}
}

static uint32_t row_of(const struct plan *p, const struct sched_seq *q)
{
	for (uint32_t i = 0; i < p->n_rows; i++) {
		if (p->rows[i].seq == q)
			return p->rows[i].n_tokens;
	}
	return 0;
}

/* Rule 12, from the counters before the plan. */
static bool is_paused(const struct sim *sim, uint32_t tenant, uint64_t least)
{
	uint64_t pool = (uint64_t)W_OUTPUT * sim->table->pool_pages * KVCACHE_PAGE_TOKENS;
	uint64_t step = (uint64_t)W_PROMPT * sim->table->step_tokens +
			(uint64_t)W_OUTPUT * sim->table->max_seqs;
	uint64_t most;

	most = (step < pool / 2 ? pool - step : pool / 2) / weight_of(sim->table, tenant);
	/* The counters are rounded: near the edge either is right. */
	return sim->vtc_before[tenant] + 1 >= least + most;
}

static bool comes_before(const struct sched_seq *a, const struct sched_seq *b)
{
	if (a->is_preempted != b->is_preempted)
		return a->is_preempted;
	return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

/* The least counter of tenants that wait now, by the counters given; UINT64_MAX: nobody waits. */
static uint64_t least_waiting(const struct sim *sim, const uint64_t vtc[])
{
	uint64_t least = UINT64_MAX;

	for (uint32_t i = sim->first_live; i < sim->n_added; i++) {
		const struct sched_seq *q = &sim->r[i].seq;

		if (q->state == SCHED_WAITING && q->has_credit && vtc[q->tenant] < least)
			least = vtc[q->tenant];
	}
	return least;
}

static uint32_t pages_lacking(const struct sched_seq *q)
{
	return kvcache_pages_for(q->n_ids) - q->table.n_pages;
}

/* Is a RUNNING sequence left out, or cut short, for no reason? */
static void check_running(struct sim *sim, const struct plan *p, const struct sched_seq *q)
{
	uint32_t n = row_of(p, q), most = q->n_ids - q->n_cached, end = q->n_cached + n;

	most = most < sim->table->chunk_tokens ? most : sim->table->chunk_tokens;
	CHECK(n == most || (!kvcache_least_free(sim->kv) && end % KVCACHE_PAGE_TOKENS == 0));
}

static void check_idle(struct sim *sim, const struct plan *p, uint64_t least_before)
{
	const struct sched_seq *heads[MOST_TENANTS] = {0};
	uint64_t vtc[MOST_TENANTS], least, n_lacking = 0, n_kept = 0;
	bool is_blocked = false;

	if (p->n_preempted || p->is_exclusive || p->n_tokens == sim->table->step_tokens ||
	    p->n_rows == sim->table->max_seqs)
		return;
	sim->n_idle_checked++;
	for (uint32_t i = sim->first_live; i < sim->n_added; i++) {
		const struct sched_seq *q = &sim->r[i].seq;

		if (q->state == SCHED_NONE || !q->has_credit)
			continue;
		if (q->state == SCHED_WAITING) {
			if (!heads[q->tenant] || comes_before(q, heads[q->tenant]))
				heads[q->tenant] = q;
			continue;
		}
		if (least_before != UINT64_MAX && is_paused(sim, q->tenant, least_before))
			continue;
		n_lacking += pages_lacking(q);
		n_kept = sim->table->watermark_pages;
		if (!q->is_exclusive)
			check_running(sim, p, q);
	}
	for (uint32_t t = 0; t < sim->n_tenants; t++) {
		struct sched_tenant_info info;

		sched_tenant_info(sim->s, t, &info);
		vtc[t] = info.vtc;
	}
	least = least_waiting(sim, vtc);
	for (uint32_t t = 0; t < sim->n_tenants; t++) {
		uint64_t want = heads[t] ? kvcache_pages_for(heads[t]->n_ids) : 0;

		/* It had the least counter at some time in the plan and lacks pages: it blocks. */
		if (heads[t] && sim->vtc_before[t] <= least + 1)
			is_blocked |= kvcache_least_free(sim->kv) < want + n_lacking + n_kept;
	}
	/* Budget is left: nobody waits, or the one whose turn it is lacks pages. */
	CHECK(least == UINT64_MAX || is_blocked);
}

/* ---- a run ------------------------------------------------------------------------------- */

static void arrive(struct sim *sim)
{
	while (sim->n_added < sim->n_requests && sim->r[sim->n_added].step <= sim->step) {
		struct request *r = &sim->r[sim->n_added];

		r->seq.arrival = sim->n_added++;
		r->seq.tenant = sim->is_fcfs ? 0 : r->tenant;
		r->seq.has_credit = true;
		CHECK_EQ(sched_add(sim->s, &r->seq, NULL), 0);
	}
	while (sim->first_live < sim->n_added && sim->r[sim->first_live].ended_step)
		sim->first_live++;
	for (uint32_t i = sim->first_live; i < sim->n_added; i++) {
		struct request *r = &sim->r[i];

		/* Rings that are full for some tens of steps at a time. */
		if (r->percent_stalled && r->seq.state != SCHED_NONE)
			sched_credit(sim->s, &r->seq,
				     mix(r->order * 7919 + sim->step / 40) % 100 >=
					     r->percent_stalled);
	}
}

static void serve(struct sim *sim, const struct plan_row *row)
{
	struct request *r = &sim->r[row->seq->arrival];
	uint32_t end = row->pos0 + row->n_tokens, fresh = 0;

	end = end < r->seq.n_prompt ? end : r->seq.n_prompt;
	if (end > r->n_prompt_done) {
		fresh = end - r->n_prompt_done;
		r->n_prompt_done = end;
	}
	sim->n_tokens += fresh + row->needs_logits;
	sim->service[r->tenant] += (W_PROMPT * (double)fresh + W_OUTPUT * row->needs_logits) /
				   weight_of(sim->table, r->tenant);
}

static void finish(struct sim *sim, const struct plan_row *row)
{
	struct request *r = &sim->r[row->seq->arrival];
	uint32_t n_output;

	if (!row->needs_logits)
		return;
	sched_append(sim->s, row->seq, 7);
	n_output = row->seq->n_ids - row->seq->n_prompt;
	if (n_output > 1) {
		sim->n_gaps++;
		sim->gap_steps += sim->step - r->token_step;
	}
	r->token_step = sim->step;
	CHECK(n_output <= r->osl);
	if (n_output + r->cancels < r->osl)
		return;
	sched_remove(sim->s, row->seq);
	r->ended_step = sim->step + 1;
	sim->n_ended++;
}

static void one_step(struct sim *sim)
{
	uint64_t least_before;
	struct plan p;

	arrive(sim);
	for (uint32_t t = 0; t < sim->n_tenants; t++) {
		struct sched_tenant_info info;

		sched_tenant_info(sim->s, t, &info);
		sim->vtc_before[t] = info.vtc;
	}
	least_before = least_waiting(sim, sim->vtc_before);
	sched_plan(sim->s, sim->table->step_tokens, &p);
	sim->n_preempted += p.n_preempted;
	CHECK(p.n_tokens <= sim->table->step_tokens && p.n_rows <= sim->table->max_seqs);
	for (uint32_t i = 0; i < p.n_rows; i++)
		serve(sim, &p.rows[i]);
	check_gap(sim);
	check_idle(sim, &p, least_before);
	sched_advance(sim->s, &p);
	for (uint32_t i = 0; i < p.n_rows; i++)
		finish(sim, &p.rows[i]);
	sim->n_tokens_by[++sim->step] = sim->n_tokens;
}

/* Twice what it takes one after the other, alone, from the last arrival on. */
static uint32_t most_steps(const struct sim *sim)
{
	uint64_t n = sim->r[sim->n_requests - 1].step;

	for (uint32_t i = 0; i < sim->n_requests; i++) {
		uint64_t chunks = sim->r[i].seq.n_prompt / sim->table->chunk_tokens + 1;

		n += 2 * (chunks + sim->r[i].osl) * 100 / (100 - sim->r[i].percent_stalled);
	}
	return (uint32_t)n;
}

/* To the end of all requests. */
static void sim_run(struct sim *sim)
{
	uint32_t most = most_steps(sim);

	sim->n_tokens_by = calloc(most + 1, sizeof(*sim->n_tokens_by));
	if (!sim->n_tokens_by)
		exit(1);
	while (sim->n_ended < sim->n_requests && sim->step < most)
		one_step(sim);
	CHECK_EQ(sim->n_ended, sim->n_requests);
	CHECK_EQ(sched_n_running(sim->s) + sched_n_waiting(sim->s), 0);
	for (uint32_t i = sim->step + 1; i <= most; i++)
		sim->n_tokens_by[i] = sim->n_tokens;
}

/* The largest gap as a share of its bound, and that gap. */
static double worst_gap(const struct sim *sim, double *gap)
{
	double worst = 0;

	*gap = 0;
	for (uint32_t a = 0; a < sim->n_tenants; a++) {
		for (uint32_t b = a + 1; b < sim->n_tenants; b++) {
			double share = sim->pairs[a][b].worst / bound_of(sim, a, b);

			if (share > worst) {
				worst = share;
				*gap = sim->pairs[a][b].worst;
			}
		}
	}
	return worst;
}

/* Tokens that one has served in so many steps, in percent of what the other has. */
static double served_in(const struct sim *sim, const struct sim *other, uint32_t n_steps)
{
	return 100.0 * (double)sim->n_tokens_by[n_steps] / (double)other->n_tokens_by[n_steps];
}

static void run_table(const struct table *t)
{
	struct sim *fcfs = sim_create(t, true), *vtc = sim_create(t, false);
	double fcfs_gap, vtc_gap, fcfs_share, vtc_share, served, served_half;
	double least = t->least_percent > 0 ? t->least_percent : 98, steps_a_token;

	sim_run(fcfs);
	sim_run(vtc);
	fcfs_share = worst_gap(fcfs, &fcfs_gap);
	vtc_share = worst_gap(vtc, &vtc_gap);
	served = served_in(vtc, fcfs, fcfs->step);
	served_half = served_in(vtc, fcfs, fcfs->step / 2);
	steps_a_token = (double)vtc->gap_steps / (double)vtc->n_gaps;
	printf("%-20s gap %6.0f = %5.2f of the bound, fcfs %7.0f = %5.2f; "
	       "served %5.1f, %5.1f %% of fcfs's in %u, %u steps; "
	       "%.2f steps a token; %u, %u preemptions; budget left in %llu plans\n",
	       t->name, vtc_gap, vtc_share, fcfs_gap, fcfs_share, served_half, served,
	       fcfs->step / 2, fcfs->step, steps_a_token, vtc->n_preempted, fcfs->n_preempted,
	       (unsigned long long)vtc->n_idle_checked);
	CHECK(vtc_share <= 1);
	CHECK(!t->fcfs_fails || fcfs_share > 1);
	CHECK(served >= least);
	CHECK(t->is_uneven || served_half >= least - 1);
	CHECK(t->most_steps_a_token <= 0 || steps_a_token <= t->most_steps_a_token);
	sim_destroy(fcfs);
	sim_destroy(vtc);
}

/* A pool of 4,096 tokens, steps of 256 in chunks of 64, 32 rows. */
#define USUAL                                                                          \
	.pool_pages = 128, .step_tokens = 256, .max_seqs = 32, .chunk_tokens = 64,     \
	.watermark_pages = 4

#define FROM(t, n) .tenant = (t), .n_requests = (n)
#define ISL(least, most) .isl = {least, most}
#define OSL(least, most) .osl = {least, most}
#define STEPS(first, last) .from_step = (first), .to_step = (last)

static const struct table tables[] = {
	{"two in overload", USUAL, .fcfs_fails = true,
	 .clients = {{FROM(0, 800), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(1, 200), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"eight in overload", USUAL, .fcfs_fails = true,
	 .clients = {{FROM(0, 50), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(1, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(2, 150), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(3, 200), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(4, 250), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(5, 300), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(6, 350), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(7, 400), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"on and off", USUAL, .fcfs_fails = true,
	 .clients = {{FROM(0, 700), ISL(20, 200), OSL(20, 100), STEPS(0, 1500)},
		     {FROM(1, 300), ISL(20, 200), OSL(20, 100), STEPS(0, 1500),
		      .on_steps = 20, .off_steps = 480}}},
	{"short against long", USUAL, .fcfs_fails = true, .is_uneven = true,
	 .clients = {{FROM(0, 1500), ISL(5, 30), OSL(5, 20), STEPS(0, 500)},
		     {FROM(1, 120), ISL(300, 900), OSL(100, 300), STEPS(0, 500)}}},
	{"1,000 processes", USUAL, .fcfs_fails = true,
	 .clients = {{FROM(0, 1000), ISL(50, 150), OSL(30, 60), STEPS(0, 0)},
		     {FROM(1, 150), ISL(50, 150), OSL(30, 60), STEPS(1, 100)}}},
	{"cancels at the end", USUAL, .fcfs_fails = true,
	 .clients = {{FROM(0, 900), ISL(50, 150), OSL(30, 60), STEPS(0, 500), .cancels = true},
		     {FROM(1, 250), ISL(50, 150), OSL(30, 60), STEPS(0, 500)}}},
	{"weights 1 and 4", USUAL, .fcfs_fails = true, .weights = {1, 4},
	 .clients = {{FROM(0, 600), ISL(20, 200), OSL(20, 100), STEPS(0, 300)},
		     {FROM(1, 600), ISL(20, 200), OSL(20, 100), STEPS(0, 300)}}},
	/* The budget binds, not the pool. */
	{"prompts in overload", .pool_pages = 512, .step_tokens = 64, .max_seqs = 32,
	 .chunk_tokens = 32, .watermark_pages = 4, .fcfs_fails = true,
	 .clients = {{FROM(0, 900), ISL(100, 300), OSL(1, 8), STEPS(0, 500)},
		     {FROM(1, 300), ISL(100, 300), OSL(1, 8), STEPS(0, 500)}}},
	/* Rows bind: rule 13 must not let more run than the rows can keep going. */
	{"rows bind", .pool_pages = 512, .step_tokens = 256, .max_seqs = 16, .chunk_tokens = 64,
	 .watermark_pages = 4, .most_steps_a_token = 1.01,
	 .clients = {{FROM(0, 800), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(1, 200), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(2, 200), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"as many rows as users", .pool_pages = 512, .step_tokens = 256, .max_seqs = 6,
	 .chunk_tokens = 64, .watermark_pages = 4, .most_steps_a_token = 1.2,
	 .clients = {{FROM(0, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(1, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(2, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(3, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(4, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(5, 100), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"fewer rows than users", .pool_pages = 512, .step_tokens = 256, .max_seqs = 4,
	 .chunk_tokens = 64, .watermark_pages = 4, .most_steps_a_token = 1.2,
	 .clients = {{FROM(0, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(1, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(2, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(3, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(4, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)},
		     {FROM(5, 60), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"stalls", USUAL,
	 .clients = {{FROM(0, 300), ISL(20, 200), OSL(20, 100), STEPS(0, 500),
		      .percent_stalled = 30},
		     {FROM(1, 300), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	{"exclusive", USUAL, .is_uneven = true,
	 .clients = {{FROM(0, 200), ISL(20, 200), OSL(20, 100), STEPS(0, 500),
		      .percent_exclusive = 3},
		     {FROM(1, 300), ISL(20, 200), OSL(20, 100), STEPS(0, 500)}}},
	/* What over-commitment can do: without rule 12 the gap is over the bound. */
	{"harmonic lengths", .pool_pages = 16, .step_tokens = 64, .max_seqs = 32,
	 .chunk_tokens = 64, .fcfs_fails = true, .is_uneven = true, .least_percent = 90,
	 .clients = {{FROM(0, 320), ISL(1, 1), OSL(1, 400), STEPS(0, 0), .is_harmonic = true},
		     {FROM(1, 60), ISL(300, 400), OSL(10, 30), STEPS(1, 1)}}},
	{"pool of four pages", .pool_pages = 4, .step_tokens = 64, .max_seqs = 8,
	 .chunk_tokens = 16,
	 .clients = {{FROM(0, 300), ISL(1, 40), OSL(1, 24), STEPS(0, 100)},
		     {FROM(1, 300), ISL(1, 40), OSL(1, 24), STEPS(0, 100)}}},
	{"same, all of it each", .pool_pages = 4, .step_tokens = 64, .max_seqs = 8,
	 .chunk_tokens = 16, .least_percent = 95,
	 .clients = {{FROM(0, 100), ISL(1, 60), OSL(40, 68), STEPS(0, 100)},
		     {FROM(1, 100), ISL(1, 60), OSL(40, 68), STEPS(0, 100)}}},
};

/* A prompt of 10,000 tokens beside a running decode: the decode is in every plan. */
static void long_prompt(void)
{
	const uint32_t n_pages = 400, budget = 256;
	const struct sched_config cfg = {.step_tokens = budget, .max_seqs = 8, .chunk_tokens = 128,
					 .w_prompt = 1, .w_output = 2};
	static uint32_t ids[2][10100];
	struct sched_seq decode = {.ids = ids[0], .n_prompt = 5, .max_tokens = 95,
				   .has_credit = true};
	struct sched_seq prompt = {.arrival = 1, .tenant = 1, .ids = ids[1], .n_prompt = 10000,
				   .max_tokens = 5, .has_credit = true};
	const uint8_t secrets[2][32] = {{1}, {2}};
	struct kvcache *kv;
	struct sched *s;
	uint32_t n_steps = 0;

	if (kvcache_create(1, &n_pages, &kv) || sched_create(&cfg, kv, NULL, &s))
		exit(1);
	CHECK(sched_tenant(s, 1, secrets[0]) == 0 && sched_tenant(s, 1, secrets[1]) == 1);
	CHECK_EQ(sched_add(s, &decode, NULL), 0);
	for (; decode.state || prompt.state || !n_steps; n_steps++) {
		struct plan p;

		if (n_steps == 2)
			CHECK_EQ(sched_add(s, &prompt, NULL), 0);
		sched_plan(s, budget, &p);
		/* Between two tokens of the decode there is one chunk of the prompt. */
		CHECK(!decode.state || row_of(&p, &decode));
		CHECK(row_of(&p, &prompt) <= cfg.chunk_tokens);
		sched_advance(s, &p);
		for (uint32_t i = 0; i < p.n_rows; i++) {
			struct sched_seq *q = p.rows[i].seq;

			if (p.rows[i].needs_logits)
				sched_append(s, q, 1);
			if (q->n_ids == q->n_prompt + q->max_tokens)
				sched_remove(s, q);
		}
	}
	CHECK_EQ(decode.n_ids, 100);
	CHECK_EQ(prompt.n_ids, 10005);
	CHECK_EQ(n_steps, 95);
	sched_destroy(s);
	kvcache_destroy(kv);
}

int main(void)
{
	printf("seed %llu\n", (unsigned long long)seed);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		run_table(&tables[i]);
	long_prompt();
	return test_done();
}
