/* SPDX-License-Identifier: MIT */
/*
 * request_log: see daemon/request_log.h. A byte queue in front of a file.
 *
 * Only whole lines enter the queue, so the file can hold a torn line only while the disk is full;
 * the rest of it is the first thing written when there is room. The queue grows to QUEUE_BYTES and
 * then drops. A write that fails is tried again after RETRY_NS, not in every turn.
 */
#include "daemon/request_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/request.h"

#define QUEUE_BYTES (8u << 20)
#define CHUNK_BYTES (256u << 10) /* most that one flush writes */
#define RETRY_NS 100000000u	 /* after an error */
#define FULL_NS 10000000u	 /* after a pipe took no more */
#define SCHEMA 1

struct request_log {
	char *path;
	int fd;
	struct log *messages;
	char *queue; /* [cap]; waiting bytes are queue[head..end) */
	size_t head, end, cap;
	bool is_mid_line;   /* the newest byte in the file is not a newline */
	bool is_failing;    /* the newest write failed; told */
	uint64_t next_ns;   /* no write before */
	uint64_t n_dropped; /* lines */
	uint64_t n_told;    /* of them told */
};

static int open_path(const char *path, struct error *err)
{
	int fd =
		open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0640);

	if (fd < 0)
		return error_set(err, -errno, "request log %s: %s", path,
				 errno == ENXIO ? "a pipe that nobody reads" : strerror(errno));
	return fd;
}

int request_log_open(const char *path, struct log *messages, struct request_log **out,
		     struct error *err)
{
	struct request_log *l = calloc(1, sizeof(*l));
	int rc;

	*out = NULL;
	if (!l)
		return error_set(err, -ENOMEM, "request log %s: no memory", path);
	l->messages = messages;
	l->path = strdup(path);
	if (!l->path) {
		rc = error_set(err, -ENOMEM, "request log %s: no memory", path);
		goto free_log;
	}
	l->fd = open_path(path, err);
	if (l->fd < 0) {
		rc = l->fd;
		goto free_path;
	}
	*out = l;
	return 0;

free_path:
	free(l->path);
free_log:
	free(l);
	return rc;
}

/* One line about each change: trouble begins, lines were lost, trouble is over. */
static void tell(struct request_log *l, int error)
{
	uint64_t n_new = l->n_dropped - l->n_told;

	if (error && !l->is_failing)
		log_warn(l->messages, "request log %s: %s; lines are kept until %u bytes wait",
			 l->path, strerror(error), QUEUE_BYTES);
	if (!error && (l->is_failing || n_new))
		log_warn(l->messages, "request log %s: writing again, %" PRIu64 " lines lost",
			 l->path, n_new);
	if (!error)
		l->n_told = l->n_dropped;
	l->is_failing = error != 0;
}

void request_log_flush(struct request_log *l, uint64_t now_ns)
{
	size_t want;
	ssize_t n;

	if (!l || l->head == l->end || now_ns < l->next_ns)
		return;
	want = l->end - l->head < CHUNK_BYTES ? l->end - l->head : CHUNK_BYTES;
	n = write(l->fd, l->queue + l->head, want);
	if (n < 0 && errno == EAGAIN) {
		l->next_ns = now_ns + FULL_NS;
		return;
	}
	if (n <= 0) {
		l->next_ns = now_ns + RETRY_NS;
		tell(l, n < 0 ? errno : EIO);
		return;
	}
	l->is_mid_line = l->queue[l->head + (size_t)n - 1] != '\n';
	l->head += (size_t)n;
	if (l->head == l->end)
		l->head = l->end = 0;
	l->next_ns = (size_t)n < want ? now_ns + FULL_NS : 0;
	tell(l, 0);
}

uint64_t request_log_next_ns(const struct request_log *l)
{
	if (!l || l->head == l->end)
		return 0;
	return l->next_ns ? l->next_ns : 1;
}

uint64_t request_log_n_dropped(const struct request_log *l)
{
	return l->n_dropped;
}

/* What waits of a line whose beginning is in the old file stays there, or is lost with it. */
static void finish_line(struct request_log *l)
{
	const char *end;
	size_t n;

	if (!l->is_mid_line)
		return;
	end = memchr(l->queue + l->head, '\n', l->end - l->head);
	n = (size_t)(end + 1 - (l->queue + l->head));
	if (write(l->fd, l->queue + l->head, n) != (ssize_t)n)
		l->n_dropped++;
	l->head += n;
	l->is_mid_line = false;
}

int request_log_reopen(struct request_log *l, struct error *err)
{
	int fd = open_path(l->path, err);

	if (fd < 0)
		return fd;
	finish_line(l);
	close(l->fd);
	l->fd = fd;
	l->next_ns = 0;
	return 0;
}

