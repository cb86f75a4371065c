/* SPDX-License-Identifier: MIT */
/*
 * Proves that the account of memory closes to the byte, that the KV pool is what was asked for or
 * is refused with the numbers, and the sizing rules that people quote for an 8B model.
 */
#include "tests/test.h"

#include <errno.h>

#include "daemon/ledger.h"

#define GB 1000000000ull

/* 32 layers x 8 KV heads x 128 x f16 x (K, V): 131,072 bytes a token. */
static const struct engine_info info_8b = {
	.weights_bytes = 16 * GB, .n_kv_groups = 1, .kv_groups = {{.page_bytes = 131072 * 32}}};

static int plan(const struct config *c, const struct engine_info *info, uint64_t budget,
		struct ledger *l, struct error *err)
{
	const struct ledger_args args = {
		.config = c, .info = info, .budget_bytes = budget, .context_tokens = 8192};
	int rc = ledger_plan(&args, l, err);

	if (!rc)
		CHECK(l->weights_bytes + l->workspace_bytes + l->kv_bytes + l->reserve_bytes ==
		      l->budget_bytes);
	return rc;
}

static void test_quoted_rules(void)
{
	struct config c = {.max_seqs = 64, .kv = {.is_set = true, .bytes = 4 * GB}};
	struct error err = {0};
	struct ledger l;

	CHECK_EQ(plan(&c, &info_8b, 20 * GB, &l, &err), 0);
	CHECK_EQ(l.n_pages, 953);
	CHECK_EQ(l.n_kv_tokens, 30496);
	CHECK_EQ(l.n_pages / (8192 / 32), 3); /* requests of 8,192 tokens */
	c.kv.bytes = 8 * GB;
	CHECK_EQ(plan(&c, &info_8b, 24 * GB, &l, &err), 0);
	CHECK_EQ(l.n_kv_tokens, 8 * GB / 131072 / 32 * 32);
	CHECK_EQ(plan(&c, &info_8b, 20 * GB, &l, &err), -ENOSPC);
	CHECK(strstr(err.text, "1907 pages, 7.45 GiB") != NULL);
	CHECK(strstr(err.text, "18.63 GiB available") && strstr(err.text, "leave 3.73 GiB"));
}

static void test_defaults(void)
{
	struct config c = {.max_seqs = 4};
	struct engine_info two = {.workspace_bytes = 123,
				  .n_kv_groups = 2,
				  .kv_groups = {{.page_bytes = 1000}, {.page_bytes = 24}}};
	struct error err = {0};
	struct ledger l;

	/* Four full contexts where there is room for them... */
	CHECK_EQ(plan(&c, &two, GB, &l, &err), 0);
	CHECK_EQ(l.page_bytes, 1024);
	CHECK_EQ(l.n_pages, 4 * 256);
	/* ... and a quarter of the budget where there is not. */
	CHECK_EQ(plan(&c, &two, 1000000, &l, &err), 0);
	CHECK_EQ(l.n_pages, 250000 / 1024);
	/* No more than what weights leave. */
	CHECK_EQ(plan(&c, &info_8b, 16 * GB + 10000000, &l, &err), 0);
	CHECK_EQ(l.n_pages, 2);
	CHECK_EQ(plan(&c, &info_8b, 16 * GB + 1, &l, &err), -ENOSPC);
	CHECK(strstr(err.text, "one page takes 4.00 MiB") != NULL);
	CHECK_EQ(plan(&c, &info_8b, 16 * GB - 1, &l, &err), -ENOSPC);
	CHECK(strstr(err.text, "weights and workspace take 14.90 GiB") != NULL);
	c.kv_pages = 7;
	CHECK_EQ(plan(&c, &two, 1000000, &l, &err), 0);
	CHECK_EQ(l.n_pages, 7);
	c = (struct config){.max_seqs = 4, .kv = {.is_set = true, .percent = 50}};
	CHECK_EQ(plan(&c, &two, 1000000, &l, &err), 0);
	CHECK_EQ(l.n_pages, 500000 / 1024);
	/* 4,096 requests of a million tokens: no overflow, the number of pages is bounded. */
	c = (struct config){.max_seqs = 1u << 20, .kv = {.is_set = true, .bytes = UINT64_MAX}};
	CHECK_EQ(plan(&c, &two, UINT64_MAX, &l, &err), -ENOSPC);
	c.kv.is_set = false;
	CHECK_EQ(plan(&c, &two, UINT64_MAX, &l, &err), 0);
	CHECK_EQ(l.n_pages, 1u << 24);
}

int main(void)
{
	char text[32];

	test_quoted_rules();
	test_defaults();
	CHECK_STR(ledger_bytes(1023, text), "1023 B");
	CHECK_STR(ledger_bytes(1536, text), "1.50 KiB");
	CHECK_STR(ledger_bytes(UINT64_MAX, text), "16777216.00 TiB");
	CHECK(ledger_available_bytes() > 1 << 20);
	return test_done();
}
