#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that each example of libllm does what its head says against a real daemon, and that all of
# them say so and fail when there is none.
. tests/e2e/lib.sh

example() {
	local name=$1
	shift
	timeout 60 "$BUILD/examples/$name" "$@" < /dev/null
}

for source in examples/*.c; do
	name=$(basename "$source" .c)
	check_fails "$name without a daemon" 1 "$name: " "$BUILD/examples/$name" "$SCRATCH/none"
done

"$BUILD/tests/mkmodel" --type Q8_0 --seed 5 --vocab 512 --context 512 "$SCRATCH/tiny.gguf"
daemon_start --engine cpu -m "$SCRATCH/tiny.gguf"

# The same greedy tokens as any other client's.
"$BUILD/llm" run --connect "$SOCKET" --raw -n 64 "The capital of France is" \
	> "$SCRATCH/run" 2> /dev/null || fail "llm run"
example hello "$SOCKET" > "$SCRATCH/hello" || fail "hello"
check "hello prints what llm run does" cmp "$SCRATCH/run" "$SCRATCH/hello"

example stream "$SOCKET" "Once upon" > "$SCRATCH/stream" || fail "stream"
check "stream names the model's context" grep -q 'context 512 tokens' "$SCRATCH/stream"
check "stream ends with its counts" grep -aqE '^\[(length|eos): [0-9]+ \+ [0-9]+ tokens, waited' \
	"$SCRATCH/stream"
# Enter lies there before the first token: it is the cancel that ends the request.
mkfifo "$SCRATCH/enter"
exec 3<> "$SCRATCH/enter"
echo >&3
timeout 60 "$BUILD/examples/stream" "$SOCKET" <&3 > "$SCRATCH/canceled" || fail "stream with Enter"
check "stream ended by Enter or by itself" \
	grep -aqE '^\[(canceled|length|eos)' "$SCRATCH/canceled"

example batch "$SOCKET" > "$SCRATCH/batch" || fail "batch"
example batch "$SOCKET" > "$SCRATCH/again" || fail "batch again"
n_answers=$(grep -acE '^(The sea is|My favourite number is|Two plus two is)\|' "$SCRATCH/batch")
check "batch: three prompts, four choices" test "$n_answers" = 12
check "batch: seeds make it the same again" cmp "$SCRATCH/batch" "$SCRATCH/again"

example cancel "$SOCKET" > "$SCRATCH/cancel" || fail "cancel"
check "cancel: both requests ended" test "$(grep -c '^request [01]: ' "$SCRATCH/cancel")" = 2

example uring "$SOCKET" > "$SCRATCH/uring" || fail "uring"
check "uring: three ends" test "$(grep -acE '^[012]: end, [0-9]+ tokens' "$SCRATCH/uring")" = 3

example status "$SOCKET" > "$SCRATCH/status" || fail "status"
check "status is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))["version"]' \
	"$SCRATCH/status"
has_all_pages_back() {
	[ "$(status_of requests_running)" = 0 ]
}
check "nothing is left running" wait_for 10 has_all_pages_back
daemon_stop
finish
