#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that each gate can fail: plants one violation at a time in a copy of the tree, and expects
# the gate to name it.
# shellcheck disable=SC2016,SC2153
set -eu
build=$(realpath "$BUILD")
mkdir "$TMPDIR/tree"
git ls-files --cached --others --exclude-standard | while IFS= read -r f; do
	if [ -f "$f" ]; then echo "$f"; fi
done | tar -cf - -T - | tar -xf - -C "$TMPDIR/tree"
cd "$TMPDIR/tree"
git init -q .
mkdir -p docs examples man misc tests/planted

n_failed=0
# plant GATE FILE EXPECTED: FILE gets stdin as its text; the gate must fail and say EXPECTED.
plant() {
	local gate=$1 file=$2 expected=$3 saved=
	if [ -e "$file" ]; then
		saved=$TMPDIR/saved
		cp "$file" "$saved"
	fi
	cat > "$file"
	if BUILD=$build python3 "tests/gates/$gate.py" > "$TMPDIR/out" 2>&1 ||
		! grep -qF -- "$expected" "$TMPDIR/out"; then
		echo "gate $gate does not say: $expected"
		n_failed=$((n_failed + 1))
	fi
	if [ -n "$saved" ]; then mv "$saved" "$file"; else rm "$file"; fi
}

# The text of a C function of N lines.
long_function() {
	echo "/* SPDX-License-Identifier: MIT */"
	echo "static int $1(void)"
	echo "{"
	for ((i = 4; i < $2 + 1; i++)); do echo "	work();"; done
	echo "}"
}
spdx='/* SPDX-License-Identifier: MIT */'
header=lib/include/llm.h
# A C file with the given text, in which \n ends a line.
c() {
	printf '%s\n%b\n' "$spdx" "$1"
}

{ echo "$spdx"; yes 'int a;' | head -1000; } | plant size daemon/planted.c "1001 lines"
long_function planted 101 | plant size daemon/planted.c "planted() has 101 lines"
long_function forward 151 | plant size daemon/planted.c "forward() has 151 lines"
long_function planted 61 | plant size tests/planted/planted.c "tests/planted: p95"
c 'int f(int a, int b,\n\tint c, int d, int e, void (*g)(int, int));' |
	plant size daemon/planted.h "f() has 6 parameters"
c 'struct ops {\n\tint (*f)(int, int, int, int, int, int);\n};' |
	plant size daemon/planted.h "f() has 6 parameters"
c "\t$(printf %093d 0)" | plant size daemon/planted.c "101 columns"
c 'int a; ' | plant size daemon/planted.c "blanks at the end"
printf 'text \n' | plant size docs/planted.md "blanks at the end"
c "/* TO""DO: later */" | plant size daemon/planted.c "a note to self"
printf 'int a;\n' | plant size daemon/planted.c "no SPDX"

c '#include "daemon/error.h"' | plant arrows lib/planted.c "lib may not include daemon/"
c '#include "../daemon/error.h"' | plant arrows tools/llmctl.c "tools may not include"
c '#include <llm.h>' | plant arrows daemon/planted.c "daemon may not include lib/"
c '#include "uapi/llm_msg.h"' | plant arrows examples/planted.c "may not include uapi"
c '#include "daemon/nothing.h"' | plant arrows daemon/planted.c "is not in the tree"
printf '%s\n' "$spdx" | plant arrows misc/planted.c "no room of the design"

c '/* See `planted_none()`. */' | plant names daemon/planted.c "planted_none() is not"
c '/* See planted_none(). */' | plant names daemon/planted.c "planted_none() is not"
c '/* See daemon/none.c. */' | plant names daemon/planted.c "daemon/none.c is not"
printf 'See `tools/none`.\n' | plant names docs/planted.md "tools/none is not"
printf 'See `none.c`.\n' | plant names docs/planted.md "none.c is not"
printf '| 1 | llmd | `daemon/error.c: main()` |\n' |
	plant names docs/planted.md "main() is not defined in"
printf '.SH NAME\nplanted \\- \\fBplanted_none\\fP()\n' |
	plant names man/planted.3 "planted_none() is not"

{ cat "$header"; echo "int planted_call(void);"; } > "$TMPDIR/header"
for expected in "does not begin with llm_" "in llm.h, not in libllm.map" \
	"man/planted_call.3 is missing" "tests/ never calls it" "examples/ never calls it"; do
	plant api "$header" "planted_call: $expected" < "$TMPDIR/header"
done
sed 's/global:/global: llm_planted;/' lib/libllm.map | plant api lib/libllm.map "not in libllm.so"
sed '0,/llm_[a-z_]*;/s///' lib/libllm.map |
	plant api lib/libllm.map "in libllm.so, not in libllm.map"
printf '.SH NAME\n' | plant api man/llm_planted.3 "declares no llm_planted"

[ $n_failed -eq 0 ]
