/* SPDX-License-Identifier: MIT */
/*
 * llm_submit(), llm_submit_many(), llm_cancel(): every field of a request is in the body as the
 * contract says, what makes no sense is not sent, and credit is kept to the byte.
 *
 * Marks: san
 */
#include <limits.h>
#include <math.h>
#include <poll.h>

#include "tests/fake_llmd.h"

/* The n-th TLV of a body: its length, or -1; *data points at it. */
static long tlv(const unsigned char *body, size_t n_bytes, unsigned n, uint32_t *type,
		const unsigned char **data)
{
	size_t at = sizeof(struct llm_body);
	struct llm_tlv t;

	for (unsigned i = 0;; i++) {
		size_t end;

		if (at == n_bytes)
			return -1;
		memcpy(&t, body + at, sizeof(t));
		end = at + sizeof(t) + (t.len + 7) / 8 * 8;
		CHECK(end <= n_bytes);
		for (size_t k = at + sizeof(t) + t.len; k < end; k++)
			CHECK_EQ(body[k], 0);
		if (i == n)
			break;
		at = end;
	}
	*type = t.type;
	*data = body + at + sizeof(t);
	return t.len;
}

static void check_tlv(const struct fake_packet *in, unsigned n, uint32_t want_type,
		      const void *want, size_t want_len)
{
	const unsigned char *data = NULL;
	uint32_t type = 0;
	long len = tlv(in->payload, in->head.len, n, &type, &data);

	CHECK_EQ(len, want_len);
	CHECK_EQ(type, want_type);
	CHECK(len == (long)want_len && !memcmp(data, want, want_len));
}

/* Submits and receives. The packet's body is in in->payload. */
static uint64_t submit(struct fake *f, struct llm *s, const struct llm_request *req,
		       struct fake_packet *in)
{
	uint64_t id = 0;

	CHECK_EQ(llm_submit(s, req, &id), 0);
	CHECK_EQ(fake_receive(f, in), LLM_PACKET_SUBMIT);
	CHECK(in->head.request_id == id);
	return id;
}

static void test_all_fields(void)
{
	static const char *const stops[] = {"\n\n", "User:"};
	static const uint32_t stop_ids[] = {0, 2, 49151};
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;
	struct llm_body b;
	struct fake f;
	struct llm *s = fake_session(&f, 4);
	const uint64_t deadline = 5000000000;
	const int32_t priority = -3;

	req.flags = LLM_FLAG_IGNORE_EOS | LLM_FLAG_RAW | LLM_FLAG_TOKENS | LLM_FLAG_ECHO;
	req.prompt = "Once upon";
	req.max_tokens = 17;
	req.min_tokens = 3;
	req.temperature = 0.75f;
	req.top_k = 40;
	req.top_p = 0.5f;
	req.min_p = 0.25f;
	req.repetition_penalty = 1.5f;
	req.presence_penalty = -0.5f;
	req.frequency_penalty = 0.125f;
	req.has_seed = 1;
	req.seed = 0x0123456789abcdef;
	req.stops = stops;
	req.n_stops = 2;
	req.stop_ids = stop_ids;
	req.n_stop_ids = 3;
	req.model = "smol";
	req.deadline_ns = deadline;
	req.priority = priority;
	req.user_data = 77;
	CHECK(submit(&f, s, &req, &in) == (f.welcome.id_base | 1));
	CHECK_EQ(in.head.user_data, 77);
	CHECK_EQ(in.fd, -1);
	memcpy(&b, in.payload, sizeof(b));
	CHECK_EQ(b.size, 64);
	CHECK_EQ(b.flags, 15);
	CHECK_EQ(b.max_tokens, 17);
	CHECK_EQ(b.min_tokens, 3);
	CHECK(b.temperature == 0.75f && b.top_p == 0.5f && b.min_p == 0.25f);
	CHECK(b.repetition_penalty == 1.5f && b.presence_penalty == -0.5f &&
	      b.frequency_penalty == 0.125f);
	CHECK_EQ(b.top_k, 40);
	CHECK_EQ(b.n_logprobs, 0);
	CHECK(b.seed == 0x0123456789abcdef);
	CHECK_EQ(b.n_tlvs, 7);
	CHECK_EQ(b.pad, 0);
	check_tlv(&in, 0, LLM_TLV_TEXT, "Once upon", 9);
	check_tlv(&in, 1, LLM_TLV_STOP, "\n\n", 2);
	check_tlv(&in, 2, LLM_TLV_STOP, "User:", 5);
	check_tlv(&in, 3, LLM_TLV_STOP_IDS, stop_ids, sizeof(stop_ids));
	check_tlv(&in, 4, LLM_TLV_MODEL, "smol", 4);
	check_tlv(&in, 5, LLM_TLV_DEADLINE_NS, &deadline, 8);
	check_tlv(&in, 6, LLM_TLV_PRIORITY, &priority, 4);
	llm_close(s);
	fake_exit(&f);
}

