/* SPDX-License-Identifier: MIT */
/*
 * main: llmd. Makes the parts in order, runs the heart, destroys them in reverse. What runs
 * meanwhile is six calls in `heart_turn()`, daemon/heart.c: fetch, schedule, step, sample, flush,
 * sleep.
 *
 * Exit status: 0 drained or stopped, 1 could not start or failed, 2 usage.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/door_socket.h"
#include "daemon/fault.h"
#include "daemon/gguf.h"
#include "daemon/heart.h"
#include "daemon/ledger.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/model.h"
#include "daemon/notify.h"
#include "daemon/pin.h"
#include "daemon/request_log.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"
#include "daemon/tokenizer.h"

#define SYSTEM_DIR "/run/llm"

/* The name the model is served under: the configuration's, else its file's without .gguf. */
static int name_model(struct daemon *d, struct error *err)
{
	const struct config *c = d->config;
	const char *slash = c->model ? strrchr(c->model, '/') : NULL;
	const char *name = slash ? slash + 1 : c->model ? c->model : "null";
	size_t n = strlen(name);

	if (*c->model_name) {
		name = c->model_name;
		n = strlen(name);
	} else if (n > 5 && !strcmp(name + n - 5, ".gguf")) {
		n -= 5;
	}
	if (n >= sizeof(d->model_name))
		return error_set(err, -ENAMETOOLONG,
				 "%s: the model's name has %zu bytes, at most %zu: name it by "
				 "[model NAME]",
				 name, n, sizeof(d->model_name) - 1);
	memcpy(d->model_name, name, n);
	return 0;
}

/* File, descriptor, tokenizer. Nothing of it on the null engine without a model. */
static int load_model(struct daemon *d, struct error *err)
{
	const char *path = d->config->model;
	char text[32];
	int rc = name_model(d, err);

	if (rc || !path)
		return rc;
	rc = gguf_open(path, &d->gguf, err);
	if (!rc)
		rc = model_load(d->gguf, &d->model, err);
	if (!rc)
		rc = tokenizer_create(d->gguf, &d->tokenizer, err);
	if (rc)
		return rc;
	log_info(d->messages, "model      %s: %s, %s, vocabulary %u (%s), context %u",
		 d->model_name, d->model->architecture,
		 ledger_bytes(gguf_file_bytes(d->gguf), text), d->model->n_vocab,
		 tokenizer_kind(d->tokenizer), d->model->n_context);
	if (tokenizer_note(d->tokenizer))
		log_warn(d->messages, "%s: %s", d->model_name, tokenizer_note(d->tokenizer));
	return 0;
}

static int open_engine(struct daemon *d, struct error *err)
{
	const struct config *c = d->config;
	const char *name = strcmp(c->engine, "auto") ? c->engine : "cpu";
	const struct engine_ops *ops = engine_find(name);
	const struct engine_args args = {.model = d->model,
					 .n_threads = c->n_threads,
					 .is_pinned = pin_wants_threads(c),
					 .kernels = c->kernels,
					 .max_step_tokens = c->step_tokens,
					 .max_seqs = c->max_seqs,
					 .n_vocab = d->model ? d->model->n_vocab : 0,
					 .n_context =
						 d->model ? d->model->n_context : c->context_tokens,
					 .null_step_us = c->null_step_us};
	int rc;

	if (!ops)
		return error_set(err, -ENOTSUP, "this llmd was built without the engine \"%s\"",
				 name);
	rc = ops->open(&args, &d->engine, err);
	if (rc)
		return rc;
	ops->info(d->engine, &d->info);
	d->context_tokens = d->info.n_context;
	if (c->context_tokens > d->info.n_context)
		return error_set(err, -EINVAL, "context %u is above the model's %u",
				 c->context_tokens, d->info.n_context);
	if (c->context_tokens)
		d->context_tokens = c->context_tokens;
	log_info(d->messages, "engine     %s", d->info.name);
	return 0;
}

/* What cached KV depends on beside the ids: the model and the type of its numbers. */
static void salt_of(const struct daemon *d, uint8_t salt[32])
{
	char text[LLM_MAX_MODEL_LEN + 64];

	snprintf(text, sizeof(text), "%s %" PRIu64 " %s", d->model_name,
		 d->gguf ? gguf_file_bytes(d->gguf) : 0, d->config->kv_type);
	crypto_generichash(salt, 32, (const unsigned char *)text, strlen(text), NULL, 0);
}

