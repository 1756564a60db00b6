#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_times.sh - how long connects, TLS handshakes and requests took: servers wait for a known time, which must be
# within what was measured; the client's own clock bounds it from above. One observation for each, none for what failed.
# Owns: where the time passes. Must not know how it is measured.

# shellcheck disable=SC2317 # some functions are called through figures and stand_wait

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

DELAY=0.3
# Below it, the largest bound of a bucket.
BOUND=0.25
PORT=8070

seen() {
	"$E2E/times_seen.py" "$STAND_PIN" "$@"
}

# FILTER ARG...: until jq FILTER holds for what is seen; the last packets of a connection may still be on their way.
holds() {
	local filter=$1

	shift
	seen "$@" | jq -e "$filter" >/dev/null
}

# TITLE KIND N CODE HOST: N observations of KIND, each above BOUND, in all between N * DELAY and N times what the clock
# said; CODE: {} or [answered, observations] by code.
took() {
	local title=$1 kind=$2 n=$3 codes=$4 got

	shift 4
	stand_wait 5 holds ".$kind.n >= $n" "$@" 2>/dev/null || true
	got=$(seen "$@")
	is "$title" "$(jq -c --argjson want "$n" --argjson delay "$DELAY" --argjson bound "$BOUND" \
		--argjson elapsed "$ELAPSED" --arg kind "$kind" '.[$kind] as $t | [$t.n,
		($t.least >= $bound or $t.least), ($t.sum >= $want * $delay or $t.sum),
		($t.sum <= $want * $elapsed or $t.sum), .byCode]' <<<"$got")" "[$n,true,true,true,$codes]"
}

# CMD...: run it; ELAPSED is how long it took.
clock() {
	local from=$EPOCHREALTIME

	"$@" || true
	ELAPSED=$(jq -n "${EPOCHREALTIME/,/.} - ${from/,/.}")
}

