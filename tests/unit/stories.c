/* SPDX-License-Identifier: MIT */
/*
 * Proves that the CPU engine reproduces another implementation's 200 greedy tokens of a real model
 * (stories260K), ids and text, from BOS alone, on one and two threads, both kernel tables.
 */
#include <jansson.h>

#include "daemon/detokenizer.h"
#include "tests/engine_test.h"

#define N_PAGES 16

/* Greedy from prompt id `id`, n tokens. */
static void generate(struct rig *r, uint32_t id, uint32_t n, uint32_t *out)
{
	const struct sampler_params greedy = { 0 };
	uint32_t pages[N_PAGES];

	for (uint32_t i = 0; i < N_PAGES; i++)
		pages[i] = (i * 5 + 3) % N_PAGES;
	for (uint32_t i = 0; i < n; i++) {
		struct engine_seq s = { .ids = &id, .n_tokens = 1, .pos0 = i, .pages = { pages },
					.n_logit_rows = 1, .params = &greedy, .token_index = i };

		rig_step(r, &s, 1);
		out[i] = id = s.out_id;
	}
}

static void check_text(const struct rig *r, const char *path, const uint32_t *ids, size_t n_ids)
{
	char text[8192], want[8192];
	struct detokenizer *d = NULL;
	struct tokenizer *t = NULL;
	struct error err = { 0 };
	size_t n = 0, n_want, n_more;
	FILE *f = fopen(path, "rb");

	CHECK(f != NULL);
	n_want = f ? fread(want, 1, sizeof(want), f) : 0;
	if (f)
		fclose(f);
	CHECK_EQ(tokenizer_create(r->gguf, &t, &err), 0);
	CHECK_EQ(detokenizer_create(t, 0, &d), 0);
	for (size_t i = 0; i < n_ids; i++) {
		CHECK_EQ(detokenizer_push(d, ids[i], text + n, sizeof(text) - n, &n_more), 0);
		n += n_more;
	}
	CHECK_EQ(detokenizer_flush(d, text + n, sizeof(text) - n, &n_more), 0);
	n += n_more;
	if (n_want == n + 1 && want[n] == '\n')
		n_want--; /* the file ends its last line */
	CHECK_EQ(n, n_want);
	CHECK(n == n_want && !memcmp(text, want, n));
	detokenizer_destroy(d);
	tokenizer_destroy(t);
}

static void check_engine(const char *dir, const char *kernels, uint32_t n_threads,
			 const json_t *golden)
{
	struct engine_args a = { .kernels = kernels, .n_threads = n_threads, .max_step_tokens = 8,
				 .max_seqs = 1 };
	const json_t *want = json_object_get(golden, "greedy_ids");
	const size_t n = json_array_size(want);
	uint32_t ids[512];
	char path[4096];
	struct rig r;

	CHECK_EQ(n, 200);
	snprintf(path, sizeof(path), "%s/stories260K.gguf", dir);
	rig_open(&r, path, &a, N_PAGES);
	generate(&r, 1, (uint32_t)n, ids);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(ids[i], json_integer_value(json_array_get(want, i)));
	snprintf(path, sizeof(path), "%s/greedy-200.txt", dir);
	check_text(&r, path, ids, n);
	rig_close(&r);
}

int main(void)
{
	const char *shared = test_shared();
	char dir[4096], path[4200];
	json_t *golden;

	if (!shared)
		SKIP("SHARED is missing");
	snprintf(dir, sizeof(dir), "%s/data/stories260K", shared);
	snprintf(path, sizeof(path), "%s/greedy-200.json", dir);
	golden = json_load_file(path, 0, NULL);
	CHECK(golden != NULL);
	check_engine(dir, "ref", 1, golden);
	check_engine(dir, "ref", 2, golden);
	if (kernels_find("avx2"))
		check_engine(dir, "avx2", 2, golden);
	json_decref(golden);
	return test_done();
}
