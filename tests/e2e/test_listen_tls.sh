#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_listen_tls.sh - the agent's pages over HTTPS: who is served, what is done when the files are replaced, what
# clients may try that do not come to an end, and files that cannot be used.
# Owns: the certificates (made here) and the clients. Must not know which library speaks TLS.
# shellcheck disable=SC2317,SC2119 # some functions are called by name

set -euo pipefail
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/stand.sh
. "$(dirname "$0")/../lib/stand.sh"

PY=/usr/bin/python3
OPENSSL_LOG=/dev/null
PKI=
URL=
CLIENTS=

# ---- certificates ------------------------------------------------------------------------

# NAME: an authority, PKI/NAME.crt and .key.
authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
		-keyout "$PKI/$1.key" -out "$PKI/$1.crt" 2>"$OPENSSL_LOG"
}

# NAME AUTHORITY: a certificate for this machine, server or client.
certificate() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "$PKI/$1.key" -out "$PKI/$1.csr" 2>"$OPENSSL_LOG"
	openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/$2.crt" -CAkey "$PKI/$2.key" -CAcreateserial -days 2 \
		-extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") -out "$PKI/$1.crt" 2>"$OPENSSL_LOG"
}

make_pki() {
	PKI=$STAND_DIR/pki
	OPENSSL_LOG=$STAND_DIR/openssl-tls.log
	mkdir "$PKI"
	authority ca
	authority stranger
	certificate first ca
	certificate second ca
	certificate client ca
	certificate foreign stranger
	mkdir "$PKI/one" "$PKI/two" "$PKI/odd"
	cp "$PKI/first.crt" "$PKI/one/tls.crt"
	cp "$PKI/first.key" "$PKI/one/tls.key"
	cp "$PKI/second.crt" "$PKI/two/tls.crt"
	cp "$PKI/second.key" "$PKI/two/tls.key"
	cp "$PKI/second.crt" "$PKI/odd/tls.crt"
	cp "$PKI/first.key" "$PKI/odd/tls.key"
}

# FOLDER: what the agent reads from now on, in one step, as a kubelet does it.
mount_files() {
	ln -sfn "$PKI/$1" "$PKI/next"
	mv -T "$PKI/next" "$PKI/live"
}

# ---- the agent and who asks it -----------------------------------------------------------

# OPTION...: the agent with HTTPS; what it says goes to an empty agent.log.
start() {
	STAND_LISTEN=127.0.0.1:$(_stand_free_port)
	URL=https://$STAND_LISTEN
	rm -f "$STAND_DIR/agent.log"
	_stand_spawn agent "$STAND_CG-outside" "" "$STAND_AGENT_BIN" run --cgroup "$STAND_CG" --pin "$STAND_PIN" \
		--socket "$STAND_SOCKET" --listen "$STAND_LISTEN" \
		--tls-cert "$PKI/live/tls.crt" --tls-key "$PKI/live/tls.key" "$@"
	_stand_ready agent 15 get /readyz
}

# PATH [CURL-OPTION...]: the page, by somebody who trusts the authority.
get() {
	curl -q -fsS --noproxy '*' --max-time 5 --cacert "$PKI/ca.crt" "${@:2}" "$URL$1"
}

# PATH [CURL-OPTION...]: its status, 000 when there is no answer at all.
status() {
	curl -q -sS --noproxy '*' --max-time 5 --cacert "$PKI/ca.crt" -o "$STAND_DIR/page" -w '%{http_code}' \
		"${@:2}" "$URL$1" 2>"$STAND_DIR/curl.err" || true
}

as() {
	printf -- '--cert\n%s\n--key\n%s\n' "$PKI/$1.crt" "$PKI/$1.key"
}

# The name in the certificate that a new connection is shown.
shown() {
	openssl s_client -connect "$STAND_LISTEN" -CAfile "$PKI/ca.crt" </dev/null 2>"$OPENSSL_LOG" |
		openssl x509 -noout -subject -nameopt multiline 2>"$OPENSSL_LOG" | awk '$1 == "commonName" { print $3 }'
}

