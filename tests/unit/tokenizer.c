/* SPDX-License-Identifier: MIT */
/*
 * tokenizer: plain text never yields a control token, bad text and bad vocabularies get a sentence.
 * Marks: san
 */
#include <errno.h>
#include <pthread.h>

#include "daemon/tokenizer.h"
#include "tests/vocab_image.h"

/* Ids beyond the fixed 260 of the BPE image. */
enum { END = 260, USER, TABLE, SPACES, BOS, MORE };

static const struct vocab_image_token added[] = {
	{"<|end|>", VOCAB_NORMAL},	  /* ends a generation, so it is a control token */
	{"<|user|>", VOCAB_USER_DEFINED}, /* looks like markup, so it is one, too */
	{"<table>", VOCAB_USER_DEFINED},  {"    ", VOCAB_USER_DEFINED},
	{"<s>", VOCAB_CONTROL},		  {NULL, 0},
};

/* Encodes and compares with ids that end with -1. */
static void gives(const struct tokenizer *t, const char *text, uint32_t flags, const int *want)
{
	struct tokenizer_input in = {.text = text, .len = strlen(text), .flags = flags};
	struct tokenizer_ids got = {0};
	struct error err = {0};
	size_t n = 0;

	CHECK_EQ(tokenizer_encode(t, &in, &got, &err), 0);
	while (want[n] >= 0)
		n++;
	CHECK_EQ(got.n, n);
	for (size_t i = 0; i < n && i < got.n; i++)
		CHECK_EQ(got.ids[i], want[i]);
	tokenizer_ids_exit(&got);
}

#define GIVES(text, flags, ...) gives(t, text, flags, (const int[]){__VA_ARGS__, -1})

static void check_bpe(const struct tokenizer *t)
{
	const uint32_t special = TOKENIZER_PARSE_SPECIAL;

	GIVES("hello", 0, 259);
	GIVES("hhell", 0, 'h', 258);
	GIVES("hel lo", 0, 256, 'l', ' ', 'l', 'o');
	GIVES("", 0, -1);
	GIVES("", TOKENIZER_ADD_BOS, BOS);
	GIVES("he", TOKENIZER_ADD_BOS, BOS, 256);
	GIVES("<|end|>", 0, '<', '|', 'e', 'n', 'd', '|', '>');
	GIVES("<|end|>", special, END);
	GIVES("<|user|>he", 0, '<', '|', 'u', 's', 'e', 'r', '|', '>', 256);
	GIVES("<|user|>he<s", special, USER, 256, '<', 's');
	GIVES("<table><|end|>", 0, TABLE, '<', '|', 'e', 'n', 'd', '|', '>');
	GIVES("     he<table", 0, SPACES, ' ', 256, '<', 't', 'a', 'b', 'l', 'e');
	CHECK(tokenizer_is_eog(t, END) && !tokenizer_is_eog(t, USER));
	CHECK(tokenizer_is_control(t, USER) && !tokenizer_is_control(t, TABLE));
	CHECK(tokenizer_is_shown(t, TABLE) && !tokenizer_is_shown(t, END));
	CHECK(!tokenizer_is_control(t, MORE) && !tokenizer_is_shown(t, MORE));
	CHECK_EQ(tokenizer_n_tokens(t), MORE);
	CHECK_EQ(tokenizer_bos(t), BOS);
	CHECK_EQ(tokenizer_eos(t), TOKENIZER_NONE);
	CHECK_EQ(tokenizer_eot(t), END);
	CHECK_STR(tokenizer_kind(t), "BPE gpt-2");
	CHECK(!tokenizer_note(t));
	CHECK(!tokenizer_piece(t, MORE, &(uint32_t){0}));
}

/* Whatever the text: without the flag no id of a control token. */
static void check_law(const struct tokenizer *t)
{
	static const char *const bits[] = {"<|end|>", "<|", "end", "|>",   "<s>",     "<|user|>",
					   "he",      "<",  " ",   "    ", "<table>", "s>"};
	uint32_t seed = 7;

	for (int round = 0; round < 3000; round++) {
		char text[256] = "";
		struct tokenizer_input in = {.text = text};
		struct tokenizer_ids got = {0};

		for (int i = 0; i < 12; i++) {
			seed = seed * 1664525 + 1013904223;
			strcat(text, bits[(seed >> 16) % (sizeof(bits) / sizeof(bits[0]))]);
		}
		in.len = strlen(text);
		CHECK_EQ(tokenizer_encode(t, &in, &got, NULL), 0);
		for (size_t i = 0; i < got.n; i++)
			CHECK(!tokenizer_is_control(t, got.ids[i]));
		tokenizer_ids_exit(&got);
	}
}

