/* SPDX-License-Identifier: MIT */
/* tokenizer_vectors: the four public vocabularies give every published id, and the text back. */
#include "tests/vectors.h"

int main(void)
{
	static const char *const names[] = {"gpt-2", "deepseek-coder", "llama-spm", "phi-3"};
	const char *shared = test_shared();
	char dir[4200];

	if (!shared)
		SKIP("SHARED is missing");
	snprintf(dir, sizeof(dir), "%s/data/vocab", shared);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK_EQ(vectors_run(dir, names[i]), 46);
	return test_done();
}
