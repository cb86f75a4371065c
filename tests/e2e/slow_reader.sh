#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: san
#
# slow_reader: a client that stops reading stalls nobody, loses nothing, and gives its pages up
# first.
. tests/e2e/lib.sh

others=(--n 40 --inflight 8 --isl 200 --osl 100 --vocab 49152)
slow=(--n 4 --inflight 4 --isl-min 50 --isl 60 --osl-min 400 --osl 400
	--vocab 49152 --ring 8192 --seed 5)
daemon_start --engine null --prefix-cache off
burst "${slow[@]}" > "$SCRATCH/undisturbed" 2> /dev/null
daemon_stop

# 48 pages: the four stalled requests hold some; the others need more than what is left.
daemon_start --engine null --prefix-cache off --kv-pages 48 --null-step-us 200
"$BUILD/tests/e2e/burst" --connect "$SOCKET" "${slow[@]}" --pause "$SCRATCH/go" \
	> "$SCRATCH/slow" 2> /dev/null &
reader=$!
check "the sleeper's requests stall" wait_for 20 has_requests 4 '"stalled": *true'
steps=$(status_of steps)
burst "${others[@]}" > "$SCRATCH/others" 2> "$SCRATCH/rates" ||
	fail "the others did not finish"
echo "the others: $(cat "$SCRATCH/rates"), $(($(status_of steps) - steps)) steps"
check "40 answers of the others" [ "$(wc -l < "$SCRATCH/others")" -eq 40 ]
# Who holds pages and cannot run is preempted before anybody who runs.
check "the stalled were preempted" has_requests 1 '"preemptions": *[1-9]'
kill -0 $reader || fail "the sleeping client died"
touch "$SCRATCH/go"
wait $reader || fail "the sleeping client failed"
check "nothing was lost" cmp "$SCRATCH/undisturbed" "$SCRATCH/slow"

# A stopped process (SIGSTOP) is the same to the daemon.
"$BUILD/tests/e2e/burst" --connect "$SOCKET" "${slow[@]}" > "$SCRATCH/stopped" 2> /dev/null &
reader=$!
wait_for 10 has_requests 1 '"osl": *[1-9]' || fail "no request got going"
pids=$(pgrep -P $reader || true)
kill -STOP $reader $pids
burst "${others[@]}" > "$SCRATCH/others2" 2> /dev/null ||
	fail "the others did not finish beside a stopped client"
check "the same answers" cmp "$SCRATCH/others" "$SCRATCH/others2"
kill -CONT $reader $pids
wait $reader || fail "the stopped client failed"
check "nothing was lost by the stop" cmp "$SCRATCH/undisturbed" "$SCRATCH/stopped"

# Nor does it keep a daemon that was asked to go.
"$BUILD/tests/e2e/burst" --connect "$SOCKET" "${slow[@]}" --pause "$SCRATCH/never" \
	> "$SCRATCH/late" 2> /dev/null &
reader=$!
wait_for 20 has_requests 4 '"stalled": *true' || fail "the late sleeper's requests do not stall"
kill -TERM "$DAEMON"
check "a drain ends beside a client that does not read" \
	wait_for 20 grep -q "stopping: 4 requests are ended" "$SCRATCH/llmd.log"
kill -KILL $reader $(pgrep -P $reader || true)
wait "$DAEMON" || fail "llmd ended with status $?"
DAEMON=
finish
