/* SPDX-License-Identifier: MIT */
/*
 * weights: see daemon/weights.h.
 *
 * One list of jobs, a job per tensor, is made from the model's descriptors. Laying out walks it
 * twice (count, hand out), packing walks it once on all workers. To widen a matrix to f32 it is
 * packed as it is into a scratch arena, read back row by row by the embedding look-up, which is
 * the kernels' one dequantizer, and packed again as f32.
 */
#include "daemon/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/model.h"
#include "daemon/team.h"

#define LAYER_JOBS 16 /* 7 matrices and their biases, 2 vectors */

/* A tensor and where it goes: a matrix, or else a vector. */
struct job {
	const struct gguf_tensor *tensor;
	struct kernel_weight *matrix;
	float **vector;
};

struct packing {
	const struct model *model;
	const struct kernel_ops *ops;
	struct team *team;
	struct weights *out;
	bool is_f32;
	struct job *jobs;
	size_t n_jobs;
	/* widening: room for the largest matrix, as it is in the file and in f32 */
	struct arena scratch;
	struct kernel_weight raw; /* planes in scratch, sized for the largest */
	float *rows;		  /* [N][K_in] */
	uint32_t *ids;		  /* [N] 0, 1, 2... */
};

/* ---- what is to be packed -------------------------------------------------------------------- */

static void add_vector(struct packing *p, const struct gguf_tensor *t, float **out)
{
	if (t)
		p->jobs[p->n_jobs++] = (struct job){ .tensor = t, .vector = out };
}

static void add_matrix(struct packing *p, const struct model_matrix *x, struct weights_matrix *out)
{
	out->w.type = p->is_f32 ? (uint32_t)KERNEL_F32 : (uint32_t)x->weight->type;
	out->w.n_cols = (uint32_t)x->weight->dims[0];
	out->w.n_rows = (uint32_t)x->weight->dims[1];
	p->jobs[p->n_jobs++] = (struct job){ .tensor = x->weight, .matrix = &out->w };
	add_vector(p, x->bias, &out->bias);
}

static void list_jobs(struct packing *p)
{
	const struct model *m = p->model;
	struct weights *w = p->out;

	add_matrix(p, &m->embed, &w->embed);
	if (m->head.weight != m->embed.weight)
		add_matrix(p, &m->head, &w->head);
	add_vector(p, m->output_norm, &w->output_norm);
	for (uint32_t i = 0; i < m->n_layers; i++) {
		const struct model_layer *d = &m->layers[i];
		struct weights_layer *l = &w->layers[i];

		add_vector(p, d->attn_norm, &l->attn_norm);
		add_vector(p, d->ffn_norm, &l->ffn_norm);
		add_matrix(p, &d->q, &l->q);
		add_matrix(p, &d->k, &l->k);
		add_matrix(p, &d->v, &l->v);
		add_matrix(p, &d->o, &l->o);
		add_matrix(p, &d->gate, &l->gate);
		add_matrix(p, &d->up, &l->up);
		add_matrix(p, &d->down, &l->down);
	}
}

/* ---- where it goes --------------------------------------------------------------------------- */

static void take_planes(const struct kernel_ops *ops, struct arena *a, struct kernel_weight *w)
{
	ops->pack_bytes(w->type, w->n_rows, w->n_cols, &w->quants_bytes, &w->scales_bytes);
	w->quants = arena_take(a, w->quants_bytes, 1);
	w->scales = w->scales_bytes ? arena_take(a, w->scales_bytes, 1) : NULL;
}

static void lay_out(struct packing *p)
{
	for (size_t i = 0; i < p->n_jobs; i++) {
		struct job *j = &p->jobs[i];

		if (j->matrix)
			take_planes(p->ops, &p->out->arena, j->matrix);
		else
			*j->vector = arena_take(&p->out->arena, j->tensor->dims[0], sizeof(float));
	}
}

/* Room to widen the largest matrix. */
static void lay_out_scratch(struct packing *p)
{
	size_t quants = 0, scales = 0, n_elems = 0;
	uint32_t n_rows = 0;

	for (size_t i = 0; i < p->n_jobs; i++) {
		const struct gguf_tensor *t = p->jobs[i].tensor;
		size_t q, s;

		if (!p->jobs[i].matrix)
			continue;
		p->ops->pack_bytes(t->type, (uint32_t)t->dims[1], (uint32_t)t->dims[0], &q, &s);
		quants = q > quants ? q : quants;
		scales = s > scales ? s : scales;
		if (t->dims[0] * t->dims[1] > n_elems)
			n_elems = t->dims[0] * t->dims[1];
		if (t->dims[1] > n_rows)
			n_rows = (uint32_t)t->dims[1];
	}
	p->raw.quants = arena_take(&p->scratch, quants, 1);
	p->raw.scales = arena_take(&p->scratch, scales, 1);
	p->rows = arena_take(&p->scratch, n_elems, sizeof(float));
	p->ids = arena_take(&p->scratch, n_rows, sizeof(uint32_t));
	for (uint32_t i = 0; p->ids && i < n_rows; i++)
		p->ids[i] = i;
}

static int map_all(struct packing *p, struct error *err)
{
	int rc;

	lay_out(p);
	rc = arena_map(&p->out->arena, "weights", err);
	if (rc)
		return rc;
	lay_out(p);
	if (!p->is_f32)
		return 0;
	lay_out_scratch(p);
	rc = arena_map(&p->scratch, "room to widen weights", err);
	if (rc)
		return rc;
	lay_out_scratch(p);
	return 0;
}

