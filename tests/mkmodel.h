/* SPDX-License-Identifier: MIT */
/*
 * mkmodel: the parts of the model writer (tests/mkmodel.c). A program for tests: it writes what the
 * loader reads, with quantizers of its own, so that neither is checked against itself.
 */
#ifndef DEVLLM_MKMODEL_H
#define DEVLLM_MKMODEL_H

#include <stddef.h>
#include <stdint.h>

/* A GGUF file under construction: both parts grow in memory and are joined at the end. */
struct bytes {
	uint8_t *data;
	size_t n, cap;
};

struct gguf_writer {
	struct bytes keys, infos, data;
	uint64_t n_keys, n_tensors;
};

/* Type numbers of GGUF. */
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, BF16 = 30 };

void writer_u32(struct gguf_writer *w, const char *key, uint32_t value);
void writer_f32(struct gguf_writer *w, const char *key, float value);
void writer_bool(struct gguf_writer *w, const char *key, int value);
void writer_str(struct gguf_writer *w, const char *key, const char *value);
void writer_strs(struct gguf_writer *w, const char *key, char *const *values, size_t n);
void writer_i32s(struct gguf_writer *w, const char *key, const int32_t *values, size_t n);
/* x [rows][cols] is stored as type; rows 0: a vector [cols]. */
void writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, const float *x,
		   const uint32_t shape[2]);
/* 0, or -1 with errno; frees everything. */
int writer_finish(struct gguf_writer *w, const char *path);

/* Bytes of n elements (a multiple of 32 for block types), and the bytes themselves. */
size_t quant_bytes(uint32_t type, size_t n);
void quant_row(uint32_t type, const float *x, size_t n, uint8_t *out);

/* splitmix64 */
uint64_t random_next(uint64_t *state);
/* About normal, variance 1: the sum of 12 uniforms. */
float random_normal(uint64_t *state);

/* Byte-level BPE vocabulary of n tokens: 3 control tokens, 256 bytes, seeded merges. */
#define VOCAB_MIN (3 + 256)
void vocab_write(struct gguf_writer *w, uint32_t n, uint64_t seed);

#endif
