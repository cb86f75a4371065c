/* SPDX-License-Identifier: MIT */
/*
 * door_socket: see daemon/door_socket.h. The listener and the lists; what a connection says is read
 * in daemon/connection.c.
 */
#include "daemon/door_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/closer.h"
#include "daemon/connection.h"
#include "daemon/daemon.h"
#include "daemon/log.h"

#define ACCEPTS_PER_TURN 16   /* that stay */
#define REFUSALS_PER_TURN 256 /* cheap, and a crowd at the door keeps the others from it */
#define MAX_FOREIGN_FDS 2048u /* sent by clients, not closed yet */
#define DEAF_NS 100000000u

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void turn_away(struct door_socket *door, int fd, int code)
{
	struct error why;

	error_set(&why, code, "the daemon is out of file descriptors, %u are connected",
		  door->n_connections);
	connection_turn_away(fd, &why, (__u64[2]){door->n_connections, 0});
	connection_close_fd(door, fd);
}

/*
 * Out of descriptors: the spare one lets us take the client's call and say why we cannot serve.
 * False: not even that; whoever is next finds out.
 */
static bool refuse_one(struct door_socket *door, int code)
{
	int fd;

	if (door->spare_fd >= 0)
		close(door->spare_fd);
	fd = accept4(door->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		turn_away(door, fd, code);
	door->spare_fd = open_spare();
	return fd >= 0;
}

enum accepted { ACCEPT_NONE, ACCEPT_REFUSED, ACCEPT_KEPT };

static enum accepted accept_one(struct door_socket *door)
{
	struct connection *c;
	int fd = accept4(door->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		int code = -errno;

		log_warn(door->d->messages, "out of file descriptors: a client was refused");
		return refuse_one(door, code) ? ACCEPT_REFUSED : ACCEPT_NONE;
	}
	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED ? ACCEPT_REFUSED : ACCEPT_NONE;
	if (fd > door->max_fd) {
		log_warn(door->d->messages, "out of file descriptors: a client was refused");
		turn_away(door, fd, -EMFILE);
		return ACCEPT_REFUSED;
	}
	if (!connection_create(door, fd, &c))
		return ACCEPT_KEPT;
	connection_close_fd(door, fd);
	return ACCEPT_REFUSED;
}

static bool listener_ready(struct loop_source *src, short revents)
{
	struct door_socket *door = (struct door_socket *)src;
	unsigned n_kept = 0;

	(void)revents;
	for (int i = 0; i < REFUSALS_PER_TURN && n_kept < ACCEPTS_PER_TURN; i++) {
		enum accepted how;

		/* Whom we turn away may leave another descriptor that does not close. */
		door->is_deaf = closer_is_full(door->closer);
		if (door->is_deaf) {
			log_warn(door->d->messages, "clients sent descriptors that do not close: "
						    "nobody is let in until they do");
			return false;
		}
		how = accept_one(door);
		if (how == ACCEPT_NONE)
			return false;
		n_kept += how == ACCEPT_KEPT;
	}
	return true;
}

static int serve_one(struct door_socket *door, int fd, struct error *err)
{
	struct connection *c;
	int type = 0, domain = 0, flags = fcntl(fd, F_GETFL), rc;
	socklen_t len = sizeof(int);

	if (flags < 0)
		return error_set(err, -errno, "--serve-fd %d: %s", fd, strerror(errno));
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || type != SOCK_SEQPACKET ||
	    domain != AF_UNIX)
		return error_set(err, -EINVAL, "--serve-fd %d is no Unix SEQPACKET socket", fd);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return error_set(err, -errno, "--serve-fd %d: %s", fd, strerror(errno));
	rc = connection_create(door, fd, &c);
	if (rc)
		return error_set(err, rc, "--serve-fd %d: %s", fd, strerror(-rc));
	door->is_serving_one = true;
	return 0;
}

static int serve_path(struct door_socket *door, const struct door_socket_args *args,
		      struct error *err)
{
	int rc = listener_open(&door->listener, args->path, args->mode, args->group, err);

