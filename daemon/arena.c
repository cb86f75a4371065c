/* SPDX-License-Identifier: MIT */
/*
 * arena: see daemon/arena.h.
 */
#include "daemon/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN 64
#define HUGE_BYTES ((size_t)2 << 20)

void *arena_take(struct arena *a, size_t n, size_t size)
{
	unsigned char *p = a->base ? a->base + a->taken_bytes : NULL;
	size_t bytes;

	/* An overflow saturates, and no map of that size succeeds. */
	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2 - ALIGN ||
	    a->taken_bytes > SIZE_MAX / 2 - ALIGN - bytes) {
		assert(!a->base);
		a->taken_bytes = SIZE_MAX / 2;
		return NULL;
	}
	a->taken_bytes += (bytes + ALIGN - 1) / ALIGN * ALIGN;
	assert(!a->base || a->taken_bytes <= a->mapped_bytes);
	return p;
}

int arena_map(struct arena *a, const char *what, struct error *err)
{
	size_t bytes = a->taken_bytes ? a->taken_bytes : ALIGN, head;
	unsigned char *p;

	bytes = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
	/* One huge page more, so that an aligned range lies inside. */
	p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return error_set(err, -ENOMEM, "%s: %zu bytes of memory: %s", what, bytes,
				 strerror(errno));
	head = (HUGE_BYTES - (uintptr_t)p % HUGE_BYTES) % HUGE_BYTES;
	if (head)
		munmap(p, head);
	if (head != HUGE_BYTES)
		munmap(p + head + bytes, HUGE_BYTES - head);
	madvise(p + head, bytes, MADV_HUGEPAGE); /* refused: small pages serve as well */
	a->base = p + head;
	a->mapped_bytes = bytes;
	a->taken_bytes = 0;
	return 0;
}

void arena_unmap(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->mapped_bytes);
	a->base = NULL;
	a->taken_bytes = 0;
	a->mapped_bytes = 0;
}
