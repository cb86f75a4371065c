/* SPDX-License-Identifier: MIT */
/*
 * vocab_special: which tokens of a vocabulary play a role: BOS, EOS, the end of a turn, the ends
 * of a generation.
 *
 * The file names some by id. Others are known by their text alone, because converters leave them
 * out; the list below is what published chat models use. A token of such a text counts as a
 * control token even where the file calls it ordinary, so that plain text cannot yield it. Called
 * at load.
 */
#include "daemon/vocab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/tokenizer.h"

/* Texts that end a generation. Those that end a chat turn come first, by precedence. */
static const struct {
	const char *text;
	bool ends_turn;
} enders[] = {
	{"<|eot_id|>", true},
	{"<|im_end|>", true},
	{"<|end|>", true},
	{"<end_of_turn>", true},
	{"<turn|>", true},
	{"<|endoftext|>", true},
	{"<|end_of_text|>", true},
	{"<EOT>", true},
	{"_<EOT>", true},
	{"[EOT]", true},
	{"<\xef\xbd\x9c"
	 "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
	 true},
	{"<end_of_utterance>", true},
	{"<|return|>", false},
	{"<|call|>", false},
	{"<|eom_id|>", false},
	{"</s>", false},
	{"<eos>", false},
	{"[EOS]", false},
};

#define N_ENDERS (sizeof(enders) / sizeof(enders[0]))

static bool is_text(const struct gguf_str *s, const char *text)
{
	return s->len == strlen(text) && !memcmp(s->data, text, s->len);
}

static bool begins_and_ends(const struct gguf_str *s, const char *head, const char *tail)
{
	size_t n_head = strlen(head), n_tail = strlen(tail);

	return s->len > n_head + n_tail && !memcmp(s->data, head, n_head) &&
	       !memcmp(s->data + s->len - n_tail, tail, n_tail);
}

/* "<|user|>", and DeepSeek's with fullwidth bars. */
static bool is_markup(const struct gguf_str *s)
{
	return begins_and_ends(s, "<|", "|>") ||
	       begins_and_ends(s, "<\xef\xbd\x9c", "\xef\xbd\x9c>") ||
	       is_text(s, "<start_of_turn>") || is_text(s, "[INST]") || is_text(s, "[/INST]");
}

enum vocab_type vocab_effective_type(enum vocab_type type, const struct gguf_str *text)
{
	if (type == VOCAB_UNDEFINED)
		type = VOCAB_NORMAL;
	if (type == VOCAB_USER_DEFINED && is_markup(text))
		return VOCAB_CONTROL;
	if (type != VOCAB_USER_DEFINED && type != VOCAB_NORMAL)
		return type;
	for (size_t i = 0; i < N_ENDERS; i++) {
		if (is_text(text, enders[i].text))
			return VOCAB_CONTROL;
	}
	return type;
}

/* The id that a key names. *id keeps its default when the key is absent. */
static int read_id(const struct vocab *v, const struct gguf *g, const char *key, uint32_t *id,
		   struct error *err)
{
	uint32_t value;
	int ret;

	if (gguf_get_type(g, key) == -ENOENT)
		return 0;
	ret = gguf_get_u32(g, key, &value, err);
	if (ret)
		return ret;
	if (value >= v->n_tokens)
		return error_set(err, -EINVAL,
				 "%s is %" PRIu32 ", the vocabulary has %" PRIu32 " tokens", key,
				 value, v->n_tokens);
	*id = value;
	return 0;
}

static int read_flag(const struct gguf *g, const char *key, bool *flag, struct error *err)
{
	return gguf_get_type(g, key) == -ENOENT ? 0 : gguf_get_bool(g, key, flag, err);
}

/* SentencePiece gives <unk>, <s> and </s> the first three ids unless told otherwise. */
static uint32_t spm_default(const struct vocab *v, uint32_t id)
{
	bool is_there = v->kind == VOCAB_SPM && id < v->n_tokens && vocab_is_control(v, id);

	return is_there ? id : TOKENIZER_NONE;
}

