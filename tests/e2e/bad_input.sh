#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bad_input: every wrong thing a person can do gets a clear error; the daemon lives.
. tests/e2e/lib.sh

run() {
	"$BUILD/llm" run --connect "$SOCKET" --raw "$@"
}

"$BUILD/tests/mkmodel" --type Q8_0 --seed 3 --vocab 512 --context 256 "$SCRATCH/tiny.gguf"
daemon_start -m "$SCRATCH/tiny.gguf"

check "a good prompt" run -n 4 "hello"
check_fails "no tokens wanted" 1 'max_tokens' run -n 0 "hello"
long=$(printf 'x%.0s' $(seq 3000))
check_fails "over the context" 1 'prompt has [0-9]+ tokens, model context is 256' run "$long"
check_fails "prompt + max_tokens" 1 '[0-9]+.*256' run -n 300 "hello"
check_fails "invalid UTF-8" 1 'byte 3' sh -c \
	"printf 'abc\\377def' | '$BUILD/llm' run --connect '$SOCKET' --raw -"
head -c 10000000 /dev/zero | tr '\0' 'a' > "$SCRATCH/10mb"
check_fails "10 MB of text" 1 '10000000|256' sh -c \
	"'$BUILD/llm' run --connect '$SOCKET' --raw - < '$SCRATCH/10mb'"
check_fails "top-p above 1" 1 'top_p' run --top-p 2 "hello"
check_fails "no template" 2 'give --raw' "$BUILD/llm" run --connect "$SOCKET" "hello"
check_fails "system text" 2 'template' run --system x "hello"
check_fails "chat" 2 'later' "$BUILD/llm" chat
check_fails "unknown option" 2 'unknown option --nope' run --nope
check_fails "no daemon" 3 "$SCRATCH/none" "$BUILD/llm" run --connect "$SCRATCH/none" --raw x
check_fails "llmctl without a daemon" 3 . "$BUILD/llmctl" --socket "$SCRATCH/none" status
check_fails "unknown control command" 2 'unknown command' ctl dance
check_fails "cancel of nothing" 1 '.' ctl cancel 12345
check_fails "a second daemon" 1 "$DAEMON" "$BUILD/llmd" --engine null --socket "$SOCKET"
check "the daemon lives" run -n 4 "hello"
daemon_stop

check_fails "no model file" 1 'nowhere.gguf' "$BUILD/llm" run -m "$SCRATCH/nowhere.gguf" --raw x
check_fails "an unknown engine" 2 'abacus' "$BUILD/llmd" --engine abacus --socket "$SOCKET"
check_fails "the device door" 2 'device' "$BUILD/llmd" --engine null --device /dev/llm-ctl
check_fails "an unknown option" 2 'sockte' "$BUILD/llmd" --sockte x

# Truncated and damaged models: llmd says what is wrong and ends with 1, it never crashes.
size=$(stat -c %s "$SCRATCH/tiny.gguf")
for cut in 0 3 4 20 100 1000 5000 $((size / 2)) $((size - 1)); do
	head -c "$cut" "$SCRATCH/tiny.gguf" > "$SCRATCH/cut.gguf"
	check_fails "cut to $cut of $size bytes" 1 'cut.gguf|llmd' \
		timeout 20 "$BUILD/llmd" -m "$SCRATCH/cut.gguf" --socket "$SOCKET"
done
for at in 0 4 8 16 24 40 100 300 700; do
	cp "$SCRATCH/tiny.gguf" "$SCRATCH/bad.gguf"
	printf '\377\377\377\177' | dd of="$SCRATCH/bad.gguf" bs=1 seek=$at conv=notrunc status=none
	check_fails "damaged at byte $at" 1 '.' \
		timeout 20 "$BUILD/llmd" -m "$SCRATCH/bad.gguf" --socket "$SOCKET"
done

# A stale socket is replaced.
daemon_start -m "$SCRATCH/tiny.gguf"
kill -9 "$DAEMON"
wait "$DAEMON" 2> /dev/null || true
[ -S "$SOCKET" ] || fail "kill -9 should have left the socket"
daemon_start -m "$SCRATCH/tiny.gguf"
check "after a stale socket" run -n 4 "hello"
daemon_stop
finish
