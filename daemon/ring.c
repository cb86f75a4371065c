/* SPDX-License-Identifier: MIT */
/*
 * ring: see daemon/ring.h. One reserved range of addresses holds all five pieces, so that one
 * munmap() undoes everything, also after a failure half-way.
 */
#include "daemon/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* linux/memfd.h; since 6.3 the kernel wants to be told, before that it does not know the flag. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t data_bytes(uint32_t capacity)
{
	return capacity > page_bytes() ? capacity : page_bytes();
}

size_t ring_cost_bytes(uint32_t capacity)
{
	return 3 * page_bytes() + data_bytes(capacity);
}

static int make_memfd(const char *name, size_t n_bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	int rc;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (!fallocate(fd, 0, 0, (off_t)n_bytes))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int map_at(void *at, size_t n_bytes, int prot, int fd, size_t off)
{
	return mmap(at, n_bytes, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)off) == MAP_FAILED
		       ? -errno
		       : 0;
}

static int map_all(struct ring_memory *r)
{
	size_t page = r->layout.page_bytes, data = r->layout.map_bytes, ahead = 2 * page;
	char *at;
	int rc;

	r->map_bytes = 3 * page + 2 * data;
	at = mmap(NULL, r->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	r->k = (struct llm_ring_state *)(void *)at;
	r->p = (struct llm_ring_producer *)(void *)(at + page);
	r->data = at + ahead;
	r->c = (struct llm_ring_consumer *)(void *)(at + ahead + 2 * data);
	rc = map_at(at, ahead + data, PROT_READ | PROT_WRITE, r->fds[0], 0);
	if (!rc)
		rc = map_at(at + ahead + data, data, PROT_READ | PROT_WRITE, r->fds[0], ahead);
	if (!rc)
		rc = map_at(r->c, page, PROT_READ, r->fds[1], 0);
	if (!rc && madvise(at, r->map_bytes, MADV_DONTDUMP))
		rc = -errno;
	return rc;
}

static int seal(struct ring_memory *r)
{
	const int both = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	/* Our writable mapping of [0] stands; from here on nobody gets another. */
	if (fcntl(r->fds[0], F_ADD_SEALS, both | F_SEAL_FUTURE_WRITE) ||
	    fcntl(r->fds[1], F_ADD_SEALS, both))
		return -errno;
	return 0;
}

int ring_create(uint32_t capacity, struct ring_memory *out, struct error *err)
{
	struct ring_memory *r = out;
	uint32_t waiting = 1;
	int rc;

	*r = (struct ring_memory){.fds = {-1, -1}};
	r->layout.page_bytes = (uint32_t)page_bytes();
	r->layout.capacity = capacity;
	r->layout.map_bytes = (uint32_t)data_bytes(capacity);
	rc = make_memfd("llm-ring", 2 * page_bytes() + r->layout.map_bytes);
	if (rc < 0)
		goto destroy;
	r->fds[0] = rc;
	rc = make_memfd("llm-ring-c", page_bytes());
	if (rc < 0)
		goto destroy;
	r->fds[1] = rc;
	rc = 0;
	if (pwrite(r->fds[1], &waiting, sizeof(waiting),
		   offsetof(struct llm_ring_consumer, waiting)) != (ssize_t)sizeof(waiting))
		rc = -EIO;
	if (!rc)
		rc = map_all(r);
	if (!rc)
		rc = seal(r);
	if (!rc)
		return 0;
destroy:
	ring_destroy(r);
	return error_set(err, rc, "memory of a ring of %u bytes: %s", capacity, strerror(-rc));
}

void ring_close_fds(struct ring_memory *r)
{
	for (int i = 0; i < 2; i++) {
		if (r->fds[i] >= 0)
			close(r->fds[i]);
		r->fds[i] = -1;
	}
}

void ring_destroy(struct ring_memory *r)
{
	if (r->k)
		munmap(r->k, r->map_bytes);
	r->k = NULL;
	ring_close_fds(r);
}
