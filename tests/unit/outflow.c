/* SPDX-License-Identifier: MIT */
/*
 * What drawn ids become: text in whole characters, stop strings across tokens, the ends of a
 * request (EOS, stop ids, lengths, cancel, deadline), and times that add up.
 * Marks: san
 */
#include <errno.h>

#include "daemon/fault.h"
#include "daemon/utf8.h"
#include "tests/tiny_daemon.h"

/* What the model says: bytes of a text, one token each, or ids. */
struct script {
	const char *text;
	const uint32_t *ids; /* instead of text */
	uint32_t n;
};

/* All that a client reads of one request. */
struct answer {
	char text[4096];
	uint32_t n_text, n_ids, n_records;
	uint32_t ids[TINY_CONTEXT];
	struct llm_end end;
	bool has_ended;
};

static struct tiny t;
static struct tiny_client k;
static uint32_t number;
static const struct script *script;

static uint32_t draw(const struct request *r)
{
	uint32_t i = r->n_output;

	if (i >= script->n)
		return TINY_EOS;
	if (script->ids)
		return script->ids[i];
	return TINY_BYTE + (uint32_t)(unsigned char)script->text[i];
}

static void read_records(struct answer *a)
{
	const unsigned char *at;
	struct llm_record r;
	struct llm_tokens h;

	while (tiny_next(&k, &r, &at)) {
		CHECK_EQ((uint32_t)r.request_id, number);
		CHECK_EQ(a->has_ended, false);
		if (r.type == LLM_RECORD_END) {
			memcpy(&a->end, at, sizeof(a->end));
			a->has_ended = true;
			continue;
		}
		memcpy(&h, at, sizeof(h));
		at += sizeof(h);
		CHECK_EQ(h.first_index, a->n_ids);
		CHECK(h.n || h.text_len);
		memcpy(a->ids + a->n_ids, at, h.n * 4);
		a->n_ids += h.n;
		at += h.n * 4;
		CHECK_EQ(utf8_valid_bytes((const char *)at, h.text_len), h.text_len);
		memcpy(a->text + a->n_text, at, h.text_len);
		a->n_text += h.text_len;
		a->text[a->n_text] = 0;
		a->n_records++;
	}
	llm_ring_give(&k.ring);
}

/* Submits, steps until the END, at most n_steps times. */
static struct answer run(struct tiny_body *b, const struct script *s, uint32_t n_steps)
{
	struct answer a = {0};

	script = s;
	tiny_submit(k.s, ++number, b);
	for (uint32_t i = 0; i < n_steps && !a.has_ended; i++) {
		tiny_step(&t);
		read_records(&a);
	}
	return a;
}

static struct llm_body *body(struct tiny_body *b)
{
	static const uint32_t ids[3] = {70, 71, 72};
	struct llm_body *h = tiny_body_begin(b);

	tiny_body_add(b, LLM_TLV_IDS, ids, sizeof(ids));
	return h;
}

static struct script say(const char *text)
{
	return (struct script){.text = text, .n = (uint32_t)strlen(text)};
}

