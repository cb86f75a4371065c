/* SPDX-License-Identifier: MIT */
/*
 * tenant: see daemon/tenant.h. A table of a few hundred pointers, looked up once per connection.
 */
#include "daemon/tenant.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/sched.h"
#include "daemon/stats.h"

#define NO_UID ((uid_t)-1)

struct tenant_table {
	const struct config *config;
	struct sched *sched;   /* NULL in tests */
	struct stats *stats;   /* NULL in tests */
	struct tenant **slots; /* [max]; slot 0 is "default", NULL: free */
	uint32_t max;
	uint64_t n_idle;    /* counts tenant_put() */
	uint8_t secret[32]; /* the tenants' secrets are made from it */
};

static struct tenant_limits limits_of_uid(const struct config *c)
{
	return (struct tenant_limits){
		.max_connections = c->limits.uid_connections,
		.max_requests = c->limits.uid_requests,
		.max_ring_bytes = c->limits.uid_ring_bytes,
		.max_body_bytes = c->limits.uid_body_bytes,
	};
}

static int add(struct tenant_table *t, uint32_t slot, const char *name, uint32_t weight)
{
	struct tenant *n = calloc(1, sizeof(*n));
	int index = 0;

	if (!n)
		return -ENOMEM;
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->uid = NO_UID;
	n->weight = weight;
	n->limits = limits_of_uid(t->config);
	/* Of the name: one who comes back finds his debt in the sched, which knows him by it. */
	crypto_generichash(n->secret, sizeof(n->secret), (const unsigned char *)n->name,
			   strlen(n->name), t->secret, sizeof(t->secret));
	if (t->sched)
		index = sched_tenant(t->sched, weight, n->secret);
	if (index < 0) {
		free(n);
		return index;
	}
	n->sched_index = (uint32_t)index;
	if (t->stats)
		n->stats_index = stats_tenant(t->stats, n->name);
	t->slots[slot] = n;
	return 0;
}

static void drop(struct tenant_table *t, uint32_t slot)
{
	if (t->sched)
		sched_tenant_drop(t->sched, t->slots[slot]->sched_index);
	explicit_bzero(t->slots[slot]->secret, sizeof(t->slots[slot]->secret));
	free(t->slots[slot]);
	t->slots[slot] = NULL;
}

/* Index + 1 of the first configured tenant that lists uid; *at: where. 0: none. */
static uint32_t find_configured(const struct config *c, uid_t uid, uint32_t *at)
{
	*at = 0;
	for (uint32_t i = 0; i < c->n_tenants; i++)
		for (uint32_t k = 0; k < c->tenants[i].n_uids; k++)
			if (c->tenants[i].uids[k] == uid) {
				*at = k;
				return i + 1;
			}
	return 0;
}

static int check_uids(const struct config *c, struct error *err)
{
	for (uint32_t i = 0; i < c->n_tenants; i++) {
		const struct config_tenant *n = &c->tenants[i];

		for (uint32_t k = 0; k < n->n_uids; k++) {
			uint32_t at, first = find_configured(c, n->uids[k], &at);

			if (first == i + 1 && at == k)
				continue;
			return error_set(err, -EINVAL, "tenant %s: uid %u is also of tenant %s",
					 n->name, n->uids[k], c->tenants[first - 1].name);
		}
	}
	return 0;
}

static int add_configured(struct tenant_table *t, uint32_t i)
{
	const struct config_tenant *c = &t->config->tenants[i];
	struct tenant *n;
	int rc = add(t, i + 1, c->name, c->weight ? c->weight : 1);

	if (rc)
		return rc;
	n = t->slots[i + 1];
	n->is_configured = true;
	if (c->max_connections)
		n->limits.max_connections = c->max_connections;
	if (c->max_requests)
		n->limits.max_requests = c->max_requests;
	if (c->max_ring_bytes)
		n->limits.max_ring_bytes = c->max_ring_bytes;
	n->limits.max_prompt_tokens = c->max_prompt_tokens;
	n->limits.max_output_tokens = c->max_output_tokens;
	n->limits.quota_requests = c->quota_requests;
	n->limits.quota_tokens = c->quota_tokens;
	return 0;
}

int tenant_table_create(const struct tenant_table_args *args, struct tenant_table **out,
			struct error *err)
{
	const struct config *c = args->config;
	struct tenant_table *t;
	int rc = check_uids(c, err);

