/* SPDX-License-Identifier: MIT */
/*
 * symbol: see daemon/symbol.h.
 */
#include "daemon/symbol.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(SYMBOL_KEY_BYTES == crypto_shorthash_KEYBYTES, "SipHash-2-4");

static uint64_t hash(const struct symbol_table *t, const char *text, size_t len)
{
	uint64_t h;

	crypto_shorthash((unsigned char *)&h, (const unsigned char *)text, len, t->key);
	return h;
}

/* Empty slots for n entries and as many more. */
static struct symbol_slot *slots_for(uint32_t n, uint32_t *mask)
{
	uint64_t n_slots = 64;
	struct symbol_slot *slots;

	while (n_slots < 2 * (uint64_t)n)
		n_slots *= 2;
	slots = malloc(n_slots * sizeof(*slots));
	if (slots)
		memset(slots, 0xff, n_slots * sizeof(*slots));
	*mask = (uint32_t)(n_slots - 1);
	return slots;
}

int symbol_table_init(struct symbol_table *t, uint32_t n)
{
	*t = (struct symbol_table){.cap = n ? n : 1, .cap_bytes = 8 * (size_t)n + 64};
	if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key))
		return -EIO;
	t->bytes = malloc(t->cap_bytes);
	t->ends = malloc(t->cap * sizeof(*t->ends));
	t->slots = slots_for(n, &t->mask);
	if (t->bytes && t->ends && t->slots)
		return 0;
	symbol_table_exit(t);
	return -ENOMEM;
}

void symbol_table_exit(struct symbol_table *t)
{
	free(t->bytes);
	free(t->ends);
	free(t->slots);
	*t = (struct symbol_table){0};
}

int symbol_add(struct symbol_table *t, const char *text, size_t len)
{
	if (len > UINT32_MAX - t->n_bytes)
		return -EOVERFLOW;
	if (t->n_bytes + len > t->cap_bytes) {
		size_t cap = 2 * t->cap_bytes + len;
		char *bytes = realloc(t->bytes, cap);

		if (!bytes)
			return -ENOMEM;
		t->bytes = bytes;
		t->cap_bytes = cap;
	}
	if (t->n == t->cap) {
		uint32_t cap = t->cap < UINT32_MAX / 2 ? 2 * t->cap : UINT32_MAX;
		uint32_t *ends = realloc(t->ends, cap * sizeof(*ends));

		if (!ends)
			return -ENOMEM;
		t->ends = ends;
		t->cap = cap;
	}
	if (len)
		memcpy(t->bytes + t->n_bytes, text, len);
	t->n_bytes += len;
	t->ends[t->n++] = (uint32_t)t->n_bytes;
	return 0;
}

/* The slot that holds the string, or the empty one where it belongs. */
static struct symbol_slot *find_slot(const struct symbol_table *t, const char *text, size_t len,
				     uint64_t h)
{
	uint32_t tag = (uint32_t)(h >> 32);

	for (uint32_t i = (uint32_t)h & t->mask;; i = (i + 1) & t->mask) {
		struct symbol_slot *slot = &t->slots[i];
		const char *other;
		uint32_t other_len;

		if (slot->symbol == SYMBOL_NONE)
			return slot;
		if (slot->tag != tag)
			continue;
		other = symbol_text(t, slot->symbol, &other_len);
		if (other_len == len && !memcmp(other, text, len))
			return slot;
	}
}

static int grow_slots(struct symbol_table *t)
{
	struct symbol_slot *old = t->slots;
	uint32_t n_old = t->mask + 1, mask;
	struct symbol_slot *slots = slots_for(n_old, &mask);

	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	t->mask = mask;
	for (uint32_t i = 0; i < n_old; i++) {
		const char *text;
		uint32_t len;

		if (old[i].symbol == SYMBOL_NONE)
			continue;
		text = symbol_text(t, old[i].symbol, &len);
		*find_slot(t, text, len, hash(t, text, len)) = old[i];
	}
	free(old);
	return 0;
}

int symbol_index(struct symbol_table *t, uint32_t symbol)
{
	struct symbol_slot *slot;
	const char *text;
	uint32_t len;
	uint64_t h;
	int ret;

	if (2 * (uint64_t)t->n_indexed > t->mask) {
		ret = grow_slots(t);
		if (ret)
			return ret;
	}
	text = symbol_text(t, symbol, &len);
	h = hash(t, text, len);
	slot = find_slot(t, text, len, h);
	t->n_indexed += slot->symbol == SYMBOL_NONE;
	*slot = (struct symbol_slot){(uint32_t)(h >> 32), symbol};
	return 0;
}

uint32_t symbol_find(const struct symbol_table *t, const char *text, size_t len)
{
	return find_slot(t, text, len, hash(t, text, len))->symbol;
}
