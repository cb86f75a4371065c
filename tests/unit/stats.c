/* SPDX-License-Identifier: MIT */
/*
 * Proves that the metrics are valid Prometheus text (each family told once, before its lines;
 * buckets that only grow and end in the count) and say what was counted, with bounded tenant
 * labels.
 *
 * Marks: san
 */
#include "tests/test.h"

#include "daemon/daemon.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"

static struct daemon d;

/* One metric line: name{labels} value. */
struct line {
	char name[128], labels[512];
	double value;
};

static bool is_name(const char *s)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:";

	return *s && strspn(s, allowed) == strlen(s) && !(*s >= '0' && *s <= '9');
}

/* key="value",...; a value may hold \\ \" \n and nothing else after a backslash. */
static bool are_labels(const char *s)
{
	while (*s) {
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz_");

		if (!n || strncmp(s + n, "=\"", 2))
			return false;
		for (s += n + 2; *s && *s != '"'; s++) {
			if (*s == '\n' || (*s == '\\' && !strchr("\\\"n", s[1])))
				return false;
			s += *s == '\\';
		}
		if (*s++ != '"' || (*s && *s++ != ','))
			return false;
	}
	return true;
}

static bool parse_line(const char *text, struct line *l)
{
	const char *open = strchr(text, '{'), *close = strrchr(text, '}');
	char *end;

	if (!open || !close || close[1] != ' ')
		return false;
	snprintf(l->name, sizeof(l->name), "%.*s", (int)(open - text), text);
	snprintf(l->labels, sizeof(l->labels), "%.*s", (int)(close - open - 1), open + 1);
	l->value = strtod(close + 2, &end);
	return end != close + 2 && !*end && is_name(l->name) && are_labels(l->labels);
}

/* The family a line belongs to: its name without the histogram's suffix. */
static bool is_of(const char *name, const char *family, const char *type)
{
	size_t n = strlen(family);

	if (strncmp(name, family, n))
		return false;
	if (strcmp(type, "histogram"))
		return !name[n];
	return !strcmp(name + n, "_bucket") || !strcmp(name + n, "_sum") ||
	       !strcmp(name + n, "_count");
}

/* Value of the line whose name and a part of whose labels are these; -1: none. */
static double value_of(const char *metrics, const char *name, const char *part)
{
	char *copy = strdup(metrics), *rest = copy;
	double found = -1;
	struct line l;

	for (char *t = strsep(&rest, "\n"); t; t = strsep(&rest, "\n"))
		if (*t && *t != '#' && parse_line(t, &l) && !strcmp(l.name, name) &&
		    strstr(l.labels, part))
			found = l.value;
	free(copy);
	return found;
}

static void test_format(const char *metrics)
{
	char *copy = strdup(metrics), *rest = copy, family[128] = "", type[32] = "",
	     seen[8192] = "";
	double last = 0;
	unsigned n_bad = 0, n_lines = 0;
	char *t;

	CHECK(metrics[strlen(metrics) - 1] == '\n');
	for (t = strsep(&rest, "\n"); t && *t; t = strsep(&rest, "\n")) {
		struct line l = {.name = ""};

		if (!strncmp(t, "# HELP ", 7)) {
			char word[132];

			snprintf(family, sizeof(family), "%.*s", (int)strcspn(t + 7, " "), t + 7);
			snprintf(word, sizeof(word), " %s ", family);
			n_bad += strstr(seen, word) != NULL;
			strcat(strcat(seen, word), " ");
			*type = 0;
			continue;
		}
		if (!strncmp(t, "# TYPE ", 7)) {
			sscanf(t, "# TYPE %*s %31s", type);
			n_bad += !strstr("counter gauge histogram", type);
			continue;
		}
		n_lines++;
		if (!parse_line(t, &l) || !*type || !is_of(l.name, family, type)) {
			fprintf(stderr, "bad line in %s %s: %s\n", type, family, t);
			n_bad++;
			continue;
		}
		if (strstr(l.name, "_bucket")) {
			n_bad += l.value < last;
			last = l.value;
		} else if (!strcmp(l.name + strlen(l.name) - 6, "_count")) {
			n_bad += l.value != last;
			last = 0;
		}
	}
	CHECK_EQ(n_bad, 0);
	CHECK(n_lines > 100);
	free(copy);
}

