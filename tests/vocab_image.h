/* SPDX-License-Identifier: MIT */
/*
 * vocab_image: small vocabularies in memory, as GGUF files, to be right or wrong on purpose.
 *
 * The BPE one has the 256 bytes as ids 0..255 in byte order, then "he" 256, "ll" 257, "hell" 258,
 * "hello" 259, then what the test adds. The SPM one: <unk> 0, <s> 1, </s> 2, the bytes 3..258, then
 * a space 259, "a" 260, "b" 261, "ab" 262, " ab" 263, "aab" 264.
 */
#ifndef DEVLLM_VOCAB_IMAGE_H
#define DEVLLM_VOCAB_IMAGE_H

#include "daemon/tokenizer.h"
#include "daemon/vocab.h"
#include "tests/gguf_image.h"
#include "tests/test.h"

#define VOCAB_IMAGE_BPE_TOKENS 260
#define VOCAB_IMAGE_SPM_TOKENS 265
#define SPACE_AB "\xe2\x96\x81\x61\x62"

/* A token beyond the fixed ones. */
struct vocab_image_token {
	const char *text; /* as in the file */
	uint32_t type;	  /* enum vocab_type */
};

/* A byte in the spelling of byte-level BPE. */
static inline void vocab_image_spell(unsigned byte, char out[4])
{
	unsigned point = byte, n = 0;
	bool is_itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);

	if (!is_itself) {
		point = 0x100 + byte;
		if (byte > 0x20)
			point = byte == 0xad ? 0x143 : 0x121 + byte - 0x7f;
	}
	if (point >= 0x80) {
		out[n++] = (char)(0xc0 | point >> 6);
		point = 0x80 | (point & 0x3f);
	}
	out[n++] = (char)point;
	out[n] = 0;
}

/* Ends with the keys that every vocabulary has; n_more further keys may follow. */
static inline void vocab_image_bpe(struct gguf_image *im, const char *pre,
				   const struct vocab_image_token *more, uint32_t n_more_keys)
{
	static const char *const words[] = {"he", "ll", "hell", "hello"};
	static const char *const merges[] = {"h e", "l l", "he ll", "hell o"};
	uint32_t n = 0;
	char text[4];

	while (more && more[n].text)
		n++;
	image_begin(im, 0, 5 + n_more_keys);
	image_key_str(im, "tokenizer.ggml.model", "gpt2");
	image_key_str(im, "tokenizer.ggml.pre", pre);
	image_key_array(im, "tokenizer.ggml.tokens", GGUF_VALUE_STR, VOCAB_IMAGE_BPE_TOKENS + n);
	for (unsigned i = 0; i < 256; i++) {
		vocab_image_spell(i, text);
		image_put_str(im, text);
	}
	for (unsigned i = 0; i < 4; i++)
		image_put_str(im, words[i]);
	for (unsigned i = 0; i < n; i++)
		image_put_str(im, more[i].text);
	image_key_array(im, "tokenizer.ggml.token_type", GGUF_VALUE_I32,
			VOCAB_IMAGE_BPE_TOKENS + n);
	for (unsigned i = 0; i < VOCAB_IMAGE_BPE_TOKENS; i++)
		image_put_u32(im, VOCAB_NORMAL);
	for (unsigned i = 0; i < n; i++)
		image_put_u32(im, more[i].type);
	image_key_array(im, "tokenizer.ggml.merges", GGUF_VALUE_STR, 4);
	for (unsigned i = 0; i < 4; i++)
		image_put_str(im, merges[i]);
}

static inline void vocab_image_spm(struct gguf_image *im, uint32_t n_more_keys)
{
	static const char *const first[] = {"<unk>", "<s>", "</s>"};
	static const char *const last[] = {"\xe2\x96\x81", "a", "b", "ab", SPACE_AB, "aab"};
	static const float scores[] = {-9, -8, -7, -3, -2, -1};
	char text[8];

	image_begin(im, 0, 4 + n_more_keys);
	image_key_str(im, "tokenizer.ggml.model", "llama");
	image_key_array(im, "tokenizer.ggml.tokens", GGUF_VALUE_STR, VOCAB_IMAGE_SPM_TOKENS);
	for (unsigned i = 0; i < 3; i++)
		image_put_str(im, first[i]);
	for (unsigned i = 0; i < 256; i++) {
		snprintf(text, sizeof(text), "<0x%02X>", i);
		image_put_str(im, text);
	}
	for (unsigned i = 0; i < 6; i++)
		image_put_str(im, last[i]);
	image_key_array(im, "tokenizer.ggml.token_type", GGUF_VALUE_I32, VOCAB_IMAGE_SPM_TOKENS);
	image_put_u32(im, VOCAB_UNKNOWN);
	image_put_u32(im, VOCAB_CONTROL);
	image_put_u32(im, VOCAB_CONTROL);
	for (unsigned i = 0; i < 262; i++)
		image_put_u32(im, i < 256 ? VOCAB_BYTE : VOCAB_NORMAL);
	image_key_array(im, "tokenizer.ggml.scores", GGUF_VALUE_F32, VOCAB_IMAGE_SPM_TOKENS);
	for (unsigned i = 0; i < 259; i++)
		image_put_f32(im, 0);
	for (unsigned i = 0; i < 6; i++)
		image_put_f32(im, scores[i]);
}

/* The tokenizer of an image that is right; NULL with a failed check. */
static inline struct tokenizer *vocab_image_open(const struct gguf_image *im)
{
	struct tokenizer *t = NULL;
	struct error err = {0};
	struct gguf *g = NULL;
	int ret = gguf_open_memory(im->data, im->n, &g, &err);

	if (!ret)
		ret = tokenizer_create(g, &t, &err);
	if (ret)
		fprintf(stderr, "%s\n", err.text);
	CHECK_EQ(ret, 0);
	gguf_close(g);
	return t;
}

#endif
