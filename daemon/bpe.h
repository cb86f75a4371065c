/* SPDX-License-Identifier: MIT */
/*
 * bpe: byte-level BPE. A piece of text is taken as bytes, and neighbours are joined in the order
 * of the vocabulary's list of merges.
 *
 * The list may pass through strings that are no token: they become symbols beyond the token ids.
 * The table of pairs is a hash keyed at random, at most half full. Filled at load, read-only
 * afterwards.
 */
#ifndef DEVLLM_BPE_H
#define DEVLLM_BPE_H

#include "daemon/merge.h"
#include "daemon/tokenizer.h"
#include "daemon/vocab.h"

#define BPE_MERGES_MAX (1u << 22)

/* "left right" of the list of merges. */
struct bpe_pair {
	uint32_t left, right; /* symbols; left SYMBOL_NONE: an empty slot */
	uint32_t rank;	      /* place in the list */
	uint32_t joined;      /* symbol */
};

struct bpe {
	const struct vocab *vocab;
	struct bpe_pair *pairs; /* [mask + 1] */
	uint32_t mask;
	uint64_t key;		    /* of the hash */
	uint32_t byte_symbols[256]; /* the symbol of each byte */
	bool ignores_merges;	    /* a piece that is a token is taken whole */
};

/* Reads `tokenizer.ggml.merges`; adds symbols to v, which must outlive b. As vocab_init(). */
int bpe_init(struct bpe *b, struct vocab *v, const struct gguf *g, struct error *err);
void bpe_exit(struct bpe *b);

/*
 * Appends the ids of a piece. 0, -ENOMEM, or -EILSEQ when a byte has no token and the vocabulary
 * knows no unknown token.
 */
int bpe_encode(const struct bpe *b, const struct gguf_str *piece, struct merge_work *work,
	       struct tokenizer_ids *out);

#endif
