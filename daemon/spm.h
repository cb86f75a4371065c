/* SPDX-License-Identifier: MIT */
/*
 * spm: SentencePiece BPE. A text is taken as characters, and neighbours whose union is a token
 * are joined, the token of the highest score first; characters that are no token become their
 * bytes.
 *
 * Source: Kudo, Richardson, "SentencePiece", 2018. Filled at load, read-only afterwards.
 */
#ifndef DEVLLM_SPM_H
#define DEVLLM_SPM_H

#include "daemon/merge.h"
#include "daemon/tokenizer.h"
#include "daemon/vocab.h"

struct spm {
	const struct vocab *vocab;
	uint32_t *ranks; /* [n_tokens] 0: the highest score; equal scores, equal ranks */
};

/* Reads `tokenizer.ggml.scores`. v must outlive s. As vocab_init(). */
int spm_init(struct spm *s, const struct vocab *v, const struct gguf *g, struct error *err);
void spm_exit(struct spm *s);

/*
 * Appends the ids of a text, with a space before it if the vocabulary wants one. 0, -ENOMEM, or
 * -EILSEQ when a byte has no token and the vocabulary knows no unknown token.
 */
int spm_encode(const struct spm *s, const struct gguf_str *text, struct merge_work *work,
	       struct tokenizer_ids *out);

#endif
