/* SPDX-License-Identifier: MIT */
/*
 * Proves that --fault takes what its text says and nothing else: the n-th hit of a point fails,
 * kills or stalls, every other hit passes, and a wrong part of the text is named.
 *
 * Marks: san
 */
#include "tests/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/fault.h"

static void refuses(const char *spec, const char *part)
{
	struct error err = {0};
	struct fault *f;

	CHECK(fault_create(spec, &f, &err) < 0);
	CHECK(!f);
	if (!strstr(err.text, part))
		fprintf(stderr, "%s: said \"%s\", expected \"%s\"\n", spec, err.text, part);
	CHECK(strstr(err.text, part) != NULL);
}

static void test_fail(void)
{
	struct error err = {0};
	struct fault *f;

	CHECK_EQ(fault_create("alloc:fail:3,ring:fail", &f, &err), 0);
	CHECK_EQ(fault_hit(f, FAULT_ALLOC), 0);
	CHECK_EQ(fault_hit(f, FAULT_RING), 1);
	CHECK_EQ(fault_hit(f, FAULT_ALLOC), 0);
	CHECK_EQ(fault_hit(f, FAULT_ALLOC), 1);
	CHECK_EQ(fault_hit(f, FAULT_ALLOC), 0);
	CHECK_EQ(fault_hit(f, FAULT_RING), 0);
	CHECK_EQ(fault_hit(f, FAULT_KICK), 0);
	fault_destroy(f);
	CHECK_EQ(fault_create(NULL, &f, &err), 0);
	CHECK_EQ(fault_hit(f, FAULT_STEP), 0);
	fault_destroy(f);
}

/* A child that hits the point twice. */
static pid_t child_of(const char *spec)
{
	struct error err;
	struct fault *f;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (fault_create(spec, &f, &err))
		_exit(2);
	fault_hit(f, FAULT_PUBLISH);
	fault_hit(f, FAULT_PUBLISH);
	_exit(0);
}

/* What waitpid() says of its end. */
static int end_of(const char *spec)
{
	int status = -1;

	waitpid(child_of(spec), &status, 0);
	return status;
}

/* A tenth of a second is long for two calls: proof enough of a stall; slowness never fails. */
static bool is_stalled(const char *spec)
{
	const struct timespec while_ns = {.tv_nsec = 100000000};
	pid_t pid = child_of(spec);
	bool is_alive;

	nanosleep(&while_ns, NULL);
	is_alive = !waitpid(pid, NULL, WNOHANG);
	if (is_alive) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	return is_alive;
}

int main(void)
{
	int status = end_of("publish:kill:2");

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_EQ(end_of("publish:kill:3"), 0);
	CHECK(is_stalled("publish:stall:2"));
	test_fail();
	refuses("publish", "\"publish\" has no action");
	refuses("publsh:kill", "no point is called \"publsh\"");
	refuses("publish:explode", "no action is called \"explode\"");
	refuses("publish:kill:0", "\"0\" is not a count");
	refuses("publish:kill:x", "\"x\" is not a count");
	refuses("publish:kill:1:2", "\"1:2\" is not a count");
	refuses("publish:kill:-1", "\"-1\" is not a count");
	refuses("publish:kill,", "\"\" has no action");
	refuses("journal:kill", "keeps no journal");
	refuses("step:fail,step:fail,step:fail,step:fail,step:fail,step:fail,step:fail,step:fail,"
		"step:fail",
		"more than 8");
	return test_done();
}
