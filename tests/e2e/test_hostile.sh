#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_hostile.sh - what a pod, or anybody outside, may try: names that are none, ports that are none, posing as a
# sidecar, more hosts than there is room for. And an operator who starts the agent over pins of another cgroup.
# Owns: the attempts. Must not know how the agent resists.
# shellcheck disable=SC2016,SC2317,SC2119 # jq has variables of its own; some functions are called by name

set -euo pipefail
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/stand.sh
. "$(dirname "$0")/../lib/stand.sh"

PY=/usr/bin/python3

# NAME FILTER WANT: poll until the jq FILTER over dump gives WANT.
becomes() {
	local name=$1 filter=$2 want=$3

	gives() { [[ $(stand_value "$filter") == "$want" ]]; }
	if stand_wait 20 gives 2>/dev/null; then
		ok "$name"
	else
		not_ok "$name" "got $(stand_value "$filter"), want $want"
	fi
}

# ADDRESS PORT HEXNAME...: a ClientHello with each server_name, one connection each, from the pod.
hellos() {
	stand_run_in app "$PY" - "$@" <<'PYTHON'
import socket, sys
address, port, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for name in map(bytes.fromhex, names):
    sni = (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name
    ext = b"\0\0" + len(sni).to_bytes(2, "big") + sni
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(ext).to_bytes(2, "big") + ext
    hello = b"\1" + len(body).to_bytes(3, "big") + body
    with socket.create_connection((address, port), timeout=5) as s:
        s.sendall(b"\x16\3\1" + len(hello).to_bytes(2, "big") + hello)
        s.recv(4096)
PYTHON
}

hex() {
	printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'
}

names() {
	local out

	hellos "$(stand_address httpbin.org 4)" 443 "$(hex good.example)" "$(hex 'a b')" "00ff1b5d30" \
		"$(hex '~other')" "$(hex '"};{}')" "$(hex "$(printf 'x%.0s' {1..300})")"
	becomes "names that are none are one line, ~invalid" \
		'[.destinations[] | select(.host == "~invalid") | .connections.opened, .findings[0]]' '[5,"invalid-name"]'
	becomes "a name that is one stands beside it" \
		'[.destinations[] | select(.host == "good.example") | .connections.opened]' '[1]'
	out=$(stand_agent dump -o wide; stand_agent dump -o tsv; stand_metrics)
	is "no control byte reaches any output" "$(LC_ALL=C tr -d '[:print:]\n\t' <<<"$out" | wc -c)" 0
	out=$(stand_agent generate 2>&1 >/dev/null) || true
	is "generate says why it leaves them out" "$(grep -c 'invalid' <<<"$out")" 1
}

port_zero() {
	stand_run_in app "$PY" -c 'import socket, sys
s = socket.socket(); s.settimeout(2)
try: s.connect((sys.argv[1], 0))
except OSError: pass' "$(stand_address httpbin.org 4)"
	becomes "a connection to port 0 is a failed one, and dump still works" \
		'[.destinations[] | select(.port == 0 and (.host | startswith("~") | not)) | .connections.failed]' '[1]'
	passes "generate still works" stand_agent generate
}

# Somebody outside connects to port 15001 of the pod, which listens there: the pod stays visible.
posing() {
	local pid

	stand_run_in app curl -fsS -o /dev/null http://httpbin.org/
	becomes "before: the pod's call is listed" \
		'[.destinations[] | select(.host == "httpbin.org") | .connections.opened]' '[1]'
	stand_run_in app "$PY" -c 'import socket
s = socket.create_server(("0.0.0.0", 15001)); s.settimeout(20)
for _ in range(2):
    c, _ = s.accept(); c.sendall(b"hello"); c.close()' &
	pid=$!
	knock() { stand_run_in "$1" "$PY" -c 'import socket, sys
socket.create_connection((sys.argv[1], 15001), timeout=5).recv(5)' "$2"; }
	stand_wait 10 knock outside "$(pod_address)" 2>/dev/null
	stand_wait 10 knock app 127.0.0.1 2>/dev/null
	wait "$pid"
	stand_run_in app curl -fsS -o /dev/null http://httpbin.org/
	becomes "answering on port 15001, to others or to itself, hides nothing" \
		'[.destinations[] | select(.host == "httpbin.org") | .connections.opened]' '[2]'
}

pod_address() {
	stand_run_in app ip -4 -o addr show scope global | awk '{ split($4, a, "/"); print a[1]; exit }'
}

# 300 hosts where 20 have room; internal ones (here: those the outside has) are counted apart.
flood() {
	local i hosts=()

	for i in {1..300}; do
		hosts+=("$(hex "h$i.example")")
	done
	stand_agent_start --max-hosts-per-workload 20
	hellos "$(stand_address httpbin.org 4)" 443 "${hosts[@]}"
	becomes "300 hosts where 20 have room: 20 lines, the rest in ~other, none lost" \
		'[.destinations[] | select(.protocol == "tls")] | [length, (map(.connections.opened) | add),
		 (map(select(.host == "~other") | .connections.opened) | add)]' '[21,300,280]'
	is "the metrics add up to the same" \
		"$(stand_metric egress_tcp_connections_opened_total request_protocol=tcp)" 300
	stand_agent_stop
}

