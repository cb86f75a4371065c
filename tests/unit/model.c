/* SPDX-License-Identifier: MIT */
/*
 * Proves that the descriptor has what the file says, and that files which contradict themselves,
 * lack something or ask for what is not known are refused with the names and both numbers.
 */
#include <errno.h>

#include "daemon/gguf.h"
#include "daemon/model.h"
#include "tests/engine_test.h"

/* A file in memory, to be damaged: 8-byte aligned. */
struct image {
	unsigned char *data;
	size_t n;
};

static struct image read_image(const char *path)
{
	struct image im = { 0 };
	FILE *f = fopen(path, "rb");

	if (!f)
		exit(1);
	fseek(f, 0, SEEK_END);
	im.n = (size_t)ftell(f);
	rewind(f);
	im.data = aligned_alloc(64, (im.n + 63) / 64 * 64);
	if (!im.data || fread(im.data, 1, im.n, f) != im.n)
		exit(1);
	fclose(f);
	return im;
}

/* Where a key's or a tensor's name ends; what follows is its type, or its dims. */
static unsigned char *after(const struct image *im, const char *name)
{
	const size_t n = strlen(name);
	unsigned char *p = memmem(im->data, im->n, name, n);

	if (!p) {
		fprintf(stderr, "%s is not in the file\n", name);
		exit(1);
	}
	return p + n;
}

/* Loads the image: its error must have this code and begin like this. */
static void check_refused(const struct image *im, int code, const char *text)
{
	struct error err = { 0 };
	struct model *m = NULL;
	struct gguf *g = NULL;
	int rc = gguf_open_memory(im->data, im->n, &g, &err);

	if (!rc)
		rc = model_load(g, &m, &err);
	CHECK_EQ(rc, code);
	CHECK_EQ(err.code, code);
	if (strncmp(err.text, text, strlen(text)))
		CHECK_STR(err.text, text);
	model_free(rc ? NULL : m);
	gguf_close(g);
}

/* Sets a u32 value, checks the refusal, puts it back. */
static void check_number(struct image *im, const char *key, uint32_t value, const char *text)
{
	unsigned char *p = after(im, key) + 4; /* behind the value's type */
	uint32_t old;

	memcpy(&old, p, 4);
	memcpy(p, &value, 4);
	check_refused(im, -EBADMSG, text);
	memcpy(p, &old, 4);
}

/* Writes another word of the same length, checks, puts the old one back. */
static void check_word(struct image *im, const char *word, const char *other, int code,
		       const char *text)
{
	unsigned char *p = after(im, word) - strlen(word);

	memcpy(p, other, strlen(word));
	check_refused(im, code, text);
	memcpy(p, word, strlen(word));
}

static void check_refusals(struct image *im)
{
	unsigned char *p;

	check_word(im, "llama", "lllll", -ENOTSUP,
		   "architecture lllll is not supported; known: llama");
	check_number(im, "llama.embedding_length", 96, "tensor token_embd.weight: 512 rows of 64 "
		     "in 2 dims, expected 512 of 96 in 2");
	check_number(im, "llama.embedding_length", 0,
		     "llama.embedding_length is 0, expected 1 to 1048576");
	check_number(im, "llama.feed_forward_length", 96, "tensor blk.0.ffn_gate.weight: 128 rows "
		     "of 64 in 2 dims, expected 96 of 64 in 2");
	check_number(im, "llama.attention.head_count", 0,
		     "llama.attention.head_count is 0, expected 1 to");
	check_number(im, "llama.attention.head_count_kv", 3,
		     "4 query heads cannot share 3 KV heads");
	check_number(im, "llama.attention.head_count_kv", 4,
		     "tensor blk.0.attn_k.weight: 32 rows of 64");
	check_number(im, "llama.attention.head_count_kv", UINT32_MAX,
		     "4 query heads cannot share 4294967295 KV heads");
	check_number(im, "llama.rope.dimension_count", 18,
		     "rope.dimension_count is 18, expected an even number up to the head's 16");
	check_number(im, "llama.block_count", 3, "tensor blk.2.attn_q.weight is missing");
	check_number(im, "llama.block_count", 100000, "llama.block_count is 100000, expected 1 to");
	check_number(im, "llama.context_length", 0, "llama.context_length is 0");
	check_number(im, "llama.vocab_size", 511,
		     "vocab_size is 511, token_embd.weight has 512 rows");
	/* One layer fewer than there are: the second one's tensors are left over. */
	p = after(im, "llama.block_count") + 4;
	*p = 1;
	check_refused(im, -ENOTSUP, "tensor blk.1.attn_q.weight is not part of a llama with 1");
	*p = 2;
	check_word(im, "output_norm.weight", "output_nor_.weight", -EBADMSG,
		   "tensor output_norm.weight is missing");
	check_word(im, "llama.attention.layer_norm_rms_epsilon",
		   "llama.attention.layer_norm_rms_epsilom", -ENOENT, "");
	/* The type of the last vector, after its one dim: F32 becomes F16, of half the bytes. */
	p = after(im, "output_norm.weight") + 4 + 8;
	*p = GGUF_F16;
	check_refused(im, -ENOTSUP,
		      "tensor output_norm.weight is of type F16; known for vectors");
	*p = GGUF_F32;
	/* A matrix: Q4_1 becomes Q4_0 and stays inside the file; Q2_K is known by name only. */
	p = after(im, "blk.0.ffn_down.weight") + 4 + 16;
	CHECK_EQ(*p, GGUF_Q4_1);
	*p = GGUF_IQ4_NL;
	check_refused(im, -ENOTSUP,
		      "tensor blk.0.ffn_down.weight is of type IQ4_NL; known are F32");
	*p = GGUF_Q4_1;
}

static void check_descriptor(const struct image *im)
{
	struct error err = { 0 };
	struct model *m = NULL;
	struct gguf *g = NULL;

	CHECK_EQ(gguf_open_memory(im->data, im->n, &g, &err), 0);
	CHECK_EQ(model_load(g, &m, &err), 0);
	CHECK_STR(m->name, "mkmodel");
	CHECK_STR(m->architecture, "llama");
	CHECK_EQ(m->n_layers, 2);
	CHECK_EQ(m->n_embd, 64);
	CHECK_EQ(m->n_vocab, 512);
	CHECK_EQ(m->n_context, 512);
	CHECK_EQ(m->n_kv_groups, 1);
	CHECK_EQ(m->kv_groups[0].n_layers, 2);
	/* 2 layers, 2 KV heads, K and V, 32 positions, 16 dims, f16 */
	CHECK_EQ(m->kv_groups[0].page_bytes, 2 * 2 * 2 * 32 * 16 * 2);
	CHECK(m->head.weight == m->embed.weight);
	CHECK_EQ(m->layers[1].kv_layer, 1);
	CHECK_EQ(m->layers[1].head_dim, 16);
	CHECK_EQ(m->ropes[0].n_dims, 16);
	CHECK(m->ropes[0].kind == KERNEL_ROPE_NORM && m->layers[0].attention_scale == 0.25f);
	model_free(m);
	gguf_close(g);
}

int main(void)
{
	const char *path = rig_path("model.gguf");
	struct image im;

	rig_make_model("--type Q4_1", path);
	im = read_image(path);
	check_descriptor(&im);
	check_refusals(&im);
	check_descriptor(&im); /* everything was put back */
	free(im.data);
	unlink(path);
	return test_done();
}
