#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_prometheus.sh - Prometheus, Debian's 2.42 and a current 3.x, scrape a real agent in every format they ask for.
# Owns: what of the scrape must be true in each. Must not know how an exposition is written.
#
# The current one is sid's package, unpacked to build/. What went over the wire is noted by scrape_proxy.py.

# shellcheck disable=SC2317 # conditions are called through stand_wait

set -euo pipefail

# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"
# shellcheck source=tests/lib/suite.sh
. "$E2E/../lib/suite.sh"
CURRENT=$STAND_REPO/build/prometheus-sid
TLS_HOST=www.gnu.org HTTP_HOST=httpbin.org
SEEN=

# Answers as "LABEL.. VALUE" lines, sorted.
answer() {
	stand_query "$1" | jq -r '.data.result[] | "\([.metric[]] | join(" ")) \(.value[1])"' | sort
}

# What dump says of the same, in the same form.
truth() {
	stand_value "$1" | jq -r . | sort
}

settled() {
	[[ $(stand_value '[.destinations[].connections.active] | add') == 0 ]]
}

make_traffic() {
	local i code

	for ((i = 0; i < 5; i++)); do
		stand_run_in app curl -4 -sS -o /dev/null --cacert "$STAND_CA" "https://$TLS_HOST/"
		stand_run_in app curl -6 -sS -o /dev/null --cacert "$STAND_CA" "https://$HTTP_HOST/"
	done
	for code in 200 200 200 404 503; do
		stand_run_in app curl -4 -sS -o /dev/null "http://$HTTP_HOST/status/$code"
	done
	stand_wait 15 settled
}

# The last answer that went by for a path, as far as FILTER wants it.
seen() {
	jq -r "select(.path == \"$1\") | $2" "$SEEN" | tail -n 1
}

# JOB=PATH...: each is up and has been scraped twice.
scraped() {
	local job

	for job in "$@"; do
		[[ $(answer "up{job=\"${job%%=*}\"}" | awk '{ print $NF }') == 1 &&
			$(jq -r "select(.path == \"${job#*=}\") | 1" "$SEEN" | wc -l) -ge 3 ]] || return 1
	done
}

# JOB PATH FORMAT LAST: one way to ask, and what came.
check_job() {
	local job=$1 path=$2 format=$3 last=$4

	is "$VERSION, $job: the agent answers in $format, compressed" \
		"$(seen "$path" '"\(.status) \(."Content-Type") \(."Content-Encoding")"')" "200 $format gzip"
	is "$VERSION, $job: the exposition is whole" "$(seen "$path" '.last == "# EOF"')" "$last"
	is "$VERSION, $job: scrape_samples_scraped is the number of lines that went by" \
		"$(answer "scrape_samples_scraped{job=\"$job\"}" | awk '{ print $NF }')" "$(seen "$path" .samples)"
	is "$VERSION, $job: no sample was refused" \
		"$(answer "scrape_samples_post_metric_relabeling{job=\"$job\"}" | awk '{ print $NF }')" \
		"$(seen "$path" .samples)"
	is "$VERSION, $job: $(seen "$path" .text) bytes are $(seen "$path" .wire) on the wire" \
		"$(seen "$path" '.wire * 5 < .text')" true
}

