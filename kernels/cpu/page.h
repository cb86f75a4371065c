/* SPDX-License-Identifier: MIT */
/*
 * page: where a position's K and V lie (struct kernel_kv in kernels/kernels.h). Pure functions.
 */
#ifndef DEVLLM_KERNELS_PAGE_H
#define DEVLLM_KERNELS_PAGE_H

#include "kernels/kernels.h"

/* K [head_dim][32] of head g in the page that holds position pos; V [32][head_dim] follows it. */
static inline uint16_t *page_head(const struct kernel_kv *kv, const uint32_t *pages, size_t pos,
				  uint32_t g)
{
	size_t head = (size_t)kv->layer * kv->n_kv_heads + g;

	return (uint16_t *)(kv->base + pages[pos / KERNEL_PAGE_TOKENS] * kv->page_bytes +
			    head * kv->head_bytes);
}

#endif
