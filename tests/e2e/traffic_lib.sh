# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# traffic_lib.sh - what the tests with traffic share: a stand, and "the agent says what was sent".
# Owns: starting a stand for a test, running traffic.py in it, comparing. Must not know: what the
# single tests look at. Sourced after `set -euo pipefail`.

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$E2E/../lib/tap.sh"
# shellcheck source=tests/lib/stand.sh
. "$E2E/../lib/stand.sh"

# Ten names: the stand's six and these.
TRAFFIC_MORE=(shop.example.com cdn.example.net s3.eu-west-1.example.org
	a-rather-long-name-of-a-service-in-some-cloud.region-1.compute.example.com)

# Options of the agent; a test may set them.
TRAFFIC_AGENT=()

# The stand with ten names and the agent in it; TRAFFIC_NAMES is the list, TRAFFIC_DIR is for
# the test's own files. Without root there is nothing to test with: skip.
traffic_stand_up() {
	traffic_stand_up_bare
	stand_agent_start "${TRAFFIC_AGENT[@]}"
}

# The same without an agent.
traffic_stand_up_bare() {
	local why

	if ((EUID != 0)); then
		skip "${0##*/}" "needs root for namespaces, cgroups and BPF"
		tap_done
	fi
	if ! why=$(stand_need 2>&1); then
		not_ok "the stand" "$why"
		tap_done
	fi
	# figures moves stdout away; the last word must still be heard.
	exec {TRAFFIC_STDOUT}>&1
	stand_trap "tap_at_exit >&$TRAFFIC_STDOUT"
	stand_up "${TRAFFIC_MORE[@]}"
	# shellcheck disable=SC2034 # for the tests
	TRAFFIC_NAMES=$(IFS=,; echo "${STAND_NAMES[*]}")
	TRAFFIC_DIR=$STAND_DIR/traffic
	mkdir "$TRAFFIC_DIR"
}

traffic() {
	"$E2E/traffic.py" "$@"
}

# WHERE NAME ARG...: a server of traffic.py in the background, until the stand goes down;
# returns when it accepts.
traffic_serve() {
	local where=$1 out=$TRAFFIC_DIR/$2.out

	shift 2
	: >"$out"
	stand_run_in "$where" "$E2E/traffic.py" "$@" >"$out" 2>"$out.err" &
	stand_wait 10 grep -q ready "$out"
}

# on|off: segmentation offloads of both ends of the pod's link. TCP builds packets of many segments
# even for a device that cannot take them: only with a limit of one segment is every packet that the
# programs see one of the wire.
traffic_offload() {
	local where dev segments=65535

	[[ $1 == on ]] || segments=1
	for where in app:eth0 outside:veth2; do
		dev=${where#*:}
		stand_run_in "${where%:*}" ethtool -K "$dev" tso "$1" gso "$1" gro "$1" >&2
		stand_run_in "${where%:*}" ethtool -k "$dev" |
			grep -q "^generic-segmentation-offload: $1" || return 1
		stand_run_in "${where%:*}" ip link set "$dev" gso_max_segs "$segments"
	done
}

# N: of the packets that arrive at either end of the pod's link, one in N is lost; 0 ends that.
# Returns 1 where nft cannot.
traffic_loss() {
	local where

	for where in app outside; do
		stand_run_in "$where" nft -f - <<END || return 1
table inet loss
delete table inet loss
END
		((${1:?} == 0)) || stand_run_in "$where" nft -f - <<END || return 1
table inet loss {
	chain arriving {
		type filter hook prerouting priority -300
		iifname != "lo" meta l4proto tcp numgen random mod $1 0 drop
	}
}
END
	done
}

# Remember what is counted so far: traffic_compare looks at what comes on top.
traffic_before() {
	stand_agent dump -o json --scope all >"$TRAFFIC_DIR/before.json"
	stand_metrics >"$TRAFFIC_DIR/before.prom"
}

# EXPECTED [OPTION...]: prints the figures that are equal, or what differs (status 1).
traffic_compare() {
	"$E2E/traffic_compare.py" "$@" --before "$TRAFFIC_DIR/before.json" \
		--workload "$(stand_workload app)" \
		--dump "$STAND_AGENT_BIN dump --agent unix:$STAND_SOCKET -o json --scope all"
}

# The same for HTTP: methods are in the metrics only.
traffic_compare_http() {
	traffic_compare "$@" --metrics-before "$TRAFFIC_DIR/before.prom" \
		--metrics "curl -q -fsS --noproxy * --max-time 10 http://$STAND_LISTEN/metrics"
}

# NAME FUNCTION ARG...: ok with FUNCTION's output as figures, or not ok with it as the reason.
# In this shell, not in a subshell: FUNCTION may start and stop things.
figures() {
	local name=$1 dir=${TRAFFIC_DIR:?the stand is not up}

	shift
	if "$@" >"$dir/figures.out" 2>"$dir/figures.err"; then
		ok "$name: $(<"$dir/figures.out")"
	else
		not_ok "$name" "$(<"$dir/figures.out") $(tail -n 1 "$dir/figures.err")"
		cat "$dir/figures.err" >&2
	fi
}
