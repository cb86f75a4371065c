/* SPDX-License-Identifier: MIT */
/*
 * Proves that the configuration is what the table, the file and the command line say in that order,
 * and that every mistake is refused by a sentence naming its place and the nearest known name.
 *
 * Marks: san
 */
#include "tests/test.h"

#include <unistd.h>

#include "daemon/config.h"

#define MAX_ARGS 16

static char conf_path[4096];

static void write_conf(const char *text)
{
	FILE *f = fopen(conf_path, "w");

	fputs(text, f);
	fclose(f);
}

/* A command line in one string, split at blanks; "llmd" is put before it. */
static int parse(struct config *c, const char *line, enum config_action *action, struct error *err)
{
	static char copy[8192];
	char *argv[MAX_ARGS + 1] = {"llmd"}, *rest = copy;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strsep(&rest, " "); w && argc < MAX_ARGS; w = strsep(&rest, " "))
		if (*w)
			argv[argc++] = w;
	err->code = 0;
	err->text[0] = 0;
	return config_init(c, argc, argv, action, err);
}

/* The line is refused and the sentence holds every one of `parts`, separated by '|'. */
static void refuses(const char *line, const char *parts)
{
	struct config c;
	enum config_action action;
	struct error err;
	char copy[512], *rest = copy;
	int rc = parse(&c, line, &action, &err);

	CHECK(rc < 0);
	snprintf(copy, sizeof(copy), "%s", parts);
	for (char *p = strsep(&rest, "|"); p; p = strsep(&rest, "|")) {
		if (!strstr(err.text, p))
			fprintf(stderr, "%s: said \"%s\", expected \"%s\"\n", line, err.text, p);
		CHECK(strstr(err.text, p) != NULL);
	}
	config_exit(&c);
}

/* The file's text is refused; `parts` as above. */
static void file_refuses(const char *text, const char *parts)
{
	char line[8192];

	write_conf(text);
	snprintf(line, sizeof(line), "-c %s --engine null", conf_path);
	refuses(line, parts);
}

static void test_defaults(void)
{
	struct config c;
	enum config_action action;
	struct error err;

	CHECK_EQ(parse(&c, "--engine null", &action, &err), 0);
	CHECK_EQ(action, CONFIG_RUN);
	CHECK_EQ(c.step_tokens, 512);
	CHECK_EQ(c.max_seqs, 64);
	CHECK_EQ(c.has_prefix_cache, true);
	CHECK_EQ(c.preempt_each_step, false);
	CHECK_EQ(c.serve_fd, -1);
	CHECK_EQ(c.kv.is_set, false);
	CHECK_EQ(c.limits.max_body_bytes, 16 << 20);
	CHECK_STR(c.engine, "null");
	CHECK_STR(c.kv_type, "f16");
	CHECK(!c.socket && !c.request_log && !c.fault && !c.n_tenants);
	config_exit(&c);
	CHECK_EQ(parse(&c, "--help", &action, &err), 0);
	CHECK_EQ(action, CONFIG_HELP);
	config_exit(&c);
	CHECK_EQ(parse(&c, "--version --nonsense", &action, &err), 0);
	CHECK_EQ(action, CONFIG_VERSION);
	config_exit(&c);
}

static void test_command_line(void)
{
	struct config c;
	enum config_action action;
	struct error err;

	CHECK_EQ(parse(&c,
		       "-mx.gguf --kv-bytes 25% --step-tokens=1K --prefix-cache off --quiet "
		       "--max-body-bytes 2M --serve-fd 3 -t 2",
		       &action, &err),
		 0);
	CHECK_STR(c.model, "x.gguf");
	CHECK_EQ(c.kv.percent, 25);
	CHECK_EQ(c.kv.bytes, 0);
	CHECK_EQ(c.step_tokens, 1024);
	CHECK_EQ(c.has_prefix_cache, false);
	CHECK_EQ(c.is_quiet, true);
	CHECK_EQ(c.limits.max_body_bytes, 2 << 20);
	CHECK_EQ(c.serve_fd, 3);
	CHECK_EQ(c.n_threads, 2);
	config_exit(&c);
	CHECK_EQ(parse(&c, "--engine null --kv-bytes 3G --quiet=off", &action, &err), 0);
	CHECK_EQ(c.kv.bytes, 3ull << 30);
	CHECK_EQ(c.is_quiet, false);
	config_exit(&c);
}

