/* SPDX-License-Identifier: MIT */
/*
 * intake_body: intake_parse(): the bytes of a body, checked and taken apart. Hostile input.
 *
 * Pure: reads body and limits, writes the request and the refusal; no clock, no I/O. One table says
 * of each TLV type what it is called, which field its errors are about, and who reads it; a type
 * without a reader is known and refused by name.
 */
#include "daemon/intake.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/utf8.h"

#define ALL_FLAGS ((uint32_t)(LLM_BODY_IGNORE_EOS | LLM_BODY_ECHO | LLM_BODY_RAW | LLM_BODY_TOKENS))
#define LONGEST_DEADLINE_NS (UINT64_C(1) << 60) /* 36 years: no sum with a clock overflows */

/* What a reader of a TLV gets. */
struct parse {
	struct request *r;
	const struct intake_limits *limits;
	struct request_refusal *how;
	const unsigned char *data; /* [len] of this TLV, 8-byte aligned */
	uint32_t len;
	uint32_t flags;	 /* the body's */
	bool has_prompt; /* text or ids came */
	uint32_t seen;	 /* bit t: a TLV of type t came */
};

/* ---- what the header says ------------------------------------------------------------------ */

#define REFUSE(how, code, which, a, b, ...)                                                       \
	request_refuse((how),                                                                     \
		       &(struct request_refusal){                                                 \
			       .status = (code), .err_field = (which), .got = (a), .limit = (b)}, \
		       __VA_ARGS__)

static int refuse_later(struct request_refusal *how, enum llm_field field, const char *what)
{
	return REFUSE(how, -EOPNOTSUPP, field, 0, 0, "%s: not in this version of llmd", what);
}

static int check_flags(const struct llm_body *b, struct request_refusal *how)
{
	if (b->flags & ~ALL_FLAGS)
		return REFUSE(how, -EINVAL, LLM_FIELD_FLAGS, b->flags, ALL_FLAGS,
			      "flags are 0x%x, known are 0x%x", b->flags, ALL_FLAGS);
	if (b->flags & LLM_BODY_ECHO)
		return refuse_later(how, LLM_FIELD_FLAGS, "LLM_BODY_ECHO (the prompt comes back)");
	if (b->pad)
		return REFUSE(how, -EINVAL, LLM_FIELD_BODY, b->pad, 0,
			      "padding of the body is %u, 0 expected", b->pad);
	return 0;
}

static int check_lengths(const struct llm_body *b, struct request_refusal *how)
{
	if (!b->max_tokens)
		return REFUSE(how, -EINVAL, LLM_FIELD_MAX_TOKENS, 0, 1,
			      "max_tokens is 0, at least 1 expected");
	if (b->min_tokens > b->max_tokens)
		return REFUSE(how, -EINVAL, LLM_FIELD_MIN_TOKENS, b->min_tokens, b->max_tokens,
			      "min_tokens is %u, max_tokens only %u", b->min_tokens, b->max_tokens);
	return 0;
}

static int check_sampling(const struct llm_body *b, struct request_refusal *how)
{
	if (!isfinite(b->temperature) || b->temperature < 0)
		return REFUSE(how, -EINVAL, LLM_FIELD_TEMPERATURE, 0, 0,
			      "temperature is %g, 0 or more expected", (double)b->temperature);
	if (!(b->top_p > 0 && b->top_p <= 1))
		return REFUSE(how, -EINVAL, LLM_FIELD_TOP_P, 0, 1,
			      "top_p is %g, above 0 to 1 expected", (double)b->top_p);
	/* Written so that a NaN is refused too. */
	if (!(b->min_p >= 0 && b->min_p <= 0))
		return refuse_later(how, LLM_FIELD_MIN_P, "min_p (0 turns it off)");
	if (!(b->repetition_penalty >= 1 && b->repetition_penalty <= 1))
		return refuse_later(how, LLM_FIELD_PENALTY, "repetition_penalty (1 turns it off)");
	if (!(b->presence_penalty >= 0 && b->presence_penalty <= 0))
		return refuse_later(how, LLM_FIELD_PENALTY, "presence_penalty (0 turns it off)");
	if (!(b->frequency_penalty >= 0 && b->frequency_penalty <= 0))
		return refuse_later(how, LLM_FIELD_PENALTY, "frequency_penalty (0 turns it off)");
	if (b->n_logprobs)
		return refuse_later(how, LLM_FIELD_LOGPROBS, "n_logprobs (0 turns it off)");
	return 0;
}

/* ---- one reader per TLV type --------------------------------------------------------------- */

