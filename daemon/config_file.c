/* SPDX-License-Identifier: MIT */
/*
 * config_file: the INI file. libinih splits sections, keys, values and comments; this file feeds
 * it lines (so that it knows their numbers, sees sections that hold nothing, and no line is ever
 * cut) and gives each key to its section. The first error wins and names file:line.
 */
#include "daemon/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static const char *const section_names[] = {"daemon", "door",	"engine",
					    "limits", "tenant", "model"};
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Keys of [tenant]; numbers go to `off`. Order: tenant_names. */
static const struct {
	size_t off;
	bool is_u64;
	uint64_t range[2];
} tenant_keys[] = {
	{0, false, {0, 0}}, /* users: a list */
	{offsetof(struct config_tenant, weight), false, {1, 1000}},
	{offsetof(struct config_tenant, max_connections), false, {0, 8192}},
	{offsetof(struct config_tenant, max_requests), false, {0, 1 << 20}},
	{offsetof(struct config_tenant, max_ring_bytes), true, {0, (uint64_t)1 << 40}},
	{offsetof(struct config_tenant, max_prompt_tokens), false, {0, 1 << 24}},
	{offsetof(struct config_tenant, max_output_tokens), false, {0, 1 << 24}},
	{offsetof(struct config_tenant, quota_requests), true, {0, INT64_MAX}},
	{offsetof(struct config_tenant, quota_tokens), true, {0, INT64_MAX}},
};
static const char *const tenant_names[] = {
	"users",
	"weight",
	"max-connections",
	"max-requests",
	"max-ring-bytes",
	"max-prompt-tokens",
	"max-output-tokens",
	"quota-requests",
	"quota-tokens",
};

_Static_assert(N_OF(tenant_keys) == N_OF(tenant_names), "keys of [tenant]");

struct reader {
	struct config *c;
	FILE *from;
	const char *path;
	char *line; /* getline()'s */
	size_t line_size;
	unsigned n_lines;     /* read so far: the number of the present one */
	uint64_t seen;	      /* rows of the table that the file has set */
	uint32_t seen_tenant; /* keys of the present [tenant] */
	bool has_model;	      /* a [model NAME] came */
	bool has_model_file;  /* and its `file` */
	int rc;
	struct error *err;
};

static int fail_near(struct reader *r, const char *what, const char *word, const char *const *names,
		     size_t n)
{
	const char *near = config_value_nearest(word, names, n);

	return error_set(r->err, -EINVAL, "%s:%u: no %s is called \"%s\"%s%s%s", r->path,
			 r->n_lines, what, word, near ? "; did you mean \"" : "", near ? near : "",
			 near ? "\"?" : "");
}

/* "tenant alice" -> "alice"; NULL: the section is another. */
static const char *name_in(const char *section, const char *kind)
{
	size_t n = strlen(kind);

	if (strncmp(section, kind, n) || (section[n] && !isspace((unsigned char)section[n])))
		return NULL;
	section += n;
	while (isspace((unsigned char)*section))
		section++;
	return section;
}

static int open_tenant(struct reader *r, const char *name)
{
	struct config *c = r->c;
	struct config_tenant *grown;

	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return error_set(r->err, -EINVAL,
					 "%s:%u: tenant \"%s\": letters, digits and . _ - only",
					 r->path, r->n_lines, name);
	if (!*name || strlen(name) >= CONFIG_MAX_NAME)
		return error_set(r->err, -EINVAL,
				 "%s:%u: a tenant's name has 1 to %d bytes, not %zu", r->path,
				 r->n_lines, CONFIG_MAX_NAME - 1, strlen(name));
	for (uint32_t i = 0; i < c->n_tenants; i++)
		if (!strcmp(c->tenants[i].name, name))
			return error_set(r->err, -EINVAL, "%s:%u: a second [tenant %s]", r->path,
					 r->n_lines, name);
	if (c->n_tenants == CONFIG_MAX_TENANTS)
		return error_set(r->err, -EINVAL, "%s:%u: more than %d tenants", r->path,
				 r->n_lines, CONFIG_MAX_TENANTS);
	grown = realloc(c->tenants, (c->n_tenants + 1) * sizeof(*grown));
	if (!grown)
		return error_set(r->err, -ENOMEM, "%s:%u: no memory", r->path, r->n_lines);
	c->tenants = grown;
	grown[c->n_tenants] = (struct config_tenant){.weight = 1};
	memcpy(grown[c->n_tenants++].name, name, strlen(name) + 1);
	r->seen_tenant = 0;
	return 0;
}