shows() {
	[[ $(shown) == "$1" ]]
}

log_lines() {
	grep -c "$1" "$STAND_DIR/agent.log" || true
}

says() {
	(($(log_lines "$1") > 0))
}

reloads() {
	get /metrics | _stand_metric_sum egress_agent_http_tls_reloads_total "result=$1"
}

# ---- files that cannot be used -----------------------------------------------------------

# NAME STATUS PATTERN OPTION...: one line, and nothing was touched.
refuses() {
	local name=$1 want=$2 pattern=$3 status=0 err=$STAND_DIR/refused left

	timeout 10 "$STAND_AGENT_BIN" run --cgroup "$STAND_CG" --pin "$STAND_PIN" --socket "$STAND_DIR/other.sock" \
		--listen 127.0.0.1:0 "${@:4}" >"$err.out" 2>"$err" </dev/null || status=$?
	left=$(find "$STAND_PIN" "$STAND_DIR/other.sock" 2>/dev/null) || true
	is "refused: $name: $(head -n 1 "$err")" \
		"$status $(grep -c '' "$err") $(grep -cE -e "^egress-agent: run: .*$pattern" "$err") $(wc -c <"$err.out") $left" \
		"$want 1 1 0 "
}

bad_files() {
	local cert=$PKI/first.crt key=$PKI/first.key

	refuses "a certificate without a key" 2 '--tls-key; .*--help' --tls-cert "$cert"
	refuses "a key without a certificate" 2 '--tls-cert; .*--help' --tls-key "$key"
	refuses "an authority alone" 2 '--tls-cert and --tls-key; .*--help' --client-ca "$PKI/ca.crt"
	refuses "an authority and half a pair" 2 '--tls-key; ' --client-ca "$PKI/ca.crt" --tls-cert "$cert"
	refuses "no such certificate" 1 'no-such\.crt: No such file.*;' --tls-cert "$PKI/no-such.crt" --tls-key "$key"
	refuses "no such key" 1 'no-such\.key: No such file.*;' --tls-cert "$cert" --tls-key "$PKI/no-such.key"
	refuses "no such authority" 1 'no-such\.ca: No such file.*;' --tls-cert "$cert" --tls-key "$key" \
		--client-ca "$PKI/no-such.ca"
	refuses "the key of another one" 1 'second\.key: not the key.*first\.crt;' \
		--tls-cert "$cert" --tls-key "$PKI/second.key"
	echo 'neither one nor the other' >"$PKI/text"
	refuses "text for a certificate" 1 'text: no certificate.*;' --tls-cert "$PKI/text" --tls-key "$key"
	refuses "text for a key" 1 'text: no private key.*;' --tls-cert "$cert" --tls-key "$PKI/text"
	refuses "text for an authority" 1 'text: no certificate.*;' --tls-cert "$cert" --tls-key "$key" \
		--client-ca "$PKI/text"
	openssl pkey -in "$key" -aes256 -passout pass:secret -out "$PKI/locked.key" 2>"$OPENSSL_LOG"
	refuses "a key with a passphrase" 1 'locked\.key: .*passphrase.*;' --tls-cert "$cert" --tls-key "$PKI/locked.key"
	refuses "a folder" 1 'pki: Is a directory;' --tls-cert "$PKI" --tls-key "$key"
	check_environment
}

# The other ways an option can be given.
check_environment() {
	local file=$STAND_DIR/tls.yaml

	printf 'tls-cert: %s\ntls-key: %s\n' "$PKI/first.crt" "$PKI/second.key" >"$file"
	refuses "from a file" 1 'second\.key: not the key' --config "$file"
	export EGRESS_AGENT_TLS_CERT=$PKI/first.crt EGRESS_AGENT_TLS_KEY=$PKI/no-such.key
	refuses "from the environment" 1 'no-such\.key: No such file'
	unset EGRESS_AGENT_TLS_CERT EGRESS_AGENT_TLS_KEY
}

