/* SPDX-License-Identifier: MIT */
/*
 * detokenizer: token ids to text, one id at a time, whole UTF-8 characters only.
 *
 * What was emitted so far is a pure function of the ids so far, whatever the size of the steps.
 * Bytes that may still become a character are held; bytes that cannot become U+FFFD, one for each
 * maximal subpart (The Unicode Standard, section 3.9, "U+FFFD Substitution of Maximal Subparts").
 * Spaces are never stripped, not even the first. Control tokens emit nothing unless asked for.
 *
 * One per request, on the daemon's thread; it refers to its tokenizer, which must outlive it.
 */
#ifndef DEVLLM_DETOKENIZER_H
#define DEVLLM_DETOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/tokenizer.h"

/* The most bytes that one push emits: U+FFFD for what was held, then the longest token. */
#define DETOKENIZER_PUSH_MAX (3u + TOKENIZER_TOKEN_TEXT_MAX)

enum detokenizer_flag {
	DETOKENIZER_SPECIAL = 1u << 0, /* control tokens emit their names */
};

struct detokenizer;

/* flags: enum detokenizer_flag. 0 or -ENOMEM. */
int detokenizer_create(const struct tokenizer *t, uint32_t flags, struct detokenizer **out);
void detokenizer_destroy(struct detokenizer *d); /* NULL is allowed */

/*
 * The text that id adds: *n bytes in out, often 0, not terminated. 0; -ERANGE when id is not in
 * the vocabulary; -ENOSPC when cap is below DETOKENIZER_PUSH_MAX. On error nothing has changed.
 */
int detokenizer_push(struct detokenizer *d, uint32_t id, char *out, size_t cap, size_t *n);

/*
 * The end of the ids: U+FFFD if a character is incomplete, *n bytes (0 or 3). The detokenizer is
 * then as new. 0, or -ENOSPC when cap is below DETOKENIZER_PUSH_MAX.
 */
int detokenizer_flush(struct detokenizer *d, char *out, size_t cap, size_t *n);

#endif