static int open_model(struct reader *r, const char *name)
{
	if (r->has_model)
		return error_set(r->err, -EINVAL,
				 "%s:%u: a second [model]: this version serves one", r->path,
				 r->n_lines);
	if (!*name || strlen(name) >= sizeof(r->c->model_name))
		return error_set(r->err, -EINVAL,
				 "%s:%u: a model's name has 1 to %zu bytes, not %zu", r->path,
				 r->n_lines, sizeof(r->c->model_name) - 1, strlen(name));
	r->has_model = true;
	memcpy(r->c->model_name, name, strlen(name) + 1);
	return 0;
}

/* A line that begins with '['. */
static int open_section(struct reader *r, const char *line)
{
	size_t len = strcspn(line + 1, "]");
	char name[256];

	if (line[1 + len] != ']' || len >= sizeof(name))
		return error_set(r->err, -EINVAL, "%s:%u: a section without end", r->path,
				 r->n_lines);
	memcpy(name, line + 1, len);
	name[len] = 0;
	if (name_in(name, "tenant"))
		return open_tenant(r, name_in(name, "tenant"));
	if (name_in(name, "model"))
		return open_model(r, name_in(name, "model"));
	for (size_t i = 0; i < 4; i++)
		if (!strcmp(section_names[i], name))
			return 0;
	return fail_near(r, "section", name, section_names, N_OF(section_names));
}

/* inih's reader: the next line without leading blanks (inih would join it to the one before). */
static char *next_line(char *to, int size, void *arg)
{
	struct reader *r = arg;
	ssize_t n = r->rc ? -1 : getline(&r->line, &r->line_size, r->from);
	char *start = r->line;

	if (n < 0)
		return NULL;
	r->n_lines++;
	while (isspace((unsigned char)*start))
		start++;
	n = (ssize_t)strlen(start);
	if (n + 1 >= size) {
		r->rc = error_set(r->err, -EINVAL, "%s:%u: the line has %zd bytes, at most %d",
				  r->path, r->n_lines, n, size - 2);
		return NULL;
	}
	if (*start == '[') {
		r->rc = open_section(r, start);
		if (r->rc)
			return NULL;
	}
	memcpy(to, start, (size_t)n + 1);
	return to;
}

/* One word of `users`: a number or a name of this machine. */
static int add_user(struct reader *r, struct config_tenant *t, const char *word)
{
	struct passwd *user = NULL;
	unsigned long uid;
	char *end;

	if (t->n_uids == CONFIG_MAX_UIDS)
		return error_set(r->err, -EINVAL, "%s:%u: more than %d users", r->path, r->n_lines,
				 CONFIG_MAX_UIDS);
	errno = 0;
	uid = strtoul(word, &end, 10);
	if (*end || errno || *word == '-' || uid >= UINT32_MAX) {
		user = getpwnam(word);
		if (!user)
			return error_set(r->err, -EINVAL, "%s:%u: no user is called \"%s\"",
					 r->path, r->n_lines, word);
		uid = user->pw_uid;
	}
	for (uint32_t i = 0; i < r->c->n_tenants; i++)
		for (uint32_t j = 0; j < r->c->tenants[i].n_uids; j++)
			if (r->c->tenants[i].uids[j] == uid)
				return error_set(r->err, -EINVAL,
						 "%s:%u: user %s belongs to tenant \"%s\" already",
						 r->path, r->n_lines, word, r->c->tenants[i].name);
	t->uids[t->n_uids++] = (uid_t)uid;
	return 0;
}

static int set_users(struct reader *r, struct config_tenant *t, const char *text)
{
	char *copy = strdup(text), *rest = copy;
	int rc = copy ? 0 : error_set(r->err, -ENOMEM, "%s:%u: no memory", r->path, r->n_lines);

	for (char *word = strsep(&rest, " \t,"); word && !rc; word = strsep(&rest, " \t,"))
		if (*word)
			rc = add_user(r, t, word);
	free(copy);
	return rc;
}

