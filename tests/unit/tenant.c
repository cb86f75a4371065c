/* SPDX-License-Identifier: MIT */
/*
 * Who is charged for a uid, also when the table is full; every limit and quota holds at its exact
 * number and says both numbers.
 * Marks: san
 */
#include <errno.h>

#include "daemon/tenant.h"
#include "tests/test.h"

static struct config_tenant named[2] = {
	{.name = "lab", .uids = {500, 501}, .n_uids = 2, .weight = 3},
	{.name = "web",
	 .uids = {600},
	 .n_uids = 1,
	 .max_connections = 1,
	 .max_prompt_tokens = 100,
	 .max_output_tokens = 50,
	 .quota_requests = 1000,
	 .quota_tokens = 100000},
};

static struct config config = {
	.limits = {.uid_connections = 2, .uid_requests = 10, .uid_ring_bytes = 1u << 20,
		   .uid_body_bytes = 1000},
	.tenants = named,
	.n_tenants = 2,
};

static struct tenant_table *make(uint32_t max)
{
	struct tenant_table_args args = {.config = &config, .max_tenants = max};
	struct tenant_table *t;

	CHECK_EQ(tenant_table_create(&args, &t, NULL), 0);
	return t;
}

static void test_names(void)
{
	struct tenant_table *t = make(0);
	struct tenant *a = tenant_get(t, 500), *b = tenant_get(t, 501), *c = tenant_get(t, 77);
	struct tenant *d = tenant_get(t, 77), *e = tenant_get(t, 78);

	CHECK(a == b);
	CHECK_STR(a->name, "lab");
	CHECK_EQ(a->weight, 3);
	CHECK_EQ(a->n_refs, 2);
	CHECK(c == d && c != e);
	CHECK_STR(c->name, "uid:77");
	CHECK_EQ(c->limits.max_connections, 2);
	CHECK(memcmp(c->secret, e->secret, sizeof(c->secret)) != 0);
	CHECK_EQ(tenant_get(t, 600)->limits.max_connections, 1);
	tenant_table_destroy(t);
}

/* default, lab, web and two places. */
static void test_full(void)
{
	struct tenant_table *t = make(5);
	struct tenant *a = tenant_get(t, 1), *b = tenant_get(t, 2), *c = tenant_get(t, 3), *d;

	CHECK_STR(a->name, "uid:1");
	CHECK_STR(b->name, "uid:2");
	CHECK_STR(c->name, "default");
	d = tenant_get(t, 4);
	CHECK(d == c);
	CHECK_EQ(d->n_refs, 2);
	tenant_put(t, c);
	tenant_put(t, d);
	/* Both leave; 2 was idle first, so its place goes first. 1 keeps what it was. */
	a->used_tokens = 7;
	tenant_put(t, b);
	tenant_put(t, a);
	c = tenant_get(t, 3);
	CHECK_STR(c->name, "uid:3");
	a = tenant_get(t, 1);
	CHECK_STR(a->name, "uid:1");
	CHECK_EQ(a->used_tokens, 7);
	CHECK_STR(tenant_get(t, 2)->name, "default");
	/* A part-used quota is not forgotten by leaving. */
	a->limits.quota_tokens = 100;
	tenant_put(t, a);
	CHECK_STR(tenant_get(t, 9)->name, "default");
	CHECK_STR(tenant_get(t, 600)->name, "web");
	tenant_table_destroy(t);
}

static void test_sessions(void)
{
	struct tenant_table *t = make(0);
	struct tenant *n = tenant_get(t, 1);
	struct tenant_want w = {.max_requests = 4, .ring_bytes = 1u << 19};
	uint64_t numbers[2] = {0};
	struct error err = {0};

	CHECK_EQ(tenant_charge_session(n, &w, numbers, &err), 0);
	w.max_requests = 7;
	CHECK_EQ(tenant_charge_session(n, &w, numbers, &err), -ENOBUFS);
	CHECK_EQ(numbers[0], 11);
	CHECK_EQ(numbers[1], 10);
	CHECK_STR(err.text, "uid:1 would have 11 requests at once, at most 10 are allowed");
	w = (struct tenant_want){.max_requests = 6, .ring_bytes = (1u << 19) + 8};
	CHECK_EQ(tenant_charge_session(n, &w, numbers, &err), -ENOBUFS);
	CHECK_EQ(numbers[1], 1u << 20);
	w.ring_bytes = 1u << 19;
	CHECK_EQ(tenant_charge_session(n, &w, numbers, &err), 0);
	w = (struct tenant_want){0};
	CHECK_EQ(tenant_charge_session(n, &w, numbers, &err), -ENOBUFS);
	CHECK_STR(err.text, "uid:1 would have 3 connections, at most 2 are allowed");
	tenant_uncharge_session(n, &(struct tenant_want){6, 1u << 19});
	tenant_uncharge_session(n, &(struct tenant_want){4, 1u << 19});
	CHECK_EQ(n->n_sessions + n->n_granted + n->ring_bytes, 0);
	tenant_table_destroy(t);
}

