/* SPDX-License-Identifier: MIT */
/*
 * rope: see daemon/rope.h.
 */
#include "daemon/rope.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "daemon/model.h"

/* Angle per position of pair i. */
static double frequency(const struct model_rope *m, uint32_t i)
{
	const float *factors = m->factors ? m->factors->data : NULL;
	double f = pow(m->base, -2.0 * i / m->n_dims) / m->scale;

	return factors ? f / factors[i] : f;
}

int rope_create(const struct model_rope *m, uint32_t n_positions, struct rope *out,
		struct error *err)
{
	const size_t n_pairs = m->n_dims / 2;

	out->cos = calloc(n_positions, n_pairs * sizeof(float));
	out->sin = calloc(n_positions, n_pairs * sizeof(float));
	if (!out->cos || !out->sin) {
		rope_destroy(out);
		return error_set(err, -ENOMEM, "no memory for RoPE tables of %u positions",
				 n_positions);
	}
	for (uint32_t i = 0; i < n_pairs; i++) {
		const double f = frequency(m, i);

		for (uint32_t pos = 0; pos < n_positions; pos++) {
			out->cos[pos * n_pairs + i] = (float)cos(pos * f);
			out->sin[pos * n_pairs + i] = (float)sin(pos * f);
		}
	}
	return 0;
}

void rope_destroy(struct rope *r)
{
	free(r->cos);
	free(r->sin);
	*r = (struct rope){ 0 };
}
