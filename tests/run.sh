#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run: builds, brings the model and the vocabularies, runs the tests and counts. The one door to
# every test: `make check` calls it.
#
#   tests/run.sh [--fast] [NAME...]    NAME as printed (unit/sched), its last part (sched) or a glob
#
# A test is one program: 0 pass, 1 fail, 77 skip, its reason on the last line of its output. It
# starts in the root of the tree with BUILD, SHARED, MODEL and a TMPDIR of its own, which is removed
# after it.
# A line `Marks: ...` in a test's first 30 lines tells this script what to know about it:
#   slow        left out by --fast; may take 600 s instead of 120
#   alone       nothing else runs beside it
#   san         runs again under AddressSanitizer with UBSan, and under ThreadSanitizer
#   timeout=N   may take N seconds
# A skip counts as one only if tests/skips.txt lists the test with its reason; else it is a failure.
set -u
cd "$(dirname "$0")/.." || exit

fast=
if [ "${1:-}" = --fast ]; then
	fast=y
	shift
fi
wanted=("$@")

plain=${BUILD:-build}
export SHARED=${SHARED:-../shared}
export MODEL=${MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
export CC=${CC:-gcc} LC_ALL=C.UTF-8
unset MAKEFLAGS MAKELEVEL MFLAGS
logs=$plain/test-logs
scratch=$(mktemp -d /tmp/llmt.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap 'kill $(jobs -p) 2> /dev/null; exit 130' INT TERM
rm -rf "$logs"
mkdir -p "$logs"
: > "$scratch/results"

log_of() {
	echo "$logs/${1//\//-}.log"
}

# report VERDICT NAME START [REASON]: one line for a person, one for the count
report() {
	local us=$((${EPOCHREALTIME/./} - ${3/./}))
	printf '%-5s %-40s %3d.%d s%s\n' \
		"$1" "$2" $((us / 1000000)) $((us / 100000 % 10)) "${4:+  ($4)}"
	echo "$1 $2" >> "$scratch/results"
}

show_log() {
	sed 's/^/      /' "$(log_of "$1")" | awk -v n=40 '
		NR <= n { print; next }
		{ kept[NR % n] = $0 }
		END {
			if (NR > 2 * n)
				print "      [" NR - 2 * n " lines left out]"
			for (i = NR - n + 1 > n ? NR - n + 1 : n + 1; i <= NR; i++)
				print kept[i % n]
		}'
}

marks_of() {
	sed -nE '1,30s/^.*\<Marks: *([a-z0-9= ]*).*/\1/p' "$1"
}

# The source of a test from its name without variant.
source_of() {
	case $1 in
	gates/*) if [ -e "tests/$1.py" ]; then echo "tests/$1.py"; else echo "tests/$1.sh"; fi ;;
	e2e/*) echo "tests/$1.sh" ;;
	*) echo "tests/$1.c" ;;
	esac
}

# why_not NAME REASON: empty if the skip is allowed, else what is wrong with it
why_not() {
	local pattern reason
	if [[ $2 == *SHARED* && -r $SHARED/README.md ]]; then
		echo "it says that SHARED is missing, but $SHARED is there"
		return
	fi
	while read -r pattern reason; do
		# shellcheck disable=SC2053
		if [[ $pattern != \#* && ${1%+*} == $pattern && $2 =~ $reason ]]; then
			return
		fi
	done < tests/skips.txt
	echo "not listed in tests/skips.txt"
}

# timeout leads a process group of its own: who is alive in it now was left there by the test.
leaves_processes() {
	ps -eo pgid=,stat= | awk -v group="$1" '$1 == group && $2 !~ /^Z/ { n++ } END { exit !n }'
}

# run_one NAME: NAME is room/test, or room/test+asan, room/test+tsan
run_one() {
	local name=$1 base=${1%+*} start=$EPOCHREALTIME limit=120
	local marks program status wrong reason log build pid
	marks=$(marks_of "$(source_of "$base")")
	case " $marks " in *" slow "*) limit=600 ;; esac
	if [[ $marks =~ timeout=([0-9]+) ]]; then
		limit=${BASH_REMATCH[1]}
	fi
	build=$plain
	case $name in
	*+asan) build=$plain-asan-ubsan ;;
	*+tsan) build=$plain-tsan ;;
	esac
	case $(source_of "$base") in
	*.sh) program=(bash "tests/$base.sh") ;;
	*.py) program=(python3 "tests/$base.py") ;;
	*) program=("$build/tests/$base") ;;
	esac
	log=$(log_of "$name")
	mkdir -p "$scratch/$name"
	BUILD=$build TMPDIR=$scratch/$name ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 \
		UBSAN_OPTIONS=print_stacktrace=1 \
		TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
		timeout -k 10 "$limit" "${program[@]}" > "$log" 2>&1 < /dev/null &
	pid=$!
	# shellcheck disable=SC2064
	trap "kill -9 -- -$pid 2> /dev/null; exit 130" INT TERM
	wait $pid
	status=$?
	if leaves_processes $pid; then
		sleep 0.5
		if leaves_processes $pid; then
			echo "processes of the test were still running after its end" >> "$log"
			kill -9 -- -$pid
			[ $status -ne 0 ] || status=1
		fi
	fi
	trap 'kill $(jobs -p) 2> /dev/null; exit 130' INT TERM
	rm -rf "${scratch:?}/$name"
	case $status in
	0) report ok "$name" "$start" ;;
	77)
		reason=$(tail -n 1 "$log")
		wrong=$(why_not "$base" "$reason")
		if [ -z "$wrong" ]; then
			report skip "$name" "$start" "${reason#skipped: }"
		else
			echo "skip refused: $wrong" >> "$log"
			report FAIL "$name" "$start" "skipped: $wrong"
		fi
		;;
	124 | 137) report FAIL "$name" "$start" "over its limit of $limit s" ;;
	*) report FAIL "$name" "$start" "exit status $status" ;;
	esac
	if grep -qx "FAIL $name" "$scratch/results"; then
		show_log "$name"
	fi
}

finish() {
	local passed failed skipped
	passed=$(grep -c '^ok ' "$scratch/results")
	failed=$(grep -c '^FAIL ' "$scratch/results")
	skipped=$(grep -c '^skip ' "$scratch/results")
	if [ "$failed" -gt 0 ]; then
		echo "logs in $logs; failed:" "$(sed -n 's/^FAIL //p' "$scratch/results" | xargs)"
	fi
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

# step NAME COMMAND...: set-up that is counted only when it fails
step() {
	local name=$1 start=$EPOCHREALTIME
	shift
	"$@" 2>&1 | tee "$(log_of "$name")"
	if [ "${PIPESTATUS[0]}" -ne 0 ]; then
		report FAIL "$name" "$start"
		return 1
	fi
}

is_wanted() {
	local w
	[ ${#wanted[@]} -gt 0 ] || return 0
	for w in "${wanted[@]}"; do
		# shellcheck disable=SC2053
		if [[ $1 == $w || ${1#*/} == $w ]]; then
			return 0
		fi
	done
	return 1
}

