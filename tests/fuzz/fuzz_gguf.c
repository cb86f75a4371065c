/* SPDX-License-Identifier: MIT */
/*
 * fuzz_gguf: no bytes make the GGUF reader or the vocabulary loader crash, read astray or leak.
 * Marks: san
 */
#define FUZZ_ROUNDS 40000
#include "tests/fuzz.h"

#include "daemon/tokenizer.h"
#include "tests/vocab_image.h"

/* Touches all that was handed out: a sanitizer sees what lies outside. */
static void walk_tensors(const struct gguf *g, const uint8_t *begin, size_t size)
{
	for (uint32_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		const uint8_t *data = t->data;

		FUZZ_ASSERT(data >= begin && t->n_bytes <= size &&
			    (size_t)(data - begin) <= size - t->n_bytes);
		FUZZ_ASSERT(gguf_tensor_find(g, t->name) == t);
		FUZZ_ASSERT(gguf_type_traits(t->type) != NULL);
		gguf_tensor_release(g, t);
	}
}

static void walk_keys(const struct gguf *g)
{
	struct gguf_array a;
	struct gguf_str s;
	size_t pos = 0, sum = 0;
	int64_t i64;
	float f32;

	if (!gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_VALUE_STR, &a, NULL)) {
		for (size_t i = 0; i < a.n; i++) {
			s = gguf_array_next_str(&a, &pos);
			for (size_t k = 0; k < s.len; k++)
				sum += (uint8_t)s.data[k];
		}
	}
	if (!gguf_get_array(g, "tokenizer.ggml.scores", GGUF_VALUE_F32, &a, NULL)) {
		for (size_t i = 0; i < a.n; i++)
			sum += gguf_array_f64(&a, i) > 0;
	}
	if (!gguf_get_str(g, "tokenizer.ggml.model", &s, NULL) && s.len)
		sum += (uint8_t)s.data[s.len - 1];
	if (!gguf_get_i64(g, "general.alignment", &i64, NULL))
		sum += (size_t)i64;
	if (!gguf_get_f32(g, "f", &f32, NULL))
		sum++;
	FUZZ_ASSERT(sum != SIZE_MAX);
}

static void use_tokenizer(const struct gguf *g)
{
	struct tokenizer_input in = {.text = "he hello ab </s>", .len = 16, .flags = 3};
	struct tokenizer_ids ids = {0};
	struct tokenizer *t;
	struct error err = {0};

	if (tokenizer_create(g, &t, &err)) {
		FUZZ_ASSERT(err.text[0]);
		return;
	}
	if (!tokenizer_encode(t, &in, &ids, &err)) {
		for (size_t i = 0; i < ids.n; i++)
			FUZZ_ASSERT(ids.ids[i] < tokenizer_n_tokens(t));
	}
	tokenizer_ids_exit(&ids);
	tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *own = malloc(size ? size : 1); /* exact, so that one byte too far is seen */
	struct error err = {0};
	struct gguf *g = NULL;

	FUZZ_ASSERT(own);
	if (size)
		memcpy(own, data, size);
	if (gguf_open_memory(own, size, &g, &err)) {
		FUZZ_ASSERT(!g && err.text[0] && err.code);
	} else {
		walk_tensors(g, own, size);
		walk_keys(g);
		use_tokenizer(g);
		gguf_close(g);
	}
	free(own);
	return 0;
}

static void seed_tensors(struct gguf_image *im)
{
	image_begin(im, 2, 2);
	image_key_u32(im, "general.alignment", 32);
	image_key(im, "f", GGUF_VALUE_F32);
	image_put_f32(im, 1.5f);
	image_tensor(im, "q", GGUF_Q4_1, (uint64_t[]){32, 2}, 32);
	image_tensor(im, "f", GGUF_F32, (uint64_t[]){8, 1}, 0);
	image_pad(im, 32);
	image_put(im, (char[72]){0}, 72);
}

const uint8_t *fuzz_seed(unsigned i, size_t *size)
{
	static const char *const pres[] = {"gpt-2", "smollm", "qwen2", "deepseek-llm"};
	static const struct vocab_image_token more[] = {
		{"<|end|>", VOCAB_CONTROL}, {"\t\t", VOCAB_USER_DEFINED}, {NULL, 0}};
	static struct gguf_image seeds[8];
	struct gguf_image *im = &seeds[i % 8];

	if (i > 7)
		return NULL;
	if (!im->n && i < 4)
		vocab_image_bpe(im, pres[i], more, 0);
	else if (!im->n && i == 4)
		vocab_image_spm(im, 0);
	else if (!im->n)
		seed_tensors(im); /* small and often, so that its few bytes are hit */
	*size = im->n;
	return im->data;
}
