/* SPDX-License-Identifier: MIT */
/*
 * llm_open(): what libllm says and accepts in the greeting, where it looks for a door, and what the
 * session knows of itself afterwards; and what a forked child may do with it.
 *
 * Marks: san
 */
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/fake_llmd.h"

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_greeting(void)
{
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct llm_info info;
	struct fake_packet in;
	struct fake f;
	struct llm *s;
	int n_fds;

	fake_init(&f, 16384);
	f.welcome.max_requests = 5;
	a.max_requests = 8;
	a.ring_bytes = 16384;
	a.name = "a name that is too long for the thirty-one bytes of a HELLO";
	n_fds = count_fds();
	CHECK_EQ(fake_open(&f, &a, &s), 0);
	CHECK_EQ(count_fds(), n_fds);
	CHECK_EQ(f.hello.abi, LLM_ABI);
	CHECK_EQ(f.hello.max_requests, 8);
	CHECK_EQ(f.hello.ring_bytes, 16384);
	CHECK_EQ(f.hello.features, 0);
	CHECK_STR(f.hello.name, "a name that is too long for the");
	llm_info(s, &info);
	CHECK_EQ(info.door, LLM_DOOR_SOCKET);
	CHECK_EQ(info.session_id, 7);
	CHECK_EQ(info.is_alive, 1);
	CHECK_EQ(info.context_tokens, 4096);
	CHECK_EQ(info.vocab_size, 49152);
	CHECK_EQ(info.max_requests, 5);
	CHECK_EQ(info.n_requests, 0);
	CHECK_EQ(info.max_body_bytes, 512 << 10);
	CHECK_EQ(info.body_bytes, 1 << 20);
	CHECK_EQ(info.ring_bytes, 16384);
	CHECK_EQ(info.token_bytes, 1000);
	CHECK_STR(info.model, "fake");
	CHECK_STR(llm_error(s), "");
	CHECK_EQ(llm_fd(s), f.client_fd);
	f.k->daemon_alive = 0;
	llm_info(s, &info);
	CHECK_EQ(info.is_alive, 0);
	llm_close(s);
	CHECK_EQ(fake_receive(&f, &in), LLM_PACKET_CLOSE);
	CHECK_EQ(fake_receive(&f, &in), -1);
	CHECK_EQ(count_fds(), n_fds - 1);
	fake_exit(&f);
	llm_close(NULL);
}

/* What libllm asks for when the program asks for nothing. */
static void test_defaults(void)
{
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct fake f;
	struct llm *s;

	fake_init(&f, 262144);
	f.welcome.max_requests = 64;
	CHECK_EQ(fake_open(&f, &a, &s), 0);
	CHECK_EQ(f.hello.max_requests, 64);
	CHECK_EQ(f.hello.ring_bytes, 256 << 10);
	CHECK_STR(f.hello.name, program_invocation_short_name);
	llm_close(s);
	fake_exit(&f);

	fake_init(&f, 2 << 20);
	a.max_requests = 600;
	f.welcome.max_requests = 600;
	CHECK_EQ(fake_open(&f, &a, &s), 0);
	CHECK_EQ(f.hello.ring_bytes, 2 << 20);
	llm_close(s);
	fake_exit(&f);
}

/* Opens with what the test has made of the fake; the error, and its sentence in message. */
static int refused(struct fake *f, char *message)
{
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct llm *s = (struct llm *)1;
	int err, n_fds;

	a.max_requests = 2;
	a.fd = f->client_fd;
	a.timeout_ms = 50;
	a.message = message;
	n_fds = count_fds();
	err = llm_open(NULL, &a, &s);
	CHECK(!s);
	/* The descriptor stays the program's. */
	CHECK_EQ(count_fds(), n_fds);
	close(f->client_fd);
	fake_exit(f);
	return err;
}

static void test_no_welcome(void)
{
	char message[LLM_MESSAGE_MAX];
	struct fake f;

	fake_init(&f, 4096);
	CHECK_EQ(refused(&f, message), -ETIMEDOUT);
	CHECK_STR(message, "no WELCOME came within 50 ms");

	fake_init(&f, 4096);
	fake_die(&f);
	CHECK_EQ(refused(&f, message), -EHOSTDOWN);

	fake_init(&f, 4096);
	fake_refuse(&f, -ENOBUFS, "uid 5 has 3 connections, limit 2");
	CHECK_EQ(refused(&f, message), -ENOBUFS);
	CHECK_STR(message, "uid 5 has 3 connections, limit 2");

	/* Refused before HELLO was read, which makes sending it fail. */
	fake_init(&f, 4096);
	fake_refuse(&f, -ENOBUFS, "go away");
	fake_die(&f);
	CHECK_EQ(refused(&f, message), -ENOBUFS);
	CHECK_STR(message, "go away");

	fake_init(&f, 4096);
	fake_refuse(&f, 5, "a status that is none");
	CHECK_EQ(refused(&f, message), -EPROTO);

	fake_init(&f, 4096);
	fake_send(&f, LLM_PACKET_KICK, NULL, 0);
	CHECK_EQ(refused(&f, message), -EPROTO);

	fake_init(&f, 4096);
	CHECK(send(f.fd, "HTTP/1.1 400 Bad Request", 24, 0) == 24);
	CHECK_EQ(refused(&f, message), -EPROTO);

	fake_init(&f, 4096);
	fake_send(&f, LLM_PACKET_WELCOME, &f.welcome, sizeof(f.welcome) - 8);
	CHECK_EQ(refused(&f, message), -EPROTO);
}

