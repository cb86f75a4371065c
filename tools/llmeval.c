/* SPDX-License-Identifier: MIT */
/*
 * llmeval: how well this engine computes a model: perplexity of a text, or distance from another
 * implementation's steps. Exit: 0 done, 1 failed, 2 usage.
 */
#include "tools/llmeval.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/option.h"

static void print_usage(FILE *to)
{
	fputs("usage: llmeval ppl -m FILE -f TEXT [-c 512] [--chunks N] [--json]\n"
	      "       llmeval golden -m FILE GOLDEN.jsonl [--json]\n"
	      "       llmeval ppl --help, llmeval golden --help\n",
	      to);
}

static int run_ppl(int argc, char **argv)
{
	struct eval_options o = { .n_window = 512, .is_terminal = isatty(STDERR_FILENO) };
	const struct option_def defs[] = {
		{ "m", OPTION_TEXT, &o.model, "FILE", "the model, GGUF" },
		{ "f", OPTION_TEXT, &o.text, "TEXT", "the text, UTF-8" },
		{ "c", OPTION_U32, &o.n_window, "N", "tokens of a window; default 512" },
		{ "chunks", OPTION_U32, &o.n_chunks, "N", "windows to score; default all" },
		{ "t", OPTION_U32, &o.n_threads, "N", "threads; default one per core" },
		{ "kernels", OPTION_TEXT, &o.kernels, "NAME", "auto, avx2, ref; default auto" },
		{ "f32", OPTION_FLAG, &o.is_f32, NULL, "widen the weights to f32 first" },
		{ "json", OPTION_FLAG, &o.wants_json, NULL, "one JSON line" },
		{ 0 },
	};
	const struct option_command command = {
		.name = "llmeval ppl", .usage = "-m FILE -f TEXT [OPTION...]", .defs = defs,
		.about = "Perplexity of a text, the second half of each window scored.",
	};
	int n_words, rc = option_parse(&command, argc, argv, &n_words);

	if (rc != OPTION_GO)
		return rc == OPTION_DONE ? 0 : 2;
	if (!o.model || !o.text || n_words)
		return option_usage(&command, "-m FILE and -f TEXT are needed, and no words");
	if (o.n_window < 4)
		return option_usage(&command, "-c is %u, at least 4 is needed", o.n_window);
	return eval_ppl(&o);
}

static int run_golden(int argc, char **argv)
{
	struct eval_options o = { .is_terminal = isatty(STDERR_FILENO) };
	const struct option_def defs[] = {
		{ "m", OPTION_TEXT, &o.model, "FILE", "the model, GGUF" },
		{ "t", OPTION_U32, &o.n_threads, "N", "threads; default one per core" },
		{ "kernels", OPTION_TEXT, &o.kernels, "NAME", "auto, avx2, ref; default auto" },
		{ "f32", OPTION_FLAG, &o.is_f32, NULL, "widen the weights to f32 first" },
		{ "json", OPTION_FLAG, &o.wants_json, NULL, "one JSON line" },
		{ 0 },
	};
	const struct option_command command = {
		.name = "llmeval golden", .usage = "-m FILE GOLDEN.jsonl [OPTION...]",
		.defs = defs,
		.about = "Distance from recorded greedy steps, teacher-forced along them.",
	};
	int n_words, rc = option_parse(&command, argc, argv, &n_words);

	if (rc != OPTION_GO)
		return rc == OPTION_DONE ? 0 : 2;
	if (!o.model || n_words != 1)
		return option_usage(&command, "-m FILE and one GOLDEN.jsonl are needed");
	o.golden = argv[1];
	return eval_golden(&o);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "ppl"))
		return run_ppl(argc - 1, argv + 1);
	if (!strcmp(what, "golden"))
		return run_golden(argc - 1, argv + 1);
	if (!strcmp(what, "kld")) {
		fputs("llmeval: kld is not in this version; ppl and golden are\n", stderr);
		return 2;
	}
	if (!strcmp(what, "--version")) {
		printf("llmeval (devllm) %s\n", LLM_VERSION);
		return 0;
	}
	if (!strcmp(what, "--help")) {
		print_usage(stdout);
		return 0;
	}
	if (*what)
		fprintf(stderr, "llmeval: unknown measurement %s\n", what);
	print_usage(stderr);
	return 2;
}
