/* SPDX-License-Identifier: MIT */
/*
 * config: what the administrator asked for. Read once at start by `main()`, constant after it.
 *
 * One table (daemon/config_table.c) names every option: section, key, letter, kind, range,
 * default, help. From it come the command line, the configuration file, `--help`, and a test that
 * holds the man pages to it. The command line beats the file, the file beats the default. Nothing
 * is guessed: an unknown section, key or option is an error that names file:line and the nearest
 * known name, a number out of range names both bounds.
 *
 * Every option is `--key` on the command line and `key = value` under its section in the file. The
 * sections [tenant NAME] and [model NAME] exist in the file only.
 */
#ifndef DEVLLM_CONFIG_H
#define DEVLLM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "daemon/error.h"
#include "uapi/llm_msg.h"

#define CONFIG_MAX_TENANTS 256
#define CONFIG_MAX_NAME 64 /* bytes of a tenant's name, terminator included */
#define CONFIG_MAX_UIDS 64 /* users of one tenant */

/* How much the daemon insists on memory locking and CPU affinity. */
enum config_pin { CONFIG_PIN_AUTO, CONFIG_PIN_OFF, CONFIG_PIN_ON, CONFIG_PIN_REQUIRE };

/* An amount given in bytes or as a share of the machine's available memory. */
struct config_amount {
	uint64_t bytes;	      /* when percent == 0 */
	uint32_t percent;     /* 1..100 */
	bool is_set;	      /* false: the daemon chooses */
};

/* [tenant NAME]: who is charged together, and for how much. */
struct config_tenant {
	char name[CONFIG_MAX_NAME];
	uid_t uids[CONFIG_MAX_UIDS]; /* whose connections are this tenant's */
	uint32_t n_uids;
	uint32_t weight;	/* share against other tenants, 1 as a rule */
	uint32_t max_connections, max_requests; /* 0: as [limits] has them for one uid */
	uint64_t max_ring_bytes; /* 0: the same */
	uint32_t max_prompt_tokens, max_output_tokens; /* of one request; 0: the context's */
	uint64_t quota_requests, quota_tokens; /* ever, since the daemon started; 0: no quota */
};

/* Limits of the doors: what one client, one uid and all together may hold. */
struct config_limits {
	uint32_t max_sessions;	    /* sessions of the daemon */
	uint32_t max_requests;	    /* live requests of the daemon */
	uint32_t uid_connections;   /* connections of one uid */
	uint32_t uid_requests;	    /* sum of max_requests over the sessions of one uid */
	uint64_t uid_ring_bytes;    /* memory of the rings of one uid */
	uint64_t uid_body_bytes;    /* bodies without END of one uid */
	uint32_t max_body_bytes;    /* of one request's body */
	uint64_t body_credit_bytes; /* bodies without END, one session */
	uint32_t hello_timeout_ms;  /* from connect to HELLO */
	uint32_t prefix_percent;    /* of KV pages that one tenant's prefixes may keep */
};

struct config {
	/* [daemon] */
	bool is_quiet;		/* no ledger, no facts; warnings and errors only */
	char *request_log;	/* path, NULL: none */
	uint32_t pin;		/* enum config_pin: threads to CPUs, memory to the node */
	uint32_t mlock;		/* enum config_pin */
	char *fault;		/* --fault, NULL: none */
	/* [door] */
	char *socket;		/* path, NULL: the default of `config_socket_path()` */
	char *device;		/* --device, refused by this version */
	int32_t serve_fd;	/* an open connection; the daemon exits when it closes; -1: none */
	/* [engine] */
	char *engine;		/* "auto" until `main()` has chosen: null, cpu */
	char *model;		/* path of the GGUF, NULL: none */
	char *kernels;		/* "auto", "ref", "avx2" */
	char *kv_type;		/* "f16" */
	struct config_amount kv;
	uint32_t kv_pages;	/* tests: the pool in pages of group 0, 0: from kv */
	uint32_t n_threads;	/* 0: one per physical core */
	uint32_t step_tokens;
	uint32_t chunk_tokens;	/* 0: step_tokens */
	uint32_t max_seqs;
	uint32_t context_tokens; /* 0: the model's */
	bool has_prefix_cache;
	bool preempt_each_step;	/* tests */
	uint32_t null_step_us;
	/* [limits] */
	struct config_limits limits;
	/* [tenant NAME] */
	struct config_tenant *tenants;
	uint32_t n_tenants;
	/* [model NAME]; empty: the file's own name */
	char model_name[LLM_MAX_MODEL_LEN];

	char *file;		/* -c FILE, NULL: none */
	uint64_t given;		/* bit i: row i of the table was set by file or command line */
};

enum config_kind {
	CONFIG_BOOL,	/* on, off; alone on the command line: on */
	CONFIG_U32,	/* a number; suffixes K, M, G = 2^10, 2^20, 2^30 */
	CONFIG_U64,
	CONFIG_I32,
	CONFIG_AMOUNT,	/* bytes with suffix, or N% of available memory */
	CONFIG_STR,
	CONFIG_CHOICE,	/* one of `choices`, stored as text */
	CONFIG_PIN,	/* auto, off, on, require */
};

/* One option. `config_table()` gives them in the order of the manual. */
struct config_option {
	const char *section;
	const char *key;     /* also the long option */
	char letter;	     /* short option, 0: none */
	enum config_kind kind;
	size_t off;	     /* of the field in struct config */
	uint64_t min, max;   /* numbers: both allowed */
	const char *choices; /* CONFIG_CHOICE: separated by blanks */
	const char *initial; /* default, as it would be written; NULL: none */
	const char *arg;     /* what --help calls the value; NULL: a switch */
	const char *help;    /* one line, no period */
};

const struct config_option *config_table(size_t *n);

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

/*
 * Defaults, then the file named by -c, then the command line. 0 with *action, or -EINVAL (-errno
 * of the file) with err naming file:line or the option. Free with `config_exit()` in every case.
 */
int config_init(struct config *c, int argc, char *const argv[], enum config_action *action,
		struct error *err);
void config_exit(struct config *c);

/* The text of --help. */
void config_help(FILE *to);

/*
 * Where this daemon listens when nobody said: /run/llm/llm.sock for root or whoever may write
 * there, else $XDG_RUNTIME_DIR/llm.sock. -ENOENT with err when there is neither.
 */
int config_socket_path(const struct config *c, char *path, size_t n, struct error *err);

#endif