jobs=$(nproc)
step set-up/build make -j"$jobs" BUILD="$plain" CC="$CC" WERROR=1 all || finish
if [ ${#wanted[@]} -eq 0 ] || [ ! -e "$MODEL" ]; then
	step set-up/model tools/fetch-model.sh || true
fi
if [ -x tools/fetch-vocab.sh ]; then
	step set-up/vocab tools/fetch-vocab.sh || true
fi

together=() apart=() instrumented=
for f in tests/unit/*.c tests/kernels/*.c tests/fuzz/*.c tests/e2e/*.sh \
	tests/gates/*.py tests/gates/*.sh; do
	case $f in
	*\** | */lib.sh | */lib.py) continue ;;
	esac
	name=${f#tests/}
	name=${name%.*}
	marks=" $(marks_of "$f") "
	if [ -n "$fast" ] && [[ $marks == *" slow "* ]]; then
		continue
	fi
	variants=("$name")
	if [ -z "$fast" ] && [[ $marks == *" san "* ]]; then
		variants+=("$name+asan" "$name+tsan")
	fi
	for v in "${variants[@]}"; do
		is_wanted "$v" || continue
		[ "$v" = "$name" ] || instrumented=y
		case $marks in
		*" alone "*) apart+=("$v") ;;
		*" slow "*) together=("$v" "${together[@]}") ;; # the long ones first
		*) together+=("$v") ;;
		esac
	done
done
if [ $((${#together[@]} + ${#apart[@]})) -eq 0 ]; then
	echo "no test is called ${wanted[*]}"
	exit 1
fi
if [ -n "$instrumented" ]; then
	step set-up/asan make -j"$jobs" BUILD="$plain" CC="$CC" SAN=address,undefined san || true
	step set-up/tsan make -j"$jobs" BUILD="$plain" CC="$CC" SAN=thread san || true
fi

n_running=0
for name in "${together[@]}"; do
	if [ $n_running -ge 2 ]; then
		wait -n
		n_running=$((n_running - 1))
	fi
	run_one "$name" &
	n_running=$((n_running + 1))
done
wait
for name in "${apart[@]}"; do
	run_one "$name"
done
finish
