/* SPDX-License-Identifier: MIT */
/*
 * stats_text: the counters as Prometheus text (exposition format 0.0.4), asked for by control.
 *
 * A family is written whole: HELP, TYPE, then a line per tenant. Reads the daemon, changes
 * nothing. The time it takes grows with tenants times buckets, some 100 KiB at worst, not with
 * requests served.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/door_socket.h"
#include "daemon/request_log.h"
#include "daemon/stats_private.h"
#include "daemon/tenant.h"

/* Where the text goes, and the label that every line of a tenant carries. */
struct text {
	FILE *to;
	const struct stats *s;
	char model[4 * LLM_MAX_MODEL_LEN]; /* escaped */
};

/* A label's value: \ " and newline are escaped, other control bytes become '?'. */
static void escape(char *to, const char *from)
{
	for (; *from; from++) {
		if (*from == '\\' || *from == '"') {
			*to++ = '\\';
			*to++ = *from;
		} else if (*from == '\n') {
			*to++ = '\\';
			*to++ = 'n';
		} else {
			*to++ = (unsigned char)*from < ' ' ? '?' : *from;
		}
	}
	*to = 0;
}

static void family(struct text *t, const char *name, const char *type, const char *help)
{
	fprintf(t->to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* {model_name="...",tenant="..." without the closing brace; tenant names need no escapes. */
static void labels(struct text *t, const char *name, uint32_t tenant)
{
	fprintf(t->to, "%s{model_name=\"%s\",tenant=\"%s\"", name, t->model,
		t->s->tenants[tenant].name);
}

static void single(struct text *t, const char *name, const char *type, const char *help,
		   double value)
{
	family(t, name, type, help);
	fprintf(t->to, "%s{model_name=\"%s\"} %.17g\n", name, t->model, value);
}

/* One histogram's lines; head: "name_bucket{labels" ends before le. */
static void histogram(struct text *t, const char *name, const char *label,
		      const struct stats_histogram *h)
{
	uint64_t below = 0;

	for (uint32_t i = 0; i < h->n_bounds; i++) {
		below += h->counts[i];
		fprintf(t->to, "%s_bucket{model_name=\"%s\"%s,le=\"%.9g\"} %" PRIu64 "\n", name,
			t->model, label, (double)h->bounds_ns[i] / 1e9, below);
	}
	fprintf(t->to, "%s_bucket{model_name=\"%s\"%s,le=\"+Inf\"} %" PRIu64 "\n", name, t->model,
		label, h->n);
	fprintf(t->to, "%s_sum{model_name=\"%s\"%s} %.9f\n", name, t->model, label,
		(double)h->sum_ns / 1e9);
	fprintf(t->to, "%s_count{model_name=\"%s\"%s} %" PRIu64 "\n", name, t->model, label, h->n);
}

/* A counter per tenant: which field, from the table below. */
struct tenant_counter {
	const char *name, *help;
	size_t off;
	double scale;
};

#define OF(field) offsetof(struct stats_tenant, field)

static const struct tenant_counter tenant_counters[] = {
	{"vllm:prompt_tokens_total", "Prompt tokens of requests that ran, prefix hits included.",
	 OF(n_prompt_tokens), 1},
	{"vllm:generation_tokens_total", "Output tokens.", OF(n_output_tokens), 1},
	{"vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
	 OF(n_prompt_tokens), 1},
	{"vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
	 OF(n_prefix_hits), 1},
	{"vllm:num_preemptions_total", "Times a request lost its pages and was computed again.",
	 OF(n_preemptions), 1},
	{"llm_stall_seconds_total", "Time that requests waited for room in their client's ring.",
	 OF(stall_ns), 1e-9},
};

static const struct {
	const char *name, *help;
	size_t off;
} tenant_histograms[] = {
	{"vllm:time_to_first_token_seconds", "From arrival to the first output token.", OF(ttft)},
	{"vllm:inter_token_latency_seconds", "Each gap between two output tokens.", OF(itl)},
	{"vllm:e2e_request_latency_seconds", "From arrival to the end.", OF(e2e)},
	{"vllm:request_queue_time_seconds", "From arrival to the first step, tokenizing apart.",
	 OF(queue)},
	{"vllm:request_prefill_time_seconds", "From the first step to the first output token.",
	 OF(prefill)},
};

static void put_tenants(struct text *t)
{
	const struct stats *s = t->s;
	char label[128];

	for (size_t k = 0; k < sizeof(tenant_counters) / sizeof(tenant_counters[0]); k++) {
		const struct tenant_counter *c = &tenant_counters[k];

		family(t, c->name, "counter", c->help);
		for (uint32_t i = 0; i < s->n_tenants; i++) {
			const void *field = (const char *)&s->tenants[i] + c->off;

			labels(t, c->name, i);
			fprintf(t->to, "} %.17g\n", (double)*(const uint64_t *)field * c->scale);
		}
	}
	for (size_t k = 0; k < sizeof(tenant_histograms) / sizeof(tenant_histograms[0]); k++) {
		family(t, tenant_histograms[k].name, "histogram", tenant_histograms[k].help);
		for (uint32_t i = 0; i < s->n_tenants; i++) {
			const void *h = (const char *)&s->tenants[i] + tenant_histograms[k].off;

			snprintf(label, sizeof(label), ",tenant=\"%s\"", s->tenants[i].name);
			histogram(t, tenant_histograms[k].name, label, h);
		}
	}
}

/* vLLM's words for how a request finished; EOS and a stop string are both "stop". */
static void put_reasons(struct text *t)
{
	static const struct {
		const char *word;
		unsigned reasons[2];
	} words[] = {
		{"stop", {LLM_END_EOS, LLM_END_STOP}}, {"length", {LLM_END_LENGTH, 0}},
		{"abort", {LLM_END_CANCELED, 0}},      {"deadline", {LLM_END_DEADLINE, 0}},
		{"error", {LLM_END_ERROR, 0}},
	};
	const char *name = "vllm:request_success_total";

	family(t, name, "counter", "Requests that ended, by reason.");
	for (uint32_t i = 0; i < t->s->n_tenants; i++) {
		const uint64_t *n = t->s->tenants[i].n_ended;

		for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
			uint64_t sum = n[words[k].reasons[0]];

			if (words[k].reasons[1])
				sum += n[words[k].reasons[1]];
			labels(t, name, i);
			fprintf(t->to, ",finished_reason=\"%s\"} %" PRIu64 "\n", words[k].word,
				sum);
		}
	}
}

/* Requests of each tenant label by where they are. */
static void put_requests(struct text *t, const struct daemon *d)
{
	uint32_t running[STATS_MAX_TENANTS] = {0}, waiting[STATS_MAX_TENANTS] = {0};

	for (const struct request *r = d->requests; r; r = r->all_next) {
		if (r->state != REQUEST_ENDED && r->seq.state == SCHED_RUNNING)
			running[r->tenant->stats_index]++;
		else if (r->state != REQUEST_ENDED)
			waiting[r->tenant->stats_index]++;
	}
	family(t, "vllm:num_requests_running", "gauge", "Requests that hold KV pages.");
	for (uint32_t i = 0; i < t->s->n_tenants; i++) {
		labels(t, "vllm:num_requests_running", i);
		fprintf(t->to, "} %u\n", running[i]);
	}
	family(t, "vllm:num_requests_waiting", "gauge", "Requests that wait for KV pages.");
	for (uint32_t i = 0; i < t->s->n_tenants; i++) {
		labels(t, "vllm:num_requests_waiting", i);
		fprintf(t->to, "} %u\n", waiting[i]);
	}
}

static void put_pages(struct text *t, const struct daemon *d)
{
	double total = kvcache_least_total(d->kv), n_free = kvcache_least_free(d->kv), known = 0;

	if (d->prefix)
		known = prefix_evictable(d->prefix);
	single(t, "vllm:kv_cache_usage_perc", "gauge",
	       "Share of KV pages that requests hold; 1 is all of them.",
	       total > 0 ? (total - n_free - known) / total : 0);
	single(t, "llm_kv_pages", "gauge", "KV pages of 32 tokens.", total);
	single(t, "llm_kv_pages_free", "gauge", "KV pages that nobody holds.", n_free);
	single(t, "llm_kv_pages_prefix", "gauge",
	       "KV pages that only the prefix cache holds; given up when requests need them.",
	       known);
}

static void put_own(struct text *t, const struct daemon *d)
{
	static const struct {
		const char *name, *help;
	} counters[STATS_COUNTERS] = {
		[STATS_SESSIONS_OPENED] = {"llm_sessions_opened_total", "Sessions opened."},
		[STATS_SESSIONS_REFUSED] = {"llm_sessions_refused_total",
					    "Connections or HELLOs refused."},
		[STATS_SESSIONS_BROKEN] = {"llm_sessions_broken_total",
					   "Clients disconnected for breaking the protocol."},
		[STATS_REQUESTS_REFUSED] = {"llm_requests_refused_total",
					    "Requests that ended with an error before a step."},
		[STATS_KICKS] = {"llm_kicks_total", "Kicks sent to sleeping clients."},
		[STATS_KICKS_SKIPPED] = {"llm_kicks_skipped_total",
					 "Kicks not sent because the client's socket was full."},
		[STATS_STALLS] = {"llm_stalls_total",
				  "Times a request ran out of room in its client's ring."},
	};
	const struct stats *s = t->s;

	for (int i = 0; i < STATS_COUNTERS; i++)
		single(t, counters[i].name, "counter", counters[i].help, (double)s->counters[i]);
	single(t, "llm_sessions", "gauge", "Open sessions.", d->n_sessions);
	single(t, "llm_connections", "gauge", "Open connections.",
	       d->door ? door_socket_n_connections(d->door) : 0);
	single(t, "llm_steps_total", "counter", "Steps finished.", (double)d->n_steps);
	single(t, "llm_step_tokens_total", "counter", "Tokens computed, prompt and output.",
	       (double)s->n_step_tokens);
	single(t, "llm_step_requests_total", "counter", "Requests summed over steps.",
	       (double)s->n_step_seqs);
	single(t, "llm_sample_seconds_total", "counter", "Time spent drawing tokens.",
	       (double)s->sample_ns / 1e9);
	family(t, "llm_step_seconds", "histogram", "Time of the engine's steps.");
	histogram(t, "llm_step_seconds", "", &s->step);
	family(t, "llm_heart_seconds", "histogram", "Time around a step: schedule and flush.");
	histogram(t, "llm_heart_seconds", "", &s->heart);
	single(t, "llm_request_log_dropped_total", "counter",
	       "Lines of the request log lost to a full disk or a slow reader.",
	       d->log ? (double)request_log_n_dropped(d->log) : 0);
	single(t, "llm_draining", "gauge", "1 once no new work is taken.", d->is_draining);
}

char *stats_metrics(const struct daemon *d)
{
	struct text t = {.s = d->stats};
	char *text = NULL, engine[2 * sizeof(d->info.name)];
	size_t n = 0;

	t.to = open_memstream(&text, &n);
	if (!t.to)
		return NULL;
	escape(t.model, d->model_name);
	escape(engine, d->info.name);
	put_requests(&t, d);
	put_pages(&t, d);
	put_tenants(&t);
	put_reasons(&t);
	put_own(&t, d);
	family(&t, "llm_build_info", "gauge", "Always 1; the labels tell.");
	fprintf(t.to, "llm_build_info{version=\"%s\",engine=\"%s\"} 1\n", LLM_VERSION, engine);
	if (fclose(t.to)) {
		free(text);
		return NULL;
	}
	return text;
}
