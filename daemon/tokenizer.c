/* SPDX-License-Identifier: MIT */
/*
 * tokenizer: puts the parts together, see daemon/tokenizer.h.
 *
 * Encoding cuts the text at the tokens that stand in it literally and gives each stretch between
 * them to bpe (through the pre-tokenizer) or to spm. Called by intake on the heart's thread, by
 * tools and tests on theirs.
 */
#include "daemon/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bpe.h"
#include "daemon/literal.h"
#include "daemon/pretokenizer.h"
#include "daemon/spm.h"
#include "daemon/utf8.h"
#include "daemon/vocab.h"

struct tokenizer {
	struct vocab vocab;
	struct literal_set literals;
	struct pretokenizer *pretokenizer; /* BPE alone */
	struct bpe bpe;			   /* BPE alone */
	struct spm spm;			   /* SPM alone */
	char kind[32];
	char note[160]; /* empty: nothing to say */
};

/* One call of tokenizer_encode(). */
struct encoding {
	const struct tokenizer *t;
	struct merge_work work;
	struct tokenizer_ids *out;
};

static int read_kind(const struct gguf *g, enum vocab_kind *kind, struct error *err)
{
	const char *key = "tokenizer.ggml.model";
	struct gguf_str s;
	int ret = gguf_get_str(g, key, &s, err);

	if (ret)
		return ret;
	if (s.len == 4 && !memcmp(s.data, "gpt2", 4))
		*kind = VOCAB_BPE;
	else if (s.len == 5 && !memcmp(s.data, "llama", 5))
		*kind = VOCAB_SPM;
	else
		return error_set(err, -ENOTSUP, "%s is %.*s, known are: gpt2 llama", key,
				 s.len > 40 ? 40 : (int)s.len, s.data);
	return 0;
}

static int create_pretokenizer(struct tokenizer *t, const struct gguf *g, struct error *err)
{
	struct gguf_str name = {"default", 7};
	int ret = 0;

	if (gguf_get_type(g, "tokenizer.ggml.pre") != -ENOENT)
		ret = gguf_get_str(g, "tokenizer.ggml.pre", &name, err);
	else
		snprintf(t->note, sizeof(t->note),
			 "tokenizer.ggml.pre is missing: the pre-tokenizer \"default\" is used, "
			 "text "
			 "may be cut otherwise than in training");
	if (ret)
		return ret;
	ret = pretokenizer_create(&name, &t->pretokenizer, err);
	if (ret)
		return ret;
	snprintf(t->kind, sizeof(t->kind), "BPE %s", pretokenizer_traits(t->pretokenizer)->name);
	if (!t->note[0] && !pretokenizer_is_compiled(t->pretokenizer))
		snprintf(t->note, sizeof(t->note),
			 "PCRE2 may not compile to machine code here: "
			 "tokenizing is slower");
	return 0;
}

static int fill(struct tokenizer *t, const struct gguf *g, struct error *err)
{
	struct vocab_defaults defaults = {0};
	int ret = read_kind(g, &defaults.kind, err);

	if (ret)
		return ret;
	if (defaults.kind == VOCAB_BPE) {
		ret = create_pretokenizer(t, g, err);
		if (ret)
			return ret;
		defaults.adds_bos = pretokenizer_traits(t->pretokenizer)->adds_bos;
	} else {
		defaults.adds_bos = true;
		snprintf(t->kind, sizeof(t->kind), "SPM");
	}
	ret = vocab_init(&t->vocab, g, &defaults, err);
	if (ret)
		return ret;
	if (literal_set_init(&t->literals, &t->vocab))
		return error_set(err, -ENOMEM, "no memory for the vocabulary");
	if (defaults.kind == VOCAB_BPE) {
		ret = bpe_init(&t->bpe, &t->vocab, g, err);
		t->bpe.ignores_merges = pretokenizer_traits(t->pretokenizer)->ignores_merges;
		return ret;
	}
	return spm_init(&t->spm, &t->vocab, g, err);
}

int tokenizer_create(const struct gguf *g, struct tokenizer **out, struct error *err)
{
	struct tokenizer *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return error_set(err, -ENOMEM, "no memory for a tokenizer");
	ret = fill(t, g, err);
	if (ret) {
		tokenizer_destroy(t);
		return ret;
	}
	*out = t;
	return 0;
}

void tokenizer_destroy(struct tokenizer *t)
{
	if (!t)
		return;
	spm_exit(&t->spm);
	bpe_exit(&t->bpe);
	literal_set_exit(&t->literals);
	vocab_exit(&t->vocab);
	pretokenizer_destroy(t->pretokenizer);
	free(t);
}

int tokenizer_ids_add(struct tokenizer_ids *ids, uint32_t id)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap ? 2 * ids->cap : 64;
		uint32_t *grown = realloc(ids->ids, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ids->ids = grown;
		ids->cap = cap;
	}
	ids->ids[ids->n++] = id;
	return 0;
}

