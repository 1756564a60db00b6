#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_views.sh - one state of counts, seen through every view: dump's formats, filters and
# order, --watch, /metrics, the HTTP surface.
# Owns: the traffic that makes the state, and what must agree. Must not know how a view is made.
# shellcheck disable=SC2317 # the cases are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

URL=

# Hosts over TLS alone, over HTTP alone, over both, an address, and something inside the pod.
make_state() {
	local app=(stand_run_in app curl -fsS -o /dev/null --cacert "$STAND_CA")

	"${app[@]}" -4 https://www.google.com/bytes/100000
	"${app[@]}" -6 "https://wikipedia.org/bytes/{10,1000}"
	"${app[@]}" -4 https://cdn.example.net/
	"${app[@]}" -6 https://cdn.example.net/
	"${app[@]}" -4 https://cdn.example.net/
	"${app[@]}" -4 "http://shop.example.com/status/20[0-4]"
	"${app[@]}" -4 "{http,https}://api.github.com/"
	stand_run_in app "$E2E/traffic.py" live --kind tcp --name www.gnu.org --port 7 \
		<<<"send 500" >/dev/null
	stand_run_in app curl -fsS -o /dev/null http://127.0.0.1:8080/status/200
	stand_wait 30 state_is_final
}

state_is_final() {
	[[ $(stand_agent dump -o json --scope all | jq -c '[.destinations[].connections] |
		[(map(.opened) | add), (map(.closed) | add)]') == "[10,10]" ]]
}

# OPTION...: "host:port" of each row that dump -o json gives, one a line.
hosts() {
	stand_agent dump -o json "$@" | jq -r '.destinations[] | "\(.host):\(.port)"'
}

# FILTER OPTION...: dump OPTION... must give just the rows of the whole list that jq's FILTER
# takes, and at least one of them, and not all.
filter() {
	local filter=$1 want got all

	shift
	all=$(hosts --scope all | wc -l)
	want=$(stand_value_all ".destinations[] | select($filter) | \"\(.host):\(.port)\"")
	got=$(hosts "$@")
	[[ $got == "$want" ]] || { echo "got $got, want $want"; return 1; }
	(($(wc -l <<<"$got") < all)) || { echo "the filter lets all $all rows pass"; return 1; }
	[[ -n $got ]] || { echo "no row"; return 1; }
	echo "$(wc -l <<<"$got") of $all rows"
}

stand_value_all() {
	stand_agent dump -o json --scope all | jq -r "$1"
}

empty() {
	local out

	out=$(hosts "$@") || { echo "exit status $?"; return 1; }
	[[ -z $out ]] || { echo "got $out"; return 1; }
	echo "no row, exit 0"
}

check_filters() {
	local w external='.scope == "external"'

	w=$(stand_workload app)
	figures "dump: the default is what is external" filter "$external"
	figures "dump --scope internal" filter '.scope == "internal"' --scope internal
	figures "dump --host '*.example.*'" filter '.host | test("[.]example[.]")' --host '*.example.*'
	figures "dump --host in capitals" filter '.host == "api.github.com"' --host 'API.github.?om'
	figures "dump --visibility l4" filter "$external and .visibility == \"l4\"" --visibility l4
	figures "dump --visibility l7" filter "$external and .visibility == \"l7\"" --visibility l7
	figures "dump --workload" filter "$external" --workload "$w"
	figures "dump, two filters at once" \
		filter '.host == "api.github.com" and .port == 443' --host api.github.com --visibility l4
	figures "dump -n nobody" empty -n nobody
	figures "dump --workload nobody" empty --workload nobody
	figures "dump --host nobody" empty --host nobody
	figures "dump --registry blocked" empty --registry blocked
}

# KEY JQ: the order of hosts in tsv is that of the numbers that jq's KEY gives, largest first.
sorted() {
	local want got words

	words=$(hosts --scope all | sed 's/:[0-9]*$//' | sort -u | paste -sd'|')
	want=$(stand_agent dump -o json --scope all | jq -r "[.destinations | to_entries[] |
		{n: ($2), i: .key, host: .value.host}] | sort_by(-.n, .i)[] | .host")
	got=$(stand_agent dump -o tsv --scope all --sort "$1" |
		awk -F'\t' -v words="^($words)\$" '{ for (i = 1; i <= NF; i++)
			if ($i ~ words) { print $i; next } }')
	[[ $got == "$want" ]] || { echo "got $(paste -sd' ' <<<"$got"), want $(paste -sd' ' <<<"$want")"; return 1; }
	echo "$(wc -l <<<"$got") rows, first $(head -n 1 <<<"$got")"
}

check_order() {
	figures "dump --sort bytes" sorted bytes '.value.bytes.sent + .value.bytes.received'
	figures "dump --sort connections" sorted connections '.value.connections.opened'
	figures "dump --sort requests" sorted requests '.value.requests.total'
	figures "dump --sort host" sorted host '-.key'
	figures "dump -o json keeps the contract's order" json_order
	figures "dump -o json validates against destinations.schema.json" schema
}

# The schema, and what it cannot say: order, duplicates, sums.
schema() {
	local out=$TRAFFIC_DIR/schema.json

	stand_agent dump -o json --scope all >"$out"
	"$(dirname "${BASH_SOURCE[0]}")/../golden/check_schema.py" "$out" >&2 || { echo "refused"; return 1; }
	jq -r '"\(.destinations | length) rows"' "$out"
}

json_order() {
	local key='[.source.namespace, .source.workload, .host, .port, .protocol]'

	stand_agent dump -o json --scope all --sort bytes |
		jq -r "[.destinations[] | $key] | if . == sort then \"\(length) rows\" else error end"
}

# ---- formats -----------------------------------------------------------------------------

# Every line has as many fields as the first, no control byte but the tab, one line a row.
tsv() {
	local out=$TRAFFIC_DIR/tsv rows

	stand_agent dump -o tsv --scope all >"$out"
	rows=$(hosts --scope all | wc -l)
	awk -F'\t' 'NR == 1 { n = NF } NF != n { exit 1 }' "$out" || { echo "fields differ"; return 1; }
	! LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$out" || { echo "control bytes"; return 1; }
	(($(wc -l <"$out") - rows <= 1)) || { echo "$(wc -l <"$out") lines, $rows rows"; return 1; }
	echo "$rows rows of $(awk -F'\t' '{ print NF; exit }' "$out") fields"
}

# FORMAT: as text for people: all hosts in it, no escapes when it is not a terminal.
table() {
	local out=$TRAFFIC_DIR/table host

	stand_agent dump -o "$1" >"$out"
	while read -r host; do
		grep -qF -e "${host%:*}" "$out" || { echo "no $host"; return 1; }
	done < <(hosts)
	! LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]' "$out" || { echo "control bytes"; return 1; }
	echo "$(wc -l <"$out") lines, longest $(wc -L <"$out") columns"
}

# On a terminal of 80 columns no line is longer, and it ends.
terminal() {
	local out=$TRAFFIC_DIR/terminal

	timeout 20 script -qec "stty cols 80 rows 24; NO_COLOR=1 '$STAND_AGENT_BIN' dump \
		--agent 'unix:$STAND_SOCKET'" /dev/null </dev/null >"$out" || { echo "exit $?"; return 1; }
	tr -d '\r' <"$out" >"$out.lines"
	! LC_ALL=C grep -q $'\x1b' "$out.lines" || { echo "colour in spite of NO_COLOR"; return 1; }
	(($(wc -L <"$out.lines") <= 80)) || { echo "a line of $(wc -L <"$out.lines") columns"; return 1; }
	grep -qF www.google.com "$out.lines" || { echo "no www.google.com"; return 1; }
	echo "$(wc -l <"$out.lines") lines, longest $(wc -L <"$out.lines") columns"
}

watched() {
	(($(grep -cF www.google.com "$TRAFFIC_DIR/watch.out") >= 3))
}

# Prints again and again until SIGINT (which a background job would ignore, hence env).
watch() {
	local pid status=0

	env --default-signal=INT "$STAND_AGENT_BIN" dump --agent "unix:$STAND_SOCKET" \
		--watch=1s -o tsv >"$TRAFFIC_DIR/watch.out" 2>"$TRAFFIC_DIR/watch.err" &
	pid=$!
	stand_wait 20 watched || { kill "$pid"; return 1; }
	kill -INT "$pid"
	wait "$pid" || status=$?
	[[ ! -s $TRAFFIC_DIR/watch.err ]] || { echo "stderr: $(<"$TRAFFIC_DIR/watch.err")"; return 1; }
	((status == 0 || status == 130)) || { echo "exit status $status"; return 1; }
	echo "printed $(grep -cF www.google.com "$TRAFFIC_DIR/watch.out") times, exit $status on SIGINT"
}

# INTERVAL: a reader that leaves ends it, without a word and long before the next round.
watch_pipe() {
	local out=$TRAFFIC_DIR/watch_pipe status=0

	# shellcheck disable=SC2016 # expanded by the shell inside
	timeout 20 bash -c '"$1" dump --agent "unix:$2" --watch="$3" | head -n 1 >/dev/null
		exit "${PIPESTATUS[0]}"' - "$STAND_AGENT_BIN" "$STAND_SOCKET" "$1" 2>"$out" || status=$?
	((status == 1)) || { echo "exit status $status"; return 1; }
	[[ ! -s $out ]] || { echo "stderr: $(<"$out")"; return 1; }
	echo "ended with status $status"
}

painted_twice() {
	(($(grep -cF $'\x1b[2J' "$1") >= 3))
}

# FORM: what dump --watch -o FORM paints on a terminal of 6 rows goes to $TRAFFIC_DIR/watch.FORM,
# one screen behind the other, without carriage returns. The last one may be cut.
watch_on_terminal() {
	local out=$TRAFFIC_DIR/watch.$1 stop=$TRAFFIC_DIR/watch.stop pid

	rm -f "$stop"
	timeout 40 script -qefc "stty cols 80 rows 6; '$STAND_AGENT_BIN' dump --scope all \
		--agent 'unix:$STAND_SOCKET' --watch=1s -o $1 & pid=\$!
		until [ -e '$stop' ]; do sleep 0.1; done
		kill \$pid; wait" /dev/null </dev/null >"$out.raw" &
	pid=$!
	stand_wait 20 painted_twice "$out.raw" || true
	touch "$stop"
	wait "$pid" || return 1
	painted_twice "$out.raw" || { echo "painted less than twice"; return 1; }
	tr -d '\r' <"$out.raw" >"$out"
}

# The rows that do not fit are counted for people, and never in what programs read.
watch_terminal() {
	local out=$TRAFFIC_DIR/watch rows fields

	rows=$(hosts --scope all | wc -l)
	((rows > 3)) || { echo "$rows rows fit the terminal"; return 1; }
	watch_on_terminal table || return 1
	watch_on_terminal tsv || return 1
	grep -qxF "($((rows - 3)) more)" "$out.table" || { echo "table: no count of the rest"; return 1; }
	! grep -q 'more)' "$out.tsv" || { echo "tsv: $(grep -m 1 'more)' "$out.tsv")"; return 1; }
	fields=$(stand_agent dump -o tsv | awk -F'\t' '{ print NF; exit }')
	awk -v RS='\033\\[H\033\\[2J' -v rows="$rows" -v fields="$fields" 'NR == 2 {
		n = split($0, lines, "\n") - 1
		for (i = 1; i <= n; i++) if (split(lines[i], f, "\t") != fields) exit 1
		exit n != rows + 1
	}' "$out.tsv" || { echo "tsv: not $rows rows of $fields fields on a screen"; return 1; }
	echo "table: 3 of $rows rows and the rest counted; tsv: all $rows"
}

check_formats() {
	figures "dump -o tsv" tsv
	figures "dump -o table" table table
	figures "dump -o wide" table wide
	if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
		figures "dump on a terminal" terminal
		figures "dump --watch on a terminal" watch_terminal
	else
		skip "dump on a terminal" "no pseudo-terminals here (is devpts mounted?)"
	fi
	figures "dump --watch" watch
	figures "dump --watch into a pipe that closes" watch_pipe 1s
	figures "dump --watch=1h into a pipe that closes" watch_pipe 1h
}

# ---- metrics -----------------------------------------------------------------------------

promtool_clean() {
	local out

	out=$(stand_metrics | promtool check metrics 2>&1) || { echo "$out"; return 1; }
	[[ -z $out ]] || { echo "$out"; return 1; }
	echo "$(stand_metrics | grep -c '^# TYPE') families"
}

# The samples of every external row say what its JSON says.
metrics_agree() {
	local host port opened closed failed sent received n=0

	while read -r host port opened closed failed sent received; do
		sample "$host" "$port" egress_tcp_connections_opened_total "$opened" || return 1
		sample "$host" "$port" egress_tcp_connections_closed_total "$closed" || return 1
		sample "$host" "$port" egress_tcp_connections_failed_total "$failed" || return 1
		sample "$host" "$port" egress_tcp_sent_bytes_total "$sent" || return 1
		sample "$host" "$port" egress_tcp_received_bytes_total "$received" || return 1
		sample "$host" "$port" egress_destination_info 1 || return 1
		n=$((n + 6))
	done < <(stand_agent dump -o json | jq -r '.destinations[] | [.host, .port,
		.connections.opened, .connections.closed, .connections.failed, .bytes.sent,
		.bytes.received] | map(tostring) | join(" ")')
	((n > 0)) || return 1
	echo "$n samples"
}

# HOST PORT NAME VALUE
sample() {
	local got

	got=$(stand_metric "$3" destination_service="$1" destination_service_name="$1" \
		destination_port="$2" source_workload="$(stand_workload app)" reporter=source)
	[[ $got == "$4" ]] || { echo "$3 of $1:$2 is $got, not $4"; return 1; }
}

# What the mesh cannot read has no request metric; what it can has them all.
only_l7() {
	local family tls http

	tls=$(hosts --visibility l4 | sed 's/:[0-9]*$//' | sort -u | grep -vxF api.github.com)
	http=$(hosts --visibility l7 | sed 's/:[0-9]*$//' | sort -u)
	for family in egress_requests_total egress_request_bytes_total egress_response_bytes_total; do
		stand_metrics | sed -n "s/^$family{.*destination_service=\"\([^\"]*\)\".*/\1/p" |
			sort -u >"$TRAFFIC_DIR/family"
		[[ $(<"$TRAFFIC_DIR/family") == "$http" ]] ||
			{ echo "$family has $(paste -sd' ' "$TRAFFIC_DIR/family")"; return 1; }
		! grep -qxF "$tls" "$TRAFFIC_DIR/family" || return 1
	done
	[[ $(stand_metric egress_requests_total destination_service=shop.example.com) == 5 ]] || return 1
	echo "request metrics for $(paste -sd' ' <<<"$http"), none for $(paste -sd' ' <<<"$tls")"
}

check_metrics() {
	figures "promtool check metrics" promtool_clean
	figures "metrics and JSON agree" metrics_agree
	figures "no L7 metric for what is TLS only" only_l7
}

# ---- HTTP --------------------------------------------------------------------------------

web() {
	curl -q -sS --noproxy '*' --max-time 10 "$@"
}

# STATUS METHOD PATH: and, when it is an error, a JSON object in the body.
status() {
	local got

	got=$(web -o "$TRAFFIC_DIR/body" -w '%{http_code} %{content_type}' -X "$2" "$URL$3")
	[[ $got == "$1 "* ]] || { echo "got $got"; return 1; }
	(($1 < 400)) || jq -e 'type == "object"' "$TRAFFIC_DIR/body" >/dev/null || return 1
	echo "$got, $(wc -c <"$TRAFFIC_DIR/body") bytes"
}

# PATH: the same status and headers for HEAD as for GET, no body.
head_of() {
	web -D "$TRAFFIC_DIR/get" -o "$TRAFFIC_DIR/body" "$URL$1"
	web -I "$URL$1" >"$TRAFFIC_DIR/head"
	headers_of "$TRAFFIC_DIR/get" >"$TRAFFIC_DIR/get.headers"
	headers_of "$TRAFFIC_DIR/head" >"$TRAFFIC_DIR/head.headers"
	diff "$TRAFFIC_DIR/get.headers" "$TRAFFIC_DIR/head.headers" || return 1
	echo "$(wc -l <"$TRAFFIC_DIR/head.headers") header lines as for GET"
}

# The length of an answer may change from one to the next; that there is one may not. How a body of unknown length is
# framed is only said where there is a body, which RFC 9110 section 9.3.2 leaves open.
headers_of() {
	tr -d '\r' <"$1" | grep -v -i -E '^(date|connection|transfer-encoding):' | sed 's/^\(content-length:\).*/\1/I' | sort
}

allow() {
	local got

	got=$(web -D - -o /dev/null -X POST -d x=1 "$URL/metrics" | tr -d '\r' | grep -i '^allow:')
	[[ $got == *GET*HEAD* ]] || return 1
	echo "$got"
}

# PATH...: security headers on each page, an error's too.
security() {
	local path

	for path in "$@"; do
		web -D "$TRAFFIC_DIR/h" -o /dev/null "$URL$path"
		grep -qi '^x-content-type-options: nosniff' "$TRAFFIC_DIR/h" || { echo "$path: sniffable"; return 1; }
		grep -qi '^content-security-policy: ' "$TRAFFIC_DIR/h" || { echo "$path: no CSP"; return 1; }
	done
	echo "$# pages"
}

# QUERY OPTION...: the API's query gives what dump's options give.
query() {
	local query=$1 got want

	shift
	got=$(web -f "$URL/api/v1/destinations?$query" | jq -c '[.destinations[] | [.host, .port]]')
	want=$(stand_agent dump -o json "$@" | jq -c '[.destinations[] | [.host, .port]]')
	[[ $got == "$want" ]] || { echo "got $got, want $want"; return 1; }
	echo "$(jq length <<<"$got") rows as dump $*"
}

# QUERY OPTION...: /api/v1/config gives what generate's options give; what generate says on stderr
# may stand there as comments.
config() {
	local query=$1

	shift
	web -f "$URL/api/v1/config?$query" | grep -v '^#' >"$TRAFFIC_DIR/config.yaml" || return 1
	stand_agent generate "$@" >"$TRAFFIC_DIR/generate.yaml" 2>/dev/null || return 1
	cmp "$TRAFFIC_DIR/config.yaml" "$TRAFFIC_DIR/generate.yaml" || return 1
	grep -q '^kind: "\?ServiceEntry' "$TRAFFIC_DIR/config.yaml" || { echo "no ServiceEntry"; return 1; }
	echo "$(wc -l <"$TRAFFIC_DIR/config.yaml") lines as generate $*"
}

# A request line longer than any that makes sense is refused, and the server lives on.
long_request() {
	local got

	got=$(web -o /dev/null -w '%{http_code}' "$URL/metrics?x=$(head -c 100000 /dev/zero | tr '\0' x)" || true)
	[[ $got == 4?? || $got == 000 ]] || { echo "answered $got"; return 1; }
	web -f -o /dev/null "$URL/healthz" || return 1
	echo "answered $got"
}

# More clients that say nothing, and that say half a request, than fit: others are served, fast.
slow_clients() {
	local kind ms start fifo=$TRAFFIC_DIR/slow pids=() fds=() fd

	for kind in "" --partial "--socket $STAND_SOCKET" "--partial --socket $STAND_SOCKET"; do
		rm -f "$fifo"
		mkfifo "$fifo"
		: >"$fifo.out"
		# shellcheck disable=SC2086 # two words
		"$E2E/traffic.py" idle --port "${STAND_LISTEN#*:}" --count 50 $kind <"$fifo" >"$fifo.out" &
		pids+=($!)
		exec {fd}>"$fifo"
		fds+=("$fd")
		stand_wait 10 grep -q held "$fifo.out" || return 1
	done
	start=$EPOCHREALTIME
	web -f -o /dev/null --max-time 5 "$URL/metrics" || return 1
	web -f -o /dev/null --max-time 5 --unix-socket "$STAND_SOCKET" http://agent/healthz || return 1
	ms=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
	for fd in "${fds[@]}"; do
		exec {fd}>&-
	done
	kill "${pids[@]}" 2>/dev/null || true
	wait "${pids[@]}" 2>/dev/null || true
	echo "100 on TCP and 100 on the socket hang; answers for others after $ms ms"
}

check_http() {
	local path

	for path in /healthz /readyz /metrics /api/v1/destinations /api/v1/config; do
		figures "GET $path" status 200 GET "$path"
		figures "HEAD $path" head_of "$path"
		figures "POST $path" status 405 POST "$path"
	done
	figures "DELETE /metrics" status 405 DELETE /metrics
	figures "POST says what is allowed" allow
	figures "GET /nowhere" status 404 GET /nowhere
	figures "GET /metrics/" status 404 GET /metrics/
	figures "GET /api/v1/destinations, unknown parameter" status 400 GET '/api/v1/destinations?frob=1'
	figures "GET /api/v1/destinations, bad value" status 400 GET '/api/v1/destinations?visibility=l5'
	figures "GET /api/v1/destinations, bad order" status 400 GET '/api/v1/destinations?sort=zzz'
	figures "GET /api/v1/destinations, a parameter twice" \
		status 400 GET '/api/v1/destinations?host=a&host=b'
	figures "GET /api/v1/config, bad value" status 400 GET '/api/v1/config?api-version=v9'
	figures "GET /api/v1/config, bad namespace" status 400 GET '/api/v1/config?root-namespace=A.b'
	figures "GET /api/v1/config, a parameter twice" status 400 GET '/api/v1/config?all=true&all=true'
	figures "GET /metrics, any parameter" status 200 GET '/metrics?collect[]=a&collect[]=b'
	figures "security headers" security /healthz /metrics /api/v1/destinations /nowhere
	figures "query of a host" query 'host=*.example.*' --host '*.example.*'
	figures "query with an order" query 'sort=last-seen&scope=all' --sort last-seen --scope all
	figures "query of visibility and scope" query 'visibility=l7&scope=all' --visibility l7 --scope all
	figures "config as generate" config ''
	figures "config with options as generate" config 'visibility=l7&api-version=v1beta1' \
		--visibility l7 --api-version v1beta1
	figures "config with selection as generate" config "all=true&registry=unknown&host=*.example.*&workload=$(
		stand_workload app)" --all --registry unknown --host '*.example.*' --workload "$(stand_workload app)"
	figures "config with the rest as generate" \
		config 'scope=mesh&root-namespace=mesh-root&min-connections=2&only-unregistered=true' \
		--scope mesh --root-namespace mesh-root --min-connections 2 --only-unregistered
	figures "a request of 100 kB" long_request
	figures "slow clients" slow_clients
}

main() {
	traffic_serve outside echo serve --speak echo --port 7
	traffic_serve app pod-http serve --port 8080
	make_state
	check_filters
	check_order
	check_formats
	check_metrics
	URL=http://$STAND_LISTEN
	check_http
}

traffic_stand_up
main
tap_done