# COUNT SECONDS: so many clients ask for /metrics, a few at a time, and read nothing of it for so long. In the
# background only: it takes the place of the shell, so that a kill reaches it.
slow_readers() {
	exec "$PY" - "${STAND_LISTEN##*:}" "$1" "$2" <<'PYTHON'
import socket, sys, time
port, count, seconds = map(int, sys.argv[1:])
readers = []
for i in range(count):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", port))
    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    readers.append(s)
    if i % 3 == 2:
        time.sleep(0.3)  # so that the next ones have a list of their own
print("ready", flush=True)
time.sleep(seconds)
PYTHON
}

# 12 MB of metrics that nobody reads: whoever does read gets his, with what is new, and memory stays where it is.
unread_metrics() {
	local i hosts=() out=$STAND_DIR/slow.out pid before after

	for i in {1..1000}; do
		hosts+=("$(hex "host-$i.example")")
	done
	stand_agent_start --max-hosts-per-workload 2000
	hellos "$(stand_address httpbin.org 4)" 443 "${hosts[@]}"
	becomes "1,000 hosts have a line each" '[.destinations[] | select(.protocol == "tls")] | length' 1000
	stand_metrics >/dev/null
	before=$(rss_mib)
	slow_readers 40 30 >"$out" &
	pid=$!
	stand_wait 20 grep -q ready "$out"
	hellos "$(stand_address httpbin.org 4)" 443 "$(hex late.example)"
	sees_late() { [[ $(stand_metric egress_tcp_connections_opened_total destination_service=late.example) == 1 ]]; }
	passes "40 clients that read nothing keep nobody from /metrics" stand_wait 20 sees_late
	passes "nor from it again, as Prometheus does" stand_wait 20 sees_late
	is "they were cut or refused, and that is counted" \
		"$(($(stand_metric egress_agent_http_replies_refused_total) > 30))" 1
	after=$(rss_mib)
	is "they cost the agent less than 16 MiB" "$((after - before < 16))" 1
	kill "$pid"
	wait "$pid" || true
	stand_agent_stop
	rm -rf "$STAND_PIN"
}

rss_mib() {
	awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/${STAND_PIDS[agent]}/status"
}

# The pins of one cgroup are not taken for another; nothing is detached by trying.
other_cgroup() {
	local out status=0 dir

	dir=$(mktemp -d)
	out=$("$STAND_AGENT_BIN" run --cgroup "$(stand_cgroup app)" --pin "$STAND_PIN" \
		--socket "$dir/s" --listen 127.0.0.1:0 2>&1) || status=$?
	is "pins of another cgroup are refused in one line" \
		"$status $(wc -l <<<"$out") $(grep -c 'another cgroup' <<<"$out")" "1 1 1"
	status=0
	"$STAND_AGENT_BIN" run --cgroup "$(stand_cgroup app)" --pin "$dir" --socket "$dir/s" \
		--listen 127.0.0.1:0 2>/dev/null || status=$?
	is "a directory that is not on bpffs is refused, and stays" "$status $([[ -d $dir ]] && echo there)" "1 there"
	rm -rf "$dir"
}

stand_trap tap_at_exit
stand_need || { skip "hostile input" "this machine cannot have a stand"; tap_done; }
stand_up
stand_agent_start
names
port_zero
posing
stand_agent_stop || true
other_cgroup
rm -rf "$STAND_PIN"
unread_metrics
flood
tap_done