static int charge(struct tenant *n, uint32_t n_prompt, uint32_t max_tokens,
		  struct tenant_request *q)
{
	*q = (struct tenant_request){
		.n_prompt = n_prompt, .room_tokens = 8000, .max_tokens = max_tokens};
	return tenant_charge_request(n, q, NULL);
}

static void test_requests(void)
{
	struct tenant_table *t = make(0);
	struct tenant *n = tenant_get(t, 600), *free_one = tenant_get(t, 1);
	struct tenant_request q;

	CHECK_EQ(charge(free_one, 5000, LLM_UNSET, &q), 0);
	CHECK_EQ(q.max_tokens, 8000);
	CHECK_EQ(charge(n, 101, 1, &q), -EDQUOT);
	CHECK_EQ(q.field, LLM_FIELD_PROMPT);
	CHECK_EQ(q.got, 101);
	CHECK_EQ(q.limit, 100);
	CHECK_EQ(charge(n, 100, 51, &q), -EDQUOT);
	CHECK_EQ(q.field, LLM_FIELD_MAX_TOKENS);
	CHECK_EQ(charge(n, 100, LLM_UNSET, &q), 0);
	CHECK_EQ(q.max_tokens, 50);
	CHECK_EQ(n->reserved_tokens, 150);
	tenant_uncharge_request(n, 100, 50, 10);
	CHECK_EQ(n->reserved_tokens, 0);
	CHECK_EQ(n->used_tokens, 110);
	/* Request 1,000 of 1,000 is the last. */
	n->used_requests = 999;
	CHECK_EQ(charge(n, 1, 1, &q), 0);
	tenant_uncharge_request(n, 1, 1, 1);
	CHECK_EQ(charge(n, 1, 1, &q), -EDQUOT);
	CHECK_EQ(q.got, 1001);
	CHECK_EQ(q.limit, 1000);
	CHECK_EQ(q.field, LLM_FIELD_QUOTA);
	/* Tokens: what live requests may still use counts. */
	n->limits.quota_requests = 0;
	n->used_tokens = 100000 - 60;
	CHECK_EQ(charge(n, 20, 20, &q), 0);
	CHECK_EQ(charge(n, 10, 11, &q), -EDQUOT);
	CHECK_EQ(q.got, 11);
	CHECK_EQ(q.limit, 10);
	CHECK_EQ(charge(n, 20, LLM_UNSET, &q), -EDQUOT);
	CHECK_EQ(charge(n, 15, LLM_UNSET, &q), 0);
	CHECK_EQ(q.max_tokens, 5);
	CHECK_EQ(charge(n, 1, 1, &q), -EDQUOT);
	tenant_table_destroy(t);
}

static void test_config(void)
{
	struct tenant_table_args args = {.config = &config, .max_tenants = 2};
	struct tenant_table *t;
	struct error err = {0};

	CHECK_EQ(tenant_table_create(&args, &t, &err), -EINVAL);
	CHECK_STR(err.text, "2 tenants are configured, at most 1 are possible");
	named[1].uids[0] = 501;
	args.max_tenants = 0;
	CHECK_EQ(tenant_table_create(&args, &t, &err), -EINVAL);
	CHECK_STR(err.text, "tenant web: uid 501 is also of tenant lab");
	named[1].uids[0] = 600;
}

int main(void)
{
	test_names();
	test_full();
	test_sessions();
	test_requests();
	test_config();
	return test_done();
}
