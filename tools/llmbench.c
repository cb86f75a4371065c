/* SPDX-License-Identifier: MIT */
/*
 * llmbench: how fast a model runs here, through scheduler, plan and paged KV, sampling included.
 *
 *	pp N   one sequence, N prompt tokens, logits of the last row only
 *	tg N   one sequence, N steps of one token from an empty cache (or --depth tokens)
 *	bd B   B sequences with 128 tokens of context (and --depth) each, 64 steps of B tokens; the
 *	       steps alone are timed
 *	read   how fast all threads read 1 GiB, best of 5, in turns with tg
 *	tg_share  bytes that tg reads per second (weights of one token) over read
 *
 * Ids are random and forced. Best of -r runs. One JSON line each with --json, else a table.
 */
#include "tools/llmbench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/option.h"

#define MAX_LIST 16
#define BD_PROMPT 128
#define BD_STEPS 64
#define N_READS 5

struct list {
	uint32_t items[MAX_LIST];
	uint32_t n;
};

struct bench {
	const char *model, *kernels;
	const char *pp_text, *tg_text, *bd_text;
	struct list pp, tg, bd;
	uint32_t n_threads, n_runs, depth, step_tokens;
	bool wants_json, is_terminal;
	struct rig *rig;
	struct reader *reader;
	struct engine_info info;
};

/* One line that is overwritten, on a terminal only. */
static void progress(const struct bench *b, const char *test, uint32_t n, uint32_t run)
{
	if (!b->is_terminal)
		return;
	if (test)
		fprintf(stderr, "\r\033[K%s %" PRIu32 ": run %" PRIu32 " of %" PRIu32, test, n, run,
			b->n_runs);
	else
		fputs("\r\033[K", stderr);
}

static void print_speed(const struct bench *b, const char *test, uint32_t n, double tps)
{
	progress(b, NULL, 0, 0);
	if (b->wants_json)
		printf("{\"test\":\"%s\",\"n\":%" PRIu32 ",\"tps\":%.1f}\n", test, n, tps);
	else
		printf("%-8s %6" PRIu32 " %10.1f tokens/s\n", test, n, tps);
	fflush(stdout);
}

/* Tokens per second of n tokens, the best of the runs; < 0: told on stderr. */
static double best_of(const struct bench *b, const char *test, uint32_t n,
		      const struct rig_run *run)
{
	const uint32_t n_tokens = run->is_prompt_timed ? run->n_prompt : run->n_decode;
	double best = 0;

	for (uint32_t i = 0; i < b->n_runs; i++) {
		int64_t ns;
		double tps;

		progress(b, test, n, i + 1);
		ns = rig_measure(b->rig, run);
		if (ns <= 0) {
			progress(b, NULL, 0, 0);
			fprintf(stderr, "llmbench: %s %" PRIu32 ": %s\n", test, n,
				strerror((int)-ns));
			return -1;
		}
		tps = (double)n_tokens * run->n_seqs * 1e9 / (double)ns;
		best = tps > best ? tps : best;
	}
	return best;
}

static int run_pp(const struct bench *b, uint32_t n)
{
	const struct rig_run run = { .n_seqs = 1, .n_prompt = n, .is_prompt_timed = true };
	double tps = best_of(b, "pp", n, &run);

	if (tps < 0)
		return 1;
	print_speed(b, "pp", n, tps);
	return 0;
}

/* From an empty cache the prompt is the first of the n single tokens. */
static double measure_tg(const struct bench *b, uint32_t n)
{
	struct rig_run run = { .n_seqs = 1, .n_prompt = b->depth, .n_decode = n };
	int64_t ns;

	if (!b->depth) {
		run.n_prompt = 1;
		run.n_decode = n - 1;
		run.is_prompt_timed = true;
	}
	ns = rig_measure(b->rig, &run);
	if (ns > 0)
		return n * 1e9 / (double)ns;
	fprintf(stderr, "llmbench: tg %" PRIu32 ": %s\n", n, strerror((int)-ns));
	return -1;
}

