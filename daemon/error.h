/* SPDX-License-Identifier: MIT */
/*
 * error: what a function tells a person when it fails.
 *
 * Functions that read files, configuration or requests take a `struct error *` as their last
 * parameter and return -errno. The text names the thing and both numbers ("tensor blk.3.ffn_up: 12
 * rows, 16 expected"). The first error wins; callers add nothing and print it once.
 */
#ifndef DEVLLM_ERROR_H
#define DEVLLM_ERROR_H

struct error {
	int code;       /* -errno, 0 while nothing failed */
	char text[256]; /* one sentence, no newline, always terminated */
};

/* Stores code and the formatted text; returns code, so that `return error_set(...)` reads well. */
__attribute__((format(printf, 3, 4))) int error_set(struct error *e, int code, const char *fmt,
						    ...);

#endif
