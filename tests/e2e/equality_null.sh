#!/bin/bash
# SPDX-License-Identifier: MIT
#
# equality_null: a request's tokens do not depend on what else runs: alone, together, chunked, preempted, cached.
#
# The null engine's token is a hash of everything before it, read back from the pages it was written to, so a
# wrong page, a lost recompute or a crossed request changes the ids.
. tests/e2e/lib.sh

ask=(--n 64 --isl 400 --osl 48 --vocab 49152 --prefix 100 --seeded)

# run NAME BURST_OPTIONS -- DAEMON_OPTIONS: the burst's output in $SCRATCH/NAME
run() {
	local name=$1 how=()
	shift
	while [ "$1" != -- ]; do
		how+=("$1")
		shift
	done
	shift
	daemon_start --engine null "$@"
	burst "${ask[@]}" "${how[@]}" > "$SCRATCH/$name" 2> "$SCRATCH/rates" || fail "burst $name"
	ctl status > "$SCRATCH/$name.status"
	daemon_stop
	if [ "$name" != alone ]; then
		check "$name equals alone" cmp "$SCRATCH/alone" "$SCRATCH/$name"
	fi
	echo "$name: $(cat "$SCRATCH/rates")"
}

run alone --inflight 1 -- --prefix-cache off
[ "$(wc -l < "$SCRATCH/alone")" -eq 64 ] || fail "64 lines expected"
[ "$(cut -d' ' -f5- "$SCRATCH/alone" | sort -u | wc -l)" -eq 64 ] || fail "answers repeat"
run together --inflight 64 --
run chunk16 --inflight 64 -- --chunk-tokens 16
run chunk128 --inflight 64 -- --chunk-tokens 128 --step-tokens 256
run four_clients --inflight 16 --procs 4 -- --step-tokens 64
run small_pool --inflight 64 -- --kv-pages 20
check "the small pool preempts" grep -qE '^preemptions +[1-9]' "$SCRATCH/small_pool.status"
run preempt_each_step --inflight 16 -- --preempt-each-step --kv-pages 64
check "every step preempts" grep -qE '^preemptions +[1-9]' "$SCRATCH/preempt_each_step.status"

# Cold and warm: the second burst finds the first one's prefixes.
daemon_start --engine null
burst "${ask[@]}" --inflight 8 > "$SCRATCH/cold" 2> /dev/null
burst "${ask[@]}" --inflight 8 > "$SCRATCH/warm" 2> /dev/null
check "prefixes are found" grep -qE '^llm_prefix_hit_tokens_total [1-9]|^vllm:prefix_cache_hits_total[^ ]* [1-9]' \
	<(ctl metrics)
daemon_stop
check "cold equals alone" cmp "$SCRATCH/alone" "$SCRATCH/cold"
check "warm equals alone" cmp "$SCRATCH/alone" "$SCRATCH/warm"
finish
