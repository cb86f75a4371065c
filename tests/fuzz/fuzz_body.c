/* SPDX-License-Identifier: MIT */
/*
 * fuzz_body: no body makes intake_parse() crash, read astray or leak; what it lets through keeps
 * every promise that the sched, the sampler and the engine rely on, what it refuses has a reason.
 * Marks: san
 */
#define FUZZ_ROUNDS 1000000
#include "tests/fuzz.h"

#include <errno.h>
#include <math.h>

#include "daemon/intake.h"
#include "daemon/utf8.h"

static const struct intake_limits limits = {
	.n_vocab = 1000, .context_tokens = 64, .max_text_bytes = 512, .model_name = "model"};

static void check_good(const struct request *r)
{
	FUZZ_ASSERT(!r->prompt != !r->seq.ids);
	if (r->prompt) {
		FUZZ_ASSERT(r->prompt_len <= limits.max_text_bytes && r->flags & LLM_BODY_RAW);
		FUZZ_ASSERT(utf8_valid_bytes(r->prompt, r->prompt_len) == r->prompt_len);
	} else {
		FUZZ_ASSERT(r->seq.n_prompt && r->seq.n_prompt < limits.context_tokens);
		FUZZ_ASSERT(r->cap_ids == r->seq.n_prompt);
	}
	for (uint32_t i = 0; !r->prompt && i < r->seq.n_prompt; i++)
		FUZZ_ASSERT(r->seq.ids[i] < limits.n_vocab);
	for (uint32_t i = 0; i < r->n_stop_ids; i++)
		FUZZ_ASSERT(r->stop_ids[i] < limits.n_vocab);
	FUZZ_ASSERT(r->n_stop_ids <= LLM_MAX_STOP_IDS);
	FUZZ_ASSERT(!r->stops || (stop_count(r->stops) && stop_count(r->stops) <= LLM_MAX_STOPS));
	FUZZ_ASSERT(r->max_tokens && r->min_tokens <= r->max_tokens);
	FUZZ_ASSERT(isfinite(r->params.temperature) && r->params.temperature >= 0);
	FUZZ_ASSERT(r->params.top_p > 0 && r->params.top_p <= 1);
	FUZZ_ASSERT(
		!(r->flags & ~(uint32_t)(LLM_BODY_IGNORE_EOS | LLM_BODY_RAW | LLM_BODY_TOKENS)));
	FUZZ_ASSERT(!r->times.deadline_ns || r->times.deadline_ns > r->times.arrived_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request *r = calloc(1, sizeof(*r));
	struct request_refusal how;
	uint8_t *own = malloc(size ? size : 1); /* to the byte, so that a sanitizer sees */
	int rc;

	if (!own || !r)
		abort();
	memcpy(own, data, size);
	memset(&how, 0xff, sizeof(how));
	r->times.arrived_ns = 12345;
	rc = intake_parse(r, &limits, own, size, &how);
	if (!rc) {
		check_good(r);
	} else {
		FUZZ_ASSERT(rc < 0 && rc > -4096 && rc == how.status);
		FUZZ_ASSERT(how.reason == LLM_END_ERROR && how.err_field <= LLM_FIELD_IMAGE);
		FUZZ_ASSERT(how.message[0] && memchr(how.message, 0, sizeof(how.message)));
		FUZZ_ASSERT(utf8_valid_bytes(how.message, strlen(how.message)) ==
			    strlen(how.message));
	}
	free(own);
	request_free(r);
	return 0;
}

struct seed {
	_Alignas(8) uint8_t bytes[1024];
	size_t size;
};

static void add(struct seed *s, uint32_t type, const void *data, uint32_t len)
{
	struct llm_tlv tlv = {.type = type, .len = len};

	memcpy(s->bytes + s->size, &tlv, sizeof(tlv));
	memcpy(s->bytes + s->size + sizeof(tlv), data, len);
	s->size += sizeof(tlv) + ((len + 7) & ~7u);
	((struct llm_body *)s->bytes)->n_tlvs++;
}

const uint8_t *fuzz_seed(unsigned i, size_t *size)
{
	static const uint32_t ids[5] = {1, 2, 3, 999, 0};
	static const uint64_t deadline = 1000000000;
	static struct seed seeds[4];
	struct seed *s = &seeds[i % 4];

	if (i >= 4)
		return NULL;
	*s = (struct seed){.size = sizeof(struct llm_body)};
	*(struct llm_body *)s->bytes = (struct llm_body){.size = sizeof(struct llm_body),
							 .flags = LLM_BODY_RAW,
							 .max_tokens = 10,
							 .top_p = 1,
							 .repetition_penalty = 1};
	if (i & 1)
		add(s, LLM_TLV_TEXT, "h\xc3\xa9llo w\xe2\x82\xacrld", 15);
	else
		add(s, LLM_TLV_IDS, ids, sizeof(ids));
	if (i & 2) {
		add(s, LLM_TLV_STOP, "\xe2\x82\xac", 3);
		add(s, LLM_TLV_STOP, "stop", 4);
		add(s, LLM_TLV_STOP_IDS, ids, 8);
		add(s, LLM_TLV_MODEL, "model", 5);
		add(s, LLM_TLV_DEADLINE_NS, &deadline, 8);
		add(s, LLM_TLV_PRIORITY, ids, 4);
	}
	*size = s->size;
	return s->bytes;
}
