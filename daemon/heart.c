/* SPDX-License-Identifier: MIT */
/*
 * heart: see daemon/heart.h. `heart_turn()` is the place to begin reading.
 *
 * Depth is 1 in this version: the plan that fetch's events may touch is never in flight, so
 * requests may end at any time but between sched_plan() and sched_advance(), which are both below.
 *
 * Invariants
 *	1  a plan lives from schedule() to flush() of the same turn
 *	2  P stores, kicks and frees happen in flush() alone, once per turn
 *	3  the heart sleeps only when nothing can run, and then until the soonest of all deadlines
 */
#include "daemon/heart.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/door_socket.h"
#include "daemon/fault.h"
#include "daemon/intake.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/notify.h"
#include "daemon/outflow.h"
#include "daemon/request_log.h"
#include "daemon/session.h"
#include "daemon/stats.h"

#define DRAIN_LINGER_NS 5000000000u /* in a drain, for clients that do not read */
#define STATUS_NS 1000000000u	    /* between two STATUS lines for systemd */

struct heart {
	struct loop_source signals; /* first: its ready() gets it; a signalfd */
	struct daemon *d;
	uint64_t now_ns; /* clock of this turn */
	bool has_intake; /* prompts wait for the tokenizer */
	struct plan plan;
	struct engine_batch batch;
	struct engine_seq *seqs; /* [max_seqs], the batch's */
	struct stats_step cost;	 /* of this turn */
	uint64_t drained_ns;	 /* since when a drain waits for readers alone; 0: not yet */
	uint64_t status_ns;	 /* of the newest STATUS */
};

/* ---- one turn ------------------------------------------------------------------------------- */

/* What came in: packets, questions, signals, deadlines, prompts to tokenize. */
static int fetch(struct heart *h)
{
	struct daemon *d = h->d;
	int rc = loop_wait(d->loop, 0);

	h->now_ns = clock_now_ns();
	request_expire(d, h->now_ns);
	door_socket_expire(d->door, h->now_ns);
	control_expire(d->control, h->now_ns);
	session_sweep(d);
	h->has_intake = intake_run(d);
	return rc < 0 ? rc : 0;
}

/* Which requests run in this step, and with how many tokens each. */
static void schedule(struct heart *h)
{
	struct daemon *d = h->d;
	uint64_t begin_ns = clock_now_ns();

	session_grant(d, begin_ns);
	sched_plan(d->sched, d->config->step_tokens, &h->plan);
	h->batch = (struct engine_batch){
		.seqs = h->seqs, .n_seqs = h->plan.n_rows, .n_tokens = h->plan.n_tokens};
	for (uint32_t i = 0; i < h->plan.n_rows; i++) {
		const struct plan_row *row = &h->plan.rows[i];
		struct request *r = row->seq->owner;

		if (!r->times.admitted_ns)
			r->times.admitted_ns = begin_ns;
		h->seqs[i] = (struct engine_seq){.ids = row->seq->ids + row->pos0,
						 .n_tokens = row->n_tokens,
						 .pos0 = row->pos0,
						 .n_logit_rows = row->needs_logits,
						 .params = &r->params,
						 .token_index = r->n_output};
		for (uint32_t g = 0; g < d->info.n_kv_groups; g++)
			h->seqs[i].pages[g] = row->seq->table.pages[g];
	}
	h->cost = (struct stats_step){.n_tokens = h->plan.n_tokens,
				      .n_seqs = h->plan.n_rows,
				      .n_preempted = h->plan.n_preempted,
				      .heart_ns = clock_now_ns() - begin_ns};
}

/* The model's pass. With a depth of 1 there is nothing to plan meanwhile: poll() may wait. */
static int step(struct heart *h)
{
	struct engine *e = h->d->engine;
	uint64_t begin_ns = clock_now_ns();
	int rc = fault_hit(h->d->fault, FAULT_STEP) ? -EIO : e->ops->submit(e, &h->batch);

	while (!rc)
		rc = e->ops->poll(e, true);
	h->cost.step_ns = clock_now_ns() - begin_ns;
	return rc < 0 ? rc : 0;
}

