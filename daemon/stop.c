/* SPDX-License-Identifier: MIT */
/*
 * stop: see daemon/stop.h.
 *
 * Each string keeps `matched`: the length of its longest beginning that ends the stream here. When
 * it reaches the whole string, the stop is found. The largest `matched` is what must be held back.
 * fail[i]: length of the longest proper beginning of the string that also ends its first i + 1
 * bytes.
 */
#include "daemon/stop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct stop_string {
	char *text;	  /* [len] */
	uint8_t *fail;	  /* [len] */
	uint32_t len;	  /* bytes */
	uint32_t matched; /* bytes, < len between feeds */
};

struct stop_set {
	struct stop_string strings[LLM_MAX_STOPS];
	uint32_t n;
};

_Static_assert(LLM_MAX_STOP_LEN <= 256, "fail[] holds lengths below LLM_MAX_STOP_LEN in a byte");

int stop_create(struct stop_set **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void stop_destroy(struct stop_set *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		free(s->strings[i].text);
	free(s);
}

/* The longest beginning after byte c, given that `matched` bytes of it stood before c. */
static uint32_t advance(const struct stop_string *p, uint32_t matched, char c)
{
	while (matched && p->text[matched] != c)
		matched = p->fail[matched - 1];
	return matched + (p->text[matched] == c);
}

int stop_add(struct stop_set *s, const char *text, uint32_t len)
{
	struct stop_string *p = &s->strings[s->n];

	if (!len || len > LLM_MAX_STOP_LEN)
		return -EINVAL;
	if (s->n == LLM_MAX_STOPS)
		return -ENOSPC;
	p->text = malloc(2 * (size_t)len);
	if (!p->text)
		return -ENOMEM;
	memcpy(p->text, text, len);
	p->fail = (uint8_t *)p->text + len;
	p->len = len;
	p->matched = 0;
	p->fail[0] = 0;
	for (uint32_t i = 1; i < len; i++)
		p->fail[i] = (uint8_t)advance(p, p->fail[i - 1], text[i]);
	s->n++;
	return 0;
}

uint32_t stop_count(const struct stop_set *s)
{
	return s->n;
}

void stop_reset(struct stop_set *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		s->strings[i].matched = 0;
}

void stop_feed(struct stop_set *s, const char *text, size_t len, struct stop_result *out)
{
	*out = (struct stop_result){0};
	while (out->n_taken < len && !out->is_stopped) {
		char c = text[out->n_taken++];

		out->n_held = 0;
		for (uint32_t i = 0; i < s->n; i++) {
			struct stop_string *p = &s->strings[i];
			bool is_whole;

			p->matched = advance(p, p->matched, c);
			is_whole = p->matched == p->len;
			/* A whole one beats any beginning; among equals the longest counts. */
			if (is_whole && !out->is_stopped)
				out->n_held = 0;
			if ((is_whole || !out->is_stopped) && p->matched > out->n_held)
				out->n_held = p->matched;
			out->is_stopped |= is_whole;
		}
	}
	if (len)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->strings[i].matched > out->n_held)
			out->n_held = s->strings[i].matched;
}
