/* SPDX-License-Identifier: MIT */
/*
 * Proves that each line of the request log is the JSON object that its schema promises, and that a
 * full disk, a reader who sleeps and a rename cost whole lines at most, never a wait and never a
 * torn line.
 *
 * Marks: san
 */
#include "tests/test.h"

#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/request.h"
#include "daemon/request_log.h"

static char dir[2048], path[2060], other[2080];
static const struct request_log_who who = {.tenant = "web",
					   .door = "socket",
					   .model = "a \"model\"\\\n",
					   .uid = 4294967294u,
					   .pid = 7};
static uint64_t gaps[] = {5, 18446744073709551615ull, 7};
static struct request *r;

static void fill_request(void)
{
	r = calloc(1, sizeof(*r));
	r->id = 0x8000000100000001u;
	r->params.seed = 18446744073709551615ull;
	r->seq.n_prompt = 12;
	r->seq.n_prefix_hit = 3;
	r->n_output = 4;
	r->seq.n_preemptions = 1;
	r->end.reason = LLM_END_STOP;
	r->times = (struct request_times){.arrived_ns = 100,
					  .tokenized_ns = 110,
					  .tokenize_ns = 9,
					  .admitted_ns = 130,
					  .first_ns = 200,
					  .last_ns = 300,
					  .ended_ns = 1000,
					  .stall_ns = 11,
					  .stalled_ns = 990,
					  .gaps_ns = gaps,
					  .n_gaps = 3};
}

static json_t *parse(const char *text)
{
	json_error_t where;
	json_t *o = json_loads(text, 0, &where);

	if (!o)
		fprintf(stderr, "not JSON: %s: %s\n", where.text, text);
	return o;
}

static long long number(json_t *o, const char *key)
{
	CHECK(json_is_integer(json_object_get(o, key)));
	return json_integer_value(json_object_get(o, key));
}

static void test_line(void)
{
	struct error err = {0};
	struct request_log *l;
	char text[4096];
	FILE *f;
	json_t *o;

	gaps[1] = 6;
	CHECK_EQ(request_log_open(path, NULL, &l, &err), 0);
	request_log_append(l, &who, r, 1000);
	request_log_flush(l, 1000);
	CHECK_EQ(request_log_next_ns(l), 0);
	f = fopen(path, "r");
	CHECK(fgets(text, sizeof(text), f) != NULL);
	fclose(f);
	o = parse(text);
	CHECK_EQ(number(o, "v"), 1);
	CHECK_STR(json_string_value(json_object_get(o, "id")), "9223372041149743105");
	CHECK_STR(json_string_value(json_object_get(o, "seed")), "18446744073709551615");
	CHECK_STR(json_string_value(json_object_get(o, "model")), who.model);
	CHECK_STR(json_string_value(json_object_get(o, "reason")), "stop");
	CHECK_EQ(strlen(json_string_value(json_object_get(o, "time"))), 30);
	CHECK_EQ(number(o, "uid"), 4294967294);
	CHECK_EQ(number(o, "isl"), 12);
	CHECK_EQ(number(o, "osl"), 4);
	CHECK_EQ(number(o, "cached"), 3);
	CHECK_EQ(number(o, "queue_ns") + number(o, "tokenize_ns") + number(o, "prefill_ns"), 100);
	CHECK_EQ(number(o, "queue_ns"), 21);
	CHECK_EQ(number(o, "tokenize_ns"), 9);
	CHECK_EQ(number(o, "prefill_ns"), 70);
	CHECK_EQ(number(o, "ttft_ns"), 100);
	CHECK_EQ(number(o, "e2e_ns"), 900);
	CHECK_EQ(number(o, "stall_ns"), 21);
	CHECK_EQ(number(o, "preemptions"), 1);
	CHECK_EQ(json_array_size(json_object_get(o, "gaps_ns")), 3);
	CHECK_EQ(json_integer_value(json_array_get(json_object_get(o, "gaps_ns"), 1)), 6);
	CHECK_EQ(json_object_size(o), 24);
	json_decref(o);
	/* A request that never ran. */
	r->times = (struct request_times){.arrived_ns = 100, .ended_ns = 1000};
	request_log_append(l, &who, r, 1000);
	request_log_close(l);
	f = fopen(path, "r");
	CHECK(fgets(text, sizeof(text), f) && fgets(text, sizeof(text), f));
	fclose(f);
	o = parse(text);
	CHECK(json_is_null(json_object_get(o, "ttft_ns")));
	CHECK_EQ(number(o, "prefill_ns"), 0);
	json_decref(o);
}

static void test_errors(void)
{
	struct error err = {0};
	struct request_log *l;

	snprintf(other, sizeof(other), "%s/no/such/dir", dir);
	CHECK(request_log_open(other, NULL, &l, &err) < 0);
	CHECK(strstr(err.text, other) && strstr(err.text, "No such file"));
	request_log_append(NULL, &who, r, 1);
	request_log_flush(NULL, 1);
	request_log_close(NULL);
}

