#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_handshake.sh - which TLS version the server chose, and which handshakes an alert ended, between real clients and
# real servers (openssl's). Owns: the kinds of handshakes. Must not know how the agent reads them.

# shellcheck disable=SC2317 # what is waited for is called through stand_wait

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

# PORT OPTION...: a server until the stand goes down.
serve() {
	local port=$1

	shift
	stand_run_in outside openssl s_server -accept "$port" -www -quiet -CAfile "$STAND_CA" \
		-cert "$STAND_DIR/nginx/server.crt" -key "$STAND_DIR/nginx/server.key" "$@" \
		</dev/null >"$TRAFFIC_DIR/server.$port" 2>&1 &
	stand_wait 10 listening "$port"
}

listening() {
	[[ -n $(stand_run_in outside ss -Hltn "sport = :$1") ]]
}

# NAME PORT FAMILY OPTION...: one handshake for NAME, then a request. s_client goes on after a verification error
# unless told otherwise; its status says whether the handshake was made.
connect() {
	local name=$1 port=$2 address

	address=$(stand_address www.gnu.org "$3")
	[[ $3 == 4 ]] || address="[$address]"
	shift 3
	printf 'GET / HTTP/1.0\r\n\r\n' | stand_run_in app timeout 10 openssl s_client -quiet -ign_eof \
		-connect "$address:$port" -servername "$name" -CAfile "$STAND_CA" "$@" >/dev/null 2>&1
}

# TITLE WANT NAME PORT OPTION...: a handshake in each family. WANT: connections, versions chosen, handshakes failed.
handshakes() {
	local title=$1 want=$2 name=$3 port=$4 family

	shift 4
	for family in 4 6; do
		connect "$name" "$port" "$family" "$@" || [[ $title == refused* ]] ||
			{ not_ok "$title" "s_client failed"; return; }
	done
	seen "$title" "$want" "$name" "$port"
}

seen() {
	stand_wait 5 says "$@" 2>/dev/null || true
	is "$1: connections, version chosen, handshakes failed" "$(told "$3" "$4")" "$2"
}

says() {
	[[ $(told "$3" "$4") == "$2" ]]
}

told() {
	stand_agent dump -o json --host "$1" | jq -r --argjson port "$2" '.destinations[] |
		select(.port == $port) | "\(.connections.opened) \(.tls.versions | join(",")) " +
		"\(.tls.handshakesFailed)"'
}

plain() {
	handshakes "TLS 1.3" "2 1.3 0" v13.example.com 8443
	handshakes "TLS 1.2" "2 1.2 0" v12.example.com 8443 -tls1_2
	handshakes "TLS 1.3 after a HelloRetryRequest" "2 1.3 0" retry.example.com 8444 \
		-groups X25519:P-256
}

resumed() {
	local version session=$TRAFFIC_DIR/session

	for version in 1_2 1_3; do
		connect "resumed$version.example.com" 8443 4 "-tls$version" -sess_out "$session"
		connect "resumed$version.example.com" 8443 4 "-tls$version" -sess_in "$session"
		seen "TLS ${version/_/.}, resumed" "2 ${version/_/.} 0" \
			"resumed$version.example.com" 8443
	done
}

# "R" on a line of its own renegotiates (without -quiet).
renegotiated() {
	local out=$TRAFFIC_DIR/renegotiated

	{
		sleep 0.5
		echo R
		sleep 0.5
		printf 'GET / HTTP/1.0\r\n\r\n'
		sleep 0.5
	} | stand_run_in app timeout 20 openssl s_client -tls1_2 -CAfile "$STAND_CA" -servername \
		again.example.com -connect "$(stand_address www.gnu.org 4):8445" >"$out" 2>&1 || true
	if ! grep -q RENEGOTIATING "$out"; then
		not_ok "TLS 1.2, renegotiated" "s_client did not renegotiate"
		return
	fi
	seen "TLS 1.2, renegotiated" "1 1.2 0" again.example.com 8445
}

refused() {
	handshakes "refused by the server: version" "2  2" old.example.com 8444 -tls1_2
	handshakes "refused by the server: no client certificate, TLS 1.2" "2 1.2 2" \
		mutual.example.com 8446 -tls1_2
	# Alerts behind a ServerHello of 1.3 are encrypted: nobody outside can tell.
	handshakes "refused by the server: no client certificate, TLS 1.3" "2 1.3 0" \
		mutual13.example.com 8446 -tls1_3
	handshakes "refused by the client: unknown authority, TLS 1.2" "2 1.2 2" \
		distrusted.example.com 8443 -tls1_2 -verify_return_error -no-CAfile \
		-CAfile "$TRAFFIC_DIR/other.crt"
}

other_authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other \
		-keyout "$TRAFFIC_DIR/other.key" -out "$TRAFFIC_DIR/other.crt" 2>/dev/null
}

traffic_stand_up
other_authority
serve 8443
serve 8444 -tls1_3 -groups P-256
serve 8445 -tls1_2 -client_renegotiation
serve 8446 -Verify 1
plain
resumed
renegotiated
refused
tap_done
