/* SPDX-License-Identifier: MIT */
/*
 * Every wrong body ends its request with the right status, field, two numbers and a sentence that
 * names them; every good one reaches the sched with what it said; tenants take turns at the
 * tokenizer.
 * Marks: san
 */
#include <errno.h>
#include <math.h>

#include "tests/tiny_daemon.h"

/* What a client reads of a request's END. */
struct outcome {
	struct llm_end end;
	bool has_ended;
};

static struct tiny t;
static struct tiny_client k;
static uint32_t number;

static struct outcome run(const struct tiny_body *b)
{
	struct outcome o = {0};
	const unsigned char *at;
	struct llm_record r;

	tiny_submit(k.s, ++number, b);
	intake_run(&t.d);
	outflow_flush(&t.d);
	while (tiny_next(&k, &r, &at)) {
		CHECK_EQ(r.type, LLM_RECORD_END);
		memcpy(&o.end, at, sizeof(o.end));
		o.has_ended = true;
	}
	llm_ring_give(&k.ring);
	return o;
}

struct want {
	int status;
	enum llm_field field;
	const char *message;
};

static void refused(const struct tiny_body *b, const struct want *w)
{
	struct outcome o = run(b);

	CHECK_EQ(o.has_ended, true);
	CHECK_EQ(o.end.reason, LLM_END_ERROR);
	CHECK_EQ(o.end.status, w->status);
	CHECK_EQ(o.end.err_field, w->field);
	CHECK_STR(o.end.message, w->message);
	request_reap(&t.d);
	CHECK_EQ(t.d.n_requests, 0);
}

/* A good body that ids have been added to. */
static struct llm_body *good(struct tiny_body *b)
{
	static const uint32_t ids[3] = {1, 2, 3};
	struct llm_body *h = tiny_body_begin(b);

	tiny_body_add(b, LLM_TLV_IDS, ids, sizeof(ids));
	return h;
}

#define REFUSED(code, what, text) \
	refused(&b, &(struct want){.status = (code), .field = (what), .message = (text)})

static void test_header(void)
{
	struct tiny_body b;

	good(&b);
	b.len = 63;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body has 63 bytes, at least 64 expected");
	good(&b)->size = 60;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body's header says 60 bytes, 64 to 88 expected");
	good(&b)->size = 0xfffffff8;
	REFUSED(-EINVAL, LLM_FIELD_BODY,
		"the body's header says 4294967288 bytes, 64 to 88 expected");
	/* A longer header is fine while it says nothing new. */
	good(&b);
	memmove(b.bytes + 72, b.bytes + 64, 24);
	memset(b.bytes + 64, 0, 8);
	((struct llm_body *)b.bytes)->size = 72;
	b.len += 8;
	CHECK_EQ(run(&b).has_ended, false);
	request_cancel(t.d.requests);
	run(&b);
	request_cancel(t.d.requests);
	b.bytes[70] = 1;
	REFUSED(-E2BIG, LLM_FIELD_BODY,
		"the body's header of 72 bytes says more than this llmd knows (64)");
	good(&b)->flags = 0x80;
	REFUSED(-EINVAL, LLM_FIELD_FLAGS, "flags are 0x80, known are 0xf");
	good(&b)->flags |= LLM_BODY_ECHO;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_FLAGS,
		"LLM_BODY_ECHO (the prompt comes back): not in this version of llmd");
	good(&b)->pad = 7;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "padding of the body is 7, 0 expected");
	good(&b)->n_tlvs = 65;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body has 65 parts, at most 64 expected");
}

