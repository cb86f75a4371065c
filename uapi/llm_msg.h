/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * llm_msg.h: what libllm and llmd say to each other: bodies, records, and the socket door's
 * packets.
 *
 * The kernel never reads any of it. All integers and floats little endian, naturally aligned;
 * padding is zero and checked; a struct that grows carries its size (`hdr_len`, `size`), a longer
 * one passes only if the tail it brings is zero; an unknown flag is refused; a reader skips record
 * types it does not know.
 *
 * 1. Records (ring, daemon to client): struct llm_record + payload, `len` a multiple of 8.
 * 2. Bodies (client to daemon): struct llm_body, then TLVs (struct llm_tlv + bytes, zeros to 8).
 * 3. Packets (socket door, SOCK_SEQPACKET, one message a packet): struct llm_packet + payload.
 *
 * The life of a session on the socket door:
 *
 *	client                                   daemon
 *	connect, HELLO{abi, ring, ...} -->
 *	                                    <--  WELCOME + two memfds: K+P+D, C | REFUSED{error}
 *	SUBMIT{id, user_data} + body, or -->
 *	    a sealed memfd that holds it    ...  TOKENS, ..., END in the ring; KICK if `waiting`
 *	CANCEL{id} (0: all)             -->      END{CANCELED} (or whatever END was first)
 *	ROOM (C moved, `stalled` is 1)  -->
 *	CLOSE or EOF                    -->      everything of the session is freed
 *
 * Every SUBMIT is answered by exactly one END, a refusal included, so the client knows its own
 * credit: at most max_requests without END, at most body_bytes of bodies without END. The END that
 * comes back is the credit message. The client picks ids: id_base | n, n = 1, 2, ... strictly
 * rising below 2^32. A peer that breaks one of these rules is told so (REFUSED) and disconnected.
 */
#ifndef _UAPI_LLM_MSG_H
#define _UAPI_LLM_MSG_H

#include "llm.h"

/* ---- 1. Records ------------------------------------------------------------------------------ */

struct llm_record {
	__u32 len;	  /*  0 bytes of header and payload, a multiple of 8 */
	__u16 type;	  /*  4 enum llm_record_type */
	__u16 flags;	  /*  6 zero */
	__u64 request_id; /*  8 */
	__u64 user_data;  /* 16 as submitted */
};

enum llm_record_type {
	LLM_RECORD_TOKENS = 1,
	LLM_RECORD_LOGPROBS = 2, /* reserved: {u32 index, u32 n, {u32 id, f32 logprob}[n]} */
	LLM_RECORD_END = 3,
};

#define LLM_TOKENS_MAX_IDS 32u	  /* ids in one TOKENS record */
#define LLM_TOKENS_MAX_TEXT 1024u /* bytes of text in one TOKENS record */
#define LLM_LOGPROBS_MAX 32u	  /* entries in one LOGPROBS record */
#define LLM_MESSAGE_MAX 256u	  /* bytes of an END's sentence, terminator included */

/*
 * TOKENS payload: this, then ids (u32 x n), then text_len bytes of whole UTF-8 characters, not
 * terminated.
 */
struct llm_tokens {
	__u32 first_index; /* 24 index of ids[0] in the request's output, from 0 */
	__u32 n;	   /* 28 ids; 0 when held-back text comes alone */
	__u64 produced_ns; /* 32 CLOCK_MONOTONIC when the step's sampling ended */
	__u32 text_len;	   /* 40 bytes */
	__u32 pad;	   /* 44 zero */
};

enum llm_end_reason {
	LLM_END_EOS = 1,	/* the model ended */
	LLM_END_LENGTH = 2,	/* max_tokens, or the context is full */
	LLM_END_STOP = 3,	/* a stop string or stop id */
	LLM_END_CANCELED = 4,	/* by the client, its death, or an administrator */
	LLM_END_DEADLINE = 5,	/* the request's deadline passed */
	LLM_END_ERROR = 6,	/* see status and message */
	LLM_END_HOSTDOWN = 7,	/* made by libllm: the daemon is gone */
};

