/* SPDX-License-Identifier: MIT */
/*
 * fuzz_tokenizer: any text is refused or becomes ids that give the text back; plain text, none
 * special. Marks: san
 */
#define FUZZ_ROUNDS 100000
#include "tests/fuzz.h"

#include <errno.h>

#include "daemon/detokenizer.h"
#include "daemon/utf8.h"
#include "tests/vocab_image.h"

#define N_KINDS 14 /* each pre-tokenizer, and SPM */

/* Made once, kept to the end. */
static const struct tokenizer *tokenizer_of(unsigned kind)
{
	static const char *const pres[] = {"default",	    "gpt-2",  "mpt",	   "smollm",
					   "starcoder",	    "refact", "command-r", "falcon",
					   "llama-bpe",	    "qwen2",  "qwen35",	   "deepseek-llm",
					   "deepseek-coder"};
	static const struct vocab_image_token more[] = {
		{"<|end|>", VOCAB_CONTROL}, {"   ", VOCAB_USER_DEFINED}, {NULL, 0}};
	static struct tokenizer *made[N_KINDS];
	struct gguf_image im = {0};
	struct gguf *g = NULL;

	if (made[kind])
		return made[kind];
	if (kind == N_KINDS - 1)
		vocab_image_spm(&im, 0);
	else
		vocab_image_bpe(&im, pres[kind], more, 1);
	if (kind < N_KINDS - 1)
		image_key_u32(&im, "tokenizer.ggml.bos_token_id", 260);
	FUZZ_ASSERT(!gguf_open_memory(im.data, im.n, &g, NULL));
	FUZZ_ASSERT(!tokenizer_create(g, &made[kind], NULL));
	gguf_close(g);
	image_exit(&im);
	return made[kind];
}

/* Control tokens show themselves here, so the text is whole in either mode. */
static void check_back(const struct tokenizer *t, const struct tokenizer_ids *ids,
		       const struct gguf_str *text)
{
	struct detokenizer *d = NULL;
	char out[DETOKENIZER_PUSH_MAX];
	size_t at = 0, n;

	FUZZ_ASSERT(!detokenizer_create(t, DETOKENIZER_SPECIAL, &d));
	for (size_t i = 0; i <= ids->n; i++) {
		if (i < ids->n)
			FUZZ_ASSERT(!detokenizer_push(d, ids->ids[i], out, sizeof(out), &n));
		else
			FUZZ_ASSERT(!detokenizer_flush(d, out, sizeof(out), &n));
		FUZZ_ASSERT(n <= text->len - at && !memcmp(out, text->data + at, n));
		FUZZ_ASSERT(utf8_valid_bytes(out, n) == n);
		at += n;
	}
	FUZZ_ASSERT(at == text->len);
	detokenizer_destroy(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind = size ? data[0] % N_KINDS : 0;
	bool is_special = size && data[0] & 0x80;
	const struct tokenizer *t = tokenizer_of(kind);
	struct gguf_str text = {(const char *)data + 1, size ? size - 1 : 0};
	struct tokenizer_input in = {text.data, text.len, is_special ? TOKENIZER_PARSE_SPECIAL : 0};
	bool is_valid = utf8_valid_bytes(text.data, text.len) == text.len;
	struct tokenizer_ids ids = {0};
	struct error err = {0};
	int ret = tokenizer_encode(t, &in, &ids, &err);

	FUZZ_ASSERT(ret == (is_valid ? 0 : -EILSEQ));
	for (size_t i = 0; i < ids.n; i++)
		FUZZ_ASSERT(ids.ids[i] < tokenizer_n_tokens(t) &&
			    (is_special || !tokenizer_is_control(t, ids.ids[i])));
	FUZZ_ASSERT(ids.n * tokenizer_longest(t) >= (is_valid ? text.len : 0));
	if (is_valid && kind < N_KINDS - 1)
		check_back(t, &ids, &text);
	tokenizer_ids_exit(&ids);
	return 0;
}

const uint8_t *fuzz_seed(unsigned i, size_t *size)
{
	static const char *const texts[] = {
		"hello I'll say 'RE 12345, $x+=1;\n\n  \t ok?! <|end|>   end",
		"\xc3\xa9\xe6\x97\xa5 \xf0\x9f\x9a\x80 \xe2\x96\x81\xe3\x80\x80\xd9\xa3\xcc\x81",
		"    \r\n\r\n      x\n \n  <|end|><|en",
		"aaaaaaaaabbbbb hellhellohe ll",
	};
	static uint8_t seeds[2 * N_KINDS][4][128];
	unsigned kind = i / 4 % N_KINDS, mode = i / 4 / N_KINDS;
	uint8_t *seed;

	if (i >= 8 * N_KINDS)
		return NULL;
	seed = seeds[i / 4][i % 4];
	/* 0x80 keeps its meaning only if the byte modulo the kinds is still the kind. */
	seed[0] = (uint8_t)(mode ? 0x80 + (kind + N_KINDS - 0x80 % N_KINDS) % N_KINDS : kind);
	*size = 1 + strlen(texts[i % 4]);
	memcpy(seed + 1, texts[i % 4], *size - 1);
	return seed;
}
