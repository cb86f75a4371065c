/* SPDX-License-Identifier: MIT */
/*
 * vocab: reads the tokens of a GGUF file, see daemon/vocab.h. Their special roles are read by
 * daemon/vocab_special.c. Called at load by the tokenizer.
 */
#include "daemon/vocab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/byte_alphabet.h"
#include "daemon/tokenizer.h"
#include "daemon/utf8.h"

/* Every character of the byte alphabet takes at most two bytes. */
#define SPELLING_MAX (2 * TOKENIZER_TOKEN_TEXT_MAX)

/* An ill-formed byte becomes three when it is shown, so such pieces may be a third as long. */
#define ILL_FORMED_MAX (TOKENIZER_TOKEN_TEXT_MAX / 3)

#define SPM_SPACE "\xe2\x96\x81" /* U+2581 */

/* A token between the file and the table. */
struct reading {
	struct vocab *v;
	uint32_t id;
	enum vocab_type type;
	struct gguf_str text; /* as in the file */
	char piece[SPELLING_MAX];
	size_t n_piece;	  /* bytes */
	bool is_joinable; /* may be the outcome of joining plain text */
	struct error *err;
};

static void take_text(struct reading *r)
{
	memcpy(r->piece, r->text.data, r->text.len);
	r->n_piece = r->text.len;
	r->is_joinable = false;
}

/* "<0x0A>" */
static int take_byte(struct reading *r)
{
	char text[7] = "", *end;
	unsigned long byte;

	if (r->text.len != 6 || memcmp(r->text.data, "<0x", 3) || r->text.data[5] != '>')
		return error_set(r->err, -EINVAL,
				 "token %" PRIu32
				 " is of type BYTE, its text of %zu bytes is not <0xNN>",
				 r->id, r->text.len);
	memcpy(text, r->text.data, 5);
	byte = strtoul(text + 3, &end, 16);
	if (end != text + 5)
		return error_set(r->err, -EINVAL,
				 "token %" PRIu32 " is of type BYTE, %s> is not <0xNN>", r->id,
				 text);
	r->piece[0] = (char)byte;
	r->n_piece = 1;
	r->is_joinable = false;
	r->v->byte_ids[byte] = r->id;
	return 0;
}

/* A spelling outside the byte alphabet is an added token that the file calls ordinary. */
static void take_spelling(struct reading *r)
{
	int n = byte_alphabet_decode(r->text.data, r->text.len, r->piece);

	if (n < 0) {
		take_text(r);
		return;
	}
	r->n_piece = (size_t)n;
}

/* A literal space never stands in the text that is joined: there it is U+2581. */
static void take_spm(struct reading *r)
{
	const char *p = r->text.data, *end = p + r->text.len;

	r->n_piece = 0;
	while (p < end) {
		if (end - p >= 3 && !memcmp(p, SPM_SPACE, 3)) {
			r->piece[r->n_piece++] = ' ';
			p += 3;
			continue;
		}
		r->is_joinable &= *p != ' ';
		r->piece[r->n_piece++] = *p++;
	}
}

/* From text and type to the piece. */
static int take(struct reading *r)
{
	if (r->text.len > SPELLING_MAX)
		return error_set(r->err, -EINVAL,
				 "token %" PRIu32 ": text of %zu bytes, at most %u supported",
				 r->id, r->text.len, TOKENIZER_TOKEN_TEXT_MAX);
	r->is_joinable = r->text.len > 0;
	if (r->type == VOCAB_BYTE)
		return take_byte(r);
	if (r->type == VOCAB_CONTROL || r->type == VOCAB_UNKNOWN || r->type == VOCAB_USER_DEFINED)
		take_text(r);
	else if (r->v->kind == VOCAB_BPE)
		take_spelling(r);
	else
		take_spm(r);
	return 0;
}

