/* SPDX-License-Identifier: MIT */
/*
 * tiny_daemon: the daemon's parts that requests touch, without engine, loop and sockets, so that a
 * unit test plays heart, door and client itself, step by step, in one thread.
 *
 *	tiny_init(), tiny_session(), tiny_submit(), tiny_step() ..., tiny_next() as the client,
 *tiny_exit()
 */
#ifndef DEVLLM_TINY_DAEMON_H
#define DEVLLM_TINY_DAEMON_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/intake.h"
#include "daemon/outflow.h"
#include "daemon/session.h"
#include "daemon/tenant.h"
#include "tests/test.h"
#include "uapi/llm_ring.h"

enum { TINY_PAGES = 64, TINY_CONTEXT = 1024, TINY_VOCAB = 49152 };

struct tiny {
	struct daemon d;
	struct config config;
	unsigned n_kicks, n_broken;		   /* of all sessions */
	uint32_t (*draw)(const struct request *r); /* the model: the id of a row */
};

/* The client's side of one session. */
struct tiny_client {
	struct session *s;
	struct llm_ring ring;
	struct llm_ring_producer *p;
	struct llm_ring_consumer *c;
	unsigned char *data;
};

static inline void tiny_kick(struct session *s)
{
	((struct tiny *)s->door_data)->n_kicks++;
}

static inline void tiny_broken(struct session *s)
{
	((struct tiny *)s->door_data)->n_broken++;
	session_destroy(s);
}

static const struct session_door tiny_door = {
	.name = "tiny", .kick = tiny_kick, .broken = tiny_broken};

static inline void tiny_init(struct tiny *t)
{
	struct sched_config sched = {
		.step_tokens = 64, .max_seqs = 16, .w_prompt = 1, .w_output = 2};
	struct tenant_table_args tenants = {.config = &t->config};
	uint32_t n_pages = TINY_PAGES;

	memset(t, 0, sizeof(*t));
	t->config.limits = (struct config_limits){
		.max_requests = 1000, .max_body_bytes = 1u << 20, .body_credit_bytes = 1u << 22};
	t->d.config = &t->config;
	t->d.info.n_vocab = TINY_VOCAB;
	t->d.context_tokens = TINY_CONTEXT;
	strcpy(t->d.model_name, "tiny");
	CHECK_EQ(kvcache_create(1, &n_pages, &t->d.kv), 0);
	CHECK_EQ(sched_create(&sched, t->d.kv, NULL, &t->d.sched), 0);
	tenants.sched = t->d.sched;
	CHECK_EQ(tenant_table_create(&tenants, &t->d.tenants, NULL), 0);
}

static inline struct session *tiny_session(struct tiny *t, uint32_t max_requests,
					   uint32_t ring_bytes)
{
	struct session_args args = {.daemon = &t->d,
				    .tenant = tenant_get(t->d.tenants, 1),
				    .door = &tiny_door,
				    .door_data = t,
				    .id = t->d.n_sessions + 1,
				    .name = "test",
				    .max_requests = max_requests,
				    .ring_bytes = ring_bytes};
	struct session *s;

	CHECK_EQ(session_create(&args, &s, NULL), 0);
	return s;
}

static inline void tiny_exit(struct tiny *t)
{
	while (t->d.sessions)
		session_destroy(t->d.sessions);
	request_reap(&t->d);
	CHECK_EQ(t->d.n_requests, 0);
	CHECK(!t->d.ended && !t->d.busy && !t->d.written && !t->d.intake_turn);
	CHECK_EQ(t->d.deadlines.n, 0);
	CHECK_EQ(kvcache_pages_free(t->d.kv, 0), TINY_PAGES);
	tokenizer_destroy(t->d.tokenizer);
	tenant_table_destroy(t->d.tenants);
	sched_destroy(t->d.sched);
	kvcache_destroy(t->d.kv);
}

/* A byte-level BPE vocabulary of 512: <|unk|>, <|bos|>, <|eos|>, the 256 bytes (TINY_BYTE), merges.
 */
enum { TINY_EOS = 2, TINY_BYTE = 3, TINY_BPE_VOCAB = 512 };

static inline void tiny_tokenizer(struct tiny *t)
{
	const char *build = getenv("BUILD"), *dir = getenv("TMPDIR");
	struct error err = {0};
	struct gguf *g = NULL;
	char path[512], command[1200];

	snprintf(path, sizeof(path), "%s/tiny.%d.gguf", dir ? dir : "/tmp", (int)getpid());
	snprintf(command, sizeof(command), "%s/tests/mkmodel --vocab %d %s",
		 build ? build : "build", TINY_BPE_VOCAB, path);
	CHECK_EQ(system(command), 0);
	CHECK_EQ(gguf_open(path, &g, &err), 0);
	CHECK_EQ(tokenizer_create(g, &t->d.tokenizer, &err), 0);
	CHECK_STR(err.text, "");
	gguf_close(g);
	unlink(path);
	t->d.info.n_vocab = TINY_BPE_VOCAB;
}

