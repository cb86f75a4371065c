/* SPDX-License-Identifier: MIT */
/*
 * strerror: sentences for the errors that libllm gives a meaning of its own; the C library's for
 * others.
 */
#include <errno.h>
#include <string.h>

#include "lib/session.h"

const char *llm_strerror(int err)
{
	/* Not -err: the least int has no positive. */
	unsigned code = err < 0 ? 0u - (unsigned)err : (unsigned)err;

	switch (code) {
	case 0:
		return "success";
	case ENOBUFS:
		return "no credit now: wait for requests in flight to end";
	case EDQUOT:
		return "the request is larger than all credit of the session";
	case EMSGSIZE:
		return "the request is larger than the daemon takes";
	case EHOSTDOWN:
		return "no daemon is serving";
	case EPROTO:
		return "the daemon broke the protocol";
	case EBUSY:
		return "a prepared submit is not done";
	case EPERM:
		return "the session belongs to the parent process";
	case EOPNOTSUPP:
		return "this libllm has no device door";
	case EOVERFLOW:
		return "the session has used up its request ids";
	case ENOENT:
		return "no such request, or nobody serves there";
	case EINVAL:
		return "a field of the request or of the arguments makes no sense";
	case E2BIG:
		return "a structure is newer than this libllm and uses what it does not know";
	case ETIMEDOUT:
		return "the daemon did not answer in time";
	default:
		return strerror((int)code);
	}
}

const char *llm_error(const struct llm *s)
{
	return s->error_text;
}
