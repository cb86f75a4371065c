/* SPDX-License-Identifier: MIT */
/*
 * detokenizer: any bytes, cut in any way, become whole characters and the same text; nothing is
 * lost. Marks: san
 */
#include <errno.h>

#include "daemon/detokenizer.h"
#include "tests/vocab_image.h"

#define R "\xef\xbf\xbd" /* U+FFFD */

/* Pushes the bytes of a string as tokens 0..255; what comes out, terminated, flush included. */
static const char *through(struct detokenizer *d, const char *bytes, size_t len)
{
	static char out[8192];
	size_t n, total = 0;

	for (size_t i = 0; i < len; i++) {
		CHECK_EQ(detokenizer_push(d, (uint8_t)bytes[i], out + total, DETOKENIZER_PUSH_MAX,
					  &n),
			 0);
		total += n;
	}
	CHECK_EQ(detokenizer_flush(d, out + total, DETOKENIZER_PUSH_MAX, &n), 0);
	out[total + n] = 0;
	return out;
}

/* The examples of the Unicode Standard, tables 3-8 to 3-11, and a few more. */
static void check_substitution(const struct tokenizer *t)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"plain", "plain"},
		{"\xc3\xa9\xe6\x97\xa5\xf0\x9f\x9a\x80", "\xc3\xa9\xe6\x97\xa5\xf0\x9f\x9a\x80"},
		{"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A"},
		{"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A"},
		{"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B"},
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A"},
		{"\xe2\x82", R},
		{"\xf0\x9f\x9a", R},
		{"a\xf0\x9f\x9a"
		 "b",
		 "a" R "b"},
		{"\xf0\x9f\x9a\xc3\xa9", R "\xc3\xa9"},
		{"\xf5\xfe", R R},
	};
	struct detokenizer *d = NULL;

	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK_STR(through(d, cases[i].bytes, strlen(cases[i].bytes)), cases[i].text);
	detokenizer_destroy(d);
}

/* A character is emitted with the byte that completes it, not before. */
static void check_holding(const struct tokenizer *t)
{
	static const char rocket[] = "\xf0\x9f\x9a\x80";
	struct detokenizer *d = NULL;
	char out[DETOKENIZER_PUSH_MAX];
	size_t n;

	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(detokenizer_push(d, (uint8_t)rocket[i], out, sizeof(out), &n), 0);
		CHECK_EQ(n, i == 3 ? 4 : 0);
	}
	CHECK(!memcmp(out, rocket, 4));
	/* A control token between the bytes adds nothing and breaks nothing. */
	CHECK_EQ(detokenizer_push(d, 0xc3, out, sizeof(out), &n), 0);
	CHECK_EQ(detokenizer_push(d, 261, out, sizeof(out), &n), 0);
	CHECK_EQ(n, 0);
	CHECK_EQ(detokenizer_push(d, 0xa9, out, sizeof(out), &n), 0);
	CHECK(n == 2 && !memcmp(out, "\xc3\xa9", 2));
	/* What is refused changes nothing. */
	CHECK_EQ(detokenizer_push(d, 0xc3, out, sizeof(out), &n), 0);
	CHECK_EQ(detokenizer_push(d, 1000, out, sizeof(out), &n), -ERANGE);
	CHECK_EQ(detokenizer_push(d, 0xa9, out, DETOKENIZER_PUSH_MAX - 1, &n), -ENOSPC);
	CHECK_EQ(detokenizer_flush(d, out, DETOKENIZER_PUSH_MAX - 1, &n), -ENOSPC);
	CHECK_EQ(detokenizer_push(d, 0xa9, out, sizeof(out), &n), 0);
	CHECK_EQ(n, 2);
	detokenizer_destroy(d);
}

static void check_special(const struct tokenizer *t)
{
	struct detokenizer *d = NULL;
	char out[DETOKENIZER_PUSH_MAX];
	size_t n;

	CHECK_EQ(detokenizer_create(t, DETOKENIZER_SPECIAL, &d), 0);
	CHECK_EQ(detokenizer_push(d, 261, out, sizeof(out), &n), 0);
	CHECK(n == 7 && !memcmp(out, "<|end|>", 7));
	detokenizer_destroy(d);
}

/* The longest token after an incomplete character is the most that one push may emit. */
static void check_longest(const struct tokenizer *t)
{
	struct detokenizer *d = NULL;
	char out[DETOKENIZER_PUSH_MAX];
	size_t n;

	CHECK_EQ(tokenizer_longest(t), TOKENIZER_TOKEN_TEXT_MAX);
	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	CHECK_EQ(detokenizer_push(d, 0xf0, out, sizeof(out), &n), 0);
	CHECK_EQ(detokenizer_push(d, 260, out, sizeof(out), &n), 0);
	CHECK_EQ(n, DETOKENIZER_PUSH_MAX);
	CHECK(!memcmp(out, R "xxx", 6));
	detokenizer_destroy(d);
}

/* Random bytes: the text is well-formed, and a prefix of ids gives a prefix of the text. */
static void check_random(const struct tokenizer *t)
{
	static const uint8_t likely[] = {0xf0, 0x9f, 0x9a, 0x80, 0xe2, 0x82, 0xac, 0xc3, 0xa9, 'a'};
	char bytes[64], whole[1024];
	struct detokenizer *d = NULL;
	uint32_t seed = 1;

	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	for (int round = 0; round < 2000; round++) {
		size_t len = 1 + (unsigned)round % sizeof(bytes), n, total = 0;

		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			bytes[i] = (char)(seed >> 31 ? seed >> 24 : likely[(seed >> 16) % 10]);
		}
		snprintf(whole, sizeof(whole), "%s", through(d, bytes, len));
		for (size_t i = 0; i < len; i++) {
			char out[DETOKENIZER_PUSH_MAX];

			CHECK_EQ(detokenizer_push(d, (uint8_t)bytes[i], out, sizeof(out), &n), 0);
			CHECK(!memcmp(out, whole + total, n));
			total += n;
		}
		CHECK_EQ(detokenizer_flush(d, bytes, sizeof(bytes), &n), -ENOSPC);
		through(d, "", 0);
	}
	detokenizer_destroy(d);
}

int main(void)
{
	static char longest[TOKENIZER_TOKEN_TEXT_MAX + 1];
	const struct vocab_image_token more[] = {
		{longest, VOCAB_NORMAL}, {"<|end|>", VOCAB_CONTROL}, {NULL, 0}};
	struct gguf_image im = {0};
	struct tokenizer *t;

	memset(longest, 'x', TOKENIZER_TOKEN_TEXT_MAX);
	vocab_image_bpe(&im, "gpt-2", more, 0);
	t = vocab_image_open(&im);
	if (t) {
		check_substitution(t);
		check_holding(t);
		check_special(t);
		check_longest(t);
		check_random(t);
	}
	tokenizer_destroy(t);
	image_exit(&im);
	return test_done();
}
