/* SPDX-License-Identifier: MIT */
/*
 * ledger: where the memory goes, in an account that must close:
 *
 *	weights + workspace + KV + reserve = budget
 *
 * The budget is the memory available at start, before anything was loaded; the reserve is what
 * nobody planned for. `ledger_plan()` is arithmetic alone, so that a planning tool can ask it
 * about machines that are not there. Called by `main()` once.
 */
#ifndef DEVLLM_LEDGER_H
#define DEVLLM_LEDGER_H

#include <stdint.h>

#include "daemon/config.h"
#include "daemon/engine.h"
#include "daemon/error.h"

#define LEDGER_KV_PERCENT 25 /* most of the budget that KV takes when nobody said how much */

struct log;

struct ledger {
	uint64_t budget_bytes;
	uint64_t weights_bytes;
	uint64_t workspace_bytes;
	uint64_t kv_bytes;	/* n_pages x page_bytes */
	uint64_t reserve_bytes;
	uint64_t page_bytes;	/* one page of each KV group */
	uint32_t n_pages;	/* in each group */
	uint64_t n_kv_tokens;	/* n_pages x 32 */
	uint32_t context_tokens;
};

/* Memory that may still be had: MemAvailable, or less where a cgroup above us has less left. */
uint64_t ledger_available_bytes(void);

struct ledger_args {
	const struct config *config;	 /* what was asked for */
	const struct engine_info *info;	 /* what is there */
	uint64_t budget_bytes;
	uint32_t context_tokens;	 /* most of one request */
};

/*
 * Sizes the KV pool and closes the account. -ENOSPC with err (the
 * numbers of the account) when what was asked for does not fit.
 */
int ledger_plan(const struct ledger_args *args, struct ledger *out, struct error *err);

/* One line per entry. */
void ledger_print(const struct ledger *l, struct log *to);

/* bytes as "1.25 GiB" into text, which is returned. */
const char *ledger_bytes(uint64_t bytes, char text[32]);

#endif
