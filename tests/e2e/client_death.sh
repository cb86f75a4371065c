#!/bin/bash
# SPDX-License-Identifier: MIT
# Marks: san
#
# client_death: kill -9 of a client in mid-stream: its pages are free at most one step after the
# step that saw it.
. tests/e2e/lib.sh

daemon_start --engine null --prefix-cache off --kv-pages 256 --null-step-us 20000
for round in 1 2 3; do
	"$BUILD/tests/e2e/burst" --connect "$SOCKET" --n 8 --inflight 8 --isl-min 200 --isl 300 \
		--osl 4000 --vocab 49152 --seed $round > /dev/null 2>&1 &
	client=$!
	wait_for 20 has_requests 1 '"osl": *[1-9][0-9]' || fail "no request got going"
	busy=$(status_of pages_free)
	# The parent may be gone before its turn: it ends when its child is killed.
	kill -9 $(pgrep -P $client) $client 2> /dev/null || true
	wait $client 2> /dev/null || true
	gone= free=
	for _ in $(seq 200); do
		ctl status > "$SCRATCH/status"
		steps=$(awk '$1 == "steps" { print $2 }' "$SCRATCH/status")
		if [ -z "$gone" ] && grep -qE '^sessions +0$' "$SCRATCH/status"; then
			gone=$steps
		fi
		if grep -qE '^pages_free +256$' "$SCRATCH/status"; then
			free=$steps
			break
		fi
	done
	[ "$busy" -lt 256 ] || fail "no page was in use"
	check "round $round: session gone" [ -n "$gone" ]
	check "round $round: pages free" [ -n "$free" ]
	echo "round $round: $((256 - busy)) pages held; gone at step $gone, free at step $free"
	check "round $round: within one step" [ $((free - gone)) -le 1 ]
done
# The daemon goes on as if nothing had been.
burst --n 4 --osl 8 --vocab 49152 > /dev/null 2>&1 || fail "the daemon does not serve any more"
daemon_stop
finish