	if (rc)
		return rc;
	if (door->listener.warning.code)
		log_warn(door->d->messages, "%s", door->listener.warning.text);
	door->spare_fd = open_spare();
	door->src = (struct loop_source){
		.fd = door->listener.fd, .events = POLLIN, .ready = listener_ready};
	rc = loop_add(door->d->loop, &door->src);
	return rc ? error_set(err, rc, "%s: %s", args->path, strerror(-rc)) : 0;
}

/*
 * As many descriptors as we may have; a part of the numbers is kept from connections, since the
 * kernel closes on our time what it finds no number for.
 */
static int create_closer(struct door_socket *door)
{
	unsigned max_fds = MAX_FOREIGN_FDS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) || getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	if (limit.rlim_cur > INT32_MAX)
		limit.rlim_cur = INT32_MAX;
	if (max_fds > limit.rlim_cur / 4)
		max_fds = (unsigned)limit.rlim_cur / 4;
	door->max_fd = (int)limit.rlim_cur - 2 * (int)max_fds;
	return closer_create(max_fds, &door->closer);
}

int door_socket_create(struct daemon *d, const struct door_socket_args *args,
		       struct door_socket **out, struct error *err)
{
	struct door_socket *door = calloc(1, sizeof(*door));
	int rc = 0;

	*out = NULL;
	if (!door)
		return error_set(err, -ENOMEM, "socket door: no memory");
	door->d = d;
	door->listener.fd = -1;
	door->spare_fd = -1;
	door->packet = malloc(PACKET_MAX_BYTES);
	if (!door->packet || create_closer(door))
		rc = error_set(err, -ENOMEM, "socket door: no memory");
	if (!rc && args->path)
		rc = serve_path(door, args, err);
	if (!rc && args->serve_fd >= 0)
		rc = serve_one(door, args->serve_fd, err);
	if (rc) {
		door_socket_destroy(door);
		return rc;
	}
	*out = door;
	return 0;
}

void door_socket_stop(struct door_socket *door)
{
	int fd;

	if (!door)
		return;
	loop_remove(door->d->loop, &door->src);
	door->is_deaf = false;
	/* With it go those whom nobody let in, and what they sent. */
	fd = listener_close(&door->listener);
	if (fd >= 0)
		closer_give(door->closer, &fd, 1, geteuid());
	if (door->spare_fd >= 0)
		close(door->spare_fd);
	door->spare_fd = -1;
}

void door_socket_destroy(struct door_socket *door)
{
	if (!door)
		return;
	while (door->connections)
		connection_destroy(door->connections);
	door_socket_stop(door);
	closer_destroy(door->closer);
	free(door->packet);
	free(door);
}

bool door_socket_is_done(const struct door_socket *door)
{
	return door->is_done;
}

void door_socket_expire(struct door_socket *door, uint64_t now_ns)
{
	struct error why;

	if (door->is_deaf && !closer_is_full(door->closer)) {
		door->is_deaf = false;
		/* Added anew, it is called for those who came in the meantime. */
		loop_remove(door->d->loop, &door->src);
		if (loop_add(door->d->loop, &door->src))
			door->is_deaf = true;
	}
	while (door->hellos && door->hellos->hello_by_ns <= now_ns) {
		error_set(&why, -ETIMEDOUT, "no HELLO came in time");
		connection_refuse(door->hellos, &why, (__u64[2]){0, 0});
	}
}

uint64_t door_socket_next_ns(const struct door_socket *door)
{
	uint64_t at_ns = door->hellos ? door->hellos->hello_by_ns : 0;
	uint64_t look_ns = door->is_deaf ? clock_now_ns() + DEAF_NS : 0;

	return look_ns && (!at_ns || look_ns < at_ns) ? look_ns : at_ns;
}

uint32_t door_socket_n_connections(const struct door_socket *door)
{
	return door->n_connections;
}
