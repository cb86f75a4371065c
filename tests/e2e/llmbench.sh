#!/bin/bash
# SPDX-License-Identifier: MIT
#
# llmbench: each measurement gives its JSON line, in order, with a speed above zero; usage errors
# exit 2.
. tests/e2e/lib.sh

tiny=$SCRATCH/tiny.gguf
"$BUILD/tests/mkmodel" --type Q4_1 --context 512 "$tiny"

"$BUILD/llmbench" -m "$tiny" -t 2 --pp 8,300 --tg 16 --bd 1,3 -r 2 --depth 40 --json \
	> "$SCRATCH/lines"
want='{"test":"pp","n":8,"tps":N}
{"test":"pp","n":300,"tps":N}
{"test":"tg","n":16,"tps":N}
{"test":"read","gbs":N}
{"test":"tg_share","value":N}
{"test":"bd","n":1,"tps":N}
{"test":"bd","n":3,"tps":N}'
got=$(sed -E 's/:[0-9]+\.[0-9]+\}/:N}/' "$SCRATCH/lines")
check "the lines: $got" test "$got" = "$want"
# tg_share of so small a model may round to zero; no speed may.
check "no speed is zero" test "$(grep -c '"tps":0\.0}\|"gbs":0\.0}' "$SCRATCH/lines")" -eq 0

"$BUILD/llmbench" -m "$tiny" --pp 4 --tg 0 --bd 0 -r 1 --kernels ref > "$SCRATCH/table"
check "the table names the kernels" grep -q 'cpu ref' "$SCRATCH/table"
check "0 leaves a measurement out" test "$(grep -c 'tokens/s' "$SCRATCH/table")" -eq 1

check_fails "no model" 2 'm FILE is needed' "$BUILD/llmbench"
check_fails "a list of words" 2 'numbers with commas' "$BUILD/llmbench" -m "$tiny" --pp 1,x
check_fails "an empty item" 2 'numbers with commas' "$BUILD/llmbench" -m "$tiny" --bd 1,,2
check_fails "no runs" 2 'r from 1' "$BUILD/llmbench" -m "$tiny" -r 0
check_fails "no file" 1 'No such file' "$BUILD/llmbench" -m "$SCRATCH/none.gguf"
check_fails "kernels by a wrong name" 1 'kernels sse9' "$BUILD/llmbench" -m "$tiny" --kernels sse9
check_fails "beyond the context, both numbers" 1 'sequences of 700 tokens, .* context is 512' \
	"$BUILD/llmbench" -m "$tiny" --pp 700
check "--version" test "$("$BUILD/llmbench" --version)" = "llmbench (devllm) 0.1.0"
finish
