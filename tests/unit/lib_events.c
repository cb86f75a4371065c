/* SPDX-License-Identifier: MIT */
/*
 * llm_next() and llm_seen(): records become events, tokens are neither lost nor repeated nor taken
 * from a daemon that lies, and 10,000 records pass through a ring of two.
 *
 * Marks: san
 */
#include <poll.h>

#include "tests/fake_llmd.h"

static void test_tokens_and_end(void)
{
	struct llm_end end = {.reason = LLM_END_LENGTH,
			      .err_field = LLM_FIELD_NONE,
			      .got = 11,
			      .limit = 12,
			      .prompt_tokens = 13,
			      .cached_tokens = 14,
			      .generated_tokens = 15,
			      .preemptions = 16,
			      .queue_ns = 17,
			      .tokenize_ns = 18,
			      .prefill_ns = 19,
			      .decode_ns = 20,
			      .message = "said"};
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 42);

	CHECK_EQ(llm_next(s, &ev, 0), 0);
	fake_tokens(&f, id, 0, 3, "h\xc3\xa9llo");
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK(fake_publish(&f));
	memset(&ev, 0xff, sizeof(ev));
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.type, LLM_EVENT_TOKENS);
	CHECK(ev.id == id);
	CHECK_EQ(ev.user_data, 42);
	CHECK_EQ(ev.n, 3);
	CHECK(ev.ids[0] == 1000 && ev.ids[1] == 1001 && ev.ids[2] == 1002);
	CHECK_EQ(ev.first_index, 0);
	CHECK_EQ(ev.text_len, 6);
	CHECK(!memcmp(ev.text, "h\xc3\xa9llo", 6));
	CHECK_EQ(ev.produced_ns, 5);
	CHECK_STR(ev.message, "");
	/* Awake: the daemon need not kick. */
	CHECK(!fake_publish(&f));
	/* Text that was held back comes alone. */
	fake_tokens(&f, id, 3, 0, "!");
	fake_record(&f, LLM_RECORD_END, id, &end, sizeof(end));
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.n, 0);
	CHECK(ev.text_len == 1 && ev.text[0] == '!');
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.type, LLM_EVENT_END);
	CHECK_EQ(ev.user_data, 42);
	CHECK_EQ(ev.reason, LLM_REASON_LENGTH);
	CHECK_EQ(ev.status, 0);
	CHECK(ev.got == 11 && ev.limit == 12 && ev.prompt_tokens == 13 && ev.cached_tokens == 14);
	CHECK(ev.generated_tokens == 15 && ev.preemptions == 16);
	CHECK(ev.queue_ns == 17 && ev.tokenize_ns == 18 && ev.prefill_ns == 19 &&
	      ev.decode_ns == 20);
	CHECK_STR(ev.message, "said");
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	llm_close(s);
	fake_exit(&f);
}

/* Space goes back when the program says so, and ROOM only when the daemon waits for it. */
static void test_seen(void)
{
	struct llm_event ev;
	struct fake_packet in;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 0), pos;

	fake_tokens(&f, id, 0, 1, "a");
	fake_tokens(&f, id, 1, 1, "b");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(f.c->pos, 0);
	CHECK(f.c->read > 0 && f.c->read < f.ring.pos);
	llm_seen(s);
	CHECK(f.c->pos == f.c->read);
	CHECK_EQ(fake_receive(&f, &in), 0);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK(llm_ring_stall(&f.ring, 4096) == 1);
	llm_seen(s);
	CHECK(f.c->pos == f.ring.pos);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_ROOM);
	llm_seen(s);
	CHECK_EQ(fake_receive(&f, &in), 0);
	llm_ring_unstall(&f.ring);
	/* Records of no interest give their space back by themselves. */
	pos = f.c->pos;
	fake_record(&f, 777, 0, "of tomorrow", 11);
	fake_record(&f, LLM_RECORD_LOGPROBS, id, "\0\0\0\0\0\0\0", 8);
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK(f.c->pos > pos && f.c->pos == f.ring.pos);
	/* But not while the program still holds events before them. */
	fake_tokens(&f, id, 2, 1, "c");
	fake_record(&f, 777, 0, "of tomorrow", 11);
	fake_publish(&f);
	pos = f.c->pos;
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK(f.c->pos == pos && !memcmp(ev.text, "c", 1));
	llm_seen(s);
	CHECK(f.c->pos == f.ring.pos);
	llm_close(s);
	fake_exit(&f);
}