static int read_text(struct parse *p)
{
	const struct intake_limits *l = p->limits;
	struct request *r = p->r;
	size_t n_valid;

	if (!(p->flags & LLM_BODY_RAW))
		return REFUSE(p->how, -EOPNOTSUPP, LLM_FIELD_PROMPT, 0, 0,
			      "chat templates are not in this version of llmd: set LLM_BODY_RAW "
			      "to send the prompt as it is");
	if (!l->max_text_bytes)
		return REFUSE(p->how, -EOPNOTSUPP, LLM_FIELD_PROMPT, 0, 0,
			      "no vocabulary is loaded: send ids instead of text");
	if (p->len > l->max_text_bytes)
		return REFUSE(p->how, -E2BIG, LLM_FIELD_PROMPT, p->len, l->max_text_bytes,
			      "prompt has %u bytes of text, the model context of %u tokens holds "
			      "at most %" PRIu64,
			      p->len, l->context_tokens, l->max_text_bytes);
	n_valid = utf8_valid_bytes((const char *)p->data, p->len);
	if (n_valid < p->len)
		return REFUSE(p->how, -EILSEQ, LLM_FIELD_PROMPT, n_valid, p->len,
			      "prompt: invalid UTF-8 at byte %zu of %u", n_valid, p->len);
	r->prompt = malloc((size_t)p->len + 1);
	if (!r->prompt)
		return REFUSE(p->how, -ENOMEM, LLM_FIELD_PROMPT, p->len, 0,
			      "prompt of %u bytes: no memory", p->len);
	memcpy(r->prompt, p->data, p->len);
	r->prompt[p->len] = 0;
	r->prompt_len = p->len;
	return 0;
}

/* n ids, all in the vocabulary; *out is malloc'd. */
static int read_ids(struct parse *p, enum llm_field field, uint32_t **out, uint32_t *n_out)
{
	uint32_t n = p->len / 4, *ids;

	if (p->len % 4)
		return REFUSE(p->how, -EINVAL, field, p->len, 4,
			      "ids of %u bytes: not a multiple of 4", p->len);
	ids = malloc(n * sizeof(*ids));
	if (!ids)
		return REFUSE(p->how, -ENOMEM, field, n, 0, "%u ids: no memory", n);
	*out = ids; /* the request's from here on, also after a refusal */
	*n_out = n;
	memcpy(ids, p->data, n * sizeof(*ids));
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] >= p->limits->n_vocab)
			return REFUSE(p->how, -EINVAL, field, ids[i], p->limits->n_vocab,
				      "id %u at %u is not in the vocabulary of %u", ids[i], i,
				      p->limits->n_vocab);
	return 0;
}

static int read_prompt_ids(struct parse *p)
{
	struct request *r = p->r;
	uint32_t n = p->len / 4;

	if (p->len < 4)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_IDS, n, 1, "prompt has no ids");
	if (n >= p->limits->context_tokens)
		return REFUSE(p->how, -E2BIG, LLM_FIELD_IDS, n, p->limits->context_tokens,
			      "prompt has %u tokens, model context is %u", n,
			      p->limits->context_tokens);
	r->cap_ids = n;
	return read_ids(p, LLM_FIELD_IDS, &r->seq.ids, &r->seq.n_prompt);
}

static int read_stop(struct parse *p)
{
	struct request *r = p->r;
	size_t n_valid = utf8_valid_bytes((const char *)p->data, p->len);
	int rc;

	if (!p->len || p->len > LLM_MAX_STOP_LEN)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_STOP, p->len, LLM_MAX_STOP_LEN,
			      "a stop string has %u bytes, 1 to %u expected", p->len,
			      LLM_MAX_STOP_LEN);
	if (n_valid < p->len)
		return REFUSE(p->how, -EILSEQ, LLM_FIELD_STOP, n_valid, p->len,
			      "a stop string: invalid UTF-8 at byte %zu of %u", n_valid, p->len);
	rc = r->stops ? 0 : stop_create(&r->stops);
	if (!rc)
		rc = stop_add(r->stops, (const char *)p->data, p->len);
	if (rc == -ENOSPC)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_STOP, LLM_MAX_STOPS + 1, LLM_MAX_STOPS,
			      "more than %u stop strings", LLM_MAX_STOPS);
	if (rc)
		return REFUSE(p->how, rc, LLM_FIELD_STOP, p->len, 0, "a stop string: %s",
			      strerror(-rc));
	return 0;
}

static int read_stop_ids(struct parse *p)
{
	if (p->len / 4 > LLM_MAX_STOP_IDS || p->len < 4)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_STOP, p->len / 4, LLM_MAX_STOP_IDS,
			      "%u stop ids, 1 to %u expected", p->len / 4, LLM_MAX_STOP_IDS);
	return read_ids(p, LLM_FIELD_STOP, &p->r->stop_ids, &p->r->n_stop_ids);
}