static int check_length(const struct reading *r)
{
	size_t n = r->v->kind == VOCAB_SPM && r->text.len > r->n_piece ? r->text.len : r->n_piece;

	if (n > TOKENIZER_TOKEN_TEXT_MAX)
		return error_set(r->err, -EINVAL,
				 "token %" PRIu32 ": text of %zu bytes, at most %u supported",
				 r->id, n, TOKENIZER_TOKEN_TEXT_MAX);
	if (r->n_piece > ILL_FORMED_MAX && utf8_valid_bytes(r->piece, r->n_piece) != r->n_piece)
		return error_set(r->err, -EINVAL,
				 "token %" PRIu32
				 ": %zu bytes that are no UTF-8, at most %u supported",
				 r->id, r->n_piece, ILL_FORMED_MAX);
	if (n > r->v->longest_bytes)
		r->v->longest_bytes = (uint32_t)n;
	return 0;
}

static int store(const struct reading *r)
{
	struct symbol_table *symbols = &r->v->symbols;
	int ret = symbol_add(symbols, r->piece, r->n_piece);

	r->v->types[r->id] = (uint8_t)r->type;
	if (!ret && r->is_joinable)
		ret = symbol_index(symbols, r->id);
	if (ret)
		return error_set(r->err, ret, "no memory for token %" PRIu32, r->id);
	return 0;
}

/* Where the types are; without the key every token is an ordinary one. */
static int find_types(const struct vocab *v, const struct gguf *g, struct gguf_array *types,
		      struct error *err)
{
	const char *key = "tokenizer.ggml.token_type";
	int ret = gguf_get_array(g, key, GGUF_VALUE_I32, types, err);

	if (ret == -ENOENT && v->kind == VOCAB_BPE)
		return 0;
	if (ret)
		return ret;
	if (types->n != v->n_tokens)
		return error_set(err, -EINVAL,
				 "%s has %zu elements, the vocabulary %" PRIu32 " tokens", key,
				 types->n, v->n_tokens);
	return 0;
}

static int read_tokens(struct vocab *v, const struct gguf *g, const struct gguf_array *tokens,
		       struct error *err)
{
	struct gguf_array types = {0};
	struct reading r = {.v = v, .err = err};
	size_t pos = 0;
	int ret = find_types(v, g, &types, err);

	while (!ret && r.id < v->n_tokens) {
		int64_t type = types.n ? gguf_array_i64(&types, r.id) : VOCAB_NORMAL;

		if (type < 0 || type >= VOCAB_TYPES)
			return error_set(err, -EINVAL,
					 "token %" PRIu32 " has type %" PRId64 ", 0 to %d expected",
					 r.id, type, VOCAB_TYPES - 1);
		r.text = gguf_array_next_str(tokens, &pos);
		r.type = vocab_effective_type((enum vocab_type)type, &r.text);
		ret = take(&r);
		if (!ret)
			ret = check_length(&r);
		if (!ret)
			ret = store(&r);
		r.id++;
	}
	return ret;
}

int vocab_init(struct vocab *v, const struct gguf *g, const struct vocab_defaults *defaults,
	       struct error *err)
{
	const char *key = "tokenizer.ggml.tokens";
	struct gguf_array tokens;
	int ret;

	*v = (struct vocab){.kind = defaults->kind};
	memset(v->byte_ids, 0xff, sizeof(v->byte_ids));
	ret = gguf_get_array(g, key, GGUF_VALUE_STR, &tokens, err);
	if (ret)
		return ret;
	if (!tokens.n || tokens.n > TOKENIZER_TOKENS_MAX)
		return error_set(err, -EINVAL, "%s has %zu elements, 1 to %u supported", key,
				 tokens.n, TOKENIZER_TOKENS_MAX);
	v->n_tokens = (uint32_t)tokens.n;
	v->types = malloc(v->n_tokens);
	ret = symbol_table_init(&v->symbols, v->n_tokens);
	if (ret || !v->types) {
		ret = error_set(err, ret ? ret : -ENOMEM, "no memory for %" PRIu32 " tokens",
				v->n_tokens);
		goto out_exit;
	}
	ret = read_tokens(v, g, &tokens, err);
	if (ret)
		goto out_exit;
	ret = vocab_read_specials(v, g, defaults, err);
	if (!ret)
		return 0;
out_exit:
	vocab_exit(v);
	return ret;
}

void vocab_exit(struct vocab *v)
{
	symbol_table_exit(&v->symbols);
	free(v->types);
	free(v->eog);
	*v = (struct vocab){0};
}
