#!/bin/bash
# SPDX-License-Identifier: MIT
#
# swarm: 1,000 requests from 16 processes: none lost, repeated or crossed; each equals its lone
# twin.
. tests/e2e/lib.sh

ask=(--n 1000 --isl 200 --osl 24 --vocab 49152 --seeded)
daemon_start --engine null
burst "${ask[@]}" --procs 16 --inflight 16 > "$SCRATCH/swarm" 2> "$SCRATCH/rates" || fail "burst"
echo "null engine: $(cat "$SCRATCH/rates")"
burst "${ask[@]}" --inflight 1 > "$SCRATCH/alone" 2> /dev/null
check "the swarm's answers equal the lone ones" cmp "$SCRATCH/swarm" "$SCRATCH/alone"
check "1,000 answers" [ "$(wc -l < "$SCRATCH/swarm")" -eq 1000 ]
check "nothing is left running" [ "$(status_of requests_running)" = 0 ]
check "every session is gone" wait_for 5 has_status sessions 0
daemon_stop

if [ -e "$STORIES" ]; then
	daemon_start -m "$STORIES"
	ask=(--n 200 --isl 200 --osl 64 --seeded)
	burst "${ask[@]}" --procs 16 --inflight 4 > "$SCRATCH/swarm" 2> "$SCRATCH/rates"
	echo "stories260K: $(cat "$SCRATCH/rates")"
	burst "${ask[@]}" --inflight 1 > "$SCRATCH/alone" 2> /dev/null
	check "stories: equal to the lone ones" cmp "$SCRATCH/swarm" "$SCRATCH/alone"
	check "200 answers" [ "$(wc -l < "$SCRATCH/swarm")" -eq 200 ]
	daemon_stop
else
	echo "stories260K left out: $STORIES is not there"
fi
finish
