/* SPDX-License-Identifier: MIT */
/*
 * kernels: how fast the CPU kernels are, as a share of what this machine can do. Not a test: it
 * proves nothing and passes nothing. `make bench-kernels` builds and runs it with two threads.
 *
 *	kernels [THREADS [TABLE]]
 *
 * First the peaks: f32 FMA, u8 x s8 multiply-add (vpmaddubsw), reading memory. Then every matmul of
 * SmolLM2-135M (30 layers and the tied head) by weight type and T, then attention and the small
 * ops. Each worker does its part without barriers: what is missing to a whole step is the engine's
 * share.
 *
 * Times are CPU time of the slowest worker, best of several: on a machine shared with others that
 * is what the kernels cost, though what the others do to caches and memory still shows.
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define MAX_THREADS 64
#define N_LAYERS 30
#define D 576
#define F 1536
#define V 49152
#define MAX_T 512
#define READ_BYTES (256u << 20)

struct bench {
	const struct kernel_ops *ops;
	int n_threads;
	pthread_barrier_t start, end;
	void (*job)(struct bench *b, struct kernel_part part);
	double cpu_s[MAX_THREADS]; /* of the last job, by worker */
	uint32_t n_rows;
	/* what jobs read and write */
	struct kernel_weight w[N_LAYERS][7], head;
	struct kernel_act x, xf;
	float *out;
	uint8_t *big;
	struct kernel_attention_args attention;
};

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *get_mem(size_t n_bytes)
{
	void *p = aligned_alloc(64, (n_bytes + 127) / 64 * 64);

	if (!p)
		abort();
	memset(p, 1, (n_bytes + 127) / 64 * 64);
	return p;
}

struct worker {
	struct bench *b;
	int rank;
};

static void run_part(struct bench *b, int rank)
{
	double t = now_s(CLOCK_THREAD_CPUTIME_ID);

	b->job(b, (struct kernel_part){rank, b->n_threads});
	b->cpu_s[rank] = now_s(CLOCK_THREAD_CPUTIME_ID) - t;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	kernels_thread_init();
	for (;;) {
		pthread_barrier_wait(&w->b->start);
		if (!w->b->job)
			return NULL;
		run_part(w->b, w->rank);
		pthread_barrier_wait(&w->b->end);
	}
}

/* Best seconds of a job within about 0.4 s: CPU time of the slowest worker. */
static double time_job(struct bench *b, void (*job)(struct bench *b, struct kernel_part part))
{
	double best = 1e9, begin = now_s(CLOCK_MONOTONIC);

	b->job = job;
	for (int i = 0; i < 3 || (i < 1000 && now_s(CLOCK_MONOTONIC) - begin < 0.4); i++) {
		double t = 0;

		pthread_barrier_wait(&b->start);
		run_part(b, 0);
		pthread_barrier_wait(&b->end);
		for (int w = 0; w < b->n_threads; w++)
			t = b->cpu_s[w] > t ? b->cpu_s[w] : t;
		best = t < best ? t : best;
	}
	return best;
}

/* ---- peaks ----------------------------------------------------------------------------------- */

#define PEAK_LOOPS 2000000

__attribute__((target("avx2,fma"))) static void fma_job(struct bench *b, struct kernel_part part)
{
	__m256 acc[10], x = _mm256_set1_ps(0.5f);

	(void)part;
	for (int i = 0; i < 10; i++)
		acc[i] = _mm256_set1_ps((float)i);
	for (int n = 0; n < PEAK_LOOPS; n++) {
		UNROLL
		for (int i = 0; i < 10; i++)
			acc[i] = _mm256_fmadd_ps(acc[i], x, x);
		__asm__ volatile("" : "+x"(x));
	}
	for (int i = 1; i < 10; i++)
		acc[0] = _mm256_add_ps(acc[0], acc[i]);
	b->out[MAX_T + 16 * part.rank] = _mm256_cvtss_f32(acc[0]);
}

__attribute__((target("avx2"))) static void maddubs_job(struct bench *b, struct kernel_part part)
{
	__m256i acc[10], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);

	for (int i = 0; i < 10; i++)
		acc[i] = _mm256_set1_epi16((short)i);
	for (int n = 0; n < PEAK_LOOPS; n++) {
		UNROLL
		for (int i = 0; i < 10; i++) {
			acc[i] = _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(x, y));
			__asm__ volatile("" : "+x"(x));
		}
	}
	for (int i = 1; i < 10; i++)
		acc[0] = _mm256_add_epi16(acc[0], acc[i]);
	b->out[MAX_T + 16 * part.rank] = (float)_mm256_extract_epi16(acc[0], 0);
}

