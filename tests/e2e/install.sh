#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves that `make install` brings what a program outside the tree needs: each example builds from
# its own compile line against the installed libllm, which needs nothing but libc; each program has
# its manual page and its --version; the sample configuration is valid; DESTDIR and PREFIX are kept;
# `make uninstall` leaves no file.
. tests/e2e/lib.sh

prefix=$SCRATCH/opt
installation() {
	make --no-print-directory BUILD="$BUILD" CC="${CC:-gcc}" "$@"
}
installation install PREFIX="$prefix"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
check "libllm.pc has the version of the programs" test "$(pkg-config --modversion libllm)" = \
	"$("$prefix/bin/llm" --version | awk '{ print $NF }')"

mkdir "$SCRATCH/compiler"
printf '#!/bin/sh\nexec %s -Wall -Werror "$@"\n' "${CC:-gcc}" > "$SCRATCH/compiler/cc"
chmod +x "$SCRATCH/compiler/cc"
n_examples=0
for source in examples/*.c; do
	name=$(basename "$source" .c)
	line=$(sed -nE 's/^ \*[ \t]+(cc .*)$/\1/p' "$source" | head -n 1)
	cp "$source" "$SCRATCH/"
	check "$source has its compile line on top, and it works: $line" \
		env -C "$SCRATCH" PATH="$SCRATCH/compiler:$PATH" sh -c "${line:-false}"
	check "$name uses the installed library" env LD_LIBRARY_PATH="$prefix/lib" \
		sh -c "ldd $SCRATCH/$name | grep -q $prefix/lib/libllm.so.0"
	n_examples=$((n_examples + 1))
done
check "there are examples" test "$n_examples" -gt 0

for library in $(readelf -d "$prefix/lib/libllm.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'); do
	check "libllm.so needs no more than libc, not $library" \
		test "${library%.6}" = libc.so -o "${library%.6}" = libm.so
done
cat > "$SCRATCH/static.c" << 'END'
#include <llm.h>
int main(void) { return llm_strerror(1)[0] == 0; }
END
check "the static library links" "${CC:-gcc}" -I"$prefix/include" "$SCRATCH/static.c" \
	"$prefix/lib/libllm.a" -lm -o "$SCRATCH/static"
check "and runs" "$SCRATCH/static"

man=$prefix/share/man
for program in "$prefix"/bin/* "$prefix"/sbin/*; do
	name=$(basename "$program")
	check "$name has a manual page" test -e "$man/man1/$name.1" -o -e "$man/man8/$name.8"
	check "$name --version" sh -c "'$program' --version | grep -q '[0-9]\.[0-9]'"
done
check "the unit starts the installed daemon" \
	grep -q "^ExecStart=$prefix/sbin/llmd " "$prefix/lib/systemd/system/llmd.service"
"$BUILD/tests/mkmodel" --type Q4_1 "$SCRATCH/tiny.gguf"
daemon_start -c "$prefix/share/devllm/llmd.conf" -m "$SCRATCH/tiny.gguf" \
	--request-log "$SCRATCH/log"
daemon_stop
installation uninstall PREFIX="$prefix"
left=$(find "$prefix" -type f -o -type l)
check "uninstall leaves: $left" test -z "$left"

stage=$SCRATCH/stage
installation install DESTDIR="$stage" PREFIX=/usr
check "DESTDIR holds it" test -x "$stage/usr/sbin/llmd" -a -L "$stage/usr/lib/libllm.so"
check "but nothing installed knows DESTDIR" \
	sh -c "! grep -rIl '$stage' '$stage/usr/lib/pkgconfig' '$stage/usr/lib/systemd'"
installation uninstall DESTDIR="$stage" PREFIX=/usr
left=$(find "$stage" -type f -o -type l)
check "uninstall leaves: $left" test -z "$left"
finish
