/* SPDX-License-Identifier: MIT */
/*
 * body: the bytes of a SUBMIT, inline in its packet or in a sealed memfd, as memory that nobody
 *else can change. What they say is intake's business.
 *
 *	body_measure()	how long, and may it be read? nothing is allocated yet
 *	body_read()	a private copy where it needs one
 *	body_exit()
 */
#ifndef DEVLLM_BODY_H
#define DEVLLM_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/packet.h"
#include "daemon/request.h"

struct body {
	const void *data; /* [len], after body_read() */
	size_t len;	  /* bytes */
	void *copy;	  /* malloc'd, or NULL: data lies in the packet */
	int fd;		  /* -1: inline; the caller's */
};

/* What came with the packet. */
struct body_source {
	const struct packet *packet;
	const int *fds; /* [n_fds] */
	unsigned n_fds;
	uint32_t max_bytes; /* of a body */
};

/*
 * 0, or -errno with *how: -EMSGSIZE (both numbers), -EINVAL: what came is no memfd, or can still be
 * changed by its sender.
 */
int body_measure(const struct body_source *src, struct body *out, struct request_refusal *how);
int body_read(struct body *b, struct request_refusal *how);
void body_exit(struct body *b);

#endif