static void test_ends(void)
{
	static const uint32_t ids[] = {10, 20, TINY_EOS, 30, 40, 50};
	const struct script numbers = {.ids = ids, .n = 6};
	const uint32_t stops[2] = {999 % TINY_BPE_VOCAB, 40};
	struct script hello = say("hello");
	struct tiny_body b;
	struct answer a;

	body(&b);
	a = run(&b, &hello, 20);
	CHECK_STR(a.text, "hello");
	CHECK_EQ(a.end.reason, LLM_END_EOS);
	CHECK_EQ(a.end.status, 0);
	CHECK_EQ(a.end.generated_tokens, 5);
	CHECK_EQ(a.end.prompt_tokens, 3);
	CHECK_EQ(a.n_ids, 5);
	body(&b)->max_tokens = 3;
	a = run(&b, &hello, 20);
	CHECK_STR(a.text, "hel");
	CHECK_EQ(a.end.reason, LLM_END_LENGTH);
	CHECK_EQ(a.end.generated_tokens, 3);
	/* The context's end: 3 + 1021. */
	body(&b)->flags |= LLM_BODY_IGNORE_EOS;
	a = run(&b, &(struct script){.ids = ids, .n = 0}, 2 * TINY_CONTEXT);
	CHECK_EQ(a.end.reason, LLM_END_LENGTH);
	CHECK_EQ(a.end.generated_tokens, TINY_CONTEXT - 3);
	CHECK_EQ(a.n_ids, TINY_CONTEXT - 3);
	/* EOS in the middle; ignored, it is a token whose text is nothing. */
	body(&b);
	a = run(&b, &numbers, 20);
	CHECK_EQ(a.n_ids, 2);
	CHECK_EQ(a.end.reason, LLM_END_EOS);
	body(&b)->flags |= LLM_BODY_IGNORE_EOS;
	tiny_body_add(&b, LLM_TLV_STOP_IDS, stops, sizeof(stops));
	a = run(&b, &numbers, 20);
	CHECK_EQ(a.n_ids, 4);
	CHECK_EQ(a.ids[2], TINY_EOS);
	CHECK_EQ(a.end.reason, LLM_END_STOP);
	CHECK_STR(a.end.message, "stop id 40");
	/* Not before min_tokens; the sampler is told what not to draw until then. */
	body(&b)->min_tokens = 4;
	tiny_body_add(&b, LLM_TLV_STOP_IDS, stops, sizeof(stops));
	script = &numbers;
	tiny_submit(k.s, ++number, &b);
	for (int i = 0; i < 4; i++) {
		intake_run(&t.d);
		CHECK_EQ(t.d.requests->params.n_banned, 3);
		tiny_step(&t);
	}
	CHECK_EQ(t.d.requests->params.n_banned, 0);
	tiny_step(&t);
	memset(&a, 0, sizeof(a));
	read_records(&a);
	CHECK_EQ(a.n_ids, 4);
	CHECK_EQ(a.end.reason, LLM_END_STOP);
}

static void test_stops(void)
{
	static const char euro[] = "5 \xe2\x82\xac, \xe2\x82\xac!x";
	struct script s = say("one two three");
	struct tiny_body b;
	struct answer a;

	body(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "two t", 5);
	tiny_body_add(&b, LLM_TLV_STOP, "two x", 5);
	a = run(&b, &s, 30);
	CHECK_STR(a.text, "one ");
	CHECK_EQ(a.n_ids, 9);
	CHECK_EQ(a.end.generated_tokens, 9);
	CHECK_EQ(a.end.reason, LLM_END_STOP);
	/* The beginning of a stop string that never ends: shown when the request ends otherwise. */
	body(&b)->max_tokens = 7;
	tiny_body_add(&b, LLM_TLV_STOP, "two t", 5);
	a = run(&b, &s, 30);
	CHECK_STR(a.text, "one two");
	CHECK_EQ(a.end.reason, LLM_END_LENGTH);
	/* ... also when it is canceled: text is a function of the ids. */
	memset(&a, 0, sizeof(a));
	body(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "two t", 5);
	script = &s;
	tiny_submit(k.s, ++number, &b);
	for (int i = 0; i < 7; i++)
		tiny_step(&t);
	read_records(&a);
	CHECK_STR(a.text, "one ");
	CHECK_EQ(a.n_ids, 7);
	request_cancel(t.d.requests);
	outflow_flush(&t.d);
	read_records(&a);
	CHECK_STR(a.text, "one two");
	CHECK_EQ(a.end.reason, LLM_END_CANCELED);
	CHECK_EQ(a.end.status, -ECANCELED);
	/* In whole characters, and never before min_tokens. */
	s = (struct script){.text = euro, .n = sizeof(euro) - 1};
	body(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "\xe2\x82\xac!", 4);
	a = run(&b, &s, 30);
	CHECK_STR(a.text, "5 \xe2\x82\xac, ");
	body(&b)->min_tokens = 12;
	tiny_body_add(&b, LLM_TLV_STOP, "\xe2\x82\xac!", 4);
	a = run(&b, &s, 30);
	CHECK_STR(a.text, euro);
	/* Without text the stop works all the same. */
	body(&b)->flags |= LLM_BODY_TOKENS;
	tiny_body_add(&b, LLM_TLV_STOP, "\xe2\x82\xac!", 4);
	a = run(&b, &s, 30);
	CHECK_STR(a.text, "");
	CHECK_EQ(a.n_ids, 11);
	CHECK_EQ(a.end.reason, LLM_END_STOP);
}

