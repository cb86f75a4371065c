/* SPDX-License-Identifier: MIT */
/*
 * option: the command lines of the tools. One table per command gives parsing, --help and usage
 * errors, so that they cannot disagree. Long options take `--name VALUE` and `--name=VALUE`; a lone
 * `--` ends the options.
 */
#ifndef DEVLLM_OPTION_H
#define DEVLLM_OPTION_H

#include <stdbool.h>
#include <stdint.h>

enum option_type {
	OPTION_FLAG,  /* bool */
	OPTION_TEXT,  /* const char *, points into argv */
	OPTION_U32,   /* uint32_t, decimal */
	OPTION_U64,   /* uint64_t, decimal */
	OPTION_FLOAT, /* float, finite, >= 0 */
	OPTION_LIST,  /* struct option_list: may be given again */
};

#define OPTION_LIST_MAX 16

struct option_list {
	const char *items[OPTION_LIST_MAX];
	uint32_t n;
};

struct option_def {
	const char *name; /* without dashes; a one-letter name is `-n` */
	enum option_type type;
	void *value;	 /* where it goes, by type */
	const char *arg; /* placeholder in --help, NULL for flags */
	const char *help;
};

/* A command: its table ends with a NULL name. */
struct option_command {
	const char *name;  /* "llm run" */
	const char *usage; /* what follows the name on the usage line */
	const char *about; /* one sentence or more for --help */
	const struct option_def *defs;
};

/* What option_parse() found. */
enum { OPTION_GO = 0, OPTION_USAGE = -1, OPTION_DONE = 1 };

/*
 * Parses argv[1..]; words that are no option are moved to the front: *n_words of them from argv[1].
 * OPTION_GO; OPTION_DONE after --help or --version was answered on stdout; OPTION_USAGE after an
 * error was told on stderr (exit 2).
 */
int option_parse(const struct option_command *cmd, int argc, char **argv, int *n_words);

/* Says on stderr what is wrong and where help is; returns 2, the exit code for usage. */
__attribute__((format(printf, 2, 3))) int option_usage(const struct option_command *cmd,
						       const char *fmt, ...);

#endif
