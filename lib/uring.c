/* SPDX-License-Identifier: MIT */
/*
 * uring: libllm's sends and waits as SQEs of the program's own io_uring.
 *
 * Owns no ring and makes no system call. A prepared SUBMIT is sent with MSG_DONTWAIT: the kernel
 * then tries it where it stands in the queue and completes it at once, full socket included, so
 * that requests reach the daemon in the order of their ids; one that waited would be overtaken.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/session.h"

/* What lies in struct llm_prepared. */
struct prepared {
	uint64_t id;
	struct msghdr msg;
	struct iovec iov[2];
	struct llm_parcel parcel;
};

_Static_assert(sizeof(struct prepared) <= sizeof(struct llm_prepared), "it fits");
_Static_assert(_Alignof(struct prepared) <= _Alignof(struct llm_prepared), "and is aligned");

int llm_prep_submit(struct llm *s, struct io_uring_sqe *sqe, const struct llm_request *req,
		    struct llm_prepared *p)
{
	struct prepared *mine = (struct prepared *)p;
	int err = llm_session_check(s);

	if (err)
		return err;
	mine->id = 0;
	err = llm_parcel_make(s, req, &mine->parcel);
	if (err)
		return err;
	mine->id = mine->parcel.id;
	llm_flight_find(&s->flights, mine->id)->is_prepared = true;
	s->flights.n_prepared++;
	llm_parcel_address(&mine->parcel, &mine->msg, mine->iov);
	io_uring_prep_sendmsg(sqe, s->fd, &mine->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return 0;
}

int llm_prep_done(struct llm *s, struct llm_prepared *p, int cqe_res)
{
	struct prepared *mine = (struct prepared *)p;
	struct llm_flight *flight;
	int err = llm_session_check(s);

	if (err)
		return err;
	if (!mine->id)
		return llm_session_fail(s, -EINVAL, "nothing is prepared there");
	s->flights.n_prepared--;
	llm_body_free(&mine->parcel.body);
	/* A packet is sent whole or not at all. */
	if (cqe_res >= 0 && (size_t)cqe_res != mine->parcel.n_bytes)
		err = llm_session_fail(s, -EIO, "%d bytes of a packet of %zu were sent", cqe_res,
				       mine->parcel.n_bytes);
	else
		err = llm_socket_sent(s, cqe_res);
	if (err) {
		llm_parcel_take_back(s, &mine->parcel);
		mine->id = 0;
		return err;
	}
	/* Its END may have been read already. */
	flight = llm_flight_find(&s->flights, mine->id);
	if (flight)
		flight->is_prepared = false;
	mine->parcel.id = 0;
	return 0;
}

int llm_prep_wait(struct llm *s, struct io_uring_sqe *sqe)
{
	int err = llm_session_check(s);

	if (err)
		return err;
	io_uring_prep_poll_multishot(sqe, s->fd, POLLIN);
	/* Kicks from now on; what came before is found by the llm_next() that the contract asks
	 * for. */
	llm_ring_wait(&s->ring);
	return 0;
}