static void test_characters(void)
{
	struct script s = say("a\xe2\x82\xac\xc3");
	struct tiny_body b;
	struct answer a;

	body(&b);
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "a\xe2\x82\xac\xef\xbf\xbd");
	CHECK_EQ(a.n_ids, 5);
	/* U+FFFD at the end completes a stop string. */
	body(&b);
	tiny_body_add(&b, LLM_TLV_STOP, "\xe2\x82\xac\xef\xbf\xbd", 6);
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "a");
}

/* A vocabulary is not needed: the null engine's text is the id. */
static void test_numbers_as_text(void)
{
	static const uint32_t ids[] = {7, 12345, 8};
	struct script s = {.ids = ids, .n = 3};
	struct tokenizer *kept = t.d.tokenizer;
	struct tiny_body b;
	struct answer a;

	t.d.tokenizer = NULL;
	body(&b)->max_tokens = 3;
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "<7><12345><8>");
	body(&b)->max_tokens = 3;
	tiny_body_add(&b, LLM_TLV_STOP, "5><", 3);
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "<7><1234");
	CHECK_EQ(a.n_ids, 3);
	t.d.tokenizer = kept;
}

static void test_times(void)
{
	struct script s = say("0123456789");
	struct tiny_body b;
	struct answer a = {0};
	struct request *r;
	uint64_t sum = 0;

	body(&b);
	script = &s;
	tiny_submit(k.s, ++number, &b);
	for (int i = 0; i < 10; i++)
		tiny_step(&t);
	r = t.d.requests;
	CHECK_EQ(r->n_output, 10);
	CHECK_EQ(r->times.n_gaps, 9);
	for (uint32_t i = 0; i < r->times.n_gaps; i++)
		sum += r->times.gaps_ns[i];
	CHECK_EQ(r->times.first_ns + sum, r->times.last_ns);
	CHECK(r->times.first_ns >= r->times.admitted_ns);
	CHECK(r->times.admitted_ns >= r->times.arrived_ns);
	tiny_step(&t);
	read_records(&a);
	CHECK_EQ(a.end.decode_ns, sum);
	CHECK_EQ(a.end.tokenize_ns, 0);
}

