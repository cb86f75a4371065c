/* SPDX-License-Identifier: MIT */
/*
 * llm_control(): a reply is put together from its packets; whatever else comes is an error.
 *
 * Marks: san
 */
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/fake_llmd.h"

/* What the other end answers with: packets in a row. */
struct script {
	const char *path;
	int listener;
	uint16_t type[4]; /* 0 ends the list */
	const char *text[4];
	uint32_t lie; /* added to the length that the last packet claims */
	char question[256];
};

static void send_reply(int fd, uint16_t type, const char *text, uint32_t lie)
{
	struct llm_packet head = {.type = type,
				  .hdr_len = sizeof(head),
				  .len = (__u32)strlen(text) + lie};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)text, strlen(text)}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	CHECK(sendmsg(fd, &msg, MSG_NOSIGNAL) > 0);
}

/* One connection: a question in, the script out, hang up. */
static void *serve(void *arg)
{
	struct script *t = arg;
	char packet[1024];
	int fd = accept(t->listener, NULL, NULL);
	ssize_t n = recv(fd, packet, sizeof(packet), 0);
	struct llm_packet head;

	CHECK(n > (ssize_t)sizeof(head));
	memcpy(&head, packet, sizeof(head));
	CHECK_EQ(head.type, LLM_PACKET_CONTROL);
	CHECK_EQ(head.len, n - (ssize_t)sizeof(head));
	memcpy(t->question, packet + sizeof(head), head.len);
	t->question[head.len] = 0;
	for (int i = 0; i < 4 && t->type[i]; i++)
		send_reply(fd, t->type[i], t->text[i], t->lie);
	close(fd);
	return NULL;
}

static int ask(struct script *t, char **reply)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	pthread_t thread;
	int err;

	unlink(t->path);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", t->path);
	t->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	CHECK(!bind(t->listener, (struct sockaddr *)&addr, sizeof(addr)));
	CHECK(!listen(t->listener, 4));
	CHECK(!pthread_create(&thread, NULL, serve, t));
	err = llm_control(t->path, "{\"command\":\"status\"}", reply);
	pthread_join(thread, NULL);
	close(t->listener);
	return err;
}

int main(void)
{
	char path[128], *reply, *large = malloc(5000);
	struct script whole = {path, -1, {LLM_PACKET_REPLY, LLM_PACKET_REPLY, LLM_PACKET_REPLY},
			       {"{\"steps\":", "12}", ""}, 0, ""};
	struct script cut = {path, -1, {LLM_PACKET_REPLY}, {"{\"steps\":"}, 0, ""};
	struct script silent = {path, -1, {0}, {NULL}, 0, ""};
	struct script wrong_type = {path, -1, {LLM_PACKET_KICK}, {""}, 0, ""};
	struct script wrong_len = {path, -1, {LLM_PACKET_REPLY}, {"{}"}, 9, ""};

	snprintf(path, sizeof(path), "%s/control.%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
		 (int)getpid());
	CHECK_EQ(ask(&whole, &reply), 0);
	CHECK_STR(reply ? reply : "", "{\"steps\":12}");
	CHECK_STR(whole.question, "{\"command\":\"status\"}");
	free(reply);
	/* An answer without its end is none. */
	CHECK_EQ(ask(&cut, &reply), -EHOSTDOWN);
	CHECK(!reply);
	CHECK_EQ(ask(&silent, &reply), -EHOSTDOWN);
	CHECK_EQ(ask(&wrong_type, &reply), -EPROTO);
	CHECK_EQ(ask(&wrong_len, &reply), -EPROTO);
	CHECK(!reply);
	/* Nobody serves there, and there is no such place. */
	CHECK_EQ(llm_control(path, "{}", &reply), -ECONNREFUSED);
	unlink(path);
	CHECK_EQ(llm_control(path, "{}", &reply), -ENOENT);
	memset(large, ' ', 4999);
	large[4999] = 0;
	CHECK_EQ(llm_control(path, large, &reply), -EMSGSIZE);
	free(large);
	return test_done();
}
