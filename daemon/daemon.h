/* SPDX-License-Identifier: MIT */
/*
 * daemon: the parts of llmd and who owns them. One thread owns all of it; there is no lock.
 *
 * daemon/main.c creates them in order and destroys them in reverse; daemon/heart.c runs them:
 * fetch -> schedule -> step -> sample -> flush -> sleep.
 */
#ifndef DEVLLM_DAEMON_H
#define DEVLLM_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/engine.h"
#include "daemon/kvcache.h"
#include "daemon/prefix.h"
#include "daemon/request.h"
#include "daemon/sched.h"

struct config;	     /* daemon/config.h: options, one table */
struct control;	     /* daemon/control.h: questions of llmctl */
struct heart;	     /* daemon/heart.h: the loop */
struct log;	     /* daemon/log.h: lines for people, on stderr */
struct notify;	     /* daemon/notify.h: systemd */
struct loop;	     /* daemon/loop.h: event sources */
struct door_socket;  /* daemon/door_socket.h: listener and connections */
struct tenant_table; /* daemon/tenant.h: who is charged, quotas */
struct stats;	     /* daemon/stats.h: counters, histograms, metrics text */
struct request_log;  /* daemon/request_log.h: one JSON line per finished request */
struct fault;	     /* daemon/fault.h: --fault points */
struct tokenizer;
struct model;
struct gguf;
struct session;	     /* daemon/session.h: one client's ring and requests */
struct tenant;

struct daemon {
	const struct config *config;
	struct loop *loop;
	struct gguf *gguf;	     /* NULL on the null engine without a model */
	struct model *model;
	/* NULL on the null engine without a model: ids only, text is "<id>" words */
	struct tokenizer *tokenizer;
	struct engine *engine;
	struct engine_info info;
	struct kvcache *kv;
	struct prefix *prefix;
	struct sched *sched;
	struct tenant_table *tenants;
	struct door_socket *door;
	struct stats *stats;
	struct request_log *log;     /* NULL: none asked for */
	struct log *messages;	     /* NULL in tests */
	struct fault *fault;	     /* NULL: no --fault */
	struct control *control;
	struct notify *notify;
	struct heart *heart;

	char model_name[LLM_MAX_MODEL_LEN];
	uint32_t context_tokens;  /* min of the model's and the configured one */
	struct request *requests; /* all that are live, newest first */
	struct request *ended;	  /* request_end() was called; freed at the end of the turn */
	uint32_t n_requests;	  /* on the list of live ones */
	struct request_deadlines deadlines;
	struct tenant *intake_turn; /* whose prompt is tokenized next; NULL: none waits */
	struct session *sessions; /* all that are open */
	struct session *busy;	  /* those with requests */
	struct session *written;  /* those written to since the last outflow_flush() */
	struct session *broken;	  /* those to be closed by session_sweep() */
	uint32_t n_sessions;
	uint64_t started_ns;	  /* CLOCK_MONOTONIC */
	uint64_t n_steps;	  /* steps finished */
	uint64_t arrivals;	  /* counter behind sched_seq.arrival */
	bool is_draining;	  /* no new work; exit when the last request ended */
	bool is_stopping;	  /* second signal: end what runs and exit */
};

#endif
