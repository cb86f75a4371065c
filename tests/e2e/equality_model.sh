#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: slow
#
# equality_model: batch invariance on the CPU engine: 64 requests, byte for byte, on every type.
#
# Alone, all at once, chunk 16 and 128, a pool that forces preemption, prefix cache cold and warm, 1
# and 2 threads, reference against AVX2. Tiny models come from tests/mkmodel, so this runs without
# $SHARED too; with it, stories260K goes through the same settings.
. tests/e2e/lib.sh

ask=(--n 64 --isl 400 --osl 24 --prefix 100 --seeded)

# settings MODEL: the whole list on one model
settings() {
	local model=(-m "$1")
	echo "== $1"
	burst_run alone --inflight 1 -- "${model[@]}" --prefix-cache off --threads 1
	[ "$(wc -l < "$SCRATCH/alone")" -eq 64 ] || fail "64 lines expected"
	# Random weights may repeat themselves; two answers for 64 prompts would be a broken test.
	[ "$(cut -d' ' -f5- "$SCRATCH/alone" | sort -u | wc -l)" -ge 32 ] || fail "answers repeat"
	burst_run together --inflight 64 -- "${model[@]}" --threads 2
	burst_run chunk16 --inflight 64 -- "${model[@]}" --chunk-tokens 16
	burst_run chunk128 --inflight 64 --procs 2 -- "${model[@]}" --chunk-tokens 128 --threads 1
	burst_run small_pool --inflight 64 -- "${model[@]}" --kv-pages 20 --threads 2
	check "the small pool preempts" has_preempted small_pool
	burst_run warm --inflight 8 -- "${model[@]}"
	burst_run reference --inflight 64 -- "${model[@]}" --kernels ref --threads 2
}

for type in F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1; do
	"$BUILD/tests/mkmodel" --type $type --seed 7 --vocab 512 --context 512 "$SCRATCH/$type.gguf"
done
settings "$SCRATCH/Q4_1.gguf"
# The other types share everything but the matmul: three settings each.
for type in F32 F16 BF16 Q8_0 Q4_0 Q5_0 Q5_1; do
	model=(-m "$SCRATCH/$type.gguf")
	echo "== $type"
	burst_run alone --inflight 1 -- "${model[@]}" --prefix-cache off --threads 1
	burst_run chunk16 --inflight 64 -- "${model[@]}" --chunk-tokens 16 --threads 2
	burst_run reference --inflight 64 -- "${model[@]}" --kernels ref
done
if [ -e "$STORIES" ]; then
	settings "$STORIES"
else
	echo "stories260K left out: $STORIES is not there"
fi
finish
