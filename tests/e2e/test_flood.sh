#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_flood.sh - one workload calls hosts that nobody has seen before, as fast as it can, while another one goes on as
# ever: series, the kernel's memory and the agent's stay below what README states, all counts are there, the other
# workload's are its own.
# Owns: those limits. Must not know how the agent folds. The same with a million names is in the bpf layer.
#
# EA_FLOOD=N	so many SNIs (20000); a quarter of that in Hosts
# shellcheck disable=SC2317 # the cases are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

SNIS=${EA_FLOOD:-20000}
HOSTS=$((SNIS / 4))
# As README states them, for 200 hosts and one workload that floods.
LINES_MAX=204		# 200 hosts, ~other and ~invalid of both protocols
MAPS_MAX=$((32 << 20))	# bytes, all maps, as the kernel accounts for them
RSS_MAX=$((32 << 20))

flooder() {
	stand_agent dump -o json --scope all | jq -c --arg w "$(stand_workload flood/app)" \
		"[.destinations[] | select(.source.workload == \$w)] | $1"
}

maps_memory() {
	local pin sum=0 n

	for pin in "$STAND_PIN"/ea_*; do
		n=$(/usr/sbin/bpftool -j map show pinned "$pin" | jq .bytes_memlock)
		sum=$((sum + n))
	done
	echo "$sum"
}

# The flood, and beside it the other workload's traffic, compared to the byte.
flood() {
	local calm=$TRAFFIC_DIR/calm.json pid

	traffic_before || return 1
	stand_run_in flood/app "$E2E/flood.py" "$(stand_address shop.example.com 4)" 7443 "$SNIS" 7080 "$HOSTS" \
		>"$TRAFFIC_DIR/flood.json" &
	pid=$!
	stand_run_in app "$E2E/traffic.py" tls --connections 200 --processes 1 --threads 2 --names "$TRAFFIC_NAMES" \
		--port 443 --family both --ca "$STAND_CA" >"$calm" || return 1
	traffic_compare "$calm" || return 1
	wait "$pid" || return 1
}

# WHAT LIMIT FIGURE
below() {
	(($3 <= $2)) || { echo "$1: $3, more than $2"; return 1; }
	echo "$1 $3 of $2"
}

sizes() {
	local workload lines hosts

	workload=$(stand_workload flood/app)
	lines=$(stand_metrics | grep '^egress_tcp_connections_opened_total{' | grep -c "source_workload=\"$workload\"")
	hosts=$(flooder 'map(.host) | unique | length')
	below "series of each family" "$LINES_MAX" "$lines" || return 1
	below "hosts" "$LINES_MAX" "$hosts" || return 1
	below "bytes of kernel memory" "$MAPS_MAX" "$(maps_memory)" || return 1
	below "bytes resident" "$RSS_MAX" "$(stand_metric process_resident_memory_bytes)"
}

SUMS='{opened: (map(.connections.opened) | add), closed: (map(.connections.closed) | add),
	sent: (map(.bytes.sent) | add), received: (map(.bytes.received) | add), requests: (map(.requests.total) | add)}'

sums_are() {
	[[ $(flooder "$SUMS") == "$1" ]]
}

totals() {
	local want

	want=$(jq -c '{opened: (.tls.connections + .http.connections), closed: (.tls.connections + .http.connections),
		sent: (.tls.sent + .http.sent), received: (.tls.received + .http.received),
		requests: .http.connections}' "$TRAFFIC_DIR/flood.json")
	stand_wait 20 sums_are "$want" 2>/dev/null || { echo "$(flooder "$SUMS"), not $want"; return 1; }
	echo "$want"
}

counted() {
	local folded hosts invalid

	folded=$(stand_metric egress_agent_destinations_folded_total)
	hosts=$(stand_value .limits.hostsFolded)
	invalid=$(flooder 'map(select(.host == "~invalid") | .connections.opened) | add')
	# The kernel has room for 8 times 200 of them; of the rest it counts each connection.
	((folded > SNIS + HOSTS - 2 * 1600 && hosts >= folded)) || { echo "folded $folded, hosts $hosts"; return 1; }
	((invalid > 0)) || { echo "no ~invalid"; return 1; }
	[[ $(stand_metric egress_agent_lost_total) == 0 ]] || { stand_metrics | grep '^egress_agent_lost'; return 1; }
	echo "$folded connections in the kernel, hostsFolded $hosts, $invalid under ~invalid, none lost"
}

few_rows() {
	(($(stand_metric egress_agent_map_entries map=destinations) <= 8))
}

# Later, when nobody uses them any more: all is in ~other, and the room is given back.
expired() {
	local before maps

	before=$(flooder "$SUMS")
	maps=$(maps_memory)
	stand_agent_stop || return 1
	stand_agent_start --idle-expiry 2s || return 1
	stand_wait 60 few_rows 2>/dev/null || { stand_metrics | grep 'map_entries\|_left_'; return 1; }
	[[ $(flooder "$SUMS") == "$before" ]] || { echo "$(flooder "$SUMS"), not $before"; return 1; }
	[[ $(flooder 'map(.host) | unique') == '["~other"]' ]] || { flooder 'map(.host)'; return 1; }
	echo "$(stand_metric egress_agent_map_entries map=destinations) rows left, $((maps - $(maps_memory))) bytes of" \
		"kernel memory given back"
}

main() {
	figures "$SNIS random SNIs, $HOSTS random Hosts; the other workload's traffic is its own" flood
	figures "the limits" sizes
	figures "every connection, byte and request is there" totals
	figures "what has no line of its own is counted" counted
	figures "later" expired
}

traffic_stand_up
stand_pod flood
stand_run_in outside "$E2E/flood.py" serve 7443 7080 >"$TRAFFIC_DIR/serve.out" &
stand_wait 10 grep -q ready "$TRAFFIC_DIR/serve.out"
main
tap_done
