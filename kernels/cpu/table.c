/* SPDX-License-Identifier: MIT */
/*
 * table: the tables of ops, which of them this CPU runs, and what a worker sets up for itself.
 */
#include <cpuid.h>
#include <string.h>
#include <xmmintrin.h>

#include "kernels/cpu/ops.h"

/* MXCSR: every exception masked, round to nearest, denormals kept. */
#define MXCSR_DEFAULT 0x1f80u

static bool is_supported_ref(void)
{
	return true;
}

const struct kernel_ops kernels_ref = {
	.name = "ref",
	.is_supported = is_supported_ref,
	.has_type = kernel_has_type,
	.pack_bytes = kernel_pack_bytes,
	.pack = kernel_pack,
	.embed = kernel_embed,
	.norm = kernel_norm_ref,
	.quantize = kernel_quantize_ref,
	.matmul = kernel_matmul_ref,
	.kv_write = kernel_kv_write_ref,
	.attention = kernel_attention_ref,
	.glu = kernel_glu_ref,
};

static bool is_supported_avx2(void)
{
	unsigned a, b, c, d;

	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	       __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

const struct kernel_ops kernels_avx2 = {
	.name = "avx2",
	.is_supported = is_supported_avx2,
	.has_type = kernel_has_type,
	.pack_bytes = kernel_pack_bytes,
	.pack = kernel_pack,
	.embed = kernel_embed,
	.norm = kernel_norm_avx2,
	.quantize = kernel_quantize_avx2,
	.matmul = kernel_matmul_avx2,
	.kv_write = kernel_kv_write_avx2,
	.attention = kernel_attention_avx2,
	.glu = kernel_glu_avx2,
};

const struct kernel_ops *kernels_find(const char *name)
{
	/* Fastest first. */
	static const struct kernel_ops *const tables[] = {&kernels_avx2, &kernels_ref};

	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		if (name && strcmp(name, "auto") && strcmp(name, tables[i]->name))
			continue;
		if (tables[i]->is_supported())
			return tables[i];
	}
	return NULL;
}

void kernels_thread_init(void)
{
	_mm_setcsr(MXCSR_DEFAULT);
}

/* The planes in order of kernels_act_init(), each rounded up to a cache line. */
static size_t plane(size_t *used, size_t n_bytes)
{
	size_t at = *used;

	*used += (n_bytes + 63) / 64 * 64;
	return at;
}

static size_t act_planes(uint32_t n_rows, uint32_t n_cols, size_t at[5])
{
	size_t n_blocks = (size_t)n_rows * ((n_cols + KERNEL_BLOCK - 1) / KERNEL_BLOCK), used = 0;

	at[0] = plane(&used, (size_t)n_rows * n_cols * sizeof(float));
	at[1] = plane(&used, n_blocks * KERNEL_BLOCK);
	at[2] = plane(&used, n_blocks * sizeof(float));
	at[3] = plane(&used, n_blocks * 2 * sizeof(int16_t));
	at[4] = plane(&used, n_blocks * sizeof(float));
	return used;
}

size_t kernels_act_bytes(uint32_t n_rows, uint32_t n_cols)
{
	size_t at[5];

	return act_planes(n_rows, n_cols, at);
}

void kernels_act_init(struct kernel_act *act, uint32_t n_rows, uint32_t n_cols, void *mem)
{
	uint8_t *base = mem;
	size_t at[5];

	act_planes(n_rows, n_cols, at);
	act->n_cols = n_cols;
	act->f32 = (float *)(base + at[0]);
	act->q = (int8_t *)(base + at[1]);
	act->d = (float *)(base + at[2]);
	act->sum = (int16_t *)(base + at[3]);
	act->dsum = (float *)(base + at[4]);
}
