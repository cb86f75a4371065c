/* SPDX-License-Identifier: MIT */
/*
 * llmbench: how fast this machine reads memory, the bound of a single stream.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/arena.h"
#include "daemon/team.h"
#include "tools/llmbench.h"

#define READ_BYTES ((size_t)1 << 30)

typedef uint64_t lanes __attribute__((vector_size(32)));

struct reader {
	struct team *team;
	lanes *data; /* READ_BYTES, during a measurement */
	uint64_t sums[TEAM_MAX_THREADS];
};

static void read_share(void *arg, int rank, int n)
{
	struct reader *r = arg;
	const size_t n_lanes = READ_BYTES / sizeof(lanes) / 4 * 4;
	const size_t from = n_lanes / 4 * (size_t)rank / (size_t)n * 4;
	const size_t to = n_lanes / 4 * ((size_t)rank + 1) / (size_t)n * 4;
	lanes a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	for (size_t i = from; i < to; i += 4) {
		a += r->data[i];
		b += r->data[i + 1];
		c += r->data[i + 2];
		d += r->data[i + 3];
	}
	a += b + c + d;
	r->sums[rank] = a[0] + a[1] + a[2] + a[3];
}

static void write_share(void *arg, int rank, int n)
{
	struct reader *r = arg;
	uint64_t *data = (uint64_t *)r->data;
	const size_t n_words = READ_BYTES / sizeof(*data);

	for (size_t i = n_words * (size_t)rank / (size_t)n;
	     i < n_words * ((size_t)rank + 1) / (size_t)n; i++)
		data[i] = i;
}

int reader_open(uint32_t n_threads, struct reader **out, struct error *err)
{
	struct reader *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return error_set(err, -ENOMEM, "out of memory");
	rc = team_create(n_threads, false, &r->team, err);
	if (rc) {
		free(r);
		return rc;
	}
	*out = r;
	return 0;
}

void reader_close(struct reader *r)
{
	team_destroy(r->team);
	free(r);
}

double reader_measure(struct reader *r)
{
	struct arena arena = { 0 };
	struct timespec t0, t1;

	arena_take(&arena, READ_BYTES, 1);
	if (arena_map(&arena, "read test", NULL))
		return 0;
	r->data = arena_take(&arena, READ_BYTES, 1);
	team_run(r->team, write_share, r);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	team_run(r->team, read_share, r);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	arena_unmap(&arena);
	return (double)READ_BYTES / ((double)(t1.tv_sec - t0.tv_sec) * 1e9 +
				     (double)(t1.tv_nsec - t0.tv_nsec));
}
