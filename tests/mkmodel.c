/* SPDX-License-Identifier: MIT */
/*
 * mkmodel: writes a tiny Llama with random weights as GGUF, the same bytes for the same options.
 *
 *	mkmodel [--type T] [--seed S] [--layers N] [--dim D] [--heads H] [--kv-heads G] [--ffn F]
 *	        [--vocab V] [--context C] [--untied] [--bias] OUT.gguf
 *
 * T: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1, or mixed (each matrix has the next of them). The
 * weights are scaled so that activations neither die nor explode; they mean nothing. A program for
 * tests: out of memory it aborts.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/mkmodel.h"

struct options {
	const char *out;
	int type; /* -1: mixed */
	uint32_t seed, n_layers, n_embd, n_heads, n_kv_heads, n_ffn, n_vocab, n_context;
	int is_untied, has_bias;
};

static const struct {
	const char *name;
	int type;
} types[] = {
	{ "F32", F32 }, { "F16", F16 }, { "BF16", BF16 }, { "Q8_0", Q8_0 }, { "Q4_0", Q4_0 },
	{ "Q4_1", Q4_1 }, { "Q5_0", Q5_0 }, { "Q5_1", Q5_1 }, { "mixed", -1 },
};
#define N_TYPES (sizeof(types) / sizeof(*types) - 1)

/* The model as it is written. */
struct maker {
	const struct options *o;
	struct gguf_writer w;
	uint64_t random;
	uint32_t n_matrices;
};

static void vector(struct maker *m, const char *name, uint32_t n, const float mean_and_spread[2])
{
	const uint32_t shape[2] = { 0, n };
	float *x = calloc(n, sizeof(*x));

	if (!x)
		abort();
	for (uint32_t i = 0; i < n; i++)
		x[i] = mean_and_spread[0] + mean_and_spread[1] * random_normal(&m->random);
	writer_tensor(&m->w, name, F32, x, shape);
	free(x);
}

/* [rows][cols] of variance gain^2 / cols. */
static void matrix(struct maker *m, const char *name, const uint32_t shape[2], float gain)
{
	const size_t n = (size_t)shape[0] * shape[1];
	const int type = m->o->type >= 0 ? m->o->type : types[m->n_matrices % N_TYPES].type;
	const float scale = gain / sqrtf((float)shape[1]);
	float *x = calloc(n, sizeof(*x));

	if (!x)
		abort();
	for (size_t i = 0; i < n; i++)
		x[i] = scale * random_normal(&m->random);
	writer_tensor(&m->w, name, (uint32_t)type, x, shape);
	m->n_matrices++;
	free(x);
}

static void layer(struct maker *m, uint32_t i)
{
	static const float norm[2] = { 1, 0.1f }, bias[2] = { 0, 0.1f };
	const struct options *o = m->o;
	const uint32_t d = o->n_embd, kv = d / o->n_heads * o->n_kv_heads;
	const struct {
		const char *name;
		uint32_t shape[2];
	} matrices[] = {
		{ "attn_q", { d, d } }, { "attn_k", { kv, d } }, { "attn_v", { kv, d } },
		{ "attn_output", { d, d } }, { "ffn_gate", { o->n_ffn, d } },
		{ "ffn_up", { o->n_ffn, d } }, { "ffn_down", { d, o->n_ffn } },
	};
	char name[64];

	for (size_t k = 0; k < sizeof(matrices) / sizeof(*matrices); k++) {
		snprintf(name, sizeof(name), "blk.%u.%s.weight", i, matrices[k].name);
		matrix(m, name, matrices[k].shape, 1.5f);
		snprintf(name, sizeof(name), "blk.%u.%s.bias", i, matrices[k].name);
		if (o->has_bias)
			vector(m, name, matrices[k].shape[0], bias);
	}
	snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", i);
	vector(m, name, d, norm);
	snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", i);
	vector(m, name, d, norm);
}

