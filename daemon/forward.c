/* SPDX-License-Identifier: MIT */
/*
 * forward: see daemon/forward.h. Read `forward()` first; the helpers above it only fill in
 * arguments.
 *
 * Workers share each op (kernel_part) and meet at a barrier between an op that writes and one that
 * reads. Activations (norms, their int8 forms, the gated product) are made in two ways with the
 * same bits: in a large step the rows are split and the workers meet; in a step of few rows every
 * worker makes all of them for itself, because that is shorter than a meeting.
 *
 * Letters: T rows of the step, D width, H query heads, G KV heads, K head_dim, F feed-forward
 * width, V vocabulary, R rows with logits.
 */
#include "daemon/forward.h"

#include <string.h>

/* A worker's view of the rows that are on their way. */
struct rows {
	struct forward *f;
	struct kernel_part part; /* this worker's share of an op */
	uint32_t n;		 /* T, after the last layer's cache write R */
	const struct kernel_seq *const *seqs; /* [group][n_seqs] */
	uint32_t n_seqs;
	struct kernel_act act;	 /* input of the next matmuls, T rows */
};

static bool is_own(const struct rows *r)
{
	return r->n <= WORKSPACE_OWN_ROWS;
}

/* The share of an op that makes activations: all of it when every worker has its own. */
static struct kernel_part act_part(const struct rows *r)
{
	return is_own(r) ? (struct kernel_part){ 0, 1 } : r->part;
}

static void act_begin(struct rows *r, uint32_t n_cols)
{
	struct workspace *w = r->f->work;

	kernels_act_init(&r->act, r->n, n_cols, is_own(r) ? w->own_act[r->part.rank] : w->act);
}

static void act_end(const struct rows *r)
{
	if (!is_own(r))
		team_barrier(r->f->team);
}

/* act [T][D] = norm(x) * weight, in the forms that the readers want */
static void norm(struct rows *r, const float *weight, struct weights_input in)
{
	const struct model *m = r->f->model;

	act_begin(r, m->n_embd);
	r->f->ops->norm(&(struct kernel_norm_args){
		.part = act_part(r), .x = r->f->work->x, .n_rows = r->n, .n_cols = m->n_embd,
		.ldx = m->n_embd, .weight = weight, .eps = m->norm_eps,
		.out = in.is_f32 ? r->act.f32 : NULL, .q = in.is_quantized ? &r->act : NULL });
	act_end(r);
}

/* act [T][n_cols] = x; f32 stays where it is */
static void quantize(struct rows *r, float *x, uint32_t n_cols, struct weights_input in)
{
	act_begin(r, n_cols);
	r->act.f32 = x;
	if (!in.is_quantized)
		return;
	r->f->ops->quantize(&(struct kernel_quantize_args){
		.part = act_part(r), .n_rows = r->n, .act = &r->act });
	act_end(r);
}

/* act [T][F] = activation(gate) * up */
static void glu(struct rows *r, const struct model_layer *d, struct weights_input in)
{
	const struct workspace *w = r->f->work;

	act_begin(r, d->n_ffn);
	if (!in.is_f32)
		r->act.f32 = NULL;
	r->f->ops->glu(&(struct kernel_glu_args){
		.part = act_part(r), .kind = d->glu, .gate = w->gate, .up = w->up, .n_rows = r->n,
		.n_cols = d->n_ffn, .ld = d->n_ffn, .out = &r->act,
		.is_quantized = in.is_quantized });
	act_end(r);
}

/* out [T][N] = act [T][K_in] * w^T + bias */
static void matmul(const struct rows *r, const struct weights_matrix *x, float *out)
{
	r->f->ops->matmul(&(struct kernel_matmul_args){
		.part = r->part, .w = &x->w, .x = &r->act, .n_rows = r->n, .out = out,
		.ldo = x->w.n_rows, .bias = x->bias });
}

/* x [T][D] += act * w^T + bias: the residual stream */
static void matmul_add(const struct rows *r, const struct weights_matrix *x)
{
	r->f->ops->matmul(&(struct kernel_matmul_args){
		.part = r->part, .w = &x->w, .x = &r->act, .n_rows = r->n, .out = r->f->work->x,
		.ldo = x->w.n_rows, .bias = x->bias, .is_add = true });
}

static struct kernel_kv kv_of(const struct forward *f, const struct model_layer *d)
{
	struct kernel_kv kv = f->kv[d->kv_group];

	kv.layer = d->kv_layer;
	return kv;
}

