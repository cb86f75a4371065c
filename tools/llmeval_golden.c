/* SPDX-License-Identifier: MIT */
/*
 * llmeval golden: against another implementation's greedy steps, teacher-forced: the model reads
 * prompt_ids + greedy_ids whatever it would have said itself, and each step's prediction is
 * compared.
 *
 * The file has one JSON object a line: prompt_ids, greedy_ids, and steps, one for each greedy id:
 * {id, logprob, top: [[id, logprob], ...]}; a step may lack logprob and top.
 *
 *	top1           share of steps whose likeliest id is the golden one
 *	dlogprob_mean  mean |log p(id) - logprob|, of steps with top
 *	kl_top20       mean KL divergence from golden to model over the listed ids and one bucket
 *	               for the rest, of steps with top, nats
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/llmeval.h"

#define MAX_IDS (1u << 20) /* of a line */

struct totals {
	uint64_t n_steps, n_top1, n_with_top;
	double dlogprob, kl;
};

/* A line under way. */
struct line {
	const json_t *steps;
	uint32_t n_prompt, n_vocab;
	struct totals *totals;
	bool is_malformed;
};

static bool is_id(const json_t *v, uint32_t n_vocab)
{
	return json_is_integer(v) && json_integer_value(v) >= 0 &&
	       json_integer_value(v) < (json_int_t)n_vocab;
}

static uint32_t argmax(const float *x, uint32_t n)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

/* KL of one step; < 0 when the list is malformed. */
static double divergence(const json_t *top, const float *logits, double log_sum, uint32_t n_vocab)
{
	double rest_p = 1, rest_q = 1, kl = 0;
	json_t *pair;
	size_t i;

	json_array_foreach(top, i, pair) {
		const json_t *id = json_array_get(pair, 0), *logprob = json_array_get(pair, 1);
		double p, log_q;

		if (!is_id(id, n_vocab) || !json_is_number(logprob))
			return -1;
		p = exp(json_number_value(logprob));
		log_q = (double)logits[json_integer_value(id)] - log_sum;
		kl += p * (json_number_value(logprob) - log_q);
		rest_p -= p;
		rest_q -= exp(log_q);
	}
	/* Rounded log-probabilities may sum to a little more than 1. */
	rest_p = fmax(rest_p, 1e-9);
	rest_q = fmax(rest_q, 1e-9);
	return fmax(kl + rest_p * log(rest_p / rest_q), 0);
}

static void score_row(void *arg, uint32_t row, const float *logits)
{
	struct line *l = arg;
	const json_t *step = json_array_get(l->steps, row + 1 - l->n_prompt);
	const json_t *id = json_object_get(step, "id"), *top = json_object_get(step, "top");
	const json_t *logprob = json_object_get(step, "logprob");
	double log_sum, kl;

	if (!is_id(id, l->n_vocab)) {
		l->is_malformed = true;
		return;
	}
	l->totals->n_steps++;
	l->totals->n_top1 += argmax(logits, l->n_vocab) == json_integer_value(id);
	if (!json_is_array(top) || !json_is_number(logprob))
		return;
	log_sum = eval_log_sum(logits, l->n_vocab);
	kl = divergence(top, logits, log_sum, l->n_vocab);
	if (kl < 0) {
		l->is_malformed = true;
		return;
	}
	l->totals->n_with_top++;
	l->totals->kl += kl;
	l->totals->dlogprob += fabs((double)logits[json_integer_value(id)] - log_sum -
				    json_number_value(logprob));
}

/* prompt_ids and greedy_ids in one array; NULL when they are not lists of ids. */
static uint32_t *join_ids(const json_t *prompt, const json_t *greedy, uint32_t n_vocab)
{
	const size_t n_prompt = json_array_size(prompt), n = n_prompt + json_array_size(greedy);
	uint32_t *ids = n && n <= MAX_IDS ? calloc(n, sizeof(*ids)) : NULL;

	for (size_t i = 0; ids && i < n; i++) {
		const json_t *v = i < n_prompt ? json_array_get(prompt, i)
					       : json_array_get(greedy, i - n_prompt);

		if (!is_id(v, n_vocab)) {
			free(ids);
			return NULL;
		}
		ids[i] = (uint32_t)json_integer_value(v);
	}
	return ids;
}

