/* SPDX-License-Identifier: MIT */
/*
 * Proves that each control command answers what daemon/control.h says, to whom it says; that bad
 * questions get a sentence; and that long answers travel in order at the reader's speed, while one
 * who never reads is cut off.
 *
 * Marks: san
 */
#include "tests/test.h"

#include <errno.h>
#include <jansson.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/loop.h"
#include "daemon/session.h"
#include "daemon/stats.h"
#include "daemon/tenant.h"

enum { N_REQUESTS = 4000 };

static struct daemon d;
static struct session session = {.uid = 4000000000u, .pid = 11, .id = 5, .name = "client"};
static struct tenant tenant = {.name = "web"};
static int ours, theirs; /* the connection: the daemon's end and the client's */

static void connect_pair(void)
{
	int ends[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	ours = ends[0];
	theirs = ends[1];
}

/* Reads REPLY packets until the empty one, turning the loop; NULL: the connection ended. */
static char *read_answer(unsigned *n_packets)
{
	static union {
		struct llm_packet head;
		char bytes[sizeof(struct llm_packet) + CONTROL_CHUNK_BYTES + 1];
	} p;
	char *text = calloc(1, 16 << 20), *to = text;

	*n_packets = 0;
	for (int i = 0; i < 100000; i++) {
		ssize_t n = recv(theirs, &p, sizeof(p), 0);

		if (n < 0 && errno == EAGAIN) {
			CHECK(loop_wait(d.loop, 1000000) >= 0);
			continue;
		}
		if (n <= 0)
			break;
		CHECK_EQ(p.head.type, LLM_PACKET_REPLY);
		CHECK_EQ((size_t)n, sizeof(p.head) + p.head.len);
		if (!p.head.len)
			return text;
		memcpy(to, p.bytes + sizeof(p.head), p.head.len);
		to += p.head.len;
		++*n_packets;
	}
	free(text);
	return NULL;
}

static json_t *ask(uid_t uid, const char *question)
{
	unsigned n_packets;
	json_t *answer;
	char *text;

	CHECK_EQ(control_packet(&d, ours, uid, question, strlen(question)), 0);
	text = read_answer(&n_packets);
	CHECK(text && text[strlen(text) - 1] == '\n');
	answer = text ? json_loads(text, 0, NULL) : NULL;
	CHECK(json_is_object(answer));
	free(text);
	return answer;
}

/* The answer is a refusal with this status and a part of its sentence. */
static void refuses(uid_t uid, const char *question, int status, const char *part)
{
	json_t *answer = ask(uid, question), *error = json_object_get(answer, "error");
	const char *message = json_string_value(json_object_get(error, "message"));

	CHECK_EQ(json_integer_value(json_object_get(error, "status")), status);
	CHECK(message != NULL);
	if (message && !strstr(message, part))
		fprintf(stderr, "%s: said \"%s\", expected \"%s\"\n", question, message, part);
	CHECK(message && strstr(message, part));
	json_decref(answer);
}

static size_t count(uid_t uid, const char *question, const char *member)
{
	json_t *answer = ask(uid, question);
	size_t n = json_array_size(json_object_get(answer, member));

	json_decref(answer);
	return n;
}

static void add_requests(struct request *r)
{
	for (int i = 0; i < N_REQUESTS; i++) {
		r[i].id = LLM_ID_SOCKET | (unsigned)i;
		r[i].session = &session;
		r[i].tenant = &tenant;
		r[i].all_next = i + 1 < N_REQUESTS ? &r[i + 1] : NULL;
	}
	d.requests = r;
	d.n_requests = N_REQUESTS;
	session.tenant = &tenant;
	d.sessions = &session;
	d.n_sessions = 1;
}

static void test_status(void)
{
	static const char *const members[] = {"version",
					      "abi",
					      "pid",
					      "uid",
					      "engine",
					      "model",
					      "context_tokens",
					      "uptime_ms",
					      "draining",
					      "pages_total",
					      "pages_free",
					      "pages_prefix",
					      "page_tokens",
					      "kv_tokens_total",
					      "step_tokens",
					      "steps",
					      "requests_running",
					      "requests_waiting",
					      "sessions",
					      "prompt_tokens",
					      "generated_tokens",
					      "preemptions",
					      "request_log_dropped"};
	json_t *answer = ask(1, "{\"command\":\"status\"}");

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		CHECK(json_object_get(answer, members[i]) != NULL);
	CHECK_EQ(json_object_size(answer), sizeof(members) / sizeof(members[0]));
	CHECK_EQ(json_integer_value(json_object_get(answer, "pages_total")), 8);
	CHECK_EQ(json_integer_value(json_object_get(answer, "kv_tokens_total")), 256);
	CHECK_EQ(json_integer_value(json_object_get(answer, "requests_waiting")), N_REQUESTS);
	json_decref(answer);
	answer = ask(1, " {\"command\":\"metrics\"} ");
	CHECK(strstr(json_string_value(json_object_get(answer, "text")), "llm_kv_pages{"));
	json_decref(answer);
}

static void test_who(void)
{
	uid_t own = geteuid(), other = session.uid + 1;
	json_t *answer;

	CHECK_EQ(count(0, "{\"command\":\"sessions\"}", "sessions"), 1);
	CHECK_EQ(count(own, "{\"command\":\"sessions\"}", "sessions"), 1);
	CHECK_EQ(count(session.uid, "{\"command\":\"requests\"}", "requests"), N_REQUESTS);
	CHECK_EQ(count(other, "{\"command\":\"sessions\"}", "sessions"), 0);
	CHECK_EQ(count(other, "{\"command\":\"requests\"}", "requests"), 0);
	refuses(other, "{\"command\":\"cancel\",\"id\":\"9223372036854775809\"}", -ENOENT,
		"no request 9223372036854775809 of yours");
	refuses(other, "{\"command\":\"drain\"}", -EPERM, "drain: for uid 0");
	answer = ask(0, "{\"command\":\"requests\"}");
	CHECK_STR(json_string_value(json_object_get(
			  json_array_get(json_object_get(answer, "requests"), 1), "id")),
		  "9223372036854775809");
	json_decref(answer);
}

static void test_bad_questions(void)
{
	static char longest[CONTROL_MAX_BYTES + 1];

	refuses(0, "", -EINVAL, "not JSON");
	refuses(0, "[1]", -EINVAL, "no \"command\"");
	refuses(0, "{\"command\":1}", -EINVAL, "no \"command\"");
	refuses(0, "{\"command\":\"status\"", -EINVAL, "not JSON");
	refuses(0, "{\"command\":\"status\",\"command\":\"drain\"}", -EINVAL, "not JSON");
	refuses(0, "{\"command\":\"stat\"}", -EINVAL, "no command is called \"stat\"");
	refuses(0, "{\"command\":\"status\",\"id\":1}", -EINVAL, "no member is called \"id\"");
	refuses(0, "{\"command\":\"cancel\"}", -EINVAL, "no request id");
	refuses(0, "{\"command\":\"cancel\",\"id\":-1}", -EINVAL, "no request id");
	refuses(0, "{\"command\":\"cancel\",\"id\":\"1x\"}", -EINVAL, "no request id");
	refuses(0, "{\"command\":\"cancel\",\"id\":\"99999999999999999999\"}", -EINVAL,
		"no request");
	refuses(0, "{\"command\":\"cancel\",\"id\":\"0x77\"}", -ENOENT, "no request 119");
	refuses(0, "{\"command\":\"\xc3\xa9\"}", -EINVAL, "no command is called");
	memset(longest, ' ', sizeof(longest));
	CHECK_EQ(control_packet(&d, ours, 0, longest, sizeof(longest)), -EMSGSIZE);
}

/* Several packets, more than the socket takes at once; a second question meanwhile is refused. */
static void test_long_answer(void)
{
	const char *question = "{\"command\":\"requests\"}";
	unsigned n_packets;
	char *text;
	json_t *answer;

	CHECK_EQ(control_packet(&d, ours, 0, question, strlen(question)), 0);
	CHECK(control_next_ns(d.control) > 0);
	CHECK_EQ(control_packet(&d, ours, 0, question, strlen(question)), -EBUSY);
	text = read_answer(&n_packets);
	CHECK(n_packets > 4);
	answer = json_loads(text, 0, NULL);
	CHECK_EQ(json_array_size(json_object_get(answer, "requests")), N_REQUESTS);
	json_decref(answer);
	free(text);
	CHECK_EQ(control_next_ns(d.control), 0);
}

/* Who does not read in time gets no more, and the connection ends. */
static void test_no_reader(void)
{
	const char *question = "{\"command\":\"requests\"}";
	unsigned n_packets;

	CHECK_EQ(control_packet(&d, ours, 0, question, strlen(question)), 0);
	control_expire(d.control, control_next_ns(d.control) - 1);
	CHECK(control_next_ns(d.control) > 0);
	control_expire(d.control, control_next_ns(d.control));
	CHECK_EQ(control_next_ns(d.control), 0);
	CHECK(!read_answer(&n_packets));
	close(ours);
	close(theirs);
	connect_pair();
	/* Who is gone before the answer. */
	close(theirs);
	CHECK_EQ(control_packet(&d, ours, 0, question, strlen(question)), 0);
	CHECK_EQ(control_next_ns(d.control), 0);
	close(ours);
}

/* A user who asks and asks and reads nothing is refused; nobody else is. */
static void test_many_askers(void)
{
	const char *question = "{\"command\":\"requests\"}";
	int ends[10][2];

	for (int i = 0; i < 10; i++) {
		connect_pair();
		ends[i][0] = ours;
		ends[i][1] = theirs;
		CHECK_EQ(control_packet(&d, ours, i < 9 ? session.uid : 0, question,
					strlen(question)),
			 i == 8 ? -EBUSY : 0);
	}
	for (int i = 0; i < 10; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
	while (control_next_ns(d.control))
		control_expire(d.control, control_next_ns(d.control));
}

int main(void)
{
	const uint32_t n_pages[1] = {8};
	const struct sched_config sched = {
		.step_tokens = 8, .max_seqs = 2, .w_prompt = 1, .w_output = 2};
	struct config config = {.step_tokens = 8};
	struct request *requests = calloc(N_REQUESTS, sizeof(*requests));
	struct error err;

	d.config = &config;
	CHECK_EQ(stats_create(&d.stats), 0);
	CHECK_EQ(kvcache_create(1, n_pages, &d.kv), 0);
	CHECK_EQ(sched_create(&sched, d.kv, NULL, &d.sched), 0);
	CHECK_EQ(loop_create(LOOP_AUTO, &d.loop, &err), 0);
	CHECK_EQ(control_create(&d, &d.control), 0);
	tenant.stats_index = stats_tenant(d.stats, tenant.name);
	add_requests(requests);
	connect_pair();
	test_status();
	test_who();
	test_bad_questions();
	test_long_answer();
	test_no_reader();
	test_many_askers();
	control_destroy(d.control);
	loop_destroy(d.loop);
	sched_destroy(d.sched);
	kvcache_destroy(d.kv);
	stats_destroy(d.stats);
	free(requests);
	return test_done();
}