/* Where a piece that is a token is taken whole, a piece spelled like a control token is not. */
static void check_whole_pieces(struct gguf_image *im)
{
	static const struct vocab_image_token more[] = {
		{"abc", VOCAB_CONTROL}, {"def", VOCAB_NORMAL}, {NULL, 0}};
	struct tokenizer *t;

	vocab_image_bpe(im, "llama3", more, 1);
	image_key_u32(im, "tokenizer.ggml.bos_token_id", 260);
	t = vocab_image_open(im);
	if (t) {
		GIVES("abc", 0, 'a', 'b', 'c');
		GIVES("abc", TOKENIZER_PARSE_SPECIAL, 260);
		GIVES("def", 0, 261);
		GIVES("defx", 0, 'd', 'e', 'f', 'x');
		GIVES("def", TOKENIZER_ADD_BOS, 260, 261);
		CHECK_STR(tokenizer_kind(t), "BPE llama-bpe");
	}
	tokenizer_destroy(t);
}

/* One tokenizer, two threads: each gets its own ids. */
static void *encode_often(void *arg)
{
	static const char text[] = "hello hell <table>     \xc3\xa9 12 'll\n\n he";
	const struct tokenizer *t = arg;
	struct tokenizer_input in = {.text = text, .len = sizeof(text) - 1};
	struct tokenizer_ids first = {0}, again = {0};
	uintptr_t n_wrong = (uintptr_t)tokenizer_encode(t, &in, &first, NULL);

	for (int i = 0; i < 300; i++) {
		again.n = 0;
		n_wrong += tokenizer_encode(t, &in, &again, NULL) != 0 || again.n != first.n ||
			   memcmp(again.ids, first.ids, first.n * sizeof(*first.ids));
	}
	tokenizer_ids_exit(&first);
	tokenizer_ids_exit(&again);
	return (void *)n_wrong;
}

static void check_threads(struct tokenizer *t)
{
	pthread_t thread;
	void *n_wrong = NULL;

	CHECK_EQ(pthread_create(&thread, NULL, encode_often, t), 0);
	CHECK(!encode_often(t));
	CHECK_EQ(pthread_join(thread, &n_wrong), 0);
	CHECK(!n_wrong);
}

/* Ill-formed text: the offset of the first bad byte, and the ids are as they were. */
static void check_bad_text(const struct tokenizer *t)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{"hello \xff!", "text of 8 bytes is no UTF-8: byte 6 is 0xff"},
		{"0123456789abcdef\xc3", "text of 17 bytes is no UTF-8: byte 16 is 0xc3"},
		{"\xed\xa0\x80", "text of 3 bytes is no UTF-8: byte 0 is 0xed"},
		{"a\xc0\x80", "text of 3 bytes is no UTF-8: byte 1 is 0xc0"},
		{"\xf4\x90\x80\x80", "text of 4 bytes is no UTF-8: byte 0 is 0xf4"},
	};
	struct tokenizer_ids ids = {0};
	struct error err = {0};
	struct tokenizer_input in = {.text = "he", .len = 2};

	CHECK_EQ(tokenizer_encode(t, &in, &ids, &err), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		in = (struct tokenizer_input){.text = cases[i].text, .len = strlen(cases[i].text)};
		CHECK_EQ(tokenizer_encode(t, &in, &ids, &err), -EILSEQ);
		CHECK_STR(err.text, cases[i].sentence);
		CHECK_EQ(ids.n, 1);
	}
	in = (struct tokenizer_input){.text = "h\0e", .len = 3};
	CHECK_EQ(tokenizer_encode(t, &in, &ids, &err), 0);
	CHECK(ids.n == 4 && ids.ids[2] == 0);
	in = (struct tokenizer_input){.text = "x", .len = TOKENIZER_TEXT_MAX + 1ul};
	CHECK_EQ(tokenizer_encode(t, &in, &ids, &err), -E2BIG);
	CHECK_STR(err.text, "text has 67108865 bytes, at most 67108864 supported");
	tokenizer_ids_exit(&ids);
}

