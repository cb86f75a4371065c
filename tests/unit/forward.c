/* SPDX-License-Identifier: MIT */
/*
 * Proves that a position's logits depend on the ids up to it and on nothing else, bit for bit: not
 * on chunks, batch, threads, pages or instruction set; for every weight type; and that the int8
 * activations stay close to the same weights in f32.
 * Marks: san
 */
#include <math.h>

#include "tests/engine_test.h"

#define N_IDS 75 /* three pages, the last one in part */
#define N_PAGES 12

/* Logits of all positions, [N_IDS][V]. */
struct answer {
	float *logits;
	uint32_t n_vocab;
};

static uint32_t ids[N_IDS], other_ids[N_IDS];

static void open_engine(struct rig *r, const char *path, const char *kernels, uint32_t n_threads)
{
	struct engine_args a = { .kernels = kernels, .n_threads = n_threads,
				 .max_step_tokens = 2 * N_IDS, .max_seqs = 3,
				 .max_logit_rows = 2 * N_IDS };

	rig_open(r, path, &a, N_PAGES);
}

/* The ids in chunks of the given size, all positions with logits. */
static void run_chunks(struct rig *r, uint32_t chunk, const uint32_t *pages, struct answer *out)
{
	const size_t n_vocab = r->info.n_vocab;

	out->n_vocab = r->info.n_vocab;
	out->logits = calloc(N_IDS * n_vocab, sizeof(float));
	for (uint32_t pos = 0; pos < N_IDS; pos += chunk) {
		const uint32_t n = N_IDS - pos < chunk ? N_IDS - pos : chunk;
		struct engine_seq s = { .ids = ids + pos, .n_tokens = n, .pos0 = pos,
					.pages = { pages }, .n_logit_rows = n };

		rig_step(r, &s, 1);
		memcpy(out->logits + pos * n_vocab, s.out_logits, n * n_vocab * sizeof(float));
	}
}

static void check_equal(const struct answer *a, const struct answer *b, const char *what)
{
	const size_t n = a->n_vocab;

	for (uint32_t pos = 0; pos < N_IDS; pos++) {
		if (memcmp(a->logits + pos * n, b->logits + pos * n, n * sizeof(float))) {
			fprintf(stderr, "%s: position %u differs\n", what, pos);
			CHECK(false && "equal logits");
			return;
		}
	}
	CHECK(a->n_vocab == b->n_vocab);
}

static void check_variant(const char *path, const struct answer *want, const char *kernels,
			  uint32_t n_threads, uint32_t chunk)
{
	static const uint32_t pages[] = { 7, 1, 10 };
	struct answer got;
	struct rig r;
	char what[128];

	if (!kernels_find(kernels))
		return;
	open_engine(&r, path, kernels, n_threads);
	run_chunks(&r, chunk, pages, &got);
	snprintf(what, sizeof(what), "%s %s, %u threads, chunks of %u", path, kernels, n_threads,
		 chunk);
	check_equal(want, &got, what);
	free(got.logits);
	rig_close(&r);
}

/* Among two other sequences that decode and prefill; logits of the last rows only. */
static void check_batch(const char *path, const struct answer *want)
{
	static const uint32_t pages[] = { 0, 1, 2 }, others[] = { 3, 4, 5 }, thirds[] = { 6, 7, 8 };
	const size_t n_vocab = want->n_vocab;
	struct rig r;
	uint32_t pos = 0;

	open_engine(&r, path, "auto", 2);
	for (uint32_t step = 0; pos < N_IDS; step++) {
		const uint32_t n = step < 4 ? 9 : step < 10 ? 1 : 5, left = N_IDS - pos;
		struct engine_seq s[] = {
			{ .ids = other_ids + step, .n_tokens = 1, .pos0 = step,
			  .pages = { others }, .n_logit_rows = 1 },
			{ .ids = ids + pos, .n_tokens = left < n ? left : n, .pos0 = pos,
			  .pages = { pages }, .n_logit_rows = 1 },
			{ .ids = other_ids + 3 * step, .n_tokens = 3, .pos0 = 3 * step,
			  .pages = { thirds }, .n_logit_rows = 0 },
		};

		rig_step(&r, s, 3);
		pos += s[1].n_tokens;
		CHECK(!memcmp(s[1].out_logits, want->logits + (pos - 1) * n_vocab,
			      n_vocab * sizeof(float)));
		CHECK(!s[2].out_logits);
	}
	rig_close(&r);
}