/* A token for each row with logits. */
static void sample(struct heart *h)
{
	struct engine *e = h->d->engine;
	uint64_t begin_ns = clock_now_ns();

	e->ops->sample(e, &h->batch);
	h->now_ns = clock_now_ns();
	h->cost.sample_ns = h->now_ns - begin_ns;
}

/*
 * The step failed: what it left in the pages is unknown, so its requests end and no prefix is
 * trusted any more. A request that cannot be computed stops nobody else.
 */
static void fail_step(struct heart *h, int error)
{
	struct daemon *d = h->d;

	log_warn(d->messages, "engine %s: step %llu failed: %s; its %u requests end", d->info.name,
		 (unsigned long long)d->n_steps, strerror(-error), h->plan.n_rows);
	sched_advance(d->sched, &h->plan);
	for (uint32_t i = 0; i < h->plan.n_rows; i++)
		request_end_plain(h->plan.rows[i].seq->owner, LLM_END_ERROR, -EIO,
				  "the engine failed in a step of this request");
	if (d->prefix)
		prefix_clear(d->prefix);
}

/* The step's tokens go to their requests. */
static void deliver(struct heart *h)
{
	struct daemon *d = h->d;

	sched_advance(d->sched, &h->plan);
	d->n_steps++;
	for (uint32_t i = 0; i < h->plan.n_rows; i++)
		if (h->seqs[i].n_logit_rows)
			outflow_token(h->plan.rows[i].seq->owner, h->seqs[i].out_id, h->now_ns);
}

