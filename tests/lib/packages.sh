#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# packages.sh [GROUP...] - install the Debian packages the repository needs, when absent.
# Owns: the list of packages, and that installing them starts no service.
# Must not know how anything is built or tested.
#
# GROUP is build (make), stand (make demo), test (make test, make lint), vm (make check-vm), bench (make bench);
# default the first three.
# Silent when everything is there: then it needs neither root nor network.
set -euo pipefail

build=(make gcc libc6-dev linux-libc-dev pkg-config git clang llvm bpftool libbpf-dev libelf-dev
	zlib1g-dev libcjson-dev libmicrohttpd-dev libgnutls28-dev libcurl4-openssl-dev libyaml-dev libpcap-dev
	libpsl-dev ca-certificates)
stand=(nginx-light haproxy prometheus nftables iproute2 openssl curl jq util-linux procps
	mount)
tests=(libcmocka-dev libclang-rt-14-dev clang-format clang-tidy shellcheck ethtool publicsuffix python3 python3-yaml
	python3-jsonschema runc)
vm=(qemu-system-x86 busybox-static cpio curl openssl)
bench=(python3 tshark libssl-dev)

POLICY=/usr/sbin/policy-rc.d
KEPT=$POLICY.before-egress-agent
LOG=

die() {
	printf 'packages: %s\n' "$*" >&2
	exit 1
}

absent() {
	local package

	for package in "$@"; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
			echo "$package"
	done
}

# Debian starts a service the moment its package is unpacked; nginx on port 80 of somebody's
# machine is not ours to start. policy-rc.d is Debian's way to say so, whatever the init system.
deny_services() {
	[[ ! -e $POLICY && ! -L $POLICY ]] || mv "$POLICY" "$KEPT"
	printf '#!/bin/sh\nexit 101\n' >"$POLICY"
	chmod 755 "$POLICY"
}

restore_services() {
	rm -f "$POLICY"
	[[ ! -e $KEPT && ! -L $KEPT ]] || mv "$KEPT" "$POLICY"
}

cleanup() {
	trap '' INT TERM HUP
	restore_services
	rm -f "$LOG"
}

apt() {
	DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -qq -o DPkg::Lock::Timeout=300 "$@" \
		</dev/null >>"$LOG" 2>&1 && return 0
	tail -n 5 "$LOG" >&2
	die "apt-get $1 failed; see the lines above, and whether this machine reaches a Debian mirror"
}

# Enabled services would start at the next boot; one that was there before is left alone.
# Both tools, because either init system may be what boots.
disable_services() {
	local service

	for service in nginx haproxy prometheus; do
		case " $* " in
		*" $service "* | *" $service-light "*)
			deb-systemd-helper disable "$service.service" >>"$LOG" 2>&1 || true
			update-rc.d "$service" disable >>"$LOG" 2>&1 || true ;;
		esac
	done
}

install() {
	local missing

	# Another make may be at it: one at a time, so that each restores what was there before.
	exec 9</usr/sbin
	flock 9
	mapfile -t missing < <(absent "$@")
	((${#missing[@]})) || return 0
	LOG=$(mktemp)
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	echo "packages: installing ${missing[*]}" >&2
	deny_services
	apt update
	apt install -y --no-install-recommends "${missing[@]}"
	disable_services "${missing[@]}"
}

main() {
	local group wanted=() missing

	(($#)) || set -- build stand test
	for group in "$@"; do
		case $group in
		build) wanted+=("${build[@]}") ;;
		stand) wanted+=("${stand[@]}") ;;
		test) wanted+=("${tests[@]}") ;;
		vm) wanted+=("${vm[@]}") ;;
		bench) wanted+=("${bench[@]}") ;;
		*) die "no such group: $group; groups are build, stand, test, vm, bench" ;;
		esac
	done
	command -v apt-get >/dev/null ||
		die "no apt-get: only Debian is known here; install by hand: ${wanted[*]}"
	mapfile -t missing < <(absent "${wanted[@]}")
	((${#missing[@]})) || return 0
	((EUID == 0)) || die "not root, and these are missing: ${missing[*]}; use sudo"
	install "${wanted[@]}"
}

main "$@"