__attribute__((target("avx2"))) static void read_job(struct bench *b, struct kernel_part part)
{
	size_t share = READ_BYTES / (size_t)part.n / 256 * 256;
	const uint8_t *p = b->big + share * (size_t)part.rank;
	__m256i sum[8];

	memset(sum, 0, sizeof(sum));
	for (size_t i = 0; i < share; i += 256)
		UNROLL
	for (size_t j = 0; j < 8; j++)
		sum[j] = _mm256_xor_si256(sum[j],
					  _mm256_load_si256((const __m256i *)(p + i + 32 * j)));
	for (int j = 1; j < 8; j++)
		sum[0] = _mm256_xor_si256(sum[0], sum[j]);
	b->out[MAX_T + 16 * part.rank] = (float)_mm256_extract_epi32(sum[0], 0);
}

static void print_peaks(struct bench *b)
{
	double n = b->n_threads;

	b->big = get_mem(READ_BYTES);
	printf("peaks, %d threads: f32 fma %.0f GFLOP/s", b->n_threads,
	       160.0 * PEAK_LOOPS * n / time_job(b, fma_job) / 1e9);
	printf(", maddubs+add %.0f GOP/s", 640.0 * PEAK_LOOPS * n / time_job(b, maddubs_job) / 1e9);
	printf(", read %.1f GB/s\n", READ_BYTES / time_job(b, read_job) / 1e9);
	free(b->big);
}

/* ---- matmul ---------------------------------------------------------------------------------- */

static void fill_weight(struct bench *b, struct kernel_weight *w, uint32_t type, uint32_t n,
			uint32_t k)
{
	*w = (struct kernel_weight){.type = type, .n_rows = n, .n_cols = k};
	b->ops->pack_bytes(type, n, k, &w->quants_bytes, &w->scales_bytes);
	w->quants = get_mem(w->quants_bytes);
	w->scales = get_mem(w->scales_bytes);
	for (size_t i = 0; i < w->quants_bytes; i++)
		w->quants[i] = type == KERNEL_F32 || type == KERNEL_F16 ? 0x11 : (uint8_t)(i * 37);
	for (size_t i = 0; i < w->scales_bytes; i++)
		w->scales[i] = 0x11;
}

static void free_weight(struct kernel_weight *w)
{
	free(w->quants);
	free(w->scales);
}

static void multiply(struct bench *b, const struct kernel_weight *w, struct kernel_part part)
{
	struct kernel_act x = w->n_cols == D ? b->x : b->xf;
	struct kernel_matmul_args a = {.part = part,
				       .w = w,
				       .x = &x,
				       .n_rows = b->n_rows,
				       .out = b->out,
				       .ldo = w->n_rows};

	b->ops->matmul(&a);
}

static void layers_job(struct bench *b, struct kernel_part part)
{
	for (int l = 0; l < N_LAYERS; l++)
		for (int i = 0; i < 7; i++)
			multiply(b, &b->w[l][i], part);
}

static void head_job(struct bench *b, struct kernel_part part)
{
	multiply(b, &b->head, part);
}

static void print_matmuls(struct bench *b, uint32_t type, const char *name)
{
	static const uint32_t rows[] = {1, 2, 4, 6, 8, 16, 32, 128, 512};
	static const uint32_t n[] = {D, 192, 192, D, F, F, D}, k[] = {D, D, D, D, D, D, F};
	double layer_bytes = 0, layer_macs = 0, head_bytes;

	for (int l = 0; l < N_LAYERS; l++) {
		for (int i = 0; i < 7; i++) {
			fill_weight(b, &b->w[l][i], type, n[i], k[i]);
			layer_bytes += (double)(b->w[l][i].quants_bytes + b->w[l][i].scales_bytes);
			layer_macs += (double)n[i] * k[i];
		}
	}
	fill_weight(b, &b->head, KERNEL_Q8_0, V, D);
	head_bytes = (double)(b->head.quants_bytes + b->head.scales_bytes);
	printf("%-5s %5s | %9s %7s %7s | %9s %7s %7s | %9s\n", name, "T", "layers ms", "GOP/s",
	       "GB/s", "head ms", "GOP/s", "GB/s", "tokens/s");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		double layers, head = 0, t = b->n_rows = rows[i];

		layers = time_job(b, layers_job);
		/* A prompt chunk needs one row of logits, decoding all. */
		b->n_rows = rows[i] > 32 ? 1 : rows[i];
		head = time_job(b, head_job);
		printf("%-5s %5.0f | %9.2f %7.0f %7.1f | %9.2f %7.0f %7.1f | %9.0f\n", "", t,
		       layers * 1e3, 2 * layer_macs * t / layers / 1e9, layer_bytes / layers / 1e9,
		       head * 1e3, 2.0 * V * D * b->n_rows / head / 1e9, head_bytes / head / 1e9,
		       t / (layers + head));
	}
	for (int l = 0; l < N_LAYERS; l++)
		for (int i = 0; i < 7; i++)
			free_weight(&b->w[l][i]);
	free_weight(&b->head);
}

