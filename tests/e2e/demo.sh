#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh - what `make demo` plays: an application, a sidecar and the outside on this machine,
# and what egress-agent says about them. Every sentence it prints as "ok" was checked just then.
# Owns: the story and its wording. Must not know how the stand is made (tests/lib/stand.sh).
# shellcheck disable=SC2119 # functions of the stand with optional arguments
set -euo pipefail

[[ $(uname -s) == Linux ]] || {
	echo "demo: not Linux: the agent is made of Linux BPF programs; run it on a Linux host" >&2
	exit 1
}
# shellcheck source=tests/lib/stand.sh
. "$(dirname "$0")/../lib/stand.sh"

BOLD='' GREEN='' RED='' CYAN='' PLAIN=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
	BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' CYAN=$'\e[36m' PLAIN=$'\e[0m'
fi

APPENDIX_TLS=(api.github.com www.google.com edition.cnn.com wikipedia.org)
APPENDIX_HTTP=www.gnu.org

# ---- telling -----------------------------------------------------------------------------

title() {
	printf '\n%s== %s%s\n' "$BOLD" "$1" "$PLAIN"
}

say() {
	fmt -w 88 <<<"$*"
}

# What the reader would type; the rest of the line is the stand's business.
typed() {
	printf '\n%s$ %s%s\n' "$CYAN" "$1" "$PLAIN"
}

indent() {
	sed 's/^/    /'
}

fail() {
	printf '%sFAILED: %s%s\n' "$RED" "$*" "$PLAIN"
	[[ ! -s $STAND_DIR/agent.log ]] ||
		{ echo "the agent's last lines:"; tail -n 5 "$STAND_DIR/agent.log" | indent; }
	exit 1
}

# CLAIM GOT WANT
claim() {
	[[ $2 == "$3" ]] || fail "$1: expected '$3', got '$2'"
	printf '%sok%s: %s\n' "$GREEN" "$PLAIN" "$1"
}

# CLAIM CMD...
claim_that() {
	"${@:2}" || fail "$1"
	printf '%sok%s: %s\n' "$GREEN" "$PLAIN" "$1"
}

# ---- asking ------------------------------------------------------------------------------

# HOST PORT FIELD: one value of the destination of our application; "none" without a row.
field() {
	stand_value "[.destinations[] | select(.source.workload == \"$APP\" and .host == \"$1\"
		and .port == $2)] | if length == 0 then \"none\" else .[0]$3 end" | tr -d '"'
}

# HOST PORT N: as many connections came and went. Closing is seen a moment after curl ends.
closed() {
	[[ $(field "$1" "$2" .connections.closed) == "$3" ]]
}

settled() {
	stand_wait 10 closed "$@" || fail "$1:$2 did not come to $3 closed connections: \
$(field "$1" "$2" .connections)"
}

rows() {
	stand_value "[.destinations[] | select($1)] | length"
}

requests() {
	stand_metric egress_requests_total source_workload="$APP" destination_service="$1" "${@:2}"
}

# FAMILY URL [TIMES]: the application calls; curl itself must have got through.
app_calls() {
	local i

	for ((i = 0; i < ${3:-1}; i++)); do
		stand_run_in app curl -sS "$1" --cacert "$STAND_CA" --max-time 10 -o /dev/null \
			-w 'HTTP %{http_code} from %{remote_ip}\n' "$2" || fail "curl $2"
	done
}

show_dump() {
	typed "egress-agent dump"
	stand_agent dump | indent
	echo
}

# What is typed to see the metrics.
metrics_typed() {
	typed "curl -s http://$STAND_LISTEN/metrics | $1"
}

show_generate() {
	typed "egress-agent generate $*"
	YAML=$(stand_agent generate "$@")
	indent <<<"$YAML"
	echo
}

yaml_has() {
	grep -Eq "$1" <<<"$YAML"
}

yaml_lacks() {
	! yaml_has "$1"
}

# ---- the play ----------------------------------------------------------------------------

prologue() {
	title "The stand"
	say "One pod and the outside world, as two network namespaces of this machine. The pod has" \
		"two containers: an application and a sidecar, which gets every outbound connection of" \
		"the application on port 15001, as Istio's does. Outside, one nginx is httpbin.org and" \
		"five more names. Nothing leaves this machine, and no Kubernetes is needed."
	stand_up
	stand_sidecar_start passthrough
	APP=$(stand_workload app)
	typed "egress-agent run"
	stand_agent_start
	indent <"$STAND_DIR/agent.log"
	echo
	say "(Here and below, options that only this stand needs, such as --cgroup and --agent, are" \
		"left out of what is shown. The application's container is $APP.)"
}

