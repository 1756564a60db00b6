#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_lifecycle.sh - connections over time: inbound, live, failed, and across the agent's death.
# Owns: the order of events. Must not know how the agent keeps its counts.
# shellcheck disable=SC2317,SC2119 # the cases are called through figures; the agent needs no options

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

# HOST PORT: the row of the pod's application, null if there is none.
row() {
	stand_agent dump -o json --scope all | jq -c --arg w "$(stand_workload app)" \
		--arg host "$1" --argjson port "$2" '[.destinations[] | select(.source.workload == $w
		and .host == $host and .port == $port)] | if length == 0 then null else .[0] end'
}

# HOST PORT FILTER: does the row satisfy the jq FILTER?
row_is() {
	row "$1" "$2" | jq -e "$3" >/dev/null
}

# HOST PORT FILTER: wait until it does; else show the row.
row_becomes() {
	stand_wait 30 row_is "$@" 2>/dev/null || { echo "$1:$2 never $3: $(row "$1" "$2")"; return 1; }
}

# How many destinations the pod's application has, of any scope.
rows() {
	stand_agent dump -o json --scope all |
		jq --arg w "$(stand_workload app)" '[.destinations[] | select(.source.workload == $w)] | length'
}

# ---- inbound -----------------------------------------------------------------------------

# The outside calls servers in the pod, over both families; then the pod calls out once. When
# that call is in the list, the inbound ones would be, too.
inbound() {
	local file=$TRAFFIC_DIR/pod.hosts before requests

	printf '198.51.100.2 server.pod\n2001:db8:100::2 server.pod\n' >"$file"
	traffic_serve app pod-http serve --port 8080 || return 1
	traffic_serve app pod-tls tls-serve --port 8443 \
		--cert "$STAND_DIR/nginx/server.crt" --key "$STAND_DIR/nginx/server.key" || return 1
	before=$(rows)
	requests=$(stand_run_in outside "$E2E/traffic.py" http --hosts "$file" --names server.pod \
		--port 8080 --family both --connections 50 --requests 200 | jq '[.requests[].count] | add')
	stand_run_in outside "$E2E/traffic.py" tls --hosts "$file" --names server.pod \
		--port 8443 --family both --connections 50 --mode raw >/dev/null || return 1
	stand_run_in app curl -4 -fsS -o /dev/null http://www.gnu.org/status/200 || return 1
	row_becomes www.gnu.org 80 '.connections.closed == 1' || return 1
	echo "100 connections, $requests requests came in; $(($(rows) - before)) destination added by one call out"
	(($(rows) - before == 1))
}

# What the pod calls inside itself is its own doing, but not external.
loopback() {
	stand_run_in app curl -fsS -o /dev/null http://127.0.0.1:8080/status/200 || return 1
	row_becomes 127.0.0.1 8080 '.connections.closed == 1 and .scope == "internal"' || return 1
	if stand_agent dump -o json | jq -e '.destinations[] | select(.scope != "external")'; then
		return 1
	fi
	echo "scope internal, not in the default list"
}

# ---- live connections --------------------------------------------------------------------

# live_open NAME ARG...: a connection driven by live_do; prints nothing.
live_open() {
	mkfifo "$TRAFFIC_DIR/$1.in"
	stand_run_in app "$E2E/traffic.py" live "${@:2}" \
		<"$TRAFFIC_DIR/$1.in" >"$TRAFFIC_DIR/$1.out" 2>"$TRAFFIC_DIR/$1.err" &
	exec {LIVE_FD}>"$TRAFFIC_DIR/$1.in"
	LIVE=$1
	LIVE_LINES=0
	live_answer
}

# Until the client has said its next line; LIVE_SENT and LIVE_RECEIVED are from it.
live_answer() {
	LIVE_LINES=$((LIVE_LINES + 1))
	if ! stand_wait 30 live_has; then
		echo "the client: $(cat "$TRAFFIC_DIR/$LIVE.err")"
		return 1
	fi
	read -r LIVE_SENT LIVE_RECEIVED < <(sed -n "${LIVE_LINES}p" "$TRAFFIC_DIR/$LIVE.out" |
		jq -r '"\(.sent) \(.received)"')
}

live_has() {
	(($(grep -c '' "$TRAFFIC_DIR/$LIVE.out") >= LIVE_LINES))
}

live_do() {
	echo "$@" >&"$LIVE_FD"
	live_answer
}

live_close() {
	live_do close
	exec {LIVE_FD}>&-
}

# HOST PORT OPENED: the live connection is the only active one, with just its bytes on top of
# BASE_SENT and BASE_RECEIVED.
live_is_exact() {
	row_becomes "$1" "$2" ".connections.active == 1 and .connections.opened == $3
		and .bytes.sent == $((LIVE_SENT + BASE_SENT))
		and .bytes.received == $((LIVE_RECEIVED + BASE_RECEIVED))"
}

