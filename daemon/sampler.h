/* SPDX-License-Identifier: MIT */
/*
 * sampler: one row of logits to one token id.
 *
 * Pure: the id depends on the logits row, the parameters, the seed and the token index alone
 * (Philox keyed by (seed, token index)); ties go to the lowest id. Called by engines on any worker;
 * no shared state.
 *
 * Order: banned ids out, top-k by logit, temperature, top-p over what is left, draw. A token's mass
 * is an integer, 2^40 * exp((logit - largest) / temperature), so that every sum is exact and no
 * order of addition can change a token.
 */
#ifndef DEVLLM_SAMPLER_H
#define DEVLLM_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

struct sampler_params {
	float temperature; /* 0: greedy */
	uint32_t top_k;	   /* 0: off */
	float top_p;	   /* 1: off */
	uint64_t seed;
	/* ids that may not be drawn at this index (min_tokens): EOS and stop ids; n may be 0 */
	const uint32_t *banned;
	uint32_t n_banned;
};

/* Bytes of scratch that sampler_draw() needs for a vocabulary of n_vocab. */
size_t sampler_scratch_bytes(uint32_t n_vocab);

/*
 * logits: [n_vocab], read only; scratch: aligned to 8 bytes. Returns the id; never fails: NaN
 * logits count as -infinity, and when nothing above that is left, the lowest id that is not banned
 * is it (0 when all are).
 */
uint32_t sampler_draw(const struct sampler_params *p, uint32_t token_index, const float *logits,
		      uint32_t n_vocab, void *scratch);

/* Philox4x32-10 (Salmon et al., SC 2011): four random words for a counter and a key. */
void sampler_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