demo_1() {
	title "Demo 1: an external service nobody registered, over HTTPS"
	say "The application calls https://httpbin.org, once over IPv4 and once over IPv6. The mesh" \
		"passes it through; all it could see is an address."
	typed "curl https://httpbin.org/status/200"
	app_calls -4 https://httpbin.org/status/200 | indent
	app_calls -6 https://httpbin.org/status/200 | indent
	settled httpbin.org 443 2
	show_dump
	claim "the host is named, from the TLS handshake" \
		"$(field httpbin.org 443 .nameSource)" sni
	claim "both connections are counted, under one name" \
		"$(field httpbin.org 443 .connections.opened)" 2
	claim "visibility is l4: connections and bytes can be known, requests cannot" \
		"$(field httpbin.org 443 .visibility)" l4
	claim "the packets went through the sidecar" \
		"$(field httpbin.org 443 .interception)" sidecar
	claim "the sidecar's own connections are not listed a second time" "$(rows true)" 1
	metrics_typed "grep 'opened_total{.*httpbin.org'"
	stand_metrics | grep '^egress_tcp_connections_opened_total{.*httpbin\.org' | indent
	metrics_typed "grep -c 'egress_requests_total{.*httpbin.org'"
	stand_metrics | { grep -c '^egress_requests_total{.*httpbin\.org' || true; } | indent
	claim "no egress_requests_total for it: nobody on the way can count requests" \
		"$(stand_metrics | grep -c '^egress_requests_total{.*httpbin\.org' || true)" 0
}

demo_2() {
	title "Demo 2: give it a name in the mesh"
	say "From what it saw, the agent writes the ServiceEntry. Applied in a cluster, it tells" \
		"Istio that this host exists: the traffic gets its own name instead of" \
		"PassthroughCluster. It stays l4: it is still TLS from the application on."
	show_generate --visibility l4
	claim_that "it is a ServiceEntry" yaml_has '^kind: "?ServiceEntry"?'
	claim_that "for httpbin.org" yaml_has '^ *- *"?httpbin\.org"?'
	claim_that "with the port TLS was seen on" yaml_has '"?number"?: "?443"?'
	claim_that "and without a DestinationRule" yaml_lacks '^kind: "?DestinationRule"?'
}

demo_3() {
	local code times

	title "Demo 3: let the sidecar do the TLS"
	say "Now the sidecar originates TLS for httpbin.org (in a cluster: the ServiceEntry and the" \
		"DestinationRule below say so), and the application calls http:// instead of https://." \
		"Outside it is TLS as before; inside, requests can be read: 5 calls that end with" \
		"200, 3 with 400, 2 with 504."
	stand_sidecar_start originate
	for code in 200:5 400:3 504:2; do
		times=${code#*:} code=${code%:*}
		typed "curl http://httpbin.org/status/$code    # $times times"
		app_calls -4 "http://httpbin.org/status/$code" $((times - 1)) | sort | uniq -c | indent
		app_calls -6 "http://httpbin.org/status/$code" | sort | uniq -c | indent
	done
	settled httpbin.org 80 10
	show_dump
	typed "egress-agent dump -o json | jq -c '.destinations[] | {host, port, tlsOrigination}'"
	stand_value '.destinations[] | {host, port, tlsOrigination}' | indent
	echo
	claim "visibility is l7 now" "$(field httpbin.org 80 .visibility)" l7
	claim "the sidecar's TLS connections are recognised as the second half of these" \
		"$(field httpbin.org 80 .tlsOrigination)" true
	claim "the outside did get them as TLS 1.3 with that name" \
		"$(stand_outside_log | grep -c '^httpbin.org 443 HTTP/1.1 GET .*ssl=TLSv1.3 sni=httpbin.org')" 10
	claim "10 connections were made, 10 are counted" \
		"$(field httpbin.org 80 .connections.opened)" 10
	claim "and none of the sidecar's: port 443 still has the two of Demo 1" \
		"$(field httpbin.org 443 .connections.opened)" 2
	claim "httpbin.org is two lines, port 443 and port 80, and no third" "$(rows true)" 2
	metrics_typed "grep 'egress_requests_total{.*httpbin.org' | grep -o 'response_code.*'"
	stand_metrics | grep '^egress_requests_total{.*httpbin\.org' |
		grep -o 'response_code.*' | indent
	claim "5 requests answered 200" "$(requests httpbin.org response_code=200)" 5
	claim "3 requests answered 400" "$(requests httpbin.org response_code=400)" 3
	claim "2 requests answered 504" "$(requests httpbin.org response_code=504)" 2
	claim "and no others" "$(requests httpbin.org)" 10
	show_generate --visibility l7 --host httpbin.org
	claim_that "a ServiceEntry" yaml_has '^kind: "?ServiceEntry"?'
	claim_that "and the DestinationRule that makes the sidecar originate TLS" \
		yaml_has '^kind: "?DestinationRule"?'
	claim_that "plain HTTP on port 80 goes on to port 443" yaml_has '"?targetPort"?: "?443"?'
	claim_that "with the server's certificate checked" yaml_has '"?subjectAltNames"?:'
}

appendix() {
	local host

	title "Appendix 1: several external services"
	say "The same application calls four more services over HTTPS and one over plain HTTP."
	for host in "${APPENDIX_TLS[@]}"; do
		typed "curl https://$host/"
		app_calls -6 "https://$host/" | indent
	done
	typed "curl http://$APPENDIX_HTTP/"
	app_calls -6 "http://$APPENDIX_HTTP/" | indent
	for host in "${APPENDIX_TLS[@]}"; do
		settled "$host" 443 1
	done
	settled "$APPENDIX_HTTP" 80 1
	show_dump
	for host in "${APPENDIX_TLS[@]}"; do
		claim "$host is a line of its own" \
			"$(rows ".host == \"$host\" and .visibility == \"l4\"")" 1
	done
	claim "$APPENDIX_HTTP too, and its requests can be read" \
		"$(rows ".host == \"$APPENDIX_HTTP\" and .visibility == \"l7\"")" 1
	claim "which the sidecar leaves as plain HTTP" \
		"$(field "$APPENDIX_HTTP" 80 .tlsOrigination)" false
}

