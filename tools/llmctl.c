/* SPDX-License-Identifier: MIT */
/*
 * llmctl: asks the daemon how it is, and tells it to cancel or to drain.
 *
 * One question over the control door (llm_control(3)), one answer, printed as a table for people or
 * with --json as it came. Exit: 0 done, 1 the daemon refused, 2 usage, 3 no daemon.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <llm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/llm.h"
#include "tools/option.h"

/* A column of a table: the member it shows and how wide it is at least. */
struct column {
	const char *member, *title;
	int width;
};

static const struct column session_columns[] = {
	{"id", "SESSION", 10},
	{"uid", "UID", 6},
	{"pid", "PID", 8},
	{"tenant", "TENANT", 12},
	{"requests", "REQUESTS", 8},
	{"ring_bytes", "RING", 9},
	{"ring_fill_bytes", "FILL", 9},
	{"stalled", "STALLED", 7},
	{"name", "NAME", 0},
	{NULL, NULL, 0},
};

static const struct column request_columns[] = {
	{"id", "REQUEST", 20},	   {"tenant", "TENANT", 12},
	{"pid", "PID", 8},	   {"state", "STATE", 8},
	{"isl", "ISL", 7},	   {"osl", "OSL", 7},
	{"pages", "PAGES", 6},	   {"preemptions", "PREEMPTED", 9},
	{"stalled", "STALLED", 7}, {"age_ms", "AGE/MS", 0},
	{NULL, NULL, 0},
};

/* A value as a word. */
static const char *word_of(const json_t *v, char *buf, size_t size)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "yes" : "no";
	if (json_is_integer(v))
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, size, "%.3f", json_real_value(v));
	else
		snprintf(buf, size, "-");
	return buf;
}

static void print_table(const json_t *rows, const struct column *columns)
{
	char buf[64];
	size_t i;
	json_t *row;

	for (const struct column *c = columns; c->member; c++)
		printf("%-*s%s", c->width, c->title, c[1].member ? " " : "\n");
	json_array_foreach(rows, i, row) for (const struct column *c = columns; c->member; c++)
		printf("%-*s%s", c->width,
		       word_of(json_object_get(row, c->member), buf, sizeof(buf)),
		       c[1].member ? " " : "\n");
}

static void print_members(json_t *answer)
{
	const char *name;
	char buf[64];
	json_t *v;

	json_object_foreach(answer, name, v)
		printf("%-22s %s\n", name, word_of(v, buf, sizeof(buf)));
}

static void print_answer(const char *command, json_t *answer)
{
	if (!strcmp(command, "sessions"))
		print_table(json_object_get(answer, "sessions"), session_columns);
	else if (!strcmp(command, "requests"))
		print_table(json_object_get(answer, "requests"), request_columns);
	else
		print_members(answer);
}

/* Prints the daemon's answer, a text of JSON. */
static int show(const char *command, const char *text, bool wants_json)
{
	json_error_t where;
	json_t *answer = json_loads(text, 0, &where), *error;
	int status = EXIT_DONE;

	if (!json_is_object(answer)) {
		fprintf(stderr, "llmctl: the answer is not JSON: %s\n", where.text);
		json_decref(answer);
		return EXIT_FAILED;
	}
	error = json_object_get(answer, "error");
	if (error) {
		const char *message = json_string_value(json_object_get(error, "message"));

		fprintf(stderr, "llmctl: %s\n", message ? message : "refused");
		status = EXIT_FAILED;
	} else if (!strcmp(command, "metrics")) {
		/* Prometheus text is for machines already. */
		fputs(json_string_value(json_object_get(answer, "text")), stdout);
	} else if (wants_json) {
		puts(text);
	} else {
		print_answer(command, answer);
	}
	json_decref(answer);
	return fflush(stdout) ? EXIT_FAILED : status;
}

/* The question as JSON, or NULL. */
static char *question(const char *command, const char *id)
{
	json_t *q = id ? json_pack("{s:s, s:s}", "command", command, "id", id)
		       : json_pack("{s:s}", "command", command);
	char *text = q ? json_dumps(q, JSON_COMPACT) : NULL;

	json_decref(q);
	return text;
}

static int ask(const char *where, const char *command, const char *id, bool wants_json)
{
	char *q = question(command, id), *reply = NULL;
	int r, status;

	if (!q) {
		fprintf(stderr, "llmctl: the request id is not UTF-8\n");
		return EXIT_USAGE;
	}
	r = llm_control(where, q, &reply);
	free(q);
	if (r) {
		fprintf(stderr, "llmctl: %s: %s\n", where ? where : "no daemon found",
			llm_strerror(r));
		return r == -ENOENT || r == -ECONNREFUSED || r == -EHOSTDOWN ? EXIT_NO_DAEMON
									     : EXIT_FAILED;
	}
	status = show(command, reply, wants_json);
	free(reply);
	return status;
}

int main(int argc, char **argv)
{
	static const char *const commands[] = {"status",  "sessions", "requests",
					       "metrics", "cancel",   "drain"};
	const char *where = NULL;
	bool wants_json = false;
	const struct option_def defs[] = {
		{"json", OPTION_FLAG, &wants_json, NULL, "the answer as JSON"},
		{"socket", OPTION_TEXT, &where, "PATH", "the daemon's socket"},
		{NULL, 0, NULL, NULL, NULL},
	};
	const struct option_command cmd = {
		.name = "llmctl",
		.usage = "status|sessions|requests|metrics|cancel ID|drain [OPTION...]",
		.about = "Asks a running llmd how it is, cancels a request, or lets it drain:\n"
			 "no new work, and an exit once the last request has ended.",
		.defs = defs,
	};
	int n_words, n_args, status = option_parse(&cmd, argc, argv, &n_words);

	if (status != OPTION_GO)
		return status == OPTION_DONE ? EXIT_DONE : EXIT_USAGE;
	if (!n_words)
		return option_usage(&cmd, "no command");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(argv[1], commands[i]))
			continue;
		n_args = strcmp(argv[1], "cancel") ? 0 : 1;
		if (n_words - 1 != n_args)
			return option_usage(&cmd, "%s takes %d words, %d were given", argv[1],
					    n_args, n_words - 1);
		return ask(where, argv[1], n_args ? argv[2] : NULL, wants_json);
	}
	return option_usage(&cmd, "unknown command '%s'", argv[1]);
}