/* One thing wrong in an otherwise good WELCOME. */
static void test_bad_welcome(void)
{
	char message[LLM_MESSAGE_MAX];

	for (int what = 0; what < 16; what++) {
		struct fake f;

		fake_init(&f, 4096);
		switch (what) {
		case 0:
			f.welcome.abi = 2;
			break;
		case 1:
			f.welcome.features = 1;
			break;
		case 2:
			f.welcome.id_base = 7ull << 32;
			break;
		case 3:
			f.welcome.id_base |= 1;
			break;
		case 4:
			f.welcome.session_id = 8;
			break;
		case 5:
			f.welcome.max_requests = 0;
			break;
		case 6:
			f.welcome.max_requests = 3;
			break;
		case 7:
			f.welcome.ring.capacity = 3000;
			break;
		case 8:
			f.welcome.ring.map_bytes = 8192;
			break;
		case 9:
			f.welcome.ring.page_bytes = 1024;
			break;
		case 10:
			f.welcome.ring.capacity = f.welcome.ring.map_bytes = 8192;
			break;
		case 11:
			f.welcome.ring.page_bytes = 8192;
			f.welcome.ring.map_bytes = 8192;
			break;
		case 12:
			f.welcome.max_body_bytes = 8;
			break;
		case 13:
			f.welcome.max_body_bytes = UINT32_MAX;
			break;
		case 14:
			memset(f.welcome.model, 'm', sizeof(f.welcome.model));
			break;
		case 15:
			f.k->magic = 1;
			break;
		}
		fake_welcome(&f);
		CHECK_EQ(refused(&f, message), -EPROTO);
		CHECK(message[0]);
	}
}

/* Wrong descriptors: none, one, three, unsealed, too short. */
static void test_bad_memfds(void)
{
	char message[LLM_MESSAGE_MAX];
	struct fake f;
	int fds[3];

	for (int n = 0; n < 4; n++) {
		if (n == 2)
			continue;
		fake_init(&f, 4096);
		fds[0] = f.ring_fd;
		fds[1] = f.consumer_fd;
		fds[2] = f.consumer_fd;
		fake_welcome_with(&f, fds, (size_t)n);
		CHECK_EQ(refused(&f, message), -EPROTO);
	}
	for (int what = 0; what < 4; what++) {
		int is_short = what / 2, is_consumer = what % 2, fd;
		size_t want = is_consumer ? FAKE_PAGE : 2 * FAKE_PAGE + 4096;

		fake_init(&f, 4096);
		fd = fake_memfd(is_short ? want - 4096 : want,
				is_short ? FAKE_SEALS : F_SEAL_GROW | F_SEAL_SEAL);
		fds[0] = is_consumer ? f.ring_fd : fd;
		fds[1] = is_consumer ? fd : f.consumer_fd;
		fake_welcome_with(&f, fds, 2);
		CHECK_EQ(refused(&f, message), -EPROTO);
		CHECK(strstr(message, is_short ? "bytes" : "seals"));
		close(fd);
	}
}

static int open_with(const struct llm_open_args *a)
{
	struct llm *s;

	return llm_open(NULL, a, &s);
}

static void test_args(void)
{
	struct {
		struct llm_open_args a;
		uint64_t of_tomorrow;
	} big = {.a = LLM_OPEN_ARGS_INIT};
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct llm *s;

	setenv("LLM_DOOR", "/nonexistent/llm.sock", 1);
	a.fd = -1;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.fd = 0;
	a.max_requests = LLM_MAX_REQUESTS + 1;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.max_requests = 4;
	a.ring_bytes = 4096;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.ring_bytes = 12288;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.ring_bytes = 8192;
	CHECK_EQ(open_with(&a), -ENOENT);
	a.timeout_ms = -2;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.timeout_ms = 0;
	a.pad = 1;
	CHECK_EQ(open_with(&a), -EINVAL);
	a.pad = 0;
	a.fd = 3;
	CHECK_EQ(llm_open("/a/path/too", &a, &s), -EINVAL);
	a.fd = 0;
	a.size = 8;
	CHECK_EQ(open_with(&a), -EINVAL);
	/* A program built for a later libllm that does not use what is new. */
	big.a.size = sizeof(big);
	CHECK_EQ(open_with(&big.a), -ENOENT);
	big.of_tomorrow = 1;
	CHECK_EQ(open_with(&big.a), -E2BIG);
	unsetenv("LLM_DOOR");
}

