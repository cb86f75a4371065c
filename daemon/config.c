/* SPDX-License-Identifier: MIT */
/*
 * config: see daemon/config.h. This file owns the order: defaults, command line (to find -c and to
 * check it), file, command line again; and the text of --help.
 */
#include "daemon/config_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_DIR "/run/llm"

static int set_defaults(struct config *c, struct error *err)
{
	size_t n;
	const struct config_option *table = config_table(&n);
	int rc = 0;

	c->serve_fd = -1;
	for (size_t i = 0; i < n && !rc; i++)
		if (table[i].initial)
			rc = config_value_set(c, &table[i], table[i].key, table[i].initial, err);
	return rc;
}

static int unknown_option(const char *word, struct error *err)
{
	static const char *const extra[] = {"config", "help", "version"};
	const char *names[64 + 3], *near;
	size_t n;
	const struct config_option *table = config_table(&n);

	for (size_t i = 0; i < n; i++)
		names[i] = table[i].key;
	memcpy(names + n, extra, sizeof(extra));
	near = config_value_nearest(word, names, n + 3);
	return error_set(err, -EINVAL, "no option is called --%s%s%s%s", word,
			 near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

/* A command line being read. */
struct args {
	char *const *argv;
	int argc;
	int at; /* next word */
	const char *file;
	enum config_action action;
};

/* The option's value: what stands behind '=', or the next word. NULL with err: there is none. */
static const char *value_of(struct args *a, const char *name, const char *inlined,
			    struct error *err)
{
	if (inlined)
		return inlined;
	if (a->at < a->argc)
		return a->argv[a->at++];
	error_set(err, -EINVAL, "%s needs a value", name);
	return NULL;
}

static int set_row(struct config *c, struct args *a, int row, const char *inlined,
		   struct error *err)
{
	size_t n;
	const struct config_option *o = &config_table(&n)[row];
	const char *text = "on";
	char where[80];

	snprintf(where, sizeof(where), "--%s", o->key);
	if (o->arg || inlined)
		text = value_of(a, where, inlined, err);
	if (!text)
		return -EINVAL;
	c->given |= (uint64_t)1 << row;
	return config_value_set(c, o, where, text, err);
}

/* word: after "--". */
static int long_option(struct config *c, struct args *a, const char *word, struct error *err)
{
	const char *equal = strchr(word, '=');
	size_t len = equal ? (size_t)(equal - word) : strlen(word);
	char key[64];
	int row;

	if (!len || len >= sizeof(key))
		return unknown_option(word, err);
	memcpy(key, word, len);
	key[len] = 0;
	if (!strcmp(key, "config")) {
		a->file = value_of(a, "--config", equal ? equal + 1 : NULL, err);
		return a->file ? 0 : -EINVAL;
	}
	if (!equal && !strcmp(key, "help"))
		a->action = CONFIG_HELP;
	else if (!equal && !strcmp(key, "version"))
		a->action = CONFIG_VERSION;
	if (a->action != CONFIG_RUN)
		return 0;
	row = config_find(NULL, key);
	if (row < 0)
		return unknown_option(key, err);
	return set_row(c, a, row, equal ? equal + 1 : NULL, err);
}

/* word: after "-", at least one letter; its value may follow in the same word. */
static int short_option(struct config *c, struct args *a, const char *word, struct error *err)
{
	size_t n;
	const struct config_option *table = config_table(&n);
	const char *inlined = word[1] ? word + 1 : NULL;

	if (*word == 'h' && !inlined) {
		a->action = CONFIG_HELP;
		return 0;
	}
	if (*word == 'c') {
		a->file = value_of(a, "-c", inlined, err);
		return a->file ? 0 : -EINVAL;
	}
	for (size_t i = 0; i < n; i++)
		if (table[i].letter == *word && (table[i].arg || !inlined))
			return set_row(c, a, (int)i, inlined, err);
	return error_set(err, -EINVAL, "no option is called -%s", word);
}

static int read_args(struct config *c, struct args *a, struct error *err)
{
	int rc = 0;

	a->at = 1;
	while (!rc && a->at < a->argc && a->action == CONFIG_RUN) {
		const char *word = a->argv[a->at++];

		if (!strncmp(word, "--", 2))
			rc = long_option(c, a, word + 2, err);
		else if (word[0] == '-' && word[1])
			rc = short_option(c, a, word + 1, err);
		else
			rc = error_set(err, -EINVAL, "\"%s\" is not an option; see llmd --help",
				       word);
	}
	return rc;
}

/* What this version has no part for is refused by name. */
static int check(const struct config *c, struct error *err)
{
	if (c->device)
		return error_set(err, -ENOTSUP,
				 "--device %s: this version has no device door; "
				 "clients come by --socket",
				 c->device);
	if (!strcmp(c->engine, "cuda"))
		return error_set(err, -ENOTSUP,
				 "--engine cuda: this version has no cuda engine; "
				 "there are cpu and null");
	if (c->kv.is_set && c->kv_pages)
		return error_set(err, -EINVAL,
				 "kv-bytes and kv-pages are both given; one of them "
				 "sizes the KV cache");
	if (c->chunk_tokens > c->step_tokens)
		return error_set(err, -EINVAL, "chunk-tokens is %u, above step-tokens %u",
				 c->chunk_tokens, c->step_tokens);
	if (c->limits.body_credit_bytes < c->limits.max_body_bytes)
		return error_set(err, -EINVAL,
				 "body-credit-bytes is %llu, below max-body-bytes %u: "
				 "the largest request could never be sent",
				 (unsigned long long)c->limits.body_credit_bytes,
				 c->limits.max_body_bytes);
	if (c->limits.uid_body_bytes < c->limits.max_body_bytes)
		return error_set(err, -EINVAL,
				 "uid-body-bytes is %llu, below max-body-bytes %u: "
				 "the largest request could never be sent",
				 (unsigned long long)c->limits.uid_body_bytes,
				 c->limits.max_body_bytes);
	if (!c->model && strcmp(c->engine, "null"))
		return error_set(err, -EINVAL, "no model: give -m MODEL.gguf, or --engine null");
	return 0;
}

int config_init(struct config *c, int argc, char *const argv[], enum config_action *action,
		struct error *err)
{
	struct args a = {.argv = argv, .argc = argc, .action = CONFIG_RUN};
	int rc;

	memset(c, 0, sizeof(*c));
	*action = CONFIG_RUN;
	rc = set_defaults(c, err);
	if (!rc)
		rc = read_args(c, &a, err);
	*action = a.action;
	if (rc || a.action != CONFIG_RUN)
		return rc;
	if (a.file) {
		bool has_own_model = c->model != NULL;

		c->file = strdup(a.file);
		rc = c->file ? config_file_read(c, a.file, err) : -ENOMEM;
		if (!rc)
			rc = read_args(c, &a, err);
		if (has_own_model)
			c->model_name[0] = 0; /* the name in the file was for its own model */
	}
	return rc ? rc : check(c, err);
}

void config_exit(struct config *c)
{
	size_t n;
	const struct config_option *table = config_table(&n);

	for (size_t i = 0; i < n; i++) {
		char **text = (char **)((char *)c + table[i].off);

		if (table[i].kind == CONFIG_STR || table[i].kind == CONFIG_CHOICE)
			free(*text);
	}
	free(c->tenants);
	free(c->file);
	memset(c, 0, sizeof(*c));
}

void config_help(FILE *to)
{
	size_t n;
	const struct config_option *table = config_table(&n);
	const char *section = "";

	fputs("Usage: llmd [-c FILE] [-m MODEL.gguf] [OPTION...]\n"
	      "One LLM engine for every process of this machine.\n\n"
	      "  -c, --config FILE          read FILE first; see llmd.conf(5)\n"
	      "  -h, --help                 this text\n"
	      "      --version              the version\n",
	      to);
	for (size_t i = 0; i < n; i++) {
		const struct config_option *o = &table[i];
		char name[64];

		if (strcmp(section, o->section)) {
			section = o->section;
			fprintf(to, "\n[%s]\n", section);
		}
		snprintf(name, sizeof(name), "--%s%s%s", o->key, o->arg ? " " : "",
			 o->arg ? o->arg : "");
		fprintf(to, "  %c%c%c %-23s%s%s", o->letter ? '-' : ' ',
			o->letter ? o->letter : ' ', o->letter ? ',' : ' ', name,
			strlen(name) < 23 ? "" : "  ", o->help);
		if (o->initial && o->arg)
			fprintf(to, " [%s]", o->initial);
		fputc('\n', to);
	}
}

int config_socket_path(const struct config *c, char *path, size_t n, struct error *err)
{
	const char *user = getenv("XDG_RUNTIME_DIR");
	int len;

	if (c->socket)
		len = snprintf(path, n, "%s", c->socket);
	else if (!geteuid() || !access(SYSTEM_DIR, W_OK))
		len = snprintf(path, n, "%s", SYSTEM_DIR "/llm.sock");
	else if (user && *user == '/')
		len = snprintf(path, n, "%s/llm.sock", user);
	else
		return error_set(err, -ENOENT,
				 "no place for a socket: %s is not ours to write and "
				 "XDG_RUNTIME_DIR is not set; give --socket PATH",
				 SYSTEM_DIR);
	if (len < 0 || (size_t)len >= n)
		return error_set(err, -ENAMETOOLONG, "the socket's path has %d bytes, at most %zu",
				 len, n - 1);
	return 0;
}
