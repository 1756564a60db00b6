#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# replay.sh - how much faster than tshark replay finds the same names, in one run on one capture.
# Owns: the capture's life and size. What is in it is replay_capture.py's, what is measured replay_measure.py's.
#
# Environment:
#	BENCH_MB	size of the capture in MB (520; it comes out somewhat larger)
#	BENCH_ROUNDS	rounds, of which the medians are printed (3)
#	BENCH_TIMES	how many times faster is enough (20)
set -euo pipefail

cd "$(dirname "$0")/../.."
TMP=
AGENT=$PWD/build/egress-agent

cleanup() {
	trap '' INT TERM HUP
	[[ -z $TMP ]] || rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

[[ -x $AGENT ]] || {
	echo "bench: $AGENT is not there; make builds it" >&2
	exit 1
}
command -v tshark >/dev/null || {
	echo 'bench: tshark is not there; install it, or run make bench as root' >&2
	exit 1
}
engines=(native)
if ((EUID == 0)); then
	engines+=(bpf)
else
	echo 'SKIP - replay --engine bpf: needs root'
fi
mkdir -p build/bench
TMP=$(mktemp -d build/bench-XXXXXX)
/usr/bin/python3 tests/bench/replay_capture.py "${BENCH_MB:-520}" "$TMP/capture.pcap"
/usr/bin/python3 tests/bench/replay_capture.py hostile "$TMP/hostile.pcap"
/usr/bin/python3 tests/bench/replay_measure.py "$AGENT" "$TMP/capture.pcap" "$TMP/hostile.pcap" "$TMP" build/bench/replay.json \
	"${BENCH_ROUNDS:-3}" "${BENCH_TIMES:-20}" "${engines[@]}"
