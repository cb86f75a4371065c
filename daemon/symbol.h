/* SPDX-License-Identifier: MIT */
/*
 * symbol: byte strings numbered from 0, and the way back from a string to its number.
 *
 * The first numbers are the token ids of a vocabulary; merges may add strings that are no token.
 * Only strings that were indexed are found. The hash is keyed with random bytes (SipHash), so a
 * hostile vocabulary cannot make its look-ups collide; results do not depend on the key. Filled
 * at load by one thread, read-only afterwards.
 */
#ifndef DEVLLM_SYMBOL_H
#define DEVLLM_SYMBOL_H

#include <stddef.h>
#include <stdint.h>

#define SYMBOL_NONE UINT32_MAX
#define SYMBOL_KEY_BYTES 16

struct symbol_slot {
	uint32_t tag;	 /* other bits of the hash: most strangers are told apart by it */
	uint32_t symbol; /* SYMBOL_NONE: empty */
};

struct symbol_table {
	char *bytes;		   /* [n_bytes] all strings, one after the other */
	uint32_t *ends;		   /* [n] where each ends in bytes */
	struct symbol_slot *slots; /* [mask + 1], linear probing, at most half full */
	size_t n_bytes, cap_bytes;
	uint32_t n, cap;
	uint32_t n_indexed, mask;
	uint8_t key[SYMBOL_KEY_BYTES];
};

/*
 * Room for n strings is made at once; more are taken all the same. 0, -ENOMEM, or -EIO without
 * randomness.
 */
int symbol_table_init(struct symbol_table *t, uint32_t n);
void symbol_table_exit(struct symbol_table *t);

/*
 * Appends a string, not indexed: it gets the number t->n had. 0, -ENOMEM, -EOVERFLOW past 4 GiB.
 */
int symbol_add(struct symbol_table *t, const char *text, size_t len);

/* Makes symbol findable; an equal string indexed before gives way. 0 or -ENOMEM. */
int symbol_index(struct symbol_table *t, uint32_t symbol);

/* The number of an indexed string, or SYMBOL_NONE. */
uint32_t symbol_find(const struct symbol_table *t, const char *text, size_t len);

/* The string of symbol < t->n, not terminated. */
static inline const char *symbol_text(const struct symbol_table *t, uint32_t symbol, uint32_t *len)
{
	uint32_t begin = symbol ? t->ends[symbol - 1] : 0;

	*len = t->ends[symbol] - begin;
	return t->bytes + begin;
}

#endif