/* One turn of the heart. Returns how many rows ran. */
static inline uint32_t tiny_step(struct tiny *t)
{
	struct daemon *d = &t->d;
	struct plan plan;

	session_sweep(d);
	while (intake_run(d))
		;
	session_grant(d, clock_now_ns());
	sched_plan(d->sched, 64, &plan);
	if (plan.n_rows)
		sched_advance(d->sched, &plan);
	for (uint32_t i = 0; i < plan.n_rows; i++) {
		struct request *r = plan.rows[i].seq->owner;

		if (!r->times.admitted_ns)
			r->times.admitted_ns = clock_now_ns();
		if (plan.rows[i].needs_logits)
			outflow_token(r, t->draw ? t->draw(r) : r->n_output, clock_now_ns());
	}
	outflow_flush(d);
	request_reap(d);
	return plan.n_rows;
}

/* ---- bodies -------------------------------------------------------------------------------- */

struct tiny_body {
	_Alignas(8) unsigned char bytes[8192];
	size_t len;
};

static inline struct llm_body *tiny_body_begin(struct tiny_body *b)
{
	struct llm_body *h = (struct llm_body *)b->bytes;

	memset(b, 0, sizeof(*b));
	*h = (struct llm_body){.size = sizeof(*h),
			       .flags = LLM_BODY_RAW,
			       .max_tokens = LLM_UNSET,
			       .top_p = 1,
			       .repetition_penalty = 1};
	b->len = sizeof(*h);
	return h;
}

static inline void tiny_body_add(struct tiny_body *b, uint32_t type, const void *data, uint32_t len)
{
	struct llm_tlv tlv = {.type = type, .len = len};

	memcpy(b->bytes + b->len, &tlv, sizeof(tlv));
	if (len)
		memcpy(b->bytes + b->len + sizeof(tlv), data, len);
	b->len += sizeof(tlv) + ((len + 7) & ~7u);
	((struct llm_body *)b->bytes)->n_tlvs++;
}

/* number: of the id; as the door does after its checks. */
static inline void tiny_submit(struct session *s, uint32_t number, const struct tiny_body *b)
{
	struct llm_packet head = {.type = LLM_PACKET_SUBMIT,
				  .request_id = LLM_ID_SOCKET | (uint64_t)s->id << 32 | number,
				  .user_data = number};

	s->last_number = number;
	intake_submit(s, &head, b->bytes, b->len);
}

/* Three ids and max_tokens. */
static inline void tiny_submit_ids(struct session *s, uint32_t number, uint32_t max_tokens)
{
	static const uint32_t ids[3] = {1, 2, 3};
	struct tiny_body b;

	tiny_body_begin(&b)->max_tokens = max_tokens;
	tiny_body_add(&b, LLM_TLV_IDS, ids, sizeof(ids));
	tiny_submit(s, number, &b);
}

/* ---- the client ---------------------------------------------------------------------------- */

/* Maps the session's memfds as a client does. */
static inline void tiny_attach(struct tiny_client *k, struct session *s)
{
	const struct llm_ring_layout *l = &s->memory.layout;
	size_t page = l->page_bytes, data = l->map_bytes;
	unsigned char *at =
		mmap(NULL, 2 * page + 2 * data, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	k->s = s;
	CHECK(at != MAP_FAILED);
	CHECK(mmap(at, 2 * page + data, PROT_READ, MAP_SHARED | MAP_FIXED, s->memory.fds[0], 0) ==
	      at);
	CHECK(mmap(at + 2 * page + data, data, PROT_READ, MAP_SHARED | MAP_FIXED, s->memory.fds[0],
		   (off_t)(2 * page)) == at + 2 * page + data);
	k->p = (struct llm_ring_producer *)(void *)(at + page);
	k->data = at + 2 * page;
	k->c = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, s->memory.fds[1], 0);
	CHECK((void *)k->c != MAP_FAILED);
	CHECK_EQ(llm_ring_init(&k->ring, l, k->p, k->c, k->data), 0);
}

static inline void tiny_detach(struct tiny_client *k)
{
	size_t page = 4096;

	munmap(k->c, page);
	munmap((unsigned char *)k->data - 2 * page, 2 * page + 2 * ((size_t)k->ring.mask + 1));
}

/* The next record, taken; false: none. */
static inline bool tiny_next(struct tiny_client *k, struct llm_record *head,
			     const unsigned char **payload)
{
	const void *at;
	int rc = llm_ring_peek(&k->ring, head, &at);

	CHECK(rc >= 0);
	if (rc <= 0)
		return false;
	*payload = at;
	llm_ring_take(&k->ring, head->len);
	return true;
}

#endif