void tokenizer_ids_exit(struct tokenizer_ids *ids)
{
	free(ids->ids);
	*ids = (struct tokenizer_ids){0};
}

static int take_piece(void *ctx, const char *piece, size_t len)
{
	struct encoding *e = ctx;
	struct gguf_str s = {piece, len};

	return bpe_encode(&e->t->bpe, &s, &e->work, e->out);
}

/* A stretch of plain text: the whole of it, or what lies between literal tokens. */
static int encode_plain(struct encoding *e, const struct gguf_str *text, struct error *err)
{
	struct pretokenizer_sink sink = {take_piece, e};

	if (!text->len)
		return 0;
	if (e->t->vocab.kind == VOCAB_SPM)
		return spm_encode(&e->t->spm, text, &e->work, e->out);
	return pretokenizer_split(e->t->pretokenizer, text, &sink, err);
}

static int encode(struct encoding *e, const struct tokenizer_input *in, struct error *err)
{
	const bool is_special = in->flags & TOKENIZER_PARSE_SPECIAL;
	const struct gguf_str text = {in->text, in->len};
	struct literal_match match;
	size_t done = 0;
	int ret = 0;

	if ((in->flags & TOKENIZER_ADD_BOS) && e->t->vocab.adds_bos)
		ret = tokenizer_ids_add(e->out, e->t->vocab.bos);
	while (!ret && literal_find(&e->t->literals, &text, done, is_special, &match)) {
		struct gguf_str before = {in->text + done, match.begin - done};

		ret = encode_plain(e, &before, err);
		if (!ret)
			ret = tokenizer_ids_add(e->out, match.id);
		done = match.end;
	}
	if (!ret && done < in->len) {
		struct gguf_str rest = {in->text + done, in->len - done};

		ret = encode_plain(e, &rest, err);
	}
	return ret;
}

int tokenizer_encode(const struct tokenizer *t, const struct tokenizer_input *in,
		     struct tokenizer_ids *out, struct error *err)
{
	struct encoding e = {.t = t, .out = out};
	size_t n_before = out->n, valid;
	int ret;

	if (in->len > TOKENIZER_TEXT_MAX)
		return error_set(err, -E2BIG, "text has %zu bytes, at most %u supported", in->len,
				 TOKENIZER_TEXT_MAX);
	valid = utf8_valid_bytes(in->text, in->len);
	if (valid < in->len)
		return error_set(err, -EILSEQ, "text of %zu bytes is no UTF-8: byte %zu is 0x%02x",
				 in->len, valid, (uint8_t)in->text[valid]);
	ret = encode(&e, in, err);
	merge_work_exit(&e.work);
	if (!ret)
		return 0;
	out->n = n_before;
	if (ret == -ENOMEM)
		return error_set(err, ret, "no memory to tokenize %zu bytes", in->len);
	if (ret == -EILSEQ)
		return error_set(err, ret,
				 "text of %zu bytes has one that the vocabulary of %u "
				 "tokens has no token for",
				 in->len, t->vocab.n_tokens);
	return ret;
}

uint32_t tokenizer_n_tokens(const struct tokenizer *t)
{
	return t->vocab.n_tokens;
}

uint32_t tokenizer_bos(const struct tokenizer *t)
{
	return t->vocab.bos;
}

uint32_t tokenizer_eos(const struct tokenizer *t)
{
	return t->vocab.eos;
}

uint32_t tokenizer_eot(const struct tokenizer *t)
{
	return t->vocab.eot;
}

uint32_t tokenizer_unk(const struct tokenizer *t)
{
	return t->vocab.unk;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
	return t->vocab.adds_bos;
}

bool tokenizer_adds_eos(const struct tokenizer *t)
{
	return t->vocab.adds_eos;
}

bool tokenizer_is_eog(const struct tokenizer *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->vocab.n_eog; i++) {
		if (t->vocab.eog[i] == id)
			return true;
	}
	return false;
}

const uint32_t *tokenizer_eog_ids(const struct tokenizer *t, uint32_t *n)
{
	*n = t->vocab.n_eog;
	return t->vocab.eog;
}

bool tokenizer_is_control(const struct tokenizer *t, uint32_t id)
{
	return id < t->vocab.n_tokens && vocab_is_control(&t->vocab, id);
}

bool tokenizer_is_shown(const struct tokenizer *t, uint32_t id)
{
	return id < t->vocab.n_tokens && !vocab_is_control(&t->vocab, id) &&
	       t->vocab.types[id] != VOCAB_UNUSED;
}

const char *tokenizer_piece(const struct tokenizer *t, uint32_t id, uint32_t *len)
{
	return id < t->vocab.n_tokens ? symbol_text(&t->vocab.symbols, id, len) : NULL;
}

uint32_t tokenizer_longest(const struct tokenizer *t)
{
	return t->vocab.longest_bytes;
}

const char *tokenizer_kind(const struct tokenizer *t)
{
	return t->kind;
}

const char *tokenizer_note(const struct tokenizer *t)
{
	return t->note[0] ? t->note : NULL;
}
