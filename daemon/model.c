/* SPDX-License-Identifier: MIT */
/*
 * model: see daemon/model.h.
 *
 * The load goes: family -> numbers from the metadata -> tensors by name with the shapes that these
 * numbers ask for -> no tensor left over. Numbers are bounded before they are multiplied, and
 * shapes are compared with tensors whose bytes the gguf has already found inside the file, so
 * nothing is ever allocated on the word of a header alone except n_layers descriptors.
 */
#include "daemon/model.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DIM (1u << 20)	/* width, heads, feed-forward width */
#define MAX_VOCAB (1u << 22)
#define MAX_CONTEXT (1u << 26)

struct family {
	const char *name; /* `general.architecture` */
	enum kernel_rope rope;
	enum kernel_glu glu;
};

static const struct family families[] = {
	{ "llama", KERNEL_ROPE_NORM, KERNEL_SWIGLU },
};

/* A load under way. */
struct loader {
	const struct gguf *g;
	const struct family *family;
	struct model *m;
	struct error *err;
	uint32_t n_used; /* tensors that a field asked for */
};

/* ---- metadata -------------------------------------------------------------------------------- */

/* "llama.block_count" */
static const char *key_of(const struct loader *l, const char *suffix, char key[GGUF_KEY_MAX])
{
	snprintf(key, GGUF_KEY_MAX, "%s.%s", l->family->name, suffix);
	return key;
}

/* A key that must be there, in 1..max. */
static int get_count(const struct loader *l, const char *suffix, uint32_t max, uint32_t *out)
{
	char key[GGUF_KEY_MAX];
	int rc = gguf_get_u32(l->g, key_of(l, suffix, key), out, l->err);

	if (rc)
		return rc;
	if (*out < 1 || *out > max)
		return error_set(l->err, -EBADMSG, "%s is %u, expected 1 to %u", key, *out, max);
	return 0;
}

static int get_positive(const struct loader *l, const char *suffix, float *out)
{
	char key[GGUF_KEY_MAX];
	int rc = gguf_get_f32(l->g, key_of(l, suffix, key), out, l->err);

	if (rc)
		return rc;
	if (!isfinite(*out) || *out <= 0)
		return error_set(l->err, -EBADMSG, "%s is %g, expected a number above 0", key,
				 (double)*out);
	return 0;
}

/* The optional ones may be absent (*out keeps its default) but not of another type. */
static int get_optional_u32(const struct loader *l, const char *suffix, uint32_t *out)
{
	char key[GGUF_KEY_MAX];

	if (gguf_get_type(l->g, key_of(l, suffix, key)) < 0)
		return 0;
	return gguf_get_u32(l->g, key, out, l->err);
}

static int get_optional_positive(const struct loader *l, const char *suffix, float *out)
{
	char key[GGUF_KEY_MAX];

	if (gguf_get_type(l->g, key_of(l, suffix, key)) < 0)
		return 0;
	return get_positive(l, suffix, out);
}

/* Copies a string of the file into a text for people: printable ASCII, cut to fit. */
static void text_of(const struct gguf_str *s, char *out, size_t size)
{
	size_t n = s->len < size - 1 ? s->len : size - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = s->data[i] >= ' ' && s->data[i] <= '~' ? s->data[i] : '?';
	out[n] = 0;
}

static int find_family(struct loader *l)
{
	const size_t n_families = sizeof(families) / sizeof(*families);
	char name[64], known[256] = "";
	struct gguf_str s;
	int rc = gguf_get_str(l->g, "general.architecture", &s, l->err);

	if (rc)
		return rc;
	for (size_t i = 0; i < n_families; i++) {
		if (s.len == strlen(families[i].name) && !memcmp(s.data, families[i].name, s.len)) {
			l->family = &families[i];
			return 0;
		}
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			 i ? ", " : "", families[i].name);
	}
	text_of(&s, name, sizeof(name));
	return error_set(l->err, -ENOTSUP, "architecture %s is not supported; known: %s", name,
			 known);
}

/* The name as a client writes it: `general.name`, else the architecture's. */
static void read_name(struct loader *l)
{
	struct gguf_str s;

	if (gguf_get_str(l->g, "general.name", &s, NULL) || !s.len)
		snprintf(l->m->name, sizeof(l->m->name), "%s", l->family->name);
	else
		text_of(&s, l->m->name, sizeof(l->m->name));
}

