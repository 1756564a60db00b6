#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_prometheus_api.sh - `dump` and `generate` with --prometheus: on a real Prometheus over 50 simulated agents
# (prometheus_api.py), and on servers that fail (prometheus_bad.py). Needs no privilege.
set -euo pipefail
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
trap tap_at_exit EXIT

HERE=$(cd "$(dirname "$0")" && pwd)
CHILD=
trap '[[ -z $CHILD ]] || { kill "$CHILD" 2>/dev/null; wait "$CHILD"; }; exit 143' INT TERM

# Its lines are ours. What dies without a word about it is a failure of its own.
for part in bad api; do
	status=0
	if [[ $part == api ]] && ! command -v prometheus >/dev/null; then
		skip "50 agents on a real Prometheus" "no prometheus: run tests/lib/packages.sh stand"
		continue
	fi
	/usr/bin/python3 "$HERE/prometheus_$part.py" &
	CHILD=$!
	wait "$CHILD" || status=$?
	CHILD=
	is "prometheus_$part.py ended well" "$status" 0
done
tap_done