/* 0, or -errno; -EBADMSG: not what the head of this file says. */
static int score_line(const json_t *o, struct eval_model *m, struct totals *totals)
{
	const json_t *prompt = json_object_get(o, "prompt_ids");
	const json_t *greedy = json_object_get(o, "greedy_ids");
	struct line line = { .steps = json_object_get(o, "steps"), .totals = totals,
			     .n_vocab = eval_n_vocab(m) };
	struct eval_rows rows = { .fn = score_row, .arg = &line };
	uint32_t *ids = join_ids(prompt, greedy, line.n_vocab);
	int rc;

	line.n_prompt = (uint32_t)json_array_size(prompt);
	if (!ids || !line.n_prompt || !json_array_size(greedy) ||
	    json_array_size(line.steps) != json_array_size(greedy)) {
		free(ids);
		return -EBADMSG;
	}
	rows.ids = ids;
	/* The last greedy id is predicted, not read. */
	rows.n_ids = line.n_prompt + (uint32_t)json_array_size(greedy) - 1;
	rows.first = line.n_prompt - 1;
	rc = eval_rows(m, &rows);
	free(ids);
	return rc ? rc : line.is_malformed ? -EBADMSG : 0;
}

/* All records of the file, one a line; NULL: told on stderr. */
static json_t *read_records(const char *path)
{
	json_t *records = json_array();
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t cap = 0;

	if (!f)
		fprintf(stderr, "llmeval: %s: %s\n", path, strerror(errno));
	while (f && records && getline(&text, &cap, f) > 0) {
		json_error_t where;

		/* json_loads() gives NULL for what is no JSON, and the append refuses it. */
		if (!json_array_append_new(records, json_loads(text, 0, &where)))
			continue;
		fprintf(stderr, "llmeval: %s line %zu: %s\n", path, json_array_size(records) + 1,
			where.text);
		json_decref(records);
		records = NULL;
	}
	free(text);
	if (f)
		fclose(f);
	if (!f) {
		json_decref(records);
		records = NULL;
	}
	return records;
}

/* Tokens of the longest record, at least 1. */
static uint32_t longest(const json_t *records)
{
	size_t most = 1, i;
	json_t *o;

	json_array_foreach(records, i, o) {
		const size_t n = json_array_size(json_object_get(o, "prompt_ids")) +
				 json_array_size(json_object_get(o, "greedy_ids"));

		most = n > most ? n : most;
	}
	return most < MAX_IDS ? (uint32_t)most : MAX_IDS;
}

static int score_all(const struct eval_options *o, const json_t *records, struct eval_model *m,
		     struct totals *totals)
{
	int rc = 0;
	size_t i;
	json_t *record;

	json_array_foreach(records, i, record) {
		if (o->is_terminal)
			fprintf(stderr, "\r\033[Krecord %zu of %zu", i + 1,
				json_array_size(records));
		rc = score_line(record, m, totals);
		if (rc)
			break;
	}
	if (o->is_terminal)
		fputs("\r\033[K", stderr);
	if (rc)
		fprintf(stderr, "llmeval: %s line %zu: %s\n", o->golden, i + 1,
			rc == -EBADMSG ? "not a golden record for this vocabulary" : strerror(-rc));
	return rc;
}

static void print(const struct eval_options *o, const struct totals *t)
{
	const double n = (double)t->n_steps, n_top = (double)t->n_with_top;
	const double dlogprob = t->n_with_top ? t->dlogprob / n_top : 0;
	const double kl = t->n_with_top ? t->kl / n_top : 0;

	if (o->wants_json)
		printf("{\"top1\":%.4f,\"dlogprob_mean\":%.5f,\"kl_top20\":%.5f,\"steps\":%" PRIu64
		       "}\n", (double)t->n_top1 / n, dlogprob, kl, t->n_steps);
	else
		printf("top-1 %.4f, mean |dlogprob| %.5f, KL of the listed %.5f, %" PRIu64
		       " steps\n", (double)t->n_top1 / n, dlogprob, kl, t->n_steps);
}

int eval_golden(const struct eval_options *o)
{
	json_t *records = read_records(o->golden);
	struct totals totals = { 0 };
	struct eval_model *m = NULL;
	struct error err = { 0 };
	int rc;

	if (!records)
		return 1;
	rc = eval_open(o, longest(records), &m, &err);
	if (rc)
		fprintf(stderr, "llmeval: %s\n", err.text);
	else
		rc = score_all(o, records, m, &totals);
	if (!rc && !totals.n_steps) {
		fprintf(stderr, "llmeval: %s has no steps\n", o->golden);
		rc = -EBADMSG;
	}
	if (!rc)
		print(o, &totals);
	if (m)
		eval_close(m);
	json_decref(records);
	return rc ? 1 : 0;
}