static void test_prompts_and_seeds(void)
{
	static const uint32_t ids[] = {1, 2, 3};
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;
	struct llm_body a, b;
	struct fake f;
	struct llm *s = fake_session(&f, 8);

	req.ids = ids;
	req.n_ids = 3;
	submit(&f, s, &req, &in);
	check_tlv(&in, 0, LLM_TLV_IDS, ids, sizeof(ids));
	memcpy(&a, in.payload, sizeof(a));
	CHECK_EQ(a.n_tlvs, 1);
	CHECK_EQ(a.max_tokens, LLM_UNSET);
	CHECK(a.top_p == 1 && a.repetition_penalty == 1 && a.temperature == 0);
	/* Two requests without a seed get one each. */
	submit(&f, s, &req, &in);
	memcpy(&b, in.payload, sizeof(b));
	CHECK(a.seed != b.seed);
	req.ids = NULL;
	req.messages = "[{\"role\":\"user\",\"content\":\"hi\"}]";
	submit(&f, s, &req, &in);
	check_tlv(&in, 0, LLM_TLV_MESSAGES, req.messages, strlen(req.messages));
	req.messages = NULL;
	/* Text with a zero in it, and an empty one. */
	req.prompt = "a\0b";
	req.prompt_len = 3;
	submit(&f, s, &req, &in);
	check_tlv(&in, 0, LLM_TLV_TEXT, "a\0b", 3);
	req.prompt_len = 0;
	submit(&f, s, &req, &in);
	check_tlv(&in, 0, LLM_TLV_TEXT, "", 0);
	CHECK_EQ(in.head.request_id & 0xffffffff, 5);
	llm_close(s);
	fake_exit(&f);
}

static const char *const too_many[17] = {"a", "a", "a", "a", "a", "a", "a", "a", "a",
					 "a", "a", "a", "a", "a", "a", "a", "a"};
static char long_stop[258], long_model[129];
static const char *const long_stops[1] = {long_stop}, *const empty_stops[1] = {""},
			 *const null_stops[1] = {NULL};
static const uint32_t many_ids[65];

/* Makes the what-th thing wrong with a request; false when there is no such thing. */
static bool spoil(struct llm_request *r, int what)
{
	switch (what) {
	case 0:
		r->prompt = NULL;
		break;
	case 1:
		r->ids = many_ids;
		break;
	case 2:
		r->messages = "[]";
		break;
	case 3:
		r->max_tokens = 0;
		break;
	case 4:
		r->max_tokens = 3;
		r->min_tokens = 4;
		break;
	case 5:
		r->temperature = -0.1f;
		break;
	case 6:
		r->temperature = NAN;
		break;
	case 7:
		r->temperature = INFINITY;
		break;
	case 8:
		r->top_p = 0;
		break;
	case 9:
		r->top_p = 1.5f;
		break;
	case 10:
		r->top_p = NAN;
		break;
	case 11:
		r->min_p = 1;
		break;
	case 12:
		r->min_p = -1;
		break;
	case 13:
		r->min_p = NAN;
		break;
	case 14:
		r->repetition_penalty = 0;
		break;
	case 15:
		r->repetition_penalty = NAN;
		break;
	case 16:
		r->presence_penalty = INFINITY;
		break;
	case 17:
		r->frequency_penalty = NAN;
		break;
	default:
		return false;
	}
	return true;
}

/* The same of what is not sampling. */
static bool spoil_more(struct llm_request *r, int what)
{
	switch (what) {
	case 18:
		r->has_seed = 2;
		break;
	case 19:
		r->flags = 16;
		break;
	case 20:
		r->pad = 1;
		break;
	case 21:
		r->stops = too_many;
		r->n_stops = 17;
		break;
	case 22:
		r->n_stops = 1;
		break;
	case 23:
		r->stops = long_stops;
		r->n_stops = 1;
		break;
	case 24:
		r->stops = empty_stops;
		r->n_stops = 1;
		break;
	case 25:
		r->stops = null_stops;
		r->n_stops = 1;
		break;
	case 26:
		r->stop_ids = many_ids;
		r->n_stop_ids = 65;
		break;
	case 27:
		r->n_stop_ids = 1;
		break;
	case 28:
		r->model = "";
		break;
	case 29:
		r->model = long_model;
		break;
	case 30:
		r->size = sizeof(*r) - 8;
		break;
	default:
		return false;
	}
	return true;
}

