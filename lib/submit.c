/* SPDX-License-Identifier: MIT */
/*
 * submit: requests and cancels out of the program.
 *
 * A SUBMIT is made as a parcel (checked, charged, numbered) and then sent, here by sendmsg(), in
 * uring.c by the program's ring. The daemon wants ids in rising order, so while a prepared parcel
 * may still be on its way nothing overtakes it. The client keeps its own account of credit: what
 * would exceed it is never sent.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "lib/session.h"

/* 0 while the session can take a request, apart from its credit. */
static int check_session(struct llm *s)
{
	if (s->life != LLM_LIVE)
		return llm_session_fail(s, s->death, "%s", s->death_text);
	if (s->flights.n_requests >= s->flights.max_requests)
		return llm_session_fail(s, -ENOBUFS, "%u requests are in flight, at most %u",
					s->flights.n_requests, s->flights.max_requests);
	if (s->last_n == UINT32_MAX)
		return llm_session_fail(s, -EOVERFLOW, "the session has used up its %u ids",
					s->last_n);
	return 0;
}

static int check_credit(struct llm *s, uint64_t n_bytes)
{
	if (n_bytes > s->welcome.body_bytes)
		return llm_session_fail(s, -EDQUOT,
					"the body has %" PRIu64 " bytes, all credit is %llu",
					n_bytes, s->welcome.body_bytes);
	if (n_bytes > s->welcome.body_bytes - s->flights.body_bytes)
		return llm_session_fail(s, -ENOBUFS,
					"the body has %" PRIu64 " bytes, %" PRIu64
					" more are in flight, credit is %llu",
					n_bytes, s->flights.body_bytes, s->welcome.body_bytes);
	return 0;
}

int llm_parcel_make(struct llm *s, const struct llm_request *given, struct llm_parcel *out)
{
	struct llm_request req;
	struct llm_body_plan plan;
	struct llm_flight *flight;
	int err = check_session(s);

	if (err)
		return err;
	err = llm_copy_sized(&req, sizeof(req), given);
	if (err)
		return llm_session_fail(s, err, "the request has %u bytes, this libllm knows %zu",
					given->size, sizeof(req));
	err = llm_body_measure(s, &req, &plan);
	if (!err)
		err = check_credit(s, plan.n_bytes);
	if (err)
		return err;
	memset(out, 0, sizeof(*out));
	err = llm_body_encode(&req, &plan, &out->body);
	if (err)
		return llm_session_fail(s, err, "encoding the body: %s", strerror(-err));
	out->id = s->welcome.id_base | ++s->last_n;
	flight = llm_flight_add(&s->flights, out->id);
	flight->user_data = req.user_data;
	flight->body_bytes = out->body.n_bytes;
	s->flights.body_bytes += out->body.n_bytes;
	out->packet = (struct llm_packet){
		.type = LLM_PACKET_SUBMIT,
		.hdr_len = sizeof(out->packet),
		.len = out->body.memfd < 0 ? out->body.n_bytes : 0,
		.request_id = out->id,
		.user_data = req.user_data,
	};
	out->n_bytes = sizeof(out->packet) + out->packet.len;
	return 0;
}

void llm_parcel_take_back(struct llm *s, const struct llm_parcel *parcel)
{
	struct llm_flight *flight = llm_flight_find(&s->flights, parcel->id);

	if (flight)
		llm_flight_remove(&s->flights, flight);
}

void llm_parcel_address(struct llm_parcel *parcel, struct msghdr *msg, struct iovec iov[2])
{
	struct cmsghdr *c;

	memset(msg, 0, sizeof(*msg));
	iov[0] = (struct iovec){&parcel->packet, sizeof(parcel->packet)};
	iov[1] = (struct iovec){parcel->body.data, parcel->packet.len};
	msg->msg_iov = iov;
	msg->msg_iovlen = parcel->packet.len ? 2 : 1;
	if (parcel->body.memfd < 0)
		return;
	_Static_assert(sizeof(parcel->control) >= CMSG_SPACE(sizeof(int)), "one descriptor fits");
	msg->msg_control = &parcel->control;
	msg->msg_controllen = CMSG_SPACE(sizeof(int));
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &parcel->body.memfd, sizeof(int));
}

int llm_submit(struct llm *s, const struct llm_request *req, uint64_t *id)
{
	struct llm_parcel parcel;
	struct iovec iov[2];
	struct msghdr msg;
	int err = llm_session_check(s);

	if (err)
		return err;
	if (s->flights.n_prepared)
		return llm_session_fail(s, -EBUSY, "%u prepared submits are not done",
					s->flights.n_prepared);
	err = llm_parcel_make(s, req, &parcel);
	if (err)
		return err;
	llm_parcel_address(&parcel, &msg, iov);
	err = llm_socket_sendmsg(s, &msg);
	if (err)
		llm_parcel_take_back(s, &parcel);
	else if (id)
		*id = parcel.id;
	llm_body_free(&parcel.body);
	return err;
}

int llm_submit_many(struct llm *s, const struct llm_request *req, size_t n, uint64_t *ids)
{
	const char *at = (const char *)req;
	size_t i;

	for (i = 0; i < n && i < INT32_MAX; i++) {
		int err = llm_submit(s, (const struct llm_request *)at, ids ? &ids[i] : NULL);

		if (err)
			return i ? (int)i : err;
		/* The program's size of the structure, not ours. */
		at += req->size;
	}
	return (int)i;
}

int llm_cancel(struct llm *s, uint64_t id)
{
	struct llm_flight *flight;
	int err = llm_session_check(s);

	if (err)
		return err;
	if (s->life != LLM_LIVE)
		return llm_session_fail(s, s->death, "%s", s->death_text);
	flight = id ? llm_flight_find(&s->flights, id) : NULL;
	if (id && !flight)
		return llm_session_fail(s, -ENOENT, "request %" PRIu64 " is not in flight", id);
	if (id && flight->is_prepared)
		return llm_session_fail(s, -EBUSY, "request %" PRIu64 " is prepared, not submitted",
					id);
	if (!s->flights.n_requests)
		return 0;
	return llm_socket_send(s, LLM_PACKET_CANCEL, id);
}
