/* SPDX-License-Identifier: MIT */
/*
 * bpe: see daemon/bpe.h. Encoding is called by the tokenizer for each piece of each text.
 */
#include "daemon/bpe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/byte_alphabet.h"

/* Half of a merge as spelled in the file: twice the longest token. */
#define HALF_MAX (2 * TOKENIZER_TOKEN_TEXT_MAX)

static struct bpe_pair *find_pair(const struct bpe *b, uint32_t left, uint32_t right)
{
	uint64_t h = ((uint64_t)left << 32 | right) ^ b->key;

	/* The finalizer of MurmurHash3. */
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	for (uint32_t i = (uint32_t)(h ^ h >> 33) & b->mask;; i = (i + 1) & b->mask) {
		struct bpe_pair *p = &b->pairs[i];

		if (p->left == SYMBOL_NONE || (p->left == left && p->right == right))
			return p;
	}
}

/* The symbol of a string, made if need be. */
static int intern(struct symbol_table *symbols, const char *text, size_t len, uint32_t *out)
{
	int ret;

	*out = symbol_find(symbols, text, len);
	if (*out != SYMBOL_NONE)
		return 0;
	*out = symbols->n;
	ret = symbol_add(symbols, text, len);
	return ret ? ret : symbol_index(symbols, *out);
}

static int refuse_merge(uint32_t rank, const struct gguf_str *text, struct error *err)
{
	return error_set(err, -EINVAL,
			 "tokenizer.ggml.merges: entry %" PRIu32
			 " of %zu bytes is not two spellings of "
			 "1 to %u bytes",
			 rank, text->len, HALF_MAX);
}

/* One line of the list: both halves spelled in the byte alphabet, with one space between. */
static int add_merge(struct bpe *b, struct symbol_table *symbols, const struct gguf_str *text,
		     uint32_t rank, struct error *err)
{
	const char *space = text->len > 2 ? memchr(text->data + 1, ' ', text->len - 2) : NULL;
	size_t n_spelled[2] = {space ? (size_t)(space - text->data) : 0, 0};
	char joined[2 * HALF_MAX];
	struct bpe_pair pair = {.rank = rank}, *slot;
	int n_left, n_right, ret;

	n_spelled[1] = text->len - n_spelled[0] - 1;
	if (!space || n_spelled[0] > HALF_MAX || n_spelled[1] > HALF_MAX)
		return refuse_merge(rank, text, err);
	n_left = byte_alphabet_decode(text->data, n_spelled[0], joined);
	if (n_left < 0)
		return refuse_merge(rank, text, err);
	n_right = byte_alphabet_decode(space + 1, n_spelled[1], joined + n_left);
	if (n_right < 0)
		return refuse_merge(rank, text, err);
	ret = intern(symbols, joined, (size_t)n_left, &pair.left);
	if (!ret)
		ret = intern(symbols, joined + n_left, (size_t)n_right, &pair.right);
	if (!ret)
		ret = intern(symbols, joined, (size_t)(n_left + n_right), &pair.joined);
	if (ret)
		return error_set(err, ret, "no memory for merge %" PRIu32, rank);
	slot = find_pair(b, pair.left, pair.right);
	if (slot->left == SYMBOL_NONE)
		*slot = pair; /* of equal ones the first counts */
	return 0;
}

static int read_merges(struct bpe *b, struct symbol_table *symbols, const struct gguf_array *merges,
		       struct error *err)
{
	uint64_t n_slots = 64;
	size_t pos = 0;
	int ret = 0;

	while (n_slots < 2 * merges->n)
		n_slots *= 2;
	b->pairs = malloc(n_slots * sizeof(*b->pairs));
	if (!b->pairs)
		return error_set(err, -ENOMEM, "no memory for %zu merges", merges->n);
	memset(b->pairs, 0xff, n_slots * sizeof(*b->pairs));
	b->mask = (uint32_t)(n_slots - 1);
	for (uint32_t rank = 0; rank < merges->n && !ret; rank++) {
		struct gguf_str text = gguf_array_next_str(merges, &pos);

		ret = add_merge(b, symbols, &text, rank, err);
	}
	return ret;
}

int bpe_init(struct bpe *b, struct vocab *v, const struct gguf *g, struct error *err)
{
	const char *key = "tokenizer.ggml.merges";
	struct gguf_array merges;
	int ret;

	*b = (struct bpe){.vocab = v};
	ret = gguf_get_array(g, key, GGUF_VALUE_STR, &merges, err);
	if (ret)
		return ret;
	if (merges.n > BPE_MERGES_MAX)
		return error_set(err, -EINVAL, "%s has %zu elements, at most %u supported", key,
				 merges.n, BPE_MERGES_MAX);
	if (getrandom(&b->key, sizeof(b->key), 0) != (ssize_t)sizeof(b->key))
		return error_set(err, -EIO, "no random bytes for the table of merges");
	for (unsigned byte = 0; byte < 256; byte++) {
		char c = (char)byte;

		ret = intern(&v->symbols, &c, 1, &b->byte_symbols[byte]);
		if (ret)
			return error_set(err, ret, "no memory for the bytes");
	}
	ret = read_merges(b, &v->symbols, &merges, err);
	if (ret)
		bpe_exit(b);
	return ret;
}

void bpe_exit(struct bpe *b)
{
	free(b->pairs);
	*b = (struct bpe){0};
}

static void find(const void *ctx, const char *text, struct merge_symbol *left,
		 const struct merge_symbol *right)
{
	const struct bpe *b = ctx;
	const struct bpe_pair *p = find_pair(b, left->symbol, right->symbol);

	(void)text;
	if (p->left == SYMBOL_NONE)
		return;
	left->rank = p->rank;
	left->joined = p->joined;
}

/* A symbol that is no token: its bytes, each as the token it is. */
static int append_bytes(const struct bpe *b, const struct gguf_str *bytes,
			struct tokenizer_ids *out)
{
	int ret = 0;

	for (size_t i = 0; i < bytes->len && !ret; i++) {
		uint32_t id = b->byte_symbols[(uint8_t)bytes->data[i]];

		if (id >= b->vocab->n_tokens)
			id = b->vocab->unk;
		ret = id == TOKENIZER_NONE ? -EILSEQ : tokenizer_ids_add(out, id);
	}
	return ret;
}

int bpe_encode(const struct bpe *b, const struct gguf_str *piece, struct merge_work *work,
	       struct tokenizer_ids *out)
{
	struct merge_rule rule = {find, b};
	const uint32_t n_tokens = b->vocab->n_tokens;
	uint32_t whole;
	int ret;

	if (b->ignores_merges && piece->len <= b->vocab->longest_bytes) {
		whole = symbol_find(&b->vocab->symbols, piece->data, piece->len);
		if (whole < n_tokens)
			return tokenizer_ids_add(out, whole);
	}
	ret = merge_begin(work, (uint32_t)piece->len);
	if (ret)
		return ret;
	for (size_t i = 0; i < piece->len; i++)
		merge_add(work, b->byte_symbols[(uint8_t)piece->data[i]], 1);
	merge_run(work, &rule, piece->data);
	for (uint32_t i = 0; i != MERGE_NEVER && !ret; i = work->symbols[i].next) {
		const struct merge_symbol *s = &work->symbols[i];
		struct gguf_str bytes = {piece->data + s->begin, s->end - s->begin};

		if (s->symbol < n_tokens)
			ret = tokenizer_ids_add(out, s->symbol);
		else
			ret = append_bytes(b, &bytes, out);
	}
	return ret;
}
