/* SPDX-License-Identifier: MIT */
/*
 * tenant: who is charged. Users (uids) become tenants; a tenant has a weight, limits, a secret.
 *
 *	uid --tenant_get--> [NAME] of the configuration that lists the uid
 *	                  | "uid:N", made on first sight
 *	                  | "default", shared, when the table is full of busy ones
 *
 * A tenant made on first sight stays in the table when idle: its slot is given to a newcomer when
 * the table is full, longest idle first, never a configured tenant, never one with a part-used
 * quota. One who comes back after that gets the same secret, by which the sched knows his debt.
 *With no slot left newcomers share "default", its limits and its prefix cache.
 *
 * Limits of the present (connections, granted requests, bytes of rings and bodies) are refused with
 * -ENOBUFS before anything is allocated; quotas over all time with -EDQUOT. Both say two numbers.
 * The daemon's one thread.
 */
#ifndef DEVLLM_TENANT_H
#define DEVLLM_TENANT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/config.h"
#include "daemon/error.h"

struct request;
struct sched;
struct stats;

#define TENANT_TABLE_MAX 1024u /* tenants at once, "default" and configured ones included */

/* 0: no limit. */
struct tenant_limits {
	uint32_t max_connections;   /* sessions at once */
	uint32_t max_requests;	    /* sum of max_requests over its sessions */
	uint64_t max_ring_bytes;    /* of its rings */
	uint64_t max_body_bytes;    /* of the bodies of its requests without END */
	uint32_t max_prompt_tokens; /* ISL of one request */
	uint32_t max_output_tokens; /* OSL of one request; unset max_tokens stops here */
	uint64_t quota_requests;    /* requests ever */
	uint64_t quota_tokens;	    /* prompt and output tokens ever */
};

struct tenant {
	char name[CONFIG_MAX_NAME];
	uid_t uid;	    /* of "uid:N"; else (uid_t)-1 */
	bool is_configured; /* in the table for good: [tenant NAME] and "default" */
	uint32_t weight;
	struct tenant_limits limits;
	uint32_t sched_index; /* from sched_tenant() */
	uint32_t stats_index; /* from stats_tenant() */
	uint8_t secret[32];   /* keys its prefix cache; random per table and name */

	/* held now */
	uint32_t n_refs; /* connections; 0: idle */
	uint32_t n_sessions;
	uint32_t n_granted; /* sum of max_requests of its sessions */
	uint64_t ring_bytes;
	uint64_t body_bytes; /* of requests without END, all sessions; the session counts them */
	uint64_t reserved_tokens; /* prompt + max_tokens of its live requests */

	/* ever */
	uint64_t used_requests;
	uint64_t used_tokens; /* prompt + output of ended requests */
	uint64_t idle_since;  /* tenant_put() counts; orders the idle ones */

	/* what was read of its connections in one turn of the loop; the socket door's */
	uint64_t read_turn;
	size_t read_bytes;

	/* its requests whose prompts wait for the tokenizer; intake's */
	struct request *intake_first, *intake_last;
	struct tenant *intake_next; /* circle of tenants that have some */
};

struct tenant_table;

struct tenant_table_args {
	const struct config *config; /* stays the caller's, must outlive the table */
	struct sched *sched;	     /* NULL in tests */
	struct stats *stats;	     /* NULL in tests */
	uint32_t max_tenants;	     /* 0: TENANT_TABLE_MAX */
};

/*
 * Tenants of the configuration and "default". 0, -ENOMEM, -EINVAL with err (more configured tenants
 * than slots, a uid listed twice).
 */
int tenant_table_create(const struct tenant_table_args *args, struct tenant_table **out,
			struct error *err);
void tenant_table_destroy(struct tenant_table *t);

/* Who pays for this uid; holds a reference until tenant_put(). Never NULL. */
struct tenant *tenant_get(struct tenant_table *t, uid_t uid);
void tenant_put(struct tenant_table *t, struct tenant *tenant);

/* All of them: calls fn until it returns false. For dumps and metrics. */
void tenant_each(const struct tenant_table *t, bool (*fn)(const struct tenant *, void *),
		 void *arg);

/* What a session wants to hold. */
struct tenant_want {
	uint32_t max_requests;
	uint64_t ring_bytes;
};

/* HELLO: 0 and charged, or -ENOBUFS with both numbers in got, limit and err. */
int tenant_charge_session(struct tenant *t, const struct tenant_want *want, uint64_t numbers[2],
			  struct error *err);
void tenant_uncharge_session(struct tenant *t, const struct tenant_want *want);

/* A body of n_bytes more: 0, or -ENOBUFS with both numbers and err. Charges nothing. */
int tenant_check_body(const struct tenant *t, uint64_t n_bytes, uint64_t numbers[2],
		      struct error *err);

/*
 * A request whose prompt is n_prompt tokens. *max_tokens is what it may generate: LLM_UNSET comes
 * in as room_tokens, or less where a limit or the rest of a quota is less. 0 and reserved, or
 * -EDQUOT with numbers and err.
 */
struct tenant_request {
	uint32_t n_prompt;
	uint32_t room_tokens; /* context - n_prompt */
	uint32_t min_tokens;
	uint32_t max_tokens; /* in: as the client said; out: the bound that holds */
	/* refusal */
	enum llm_field field;
	uint64_t got, limit;
};
int tenant_charge_request(struct tenant *t, struct tenant_request *q, struct error *err);
/* It ended: the reservation becomes what was used. */
void tenant_uncharge_request(struct tenant *t, uint32_t n_prompt, uint32_t max_tokens,
			     uint32_t n_output);

#endif
