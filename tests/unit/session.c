/* SPDX-License-Identifier: MIT */
/*
 * A session's producer side: seals, credit to the byte, ENDs that wait for a client who gives
 * nothing back, sleeping only when there is nothing to do, and liars who hurt only themselves.
 * Marks: san
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/tiny_daemon.h"

/* What a client may do with its descriptors. */
static void test_seals(void)
{
	const int both = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct tiny t;
	struct session *s;
	struct llm_ring_state *k;

	tiny_init(&t);
	s = tiny_session(&t, 2, 4096);
	CHECK_EQ(fcntl(s->memory.fds[0], F_GET_SEALS) & (both | F_SEAL_FUTURE_WRITE),
		 both | F_SEAL_FUTURE_WRITE);
	CHECK_EQ(fcntl(s->memory.fds[1], F_GET_SEALS) & (both | F_SEAL_FUTURE_WRITE), both);
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->memory.fds[0], 0) ==
	      MAP_FAILED);
	CHECK(pwrite(s->memory.fds[0], "x", 1, 0) < 0);
	CHECK(ftruncate(s->memory.fds[0], 0) < 0);
	CHECK(ftruncate(s->memory.fds[1], 0) < 0);
	CHECK(ftruncate(s->memory.fds[1], 1 << 20) < 0);
	k = mmap(NULL, 4096, PROT_READ, MAP_SHARED, s->memory.fds[0], 0);
	CHECK_EQ(k->magic, LLM_RING_MAGIC);
	CHECK_EQ(k->abi, LLM_ABI);
	CHECK_EQ(k->session_id, s->id);
	CHECK_EQ(k->closed, 0);
	/* The daemon's end of it: D is there twice, and C starts with `waiting`. */
	((unsigned char *)s->memory.data)[0] = 0x5a;
	CHECK_EQ(((unsigned char *)s->memory.data)[4096], 0x5a);
	CHECK_EQ(s->memory.c->waiting, 1);
	session_destroy(s);
	CHECK_EQ(k->closed, 1);
	CHECK_EQ(k->state_seq, 2);
	munmap(k, 4096);
	tiny_exit(&t);
}

struct tally {
	uint32_t n_tokens[8], n_ends[8]; /* by number of the id */
};

static void read_all(struct tiny_client *k, struct tally *y, bool gives)
{
	const unsigned char *at;
	struct llm_record r;

	while (tiny_next(k, &r, &at)) {
		uint32_t number = (uint32_t)r.request_id;
		struct llm_tokens tokens;

		CHECK_EQ(r.user_data, number);
		if (r.type == LLM_RECORD_END) {
			y->n_ends[number]++;
			continue;
		}
		memcpy(&tokens, at, sizeof(tokens));
		CHECK_EQ(tokens.first_index, y->n_tokens[number]);
		y->n_tokens[number] += tokens.n;
	}
	if (gives)
		llm_ring_give(&k->ring);
}

/* The smallest ring for two: credit for both when drained; a client that sleeps stalls; R4. */
static void test_credit(void)
{
	struct tiny t;
	struct tiny_client k;
	struct tally y = {0};
	struct session *s;
	uint32_t room, n_steps = 0;

	tiny_init(&t);
	s = tiny_session(&t, 2, 2 * LLM_ROOM);
	tiny_attach(&k, s);
	tiny_submit_ids(s, 1, 300);
	tiny_submit_ids(s, 2, 300);
	CHECK_EQ(tiny_step(&t), 2);
	while (tiny_step(&t))
		CHECK(++n_steps < 100);
	/* Both ran while both had room, then one, then none; room for the ENDs is left. */
	room = (uint32_t)llm_ring_room(&s->ring);
	CHECK(room >= 2 * SESSION_END_BYTES);
	CHECK(room < 2 * SESSION_END_BYTES + SESSION_STEP_BYTES);
	CHECK_EQ(s->is_short, true);
	CHECK_EQ(s->n_credit, 0);
	CHECK_EQ(s->memory.p->stalled, 0);
	CHECK_EQ(session_may_sleep(&t.d), true);
	CHECK_EQ(s->memory.p->stalled, 1);
	/* The client reads without giving back: nothing changes. */
	read_all(&k, &y, false);
	CHECK_EQ(tiny_step(&t), 0);
	CHECK_EQ(session_may_sleep(&t.d), true);
	/* It gives: says ROOM, and the daemon may not sleep before it has looked. */
	CHECK(llm_ring_give(&k.ring));
	CHECK_EQ(session_may_sleep(&t.d), false);
	CHECK_EQ(tiny_step(&t), 2);
	CHECK_EQ(s->is_short, false);
	CHECK_EQ(s->memory.p->stalled, 0);
	for (int i = 0; i < 400 && t.d.n_requests; i++) {
		tiny_step(&t);
		read_all(&k, &y, true);
	}
	for (int i = 1; i <= 2; i++) {
		CHECK_EQ(y.n_tokens[i], 300);
		CHECK_EQ(y.n_ends[i], 1);
	}
	CHECK(t.n_kicks > 0);
	tiny_detach(&k);
	tiny_exit(&t);
}

