/* SPDX-License-Identifier: MIT */
/*
 * literal: finds the tokens that stand in a text as they are spelled, before anything is joined:
 * user-defined ones in any text, control tokens where the caller allows them.
 *
 * At each place the longest wins, and the scan goes on behind it. The spellings lie sorted; a
 * look-up narrows a range of them byte by byte, so its cost is bounded by the longest spelling.
 * Filled at load, read-only afterwards.
 */
#ifndef DEVLLM_LITERAL_H
#define DEVLLM_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/vocab.h"

struct literal_set {
	const struct vocab *vocab;
	uint32_t *ids; /* [n] by spelling */
	uint32_t n;
	bool begins[2][256]; /* a spelling begins with this byte; [1]: control tokens count too */
};

struct literal_match {
	size_t begin, end; /* bytes */
	uint32_t id;
};

/* 0 or -ENOMEM. v must outlive the set. */
int literal_set_init(struct literal_set *set, const struct vocab *v);
void literal_set_exit(struct literal_set *set);

/* The first match at or behind byte `from`. False: none. */
bool literal_find(const struct literal_set *set, const struct gguf_str *text, size_t from,
		  bool is_special, struct literal_match *out);

#endif