/* Which field an error is about (err_field). */
enum llm_field {
	LLM_FIELD_NONE = 0,
	LLM_FIELD_BODY = 1,
	LLM_FIELD_PROMPT = 2,
	LLM_FIELD_IDS = 3,
	LLM_FIELD_MESSAGES = 4,
	LLM_FIELD_MAX_TOKENS = 5,
	LLM_FIELD_MIN_TOKENS = 6,
	LLM_FIELD_TEMPERATURE = 7,
	LLM_FIELD_TOP_K = 8,
	LLM_FIELD_TOP_P = 9,
	LLM_FIELD_MIN_P = 10,
	LLM_FIELD_PENALTY = 11,
	LLM_FIELD_SEED = 12,
	LLM_FIELD_LOGPROBS = 13,
	LLM_FIELD_STOP = 14,
	LLM_FIELD_LOGIT_BIAS = 15,
	LLM_FIELD_MODEL = 16,
	LLM_FIELD_ADAPTER = 17,
	LLM_FIELD_GRAMMAR = 18,
	LLM_FIELD_DEADLINE = 19,
	LLM_FIELD_PRIORITY = 20,
	LLM_FIELD_TOOLS = 21,
	LLM_FIELD_FLAGS = 22,
	LLM_FIELD_QUOTA = 23,
	LLM_FIELD_IMAGE = 24,
};

/* END payload. */
struct llm_end {
	__u32 reason;		 /*  24 enum llm_end_reason */
	__s32 status;		 /*  28 0 or -errno */
	__u32 err_field;	 /*  32 enum llm_field */
	__u32 pad;		 /*  36 zero */
	__u64 got, limit;	 /*  40 the two numbers of the message */
	__u32 prompt_tokens;	 /*  56 ISL */
	__u32 cached_tokens;	 /*  60 of them found in the prefix cache */
	__u32 generated_tokens;	 /*  64 OSL */
	__u32 preemptions;	 /*  68 */
	__u64 queue_ns, tokenize_ns, prefill_ns, decode_ns; /* 72 */
	char message[LLM_MESSAGE_MAX];			    /* 104 terminated */
};

/* ---- 2. Bodies ------------------------------------------------------------------------------- */

#define LLM_UNSET 0xffffffffu /* max_tokens: run to the context */

enum llm_body_flag {
	LLM_BODY_IGNORE_EOS = 1u << 0,
	LLM_BODY_ECHO = 1u << 1,   /* the prompt's tokens come back first */
	LLM_BODY_RAW = 1u << 2,	   /* text as it is, no template; BOS if the model's file says so */
	LLM_BODY_TOKENS = 1u << 3, /* ids only: TOKENS records carry no text */
};

struct llm_body {
	__u32 size;	  /*  0 sizeof(struct llm_body) of the writer */
	__u32 flags;	  /*  4 enum llm_body_flag */
	__u32 max_tokens; /*  8 LLM_UNSET or >= 1 */
	__u32 min_tokens; /* 12 no EOS or stop before this many */
	float temperature; /* 16 0: greedy */
	__u32 top_k;	   /* 20 0: off */
	float top_p;	   /* 24 (0, 1], 1: off */
	float min_p;	   /* 28 [0, 1), 0: off */
	float repetition_penalty, presence_penalty, frequency_penalty; /* 32: 1, 0, 0: off */
	__u32 n_logprobs;  /* 44 */
	__u64 seed;	   /* 48 always sent; libllm draws one when the caller gave none */
	__u32 n_tlvs;	   /* 56 */
	__u32 pad;	   /* 60 zero */
};

struct llm_tlv {
	__u32 type; /* enum llm_tlv_type */
	__u32 len;  /* bytes that follow, padding to 8 not counted */
};

enum llm_tlv_type {
	LLM_TLV_TEXT = 1,		  /* UTF-8 prompt */
	LLM_TLV_IDS = 2,		  /* u32 ids */
	LLM_TLV_MESSAGES = 3,		  /* JSON array of {role, content} */
	LLM_TLV_TOOLS = 4,
	LLM_TLV_ADD_GENERATION_PROMPT = 5,
	LLM_TLV_STOP = 6,		  /* one stop string, repeatable */
	LLM_TLV_STOP_IDS = 7,		  /* u32 ids */
	LLM_TLV_LOGIT_BIAS = 8,
	LLM_TLV_MODEL = 9,		  /* name of the model the client expects */
	LLM_TLV_ADAPTER = 10,
	LLM_TLV_GRAMMAR = 11,
	LLM_TLV_DEADLINE_NS = 12,	  /* u64, nanoseconds from arrival */
	LLM_TLV_PRIORITY = 13,		  /* s32 inside the tenant, higher first, default 0 */
	LLM_TLV_EMBEDDING = 14,		  /* reserved */
	LLM_TLV_IMAGE = 15,		  /* reserved */
};

