/* SPDX-License-Identifier: MIT */
/*
 * parts: three workers at once, each with its part of an op, give what one worker gives; under
 * ThreadSanitizer this proves that parts share no written byte.
 * Marks: san
 */
#include <pthread.h>

#include "tests/kernels/kernel_test.h"

#define N_WORKERS 3
#define N_ROWS 37
#define D 64
#define N_OUT 100
#define N_POS 70

/* Everything that the ops read and write, once per run. */
struct rig {
	const struct kernel_ops *ops;
	pthread_barrier_t barrier;
	struct kernel_weight w;
	const void *raw;
	uint32_t ids[N_ROWS], pages[3];
	struct kernel_seq seqs[2];
	float *x, *weight, *embedded, *product, *q, *attended, *angles;
	struct kernel_kv kv;
	struct kernel_act act, normed, gated;
};

struct worker {
	struct rig *r;
	struct kernel_part part;
};

/* A barrier between an op that writes and one that reads, as the engine has it. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct rig *r = w->r;
	const struct kernel_ops *o = r->ops;

	kernels_thread_init();
	o->pack(&(struct kernel_pack_args){.part = w->part, .raw = r->raw, .w = &r->w});
	pthread_barrier_wait(&r->barrier);
	o->embed(&(struct kernel_embed_args){w->part, &r->w, r->ids, N_ROWS, 1, r->embedded});
	o->quantize(&(struct kernel_quantize_args){w->part, N_ROWS, &r->act});
	o->norm(&(struct kernel_norm_args){w->part, r->x, N_ROWS, D, D, r->weight, 1e-5f,
					   r->normed.f32, &r->normed});
	pthread_barrier_wait(&r->barrier);
	o->matmul(&(struct kernel_matmul_args){w->part, &r->w, &r->normed, N_ROWS, r->product,
					       N_OUT, NULL, false});
	o->kv_write(&(struct kernel_kv_write_args){.part = w->part,
						   .seqs = r->seqs,
						   .n_seqs = 2,
						   .kv = r->kv,
						   .q = r->q,
						   .k = r->x,
						   .v = r->x,
						   .ldq = D,
						   .ldk = D,
						   .ldv = D,
						   .n_heads = 4,
						   .rope = KERNEL_ROPE_NEOX,
						   .rope_dims = 16,
						   .rope_cos = r->angles,
						   .rope_sin = r->angles + N_POS * 8});
	pthread_barrier_wait(&r->barrier);
	o->attention(&(struct kernel_attention_args){.part = w->part,
						     .seqs = r->seqs,
						     .n_seqs = 2,
						     .kv = r->kv,
						     .q = r->q,
						     .ldq = D,
						     .n_heads = 4,
						     .scale = 0.25f,
						     .out = r->attended});
	o->glu(&(struct kernel_glu_args){w->part, KERNEL_SWIGLU, r->product, r->product + 4, N_ROWS,
					 96, N_OUT, &r->gated, true});
	return NULL;
}

static void setup(struct rig *r, const struct kernel_ops *ops, const struct rig *inputs)
{
	*r = *inputs;
	r->ops = ops;
	ops->pack_bytes(r->w.type, r->w.n_rows, r->w.n_cols, &r->w.quants_bytes,
			&r->w.scales_bytes);
	r->w.quants = get_mem(r->w.quants_bytes);
	r->w.scales = get_mem(r->w.scales_bytes);
	r->embedded = get_mem(N_ROWS * D * 4);
	r->product = get_mem(N_ROWS * N_OUT * 4);
	r->attended = get_mem(N_ROWS * D * 4);
	r->q = get_mem(N_ROWS * D * 4);
	memcpy(r->q, inputs->q, N_ROWS * D * 4);
	r->kv.base = get_mem(3 * r->kv.page_bytes);
	fill_act(&r->act, N_ROWS, D);
	memcpy(r->act.f32, r->x, N_ROWS * D * 4);
	fill_act(&r->normed, N_ROWS, D);
	fill_act(&r->gated, N_ROWS, 96);
	for (int i = 0; i < 2; i++)
		r->seqs[i].pages = r->pages + 2 * i;
}

static void teardown(struct rig *r)
{
	free_weight(&r->w);
	free(r->embedded);
	free(r->product);
	free(r->attended);
	free(r->q);
	free(r->kv.base);
	free_act(&r->act);
	free_act(&r->normed);
	free_act(&r->gated);
}

static void run(struct rig *r, int n)
{
	struct worker workers[N_WORKERS];
	pthread_t threads[N_WORKERS];

	pthread_barrier_init(&r->barrier, NULL, (unsigned)n);
	for (int i = 0; i < n; i++) {
		workers[i] = (struct worker){r, {i, n}};
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			abort();
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&r->barrier);
}

static void compare(const struct rig *a, const struct rig *b)
{
	CHECK(!memcmp(a->w.quants, b->w.quants, a->w.quants_bytes));
	CHECK(first_difference(a->embedded, b->embedded, N_ROWS * D) < 0);
	CHECK(same_act(&a->act, &b->act, N_ROWS));
	CHECK(same_act(&a->normed, &b->normed, N_ROWS));
	CHECK(first_difference(a->product, b->product, N_ROWS * N_OUT) < 0);
	CHECK(first_difference(a->q, b->q, N_ROWS * D) < 0);
	CHECK(!memcmp(a->kv.base, b->kv.base, 3 * a->kv.page_bytes));
	CHECK(first_difference(a->attended, b->attended, N_ROWS * D) < 0);
	CHECK(same_act(&a->gated, &b->gated, N_ROWS));
}

int main(void)
{
	struct rig inputs = {.w = {.type = KERNEL_Q4_1, .n_rows = N_OUT, .n_cols = D},
			     .pages = {2, 0, 1},
			     .seqs = {{0, 30, 20, NULL}, {30, 7, 3, NULL}},
			     .kv = {.page_bytes = 4 * 2048,
				    .head_bytes = 2048,
				    .n_kv_heads = 4,
				    .head_dim = 16}};
	struct rig one, many;

	inputs.raw = random_raw(KERNEL_Q4_1, N_OUT, D);
	inputs.x = random_floats(N_ROWS * D, 2);
	inputs.q = random_floats(N_ROWS * D, 2);
	inputs.weight = random_floats(D, 1);
	inputs.angles = random_floats(2 * N_POS * 8, 1);
	for (uint32_t i = 0; i < N_ROWS; i++)
		inputs.ids[i] = i * 31 % N_OUT;
	setup(&one, &kernels_ref, &inputs);
	run(&one, 1);
	for (int i = 0; i < 20; i++) {
		setup(&many, i % 2 && fast_ops() ? fast_ops() : &kernels_ref, &inputs);
		run(&many, N_WORKERS);
		compare(&one, &many);
		teardown(&many);
	}
	teardown(&one);
	free((void *)(uintptr_t)inputs.raw);
	free(inputs.x);
	free(inputs.q);
	free(inputs.weight);
	free(inputs.angles);
	return test_done();
}