/* KV pages, by the ledger; prefix cache and sched on top of them. */
static int create_pool(struct daemon *d, uint64_t budget_bytes, struct error *err)
{
	const struct config *c = d->config;
	uint32_t n_pages[ENGINE_MAX_KV_GROUPS];
	struct sched_config sched = {.step_tokens = c->step_tokens,
				     .max_seqs = c->max_seqs,
				     .chunk_tokens = c->chunk_tokens,
				     .w_prompt = 1,
				     .w_output = 2,
				     .preempt_each_step = c->preempt_each_step};
	const struct ledger_args args = {.config = c,
					 .info = &d->info,
					 .budget_bytes = budget_bytes,
					 .context_tokens = d->context_tokens};
	struct ledger ledger;
	uint8_t salt[32];
	int rc = ledger_plan(&args, &ledger, err);

	if (rc)
		return rc;
	ledger_print(&ledger, d->messages);
	for (uint32_t i = 0; i < ENGINE_MAX_KV_GROUPS; i++)
		n_pages[i] = ledger.n_pages;
	rc = d->engine->ops->kv_create(d->engine, n_pages, err);
	if (rc)
		return rc;
	sched.watermark_pages = ledger.n_pages / 100;
	salt_of(d, salt);
	rc = kvcache_create(d->info.n_kv_groups, n_pages, &d->kv);
	if (!rc && c->has_prefix_cache)
		rc = prefix_create(
			d->kv, d->info.n_kv_groups, salt,
			(uint32_t)((uint64_t)ledger.n_pages * c->limits.prefix_percent / 100),
			&d->prefix);
	if (!rc)
		rc = sched_create(&sched, d->kv, d->prefix, &d->sched);
	if (rc)
		error_set(err, rc, "scheduler for %u pages: %s", ledger.n_pages, strerror(-rc));
	return rc;
}

/* Who is charged, what is counted and written down. */
static int create_books(struct daemon *d, struct error *err)
{
	const struct config *c = d->config;
	struct tenant_table_args tenants = {.config = c, .sched = d->sched};
	int rc = stats_create(&d->stats);

	if (rc)
		return error_set(err, rc, "no memory for the counters");
	tenants.stats = d->stats;
	rc = tenant_table_create(&tenants, &d->tenants, err);
	if (!rc && c->request_log)
		rc = request_log_open(c->request_log, d->messages, &d->log, err);
	return rc;
}

/* 0660 and the group llm for the machine's door, 0600 for a user's own. */
static void door_rights(struct daemon *d, struct door_socket_args *args)
{
	bool is_system = !geteuid() || !strncmp(args->path, SYSTEM_DIR "/", strlen(SYSTEM_DIR) + 1);
	const struct group *group = is_system ? getgrnam("llm") : NULL;

	args->mode = is_system ? 0660 : 0600;
	args->group = group ? group->gr_gid : (gid_t)-1;
	if (is_system && !group)
		log_info(d->messages, "there is no group llm: the socket keeps the daemon's own");
}

static int open_doors(struct daemon *d, struct error *err)
{
	const struct config *c = d->config;
	struct door_socket_args args = {.serve_fd = c->serve_fd, .group = (gid_t)-1};
	char path[4096];
	int rc = 0;

	if (c->serve_fd < 0 || c->socket) {
		rc = config_socket_path(c, path, sizeof(path), err);
		if (rc)
			return rc;
		args.path = path;
		door_rights(d, &args);
		if (!c->socket && !geteuid() && mkdir(SYSTEM_DIR, 0755) && errno != EEXIST)
			return error_set(err, -errno, "%s: %s", SYSTEM_DIR, strerror(errno));
	}
	rc = door_socket_create(d, &args, &d->door, err);
	if (rc)
		return rc;
	if (args.path)
		log_info(d->messages, "door       socket %s, mode %04o, %s", args.path, args.mode,
			 loop_describe(d->loop));
	if (c->serve_fd >= 0)
		log_info(d->messages, "door       descriptor %d, %s", c->serve_fd,
			 loop_describe(d->loop));
	return 0;
}

/* Loop, heart and doors: from here on the world may come in. */
static int open_world(struct daemon *d, struct error *err)
{
	int rc = loop_create(LOOP_AUTO, &d->loop, err);

	if (rc)
		return rc;
	rc = control_create(d, &d->control);
	if (!rc)
		rc = heart_create(d, &d->heart);
	if (rc)
		return error_set(err, rc, "the heart cannot start: %s", strerror(-rc));
	return open_doors(d, err);
}