/* The soonest deadline first, in any order of arrival; a dead one leaves nothing behind. */
static void test_deadlines(void)
{
	static const uint64_t ms[4] = {400, 100, 300, 200};
	struct script s = say("xxxxxxxxxxxxxxxx");
	struct tiny_body b;
	struct request *rs[4];
	struct answer a = {0};

	script = &s;
	for (int i = 0; i < 4; i++) {
		uint64_t ns = ms[i] * 1000000;

		body(&b);
		tiny_body_add(&b, LLM_TLV_DEADLINE_NS, &ns, sizeof(ns));
		tiny_submit(k.s, ++number, &b);
		rs[i] = t.d.requests;
		/* As if all had come at the same time. */
		rs[i]->times.arrived_ns = 1000;
		rs[i]->times.deadline_ns = 0;
	}
	for (int i = 0; i < 4; i++) {
		t.d.deadlines.n = (uint32_t)i;
		CHECK_EQ(request_set_deadline(rs[i], 1000 + ms[i] * 1000000), 0);
	}
	CHECK_EQ(request_next_deadline(&t.d), 100001000);
	request_expire(&t.d, 100000999);
	CHECK_EQ(t.d.n_requests, 4);
	request_expire(&t.d, 100001000);
	CHECK_EQ(t.d.n_requests, 3);
	CHECK_EQ(rs[1]->end.reason, LLM_END_DEADLINE);
	CHECK_EQ(rs[1]->end.status, -ETIMEDOUT);
	CHECK_STR(rs[1]->end.message, "deadline of 100 ms passed after 0 tokens");
	request_cancel(rs[3]);
	CHECK_EQ(request_next_deadline(&t.d), 300001000);
	request_expire(&t.d, 10000000000);
	CHECK_EQ(t.d.n_requests, 0);
	CHECK_EQ(request_next_deadline(&t.d), 0);
	outflow_flush(&t.d);
	number = (uint32_t)rs[0]->id;
	for (const unsigned char *at; tiny_next(&k, &(struct llm_record){0}, &at);)
		a.n_records++;
	CHECK_EQ(a.n_records, 4);
	llm_ring_give(&k.ring);
	request_reap(&t.d);
}

/* Two hundred in random order end in the order of their deadlines, some canceled before. */
static void test_many_deadlines(void)
{
	struct session *s = tiny_session(&t, 200, 1u << 19);
	uint64_t last = 0, random = 1;
	uint32_t n = 0;

	for (uint32_t i = 1; i <= 200; i++) {
		tiny_submit_ids(s, i, 4);
		random = random * 6364136223846793005u + 1442695040888963407u;
		CHECK_EQ(request_set_deadline(t.d.requests, 1 + (random >> 40)), 0);
	}
	for (struct request *r = s->requests, *next; r; r = next) {
		next = r->session_next;
		if (++n % 7 == 0)
			request_cancel(r);
	}
	while (t.d.deadlines.n) {
		uint64_t soonest = request_next_deadline(&t.d);

		CHECK(soonest >= last);
		for (struct request *r = t.d.requests; r; r = r->all_next)
			CHECK(r->times.deadline_ns >= soonest);
		last = soonest;
		request_expire(&t.d, soonest);
	}
	CHECK_EQ(t.d.n_requests, 0);
	session_destroy(s);
	request_reap(&t.d);
}

/* A record that could not be written: the request says so; an END that could not comes later. */
static void test_faults(void)
{
	struct script s = say("hello");
	struct tiny_body b;
	struct answer a;

	CHECK_EQ(fault_create("ring:fail:3,alloc:fail:2,parse:fail:3", &t.d.fault, NULL), 0);
	body(&b);
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "he");
	CHECK_EQ(a.n_ids, 2);
	CHECK_EQ(a.end.generated_tokens, 2);
	CHECK_EQ(a.end.reason, LLM_END_ERROR);
	CHECK_EQ(a.end.status, -ENOBUFS);
	fault_destroy(t.d.fault);
	CHECK_EQ(fault_create("ring:fail:6,parse:fail:2", &t.d.fault, NULL), 0);
	body(&b);
	a = run(&b, &s, 20);
	CHECK_STR(a.text, "hello");
	CHECK_EQ(a.end.reason, LLM_END_EOS);
	a = run(&b, &s, 20);
	CHECK_EQ(a.end.status, -EIO);
	fault_destroy(t.d.fault);
	t.d.fault = NULL;
}

int main(void)
{
	tiny_init(&t);
	tiny_tokenizer(&t);
	t.draw = draw;
	tiny_attach(&k, tiny_session(&t, 4, 1u << 17));
	test_ends();
	test_stops();
	test_characters();
	test_numbers_as_text();
	test_times();
	test_deadlines();
	test_many_deadlines();
	test_faults();
	tiny_detach(&k);
	tiny_exit(&t);
	return test_done();
}
