#!/bin/bash
# SPDX-License-Identifier: MIT
#
# setup: installs the Debian packages that building, testing and fetching a model need. Only what
# is missing is installed, each package is named first, and apt is the only step that needs root.
# Safe to run again: with nothing missing it says nothing and asks for nothing.
set -eu

packages=(
	gcc make binutils libc6-dev pkg-config         # the build
	clang                                          # `make check` builds with it too
	liburing-dev libpcre2-dev libjansson-dev libinih-dev libsodium-dev
	libutf8proc-dev libsystemd-dev libhwloc-dev libnuma-dev
	python3 python3-pip                            # pip brings the model
	git procps                                     # the tests and the gates
)

if ! command -v dpkg-query > /dev/null; then
	echo "setup: not a Debian system: install by hand what is missing of: ${packages[*]}" >&2
	exit 0
fi

missing=()
for p in "${packages[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null || true)
	[ "$state" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi

echo "setup: installing ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo > /dev/null; then
		echo "setup: neither root nor sudo; run as root: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
	if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" \
		> "$log" 2>&1; then
		cat "$log" >&2
		echo "setup: apt-get $* failed" >&2
		exit 1
	fi
}
apt update
apt install --no-install-recommends "${missing[@]}"
echo "setup: ${#missing[@]} packages installed"