static int set_tenant(struct reader *r, const char *key, const char *text)
{
	struct config_tenant *t = &r->c->tenants[r->c->n_tenants - 1];
	char where[512];
	void *field;
	uint64_t v = 0;
	uint32_t k = 0;
	int rc;

	while (k < N_OF(tenant_names) && strcmp(tenant_names[k], key))
		k++;
	if (k == N_OF(tenant_names))
		return fail_near(r, "key of [tenant]", key, tenant_names, N_OF(tenant_names));
	if (r->seen_tenant & 1u << k)
		return error_set(r->err, -EINVAL, "%s:%u: %s is set twice", r->path, r->n_lines,
				 key);
	r->seen_tenant |= 1u << k;
	if (!k)
		return set_users(r, t, text);
	snprintf(where, sizeof(where), "%s:%u: %s", r->path, r->n_lines, key);
	rc = config_value_number(where, text, tenant_keys[k].range, &v, r->err);
	field = (char *)t + tenant_keys[k].off;
	if (!rc && tenant_keys[k].is_u64)
		*(uint64_t *)field = v;
	else if (!rc)
		*(uint32_t *)field = (uint32_t)v;
	return rc;
}

/* A row of the table. */
static int set_row(struct reader *r, int row, const char *text)
{
	size_t n;
	const struct config_option *o = &config_table(&n)[row];
	char where[512];

	if (r->seen & (uint64_t)1 << row)
		return error_set(r->err, -EINVAL, "%s:%u: %s is set twice", r->path, r->n_lines,
				 o->key);
	r->seen |= (uint64_t)1 << row;
	r->c->given |= (uint64_t)1 << row;
	snprintf(where, sizeof(where), "%s:%u: %s", r->path, r->n_lines, o->key);
	return config_value_set(r->c, o, where, text, r->err);
}

static int set_model(struct reader *r, const char *key, const char *text)
{
	static const char *const keys[] = {"file"};

	if (strcmp(key, keys[0]))
		return fail_near(r, "key of [model]", key, keys, N_OF(keys));
	r->has_model_file = true;
	return set_row(r, config_find("engine", "model"), text);
}

static int unknown_key(struct reader *r, const char *section, const char *key)
{
	const char *names[64];
	size_t n, n_names = 0;
	const struct config_option *table = config_table(&n);
	char what[64];
	int row = config_find(NULL, key);

	if (row >= 0)
		return error_set(r->err, -EINVAL, "%s:%u: %s stands in [%s], not in [%s]", r->path,
				 r->n_lines, key, table[row].section, section);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(table[i].section, section))
			names[n_names++] = table[i].key;
	snprintf(what, sizeof(what), "key of [%s]", section);
	return fail_near(r, what, key, names, n_names);
}

/* inih's handler. */
static int set_key(void *arg, const char *section, const char *key, const char *text)
{
	struct reader *r = arg;
	int row;

	if (r->rc)
		return 0;
	if (!*section) {
		r->rc = error_set(r->err, -EINVAL, "%s:%u: %s stands before any section", r->path,
				  r->n_lines, key);
	} else if (name_in(section, "tenant")) {
		r->rc = set_tenant(r, key, text);
	} else if (name_in(section, "model")) {
		r->rc = set_model(r, key, text);
	} else {
		row = config_find(section, key);
		r->rc = row < 0 ? unknown_key(r, section, key) : set_row(r, row, text);
	}
	return !r->rc;
}

int config_file_read(struct config *c, const char *path, struct error *err)
{
	struct reader r = {.c = c, .path = path, .err = err};
	int line;

	r.from = fopen(path, "re");
	if (!r.from)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	line = ini_parse_stream(next_line, &r, set_key, &r);
	if (!r.rc && ferror(r.from))
		r.rc = error_set(err, -EIO, "%s: cannot be read", path);
	if (!r.rc && line)
		r.rc = error_set(err, -EINVAL, "%s:%d: neither a section nor key = value", path,
				 line);
	if (!r.rc && r.has_model && !r.has_model_file)
		r.rc = error_set(err, -EINVAL, "%s: [model %s] has no file", path, c->model_name);
	free(r.line);
	fclose(r.from);
	return r.rc;
}
