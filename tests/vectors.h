/* SPDX-License-Identifier: MIT */
/*
 * vectors: runs llama.cpp's conformance vectors against a tokenizer.
 *
 * Beside NAME.gguf lie NAME.gguf.inp, texts that each end with a line `__ggml_vocab_test__`, and
 * NAME.gguf.out, a line of ids for each text; without BOS, nothing special parsed. Included by the
 * tests that check vocabularies.
 */
#ifndef DEVLLM_VECTORS_H
#define DEVLLM_VECTORS_H

#include "daemon/detokenizer.h"
#include "daemon/tokenizer.h"
#include "tests/test.h"

#define VECTORS_MARK "\n__ggml_vocab_test__\n"

/* A whole file, terminated; NULL if it cannot be read. */
static inline char *vectors_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	long size;

	if (!f)
		return NULL;
	if (!fseek(f, 0, SEEK_END)) {
		size = ftell(f);
		rewind(f);
		text = size < 0 ? NULL : malloc((size_t)size + 1);
		*len = text ? fread(text, 1, (size_t)size, f) : 0;
		if (text)
			text[*len] = 0;
	}
	fclose(f);
	return text;
}

/* The tokenizer of a file; NULL with a failed check. */
static inline struct tokenizer *vectors_open(const char *path)
{
	struct tokenizer *t = NULL;
	struct error err = {0};
	struct gguf *g = NULL;
	int ret = gguf_open(path, &g, &err);

	if (!ret)
		ret = tokenizer_create(g, &t, &err);
	if (ret)
		fprintf(stderr, "%s: %s\n", path, err.text);
	CHECK_EQ(ret, 0);
	gguf_close(g);
	return t;
}

/* The text of ids, terminated; the caller frees it. */
static inline char *vectors_text(const struct tokenizer *t, const struct tokenizer_ids *ids,
				 size_t *len)
{
	char *text = malloc((ids->n + 1) * DETOKENIZER_PUSH_MAX + 1);
	size_t n, cap = DETOKENIZER_PUSH_MAX;
	struct detokenizer *d = NULL;

	*len = 0;
	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	for (size_t i = 0; i < ids->n; i++) {
		CHECK_EQ(detokenizer_push(d, ids->ids[i], text + *len, cap, &n), 0);
		*len += n;
	}
	CHECK_EQ(detokenizer_flush(d, text + *len, cap, &n), 0);
	*len += n;
	text[*len] = 0;
	detokenizer_destroy(d);
	return text;
}

/* One text against one line of ids; then back again. */
static inline void vectors_case(const struct tokenizer *t, const struct gguf_str *text,
				const char *line, bool is_spm)
{
	struct tokenizer_input in = {.text = text->data, .len = text->len};
	struct tokenizer_ids got = {0};
	struct error err = {0};
	bool is_equal = true;
	size_t n = 0, len;
	char *end, *back;

	CHECK_EQ(tokenizer_encode(t, &in, &got, &err), 0);
	for (const char *p = line;; p = end, n++) {
		unsigned long id = strtoul(p, &end, 10);

		if (end == p)
			break;
		is_equal &= n < got.n && got.ids[n] == id;
	}
	is_equal &= n == got.n;
	CHECK(is_equal);
	if (!is_equal) {
		fprintf(stderr, "text: %.*s\nexpected:%s\n     got:", (int)text->len, text->data,
			line);
		for (size_t i = 0; i < got.n; i++)
			fprintf(stderr, " %u", got.ids[i]);
		fprintf(stderr, "\n");
	}
	back = vectors_text(t, &got, &len);
	is_spm &= text->len > 0;
	CHECK_EQ(len, text->len + is_spm);
	CHECK(len == text->len + is_spm && !memcmp(back + is_spm, text->data, text->len));
	CHECK(!is_spm || back[0] == ' ');
	free(back);
	tokenizer_ids_exit(&got);
}

/* All vectors of one vocabulary. Returns how many there were. */
static inline unsigned vectors_run(const char *dir, const char *name)
{
	char path[3][4400];
	size_t n_inp = 0, n_out = 0;
	char *inp, *out, *line, *rest;
	struct tokenizer *t;
	unsigned n = 0;

	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), "%s/ggml-vocab-%s.gguf%s", dir, name,
			 (const char *[]){"", ".inp", ".out"}[i]);
	inp = vectors_read(path[1], &n_inp);
	out = vectors_read(path[2], &n_out);
	t = vectors_open(path[0]);
	CHECK(inp && out && t);
	rest = inp;
	line = out && inp && t ? out : NULL;
	while (line && rest < inp + n_inp) {
		char *mark = strstr(rest, VECTORS_MARK), *newline = strchr(line, '\n');
		struct gguf_str text = {rest, mark ? (size_t)(mark - rest) : 0};

		CHECK(mark && newline);
		if (!mark || !newline)
			break;
		*newline = 0;
		vectors_case(t, &text, line, !strcmp(tokenizer_kind(t), "SPM"));
		line = newline + 1;
		rest = mark + strlen(VECTORS_MARK);
		n++;
	}
	printf("%s: %u texts, %s\n", name, n, t ? tokenizer_kind(t) : "-");
	tokenizer_destroy(t);
	free(out);
	free(inp);
	return n;
}

#endif
