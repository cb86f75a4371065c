/* SPDX-License-Identifier: MIT */
/*
 * tokenizer: text to token ids, and the facts of a vocabulary.
 *
 *	tokenizer_encode():  text -> literal tokens -> pre-tokenizer -> merges -> ids
 *	                             (literal.h)      (pretokenizer.h)  (bpe.h, spm.h)
 *
 * Built from the `tokenizer.ggml.*` keys of a GGUF file: byte-level BPE ("gpt2") and
 * SentencePiece BPE with byte fallback ("llama"). Everything is copied: the file may be closed
 * afterwards. What the vocabulary asks for and this version cannot do is refused by name.
 *
 * Only text that a chat template emits may become control tokens: encode it with
 * TOKENIZER_PARSE_SPECIAL. Without that flag no text whatever yields one; tokens that the file
 * calls user-defined are matched in both, except those that look like markup ("<|user|>"), which
 * count as control tokens whatever the file calls them.
 *
 * Read-only once created: any thread may encode, nothing is shared between calls. Going back from
 * ids to text is daemon/detokenizer.h.
 */
#ifndef DEVLLM_TOKENIZER_H
#define DEVLLM_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/error.h"
#include "daemon/gguf.h"

#define TOKENIZER_NONE UINT32_MAX	/* "the vocabulary has no such token" */
#define TOKENIZER_TOKENS_MAX (1u << 20) /* tokens of a vocabulary */
#define TOKENIZER_TOKEN_TEXT_MAX 512u	/* bytes of one token's text; longer refuses the model */
#define TOKENIZER_TEXT_MAX (64u << 20)	/* bytes of one text */

enum tokenizer_flag {
	TOKENIZER_ADD_BOS = 1u << 0,	   /* begin with BOS if and only if the file says so */
	TOKENIZER_PARSE_SPECIAL = 1u << 1, /* control tokens may appear: text of a template */
};

/* What to encode. */
struct tokenizer_input {
	const char *text; /* UTF-8, may hold NULs; may be NULL when len is 0 */
	size_t len;	  /* bytes */
	uint32_t flags;	  /* enum tokenizer_flag */
};

/* A growing array of ids; zero is empty. */
struct tokenizer_ids {
	uint32_t *ids; /* [n] */
	size_t n, cap;
};

struct tokenizer;

/*
 * Reads the vocabulary of g. 0 and *out, or -errno with err set: -ENOENT for a missing key,
 * -ENOTSUP for a tokenizer or pre-tokenizer that is not known (the known ones are listed),
 * -EINVAL for keys that contradict each other, -ENOMEM.
 */
int tokenizer_create(const struct gguf *g, struct tokenizer **out, struct error *err);
void tokenizer_destroy(struct tokenizer *t); /* NULL is allowed */

/*
 * Appends the ids of a text to out. 0, or -errno with err set and out as it was: -EILSEQ for
 * invalid UTF-8 (the sentence has the byte's offset) or a byte that the vocabulary has no token
 * for, -E2BIG for more than TOKENIZER_TEXT_MAX bytes, -ENOMEM, -EIO when the regex engine gives
 * up. O(n log n) time, at most 64 bytes of memory a byte of text, freed at the return.
 */
int tokenizer_encode(const struct tokenizer *t, const struct tokenizer_input *in,
		     struct tokenizer_ids *out, struct error *err);

/* Appends one id. 0 or -ENOMEM. */
int tokenizer_ids_add(struct tokenizer_ids *ids, uint32_t id);

/* Frees the array; ids is then empty again. */
void tokenizer_ids_exit(struct tokenizer_ids *ids);

uint32_t tokenizer_n_tokens(const struct tokenizer *t);

/* Special ids, or TOKENIZER_NONE. */
uint32_t tokenizer_bos(const struct tokenizer *t);
uint32_t tokenizer_eos(const struct tokenizer *t);
uint32_t tokenizer_eot(const struct tokenizer *t); /* end of a turn in chats */
uint32_t tokenizer_unk(const struct tokenizer *t);

/* What the file says about every prompt; its absence means what llama.cpp takes it to mean. */
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_adds_eos(const struct tokenizer *t);

/* The ids after which generation ends: EOS, EOT and their like, ascending. */
bool tokenizer_is_eog(const struct tokenizer *t, uint32_t id);
const uint32_t *tokenizer_eog_ids(const struct tokenizer *t, uint32_t *n);

/* True for control and unknown tokens: what plain text never yields. */
bool tokenizer_is_control(const struct tokenizer *t, uint32_t id);

/* True for tokens whose piece is part of the text; not for control, unknown and unused ones. */
bool tokenizer_is_shown(const struct tokenizer *t, uint32_t id);

/*
 * The bytes that a token stands for, *len of them; not always whole UTF-8 characters. A control
 * token's is its name. NULL when id is not in the vocabulary.
 */
const char *tokenizer_piece(const struct tokenizer *t, uint32_t id, uint32_t *len);

/* The most bytes of text that one token can stand for: longer text / this <= its ids. */
uint32_t tokenizer_longest(const struct tokenizer *t);

/* "BPE smollm", "SPM". For the ledger at start. */
const char *tokenizer_kind(const struct tokenizer *t);

/* A sentence for the administrator about what the file left open, or NULL. */
const char *tokenizer_note(const struct tokenizer *t);

#endif
