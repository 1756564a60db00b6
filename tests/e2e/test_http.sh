#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_http.sh - every plaintext request is counted once, under its host, method and code.
# Owns: the numbers of requests and connections. Must not know how the agent reads them.

# shellcheck disable=SC2317 # the variants are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

# LOSSY is empty, or --lossy while packets are lost.
LOSSY=

# CONNECTIONS REQUESTS ARG...: kept-alive connections from four processes at once, half over
# IPv6, every fifth to three names in turn, then the comparison.
http_variant() {
	local connections=$1 requests=$2 expected=$TRAFFIC_DIR/http.json

	shift 2
	traffic_before || return 1
	stand_run_in app "$E2E/traffic.py" http --connections "$connections" \
		--requests "$requests" --processes 4 --threads 25 --port 8080 --family both \
		--names "$(cut -d, -f1-7 <<<"$TRAFFIC_NAMES")" \
		--shared-names "$(cut -d, -f8-10 <<<"$TRAFFIC_NAMES")" "$@" \
		>"$expected" || return 1
	if [[ -n $LOSSY ]]; then
		traffic_compare "$expected" --lossy
	else
		traffic_compare_http "$expected"
	fi
}

# Requests leave in order and are counted exactly, bytes too. An answer whose head arrives out of
# order may be missed; one that was not given must not appear.
check_loss() {
	if ! traffic_loss 50 2>/dev/null; then
		skip "2 % of packets lost" "this kernel's nft has no numgen"
		return
	fi
	LOSSY=--lossy
	figures "1,000 requests over 20 connections, 2 % of packets lost" \
		http_variant 20 1000 --seed 7
	traffic_loss 0
	LOSSY=
}

main() {
	figures "10,000 requests over 100 connections" http_variant 100 10000
	figures "2,000 requests over 20 connections, 4 in flight" \
		http_variant 20 2000 --seed 2 --pipeline 4
	figures "1,000 requests over 10 connections, 16 in flight" \
		http_variant 10 1000 --seed 3 --pipeline 16
	figures "500 connections with one request each" http_variant 500 500 --seed 4
	traffic_offload off
	figures "2,000 requests over 20 connections, GSO/TSO off" http_variant 20 2000 --seed 5
	figures "2,000 requests over 20 connections, 4 in flight, GSO/TSO off" \
		http_variant 20 2000 --seed 6 --pipeline 4
	check_loss
}

traffic_stand_up
traffic_serve outside http-server serve --port 8080
main
tap_done
