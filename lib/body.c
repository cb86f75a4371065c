/* SPDX-License-Identifier: MIT */
/*
 * body: a struct llm_request checked and written as the bytes that the daemon parses (llm_msg.h,
 * 2).
 *
 * Owns the rules a body must keep whoever the daemon is: counts, lengths, ranges. What depends on
 * the model (context, vocabulary, its name) is the daemon's to judge; it answers with an END that
 * names the field. Measured first, so that credit is checked before anything is copied.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <fcntl.h>
#include <unistd.h>

#include "lib/session.h"

#define SAME(flag) ((int)LLM_FLAG_##flag == (int)LLM_BODY_##flag)
_Static_assert(SAME(IGNORE_EOS) && SAME(ECHO) && SAME(RAW) && SAME(TOKENS),
	       "flags of llm.h are those of the body");

#define ALL_FLAGS (LLM_BODY_IGNORE_EOS | LLM_BODY_ECHO | LLM_BODY_RAW | LLM_BODY_TOKENS)

/* A prompt, the stops, stop ids, model, deadline, priority. */
_Static_assert(LLM_BODY_SPANS <= LLM_MAX_TLVS, "a body holds what a request can ask for");

static uint64_t padded(uint64_t n_bytes)
{
	return (n_bytes + 7) & ~7ull;
}

static void add_span(struct llm_body_plan *plan, uint32_t type, const void *data, size_t n_bytes)
{
	plan->spans[plan->n_spans++] = (struct llm_span){type, data, n_bytes};
	plan->n_bytes += sizeof(struct llm_tlv) + padded(n_bytes);
}

static int check_floats(struct llm *s, const struct llm_request *r)
{
	if (!isfinite(r->temperature) || r->temperature < 0)
		return llm_session_fail(s, -EINVAL, "temperature is %g, 0 or more expected",
					(double)r->temperature);
	/* Not-a-number fails each of these comparisons. */
	if (!(r->top_p > 0 && r->top_p <= 1))
		return llm_session_fail(s, -EINVAL, "top_p is %g, above 0 to 1 expected",
					(double)r->top_p);
	if (!(r->min_p >= 0 && r->min_p < 1))
		return llm_session_fail(s, -EINVAL, "min_p is %g, 0 to below 1 expected",
					(double)r->min_p);
	if (!isfinite(r->repetition_penalty) || r->repetition_penalty <= 0)
		return llm_session_fail(s, -EINVAL, "repetition_penalty is %g, above 0 expected",
					(double)r->repetition_penalty);
	if (!isfinite(r->presence_penalty) || !isfinite(r->frequency_penalty))
		return llm_session_fail(s, -EINVAL,
					"a penalty is not a number: presence %g, frequency %g",
					(double)r->presence_penalty, (double)r->frequency_penalty);
	return 0;
}

static int check_numbers(struct llm *s, const struct llm_request *r)
{
	if (r->flags & ~(uint32_t)ALL_FLAGS)
		return llm_session_fail(s, -EINVAL, "flags are 0x%x, known are 0x%x", r->flags,
					(unsigned)ALL_FLAGS);
	if (!r->max_tokens)
		return llm_session_fail(s, -EINVAL, "max_tokens is 0, at least 1 expected");
	if (r->min_tokens > r->max_tokens)
		return llm_session_fail(s, -EINVAL, "min_tokens is %u, max_tokens only %u",
					r->min_tokens, r->max_tokens);
	if (r->has_seed > 1 || r->pad)
		return llm_session_fail(s, -EINVAL, "has_seed is %u, 0 or 1 expected; pad %u, 0",
					r->has_seed, r->pad);
	return check_floats(s, r);
}