# JOB: the queries of the mesh with egress_ for istio_, against dump.
check_queries() {
	local job=$1

	is "$VERSION, $job: connections by workload and host" \
		"$(answer "sum(egress_tcp_connections_opened_total{job=\"$job\"}) by (source_workload, destination_service)")" \
		"$(truth '.destinations | group_by(.host)[] |
			"\(.[0].host) \(.[0].source.workload) \(map(.connections.opened) | add)"')"
	# shellcheck disable=SC2016 # the dollars are jq's
	is "$VERSION, $job: requests by workload, host and code" \
		"$(answer "sum(egress_requests_total{job=\"$job\"}) by (source_workload, destination_service, response_code)")" \
		"$(truth '.destinations[] | . as $d | .requests.byCode | to_entries[] |
			"\($d.host) \(.key) \($d.source.workload) \(.value)"')"
	is "$VERSION, $job: bytes" \
		"$(answer "sum(egress_tcp_sent_bytes_total{job=\"$job\"}) + sum(egress_tcp_received_bytes_total{job=\"$job\"})")" \
		"$(truth '" \([.destinations[].bytes | .sent, .received] | add)"')"
	is "$VERSION, $job: a host that was only seen over TLS has L4 families" \
		"$(answer "sum(egress_tcp_connections_opened_total{job=\"$job\",destination_service=\"$TLS_HOST\"})")" " 5"
	is "$VERSION, $job: and none of L7" \
		"$(answer "count({__name__=~\"egress_(request|response).*\",job=\"$job\",destination_service=\"$TLS_HOST\"})")" ""
	is "$VERSION, $job: as many times as there were requests, handshakes, connections" \
		"$(answer "sum(egress_request_duration_seconds_count{job=\"$job\"})")$(answer \
			"sum(egress_tls_handshake_duration_seconds_count{job=\"$job\"})")$(answer \
			"sum(egress_tcp_connect_duration_seconds_count{job=\"$job\"})")" " 5 10 15"
	is "$VERSION, $job: quantiles of all three distributions are numbers of seconds" "$(answer "count(
		(histogram_quantile(0.9, sum by (le) (egress_request_duration_seconds_bucket{job=\"$job\"})) < 60) +
		(histogram_quantile(0.9, sum by (le) (egress_tls_handshake_duration_seconds_bucket{job=\"$job\"})) < 60) +
		(histogram_quantile(0.9, sum by (le) (egress_tcp_connect_duration_seconds_bucket{job=\"$job\"})) < 60))")" " 1"
}

# Of the server as a whole.
check_server() {
	is "$VERSION: every target is up, without an error" "$(_stand_get "http://$STAND_PROMETHEUS/api/v1/targets" |
		jq -r '[.data.activeTargets[] | "\(.health)\(.lastError)"] | unique | join(" ")')" up
	is "$VERSION: it knows types and help" "$(_stand_get "http://$STAND_PROMETHEUS/api/v1/metadata" | jq -r '
		[.data | to_entries[] | select(.key | startswith("egress_"))] |
		"\(map(select(.key | startswith("egress_request_duration_seconds")).value[].type) | unique | join(" "))
		\(map(select(.value[].help == "")) | length)"' | xargs)" "histogram 0"
	is "$VERSION: it has nothing to complain of" \
		"$(grep -v 'No automatic GOMAXPROCS' "$STAND_DIR/prometheus.log" || true)" ""
}

# Begin to look with a server of its own: BINARY CONF JOB=PATH...
start() {
	: >"$SEEN"
	stand_prometheus_start "$1" "$2"
	VERSION="Prometheus $(_stand_get "http://$STAND_PROMETHEUS/api/v1/status/buildinfo" | jq -r .data.version)"
	stand_wait 30 scraped "${@:3}"
}

proxy_start() {
	SEEN=$TRAFFIC_DIR/seen
	: >"$SEEN"
	_stand_spawn proxy "$STAND_CG-outside" "" "$E2E/scrape_proxy.py" "$STAND_LISTEN" "$SEEN"
	stand_wait 10 test -s "$STAND_DIR/proxy.log"
	PROXY=$(<"$STAND_DIR/proxy.log")
}

# What Debian's asks for cannot be told: it is OpenMetrics.
debian() {
	sed "s/@AGENT@/$PROXY/" "$STAND_CONF/prometheus.yml" >"$TRAFFIC_DIR/debian.yml"
	start prometheus "$TRAFFIC_DIR/debian.yml" egress-agent=/metrics
	check_job egress-agent /metrics "$OPENMETRICS" true
	check_queries egress-agent
	is "$VERSION: times of creation are there" "$(answer 'count(egress_requests_created) > 0' | wc -l)" 1
	check_server
	stand_prometheus_stop
}

# A job as it comes, one that asks for text only, and one for what 3.x prefers (protobuf, which the agent has not got).
current() {
	local version

	if ! suite_unpack sid prometheus "$CURRENT"; then
		skip "a current Prometheus scrapes the agent" "it could not be fetched: $SUITE_WHY"
		return
	fi
	if ! version=$("$CURRENT/usr/bin/prometheus" --version 2>&1); then
		skip "a current Prometheus scrapes the agent" "it does not run here: ${version%%$'\n'*}"
		return
	fi
	cat >"$TRAFFIC_DIR/current.yml" <<-EOF
	global: {scrape_interval: 1s, scrape_timeout: 1s}
	scrape_configs:
	- {job_name: egress-agent, metrics_path: /metrics, static_configs: [{targets: ["$PROXY"]}]}
	- {job_name: text, params: {as: [text]}, scrape_protocols: [PrometheusText0.0.4], static_configs: [{targets: ["$PROXY"]}]}
	- {job_name: protobuf, params: {as: [protobuf]}, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4],
	   static_configs: [{targets: ["$PROXY"]}]}
	EOF
	start "$CURRENT/usr/bin/prometheus" "$TRAFFIC_DIR/current.yml" egress-agent=/metrics "text=/metrics?as=text" \
		"protobuf=/metrics?as=protobuf"
	check_job egress-agent /metrics "$OPENMETRICS" true
	check_queries egress-agent
	check_job text "/metrics?as=text" "$TEXT" false
	check_queries text
	check_job protobuf "/metrics?as=protobuf" "$OPENMETRICS" true
	check_server
	stand_prometheus_stop
}

OPENMETRICS='application/openmetrics-text; version=1.0.0; charset=utf-8'
TEXT='text/plain; version=0.0.4; charset=utf-8'
traffic_stand_up
make_traffic
proxy_start
debian
current
stand_agent_stop
tap_done
