#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_tls.sh - every HTTPS connection is counted once, under its name, with all its bytes.
# Owns: the ways a ClientHello travels. Must not know how the agent finds the name.

# shellcheck disable=SC2317 # the variants are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

# CONNECTIONS MIN_SEGMENTS ARG...: the connections from four processes at once, half over IPv6,
# then the comparison. MIN_SEGMENTS is what every hello must really have been cut into: a
# variant that did not happen must not pass.
tls_variant() {
	local connections=$1 segments=$2 expected=$TRAFFIC_DIR/tls.json got

	shift 2
	traffic_before || return 1
	stand_run_in app "$E2E/traffic.py" tls --connections "$connections" --processes 4 \
		--names "$TRAFFIC_NAMES" --port 443 --family both --ca "$STAND_CA" "$@" \
		>"$expected" || return 1
	got=$(jq '.helloSegments[0]' "$expected")
	((got >= segments)) || { echo "a hello went in $got segments, not $segments"; return 1; }
	traffic_compare "$expected" || return 1
	jq -r '"(hello of \(.helloBytes[0])-\(.helloBytes[1]) bytes in " +
		"\(.helloSegments[0])-\(.helloSegments[1]) segments)"' "$expected"
}

# Retransmitted bytes count once, a hello whose segments come again is still one.
check_loss() {
	if ! traffic_loss 50 2>/dev/null; then
		skip "2 % of packets lost" "this kernel's nft has no numgen"
		return
	fi
	figures "200 HTTPS connections, 2 % of packets lost, hello in 3 pieces" \
		tls_variant 200 3 --pieces 3 --threads 16
	figures "200 connections, 2 % of packets lost, key share before SNI" \
		tls_variant 200 2 "$@" --threads 16
	traffic_loss 0
}

main() {
	local pq=(--mode raw --hello pq-keyshare-first)

	figures "the traffic tools measure what they say" traffic selftest
	figures "1,000 HTTPS connections" tls_variant 1000 1
	figures "1,000 HTTPS connections, hello in 3 pieces" tls_variant 1000 3 --pieces 3
	figures "1,000 connections, key share before SNI" tls_variant 1000 2 "${pq[@]}"
	figures "200 connections, key share before SNI, 3 TLS records, 7 pieces" \
		tls_variant 200 7 "${pq[@]}" --records 3 --pieces 7
	figures "200 HTTPS connections, TLS 1.2" tls_variant 200 1 --tls 1.2
	traffic_offload off
	figures "1,000 HTTPS connections, GSO/TSO off" tls_variant 1000 1
	figures "1,000 HTTPS connections, GSO/TSO off, hello in 3 pieces" \
		tls_variant 1000 3 --pieces 3
	figures "1,000 connections, GSO/TSO off, key share before SNI" \
		tls_variant 1000 2 "${pq[@]}"
	figures "200 connections, GSO/TSO off, key share before SNI, hello in 100 pieces" \
		tls_variant 200 100 "${pq[@]}" --pieces 100
	check_loss "${pq[@]}"
}

traffic_stand_up
main
tap_done
