/* SPDX-License-Identifier: MIT */
/*
 * workspace: see daemon/workspace.h.
 */
#include "daemon/workspace.h"

#include "daemon/model.h"
#include "daemon/sampler.h"

struct widths {
	size_t q, kv, ffn, act; /* largest H*K, G*K, F; widest input of any matrix */
};

static size_t max_of(size_t a, size_t b)
{
	return a > b ? a : b;
}

static struct widths find_widths(const struct model *m)
{
	struct widths w = { .act = m->n_embd };

	for (uint32_t i = 0; i < m->n_layers; i++) {
		const struct model_layer *d = &m->layers[i];

		w.q = max_of(w.q, (size_t)d->n_heads * d->head_dim);
		w.kv = max_of(w.kv, (size_t)d->n_kv_heads * d->head_dim);
		w.ffn = max_of(w.ffn, d->n_ffn);
	}
	w.act = max_of(w.act, max_of(w.q, w.ffn));
	return w;
}

static void lay_out(struct workspace *w, const struct model *m)
{
	const size_t n_tokens = w->limits.n_tokens, n_rows = w->limits.n_logit_rows;
	const struct widths wide = find_widths(m);
	const uint32_t n_act = (uint32_t)wide.act;
	struct arena *a = &w->arena;

	w->ids = arena_take(a, n_tokens, sizeof(*w->ids));
	for (uint32_t g = 0; g < m->n_kv_groups; g++) {
		w->seqs[g] = arena_take(a, w->limits.n_seqs, sizeof(*w->seqs[g]));
		w->tails[g] = arena_take(a, w->limits.n_seqs, sizeof(*w->tails[g]));
	}
	w->tail_rows = arena_take(a, n_rows, sizeof(*w->tail_rows));
	w->logits = arena_take(a, n_rows * m->n_vocab, sizeof(float));
	w->x = arena_take(a, n_tokens * m->n_embd, sizeof(float));
	w->q = arena_take(a, n_tokens * wide.q, sizeof(float));
	w->k = arena_take(a, n_tokens * wide.kv, sizeof(float));
	w->v = arena_take(a, n_tokens * wide.kv, sizeof(float));
	w->att = arena_take(a, n_tokens * wide.q, sizeof(float));
	w->gate = arena_take(a, n_tokens * wide.ffn, sizeof(float));
	w->up = arena_take(a, n_tokens * wide.ffn, sizeof(float));
	w->act = arena_take(a, kernels_act_bytes(w->limits.n_tokens, n_act), 1);
	for (int i = 0; i < w->limits.n_workers; i++) {
		w->own_act[i] = arena_take(a, kernels_act_bytes(WORKSPACE_OWN_ROWS, n_act), 1);
		w->sampler[i] = arena_take(a, sampler_scratch_bytes(m->n_vocab), 1);
	}
}

int workspace_create(const struct model *m, const struct workspace_limits *limits,
		     struct workspace *out, struct error *err)
{
	int rc;

	*out = (struct workspace){ .limits = *limits };
	lay_out(out, m);
	rc = arena_map(&out->arena, "workspace", err);
	if (rc)
		return rc;
	lay_out(out, m);
	return 0;
}

void workspace_destroy(struct workspace *w)
{
	arena_unmap(&w->arena);
}
