#!/bin/bash
# SPDX-License-Identifier: MIT
#
# null_hello: a daemon on the null engine says where its memory goes, serves the shortest client,
# counts what it served, and goes when it is told to.
. tests/e2e/lib.sh

# The vocabulary is that of a tiny model, its tokens are the null engine's.
"$BUILD/tests/mkmodel" --type Q4_1 --seed 5 --vocab 512 --context 1024 "$SCRATCH/tiny.gguf"
daemon_start --engine null -m "$SCRATCH/tiny.gguf" --request-log "$SCRATCH/requests.log"
for word in version model engine weights workspace 'KV cache' reserve budget door ready; do
	check "the start says $word" grep -q "^llmd: $word" "$SCRATCH/llmd.log"
done
check "hello" "$BUILD/examples/hello" "$SOCKET" > "$SCRATCH/hello"
check "hello says something" [ -s "$SCRATCH/hello" ]
burst --n 3 --osl 5 --vocab 512 > "$SCRATCH/answers" 2> /dev/null || fail "burst"
check "three answers" [ "$(wc -l < "$SCRATCH/answers")" -eq 3 ]
check "the pages are back" [ $(($(status_of pages_free) + $(status_of pages_prefix))) -eq \
	"$(status_of pages_total)" ]
ctl metrics > "$SCRATCH/metrics"
check "metrics: three ended by length" [ "$(awk '/^vllm:request_success_total.*"length"/ { n += $2 }
	END { print n }' "$SCRATCH/metrics")" -ge 3 ]
check "metrics and status agree" [ "$(awk '/^vllm:generation_tokens_total/ { n += $2 }
	END { print n }' "$SCRATCH/metrics")" = "$(status_of generated_tokens)" ]
daemon_stop
check "the socket is gone" [ ! -e "$SOCKET" ]
check "the closing line" grep -q '^llmd: ended: [0-9]* requests' "$SCRATCH/llmd.log"
python3 - "$SCRATCH/requests.log" << 'PY' || fail "the request log does not add up"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert len(lines) >= 3, len(lines)
for l in lines:
    assert l["v"] == 1 and l["door"] == "socket" and l["model"] == "tiny", l
    assert l["queue_ns"] + l["tokenize_ns"] + l["prefill_ns"] == l["ttft_ns"], l
    assert l["ttft_ns"] + sum(l["gaps_ns"]) <= l["e2e_ns"], l
PY
finish
