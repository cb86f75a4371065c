/* SPDX-License-Identifier: MIT */
/*
 * mkmodel: a byte-level BPE vocabulary in which every text has tokens.
 *
 * 0 <|unk|>, 1 <|bos|>, 2 <|eos|>, then the 256 bytes in the letters that GPT-2's vocabulary writes
 * them with, then merges of letters and the blank: common English pairs first, random ones after.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mkmodel.h"

#define TOKEN_BYTES 40
#define MAX_PIECE 12 /* bytes of a token that is merged further */

struct vocab {
	char **tokens;
	char **merges;
	int32_t *types;
	uint32_t n, n_merges;
};

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3 };

static void add(struct vocab *v, const char *token, int32_t type)
{
	v->types[v->n] = type;
	v->tokens[v->n++] = strdup(token);
}

static int has(const struct vocab *v, const char *token)
{
	for (uint32_t i = 0; i < v->n; i++)
		if (!strcmp(v->tokens[i], token))
			return 1;
	return 0;
}

/* Printable Latin-1 is written as itself, the other bytes as U+0100 and up, in their order. */
static void add_bytes(struct vocab *v)
{
	unsigned int next = 256;

	for (unsigned int b = 0; b < 256; b++) {
		const int is_plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD);
		const unsigned int c = is_plain ? b : next++;
		char token[3] = { (char)c };

		if (c >= 0x80) {
			token[0] = (char)(0xC0 | c >> 6);
			token[1] = (char)(0x80 | (c & 63));
		}
		add(v, token, TYPE_NORMAL);
	}
}

static void add_merge(struct vocab *v, const char *a, const char *b)
{
	char token[TOKEN_BYTES], merge[TOKEN_BYTES + 1];

	snprintf(token, sizeof(token), "%s%s", a, b);
	if (has(v, token))
		return;
	snprintf(merge, sizeof(merge), "%s %s", a, b);
	v->merges[v->n_merges++] = strdup(merge);
	add(v, token, TYPE_NORMAL);
}

void vocab_write(struct gguf_writer *w, uint32_t n, uint64_t seed)
{
	static const char blank[] = "\xC4\xA0"; /* U+0120, GPT-2's letter for the blank */
	static const char *const pairs[][2] = {
		{ blank, "t" }, { blank, "a" }, { "h", "e" }, { "i", "n" }, { "r", "e" },
		{ "o", "n" }, { "\xC4\xA0t", "he" }, { "e", "r" }, { blank, "s" }, { "a", "t" },
	};
	struct vocab v = {
		.tokens = calloc(n, sizeof(char *)), .merges = calloc(n, sizeof(char *)),
		.types = calloc(n, sizeof(int32_t)),
	};

	if (!v.tokens || !v.merges || !v.types)
		abort();
	add(&v, "<|unk|>", TYPE_UNKNOWN);
	add(&v, "<|bos|>", TYPE_CONTROL);
	add(&v, "<|eos|>", TYPE_CONTROL);
	add_bytes(&v);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs) && v.n < n; i++)
		add_merge(&v, pairs[i][0], pairs[i][1]);
	while (v.n < n) {
		/* A letter, or a token merged before, and a letter. */
		const uint32_t n_merged = v.n - VOCAB_MIN;
		const uint64_t pick = random_next(&seed);
		const char a[2] = { (char)('a' + pick % 26) };
		const char b[2] = { (char)('a' + pick / 26 % 26) };
		const char *old = v.tokens[VOCAB_MIN + pick / 676 % n_merged];

		add_merge(&v, pick >> 63 && strlen(old) < MAX_PIECE ? old : a, b);
	}
	writer_str(w, "tokenizer.ggml.model", "gpt2");
	writer_str(w, "tokenizer.ggml.pre", "gpt-2");
	writer_strs(w, "tokenizer.ggml.tokens", v.tokens, v.n);
	writer_i32s(w, "tokenizer.ggml.token_type", v.types, v.n);
	writer_strs(w, "tokenizer.ggml.merges", v.merges, v.n_merges);
	writer_u32(w, "tokenizer.ggml.unknown_token_id", 0);
	writer_u32(w, "tokenizer.ggml.bos_token_id", 1);
	writer_u32(w, "tokenizer.ggml.eos_token_id", 2);
	writer_bool(w, "tokenizer.ggml.add_bos_token", 1);
	for (uint32_t i = 0; i < v.n; i++)
		free(v.tokens[i]);
	for (uint32_t i = 0; i < v.n_merges; i++)
		free(v.merges[i]);
	free(v.tokens);
	free(v.merges);
	free(v.types);
}
