/* SPDX-License-Identifier: MIT */
/*
 * llmbench: its two halves. The rig runs sequences of forced random ids through scheduler, plan,
 * paged KV and engine (tools/llmbench_rig.c); the program says what to run and prints
 * (tools/llmbench.c).
 */
#ifndef DEVLLM_LLMBENCH_H
#define DEVLLM_LLMBENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/engine.h"

struct rig;

struct rig_args {
	const char *model_path, *kernels;
	uint32_t n_threads;   /* 0: one per core */
	uint32_t step_tokens; /* most tokens of a step */
	uint32_t max_seqs;
	uint32_t seq_tokens;  /* longest sequence */
	uint32_t total_tokens; /* of all sequences at once, at most */
};

/* 0 and *out, or -errno with err. */
int rig_open(const struct rig_args *args, struct rig **out, struct error *err);
void rig_close(struct rig *r);
void rig_info(const struct rig *r, struct engine_info *out);
const char *rig_model_name(const struct rig *r);

/* One measurement: n_seqs sequences of n_prompt random ids, then n_decode steps of all of them. */
struct rig_run {
	uint32_t n_seqs;
	uint32_t n_prompt; /* each, >= 1 */
	uint32_t n_decode; /* steps after the prompts, 0: the prompts alone */
	bool is_prompt_timed;
};

/* Nanoseconds of the timed part, or -errno. */
int64_t rig_measure(struct rig *r, const struct rig_run *run);

struct reader;

/*
 * Threads that read memory. To be opened before the rig: the engine binds this thread to one CPU,
 * and threads made after that would inherit it.
 */
int reader_open(uint32_t n_threads, struct reader **out, struct error *err);
void reader_close(struct reader *r);

/* Bytes per nanosecond of one pass of all threads over 1 GiB; 0 when there is no memory. */
double reader_measure(struct reader *r);

#endif
