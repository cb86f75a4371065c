#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: san
#
# equality_null: a request's tokens do not depend on what else runs: alone, together, cached, ...
#
# The null engine's token is a hash of everything before it, read back from the pages it was written
# to, so a wrong page, a lost recompute or a crossed request changes the ids.
. tests/e2e/lib.sh

ask=(--n 64 --isl 400 --osl 48 --vocab 49152 --prefix 100 --seeded)

burst_run alone --inflight 1 -- --engine null --prefix-cache off
[ "$(wc -l < "$SCRATCH/alone")" -eq 64 ] || fail "64 lines expected"
[ "$(cut -d' ' -f5- "$SCRATCH/alone" | sort -u | wc -l)" -eq 64 ] || fail "answers repeat"
burst_run together --inflight 64 -- --engine null
burst_run chunk16 --inflight 64 -- --engine null --chunk-tokens 16
burst_run chunk128 --inflight 64 -- --engine null --chunk-tokens 128 --step-tokens 256
burst_run four_clients --inflight 16 --procs 4 -- --engine null --step-tokens 64
burst_run small_pool --inflight 64 -- --engine null --kv-pages 20
check "the small pool preempts" has_preempted small_pool
burst_run preempt_each_step --inflight 16 -- --engine null --preempt-each-step --kv-pages 64
check "every step preempts" has_preempted preempt_each_step
burst_run warm --inflight 8 -- --engine null
check "prefixes are found" \
	grep -qE '^vllm:prefix_cache_hits_total[^ ]* [1-9]' "$SCRATCH/warm.metrics"
finish
