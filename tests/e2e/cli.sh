#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cli: llm run, alone and against a daemon: text, ids, JSON, seeds, stops, pipes, Ctrl-C, --help.
. tests/e2e/lib.sh

"$BUILD/tests/mkmodel" --type Q4_1 --seed 11 --vocab 512 --context 1024 "$SCRATCH/tiny.gguf"
tiny=(-m "$SCRATCH/tiny.gguf" --raw --ignore-eos)

for tool in llm llmctl llmtok llmbench llmeval llmd; do
	check "$tool --version" grep -q '0\.' <("$BUILD/$tool" --version)
	check "$tool --help" grep -qi usage <("$BUILD/$tool" --help)
done

"$BUILD/llm" run "${tiny[@]}" -n 20 "once" > "$SCRATCH/private" 2> "$SCRATCH/closing"
check "the closing line" \
	grep -qE 'TTFT [0-9.]+ ms, [0-9.]+ tokens/s, [0-9.]+ GB/s' "$SCRATCH/closing"
"$BUILD/llm" run "${tiny[@]}" -n 20 "once" 2> /dev/null <&- > "$SCRATCH/no_stdin"
check "the same without standard input" cmp "$SCRATCH/private" "$SCRATCH/no_stdin"
check "no daemon stays" [ -z "$(pgrep -f "$SCRATCH/tiny.gguf" || true)" ]
"$BUILD/llm" run "${tiny[@]}" -n 20 --ids "once" > "$SCRATCH/ids" 2> /dev/null
check "20 ids" [ "$(wc -w < "$SCRATCH/ids")" -eq 20 ]
"$BUILD/llm" run "${tiny[@]}" -n 20 --json "once" 2> /dev/null | tail -n 1 > "$SCRATCH/json"
python3 - "$SCRATCH" << 'PY' || fail "--json, --ids and text differ"
import json, sys
d = sys.argv[1]
a = json.load(open(d + "/json"))
assert set(a) == {"text", "ids", "reason", "prompt_tokens", "generated_tokens", "ttft_ms", "tps"}, a
assert a["ids"] == [int(x) for x in open(d + "/ids").read().split()], a
assert a["text"] + "\n" == open(d + "/private", newline="").read(), a
assert a["reason"] == "length" and a["generated_tokens"] == 20 and a["prompt_tokens"] > 0, a
assert a["ttft_ms"] > 0 and a["tps"] > 0, a
PY

daemon_start -m "$SCRATCH/tiny.gguf" --request-log "$SCRATCH/requests.log"
served=(--connect "$SOCKET" --raw --ignore-eos)
run() {
	"$BUILD/llm" run "${served[@]}" "$@" 2> "$SCRATCH/closing"
}

run -n 20 once > "$SCRATCH/served"
check "the same through the socket" cmp "$SCRATCH/private" "$SCRATCH/served"
printf once | run -n 20 - > "$SCRATCH/piped"
check "the same through a pipe" cmp "$SCRATCH/private" "$SCRATCH/piped"
LLM_DOOR=$SOCKET "$BUILD/llm" run --raw --ignore-eos -n 20 once > "$SCRATCH/door" 2> /dev/null
check "the same through LLM_DOOR" cmp "$SCRATCH/private" "$SCRATCH/door"
for i in 1 2; do
	run -n 40 --temp 3 --seed 42 --ids once > "$SCRATCH/seed$i"
done
check "one seed, one answer" cmp "$SCRATCH/seed1" "$SCRATCH/seed2"
run -n 40 --temp 3 --seed 43 --ids once > "$SCRATCH/seed3"
check "another seed, another answer" sh -c "! cmp -s '$SCRATCH/seed1' '$SCRATCH/seed3'"

# A stop string taken from the middle of the known answer cuts it there.
python3 - "$SCRATCH/private" > "$SCRATCH/stop" << 'PY'
import sys
text = open(sys.argv[1], newline="", encoding="utf-8").read()[:-1]
at = next((i for i in range(3, len(text) - 3) if text.find(text[i:i + 2]) == i), 3)
print(text[at:at + 2], end="")
PY
run -n 20 --stop "$(cat "$SCRATCH/stop")" once > "$SCRATCH/stopped"
check "the stop string is left out" [ "$(grep -cF -f "$SCRATCH/stop" "$SCRATCH/stopped")" -eq 0 ]
check "the reason is stop" grep -q ', stop;' "$SCRATCH/closing"

# Ctrl-C cancels and exits 130.
"$BUILD/llm" run "${served[@]}" --temp 1 -n 900 "count" > "$SCRATCH/long" 2> /dev/null &
pid=$!
wait_for 10 test -s "$SCRATCH/long" || fail "no first token"
kill -INT $pid
status=0
wait $pid || status=$?
check "Ctrl-C exits 130, or the answer was complete" [ $status -eq 130 -o $status -eq 0 ]
check "nothing goes on after Ctrl-C" wait_for 5 has_status requests_running 0

daemon_stop
python3 - "$SCRATCH/requests.log" << 'PY' || fail "the request log"
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
assert len(lines) >= 8, len(lines)
need = "time id tenant uid pid door model isl osl cached reason status queue_ns tokenize_ns " \
       "prefill_ns ttft_ns e2e_ns gaps_ns stall_ns preemptions replayed seed accepted_drafts"
for l in lines:
    missing = set(need.split()) - set(l)
    assert not missing, missing
    assert l["osl"] == 0 or len(l["gaps_ns"]) == l["osl"] - 1, l
PY
finish
