/* SPDX-License-Identifier: MIT */
/*
 * intake: see daemon/intake.h. The queue before the tokenizer and the admission behind it; the
 * parsing is in daemon/intake_body.c.
 *
 * The queue: each tenant has its own, first come first served; tenants that have one stand in a
 * circle (intake_next), and d->intake_turn is who comes next. So a tenant with a thousand long
 * prompts delays another's by one of them.
 */
#include "daemon/intake.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/fault.h"
#include "daemon/session.h"
#include "daemon/tenant.h"

#define REQUEST_COST_BYTES 256 /* what admitting counts for beside the text */

/* ---- the queue ------------------------------------------------------------------------------ */

static void join_circle(struct daemon *d, struct tenant *t)
{
	struct tenant *last = d->intake_turn;

	if (!last) {
		t->intake_next = t;
		d->intake_turn = t;
		return;
	}
	/* Behind everybody: right before whose turn it is. */
	while (last->intake_next != d->intake_turn)
		last = last->intake_next;
	last->intake_next = t;
	t->intake_next = d->intake_turn;
}

static void leave_circle(struct daemon *d, struct tenant *t)
{
	struct tenant *before = t;

	while (before->intake_next != t)
		before = before->intake_next;
	before->intake_next = t->intake_next;
	if (d->intake_turn == t)
		d->intake_turn = before == t ? NULL : t->intake_next;
	t->intake_next = NULL;
}

static void push(struct request *r)
{
	struct tenant *t = r->tenant;

	r->is_queued = true;
	r->intake_next = NULL;
	r->intake_prev = t->intake_last;
	if (t->intake_last)
		t->intake_last->intake_next = r;
	else
		t->intake_first = r;
	t->intake_last = r;
	if (!r->intake_prev)
		join_circle(r->daemon, t);
}

void intake_drop(struct request *r)
{
	struct tenant *t = r->tenant;

	if (!r->is_queued)
		return;
	r->is_queued = false;
	if (r->intake_next)
		r->intake_next->intake_prev = r->intake_prev;
	else
		t->intake_last = r->intake_prev;
	if (r->intake_prev)
		r->intake_prev->intake_next = r->intake_next;
	else
		t->intake_first = r->intake_next;
	if (!t->intake_first)
		leave_circle(r->daemon, t);
}

/* ---- admission ------------------------------------------------------------------------------ */

/* r->prompt becomes r->seq.ids. */
static int tokenize(struct request *r, struct request_refusal *how)
{
	struct tokenizer_input in = {
		.text = r->prompt, .len = r->prompt_len, .flags = TOKENIZER_ADD_BOS};
	struct tokenizer_ids ids = {0};
	struct error err = {0};
	uint64_t begin_ns = clock_now_ns();
	int rc = tokenizer_encode(r->daemon->tokenizer, &in, &ids, &err);

	r->times.tokenize_ns = clock_now_ns() - begin_ns;
	free(r->prompt);
	r->prompt = NULL;
	if (rc)
		return request_refuse(how,
				      &(struct request_refusal){.status = rc,
								.err_field = LLM_FIELD_PROMPT,
								.got = r->prompt_len},
				      "prompt: %.200s", err.text);
	r->seq.ids = ids.ids;
	r->cap_ids = (uint32_t)ids.cap;
	/* At most TOKENIZER_TEXT_MAX bytes were encoded, so 32 bits hold the count. */
	r->seq.n_prompt = (uint32_t)ids.n;
	return 0;
}

/* The bounds of the model and, for who set none, of the pool. */
static int check_length(const struct request *r, struct tenant_request *q,
			struct request_refusal *how)
{
	const struct daemon *d = r->daemon;
	uint64_t pool = (uint64_t)kvcache_least_total(d->kv) * KVCACHE_PAGE_TOKENS;
	uint32_t n = r->seq.n_prompt, context = d->context_tokens;
	uint64_t sum = (uint64_t)n + r->max_tokens;
	struct request_refusal init = {
		.status = -E2BIG, .err_field = LLM_FIELD_PROMPT, .got = n, .limit = context};

	if (!n) {
		init.status = -EINVAL;
		init.limit = 1;
		return request_refuse(how, &init,
				      "the prompt is empty and the model begins with no BOS");
	}
	if (n >= context)
		return request_refuse(how, &init, "prompt has %u tokens, model context is %u", n,
				      context);
	if (r->max_tokens != LLM_UNSET && sum > context) {
		init.err_field = LLM_FIELD_MAX_TOKENS;
		init.got = sum;
		return request_refuse(how, &init,
				      "prompt of %u tokens and max_tokens of %u are %" PRIu64
				      ", model context is %u",
				      n, r->max_tokens, sum, context);
	}
	if (n >= pool || (r->max_tokens != LLM_UNSET && sum > pool)) {
		init.limit = pool;
		return request_refuse(how, &init,
				      "prompt has %u tokens, the KV pool holds %" PRIu64
				      " with the output",
				      n, pool);
	}
	q->n_prompt = n;
	q->min_tokens = r->min_tokens;
	q->max_tokens = r->max_tokens;
	q->room_tokens = (pool < context ? (uint32_t)pool : context) - n;
	return 0;
}

/* What may not be drawn while fewer than min_tokens are out. */
static int ban_ends(struct request *r)
{
	uint32_t n_eog = 0;
	const uint32_t *eog = NULL;

	if (!r->min_tokens)
		return 0;
	if (r->daemon->tokenizer && !(r->flags & LLM_BODY_IGNORE_EOS))
		eog = tokenizer_eog_ids(r->daemon->tokenizer, &n_eog);
	r->n_banned = n_eog + r->n_stop_ids;
	if (!r->n_banned)
		return 0;
	r->banned = malloc(r->n_banned * sizeof(*r->banned));
	if (!r->banned)
		return -ENOMEM;
	if (n_eog)
		memcpy(r->banned, eog, n_eog * sizeof(*eog));
	if (r->n_stop_ids)
		memcpy(r->banned + n_eog, r->stop_ids, r->n_stop_ids * sizeof(*r->stop_ids));
	r->params.banned = r->banned;
	r->params.n_banned = r->n_banned;
	return 0;
}

