#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# init.sh - the first process of a virtual machine of run.sh: put every question to this kernel, then power off.
# Owns: what is asked. Must not know: which kernel it is, or how run.sh counts.
#
# Runs under busybox in an initramfs that holds nothing else but the agent, test_bpf, curl, openssl. The second
# serial line takes lines of VERDICT<tab>NAME<tab>WHY (ok, not ok, skip; words: the kernel's own, when it refuses the
# programs) and at last `done`; the first one takes the kernel's messages and whatever else is printed.
# `egress=refuse` on the kernel's command line: the agent is expected to say that this kernel is too old.

export PATH=/bin HOME=/
ADDR4=203.0.113.10 ADDR6=2001:db8::10
API=http://127.0.0.1:9990
POD=/sys/fs/cgroup/pod
KERNEL=$(uname -r)

setup() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs dev /dev
	mount -t tmpfs run /run
	mount -t tmpfs tmp /tmp
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount -t bpf bpf /sys/fs/bpf
	hostname vm
	# Documentation addresses on lo: to the agent they are the outside.
	ip link set lo up
	ip addr add "$ADDR4/32" dev lo
	ip -6 addr add "$ADDR6/128" dev lo
	mkdir "$POD"
}

# What a case is called carries the kernel, so that the machines' lines can be told apart.
ok() {
	printf 'ok\t%s: %s\n' "$KERNEL" "$1" >&3
}

not_ok() {
	printf 'not ok\t%s: %s\t%s\n' "$KERNEL" "$1" \
		"$(echo "$2" | tr '\n\r\t' '   ' | tail -c 600)" >&3
}

is() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "got '$2', want '$3'"
	fi
}

# SECONDS CMD...: until CMD succeeds; 1 when the time is over.
await() {
	deadline=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$deadline" ] || return 1
		sleep 0.2
	done
}

in_pod() {
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$POD" "$@"
}

# check: each of its lines is a case.
ask_check() {
	status=0
	egress-agent check >/tmp/check 2>&1 || status=$?
	cat /tmp/check
	while read -r verdict what text; do
		case $verdict in
		ok) ok "check: $what: $text" ;;
		FAIL) not_ok "check: $what" "$text" ;;
		esac
	done </tmp/check
	is "check ends with status" "$status" 0
	return "$status"
}

# Why the kernel refuses the programs, in its own words: bpftool shows the verifier's log whole.
ask_why() {
	bpftool prog loadall /egress.bpf.o /sys/fs/bpf/why >/tmp/why 2>&1 && rm -r /sys/fs/bpf/why
	cat /tmp/why
	grep -aB 16 'END PROG LOAD LOG' /tmp/why | cut -c 1-200 | sed "s/^/words\t$KERNEL: /" >&3
	grep -a '^libbpf: .*failed' /tmp/why | cut -c 1-200 | sed "s/^/words\t$KERNEL: /" >&3
}

# A kernel without what the programs need: both commands say no, and in how few words.
ask_refusal() {
	status=0
	egress-agent check >/tmp/check 2>&1 || status=$?
	cat /tmp/check
	is "check ends with status" "$status" 1
	is "check says which kernel is needed" \
		"$(grep -c '^FAIL  kernel .*; use Linux [0-9.]* or later$' /tmp/check)" 1
	status=0
	egress-agent run --pin off >/tmp/refusal 2>&1 || status=$?
	cat /tmp/refusal
	is "run ends with status" "$status" 1
	is "run says why in one line" "$(grep -c '^egress-agent: run: .*; ' /tmp/refusal)" 1
}

# The case table in this kernel, and what its verifier counts.
ask_bpf() {
	status=0
	EA_FLOOD=22000 test_bpf >/tmp/bpf 2>/tmp/bpf.err || status=$?
	cat /tmp/bpf.err
	sed -n -e "s/^ok - /ok\t$KERNEL: /p" \
		-e "s/^\(not ok\|skip\) - \([^:]*\): /\1\t$KERNEL: \2\t/p" /tmp/bpf >&3
	is "the bpf layer ends with status" "$status" 0
}

ready() {
	wget -q -O /dev/null "$API/readyz" 2>/dev/null
}

agent_start() {
	egress-agent run --node vm >>/tmp/run 2>&1 &
	AGENT=$!
	await 60 ready && return 0
	not_ok "the agent starts" "$(tail -n 3 /tmp/run)"
	return 1
}

agent_stop() {
	kill "$AGENT"
	wait "$AGENT"
}

# GLOB: dump's lines of these hosts, as protocol, visibility, opened, active, sent, received, requests.
rows() {
	egress-agent dump -o tsv --sort host --host "$1" 2>/dev/null |
		awk -F '\t' 'NR > 1 { print $5, $6, $7, $8, $9, $10, $11 }'
}

rows_are() {
	[ "$(rows "$1")" = "$2" ]
}

# NAME HOST ROWS: wait for them; the kernel may end a connection a little after its client did.
shows() {
	await 10 rows_are "$2" "$3"
	is "$1" "$(rows "$2")" "$3"
}