/* tg and read in turns, since what else runs on the machine slows both. */
static int run_tg(const struct bench *b, uint32_t n, double *best_read)
{
	const uint32_t n_turns = b->n_runs > N_READS ? b->n_runs : N_READS;
	double best = 0;

	for (uint32_t i = 0; i < n_turns; i++) {
		double v;

		progress(b, "tg, read", n, i + 1);
		v = i < N_READS ? reader_measure(b->reader) : 0;
		*best_read = v > *best_read ? v : *best_read;
		v = i < b->n_runs ? measure_tg(b, n) : 0;
		if (v < 0)
			return 1;
		best = v > best ? v : best;
	}
	print_speed(b, "tg", n, best);
	if (*best_read <= 0) {
		fprintf(stderr, "llmbench: read: no memory for 1 GiB\n");
		return 1;
	}
	best *= (double)b->info.token_bytes / (*best_read * 1e9);
	if (b->wants_json)
		printf("{\"test\":\"read\",\"gbs\":%.1f}\n{\"test\":\"tg_share\",\"value\":%.2f}\n",
		       *best_read, best);
	else
		printf("%-8s %6s %10.1f GB/s\n%-8s %6" PRIu32 " %10.2f of read (%.1f MB a token)\n",
		       "read", "", *best_read, "tg_share", n, best,
		       (double)b->info.token_bytes / 1e6);
	fflush(stdout);
	return 0;
}

static int run_bd(const struct bench *b, uint32_t n)
{
	const struct rig_run run = { .n_seqs = n, .n_prompt = BD_PROMPT + b->depth,
				     .n_decode = BD_STEPS };
	double tps = best_of(b, "bd", n, &run);

	if (tps < 0)
		return 1;
	print_speed(b, "bd", n, tps);
	return 0;
}

static int run_all(struct bench *b)
{
	const struct rig_run warm_up = { .n_seqs = 1, .n_prompt = 16, .n_decode = 4 };
	double best_read = 0;
	int rc = 0;

	rig_measure(b->rig, &warm_up);
	for (uint32_t i = 0; !rc && i < b->pp.n; i++)
		rc = run_pp(b, b->pp.items[i]);
	for (uint32_t i = 0; !rc && i < b->tg.n; i++)
		rc = run_tg(b, b->tg.items[i], &best_read);
	for (uint32_t i = 0; !rc && i < b->bd.n; i++)
		rc = run_bd(b, b->bd.items[i]);
	return rc;
}

/* ---- options --------------------------------------------------------------------------------- */

/* "128,512" to numbers of 1 to most; "0" to none. */
static bool parse_list(const char *text, uint32_t most, struct list *out)
{
	const char *p = text;

	out->n = 0;
	if (!strcmp(text, "0"))
		return true;
	for (;;) {
		char *end;
		unsigned long v = strtoul(p, &end, 10);

		if (*p < '0' || *p > '9' || v < 1 || v > most || out->n == MAX_LIST)
			return false;
		out->items[out->n++] = (uint32_t)v;
		if (!*end)
			return true;
		if (*end != ',')
			return false;
		p = end + 1;
	}
}