# ---- pages -------------------------------------------------------------------------------

pages() {
	local out

	is "the log names the address as it is to be asked" "$(log_lines "metrics at $URL/metrics")" 1
	passes "/metrics over HTTPS" get /metrics -o /dev/null
	is "headers are those of HTTP" "$(get /healthz -D - -o /dev/null | grep -ciE \
		'^(x-content-type-options: nosniff|content-security-policy: |x-frame-options: DENY|strict-transport.*)')" 3
	is "HEAD, other methods, no such page" \
		"$(status /metrics -I) $(status /metrics -X POST) $(status /nothing)" "200 405 404"
	fails "who does not trust the authority" 60 curl -q -fsS --noproxy '*' --cacert "$PKI/stranger.crt" "$URL/metrics"
	out=$(curl -q -sS --noproxy '*' --max-time 5 "http://$STAND_LISTEN/metrics" 2>/dev/null | tr -d '\0') || true
	is "HTTP without TLS gets nothing" "$out" ""
	passes "the unix socket is as it was" stand_agent dump -o json
	dump_over_https
}

# With the authority among the system's: that is whom `dump` trusts.
dump_over_https() {
	local out status=0

	out=$("$STAND_AGENT_BIN" dump -o json --agent "$URL" 2>&1) || status=$?
	is "dump --agent https://...: an authority that this machine does not know: $out" \
		"$status $(wc -l <<<"$out") $(grep -c '^egress-agent: dump: .*certificate' <<<"$out")" "1 1 1"
	# shellcheck disable=SC2016 # expanded by the shell inside
	passes "dump --agent https://...: one that it knows" unshare -m sh -c \
		'mount --make-rprivate / && mount --bind "$1" /etc/ssl/certs/ca-certificates.crt && "$2" dump -o json --agent "$3"' \
		- "$PKI/ca.crt" "$STAND_AGENT_BIN" "$URL"
}

client_certificates() {
	local client foreign path

	mapfile -t client < <(as client)
	mapfile -t foreign < <(as foreign)
	for path in / /metrics /api/v1/destinations /api/v1/config /nothing; do
		is "$path: no certificate, another authority's" "$(status "$path") $(status "$path" "${foreign[@]}")" "403 403"
		is "$path: nothing is told" "$(<"$STAND_DIR/page")" \
			'{"error":"only for clients with a certificate that --client-ca signed"}'
	done
	is "one that the authority signed" "$(for path in / /metrics /api/v1/destinations /api/v1/config /nothing; do
		status "$path" "${client[@]}"
		echo
	done | paste -sd' ')" "200 200 200 200 404"
	is "who watches over the process shows none" "$(status /healthz) $(status /readyz) $(status /readyz "${foreign[@]}")" \
		"200 200 200"
	passes "the unix socket asks for none" stand_agent dump -o json
	scraped_by_prometheus
}

# A real client that comes again and again, with a certificate.
scraped_by_prometheus() {
	cat >"$STAND_DIR/tls-prometheus.yml" <<EOF
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: egress-agent
  scheme: https
  tls_config: {ca_file: $PKI/ca.crt, cert_file: $PKI/client.crt, key_file: $PKI/client.key}
  static_configs: [{targets: ["@AGENT@"]}]
- job_name: nobody
  scheme: https
  tls_config: {ca_file: $PKI/ca.crt}
  static_configs: [{targets: ["@AGENT@"]}]
EOF
	stand_prometheus_start prometheus "$STAND_DIR/tls-prometheus.yml"
	up() { [[ $(stand_query "$1" | jq -c '[.data.result[].value[1]]') == "$2" ]]; }
	passes "Prometheus scrapes with a certificate" stand_wait 15 up 'min_over_time(up{job="egress-agent"}[1m]) == 1 and
		count_over_time(egress_agent_start_time_seconds{job="egress-agent"}[1m]) > 2' '["1"]'
	passes "and has nothing without" stand_wait 15 up 'up{job="nobody"}' '["0"]'
	stand_prometheus_stop
}