static int make(const struct options *o)
{
	static const float norm[2] = { 1, 0.1f };
	const uint32_t embd[2] = { o->n_vocab, o->n_embd };
	struct maker m = { .o = o, .random = o->seed };

	writer_str(&m.w, "general.architecture", "llama");
	writer_str(&m.w, "general.name", "mkmodel");
	writer_u32(&m.w, "llama.context_length", o->n_context);
	writer_u32(&m.w, "llama.embedding_length", o->n_embd);
	writer_u32(&m.w, "llama.block_count", o->n_layers);
	writer_u32(&m.w, "llama.feed_forward_length", o->n_ffn);
	writer_u32(&m.w, "llama.attention.head_count", o->n_heads);
	writer_u32(&m.w, "llama.attention.head_count_kv", o->n_kv_heads);
	writer_u32(&m.w, "llama.rope.dimension_count", o->n_embd / o->n_heads);
	writer_f32(&m.w, "llama.rope.freq_base", 10000);
	writer_f32(&m.w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
	writer_u32(&m.w, "llama.vocab_size", o->n_vocab);
	vocab_write(&m.w, o->n_vocab, o->seed);
	/* Rows of variance 1, so that logits spread by about sqrt(D). */
	matrix(&m, "token_embd.weight", embd, sqrtf((float)o->n_embd));
	for (uint32_t i = 0; i < o->n_layers; i++)
		layer(&m, i);
	vector(&m, "output_norm.weight", o->n_embd, norm);
	if (o->is_untied)
		matrix(&m, "output.weight", embd, 4);
	return writer_finish(&m.w, o->out);
}

/* ---- options --------------------------------------------------------------------------------- */

static int usage(const char *why, const char *what)
{
	fprintf(stderr, "mkmodel: %s%s\nusage: mkmodel [--type F32|F16|BF16|Q8_0|Q4_0|Q4_1|Q5_0|"
		"Q5_1|mixed] [--seed S] [--layers N]\n       [--dim D] [--heads H] [--kv-heads G] "
		"[--ffn F] [--vocab V] [--context C] [--untied] [--bias] OUT.gguf\n", why, what);
	return 2;
}

static int find_type(const char *name, int *out)
{
	for (size_t i = 0; i <= N_TYPES; i++) {
		if (!strcasecmp(types[i].name, name)) {
			*out = types[i].type;
			return 0;
		}
	}
	return -1;
}

static const char *check(const struct options *o)
{
	const int is_blocks = o->type != F32 && o->type != F16 && o->type != BF16;

	if (!o->n_layers || !o->n_heads || !o->n_kv_heads || !o->n_context || !o->n_ffn)
		return "zero is no size";
	if (o->n_embd % o->n_heads || o->n_embd / o->n_heads % 2)
		return "--dim must be --heads times an even number";
	if (o->n_heads % o->n_kv_heads)
		return "--heads must be a multiple of --kv-heads";
	if (is_blocks && (o->n_embd % 32 || o->n_ffn % 32))
		return "--dim and --ffn must be multiples of 32 for a type of blocks";
	if (o->n_vocab < VOCAB_MIN)
		return "--vocab must be at least 259: 3 control tokens and 256 bytes";
	return NULL;
}

int main(int argc, char **argv)
{
	struct options o = { .type = F32, .seed = 1, .n_layers = 2, .n_embd = 64, .n_heads = 4,
			     .n_kv_heads = 2, .n_ffn = 128, .n_vocab = 512, .n_context = 512 };
	static const struct option longs[] = {
		{ "type", 1, NULL, 't' }, { "seed", 1, NULL, 's' }, { "layers", 1, NULL, 'l' },
		{ "dim", 1, NULL, 'd' }, { "heads", 1, NULL, 'h' }, { "kv-heads", 1, NULL, 'g' },
		{ "ffn", 1, NULL, 'f' }, { "vocab", 1, NULL, 'v' }, { "context", 1, NULL, 'c' },
		{ "untied", 0, NULL, 'u' }, { "bias", 0, NULL, 'b' }, { 0 },
	};
	uint32_t *const numbers[128] = {
		['s'] = &o.seed, ['l'] = &o.n_layers, ['d'] = &o.n_embd, ['h'] = &o.n_heads,
		['g'] = &o.n_kv_heads, ['f'] = &o.n_ffn, ['v'] = &o.n_vocab, ['c'] = &o.n_context,
	};
	const char *wrong;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?')
			return usage("unknown option", "");
		if (c == 't' && find_type(optarg, &o.type))
			return usage("unknown type ", optarg);
		o.is_untied |= c == 'u';
		o.has_bias |= c == 'b';
		if (numbers[c])
			*numbers[c] = (uint32_t)strtoul(optarg, NULL, 0);
	}
	if (argc - optind != 1)
		return usage("one OUT.gguf is wanted", "");
	o.out = argv[optind];
	wrong = check(&o);
	if (wrong)
		return usage(wrong, "");
	if (make(&o)) {
		fprintf(stderr, "mkmodel: %s: %s\n", o.out, strerror(errno));
		return 1;
	}
	return 0;
}
