/* SPDX-License-Identifier: MIT */
/*
 * control_answer: what each command of daemon/control.h answers. Reads the daemon; only cancel and
 * drain change it, through request_cancel() and heart_drain().
 */
#include "daemon/control_answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/heart.h"
#include "daemon/request_log.h"
#include "daemon/session.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"

json_t *control_answer_error(int status, const char *fmt, ...)
{
	char message[LLM_MESSAGE_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	/* `s+` refuses what is not UTF-8; a question's words may be anything. */
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > 126)
			*c = '?';
	return json_pack("{s:{s:i, s:s}}", "error", "status", status, "message", message);
}

/* Ids have 64 bits: decimal strings. */
static json_t *id_text(uint64_t id)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, id);
	return json_string(text);
}

static void put(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *status(const struct daemon *d)
{
	json_t *o = json_object();
	struct stats_totals totals;
	uint32_t n_running = sched_n_running(d->sched);

	stats_totals(d->stats, &totals);
	json_object_set_new(o, "version", json_string(LLM_VERSION));
	put(o, "abi", LLM_ABI);
	put(o, "pid", (uint64_t)getpid());
	put(o, "uid", geteuid());
	json_object_set_new(o, "engine", json_string(d->info.name));
	json_object_set_new(o, "model", json_string(d->model_name));
	put(o, "context_tokens", d->context_tokens);
	put(o, "uptime_ms", (clock_now_ns() - d->started_ns) / 1000000);
	json_object_set_new(o, "draining", json_boolean(d->is_draining));
	put(o, "pages_total", kvcache_least_total(d->kv));
	put(o, "pages_free", kvcache_least_free(d->kv));
	put(o, "pages_prefix", d->prefix ? prefix_evictable(d->prefix) : 0);
	put(o, "page_tokens", KVCACHE_PAGE_TOKENS);
	put(o, "kv_tokens_total", (uint64_t)kvcache_least_total(d->kv) * KVCACHE_PAGE_TOKENS);
	put(o, "step_tokens", d->config->step_tokens);
	put(o, "steps", d->n_steps);
	put(o, "requests_running", n_running);
	put(o, "requests_waiting", d->n_requests > n_running ? d->n_requests - n_running : 0);
	put(o, "sessions", d->n_sessions);
	put(o, "prompt_tokens", totals.n_prompt_tokens);
	put(o, "generated_tokens", totals.n_output_tokens);
	put(o, "preemptions", totals.n_preemptions);
	put(o, "request_log_dropped", d->log ? request_log_n_dropped(d->log) : 0);
	return o;
}

static bool is_administrator(uid_t uid)
{
	return !uid || uid == geteuid();
}

static json_t *sessions(const struct daemon *d, uid_t uid)
{
	json_t *list = json_array();

	for (const struct session *s = d->sessions; s; s = s->next) {
		json_t *o;

		if (s->uid != uid && !is_administrator(uid))
			continue;
		o = json_object();
		put(o, "id", s->id);
		put(o, "uid", s->uid);
		put(o, "pid", (uint64_t)s->pid);
		json_object_set_new(o, "name", json_string(s->name));
		json_object_set_new(o, "tenant", json_string(s->tenant->name));
		put(o, "requests", s->n_requests);
		put(o, "ring_bytes", s->ring.capacity);
		put(o, "ring_fill_bytes", session_fill_bytes(s));
		json_object_set_new(o, "stalled", json_boolean(s->is_short));
		json_array_append_new(list, o);
	}
	return json_pack("{s:o}", "sessions", list);
}

static const char *state_name(const struct request *r)
{
	if (r->state == REQUEST_ENDED)
		return "ended";
	if (r->state == REQUEST_PARSED)
		return "parsed";
	return r->seq.state == SCHED_RUNNING ? "running" : "waiting";
}

static json_t *one_request(const struct request *r, uint64_t now_ns)
{
	const struct session *s = r->session;
	json_t *o = json_object();

	json_object_set_new(o, "id", id_text(r->id));
	put(o, "session", s ? s->id : 0);
	json_object_set_new(o, "tenant", json_string(r->tenant ? r->tenant->name : ""));
	put(o, "uid", s ? s->uid : 0);
	put(o, "pid", s ? (uint64_t)s->pid : 0);
	json_object_set_new(o, "state", json_string(state_name(r)));
	put(o, "isl", r->seq.n_prompt);
	put(o, "osl", r->n_output);
	put(o, "max_tokens", r->seq.max_tokens);
	put(o, "age_ms", (now_ns - r->times.arrived_ns) / 1000000);
	put(o, "pages", r->seq.table.n_pages);
	json_object_set_new(o, "stalled", json_boolean(r->times.stalled_ns != 0));
	put(o, "preemptions", r->seq.n_preemptions);
	return o;
}

/* Those of one list that this uid may see. */
static void add_requests(json_t *list, const struct request *first, uid_t uid)
{
	uint64_t now_ns = clock_now_ns();

	for (const struct request *r = first; r; r = r->all_next)
		if (is_administrator(uid) || (r->session && r->session->uid == uid))
			json_array_append_new(list, one_request(r, now_ns));
}

static json_t *requests(const struct daemon *d, uid_t uid)
{
	json_t *list = json_array();

	add_requests(list, d->requests, uid);
	add_requests(list, d->ended, uid);
	return json_pack("{s:o}", "requests", list);
}

static json_t *metrics(const struct daemon *d)
{
	char *text = stats_metrics(d);
	json_t *o = text ? json_pack("{s:s}", "text", text) : NULL;

	free(text);
	return o;
}

/* An integer, or a string, decimal or 0x. False: it is no id. */
static bool parse_id(const json_t *v, uint64_t *id)
{
	const char *text = json_string_value(v);
	char *end;

	if (json_is_integer(v)) {
		*id = (uint64_t)json_integer_value(v);
		return json_integer_value(v) > 0;
	}
	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*id = strtoull(text, &end, 0);
	return !errno && !*end && *id;
}

static json_t *cancel(struct daemon *d, uid_t uid, const json_t *question)
{
	struct request *r;
	uint64_t id;

	if (!parse_id(json_object_get(question, "id"), &id))
		return control_answer_error(-EINVAL, "cancel: \"id\" is no request id");
	r = request_find(d, id);
	/* To others a request is as if it were not there. */
	if (!r || !r->session || (r->session->uid != uid && !is_administrator(uid)))
		return control_answer_error(-ENOENT, "cancel: no request %" PRIu64 " of yours", id);
	request_cancel(r);
	return json_pack("{s:i}", "canceled", 1);
}

static json_t *drain(struct daemon *d, uid_t uid)
{
	if (!is_administrator(uid))
		return control_answer_error(-EPERM, "drain: for uid 0 and uid %u, not for uid %u",
					    geteuid(), uid);
	heart_drain(d);
	return json_pack("{s:b, s:i}", "draining", 1, "requests", (int)d->n_requests);
}

json_t *control_answer(struct daemon *d, uid_t uid, const json_t *question)
{
	const char *command = json_string_value(json_object_get(question, "command")), *member;
	bool has_id;
	json_t *v;

	if (!command)
		return control_answer_error(-EINVAL, "the question has no \"command\"");
	has_id = !strcmp(command, "cancel");
	json_object_foreach(
		(json_t *)question, member,
		v) if (strcmp(member, "command") &&
		       !(has_id &&
			 !strcmp(member, "id"))) return control_answer_error(-EINVAL,
									     "%.32s: no member is "
									     "called \"%.64s\"",
									     command, member);
	if (!strcmp(command, "status"))
		return status(d);
	if (!strcmp(command, "sessions"))
		return sessions(d, uid);
	if (!strcmp(command, "requests"))
		return requests(d, uid);
	if (!strcmp(command, "metrics"))
		return metrics(d);
	if (has_id)
		return cancel(d, uid, question);
	if (!strcmp(command, "drain"))
		return drain(d, uid);
	return control_answer_error(-EINVAL,
				    "no command is called \"%.64s\"; there are status sessions "
				    "requests metrics cancel drain",
				    command);
}