# ---- prometheus --------------------------------------------------------------------------

# Answers whose value is above $2, as "labels value" lines.
answers() {
	stand_query "$1" | jq -r --argjson above "${2:-0}" '.data.result[]
		| select((.value[1] | tonumber) > $above)
		| ([.metric | to_entries[] | "\(.key)=\(.value)"] | join("  ")) as $labels
		| "\($labels)\t\(.value[1])"'
}

answered() {
	[[ -n $(answers "$1") ]]
}

# A rounded value in a column of its own.
table() {
	answers "$1" | awk -F '\t' '{ printf "    %-64s %10.4g\n", $1, $2 }'
}

ask() {
	typed "$1"
	stand_wait 15 answered "$1" || fail "Prometheus has no answer: $(stand_query "$1")"
	table "$1"
}

value_of() {
	answers "$1" | awk -F '\t' -v label="$2" 'index($1, label) { print $2 }'
}

scraped_all() {
	[[ $(value_of 'sum(egress_requests_total{destination_service="httpbin.org"})
		by (destination_service)' httpbin.org) == 10 ]]
}

prometheus_asks() {
	local tcp requests rate i

	tcp='sum(egress_tcp_connections_opened_total{destination_service="httpbin.org"})'
	tcp+=' by (source_workload, destination_service)'
	requests='sum(egress_requests_total{destination_service="httpbin.org"}) by (response_code)'
	rate='sum(rate(egress_requests_total{destination_service="httpbin.org"}[30s]))'
	rate+=' by (response_code)'
	title "Prometheus: the mesh's queries, with egress_ for istio_"
	say "A real Prometheus scrapes the agent once a second; labels are named as Istio's."
	stand_prometheus_start
	stand_wait 20 scraped_all || fail "Prometheus did not scrape the agent"
	ask "$tcp"
	claim "connections of both ports: 2 and 10" "$(value_of "$tcp" httpbin.org)" 12
	ask "$requests"
	claim "the calls of Demo 3, by code" "$(for i in 200 400 504; do
		value_of "$requests" "response_code=$i"; done | paste -sd ' ')" "5 3 2"
	say "A rate needs traffic while Prometheus looks: 12 more calls, two a second."
	for ((i = 0; i < 6; i++)); do
		app_calls -4 http://httpbin.org/status/200 >/dev/null
		app_calls -6 http://httpbin.org/status/504 >/dev/null
		sleep 1
	done
	ask "$rate"
	claim_that "there is a rate for 200" test -n "$(value_of "$rate" response_code=200)"
	claim_that "and for 504" test -n "$(value_of "$rate" response_code=504)"
	claim "and none for 400: nobody called it" "$(value_of "$rate" response_code=400)" ""
}

epilogue() {
	local before

	title "The agent restarts"
	say "Programs and counts stay in the kernel while it is away."
	before=$(field httpbin.org 80 .connections.opened)
	stand_agent_stop || fail "the agent ended with an error"
	tail -n 1 "$STAND_DIR/agent.log" | indent
	stand_agent_start
	claim "started again, it goes on where it was: $before connections" \
		"$(field httpbin.org 80 .connections.opened)" "$before"
	stand_down
	printf '\n%sDone in %d s; everything of the stand is removed.%s\n' "$BOLD" "$SECONDS" "$PLAIN"
	echo "Next: 'sudo build/egress-agent run' on a host of yours, then 'sudo build/egress-agent" \
		"dump'; README.md says how it works."
}

main() {
	stand_need || exit 1
	stand_trap
	prologue
	demo_1
	demo_2
	demo_3
	appendix
	prometheus_asks
	epilogue
}

main
