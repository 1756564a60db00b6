#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_demo.sh - the seed's demos as test cases: exact counts on each address family, with and
# without a sidecar; and that the demo and the stand leave nothing behind, also when interrupted.
# Owns: what the demos must show. Must not know how the agent finds it out.
#
# Per family a pod of its own ("four", "six"), so that the counts of one cannot hide the other's.

# shellcheck disable=SC2119,SC2317 # optional arguments; functions called through passes
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$HERE/../lib/tap.sh"
# shellcheck source=tests/lib/stand.sh
. "$HERE/../lib/stand.sh"

GET=(200:5 400:3 504:2)
APPENDIX=(api.github.com www.google.com edition.cnn.com wikipedia.org)

# ---- asking ------------------------------------------------------------------------------

# POD FAMILY URL [CURL OPTION...]
call() {
	stand_run_in "$1/app" curl -sS "-$2" --cacert "$STAND_CA" --max-time 10 -o /dev/null \
		"${@:4}" "$3"
}

# POD HOST PORT FIELD: of the one row; "N rows" when there is not exactly one.
field() {
	stand_value "[.destinations[] | select(.source.workload == \"$(stand_workload "$1/app")\"
		and .host == \"$2\" and .port == $3)]
		| if length == 1 then .[0]$4 else \"\(length) rows\" end"
}

# POD NAME LABEL=VALUE...
metric() {
	stand_metric "$2" source_workload="$(stand_workload "$1/app")" "${@:3}"
}

closed() {
	[[ $(field "$1" "$2" "$3" .connections.closed) == "$4" ]]
}

# The close is seen a moment after curl has ended; what is then counted is compared exactly.
settled() {
	stand_wait 10 closed "$@" || true
}

outside_count() {
	stand_outside_log | grep -c "$1" || true
}

# POD HOST PORT N: the four counters of the row and of the metrics.
connections_are() {
	settled "$@"
	is "$1: $2:$3 has $4 connections" "$(field "$1" "$2" "$3" .connections)" \
		"{\"opened\":$4,\"closed\":$4,\"failed\":0,\"active\":0}"
	is "$1: $2:$3 has $4 connections in the metrics" \
		"$(metric "$1" egress_tcp_connections_opened_total destination_service="$2" \
			destination_port="$3") $(metric "$1" egress_tcp_connections_closed_total \
			destination_service="$2" destination_port="$3")" "$4 $4"
	is "$1: bytes of $2:$3 are the same in dump and metrics" \
		"$(metric "$1" egress_tcp_sent_bytes_total destination_service="$2" \
			destination_port="$3") $(metric "$1" egress_tcp_received_bytes_total \
			destination_service="$2" destination_port="$3")" \
		"$(field "$1" "$2" "$3" .bytes | jq -r '"\(.sent) \(.received)"')"
}

# ---- the demos ---------------------------------------------------------------------------

demo_1() {
	local pod=$1 family=$2 mesh=$3 i

	for i in 1 2 3; do
		call "$pod" "$family" https://httpbin.org/status/200
	done
	connections_are "$pod" httpbin.org 443 3
	is "$pod: demo 1 is l4, named by SNI" \
		"$(field "$pod" httpbin.org 443 '| [.visibility, .protocol, .nameSource]')" \
		'["l4","tls","sni"]'
	is "$pod: interception of HTTPS" "$(field "$pod" httpbin.org 443 .interception)" "\"$mesh\""
	is "$pod: TLS as curl offers it" \
		"$(field "$pod" httpbin.org 443 '.tls | [(.versions | index("1.3") != null), .alpn]')" \
		'[true,["h2","http/1.1"]]'
	is "$pod: the address is the one that was called" \
		"$(field "$pod" httpbin.org 443 .addresses)" \
		"[\"$(stand_address httpbin.org "$family")\"]"
	is "$pod: no requests in the row" "$(field "$pod" httpbin.org 443 .requests)" \
		'{"total":0,"byCode":{}}'
	is "$pod: no egress_requests_total" "$(stand_metrics |
		grep -c "^egress_requests_total{.*\"$(stand_workload "$pod/app")\"" || true)" 0
	is "$pod: at least 200 bytes went each way, a connection" \
		"$(field "$pod" httpbin.org 443 '.bytes | [.sent > 600, .received > 600]')" \
		'[true,true]'
}

