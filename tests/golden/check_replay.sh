#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_replay.sh - replay against byte vectors with known names, cut in every way, both engines alike.
# Owns: which engines can be tried here, and the skip when the vectors are absent. What is made of the vectors is
# replay_vectors.py's.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/tap.sh
. tests/lib/tap.sh
trap tap_at_exit EXIT

AGENT=$PWD/build/egress-agent
VECTORS=${EA_SHARED:-../shared}/corpus/vectors

if [[ ! -r $VECTORS/vectors.tsv ]]; then
	skip 'replay: every vector, cut in every way' "no $VECTORS (set EA_SHARED)"
	tap_done
fi
engines=(native)
if ((EUID == 0)); then
	engines+=(bpf)
else
	skip 'replay: vectors through the kernel' 'needs root'
fi
relay replay_vectors.py /usr/bin/python3 tests/golden/replay_vectors.py "$AGENT" "$VECTORS" "${engines[@]}"
tap_done