/* A client's bytes in a sentence of ours. */
static void quote(char to[LLM_MAX_MODEL_LEN + 1], const unsigned char *from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = from[i] >= ' ' && from[i] <= '~' ? (char)from[i] : '?';
	to[len] = 0;
}

static int read_model(struct parse *p)
{
	const char *mine = p->limits->model_name;
	char wanted[LLM_MAX_MODEL_LEN + 1];

	if (!p->len || p->len > LLM_MAX_MODEL_LEN)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_MODEL, p->len, LLM_MAX_MODEL_LEN,
			      "the model's name has %u bytes, 1 to %u expected", p->len,
			      LLM_MAX_MODEL_LEN);
	if (strlen(mine) == p->len && !memcmp(mine, p->data, p->len))
		return 0;
	quote(wanted, p->data, p->len);
	return REFUSE(p->how, -ENOENT, LLM_FIELD_MODEL, 0, 0,
		      "model \"%.64s\" was asked for, \"%.64s\" is loaded", wanted, mine);
}

static int read_deadline(struct parse *p)
{
	uint64_t ns = 0;

	if (p->len != sizeof(ns))
		return REFUSE(p->how, -EINVAL, LLM_FIELD_DEADLINE, p->len, sizeof(ns),
			      "the deadline has %u bytes, 8 expected", p->len);
	memcpy(&ns, p->data, sizeof(ns));
	if (!ns || ns > LONGEST_DEADLINE_NS)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_DEADLINE, ns, LONGEST_DEADLINE_NS,
			      "the deadline is %" PRIu64 " ns, 1 to %" PRIu64 " expected", ns,
			      LONGEST_DEADLINE_NS);
	p->r->times.deadline_ns = p->r->times.arrived_ns + ns;
	return 0;
}

static int read_priority(struct parse *p)
{
	if (p->len != sizeof(p->r->seq.priority))
		return REFUSE(p->how, -EINVAL, LLM_FIELD_PRIORITY, p->len, 4,
			      "the priority has %u bytes, 4 expected", p->len);
	memcpy(&p->r->seq.priority, p->data, sizeof(p->r->seq.priority));
	return 0;
}

/* ---- the walk ------------------------------------------------------------------------------ */

static const struct tlv_type {
	const char *name;
	enum llm_field field;
	int (*read)(struct parse *p); /* NULL: not in this version */
	bool is_prompt;
	bool is_repeatable;
} types[] = {
	[LLM_TLV_TEXT] = {"prompt text", LLM_FIELD_PROMPT, read_text, true, false},
	[LLM_TLV_IDS] = {"prompt ids", LLM_FIELD_IDS, read_prompt_ids, true, false},
	[LLM_TLV_MESSAGES] = {"chat messages", LLM_FIELD_MESSAGES, NULL, true, false},
	[LLM_TLV_TOOLS] = {"tools", LLM_FIELD_TOOLS, NULL, false, false},
	[LLM_TLV_ADD_GENERATION_PROMPT] = {"add_generation_prompt", LLM_FIELD_MESSAGES, NULL, false,
					   false},
	[LLM_TLV_STOP] = {"stop string", LLM_FIELD_STOP, read_stop, false, true},
	[LLM_TLV_STOP_IDS] = {"stop ids", LLM_FIELD_STOP, read_stop_ids, false, false},
	[LLM_TLV_LOGIT_BIAS] = {"logit_bias", LLM_FIELD_LOGIT_BIAS, NULL, false, false},
	[LLM_TLV_MODEL] = {"model", LLM_FIELD_MODEL, read_model, false, false},
	[LLM_TLV_ADAPTER] = {"adapter", LLM_FIELD_ADAPTER, NULL, false, false},
	[LLM_TLV_GRAMMAR] = {"grammar", LLM_FIELD_GRAMMAR, NULL, false, false},
	[LLM_TLV_DEADLINE_NS] = {"deadline", LLM_FIELD_DEADLINE, read_deadline, false, false},
	[LLM_TLV_PRIORITY] = {"priority", LLM_FIELD_PRIORITY, read_priority, false, false},
	[LLM_TLV_EMBEDDING] = {"embedding output", LLM_FIELD_BODY, NULL, false, false},
	[LLM_TLV_IMAGE] = {"images", LLM_FIELD_IMAGE, NULL, false, false},
};

#define N_TYPES (sizeof(types) / sizeof(types[0]))