static void test_full_disk(void)
{
	struct error err = {0};
	struct request_log *l;
	struct log messages;
	int ends[2];
	char text[4096] = "";

	if (access("/dev/full", W_OK)) {
		printf("no /dev/full here\n");
		return;
	}
	CHECK_EQ(pipe(ends), 0);
	log_init(&messages, ends[1], true);
	CHECK_EQ(request_log_open("/dev/full", &messages, &l, &err), 0);
	for (int i = 0; i < 100000; i++) {
		request_log_append(l, &who, r, 1000);
		request_log_flush(l, (uint64_t)i * 1000);
	}
	CHECK(request_log_n_dropped(l) > 1000);
	CHECK(request_log_n_dropped(l) < 100000);
	CHECK(request_log_next_ns(l) > 0);
	request_log_close(l);
	CHECK(read(ends[0], text, sizeof(text) - 1) > 0);
	CHECK(strstr(text, "No space left on device") != NULL);
	CHECK(strstr(text, "100000 lines were lost") != NULL);
	close(ends[0]);
	close(ends[1]);
}

/* Everything in the pipe, as lines: counts them and checks that each is whole. */
static unsigned read_lines(int fd, char *part, size_t *n_part)
{
	static char text[1 << 20];
	unsigned n_lines = 0;
	ssize_t n;
	char *at = text, *end;

	memcpy(text, part, *n_part);
	n = read(fd, text + *n_part, sizeof(text) - 1 - *n_part);
	n += n < 0 ? 1 + (ssize_t)*n_part : (ssize_t)*n_part;
	text[n] = 0;
	for (end = strchr(at, '\n'); end; end = strchr(at, '\n')) {
		json_t *o;

		*end = 0;
		o = parse(at);
		CHECK(o != NULL);
		json_decref(o);
		n_lines++;
		at = end + 1;
	}
	*n_part = strlen(at);
	memmove(part, at, *n_part);
	return n_lines;
}

/* A pipe whose reader sleeps, then wakes: lines lost are whole ones, those kept arrive. */
static void test_slow_reader(void)
{
	static char part[1 << 16];
	struct error err = {0};
	struct request_log *l;
	size_t n_part = 0;
	unsigned n_got = 0, n_sent = 60000;
	uint64_t now = 0;
	int fd;

	snprintf(other, sizeof(other), "%s/pipe", dir);
	CHECK_EQ(mkfifo(other, 0600), 0);
	CHECK(request_log_open(other, NULL, &l, &err) < 0);
	CHECK(strstr(err.text, "nobody reads") != NULL);
	fd = open(other, O_RDONLY | O_NONBLOCK);
	CHECK_EQ(request_log_open(other, NULL, &l, &err), 0);
	for (unsigned i = 0; i < n_sent; i++) {
		request_log_append(l, &who, r, 1000);
		request_log_flush(l, now += 1000000);
	}
	for (int i = 0; i < 1000; i++) {
		n_got += read_lines(fd, part, &n_part);
		request_log_flush(l, now += 1000000000);
	}
	n_got += read_lines(fd, part, &n_part);
	CHECK_EQ(request_log_next_ns(l), 0);
	CHECK(request_log_n_dropped(l) > 0);
	CHECK_EQ(n_got + request_log_n_dropped(l), n_sent);
	CHECK_EQ(n_part, 0);
	request_log_close(l);
	close(fd);
	unlink(other);
}

static unsigned count_lines(const char *of)
{
	FILE *f = fopen(of, "r");
	unsigned n = 0;
	static char text[1 << 16];

	while (f && fgets(text, sizeof(text), f)) {
		json_t *o = parse(text);

		CHECK(o != NULL);
		json_decref(o);
		n++;
	}
	if (f)
		fclose(f);
	return n;
}

/* logrotate: rename, SIGHUP. */
static void test_reopen(void)
{
	struct error err = {0};
	struct request_log *l;

	unlink(path);
	snprintf(other, sizeof(other), "%s.1", path);
	CHECK_EQ(request_log_open(path, NULL, &l, &err), 0);
	request_log_append(l, &who, r, 1000);
	request_log_flush(l, 1);
	CHECK_EQ(rename(path, other), 0);
	CHECK_EQ(request_log_reopen(l, &err), 0);
	request_log_append(l, &who, r, 1000);
	request_log_append(l, &who, r, 1000);
	request_log_close(l);
	CHECK_EQ(count_lines(other), 1);
	CHECK_EQ(count_lines(path), 2);
	unlink(path);
	unlink(other);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/request-log-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/log", dir);
	fill_request();
	test_line();
	test_errors();
	test_full_disk();
	test_slow_reader();
	test_reopen();
	free(r);
	rmdir(dir);
	return test_done();
}
