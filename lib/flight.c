/* SPDX-License-Identifier: MIT */
/*
 * flight: the requests of a session that have no END yet, found by id, and the credit they use.
 *
 * Ids are id_base | n with n rising, so n itself is a good hash: requests submitted together never
 * share a chain before the table is full. Entries are allocated once, at open. Called by whoever
 * uses the session, on its thread.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/session.h"

static uint32_t *bucket_of(const struct llm_flights *f, uint64_t id)
{
	return &f->buckets[(uint32_t)id & f->mask];
}

int llm_flights_init(struct llm_flights *f, uint32_t max_requests)
{
	uint32_t n_buckets = 1;

	while (n_buckets < max_requests)
		n_buckets *= 2;
	*f = (struct llm_flights){.mask = n_buckets - 1, .max_requests = max_requests};
	f->entries = calloc(max_requests, sizeof(*f->entries));
	f->buckets = malloc(n_buckets * sizeof(*f->buckets));
	if (!f->entries || !f->buckets) {
		llm_flights_exit(f);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_buckets; i++)
		f->buckets[i] = LLM_NONE;
	for (uint32_t i = 0; i < max_requests; i++)
		f->entries[i].next = i + 1 < max_requests ? i + 1 : LLM_NONE;
	return 0;
}

void llm_flights_exit(struct llm_flights *f)
{
	free(f->entries);
	free(f->buckets);
	f->entries = NULL;
	f->buckets = NULL;
}

/* The caller has checked that there is credit. */
struct llm_flight *llm_flight_add(struct llm_flights *f, uint64_t id)
{
	uint32_t *bucket = bucket_of(f, id), i = f->free;
	struct llm_flight *flight = &f->entries[i];

	f->free = flight->next;
	f->n_requests++;
	*flight = (struct llm_flight){.id = id, .next = *bucket};
	*bucket = i;
	return flight;
}

struct llm_flight *llm_flight_find(struct llm_flights *f, uint64_t id)
{
	uint32_t i = *bucket_of(f, id);

	while (i != LLM_NONE && f->entries[i].id != id)
		i = f->entries[i].next;
	return i == LLM_NONE ? NULL : &f->entries[i];
}

void llm_flight_remove(struct llm_flights *f, struct llm_flight *flight)
{
	uint32_t *link = bucket_of(f, flight->id), i = (uint32_t)(flight - f->entries);

	while (*link != i)
		link = &f->entries[*link].next;
	*link = flight->next;
	f->n_requests--;
	f->body_bytes -= flight->body_bytes;
	flight->id = 0;
	flight->next = f->free;
	f->free = i;
}

/* Only dead sessions ask, once per request; a scan is good enough. */
struct llm_flight *llm_flight_oldest(struct llm_flights *f)
{
	struct llm_flight *oldest = NULL;

	for (uint32_t i = 0; i < f->max_requests; i++) {
		struct llm_flight *e = &f->entries[i];

		if (e->id && !e->is_prepared && (!oldest || e->id < oldest->id))
			oldest = e;
	}
	return oldest;
}
