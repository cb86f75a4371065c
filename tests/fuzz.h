/* SPDX-License-Identifier: MIT */
/*
 * fuzz: makes a libFuzzer target a test of its own.
 *
 * A target defines LLVMFuzzerTestOneInput() and fuzz_seed(). With clang and -fsanitize=fuzzer it is
 * fuzzed for as long as one likes; built with -DFUZZ_STANDALONE, as the Makefile does, it mutates
 *its seeds with a fixed random sequence for a few seconds:
 *
 *	PROGRAM [ROUNDS [SEED]]      PROGRAM FILE...    runs these inputs, to reproduce a finding
 *
 * A finding is a crash, an abort() of the target, or a sanitizer's report.
 */
#ifndef DEVLLM_FUZZ_H
#define DEVLLM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Seed number i, in memory that the target owns; NULL behind the last. */
const uint8_t *fuzz_seed(unsigned i, size_t *size);

/* An invariant of the target. */
#define FUZZ_ASSERT(cond)                                                                    \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                             \
		}                                                                            \
	} while (0)

#ifdef FUZZ_STANDALONE

#define FUZZ_SIZE_MAX (1u << 20)

static uint64_t fuzz_state;

/* Below n; SplitMix64 (Steele, Lea, Flood, 2014). */
static inline size_t fuzz_random(size_t n)
{
	uint64_t z = fuzz_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (size_t)((z ^ z >> 31) % n);
}

/* One of the changes that parsers are known to stumble over. Returns the new size. */
static inline size_t fuzz_change(uint8_t *data, size_t size)
{
	static const uint64_t odd[] = {0,	   1,	       0x7f,	   0x80,
				       0xffff,	   0x7fffffff, 0x80000000, UINT32_MAX,
				       1ull << 32, 1ull << 61, INT64_MAX,  UINT64_MAX};
	size_t at = fuzz_random(size), n = 1 + fuzz_random(16), width = (size_t)1 << fuzz_random(4);
	uint64_t v = odd[fuzz_random(sizeof(odd) / sizeof(odd[0]))];

	switch (fuzz_random(7)) {
	case 0:
		data[at] ^= (uint8_t)(1u << fuzz_random(8));
		return size;
	case 1:
		data[at] = (uint8_t)fuzz_random(256);
		return size;
	case 2: /* an odd number, often where a number was */
		memcpy(data + at, &v, width < size - at ? width : size - at);
		return size;
	case 3: /* one more or less */
		data[at] = (uint8_t)(data[at] + (fuzz_random(2) ? 1 : -1));
		return size;
	case 4: /* cut off */
		return 1 + fuzz_random(size);
	case 5: /* left out */
		n = n < size - at ? n : size - at - 1;
		memmove(data + at, data + at + n, size - at - n);
		return size - n ? size - n : 1;
	default: /* repeated */
		if (size + n > FUZZ_SIZE_MAX || n > size - at)
			return size;
		memmove(data + at + n, data + at, size - at);
		return size + n;
	}
}

static inline int fuzz_file(const char *path)
{
	uint8_t *data = malloc(FUZZ_SIZE_MAX);
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f || !data) {
		perror(path);
		return 1;
	}
	n = fread(data, 1, FUZZ_SIZE_MAX, f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : FUZZ_ROUNDS, n = 0;
	uint8_t *data = malloc(FUZZ_SIZE_MAX);
	unsigned n_seeds = 0;
	size_t size;
	int ret = 0;

	if (argc > 1 && !rounds) {
		for (int i = 1; i < argc; i++)
			ret |= fuzz_file(argv[i]);
		free(data);
		return ret;
	}
	fuzz_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	while (fuzz_seed(n_seeds, &size))
		n_seeds++;
	for (; data && n < rounds; n++) {
		const uint8_t *seed = fuzz_seed((unsigned)fuzz_random(n_seeds), &size);

		memcpy(data, seed, size);
		for (size_t changes = fuzz_random(5); changes; changes--)
			size = fuzz_change(data, size);
		LLVMFuzzerTestOneInput(data, size);
	}
	printf("%lu inputs from %u seeds\n", n, n_seeds);
	free(data);
	return !n;
}

#endif

#endif
