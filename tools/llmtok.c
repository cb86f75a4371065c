/* SPDX-License-Identifier: MIT */
/*
 * llmtok: the token ids of the text on standard input, in the vocabulary of a GGUF file.
 *
 * Offline: it links the engine's tokenizer and asks no daemon. Standard output has the ids on its
 * first line and nothing else. Exit: 0 done, 1 failed, 2 usage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/tokenizer.h"
#include "tools/option.h"

struct args {
	const char *model;
	bool bos, special, table, chat;
};

static int failed(const char *text)
{
	fprintf(stderr, "llmtok: %s\n", text);
	return 1;
}

/* All of standard input, at most one byte more than the tokenizer takes: it refuses that itself. */
static int read_input(char **text, size_t *len)
{
	size_t cap = 1 << 16, n;

	*len = 0;
	*text = malloc(cap);
	while (*text) {
		n = fread(*text + *len, 1, cap - *len, stdin);
		*len += n;
		if (!n || *len > TOKENIZER_TEXT_MAX)
			return ferror(stdin) ? -EIO : 0;
		if (*len == cap) {
			char *more = realloc(*text, 2 * cap);

			if (!more)
				break;
			*text = more;
			cap *= 2;
		}
	}
	return -ENOMEM;
}

static int open_tokenizer(const char *path, struct tokenizer **out, struct error *err)
{
	struct gguf *g;
	int ret = gguf_open(path, &g, err);

	if (ret)
		return ret;
	ret = tokenizer_create(g, out, err);
	gguf_close(g);
	return ret;
}

/* --bos asks for it whatever the file says, so its absence is an error. */
static int add_bos(const struct tokenizer *t, struct tokenizer_ids *ids, struct error *err)
{
	if (tokenizer_bos(t) == TOKENIZER_NONE)
		return error_set(err, -ENOENT, "the vocabulary of %u tokens has no BOS",
				 tokenizer_n_tokens(t));
	return tokenizer_ids_add(ids, tokenizer_bos(t));
}

static int print_ids(const struct tokenizer_ids *ids)
{
	for (size_t i = 0; i < ids->n; i++)
		printf("%s%u", i ? " " : "", ids->ids[i]);
	printf("\n");
	return fflush(stdout) || ferror(stdout) ? failed(strerror(errno)) : 0;
}

static int run(const struct args *args)
{
	struct tokenizer_input in = {.flags = args->special ? TOKENIZER_PARSE_SPECIAL : 0};
	struct tokenizer_ids ids = {0};
	struct tokenizer *t = NULL;
	struct error err = {0};
	char *text = NULL;
	int ret = open_tokenizer(args->model, &t, &err);

	if (ret) {
		ret = failed(err.text);
		goto out_free;
	}
	if (tokenizer_note(t))
		fprintf(stderr, "llmtok: %s\n", tokenizer_note(t));
	ret = read_input(&text, &in.len);
	if (ret) {
		ret = failed(ret == -EIO ? "cannot read standard input" : "no memory for the text");
		goto out_free;
	}
	in.text = text;
	if (args->bos)
		ret = add_bos(t, &ids, &err);
	if (!ret)
		ret = tokenizer_encode(t, &in, &ids, &err);
	ret = ret ? failed(err.text) : print_ids(&ids);
out_free:
	tokenizer_ids_exit(&ids);
	tokenizer_destroy(t);
	free(text);
	return ret;
}

int main(int argc, char **argv)
{
	struct args args = {0};
	const struct option_def defs[] = {
		{"m", OPTION_TEXT, &args.model, "FILE",
		 "the GGUF file; one without weights will do"},
		{"bos", OPTION_FLAG, &args.bos, NULL,
		 "put BOS first, whether or not prompts get one"},
		{"special", OPTION_FLAG, &args.special, NULL,
		 "read names of control tokens in the text as these tokens"},
		{"table", OPTION_FLAG, &args.table, NULL, "not in this version"},
		{"chat", OPTION_FLAG, &args.chat, NULL, "not in this version"},
		{0},
	};
	const struct option_command cmd = {
		"llmtok", "-m FILE [--bos] [--special] < TEXT",
		"Prints the token ids of the text on standard input, on one line.", defs};
	int n_words = 0, parsed = option_parse(&cmd, argc, argv, &n_words);

	if (parsed != OPTION_GO)
		return parsed == OPTION_DONE ? 0 : 2;
	if (args.table || args.chat)
		return option_usage(&cmd, "--%s comes with a later version",
				    args.table ? "table" : "chat");
	if (n_words)
		return option_usage(&cmd, "the text comes on standard input, not as \"%s\"",
				    argv[1]);
	if (!args.model)
		return option_usage(&cmd, "-m FILE is missing");
	return run(&args);
}
