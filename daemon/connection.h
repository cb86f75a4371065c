/* SPDX-License-Identifier: MIT */
/*
 * connection: one peer of the socket door: what it may say in which state, and what it is told.
 *
 *	HELLO --HELLO packet--> SESSION --CLOSE packet, EOF, BROKEN--> connection_destroy()
 *	  |  \--CONTROL packet--> CONTROL --EOF--> connection_destroy()
 *	  +-- any other packet, or none in time: REFUSED --> connection_destroy()
 *
 * A peer that breaks a rule gets one REFUSED that says which, and is disconnected; its requests
 *end. At most CONNECTION_TURN_PACKETS are read of one peer in a turn of the heart, and of all
 *connections of one tenant together about CONNECTION_TURN_BYTES (what a packet makes the daemon do
 *counts as bytes), so a user who floods, over however many connections, holds up a step by no more
 *than that. Nothing here waits.
 * Included by the socket door's files only.
 */
#ifndef DEVLLM_CONNECTION_H
#define DEVLLM_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/listener.h"
#include "daemon/loop.h"
#include "daemon/packet.h"
#include "daemon/session.h"

#define CONNECTION_TURN_PACKETS 64u
#define CONNECTION_TURN_BYTES (256u << 10)
#define CONNECTION_PACKET_BYTES 1024u	      /* what any packet counts for, and any odd fd */
#define CONNECTION_CANCEL_BYTES 64u	      /* and each request that a CANCEL looks at */
#define CONNECTION_CONTROL_BYTES (64u << 10) /* and the answer to a question */

struct closer;
struct daemon;
struct door_socket;

enum connection_state { CONNECTION_HELLO, CONNECTION_SESSION, CONNECTION_CONTROL };

struct connection {
	struct loop_source src; /* first: the loop's call finds the connection by it */
	struct door_socket *door;
	enum connection_state state;
	uid_t uid; /* SO_PEERCRED, at connect */
	pid_t pid;
	struct tenant *tenant;		/* one reference */
	struct session *session;	/* in state SESSION */
	struct tenant_want want;	/* charged on the tenant while there is a session */
	uint64_t hello_by_ns;		/* in state HELLO: disconnected then */
	struct connection *prev, *next; /* all of the door */
	struct connection *hello_prev, *hello_next; /* in state HELLO, oldest first */
};

struct door_socket {
	struct loop_source src; /* first: of the listener */
	struct daemon *d;
	struct listener listener;
	int spare_fd;	       /* given up to refuse a client when descriptors run out */
	int max_fd;	       /* of a connection; the numbers above it are for what clients send */
	bool is_deaf;	       /* the closer is full: nobody is let in before */
	bool is_serving_one;   /* --serve-fd */
	bool is_done;	       /* its connection is gone */
	struct closer *closer; /* of what clients sent */
	uint32_t last_session; /* number of the newest session */
	uint32_t n_connections;
	struct connection *connections;
	struct connection *hellos, *last_hello;
	unsigned char *packet; /* [PACKET_MAX_BYTES] of the connection being read */
};

/*
 * Takes over fd (nonblocking) and watches it; its peer is charged. 0, or -errno: fd is still the
 * caller's.
 */
int connection_create(struct door_socket *door, int fd, struct connection **out);

/* Ends its session, uncharges its peer, closes the fd. */
void connection_destroy(struct connection *c);

/* REFUSED with numbers (got, limit), then connection_destroy(). */
void connection_refuse(struct connection *c, const struct error *why, const __u64 numbers[2]);

/* REFUSED to a peer that has no connection; fd stays open. */
void connection_turn_away(int fd, const struct error *why, const __u64 numbers[2]);

/*
 * Nothing that the peer sent is left unread: only then does it see what it was told last, and only
 * then is closing it our own affair (daemon/closer.h).
 */
void connection_close_fd(struct door_socket *door, int fd);

#endif