static int read_tlv(struct parse *p, uint32_t type)
{
	const struct tlv_type *t = type < N_TYPES ? &types[type] : NULL;

	if (!t || !t->name)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_BODY, type, N_TYPES - 1,
			      "the body has a part of type %u, known are 1 to %zu", type,
			      N_TYPES - 1);
	if (!t->read)
		return refuse_later(p->how, t->field, t->name);
	if (!t->is_repeatable && p->seen & 1u << type)
		return REFUSE(p->how, -EINVAL, t->field, 2, 1, "%s came twice", t->name);
	if (t->is_prompt && p->has_prompt)
		return REFUSE(p->how, -EINVAL, t->field, 2, 1,
			      "the prompt came as text and as ids, one of them expected");
	p->seen |= 1u << type;
	p->has_prompt |= t->is_prompt;
	return t->read(p);
}

static bool is_zero(const unsigned char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

/* body: what lies behind the header, [len]. */
static int read_tlvs(struct parse *p, const unsigned char *at, size_t len, uint32_t n_tlvs)
{
	size_t left = len;

	for (uint32_t i = 0; i < n_tlvs; i++) {
		struct llm_tlv tlv;
		size_t padded;
		int rc;

		if (left < sizeof(tlv))
			return REFUSE(p->how, -EINVAL, LLM_FIELD_BODY, i, n_tlvs,
				      "the body ends after %u of %u parts", i, n_tlvs);
		memcpy(&tlv, at, sizeof(tlv));
		at += sizeof(tlv);
		left -= sizeof(tlv);
		padded = ((size_t)tlv.len + 7) & ~(size_t)7;
		if (padded > left)
			return REFUSE(p->how, -EINVAL, LLM_FIELD_BODY, tlv.len, left,
				      "part %u of the body has %u bytes, %zu are left", i, tlv.len,
				      left);
		if (!is_zero(at + tlv.len, padded - tlv.len))
			return REFUSE(p->how, -EINVAL, LLM_FIELD_BODY, i, 0,
				      "part %u of the body: padding is not zero", i);
		p->data = at;
		p->len = tlv.len;
		rc = read_tlv(p, tlv.type);
		if (rc)
			return rc;
		at += padded;
		left -= padded;
	}
	if (left)
		return REFUSE(p->how, -EINVAL, LLM_FIELD_BODY, len, len - left,
			      "the body has %zu bytes behind its %u parts", left, n_tlvs);
	return 0;
}

/* The header of any version: what we do not know must be zero. */
static int read_header(const unsigned char *at, size_t len, struct llm_body *b,
		       struct request_refusal *how)
{
	uint32_t size;

	if (len < sizeof(*b))
		return REFUSE(how, -EINVAL, LLM_FIELD_BODY, len, sizeof(*b),
			      "the body has %zu bytes, at least %zu expected", len, sizeof(*b));
	memcpy(b, at, sizeof(*b));
	size = b->size;
	if (size < sizeof(*b) || size > len || size % 8)
		return REFUSE(how, -EINVAL, LLM_FIELD_BODY, size, len,
			      "the body's header says %u bytes, %zu to %zu expected", size,
			      sizeof(*b), len);
	if (!is_zero(at + sizeof(*b), size - sizeof(*b)))
		return REFUSE(how, -E2BIG, LLM_FIELD_BODY, size, sizeof(*b),
			      "the body's header of %u bytes says more than this llmd knows (%zu)",
			      size, sizeof(*b));
	if (b->n_tlvs > LLM_MAX_TLVS)
		return REFUSE(how, -EINVAL, LLM_FIELD_BODY, b->n_tlvs, LLM_MAX_TLVS,
			      "the body has %u parts, at most %u expected", b->n_tlvs,
			      LLM_MAX_TLVS);
	return 0;
}

int intake_parse(struct request *r, const struct intake_limits *limits, const void *body,
		 size_t len, struct request_refusal *how)
{
	struct parse p = {.r = r, .limits = limits, .how = how};
	struct llm_body b;
	int rc = read_header(body, len, &b, how);

	if (!rc)
		rc = check_flags(&b, how);
	if (!rc)
		rc = check_lengths(&b, how);
	if (!rc)
		rc = check_sampling(&b, how);
	if (rc)
		return rc;
	r->flags = p.flags = b.flags;
	r->max_tokens = b.max_tokens;
	r->min_tokens = b.min_tokens;
	r->params = (struct sampler_params){
		.temperature = b.temperature, .top_k = b.top_k, .top_p = b.top_p, .seed = b.seed};
	rc = read_tlvs(&p, (const unsigned char *)body + b.size, len - b.size, b.n_tlvs);
	if (rc)
		return rc;
	if (!p.has_prompt)
		return REFUSE(how, -EINVAL, LLM_FIELD_PROMPT, 0, 1,
			      "the body has no prompt: neither text nor ids");
	return 0;
}