/* ---- packing, on every worker ---------------------------------------------------------------- */

static void widen(struct packing *p, const struct job *j, struct kernel_part part)
{
	const struct gguf_tensor *t = j->tensor;
	struct kernel_weight raw = p->raw;

	raw.type = (uint32_t)t->type;
	raw.n_rows = j->matrix->n_rows;
	raw.n_cols = j->matrix->n_cols;
	p->ops->pack_bytes(raw.type, raw.n_rows, raw.n_cols, &raw.quants_bytes, &raw.scales_bytes);
	p->ops->pack(&(struct kernel_pack_args){ .part = part, .raw = t->data, .w = &raw });
	team_barrier(p->team);
	p->ops->embed(&(struct kernel_embed_args){ .part = part, .w = &raw, .ids = p->ids,
						   .n_tokens = raw.n_rows, .scale = 1,
						   .out = p->rows });
	team_barrier(p->team);
	p->ops->pack(&(struct kernel_pack_args){ .part = part, .raw = p->rows, .w = j->matrix });
}

static void pack_all(void *arg, int rank, int n)
{
	struct packing *p = arg;
	const struct kernel_part part = { rank, n };

	for (size_t i = 0; i < p->n_jobs; i++) {
		const struct job *j = &p->jobs[i];

		if (!j->matrix) {
			if (!rank)
				memcpy(*j->vector, j->tensor->data,
				       j->tensor->dims[0] * sizeof(float));
			continue;
		}
		if (j->tensor->type == (enum gguf_type)j->matrix->type)
			p->ops->pack(&(struct kernel_pack_args){ .part = part, .w = j->matrix,
								 .raw = j->tensor->data });
		else
			widen(p, j, part);
		team_barrier(p->team);
		if (!rank)
			gguf_tensor_release(p->model->gguf, j->tensor);
	}
}

/* ---- the whole ------------------------------------------------------------------------------- */

static size_t matrix_bytes(const struct weights_matrix *x)
{
	return x->w.quants_bytes + x->w.scales_bytes;
}

/* Of the embedding a token reads one row, unless it is the head as well. */
static size_t count_token_bytes(const struct weights *w, uint32_t n_layers)
{
	size_t n = matrix_bytes(&w->head);

	for (uint32_t i = 0; i < n_layers; i++) {
		const struct weights_layer *l = &w->layers[i];

		n += matrix_bytes(&l->q) + matrix_bytes(&l->k) + matrix_bytes(&l->v) +
		     matrix_bytes(&l->o) + matrix_bytes(&l->gate) + matrix_bytes(&l->up) +
		     matrix_bytes(&l->down);
	}
	return n;
}

static void add_input(struct weights_input *in, const struct weights_matrix *x)
{
	const uint32_t type = x->w.type;

	if (type == KERNEL_F32 || type == KERNEL_F16 || type == KERNEL_BF16)
		in->is_f32 = true;
	else
		in->is_quantized = true;
}

static void find_inputs(struct weights *w, uint32_t n_layers)
{
	add_input(&w->head_in, &w->head);
	for (uint32_t i = 0; i < n_layers; i++) {
		struct weights_layer *l = &w->layers[i];

		add_input(&l->qkv_in, &l->q);
		add_input(&l->qkv_in, &l->k);
		add_input(&l->qkv_in, &l->v);
		add_input(&l->o_in, &l->o);
		add_input(&l->ffn_in, &l->gate);
		add_input(&l->ffn_in, &l->up);
		add_input(&l->down_in, &l->down);
	}
}

static int check_types(const struct packing *p, struct error *err)
{
	for (size_t i = 0; i < p->n_jobs; i++) {
		const struct gguf_tensor *t = p->jobs[i].tensor;

		if (p->jobs[i].matrix && !p->ops->has_type(t->type))
			return error_set(err, -ENOTSUP,
					 "tensor %s: the %s kernels do not compute type %s",
					 t->name, p->ops->name, gguf_type_traits(t->type)->name);
	}
	return 0;
}

int weights_create(const struct weights_args *args, struct weights *out, struct error *err)
{
	const struct model *m = args->model;
	struct packing p = { .model = m, .ops = args->ops, .team = args->team, .out = out,
			     .is_f32 = args->is_f32 };
	int rc = -ENOMEM;

	*out = (struct weights){ 0 };
	out->layers = calloc(m->n_layers, sizeof(*out->layers));
	p.jobs = calloc(8 + (size_t)m->n_layers * LAYER_JOBS, sizeof(*p.jobs));
	if (!out->layers || !p.jobs) {
		error_set(err, rc, "no memory for %u layers", m->n_layers);
		goto out_free;
	}
	list_jobs(&p);
	rc = check_types(&p, err);
	if (!rc)
		rc = map_all(&p, err);
	if (rc)
		goto out_free;
	team_run(p.team, pack_all, &p);
	if (m->head.weight == m->embed.weight)
		out->head = out->embed;
	find_inputs(out, m->n_layers);
	out->token_bytes = count_token_bytes(out, m->n_layers);
out_free:
	arena_unmap(&p.scratch);
	free(p.jobs);
	if (rc)
		weights_destroy(out);
	return rc;
}

void weights_destroy(struct weights *w)
{
	arena_unmap(&w->arena);
	free(w->layers);
	w->layers = NULL;
}
