/* SPDX-License-Identifier: MIT */
/*
 * detokenizer: see daemon/detokenizer.h. Called for each produced token by outflow.
 *
 * The state is the beginning of one character: at most three bytes. A byte either continues it,
 * completes it, or proves it broken, whereupon the byte is looked at afresh.
 */
#include "daemon/detokenizer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/utf8.h"

struct detokenizer {
	const struct tokenizer *tokenizer;
	uint32_t flags;
	uint8_t held[UTF8_CHAR_MAX]; /* [n_held] the beginning of a well-formed character */
	unsigned n_held;
};

int detokenizer_create(const struct tokenizer *t, uint32_t flags, struct detokenizer **out)
{
	struct detokenizer *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->tokenizer = t;
	d->flags = flags;
	*out = d;
	return 0;
}

void detokenizer_destroy(struct detokenizer *d)
{
	free(d);
}

static char *put_replacement(char *out)
{
	memcpy(out, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT));
	return out + strlen(UTF8_REPLACEMENT);
}

/* One byte of the stream; returns where the output goes on. */
static char *feed(struct detokenizer *d, uint8_t byte, char *out)
{
	unsigned want;

	d->held[d->n_held++] = byte;
	want = utf8_char_bytes(d->held, d->n_held);
	if (!want && d->n_held > 1) {
		out = put_replacement(out);
		d->held[0] = byte;
		d->n_held = 1;
		want = utf8_char_bytes(d->held, 1);
	}
	if (!want) {
		out = put_replacement(out);
		d->n_held = 0;
	} else if (want == d->n_held) {
		memcpy(out, d->held, want);
		out += want;
		d->n_held = 0;
	}
	return out;
}

int detokenizer_push(struct detokenizer *d, uint32_t id, char *out, size_t cap, size_t *n)
{
	uint32_t len;
	const char *piece = tokenizer_piece(d->tokenizer, id, &len);
	char *end = out;

	if (!piece)
		return -ERANGE;
	if (cap < DETOKENIZER_PUSH_MAX)
		return -ENOSPC;
	if (!tokenizer_is_shown(d->tokenizer, id) && !(d->flags & DETOKENIZER_SPECIAL))
		len = 0;
	for (uint32_t i = 0; i < len; i++)
		end = feed(d, (uint8_t)piece[i], end);
	*n = (size_t)(end - out);
	return 0;
}

int detokenizer_flush(struct detokenizer *d, char *out, size_t cap, size_t *n)
{
	if (cap < DETOKENIZER_PUSH_MAX)
		return -ENOSPC;
	*n = 0;
	if (d->n_held)
		*n = (size_t)(put_replacement(out) - out);
	d->n_held = 0;
	return 0;
}
