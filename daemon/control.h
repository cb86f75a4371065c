/* SPDX-License-Identifier: MIT */
/*
 * control: what `llmctl` asks the daemon, over the same socket as everything else.
 *
 * Protocol. A connection to the socket door that sends CONTROL instead of HELLO is a control
 * connection: no session, no ring. One packet {LLM_PACKET_CONTROL, len} with a JSON object of at
 * most CONTROL_MAX_BYTES asks; the answer is REPLY packets whose payloads, put together, are one
 * JSON object followed by a newline; a REPLY with len 0 ends it. Each payload is at most
 * CONTROL_CHUNK_BYTES. Another question may follow on the same connection, after the answer.
 * Unknown members are refused.
 *
 *	{"command":"status"}
 *		{"version", "abi", "pid", "uid", "engine", "model", "context_tokens", "uptime_ms",
 *		 "draining", "pages_total", "pages_free", "pages_prefix", "page_tokens",
 *		 "kv_tokens_total", "step_tokens", "steps", "requests_running", "requests_waiting",
 *		 "sessions", "prompt_tokens", "generated_tokens", "preemptions",
 *		 "request_log_dropped"}
 *	{"command":"sessions"}
 *		{"sessions": [{"id", "uid", "pid", "name", "tenant", "requests", "ring_bytes",
 *		 "ring_fill_bytes", "stalled"}]}
 *	{"command":"requests"}
 *		{"requests": [{"id", "session", "tenant", "uid", "pid", "state", "isl", "osl",
 *		 "max_tokens", "age_ms", "pages", "stalled", "preemptions"}]}
 *		state: "parsed", "waiting", "running", "ended"
 *	{"command":"metrics"}
 *		{"text": "..."}: Prometheus text, the counters of all tenants whoever asks: a
 *		scrape takes no privilege; how much a tenant uses is told, never what
 *	{"command":"cancel", "id": "0x8000000100000001"}
 *		{"canceled": 1}
 *		An id is an integer or a string, decimal or 0x: ids have 64 bits, the socket's have
 *		bit 63 set, which a JSON integer cannot carry. In answers ids are decimal strings.
 *	{"command":"drain"}
 *		{"draining": true, "requests": N}: no new work; the daemon exits when N have ended
 *
 * A refusal is {"error": {"status": -1, "message": "..."}}. Whoever may connect may ask. Uid 0 and
 * the daemon's own uid see all sessions and requests and may cancel each; others see and cancel
 * those of their uid (-ENOENT). To drain takes uid 0 or the daemon's own (-EPERM).
 *
 * Answers are built at once, from one instant, and sent without blocking; a client that does not
 * read its answer for five seconds, or asks again before it has all of it, loses the connection; so
 * does who asks for a ninth answer while eight of his uid's are not read.
 */
#ifndef DEVLLM_CONTROL_H
#define DEVLLM_CONTROL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTROL_MAX_BYTES 4096u
#define CONTROL_CHUNK_BYTES (60u << 10)

struct daemon;
struct control;

int control_create(struct daemon *d, struct control **out);
void control_destroy(struct control *c);

/*
 * A CONTROL packet came on the connection fd (seqpacket, nonblocking) of a peer with this uid. 0:
 * answered or being answered; -errno: close the connection. fd stays the caller's; the answer goes
 * through a duplicate of it.
 */
int control_packet(struct daemon *d, int fd, uid_t uid, const void *json, size_t len);

/* Drops answers that nobody reads. */
void control_expire(struct control *c, uint64_t now_ns);
/* When `control_expire()` has something to do: CLOCK_MONOTONIC, 0: never. */
uint64_t control_next_ns(const struct control *c);

#endif
