/* SPDX-License-Identifier: MIT */
/*
 * literal: see daemon/literal.h. Called by the tokenizer for each text.
 */
#include "daemon/literal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/tokenizer.h"

static bool is_literal(const struct vocab *v, uint32_t id)
{
	return vocab_is_control(v, id) || v->types[id] == VOCAB_USER_DEFINED;
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct vocab *v = ctx;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b, n_x, n_y;
	const char *s = symbol_text(&v->symbols, x, &n_x), *t = symbol_text(&v->symbols, y, &n_y);
	int order = memcmp(s, t, n_x < n_y ? n_x : n_y);

	if (!order)
		order = (n_x > n_y) - (n_x < n_y);
	return order ? order : (x > y) - (x < y);
}

int literal_set_init(struct literal_set *set, const struct vocab *v)
{
	uint32_t n = 0;

	*set = (struct literal_set){.vocab = v};
	for (uint32_t id = 0; id < v->n_tokens; id++)
		n += is_literal(v, id);
	set->ids = malloc(n ? n * sizeof(*set->ids) : 1);
	if (!set->ids)
		return -ENOMEM;
	for (uint32_t id = 0; id < v->n_tokens; id++) {
		const char *text;
		uint32_t len;

		if (!is_literal(v, id))
			continue;
		text = symbol_text(&v->symbols, id, &len);
		if (!len)
			continue;
		set->ids[set->n++] = id;
		set->begins[1][(uint8_t)*text] = true;
		set->begins[0][(uint8_t)*text] |= !vocab_is_control(v, id);
	}
	qsort_r(set->ids, set->n, sizeof(*set->ids), compare, (void *)(uintptr_t)v);
	return 0;
}

void literal_set_exit(struct literal_set *set)
{
	free(set->ids);
	*set = (struct literal_set){0};
}

/* The first of ids [lo, hi) whose byte `depth` is at least b; all have the same bytes before. */
static uint32_t first_at_least(const struct literal_set *set, uint32_t lo, uint32_t hi,
			       size_t depth, unsigned b)
{
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2, len;
		const char *text = symbol_text(&set->vocab->symbols, set->ids[mid], &len);

		if ((uint8_t)text[depth] < b)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The longest spelling that the n bytes at p begin with; its bytes in *n_match. */
static uint32_t longest_at(const struct literal_set *set, const char *p, size_t n, bool is_special,
			   size_t *n_match)
{
	uint32_t lo = 0, hi = set->n, best = TOKENIZER_NONE;

	for (size_t depth = 0;; depth++) {
		uint32_t len = 0;

		while (lo < hi) {
			symbol_text(&set->vocab->symbols, set->ids[lo], &len);
			if (len > depth)
				break;
			if (is_special || !vocab_is_control(set->vocab, set->ids[lo])) {
				best = set->ids[lo];
				*n_match = depth;
			}
			lo++;
		}
		if (lo == hi || depth == n)
			return best;
		lo = first_at_least(set, lo, hi, depth, (uint8_t)p[depth]);
		hi = first_at_least(set, lo, hi, depth, (uint8_t)p[depth] + 1u);
	}
}

bool literal_find(const struct literal_set *set, const struct gguf_str *text, size_t from,
		  bool is_special, struct literal_match *out)
{
	for (size_t at = from; at < text->len; at++) {
		size_t n = 0;
		uint32_t id;

		if (!set->begins[is_special][(uint8_t)text->data[at]])
			continue;
		id = longest_at(set, text->data + at, text->len - at, is_special, &n);
		if (id == TOKENIZER_NONE)
			continue;
		*out = (struct literal_match){at, at + n, id};
		return true;
	}
	return false;
}
