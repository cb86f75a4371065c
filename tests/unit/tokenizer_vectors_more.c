/* SPDX-License-Identifier: MIT */
/* tokenizer_vectors_more: the vocabularies that tools/fetch-vocab.sh brings give every published
 * id. */
#include "tests/vectors.h"

#include <unistd.h>

int main(void)
{
	static const struct {
		const char *name;
		unsigned n; /* texts */
	} vocabs[] = {
		{"llama-bpe", 46}, {"qwen2", 46}, {"command-r", 46},	  {"deepseek-llm", 46},
		{"falcon", 46},	   {"mpt", 46},	  {"refact", 46},	  {"starcoder", 46},
		{"qwen35", 50},	   {"gpt-2", 46}, {"deepseek-coder", 46}, {"llama-spm", 46},
		{"phi-3", 46},
	};
	const char *cache = getenv("DEVLLM_CACHE"), *home = getenv("HOME");
	char dir[3800], path[4096];

	if (cache)
		snprintf(dir, sizeof(dir), "%s/vocab/models", cache);
	else
		snprintf(dir, sizeof(dir), "%s/.cache/devllm/vocab/models", home ? home : "");
	for (size_t i = 0; i < sizeof(vocabs) / sizeof(vocabs[0]); i++) {
		snprintf(path, sizeof(path), "%s/ggml-vocab-%s.gguf", dir, vocabs[i].name);
		if (access(path, R_OK))
			SKIP("tools/fetch-vocab.sh has not filled the cache");
		CHECK_EQ(vectors_run(dir, vocabs[i].name), vocabs[i].n);
	}
	return test_done();
}
