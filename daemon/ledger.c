/* SPDX-License-Identifier: MIT */
/*
 * ledger: see daemon/ledger.h.
 */
#include "daemon/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/kvcache.h"
#include "daemon/log.h"

#define MAX_PATH 4096
#define MAX_PAGES (1u << 24)

/* A number at the beginning of a file; "max", or no file: UINT64_MAX. */
static uint64_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t v;

	if (!f)
		return UINT64_MAX;
	if (fscanf(f, "%" SCNu64, &v) != 1)
		v = UINT64_MAX;
	fclose(f);
	return v;
}

/* What the cgroup (v2) and those above it have left. */
static uint64_t cgroup_left(void)
{
	static const char root[] = "/sys/fs/cgroup";
	char path[MAX_PATH] = "", file[2 * MAX_PATH + 64];
	FILE *f = fopen("/proc/self/cgroup", "re");
	uint64_t least = UINT64_MAX;
	char *slash;

	if (!f)
		return least;
	while (fgets(path, sizeof(path), f) && strncmp(path, "0::/", 4))
		*path = 0;
	fclose(f);
	if (strncmp(path, "0::/", 4))
		return least;
	path[strcspn(path, "\n")] = 0;
	for (slash = path + strlen(path); slash; slash = strrchr(path + 3, '/')) {
		uint64_t max, used;

		*slash = 0;
		snprintf(file, sizeof(file), "%s%s/memory.max", root, path + 3);
		max = number_in(file);
		snprintf(file, sizeof(file), "%s%s/memory.current", root, path + 3);
		used = number_in(file);
		if (max != UINT64_MAX && used != UINT64_MAX &&
		    (max > used ? max - used : 0) < least)
			least = max > used ? max - used : 0;
	}
	return least;
}

uint64_t ledger_available_bytes(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kib = 0, left = cgroup_left();
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024 < left ? kib * 1024 : left;
}

const char *ledger_bytes(uint64_t bytes, char text[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double v = (double)bytes;
	int i = 0;

	for (; v >= 1024 && i < 4; i++)
		v /= 1024;
	snprintf(text, 32, i ? "%.2f %s" : "%.0f %s", v, units[i]);
	return text;
}

/* Pages that the configuration asks for, or those for max_seqs full contexts in our share. */
static uint64_t wanted_pages(const struct config *c, const struct ledger *l, uint64_t left)
{
	uint64_t share = l->budget_bytes / 100 * LEDGER_KV_PERCENT;
	uint64_t all = (uint64_t)c->max_seqs * kvcache_pages_for(l->context_tokens);

	if (c->kv_pages)
		return c->kv_pages;
	if (c->kv.is_set && c->kv.percent)
		return l->budget_bytes / 100 * c->kv.percent / l->page_bytes;
	if (c->kv.is_set)
		return c->kv.bytes / l->page_bytes;
	if (share > left)
		share = left;
	if (all > MAX_PAGES)
		all = MAX_PAGES;
	return all < share / l->page_bytes ? all : share / l->page_bytes;
}

int ledger_plan(const struct ledger_args *args, struct ledger *out, struct error *err)
{
	const struct config *c = args->config;
	const struct engine_info *info = args->info;
	struct ledger l = {.budget_bytes = args->budget_bytes,
			   .weights_bytes = info->weights_bytes,
			   .workspace_bytes = info->workspace_bytes,
			   .context_tokens = args->context_tokens};
	uint64_t used = l.weights_bytes + l.workspace_bytes, left, pages;
	char text[4][32];

	if (used > l.budget_bytes)
		return error_set(err, -ENOSPC, "weights and workspace take %s, %s were available",
				 ledger_bytes(used, text[0]),
				 ledger_bytes(l.budget_bytes, text[1]));
	left = l.budget_bytes - used;
	for (uint32_t i = 0; i < info->n_kv_groups; i++)
		l.page_bytes += info->kv_groups[i].page_bytes;
	if (!l.page_bytes)
		return error_set(err, -EINVAL, "engine %s: KV pages of 0 bytes", info->name);
	pages = wanted_pages(c, &l, left);
	if (pages > MAX_PAGES || pages > left / l.page_bytes)
		return error_set(err, -ENOSPC,
				 "the KV cache shall have %" PRIu64 " pages, %s; of %s available "
				 "weights and workspace leave %s",
				 pages, ledger_bytes(pages * l.page_bytes, text[0]),
				 ledger_bytes(l.budget_bytes, text[1]),
				 ledger_bytes(left, text[2]));
	if (!pages)
		return error_set(err, -ENOSPC, "the KV cache shall have %s, one page takes %s",
				 ledger_bytes(c->kv.is_set ? c->kv.bytes : left, text[0]),
				 ledger_bytes(l.page_bytes, text[1]));
	l.n_pages = (uint32_t)pages;
	l.n_kv_tokens = pages * KVCACHE_PAGE_TOKENS;
	l.kv_bytes = pages * l.page_bytes;
	l.reserve_bytes = left - l.kv_bytes;
	*out = l;
	return 0;
}

void ledger_print(const struct ledger *l, struct log *to)
{
	char text[32];

	log_info(to, "weights    %12s", ledger_bytes(l->weights_bytes, text));
	log_info(to, "workspace  %12s", ledger_bytes(l->workspace_bytes, text));
	log_info(to, "KV cache   %12s  %u pages of %d = %" PRIu64 " tokens, f16",
		 ledger_bytes(l->kv_bytes, text), l->n_pages, KVCACHE_PAGE_TOKENS, l->n_kv_tokens);
	log_info(to, "reserve    %12s", ledger_bytes(l->reserve_bytes, text));
	log_info(to, "budget     %12s  the memory available at start",
		 ledger_bytes(l->budget_bytes, text));
	if (l->n_kv_tokens < l->context_tokens)
		log_warn(to,
			 "the KV cache holds %" PRIu64 " tokens, the context has %u: a request "
			 "that may need more is refused",
			 l->n_kv_tokens, l->context_tokens);
}
