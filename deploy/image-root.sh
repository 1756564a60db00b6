#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# image-root.sh BINARY DIR - fill DIR with the image's root file system: BINARY and what it needs at run time.
# Owns: what is in the image. Must not know how BINARY is built, nor which libraries it names: the linker's word counts.
#
# No shell, no package manager, no C library tools: the program, the shared objects it loads with their licences, CA
# certificates, and the mount points of the DaemonSet, so that the root can be read-only from the first moment.
# Needs no container engine and no privilege. DIR is made anew.
set -euo pipefail

CA=/etc/ssl/certs/ca-certificates.crt
SUFFIXES=/usr/share/publicsuffix/public_suffix_list.dafsa

die() {
	printf 'image-root: %s\n' "$*" >&2
	exit 1
}

(($# == 2)) || { echo "usage: image-root.sh BINARY DIR" >&2; exit 2; }
BINARY=$1 DIR=$2
[[ -x $BINARY ]] || die "$BINARY: no such program; run make first"
[[ -r $CA ]] || die "$CA: missing; install ca-certificates"

# Every path that ldd names: shared objects, and the loader.
objects() {
	local out

	out=$(ldd "$BINARY") || die "ldd $BINARY failed: $out"
	! grep 'not found' <<<"$out" >&2 || die "$BINARY: shared objects are missing, see above"
	grep -oE '/[^ ]+' <<<"$out"
}

# FILE...: to the same paths, links followed; and of their packages the licences, as those ask for, and the records, by
# which scanners know names and versions. With a merged /usr, dpkg may know a file without /usr.
copy() {
	local file package files=(/usr/sbin/update-ca-certificates) # which made the bundle: that belongs to no package

	for file in "$@"; do
		install -D -m "$(stat -L -c %a "$file")" "$file" "$DIR$file"
		file=$(realpath "$file")
		files+=("$file" "${file#/usr}")
	done
	mkdir -p "$DIR/var/lib/dpkg/status.d"
	while read -r package; do
		install -D -m 644 "/usr/share/doc/$package/copyright" "$DIR/usr/share/doc/$package/copyright"
		dpkg-query -s "$package" >"$DIR/var/lib/dpkg/status.d/$package"
	done < <({ dpkg-query -S "${files[@]}" 2>/dev/null || true; } | cut -d: -f1 | sort -u)
}

fill() {
	install -D -m 755 -s "$BINARY" "$DIR/egress-agent"
	copy "${OBJECTS[@]}" "$CA"
	# The public suffixes as they are today; libpsl knows by itself only those of its own day.
	if [[ " ${OBJECTS[*]} " == */libpsl.so* && -r $SUFFIXES ]]; then
		copy "$SUFFIXES"
	fi
	# Without it glibc asks DNS before it looks into /etc/hosts.
	echo 'hosts: files dns' >"$DIR/etc/nsswitch.conf"
	# What runtimes and the DaemonSet mount over.
	mkdir -p "$DIR"/{proc,sys,dev,host/cgroup,host/bpf,run/egress-agent,tls} \
		"$DIR/var/run/secrets/kubernetes.io/serviceaccount"
}

# The copied loader must find everything in DIR, and only there.
closed() {
	local loader=${OBJECTS[-1]} file out

	for file in "${OBJECTS[@]}"; do
		[[ ${file##*/} != ld-* ]] || loader=$file
	done
	out=$("$DIR$loader" --inhibit-cache --library-path "$DIR${LIBC%/*}" --list "$DIR/egress-agent") ||
		die "$DIR/egress-agent does not start with the copied loader: $out"
	! grep -oE '=> /[^ ]+' <<<"$out" | grep -vF "=> $DIR/" >&2 ||
		die "$DIR lacks what stands above"
}

mapfile -t OBJECTS < <(objects)
((${#OBJECTS[@]})) || die "$BINARY names no shared object"
for LIBC in "${OBJECTS[@]}"; do
	[[ ${LIBC##*/} != libc.so.* ]] || break
done
# Whatever else stands in DIR is not ours to remove.
[[ ! -e $DIR || -e $DIR/egress-agent || -z $(ls -A "$DIR") ]] ||
	die "$DIR: is not empty and no image root; name another DIR"
rm -rf "$DIR"
mkdir -p "$DIR"
fill
closed
