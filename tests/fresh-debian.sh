#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fresh-debian: proves the two commands on a Debian 12 where nothing was installed by hand. Makes a
# minimal bookworm with debootstrap (kept in the cache for the next time) plus git and make, clones
# the committed tree into it, and runs `make TARGET` for each target in a chroot with a mount and a
# process namespace of its own. Needs root, debootstrap and the network. `make check` leaves it out.
#
#   tests/fresh-debian.sh [--shared] [TARGET...]     default: demo check-fast
#
# --shared puts $SHARED beside the clone. Mirror, proxy and certificates are those of this machine.
# shellcheck disable=SC2016
set -eu
cd "$(dirname "$0")/.."

shared=
if [ "${1:-}" = --shared ]; then
	shared=$(realpath "${SHARED:-../shared}")
	shift
fi
if [ $# -eq 0 ]; then
	set -- demo check-fast
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "fresh-debian: must be root: it makes a chroot" >&2
	exit 1
fi

cache=${DEVLLM_CACHE:-$HOME/.cache/devllm}/bookworm
mkdir -p "$cache/debs/partial"
root=$(mktemp -d /tmp/fresh-debian.XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT

mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
	awk '$2 ~ /^(bookworm|stable|oldstable)$/ { print $1; exit }')
if [ ! -e "$cache/base.tar" ]; then
	echo "fresh-debian: debootstrap into $cache/base.tar"
	mkdir "$root/base"
	if ! debootstrap --variant=minbase --include=ca-certificates,git,make bookworm \
		"$root/base" "${mirror:?the sources of apt have no Debian 12}" \
		> "$cache/debootstrap.log" 2>&1; then
		tail -n 20 "$cache/debootstrap.log" >&2
		exit 1
	fi
	tar -C "$root/base" -cf "$cache/base.tar.new" .
	mv "$cache/base.tar.new" "$cache/base.tar"
	rm -rf --one-file-system "$root/base"
fi
mkdir "$root/debian"
tar -C "$root/debian" -xf "$cache/base.tar"

# The way to the network, as this machine has it.
cp /etc/resolv.conf /etc/hosts "$root/debian/etc/"
apt-config dump | grep -iE '^Acquire::https?::(Proxy|CaInfo|CaPath)|^Acquire::https?::Verify' \
	> "$root/debian/etc/apt/apt.conf.d/99host" || true
if [ -e /etc/apt/sources.list.d/debian.sources ]; then
	cp /etc/apt/sources.list.d/debian.sources "$root/debian/etc/apt/sources.list.d/"
	rm -f "$root/debian/etc/apt/sources.list"
fi
environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TERM=dumb)
while IFS= read -r -d '' variable; do
	case $variable in
	PIP_INDEX_URL=* | PIP_EXTRA_INDEX_URL=* | PIP_TRUSTED_HOST=* | PIP_PROXY=* | \
		[Hh][Tt][Tt][Pp]_* | [Hh][Tt][Tt][Pp][Ss]_* | [Nn][Oo]_* | PIP_DEFAULT_TIMEOUT=*)
		environment+=("$variable")
		;;
	esac
done < <(env -0)
for f in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
	if [ -e "$f" ]; then cat "$f" >> "$root/debian/etc/pip.conf"; fi
done
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
	cp /etc/ssl/certs/ca-certificates.crt "$root/debian/etc/host-certificates.crt"
	environment+=(PIP_CERT=/etc/host-certificates.crt)
fi

git clone -q . "$root/debian/root/devllm"
if [ -n "$shared" ]; then mkdir "$root/debian/root/shared"; fi
cat > "$root/inside" << 'END'
set -eu
root=$1 debs=$2 shared=$3
shift 3
mount --bind "$debs" "$root/var/cache/apt/archives"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
if [ -n "$shared" ]; then mount --bind -o ro "$shared" "$root/root/shared"; fi
exec chroot "$root" "$@"
END
for target in "$@"; do
	echo "fresh-debian: make $target"
	start=$SECONDS
	unshare --mount --pid --fork --kill-child --propagation private bash "$root/inside" \
		"$root/debian" "$cache/debs" "$shared" env -i "${environment[@]}" \
		make -C /root/devllm --no-print-directory "$target"
	echo "fresh-debian: make $target took $((SECONDS - start)) s"
done