static void test_values(struct request *r)
{
	static struct tenant tenant = {.name = "web"};
	char *m;

	tenant.stats_index = stats_tenant(d.stats, "web");
	r->tenant = &tenant;
	r->seq.state = SCHED_RUNNING;
	d.requests = r;
	r->times.arrived_ns = 1000000000;
	r->times.tokenized_ns = 1001000000;
	r->times.admitted_ns = 1003000000;
	r->times.first_ns = 1010000000;
	r->seq.n_prompt = 100;
	r->seq.n_prefix_hit = 64;
	r->seq.n_preemptions = 2;
	r->end.reason = LLM_END_EOS;
	stats_token(d.stats, tenant.stats_index, true, 10000000);
	stats_token(d.stats, tenant.stats_index, false, 3500000);
	stats_request(d.stats, tenant.stats_index, r, 1020000000);
	stats_step(d.stats, &(struct stats_step){.step_ns = 5000, .n_tokens = 7, .heart_ns = 9});
	stats_count(d.stats, STATS_KICKS, 3);
	m = stats_metrics(&d);
	CHECK(m != NULL);
	test_format(m);
	CHECK_EQ(value_of(m, "vllm:prompt_tokens_total", "tenant=\"web\""), 100);
	CHECK_EQ(value_of(m, "vllm:generation_tokens_total", "tenant=\"web\""), 2);
	CHECK_EQ(value_of(m, "vllm:prefix_cache_queries_total", "web"), 100);
	CHECK_EQ(value_of(m, "vllm:prefix_cache_hits_total", "web"), 64);
	CHECK_EQ(value_of(m, "vllm:num_preemptions_total", "web"), 2);
	CHECK_EQ(value_of(m, "vllm:num_requests_running", "web"), 1);
	CHECK_EQ(value_of(m, "vllm:num_requests_waiting", "web"), 0);
	CHECK_EQ(value_of(m, "vllm:request_success_total", "web\",finished_reason=\"stop\""), 1);
	CHECK_EQ(value_of(m, "vllm:request_success_total", "web\",finished_reason=\"length\""), 0);
	CHECK_EQ(value_of(m, "vllm:inter_token_latency_seconds_bucket", "le=\"0.003\""), 0);
	CHECK_EQ(value_of(m, "vllm:inter_token_latency_seconds_bucket", "le=\"0.004\""), 1);
	CHECK_EQ(value_of(m, "vllm:time_to_first_token_seconds_bucket", "le=\"0.005\""), 0);
	CHECK_EQ(value_of(m, "vllm:time_to_first_token_seconds_bucket", "le=\"0.01\""), 1);
	CHECK_EQ(value_of(m, "vllm:e2e_request_latency_seconds_count", "web"), 1);
	CHECK(value_of(m, "vllm:request_queue_time_seconds_sum", "web") == 0.003);
	CHECK_EQ(value_of(m, "llm_kicks_total", "model_name"), 3);
	CHECK_EQ(value_of(m, "llm_step_tokens_total", "model_name"), 7);
	CHECK_EQ(value_of(m, "llm_kv_pages", "model_name"), 8);
	CHECK(strstr(m, "model_name=\"odd \\\\ \\\"name\\\"\\n\"") != NULL);
	free(m);
}

/* More tenants than labels: the rest share "other", and the text stays valid. */
static void test_cardinality(void)
{
	char name[32], *m;
	uint32_t last = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "uid:%d", i);
		last = stats_tenant(d.stats, name);
		stats_token(d.stats, last, false, 1);
	}
	CHECK_EQ(last, STATS_MAX_TENANTS - 1);
	CHECK_EQ(stats_tenant(d.stats, "uid:3"), 4);
	m = stats_metrics(&d);
	test_format(m);
	CHECK_EQ(value_of(m, "vllm:generation_tokens_total", "tenant=\"other\""),
		 1000 - (STATS_MAX_TENANTS - 2));
	free(m);
}

int main(void)
{
	const uint32_t n_pages[1] = {8};
	struct stats_totals totals;
	struct request *r = calloc(1, sizeof(*r));

	snprintf(d.model_name, sizeof(d.model_name), "odd \\ \"name\"\n");
	CHECK_EQ(stats_create(&d.stats), 0);
	CHECK_EQ(kvcache_create(1, n_pages, &d.kv), 0);
	test_values(r);
	test_cardinality();
	stats_totals(d.stats, &totals);
	CHECK_EQ(totals.n_prompt_tokens, 100);
	CHECK_EQ(totals.n_output_tokens, 1002);
	CHECK_EQ(totals.n_requests, 1);
	kvcache_destroy(d.kv);
	stats_destroy(d.stats);
	free(r);
	return test_done();
}
