/* SPDX-License-Identifier: MIT */
/*
 * table: tables are found by name, "auto" takes the fastest, unknown names give none; act planes
 * do not overlap; a worker's floating-point mode keeps denormals.
 */
#include "tests/kernels/kernel_test.h"

#include <xmmintrin.h>

static void check_names(void)
{
	const struct kernel_ops *ops = kernels_find(NULL);

	CHECK(kernels_find("ref") == &kernels_ref);
	CHECK(kernels_find("auto") == ops);
	CHECK(ops != NULL && ops->is_supported());
	CHECK(kernels_find("avx1024") == NULL);
	CHECK(kernels_find("") == NULL);
	CHECK(kernels_ref.is_supported());
	CHECK(!fast_ops() || ops == fast_ops());
}

static void check_act(uint32_t n_rows, uint32_t n_cols)
{
	size_t n_bytes = kernels_act_bytes(n_rows, n_cols), n = (size_t)n_rows * n_cols;
	uint8_t *mem = get_mem(n_bytes);
	struct kernel_act act;

	kernels_act_init(&act, n_rows, n_cols, mem);
	CHECK_EQ(act.n_cols, n_cols);
	CHECK((uint8_t *)act.f32 >= mem && (uint8_t *)(act.f32 + n) <= (uint8_t *)act.q);
	CHECK(act.q + n <= (int8_t *)act.d);
	CHECK((uint8_t *)(act.d + n / 32) <= (uint8_t *)act.sum);
	CHECK((uint8_t *)(act.sum + n / 16) <= (uint8_t *)act.dsum);
	CHECK((uint8_t *)(act.dsum + n / 32) <= mem + n_bytes);
	CHECK_EQ((uintptr_t)act.q % 64 + (uintptr_t)act.d % 64 + (uintptr_t)act.sum % 64, 0);
	free(mem);
}

int main(void)
{
	volatile float tiny = 0x1p-126f;

	check_names();
	check_act(1, 32);
	check_act(7, 576);
	check_act(3, 5);
	_mm_setcsr(_mm_getcsr() | 0x8040);
	CHECK(tiny / 4 == 0);
	kernels_thread_init();
	CHECK(tiny / 4 > 0);
	return test_done();
}
