/* SPDX-License-Identifier: MIT */
/*
 * option: see tools/option.h. No state but the caller's table.
 */
#include "tools/option.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(const struct option_command *cmd)
{
	char left[64];

	printf("usage: %s %s\n\n%s\n\noptions:\n", cmd->name, cmd->usage, cmd->about);
	for (const struct option_def *d = cmd->defs; d->name; d++) {
		snprintf(left, sizeof(left), "%s%s%s%s", d->name[1] ? "--" : "-", d->name,
			 d->arg ? " " : "", d->arg ? d->arg : "");
		printf("  %-22s %s\n", left, d->help);
	}
	printf("  %-22s %s\n  %-22s %s\n", "--help", "this text", "--version", "the version");
}

int option_usage(const struct option_command *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s --help)\n", cmd->name);
	return 2;
}

/* A whole decimal number of at most `most`, or false. */
static bool parse_number(const char *text, uint64_t most, uint64_t *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end && *out <= most;
}

static bool parse_float(const char *text, float *out)
{
	char *end;

	*out = strtof(text, &end);
	return end != text && !*end && isfinite(*out) && *out >= 0;
}

static int take_number(const struct option_command *cmd, const struct option_def *d,
		       const char *text)
{
	uint64_t most = d->type == OPTION_U32 ? UINT32_MAX : UINT64_MAX, n;

	if (!parse_number(text, most, &n))
		return option_usage(cmd, "%s takes a whole number from 0 to %llu, not '%s'",
				    d->name, (unsigned long long)most, text);
	if (d->type == OPTION_U32)
		*(uint32_t *)d->value = (uint32_t)n;
	else
		*(uint64_t *)d->value = n;
	return 0;
}

static int take_value(const struct option_command *cmd, const struct option_def *d,
		      const char *text)
{
	struct option_list *list;

	switch (d->type) {
	case OPTION_FLAG:
		*(bool *)d->value = true;
		return 0;
	case OPTION_TEXT:
		*(const char **)d->value = text;
		return 0;
	case OPTION_U32:
	case OPTION_U64:
		return take_number(cmd, d, text);
	case OPTION_FLOAT:
		if (parse_float(text, d->value))
			return 0;
		return option_usage(cmd, "%s takes a number of at least 0, not '%s'", d->name,
				    text);
	case OPTION_LIST:
		list = d->value;
		if (list->n == OPTION_LIST_MAX)
			return option_usage(cmd, "%s was given %d times, at most %d are taken",
					    d->name, OPTION_LIST_MAX + 1, OPTION_LIST_MAX);
		list->items[list->n++] = text;
		return 0;
	}
	return 0;
}

/* The table's entry that `word` ("--top-k=4", "-n") names; *value points behind '=' or is NULL. */
static const struct option_def *find(const struct option_command *cmd, const char *word,
				     const char **value)
{
	bool is_long = word[1] == '-';
	const char *name = word + (is_long ? 2 : 1), *equals = is_long ? strchr(name, '=') : NULL;
	size_t len = equals ? (size_t)(equals - name) : strlen(name);

	*value = equals ? equals + 1 : NULL;
	for (const struct option_def *d = cmd->defs; d->name; d++)
		if (strlen(d->name) == len && !memcmp(d->name, name, len) && is_long == (len > 1))
			return d;
	return NULL;
}

int option_parse(const struct option_command *cmd, int argc, char **argv, int *n_words)
{
	const struct option_def *d;
	const char *value;
	bool only_words = false;

	*n_words = 0;
	for (int i = 1; i < argc; i++) {
		if (only_words || argv[i][0] != '-' || !argv[i][1]) {
			argv[++*n_words] = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			only_words = true;
			continue;
		}
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_help(cmd);
			return OPTION_DONE;
		}
		if (!strcmp(argv[i], "--version")) {
			printf("%s (devllm) %s\n", cmd->name, LLM_VERSION);
			return OPTION_DONE;
		}
		d = find(cmd, argv[i], &value);
		if (!d) {
			option_usage(cmd, "unknown option %s", argv[i]);
			return OPTION_USAGE;
		}
		if (d->type == OPTION_FLAG && value) {
			option_usage(cmd, "--%s takes no value", d->name);
			return OPTION_USAGE;
		}
		if (d->type != OPTION_FLAG && !value) {
			if (++i == argc) {
				option_usage(cmd, "%s needs a value: %s", argv[i - 1], d->arg);
				return OPTION_USAGE;
			}
			value = argv[i];
		}
		if (take_value(cmd, d, value))
			return OPTION_USAGE;
	}
	return OPTION_GO;
}
