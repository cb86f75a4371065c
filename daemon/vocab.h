/* SPDX-License-Identifier: MIT */
/*
 * vocab: the tokens of a model, as its GGUF file lists them.
 *
 * Each token has an id, the bytes that it stands for (its piece) and a type. Pieces of ordinary
 * tokens are decoded once at load: from the byte alphabet (BPE), or with U+2581 as a space (SPM).
 * Those of control and user-defined tokens are their text as it stands. Ordinary tokens alone are
 * indexed by their piece, so joining bytes of plain text can never arrive at a control token.
 *
 * Owned by a tokenizer, filled at load, read-only afterwards.
 */
#ifndef DEVLLM_VOCAB_H
#define DEVLLM_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/error.h"
#include "daemon/gguf.h"
#include "daemon/symbol.h"

enum vocab_kind {
	VOCAB_BPE, /* byte-level BPE, `tokenizer.ggml.model` = "gpt2" */
	VOCAB_SPM, /* SentencePiece BPE with byte fallback, "llama" */
};

/* Types of tokens; the numbers are the file's. */
enum vocab_type {
	VOCAB_UNDEFINED = 0,
	VOCAB_NORMAL = 1,
	VOCAB_UNKNOWN = 2,
	VOCAB_CONTROL = 3,
	VOCAB_USER_DEFINED = 4, /* matched literally, in plain text too */
	VOCAB_UNUSED = 5,
	VOCAB_BYTE = 6, /* one byte, spelled <0x0A> */
	VOCAB_TYPES = 7,
};

struct vocab {
	enum vocab_kind kind;
	struct symbol_table symbols; /* symbol id < n_tokens: the token's piece */
	uint8_t *types;		     /* [n_tokens] enum vocab_type */
	uint32_t n_tokens;
	uint32_t longest_bytes;	     /* text that one token can stand for */
	uint32_t byte_ids[256];	     /* SPM: the token of each byte, or TOKENIZER_NONE */
	uint32_t bos, eos, eot, unk; /* ids, or TOKENIZER_NONE */
	uint32_t *eog;		     /* [n_eog] ids that end a generation, ascending */
	uint32_t n_eog;
	bool adds_bos, adds_eos;
	bool adds_space_prefix; /* SPM: text begins with a space */
};

/* What the file leaves open: the defaults of its kind. */
struct vocab_defaults {
	enum vocab_kind kind;
	bool adds_bos;
};

/* Reads tokens, types and special ids. 0 or -errno with err set; v is then empty. */
int vocab_init(struct vocab *v, const struct gguf *g, const struct vocab_defaults *defaults,
	       struct error *err);
void vocab_exit(struct vocab *v);

/* Special ids, flags and the ids that end a generation. The tokens are in v. As vocab_init(). */
int vocab_read_specials(struct vocab *v, const struct gguf *g,
			const struct vocab_defaults *defaults, struct error *err);

/*
 * The type that a token has for us: texts that end a generation, and user-defined ones that look
 * like markup, are control tokens whatever the file says.
 */
enum vocab_type vocab_effective_type(enum vocab_type type, const struct gguf_str *text);

/* Control and unknown tokens: plain text never yields them. */
static inline bool vocab_is_control(const struct vocab *v, uint32_t id)
{
	return v->types[id] == VOCAB_CONTROL || v->types[id] == VOCAB_UNKNOWN;
}

#endif
