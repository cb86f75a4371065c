#!/bin/bash
# SPDX-License-Identifier: MIT
#
# swarm: 1,000 requests from 16 processes: none lost, repeated or crossed; each equals its lone twin.
. tests/e2e/lib.sh

daemon_start --engine null
burst --n 1000 --procs 16 --inflight 16 --isl 200 --osl 24 --vocab 49152 --seeded \
	> "$SCRATCH/swarm" 2> "$SCRATCH/rates" || fail "burst"
echo "null engine: $(cat "$SCRATCH/rates")"
burst --n 1000 --inflight 1 --isl 200 --osl 24 --vocab 49152 --seeded > "$SCRATCH/alone" 2> /dev/null
check "the swarm's answers equal the lone ones" cmp "$SCRATCH/swarm" "$SCRATCH/alone"
check "1,000 answers" [ "$(wc -l < "$SCRATCH/swarm")" -eq 1000 ]
check "nothing is left running" [ "$(status_of requests_running)" = 0 ]
check "every session is gone" wait_for 5 sh -c "[ \"\$('$BUILD/llmctl' --socket '$SOCKET' status --json |
	grep -oE '\"sessions\": ?[0-9]+' | grep -oE '[0-9]+')\" = 0 ]"
daemon_stop

if [ -e "$STORIES" ]; then
	daemon_start -m "$STORIES"
	burst --n 200 --procs 16 --inflight 4 --isl 200 --osl 64 --seeded > "$SCRATCH/swarm" 2> "$SCRATCH/rates"
	echo "stories260K: $(cat "$SCRATCH/rates")"
	burst --n 200 --inflight 1 --isl 200 --osl 64 --seeded > "$SCRATCH/alone" 2> /dev/null
	check "stories: the swarm's answers equal the lone ones" cmp "$SCRATCH/swarm" "$SCRATCH/alone"
	check "200 answers" [ "$(wc -l < "$SCRATCH/swarm")" -eq 200 ]
	daemon_stop
else
	echo "stories260K left out: $STORIES is not there"
fi
finish
