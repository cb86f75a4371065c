/* SPDX-License-Identifier: MIT */
/*
 * engine_test: a model on an engine without a daemon, for tests that drive steps by hand.
 */
#ifndef DEVLLM_ENGINE_TEST_H
#define DEVLLM_ENGINE_TEST_H

#include <spawn.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/engine.h"
#include "daemon/gguf.h"
#include "daemon/model.h"
#include "tests/test.h"

extern char **environ;

struct rig {
	struct gguf *gguf;
	struct model *model;
	struct engine *engine;
	struct engine_info info;
	uint32_t n_pages;
};

/* A file name in the test's own directory; valid until the fourth call after. */
static inline const char *rig_path(const char *name)
{
	static char paths[4][4096];
	static unsigned int next;
	const char *dir = getenv("TMPDIR");
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir ? dir : "/tmp", name);
	return path;
}

/* $BUILD/tests/mkmodel with the options of a line, writing to path. */
static inline void rig_make_model(const char *options, const char *path)
{
	const char *build = getenv("BUILD");
	char program[4096], line[512], *argv[32], *save = NULL;
	int n = 0, status = -1;
	pid_t pid;

	snprintf(program, sizeof(program), "%s/tests/mkmodel", build ? build : "build");
	snprintf(line, sizeof(line), "%s", options);
	argv[n++] = program;
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	argv[n++] = (char *)(uintptr_t)path;
	argv[n] = NULL;
	if (posix_spawn(&pid, program, NULL, NULL, argv, environ)) {
		fprintf(stderr, "%s cannot be started\n", program);
		exit(1);
	}
	waitpid(pid, &status, 0);
	if (status) {
		fprintf(stderr, "%s %s: status %d\n", program, options, status);
		exit(1);
	}
}

/* Opens all or ends the test; a->model is filled in. */
static inline void rig_open(struct rig *r, const char *path, struct engine_args *a,
			    uint32_t n_pages)
{
	struct error err = { 0 };

	*r = (struct rig){ .n_pages = n_pages };
	if (gguf_open(path, &r->gguf, &err) || model_load(r->gguf, &r->model, &err))
		goto fail;
	a->model = r->model;
	if (engine_cpu.open(a, &r->engine, &err) ||
	    engine_cpu.kv_create(r->engine, &n_pages, &err))
		goto fail;
	engine_cpu.info(r->engine, &r->info);
	return;
fail:
	fprintf(stderr, "%s: %s\n", path, err.text);
	exit(1);
}

static inline void rig_close(struct rig *r)
{
	engine_cpu.close(r->engine);
	model_free(r->model);
	gguf_close(r->gguf);
}

/* One step, and a draw where params are set. */
static inline void rig_step(struct rig *r, struct engine_seq *seqs, uint32_t n_seqs)
{
	struct engine_batch b = { .seqs = seqs, .n_seqs = n_seqs };

	for (uint32_t i = 0; i < n_seqs; i++)
		b.n_tokens += seqs[i].n_tokens;
	CHECK_EQ(engine_cpu.submit(r->engine, &b), 0);
	CHECK_EQ(engine_cpu.poll(r->engine, true), 1);
	engine_cpu.sample(r->engine, &b);
}

#endif
