/* SPDX-License-Identifier: MIT */
/*
 * spm: see daemon/spm.h. Encoding is called by the tokenizer for each stretch of plain text.
 */
#include "daemon/spm.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/utf8.h"

struct scored {
	double score;
	uint32_t id;
};

static int compare_scores(const void *a, const void *b)
{
	double x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;

	return (x < y) - (x > y);
}

int spm_init(struct spm *s, const struct vocab *v, const struct gguf *g, struct error *err)
{
	const char *key = "tokenizer.ggml.scores";
	struct gguf_array scores;
	struct scored *order;
	int ret;

	*s = (struct spm){.vocab = v};
	ret = gguf_get_array(g, key, GGUF_VALUE_F32, &scores, err);
	if (ret)
		return ret;
	if (scores.n != v->n_tokens)
		return error_set(err, -EINVAL,
				 "%s has %zu elements, the vocabulary %" PRIu32 " tokens", key,
				 scores.n, v->n_tokens);
	s->ranks = malloc(v->n_tokens * sizeof(*s->ranks));
	order = malloc(v->n_tokens * sizeof(*order));
	if (!s->ranks || !order) {
		ret = error_set(err, -ENOMEM, "no memory for %" PRIu32 " scores", v->n_tokens);
		goto out_free;
	}
	for (uint32_t id = 0; id < v->n_tokens; id++) {
		order[id] = (struct scored){gguf_array_f64(&scores, id), id};
		if (isnan(order[id].score)) {
			ret = error_set(err, -EINVAL, "%s: element %" PRIu32 " is not a number",
					key, id);
			goto out_free;
		}
	}
	qsort(order, v->n_tokens, sizeof(*order), compare_scores);
	for (uint32_t i = 0, rank = 0; i < v->n_tokens; i++) {
		rank += i && order[i].score < order[i - 1].score;
		s->ranks[order[i].id] = rank;
	}
out_free:
	free(order);
	if (ret)
		spm_exit(s);
	return ret;
}

void spm_exit(struct spm *s)
{
	free(s->ranks);
	*s = (struct spm){0};
}

static void find(const void *ctx, const char *text, struct merge_symbol *left,
		 const struct merge_symbol *right)
{
	const struct spm *s = ctx;
	uint32_t len = right->end - left->begin, id;

	if (len > s->vocab->longest_bytes)
		return;
	id = symbol_find(&s->vocab->symbols, text + left->begin, len);
	if (id == SYMBOL_NONE)
		return;
	left->rank = s->ranks[id];
	left->joined = id;
}

static int append_bytes(const struct spm *s, const struct gguf_str *bytes,
			struct tokenizer_ids *out)
{
	int ret = 0;

	for (size_t i = 0; i < bytes->len && !ret; i++) {
		uint32_t id = s->vocab->byte_ids[(uint8_t)bytes->data[i]];

		if (id == TOKENIZER_NONE)
			id = s->vocab->unk;
		ret = id == TOKENIZER_NONE ? -EILSEQ : tokenizer_ids_add(out, id);
	}
	return ret;
}

/*
 * The text as the pieces of the vocabulary spell it: U+2581 in it means a space. Returns its
 * bytes.
 */
static size_t normalize(const struct gguf_str *text, bool has_prefix, char *out)
{
	const char *p = text->data, *end = p + text->len;
	size_t n = 0;

	if (has_prefix)
		out[n++] = ' ';
	while (p < end) {
		if (end - p >= 3 && !memcmp(p, "\xe2\x96\x81", 3)) {
			out[n++] = ' ';
			p += 3;
		} else {
			out[n++] = *p++;
		}
	}
	return n;
}

int spm_encode(const struct spm *s, const struct gguf_str *text, struct merge_work *work,
	       struct tokenizer_ids *out)
{
	struct merge_rule rule = {find, s};
	char *normal = malloc(text->len + 1);
	size_t n = normal ? normalize(text, s->vocab->adds_space_prefix, normal) : 0;
	unsigned step;
	int ret = normal ? merge_begin(work, (uint32_t)n) : -ENOMEM;

	if (ret)
		goto out_free;
	for (size_t i = 0; i < n; i += step) {
		step = utf8_char_bytes((const uint8_t *)normal + i, 1);
		merge_add(work, symbol_find(&s->vocab->symbols, normal + i, step), step);
	}
	merge_run(work, &rule, normal);
	for (uint32_t i = 0; i != MERGE_NEVER && !ret; i = work->symbols[i].next) {
		const struct merge_symbol *symbol = &work->symbols[i];
		struct gguf_str bytes = {normal + symbol->begin, symbol->end - symbol->begin};

		if (symbol->symbol != SYMBOL_NONE)
			ret = tokenizer_ids_add(out, symbol->symbol);
		else
			ret = append_bytes(s, &bytes, out);
	}
out_free:
	free(normal);
	return ret;
}