/* A client that takes ENDs and submits again, but never gives space back. */
static void test_unsent(void)
{
	struct tiny t;
	struct tiny_client k;
	struct tally y = {0};
	struct session *s;
	uint32_t n = 0;

	tiny_init(&t);
	s = tiny_session(&t, 1, LLM_ROOM);
	tiny_attach(&k, s);
	/* Refusals (max_tokens 0): an END each, no credit needed. The ring holds five. */
	while (s->n_requests < s->max_requests && n < 100) {
		tiny_submit_ids(s, ++n, 0);
		tiny_step(&t);
	}
	CHECK_EQ(n, LLM_ROOM / 360 + 1);
	CHECK(s->unsent != NULL);
	CHECK(t.d.ended == s->unsent);
	CHECK_EQ(session_may_sleep(&t.d), true);
	read_all(&k, &y, false);
	tiny_step(&t);
	CHECK(s->unsent != NULL);
	CHECK(llm_ring_give(&k.ring));
	CHECK_EQ(session_may_sleep(&t.d), false);
	tiny_step(&t);
	CHECK(s->unsent == NULL && t.d.ended == NULL);
	CHECK_EQ(s->n_requests, 0);
	memset(&y, 0, sizeof(y));
	read_all(&k, &y, true);
	CHECK_EQ(y.n_ends[n], 1);
	/* And one whose session dies with an END unsent. */
	n = 0;
	while (s->n_requests < s->max_requests && n < 100) {
		tiny_submit_ids(s, 10 + ++n, 0);
		tiny_step(&t);
	}
	CHECK(t.d.ended != NULL);
	tiny_detach(&k);
	tiny_exit(&t);
}

/* Positions that cannot be, each at a time when the daemon has read a good one. */
static void test_lies(void)
{
	static const int64_t lies[] = {8, 4096, -8, -1, 3, INT64_MIN};
	struct tiny t;
	struct tiny_client k, honest;
	struct tally y = {0};

	tiny_init(&t);
	tiny_attach(&honest, tiny_session(&t, 2, 8192));
	tiny_submit_ids(honest.s, 1, 60);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		tiny_attach(&k, tiny_session(&t, 2, 8192));
		close(k.s->memory.fds[0]);
		k.s->memory.fds[0] = -1;
		tiny_submit_ids(k.s, 1, 100);
		tiny_submit_ids(k.s, 2, 100);
		tiny_step(&t);
		tiny_step(&t);
		__atomic_store_n(&k.c->pos, k.p->pos, __ATOMIC_RELEASE);
		tiny_step(&t);
		CHECK_EQ(t.n_broken, i);
		/* Relative to what the daemon has seen (<0) or published (>0). */
		k.c->pos =
			lies[i] < 0 ? k.c->pos + (uint64_t)lies[i] : k.p->pos + (uint64_t)lies[i];
		tiny_step(&t);
		tiny_step(&t);
		CHECK_EQ(t.n_broken, i + 1);
		CHECK_EQ(t.d.n_sessions, 1);
		CHECK_EQ(t.d.n_requests, 1);
		tiny_detach(&k);
		read_all(&honest, &y, true);
	}
	while (t.d.n_requests)
		tiny_step(&t);
	read_all(&honest, &y, true);
	CHECK_EQ(y.n_tokens[1], 60);
	CHECK_EQ(y.n_ends[1], 1);
	tiny_detach(&honest);
	tiny_exit(&t);
}

/* One kick per session and step, however many records; none when the client does not wait. */
static void test_kicks(void)
{
	struct tiny t;
	struct tiny_client k;

	tiny_init(&t);
	tiny_attach(&k, tiny_session(&t, 4, 16384));
	for (uint32_t i = 1; i <= 4; i++)
		tiny_submit_ids(k.s, i, 50);
	CHECK_EQ(tiny_step(&t), 4);
	CHECK_EQ(t.n_kicks, 1);
	k.c->waiting = 0;
	CHECK_EQ(tiny_step(&t), 4);
	CHECK_EQ(t.n_kicks, 1);
	k.c->waiting = 1;
	CHECK_EQ(tiny_step(&t), 4);
	CHECK_EQ(t.n_kicks, 2);
	tiny_detach(&k);
	tiny_exit(&t);
}

int main(void)
{
	test_seals();
	test_credit();
	test_unsent();
	test_lies();
	test_kicks();
	return test_done();
}