/* Exactly one of the three forms. An empty prompt is one. */
static int plan_prompt(struct llm *s, const struct llm_request *r, struct llm_body_plan *plan)
{
	int n = !!r->prompt + !!r->ids + !!r->messages;

	if (n != 1)
		return llm_session_fail(s, -EINVAL,
					"%d of prompt, ids and messages are given, 1 expected", n);
	if (r->prompt)
		add_span(plan, LLM_TLV_TEXT, r->prompt,
			 r->prompt_len == LLM_STRLEN ? strlen(r->prompt) : r->prompt_len);
	if (r->messages)
		add_span(plan, LLM_TLV_MESSAGES, r->messages,
			 r->messages_len == LLM_STRLEN ? strlen(r->messages) : r->messages_len);
	/* Compared before it is multiplied: a count that overflows must not look small. */
	if (r->ids && r->n_ids > s->welcome.max_body_bytes / sizeof(*r->ids))
		return llm_session_fail(s, -EMSGSIZE,
					"%zu ids need more than the %u bytes of a body", r->n_ids,
					s->welcome.max_body_bytes);
	if (r->ids)
		add_span(plan, LLM_TLV_IDS, r->ids, r->n_ids * sizeof(*r->ids));
	if (plan->spans[0].n_bytes > s->welcome.max_body_bytes)
		return llm_session_fail(s, -EMSGSIZE, "the prompt has %zu bytes, a body at most %u",
					plan->spans[0].n_bytes, s->welcome.max_body_bytes);
	return 0;
}

static int plan_stops(struct llm *s, const struct llm_request *r, struct llm_body_plan *plan)
{
	if (r->n_stops > LLM_MAX_STOPS || (r->n_stops && !r->stops))
		return llm_session_fail(s, -EINVAL, "%zu stop strings at %p, at most %u expected",
					r->n_stops, (const void *)r->stops, LLM_MAX_STOPS);
	for (size_t i = 0; i < r->n_stops; i++) {
		size_t len = r->stops[i] ? strnlen(r->stops[i], LLM_MAX_STOP_LEN + 1) : 0;

		if (!len || len > LLM_MAX_STOP_LEN)
			return llm_session_fail(s, -EINVAL,
						"stop string %zu has %s%zu bytes, 1 to %u expected",
						i, len ? "at least " : "", len, LLM_MAX_STOP_LEN);
		add_span(plan, LLM_TLV_STOP, r->stops[i], len);
	}
	if (r->n_stop_ids > LLM_MAX_STOP_IDS || (r->n_stop_ids && !r->stop_ids))
		return llm_session_fail(s, -EINVAL, "%zu stop ids at %p, at most %u expected",
					r->n_stop_ids, (const void *)r->stop_ids, LLM_MAX_STOP_IDS);
	if (r->n_stop_ids)
		add_span(plan, LLM_TLV_STOP_IDS, r->stop_ids, r->n_stop_ids * sizeof(*r->stop_ids));
	return 0;
}

static int plan_rest(struct llm *s, const struct llm_request *r, struct llm_body_plan *plan)
{
	size_t len = r->model ? strnlen(r->model, LLM_MAX_MODEL_LEN) : 0;

	/* The daemon's own name has to fit with its terminator, so a longer one matches nothing. */
	if (r->model && (!len || len >= LLM_MAX_MODEL_LEN))
		return llm_session_fail(s, -EINVAL,
					"the model's name has %zu bytes, 1 to %u expected", len,
					LLM_MAX_MODEL_LEN - 1);
	if (r->model)
		add_span(plan, LLM_TLV_MODEL, r->model, len);
	if (r->deadline_ns)
		add_span(plan, LLM_TLV_DEADLINE_NS, &r->deadline_ns, sizeof(r->deadline_ns));
	if (r->priority)
		add_span(plan, LLM_TLV_PRIORITY, &r->priority, sizeof(r->priority));
	return 0;
}

int llm_body_measure(struct llm *s, const struct llm_request *req, struct llm_body_plan *plan)
{
	int err = check_numbers(s, req);

	plan->n_spans = 0;
	plan->n_bytes = sizeof(struct llm_body);
	if (!err)
		err = plan_prompt(s, req, plan);
	if (!err)
		err = plan_stops(s, req, plan);
	if (!err)
		err = plan_rest(s, req, plan);
	if (err)
		return err;
	if (plan->n_bytes > s->welcome.max_body_bytes)
		return llm_session_fail(s, -EMSGSIZE, "the body has %" PRIu64 " bytes, at most %u",
					plan->n_bytes, s->welcome.max_body_bytes);
	return 0;
}