static void check_spm(const struct gguf_image *im)
{
	struct tokenizer *t = vocab_image_open(im);

	if (!t)
		return;
	GIVES("ab", 0, 263);
	GIVES("ab", TOKENIZER_ADD_BOS, 1, 263);
	GIVES("aab", 0, 259, 264);
	GIVES(SPACE_AB, 0, 259, 263);
	GIVES("b\n", 0, 259, 261, 3 + '\n');
	GIVES("</s>", 0, 259, 3 + '<', 3 + '/', 3 + 's', 3 + '>');
	GIVES("<0x0A>", 0, 259, 3 + '<', 3 + '0', 3 + 'x', 3 + '0', 3 + 'A', 3 + '>');
	GIVES("ab</s>ab", TOKENIZER_PARSE_SPECIAL, 263, 2, 263);
	GIVES("", TOKENIZER_ADD_BOS, 1);
	CHECK_EQ(tokenizer_bos(t), 1);
	CHECK_EQ(tokenizer_eos(t), 2);
	CHECK_EQ(tokenizer_unk(t), 0);
	CHECK(tokenizer_adds_bos(t) && !tokenizer_adds_eos(t));
	CHECK_STR(tokenizer_kind(t), "SPM");
	tokenizer_destroy(t);
}

/* A vocabulary that must be refused with this code and this sentence. */
static void refuses(const struct gguf_image *im, int code, const char *sentence)
{
	struct tokenizer *t = NULL;
	struct error err = {0};
	struct gguf *g = NULL;

	CHECK_EQ(gguf_open_memory(im->data, im->n, &g, &err), 0);
	CHECK_EQ(tokenizer_create(g, &t, &err), code);
	CHECK_STR(err.text, sentence);
	CHECK(!t);
	tokenizer_destroy(t);
	gguf_close(g);
}

static void check_refusals(struct gguf_image *im)
{
	static char text[2 * TOKENIZER_TOKEN_TEXT_MAX + 2];
	const struct vocab_image_token longer[] = {{text, VOCAB_NORMAL}, {NULL, 0}};
	uint32_t id_off;

	image_begin(im, 0, 0);
	refuses(im, -ENOENT, "metadata key tokenizer.ggml.model is missing");
	image_begin(im, 0, 1);
	image_key_str(im, "tokenizer.ggml.model", "t5");
	refuses(im, -ENOTSUP, "tokenizer.ggml.model is t5, known are: gpt2 llama");
	vocab_image_bpe(im, "klingon", NULL, 0);
	refuses(im, -ENOTSUP,
		"tokenizer.ggml.pre is klingon, known are: default gpt-2 mpt smollm starcoder "
		"refact "
		"command-r falcon llama-bpe qwen2 qwen35 deepseek-llm deepseek-coder");
	memset(text, 'x', TOKENIZER_TOKEN_TEXT_MAX + 1);
	vocab_image_bpe(im, "gpt-2", longer, 0);
	refuses(im, -EINVAL, "token 260: text of 513 bytes, at most 512 supported");
	memset(text, 0, sizeof(text));
	for (size_t i = 0; i < 171; i++)
		memcpy(text + 2 * i, "\xc4\xa2", 2); /* spells the byte 0x80 */
	vocab_image_bpe(im, "gpt-2", longer, 0);
	refuses(im, -EINVAL, "token 260: 171 bytes that are no UTF-8, at most 170 supported");
	vocab_image_bpe(im, "gpt-2", NULL, 1);
	image_key_u32(im, "tokenizer.ggml.eos_token_id", 260);
	refuses(im, -EINVAL, "tokenizer.ggml.eos_token_id is 260, the vocabulary has 260 tokens");
	vocab_image_bpe(im, "llama-bpe", NULL, 0);
	refuses(im, -EINVAL,
		"prompts of this vocabulary begin with BOS, but tokenizer.ggml.bos_token_id is "
		"missing");
	vocab_image_spm(im, 0);
	im->data[im->n - 1] = 0x7f; /* the last score, -1, becomes a NaN */
	im->data[im->n - 2] = 0xc0;
	refuses(im, -EINVAL, "tokenizer.ggml.scores: element 264 is not a number");
	vocab_image_spm(im, 0);
	id_off = (uint32_t)((uint8_t *)memmem(im->data, im->n, "<0x0A>", 6) - im->data);
	im->data[id_off + 4] = 'G';
	refuses(im, -EINVAL, "token 13 is of type BYTE, <0x0G> is not <0xNN>");
}

int main(void)
{
	struct gguf_image im = {0};
	struct tokenizer *t;

	vocab_image_bpe(&im, "gpt-2", added, 2);
	image_key_u32(&im, "tokenizer.ggml.bos_token_id", BOS);
	image_key_bool(&im, "tokenizer.ggml.add_bos_token", 1);
	t = vocab_image_open(&im);
	if (t) {
		check_bpe(t);
		check_law(t);
		check_bad_text(t);
		check_threads(t);
	}
	tokenizer_destroy(t);
	check_whole_pieces(&im);
	vocab_image_spm(&im, 0);
	check_spm(&im);
	check_refusals(&im);
	image_exit(&im);
	return test_done();
}
