/* SPDX-License-Identifier: MIT */
/*
 * setup: a session is made and unmade here; finds the door when the program names none.
 *
 * Also owns the two facts that every call asks first: who may use the session (not a forked child:
 * one page of the session is wiped in it by the kernel, which costs a load instead of a system
 * call), and whether it is still alive.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/session.h"

#define DEVICE_PATH "/dev/llm"
#define SYSTEM_SOCKET "/run/llm/llm.sock"
#define DEFAULT_REQUESTS 64u
#define DEFAULT_RING_BYTES (256u << 10)

/* ---- what every call uses ---------------------------------------------------------------- */

int llm_session_fail(struct llm *s, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->error_text, sizeof(s->error_text), fmt, args);
	va_end(args);
	return err;
}

int llm_session_die(struct llm *s, enum llm_life life, int status, const char *fmt, ...)
{
	va_list args;

	if (s->life == LLM_LIVE) {
		va_start(args, fmt);
		vsnprintf(s->death_text, sizeof(s->death_text), fmt, args);
		va_end(args);
		s->death = life == LLM_BROKEN ? -EPROTO : -EHOSTDOWN;
		s->end_status = status;
		memcpy(s->error_text, s->death_text, sizeof(s->error_text));
	}
	if (life > s->life)
		s->life = life;
	return s->death;
}

int llm_copy_sized(void *to, size_t to_bytes, const void *from)
{
	uint32_t from_bytes;

	memcpy(&from_bytes, from, sizeof(from_bytes));
	if (from_bytes < to_bytes)
		return -EINVAL;
	for (size_t i = to_bytes; i < from_bytes; i++)
		if (((const char *)from)[i])
			return -E2BIG;
	memcpy(to, from, to_bytes);
	return 0;
}

/* ---- finding the door -------------------------------------------------------------------- */

static int connect_to(struct llm *s, const char *path, int timeout_ms)
{
	struct stat st;
	int fd;

	if (!stat(path, &st) && S_ISCHR(st.st_mode))
		return llm_session_fail(s, -EOPNOTSUPP,
					"%s is a device; this libllm has no device door", path);
	fd = llm_socket_connect(path, timeout_ms);
	if (fd < 0)
		return llm_session_fail(s, fd, "%s: %s", path, strerror(-fd));
	return fd;
}

static bool is_absent(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED;
}

/* The order that llm.h promises. */
static int find_door(struct llm *s, int timeout_ms)
{
	const char *named = getenv("LLM_DOOR"), *run = getenv("XDG_RUNTIME_DIR");
	char own[128] = "";
	int fd, system_fd;

	if (named && *named)
		return connect_to(s, named, timeout_ms);
	if (!access(DEVICE_PATH, F_OK))
		return connect_to(s, DEVICE_PATH, timeout_ms);
	system_fd = connect_to(s, SYSTEM_SOCKET, timeout_ms);
	/* Not being in the group of the machine's daemon is no reason not to have one's own. */
	if (!is_absent(system_fd) && system_fd != -EACCES)
		return system_fd;
	if (run && *run && (size_t)snprintf(own, sizeof(own), "%s/llm.sock", run) < sizeof(own)) {
		fd = connect_to(s, own, timeout_ms);
		if (!is_absent(fd))
			return fd;
	}
	if (system_fd == -EACCES)
		return llm_session_fail(s, -EACCES, "%s: %s", SYSTEM_SOCKET, strerror(EACCES));
	return llm_session_fail(s, -EHOSTDOWN, "no daemon at %s%s%s", SYSTEM_SOCKET,
				*own ? " or " : "", own);
}

int llm_session_connect(struct llm *s, const char *where, int timeout_ms)
{
	return where ? connect_to(s, where, timeout_ms) : find_door(s, timeout_ms);
}

/* ---- opening and closing ----------------------------------------------------------------- */

