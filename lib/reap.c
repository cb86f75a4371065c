/* SPDX-License-Identifier: MIT */
/*
 * reap: records out of the ring, as events: the consumer's side of llm.h's R1 to R4.
 *
 * The daemon is believed as little as it believes us: each record is checked against its length
 * from a copy, an id that was never given out or a hole in a request's tokens ends the session, a
 * token that was delivered before and a second END are dropped. While records come, llm_next()
 * makes no system call; before it reports that there are none it has read the socket's packets and
 * set `waiting`, in this order: a kick that is read before the ring is looked at for the last time
 * is about records that this look finds, one that comes later stays in the socket and ends the
 * sleep.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "lib/session.h"

#define SAME(field) ((int)LLM_ERR_FIELD_##field == (int)LLM_FIELD_##field)
#define SAME_REASON(reason) ((int)LLM_REASON_##reason == (int)LLM_END_##reason)
_Static_assert((int)LLM_EVENT_TOKENS == (int)LLM_RECORD_TOKENS &&
		       (int)LLM_EVENT_END == (int)LLM_RECORD_END,
	       "types of llm.h are those of the records");
_Static_assert(SAME_REASON(EOS) && SAME_REASON(LENGTH) && SAME_REASON(STOP) &&
		       SAME_REASON(CANCELED) && SAME_REASON(DEADLINE) && SAME_REASON(ERROR) &&
		       SAME_REASON(HOSTDOWN),
	       "reasons of llm.h are those of END");
_Static_assert(SAME(NONE) && SAME(BODY) && SAME(PROMPT) && SAME(IDS) && SAME(MESSAGES) &&
		       SAME(MAX_TOKENS) && SAME(MIN_TOKENS) && SAME(TEMPERATURE) && SAME(TOP_K) &&
		       SAME(TOP_P) && SAME(MIN_P) && SAME(PENALTY) && SAME(SEED) && SAME(LOGPROBS),
	       "fields of llm.h are those of END");
_Static_assert(SAME(STOP) && SAME(LOGIT_BIAS) && SAME(MODEL) && SAME(ADAPTER) && SAME(GRAMMAR) &&
		       SAME(DEADLINE) && SAME(PRIORITY) && SAME(TOOLS) && SAME(FLAGS) &&
		       SAME(QUOTA) && SAME(IMAGE),
	       "fields of llm.h are those of END");

/* Room of an event's header; what follows is set by type. */
static void start_event(struct llm_event *ev, uint32_t type, const struct llm_flight *flight)
{
	memset(ev, 0, offsetof(struct llm_event, message));
	ev->message[0] = '\0';
	ev->type = type;
	ev->id = flight->id;
	ev->user_data = flight->user_data;
}

static int broken(struct llm *s, uint64_t id, const char *what, uint64_t got, uint64_t want)
{
	llm_session_die(s, LLM_BROKEN, -EPROTO,
			"the daemon broke the protocol: %s is %" PRIu64 ", expected %" PRIu64
			" (request %" PRIu64 ")",
			what, got, want, id);
	return -EPROTO;
}

/* 1: *ev holds tokens; 0: all of them were delivered before; -EPROTO. */
static int decode_tokens(struct llm *s, struct llm_flight *flight, uint32_t n_payload,
			 const void *payload, struct llm_event *ev)
{
	const char *at = payload;
	struct llm_tokens t;
	uint32_t n_repeated;
	uint64_t end;

	if (n_payload < sizeof(t))
		return broken(s, flight->id, "the payload of TOKENS", n_payload, sizeof(t));
	llm_ring_copy(&t, payload, sizeof(t));
	end = sizeof(t) + (uint64_t)t.n * sizeof(uint32_t) + t.text_len;
	if (end > n_payload)
		return broken(s, flight->id, "the payload of TOKENS", n_payload, end);
	if (t.pad)
		return broken(s, flight->id, "the padding of TOKENS", t.pad, 0);
	if (t.first_index > flight->next_index || t.n > UINT32_MAX - t.first_index)
		return broken(s, flight->id, "the index of a token", t.first_index,
			      flight->next_index);
	n_repeated = flight->next_index - t.first_index;
	if (n_repeated && n_repeated >= t.n)
		return 0;
	/* Text cannot be cut where an id ends. */
	if (n_repeated && t.text_len)
		return broken(s, flight->id, "the index of a token", t.first_index,
			      flight->next_index);
	start_event(ev, LLM_EVENT_TOKENS, flight);
	ev->n = t.n - n_repeated;
	ev->ids = (const uint32_t *)(const void *)(at + sizeof(t)) + n_repeated;
	ev->text = at + sizeof(t) + (size_t)t.n * sizeof(uint32_t);
	ev->text_len = t.text_len;
	ev->first_index = flight->next_index;
	ev->produced_ns = t.produced_ns;
	flight->next_index += ev->n;
	return 1;
}

/* 1, or -EPROTO. The request is no longer in flight. */
static int decode_end(struct llm *s, struct llm_flight *flight, uint32_t n_payload,
		      const void *payload, struct llm_event *ev)
{
	struct llm_end e;

	if (n_payload < sizeof(e))
		return broken(s, flight->id, "the payload of END", n_payload, sizeof(e));
	llm_ring_copy(&e, payload, sizeof(e));
	if (e.pad || e.status > 0 || !memchr(e.message, 0, sizeof(e.message)))
		return broken(s, flight->id,
			      "an END with padding, a status above 0 or no terminator", e.pad, 0);
	start_event(ev, LLM_EVENT_END, flight);
	ev->reason = e.reason;
	ev->status = e.status;
	ev->err_field = e.err_field;
	ev->prompt_tokens = e.prompt_tokens;
	ev->cached_tokens = e.cached_tokens;
	ev->generated_tokens = e.generated_tokens;
	ev->preemptions = e.preemptions;
	ev->got = e.got;
	ev->limit = e.limit;
	ev->queue_ns = e.queue_ns;
	ev->tokenize_ns = e.tokenize_ns;
	ev->prefill_ns = e.prefill_ns;
	ev->decode_ns = e.decode_ns;
	memcpy(ev->message, e.message, sizeof(e.message));
	llm_flight_remove(&s->flights, flight);
	return 1;
}

