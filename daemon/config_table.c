/* SPDX-License-Identifier: MIT */
/*
 * config_table: every option of llmd, once. The command line, the file, `--help` and the check of
 * the man pages all read this table; a new option is one row here, a field in daemon/config.h and
 * a paragraph in man/llmd.conf.5.
 */
#include "daemon/config.h"

#define AT(field) offsetof(struct config, field)
#define LIMIT(field) offsetof(struct config, limits.field)
#define NONE 0, 0, NULL

/* section, key, letter, kind, offset, min, max, choices, default, argument, help */
static const struct config_option table[] = {
	{"daemon", "quiet", 'q', CONFIG_BOOL, AT(is_quiet), NONE, "off", NULL,
	 "say nothing but warnings and errors"},
	{"daemon", "request-log", 0, CONFIG_STR, AT(request_log), NONE, NULL, "PATH",
	 "append one JSON line per finished request"},
	{"daemon", "pin", 0, CONFIG_PIN, AT(pin), NONE, "auto", "WHEN",
	 "threads to CPUs, memory to their node: auto, off, on, require"},
	{"daemon", "mlock", 0, CONFIG_PIN, AT(mlock), NONE, "auto", "WHEN",
	 "keep all memory resident: auto, off, on, require"},
	{"daemon", "fault", 0, CONFIG_STR, AT(fault), NONE, NULL, "SPEC",
	 "break on purpose: point:kill|stall|fail[:n],..."},

	{"door", "socket", 0, CONFIG_STR, AT(socket), NONE, NULL, "PATH",
	 "listen here (default: /run/llm/llm.sock or $XDG_RUNTIME_DIR/llm.sock)"},
	{"door", "device", 0, CONFIG_STR, AT(device), NONE, NULL, "PATH",
	 "the device door; refused by this version"},
	{"door", "serve-fd", 0, CONFIG_I32, AT(serve_fd), 0, 1 << 20, NULL, NULL, "N",
	 "serve the connection on this descriptor, exit when it closes"},

	{"engine", "engine", 0, CONFIG_CHOICE, AT(engine), 0, 0, "auto null cpu cuda", "auto",
	 "NAME", "auto, null, cpu, cuda; auto is cpu; this version has no cuda"},
	{"engine", "model", 'm', CONFIG_STR, AT(model), NONE, NULL, "FILE",
	 "the model, a GGUF file"},
	{"engine", "kernels", 0, CONFIG_CHOICE, AT(kernels), 0, 0, "auto ref avx2", "auto", "NAME",
	 "auto, ref, avx2"},
	{"engine", "threads", 't', CONFIG_U32, AT(n_threads), 0, 256, NULL, "0", "N",
	 "compute threads; 0: one per physical core"},
	{"engine", "context", 0, CONFIG_U32, AT(context_tokens), 0, 1 << 24, NULL, "0", "N",
	 "most tokens of one request; 0: as the model was trained"},
	{"engine", "kv-bytes", 0, CONFIG_AMOUNT, AT(kv), 1 << 10, (uint64_t)1 << 50, NULL, NULL,
	 "N|N%", "size of the KV cache, or its share of available memory"},
	{"engine", "kv-type", 0, CONFIG_CHOICE, AT(kv_type), 0, 0, "f16", "f16", "TYPE",
	 "type of the KV cache: f16"},
	{"engine", "kv-pages", 0, CONFIG_U32, AT(kv_pages), 0, 1 << 24, NULL, "0", "N",
	 "KV pages of 32 tokens, instead of kv-bytes; 0: as kv-bytes says"},
	{"engine", "step-tokens", 0, CONFIG_U32, AT(step_tokens), 1, 65536, NULL, "512", "N",
	 "most tokens of one step"},
	{"engine", "chunk-tokens", 0, CONFIG_U32, AT(chunk_tokens), 0, 65536, NULL, "0", "N",
	 "most prompt tokens of one request in a step; 0: step-tokens"},
	{"engine", "max-seqs", 0, CONFIG_U32, AT(max_seqs), 1, 4096, NULL, "64", "N",
	 "most requests in one step"},
	{"engine", "prefix-cache", 0, CONFIG_BOOL, AT(has_prefix_cache), NONE, "on", "on|off",
	 "reuse the KV of equal prompt beginnings inside a tenant"},
	{"engine", "preempt-each-step", 0, CONFIG_BOOL, AT(preempt_each_step), NONE, "off", NULL,
	 "test: preempt a request in every step"},
	{"engine", "null-step-us", 0, CONFIG_U32, AT(null_step_us), 0, 60000000, NULL, "0", "N",
	 "test: microseconds a step of the null engine takes"},

	{"limits", "max-sessions", 0, CONFIG_U32, LIMIT(max_sessions), 1, 8192, NULL, "1024", "N",
	 "sessions of the daemon"},
	{"limits", "max-requests", 0, CONFIG_U32, LIMIT(max_requests), 1, 1 << 20, NULL, "16384",
	 "N", "live requests of the daemon"},
	{"limits", "max-connections", 0, CONFIG_U32, LIMIT(uid_connections), 1, 8192, NULL, "256",
	 "N", "connections of one user"},
	{"limits", "uid-requests", 0, CONFIG_U32, LIMIT(uid_requests), 1, 1 << 20, NULL, "8192",
	 "N", "requests in flight that the sessions of one user may ask for"},
	{"limits", "uid-ring-bytes", 0, CONFIG_U64, LIMIT(uid_ring_bytes), 1 << 12,
	 (uint64_t)1 << 40, NULL, "256M", "N", "memory of the rings of one user"},
	{"limits", "uid-body-bytes", 0, CONFIG_U64, LIMIT(uid_body_bytes), 1 << 10,
	 (uint64_t)1 << 40, NULL, "256M", "N", "bytes of the unfinished requests of one user"},
	{"limits", "max-body-bytes", 0, CONFIG_U32, LIMIT(max_body_bytes), 1 << 10,
	 LLM_MAX_BODY_BYTES, NULL, "16M", "N", "bytes of one request"},
	{"limits", "body-credit-bytes", 0, CONFIG_U64, LIMIT(body_credit_bytes), 1 << 10,
	 (uint64_t)1 << 40, NULL, "64M", "N", "bytes of the unfinished requests of one session"},
	{"limits", "hello-timeout-ms", 0, CONFIG_U32, LIMIT(hello_timeout_ms), 10, 600000, NULL,
	 "5000", "N", "time from connecting to the first message"},
	{"limits", "prefix-percent", 0, CONFIG_U32, LIMIT(prefix_percent), 0, 100, NULL, "50", "N",
	 "share of the KV pages that the prefix cache may keep for one tenant"},
};

_Static_assert(sizeof(table) / sizeof(table[0]) <= 64, "config.given has a bit per row");

const struct config_option *config_table(size_t *n)
{
	*n = sizeof(table) / sizeof(table[0]);
	return table;
}