/* What a daemon that was restarted may write again. */
static void test_repeats(void)
{
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, 4);
	uint64_t id = fake_submit(&f, s, 0), other = fake_submit(&f, s, 1);

	fake_tokens(&f, id, 0, 2, "ab");
	fake_tokens(&f, id, 0, 2, "ab");
	fake_tokens(&f, id, 1, 1, "b");
	fake_tokens(&f, id, 1, 0, "b");
	fake_tokens(&f, id, 0, 4, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.n, 2);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.n, 2);
	CHECK_EQ(ev.first_index, 2);
	CHECK(ev.ids[0] == 1002 && ev.ids[1] == 1003);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	llm_seen(s);
	fake_end(&f, id, LLM_END_EOS, 0, "");
	fake_end(&f, id, LLM_END_ERROR, -EIO, "again");
	fake_tokens(&f, id, 4, 1, "x");
	fake_end(&f, other, LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK(ev.id == id && ev.reason == LLM_REASON_EOS);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK(ev.id == other);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	llm_close(s);
	fake_exit(&f);
}

static struct llm_record *raw(struct fake *f)
{
	return (struct llm_record *)(void *)(f->data + (f->ring.pos & f->ring.mask));
}

/* Tells the what-th lie about the first of two requests; false when there is no such lie. */
static bool lie(struct fake *f, uint64_t id, int what)
{
	struct {
		struct llm_tokens t;
		uint32_t ids[2];
	} tokens = {.t = {.n = 2}};
	struct llm_end end = {.reason = LLM_END_EOS};

	switch (what) {
	case 0: /* ahead by more than the ring is long */
		f->p->pos = f->ring.pos + f->ring.capacity + 8;
		return true;
	case 1:
		f->p->pos = UINT64_MAX & ~7ull;
		return true;
	case 2:
	case 3:
	case 4:
	case 5:
		fake_tokens(f, id, 0, 1, "a");
		((struct llm_record *)(void *)f->data)->len =
			(const uint32_t[]){0, 16, 0xfffffff8, 61}[what - 2];
		break;
	case 6: /* a record that ends after P */
		raw(f)->len = 64;
		f->p->pos = 56;
		return true;
	case 7: /* more ids than the payload has */
		tokens.t.n = 3;
		fake_record(f, LLM_RECORD_TOKENS, id, &tokens, sizeof(tokens));
		break;
	case 8:
		tokens.t.n = 0x40000000;
		fake_record(f, LLM_RECORD_TOKENS, id, &tokens, sizeof(tokens));
		break;
	case 9:
		tokens.t.text_len = UINT32_MAX;
		fake_record(f, LLM_RECORD_TOKENS, id, &tokens, sizeof(tokens));
		break;
	case 10:
		fake_record(f, LLM_RECORD_TOKENS, id, &tokens, 16);
		break;
	case 11:
		tokens.t.pad = 1;
		fake_record(f, LLM_RECORD_TOKENS, id, &tokens, sizeof(tokens));
		break;
	case 12: /* a hole */
		fake_tokens(f, id, 1, 1, "a");
		break;
	case 13: /* half old, with text that cannot be cut */
		fake_tokens(f, id, 0, 1, "");
		fake_tokens(f, id, 0, 2, "ab");
		break;
	case 14: /* a request never made */
		fake_end(f, id + 100, LLM_END_EOS, 0, "");
		break;
	case 15:
		fake_end(f, id & 0xffffffff, LLM_END_EOS, 0, "");
		break;
	case 16:
		fake_end(f, 0, LLM_END_EOS, 0, "");
		break;
	case 17:
		raw(f)->flags = 0;
		fake_record(f, LLM_RECORD_END, id, &end, sizeof(end));
		((struct llm_record *)(void *)f->data)->flags = 1;
		break;
	case 18:
		fake_record(f, LLM_RECORD_END, id, &end, sizeof(end) - 8);
		break;
	case 19:
		memset(end.message, 'm', sizeof(end.message));
		fake_record(f, LLM_RECORD_END, id, &end, sizeof(end));
		break;
	case 20:
		end.status = 1;
		fake_record(f, LLM_RECORD_END, id, &end, sizeof(end));
		break;
	case 21:
		end.pad = 1;
		fake_record(f, LLM_RECORD_END, id, &end, sizeof(end));
		break;
	default:
		return false;
	}
	fake_publish(f);
	return true;
}

