#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cost.sh - what the agent costs the traffic it watches: what is compared is in cost.py, what runs where in cost_stand.py.
# Owns: the stand, the agent's start and options, the parts that are measured. Writes build/bench/cost-PART.json.
#
# Environment:
#	EA_BENCH_PAIRS	pairs of slices per workload (120); fewer are faster and less certain
#	EA_BENCH_PARTS	which parts (live growth others)
#	EA_BENCH_SEED	of the order of slices (1)
set -euo pipefail

cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib/stand.sh
. tests/lib/stand.sh
OUT=$PWD/build/bench
PARTS=${EA_BENCH_PARTS:-live growth others}
SURICATA=
STATUS=0

agent() {
	stand_agent_stop || true
	rm -rf "$STAND_PIN"
	stand_agent_start "$@"
}

part() {
	echo "cost: $1"
	/usr/bin/python3 tests/bench/cost.py --part "$1" --out "$OUT/cost-$1.json" --object "$OUT/cost.bpf.o" \
		--load "$OUT/cost_load" --stand "$STAND_DIR" --client-netns "ea-pod-$STAND_ID" --server-netns "$STAND_OUT" \
		--client-cgroup "$(stand_cgroup app)" --server-cgroup "$STAND_CG/server" --both-cgroup "$STAND_CG" \
		--pin "$STAND_PIN" --url "http://$STAND_LISTEN" --agent-pid "${STAND_PIDS[agent]}" \
		--address4 "$(stand_address httpbin.org 4)" --address6 "$(stand_address httpbin.org 6)" \
		--interface veth2 --suricata "$SURICATA" \
		--pairs "${EA_BENCH_PAIRS:-120}" --seed "${EA_BENCH_SEED:-1}" || STATUS=$?
}

# shellcheck disable=SC2119 # neither takes this script's arguments
{
	stand_trap
	stand_up
}
mkdir "$STAND_CG/server"
ip netns exec "ea-pod-$STAND_ID" sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
[[ $PARTS != *others* ]] || SURICATA=$(bash tests/bench/cost_suricata.sh "$PWD/build/suricata") || true
for p in $PARTS; do
	case $p in
	live) agent ;;
	growth | others) agent --max-destinations 200000 --max-hosts-per-workload 65536 ;;
	esac
	part "$p"
done
exit "$STATUS"