static int start(struct daemon *d, struct error *err)
{
	const struct config *c = d->config;
	uint64_t budget_bytes = ledger_available_bytes();
	int rc;

	d->started_ns = clock_now_ns();
	log_info(d->messages, "version %s, pid %d", LLM_VERSION, (int)getpid());
	if (sodium_init() < 0)
		return error_set(err, -EIO, "libsodium cannot start");
	rc = fault_create(c->fault, &d->fault, err);
	if (!rc && notify_create(&d->notify))
		rc = error_set(err, -ENOMEM, "no memory");
	if (!rc)
		rc = pin_node(c, d->messages, err);
	if (!rc)
		rc = load_model(d, err);
	if (!rc)
		rc = open_engine(d, err);
	if (!rc && d->engine->ops != &engine_null) /* which has no threads */
		rc = pin_check_threads(c, d->messages, err);
	if (!rc)
		rc = create_pool(d, budget_bytes, err);
	if (!rc)
		rc = create_books(d, err);
	if (!rc)
		rc = pin_memory(c, d->messages, err);
	if (!rc)
		rc = open_world(d, err);
	return rc;
}

/* start() in reverse; whatever of it has happened. */
static void finish(struct daemon *d)
{
	if (d->door)
		door_socket_destroy(d->door);
	if (d->sched)
		request_reap(d);
	heart_destroy(d->heart);
	control_destroy(d->control);
	if (d->loop)
		loop_destroy(d->loop);
	request_log_close(d->log);
	if (d->tenants)
		tenant_table_destroy(d->tenants);
	stats_destroy(d->stats);
	if (d->sched)
		sched_destroy(d->sched);
	if (d->prefix)
		prefix_destroy(d->prefix);
	if (d->kv)
		kvcache_destroy(d->kv);
	if (d->engine)
		d->engine->ops->close(d->engine);
	tokenizer_destroy(d->tokenizer);
	model_free(d->model);
	gguf_close(d->gguf);
	notify_destroy(d->notify);
	fault_destroy(d->fault);
}

static void say_ready(struct daemon *d)
{
	char text[LLM_MAX_MODEL_LEN + 64];

	snprintf(text, sizeof(text), "serving %s", d->model_name);
	notify_ready(d->notify, text);
	log_info(d->messages, "ready      %" PRIu64 " ms after start",
		 (clock_now_ns() - d->started_ns) / 1000000);
}

static void say_goodbye(struct daemon *d)
{
	struct stats_totals t;

	stats_totals(d->stats, &t);
	log_info(d->messages,
		 "ended: %" PRIu64 " requests, %" PRIu64 " prompt and %" PRIu64
		 " output tokens in %" PRIu64 " steps",
		 t.n_requests, t.n_prompt_tokens, t.n_output_tokens, d->n_steps);
}

int main(int argc, char **argv)
{
	struct config config;
	struct log messages;
	struct daemon d = {.config = &config, .messages = &messages};
	struct error err = {0};
	enum config_action action;
	int status = EXIT_FAILURE, rc;

	rc = config_init(&config, argc, argv, &action, &err);
	if (rc) {
		fprintf(stderr, "llmd: %s\n", err.text);
		status = 2;
	} else if (action == CONFIG_HELP) {
		config_help(stdout);
		status = EXIT_SUCCESS;
	} else if (action == CONFIG_VERSION) {
		puts("llmd " LLM_VERSION);
		status = EXIT_SUCCESS;
	}
	if (rc || action != CONFIG_RUN)
		goto exit_config;
	log_init(&messages, STDERR_FILENO, config.is_quiet);
	rc = heart_block_signals();
	if (rc)
		error_set(&err, rc, "signals cannot be blocked: %s", strerror(-rc));
	else
		rc = start(&d, &err);
	if (rc) {
		fprintf(stderr, "llmd: %s\n", err.text);
		goto finish_daemon;
	}
	say_ready(&d);
	rc = heart_run(&d);
	if (rc)
		fprintf(stderr, "llmd: the loop failed: %s\n", strerror(-rc));
	else
		status = EXIT_SUCCESS;
	say_goodbye(&d);
finish_daemon:
	finish(&d);
exit_config:
	config_exit(&config);
	return status;
}
