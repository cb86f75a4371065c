/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * llm.h: what the client, the daemon and (on the device door) the kernel agree on: the ring.
 *
 * Every session has one ring, on both doors. Tokens flow through it from the daemon (the producer)
 * to the client (the consumer) without a system call:
 *
 *	page   client  daemon  content
 *	K      RO      RW*     magic, session, state of the daemon       struct llm_ring_state
 *	P      RO      RW      producer position, `stalled`              struct llm_ring_producer
 *	C      RW      RO      consumer position, `waiting`              struct llm_ring_consumer
 *	D      RO      RW      records (llm_msg.h), mapped twice in a row so that none ever wraps
 *
 *	* written by the kernel only on the device door, by the daemon on the socket door.
 *
 * Positions are byte counts that only grow (u64, never reused); the byte at position x lies at D
 * offset x % map_bytes, map_bytes being `capacity` rounded up to a page. P - C <= capacity always.
 * Each side keeps its own copy of its own position, reads the other's once, and clamps it: the
 * producer never believes a C above P or below the C it saw last (the session is BROKEN then; only
 * the liar suffers), the consumer never believes a P more than capacity ahead of C.
 *
 * Order of memory (pairs named by number; the code cites them):
 *
 *	R1  producer: records, then store-release P        consumer: load-acquire P, then records
 *	R2  consumer: done with records, store-release C   producer: load-acquire C, then overwrite
 *	R3  consumer: waiting = 1, full fence, re-read P   producer: store P, fence, read waiting
 *	R4  producer: stalled = 1, full fence, re-read C   consumer: store C, fence, read stalled
 *
 * R3 and R4 are store-then-load on both sides (Dekker): at least one side sees the other's store,
 * so a sleeping consumer is kicked and a producer that sleeps for want of room hears of the room
 * made. `waiting` starts as 1; a consumer that never touches it is kicked after every step, which
 * costs kicks and nothing else. The fences themselves: llm_ring.h.
 *
 * Changes:
 *	1	first version
 */
#ifndef _UAPI_LLM_H
#define _UAPI_LLM_H

#include <linux/types.h>

#define LLM_ABI 1

/* 'llm1', little endian, first word of the K page. */
#define LLM_RING_MAGIC 0x316d6c6cu

/*
 * Ring room of one request: the largest END + TOKENS + LOGPROBS fit (llm_msg.h asserts it). A ring
 * must hold this for each of the session's max_requests, so an END always has room.
 */
#define LLM_ROOM 2048

#define LLM_MAX_REQUESTS 4096u		  /* per session */
#define LLM_MAX_RING_BYTES (64u << 20)	  /* per session */
#define LLM_MAX_BODY_BYTES (64u << 20)	  /* of one request's body */
#define LLM_INLINE_BODY_BYTES (64u << 10) /* socket door: larger bodies travel as a sealed memfd */
#define LLM_CACHE_LINE 128

/* Ids: never 0, never reused. Bit 63 tells the door: clear on the device, set on the socket. */
#define LLM_ID_SOCKET (1ull << 63)

/* Page K. Little endian, fixed offsets. */
struct llm_ring_state {
	__u32 magic;	    /*  0 LLM_RING_MAGIC */
	__u32 abi;	    /*  4 LLM_ABI */
	__u32 session_id;   /*  8 below 2^31 */
	__u32 daemon_alive; /* 12 1 while a daemon serves the session */
	__u64 state_seq;    /* 16 grows with every change of state */
	__u64 failed_upto;  /* 24 requests up to this id without END have failed (EHOSTDOWN) */
	__u32 closed;	    /* 32 1 once the session is dead */
	__u32 pad;	    /* 36 zero */
};

/* Page P. */
struct llm_ring_producer {
	__u64 pos;				       /*   0 P, bytes */
	__u8 pad0[LLM_CACHE_LINE - sizeof(__u64)];     /*   8 the line is its own */
	__u8 pad1[LLM_CACHE_LINE];		       /* 128 so is its neighbour (prefetch) */
	__u32 stalled;				       /* 256 producer waits for room: ROOM */
	__u32 pad2;				       /* 260 zero */
};

/* Page C. */
struct llm_ring_consumer {
	__u64 pos;				   /*   0 C: space given back, bytes */
	__u64 read;				   /*   8 records taken, bytes, >= pos */
	__u8 pad0[LLM_CACHE_LINE - 2 * sizeof(__u64)]; /* 16 */
	__u64 state_seen;			   /* 128 last state_seq the client acted on */
	__u32 waiting;				   /* 136 1: kick me when P moves */
	__u32 pad1;				   /* 140 zero */
};

/* Where the regions lie; see llm_msg.h for the socket door's two memfds. */
struct llm_ring_layout {
	__u32 page_bytes; /*  0 bytes of each of the K, P and C pages */
	__u32 capacity;	  /*  4 bytes of records, a power of two */
	__u32 map_bytes;  /*  8 capacity rounded up to page_bytes: the modulus of positions */
	__u32 pad;	  /* 12 zero */
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct llm_ring_state) == 40, "K layout");
_Static_assert(sizeof(struct llm_ring_producer) == 264, "P layout");
_Static_assert(sizeof(struct llm_ring_consumer) == 144, "C layout");
_Static_assert(sizeof(struct llm_ring_layout) == 16, "ring layout");
#endif

#endif
