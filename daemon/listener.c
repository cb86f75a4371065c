/* SPDX-License-Identifier: MIT */
/*
 * listener: see daemon/listener.h. At start and at the end only; it may wait for a moment.
 */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TRIES 200 /* of 10 ms: the other one is starting up, or not yet all gone */

static void pause_10_ms(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/*
 * *fd holds the lock while daemons start at the same path, or is -1: somebody has held it for two
 * seconds, and no daemon needs it for more than milliseconds. Whoever can read the directory can
 * hold it, so that must not keep us from starting; *why says so then.
 */
static int lock_directory(const char *path, int *fd, struct error *why, struct error *err)
{
	char *copy = strdup(path);
	int rc = 0;

	*fd = -1;
	if (!copy)
		return error_set(err, -ENOMEM, "%s: no memory", path);
	*fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (*fd < 0)
		return error_set(err, -errno, "%s: its directory: %s", path, strerror(errno));
	for (int i = 0; i < TRIES; i++) {
		rc = flock(*fd, LOCK_EX | LOCK_NB) ? -errno : 0;
		if (rc != -EWOULDBLOCK)
			break;
		pause_10_ms();
	}
	if (!rc)
		return 0;
	close(*fd);
	*fd = -1;
	if (rc != -EWOULDBLOCK)
		return error_set(err, rc, "%s: its directory cannot be locked: %s", path,
				 strerror(-rc));
	/* Without a lock two daemons that start at once may both remove a stale socket. */
	error_set(why, rc, "%s: somebody else keeps its directory locked; going on without", path);
	return 0;
}

static bool is_dead(pid_t pid)
{
	return pid > 0 && kill(pid, 0) && errno == ESRCH;
}

/* 0: the path is free now. -EAGAIN: who served it is dead, but its socket is not yet gone. */
static int try_claim(const char *path, const struct sockaddr_un *addr, struct error *err)
{
	struct ucred owner = {0};
	socklen_t len = sizeof(owner);
	struct stat st;
	int fd, rc;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "%s is there and is no socket", path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;
	if (!rc && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &len))
		owner.pid = 0;
	close(fd);
	if (rc == -ECONNREFUSED)
		return unlink(path) ? error_set(err, -errno, "%s: stale, but cannot be removed: %s",
						path, strerror(errno))
				    : 0;
	if (!rc && is_dead(owner.pid))
		return error_set(err, -EAGAIN, "%s: the socket of pid %d outlives it", path,
				 owner.pid);
	if (!rc)
		return error_set(err, -EADDRINUSE, "%s is served by the daemon with pid %d", path,
				 owner.pid);
	if (rc == -EAGAIN || rc == -EPROTOTYPE)
		return error_set(err, -EADDRINUSE, "%s is served by another program", path);
	return error_set(err, rc, "%s: who serves it: %s", path, strerror(-rc));
}

/* An io_uring gives the files of a killed process back a little after its end. */
static int claim(const char *path, const struct sockaddr_un *addr, struct error *err)
{
	int rc = try_claim(path, addr, err);

	for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
		pause_10_ms();
		rc = try_claim(path, addr, err);
	}
	return rc;
}

/* Bound for its owner alone, then opened to others, then listening. */
static int publish(struct listener *l, const struct sockaddr_un *addr, mode_t mode, gid_t group)
{
	struct stat st;
	int rc;

	if (fchmod(l->fd, 0600) || bind(l->fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return -errno;
	if ((group != (gid_t)-1 && lchown(l->path, (uid_t)-1, group)) || chmod(l->path, mode) ||
	    lstat(l->path, &st) || listen(l->fd, SOMAXCONN)) {
		rc = -errno;
		unlink(l->path);
		return rc;
	}
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return 0;
}

int listener_open(struct listener *l, const char *path, mode_t mode, gid_t group, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int lock, rc;

	*l = (struct listener){.fd = -1};
	if (!len || len >= sizeof(addr.sun_path))
		return error_set(err, -ENAMETOOLONG, "%s: %zu bytes, 1 to %zu expected", path, len,
				 sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, len + 1);
	rc = lock_directory(path, &lock, &l->warning, err);
	if (rc)
		return rc;
	rc = claim(path, &addr, err);
	if (rc)
		goto unlock;
	rc = -ENOMEM;
	l->path = strdup(path);
	if (l->path) {
		l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		rc = l->fd < 0 ? -errno : publish(l, &addr, mode, group);
	}
	if (rc) {
		error_set(err, rc, "%s: %s", path, strerror(-rc));
		if (l->fd >= 0)
			close(l->fd);
		free(l->path);
		*l = (struct listener){.fd = -1};
	}
unlock:
	if (lock >= 0)
		close(lock);
	return rc;
}

int listener_close(struct listener *l)
{
	struct stat st;
	int fd = l->fd;

	if (fd < 0)
		return -1;
	if (!lstat(l->path, &st) && st.st_dev == l->device && st.st_ino == l->inode)
		unlink(l->path);
	shutdown(fd, SHUT_RDWR);
	free(l->path);
	*l = (struct listener){.fd = -1};
	return fd;
}