static void test_bad_fields(void)
{
	struct fake_packet in;
	struct fake f;
	struct llm *s = fake_session(&f, 4);
	struct llm_info info;
	int what;

	memset(long_stop, 's', sizeof(long_stop) - 1);
	memset(long_model, 'm', sizeof(long_model) - 1);
	for (what = 0;; what++) {
		struct llm_request req = LLM_REQUEST_INIT;

		req.prompt = "x";
		if (!spoil(&req, what) && !spoil_more(&req, what))
			break;
		if (llm_submit(s, &req, NULL) != -EINVAL) {
			CHECK_EQ(what, -1);
			continue;
		}
		CHECK(llm_error(s)[0]);
		CHECK_EQ(fake_receive(&f, &in), 0);
	}
	CHECK_EQ(what, 31);
	llm_info(s, &info);
	CHECK_EQ(info.n_requests, 0);
	/* An id is not used up by what is not sent. */
	CHECK_EQ(fake_submit(&f, s, 0) & 0xffffffff, 1);
	llm_close(s);
	fake_exit(&f);
}

/* Bodies around 64 KiB: inline up to it, a sealed memfd above. */
static void test_large_bodies(void)
{
	const size_t around =
		LLM_INLINE_BODY_BYTES - sizeof(struct llm_body) - sizeof(struct llm_tlv);
	struct llm_request req = LLM_REQUEST_INIT;
	char *text = malloc(600 << 10);
	struct fake_packet in;
	struct fake f;
	struct llm *s = fake_session(&f, 8);
	unsigned char *body;
	uint32_t type;
	const unsigned char *data;
	size_t n_bytes = LLM_INLINE_BODY_BYTES + 8;

	memset(text, 't', 600 << 10);
	req.prompt = text;
	req.prompt_len = around;
	submit(&f, s, &req, &in);
	CHECK_EQ(in.fd, -1);
	CHECK_EQ(in.head.len, LLM_INLINE_BODY_BYTES);
	check_tlv(&in, 0, LLM_TLV_TEXT, text, around);
	req.prompt_len = around + 1;
	submit(&f, s, &req, &in);
	CHECK(in.fd >= 0);
	CHECK_EQ(in.head.len, 0);
	CHECK_EQ(lseek(in.fd, 0, SEEK_END), (off_t)n_bytes);
	CHECK_EQ(fcntl(in.fd, F_GET_SEALS),
		 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	body = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, in.fd, 0);
	CHECK_EQ(tlv(body, n_bytes, 0, &type, &data), (long)around + 1);
	CHECK_EQ(type, LLM_TLV_TEXT);
	CHECK(!memcmp(data, text, around + 1));
	munmap(body, n_bytes);
	close(in.fd);
	/* The largest, and one more. */
	req.prompt_len = (512 << 10) - 72;
	submit(&f, s, &req, &in);
	CHECK_EQ(lseek(in.fd, 0, SEEK_END), 512 << 10);
	close(in.fd);
	req.prompt_len++;
	CHECK_EQ(llm_submit(s, &req, NULL), -EMSGSIZE);
	CHECK_STR(llm_error(s), "the body has 524296 bytes, at most 524288");
	req.prompt = NULL;
	req.ids = (const uint32_t *)(const void *)text;
	req.n_ids = SIZE_MAX / 2;
	CHECK_EQ(llm_submit(s, &req, NULL), -EMSGSIZE);
	CHECK_EQ(fake_receive(&f, &in), 0);
	llm_close(s);
	fake_exit(&f);
	free(text);
}

static void test_credit(void)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_event ev;
	struct fake_packet in;
	struct fake f;
	struct llm *s;
	uint64_t id;

	fake_init(&f, 8192);
	f.welcome.max_requests = 3;
	f.welcome.body_bytes = 1000;
	CHECK_EQ(fake_open(&f, NULL, &s), 0);
	req.prompt = "01234567";
	req.prompt_len = 8;
	/* By number: three of 80 bytes each. */
	id = submit(&f, s, &req, &in);
	submit(&f, s, &req, &in);
	submit(&f, s, &req, &in);
	CHECK_EQ(llm_submit(s, &req, NULL), -ENOBUFS);
	CHECK_STR(llm_error(s), "3 requests are in flight, at most 3");
	CHECK_EQ(llm_poll_events(s), POLLIN);
	fake_end(&f, id, LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	id = submit(&f, s, &req, &in);
	fake_end(&f, id, LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	/* By bytes: two are in flight, so 1000 - 160 are left. */
	req.prompt = (const char[1000]){"x"};
	req.prompt_len = 840 - 72 + 1;
	CHECK_EQ(llm_submit(s, &req, NULL), -ENOBUFS);
	req.prompt_len--;
	id = submit(&f, s, &req, &in);
	fake_end(&f, id, LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	/* Never. */
	req.prompt_len = 1000 - 72 + 1;
	CHECK_EQ(llm_submit(s, &req, NULL), -EDQUOT);
	CHECK_EQ(fake_receive(&f, &in), 0);
	llm_close(s);
	fake_exit(&f);
}

static void test_many(void)
{
	struct tomorrow {
		struct llm_request req;
		uint64_t more;
	} reqs[4];
	uint64_t ids[4] = {0};
	struct fake_packet in;
	struct llm_body b;
	struct fake f;
	struct llm *s = fake_session(&f, 3);

	for (unsigned i = 0; i < 4; i++) {
		reqs[i] = (struct tomorrow){.req = LLM_REQUEST_INIT};
		reqs[i].req.size = sizeof(reqs[i]);
		reqs[i].req.prompt = "n choices";
		reqs[i].req.has_seed = 1;
		reqs[i].req.seed = 100 + i;
		reqs[i].req.user_data = i;
	}
	CHECK_EQ(llm_submit_many(s, &reqs[0].req, 0, NULL), 0);
	/* There is credit for three. */
	CHECK_EQ(llm_submit_many(s, &reqs[0].req, 4, ids), 3);
	CHECK_EQ(ids[3], 0);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_SUBMIT);
		memcpy(&b, in.payload, sizeof(b));
		CHECK_EQ(b.seed, 100 + i);
		CHECK_EQ(in.head.user_data, i);
		CHECK(in.head.request_id == ids[i] && ids[i] == (f.welcome.id_base | (i + 1)));
	}
	CHECK_EQ(llm_submit_many(s, &reqs[3].req, 1, ids), -ENOBUFS);
	reqs[3].more = 1;
	fake_end(&f, ids[0], LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &(struct llm_event){0}, 0), 1);
	CHECK_EQ(llm_submit_many(s, &reqs[3].req, 1, ids), -E2BIG);
	llm_close(s);
	fake_exit(&f);
}

