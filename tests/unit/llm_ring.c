/* SPDX-License-Identifier: MIT */
/*
 * The ring of uapi/llm_ring.h: records arrive whole and in order through a ring of two, sleepers on
 * both sides are always woken (R3, R4), and every lie of the other side's page is found.
 *
 * Marks: san
 *
 * The stress is two threads with an eventfd each, as kick and as ROOM. Neither may be missed: a
 * sleep that lasts two seconds although the other side has long moved is a failure. Lockstep then
 * aims at the few nanoseconds of R3: the producer publishes at about the moment the consumer
 * decides to sleep.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/test.h"
#include "uapi/llm_ring.h"

enum { CAPACITY = 2 * LLM_ROOM, N_RECORDS = 200000, N_STEPS = 100000, SLEEP_MS = 2000 };

struct pages {
	struct llm_ring_producer p;
	struct llm_ring_consumer c;
	unsigned char *data; /* mapped twice, as the contract asks */
	int kick, room;	     /* eventfds */
};

static const struct llm_ring_layout layout = {
	.page_bytes = 4096, .capacity = CAPACITY, .map_bytes = CAPACITY};

static unsigned char *map_twice(size_t n)
{
	int fd = memfd_create("ring", 0);
	unsigned char *at;

	if (fd < 0 || ftruncate(fd, (off_t)n))
		return NULL;
	at = mmap(NULL, 2 * n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mmap(at, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	mmap(at + n, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	return at;
}

static struct pages *make(void)
{
	struct pages *s =
		aligned_alloc(LLM_CACHE_LINE, (sizeof(*s) / LLM_CACHE_LINE + 1) * LLM_CACHE_LINE);

	memset(s, 0, sizeof(*s));
	s->data = map_twice(CAPACITY);
	s->kick = eventfd(0, 0);
	s->room = eventfd(0, 0);
	s->c.waiting = 1;
	return s;
}

static void drop(struct pages *s)
{
	munmap(s->data, 2 * CAPACITY);
	close(s->kick);
	close(s->room);
	free(s);
}

static void ring_bell(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
}

/* True if the bell rang. */
static bool sleep_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n;

	return poll(&p, 1, SLEEP_MS) == 1 && read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

/* Lengths from a bare header to half the ring, so that the end of D falls at every 8th byte. */
static uint32_t len_of(unsigned i)
{
	return 24 + i * 2654435761u % 200 / 8 * 8 + (i % 97 ? 0 : LLM_ROOM - 224);
}

static void *produce(void *arg)
{
	struct pages *s = arg;
	struct llm_ring r;
	unsigned i = 0;

	llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
	while (i < N_RECORDS) {
		struct llm_record *rec;
		uint32_t len = len_of(i);
		void *at;

		if (llm_ring_reserve(&r, len, &at)) {
			if (llm_ring_stall(&r, len) == 1 && !sleep_for(s->room))
				return "the producer slept on although there was room";
			continue;
		}
		llm_ring_unstall(&r);
		rec = at;
		*rec = (struct llm_record){.len = len, .type = 1, .request_id = i};
		memset(rec + 1, (int)(i & 0xff), len - sizeof(*rec));
		llm_ring_commit(&r, len);
		i++;
		/* Batches of one to four. */
		if ((i & 3 || i % 7 == 0) && llm_ring_publish(&r))
			ring_bell(s->kick);
	}
	if (llm_ring_publish(&r))
		ring_bell(s->kick);
	return NULL;
}

static bool is_whole(const struct llm_record *head, const unsigned char *payload, unsigned i)
{
	if (head->request_id != i || head->len != len_of(i))
		return false;
	for (uint32_t k = 0; k < head->len - sizeof(*head); k++)
		if (payload[k] != (i & 0xff))
			return false;
	return true;
}

/* Null, or what went wrong. */
static const char *consume(struct pages *s)
{
	struct llm_ring r;
	unsigned i = 0;

	llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
	while (i < N_RECORDS) {
		struct llm_record head;
		const void *payload;
		int got = llm_ring_peek(&r, &head, &payload);

		if (got < 0)
			return "an honest ring was called a liar";
		if (!got) {
			if (llm_ring_give(&r))
				ring_bell(s->room);
			if (llm_ring_wait(&r) && !sleep_for(s->kick))
				return "the consumer slept on although there was a record";
			continue;
		}
		llm_ring_woke(&r);
		if (!is_whole(&head, payload, i))
			return "a record is torn or out of order";
		llm_ring_take(&r, head.len);
		i++;
		if (i % 3 == 0 && llm_ring_give(&r))
			ring_bell(s->room);
	}
	return NULL;
}

static void test_stress(void)
{
	struct pages *s = make();
	pthread_t producer;
	const char *said;
	void *other;

	pthread_create(&producer, NULL, produce, s);
	said = consume(s);
	CHECK_STR(said ? said : "", "");
	if (said)
		exit(test_done());
	pthread_join(producer, &other);
	CHECK_STR(other ? (char *)other : "", "");
	CHECK_EQ(s->c.read, s->p.pos);
	drop(s);
}

/* Publishes the next record as soon as the last one is taken. */
static void *produce_in_lockstep(void *arg)
{
	struct pages *s = arg;
	struct llm_ring r;
	void *at = NULL;

	llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
	for (unsigned i = 0; i < N_STEPS; i++) {
		unsigned spins = 0;

		while (__atomic_load_n(&s->c.read, __ATOMIC_ACQUIRE) != r.pos)
			if (++spins % 1000 == 0)
				sched_yield();
		if (llm_ring_reserve(&r, 24, &at))
			return "no room although all is read";
		*(struct llm_record *)at = (struct llm_record){.len = 24, .request_id = i};
		llm_ring_commit(&r, 24);
		if (llm_ring_publish(&r))
			ring_bell(s->kick);
	}
	return NULL;
}

static const char *consume_in_lockstep(struct pages *s)
{
	struct llm_record head;
	struct llm_ring r;
	const void *payload;

	llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
	for (unsigned i = 0; i < N_STEPS; i++) {
		while (!llm_ring_peek(&r, &head, &payload)) {
			if (llm_ring_wait(&r) && !sleep_for(s->kick))
				return "slept on although there was a record";
		}
		llm_ring_woke(&r);
		/* Space first, so that the producer's wait for `read` starts the race. */
		r.pos += head.len;
		llm_ring_give(&r);
		r.pos -= head.len;
		llm_ring_take(&r, head.len);
		for (volatile unsigned k = 0; k < i * 2654435761u % 256; k++)
			;
	}
	return NULL;
}

static void test_lockstep(void)
{
	struct pages *s = make();
	pthread_t producer;
	const char *said;
	void *other;

	pthread_create(&producer, NULL, produce_in_lockstep, s);
	said = consume_in_lockstep(s);
	CHECK_STR(said ? said : "", "");
	if (said)
		exit(test_done());
	pthread_join(producer, &other);
	CHECK_STR(other ? (char *)other : "", "");
	drop(s);
}

/* A consumer that believes nothing: positions first, then lengths. */
static void test_lying_producer(void)
{
	static const uint32_t lens[] = {0, 8, 16, 23, 25, 28, 4097, 0xfffffff8u, CAPACITY + 8};
	struct pages *s = make();
	struct llm_record head, *rec = (struct llm_record *)s->data;
	struct llm_ring r;
	const void *payload;

	CHECK_EQ(llm_ring_init(&r, &layout, &s->p, &s->c, s->data), 0);
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), 0);
	s->p.pos = CAPACITY + 8;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	s->p.pos = UINT64_MAX - 7;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	s->p.pos = 28;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	s->p.pos = 16;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
		s->p.pos = CAPACITY;
		rec->len = lens[i];
		CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	}
	/* A record that ends behind P. */
	llm_ring_init(&r, &layout, &s->p, &s->c, s->data);
	s->p.pos = 48;
	rec->len = 56;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	rec->len = 48;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), 1);
	CHECK(payload == s->data + 24);
	llm_ring_take(&r, head.len);
	CHECK_EQ(s->c.read, 48);
	CHECK_EQ(s->c.pos, 0);
	/* P moves back. */
	s->p.pos = 40;
	CHECK_EQ(llm_ring_peek(&r, &head, &payload), -EPROTO);
	drop(s);
}