# KIND FAMILY HOST PORT FACTS ARG...: bytes of an open connection show, grow, and stay exact.
live() {
	local kind=$1 family=$2 host=$3 port=$4 facts=$5 count seen=

	BASE_SENT=0
	BASE_RECEIVED=0
	live_open "$kind$family" --kind "$kind" --family "$family" --port "$port" "${@:6}" || return 1
	for count in 1000 1000000 1; do
		live_do send "$count" || return 1
		live_is_exact "$host" "$port" 1 || return 1
		seen+="$LIVE_SENT/$LIVE_RECEIVED "
	done
	row_becomes "$host" "$port" "$facts" || return 1
	live_close || return 1
	row_becomes "$host" "$port" ".connections.active == 0 and .connections.closed == 1
		and .bytes.sent == $LIVE_SENT and .bytes.received == $LIVE_RECEIVED" || return 1
	echo "bytes sent/received while open ${seen}after close $LIVE_SENT/$LIVE_RECEIVED"
}

# ADDRESS: it is counted all the same.
silent() {
	stand_run_in app "$E2E/traffic.py" idle --name "$1" --port 7 </dev/null >/dev/null || return 1
	row_becomes "$1" 7 '.connections == {opened: 1, closed: 1, failed: 0, active: 0}
		and .bytes == {sent: 0, received: 0} and .protocol == "tcp"' || return 1
	echo "host $1, 1 connection, no bytes"
}

check_live() {
	local v4 v6 plain='.protocol == "tcp" and .nameSource == "ip" and .visibility == "l4"'

	v4=$(stand_address wikipedia.org 4)
	v6=$(stand_address wikipedia.org 6)
	traffic_serve outside echo serve --speak echo --port 7
	figures "live TCP connection, neither TLS nor HTTP, has its address as host" \
		live tcp 4 "$v4" 7 "$plain" --name wikipedia.org
	figures "live TCP connection over IPv6" live tcp 6 "$v6" 7 "$plain" --name wikipedia.org
	figures "live TCP connection that begins like a request and is none" \
		live text 4 "$(stand_address api.github.com 4)" 7 "$plain" --name api.github.com
	figures "a connection that says nothing" silent "$(stand_address cdn.example.net 6)"
	figures "live TLS connection" live tls 4 www.google.com 443 \
		'.protocol == "tls" and .visibility == "l4" and .requests.total == 0' \
		--name www.google.com --ca "$STAND_CA"
	figures "live HTTP connection" live http 6 www.google.com 80 \
		'.protocol == "http" and .visibility == "l7" and .requests.byCode == {"200": 3}' \
		--name www.google.com
}

# ---- failures ----------------------------------------------------------------------------

# NAME PORT COUNT PATIENCE WANTED: COUNT tries over each family, which must end as WANTED.
failing() {
	local name=$1 port=$2 count=$3 family ends

	for family in 4 6; do
		ends=$(stand_run_in app "$E2E/traffic.py" fail --name "$name" --port "$port" \
			--family "$family" --count "$count" --patience "$4" | jq -c .ends)
		[[ $ends == "{\"$5\":$count}" ]] || { echo "the tries ended as $ends"; return 1; }
		row_becomes "$(stand_address "$name" "$family")" "$port" ".connections ==
			{opened: 0, closed: 0, failed: $count, active: 0} and .nameSource == \"ip\"
			and .bytes == {sent: 0, received: 0}" || return 1
	done
	echo "$count tries over each family, each counted once as failed"
}

check_failures() {
	stand_run_in app sysctl -qw net.ipv4.tcp_syn_retries=1
	stand_run_in outside nft -f - <<END
table inet blackhole {
	chain input {
		type filter hook input priority 0
		tcp dport 82-83 drop
	}
}
END
	figures "connection refused" failing edition.cnn.com 81 20 30 ConnectionRefusedError
	figures "connection timed out" failing edition.cnn.com 82 1 30 TimeoutError
	figures "the application gives up connecting" failing edition.cnn.com 83 5 0.2 TimeoutError
}

# ---- restarts ----------------------------------------------------------------------------

progress() {
	stat -c %s "$TRAFFIC_DIR/progress"
}

progress_is() {
	(($(progress) >= $1))
}

