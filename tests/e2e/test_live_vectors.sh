#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_live_vectors.sh - what real sockets send, cut in every way, is counted under the right name.
# Owns: the stand the vectors are played on, offloads on and off, the skip without the corpus. What
# is sent and what is right is live_cases.py's. Must not know: how the agent finds a name.

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

VECTORS=${EA_SHARED:-$E2E/../../../shared}/corpus/vectors
LIVE=("$E2E/live_vectors.py")

live_sink() {
	local out=$TRAFFIC_DIR/sink.out

	: >"$out"
	stand_run_in outside "${LIVE[@]}" sink >"$out" 2>"$out.err" &
	stand_wait 10 grep -q ready "$out"
}

# Packets are told by their length: all data segments must carry the same options.
live_rules() {
	stand_run_in app sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_timestamps' &&
		"${LIVE[@]}" nft pod | stand_run_in app nft -f - &&
		"${LIVE[@]}" nft outside | stand_run_in outside nft -f -
}

# Without delayed ACKs: a million tiny segments would wait for them.
live_quickack() {
	stand_run_in outside ip route change 198.51.100.2/32 dev veth2 quickack 1
	stand_run_in outside ip route change 2001:db8:100::2/128 dev veth2 quickack 1
}

# on|off: the judge's lines are the test's.
# shellcheck disable=SC2317 # relay calls it
live_judge() {
	local netns=ea-pod-$STAND_ID

	"${LIVE[@]}" judge "$1" --agent "$STAND_AGENT_BIN" \
		--dump "$STAND_AGENT_BIN dump --agent unix:$STAND_SOCKET -o json --scope all" \
		--count-pod "ip netns exec $netns nft -j list counters table inet ea_live" \
		--count-outside "ip netns exec $STAND_OUT nft -j list counters table inet ea_live"
}

# on|off: everything the plan has for it, and what the agent makes of that.
live_play() {
	local lost

	stand_run_in app "${LIVE[@]}" send "$1"
	relay "live_vectors.py judge" live_judge "$1"
	lost=$(stand_metric egress_agent_lost_total)
	lost+=" $(stand_metric egress_agent_unparsed_total reason=gap)"
	lost+=" $(stand_metric egress_agent_unparsed_total reason=steps)"
	is "offloads $1: counts lost, gaps, packets not read to their end" "$lost" "0 0 0"
}

# shellcheck disable=SC2034 # traffic_stand_up reads it
TRAFFIC_AGENT=(--max-hosts-per-workload 65536)
traffic_stand_up
LIVE+=(--ipv4 "$(stand_address httpbin.org 4)" --ipv6 "$(stand_address httpbin.org 6)")
if [[ -r $VECTORS/vectors.tsv ]]; then
	LIVE+=(--vectors "$VECTORS")
else
	skip "the corpus' vectors" "no $VECTORS (set EA_SHARED)"
fi
if ! live_rules; then
	skip "${0##*/}" "this kernel's nft cannot lead packets to a socket (tproxy)"
	tap_done
fi
live_quickack
live_sink
live_play on
traffic_offload off
live_play off
tap_done