	*out = NULL;
	if (rc)
		return rc;
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(err, -ENOMEM, "table of tenants: no memory");
	t->config = c;
	t->sched = args->sched;
	t->stats = args->stats;
	t->max = args->max_tenants ? args->max_tenants : TENANT_TABLE_MAX;
	if (c->n_tenants >= t->max) {
		rc = error_set(err, -EINVAL, "%u tenants are configured, at most %u are possible",
			       c->n_tenants, t->max - 1);
		free(t);
		return rc;
	}
	t->slots = calloc(t->max, sizeof(*t->slots));
	rc = t->slots ? 0 : -ENOMEM;
	if (getrandom(t->secret, sizeof(t->secret), 0) != (ssize_t)sizeof(t->secret))
		rc = -EIO;
	if (!rc)
		rc = add(t, 0, "default", 1);
	if (!rc)
		t->slots[0]->is_configured = true;
	for (uint32_t i = 0; !rc && i < c->n_tenants; i++)
		rc = add_configured(t, i);
	if (rc) {
		tenant_table_destroy(t);
		return error_set(err, rc, "table of tenants: %s", strerror(-rc));
	}
	*out = t;
	return 0;
}

void tenant_table_destroy(struct tenant_table *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; t->slots && i < t->max; i++)
		if (t->slots[i])
			drop(t, i);
	free(t->slots);
	explicit_bzero(t->secret, sizeof(t->secret));
	free(t);
}

/* Nothing is lost but debt if it goes. */
static bool is_replaceable(const struct tenant *n)
{
	bool has_quota = n->limits.quota_requests || n->limits.quota_tokens;

	return !n->is_configured && !n->n_refs &&
	       !(has_quota && (n->used_requests || n->used_tokens));
}

/* A slot for a newcomer, or 0. */
static uint32_t find_slot(struct tenant_table *t)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < t->max; i++) {
		if (!t->slots[i])
			return i;
		if (is_replaceable(t->slots[i]) &&
		    (!best || t->slots[i]->idle_since < t->slots[best]->idle_since))
			best = i;
	}
	return best;
}

static struct tenant *find(const struct tenant_table *t, uid_t uid)
{
	uint32_t at, configured = find_configured(t->config, uid, &at);

	if (configured)
		return t->slots[configured];
	for (uint32_t i = 1; i < t->max; i++)
		if (t->slots[i] && !t->slots[i]->is_configured && t->slots[i]->uid == uid)
			return t->slots[i];
	return NULL;
}

struct tenant *tenant_get(struct tenant_table *t, uid_t uid)
{
	struct tenant *n = find(t, uid);
	char name[CONFIG_MAX_NAME];
	uint32_t slot;

	if (!n) {
		n = t->slots[0];
		slot = find_slot(t);
		snprintf(name, sizeof(name), "uid:%u", uid);
		if (slot && t->slots[slot])
			drop(t, slot);
		if (slot && !add(t, slot, name, 1)) {
			n = t->slots[slot];
			n->uid = uid;
		}
	}
	n->n_refs++;
	return n;
}

void tenant_put(struct tenant_table *t, struct tenant *n)
{
	n->n_refs--;
	if (!n->n_refs)
		n->idle_since = ++t->n_idle;
}

void tenant_each(const struct tenant_table *t, bool (*fn)(const struct tenant *, void *), void *arg)
{
	for (uint32_t i = 0; i < t->max; i++)
		if (t->slots[i] && !fn(t->slots[i], arg))
			return;
}

/* -ENOBUFS when used + more would be above limit (0: none). */
static int check(const struct tenant *n, const char *what, const uint64_t used_more_limit[3],
		 uint64_t numbers[2], struct error *err)
{
	uint64_t got = used_more_limit[0] + used_more_limit[1], limit = used_more_limit[2];

	if (!limit || got <= limit)
		return 0;
	numbers[0] = got;
	numbers[1] = limit;
	return error_set(err, -ENOBUFS,
			 "%s would have %" PRIu64 " %s, at most %" PRIu64 " are allowed", n->name,
			 got, what, limit);
}

int tenant_charge_session(struct tenant *n, const struct tenant_want *want, uint64_t numbers[2],
			  struct error *err)
{
	const struct tenant_limits *l = &n->limits;
	int rc;

	rc = check(n, "connections", (uint64_t[3]){n->n_sessions, 1, l->max_connections}, numbers,
		   err);
	if (!rc)
		rc = check(n, "requests at once",
			   (uint64_t[3]){n->n_granted, want->max_requests, l->max_requests},
			   numbers, err);
	if (!rc)
		rc = check(n, "bytes of rings",
			   (uint64_t[3]){n->ring_bytes, want->ring_bytes, l->max_ring_bytes},
			   numbers, err);
	if (rc)
		return rc;
	n->n_sessions++;
	n->n_granted += want->max_requests;
	n->ring_bytes += want->ring_bytes;
	return 0;
}

