/* SPDX-License-Identifier: MIT */
/*
 * listener: a path in the file system that clients connect to, and whose it is.
 *
 * At most one daemon per path: a live owner is found by connecting (and named by pid), a stale
 * socket is replaced. Between the look and the bind the directory is locked, so two daemons that
 * start at once do not take the path from each other; but whoever may read the directory can hold
 * that lock, so after two seconds it is done without. Nobody can connect before mode and group are
 * right.
 */
#ifndef DEVLLM_LISTENER_H
#define DEVLLM_LISTENER_H

#include <sys/types.h>

#include "daemon/error.h"

struct listener {
	int fd; /* SOCK_SEQPACKET, listening, nonblocking; -1: none */
	char *path;
	dev_t device; /* of the path as we made it */
	ino_t inode;
	struct error warning; /* of listener_open(): code 0: none */
};

/*
 * mode: of the path; group: (gid_t)-1 leaves it. 0; -EADDRINUSE with err naming the pid of the
 * owner; -EEXIST when the path is no socket; -ENAMETOOLONG; -errno of the system.
 */
int listener_open(struct listener *l, const char *path, mode_t mode, gid_t group,
		  struct error *err);
/*
 * Removes the path unless it is another's by now. Returns the fd, shut down, for the caller to
 * close, or -1: closing it closes whatever those sent whom nobody accepted.
 */
int listener_close(struct listener *l);

#endif
