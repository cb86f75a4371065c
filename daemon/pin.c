/* SPDX-License-Identifier: MIT */
/*
 * pin: see daemon/pin.h.
 */
#include "daemon/pin.h"

#include <errno.h>
#include <numa.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/ledger.h"
#include "daemon/log.h"

static bool is_wanted(const struct config *c, uint32_t how)
{
	return how == CONFIG_PIN_AUTO ? c->serve_fd < 0 : how != CONFIG_PIN_OFF;
}

bool pin_wants_threads(const struct config *c)
{
	return is_wanted(c, c->pin);
}

/* A refusal (err has its sentence): a line, or the error of a daemon that insists. */
static int refused(struct log *messages, struct error *err, uint32_t how)
{
	char text[sizeof(err->text)];

	if (how != CONFIG_PIN_REQUIRE) {
		log_info(messages, "%s", err->text);
		return 0;
	}
	memcpy(text, err->text, sizeof(text));
	return error_set(err, err->code, "%.200s, and the configuration requires it", text);
}

int pin_node(const struct config *c, struct log *messages, struct error *err)
{
	if (!is_wanted(c, c->pin))
		return 0;
	if (numa_available() < 0) {
		error_set(err, -ENOTSUP, "memory is not bound to nodes: no NUMA calls here");
		return refused(messages, err, c->pin);
	}
	numa_set_localalloc();
	log_info(messages, "memory     from the node of each thread; nodes: %d",
		 numa_num_configured_nodes());
	return 0;
}

int pin_check_threads(const struct config *c, struct log *messages, struct error *err)
{
	cpu_set_t own;

	if (!is_wanted(c, c->pin) || sched_getaffinity(0, sizeof(own), &own))
		return 0;
	if (CPU_COUNT(&own) == 1)
		return 0;
	error_set(err, -ENOTSUP, "threads are not pinned: %d CPUs, and the engine binds none",
		  CPU_COUNT(&own));
	return refused(messages, err, c->pin);
}

/* The word in brackets of the kernel's setting: always, madvise, never. */
static void huge_pages(char *to, size_t n)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
	char line[128] = "", *open, *close;

	if (f && !fgets(line, sizeof(line), f))
		*line = 0;
	if (f)
		fclose(f);
	open = strchr(line, '[');
	close = open ? strchr(open, ']') : NULL;
	snprintf(to, n, "%.*s", close ? (int)(close - open - 1) : 4, close ? open + 1 : "none");
}

int pin_memory(const struct config *c, struct log *messages, struct error *err)
{
	struct rlimit limit;
	char text[32], huge[32];

	huge_pages(huge, sizeof(huge));
	log_info(messages, "huge pages %s", huge);
	if (!is_wanted(c, c->mlock))
		return 0;
	/*
	 * With a limit, a lock that succeeds now makes a later mmap() fail: only without one, or
	 * for root, whom it does not bind. Locked on fault, or the model's file would be read in
	 * whole.
	 */
	if (geteuid() && !getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur != RLIM_INFINITY) {
		error_set(err, -EPERM, "memory is not locked: the limit (RLIMIT_MEMLOCK) is %s",
			  ledger_bytes(limit.rlim_cur, text));
		return refused(messages, err, c->mlock);
	}
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) {
		error_set(err, -errno, "memory is not locked: %s", strerror(errno));
		return refused(messages, err, c->mlock);
	}
	log_info(messages, "memory     locked as it is touched");
	return 0;
}