static int read_keys(struct vocab *v, const struct gguf *g, struct error *err)
{
	int ret;

	v->unk = spm_default(v, 0);
	v->bos = spm_default(v, 1);
	v->eos = spm_default(v, 2);
	v->eot = TOKENIZER_NONE;
	ret = read_id(v, g, "tokenizer.ggml.bos_token_id", &v->bos, err);
	if (!ret)
		ret = read_id(v, g, "tokenizer.ggml.eos_token_id", &v->eos, err);
	if (!ret)
		ret = read_id(v, g, "tokenizer.ggml.eot_token_id", &v->eot, err);
	if (!ret)
		ret = read_id(v, g, "tokenizer.ggml.unknown_token_id", &v->unk, err);
	if (!ret)
		ret = read_flag(g, "tokenizer.ggml.add_bos_token", &v->adds_bos, err);
	if (!ret)
		ret = read_flag(g, "tokenizer.ggml.add_eos_token", &v->adds_eos, err);
	if (!ret)
		ret = read_flag(g, "tokenizer.ggml.add_space_prefix", &v->adds_space_prefix, err);
	return ret;
}

/* The control token that each text of the list belongs to. */
static void find_enders(const struct vocab *v, uint32_t ids[N_ENDERS])
{
	for (size_t i = 0; i < N_ENDERS; i++)
		ids[i] = TOKENIZER_NONE;
	for (uint32_t id = 0; id < v->n_tokens; id++) {
		struct gguf_str s;
		uint32_t len;

		if (v->types[id] != VOCAB_CONTROL)
			continue;
		s.data = symbol_text(&v->symbols, id, &len);
		s.len = len;
		for (size_t i = 0; i < N_ENDERS; i++) {
			if (is_text(&s, enders[i].text))
				ids[i] = id;
		}
	}
}

/* In the harmony format <|end|> ends a message, <|return|> and <|call|> the generation. */
static void drop_harmony_end(uint32_t ids[N_ENDERS])
{
	size_t end = 0, has = 0;

	for (size_t i = 0; i < N_ENDERS; i++) {
		if (!strcmp(enders[i].text, "<|end|>"))
			end = i;
		has += ids[i] != TOKENIZER_NONE && (!strcmp(enders[i].text, "<|return|>") ||
						    !strcmp(enders[i].text, "<|call|>"));
	}
	if (has == 2)
		ids[end] = TOKENIZER_NONE;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The set: what the keys name and what the texts tell. */
static int collect_eog(struct vocab *v, struct error *err)
{
	uint32_t ids[N_ENDERS + 2], n = 0;

	find_enders(v, ids);
	drop_harmony_end(ids);
	for (size_t i = 0; i < N_ENDERS && v->eot == TOKENIZER_NONE; i++) {
		if (enders[i].ends_turn)
			v->eot = ids[i];
	}
	ids[N_ENDERS] = v->eos;
	ids[N_ENDERS + 1] = v->eot;
	qsort(ids, N_ENDERS + 2, sizeof(ids[0]), compare_ids);
	v->eog = malloc(sizeof(ids));
	if (!v->eog)
		return error_set(err, -ENOMEM, "no memory for the vocabulary");
	for (size_t i = 0; i < N_ENDERS + 2 && ids[i] != TOKENIZER_NONE; i++) {
		if (!n || v->eog[n - 1] != ids[i])
			v->eog[n++] = ids[i];
	}
	v->n_eog = n;
	return 0;
}

int vocab_read_specials(struct vocab *v, const struct gguf *g,
			const struct vocab_defaults *defaults, struct error *err)
{
	int ret;

	v->adds_bos = defaults->adds_bos;
	v->adds_eos = false;
	v->adds_space_prefix = v->kind == VOCAB_SPM;
	ret = read_keys(v, g, err);
	if (ret)
		return ret;
	if (v->adds_bos && v->bos == TOKENIZER_NONE)
		return error_set(err, -EINVAL,
				 "prompts of this vocabulary begin with BOS, but "
				 "tokenizer.ggml.bos_token_id is missing");
	return collect_eog(v, err);
}
