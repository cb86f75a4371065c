/* SPDX-License-Identifier: MIT */
/*
 * test: the few lines every C test shares. A failed CHECK prints where and what and the test goes
 * on; test_done() gives main its exit status (0 pass, 1 fail); SKIP ends the program with 77 and
 * its reason.
 */
#ifndef DEVLLM_TEST_H
#define DEVLLM_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned test_n_checks, test_n_failed;

#define CHECK(cond)                                                                       \
	do {                                                                              \
		test_n_checks++;                                                          \
		if (!(cond)) {                                                            \
			test_n_failed++;                                                  \
			fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond); \
		}                                                                         \
	} while (0)

#define CHECK_EQ(got, want)                                                                 \
	do {                                                                                \
		long long got_ = (long long)(got), want_ = (long long)(want);               \
		test_n_checks++;                                                            \
		if (got_ != want_) {                                                        \
			test_n_failed++;                                                    \
			fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", __FILE__,     \
				__LINE__, #got, got_, want_);                               \
		}                                                                           \
	} while (0)

#define CHECK_STR(got, want)                                                                   \
	do {                                                                                   \
		const char *got_ = (got), *want_ = (want);                                     \
		test_n_checks++;                                                               \
		if (strcmp(got_, want_)) {                                                     \
			test_n_failed++;                                                       \
			fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__,    \
				__LINE__, #got, got_, want_);                                  \
		}                                                                              \
	} while (0)

#define SKIP(reason)                                  \
	do {                                          \
		printf("skipped: %s\n", (reason));    \
		exit(77);                             \
	} while (0)

/* The folder of public test data, or NULL when it is not there. */
static inline const char *test_shared(void)
{
	const char *dir = getenv("SHARED");
	FILE *f;
	static char path[4096];

	snprintf(path, sizeof(path), "%s/README.md", dir ? dir : "../shared");
	f = fopen(path, "r");
	if (!f)
		return NULL;
	fclose(f);
	path[strlen(path) - strlen("/README.md")] = 0;
	return path;
}

/* A test that checked nothing has failed. */
static inline int test_done(void)
{
	if (!test_n_checks)
		fprintf(stderr, "no check ran\n");
	printf("%u checks, %u failed\n", test_n_checks, test_n_failed);
	return !test_n_checks || test_n_failed;
}

#endif