void request_log_close(struct request_log *l)
{
	uint64_t n_before = UINT64_MAX;

	if (!l)
		return;
	/* As long as it makes progress; CHUNK_BYTES at a time. */
	while (l->end - l->head != n_before && l->head != l->end) {
		n_before = l->end - l->head;
		request_log_flush(l, l->next_ns);
	}
	for (size_t i = l->head; i < l->end; i++)
		l->n_dropped += l->queue[i] == '\n';
	if (l->n_dropped)
		log_warn(l->messages, "request log %s: %" PRIu64 " lines were lost", l->path,
			 l->n_dropped);
	close(l->fd);
	free(l->queue);
	free(l->path);
	free(l);
}

/* Takes a whole line in; false: there is no room. */
static bool enqueue(struct request_log *l, const char *line, size_t n)
{
	size_t waiting = l->end - l->head, cap = l->cap ? l->cap : CHUNK_BYTES;
	char *grown;

	if (waiting + n > QUEUE_BYTES)
		return false;
	if (l->head && l->end + n > l->cap) {
		memmove(l->queue, l->queue + l->head, waiting);
		l->head = 0;
		l->end = waiting;
	}
	while (cap < waiting + n)
		cap *= 2;
	if (cap != l->cap) {
		grown = realloc(l->queue, cap);
		if (!grown)
			return false;
		l->queue = grown;
		l->cap = cap;
	}
	memcpy(l->queue + l->end, line, n);
	l->end += n;
	return true;
}

static const char *reason_name(enum llm_end_reason reason)
{
	static const char *const names[] = {"none",	"eos",	    "length", "stop",
					    "canceled", "deadline", "error",  "hostdown"};

	return reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "unknown";
}

/* CLOCK_REALTIME as RFC 3339 with nanoseconds. */
static void wall_time(char *to, size_t n)
{
	struct timespec now;
	struct tm day;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &day);
	len = strftime(to, n, "%Y-%m-%dT%H:%M:%S", &day);
	snprintf(to + len, n - len, ".%09ldZ", now.tv_nsec);
}

/* The line, newline included; NULL without memory. Freed by the caller. */
static char *format_line(const struct request_log_who *who, const struct request *r,
			 uint64_t now_ns, size_t *n)
{
	const struct request_times *at = &r->times;
	const struct sched_seq *q = &r->seq;
	uint64_t ttft_ns = at->first_ns ? at->first_ns - at->arrived_ns : 0;
	json_t *name = json_string(who->model);
	char *model = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL, *line = NULL, time[64];
	FILE *to = open_memstream(&line, n);
	struct llm_end end;

	json_decref(name);
	if (!to) {
		free(model);
		return NULL;
	}
	wall_time(time, sizeof(time));
	request_fill_end(r, &end);
	fprintf(to, "{\"v\":%d,\"time\":\"%s\",\"id\":\"%" PRIu64 "\",\"tenant\":\"%s\"", SCHEMA,
		time, r->id, who->tenant);
	fprintf(to, ",\"uid\":%u,\"pid\":%d,\"door\":\"%s\",\"model\":%s", who->uid, who->pid,
		who->door, model ? model : "null");
	fprintf(to, ",\"isl\":%u,\"osl\":%u,\"cached\":%u,\"reason\":\"%s\",\"status\":%d",
		q->n_prompt, r->n_output, q->n_prefix_hit, reason_name(r->end.reason),
		r->end.status);
	fprintf(to, ",\"queue_ns\":%" PRIu64 ",\"tokenize_ns\":%" PRIu64 ",\"prefill_ns\":%" PRIu64,
		(uint64_t)end.queue_ns, (uint64_t)end.tokenize_ns, (uint64_t)end.prefill_ns);
	fprintf(to, at->first_ns ? ",\"ttft_ns\":%" PRIu64 : ",\"ttft_ns\":null", ttft_ns);
	fprintf(to, ",\"e2e_ns\":%" PRIu64 ",\"stall_ns\":%" PRIu64 ",\"preemptions\":%u",
		now_ns - at->arrived_ns,
		at->stall_ns + (at->stalled_ns ? now_ns - at->stalled_ns : 0), q->n_preemptions);
	fprintf(to,
		",\"replayed\":false,\"seed\":\"%" PRIu64 "\",\"accepted_drafts\":0,\"gaps_ns\":[",
		r->params.seed);
	for (uint32_t i = 0; i < at->n_gaps; i++)
		fprintf(to, "%s%" PRIu64, i ? "," : "", at->gaps_ns[i]);
	fputs("]}\n", to);
	free(model);
	if (fclose(to)) {
		free(line);
		return NULL;
	}
	return line;
}

void request_log_append(struct request_log *l, const struct request_log_who *who,
			const struct request *r, uint64_t now_ns)
{
	size_t n = 0;
	char *line;

	if (!l)
		return;
	line = format_line(who, r, now_ns, &n);
	if (!line || !enqueue(l, line, n))
		l->n_dropped++;
	free(line);
}
