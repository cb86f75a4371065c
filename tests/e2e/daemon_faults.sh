#!/bin/bash
# SPDX-License-Identifier: MIT
#
# daemon_faults: broken on purpose at each point, the daemon fails that one thing and goes on;
# killed at each point, its clients hear of it and a new daemon serves.
. tests/e2e/lib.sh

ask=(--n 6 --inflight 6 --vocab 49152 --isl 40 --osl 12)
daemon_start --engine null
burst "${ask[@]}" > "$SCRATCH/good" 2> /dev/null || fail "burst without a fault"
daemon_stop

# A step that fails ends the requests in it, and nothing that was computed by it is trusted.
daemon_start --engine null --fault step:fail:4
burst "${ask[@]}" --any-end > "$SCRATCH/failed" 2> /dev/null || fail "burst of the failed step"
# Reason 6 is ERROR, status -5 is EIO.
check "the step's requests end with EIO" grep -qE '^[0-9]+ 6 -5 ' "$SCRATCH/failed"
burst "${ask[@]}" > "$SCRATCH/after" 2> /dev/null || fail "burst after a failed step"
check "the same answers after it" cmp "$SCRATCH/good" "$SCRATCH/after"
daemon_stop

# No memory for one request: its client is told or disconnected, the next is served.
for point in alloc parse ring; do
	daemon_start --engine null --fault $point:fail:3
	burst "${ask[@]}" > "$SCRATCH/failed" 2> /dev/null || true
	burst "${ask[@]}" > "$SCRATCH/after" 2> /dev/null || fail "burst after $point:fail"
	check "$point:fail: the same answers after it" cmp "$SCRATCH/good" "$SCRATCH/after"
	daemon_stop
done

for point in ring publish commit kick parse step alloc; do
	daemon_start --engine null --fault $point:kill:4
	burst "${ask[@]}" > "$SCRATCH/killed" 2> /dev/null && fail "$point:kill: nobody noticed"
	status=0
	wait "$DAEMON" || status=$?
	check "$point:kill: SIGKILL" [ $status -eq 137 ]
	DAEMON=
done
daemon_start --engine null
burst "${ask[@]}" > "$SCRATCH/after" 2> /dev/null || fail "burst after the kills"
check "the same answers from a new daemon" cmp "$SCRATCH/good" "$SCRATCH/after"
daemon_stop
finish
