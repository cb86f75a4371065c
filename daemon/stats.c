/* SPDX-License-Identifier: MIT */
/*
 * stats: counting. The text of the metrics is written by daemon/stats_text.c.
 *
 * Everything here is O(1) and allocates nothing after stats_create(), since it runs inside the
 * heart's step. A histogram keeps the count of each bucket alone; the text adds them up.
 */
#include "daemon/stats_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/request.h"

#define MS(x) ((uint64_t)((x)*1000000.0))

/* Upper bounds in ns. vLLM's, with finer ones below: a CPU's token takes 5 ms, a small GPU's less.
 */
static const uint64_t ttft_bounds[] = {
	MS(1),	 MS(2.5), MS(5),   MS(10),  MS(20),    MS(40),	  MS(60),     MS(80),
	MS(100), MS(250), MS(500), MS(750), MS(1000),  MS(2500),  MS(5000),   MS(7500),
	MS(1e4), MS(2e4), MS(4e4), MS(8e4), MS(1.6e5), MS(6.4e5), MS(2.56e6),
};
static const uint64_t itl_bounds[] = {
	MS(0.1), MS(0.25), MS(0.5), MS(1),   MS(2),   MS(3),   MS(4),	MS(5),
	MS(6),	 MS(8),	   MS(10),  MS(15),  MS(25),  MS(50),  MS(75),	MS(100),
	MS(150), MS(200),  MS(300), MS(400), MS(500), MS(750), MS(1e3), MS(2.5e3),
};
static const uint64_t long_bounds[] = {
	MS(1),	 MS(5),	   MS(10),   MS(25),	MS(50),	   MS(100),   MS(300),	  MS(500),
	MS(800), MS(1000), MS(1500), MS(2000),	MS(2500),  MS(5000),  MS(1e4),	  MS(1.5e4),
	MS(2e4), MS(3e4),  MS(6e4),  MS(1.2e5), MS(2.4e5), MS(4.8e5), MS(1.92e6), MS(7.68e6),
};
static const uint64_t heart_bounds[] = {
	MS(0.005), MS(0.01), MS(0.02), MS(0.05), MS(0.1), MS(0.2), MS(0.3),
	MS(0.5),   MS(1),    MS(2),    MS(5),	 MS(10),  MS(100),
};

#define BOUNDS(a) (a), sizeof(a) / sizeof((a)[0])

_Static_assert(sizeof(ttft_bounds) / 8 <= STATS_MAX_BUCKETS, "TTFT buckets");
_Static_assert(sizeof(itl_bounds) / 8 <= STATS_MAX_BUCKETS, "ITL buckets");
_Static_assert(sizeof(long_bounds) / 8 <= STATS_MAX_BUCKETS, "E2E buckets");

static void histogram_init(struct stats_histogram *h, const uint64_t *bounds_ns, size_t n)
{
	h->bounds_ns = bounds_ns;
	h->n_bounds = (uint32_t)n;
}

static void observe(struct stats_histogram *h, uint64_t ns)
{
	uint32_t i = 0;

	while (i < h->n_bounds && ns > h->bounds_ns[i])
		i++;
	h->counts[i]++;
	h->n++;
	h->sum_ns += ns;
}

static void tenant_init(struct stats_tenant *t, const char *name)
{
	snprintf(t->name, sizeof(t->name), "%s", name);
	histogram_init(&t->ttft, BOUNDS(ttft_bounds));
	histogram_init(&t->itl, BOUNDS(itl_bounds));
	histogram_init(&t->e2e, BOUNDS(long_bounds));
	histogram_init(&t->queue, BOUNDS(long_bounds));
	histogram_init(&t->prefill, BOUNDS(long_bounds));
}

int stats_create(struct stats **out)
{
	struct stats *s = calloc(1, sizeof(*s));

	*out = s;
	if (!s)
		return -ENOMEM;
	histogram_init(&s->step, BOUNDS(itl_bounds));
	histogram_init(&s->heart, BOUNDS(heart_bounds));
	return 0;
}

void stats_destroy(struct stats *s)
{
	free(s);
}

uint32_t stats_tenant(struct stats *s, const char *name)
{
	uint32_t i;

	for (i = 0; i < s->n_tenants; i++)
		if (!strncmp(s->tenants[i].name, name, sizeof(s->tenants[i].name) - 1))
			return i;
	if (s->n_tenants == STATS_MAX_TENANTS)
		return STATS_MAX_TENANTS - 1;
	tenant_init(&s->tenants[i], i == STATS_MAX_TENANTS - 1 ? "other" : name);
	s->n_tenants++;
	return i;
}

void stats_count(struct stats *s, enum stats_counter which, uint64_t n)
{
	s->counters[which] += n;
}

void stats_token(struct stats *s, uint32_t tenant, bool is_first, uint64_t gap_ns)
{
	struct stats_tenant *t = &s->tenants[tenant];

	t->n_output_tokens++;
	observe(is_first ? &t->ttft : &t->itl, gap_ns);
}

void stats_request(struct stats *s, uint32_t tenant, const struct request *r, uint64_t now_ns)
{
	struct stats_tenant *t = &s->tenants[tenant];
	const struct request_times *at = &r->times;
	struct llm_end end;

	if (r->end.reason <= STATS_REASONS)
		t->n_ended[r->end.reason]++;
	t->n_preemptions += r->seq.n_preemptions;
	t->stall_ns += at->stall_ns;
	observe(&t->e2e, now_ns - at->arrived_ns);
	if (!at->admitted_ns)
		return;
	t->n_prompt_tokens += r->seq.n_prompt;
	t->n_prefix_hits += r->seq.n_prefix_hit;
	request_fill_end(r, &end);
	observe(&t->queue, end.queue_ns);
	if (at->first_ns)
		observe(&t->prefill, end.prefill_ns);
}

void stats_step(struct stats *s, const struct stats_step *step)
{
	observe(&s->step, step->step_ns);
	observe(&s->heart, step->heart_ns);
	s->sample_ns += step->sample_ns;
	s->n_step_tokens += step->n_tokens;
	s->n_step_seqs += step->n_seqs;
	s->n_preempted += step->n_preempted;
}

void stats_totals(const struct stats *s, struct stats_totals *out)
{
	*out = (struct stats_totals){.n_preemptions = s->n_preempted};
	for (uint32_t i = 0; i < s->n_tenants; i++) {
		out->n_prompt_tokens += s->tenants[i].n_prompt_tokens;
		out->n_output_tokens += s->tenants[i].n_output_tokens;
		out->n_requests += s->tenants[i].queue.n;
	}
}