# PORT [TABLE]: does somebody listen on it? Asked of the kernel, so that the agent sees no connection.
listens() {
	grep -q ":$(printf %04X "$1") [0-9A-F:]* 0A " "/proc/net/${2:-tcp}" ||
		{ [ $# -eq 1 ] && grep -q ":$(printf %04X "$1") [0-9A-F:]* 0A " /proc/net/tcp6; }
}

serve() {
	mkdir /tmp/www
	head -c 100000 /dev/zero >/tmp/www/big
	httpd -p 80 -h /tmp/www
	openssl s_server -4 -accept 443 -cert /tls.crt -key /tls.key -www >/tmp/tls 2>&1 &
	await 60 listens 443
	openssl s_server -6 -accept 443 -cert /tls.crt -key /tls.key -www >>/tmp/tls 2>&1 &
	await 60 listens 443 tcp6 && await 10 listens 80 && return 0
	not_ok "servers for live connections start" "$(cat /tmp/tls)"
	return 1
}

ended() {
	[ "$(rows "$1" | cut -d ' ' -f 4)" = 0 ]
}

# NAME HOST ADDRESS: a client as they are.
live_tls() {
	in_pod curl -sk --max-time 60 -o /dev/null --resolve "$2:443:$3" "https://$2/" ||
		not_ok "$1" "curl: exit $?"
	await 10 ended "$2"
	is "$1" "$(rows "$2" | cut -d ' ' -f 1-4)" "tls l4 1 0"
}

byte() {
	# shellcheck disable=SC2059 # the escape is meant
	printf "\\$(printf %03o "$1")"
}

# HOST: the least ClientHello that names it, RFC 8446 section 4.1.2.
hello() {
	n=${#1}
	printf '\026\003\001\000'; byte $((56 + n)); printf '\001\000\000'; byte $((52 + n))
	printf '\003\003................................\000\000\002\023\001\001\000\000'
	byte $((9 + n)); printf '\000\000\000'; byte $((5 + n)); printf '\000'; byte $((3 + n))
	printf '\000\000'; byte "$n"; printf %s "$1"
}

# NAME HOST ADDRESS: the hello in segments of 20 bytes, which cut header, random and name.
live_cut() {
	hello "$2" >/tmp/hello
	size=$(wc -c </tmp/hello)
	(for at in $(seq 0 20 "$size"); do
		dd if=/tmp/hello bs=1 skip="$at" count=20 2>/dev/null
		sleep 0.1
	done) | in_pod timeout 30 nc "$3" 443 >/dev/null
	await 10 ended "$2"
	is "$1" "$(rows "$2" | cut -d ' ' -f 1-5)" "tls l4 1 0 $size"
}

# NAME HOST ADDRESS: two requests. curl knows each byte of them, and the row must too.
live_http() {
	in_pod curl -s --max-time 60 -o /dev/null -o /dev/null --resolve "$2:80:$3" \
		-w '%{size_request} %{size_header} %{size_download} %{num_connects}\n' \
		"http://$2/big" "http://$2/absent" >/tmp/curl
	want=$(awk '{ s += $1; r += $2 + $3; c += $4 } END { print c, 0, s, r, NR }' /tmp/curl)
	shows "$1" "$2" "http l7 $want"
}

# HOST CODE: how many of its requests were answered so.
answered() {
	wget -q -O - "$API/metrics" | grep '^egress_requests_total{' |
		grep -F "\"$1\"" | grep -F "response_code=\"$2\"" | awk '{ n += $2 } END { print n + 0 }'
}

# What an open connection sent is known while it is open: the iterator over sockets.
live_open() {
	sleep 1000 | nc -l -p 8080 >/dev/null 2>&1 &
	await 10 listens 8080
	(printf 'GET / HTTP/1.1\r\nHost: open.example\r\n\r\n'; sleep 1000) |
		in_pod nc "$ADDR4" 8080 >/dev/null 2>&1 &
	shows "an open connection's bytes are counted" open.example "http l7 1 1 38 0 1"
}

# What the data plane could not read or count, by its own account.
losses() {
	wget -q -O - "$API/metrics" |
		grep -E '^egress_agent_(unparsed|lost|destinations_folded)_total.* [1-9]' | tr '\n' ' '
}

# The next agent finds the programs and their counts in place.
live_restart() {
	before=$(rows '*.example')
	agent_stop
	agent_start || return
	await 10 rows_are open.example "http l7 1 1 38 0 1"
	is "the next agent adopts counts and open connections" "$(rows '*.example')" "$before"
}

ask_live() {
	serve && agent_start || return
	live_tls "TLS over IPv4 is named" tls4.example "$ADDR4"
	live_tls "TLS over IPv6 is named" tls6.example "[$ADDR6]"
	live_cut "a hello in segments of 20 bytes is named" cut.example "$ADDR4"
	live_http "HTTP over IPv4 is named, each byte counted once" http4.example "$ADDR4"
	live_http "HTTP over IPv6 is named, each byte counted once" http6.example "[$ADDR6]"
	is "answers are paired with requests" \
		"$(answered http4.example 200) $(answered http4.example 404)" "1 1"
	live_open
	live_restart
	is "nothing was lost" "$(losses)" ""
	agent_stop
}

setup
exec 3>/dev/ttyS1
case $(cat /proc/cmdline) in
*egress=refuse*)
	ask_refusal
	ask_why
	;;
*)
	if ask_check; then
		ask_live
		ask_bpf
	else
		ask_why
	fi
	;;
esac
cat /tmp/run /tmp/tls 2>/dev/null
echo 'done' >&3
poweroff -f
