#!/bin/bash
# SPDX-License-Identifier: MIT
#
# daemon_life: draining finishes what runs and takes nothing new, a second signal ends what runs,
# SIGHUP moves the request log to a new file, and a full disk under it stalls nobody.
. tests/e2e/lib.sh

slow=(--engine null --null-step-us 10000)
long=(--n 2 --inflight 2 --vocab 49152 --isl 20 --osl-min 60 --osl 60)

# ends_with WHAT STATUS PID: waits for our child's end
ends_with() {
	local status=0
	wait "$3" || status=$?
	check "$1: exit status $2" [ $status -eq "$2" ]
}

# begin_burst NAME OPTION...: in the background, its pid in BURST, at least one token made
begin_burst() {
	local name=$1
	shift
	burst "$@" > "$SCRATCH/$name" 2> /dev/null &
	BURST=$!
	wait_for 20 has_requests 1 '"osl": *[1-9]' || fail "$name: no request got going"
}

# Drain, by signal and by llmctl.
for how in signal control; do
	daemon_start "${slow[@]}"
	begin_burst "$how" "${long[@]}" --seed 3
	if [ $how = signal ]; then
		kill -TERM "$DAEMON"
		wait_for 10 grep -q 'draining' "$SCRATCH/llmd.log" || fail "no drain"
	else
		check "llmctl drain" ctl drain > "$SCRATCH/out"
	fi
	check_fails "$how: nothing new is taken" 3 . "$BUILD/llmctl" --socket "$SOCKET" status
	ends_with "$how: what ran has finished" 0 $BURST
	ends_with "$how: the daemon" 0 "$DAEMON"
	DAEMON=
	check "$how: the socket is gone" [ ! -e "$SOCKET" ]
	rm -f "$SCRATCH/llmd.log"
done
check "the same answers" cmp "$SCRATCH/signal" "$SCRATCH/control"

# The second signal.
daemon_start "${slow[@]}"
begin_burst stopped --n 2 --inflight 2 --vocab 49152 --isl 20 --osl-min 6000 --osl 6000 --any-end
kill -INT "$DAEMON"
wait_for 10 grep -q 'draining' "$SCRATCH/llmd.log" || fail "no drain"
kill -INT "$DAEMON"
ends_with "stopped: the daemon" 0 "$DAEMON"
DAEMON=
ends_with "stopped: the client" 0 $BURST
# Reason 4 is CANCELED, status -108 is ESHUTDOWN.
check "stopped: both requests are ended" [ "$(grep -cE '^[01] 4 -108 ' "$SCRATCH/stopped")" -eq 2 ]

# The request log: rotation, then a full disk.
rm -f "$SCRATCH/llmd.log"
daemon_start --engine null --request-log "$SCRATCH/requests.log"
burst --n 2 --osl 4 --vocab 49152 > /dev/null 2>&1 || fail "burst before the rotation"
mv "$SCRATCH/requests.log" "$SCRATCH/requests.log.1"
kill -HUP "$DAEMON"
wait_for 10 test -e "$SCRATCH/requests.log" || fail "SIGHUP opened no new file"
burst --n 3 --osl 4 --vocab 49152 > /dev/null 2>&1 || fail "burst after the rotation"
daemon_stop
check "two lines before" [ "$(wc -l < "$SCRATCH/requests.log.1")" -eq 2 ]
check "three lines after" [ "$(wc -l < "$SCRATCH/requests.log")" -eq 3 ]

rm -f "$SCRATCH/llmd.log"
if [ -w /dev/full ]; then
	daemon_start --engine null --request-log /dev/full --quiet
	burst --n 50 --osl 20 --vocab 49152 > "$SCRATCH/full" 2> /dev/null ||
		fail "burst on a full disk"
	check "50 answers on a full disk" [ "$(wc -l < "$SCRATCH/full")" -eq 50 ]
	daemon_stop
	check "the full disk is told" grep -q '/dev/full: No space left' "$SCRATCH/llmd.log"
	check "and the lost lines" grep -q '50 lines were lost' "$SCRATCH/llmd.log"
	check "--quiet: nothing else" [ "$(wc -l < "$SCRATCH/llmd.log")" -eq 2 ]
fi
check_fails "a log that cannot be" 1 'no/where: No such file' \
	"$BUILD/llmd" --engine null --socket "$SOCKET" --request-log "$SCRATCH/no/where"

# --serve-fd: the daemon goes with its connection.
python3 - "$BUILD/llmd" << 'PY' || fail "--serve-fd"
import socket, subprocess, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
fd = theirs.fileno()
p = subprocess.Popen([sys.argv[1], "--quiet", "--engine", "null", "--serve-fd", str(fd)],
                     pass_fds=[fd])
theirs.close()
ours.close()
assert p.wait(20) == 0, p.returncode
PY
finish
