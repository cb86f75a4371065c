/* SPDX-License-Identifier: MIT */
/*
 * clock: the one clock that spans are measured with.
 */
#ifndef DEVLLM_CLOCK_H
#define DEVLLM_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, nanoseconds; no system call on the machines we know. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
