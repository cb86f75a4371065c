/* SPDX-License-Identifier: MIT */
/*
 * llmeval ppl: perplexity of a text, in the way of llama.cpp's: the text is tokenized as one and
 * cut into windows of -c tokens; of each window only the second half is scored, so that every
 * scored token has at least half a window before it. Where the file asks for BOS, each window's
 * first id is BOS.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/llmeval.h"

struct score {
	const uint32_t *ids; /* of the window */
	uint32_t n_window, n_vocab;
	double nll;	     /* sum of -log p */
	uint64_t n;
};

static void score_row(void *arg, uint32_t row, const float *logits)
{
	struct score *s = arg;

	if (row + 1 == s->n_window)
		return; /* what follows is in the next window */
	s->nll += eval_log_sum(logits, s->n_vocab) - (double)logits[s->ids[row + 1]];
	s->n++;
}

/* The whole file; NULL with err. */
static char *read_text(const char *path, size_t *n, struct error *err)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	long size = -1;

	if (f && !fseek(f, 0, SEEK_END))
		size = ftell(f);
	if (size >= 0) {
		rewind(f);
		text = malloc((size_t)size + 1);
	}
	if (text) {
		*n = fread(text, 1, (size_t)size, f);
		if (*n != (size_t)size) {
			free(text);
			text = NULL;
		}
	}
	if (!text)
		error_set(err, -EIO, "%s cannot be read: %s", path, strerror(errno ? errno : EIO));
	if (f)
		fclose(f);
	return text;
}

static int tokenize(const struct eval_options *o, const struct eval_model *m,
		    struct tokenizer_ids *ids, struct error *err)
{
	struct tokenizer_input in = { .flags = TOKENIZER_ADD_BOS };
	size_t n = 0;
	char *text = read_text(o->text, &n, err);
	int rc;

	if (!text)
		return -EIO;
	in.text = text;
	in.len = n;
	rc = tokenizer_encode(eval_tokenizer(m), &in, ids, err);
	free(text);
	return rc;
}

static void progress(const struct eval_options *o, uint32_t window, uint32_t n_windows,
		     const struct score *s)
{
	if (!o->is_terminal)
		return;
	fputs("\r\033[K", stderr);
	if (window < n_windows)
		fprintf(stderr, "window %" PRIu32 " of %" PRIu32 ", perplexity %.3f", window + 1,
			n_windows, s->n ? exp(s->nll / (double)s->n) : 0);
}

static int score_windows(const struct eval_options *o, struct eval_model *m,
			 struct tokenizer_ids *ids, uint32_t n_windows)
{
	const uint32_t bos = tokenizer_bos(eval_tokenizer(m));
	struct score s = { .n_window = o->n_window, .n_vocab = eval_n_vocab(m) };

	for (uint32_t i = 0; i < n_windows; i++) {
		uint32_t *window = ids->ids + (size_t)i * o->n_window;
		const struct eval_rows rows = { .ids = window, .n_ids = o->n_window,
						.first = o->n_window / 2, .fn = score_row,
						.arg = &s };
		int rc;

		progress(o, i, n_windows, &s);
		if (tokenizer_adds_bos(eval_tokenizer(m)) && bos != TOKENIZER_NONE)
			window[0] = bos;
		s.ids = window;
		rc = eval_rows(m, &rows);
		if (rc) {
			fprintf(stderr, "llmeval: window %" PRIu32 ": %s\n", i, strerror(-rc));
			return 1;
		}
	}
	progress(o, n_windows, n_windows, &s);
	if (o->wants_json)
		printf("{\"ppl\":%.4f,\"windows\":%" PRIu32 ",\"tokens\":%" PRIu64 "}\n",
		       exp(s.nll / (double)s.n), n_windows, s.n);
	else
		printf("perplexity %.4f over %" PRIu32 " windows of %" PRIu32 ", %" PRIu64
		       " tokens scored\n", exp(s.nll / (double)s.n), n_windows, o->n_window, s.n);
	return 0;
}

int eval_ppl(const struct eval_options *o)
{
	struct tokenizer_ids ids = { 0 };
	struct eval_model *m = NULL;
	struct error err = { 0 };
	size_t n_windows;
	int rc = eval_open(o, o->n_window, &m, &err);

	if (!rc)
		rc = tokenize(o, m, &ids, &err);
	n_windows = ids.n / o->n_window;
	if (!rc && n_windows < (o->n_chunks ? o->n_chunks : 1))
		rc = error_set(&err, -EINVAL, "%s has %zu tokens, %u windows of %u need %zu",
			       o->text, ids.n, o->n_chunks ? o->n_chunks : 1, o->n_window,
			       (size_t)(o->n_chunks ? o->n_chunks : 1) * o->n_window);
	if (rc) {
		fprintf(stderr, "llmeval: %s\n", err.text);
		rc = 1;
	} else {
		rc = score_windows(o, m, &ids, o->n_chunks ? o->n_chunks : (uint32_t)n_windows);
	}
	tokenizer_ids_exit(&ids);
	if (m)
		eval_close(m);
	return rc;
}