# A process that only waits for us to take its status is gone.
gone() {
	local stat

	IFS= read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
	[[ ${stat##*) } == Z* ]]
}

# SIGNAL: end the agent with it and wait for the end; AGENT_STATUS is its exit status.
agent_end() {
	local pid=${STAND_PIDS[agent]}

	AGENT_STATUS=0
	kill "-$1" "$pid"
	stand_wait 20 gone "$pid" || kill -KILL "$pid"
	wait "$pid" || AGENT_STATUS=$?
	unset "STAND_PIDS[agent]"
}

# SIGNAL: while clients keep connecting, the agent ends by SIGNAL and comes back.
restart_under_load() {
	local at_end at_start pid expected=$TRAFFIC_DIR/restart.json

	traffic_before || return 1
	: >"$TRAFFIC_DIR/progress"
	stand_run_in app "$E2E/traffic.py" tls --connections 600 --processes 4 --threads 1 \
		--names "$TRAFFIC_NAMES" --port 443 --family both --ca "$STAND_CA" --pause 0.01 \
		--progress "$TRAFFIC_DIR/progress" >"$expected" &
	pid=$!
	stand_wait 30 progress_is 100 || return 1
	agent_end "$1"
	at_end=$(progress)
	stand_wait 30 progress_is $((at_end + 150)) || return 1
	at_start=$(progress)
	stand_agent_start || return 1
	((at_start < 600)) || { echo "the clients were done before the agent came back"; return 1; }
	wait "$pid" || return 1
	traffic_compare "$expected" || return 1
	echo "(agent down from connection $at_end to $at_start)"
}

# SIGNAL HOST KIND PORT ARG...: a connection that was open before the agent's end and gets more
# bytes while it is down and afterwards is one connection with all its bytes. HOST must be new.
restart_with_open() {
	local host=$2 kind=$3 port=$4 since

	BASE_SENT=0
	BASE_RECEIVED=0
	since=$(stand_value .observedSince)
	live_open "open-$1-$kind" --kind "$kind" --family 4 --port "$port" "${@:5}" || return 1
	live_do send 1000 || return 1
	live_is_exact "$host" "$port" 1 || return 1
	agent_end "$1"
	live_do send 10000 || return 1
	stand_agent_start || return 1
	live_is_exact "$host" "$port" 1 || return 1
	live_do send 100 || return 1
	live_is_exact "$host" "$port" 1 || return 1
	live_close || return 1
	row_becomes "$host" "$port" ".connections == {opened: 1, closed: 1, failed: 0, active: 0}
		and .bytes.sent == $LIVE_SENT and .bytes.received == $LIVE_RECEIVED" || return 1
	[[ $kind != http ]] || row_becomes "$host" "$port" '.requests.byCode == {"200": 3}' || return 1
	[[ $(stand_value .observedSince) == "$since" ]] || { echo "observedSince changed"; return 1; }
	echo "1 connection, $LIVE_SENT bytes sent, $LIVE_RECEIVED received, observedSince unchanged"
}

# A restart changes nothing in what was counted: two lists around it differ only in their times.
restart_idle() {
	local filter='del(.generatedAt)'

	stand_value "$filter" >"$TRAFFIC_DIR/idle.before"
	agent_end KILL
	stand_agent_start || return 1
	stand_value "$filter" >"$TRAFFIC_DIR/idle.after"
	cmp "$TRAFFIC_DIR/idle.before" "$TRAFFIC_DIR/idle.after" >&2 || { echo "the list changed"; return 1; }
	echo "$(jq '.destinations | length' "$TRAFFIC_DIR/idle.after") destinations, not a digit changed"
}

# SIGNAL: the agent ends by itself, with status 0, within 5 seconds, with a client connected,
# and takes its socket with it.
stops() {
	local start=$EPOCHREALTIME ms

	exec {SLOW_FD}<>"/dev/tcp/${STAND_LISTEN%:*}/${STAND_LISTEN#*:}"
	agent_end "$1"
	ms=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
	exec {SLOW_FD}>&-
	((AGENT_STATUS == 0)) || { echo "exit status $AGENT_STATUS"; return 1; }
	((ms < 5000)) || { echo "took $ms ms"; return 1; }
	[[ ! -e $STAND_SOCKET ]] || { echo "$STAND_SOCKET is left"; return 1; }
	stand_agent_start || return 1
	echo "exit 0 after $ms ms"
}

check_restarts() {
	traffic_serve outside outside-tls tls-serve --port 8443 \
		--cert "$STAND_DIR/nginx/server.crt" --key "$STAND_DIR/nginx/server.key"
	figures "SIGKILL under load, restart" restart_under_load KILL
	figures "SIGTERM under load, restart" restart_under_load TERM
	figures "TCP connection open across a SIGKILL" restart_with_open KILL \
		"$(stand_address shop.example.com 4)" tcp 7 --name shop.example.com
	figures "TLS connection open across a SIGKILL" restart_with_open KILL \
		edition.cnn.com tls 8443 --name edition.cnn.com --ca "$STAND_CA"
	figures "HTTP connection open across a SIGKILL" restart_with_open KILL \
		edition.cnn.com http 80 --name edition.cnn.com
	figures "idle restart" restart_idle
	figures "SIGTERM" stops TERM
	figures "SIGINT" stops INT
}

main() {
	figures "inbound connections add no destination" inbound
	figures "a call inside the pod" loopback
	check_live
	check_failures
	check_restarts
}

traffic_stand_up
main
tap_done
