/* SPDX-License-Identifier: MIT */
/*
 * status: asks the daemon how it is, without opening a session.
 *
 *	cc status.c $(pkg-config --cflags --libs libllm) -o status
 *	./status [SOCKET]
 */
#include <llm.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	char *reply;
	int err = llm_control(argc > 1 ? argv[1] : NULL, "{\"command\":\"status\"}", &reply);

	if (err) {
		fprintf(stderr, "status: %s\n", llm_strerror(err));
		return 1;
	}
	fputs(reply, stdout);
	free(reply);
	return 0;
}
