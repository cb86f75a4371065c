/* SPDX-License-Identifier: MIT */
/*
 * private: see tools/private.h. The child gets the other end as fd 3 and our stderr, so what it has
 * to say about a bad model reaches the person as it is.
 */
#include "tools/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD 3

/* Where the daemon's program is: beside us, or in the sbin of the same prefix; else the bare name
 * for PATH. */
static void find_program(char *path, size_t size)
{
	const char *given = getenv("LLMD");
	char self[3072], *slash;
	ssize_t n;

	if (given && *given) {
		snprintf(path, size, "%s", given);
		return;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = 0;
	slash = strrchr(self, '/');
	for (int i = 0; slash && i < 2; i++) {
		snprintf(path, size, i ? "%.*s/../sbin/llmd" : "%.*s/llmd", (int)(slash - self),
			 self);
		if (!access(path, X_OK))
			return;
	}
	snprintf(path, size, "llmd");
}

/* In the child; returns only when exec failed, with its errno. */
static int exec_daemon(int fd, const char *model_path, uint32_t n_threads)
{
	char program[4096], threads[16];

	/* A terminal's Ctrl-C is for the tool, which then closes the connection. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (fd == CHILD_FD)
		fcntl(fd, F_SETFD, 0);
	else if (dup2(fd, CHILD_FD) < 0)
		return errno;
	find_program(program, sizeof(program));
	snprintf(threads, sizeof(threads), "%u", n_threads);
	if (n_threads)
		execlp(program, "llmd", "--quiet", "--serve-fd", "3", "-m", model_path, "--threads",
		       threads, (char *)NULL);
	else
		execlp(program, "llmd", "--quiet", "--serve-fd", "3", "-m", model_path,
		       (char *)NULL);
	return errno;
}

int private_start(const char *model_path, uint32_t n_threads, struct private_daemon *out)
{
	int sockets[2], report[2], failed = 0, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	/* Closes on a successful exec; else brings its errno. */
	if (pipe2(report, O_CLOEXEC)) {
		err = -errno;
		goto close_sockets;
	}
	out->pid = fork();
	if (out->pid < 0) {
		err = -errno;
		goto close_report;
	}
	if (!out->pid) {
		failed = exec_daemon(sockets[1], model_path, n_threads);
		_exit(write(report[1], &failed, sizeof(failed)) < 0 ? 126 : 127);
	}
	close(report[1]);
	close(sockets[1]);
	if (read(report[0], &failed, sizeof(failed)) == sizeof(failed)) {
		waitpid(out->pid, NULL, 0);
		close(report[0]);
		close(sockets[0]);
		return -failed;
	}
	close(report[0]);
	out->fd = sockets[0];
	return 0;

close_report:
	close(report[0]);
	close(report[1]);
close_sockets:
	close(sockets[0]);
	close(sockets[1]);
	return err;
}

int private_wait(struct private_daemon *p)
{
	int status;

	while (waitpid(p->pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
