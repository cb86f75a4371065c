/* SPDX-License-Identifier: MIT */
/*
 * gguf: maps a GGUF file, hands out its tensors and gives their pages back, see daemon/gguf.h.
 *
 * Owns struct gguf and the mapping; the checks are in daemon/gguf_parse.c, the metadata getters
 * in daemon/gguf_value.c. Opened and closed at start and end by model and tokenizer.
 */
#include "daemon/gguf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int gguf_open_memory(const void *data, size_t n, struct gguf **out, struct error *err)
{
	struct gguf *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		return error_set(err, -ENOMEM, "no memory for a GGUF file");
	g->map = data;
	g->n_bytes = n;
	ret = gguf_parse(g, err);
	if (ret) {
		gguf_close(g);
		return ret;
	}
	*out = g;
	return 0;
}

/* Maps a regular, non-empty file. */
static int map_file(const char *path, int fd, const void **map, size_t *n_bytes, struct error *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a regular file", path);
	if (!st.st_size)
		return error_set(err, -EBADMSG, "%s is empty", path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return error_set(err, -errno, "cannot map %" PRId64 " bytes of %s: %s",
				 (int64_t)st.st_size, path, strerror(errno));
	*map = p;
	*n_bytes = (size_t)st.st_size;
	return 0;
}

int gguf_open(const char *path, struct gguf **out, struct error *err)
{
	const void *map = NULL;
	size_t n_bytes = 0;
	struct error why = {0};
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	ret = map_file(path, fd, &map, &n_bytes, err);
	close(fd);
	if (ret)
		return ret;
	ret = gguf_open_memory(map, n_bytes, out, &why);
	if (ret) {
		error_set(err, ret, "%s: %s", basename(path), why.text);
		munmap((void *)(uintptr_t)map, n_bytes);
		return ret;
	}
	(*out)->owns_map = true;
	return 0;
}

void gguf_close(struct gguf *g)
{
	if (!g)
		return;
	if (g->owns_map)
		munmap((void *)(uintptr_t)g->map, g->n_bytes);
	free(g->by_name);
	free(g->tensors);
	free(g->entries);
	free(g);
}

uint64_t gguf_file_bytes(const struct gguf *g)
{
	return g->n_bytes;
}

uint32_t gguf_n_tensors(const struct gguf *g)
{
	return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i)
{
	return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
	uint32_t lo = 0, hi = g->n_tensors;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct gguf_tensor *t = &g->tensors[g->by_name[mid]];
		int order = strcmp(name, t->name);

		if (!order)
			return t;
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

void gguf_tensor_release(const struct gguf *g, const struct gguf_tensor *t)
{
	uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = ((uintptr_t)t->data + page_bytes - 1) & ~(page_bytes - 1);
	uintptr_t end = ((uintptr_t)t->data + t->n_bytes) & ~(page_bytes - 1);

	if (g->owns_map && first < end)
		madvise((void *)first, end - first, MADV_DONTNEED);
}
