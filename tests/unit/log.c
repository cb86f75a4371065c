/* SPDX-License-Identifier: MIT */
/*
 * Proves that a line for people is one line whatever is in it, that --quiet keeps facts but not
 * warnings back, and that a reader who does not read costs lines, which are then counted, and never
 * blocks.
 *
 * Marks: san
 */
#include "tests/test.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/log.h"

static char text[1 << 20];

static const char *drain(int fd)
{
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	return text;
}

int main(void)
{
	struct log l;
	int ends[2], n_lines = 0;
	char longest[3000];

	unsetenv("JOURNAL_STREAM");
	if (pipe2(ends, O_NONBLOCK))
		return 1;
	log_init(&l, ends[1], false);
	log_info(&l, "a %d", 1);
	CHECK_STR(drain(ends[0]), "llmd: a 1\n");
	log_info(&l, "evil\nllmd: forged\033[2J");
	CHECK_STR(drain(ends[0]), "llmd: evil?llmd: forged?[2J\n");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	log_info(&l, "%s", longest);
	drain(ends[0]);
	CHECK(strlen(text) < 1020);
	CHECK(!strcmp(text + strlen(text) - 5, "x...\n"));

	l.is_quiet = true;
	log_info(&l, "fact");
	log_warn(&l, "warning");
	CHECK_STR(drain(ends[0]), "llmd: warning\n");
	log_warn(NULL, "nobody");

	/* A flood of warnings inside one second. */
	for (int i = 0; i < 100; i++)
		log_warn(&l, "flood");
	drain(ends[0]);
	for (char *c = text; *c; c++)
		n_lines += *c == '\n';
	CHECK(n_lines < 100);

	/* A full pipe. */
	l.is_quiet = false;
	for (int i = 0; i < 1000; i++)
		log_info(&l, "%s", longest);
	CHECK(l.n_dropped > 0);
	while (read(ends[0], text, sizeof(text)) > 0)
		;
	log_info(&l, "after");
	CHECK(strstr(drain(ends[0]), "llmd: after (") == text);
	CHECK(strstr(text, " lines before it dropped)\n") != NULL);

	setenv("JOURNAL_STREAM", "1:2", 1);
	log_init(&l, ends[1], false);
	log_warn(&l, "w");
	CHECK_STR(drain(ends[0]), "<4>llmd: w\n");
	return test_done();
}
