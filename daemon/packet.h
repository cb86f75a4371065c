/* SPDX-License-Identifier: MIT */
/*
 * packet: the socket door's packets (uapi/llm_msg.h, section 3): taking apart what a client sent,
 * putting together what it is told.
 *
 * Parsing is pure and hostile-proof (a fuzz target); sending never waits.
 */
#ifndef DEVLLM_PACKET_H
#define DEVLLM_PACKET_H

#include <stddef.h>

#include "daemon/error.h"
#include "uapi/llm_msg.h"

#define PACKET_MAX_HEADER 256u /* bytes of a later version's header */
#define PACKET_MAX_BYTES (PACKET_MAX_HEADER + LLM_INLINE_BODY_BYTES)

struct packet {
	struct llm_packet head;
	const void *payload; /* [head.len], inside the bytes given; any alignment */
};

/*
 * n bytes as they came in one message. A longer header passes if what we do not know of it is zero.
 * 0, or -EPROTO (-E2BIG for a header that says more than we know) with err.
 */
int packet_parse(const void *data, size_t n, struct packet *out, struct error *err);

/* The payload of a HELLO, copied and checked, name terminated. numbers: got and limit. */
int packet_parse_hello(const struct packet *p, struct llm_hello *out, __u64 numbers[2],
		       struct error *err);

/* What goes with one message. */
struct packet_out {
	enum llm_packet_type type;
	const void *payload; /* [len] */
	size_t len;
	const int *fds; /* [n_fds] */
	unsigned n_fds; /* at most 2 */
};

/* 0, -EAGAIN when the peer's socket is full, -EPIPE ... */
int packet_send(int fd, const struct packet_out *out);

#endif