static void test_command_line_errors(void)
{
	refuses("--engine null --step-tokens 0", "--step-tokens|0 is out of range|1 to 65536");
	refuses("--engine null --step-tokens 70000", "70000 is out of range, 1 to 65536");
	refuses("--engine null --step-tokens 64x", "\"64x\" is not a number");
	refuses("--engine null --step-tokens -1", "\"-1\" is not a number");
	refuses("--engine null --step-tokens", "--step-tokens needs a value");
	refuses("--engine null --kv-bytes 99999999999999999999G", "out of range");
	refuses("--engine null --kv-bytes 18014398509481985K", "out of range");
	refuses("--engine null --kv-bytes 0%", "0 is out of range, 1 to 100");
	refuses("--engine null --kv-bytes 101%", "101 is out of range, 1 to 100");
	refuses("--engine null --kv-bytes %", "--kv-bytes");
	refuses("--engine null --step-token 4", "--step-token|did you mean --step-tokens?");
	refuses("--engine null --hlep", "did you mean --help?");
	refuses("--engine nul", "\"nul\" is not one of: auto null cpu cuda");
	refuses("--engine cuda", "this version has no cuda engine");
	refuses("--engine null --device /dev/llm", "/dev/llm|no device door");
	refuses("--kernels ref", "no model|-m MODEL.gguf|--engine null");
	refuses("--engine null --kv-type q8_0", "\"q8_0\" is not one of: f16");
	refuses("--engine null --prefix-cache maybe", "\"maybe\" is neither on nor off");
	refuses("--engine null --chunk-tokens 600", "chunk-tokens is 600, above step-tokens 512");
	refuses("--engine null --kv-pages 4 --kv-bytes 1M", "both given");
	refuses("--engine null --body-credit-bytes 1K", "1024, below max-body-bytes 16777216");
	refuses("--engine null --pin sometimes", "\"sometimes\" is none of");
	refuses("--engine null stray", "\"stray\" is not an option");
	refuses("--engine null -x", "no option is called -x");
	refuses("-c /nonexistent/llmd.conf", "/nonexistent/llmd.conf|No such file");
}

static void test_file(void)
{
	struct config c;
	enum config_action action;
	struct error err;
	char line[8192];

	write_conf("# a comment\n"
		   "[daemon]\n"
		   "quiet = on\n"
		   "[engine]\n"
		   "  engine = null   ; indented, with a comment\n"
		   "step-tokens = 64\n"
		   "max-seqs: 8\n"
		   "[limits]\n"
		   "uid-ring-bytes = 8M\n"
		   "[tenant web]\n"
		   "users = 1000, 1001\n"
		   "weight = 3\n"
		   "max-requests = 10\n"
		   "quota-tokens = 1T\n"
		   "[tenant batch]\n"
		   "users = 1002 root\n"
		   "[model tiny]\n"
		   "file = /tmp/tiny.gguf\n");
	snprintf(line, sizeof(line), "--step-tokens 32 -c %s", conf_path);
	CHECK_EQ(parse(&c, line, &action, &err), 0);
	CHECK_STR(err.text, "");
	CHECK_EQ(c.is_quiet, true);
	CHECK_EQ(c.step_tokens, 32); /* the command line beats the file */
	CHECK_EQ(c.max_seqs, 8);
	CHECK_EQ(c.limits.uid_ring_bytes, 8 << 20);
	CHECK_STR(c.model_name, "tiny");
	CHECK_STR(c.model, "/tmp/tiny.gguf");
	CHECK_EQ(c.n_tenants, 2);
	CHECK_STR(c.tenants[0].name, "web");
	CHECK_EQ(c.tenants[0].n_uids, 2);
	CHECK_EQ(c.tenants[0].uids[1], 1001);
	CHECK_EQ(c.tenants[0].weight, 3);
	CHECK_EQ(c.tenants[0].max_requests, 10);
	CHECK_EQ(c.tenants[0].quota_tokens, 1ll << 40);
	CHECK_EQ(c.tenants[1].weight, 1);
	CHECK_EQ(c.tenants[1].uids[1], 0);
	config_exit(&c);
}

static void test_file_errors(void)
{
	char longest[600];

	file_refuses("[engin]\n", ".conf:1:|no section is called \"engin\"|\"engine\"?");
	file_refuses("\n[engine]\nstep-tokns = 4\n",
		     ":3:|no key of [engine] is called \"step-tokns\"|\"step-tokens\"?");
	file_refuses("[daemon]\nstep-tokens = 4\n", ":2: step-tokens stands in [engine]");
	file_refuses("[engine]\nstep-tokens = 0\n", ":2: step-tokens: 0 is out of range");
	file_refuses("[engine]\nstep-tokens = 4\nstep-tokens = 5\n",
		     ":3: step-tokens is set twice");
	file_refuses("quiet = on\n", ":1: quiet stands before any section");
	file_refuses("[daemon]\nquiet\n", ":2: neither a section nor key = value");
	file_refuses("[daemon\nquiet = on\n", ":1: a section without end");
	file_refuses("[tenant]\n", ":1: a tenant's name has 1 to 63 bytes, not 0");
	file_refuses("[tenant a/b]\n", "letters, digits");
	file_refuses("[tenant a]\n[tenant a]\n", ":2: a second [tenant a]");
	file_refuses("[tenant a]\nwieght = 2\n", ":2:|[tenant]|\"weight\"?");
	file_refuses("[tenant a]\nweight = 0\n", ":2: weight: 0 is out of range, 1 to 1000");
	file_refuses("[tenant a]\nusers = 7\n[tenant b]\nusers = 7\n",
		     ":4: user 7 belongs to tenant \"a\"");
	file_refuses("[tenant a]\nusers = nobody-of-this-name\n", ":2: no user is called");
	file_refuses("[model a]\n", "[model a] has no file");
	file_refuses("[model a]\nfile = x\n[model b]\nfile = y\n", ":3: a second [model]");
	memset(longest, 'x', sizeof(longest));
	longest[0] = ';';
	longest[sizeof(longest) - 1] = 0;
	file_refuses(longest, ":1: the line has 599 bytes");
}

