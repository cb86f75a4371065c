/* SPDX-License-Identifier: MIT */
/* llm: the commands of the `llm` program; each takes its own argv (argv[0] is the command's name).
 */
#ifndef DEVLLM_TOOLS_LLM_H
#define DEVLLM_TOOLS_LLM_H

/* Exit codes of every tool. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3, EXIT_INTERRUPTED = 130 };

int llm_run_main(int argc, char **argv);

#endif