static void test_lying_consumer(void)
{
	struct pages *s = make();
	struct llm_ring r;
	void *at;

	CHECK_EQ(llm_ring_init(&r, &layout, &s->p, &s->c, s->data), 0);
	CHECK_EQ(llm_ring_room(&r), CAPACITY);
	CHECK_EQ(llm_ring_reserve(&r, 23, &at), -EINVAL);
	CHECK_EQ(llm_ring_reserve(&r, 28, &at), -EINVAL);
	CHECK_EQ(llm_ring_reserve(&r, CAPACITY + 8, &at), -EINVAL);
	CHECK_EQ(llm_ring_reserve(&r, CAPACITY, &at), 0);
	llm_ring_commit(&r, CAPACITY);
	/* Ahead of what was published, though not of what was written. */
	s->c.pos = 64;
	CHECK_EQ(llm_ring_room(&r), -EPROTO);
	CHECK_EQ(llm_ring_stall(&r, 24), -EPROTO);
	CHECK(llm_ring_publish(&r));
	CHECK_EQ(llm_ring_room(&r), 64);
	s->c.pos = 56;
	CHECK_EQ(llm_ring_room(&r), -EPROTO);
	CHECK_EQ(llm_ring_reserve(&r, 128, &at), -EPROTO);
	s->c.pos = CAPACITY + 8;
	CHECK_EQ(llm_ring_room(&r), -EPROTO);
	s->c.pos = 68;
	CHECK_EQ(llm_ring_room(&r), -EPROTO);
	s->c.pos = 128;
	CHECK_EQ(llm_ring_reserve(&r, 136, &at), -ENOBUFS);
	CHECK_EQ(llm_ring_stall(&r, 136), 1);
	CHECK_EQ(llm_ring_stall(&r, 128), 0);
	CHECK_EQ(s->p.stalled, 1);
	llm_ring_unstall(&r);
	CHECK_EQ(s->p.stalled, 0);
	drop(s);
}

static void test_layouts(void)
{
	struct llm_ring_layout l = layout;

	CHECK_EQ(llm_ring_check_layout(&l), 0);
	l.page_bytes = 65536;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
	l.map_bytes = 65536;
	CHECK_EQ(llm_ring_check_layout(&l), 0);
	l.page_bytes = 2048;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
	l = layout;
	l.capacity = l.map_bytes = 12288;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
	l.capacity = l.map_bytes = 2 * LLM_MAX_RING_BYTES;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
	l = layout;
	l.capacity = LLM_ROOM / 2;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
	l = layout;
	l.pad = 1;
	CHECK_EQ(llm_ring_check_layout(&l), -EINVAL);
}

int main(void)
{
	test_layouts();
	test_lying_producer();
	test_lying_consumer();
	test_stress();
	test_lockstep();
	return test_done();
}
