#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: slow alone
#
# equality_smollm2: batch invariance on a real model: 6 requests, ISL up to 1,500, equal in
# three settings.
. tests/e2e/lib.sh

[ -e "$MODEL" ] || skip "$MODEL is not there"
ask=(--n 6 --isl-min 20 --isl 1500 --osl-min 100 --osl 100 --vocab 49152 --prefix 64 --seeded)

daemon_start -m "$MODEL" --context 2048 --prefix-cache off
burst "${ask[@]}" --inflight 1 > "$SCRATCH/alone" 2> /dev/null
daemon_stop
daemon_start -m "$MODEL" --context 2048 --chunk-tokens 96 --step-tokens 128
burst "${ask[@]}" --inflight 6 > "$SCRATCH/together" 2> /dev/null
daemon_stop
check "together equals alone" cmp "$SCRATCH/alone" "$SCRATCH/together"
# 96 pages hold 3,072 tokens: the six need about 4,600.
daemon_start -m "$MODEL" --context 2048 --kv-pages 96 --threads 1
burst "${ask[@]}" --inflight 6 > "$SCRATCH/preempted" 2> /dev/null
ctl status > "$SCRATCH/preempted.status"
check "the small pool preempts" has_preempted preempted
daemon_stop
check "preempted equals alone" cmp "$SCRATCH/alone" "$SCRATCH/preempted"
[ "$(wc -l < "$SCRATCH/alone")" -eq 6 ] || fail "six lines expected"
finish
