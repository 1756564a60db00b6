#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# agent.sh - what the agent itself takes: memory and time at 10 to 100,000 destinations, its part of a core while new
# connections pass, its start, its size. Writes build/bench/agent.json.
# Owns: the stand, the agent's options, what is measured in which order. How is agent_measure.py's.
#
# Environment:
#	EA_BENCH_DESTINATIONS	numbers of destinations (10 450 1000 20000 100000; 450 are some 20,000 series)
#	EA_BENCH_SECONDS	how long connections pass (30)
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/stand.sh
. tests/lib/stand.sh
OUT=$PWD/build/bench
FILL=$OUT/agent_fill
RESULTS=

measure() {
	/usr/bin/python3 tests/bench/agent_measure.py "$@"
}

agent() {
	stand_agent_stop || true
	rm -rf "$STAND_PIN"
	stand_agent_start "$@"
}

# As many workloads as nodes have pods, and their destinations as if they had been called.
filled() {
	echo "agent: $1 destinations"
	agent --max-destinations 200000 --max-hosts-per-workload 5000
	"$FILL" "$STAND_PIN" "$1" "$STAND_CG"/bench/*/
	measure filled "$1" "${STAND_PIDS[agent]}" "http://$STAND_LISTEN" >>"$RESULTS"
}

# 1,000 new connections a second from the pod, to ten names; scraped every 5 s, as Prometheus does.
passing() {
	local seconds=${EA_BENCH_SECONDS:-30} load

	echo "agent: connections for $seconds s"
	agent
	stand_run_in app /usr/bin/python3 tests/bench/agent_measure.py load 1000 $((seconds + 2)) \
		"$(stand_address httpbin.org 4)" 443 >"$OUT/agent-load.out" &
	load=$!
	sleep 1
	measure passing "$seconds" "${STAND_PIDS[agent]}" "http://$STAND_LISTEN" >>"$RESULTS"
	wait "$load"
	stand_agent_stop || true
}

# shellcheck disable=SC2119 # neither takes this script's arguments
{
	stand_trap
	stand_need
	stand_up
}
mkdir -p "$OUT" "$STAND_CG/bench"
for i in {1..100}; do
	mkdir "$STAND_CG/bench/service-$i.service"
done
RESULTS=$STAND_DIR/agent.jsonl
for n in ${EA_BENCH_DESTINATIONS:-10 450 1000 20000 100000}; do
	filled "$n"
done
passing
rm -rf "$STAND_PIN"
measure start "$STAND_AGENT_BIN" "$STAND_CG" "$STAND_PIN" "$STAND_DIR" >>"$RESULTS"
measure report "$RESULTS" "$OUT/agent.json"