/* KL divergence from a to b of one row, nats. */
static double divergence(const float *a, const float *b, uint32_t n)
{
	double max_a = -1e30, max_b = -1e30, sum_a = 0, sum_b = 0, kl = 0;

	for (uint32_t i = 0; i < n; i++) {
		max_a = fmax(max_a, (double)a[i]);
		max_b = fmax(max_b, (double)b[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		sum_a += exp((double)a[i] - max_a);
		sum_b += exp((double)b[i] - max_b);
	}
	for (uint32_t i = 0; i < n; i++) {
		const double log_a = (double)a[i] - max_a - log(sum_a);

		kl += exp(log_a) * (log_a - ((double)b[i] - max_b - log(sum_b)));
	}
	return kl;
}

/* The same weights widened to f32: for float types the same bits, else close. */
static void check_f32(const char *path, const struct answer *got, bool is_float)
{
	static const uint32_t pages[] = { 0, 1, 2 };
	struct engine_args a = { .kernels = "auto", .n_threads = 2, .is_f32 = true,
				 .max_step_tokens = N_IDS, .max_seqs = 1, .max_logit_rows = N_IDS };
	struct answer want;
	struct rig r;
	double kl = 0;

	rig_open(&r, path, &a, N_PAGES);
	run_chunks(&r, N_IDS, pages, &want);
	rig_close(&r);
	if (is_float)
		check_equal(&want, got, "widened to f32");
	for (uint32_t i = 0; i < N_IDS; i++)
		kl += divergence(want.logits + (size_t)i * want.n_vocab,
				 got->logits + (size_t)i * want.n_vocab, want.n_vocab);
	printf("%s: mean KL to f32 %.2g\n", path, kl / N_IDS);
	CHECK(kl / N_IDS < 0.03);
	free(want.logits);
}

static void check_model(const char *options, const char *name, bool is_float)
{
	static const uint32_t pages[] = { 0, 1, 2 };
	const char *path = rig_path(name);
	struct answer want;
	struct rig r;

	rig_make_model(options, path);
	open_engine(&r, path, "ref", 1);
	run_chunks(&r, N_IDS, pages, &want);
	rig_close(&r);
	check_variant(path, &want, "ref", 3, 16);
	check_variant(path, &want, "ref", 1, 1);
	check_variant(path, &want, "avx2", 1, N_IDS);
	check_variant(path, &want, "avx2", 2, 16);
	check_variant(path, &want, "avx2", 2, 1);
	check_variant(path, &want, "avx2", 3, 5);
	check_batch(path, &want);
	check_f32(path, &want, is_float);
	free(want.logits);
	unlink(path);
}

int main(void)
{
	for (uint32_t i = 0; i < N_IDS; i++) {
		ids[i] = (i * 7919 + 13) % 500;
		other_ids[i] = (i * 104729 + 5) % 500;
	}
	check_model("--type F32", "f32.gguf", true);
	check_model("--type F16", "f16.gguf", true);
	check_model("--type BF16", "bf16.gguf", true);
	check_model("--type Q8_0", "q8_0.gguf", false);
	check_model("--type Q4_0", "q4_0.gguf", false);
	check_model("--type Q4_1", "q4_1.gguf", false);
	check_model("--type Q5_0", "q5_0.gguf", false);
	check_model("--type Q5_1", "q5_1.gguf", false);
	check_model("--type mixed --bias --untied --layers 3", "mixed.gguf", false);
	/* Widths that no tile divides: 3 heads of 10, one KV head, feed-forward of 52. */
	check_model("--dim 30 --heads 3 --kv-heads 1 --ffn 52 --vocab 501", "odd.gguf", true);
	return test_done();
}