# NAME FAMILY PATH... [-- OPTION...]: the paths in turn over as few connections as it takes.
get() {
	local name=$1 family=$2 address urls=()

	shift 2
	address=$(stand_address www.gnu.org "$family")
	[[ $family == 4 ]] || address="[$address]"
	while (($#)) && [[ $1 != -- ]]; do
		urls+=("http://$name:$PORT$1")
		shift
	done
	shift || true
	stand_run_in app curl -q -s --noproxy '*' --max-time 60 --resolve "$name:$PORT:$address" "$@" \
		"${urls[@]}" >/dev/null
}

requests() {
	local family

	for family in 4 6; do
		clock get "head$family.example" "$family" /head /head /head
		took "IPv$family: a late head, kept alive" request 3 '{"200":[3,3]}' --host "head$family.example"
		is "IPv$family: one connection for them" \
			"$(seen --host "head$family.example" | jq -c '[.opened, .connect.n]')" "[1,1]"
	done
	clock get question.example 4 /head -- -I
	took "HEAD" request 1 '{"200":[1,1]}' --host question.example
	clock get body.example 4 /body /body
	took "a late rest of the body" request 2 '{"200":[2,2]}' --host body.example
	clock get chunked.example 4 /chunked /chunked
	took "a late last chunk" request 2 '{"200":[2,2]}' --host chunked.example
	clock get close.example 4 /close /close
	took "a body until a late close" request 2 '{"200":[2,2]}' --host close.example
	clock get cut.example 4 /cut
	took "a body cut off late" request 1 '{"200":[1,1]}' --host cut.example
	clock get never.example 4 /never
	took "no answer until a late close" request 1 '{"0":[1,1]}' --host never.example
}

# NAME PORT: a handshake and one request in each family.
shake() {
	local family address

	for family in 4 6; do
		address=$(stand_address www.gnu.org "$family")
		[[ $family == 4 ]] || address="[$address]"
		stand_run_in app curl -q -s -k --noproxy '*' --max-time 60 -o /dev/null \
			--resolve "$1:$2:$address" "https://$1:$2/" || true
	done
}

handshakes() {
	clock shake shake.example $((PORT + 1))
	took "a late ServerHello" handshake 2 '{}' --host shake.example
	clock shake mute.example $((PORT + 2))
	stand_wait 5 holds '.opened == 2' --host mute.example
	is "closed instead of a ServerHello: connections, their times, handshakes" \
		"$(seen --host mute.example | jq -c '[.opened, .connect.n, .handshake.n]')" "[2,2,0]"
}

# Outside, the packets that would begin a connection to the port are dropped, and counted.
block() {
	stand_run_in outside nft -f - <<END
table inet block {
	counter syns { }
	chain arriving {
		type filter hook prerouting priority -300
		tcp dport $1 tcp flags syn counter name syns drop
	}
}
END
}

blocked() {
	(($(stand_run_in outside nft -j list counter inet block syns |
		jq '.nftables[] | .counter? // empty | .packets') > 0))
}

unblock_late() {
	stand_wait 30 blocked
	sleep "$DELAY"
	stand_run_in outside nft delete table inet block
}

connect_late() {
	block "$PORT"
	unblock_late &
	get late.example 4 /head
	wait $!
}

connects() {
	clock connect_late
	took "a late connect" connect 1 '{"200":[1,1]}' --host late.example
	stand_run_in app curl -q -s --noproxy '*' "http://$(stand_address www.gnu.org 4):4/" || true
	stand_wait 5 holds '.failed == 1' --port 4
	is "a refused connect: failed, times" "$(seen --port 4 | jq -c '[.failed, .connect.n]')" "[1,0]"
}

# Of what many clients at once did: observations, and what they are of.
totals() {
	stand_run_in app "$E2E/traffic.py" http --connections 100 --requests 3000 --processes 4 --threads 25 \
		--port 8080 --family both --names "$(cut -d, -f1-7 <<<"$TRAFFIC_NAMES")" \
		--shared-names "$(cut -d, -f8-10 <<<"$TRAFFIC_NAMES")" >"$TRAFFIC_DIR/http.json" || return 1
	stand_run_in app "$E2E/traffic.py" tls --connections 500 --processes 4 --port 443 --family both \
		--names "$TRAFFIC_NAMES" --ca "$STAND_CA" >"$TRAFFIC_DIR/tls.json" || return 1
	stand_wait 5 holds '.connect.n >= 100 and .request.n >= 3000' --port 8080 || true
	stand_wait 5 holds '.handshake.n >= 500' --port 443 || true
	[[ $(seen --port 8080 | jq -c '[.opened, .connect.n, .answered, .request.n, .handshake.n]') == \
		"[100,100,3000,3000,0]" ]] || { seen --port 8080; return 1; }
	[[ $(seen --port 443 | jq -c '[.opened, .connect.n, .handshake.n, .request.n]') == \
		"[500,500,500,0]" ]] || { seen --port 443; return 1; }
	echo "600 connects, 500 handshakes, 3,000 requests, one time each"
}

shown() {
	local kind host

	for kind in request:body tls_handshake:shake tcp_connect:late tcp_connect:mute tls_handshake:mute; do
		host=${kind#*:}.example
		stand_metric "egress_${kind%:*}_duration_seconds_count" "destination_service=$host"
	done | xargs
}

is_shown() {
	[[ $(shown) == "$1" ]]
}

# The same in /metrics; where nothing was observed the series may be there or not.
metrics() {
	stand_wait 10 is_shown "2 2 1 2 0" 2>/dev/null || true
	is "/metrics has as many" "$(shown)" "2 2 1 2 0"
}

# Where packets are lost an answer may be missed, or its end; one that was counted has its time all the same.
lossy() {
	stand_run_in app "$E2E/traffic.py" http --connections 20 --requests 1000 --processes 4 --threads 25 \
		--seed 7 --port 8081 --family both --names "$TRAFFIC_NAMES" >"$TRAFFIC_DIR/lossy.json" || return 1
	stand_wait 5 holds '.connect.n >= 20' --port 8081 || true
	seen --port 8081 | jq -r '"\(.opened) connections and \(.connect.n) times, \(.answered) answers of 1,000 and " +
		"\(.request.n) times"'
	holds '.opened == 20 and .connect.n == 20 and .answered >= 900 and .request.n == .answered' --port 8081
}

check_loss() {
	if ! traffic_loss 50 2>/dev/null; then
		skip "2 % of packets lost" "this kernel's nft has no numgen"
		return
	fi
	figures "2 % of packets lost" lossy
	traffic_loss 0
}

traffic_stand_up
traffic_serve outside lossy-server serve --port 8081
traffic_serve outside http-server serve --port 8080
stand_run_in outside "$E2E/slow_servers.py" --port "$PORT" --delay "$DELAY" --cert "$STAND_DIR/nginx/server.crt" \
	--key "$STAND_DIR/nginx/server.key" >"$TRAFFIC_DIR/slow" 2>"$TRAFFIC_DIR/slow.err" &
all_ready() {
	(($(grep -c ready "$TRAFFIC_DIR/slow") == 3))
}
stand_wait 10 all_ready
requests
handshakes
connects
metrics
figures "many at once" totals
check_loss
tap_done
