/* SPDX-License-Identifier: MIT */
/*
 * Stop strings against a plain reference: every way to cut a text into tokens gives the same text,
 * held-back bytes are exactly the longest beginning of a stop string, and nothing is lost.
 * Marks: san
 */
#include <errno.h>

#include "daemon/stop.h"
#include "tests/test.h"

struct list {
	const char *strings[LLM_MAX_STOPS];
	uint32_t n;
};

/* Length of text before the stop, looking at all prefixes from the shortest; SIZE_MAX: no stop. */
static size_t reference(const struct list *l, const char *text, size_t len)
{
	for (size_t end = 1; end <= len; end++) {
		size_t longest = 0;

		for (uint32_t i = 0; i < l->n; i++) {
			size_t n = strlen(l->strings[i]);

			if (n <= end && !memcmp(text + end - n, l->strings[i], n) && n > longest)
				longest = n;
		}
		if (longest)
			return end - longest;
	}
	return SIZE_MAX;
}

static size_t reference_held(const struct list *l, const char *text, size_t len)
{
	size_t held = 0;

	for (uint32_t i = 0; i < l->n; i++)
		for (size_t n = 1; n < strlen(l->strings[i]) && n <= len; n++)
			if (!memcmp(text + len - n, l->strings[i], n) && n > held)
				held = n;
	return held;
}

/* Feeds text cut after byte i wherever bit i of cuts is set; checks all that is said. */
static void run(const struct list *l, const char *text, size_t len, unsigned cuts)
{
	struct stop_set *s;
	struct stop_result r = {0};
	size_t at = 0, want = reference(l, text, len);

	CHECK_EQ(stop_create(&s), 0);
	for (uint32_t i = 0; i < l->n; i++)
		CHECK_EQ(stop_add(s, l->strings[i], (uint32_t)strlen(l->strings[i])), 0);
	while (at < len && !r.is_stopped) {
		size_t n = 1;

		while (at + n < len && !(cuts >> (at + n - 1) & 1))
			n++;
		stop_feed(s, text + at, n, &r);
		at += r.n_taken;
		if (!r.is_stopped) {
			CHECK_EQ(r.n_taken, n);
			CHECK_EQ(r.n_held, reference_held(l, text, at));
		}
	}
	CHECK_EQ(r.is_stopped ? at - r.n_held : SIZE_MAX, want);
	stop_destroy(s);
}

/* All texts of length 9 over {a, b}, all cuts. */
static void test_all_splits(void)
{
	static const struct list lists[] = {
		{{"aab"}, 1},
		{{"abab"}, 1},
		{{"aaa", "ab"}, 2},
		{{"abba", "bb"}, 2},
		{{"bb", "abba", "babab"}, 3},
		{{"aabaabb", "b"}, 2},
		{{"abaababaab"}, 1},
	};

	for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
		for (unsigned bits = 0; bits < 512; bits++) {
			char text[9];

			for (unsigned i = 0; i < 9; i++)
				text[i] = bits >> i & 1 ? 'b' : 'a';
			for (unsigned cuts = 0; cuts < 256; cuts++)
				run(&lists[k], text, sizeof(text), cuts);
		}
}

static void test_characters(void)
{
	static const struct list l = {{"\xe2\x82\xac!", "\xc3\xa9"}, 2};
	static const char text[] = "a\xe2\x82\xac\xe2\x82\xac!b";

	for (unsigned cuts = 0; cuts < 256; cuts++)
		run(&l, text, sizeof(text) - 1, cuts);
}

static void test_bounds(void)
{
	struct stop_set *s;
	struct stop_result r;
	char longest[LLM_MAX_STOP_LEN + 1];

	memset(longest, 'x', sizeof(longest));
	CHECK_EQ(stop_create(&s), 0);
	CHECK_EQ(stop_add(s, longest, 0), -EINVAL);
	CHECK_EQ(stop_add(s, longest, LLM_MAX_STOP_LEN + 1), -EINVAL);
	for (uint32_t i = 0; i < LLM_MAX_STOPS; i++)
		CHECK_EQ(stop_add(s, longest, LLM_MAX_STOP_LEN), 0);
	CHECK_EQ(stop_add(s, longest, 1), -ENOSPC);
	CHECK_EQ(stop_count(s), LLM_MAX_STOPS);
	stop_feed(s, longest, LLM_MAX_STOP_LEN - 1, &r);
	CHECK_EQ(r.is_stopped, false);
	CHECK_EQ(r.n_held, LLM_MAX_STOP_LEN - 1);
	stop_feed(s, "", 0, &r);
	CHECK_EQ(r.n_held, LLM_MAX_STOP_LEN - 1);
	stop_feed(s, "y", 1, &r);
	CHECK_EQ(r.n_held, 0);
	stop_feed(s, longest, LLM_MAX_STOP_LEN + 1, &r);
	CHECK_EQ(r.is_stopped, true);
	CHECK_EQ(r.n_taken, LLM_MAX_STOP_LEN);
	stop_reset(s);
	stop_feed(s, "x", 1, &r);
	CHECK_EQ(r.n_held, 1);
	stop_destroy(s);
}

int main(void)
{
	test_all_splits();
	test_characters();
	test_bounds();
	return test_done();
}
