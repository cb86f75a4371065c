/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * llm_ring.h: how user space writes and reads the ring of llm.h: the only place of its fences.
 *
 * libllm is the consumer, llmd the producer, on both doors; the kernel includes none of this. The
 * fences carry the pair numbers R1..R4 of llm.h; both sides of each pair stand below, so that they
 * can be read together. One thread at a time per side. What the caller keeps for itself: mapping
 * the pages, waking the other side (the functions only say when), and the payloads, which are as
 * hostile as their writer.
 *
 *	producer			     consumer
 *	reserve, write, commit, ...	     peek, take, ...
 *	publish: true: kick it		     give: true: tell it ROOM
 *	no room: stall: 1: sleep until ROOM  no record: wait: true: sleep until kicked
 *	room again: unstall		     records again: woke
 *
 * Neither `stalled` nor `waiting` needs to be exact: a flag left standing costs messages, never
 * progress. Of all functions -EPROTO means: the other side's page says something impossible; the
 * ring is dead for good.
 */
#ifndef _UAPI_LLM_RING_H
#define _UAPI_LLM_RING_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "llm_msg.h"

/* One side's view of a ring. Private to its process. */
struct llm_ring {
	struct llm_ring_producer *p; /* P page; read-only to the consumer */
	struct llm_ring_consumer *c; /* C page; read-only to the producer */
	unsigned char *data;	     /* D, mapped twice in a row: 2 * map_bytes */
	__u64 pos;		     /* own: end of what is written, or taken; bytes */
	__u64 stored;		     /* own as the other side sees it: P or C; bytes, <= pos */
	__u64 seen;		     /* the other side's, last believed; bytes */
	__u32 capacity;		     /* bytes, a power of two */
	__u32 mask;		     /* map_bytes - 1 */
};

/*
 * The full fence of R3 and R4. ThreadSanitizer knows no fences (gcc refuses to compile one), but
 * takes an atomic read-modify-write for what it is on every machine it runs on: as strong.
 */
