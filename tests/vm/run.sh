#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [KERNEL...] - boot Debian's kernels one after the other and have each answer init.sh's questions.
# Owns: where kernels come from, what is in the initramfs, how long a machine may take, which kernels are
# expected to refuse. Must not know what is asked (init.sh).
#
# KERNEL is 5.10, 6.1, 6.12 or sid (the newest there is); default: all. A kernel is fetched with apt from the
# mirror this machine is configured for (lib/suite.sh); one that was fetched before is used
# when the mirror has no newer one or cannot be reached. No KVM is needed: qemu translates, one core a machine.
#
# Prints the test protocol, at last each program's verifier count per kernel and the sum. About four minutes a
# kernel. VM_TIMEOUT: seconds a machine may take. build/vm/RELEASE.console has what a machine printed.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/tap.sh
. tests/lib/tap.sh
# shellcheck source=tests/lib/suite.sh
. tests/lib/suite.sh

PATH=$PATH:/usr/sbin:/sbin
VM=$PWD/build/vm
VM_TIMEOUT=${VM_TIMEOUT:-1500}
VM_MEMORY=1024
QEMU_PID='' WORK=''

# Debian's name of the suite that has the kernel.
declare -A SUITE=([5.10]=bullseye [6.1]=bookworm [6.12]=trixie [sid]=sid)
KERNELS=(5.10 6.1 6.12 sid)

# Kernels that cannot be supported. `check` must say so, and why is shown in the kernel's own words.
UNSUPPORTED=" 5.10 "

die() {
	printf 'vm: %s\n' "$*" >&2
	exit 1
}

# shellcheck disable=SC2317 # from the trap
cleanup() {
	if [[ -n $QEMU_PID ]]; then
		kill -KILL "$QEMU_PID" 2>/dev/null || true
		wait "$QEMU_PID" 2>/dev/null || true
	fi
	[[ -z $WORK ]] || rm -rf "$WORK"
}