/* What goes out, once per step: P of every session, kicks; then what has ended is freed. */
static void flush(struct heart *h, int error)
{
	struct daemon *d = h->d;
	uint64_t begin_ns = clock_now_ns();
	bool has_plan = h->plan.n_rows > 0;

	if (has_plan && error)
		fail_step(h, error);
	else if (has_plan)
		deliver(h);
	if (d->is_stopping)
		while (d->requests)
			request_end_plain(d->requests, LLM_END_CANCELED, -ESHUTDOWN,
					  "the daemon is shutting down");
	outflow_flush(d);
	(void)fault_hit(d->fault, FAULT_COMMIT);
	request_reap(d);
	h->now_ns = clock_now_ns();
	request_log_flush(d->log, h->now_ns);
	notify_progress(d->notify, h->now_ns);
	h->cost.heart_ns += h->now_ns - begin_ns;
	if (has_plan)
		stats_step(d->stats, &h->cost);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* Nothing can run: until something comes in, or the soonest of what must be done in time. */
static int sleep_until_woken(struct heart *h)
{
	struct daemon *d = h->d;
	uint64_t wake_ns = request_next_deadline(d), now_ns;
	int rc;

	if (h->plan.n_rows || h->has_intake || d->is_stopping || !session_may_sleep(d))
		return 0;
	wake_ns = sooner(wake_ns, door_socket_next_ns(d->door));
	wake_ns = sooner(wake_ns, control_next_ns(d->control));
	wake_ns = sooner(wake_ns, request_log_next_ns(d->log));
	wake_ns = sooner(wake_ns, notify_due_ns(d->notify));
	if (h->drained_ns)
		wake_ns = sooner(wake_ns, h->drained_ns + DRAIN_LINGER_NS);
	now_ns = clock_now_ns();
	if (wake_ns && wake_ns <= now_ns)
		return 0;
	rc = loop_wait(d->loop, wake_ns ? (int64_t)(wake_ns - now_ns) : -1);
	return rc < 0 ? rc : 0;
}

/*
 * Draining is over when nothing runs, and every END was read or had its time. What is left and
 * does not run waits for clients to read: they have that time too, or any of them could keep us.
 */
static bool is_over(struct heart *h)
{
	struct daemon *d = h->d;

	if (d->is_stopping || door_socket_is_done(d->door))
		return true;
	if (!d->is_draining)
		return false;
	if (h->plan.n_rows || h->has_intake) {
		h->drained_ns = 0;
		return false;
	}
	if (!d->n_requests && !d->ended)
		return true;
	if (!h->drained_ns)
		h->drained_ns = h->now_ns;
	if (h->now_ns - h->drained_ns < DRAIN_LINGER_NS)
		return false;
	/* They end in the next turn, which is the last. */
	if (d->n_requests)
		heart_stop(d);
	return !d->n_requests;
}

int heart_turn(struct daemon *d)
{
	struct heart *h = d->heart;
	int error = 0, rc;

	rc = fetch(h);
	schedule(h);
	if (h->plan.n_rows)
		error = step(h);
	if (h->plan.n_rows && !error)
		sample(h);
	flush(h, error);
	if (is_over(h))
		return 0;
	if (!rc)
		rc = sleep_until_woken(h);
	return rc ? rc : 1;
}

/* ---- the way in and the way out -------------------------------------------------------------- */

/* What systemctl status shows. */
static void tell_status(struct heart *h)
{
	struct daemon *d = h->d;
	char text[128];

	if (h->now_ns - h->status_ns < STATUS_NS)
		return;
	h->status_ns = h->now_ns;
	snprintf(text, sizeof(text), "%s: %u running, %u waiting, %u sessions, %llu steps",
		 d->is_draining ? "draining" : "serving", sched_n_running(d->sched),
		 sched_n_waiting(d->sched), d->n_sessions, (unsigned long long)d->n_steps);
	notify_status(d->notify, text);
}

int heart_run(struct daemon *d)
{
	int rc = 1;

	while (rc > 0) {
		rc = heart_turn(d);
		tell_status(d->heart);
	}
	return rc;
}

void heart_drain(struct daemon *d)
{
	if (d->is_draining)
		return;
	d->is_draining = true;
	log_info(d->messages, "draining: %u requests are left", d->n_requests);
	notify_stopping(d->notify);
	door_socket_stop(d->door);
}

void heart_stop(struct daemon *d)
{
	heart_drain(d);
	if (!d->is_stopping)
		log_info(d->messages, "stopping: %u requests are ended", d->n_requests);
	d->is_stopping = true;
}

static void reopen_log(struct daemon *d)
{
	struct error err;

	if (!d->log)
		return;
	if (request_log_reopen(d->log, &err))
		log_warn(d->messages, "%s; the old file stays in use", err.text);
	else
		log_info(d->messages, "request log reopened");
}

static bool signals_ready(struct loop_source *source, short revents)
{
	struct heart *h = (struct heart *)source;
	struct signalfd_siginfo info;

	(void)revents;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reopen_log(h->d);
		else if (h->d->is_draining)
			heart_stop(h->d);
		else
			heart_drain(h->d);
	}
	return false;
}

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

int heart_block_signals(void)
{
	sigset_t set;

	signal_set(&set);
	signal(SIGPIPE, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &set, NULL) ? -errno : 0;
}

int heart_create(struct daemon *d, struct heart **out)
{
	struct heart *h = calloc(1, sizeof(*h));
	sigset_t set;
	int rc = -ENOMEM;

	*out = NULL;
	if (!h)
		return rc;
	h->d = d;
	h->seqs = calloc(d->config->max_seqs, sizeof(*h->seqs));
	if (!h->seqs)
		goto free_heart;
	signal_set(&set);
	h->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (h->signals.fd < 0) {
		rc = -errno;
		goto free_seqs;
	}
	h->signals.events = POLLIN;
	h->signals.ready = signals_ready;
	rc = loop_add(d->loop, &h->signals);
	if (rc)
		goto close_signals;
	*out = h;
	return 0;

close_signals:
	close(h->signals.fd);
free_seqs:
	free(h->seqs);
free_heart:
	free(h);
	return rc;
}

void heart_destroy(struct heart *h)
{
	if (!h)
		return;
	loop_remove(h->d->loop, &h->signals);
	close(h->signals.fd);
	free(h->seqs);
	free(h);
}
