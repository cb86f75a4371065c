/* SPDX-License-Identifier: MIT */
/*
 * pretokenizer: cuts text into the pieces within which byte-level BPE may join.
 *
 * A pre-tokenizer is a list of regular expressions: the first cuts the text at its matches, each
 * further one cuts the pieces that are left; matches and the text between them are both pieces,
 * so no byte is lost. GGUF files name theirs in `tokenizer.ggml.pre`. The table is ours; the
 * expressions are facts that the models' publishers state in their tokenizer files.
 *
 * Read-only once created; any thread.
 */
#ifndef DEVLLM_PRETOKENIZER_H
#define DEVLLM_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/error.h"
#include "daemon/gguf.h"

struct pretokenizer;

/* What the name says beside the expressions. */
struct pretokenizer_traits {
	const char *name;    /* of the family: "llama-bpe" for "llama3" too */
	bool ignores_merges; /* a piece that is a token is taken whole */
	bool adds_bos;	     /* where the file does not say */
};

/*
 * 0 and *out; -ENOTSUP with all known names in err for a name that is not in the table; -ENOMEM.
 */
int pretokenizer_create(const struct gguf_str *name, struct pretokenizer **out, struct error *err);
void pretokenizer_destroy(struct pretokenizer *p); /* NULL is allowed */

const struct pretokenizer_traits *pretokenizer_traits(const struct pretokenizer *p);

/* False where PCRE2 may not compile to machine code and interprets: same pieces, slower. */
bool pretokenizer_is_compiled(const struct pretokenizer *p);

/* Takes a piece, in order; not 0 ends the split, which then returns that. */
struct pretokenizer_sink {
	int (*take)(void *ctx, const char *piece, size_t len);
	void *ctx;
};

/*
 * Cuts len bytes of well-formed UTF-8. 0; -ENOMEM; -EIO with err set when the regex engine
 * reaches its limits; what the sink returned.
 */
int pretokenizer_split(const struct pretokenizer *p, const struct gguf_str *text,
		       const struct pretokenizer_sink *sink, struct error *err);

#endif
