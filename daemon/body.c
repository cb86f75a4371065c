/* SPDX-License-Identifier: MIT */
/*
 * body: see daemon/body.h.
 *
 * A memfd is read, not mapped: a read cannot end in SIGBUS whatever the sender does. The seals make
 * sure that it does not change between body_measure() and the end of the read.
 */
#include "daemon/body.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int refuse(struct request_refusal *how, int status, uint64_t got, uint64_t limit,
		  const char *text)
{
	struct request_refusal init = {
		.status = status, .err_field = LLM_FIELD_BODY, .got = got, .limit = limit};

	return request_refuse(how, &init, "%s", text);
}

static int check_memfd(int fd, size_t *len, struct request_refusal *how)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return refuse(how, -EINVAL, 0, 0, "the body's descriptor is no sealed memfd");
	if ((seals & SEALS) != SEALS) {
		struct request_refusal init = {.status = -EINVAL,
					       .err_field = LLM_FIELD_BODY,
					       .got = (uint64_t)seals,
					       .limit = SEALS};

		return request_refuse(how, &init,
				      "the body's memfd has seals 0x%x, 0x%x (shrink, grow, "
				      "write) expected",
				      (unsigned)seals, (unsigned)SEALS);
	}
	*len = (size_t)st.st_size;
	return 0;
}

int body_measure(const struct body_source *src, struct body *out, struct request_refusal *how)
{
	const struct packet *p = src->packet;
	int rc;

	*out = (struct body){.data = p->payload, .len = p->head.len, .fd = -1};
	if (!out->len && src->n_fds == 1) {
		rc = check_memfd(src->fds[0], &out->len, how);
		if (rc)
			return rc;
		out->data = NULL;
		out->fd = src->fds[0];
	} else if (src->n_fds) {
		return refuse(how, -EINVAL, src->n_fds, 1,
			      "a body comes inline or as one memfd, this one came with both");
	}
	if (out->len > src->max_bytes) {
		struct request_refusal init = {.status = -EMSGSIZE,
					       .err_field = LLM_FIELD_BODY,
					       .got = out->len,
					       .limit = src->max_bytes};

		return request_refuse(how, &init, "the body has %zu bytes, at most %u are allowed",
				      out->len, src->max_bytes);
	}
	return 0;
}

int body_read(struct body *b, struct request_refusal *how)
{
	unsigned char *to;
	size_t done = 0;

	if (b->fd < 0)
		return 0;
	to = malloc(b->len ? b->len : 1);
	if (!to)
		return refuse(how, -ENOMEM, b->len, 0, "the body: no memory");
	while (done < b->len) {
		ssize_t n = pread(b->fd, to + done, b->len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(to);
			return refuse(how, -EIO, done, b->len, "the body's memfd cannot be read");
		}
		done += (size_t)n;
	}
	b->copy = to;
	b->data = to;
	return 0;
}

void body_exit(struct body *b)
{
	free(b->copy);
	b->copy = NULL;
}