static int prepare_text(struct request *r)
{
	r->has_text = !(r->flags & LLM_BODY_TOKENS) || r->stops;
	if (!r->has_text || !r->daemon->tokenizer)
		return 0;
	return detokenizer_create(r->daemon->tokenizer, 0, &r->detok);
}

static int charge(struct request *r, struct tenant_request *q, struct request_refusal *how)
{
	struct error err = {0};
	int rc = tenant_charge_request(r->tenant, q, &err);
	struct request_refusal init = {
		.status = rc, .err_field = q->field, .got = q->got, .limit = q->limit};

	if (rc)
		return request_refuse(how, &init, "%s", err.text);
	r->seq.max_tokens = q->max_tokens;
	r->is_charged = true;
	return 0;
}

static int admit(struct request *r, struct request_refusal *how)
{
	struct tenant_request q = {0};
	struct error err = {0};
	int rc = r->prompt ? tokenize(r, how) : 0;

	r->times.tokenized_ns = clock_now_ns();
	if (!rc)
		rc = check_length(r, &q, how);
	if (!rc)
		rc = charge(r, &q, how);
	if (rc)
		return rc;
	rc = ban_ends(r);
	if (!rc)
		rc = prepare_text(r);
	if (rc)
		return request_refuse(how, &(struct request_refusal){.status = rc},
				      "a request: no memory");
	rc = sched_add(r->daemon->sched, &r->seq, &err);
	if (rc)
		return request_refuse(how, &(struct request_refusal){.status = rc}, "%s", err.text);
	r->state = REQUEST_ACTIVE;
	return 0;
}

bool intake_run(struct daemon *d)
{
	uint64_t spent_bytes = 0;

	while (d->intake_turn) {
		struct tenant *t = d->intake_turn;
		struct request *r = t->intake_first;
		struct request_refusal how;

		if (spent_bytes && spent_bytes + r->prompt_len > INTAKE_TURN_BYTES)
			return true;
		spent_bytes += r->prompt_len + REQUEST_COST_BYTES;
		d->intake_turn = t->intake_next;
		intake_drop(r);
		if (admit(r, &how))
			request_end(r, &how);
	}
	return false;
}

/* ---- arrival -------------------------------------------------------------------------------- */

static uint64_t max_text_bytes(const struct daemon *d)
{
	uint64_t n;

	if (!d->tokenizer)
		return 0;
	n = (uint64_t)d->context_tokens * tokenizer_longest(d->tokenizer);
	/* What costs a turn at most anyway is tokenized, so that the refusal can count tokens. */
	if (n < INTAKE_TURN_BYTES)
		n = INTAKE_TURN_BYTES;
	return n < TOKENIZER_TEXT_MAX ? n : TOKENIZER_TEXT_MAX;
}

/* Before the body is looked at. */
static int check_daemon(const struct daemon *d, struct request_refusal *how)
{
	struct request_refusal init = {.err_field = LLM_FIELD_NONE};

	if (d->is_draining) {
		init.status = -ESHUTDOWN;
		return request_refuse(how, &init, "the daemon is shutting down");
	}
	/* The request itself is counted already. */
	if (d->n_requests > d->config->limits.max_requests) {
		init.status = -ENOBUFS;
		init.err_field = LLM_FIELD_QUOTA;
		init.got = d->n_requests;
		init.limit = d->config->limits.max_requests;
		return request_refuse(how, &init,
				      "the daemon has %u requests, at most %u are allowed",
				      d->n_requests, d->config->limits.max_requests);
	}
	if (fault_hit(d->fault, FAULT_PARSE)) {
		init.status = -EIO;
		return request_refuse(how, &init, "parsing failed (--fault)");
	}
	return 0;
}

static int take_in(struct request *r, const void *body, size_t len, struct request_refusal *how)
{
	struct daemon *d = r->daemon;
	struct intake_limits limits = {.n_vocab = d->info.n_vocab,
				       .context_tokens = d->context_tokens,
				       .max_text_bytes = max_text_bytes(d),
				       .model_name = d->model_name};
	int rc = check_daemon(d, how);

	if (!rc)
		rc = intake_parse(r, &limits, body, len, how);
	if (rc)
		return rc;
	if (r->times.deadline_ns && request_set_deadline(r, r->times.deadline_ns))
		return request_refuse(how,
				      &(struct request_refusal){.status = -ENOMEM,
								.err_field = LLM_FIELD_DEADLINE},
				      "a deadline: no memory");
	push(r);
	return 0;
}

/* NULL: the session is broken now, since it cannot even be told. */
static struct request *create(struct session *s, const struct llm_packet *head, size_t len)
{
	struct request *r;

	if (!request_create(s, head, len, &r))
		return r;
	session_break(s, "no memory for a request");
	return NULL;
}

void intake_submit(struct session *s, const struct llm_packet *head, const void *body, size_t len)
{
	struct request *r = create(s, head, len);
	struct request_refusal how;

	if (r && take_in(r, body, len, &how))
		request_end(r, &how);
}

void intake_refuse(struct session *s, const struct llm_packet *head,
		   const struct request_refusal *how)
{
	struct request *r = create(s, head, 0);

	if (r)
		request_end(r, how);
}
