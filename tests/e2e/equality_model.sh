#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: slow
#
# equality_model: batch invariance on the CPU engine: 64 requests, byte for byte, on tiny models and stories260K.
#
# Alone, all at once, chunk 16 and 128, a pool that forces preemption, prefix cache cold and warm, 1 and 2
# threads, reference against AVX2. Tiny models come from tests/mkmodel, so this runs without $SHARED too.
. tests/e2e/lib.sh

# run MODEL NAME BURST_OPTIONS -- DAEMON_OPTIONS
run() {
	local model=$1 name=$2 how=()
	shift 2
	while [ "$1" != -- ]; do
		how+=("$1")
		shift
	done
	shift
	daemon_start -m "$model" "$@"
	burst "${ask[@]}" "${how[@]}" > "$SCRATCH/$name" 2> "$SCRATCH/rates" || fail "burst $name on $model"
	ctl status > "$SCRATCH/$name.status"
	if [ "$name" = warm ]; then
		burst "${ask[@]}" "${how[@]}" > "$SCRATCH/$name" 2> "$SCRATCH/rates" || fail "burst twice"
	fi
	daemon_stop
	if [ "$name" != alone ]; then
		check "$model: $name equals alone" cmp "$SCRATCH/alone" "$SCRATCH/$name"
	fi
}

# settings MODEL: the whole list on one model
settings() {
	local model=$1
	run "$model" alone --inflight 1 -- --prefix-cache off --threads 1
	[ "$(wc -l < "$SCRATCH/alone")" -eq 64 ] || fail "64 lines expected"
	# A model with random weights may repeat itself; two answers for 64 prompts would be a broken test.
	[ "$(cut -d' ' -f5- "$SCRATCH/alone" | sort -u | wc -l)" -ge 32 ] || fail "answers repeat"
	run "$model" together --inflight 64 -- --threads 2
	run "$model" chunk16 --inflight 64 -- --chunk-tokens 16
	run "$model" chunk128 --inflight 64 --procs 2 -- --chunk-tokens 128 --threads 1
	run "$model" small_pool --inflight 64 -- --kv-pages 20 --threads 2
	check "the small pool preempts" grep -qE '^preemptions +[1-9]' "$SCRATCH/small_pool.status"
	run "$model" warm --inflight 8 --
	run "$model" reference --inflight 64 -- --kernels ref --threads 2
}

ask=(--n 64 --isl 400 --osl 24 --prefix 100 --seeded)
for type in F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1; do
	"$BUILD/tests/mkmodel" --type $type --seed 7 --vocab 512 --context 512 "$SCRATCH/$type.gguf"
done
echo "tiny Q4_1"
settings "$SCRATCH/Q4_1.gguf"
# The other types share everything but the matmul: three settings each.
for type in F32 F16 BF16 Q8_0 Q4_0 Q5_0 Q5_1; do
	echo "tiny $type"
	run "$SCRATCH/$type.gguf" alone --inflight 1 -- --prefix-cache off --threads 1
	run "$SCRATCH/$type.gguf" chunk16 --inflight 64 -- --chunk-tokens 16 --threads 2
	run "$SCRATCH/$type.gguf" reference --inflight 64 -- --kernels ref
done
if [ -e "$STORIES" ]; then
	echo "stories260K"
	settings "$STORIES"
else
	echo "stories260K left out: $STORIES is not there"
fi
finish