/* ---- attention and the small ops ------------------------------------------------------------- */

static void attention_job(struct bench *b, struct kernel_part part)
{
	struct kernel_attention_args a = b->attention;

	a.part = part;
	b->ops->attention(&a);
}

/* n_seqs sequences of n_rows rows each, ending at position n_context. */
static void print_attention(struct bench *b, uint32_t n_seqs, uint32_t n_rows, uint32_t n_context)
{
	struct kernel_seq *seqs = get_mem(n_seqs * sizeof(*seqs));
	uint32_t n_pages = n_context / 32, *pages = get_mem(n_seqs * n_pages * sizeof(*pages));
	size_t head_bytes = 2 * 32 * 64 * 2;
	double flops = 0, s;

	for (uint32_t i = 0; i < n_seqs * n_pages; i++)
		pages[i] = i;
	for (uint32_t i = 0; i < n_seqs; i++) {
		seqs[i] = (struct kernel_seq){i * n_rows, n_rows, n_context - n_rows,
					      pages + i * n_pages};
		for (uint32_t r = 0; r < n_rows; r++)
			flops += 9 * 4.0 * 64 * (n_context - r);
	}
	b->attention = (struct kernel_attention_args){
		.seqs = seqs,
		.n_seqs = n_seqs,
		.q = b->x.f32,
		.ldq = D,
		.n_heads = 9,
		.scale = 0.125f,
		.out = b->out,
		.kv = {.base = get_mem(n_seqs * n_pages * 3 * head_bytes),
		       .page_bytes = 3 * head_bytes,
		       .head_bytes = head_bytes,
		       .n_kv_heads = 3,
		       .head_dim = 64}};
	s = time_job(b, attention_job);
	printf("attention %3u x %3u rows, context %5u: %8.1f us a layer, %6.1f GFLOP/s, %5.1f "
	       "GB/s\n",
	       n_seqs, n_rows, n_context, s * 1e6, flops / s / 1e9,
	       n_seqs * n_pages * 3.0 * (double)head_bytes / s / 1e9);
	free(seqs);
	free(pages);
	free(b->attention.kv.base);
}

static void norm_job(struct bench *b, struct kernel_part part)
{
	struct kernel_norm_args a = {.part = part,
				     .x = b->x.f32,
				     .n_rows = b->n_rows,
				     .n_cols = D,
				     .ldx = D,
				     .weight = b->out,
				     .eps = 1e-5f,
				     .q = &b->x};

	b->ops->norm(&a);
}

static void glu_job(struct bench *b, struct kernel_part part)
{
	struct kernel_act act = b->xf;
	struct kernel_glu_args a = {.part = part,
				    .gate = b->xf.f32,
				    .up = b->xf.f32,
				    .n_cols = F,
				    .n_rows = b->n_rows,
				    .ld = F,
				    .out = &act,
				    .is_quantized = true};

	act.f32 = NULL;
	b->ops->glu(&a);
}

static void kv_write_job(struct bench *b, struct kernel_part part)
{
	static const uint32_t pages[MAX_T / 32] = {0, 1, 2,  3,	 4,  5,	 6,  7,
						   8, 9, 10, 11, 12, 13, 14, 15};
	struct kernel_seq seq = {0, b->n_rows, 0, pages};
	struct kernel_kv_write_args a = {.part = part,
					 .seqs = &seq,
					 .n_seqs = 1,
					 .q = b->out,
					 .k = b->xf.f32,
					 .v = b->xf.f32 + 192,
					 .ldq = D,
					 .ldk = F,
					 .ldv = F,
					 .n_heads = 9,
					 .rope = KERNEL_ROPE_NORM,
					 .rope_dims = 64,
					 .rope_cos = b->x.f32,
					 .rope_sin = b->x.f32,
					 .kv = {.base = b->big,
						.page_bytes = 3 * 8192,
						.head_bytes = 8192,
						.n_kv_heads = 3,
						.head_dim = 64}};

	b->ops->kv_write(&a);
}

