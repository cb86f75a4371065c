#!/bin/bash
# SPDX-License-Identifier: MIT
#
# llmeval: perplexity and golden on a tiny model, their JSON lines, and what is refused.
. tests/e2e/lib.sh

tiny=$SCRATCH/tiny.gguf text=$SCRATCH/text golden=$SCRATCH/golden.jsonl
eval_json() {
	"$BUILD/llmeval" "$@" --json
}

"$BUILD/tests/mkmodel" --type Q8_0 --context 256 "$tiny"
for i in $(seq 60); do
	echo "line $i: the weather in the mountains was fine again, as it had been for $i days"
done > "$text"

line=$(eval_json ppl -m "$tiny" -f "$text" -c 64 --chunks 5 -t 2)
check "ppl's line: $line" grep -qE '^\{"ppl":[0-9]+\.[0-9]+,"windows":5,"tokens":155\}$' <<< "$line"
other=$(eval_json ppl -m "$tiny" -f "$text" -c 64 --chunks 5 -t 1)
check "threads change nothing" test "$other" = "$line"
other=$(eval_json ppl -m "$tiny" -f "$text" -c 64 --chunks 5 --kernels ref)
check "kernels change nothing" test "$other" = "$line"
# A window of 65 has one token more in its scored half.
line=$(eval_json ppl -m "$tiny" -f "$text" -c 65 --chunks 1)
check "odd windows: $line" grep -q '"windows":1,"tokens":32}' <<< "$line"

# Golden steps of a uniform distribution over two ids, one step without top.
seven='{"id": 7, "logprob": -0.6931, "top": [[7, -0.6931], [8, -0.6932]]}'
cat > "$golden" << END
{"prompt_ids": [1, 5, 9], "greedy_ids": [7, 8, 7], "steps": [$seven, {"id": 8}, $seven]}
{"prompt_ids": [1], "greedy_ids": [7], "steps": [$seven]}
END
line=$(eval_json golden -m "$tiny" "$golden")
want='^\{"top1":[01]\.[0-9]+,"dlogprob_mean":[0-9.]+,"kl_top20":[0-9]+\.[0-9]+,"steps":4\}$'
check "golden's line: $line" grep -qE "$want" <<< "$line"

check_fails "kld says that it comes later" 2 'kld is not in this version' \
	"$BUILD/llmeval" kld -m "$tiny"
check_fails "no measurement" 2 'usage' "$BUILD/llmeval"
check_fails "an unknown one" 2 'unknown measurement speed' "$BUILD/llmeval" speed
check_fails "no text" 2 'are needed' "$BUILD/llmeval" ppl -m "$tiny"
check_fails "a window of 3" 2 'at least 4' "$BUILD/llmeval" ppl -m "$tiny" -f "$text" -c 3
check_fails "beyond the context, both numbers" 1 '257 tokens .* context is 256' \
	"$BUILD/llmeval" ppl -m "$tiny" -f "$text" -c 257
check_fails "a short text, both numbers" 1 'has [0-9]+ tokens, 100 windows of 128 need 12800' \
	"$BUILD/llmeval" ppl -m "$tiny" -f "$text" -c 128 --chunks 100
check_fails "no such text" 1 'cannot be read' \
	"$BUILD/llmeval" ppl -m "$tiny" -c 64 -f "$SCRATCH/none"

# refused NAME LINE: a golden file of this line names the line
refused() {
	echo "$2" > "$SCRATCH/bad.jsonl"
	check_fails "golden, $1" 1 'bad.jsonl line 1' \
		"$BUILD/llmeval" golden -m "$tiny" "$SCRATCH/bad.jsonl"
}
refused "no JSON" '{"prompt_ids": ['
refused "an id too large" '{"prompt_ids": [1], "greedy_ids": [512], "steps": [{"id": 7}]}'
refused "a step too few" '{"prompt_ids": [1], "greedy_ids": [7, 8], "steps": [{"id": 7}]}'
refused "no prompt" '{"prompt_ids": [], "greedy_ids": [7], "steps": [{"id": 7}]}'
refused "a step of a word" '{"prompt_ids": [1], "greedy_ids": [7], "steps": [{"id": "x"}]}'
seven='{"id": 7, "logprob": -1, "top": [3]}'
refused "a top of numbers" "{\"prompt_ids\": [1], \"greedy_ids\": [7], \"steps\": [$seven]}"
: > "$SCRATCH/empty.jsonl"
check_fails "golden, an empty file" 1 'has no steps' \
	"$BUILD/llmeval" golden -m "$tiny" "$SCRATCH/empty.jsonl"
finish