#define LLM_MAX_TLVS 64u
#define LLM_MAX_STOPS 16u      /* stop strings of one request */
#define LLM_MAX_STOP_LEN 256u  /* bytes of one, at least 1 */
#define LLM_MAX_STOP_IDS 64u
#define LLM_MAX_MODEL_LEN 128u /* bytes of a model's name */

/* ---- 3. Packets of the socket door ----------------------------------------------------------- */

struct llm_packet {
	__u16 type;	  /*  0 enum llm_packet_type */
	__u16 hdr_len;	  /*  2 sizeof(struct llm_packet) of the writer */
	__u32 len;	  /*  4 payload bytes that follow the header in this packet */
	__u64 request_id; /*  8 SUBMIT, CANCEL; else 0 */
	__u64 user_data;  /* 16 SUBMIT; else 0 */
};

enum llm_packet_type {
	/* client to daemon */
	LLM_PACKET_HELLO = 1,  /* struct llm_hello */
	LLM_PACKET_SUBMIT = 2, /* body inline, or len = 0 and a sealed memfd that is all of it */
	LLM_PACKET_CANCEL = 3,
	LLM_PACKET_ROOM = 4,
	LLM_PACKET_CLOSE = 5,
	LLM_PACKET_RESUME = 6, /* reserved */
	/* daemon to client */
	LLM_PACKET_WELCOME = 16, /* struct llm_welcome and two memfds */
	LLM_PACKET_REFUSED = 17, /* struct llm_refused; the daemon closes after it */
	LLM_PACKET_KICK = 18,	 /* the ring has news */
	LLM_PACKET_STATE = 19,	 /* K changed */
	/* control socket requests (llmctl): payload is a JSON object each way */
	LLM_PACKET_CONTROL = 32,
	LLM_PACKET_REPLY = 33,
};

struct llm_hello {
	__u32 abi;	    /*  0 LLM_ABI */
	__u32 max_requests; /*  4 1..LLM_MAX_REQUESTS */
	__u32 ring_bytes;   /*  8 power of two, >= max_requests * LLM_ROOM, <= LLM_MAX_RING_BYTES */
	__u32 pad;	    /* 12 zero */
	__u64 features;	    /* 16 zero in this version */
	char name[32];	    /* 24 program's name for people, never believed */
};

/*
 * WELCOME: two memfds come with it by SCM_RIGHTS, sealed SHRINK | GROW | SEAL:
 *	[0] K page, P page, D map_bytes, in this order, sealed FUTURE_WRITE: read only
 *	[1] C page
 */
struct llm_welcome {
	__u32 abi;			/*   0 */
	__u32 session_id;		/*   4 */
	__u64 id_base;			/*   8 LLM_ID_SOCKET | session << 32: the client's ids */
	__u64 features;			/*  16 */
	__u64 body_bytes;		/*  24 credit: bytes of bodies without END */
	__u32 max_body_bytes;		/*  32 */
	__u32 max_requests;		/*  36 */
	struct llm_ring_layout ring;	/*  40 */
	__u32 context_tokens;		/*  56 the model's context here */
	__u32 vocab_size;		/*  60 */
	char model[LLM_MAX_MODEL_LEN];	/*  64 name, terminated */
	__u64 token_bytes;		/* 192 of weights, read to decode one token; 0: unknown */
};

struct llm_refused {
	__s32 status;		       /* 0 -errno */
	__u32 pad;		       /* 4 zero */
	__u64 got, limit;	       /* 8 */
	char message[LLM_MESSAGE_MAX]; /* 24 terminated */
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct llm_record) == 24, "record layout");
_Static_assert(sizeof(struct llm_tokens) == 24, "TOKENS layout");
_Static_assert(sizeof(struct llm_end) == 80 + LLM_MESSAGE_MAX, "END layout");
_Static_assert(sizeof(struct llm_body) == 64, "body layout");
_Static_assert(sizeof(struct llm_packet) == 24, "packet layout");
_Static_assert(sizeof(struct llm_hello) == 56, "HELLO layout");
_Static_assert(sizeof(struct llm_welcome) == 200, "WELCOME layout");
_Static_assert(sizeof(struct llm_refused) == 280, "REFUSED layout");
/* The largest END + TOKENS + LOGPROBS of one request in one step. */
_Static_assert(sizeof(struct llm_record) * 3 + sizeof(struct llm_end) + sizeof(struct llm_tokens) +
		       LLM_TOKENS_MAX_IDS * 4 + LLM_TOKENS_MAX_TEXT + 8 + LLM_LOGPROBS_MAX * 8 <=
		       LLM_ROOM,
	       "LLM_ROOM holds a request's largest step");
#endif

#endif
