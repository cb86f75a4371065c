/* SPDX-License-Identifier: MIT */
/*
 * control: one question to the daemon itself, without a session: CONTROL out, REPLY packets in
 * until an empty one.
 *
 * The daemon's answer is bounded here too, since a peer that is no llmd may send for ever.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/session.h"

#define TIMEOUT_MS 30000
#define QUESTION_BYTES 4096u
#define REPLY_BYTES (64u << 20)	 /* of one answer */
#define PACKET_BYTES (64u << 10) /* of one packet */

static int ask(int fd, const char *question)
{
	struct llm_packet head = {.type = LLM_PACKET_CONTROL,
				  .hdr_len = sizeof(head),
				  .len = (__u32)strlen(question)};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)question, head.len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	/* A daemon that refuses before it reads has said why: read that. */
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		return -errno;
	return 0;
}

/* The payload of the next REPLY: its length, or -errno. */
static ssize_t receive(int fd, unsigned char *packet)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct llm_packet head;
	int ready = poll(&p, 1, TIMEOUT_MS);
	ssize_t n;

	if (ready <= 0)
		return ready ? -errno : -ETIMEDOUT;
	n = recv(fd, packet, PACKET_BYTES, MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (!n)
		return -EHOSTDOWN;
	if (n < (ssize_t)sizeof(head) || n > (ssize_t)PACKET_BYTES)
		return -EPROTO;
	memcpy(&head, packet, sizeof(head));
	if (head.type == LLM_PACKET_REFUSED &&
	    n >= (ssize_t)(sizeof(head) + sizeof(struct llm_refused))) {
		int status = ((const struct llm_refused *)(packet + sizeof(head)))->status;

		return status < 0 && status >= -4095 ? status : -EPROTO;
	}
	if (head.type != LLM_PACKET_REPLY || head.hdr_len != sizeof(head) ||
	    head.len != (size_t)n - sizeof(head))
		return -EPROTO;
	return head.len;
}

/* Puts the payloads together, terminated. */
static int read_reply(int fd, char **reply)
{
	unsigned char *packet = malloc(PACKET_BYTES);
	char *text = NULL, *more;
	size_t len = 0;
	ssize_t n = -ENOMEM;

	while (packet) {
		n = receive(fd, packet);
		if (n < 0)
			break;
		more = len + (size_t)n < REPLY_BYTES ? realloc(text, len + (size_t)n + 1) : NULL;
		if (!more) {
			n = len + (size_t)n < REPLY_BYTES ? -ENOMEM : -EMSGSIZE;
			break;
		}
		text = more;
		memcpy(text + len, packet + sizeof(struct llm_packet), (size_t)n);
		len += (size_t)n;
		text[len] = 0;
		if (!n)
			break;
	}
	free(packet);
	if (n < 0) {
		free(text);
		return (int)n;
	}
	*reply = text;
	return 0;
}

int llm_control(const char *where, const char *question, char **reply)
{
	/* Only for the sentence about a door that does not open. */
	struct llm *s;
	int fd, err;

	*reply = NULL;
	if (strlen(question) > QUESTION_BYTES)
		return -EMSGSIZE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	fd = llm_session_connect(s, where, TIMEOUT_MS);
	free(s);
	if (fd < 0)
		return fd;
	err = ask(fd, question);
	if (!err)
		err = read_reply(fd, reply);
	close(fd);
	return err;
}
