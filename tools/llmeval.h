/* SPDX-License-Identifier: MIT */
/*
 * llmeval: the part that its measurements share (tools/llmeval_model.c): a model on the CPU engine
 * that gives the logits of chosen rows of one sequence.
 */
#ifndef DEVLLM_LLMEVAL_H
#define DEVLLM_LLMEVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/engine.h"
#include "daemon/error.h"
#include "daemon/tokenizer.h"

/* The command line. */
struct eval_options {
	const char *model, *kernels, *text, *golden;
	uint32_t n_threads;
	uint32_t n_window; /* -c */
	uint32_t n_chunks; /* 0: all of the text */
	bool is_f32;	   /* weights widened to f32 */
	bool wants_json;
	bool is_terminal;  /* stderr is one: show progress */
};

struct eval_model;

/* n_tokens: longest sequence that will be asked about. 0 and *out, or -errno with err. */
int eval_open(const struct eval_options *o, uint32_t n_tokens, struct eval_model **out,
	      struct error *err);
void eval_close(struct eval_model *m);

const struct tokenizer *eval_tokenizer(const struct eval_model *m);
uint32_t eval_n_vocab(const struct eval_model *m);

/* A sequence and the rows whose logits are wanted: first .. n_ids - 1. */
struct eval_rows {
	const uint32_t *ids;
	uint32_t n_ids;
	uint32_t first;
	/* called for each of them in order; logits [V] are what follows ids[0..row] */
	void (*fn)(void *arg, uint32_t row, const float *logits);
	void *arg;
};

/* 0, or -EINVAL when an id or the length does not fit the model. */
int eval_rows(struct eval_model *m, const struct eval_rows *rows);

/* Natural logarithm of the sum of exp(logits[0..n-1]). */
double eval_log_sum(const float *logits, uint32_t n);

/* The measurements: exit codes. */
int eval_ppl(const struct eval_options *o);
int eval_golden(const struct eval_options *o);

#endif