# What a generated set says, one line an object; python because YAML is more than lines.
yaml_summary() {
	/usr/bin/python3 -c '
import sys, yaml
for o in yaml.safe_load_all(sys.stdin):
    s = o["spec"]
    if o["kind"] == "ServiceEntry":
        ports = [[p["number"], p["protocol"], p.get("targetPort")] for p in s["ports"]]
        print("SE", s["hosts"], s["location"], s["resolution"], ports)
    else:
        for p in s["trafficPolicy"]["portLevelSettings"]:
            print(o["kind"][0] + "R", s["host"], p["port"]["number"], sorted(p["tls"].items()))'
}

demo_2() {
	local pod=$1 select

	select=(--visibility l4 --host httpbin.org --workload "$(stand_workload "$pod/app")")
	is "$pod: demo 2 generates a ServiceEntry" \
		"$(stand_agent generate "${select[@]}" | yaml_summary)" \
		"SE ['httpbin.org'] MESH_EXTERNAL DNS [[443, 'TLS', None]]"
	is "$pod: generate says the same twice" "$(stand_agent generate "${select[@]}" | sha256sum)" \
		"$(stand_agent generate "${select[@]}" | sha256sum)"
}

# 10 GETs with a connection each, 4 POSTs, 2 HEADs, and 3 GETs over one connection: 17
# connections, 19 requests.
demo_3_calls() {
	local pod=$1 family=$2 code i url=http://httpbin.org/status

	for code in "${GET[@]}"; do
		for ((i = 0; i < ${code#*:}; i++)); do
			call "$pod" "$family" "$url/${code%:*}"
		done
	done
	for i in 1 2 3 4; do
		call "$pod" "$family" "$url/201" --data "some=body&number=$i"
	done
	for i in 1 2; do
		call "$pod" "$family" "$url/200" --head
	done
	call "$pod" "$family" "$url/[202-204]"
}

demo_3_metrics() {
	local pod=$1 line

	for line in GET:200:5 GET:400:3 GET:504:2 POST:201:4 HEAD:200:2 GET:202:1 GET:203:1 \
		GET:204:1; do
		IFS=: read -r method code count <<<"$line"
		is "$pod: $count $method answered $code" \
			"$(metric "$pod" egress_requests_total destination_service=httpbin.org \
				destination_port=80 request_method="$method" response_code="$code")" \
			"$count"
	done
	is "$pod: 19 requests in all metrics" "$(metric "$pod" egress_requests_total)" 19
}

# POD FAMILY MESH: the last is also whether the sidecar originates TLS.
demo_3() {
	local pod=$1 family=$2 mesh=$3 originated=false before

	[[ $mesh == none ]] || originated=true
	before=$(outside_count '^httpbin.org 443 HTTP/1.1 .*ssl=TLSv1.3 sni=httpbin.org')
	demo_3_calls "$pod" "$family"
	connections_are "$pod" httpbin.org 80 17
	is "$pod: demo 3 is l7, named by the Host header" \
		"$(field "$pod" httpbin.org 80 '| [.visibility, .protocol, .nameSource]')" \
		'["l7","http","http"]'
	is "$pod: interception of HTTP" "$(field "$pod" httpbin.org 80 .interception)" "\"$mesh\""
	is "$pod: the proxy's leg is recognised as origination" \
		"$(field "$pod" httpbin.org 80 .tlsOrigination)" "$originated"
	is "$pod: requests by code" "$(field "$pod" httpbin.org 80 '.requests
		| [.total, (.byCode | to_entries | map("\(.key)=\(.value)") | join(" "))]')" \
		'[19,"200=7 201=4 202=1 203=1 204=1 400=3 504=2"]'
	demo_3_metrics "$pod"
	[[ $mesh == none ]] || is "$pod: the outside got every request as TLS" \
		"$(($(outside_count '^httpbin.org 443 HTTP/1.1 .*ssl=TLSv1.3 sni=httpbin.org') - before))" 19
	is "$pod: port 443 still has the connections of demo 1" \
		"$(field "$pod" httpbin.org 443 .connections.opened)" 3
}

demo_3_yaml() {
	is "$1: demo 3 generates the pair, DestinationRule first" \
		"$(stand_agent generate --visibility l7 --host httpbin.org \
			--workload "$(stand_workload "$1/app")" | yaml_summary)" \
		"DR httpbin.org 80 [('caCertificates', 'system'), ('mode', 'SIMPLE'), ('sni', \
'httpbin.org'), ('subjectAltNames', ['httpbin.org'])]
SE ['httpbin.org'] MESH_EXTERNAL DNS [[80, 'HTTP', 443], [443, 'TLS', None]]"
}

appendix() {
	local pod=$1 family=$2 mesh=$3 host

	for host in "${APPENDIX[@]}"; do
		call "$pod" "$family" "https://$host/"
	done
	call "$pod" "$family" http://www.gnu.org/
	call "$pod" "$family" http://wikipedia.org/
	for host in "${APPENDIX[@]}"; do
		settled "$pod" "$host" 443 1
		is "$pod: $host is a line of its own" "$(field "$pod" "$host" 443 \
			'| [.connections.opened, .visibility, .interception]')" "[1,\"l4\",\"$mesh\"]"
	done
	settled "$pod" www.gnu.org 80 1
	is "$pod: www.gnu.org is l7, and its TLS is not originated" \
		"$(field "$pod" www.gnu.org 80 \
			'| [.connections.opened, .requests.total, .visibility, .tlsOrigination]')" \
		'[1,1,"l7",false]'
	# The sidecar did send a ClientHello with this name: the application's own, passed through.
	settled "$pod" wikipedia.org 80 1
	is "$pod: wikipedia.org is TLS and plain HTTP, and that is no origination" \
		"$(field "$pod" wikipedia.org 80 \
			'| [.connections.opened, .requests.total, .visibility, .tlsOrigination]')" \
		'[1,1,"l7",false]'
	is "$pod: these eight lines and no others" "$(stand_value "[.destinations[]
		| select(.source.workload == \"$(stand_workload "$pod/app")\")] | length")" 8
}

demos() {
	local pod=$1 family=$2 mesh=$3

	[[ $mesh == none ]] || stand_sidecar_start passthrough "$pod"
	demo_1 "$pod" "$family" "$mesh"
	demo_2 "$pod"
	[[ $mesh == none ]] || stand_sidecar_start originate "$pod"
	demo_3 "$pod" "$family" "$mesh"
	demo_3_yaml "$pod"
	appendix "$pod" "$family" "$mesh"
}

# ---- nothing left behind -----------------------------------------------------------------

# PID: everything that names a stand of this pid, one a line.
leftovers() {
	local name=egress-agent-stand-$1 dir

	find /run/netns /etc/netns -mindepth 1 -maxdepth 1 -name "ea-*-$1" 2>/dev/null || true
	ls -d "/run/$name" "/sys/fs/bpf/$name" 2>/dev/null || true
	while read -r dir; do
		ls -d "$dir/$name" "$dir/$name-outside" 2>/dev/null || true
	done < <(awk '$3 == "cgroup2" { print $2 }' /proc/self/mounts)
	grep -w "$name" /proc/self/mounts || true
	nft list tables 2>/dev/null | grep -w "ea_$1" || true
	pgrep -af "$name\\b" || true
}

is_clean() {
	is "$1" "$(leftovers "$2")" ""
}

# A child of a script ignores SIGINT unless told otherwise; setsid gives it a process group, as
# a terminal does.
start_demo() {
	# Emptied here, not by the child: nobody must read the demo before in it.
	: >"$STAND_DIR/child.out"
	env --default-signal=INT,TERM,HUP setsid "$HERE/demo.sh" >>"$STAND_DIR/child.out" 2>&1 &
	CHILD=$!
}

ended() {
	! kill -0 "$CHILD" 2>/dev/null
}

# SIGNAL TARGET(pid or group) TEXT: play until TEXT appears, then interrupt.
interrupt_demo() {
	local name="$1 to the demo's $2 at \"$3\"" status=0 target

	start_demo
	[[ $2 == pid ]] && target=$CHILD || target=-$CHILD
	stand_wait 60 grep -q "$3" "$STAND_DIR/child.out" || not_ok "$name" "no such line"
	kill -s "$1" -- "$target" || not_ok "$name" "the signal was not delivered"
	stand_wait 30 ended || { not_ok "$name" "did not end"; kill -KILL -- "-$CHILD"; }
	wait "$CHILD" || status=$?
	is "$name ends it with status 128 + the signal's number" "$status" \
		$((128 + $(kill -l "$1")))
	is_clean "$name leaves nothing behind" "$CHILD"
}

# SIGINT after the Kth command of a stand that comes up and goes down: K walks through it.
# The exit status is 130, or 2 where the signal meets bash 5.2 parsing a command substitution:
# its "interrupt trap: unexpected EOF" comes after the trap has run.
interrupt_stand() {
	local k status bad='' runs=0 reached=0

	for ((k = 1; k <= 2000; k += 17)); do
		status=0
		# shellcheck disable=SC2016 # expanded by the shell inside
		env --default-signal=INT bash -c '
			set -euo pipefail
			. "$1/stand.sh"
			echo $$ >"$2"
			stand_trap
			n=0
			set -o functrace
			trap "((++n != $3)) || kill -INT \$\$" DEBUG
			stand_up
			stand_sidecar_start passthrough
			trap - DEBUG' - "$HERE/../lib" "$STAND_DIR/child.pid" "$k" \
			>"$STAND_DIR/child.out" 2>&1 || status=$?
		runs=$((runs + 1))
		[[ -z $(leftovers "$(<"$STAND_DIR/child.pid")") ]] ||
			bad+=" $k:$(leftovers "$(<"$STAND_DIR/child.pid")" | tr '\n' ',')"
		((status != 0)) || { reached=1; break; }
		((status == 130 || status == 2)) || bad+=" $k:status $status"
	done
	is "SIGINT after any of $runs commands of the stand leaves nothing behind" "$bad" ""
	is "the last of these runs was past the last command" "$reached" 1
}

wrong_environment() {
	local out status=0

	# From a copy that anybody may read: a clone below /root is not.
	cp -r "$HERE/.." "$STAND_DIR/tests"
	chmod -R a+rX "$STAND_DIR/tests"
	chmod a+x "$STAND_DIR"
	out=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$STAND_DIR/tests/e2e/demo.sh" 2>&1) || status=$?
	is "the demo without root says so in one line" "$status $(wc -l <<<"$out") ${out%%:*}" \
		"1 1 stand"
	status=0
	out=$(STAND_AGENT_BIN=/nonexistent/agent "$HERE/demo.sh" 2>&1) || status=$?
	is "the demo without a build says so in one line" "$status $(wc -l <<<"$out") ${out%%:*}" \
		"1 1 stand"
}

whole_demo() {
	local status=0

	start_demo
	wait "$CHILD" || status=$?
	is "the demo plays to its end: $(grep -c '^ok: ' "$STAND_DIR/child.out" || true) claims" \
		"$status $(grep FAILED "$STAND_DIR/child.out" || true)" "0 "
	is "no colour in a file" "$(grep -c $'\e' "$STAND_DIR/child.out" || true)" 0
	is_clean "the demo leaves nothing behind" "$CHILD"
}

main() {
	local before status=0

	((EUID == 0)) || { skip "the demos" "not root"; tap_done; }
	stand_trap tap_at_exit
	stand_up
	stand_pod four
	stand_pod six
	stand_pod plain4
	stand_pod plain6
	stand_agent_start
	demos four 4 sidecar
	demos six 6 sidecar
	demos plain4 4 none
	demos plain6 6 none
	is "no line for the sidecars' own connections" \
		"$(stand_value '[.destinations[].source.workload] | unique | length')" 4
	wrong_environment
	before=$(stand_value '.destinations')
	whole_demo
	is "another stand's traffic is not in the counts of this one" \
		"$(stand_value '.destinations')" "$before"
	stand_agent_stop || status=$?
	is "the agent stops with status 0" "$status" 0
	interrupt_demo INT group "== Demo 1"
	interrupt_demo INT pid "== Demo 3"
	interrupt_demo TERM pid "== Prometheus"
	interrupt_demo HUP group "== Appendix"
	interrupt_stand
	stand_down
	is_clean "the stand leaves nothing behind" $$
	tap_done
}

main