static uint32_t max_of(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* The largest sequence, and the most tokens at once, of all measurements. */
static void find_sizes(const struct bench *b, struct rig_args *a)
{
	a->seq_tokens = 32;
	a->max_seqs = 1;
	for (uint32_t i = 0; i < b->pp.n; i++)
		a->seq_tokens = max_of(a->seq_tokens, b->pp.items[i] + 1);
	for (uint32_t i = 0; i < b->tg.n; i++)
		a->seq_tokens = max_of(a->seq_tokens, b->depth + b->tg.items[i] + 1);
	a->total_tokens = a->seq_tokens;
	for (uint32_t i = 0; i < b->bd.n; i++) {
		const uint32_t n = BD_PROMPT + b->depth + BD_STEPS + 1;

		a->max_seqs = max_of(a->max_seqs, b->bd.items[i]);
		a->seq_tokens = max_of(a->seq_tokens, n);
		a->total_tokens = max_of(a->total_tokens, n * b->bd.items[i]);
	}
}

static void print_head(const struct bench *b)
{
	printf("%s\n%s\nweights %.1f MB, %.1f MB a token, workspace %.1f MB, "
	       "KV %zu bytes a token\n", rig_model_name(b->rig), b->info.name,
	       (double)b->info.weights_bytes / 1e6, (double)b->info.token_bytes / 1e6,
	       (double)b->info.workspace_bytes / 1e6,
	       b->info.kv_groups[0].page_bytes / ENGINE_PAGE_TOKENS);
}

int main(int argc, char **argv)
{
	struct bench b = { .pp_text = "128,512", .tg_text = "64", .bd_text = "1,4,8,16,32",
			   .n_runs = 3, .step_tokens = 512 };
	const struct option_def defs[] = {
		{ "m", OPTION_TEXT, &b.model, "FILE", "the model, GGUF" },
		{ "t", OPTION_U32, &b.n_threads, "N", "threads; default one per core" },
		{ "pp", OPTION_TEXT, &b.pp_text, "N,...", "prompt lengths; 128,512; 0: none" },
		{ "tg", OPTION_TEXT, &b.tg_text, "N,...", "steps of one stream; 64; 0: none" },
		{ "bd", OPTION_TEXT, &b.bd_text, "N,...", "batch sizes; 1,4,8,16,32; 0: none" },
		{ "r", OPTION_U32, &b.n_runs, "R", "the best of R runs; default 3" },
		{ "depth", OPTION_U32, &b.depth, "N", "tokens of context before tg and bd" },
		{ "step-tokens", OPTION_U32, &b.step_tokens, "N", "most in a step; default 512" },
		{ "kernels", OPTION_TEXT, &b.kernels, "NAME", "auto, avx2, ref; default auto" },
		{ "json", OPTION_FLAG, &b.wants_json, NULL, "one JSON line a measurement" },
		{ 0 },
	};
	const struct option_command command = {
		.name = "llmbench", .usage = "-m FILE [OPTION...]", .defs = defs,
		.about = "Measures prefill, one stream, batched decode and memory bandwidth.",
	};
	struct rig_args args = { 0 };
	struct error err = { 0 };
	int rc, n_words;

	rc = option_parse(&command, argc, argv, &n_words);
	if (rc != OPTION_GO)
		return rc == OPTION_DONE ? 0 : 2;
	if (!b.model || n_words)
		return option_usage(&command, b.model ? "no words are taken" : "-m FILE is needed");
	if (!parse_list(b.pp_text, 1u << 20, &b.pp) || !parse_list(b.tg_text, 1u << 20, &b.tg) ||
	    !parse_list(b.bd_text, 1024, &b.bd))
		return option_usage(&command, "a list is up to %d numbers with commas, or 0",
				    MAX_LIST);
	if (!b.n_runs || b.step_tokens < 1 || b.step_tokens > 65536 || b.depth > 1u << 20)
		return option_usage(&command, "-r from 1, --step-tokens 1 to 65536, --depth up to "
				    "1048576");
	args = (struct rig_args){ .model_path = b.model, .kernels = b.kernels,
				  .n_threads = b.n_threads };
	find_sizes(&b, &args);
	args.step_tokens = max_of(b.step_tokens, args.max_seqs);
	b.is_terminal = isatty(STDERR_FILENO);
	if (reader_open(b.n_threads, &b.reader, &err)) {
		fprintf(stderr, "llmbench: %s\n", err.text);
		return 1;
	}
	if (rig_open(&args, &b.rig, &err)) {
		fprintf(stderr, "llmbench: %s\n", err.text);
		reader_close(b.reader);
		return 1;
	}
	rig_info(b.rig, &b.info);
	if (!b.wants_json)
		print_head(&b);
	rc = run_all(&b);
	rig_close(b.rig);
	reader_close(b.reader);
	return rc;
}
