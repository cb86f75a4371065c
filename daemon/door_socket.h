/* SPDX-License-Identifier: MIT */
/*
 * door_socket: the Unix socket: listener, connections, who may have how many.
 *
 *	accept --> HELLO? --HELLO--> SESSION --CLOSE, EOF, BROKEN--> gone
 *	             |  \--CONTROL--> CONTROL --EOF--> gone
 *	             +-- too late, refused --> gone
 *
 * Owns the path, the connections (daemon/connection.h) and their sessions. Identity is SO_PEERCRED
 * at connect. Everything a peer holds is counted on its tenant before it is allocated. With
 * --serve-fd there is no listener: one connected socket, and the door is done when it closes.
 * The daemon's one thread, called from the loop.
 */
#ifndef DEVLLM_DOOR_SOCKET_H
#define DEVLLM_DOOR_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/error.h"

struct daemon;
struct door_socket;

struct door_socket_args {
	const char *path; /* NULL: no listener */
	mode_t mode;	  /* 0660 of the system's door, 0600 of a user's */
	gid_t group;	  /* of the path, (gid_t)-1: as it comes */
	int serve_fd;	  /* -1: none */
};

/*
 * Limits are d->config->limits. -EADDRINUSE with err naming the pid of the daemon that owns the
 * path; -EINVAL for a serve_fd that is no connected SOCK_SEQPACKET; -errno of the system.
 */
int door_socket_create(struct daemon *d, const struct door_socket_args *args,
		       struct door_socket **out, struct error *err);
/* Closes every connection (their requests end CANCELED); removes the path if it is still ours. */
void door_socket_destroy(struct door_socket *door);

/* Drain: the path goes, new connections and new requests are refused (-ESHUTDOWN). */
void door_socket_stop(struct door_socket *door);

/* --serve-fd: its connection is gone. */
bool door_socket_is_done(const struct door_socket *door);

/* Disconnects who has not said HELLO in time. */
void door_socket_expire(struct door_socket *door, uint64_t now_ns);
/* When door_socket_expire() has something to do: CLOCK_MONOTONIC, 0: never. */
uint64_t door_socket_next_ns(const struct door_socket *door);

uint32_t door_socket_n_connections(const struct door_socket *door);

#endif