/* A listening socket at dir/llm.sock that has already been sent nothing: connecting is enough. */
static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	CHECK(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)) && !listen(fd, 4));
	return fd;
}

static void test_doors(void)
{
	char dir[64], path[sizeof(dir) + 16], message[LLM_MESSAGE_MAX], longer[200];
	struct llm_open_args a = LLM_OPEN_ARGS_INIT;
	struct llm *s;
	int fd;

	snprintf(dir, sizeof(dir), "%s/open.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/llm.sock", dir);
	a.timeout_ms = 50;
	a.message = message;
	CHECK_EQ(llm_open(path, &a, &s), -ENOENT);
	CHECK(strstr(message, path));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	CHECK_EQ(llm_open(longer, &a, &s), -ENAMETOOLONG);
	CHECK_EQ(llm_open("/dev/null", &a, &s), -EOPNOTSUPP);
	fd = listen_at(path);
	CHECK_EQ(llm_open(path, &a, &s), -ETIMEDOUT);
	/* Named by the environment. */
	setenv("LLM_DOOR", path, 1);
	CHECK_EQ(llm_open(NULL, &a, &s), -ETIMEDOUT);
	unsetenv("LLM_DOOR");
	if (access("/dev/llm", F_OK) && access("/run/llm/llm.sock", F_OK)) {
		setenv("XDG_RUNTIME_DIR", dir, 1);
		CHECK_EQ(llm_open(NULL, &a, &s), -ETIMEDOUT);
		close(fd);
		CHECK_EQ(llm_open(NULL, &a, &s), -EHOSTDOWN);
		CHECK(strstr(message, path) && strstr(message, "/run/llm/llm.sock"));
		unsetenv("XDG_RUNTIME_DIR");
		CHECK_EQ(llm_open(NULL, &a, &s), -EHOSTDOWN);
	} else {
		close(fd);
	}
	CHECK_EQ(llm_open(path, &a, &s), -ECONNREFUSED);
	unlink(path);
	rmdir(dir);
}

/*
 * Exit status of the child: the number of what went wrong, 0 if nothing did. at is a page of the
 * parent's ring: the child has nothing there, and llm_close() must not take what it maps there
 * itself.
 */
static int child(struct llm *s, void *at)
{
	struct llm_request req = LLM_REQUEST_INIT;
	struct llm_prepared p;
	struct llm_event ev;
	struct llm_info info;
	char sqe[64];

	req.prompt = "x";
	if (llm_submit(s, &req, NULL) != -EPERM || llm_submit_many(s, &req, 1, NULL) != -EPERM)
		return 1;
	if (llm_next(s, &ev, 0) != -EPERM || llm_cancel(s, 0) != -EPERM)
		return 2;
	if (llm_prep_submit(s, (void *)sqe, &req, &p) != -EPERM ||
	    llm_prep_done(s, &p, 0) != -EPERM || llm_prep_wait(s, (void *)sqe) != -EPERM)
		return 3;
	if (llm_fd(s) != -EPERM)
		return 4;
	llm_seen(s);
	llm_info(s, &info);
	if (info.is_alive)
		return 5;
	if (mmap(at, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
		return 6;
	llm_close(s);
	return msync(at, 4096, MS_ASYNC) ? 7 : 0;
}

static void test_fork(void)
{
	struct llm_event ev;
	struct fake_packet in;
	struct fake f;
	struct llm *s = fake_session(&f, 2);
	uint64_t id = fake_submit(&f, s, 1);
	int status;
	pid_t pid;

	/* As if written before the fork: the child's llm_seen() must not give it back. */
	fake_tokens(&f, id, 0, 1, "a");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	pid = fork();
	if (!pid)
		_exit(child(s, (void *)((uintptr_t)ev.ids & ~(uintptr_t)4095)));
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(f.c->pos, 0);
	CHECK_EQ(fake_receive(&f, &in), 0);
	/* The parent's goes on. */
	llm_seen(s);
	fake_end(&f, id, LLM_END_EOS, 0, "");
	fake_publish(&f);
	CHECK_EQ(llm_next(s, &ev, 0), 1);
	llm_close(s);
	fake_exit(&f);
}

int main(void)
{
	test_greeting();
	test_defaults();
	test_no_welcome();
	test_bad_welcome();
	test_bad_memfds();
	test_args();
	test_doors();
	test_fork();
	return test_done();
}
