/* SPDX-License-Identifier: MIT */
/*
 * fault: see daemon/fault.h. A list of {point, action, n} and a count of hits per point.
 */
#include "daemon/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FAULTS 8

enum action { ACTION_KILL, ACTION_STALL, ACTION_FAIL };

static const char *const action_names[] = {"kill", "stall", "fail"};

static const struct {
	const char *name;
	bool is_reached; /* this version comes by */
} points[FAULT_POINTS] = {
	[FAULT_JOURNAL] = {"journal", false}, [FAULT_RING] = {"ring", true},
	[FAULT_PUBLISH] = {"publish", true},  [FAULT_COMMIT] = {"commit", true},
	[FAULT_KICK] = {"kick", true},	      [FAULT_PARSE] = {"parse", true},
	[FAULT_STEP] = {"step", true},	      [FAULT_ALLOC] = {"alloc", true},
	[FAULT_REWRITE] = {"rewrite", false},
};

struct entry {
	enum fault_point point;
	enum action action;
	uint64_t nth; /* hit that triggers, from 1 */
};

struct fault {
	struct entry entries[MAX_FAULTS];
	uint32_t n_entries;
	uint64_t n_hits[FAULT_POINTS];
};

static int parse_point(const char *word, struct entry *e, struct error *err)
{
	for (int i = 0; i < FAULT_POINTS; i++) {
		if (strcmp(points[i].name, word))
			continue;
		if (!points[i].is_reached)
			return error_set(err, -EINVAL,
					 "--fault: %s: this version keeps no journal, "
					 "the point is never reached",
					 word);
		e->point = (enum fault_point)i;
		return 0;
	}
	return error_set(err, -EINVAL,
			 "--fault: no point is called \"%s\"; there are ring publish commit kick "
			 "parse step alloc",
			 word);
}

static int parse_action(const char *word, struct entry *e, struct error *err)
{
	for (int i = 0; i <= ACTION_FAIL; i++) {
		if (!strcmp(action_names[i], word)) {
			e->action = (enum action)i;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "--fault: no action is called \"%s\"; there are kill stall fail", word);
}

/* text: "point:action[:n]", written to. */
static int parse_entry(char *text, struct entry *e, struct error *err)
{
	char *action = strchr(text, ':'), *nth = NULL, *end;
	int rc;

	if (!action)
		return error_set(err, -EINVAL, "--fault: \"%s\" has no action: point:action[:n]",
				 text);
	*action++ = 0;
	nth = strchr(action, ':');
	if (nth)
		*nth++ = 0;
	rc = parse_point(text, e, err);
	if (!rc)
		rc = parse_action(action, e, err);
	if (rc)
		return rc;
	e->nth = 1;
	if (!nth)
		return 0;
	errno = 0;
	e->nth = strtoull(nth, &end, 10);
	if (*nth < '0' || *nth > '9' || *end || errno || !e->nth)
		return error_set(err, -EINVAL, "--fault: \"%s\" is not a count from 1", nth);
	return 0;
}

int fault_create(const char *spec, struct fault **out, struct error *err)
{
	struct fault *f;
	char *copy, *rest, *part;
	int rc = 0;

	*out = NULL;
	if (!spec || !*spec)
		return 0;
	f = calloc(1, sizeof(*f));
	copy = strdup(spec);
	if (!f || !copy) {
		rc = error_set(err, -ENOMEM, "--fault: no memory");
		goto free_both;
	}
	rest = copy;
	for (part = strsep(&rest, ","); part && !rc; part = strsep(&rest, ",")) {
		if (f->n_entries == MAX_FAULTS)
			rc = error_set(err, -EINVAL, "--fault: more than %d faults", MAX_FAULTS);
		else
			rc = parse_entry(part, &f->entries[f->n_entries++], err);
	}
	if (!rc) {
		*out = f;
		f = NULL;
	}
free_both:
	free(copy);
	free(f);
	return rc;
}

void fault_destroy(struct fault *f)
{
	free(f);
}

bool fault_hit(struct fault *f, enum fault_point point)
{
	bool fails = false;

	if (!f)
		return false;
	f->n_hits[point]++;
	for (uint32_t i = 0; i < f->n_entries; i++) {
		const struct entry *e = &f->entries[i];

		if (e->point != point || e->nth != f->n_hits[point])
			continue;
		if (e->action == ACTION_FAIL) {
			fails = true;
			continue;
		}
		if (e->action == ACTION_KILL)
			raise(SIGKILL);
		for (;;)
			pause();
	}
	return fails;
}