static void embed_job(struct bench *b, struct kernel_part part)
{
	static const uint32_t ids[MAX_T] = {1, 2, 3, 40000};
	struct kernel_embed_args a = {.part = part,
				      .w = &b->head,
				      .ids = ids,
				      .n_tokens = b->n_rows,
				      .scale = 1,
				      .out = b->out};

	b->ops->embed(&a);
}

static void print_small(struct bench *b)
{
	static const struct {
		const char *name;
		void (*job)(struct bench *b, struct kernel_part part);
	} jobs[] = {{"norm+quantize 576", norm_job},
		    {"glu+quantize 1536", glu_job},
		    {"rope+kv_write", kv_write_job},
		    {"embed 576", embed_job}};

	fill_weight(b, &b->head, KERNEL_Q8_0, V, D);
	b->big = get_mem(MAX_T / 32 * 3 * 8192);
	for (size_t i = 0; i < sizeof(jobs) / sizeof(*jobs); i++) {
		double one, many;

		b->n_rows = 1;
		one = time_job(b, jobs[i].job);
		b->n_rows = 128;
		many = time_job(b, jobs[i].job);
		printf("%-18s T=1 %7.2f us, T=128 %8.2f us\n", jobs[i].name, one * 1e6, many * 1e6);
	}
	free(b->big);
	free_weight(&b->head);
}

int main(int argc, char **argv)
{
	static struct bench b;
	static struct worker workers[MAX_THREADS];
	static pthread_t threads[MAX_THREADS];

	b.n_threads = argc > 1 ? atoi(argv[1]) : 2;
	b.ops = kernels_find(argc > 2 ? argv[2] : "auto");
	if (!b.ops || b.n_threads < 1 || b.n_threads > MAX_THREADS) {
		fprintf(stderr, "usage: kernels [THREADS [TABLE]]\n");
		return 2;
	}
	b.out = get_mem((size_t)MAX_T * V / 8 * sizeof(float));
	kernels_act_init(&b.x, MAX_T, D, get_mem(kernels_act_bytes(MAX_T, D)));
	kernels_act_init(&b.xf, MAX_T, F, get_mem(kernels_act_bytes(MAX_T, F)));
	for (size_t i = 0; i < (size_t)MAX_T * D; i++)
		b.x.f32[i] = (float)(i % 7) * 0.25f;
	for (size_t i = 0; i < (size_t)MAX_T * F; i++)
		b.xf.f32[i] = (float)(i % 11) * 0.25f;
	pthread_barrier_init(&b.start, NULL, (unsigned)b.n_threads);
	pthread_barrier_init(&b.end, NULL, (unsigned)b.n_threads);
	for (int i = 1; i < b.n_threads; i++) {
		workers[i] = (struct worker){&b, i};
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	kernels_thread_init();
	b.ops->quantize(&(struct kernel_quantize_args){{0, 1}, MAX_T, &b.x});
	b.ops->quantize(&(struct kernel_quantize_args){{0, 1}, MAX_T, &b.xf});
	printf("kernels %s\n", b.ops->name);
	if (kernels_avx2.is_supported())
		print_peaks(&b);
	print_matmuls(&b, KERNEL_Q4_1, "Q4_1");
	print_matmuls(&b, KERNEL_Q4_0, "Q4_0");
	print_matmuls(&b, KERNEL_Q5_0, "Q5_0");
	print_matmuls(&b, KERNEL_Q8_0, "Q8_0");
	print_matmuls(&b, KERNEL_F16, "F16");
	print_attention(&b, 1, 1, 128);
	print_attention(&b, 1, 1, 2048);
	print_attention(&b, 32, 1, 128);
	print_attention(&b, 1, 128, 128);
	print_attention(&b, 1, 128, 2048);
	print_small(&b);
	b.job = NULL;
	pthread_barrier_wait(&b.start);
	for (int i = 1; i < b.n_threads; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