static void test_numbers(void)
{
	struct tiny_body b;
	struct llm_body *h;

	good(&b)->max_tokens = 0;
	REFUSED(-EINVAL, LLM_FIELD_MAX_TOKENS, "max_tokens is 0, at least 1 expected");
	h = good(&b);
	h->max_tokens = 4;
	h->min_tokens = 5;
	REFUSED(-EINVAL, LLM_FIELD_MIN_TOKENS, "min_tokens is 5, max_tokens only 4");
	good(&b)->temperature = -1;
	REFUSED(-EINVAL, LLM_FIELD_TEMPERATURE, "temperature is -1, 0 or more expected");
	good(&b)->temperature = INFINITY;
	REFUSED(-EINVAL, LLM_FIELD_TEMPERATURE, "temperature is inf, 0 or more expected");
	good(&b)->temperature = NAN;
	REFUSED(-EINVAL, LLM_FIELD_TEMPERATURE, "temperature is nan, 0 or more expected");
	good(&b)->top_p = 0;
	REFUSED(-EINVAL, LLM_FIELD_TOP_P, "top_p is 0, above 0 to 1 expected");
	good(&b)->top_p = 1.5f;
	REFUSED(-EINVAL, LLM_FIELD_TOP_P, "top_p is 1.5, above 0 to 1 expected");
	good(&b)->top_p = NAN;
	REFUSED(-EINVAL, LLM_FIELD_TOP_P, "top_p is nan, above 0 to 1 expected");
	good(&b)->min_p = NAN;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_MIN_P,
		"min_p (0 turns it off): not in this version of llmd");
	good(&b)->repetition_penalty = 1.1f;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_PENALTY,
		"repetition_penalty (1 turns it off): not in this version of llmd");
	good(&b)->presence_penalty = -0.5f;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_PENALTY,
		"presence_penalty (0 turns it off): not in this version of llmd");
	good(&b)->frequency_penalty = 1;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_PENALTY,
		"frequency_penalty (0 turns it off): not in this version of llmd");
	good(&b)->n_logprobs = 1;
	REFUSED(-EOPNOTSUPP, LLM_FIELD_LOGPROBS,
		"n_logprobs (0 turns it off): not in this version of llmd");
	/* -0 is off as well. */
	h = good(&b);
	h->min_p = -0.0f;
	CHECK_EQ(run(&b).has_ended, false);
	request_cancel(t.d.requests);
}

static void test_walk(void)
{
	struct tiny_body b;
	struct llm_tlv *tlv = (struct llm_tlv *)(b.bytes + 64);

	tiny_body_begin(&b);
	REFUSED(-EINVAL, LLM_FIELD_PROMPT, "the body has no prompt: neither text nor ids");
	good(&b)->n_tlvs = 2;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body ends after 1 of 2 parts");
	good(&b)->n_tlvs = 0;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body has 24 bytes behind its 0 parts");
	good(&b);
	tlv->len = 17;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "part 0 of the body has 17 bytes, 16 are left");
	good(&b);
	tlv->len = 0xffffffff;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "part 0 of the body has 4294967295 bytes, 16 are left");
	good(&b);
	b.bytes[b.len - 1] = 1;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "part 0 of the body: padding is not zero");
	good(&b);
	tlv->type = 0;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body has a part of type 0, known are 1 to 15");
	good(&b);
	tlv->type = 16;
	REFUSED(-EINVAL, LLM_FIELD_BODY, "the body has a part of type 16, known are 1 to 15");
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_TEXT, "x", 1);
	tiny_body_add(&b, LLM_TLV_IDS, "\1\0\0\0", 4);
	REFUSED(-EINVAL, LLM_FIELD_IDS, "the prompt came as text and as ids, one of them expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_PRIORITY, "\1\0\0\0", 4);
	tiny_body_add(&b, LLM_TLV_PRIORITY, "\2\0\0\0", 4);
	REFUSED(-EINVAL, LLM_FIELD_PRIORITY, "priority came twice");
}

static void test_later(void)
{
	static const struct {
		uint32_t type;
		enum llm_field field;
		const char *message;
	} later[] = {
		{LLM_TLV_MESSAGES, LLM_FIELD_MESSAGES, "chat messages"},
		{LLM_TLV_TOOLS, LLM_FIELD_TOOLS, "tools"},
		{LLM_TLV_ADD_GENERATION_PROMPT, LLM_FIELD_MESSAGES, "add_generation_prompt"},
		{LLM_TLV_LOGIT_BIAS, LLM_FIELD_LOGIT_BIAS, "logit_bias"},
		{LLM_TLV_ADAPTER, LLM_FIELD_ADAPTER, "adapter"},
		{LLM_TLV_GRAMMAR, LLM_FIELD_GRAMMAR, "grammar"},
		{LLM_TLV_EMBEDDING, LLM_FIELD_BODY, "embedding output"},
		{LLM_TLV_IMAGE, LLM_FIELD_IMAGE, "images"},
	};
	struct tiny_body b;
	char message[128];

	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		good(&b);
		tiny_body_add(&b, later[i].type, "[]", 2);
		snprintf(message, sizeof(message), "%s: not in this version of llmd",
			 later[i].message);
		REFUSED(-EOPNOTSUPP, later[i].field, message);
	}
}