/* RoPE: base, rotated dims, and the scaling kinds that are one division of the angle. */
static int read_rope(struct loader *l, uint32_t head_dim)
{
	struct model_rope *r = &l->m->ropes[0];
	char key[GGUF_KEY_MAX], kind[32] = "none";
	struct gguf_str s;
	int rc;

	*r = (struct model_rope){ .kind = l->family->rope, .n_dims = head_dim,
				  .base = 10000, .scale = 1 };
	l->m->n_ropes = 1;
	rc = get_optional_positive(l, "rope.freq_base", &r->base);
	if (!rc)
		rc = get_optional_u32(l, "rope.dimension_count", &r->n_dims);
	if (rc)
		return rc;
	if (r->n_dims < 2 || r->n_dims % 2 || r->n_dims > head_dim)
		return error_set(l->err, -EBADMSG,
				 "rope.dimension_count is %u, expected an even number up to the "
				 "head's %u", r->n_dims, head_dim);
	if (gguf_get_type(l->g, key_of(l, "rope.scaling.type", key)) >= 0) {
		rc = gguf_get_str(l->g, key, &s, l->err);
		if (rc)
			return rc;
		text_of(&s, kind, sizeof(kind));
	}
	if (!strcmp(kind, "linear"))
		return get_optional_positive(l, "rope.scaling.factor", &r->scale);
	if (strcmp(kind, "none"))
		return error_set(l->err, -ENOTSUP, "%s is %s; known: none, linear", key, kind);
	return get_optional_positive(l, "rope.scale_linear", &r->scale);
}

