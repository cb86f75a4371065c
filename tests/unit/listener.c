/* SPDX-License-Identifier: MIT */
/*
 * The socket's path: neither who holds the lock of its directory nor what is left of a killed
 * daemon keeps a new one from starting.
 *
 * Marks: san
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/listener.h"
#include "tests/test.h"

static char directory[200], path[220];

static void open_at_path(struct listener *l)
{
	struct error err = {0};

	CHECK_EQ(listener_open(l, path, 0600, (gid_t)-1, &err), 0);
	CHECK_STR(err.text, "");
}

static void test_locked(void)
{
	struct listener l;
	int pipe_fds[2], status;
	char byte;
	pid_t pid;

	open_at_path(&l);
	CHECK_EQ(l.warning.code, 0);
	close(listener_close(&l));
	CHECK_EQ(pipe(pipe_fds), 0);
	pid = fork();
	if (!pid) {
		int fd = open(directory, O_RDONLY | O_DIRECTORY);

		if (!flock(fd, LOCK_EX) && write(pipe_fds[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	CHECK_EQ(read(pipe_fds[0], &byte, 1), 1);
	open_at_path(&l);
	CHECK_EQ(l.warning.code, -EWOULDBLOCK);
	CHECK(strstr(l.warning.text, "keeps its directory locked; going on without") != NULL);
	close(listener_close(&l));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	open_at_path(&l);
	CHECK_EQ(l.warning.code, 0);
	close(listener_close(&l));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* The socket of a dead process that something else (here: its child) keeps open for a while. */
static void test_outlived(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	struct listener l;
	int status;
	pid_t pid;

	CHECK(len < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, len < sizeof(addr.sun_path) ? len : 0);
	pid = fork();
	if (!pid) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, SOMAXCONN))
			_exit(1);
		if (!fork())
			usleep(300000);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
	CHECK_EQ(access(path, F_OK), 0);
	CHECK_EQ(listener_open(&l, path, 0600, (gid_t)-1, &(struct error){0}), 0);
	close(listener_close(&l));
}

int main(void)
{
	const char *dir = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%s/listener.XXXXXX", dir ? dir : "/tmp");
	CHECK(mkdtemp(directory) != NULL);
	snprintf(path, sizeof(path), "%s/llm.sock", directory);
	test_locked();
	test_outlived();
	CHECK_EQ(rmdir(directory), 0);
	return test_done();
}
