#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: san
#
# rude_clients: liars and rule breakers are told and cut off; everyone else's tokens go on.
. tests/e2e/lib.sh

rude() {
	timeout 30 "$BUILD/tests/e2e/rude" "$@"
}

# must RULE PATTERN: what the daemon does about it
must() {
	local got
	got=$(rude "$1" "$SOCKET") || fail "rude $1"
	if ! [[ $got =~ $2 ]]; then
		echo "FAILED: rude $1: '$got', expected $2"
		n_failed=$((n_failed + 1))
	fi
	echo "$1: $got"
}

honest=(--n 30 --inflight 4 --isl 200 --osl 2000 --vocab 49152)
daemon_start --engine null --null-step-us 200 --max-connections 40
burst "${honest[@]}" > "$SCRATCH/undisturbed" 2> /dev/null || fail "burst"

"$BUILD/tests/e2e/burst" --connect "$SOCKET" "${honest[@]}" > "$SCRATCH/disturbed" 2> /dev/null &
honest_pid=$!
for rule in lie-ahead lie-back lie-odd foreign-id same-id no-id over-credit second-hello \
	short-packet wrong-length long-header unknown-type bad-hello; do
	must $rule "^refused -"
done
must unsealed-body "^end 6 -[0-9]+ .*seal"
must pipe-body "^end 6 -[0-9]+ "
must zero-tokens "^end 6 -22 .*max_tokens"
must cancel-unknown "^end 2 0"
must random-bodies "^served"
got=$(rude crowd "$SOCKET" 100)
echo "crowd: $got"
check "the cap on connections of one user" grep -qE '^3[0-9] in, then refused -105 .*40' <<< "$got"
wait $honest_pid || fail "the honest client was disturbed"
check "the honest client's answers are the same" cmp "$SCRATCH/undisturbed" "$SCRATCH/disturbed"
check "all are gone" wait_for 5 has_status sessions 0
check "no request is left" has_status requests_running 0
daemon_stop
finish
