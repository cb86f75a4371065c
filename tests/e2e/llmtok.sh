#!/bin/bash
# SPDX-License-Identifier: MIT
#
# llmtok: ids on one line and nothing else; each refusal has its exit status and says what is wrong.
. tests/e2e/lib.sh

[ -r "$SHARED/README.md" ] || skip "SHARED is missing"
tok=$BUILD/llmtok
spm=$SHARED/data/vocab/ggml-vocab-llama-spm.gguf
bpe=$SHARED/data/vocab/ggml-vocab-gpt-2.gguf

# gives WANT TEXT OPTION...: the whole of standard output
gives() {
	local want=$1 text=$2 got
	shift 2
	got=$(printf '%b' "$text" | "$tok" "$@"; echo end)
	check "ids of '$text'" [ "$got" = "$want"$'\nend' ]
}

gives "15043 3186" 'Hello world' -m "$spm"
gives "1 15043 3186" 'Hello world' -m "$spm" --bos
gives "1" '' -m "$spm" --bos
gives "" '' -m "$spm"
gives "29871 13" '\n' -m "$spm"
gives "50256" '<|endoftext|>' -m "$bpe" --special
gives "27 91 437 1659 5239 91 29" '<|endoftext|>' -m "$bpe"
gives "50256 15496" 'Hello' -m "$bpe" --bos
gives "31373 188 31373" 'hello\0000hello' -m "$bpe"

# 1 MiB through a pipe, in more than one read
n=$(head -c 1048576 /dev/zero | tr '\0' '7' | "$tok" -m "$spm" | wc -w)
check "long text" [ "$n" -eq 1048577 ]

printf 'good \xff' > "$SCRATCH/bad"
check_fails "invalid UTF-8" 1 'no UTF-8: byte 5 is 0xff' "$tok" -m "$bpe" < "$SCRATCH/bad"
check_fails "no file" 1 'cannot open .*nowhere.gguf: No such file' "$tok" -m "$SCRATCH/nowhere.gguf"
check_fails "no GGUF" 1 'README.md: not a GGUF file' "$tok" -m "$SHARED/README.md"
head -c 100000 "$bpe" > "$SCRATCH/cut.gguf"
check_fails "cut file" 1 'cut.gguf: metadata key .* bytes' "$tok" -m "$SCRATCH/cut.gguf"
check_fails "no model" 2 'm FILE is missing' "$tok"
check_fails "a word" 2 'standard input' "$tok" -m "$bpe" word
check_fails "--table" 2 'table comes with a later version' "$tok" -m "$bpe" --table
check_fails "--chat" 2 'chat comes with a later version' "$tok" -m "$bpe" --chat
check_fails "full disk" 1 'No space left' sh -c "echo x | $tok -m $bpe > /dev/full"
check "--version" grep -qx 'llmtok (devllm) [0-9.]*' <("$tok" --version)
check "--help" grep -q 'usage: llmtok -m FILE' <("$tok" --help)
finish