/* q is turned in place; k is turned, and k and v are rounded into their pages */
static void kv_write(const struct rows *r, const struct model_layer *d)
{
	const struct forward *f = r->f;
	const struct model_rope *rope = &f->model->ropes[d->rope];

	f->ops->kv_write(&(struct kernel_kv_write_args){
		.part = r->part, .seqs = r->seqs[d->kv_group], .n_seqs = r->n_seqs,
		.kv = kv_of(f, d), .q = f->work->q, .k = f->work->k, .v = f->work->v,
		.ldq = d->n_heads * d->head_dim, .ldk = d->n_kv_heads * d->head_dim,
		.ldv = d->n_kv_heads * d->head_dim, .n_heads = d->n_heads, .rope = rope->kind,
		.rope_dims = rope->n_dims, .rope_cos = f->ropes[d->rope].cos,
		.rope_sin = f->ropes[d->rope].sin });
}

static void attention(const struct rows *r, const struct model_layer *d)
{
	const struct forward *f = r->f;

	f->ops->attention(&(struct kernel_attention_args){
		.part = r->part, .seqs = r->seqs[d->kv_group], .n_seqs = r->n_seqs,
		.kv = kv_of(f, d), .q = f->work->q, .ldq = d->n_heads * d->head_dim,
		.n_heads = d->n_heads, .scale = d->attention_scale, .softcap = d->softcap,
		.window = d->window, .out = f->work->att });
}

/*
 * Only the tail rows go on: worker 0 packs their q and x (each row moves down or stays, so
 * ascending order never overwrites one that is still to come), and from here on the sequences are
 * the tails.
 */
static void keep_tails(struct rows *r, const struct model_layer *d)
{
	const struct workspace *w = r->f->work;
	const size_t n_embd = r->f->model->n_embd, n_q = (size_t)d->n_heads * d->head_dim;

	r->n = r->f->n_tail_rows;
	r->seqs = (const struct kernel_seq *const *)w->tails;
	r->n_seqs = r->f->n_tails;
	if (r->part.rank)
		return;
	for (uint32_t i = 0; i < r->n; i++) {
		const size_t from = w->tail_rows[i];

		if (from == i)
			continue;
		memcpy(w->x + i * n_embd, w->x + from * n_embd, n_embd * sizeof(float));
		memcpy(w->q + i * n_q, w->q + from * n_q, n_q * sizeof(float));
	}
}

void forward(struct forward *f, int rank)
{
	const struct model *m = f->model;
	const struct weights *weights = f->weights;
	struct workspace *w = f->work;
	struct team *team = f->team;
	struct rows r = {
		.f = f, .part = { rank, team_size(team) }, .n = f->n_tokens, .n_seqs = f->n_seqs,
		.seqs = (const struct kernel_seq *const *)w->seqs,
	};

	/* 1. x [T][D] = the embeddings of ids [T] */
	f->ops->embed(&(struct kernel_embed_args){
		.part = r.part, .w = &weights->embed.w, .ids = w->ids, .n_tokens = r.n,
		.scale = m->embed_scale, .out = w->x });
	team_barrier(team);

	for (uint32_t i = 0; i < m->n_layers; i++) {
		const struct model_layer *d = &m->layers[i];
		const struct weights_layer *l = &weights->layers[i];

		/* 2. act [T][D] = norm(x) */
		norm(&r, l->attn_norm, l->qkv_in);

		/* 3. q [T][H*K], k [T][G*K], v [T][G*K] */
		matmul(&r, &l->q, w->q);
		matmul(&r, &l->k, w->k);
		matmul(&r, &l->v, w->v);
		team_barrier(team);

		/* 4. turn q and k by their positions; k and v into the cache, rounded */
		kv_write(&r, d);
		team_barrier(team);

		/* 5. after the last cache write only rows with logits matter: T becomes R */
		if (i == m->n_layers - 1) {
			keep_tails(&r, d);
			if (!r.n)
				return;
			team_barrier(team);
		}

		/* 6. att [T][H*K] = softmax(q * K^T * scale) * V, over the cache alone */
		attention(&r, d);
		team_barrier(team);

		/* 7. x [T][D] += att * o^T */
		quantize(&r, w->att, d->n_heads * d->head_dim, l->o_in);
		matmul_add(&r, &l->o);
		team_barrier(team);

		/* 8. act [T][D] = norm(x) */
		norm(&r, l->ffn_norm, l->ffn_in);

		/* 9. gate [T][F], up [T][F] */
		matmul(&r, &l->gate, w->gate);
		matmul(&r, &l->up, w->up);
		team_barrier(team);

		/* 10. act [T][F] = activation(gate) * up */
		glu(&r, d, l->down_in);

		/* 11. x [T][D] += act * down^T */
		matmul_add(&r, &l->down);
		team_barrier(team);
	}

	/* 12. act [R][D] = norm(x) */
	norm(&r, weights->output_norm, weights->head_in);

	/* 13. logits [R][V] = act * head^T */
	matmul(&r, &weights->head, w->logits);
}
