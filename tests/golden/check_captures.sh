#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_captures.sh - replay of small captures made here, whose output is known byte for byte, on both engines.
# Owns: which engines can be tried here. What is in the captures is replay_captures.py's.
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/tap.sh
. tests/lib/tap.sh
trap tap_at_exit EXIT

engines=(native)
if ((EUID == 0)); then
	engines+=(bpf)
else
	skip 'replay: small captures through the kernel' 'needs root'
fi
relay replay_captures.py /usr/bin/python3 tests/golden/replay_captures.py "$PWD/build/egress-agent" "${engines[@]}"
tap_done
