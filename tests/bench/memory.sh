#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# memory.sh - kernel memory that a live connection and a destination take, by the kernel's own account.
# Owns: the cgroup and the folder, and that nothing of them is left. What is measured is memory_measure.py's.
#
# Environment:
#	BENCH_CONNECTIONS	live connections (100000)
#	BENCH_NAMES		destinations (20000)
set -euo pipefail

cd "$(dirname "$0")/../.."
TMP=
CGROUP=
PID=

cleanup() {
	trap '' INT TERM HUP
	[[ -z $PID ]] || kill -TERM -- "-$PID" 2>/dev/null || true
	[[ -z $CGROUP ]] || remove_cgroup
	[[ -z $TMP ]] || rm -rf "$TMP" "/sys/fs/bpf/${CGROUP##*/}"
}

remove_cgroup() {
	local i pid

	for ((i = 0; i < 50; i++)); do
		rmdir "$CGROUP" 2>/dev/null && return
		while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		done <"$CGROUP/cgroup.procs"
		sleep 0.1
	done
	echo "bench: $CGROUP is still busy" >&2
}

skip() {
	echo "SKIP - kernel memory: $1"
	exit 0
}

((EUID == 0)) || skip 'needs root'
[[ -r /proc/slabinfo ]] || skip 'this kernel has no /proc/slabinfo'
[[ -x build/egress-agent && -e build/bench/storage.bpf.o ]] || {
	echo 'bench: not built; make bench builds what it needs' >&2
	exit 1
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
TMP=$(mktemp -d)
CGROUP=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)/ea-memory-$$
mkdir "$CGROUP"
setsid --wait /usr/bin/python3 tests/bench/memory_measure.py "$PWD/build/egress-agent" build/bench/storage.bpf.o "$CGROUP" "$TMP" \
	"${BENCH_CONNECTIONS:-100000}" "${BENCH_NAMES:-20000}" &
PID=$!
wait "$PID"