static int draw_seed(__u64 *seed)
{
	ssize_t n;

	do
		n = getrandom(seed, sizeof(*seed), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*seed) ? 0 : -EIO;
}

static void write_tlvs(const struct llm_body_plan *plan, unsigned char *at)
{
	for (unsigned i = 0; i < plan->n_spans; i++) {
		const struct llm_span *span = &plan->spans[i];
		struct llm_tlv tlv = {.type = span->type, .len = (uint32_t)span->n_bytes};
		size_t n_padding = padded(span->n_bytes) - span->n_bytes;

		memcpy(at, &tlv, sizeof(tlv));
		at += sizeof(tlv);
		if (span->n_bytes)
			memcpy(at, span->data, span->n_bytes);
		memset(at + span->n_bytes, 0, n_padding);
		at += span->n_bytes + n_padding;
	}
}

static int write_body(const struct llm_request *r, const struct llm_body_plan *plan, void *to)
{
	struct llm_body body = {
		.size = sizeof(body),
		.flags = r->flags,
		.max_tokens = r->max_tokens,
		.min_tokens = r->min_tokens,
		.temperature = r->temperature,
		.top_k = r->top_k,
		.top_p = r->top_p,
		.min_p = r->min_p,
		.repetition_penalty = r->repetition_penalty,
		.presence_penalty = r->presence_penalty,
		.frequency_penalty = r->frequency_penalty,
		.seed = r->seed,
		.n_tlvs = plan->n_spans,
	};
	int err;

	if (!r->has_seed) {
		err = draw_seed(&body.seed);
		if (err)
			return err;
	}
	memcpy(to, &body, sizeof(body));
	write_tlvs(plan, (unsigned char *)to + sizeof(body));
	return 0;
}

/* Memory for the body: of a memfd that can be sealed when it is too large for a packet. */
static int allocate(struct llm_encoded *out, uint64_t n_bytes)
{
	int err;

	*out = (struct llm_encoded){.n_bytes = (uint32_t)n_bytes, .memfd = -1};
	if (n_bytes <= LLM_INLINE_BODY_BYTES) {
		out->data = malloc(n_bytes);
		return out->data ? 0 : -ENOMEM;
	}
	out->memfd = memfd_create("llm-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (out->memfd < 0)
		return -errno;
	/* Allocated now: a full memory shows here and not as SIGBUS. */
	err = -posix_fallocate(out->memfd, 0, (off_t)n_bytes);
	if (err)
		goto close;
	out->data = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, out->memfd, 0);
	if (out->data != MAP_FAILED)
		return 0;
	err = -errno;
close:
	close(out->memfd);
	return err;
}

/* A body in a memfd is final once sent: no one may change it while the daemon reads. */
static int seal(struct llm_encoded *body)
{
	if (body->memfd < 0)
		return 0;
	munmap(body->data, body->n_bytes);
	body->data = NULL;
	if (fcntl(body->memfd, F_ADD_SEALS,
		  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return -errno;
	return 0;
}

int llm_body_encode(const struct llm_request *req, const struct llm_body_plan *plan,
		    struct llm_encoded *out)
{
	int err = allocate(out, plan->n_bytes);

	if (err)
		return err;
	err = write_body(req, plan, out->data);
	if (!err)
		err = seal(out);
	if (err)
		llm_body_free(out);
	return err;
}

void llm_body_free(struct llm_encoded *body)
{
	if (body->memfd < 0) {
		free(body->data);
	} else {
		if (body->data)
			munmap(body->data, body->n_bytes);
		close(body->memfd);
	}
	body->data = NULL;
	body->memfd = -1;
}