/* 1: *ev is filled; 0: nothing in it for the program; -EPROTO: the session is BROKEN. */
static int decode(struct llm *s, const struct llm_record *head, const void *payload,
		  struct llm_event *ev)
{
	uint32_t n_payload = head->len - (uint32_t)sizeof(*head);
	uint64_t n = head->request_id ^ s->welcome.id_base;
	struct llm_flight *flight;

	if (head->type != LLM_RECORD_TOKENS && head->type != LLM_RECORD_END)
		return 0;
	if (head->flags)
		return broken(s, head->request_id, "the flags of a record", head->flags, 0);
	if (!n || n > s->last_n)
		return broken(s, head->request_id, "a record of a request never made: its number",
			      n, s->last_n);
	flight = llm_flight_find(&s->flights, head->request_id);
	if (!flight)
		return 0;
	if (head->type == LLM_RECORD_TOKENS)
		return decode_tokens(s, flight, n_payload, payload, ev);
	return decode_end(s, flight, n_payload, payload, ev);
}

/* ROOM, now or as soon as the socket takes it. */
static void tell_room(struct llm *s)
{
	if (s->owes_room && s->life == LLM_LIVE)
		s->owes_room = llm_socket_send(s, LLM_PACKET_ROOM, 0) == -ENOBUFS;
}

static void give_back(struct llm *s)
{
	if (!llm_ring_give(&s->ring))
		return;
	s->owes_room = true;
	tell_room(s);
}

/* The next event that the ring holds: 1, or 0 when it is empty or not to be read any more. */
static int reap_ring(struct llm *s, struct llm_event *ev)
{
	struct llm_record head;
	const void *payload;
	int got;

	while (s->life != LLM_BROKEN) {
		got = llm_ring_peek(&s->ring, &head, &payload);
		if (got < 0) {
			broken(s, 0, "a position or length of the ring, at", s->ring.pos,
			       s->ring.seen);
			break;
		}
		if (!got)
			break;
		llm_ring_woke(&s->ring);
		got = decode(s, &head, payload, ev);
		if (got < 0)
			break;
		llm_ring_take(&s->ring, head.len);
		if (got) {
			s->n_unseen++;
			return 1;
		}
	}
	/* Records that held nothing for the program must not fill the ring. */
	if (!s->n_unseen && s->life == LLM_LIVE)
		give_back(s);
	return 0;
}

/* The END that a dead daemon owes: 1, or what the session answers once there is none left. */
static int reap_dead(struct llm *s, struct llm_event *ev)
{
	struct llm_flight *flight = llm_flight_oldest(&s->flights);

	if (!flight)
		return llm_session_fail(s, s->death, "%s", s->death_text);
	start_event(ev, LLM_EVENT_END, flight);
	ev->reason = LLM_REASON_HOSTDOWN;
	ev->status = s->end_status;
	ev->generated_tokens = flight->next_index;
	memcpy(ev->message, s->death_text, sizeof(ev->message));
	llm_flight_remove(&s->flights, flight);
	return 1;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Sleeps until the socket has news. 1, 0 when until_ms (-1: never) has come, or -EINTR. */
static int sleep_until(struct llm *s, int64_t until_ms)
{
	struct pollfd p = {.fd = s->fd, .events = (short)(POLLIN | (s->owes_room ? POLLOUT : 0))};
	int64_t left = -1;
	int n;

	if (until_ms >= 0) {
		left = until_ms - now_ms();
		if (left <= 0)
			return 0;
	}
	n = poll(&p, 1, (int)left);
	return n < 0 ? -errno : n;
}

/* POLLOUT is asked for until it has come, not for ever. */
static void check_out(struct llm *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLOUT};

	if (s->awaits_out && poll(&p, 1, 0) == 1)
		s->awaits_out = false;
}

int llm_next(struct llm *s, struct llm_event *ev, int timeout_ms)
{
	/* One more for the part of a millisecond that now_ms() leaves out: never early. */
	int64_t until_ms = timeout_ms > 0 ? now_ms() + timeout_ms + 1 : timeout_ms;
	int err = llm_session_check(s);

	if (err)
		return err;
	for (;;) {
		if (reap_ring(s, ev))
			return 1;
		if (s->life != LLM_LIVE)
			return reap_dead(s, ev);
		llm_socket_drain(s);
		tell_room(s);
		check_out(s);
		/* If that was the session's end, the ring may have got its last records meanwhile.
		 */
		if (s->life != LLM_LIVE || !llm_ring_wait(&s->ring))
			continue;
		if (!timeout_ms)
			return 0;
		err = sleep_until(s, until_ms);
		if (err == -EINTR)
			return llm_session_fail(s, err, "a signal came while waiting");
		if (err <= 0)
			return err;
	}
}

void llm_seen(struct llm *s)
{
	if (llm_session_check(s) || !s->n_unseen)
		return;
	s->n_unseen = 0;
	if (s->life == LLM_LIVE)
		give_back(s);
}

int llm_fd(const struct llm *s)
{
	int err = llm_session_check(s);

	return err ? err : s->fd;
}

short llm_poll_events(const struct llm *s)
{
	return (short)(POLLIN | (s->owes_room || s->awaits_out ? POLLOUT : 0));
}
