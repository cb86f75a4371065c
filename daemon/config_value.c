/* SPDX-License-Identifier: MIT */
/*
 * config_value: one option's text to its field, and the words for when that fails.
 */
#include "daemon/config_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORD 48 /* longest name that a suggestion is looked for */

int config_find(const char *section, const char *key)
{
	size_t n;
	const struct config_option *table = config_table(&n);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(table[i].key, key) && (!section || !strcmp(table[i].section, section)))
			return (int)i;
	return -1;
}

/* Edits (insert, delete, replace) from a to b; both at most MAX_WORD bytes. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(b), row[MAX_WORD + 1];

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n];
}

const char *config_value_nearest(const char *word, const char *const *names, size_t n)
{
	const char *found = NULL;
	size_t best = strlen(word) / 2 + 1;

	if (strlen(word) > MAX_WORD)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t d = strlen(names[i]) > MAX_WORD ? best : distance(word, names[i]);

		if (d < best) {
			best = d;
			found = names[i];
		}
	}
	return found;
}

/* Power of two of a suffix, or -1. */
static int shift_of(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *at;

	if (!*suffix)
		return 0;
	at = suffix[1] ? NULL : strchr(letters, *suffix);
	return at ? 10 * (int)(at - letters + 1) : -1;
}

int config_value_number(const char *where, const char *text, const uint64_t range[2], uint64_t *out,
			struct error *err)
{
	unsigned long long v = 0;
	char *end = NULL;
	int shift;

	errno = 0;
	if (*text >= '0' && *text <= '9')
		v = strtoull(text, &end, 10);
	shift = end ? shift_of(end) : -1;
	if (shift < 0)
		return error_set(err, -EINVAL, "%s: \"%s\" is not a number (K, M, G, T may follow)",
				 where, text);
	if (errno || v > UINT64_MAX >> shift || v << shift < range[0] || v << shift > range[1])
		return error_set(err, -ERANGE, "%s: %s is out of range, %" PRIu64 " to %" PRIu64,
				 where, text, range[0], range[1]);
	*out = v << shift;
	return 0;
}

static int set_bool(bool *out, const char *where, const char *text, struct error *err)
{
	if (strcmp(text, "on") && strcmp(text, "off"))
		return error_set(err, -EINVAL, "%s: \"%s\" is neither on nor off", where, text);
	*out = !strcmp(text, "on");
	return 0;
}

static int set_pin(uint32_t *out, const char *where, const char *text, struct error *err)
{
	static const char *const words[] = {"auto", "off", "on", "require"};

	for (uint32_t i = 0; i < 4; i++) {
		if (!strcmp(words[i], text)) {
			*out = i;
			return 0;
		}
	}
	return error_set(err, -EINVAL, "%s: \"%s\" is none of auto, off, on, require", where, text);
}

static int set_str(char **out, const char *where, const char *text, struct error *err)
{
	char *copy;

	if (!*text)
		return error_set(err, -EINVAL, "%s: empty", where);
	copy = strdup(text);
	if (!copy)
		return error_set(err, -ENOMEM, "%s: no memory", where);
	free(*out);
	*out = copy;
	return 0;
}

static int set_choice(char **out, const struct config_option *o, const char *where,
		      const char *text, struct error *err)
{
	size_t n = strlen(text);

	for (const char *c = o->choices; n && *c;) {
		size_t len = strcspn(c, " ");

		if (len == n && !memcmp(c, text, n))
			return set_str(out, where, text, err);
		c += len + (c[len] == ' ');
	}
	return error_set(err, -EINVAL, "%s: \"%s\" is not one of: %s", where, text, o->choices);
}

static int set_amount(struct config_amount *out, const struct config_option *o, const char *where,
		      const char *text, struct error *err)
{
	const uint64_t bytes[2] = {o->min, o->max}, percent[2] = {1, 100};
	struct config_amount a = {.is_set = true};
	size_t n = strlen(text);
	char number[24];
	uint64_t v = 0;
	int rc;

	if (!n || text[n - 1] != '%') {
		rc = config_value_number(where, text, bytes, &a.bytes, err);
	} else if (n > sizeof(number)) {
		rc = error_set(err, -EINVAL, "%s: \"%s\" is not a share", where, text);
	} else {
		memcpy(number, text, n - 1);
		number[n - 1] = 0;
		rc = config_value_number(where, number, percent, &v, err);
		a.percent = (uint32_t)v;
	}
	if (!rc)
		*out = a;
	return rc;
}

int config_value_set(struct config *c, const struct config_option *o, const char *where,
		     const char *text, struct error *err)
{
	const uint64_t range[2] = {o->min, o->max};
	void *field = (char *)c + o->off;
	uint64_t v;
	int rc;

	switch (o->kind) {
	case CONFIG_BOOL:
		return set_bool(field, where, text, err);
	case CONFIG_PIN:
		return set_pin(field, where, text, err);
	case CONFIG_STR:
		return set_str(field, where, text, err);
	case CONFIG_CHOICE:
		return set_choice(field, o, where, text, err);
	case CONFIG_AMOUNT:
		return set_amount(field, o, where, text, err);
	default:
		break;
	}
	rc = config_value_number(where, text, range, &v, err);
	if (rc)
		return rc;
	if (o->kind == CONFIG_U64)
		*(uint64_t *)field = v;
	else if (o->kind == CONFIG_U32)
		*(uint32_t *)field = (uint32_t)v;
	else
		*(int32_t *)field = (int32_t)v;
	return 0;
}