# ---- rotation ----------------------------------------------------------------------------

rotation() {
	is "before: the first certificate" "$(shown)" first
	mount_files two
	passes "a new pair is in use without a restart" stand_wait 15 shows second
	passes "and the log says so" stand_wait 5 says 'TLS: new files are in use'
	is "once" "$(log_lines 'TLS: ') $(reloads loaded) $(reloads refused)" "1 1 0"
	mount_files odd
	passes "a key of another certificate is told" stand_wait 15 says "TLS: .*live/tls.key: not the key"
	rm "$PKI/live"
	passes "files that are gone are told" stand_wait 15 says "TLS: .*live/tls.crt: No such file"
	is "both once, and counted; the pair before stays" \
		"$(log_lines 'not the key') $(log_lines 'No such file') $(reloads loaded) $(reloads refused) $(shown)" \
		"1 1 1 2 second"
	mount_files one
	passes "good files end that" stand_wait 15 shows first
	is "which is counted, too" "$(reloads loaded) $(reloads refused)" "2 2"
}

# ---- clients that do not come to an end --------------------------------------------------

# COUNT: so many connections, of which every third says nothing, sends half a hello, or a whole one; then they are
# silent. In the background only: it takes the place of the shell, so that a kill reaches it.
silent_clients() {
	exec "$PY" - "${STAND_LISTEN##*:}" "$1" <<'PYTHON'
import socket, ssl, sys, time
port, count = map(int, sys.argv[1:])
context = ssl.create_default_context()
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    pass
hello = outgoing.read()
clients = []
for i in range(count):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall([b"", hello[:len(hello) // 2], hello][i % 3])
    clients.append(s)
print("ready", flush=True)
time.sleep(60)
PYTHON
}

# Hundredths of a second of CPU that the agent has taken.
cpu() {
	awk '{ print $14 + $15 }' "/proc/${STAND_PIDS[agent]}/stat"
}

silent() {
	local out=$STAND_DIR/silent.out before

	silent_clients 50 >"$out" &
	CLIENTS=$!
	stand_wait 20 grep -q ready "$out"
	passes "50 handshakes that do not end keep nobody from /metrics" get /metrics -o /dev/null
	before=$(cpu)
	sleep 2
	is "and cost no time: less than half of it" "$(($(cpu) - before < $(getconf CLK_TCK)))" 1
	cut_late() { (($(get /metrics | _stand_metric_sum egress_agent_http_connections_cut_total reason=late) >= 50)); }
	passes "they are cut when their time is over, which is counted" stand_wait 20 cut_late
	end_clients
}

end_clients() {
	[[ -z $CLIENTS ]] || kill "$CLIENTS" 2>/dev/null || true
	wait "$CLIENTS" 2>/dev/null || true
	CLIENTS=
}

# Ctrl-C with clients in every state.
stop() {
	local out=$STAND_DIR/stop.out

	silent_clients 20 >"$out" &
	CLIENTS=$!
	stand_wait 20 grep -q ready "$out"
	kill -INT "${STAND_PIDS[agent]}"
	ended() { ! _stand_alive "${STAND_PIDS[agent]}"; }
	passes "Ctrl-C ends it with 20 open handshakes, at once" stand_wait 5 ended
	passes "and well" stand_agent_stop
	end_clients
}

at_exit() {
	tap_at_exit
	end_clients
}

stand_trap at_exit
stand_need || { skip "HTTPS" "this machine cannot have a stand"; tap_done; }
stand_up
make_pki
bad_files
mount_files one
start
pages
silent
rotation
stop
start --client-ca "$PKI/ca.crt"
client_certificates
is "no line of the log is an error" "$(log_lines '^egress-agent: ')" 0
stand_agent_stop
tap_done