static void test_prompts(void)
{
	static uint32_t ids[TINY_CONTEXT];
	struct tiny_body b;
	struct outcome o;

	tiny_body_begin(&b)->flags = 0;
	tiny_body_add(&b, LLM_TLV_TEXT, "hello", 5);
	REFUSED(-EOPNOTSUPP, LLM_FIELD_PROMPT,
		"chat templates are not in this version of llmd: set LLM_BODY_RAW to send the "
		"prompt as it is");
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_TEXT, "abc\377def", 7);
	REFUSED(-EILSEQ, LLM_FIELD_PROMPT, "prompt: invalid UTF-8 at byte 3 of 7");
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_IDS, "abc", 3);
	REFUSED(-EINVAL, LLM_FIELD_IDS, "prompt has no ids");
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_IDS, "abcdef", 6);
	REFUSED(-EINVAL, LLM_FIELD_IDS, "ids of 6 bytes: not a multiple of 4");
	ids[2] = TINY_BPE_VOCAB;
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_IDS, ids, 12);
	REFUSED(-EINVAL, LLM_FIELD_IDS, "id 512 at 2 is not in the vocabulary of 512");
	ids[2] = 0;
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids));
	o = run(&b);
	CHECK_EQ(o.end.status, -E2BIG);
	CHECK_EQ(o.end.got, 1024);
	CHECK_EQ(o.end.limit, 1024);
	CHECK_STR(o.end.message, "prompt has 1024 tokens, model context is 1024");
	/* The last that fits, with the one token that fits behind it. */
	tiny_body_begin(&b)->max_tokens = 2;
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids) - 4);
	REFUSED(-E2BIG, LLM_FIELD_MAX_TOKENS,
		"prompt of 1023 tokens and max_tokens of 2 are 1025, model context is 1024");
	tiny_body_begin(&b);
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids) - 4);
	CHECK_EQ(run(&b).has_ended, false);
	CHECK_EQ(t.d.requests->seq.max_tokens, 1);
	CHECK_EQ(t.d.requests->seq.n_prompt, 1023);
	request_cancel(t.d.requests);
	tiny_body_begin(&b)->min_tokens = 2;
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids) - 4);
	run(&b);
	CHECK_EQ(t.d.n_requests, 0);
	CHECK_EQ(k.s->tenant->reserved_tokens, 0);
}

static char text[200000];

static void test_text(void)
{
	struct llm_packet head = {.type = LLM_PACKET_SUBMIT};
	struct tiny_body small;
	struct llm_tlv tlv = {LLM_TLV_TEXT, 0};
	static _Alignas(8) unsigned char body[sizeof(text) + 80];
	struct outcome o;

	/* More tokens than the context, counted. */
	memset(text, 'q', sizeof(text));
	tiny_body_begin(&small);
	tiny_body_add(&small, LLM_TLV_TEXT, text, 8000);
	o = run(&small);
	CHECK_EQ(o.end.status, -E2BIG);
	CHECK_EQ(o.end.limit, TINY_CONTEXT);
	CHECK(o.end.got > TINY_CONTEXT && o.end.got <= 8001);
	CHECK(strstr(o.end.message, "tokens, model context is 1024") != NULL);
	/* BOS, and bytes that no merge knows, a token each: exactly one too many. */
	CHECK_EQ(tokenizer_adds_bos(t.d.tokenizer), true);
	memset(text, 1, TINY_CONTEXT);
	tiny_body_begin(&small);
	tiny_body_add(&small, LLM_TLV_TEXT, text, TINY_CONTEXT - 1);
	o = run(&small);
	CHECK_STR(o.end.message, "prompt has 1024 tokens, model context is 1024");
	memset(text, 'q', sizeof(text));
	/* More text than a context can hold: not even looked at. */
	tiny_body_begin(&small);
	tlv.len = sizeof(text);
	memcpy(body, small.bytes, 64);
	((struct llm_body *)body)->n_tlvs = 1;
	memcpy(body + 64, &tlv, 8);
	memset(body + 72, 'q', sizeof(text));
	head.request_id = ++number;
	intake_submit(k.s, &head, body, 72 + sizeof(text));
	CHECK_EQ(t.d.n_requests, 0);
	CHECK_EQ(t.d.ended->end.status, -E2BIG);
	CHECK_EQ(t.d.ended->end.got, 200000);
	CHECK(t.d.ended->end.limit < 200000);
	outflow_flush(&t.d);
	/* The empty prompt is BOS. */
	tiny_body_begin(&small);
	tiny_body_add(&small, LLM_TLV_TEXT, "", 0);
	run(&small);
	CHECK_EQ(t.d.requests->seq.n_prompt, 1);
	request_cancel(t.d.requests);
	/* Text that looks like a control token is text. */
	tiny_body_begin(&small);
	tiny_body_add(&small, LLM_TLV_TEXT, "<|eos|>", 7);
	run(&small);
	CHECK(t.d.requests && t.d.requests->seq.n_prompt > 1);
	for (uint32_t i = 0; t.d.requests && i < t.d.requests->seq.n_prompt; i++)
		CHECK(t.d.requests->seq.ids[i] != TINY_EOS);
	CHECK(t.d.requests->prompt == NULL);
	request_cancel(t.d.requests);
}

