#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_expiry.sh - destinations that leave: idle ones, those of cgroups that are gone, across the agent's death.
# Owns: the order of events, and that no count is ever lost, doubled or moved to another workload. Must not know how
# the agent moves them.
# shellcheck disable=SC2317,SC2119 # the cases are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

EXPIRY=4
AGENT=(--idle-expiry "${EXPIRY}s")
SUMS='{opened: (map(.connections.opened) | add), closed: (map(.connections.closed) | add),
	failed: (map(.connections.failed) | add), sent: (map(.bytes.sent) | add),
	received: (map(.bytes.received) | add), requests: (map(.requests.total) | add),
	answered: (map(.requests.byCode // {} | add // 0) | add)}'

# A cgroup of the unit job.service, as a run of a CronJob would be; its name is what the agent tells a workload by.
job_start() {
	STAND_CONTAINERS[pod/$1]=$STAND_CG/job.service/$1
	mkdir -p "$STAND_CG/job.service/$1"
}

# RUN URL...: each a connection of its own.
job_call() {
	local url

	for url in "${@:2}"; do
		stand_run_in "pod/$1" curl -sS4 --cacert "$STAND_CA" --max-time 10 -o /dev/null "$url"
	done
}

job_end() {
	stand_wait 10 rmdir "$STAND_CG/job.service/$1" 2>/dev/null
	unset "STAND_CONTAINERS[pod/$1]"
}

# WORKLOAD FILTER: jq FILTER over the rows of the workload, of all scopes.
rows() {
	stand_agent dump -o json --scope all |
		jq -c --arg w "$1" "[.destinations[] | select(.source.workload == \$w)] | $2"
}

app() {
	rows "$(stand_workload app)" "$1"
}

# WORKLOAD FILTER: is it true?
holds() {
	rows "$1" "$2" | jq -e . >/dev/null
}

# WORKLOAD FILTER: wait until it is; else show the rows.
becomes() {
	stand_wait 30 holds "$@" 2>/dev/null || { echo "never $2: $(rows "$1" '.')"; return 1; }
}

# WORKLOAD WANT SECONDS: whoever looks, whenever, sees the same sums.
sums_stay() {
	local end=$((SECONDS + $3)) got n=0

	while ((SECONDS < end)); do
		got=$(rows "$1" "$SUMS")
		[[ $got == "$2" ]] || { echo "sums changed from $2 to $got"; return 1; }
		n=$((n + 1))
	done
	LOOKS=$n
}

left() {
	stand_metric egress_agent_destinations_left_total "reason=$1"
}

entries() {
	stand_metric egress_agent_map_entries "map=$1"
}

no_failures() {
	local n

	n=$(stand_metric egress_agent_leave_failures_total)
	[[ $n == 0 ]] || { echo "$n failures"; return 1; }
}

# ---- idle --------------------------------------------------------------------------------

idle() {
	local before sums=$SUMS

	stand_run_in app curl -sS4 --cacert "$STAND_CA" -o /dev/null https://www.gnu.org/
	stand_run_in app curl -sS4 -o /dev/null http://wikipedia.org/status/404
	stand_run_in app curl -sS4 -o /dev/null "http://$(stand_address edition.cnn.com 4):81/" || true
	becomes "$(stand_workload app)" 'length == 3 and all(.connections.active == 0)' || return 1
	before=$(app "$sums")
	sums_stay "$(stand_workload app)" "$before" $((EXPIRY + 4)) || return 1
	becomes "$(stand_workload app)" 'length > 0 and all(.host == "~other" and .port == 0)' || return 1
	[[ $(app "$sums") == "$before" ]] || { echo "$(app "$sums"), not $before"; return 1; }
	[[ $(app 'map(select(.protocol == "http")) | .[0].requests | {total, byCode}') == '{"total":1,"byCode":{"404":1}}' ]] ||
		{ app .; return 1; }
	if stand_metrics | grep -q 'destination_service="\(www.gnu.org\|wikipedia.org\)"'; then
		echo "they still have series"
		return 1
	fi
	no_failures || return 1
	echo "3 rows to ~other, seen $LOOKS times on the way, always with $before"
}

# A host that comes back is a line again, from zero; what it had stays in the remainder.
comes_back() {
	local before

	before=$(app 'map(.connections.opened) | add')
	stand_run_in app curl -sS4 --cacert "$STAND_CA" -o /dev/null https://www.gnu.org/
	becomes "$(stand_workload app)" 'any(.host == "www.gnu.org" and .connections.closed == 1)' || return 1
	(($(app 'map(.connections.opened) | add') == before + 1)) || return 1
	becomes "$(stand_workload app)" 'all(.host == "~other")' || return 1
	(($(app 'map(.connections.opened) | add') == before + 1)) || return 1
	echo "a line with 1 connection, then in ~other with the others: $((before + 1))"
}

live_stays() {
	local w

	w=$(stand_workload app)
	mkfifo "$TRAFFIC_DIR/live.in"
	stand_run_in app "$E2E/traffic.py" live --kind tls --name www.google.com --port 443 --ca "$STAND_CA" \
		<"$TRAFFIC_DIR/live.in" >"$TRAFFIC_DIR/live.out" 2>&1 &
	exec {LIVE_FD}>"$TRAFFIC_DIR/live.in"
	becomes "$w" 'any(.host == "www.google.com" and .connections.active == 1)' || return 1
	# Its last byte is older than that in the end.
	stand_run_in app curl -sS4 -o /dev/null http://httpbin.org/status/200
	becomes "$w" 'any(.host == "httpbin.org")' || return 1
	becomes "$w" 'all(.host != "httpbin.org")' || return 1
	holds "$w" 'any(.host == "www.google.com" and .connections.active == 1)' || { app .; return 1; }
	echo close >&"$LIVE_FD"
	exec {LIVE_FD}>&-
	becomes "$w" 'all(.host == "~other" and .connections.active == 0)' || return 1
	echo "open: it stays; closed: it leaves"
}

# A socket that sends again after its destination has left.
datagrams() {
	local w fd

	w=$(stand_workload app)
	mkfifo "$TRAFFIC_DIR/udp.in"
	stand_run_in app python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
	s.sendto(b"q" * int(line), (sys.argv[1], 443))' "$(stand_address shop.example.com 4)" <"$TRAFFIC_DIR/udp.in" &
	exec {fd}>"$TRAFFIC_DIR/udp.in"
	echo 1000 >&"$fd"
	becomes "$w" 'any(.protocol == "udp" and .host != "~other" and .bytes.sent == 1000)' || return 1
	becomes "$w" 'any(.protocol == "udp" and .host == "~other" and .bytes.sent == 1000)' || return 1
	echo 100 >&"$fd"
	becomes "$w" 'any(.protocol == "udp" and .host != "~other" and .bytes.sent == 100)' || return 1
	exec {fd}>&-
	becomes "$w" 'any(.protocol == "udp" and .host == "~other" and .bytes.sent == 1100)' || return 1
	echo "1000 bytes leave, 100 more are a line again, 1100 in the end"
}

# ---- cgroups that are gone ---------------------------------------------------------------

# WANT: one line; it comes to WANT connections and on the way never falls.
grows_to() {
	local got last=0 end=$((SECONDS + 10))

	while ((last < $1)); do
		got=$(rows job.service 'map([.host, .connections.opened]) | .[] | join(" ")' | tr -d '"')
		if [[ ! $got =~ ^"www.gnu.org "[0-9]+$ ]] || ((${got#* } < last || SECONDS > end)); then
			echo "after $last of $1: $got"
			return 1
		fi
		last=${got#* }
	done
	((last == $1))
}

# One run is gone, another one goes on: one line with the counts of both, for as long as it is used.
shared() {
	local at n

	job_start a
	job_start b
	job_call a https://www.gnu.org/
	job_call b https://www.gnu.org/
	becomes job.service 'length == 1 and .[0].connections.closed == 2' || return 1
	job_end a
	for ((at = SECONDS, n = 2; SECONDS < at + EXPIRY * 2;)); do
		job_call b https://www.gnu.org/
		n=$((n + 1))
		grows_to "$n" || return 1
	done
	(($(left cgroup_gone) >= 1)) || { echo "the run that is gone was never added to its workload"; return 1; }
	job_end b
	becomes job.service "all(.host == \"~other\") and .[0].connections.opened == $n" || return 1
	echo "$n calls of two runs in one line, then in ~other"
}

# Many runs, each a cgroup: neither lines nor entries pile up.
runs() {
	local i before entries

	before=$(rows job.service 'map(.connections.opened) | add')
	for i in {1..40}; do
		job_start "run$i"
		job_call "run$i" https://www.google.com/ http://api.github.com/status/200
		job_end "run$i"
	done
	becomes job.service "(map(.connections.opened) | add) == $before + 80" || return 1
	stand_wait 20 few_entries 2>/dev/null || { echo "$(entries destinations) rows are left"; return 1; }
	entries="$(entries destinations) rows, $(entries workloads) cgroups, $(entries identities) identities"
	becomes job.service "all(.host == \"~other\") and (map(.connections.opened) | add) == $before + 80
		and (map(.requests.total) | add) == 40" || return 1
	no_failures || return 1
	echo "40 runs with 80 calls: $entries in between, all in ~other in the end"
}

# The overflow's, remainders of two workloads and three protocols, what is in use.
few_entries() {
	(($(entries destinations) <= 12 && $(entries workloads) <= 3 && $(entries identities) <= 5))
}

# ---- the agent's death -------------------------------------------------------------------

agent_kill() {
	local pid=${STAND_PIDS[agent]}

	kill -KILL "$pid"
	wait "$pid" || true
	unset "STAND_PIDS[agent]"
}

# Killed and started again while runs come, go and leave: every call is there once, whenever somebody looks.
killed() {
	local i k before calls=0 got

	before=$(rows job.service 'map(.connections.closed) | add')
	for i in {1..12}; do
		job_start "k$i"
		job_call "k$i" https://www.gnu.org/ https://www.google.com/ "http://api.github.com/status/20$((i % 5))"
		calls=$((calls + 3))
		job_end "k$i"
		for k in 1 2; do
			# Anywhere within a sweep, which takes a millisecond or so and comes once a second.
			sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
			agent_kill
			stand_agent_start "${AGENT[@]}"
			got=$(rows job.service 'map(.connections.closed) | add')
			((got == before + calls)) || { echo "$got of $((before + calls)) calls, round $i.$k"; return 1; }
		done
	done
	becomes job.service "all(.host == \"~other\") and (map(.connections.closed) | add) == $before + $calls" ||
		return 1
	echo "24 times killed: $calls calls of 12 runs, each counted once under its workload"
}

# The same with a cgroup of which nothing but the kept name can tell.
named_after_restart() {
	job_start late
	job_call late https://www.gnu.org/
	becomes job.service 'any(.host == "www.gnu.org")' || return 1
	agent_kill
	job_end late
	stand_agent_start --idle-expiry 0s
	becomes job.service 'any(.host == "www.gnu.org")' || return 1
	[[ $(stand_agent dump -o json --scope all | jq '[.destinations[].source.workload | select(startswith("cgroup-"))] | length') == 0 ]] ||
		{ echo "some are called cgroup-ID"; return 1; }
	agent_kill
	stand_agent_start "${AGENT[@]}"
	echo "gone while the agent was away: still job.service"
}

main() {
	figures "idle destinations leave, their counts do not" idle
	figures "a host that comes back" comes_back
	figures "a live connection does not leave" live_stays
	figures "datagrams" datagrams
	figures "a workload of two cgroups, one of them gone" shared
	figures "runs that come and go" runs
	figures "killed within sweeps" killed
	figures "who a cgroup was outlives it and the agent" named_after_restart
}

TRAFFIC_AGENT=("${AGENT[@]}")
traffic_stand_up
main
tap_done