/* Every lie ends the session, each request with its END, and nothing after it is believed. */
static void test_lies(void)
{
	int what;

	for (what = 0;; what++) {
		struct llm_event ev;
		struct fake f;
		struct llm *s = fake_session(&f, 2);
		uint64_t id = fake_submit(&f, s, 1), other = fake_submit(&f, s, 2);
		bool is_one = lie(&f, id, what);

		if (is_one) {
			CHECK_EQ(llm_next(s, &ev, 0), 1);
			if (ev.type == LLM_EVENT_TOKENS && what == 13)
				CHECK_EQ(llm_next(s, &ev, 0), 1);
			CHECK_EQ(ev.type, LLM_EVENT_END);
			CHECK(ev.id == id);
			CHECK_EQ(ev.user_data, 1);
			CHECK_EQ(ev.reason, LLM_REASON_HOSTDOWN);
			CHECK_EQ(ev.status, -EPROTO);
			CHECK(strstr(ev.message, "broke the protocol"));
			CHECK_EQ(llm_next(s, &ev, 0), 1);
			CHECK(ev.id == other);
			CHECK_EQ(ev.user_data, 2);
			CHECK_EQ(llm_next(s, &ev, -1), -EPROTO);
			CHECK_EQ(llm_submit(s, &(struct llm_request)LLM_REQUEST_INIT, NULL),
				 -EPROTO);
			CHECK_EQ(llm_cancel(s, 0), -EPROTO);
			llm_seen(s);
			CHECK_EQ(llm_next(s, &ev, 0), -EPROTO);
		}
		llm_close(s);
		fake_exit(&f);
		if (!is_one)
			break;
	}
	CHECK_EQ(what, 22);
}

/* P moves back after it was believed. */
static void test_backwards(void)
{
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 1);

	fake_tokens(&f, id, 0, 1, "a");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	f.p->pos -= 8;
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.status, -EPROTO);
	CHECK_EQ(llm_next(s, &ev, 0), -EPROTO);
	llm_close(s);
	fake_exit(&f);
}

/* 10,000 records of all lengths through a ring of two requests' room, most of them across its end.
 */
static void test_wrap(void)
{
	char text[LLM_TOKENS_MAX_TEXT + 1];
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 0);
	uint32_t written = 0, next = 0, n_read = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	while (n_read < 10000) {
		while (written < 10000) {
			char *end = text + written * 7919u % sizeof(text);
			char c = *end;
			bool fits;

			*end = 0;
			fits = fake_tokens(&f, id, next, written % (LLM_TOKENS_MAX_IDS + 1), text);
			*end = c;
			if (!fits)
				break;
			next += written % (LLM_TOKENS_MAX_IDS + 1);
			written++;
		}
		fake_publish(&f);
		for (uint32_t n = 1 + n_read % 3; n && llm_next(s, &ev, 0) == 1; n--, n_read++) {
			bool is_right = ev.n == n_read % (LLM_TOKENS_MAX_IDS + 1) &&
					ev.text_len == n_read * 7919u % sizeof(text) &&
					!memcmp(ev.text, text, ev.text_len);

			for (uint32_t i = 0; i < ev.n; i++)
				is_right = is_right && ev.ids[i] == 1000 + ev.first_index + i;
			if (!is_right)
				CHECK_EQ(n_read, -1);
		}
		llm_seen(s);
	}
	CHECK_EQ(n_read, 10000);
	CHECK(f.ring.pos > 500 * 4096);
	llm_close(s);
	fake_exit(&f);
}

/* Many requests in flight at once, ended in another order: user_data and ids stay together. */
static void test_many_in_flight(void)
{
	enum { N = 61 };
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, N);
	uint64_t ids[N];
	unsigned n_wrong = 0;

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < N; i++)
			ids[i] = fake_submit(&f, s, 1000 + i);
		for (unsigned i = 0; i < N; i++)
			fake_end(&f, ids[(i * 7 + round) % N], LLM_END_EOS, 0, "");
		fake_publish(&f);
		for (unsigned i = 0; i < N; i++) {
			unsigned want = (i * 7 + round) % N;

			if (llm_next(s, &ev, 0) != 1 || ev.id != ids[want] ||
			    ev.user_data != 1000 + want)
				n_wrong++;
		}
		llm_seen(s);
	}
	CHECK_EQ(n_wrong, 0);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	llm_close(s);
	fake_exit(&f);
}

int main(void)
{
	test_tokens_and_end();
	test_seen();
	test_repeats();
	test_lies();
	test_backwards();
	test_wrap();
	test_many_in_flight();
	return test_done();
}
