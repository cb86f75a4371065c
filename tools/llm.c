/* SPDX-License-Identifier: MIT */
/*
 * llm: what a person types. The first word names the command; its own file does the rest.
 */
#include "tools/llm.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"run", llm_run_main, "one prompt in, its tokens out"},
};

static void print_usage(FILE *f)
{
	fputs("usage: llm COMMAND [OPTION...]\n\ncommands:\n", f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\nllm COMMAND --help tells the options of each.\n", f);
}

/* Started without stdio, sockets and pipes would take its numbers. */
static void open_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 3);
	if (fd >= 3)
		close(fd);
}

int main(int argc, char **argv)
{
	open_stdio();
	if (argc < 2) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_usage(stdout);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("llm (devllm) %s\n", LLM_VERSION);
		return EXIT_DONE;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].main(argc - 1, argv + 1);
	if (!strcmp(argv[1], "chat")) {
		fputs("llm chat: chat templates come with a later version; `llm run --raw` runs a "
		      "prompt as it is\n",
		      stderr);
		return EXIT_USAGE;
	}
	fprintf(stderr, "llm: unknown command '%s' (llm --help)\n", argv[1]);
	return EXIT_USAGE;
}