static inline void llm_ring_fence(void)
{
#if defined(__SANITIZE_THREAD__)
#define LLM_RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LLM_RING_TSAN 1
#endif
#endif
#ifdef LLM_RING_TSAN
	int word = 0;

	(void)__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Copies n bytes that the other side may be changing right now and makes sure that what is checked
 * afterwards is the copy: the compiler may not go back to the source.
 */
static inline void llm_ring_copy(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	__asm__ volatile("" : : "r"(to) : "memory");
}

/* 0, or -EINVAL for a layout that no honest side sends. */
static inline int llm_ring_check_layout(const struct llm_ring_layout *l)
{
	__u32 want = l->capacity > l->page_bytes ? l->capacity : l->page_bytes;

	if (l->page_bytes < 4096 || l->page_bytes > (1u << 20) ||
	    (l->page_bytes & (l->page_bytes - 1)))
		return -EINVAL;
	if (l->capacity < LLM_ROOM || l->capacity > LLM_MAX_RING_BYTES)
		return -EINVAL;
	if ((l->capacity & (l->capacity - 1)) || l->map_bytes != want || l->pad)
		return -EINVAL;
	return 0;
}

/* A side's view of a fresh ring, positions 0. The producer made the C page with `waiting` = 1. */
static inline int llm_ring_init(struct llm_ring *r, const struct llm_ring_layout *l,
				struct llm_ring_producer *p, struct llm_ring_consumer *c,
				void *data)
{
	int err = llm_ring_check_layout(l);

	if (err)
		return err;
	memset(r, 0, sizeof(*r));
	r->p = p;
	r->c = c;
	r->data = (unsigned char *)data;
	r->capacity = l->capacity;
	r->mask = l->map_bytes - 1;
	return 0;
}

/* ---- producer -------------------------------------------------------------------------- */

/* Reads C; the room it leaves in bytes, or -EPROTO for a C above P or below the one seen before. */
static inline int llm_ring_room(struct llm_ring *r)
{
	/* R2: pairs with the store-release in llm_ring_give(): records below C are read. */
	__u64 c = __atomic_load_n(&r->c->pos, __ATOMIC_ACQUIRE);

	if (c < r->seen || c > r->stored || c % 8)
		return -EPROTO;
	r->seen = c;
	return (int)(r->capacity - (r->pos - c));
}

/*
 * Where a record of len bytes (header included, a multiple of 8) goes; *at is 8-byte aligned and
 * len bytes long. Nothing moves until llm_ring_commit(). 0, -ENOBUFS (llm_ring_stall() before
 * sleeping for room), -EINVAL for a len that no record can have, -EPROTO.
 */
static inline int llm_ring_reserve(struct llm_ring *r, __u32 len, void **at)
{
	if (len < sizeof(struct llm_record) || len % 8 || len > r->capacity)
		return -EINVAL;
	if (r->capacity - (r->pos - r->seen) < len) {
		int room = llm_ring_room(r);

		if (room < 0)
			return room;
		if ((__u32)room < len)
			return -ENOBUFS;
	}
	*at = r->data + (r->pos & r->mask);
	return 0;
}

/* The reserved record is written. Still invisible to the consumer. */
static inline void llm_ring_commit(struct llm_ring *r, __u32 len)
{
	r->pos += len;
}

/* Shows every committed record. True: the consumer is or may be asleep, kick it. */
static inline bool llm_ring_publish(struct llm_ring *r)
{
	r->stored = r->pos;
	/* R1: pairs with the load-acquire in llm_ring_peek(): records before P. */
	__atomic_store_n(&r->p->pos, r->pos, __ATOMIC_RELEASE);
	/* R3: pairs with the fence in llm_ring_wait(). */
	llm_ring_fence();
	return __atomic_load_n(&r->c->waiting, __ATOMIC_RELAXED) != 0;
}

/*
 * Before sleeping because len bytes do not fit. 1: still no room, and the consumer's next
 * llm_ring_give() will say ROOM; 0: there is room after all; -EPROTO.
 */
static inline int llm_ring_stall(struct llm_ring *r, __u32 len)
{
	int room;

	__atomic_store_n(&r->p->stalled, 1, __ATOMIC_RELAXED);
	/* R4: pairs with the fence in llm_ring_give(). */
	llm_ring_fence();
	room = llm_ring_room(r);
	if (room < 0)
		return room;
	return (__u32)room < len;
}

/* There is room again: stop asking for ROOM. */
static inline void llm_ring_unstall(struct llm_ring *r)
{
	if (__atomic_load_n(&r->p->stalled, __ATOMIC_RELAXED))
		__atomic_store_n(&r->p->stalled, 0, __ATOMIC_RELAXED);
}

/* ---- consumer -------------------------------------------------------------------------- */

/*
 * The next record not yet taken. 1: its header, copied and checked, in *head, and head->len - 24
 * bytes of payload at *payload, readable until llm_ring_give() but still the producer's to scribble
 * on: copy before checking (llm_ring_copy()). 0: none. -EPROTO: P moved back or is further ahead of
 * C than the ring is long, or the record does not fit between here and P.
 */
static inline int llm_ring_peek(struct llm_ring *r, struct llm_record *head, const void **payload)
{
	const unsigned char *at = r->data + (r->pos & r->mask);

	if (r->seen == r->pos) {
		/* R1: pairs with the store-release in llm_ring_publish(). */
		__u64 p = __atomic_load_n(&r->p->pos, __ATOMIC_ACQUIRE);

		if (p < r->seen || p - r->stored > r->capacity || p % 8)
			return -EPROTO;
		if (p == r->pos)
			return 0;
		r->seen = p;
	}
	if (r->seen - r->pos < sizeof(*head))
		return -EPROTO;
	llm_ring_copy(head, at, sizeof(*head));
	if (head->len < sizeof(*head) || head->len % 8 || head->len > r->seen - r->pos)
		return -EPROTO;
	*payload = at + sizeof(*head);
	return 1;
}

/* The peeked record of len bytes is taken; its space stays ours until llm_ring_give(). */
static inline void llm_ring_take(struct llm_ring *r, __u32 len)
{
	r->pos += len;
	/* A hint for whoever polls on this side's behalf; nothing is ordered by it. */
	__atomic_store_n(&r->c->read, r->pos, __ATOMIC_RELAXED);
}

/* Gives back the space of every record taken. True: the producer waits for room, tell it (ROOM). */
static inline bool llm_ring_give(struct llm_ring *r)
{
	if (r->stored == r->pos)
		return false;
	r->stored = r->pos;
	/* R2: pairs with the load-acquire in llm_ring_room(). */
	__atomic_store_n(&r->c->pos, r->pos, __ATOMIC_RELEASE);
	/* R4: pairs with the fence in llm_ring_stall(). */
	llm_ring_fence();
	return __atomic_load_n(&r->p->stalled, __ATOMIC_RELAXED) != 0;
}

/*
 * Before sleeping for want of records. True: none came, and the producer's next llm_ring_publish()
 * will kick; false: there is something to peek at after all.
 */
static inline bool llm_ring_wait(struct llm_ring *r)
{
	__atomic_store_n(&r->c->waiting, 1, __ATOMIC_RELAXED);
	/* R3: pairs with the fence in llm_ring_publish(). */
	llm_ring_fence();
	return __atomic_load_n(&r->p->pos, __ATOMIC_ACQUIRE) == r->pos;
}

/* Found records: no kicks needed until the next llm_ring_wait(). */
static inline void llm_ring_woke(struct llm_ring *r)
{
	if (__atomic_load_n(&r->c->waiting, __ATOMIC_RELAXED))
		__atomic_store_n(&r->c->waiting, 0, __ATOMIC_RELAXED);
}

#endif