/* Where the socket is when nobody said, and the file that is installed for administrators. */
static void test_places(void)
{
	struct config c = {.socket = "/somewhere/x.sock"};
	enum config_action action;
	struct error err = {0};
	char path[64], small[8];

	CHECK_EQ(config_socket_path(&c, path, sizeof(path), &err), 0);
	CHECK_STR(path, "/somewhere/x.sock");
	CHECK(config_socket_path(&c, small, sizeof(small), &err) < 0);
	CHECK(strstr(err.text, "17 bytes, at most 7") != NULL);
	c.socket = NULL;
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	CHECK_EQ(config_socket_path(&c, path, sizeof(path), &err), 0);
	if (geteuid() && access("/run/llm", W_OK)) {
		CHECK_STR(path, "/run/user/7/llm.sock");
		unsetenv("XDG_RUNTIME_DIR");
		CHECK(config_socket_path(&c, path, sizeof(path), &err) < 0);
		CHECK(strstr(err.text, "--socket PATH") != NULL);
	} else {
		CHECK_STR(path, "/run/llm/llm.sock");
	}
	CHECK_EQ(parse(&c, "-c packaging/llmd.conf", &action, &err), 0);
	CHECK_STR(err.text, "");
	config_exit(&c);
}

/* A page of the manual without its \- marks, as one text; freed by the caller. */
static char *read_page(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 1 << 16), *to = text;
	int c = f ? fgetc(f) : EOF;

	CHECK(f != NULL);
	for (; c != EOF; c = fgetc(f))
		if (c != '\\')
			*to++ = (char)c;
	if (f)
		fclose(f);
	return text;
}

/* Every row is described in llmd.conf(5), with its default, and listed in llmd(8); no other is. */
static void test_manual(void)
{
	char *conf = read_page("man/llmd.conf.5"), *llmd = read_page("man/llmd.8"), want[128];
	size_t n, n_found = 0;
	const struct config_option *table = config_table(&n);

	for (size_t i = 0; i < n; i++) {
		char *at, *end, *found;

		snprintf(want, sizeof(want), "\n.TP\n.B %s\n", table[i].key);
		at = strstr(conf, want);
		if (!at)
			fprintf(stderr, "man/llmd.conf.5 does not describe %s\n", table[i].key);
		CHECK(at != NULL);
		if (at && table[i].initial && table[i].kind != CONFIG_CHOICE) {
			snprintf(want, sizeof(want), "Default %s.\n", table[i].initial);
			end = strstr(at + 1, "\n.TP");
			found = strstr(at, want);
			if (!found || (end && found > end))
				fprintf(stderr, "man/llmd.conf.5: %s: no \"%s\"\n", table[i].key,
					want);
			CHECK(found && (!end || found < end));
		}
		snprintf(want, sizeof(want), "--%s", table[i].key);
		at = strstr(llmd, want);
		while (at && strchr("-abcdefghijklmnopqrstuvwxyz", at[strlen(want)]))
			at = strstr(at + 1, want);
		if (!at)
			fprintf(stderr, "man/llmd.8 does not list %s\n", want);
		CHECK(at != NULL);
	}
	for (char *p = strstr(conf, "\n.TP\n.B "); p; p = strstr(p + 1, "\n.TP\n.B "))
		n_found++;
	CHECK_EQ(n_found, n + 10); /* and nine keys of [tenant], one of [model] */
	free(conf);
	free(llmd);
}

int main(void)
{
	const char *dir = getenv("TMPDIR");

	snprintf(conf_path, sizeof(conf_path), "%s/llmd-%d.conf", dir ? dir : "/tmp",
		 (int)getpid());
	test_defaults();
	test_command_line();
	test_command_line_errors();
	test_file();
	test_file_errors();
	test_places();
	test_manual();
	unlink(conf_path);
	return test_done();
}
