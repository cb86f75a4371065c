/* SPDX-License-Identifier: MIT */
/*
 * request_log: one JSON line per finished request, from which every latency plot can be drawn.
 *
 * Lines go through a bounded buffer to a file opened with O_APPEND | O_NONBLOCK, a chunk per turn
 * of the heart. A full disk or a slow reader therefore costs lines, never tokens: a line that does
 * not fit is dropped whole and counted (`llm_request_log_dropped_total`, and a warning); a line
 * half written is completed when there is room again. SIGHUP reopens the path, for logrotate.
 *
 * Schema, version 1. All times in ns; "time" is CLOCK_REALTIME when the request ended, the rest are
 * spans of CLOCK_MONOTONIC. queue + tokenize + prefill = TTFT;
 * TTFT + the sum of gaps = the time of the last token.
 *
 *	{"v":1, "time":"2026-01-31T12:00:00.123456789Z", "id":"N", "tenant":"...", "uid":N,
 *	 "pid":N, "door":"socket", "model":"...", "isl":N, "osl":N, "cached":N, "reason":"eos",
 *	 "status":0, "queue_ns":N, "tokenize_ns":N, "prefill_ns":N, "ttft_ns":N or null,
 *	 "e2e_ns":N, "stall_ns":N, "preemptions":N, "replayed":false, "seed":"N",
 *	 "accepted_drafts":0, "gaps_ns":[N,...]}
 *
 * id and seed have 64 bits, which a JSON integer cannot carry everywhere: decimal strings.
 */
#ifndef DEVLLM_REQUEST_LOG_H
#define DEVLLM_REQUEST_LOG_H

#include <stdint.h>

#include "daemon/error.h"

struct log;
struct request;
struct request_log;

/* What a line says of the client, which the request itself does not hold. */
struct request_log_who {
	const char *tenant; /* name */
	const char *door;   /* "socket" */
	const char *model;
	uint32_t uid;
	int32_t pid;
};

/* Trouble is told to messages (may be NULL), once when it begins and once when it is over. */
int request_log_open(const char *path, struct log *messages, struct request_log **out,
		     struct error *err);
/* Writes what can be written without waiting and tells how many lines were lost. */
void request_log_close(struct request_log *l);

/* From request_end(). l may be NULL (no log). */
void request_log_append(struct request_log *l, const struct request_log_who *who,
			const struct request *r, uint64_t now_ns);

/* At most one write of a bounded chunk; once per turn of the heart. l may be NULL. */
void request_log_flush(struct request_log *l, uint64_t now_ns);

/* CLOCK_MONOTONIC when the next flush has something to do; 0: nothing waits. */
uint64_t request_log_next_ns(const struct request_log *l);

/* SIGHUP. On failure the old file stays in use. */
int request_log_reopen(struct request_log *l, struct error *err);

uint64_t request_log_n_dropped(const struct request_log *l);

#endif