static void test_cancel(void)
{
	struct fake_packet in;
	struct llm_event ev;
	struct fake f;
	struct llm *s = fake_session(&f, 4);
	uint64_t id;

	/* Nothing to cancel. */
	CHECK_EQ(llm_cancel(s, 0), 0);
	CHECK_EQ(llm_cancel(s, 1), -ENOENT);
	CHECK_EQ(fake_receive(&f, &in), 0);
	id = fake_submit(&f, s, 5);
	CHECK_EQ(llm_cancel(s, id), 0);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_CANCEL);
	CHECK(in.head.request_id == id);
	CHECK_EQ(llm_cancel(s, 0), 0);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_CANCEL);
	CHECK_EQ(in.head.request_id, 0);
	fake_end(&f, id, LLM_END_CANCELED, -ECANCELED, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	CHECK_EQ(ev.reason, LLM_REASON_CANCELED);
	CHECK_EQ(ev.user_data, 5);
	CHECK_EQ(llm_cancel(s, id), -ENOENT);
	llm_close(s);
	fake_exit(&f);
}

/* A daemon that does not read: the socket fills, POLLOUT tells when it has room. */
static void test_full_socket(void)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct fake_packet in;
	struct fake f;
	struct llm *s;
	char *text = calloc(1, 60 << 10);
	struct llm_event ev;
	struct llm_info info;
	int n = 0, err;

	fake_init(&f, 1 << 20);
	f.welcome.body_bytes = 64 << 20;
	CHECK_EQ(fake_open(&f, NULL, &s), 0);
	req.prompt = text;
	req.prompt_len = 60 << 10;
	do
		err = llm_submit(s, &req, NULL);
	while (!err && ++n < 400);
	CHECK_EQ(err, -ENOBUFS);
	CHECK(n > 0 && n < 400);
	llm_info(s, &info);
	CHECK_EQ(info.n_requests, n);
	CHECK_EQ(llm_poll_events(s), POLLIN | POLLOUT);
	CHECK_EQ(llm_cancel(s, 0), -ENOBUFS);
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK_EQ(llm_poll_events(s), POLLIN | POLLOUT);
	for (int i = 0; i < n; i++)
		CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_SUBMIT);
	CHECK_EQ(fake_receive(&f, &in), 0);
	/* Writable again: no one needs to go on asking. */
	CHECK_EQ(llm_next(s, &ev, 0), 0);
	CHECK_EQ(llm_poll_events(s), POLLIN);
	CHECK_EQ(llm_submit(s, &req, NULL), 0);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_SUBMIT);
	llm_close(s);
	fake_exit(&f);
	free(text);
}

static void test_sentences(void)
{
	CHECK_STR(llm_strerror(0), "success");
	CHECK_STR(llm_strerror(-EHOSTDOWN), llm_strerror(EHOSTDOWN));
	for (int err = 0; err < 200; err++)
		CHECK(llm_strerror(-err)[0]);
	CHECK(llm_strerror(INT_MIN));
}

int main(void)
{
	test_all_fields();
	test_prompts_and_seeds();
	test_bad_fields();
	test_large_bodies();
	test_credit();
	test_many();
	test_cancel();
	test_full_socket();
	test_sentences();
	return test_done();
}