/* Everything that is the same in all layers of a llama. */
static int read_layer_numbers(struct loader *l, struct model_layer *d)
{
	uint32_t n_experts = 0, n_value;
	int rc;

	rc = get_count(l, "attention.head_count", MAX_DIM, &d->n_heads);
	if (rc)
		return rc;
	d->n_kv_heads = d->n_heads;
	d->head_dim = l->m->n_embd / d->n_heads;
	rc = get_optional_u32(l, "attention.head_count_kv", &d->n_kv_heads);
	if (!rc)
		rc = get_optional_u32(l, "attention.key_length", &d->head_dim);
	n_value = d->head_dim;
	if (!rc)
		rc = get_optional_u32(l, "attention.value_length", &n_value);
	if (!rc)
		rc = get_count(l, "feed_forward_length", MAX_DIM, &d->n_ffn);
	if (!rc)
		rc = get_optional_u32(l, "expert_count", &n_experts);
	if (rc)
		return rc;
	if (n_experts)
		return error_set(l->err, -ENOTSUP, "expert_count is %u; only dense models (0) run",
				 n_experts);
	if (d->n_kv_heads < 1 || d->n_kv_heads > d->n_heads || d->n_heads % d->n_kv_heads)
		return error_set(l->err, -EBADMSG, "%u query heads cannot share %u KV heads",
				 d->n_heads, d->n_kv_heads);
	if (d->head_dim < 2 || d->head_dim % 2 || d->head_dim > MODEL_MAX_HEAD_DIM)
		return error_set(l->err, -ENOTSUP,
				 "heads have %u dims, expected an even number up to %d",
				 d->head_dim, MODEL_MAX_HEAD_DIM);
	if (n_value != d->head_dim)
		return error_set(l->err, -ENOTSUP, "keys have %u dims and values %u; they must "
				 "be equal", d->head_dim, n_value);
	d->attention_scale = (float)(1.0 / sqrt(d->head_dim));
	d->glu = l->family->glu;
	return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool is_computed(enum gguf_type type)
{
	switch (type) {
	case GGUF_F32:
	case GGUF_F16:
	case GGUF_BF16:
	case GGUF_Q8_0:
	case GGUF_Q4_0:
	case GGUF_Q4_1:
	case GGUF_Q5_0:
	case GGUF_Q5_1:
		return true;
	default:
		return false;
	}
}

/* A tensor [rows][cols]; rows 0: a vector. NULL with err set: absent, of another shape or type. */
static const struct gguf_tensor *find_tensor(struct loader *l, const char *name, uint32_t rows,
					     uint32_t cols)
{
	const struct gguf_tensor *t = gguf_tensor_find(l->g, name);

	if (!t) {
		error_set(l->err, -EBADMSG, "tensor %s is missing", name);
		return NULL;
	}
	if (t->n_dims != (rows ? 2 : 1) || t->dims[0] != cols || (rows && t->dims[1] != rows)) {
		error_set(l->err, -EBADMSG,
			  "tensor %s: %" PRIu64 " rows of %" PRIu64 " in %u dims, expected %u of %u"
			  " in %d", name, t->n_dims > 1 ? t->dims[1] : 1, t->dims[0], t->n_dims,
			  rows ? rows : 1, cols, rows ? 2 : 1);
		return NULL;
	}
	if (rows ? !is_computed(t->type) : t->type != GGUF_F32) {
		error_set(l->err, -ENOTSUP, "tensor %s is of type %s; known %s", name,
			  gguf_type_traits(t->type)->name,
			  rows ? "are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1"
			       : "for vectors is F32");
		return NULL;
	}
	l->n_used++;
	return t;
}

/* blk.N.NAME.weight [rows][cols] and, where the file has it, blk.N.NAME.bias [rows]. */
static int find_matrix(struct loader *l, uint32_t layer, const char *name, const uint32_t shape[2],
		       struct model_matrix *out)
{
	char full[GGUF_NAME_MAX + 1];

	snprintf(full, sizeof(full), "blk.%u.%s.weight", layer, name);
	out->weight = find_tensor(l, full, shape[0], shape[1]);
	if (!out->weight)
		return l->err->code;
	out->bias = NULL;
	snprintf(full, sizeof(full), "blk.%u.%s.bias", layer, name);
	if (!gguf_tensor_find(l->g, full))
		return 0;
	out->bias = find_tensor(l, full, 0, shape[0]);
	return out->bias ? 0 : l->err->code;
}

static int find_layer(struct loader *l, uint32_t i)
{
	struct model_layer *d = &l->m->layers[i];
	const uint32_t n_embd = l->m->n_embd, n_q = d->n_heads * d->head_dim;
	const uint32_t n_kv = d->n_kv_heads * d->head_dim;
	const struct {
		const char *name;
		uint32_t shape[2];
		struct model_matrix *out;
	} matrices[] = {
		{ "attn_q", { n_q, n_embd }, &d->q },
		{ "attn_k", { n_kv, n_embd }, &d->k },
		{ "attn_v", { n_kv, n_embd }, &d->v },
		{ "attn_output", { n_embd, n_q }, &d->o },
		{ "ffn_gate", { d->n_ffn, n_embd }, &d->gate },
		{ "ffn_up", { d->n_ffn, n_embd }, &d->up },
		{ "ffn_down", { n_embd, d->n_ffn }, &d->down },
	};
	char name[GGUF_NAME_MAX + 1];

	for (size_t k = 0; k < sizeof(matrices) / sizeof(*matrices); k++) {
		int rc = find_matrix(l, i, matrices[k].name, matrices[k].shape, matrices[k].out);

		if (rc)
			return rc;
	}
	snprintf(name, sizeof(name), "blk.%u.attn_norm.weight", i);
	d->attn_norm = find_tensor(l, name, 0, n_embd);
	snprintf(name, sizeof(name), "blk.%u.ffn_norm.weight", i);
	d->ffn_norm = d->attn_norm ? find_tensor(l, name, 0, n_embd) : NULL;
	return d->ffn_norm ? 0 : l->err->code;
}

/* The rows of the embedding are the vocabulary; what the metadata says of it must agree. */
static int find_vocabulary(struct loader *l)
{
	const struct gguf_tensor *t = gguf_tensor_find(l->g, "token_embd.weight");
	struct model *m = l->m;
	struct gguf_array tokens;
	uint32_t n_said;

	if (!t)
		return error_set(l->err, -EBADMSG, "tensor token_embd.weight is missing");
	if (t->n_dims != 2 || t->dims[1] > MAX_VOCAB)
		return error_set(l->err, -EBADMSG,
				 "tensor token_embd.weight: %" PRIu64 " rows in %u dims, expected "
				 "at most %u in 2", t->dims[1], t->n_dims, MAX_VOCAB);
	m->n_vocab = (uint32_t)t->dims[1];
	n_said = m->n_vocab;
	if (get_optional_u32(l, "vocab_size", &n_said))
		return l->err->code;
	if (n_said != m->n_vocab)
		return error_set(l->err, -EBADMSG, "vocab_size is %u, token_embd.weight has %u "
				 "rows", n_said, m->n_vocab);
	if (!gguf_get_array(l->g, "tokenizer.ggml.tokens", GGUF_VALUE_STR, &tokens, NULL) &&
	    tokens.n > m->n_vocab)
		return error_set(l->err, -EBADMSG,
				 "the vocabulary has %zu tokens, token_embd.weight %u rows",
				 tokens.n, m->n_vocab);
	m->embed.weight = find_tensor(l, "token_embd.weight", m->n_vocab, m->n_embd);
	if (!m->embed.weight)
		return l->err->code;
	m->head = m->embed;
	if (gguf_tensor_find(l->g, "output.weight"))
		m->head.weight = find_tensor(l, "output.weight", m->n_vocab, m->n_embd);
	return m->head.weight ? 0 : l->err->code;
}

static int find_tensors(struct loader *l)
{
	struct model *m = l->m;
	struct model_rope *r = &m->ropes[0];
	int rc = find_vocabulary(l);

	for (uint32_t i = 0; !rc && i < m->n_layers; i++)
		rc = find_layer(l, i);
	if (rc)
		return rc;
	m->output_norm = find_tensor(l, "output_norm.weight", 0, m->n_embd);
	if (!m->output_norm)
		return l->err->code;
	if (gguf_tensor_find(l->g, "rope_freqs.weight")) {
		r->factors = find_tensor(l, "rope_freqs.weight", 0, r->n_dims / 2);
		if (!r->factors)
			return l->err->code;
	}
	return 0;
}

static bool is_used_matrix(const struct model_matrix *x, const struct gguf_tensor *t)
{
	return x->weight == t || x->bias == t;
}

static bool is_used(const struct model *m, const struct gguf_tensor *t)
{
	if (is_used_matrix(&m->embed, t) || is_used_matrix(&m->head, t) || t == m->output_norm ||
	    t == m->ropes[0].factors)
		return true;
	for (uint32_t i = 0; i < m->n_layers; i++) {
		const struct model_layer *d = &m->layers[i];

		if (is_used_matrix(&d->q, t) || is_used_matrix(&d->k, t) ||
		    is_used_matrix(&d->v, t) || is_used_matrix(&d->o, t) ||
		    is_used_matrix(&d->gate, t) || is_used_matrix(&d->up, t) ||
		    is_used_matrix(&d->down, t) || t == d->attn_norm || t == d->ffn_norm)
			return true;
	}
	return false;
}

/* A tensor that nothing reads means a network that is not the one described. */
static int refuse_leftovers(struct loader *l)
{
	const uint32_t n_tensors = gguf_n_tensors(l->g);

	if (l->n_used == n_tensors)
		return 0;
	for (uint32_t i = 0; i < n_tensors; i++) {
		const struct gguf_tensor *t = gguf_tensor_at(l->g, i);

		if (!is_used(l->m, t))
			return error_set(l->err, -ENOTSUP,
					 "tensor %s is not part of a %s with %u layers", t->name,
					 l->family->name, l->m->n_layers);
	}
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* One group for all layers: every one attends to the full context. */
static void make_kv_groups(struct model *m)
{
	const struct model_layer *d = &m->layers[0];
	const size_t head_bytes = (size_t)2 * KERNEL_PAGE_TOKENS * d->head_dim * sizeof(uint16_t);

	m->n_kv_groups = 1;
	m->kv_groups[0] = (struct engine_kv_group){
		.n_layers = m->n_layers,
		.page_bytes = m->n_layers * d->n_kv_heads * head_bytes,
	};
}

static int load(struct loader *l)
{
	struct model *m = l->m;
	struct model_layer layer = { 0 };
	int rc;

	read_name(l);
	rc = get_count(l, "embedding_length", MAX_DIM, &m->n_embd);
	if (!rc)
		rc = get_count(l, "context_length", MAX_CONTEXT, &m->n_context);
	if (!rc)
		rc = get_positive(l, "attention.layer_norm_rms_epsilon", &m->norm_eps);
	if (!rc)
		rc = read_layer_numbers(l, &layer);
	if (!rc)
		rc = read_rope(l, layer.head_dim);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < m->n_layers; i++) {
		m->layers[i] = layer;
		m->layers[i].kv_layer = i;
	}
	make_kv_groups(m);
	rc = find_tensors(l);
	return rc ? rc : refuse_leftovers(l);
}

int model_load(const struct gguf *g, struct model **out, struct error *err)
{
	struct error own = { 0 };
	struct loader l = { .g = g, .err = err ? err : &own };
	uint32_t n_layers;
	int rc = find_family(&l);

	if (!rc)
		rc = get_count(&l, "block_count", MODEL_MAX_LAYERS, &n_layers);
	if (rc)
		return rc;
	l.m = calloc(1, sizeof(*l.m) + n_layers * sizeof(l.m->layers[0]));
	if (!l.m)
		return error_set(err, -ENOMEM, "no memory for %u layer descriptors", n_layers);
	l.m->gguf = g;
	l.m->architecture = l.family->name;
	l.m->n_layers = n_layers;
	l.m->embed_scale = 1;
	rc = load(&l);
	if (rc) {
		model_free(l.m);
		return rc;
	}
	*out = l.m;
	return 0;
}

void model_free(struct model *m)
{
	free(m);
}