static int check_args(struct llm *s, const char *where, struct llm_open_args *a)
{
	if (a->pad || (a->fd && where) || a->fd < 0)
		return llm_session_fail(s, -EINVAL,
					"pad is %u, 0 expected; fd is %d, or a path is given",
					a->pad, a->fd);
	if (a->timeout_ms < -1)
		return llm_session_fail(s, -EINVAL, "timeout_ms is %d, -1 or more expected",
					a->timeout_ms);
	if (!a->max_requests)
		a->max_requests = DEFAULT_REQUESTS;
	if (a->max_requests > LLM_MAX_REQUESTS)
		return llm_session_fail(s, -EINVAL, "max_requests is %u, at most %u expected",
					a->max_requests, LLM_MAX_REQUESTS);
	if (!a->ring_bytes) {
		a->ring_bytes = DEFAULT_RING_BYTES;
		while (a->ring_bytes / LLM_ROOM < a->max_requests)
			a->ring_bytes *= 2;
	}
	if (a->ring_bytes & (a->ring_bytes - 1) || a->ring_bytes > LLM_MAX_RING_BYTES ||
	    a->ring_bytes / LLM_ROOM < a->max_requests)
		return llm_session_fail(
			s, -EINVAL, "ring_bytes is %u, a power of two from %u to %u expected",
			a->ring_bytes, a->max_requests * LLM_ROOM, LLM_MAX_RING_BYTES);
	if (!a->name)
		a->name = program_invocation_short_name;
	return 0;
}

/* 0, and s->owner is set. */
static int make_owner_page(struct llm *s)
{
	size_t n_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *page =
		mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return -errno;
	s->owner = page;
	if (madvise(page, n_bytes, MADV_WIPEONFORK))
		return -errno;
	*page = 1;
	return 0;
}

/* All that is the session's but its descriptor. */
static void free_session(struct llm *s)
{
	llm_socket_unmap(s);
	llm_flights_exit(&s->flights);
	if (s->owner)
		munmap((void *)(uintptr_t)s->owner, (size_t)sysconf(_SC_PAGESIZE));
	free(s);
}

/* Greets over s->fd. */
static int start(struct llm *s, const struct llm_open_args *a)
{
	struct llm_greeting greeting = {a->max_requests, a->ring_bytes, a->timeout_ms, a->name};
	int err = make_owner_page(s);

	if (err)
		return llm_session_fail(s, err, "a page for the session: %s", strerror(-err));
	err = llm_socket_greet(s, &greeting);
	if (err)
		return err;
	err = llm_flights_init(&s->flights, s->welcome.max_requests);
	if (err)
		return llm_session_fail(s, err, "memory for %u requests", s->welcome.max_requests);
	return 0;
}

static int open_session(struct llm *s, const char *where, struct llm_open_args *a)
{
	int err = check_args(s, where, a);

	if (err)
		return err;
	s->fd = a->fd ? a->fd : llm_session_connect(s, where, a->timeout_ms);
	if (s->fd < 0)
		return s->fd;
	err = start(s, a);
	if (err && !a->fd)
		close(s->fd);
	return err;
}

int llm_open(const char *where, const struct llm_open_args *args, struct llm **out)
{
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct llm *s;
	int err = args ? llm_copy_sized(&a, sizeof(a), args) : 0;

	*out = NULL;
	if (err)
		return err;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	err = open_session(s, where, &a);
	if (a.message)
		memcpy(a.message, s->error_text, LLM_MESSAGE_MAX);
	if (err)
		free_session(s);
	else
		*out = s;
	return err;
}

void llm_close(struct llm *s)
{
	if (!s)
		return;
	if (llm_session_check(s)) {
		/* A child has none of the mappings; what lies at their addresses now is its own. */
		s->map = NULL;
		s->consumer_map = NULL;
	} else if (s->life == LLM_LIVE) {
		/* Said aloud, since a copy of the descriptor elsewhere would keep the connection.
		 */
		llm_socket_send(s, LLM_PACKET_CLOSE, 0);
	}
	close(s->fd);
	free_session(s);
}

void llm_info(const struct llm *s, struct llm_info *out)
{
	const struct llm_welcome *w = &s->welcome;
	bool is_owner = !llm_session_check(s);

	memset(out, 0, sizeof(*out));
	out->door = LLM_DOOR_SOCKET;
	out->session_id = w->session_id;
	out->is_alive = is_owner && s->life == LLM_LIVE &&
			__atomic_load_n(&s->state->daemon_alive, __ATOMIC_ACQUIRE) == 1;
	out->context_tokens = w->context_tokens;
	out->vocab_size = w->vocab_size;
	out->max_requests = w->max_requests;
	out->n_requests = s->flights.n_requests;
	out->max_body_bytes = w->max_body_bytes;
	out->body_bytes = w->body_bytes;
	out->ring_bytes = w->ring.capacity;
	out->token_bytes = w->token_bytes;
	memcpy(out->model, w->model, sizeof(out->model));
}