void tenant_uncharge_session(struct tenant *n, const struct tenant_want *want)
{
	n->n_sessions--;
	n->n_granted -= want->max_requests;
	n->ring_bytes -= want->ring_bytes;
}

int tenant_check_body(const struct tenant *n, uint64_t n_bytes, uint64_t numbers[2],
		      struct error *err)
{
	return check(n, "bytes of requests without END",
		     (uint64_t[3]){n->body_bytes, n_bytes, n->limits.max_body_bytes}, numbers, err);
}

/* Fills q's refusal; -EDQUOT. */
static int refuse(struct tenant_request *q, enum llm_field field, uint64_t got, uint64_t limit)
{
	q->field = field;
	q->got = got;
	q->limit = limit;
	return -EDQUOT;
}

/* What the quota leaves for the output, or -EDQUOT. */
static int check_quota(const struct tenant *n, struct tenant_request *q, uint64_t *left,
		       struct error *err)
{
	uint64_t used = n->used_tokens + n->reserved_tokens, quota = n->limits.quota_tokens;

	if (n->limits.quota_requests && n->used_requests >= n->limits.quota_requests) {
		error_set(err, -EDQUOT, "%s: request %" PRIu64 " of a quota of %" PRIu64, n->name,
			  n->used_requests + 1, n->limits.quota_requests);
		return refuse(q, LLM_FIELD_QUOTA, n->used_requests + 1, n->limits.quota_requests);
	}
	*left = UINT64_MAX;
	if (!quota)
		return 0;
	if (used + q->n_prompt + 1 > quota) {
		error_set(err, -EDQUOT,
			  "%s: prompt has %u tokens, %" PRIu64 " of a quota of %" PRIu64
			  " are used or reserved",
			  n->name, q->n_prompt, used, quota);
		return refuse(q, LLM_FIELD_QUOTA, used + q->n_prompt + 1, quota);
	}
	*left = quota - used - q->n_prompt;
	return 0;
}

int tenant_charge_request(struct tenant *n, struct tenant_request *q, struct error *err)
{
	uint32_t max_prompt = n->limits.max_prompt_tokens;
	uint32_t max_output = n->limits.max_output_tokens;
	uint64_t left;
	int rc;

	if (max_prompt && q->n_prompt > max_prompt) {
		error_set(err, -EDQUOT, "prompt has %u tokens, %s is allowed %u", q->n_prompt,
			  n->name, max_prompt);
		return refuse(q, LLM_FIELD_PROMPT, q->n_prompt, max_prompt);
	}
	rc = check_quota(n, q, &left, err);
	if (rc)
		return rc;
	if (q->max_tokens == LLM_UNSET) {
		q->max_tokens = q->room_tokens;
		if (max_output && q->max_tokens > max_output)
			q->max_tokens = max_output;
		if (q->max_tokens > left)
			q->max_tokens = (uint32_t)left;
	} else if (max_output && q->max_tokens > max_output) {
		error_set(err, -EDQUOT, "max_tokens is %u, %s is allowed %u", q->max_tokens,
			  n->name, max_output);
		return refuse(q, LLM_FIELD_MAX_TOKENS, q->max_tokens, max_output);
	} else if (q->max_tokens > left) {
		error_set(err, -EDQUOT, "max_tokens is %u, %" PRIu64 " are left of the quota of %s",
			  q->max_tokens, left, n->name);
		return refuse(q, LLM_FIELD_QUOTA, q->max_tokens, left);
	}
	if (q->min_tokens > q->max_tokens) {
		error_set(err, -E2BIG, "min_tokens is %u, there is room for %u", q->min_tokens,
			  q->max_tokens);
		q->field = LLM_FIELD_MIN_TOKENS;
		q->got = q->min_tokens;
		q->limit = q->max_tokens;
		return -E2BIG;
	}
	n->used_requests++;
	n->reserved_tokens += (uint64_t)q->n_prompt + q->max_tokens;
	return 0;
}

void tenant_uncharge_request(struct tenant *n, uint32_t n_prompt, uint32_t max_tokens,
			     uint32_t n_output)
{
	n->reserved_tokens -= (uint64_t)n_prompt + max_tokens;
	n->used_tokens += (uint64_t)n_prompt + n_output;
}
