/* SPDX-License-Identifier: MIT */
/*
 * ops: the functions that the tables in table.c are made of, one file each. pack and embed move
 * bytes and widen numbers; they have one version.
 */
#ifndef DEVLLM_KERNELS_OPS_H
#define DEVLLM_KERNELS_OPS_H

#include "kernels/kernels.h"

bool kernel_has_type(uint32_t type);
void kernel_pack_bytes(uint32_t type, uint32_t n_rows, uint32_t n_cols, size_t *quants,
		       size_t *scales);
void kernel_pack(const struct kernel_pack_args *a);
void kernel_embed(const struct kernel_embed_args *a);

void kernel_quantize_ref(const struct kernel_quantize_args *a);
void kernel_norm_ref(const struct kernel_norm_args *a);
void kernel_matmul_ref(const struct kernel_matmul_args *a);
void kernel_kv_write_ref(const struct kernel_kv_write_args *a);
void kernel_attention_ref(const struct kernel_attention_args *a);
void kernel_glu_ref(const struct kernel_glu_args *a);

void kernel_quantize_avx2(const struct kernel_quantize_args *a);
void kernel_norm_avx2(const struct kernel_norm_args *a);
void kernel_matmul_avx2(const struct kernel_matmul_args *a);
void kernel_matmul_float_avx2(const struct kernel_matmul_args *a);
void kernel_kv_write_avx2(const struct kernel_kv_write_args *a);
void kernel_attention_avx2(const struct kernel_attention_args *a);
void kernel_glu_avx2(const struct kernel_glu_args *a);

#endif
