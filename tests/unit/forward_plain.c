/* SPDX-License-Identifier: MIT */
/*
 * Proves that `forward()` computes a Llama: against the formulas written down a second time,
 * plainly, in double, straight from the file's tensors; grouped heads, biases, an untied head.
 */
#include <math.h>

#include "tests/engine_test.h"

#define N_IDS 40
#define MAX_DIM 512

struct shape {
	uint32_t n_layers, d, n_heads, n_kv, n_ffn;
};

/* What the plain text needs of a file, and its cache. */
struct plain {
	const struct gguf *g;
	uint32_t n_layers, d, n_heads, n_kv, n_ffn, head_dim;
	double base;
	double k[8][N_IDS][MAX_DIM], v[8][N_IDS][MAX_DIM]; /* [layer][position] */
};

static const float *tensor(const struct plain *p, const char *fmt, uint32_t layer)
{
	char name[128];
	const struct gguf_tensor *t;

	snprintf(name, sizeof(name), fmt, layer);
	t = gguf_tensor_find(p->g, name);
	return t ? t->data : NULL;
}

/* out [n] = W [n][m] * x [m] + b */
static void multiply(const float *w, const float *b, const double *x, const uint32_t shape[2],
		     double *out)
{
	for (uint32_t i = 0; i < shape[0]; i++) {
		out[i] = b ? (double)b[i] : 0;
		for (uint32_t k = 0; k < shape[1]; k++)
			out[i] += (double)w[i * shape[1] + k] * x[k];
	}
}

static void layer_matrix(const struct plain *p, const char *name, uint32_t layer, const double *x,
			 double *out)
{
	const bool is_kv = !strcmp(name, "attn_k") || !strcmp(name, "attn_v");
	const bool is_up = !strcmp(name, "ffn_gate") || !strcmp(name, "ffn_up");
	const uint32_t shape[2] = { is_kv ? p->n_kv * p->head_dim : is_up ? p->n_ffn : p->d,
				    !strcmp(name, "ffn_down") ? p->n_ffn : p->d };
	char weight[64], bias[64];

	snprintf(weight, sizeof(weight), "blk.%%u.%s.weight", name);
	snprintf(bias, sizeof(bias), "blk.%%u.%s.bias", name);
	multiply(tensor(p, weight, layer), tensor(p, bias, layer), x, shape, out);
}

static void normalize(const struct plain *p, const double *x, const float *w, double *out)
{
	double sum = 0;

	for (uint32_t i = 0; i < p->d; i++)
		sum += x[i] * x[i];
	for (uint32_t i = 0; i < p->d; i++)
		out[i] = x[i] / sqrt(sum / p->d + 1e-5) * (double)w[i];
}

/* Neighbouring dims are a pair. */
static void turn(const struct plain *p, double *x, uint32_t n_heads, uint32_t pos)
{
	for (uint32_t i = 0; i < n_heads * p->head_dim; i += 2) {
		const double angle = pos * pow(p->base, -(double)(i % p->head_dim) / p->head_dim);
		const double a = x[i], b = x[i + 1];

		x[i] = a * cos(angle) - b * sin(angle);
		x[i + 1] = a * sin(angle) + b * cos(angle);
	}
}

/* The cache holds halves: 11 bits. */
static void round_to_half(double *x, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		int exponent;

		frexp(x[i], &exponent);
		x[i] = ldexp(nearbyint(ldexp(x[i], 11 - exponent)), exponent - 11);
	}
}

static void attend(const struct plain *p, uint32_t layer, uint32_t pos, const double *q,
		   double *out)
{
	for (uint32_t h = 0; h < p->n_heads; h++) {
		const uint32_t at = h / (p->n_heads / p->n_kv) * p->head_dim;
		double w[N_IDS], sum = 0;

		for (uint32_t t = 0; t <= pos; t++) {
			w[t] = 0;
			for (uint32_t i = 0; i < p->head_dim; i++)
				w[t] += q[h * p->head_dim + i] * p->k[layer][t][at + i];
			w[t] = exp(w[t] / sqrt(p->head_dim));
			sum += w[t];
		}
		for (uint32_t i = 0; i < p->head_dim; i++) {
			out[h * p->head_dim + i] = 0;
			for (uint32_t t = 0; t <= pos; t++)
				out[h * p->head_dim + i] += w[t] / sum * p->v[layer][t][at + i];
		}
	}
}

