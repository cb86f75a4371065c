# SPDX-License-Identifier: MIT
#
# lib: what the e2e tests share: a daemon on a socket of its own, stopped by its pid, and a few
# checks. Source it first: `. tests/e2e/lib.sh`. Scripts run from the root of the tree with
# BUILD, SHARED, MODEL and a TMPDIR of their own; every wait is bounded.
set -eu -o pipefail

BUILD=${BUILD:-build}
SHARED=${SHARED:-../shared}
MODEL=${MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
STORIES=$SHARED/data/stories260K/stories260K.gguf
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/e2e.XXXXXX")
SOCKET=$SCRATCH/llm.sock
DAEMON=
n_failed=0

cleanup() {
	local status=$?
	if [ -n "$DAEMON" ]; then
		kill -9 "$DAEMON" 2> /dev/null || true
		wait "$DAEMON" 2> /dev/null || true
	fi
	if [ $status -ne 0 ] && [ -s "$SCRATCH/llmd.log" ]; then
		echo "--- the daemon's last words:"
		tail -n 20 "$SCRATCH/llmd.log"
	fi
	rm -rf "$SCRATCH"
}
trap cleanup EXIT

skip() {
	echo "skipped: $1"
	exit 77
}

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# check WHAT COMMAND...: the command must succeed; the test goes on and fails at its end if not
check() {
	local what=$1
	shift
	if ! "$@"; then
		echo "FAILED: $what: $*" >&2
		n_failed=$((n_failed + 1))
	fi
}

# check_fails WHAT STATUS PATTERN COMMAND...: exit status and a pattern in its output
check_fails() {
	local what=$1 want=$2 pattern=$3 status=0
	shift 3
	"$@" > "$SCRATCH/out" 2>&1 || status=$?
	if [ "$status" -ne "$want" ] || ! grep -qE -- "$pattern" "$SCRATCH/out"; then
		echo "FAILED: $what: exit status $status, expected $want with /$pattern/:" >&2
		head -n 5 "$SCRATCH/out" >&2
		n_failed=$((n_failed + 1))
	fi
}

finish() {
	if [ "$n_failed" -gt 0 ]; then
		exit 1
	fi
	exit 0
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			return 1
		fi
		sleep 0.02
	done
}

# daemon_start OPTION...: llmd on $SOCKET, ready to answer; its pid in DAEMON
daemon_start() {
	"$BUILD/llmd" --socket "$SOCKET" "$@" >> "$SCRATCH/llmd.log" 2>&1 &
	DAEMON=$!
	wait_for 60 daemon_answers_or_died || fail "llmd $* does not answer in 60 s"
	kill -0 "$DAEMON" 2> /dev/null || fail "llmd $* ended"
}

daemon_answers_or_died() {
	ctl status || ! kill -0 "$DAEMON"
}

# daemon_stop: SIGTERM, and its exit status must be 0
daemon_stop() {
	local status=0 pid=$DAEMON
	kill -TERM "$pid"
	wait "$pid" || status=$?
	DAEMON=
	[ "$status" -eq 0 ] || fail "llmd ended with status $status"
}

ctl() {
	"$BUILD/llmctl" --socket "$SOCKET" "$@"
}

# status_of MEMBER: one number or word of the daemon's status
status_of() {
	ctl status | awk -v m="$1" '$1 == m { print $2 }'
}

# requests_with PATTERN: how many live requests have it in their JSON, as '"osl": *[1-9]'
requests_with() {
	ctl requests --json | grep -oE -- "$1" | wc -l
}

# has_requests N PATTERN: at least N do
has_requests() {
	[ "$(requests_with "$2")" -ge "$1" ]
}

# has_status MEMBER VALUE
has_status() {
	[ "$(status_of "$1")" = "$2" ]
}

# burst OPTION...: see tests/e2e/burst.c
burst() {
	"$BUILD/tests/e2e/burst" --connect "$SOCKET" "$@"
}

# burst_run NAME BURST_OPTION... -- DAEMON_OPTION...: a daemon for one burst of "${ask[@]}"; the
# answers in $SCRATCH/NAME, the daemon's status after it in $SCRATCH/NAME.status. A NAME that starts
# with warm runs the burst twice. All must equal the burst called alone.
burst_run() {
	local name=$1 how=()
	shift
	while [ "$1" != -- ]; do
		how+=("$1")
		shift
	done
	shift
	daemon_start "$@"
	case $name in
	warm*) burst "${ask[@]}" "${how[@]}" > /dev/null 2>&1 || fail "burst $name, cold" ;;
	esac
	burst "${ask[@]}" "${how[@]}" > "$SCRATCH/$name" 2> "$SCRATCH/rates" || {
		cat "$SCRATCH/rates"
		fail "burst $name with llmd $*"
	}
	ctl status > "$SCRATCH/$name.status"
	ctl metrics > "$SCRATCH/$name.metrics"
	daemon_stop
	if [ "$name" != alone ]; then
		check "llmd $*: $name equals alone" cmp "$SCRATCH/alone" "$SCRATCH/$name"
	fi
	echo "$name: $(cat "$SCRATCH/rates")"
}

# has_preempted NAME: the daemon of that burst_run preempted
has_preempted() {
	grep -qE '^preemptions +[1-9]' "$SCRATCH/$1.status"
}