# KERNEL: the release of the newest plain image in its suite ("6.1.0-50-amd64").
release_newest() {
	local series=${1//./\\.}

	[[ $1 != sid ]] || series='[0-9]+'
	suite_apt "${SUITE[$1]}" apt-cache pkgnames linux-image- |
		sed -nE "s/^linux-image-($series\.[0-9][0-9.+a-z~-]*-amd64)(-unsigned)?$/\1/p" |
		grep -vE -- '-(cloud|rt|dbg)-' | sort -V | tail -n 1
}

# SUITE RELEASE: the package that holds the image itself.
image_package() {
	local names package

	names=$(suite_apt "$1" apt-cache pkgnames linux-)
	for package in "linux-binary-$2" "linux-image-$2" "linux-image-$2-unsigned"; do
		if grep -qxF "$package" <<<"$names"; then
			echo "$package"
			return
		fi
	done
}

# SUITE RELEASE: its image to build/vm/RELEASE.vmlinuz.
image_fetch() {
	local package

	[[ ! -s $VM/$2.vmlinuz ]] || return 0
	package=$(image_package "$1" "$2")
	rm -f "$WORK"/*.deb
	suite_download "$1" "$package" "$WORK" &&
		dpkg-deb --fsys-tarfile "$WORK"/*.deb | tar -x -C "$WORK" --wildcards '*/vmlinuz*' &&
		find "$WORK" -name 'vmlinuz*' -exec mv {} "$VM/$2.vmlinuz" \; && rm -f "$WORK"/*.deb &&
		[[ -s $VM/$2.vmlinuz ]] && return 0
	return 1
}

# KERNEL: print the release to boot, having its image. Status 1 with the reason in $WORK/why.
kernel_get() {
	local suite=${SUITE[$1]} release='' old="$VM/$1.release"

	if suite_update "$suite"; then
		release=$(release_newest "$1")
		[[ -n $release ]] || SUITE_WHY="$suite has no such kernel any more"
	fi
	if [[ -n $release ]] && image_fetch "$suite" "$release"; then
		echo "$release" >"$old"
	elif [[ -s $old && -s $VM/$(<"$old").vmlinuz ]]; then
		printf 'vm: %s: %s; using what was fetched before\n' "$1" "$SUITE_WHY" >&2
	else
		echo "$SUITE_WHY" >"$WORK/why"
		return 1
	fi
	cat "$old"
}

# Programs with all the libraries they name, at the same paths.
initramfs_programs() {
	local root=$1 program library

	for program in build/egress-agent build/test_bpf "$(command -v bpftool)" "$(command -v curl)" \
		"$(command -v openssl)"; do
		cp "$program" "$root/bin/"
		# A static program has none; ldd then says so and fails.
		{ ldd "$program" || true; } | grep -oE '/[^ ]+' | while read -r library; do
			mkdir -p "$root${library%/*}"
			cp -Lu "$library" "$root$library"
		done
	done
}

initramfs_make() {
	local root=$WORK/root tool

	mkdir -p "$root"/{bin,proc,sys,dev,run,tmp,etc}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for tool in $("$root/bin/busybox" --list); do
		[[ -e $root/bin/$tool ]] || ln -s busybox "$root/bin/$tool"
	done
	initramfs_programs "$root"
	cp build/egress.bpf.linked.o "$root/egress.bpf.o"
	install -m 755 tests/vm/init.sh "$root/init"
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=vm -keyout "$root/tls.key" \
		-out "$root/tls.crt" 2>/dev/null
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$WORK/initramfs.gz"
}

# RELEASE WORDS: boot it, with words for init.sh, and wait. Status 1 when it took too long. Its protocol is in $WORK/lines.
boot() {
	local deadline=$((SECONDS + VM_TIMEOUT))

	: >"$WORK/lines"
	qemu-system-x86_64 -accel tcg -cpu max -smp 1 -m "$VM_MEMORY" -nodefaults -display none -no-reboot \
		-kernel "$VM/$1.vmlinuz" -initrd "$WORK/initramfs.gz" \
		-append "console=ttyS0 quiet panic=-1 ${2:-}" \
		-serial "file:$VM/$1.console" -serial "file:$WORK/lines" </dev/null 2>"$WORK/qemu" &
	QEMU_PID=$!
	while kill -0 "$QEMU_PID" 2>/dev/null; do
		if ((SECONDS >= deadline)); then
			kill -KILL "$QEMU_PID"
			wait "$QEMU_PID" 2>/dev/null || true
			QEMU_PID=''
			return 1
		fi
		sleep 0.5
	done
	wait "$QEMU_PID" 2>/dev/null || true
	QEMU_PID=''
}

# The machine's lines as cases of this test. Status 1 when the last one is missing.
report() {
	local verdict name why ended=1

	while IFS=$'\t' read -r verdict name why; do
		case $verdict in
		ok) ok "$name" ;;
		'not ok') not_ok "$name" "$why" ;;
		skip) skip "$name" "$why" ;;
		words) printf '# %s\n' "$name" ;;
		done) ended=0 ;;
		esac
	done < <(tr -d '\r' <"$WORK/lines")
	return "$ended"
}

# What the verifier of each kernel counted: a table for people.
figures() {
	sed -nE 's/^ok\t(.*): verifier: (ea_[a-z]+) takes ([0-9]+) .*/\1\t\2\t\3/p' "$WORK/lines" |
		tr -d '\r' >>"$WORK/figures"
}

machine() {
	local kernel=$1 release words='' last why

	if ! release=$(kernel_get "$kernel"); then
		skip "$kernel" "no kernel to boot: $(<"$WORK/why")"
		return
	fi
	[[ $UNSUPPORTED != *" $kernel "* ]] || words=egress=refuse
	why="gave no answer after $VM_TIMEOUT s"
	if boot "$release" "$words"; then
		why="ended early"
	fi
	if ! report; then
		last=$(tail -qn 3 "$VM/$release.console" "$WORK/qemu" 2>/dev/null)
		not_ok "$release: the machine runs to its end" "$why; its last words: $last"
	fi
	figures
}

need() {
	local tool

	for tool in qemu-system-x86_64 busybox cpio bpftool curl openssl dpkg-deb apt-get; do
		command -v "$tool" >/dev/null ||
			die "$tool is missing; install qemu-system-x86 busybox-static cpio bpftool curl openssl"
	done
	[[ -x build/egress-agent && -x build/test_bpf ]] ||
		die "nothing is built; run 'make all check-build' first"
}

main() {
	local kernel

	(($#)) || set -- "${KERNELS[@]}"
	for kernel in "$@"; do
		[[ -n ${SUITE[$kernel]:-} ]] || {
			echo "vm: no such kernel: $kernel (${KERNELS[*]})" >&2
			exit 2
		}
	done
	need
	mkdir -p "$VM"
	WORK=$(mktemp -d)
	trap 'tap_at_exit; cleanup' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	initramfs_make
	for kernel in "$@"; do
		machine "$kernel"
	done
	[[ ! -s $WORK/figures ]] || {
		printf '# %-24s %-12s %s\n' kernel program 'verifier instructions'
		awk -F '\t' '{ printf "# %-24s %-12s %8d\n", $1, $2, $3 }' "$WORK/figures"
	}
	printf '%d passed, %d failed, %d skipped\n' "$TAP_PASSED" "$TAP_FAILED" "$TAP_SKIPPED"
	tap_done
}

main "$@"
