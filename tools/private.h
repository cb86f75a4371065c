/* SPDX-License-Identifier: MIT */
/*
 * private: a daemon of one's own, over a socketpair, for as long as the tool runs. Nothing is set
 * up, nothing stays: llmd serves the one connection (--serve-fd) and ends when it closes.
 */
#ifndef DEVLLM_PRIVATE_H
#define DEVLLM_PRIVATE_H

#include <stdint.h>
#include <sys/types.h>

struct private_daemon {
	pid_t pid;
	int fd; /* our end, a connected SOCK_SEQPACKET socket; -1 once someone else owns it */
};

/*
 * Starts llmd for the model: $LLMD, else llmd beside this program, in ../sbin, or in PATH.
 * n_threads 0: its own choice. 0, or -errno: -ENOENT when no llmd is found, and what the system
 * calls give.
 */
int private_start(const char *model_path, uint32_t n_threads, struct private_daemon *out);

/* Waits for its end after the connection was closed; its exit status, or 128 + the signal that
 * ended it. */
int private_wait(struct private_daemon *p);

#endif