/* The logits after id at pos, the cache holding what came before. */
static void step(struct plain *p, uint32_t id, uint32_t pos, uint32_t n_vocab, double *logits)
{
	double x[MAX_DIM], n[MAX_DIM], q[MAX_DIM], y[MAX_DIM], gate[MAX_DIM], up[MAX_DIM];
	const float *head = tensor(p, "output.weight", 0);
	const uint32_t shape[2] = { n_vocab, p->d };

	for (uint32_t i = 0; i < p->d; i++)
		x[i] = (double)tensor(p, "token_embd.weight", 0)[id * p->d + i];
	for (uint32_t l = 0; l < p->n_layers; l++) {
		normalize(p, x, tensor(p, "blk.%u.attn_norm.weight", l), n);
		layer_matrix(p, "attn_q", l, n, q);
		layer_matrix(p, "attn_k", l, n, p->k[l][pos]);
		layer_matrix(p, "attn_v", l, n, p->v[l][pos]);
		turn(p, q, p->n_heads, pos);
		turn(p, p->k[l][pos], p->n_kv, pos);
		round_to_half(p->k[l][pos], p->n_kv * p->head_dim);
		round_to_half(p->v[l][pos], p->n_kv * p->head_dim);
		attend(p, l, pos, q, y);
		layer_matrix(p, "attn_output", l, y, n);
		for (uint32_t i = 0; i < p->d; i++)
			x[i] += n[i];
		normalize(p, x, tensor(p, "blk.%u.ffn_norm.weight", l), n);
		layer_matrix(p, "ffn_gate", l, n, gate);
		layer_matrix(p, "ffn_up", l, n, up);
		for (uint32_t i = 0; i < p->n_ffn; i++)
			up[i] *= gate[i] / (1 + exp(-gate[i]));
		layer_matrix(p, "ffn_down", l, up, n);
		for (uint32_t i = 0; i < p->d; i++)
			x[i] += n[i];
	}
	normalize(p, x, tensor(p, "output_norm.weight", 0), n);
	multiply(head ? head : tensor(p, "token_embd.weight", 0), NULL, n, shape, logits);
}

static void check(const char *options, const struct shape *shape)
{
	const char *path = rig_path("plain.gguf");
	struct plain *p = calloc(1, sizeof(*p));
	struct engine_args a = { .n_threads = 2, .max_step_tokens = N_IDS, .max_seqs = 1,
				 .max_logit_rows = N_IDS };
	const uint32_t pages[] = { 1, 0 };
	uint32_t ids[N_IDS], n_vocab;
	struct engine_seq s = { .ids = ids, .n_tokens = N_IDS, .pages = { pages },
				.n_logit_rows = N_IDS };
	double worst = 0, *logits;
	const float *got;
	struct rig r;

	rig_make_model(options, path);
	rig_open(&r, path, &a, 2);
	n_vocab = r.info.n_vocab;
	for (uint32_t i = 0; i < N_IDS; i++)
		ids[i] = (i * 7919 + 13) % n_vocab;
	rig_step(&r, &s, 1);
	got = s.out_logits;
	p->g = r.gguf;
	p->n_layers = shape->n_layers;
	p->d = shape->d;
	p->n_heads = shape->n_heads;
	p->n_kv = shape->n_kv;
	p->n_ffn = shape->n_ffn;
	p->base = 10000;
	p->head_dim = p->d / p->n_heads;
	logits = calloc(n_vocab, sizeof(*logits));
	for (uint32_t pos = 0; pos < N_IDS; pos++) {
		step(p, ids[pos], pos, n_vocab, logits);
		for (uint32_t i = 0; i < n_vocab; i++)
			worst = fmax(worst, fabs(logits[i] - (double)got[pos * n_vocab + i]));
	}
	/* Logits spread by about 8; a value next to an edge may round the other way. */
	printf("%s: largest difference %.2g\n", options, worst);
	CHECK(worst < 0.02);
	free(logits);
	free(p);
	rig_close(&r);
	unlink(path);
}

int main(void)
{
	const struct shape deep = { .n_layers = 3, .d = 64, .n_heads = 4, .n_kv = 2, .n_ffn = 128 };
	const struct shape odd = { .n_layers = 1, .d = 60, .n_heads = 6, .n_kv = 1, .n_ffn = 100 };
	const struct shape wide = { .n_layers = 2, .d = 96, .n_heads = 3, .n_kv = 3, .n_ffn = 128 };

	check("--layers 3", &deep);
	check("--layers 1 --untied --bias --dim 60 --heads 6 --kv-heads 1 --ffn 100", &odd);
	check("--layers 2 --bias --dim 96 --heads 3 --kv-heads 3 --seed 5", &wide);
	return test_done();
}
