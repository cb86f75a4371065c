#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: slow
#
# llmeval_smollm2: on a real model perplexity and distance from the golden steps stay where a
# correct engine has them: llama.cpp's figures on the same file are 15.9078, 0.963 and 0.00234.
. tests/e2e/lib.sh

[ -r "$SHARED/README.md" ] || skip "SHARED is missing"

# within NAME LOW HIGH JSON: the member's number
within() {
	python3 - "$@" << 'END'
import json, sys
name, low, high, line = sys.argv[1:]
sys.exit(not float(low) <= json.loads(line)[name] <= float(high))
END
}

line=$("$BUILD/llmeval" golden -m "$MODEL" "$SHARED/golden/smollm2-f32-shared.jsonl" --json)
echo "$line"
check "golden, all steps" within steps 324 324 "$line"
check "golden, top-1" within top1 0.955 1 "$line"
check "golden, KL" within kl_top20 0 0.0026 "$line"

# The same weights in f32: what is left is the difference of two implementations.
line=$("$BUILD/llmeval" golden --f32 -m "$MODEL" "$SHARED/golden/smollm2-f32-shared.jsonl" --json)
echo "$line"
check "f32, top-1" within top1 0.99 1 "$line"
check "f32, KL" within kl_top20 0 0.00005 "$line"

text=$SHARED/data/text/wikitext2-valid.txt
line=$("$BUILD/llmeval" ppl -m "$MODEL" -f "$text" --chunks 20 --json)
echo "$line"
check "perplexity, windows" within windows 20 20 "$line"
check "perplexity, tokens" within tokens 5100 5100 "$line"
check "perplexity" within ppl 15.80 15.96 "$line"
finish