static void test_rest(void)
{
	struct tiny_body b;
	uint32_t stop_ids[65] = {0};
	uint64_t ns = 5000000000;
	char stop[257];
	struct request *r;

	memset(stop, 's', sizeof(stop));
	good(&b);
	tiny_body_add(&b, LLM_TLV_STOP, stop, 257);
	REFUSED(-EINVAL, LLM_FIELD_STOP, "a stop string has 257 bytes, 1 to 256 expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "", 0);
	REFUSED(-EINVAL, LLM_FIELD_STOP, "a stop string has 0 bytes, 1 to 256 expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "\xc3", 1);
	REFUSED(-EILSEQ, LLM_FIELD_STOP, "a stop string: invalid UTF-8 at byte 0 of 1");
	good(&b);
	for (int i = 0; i < 17; i++)
		tiny_body_add(&b, LLM_TLV_STOP, stop, 9);
	REFUSED(-EINVAL, LLM_FIELD_STOP, "more than 16 stop strings");
	good(&b);
	tiny_body_add(&b, LLM_TLV_STOP_IDS, stop_ids, sizeof(stop_ids));
	REFUSED(-EINVAL, LLM_FIELD_STOP, "65 stop ids, 1 to 64 expected");
	good(&b);
	stop_ids[0] = 77777;
	tiny_body_add(&b, LLM_TLV_STOP_IDS, stop_ids, 4);
	REFUSED(-EINVAL, LLM_FIELD_STOP, "id 77777 at 0 is not in the vocabulary of 512");
	good(&b);
	tiny_body_add(&b, LLM_TLV_MODEL, "ti\nny", 5);
	REFUSED(-ENOENT, LLM_FIELD_MODEL, "model \"ti?ny\" was asked for, \"tiny\" is loaded");
	good(&b);
	tiny_body_add(&b, LLM_TLV_MODEL, stop, 129);
	REFUSED(-EINVAL, LLM_FIELD_MODEL, "the model's name has 129 bytes, 1 to 128 expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_DEADLINE_NS, &ns, 4);
	REFUSED(-EINVAL, LLM_FIELD_DEADLINE, "the deadline has 4 bytes, 8 expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_DEADLINE_NS, "\0\0\0\0\0\0\0\0", 8);
	REFUSED(-EINVAL, LLM_FIELD_DEADLINE,
		"the deadline is 0 ns, 1 to 1152921504606846976 expected");
	good(&b);
	tiny_body_add(&b, LLM_TLV_PRIORITY, "", 0);
	REFUSED(-EINVAL, LLM_FIELD_PRIORITY, "the priority has 0 bytes, 4 expected");
	/* All of it right. */
	good(&b)->seed = 42;
	stop_ids[0] = 9;
	((struct llm_body *)b.bytes)->min_tokens = 3;
	tiny_body_add(&b, LLM_TLV_MODEL, "tiny", 4);
	tiny_body_add(&b, LLM_TLV_DEADLINE_NS, &ns, 8);
	tiny_body_add(&b, LLM_TLV_PRIORITY, "\xfe\xff\xff\xff", 4);
	tiny_body_add(&b, LLM_TLV_STOP, "foo", 3);
	tiny_body_add(&b, LLM_TLV_STOP, "bar", 3);
	tiny_body_add(&b, LLM_TLV_STOP_IDS, stop_ids, 8);
	CHECK_EQ(run(&b).has_ended, false);
	r = t.d.requests;
	CHECK_EQ(r->seq.priority, -2);
	CHECK_EQ(r->params.seed, 42);
	CHECK_EQ(stop_count(r->stops), 2);
	CHECK_EQ(r->n_stop_ids, 2);
	CHECK_EQ(r->params.n_banned, 3);
	CHECK_EQ(r->banned[0], TINY_EOS);
	CHECK_EQ(r->seq.max_tokens, TINY_CONTEXT - 3);
	CHECK_EQ(request_next_deadline(&t.d), r->times.arrived_ns + ns);
	CHECK_EQ(r->state, REQUEST_ACTIVE);
	request_cancel(r);
	CHECK_EQ(request_next_deadline(&t.d), 0);
}

/* A tenant with twenty long prompts and one with a short one: the short one is second at most. */
static void test_turns(void)
{
	struct session *a, *b;
	struct tiny_body long_one, short_one;
	struct tiny_client ka, kb;
	uint32_t n_turns = 0;

	tiny_init(&t);
	tiny_tokenizer(&t);
	memset(text, 'q', sizeof(text));
	/* One prompt spends a turn. */
	tiny_body_begin(&long_one);
	tiny_body_add(&long_one, LLM_TLV_TEXT, text, 8000);
	tiny_body_begin(&short_one);
	tiny_body_add(&short_one, LLM_TLV_TEXT, "hi", 2);
	tiny_attach(&ka, tiny_session(&t, 100, 1u << 18));
	a = ka.s;
	tiny_attach(&kb, tiny_session(&t, 2, 8192));
	b = kb.s;
	tenant_put(t.d.tenants, b->tenant);
	b->tenant = tenant_get(t.d.tenants, 2);
	for (uint32_t i = 1; i <= 40; i++)
		tiny_submit(a, i, &long_one);
	tiny_submit(b, 1, &short_one);
	CHECK_EQ(t.d.n_requests, 41);
	/* Two of 8,000 bytes make a turn; in the first one the short one stands between them. */
	CHECK_EQ(intake_run(&t.d), true);
	CHECK_EQ(b->requests->state, REQUEST_ACTIVE);
	CHECK_EQ(t.d.n_requests, 40);
	/* One in the queue is canceled. */
	request_cancel(a->last_request);
	do
		n_turns++;
	while (intake_run(&t.d));
	CHECK_EQ(n_turns, 19);
	for (uint32_t i = 50; i <= 60; i++)
		tiny_submit(a, i, &long_one);
	session_destroy(a);
	CHECK(t.d.intake_turn == NULL);
	tiny_detach(&ka);
	tiny_detach(&kb);
	tiny_exit(&t);
}

static void test_daemon(void)
{
	struct tiny_body b;

	good(&b);
	t.config.limits.max_requests = 1;
	tiny_submit(k.s, ++number, &b);
	CHECK_EQ(t.d.n_requests, 1);
	tiny_submit(k.s, ++number, &b);
	CHECK_EQ(t.d.ended->end.status, -ENOBUFS);
	CHECK_STR(t.d.ended->end.message, "the daemon has 2 requests, at most 1 are allowed");
	request_cancel(t.d.requests);
	t.d.is_draining = true;
	outflow_flush(&t.d);
	request_reap(&t.d);
	tiny_submit(k.s, ++number, &b);
	CHECK_EQ(t.d.ended->end.status, -ESHUTDOWN);
}

int main(void)
{
	tiny_init(&t);
	tiny_tokenizer(&t);
	tiny_attach(&k, tiny_session(&t, 4, 65536));
	test_header();
	test_numbers();
	test_walk();
	test_later();
	test_prompts();
	test_text();
	test_rest();
	test_daemon();
	tiny_detach(&k);
	tiny_exit(&t);
	test_turns();
	return test_done();
}
