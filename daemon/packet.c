/* SPDX-License-Identifier: MIT */
/*
 * packet: see daemon/packet.h.
 */
#include "daemon/packet.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int check_zero(const unsigned char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return -E2BIG;
	return 0;
}

int packet_parse(const void *data, size_t n, struct packet *out, struct error *err)
{
	const unsigned char *at = data;
	struct llm_packet *h = &out->head;

	*out = (struct packet){0};
	if (n < sizeof(*h))
		return error_set(err, -EPROTO, "a packet of %zu bytes, at least %zu expected", n,
				 sizeof(*h));
	memcpy(h, at, sizeof(*h));
	if (h->hdr_len < sizeof(*h) || h->hdr_len > PACKET_MAX_HEADER || h->hdr_len > n)
		return error_set(err, -EPROTO,
				 "a packet of %zu bytes says that its header has %u, %zu to %u "
				 "expected",
				 n, h->hdr_len, sizeof(*h), PACKET_MAX_HEADER);
	if (h->len != n - h->hdr_len)
		return error_set(
			err, -EPROTO,
			"a packet of %zu bytes says that it has %u behind its header of %u", n,
			h->len, h->hdr_len);
	if (check_zero(at + sizeof(*h), h->hdr_len - sizeof(*h)))
		return error_set(err, -E2BIG,
				 "a packet's header of %u bytes says more than this llmd knows "
				 "(%zu)",
				 h->hdr_len, sizeof(*h));
	out->payload = at + h->hdr_len;
	return 0;
}

static int check_hello(const struct llm_hello *h, __u64 numbers[2], struct error *err)
{
	__u64 room = (__u64)h->max_requests * LLM_ROOM;

	if (h->abi != LLM_ABI) {
		numbers[0] = h->abi;
		numbers[1] = LLM_ABI;
		return error_set(err, -EPROTONOSUPPORT,
				 "the client speaks version %u, this llmd %u", h->abi, LLM_ABI);
	}
	if (h->features || h->pad)
		return error_set(err, -EOPNOTSUPP, "HELLO asks for features 0x%llx, pad 0x%x",
				 (unsigned long long)h->features, h->pad);
	if (!h->max_requests || h->max_requests > LLM_MAX_REQUESTS) {
		numbers[0] = h->max_requests;
		numbers[1] = LLM_MAX_REQUESTS;
		return error_set(err, -EINVAL, "HELLO asks for %u requests, 1 to %u expected",
				 h->max_requests, LLM_MAX_REQUESTS);
	}
	if (h->ring_bytes & (h->ring_bytes - 1) || h->ring_bytes < room ||
	    h->ring_bytes > LLM_MAX_RING_BYTES) {
		numbers[0] = h->ring_bytes;
		numbers[1] = LLM_MAX_RING_BYTES;
		return error_set(err, -EINVAL,
				 "HELLO asks for a ring of %u bytes, a power of two from %llu to "
				 "%u expected",
				 h->ring_bytes, (unsigned long long)room, LLM_MAX_RING_BYTES);
	}
	return 0;
}

int packet_parse_hello(const struct packet *p, struct llm_hello *out, __u64 numbers[2],
		       struct error *err)
{
	const unsigned char *at = p->payload;

	numbers[0] = p->head.len;
	numbers[1] = sizeof(*out);
	if (p->head.len < sizeof(*out))
		return error_set(err, -EPROTO, "a HELLO of %u bytes, at least %zu expected",
				 p->head.len, sizeof(*out));
	if (check_zero(at + sizeof(*out), p->head.len - sizeof(*out)))
		return error_set(err, -E2BIG, "a HELLO of %u bytes says more than this llmd knows",
				 p->head.len);
	memcpy(out, at, sizeof(*out));
	out->name[sizeof(out->name) - 1] = 0;
	return check_hello(out, numbers, err);
}

int packet_send(int fd, const struct packet_out *out)
{
	struct llm_packet head = {
		.type = (__u16)out->type, .hdr_len = sizeof(head), .len = (__u32)out->len};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)(size_t)out->payload, out->len}};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = out->len ? 2 : 1};
	size_t n_bytes = out->n_fds * sizeof(int);

	if (out->n_fds) {
		memset(&control, 0, sizeof(control));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n_bytes);
		memcpy(CMSG_DATA(&control.align), out->fds, n_bytes);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_bytes);
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
