#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_errors.sh - what each command says when it cannot, and which status it ends with.
# Owns: the rule (one line on stderr that starts "egress-agent: ", status 1 or 2, nothing on
# stdout) and the cases. Must not know the exact words; a case gives a pattern for what the line
# must name.
# shellcheck disable=SC2317 # some functions are called by name

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

AGENT=
TMP=
SECONDS_MAX=20

# NAME STATUS PATTERN CMD...: CMD must end with STATUS within SECONDS_MAX, print nothing on
# stdout and exactly one line on stderr, which matches the extended regex PATTERN (any case).
refuses() {
	local name=$1 status=$2 pattern=$3 got=0 out=$TMP/refuses.$BASHPID

	shift 3
	timeout -k 2 "$SECONDS_MAX" "$@" >"$out.1" 2>"$out.2" </dev/null || got=$?
	verdict "$name" "$status" "$pattern" "$got" "$out"
}

# The judgement of refuses: WANTED and GOT status, the output in FILE.1 and FILE.2.
verdict() {
	local name=$1 status=$2 pattern=$3 got=$4 out=$5 why=

	((got == status)) || why+="exit $got, not $status; "
	[[ ! -s $out.1 ]] || why+="stdout has $(wc -c <"$out.1") bytes; "
	[[ $(grep -c '' "$out.2") == 1 ]] || why+="stderr has $(grep -c '' "$out.2") lines; "
	grep -q '^egress-agent: ' "$out.2" || why+="stderr does not start with 'egress-agent: '; "
	grep -qiE -e "$pattern" "$out.2" || why+="stderr does not name '$pattern'; "
	! LC_ALL=C grep -q '[^[:print:][:space:]]' "$out.2" || why+="stderr has control bytes; "
	# Wrong usage points at the help of its command; what cannot be done says what to do.
	((status != 2)) || grep -q -e '--help' "$out.2" || why+="stderr does not point at --help; "
	((status != 1)) || grep -q ';' "$out.2" || why+="stderr does not say what to do; "
	if [[ -z $why ]]; then
		ok "$name: $(head -n 1 "$out.2")"
	else
		not_ok "$name" "$why$(head -c 300 "$out.2")"
	fi
}

# ---- usage -------------------------------------------------------------------------------

check_usage() {
	local command

	refuses "no command" 2 'command' "$AGENT"
	refuses "unknown command" 2 'frobnicate' "$AGENT" frobnicate
	refuses "unknown option before the command" 2 'frobnicate' "$AGENT" --frobnicate run
	for command in run dump generate check version; do
		refuses "$command: unknown option" 2 "$command.*--frobnicate" \
			"$AGENT" "$command" --frobnicate
		refuses "$command: unknown short option" 2 "$command.*-Z" "$AGENT" "$command" -Z
		refuses "$command: an operand too many" 2 "$command.*frobnicate" \
			"$AGENT" "$command" frobnicate
		refuses "$command: control bytes in the bad word are escaped" 2 'x1b' \
			"$AGENT" "$command" $'--\e[31m\nred'
	done
}

# COMMAND OPTION VALUE...: each VALUE is wrong usage of an option that exists, and the line says
# what it is not.
bad_values() {
	local command=$1 option=$2 value

	shift 2
	for value in "$@"; do
		refuses "$command --$option=$value" 2 "--$option: '.*is not|--$option: '.*neither" \
			"$AGENT" "$command" "--$option=$value"
	done
}

check_values() {
	bad_values run listen nonsense 127.0.0.1:99999 127.0.0.1:http :abc 256.1.1.1:80 '[::1:80' ''
	bad_values run max-hosts-per-workload -1 abc 1.5 0x10 99999999999999999999 ''
	bad_values run max-destinations 0 -1 9999999999 12k
	bad_values run internal-cidr 10.0.0.0/33 10.0.0/8 fd00::/129 nonsense /8 ''
	bad_values run socket relative.sock ./agent.sock unix:/run/agent.sock ''
	bad_values run node "$(printf 'n%.0s' {1..256})"
	refuses "run: NODE_NAME that is too long" 2 "NODE_NAME: 'nnn.* is not" \
		env NODE_NAME="$(printf 'n%.0s' {1..256})" "$AGENT" run
	bad_values run kube nonsense ftp://127.0.0.1 https:// ''
	bad_values run outbound-policy deny ''
	refuses "run: --registry kube without an API server" 2 '--registry: kube' \
		"$AGENT" run --kube off --registry kube
	bad_values run log-level loud INFO1
	bad_values run log-format xml
	bad_values dump output xml JSON1
	bad_values dump sort colour
	bad_values dump scope galaxy
	bad_values dump visibility l5 L3
	bad_values dump registry somewhere
	bad_values dump watch abc -1 5parsecs
	bad_values dump agent ftp://127.0.0.1/ 'http://' ''
	bad_values generate visibility l5 both
	bad_values generate api-version v9 v1alpha3
	bad_values generate scope galaxy
	bad_values generate min-connections -1 abc
	refuses "run: an option without its value" 2 '--listen' "$AGENT" run --listen
	refuses "dump: an option without its value" 2 '--host' "$AGENT" dump --host
	refuses "generate: a flag with a value" 2 '--all' "$AGENT" generate --all=1
}

# ---- help --------------------------------------------------------------------------------

# COMMAND WORD...: `COMMAND --help` is on stdout alone, exits 0, and has usage, an example and
# every WORD.
helps() {
	local command=$1 word why='' out=$TMP/help

	shift
	"$AGENT" "$command" --help >"$out.1" 2>"$out.2" </dev/null || why+="exit $?; "
	[[ ! -s $out.2 ]] || why+="stderr: $(head -n 1 "$out.2"); "
	for word in Usage Example --help "$@"; do
		grep -qF -e "$word" "$out.1" || why+="no '$word'; "
	done
	"$AGENT" "$command" -h 2>&1 </dev/null | cmp -s - "$out.1" || why+="-h says something else; "
	"$AGENT" "$command" --frobnicate --help >/dev/null 2>&1 && why+="hides a bad option; "
	if [[ -z $why ]]; then
		ok "$command --help: $(grep -c '' "$out.1") lines, $(grep -c -- ' --' "$out.1") with options"
	else
		not_ok "$command --help" "$why"
	fi
}

check_help() {
	local out

	helps run --cgroup --listen 127.0.0.1:9990 --socket /run/egress-agent/agent.sock --node \
		--internal-cidr --max-hosts-per-workload 200 --max-destinations 65536 \
		--kube --registry --outbound-policy --root-namespace --cluster-domain cluster.local \
		--pin /sys/fs/bpf/egress-agent --log-level --log-format --config
	helps dump --agent /run/egress-agent/agent.sock --output --namespace --workload --host \
		--visibility --registry --sort --watch --scope --config table wide json tsv bytes
	helps generate --from --visibility --api-version v1beta1 --scope --root-namespace \
		istio-system --min-connections --agent --config
	helps check --config
	helps version
	out=$("$AGENT" --help 2>"$TMP/help.2") || true
	if [[ ! -s $TMP/help.2 && $out == *Usage* && $out == *run*dump*generate*check*version* ]]; then
		ok "--help lists the commands"
	else
		not_ok "--help lists the commands" "$out"
	fi
	out=$("$AGENT" version) || true
	if [[ $out == egress-agent\ * && $(grep -c '' <<<"$out") == 1 ]]; then
		ok "version is one line: $out"
	else
		not_ok "version is one line" "$out"
	fi
	# shellcheck disable=SC2016 # expanded by the shell inside
	refuses "check > /dev/full" 1 'No space left' bash -c '"$1" check >/dev/full' - "$AGENT"
	prints_in_vain version version
	prints_in_vain "--help of all" --help
	prints_in_vain "--help" dump -h
}

# NAME ARG...: what can be printed cannot be written: the reason is said. Nobody reads it: that is
# the reader's business, and nothing is said.
prints_in_vain() {
	local name=$1

	shift
	# shellcheck disable=SC2016 # expanded by the shell inside
	refuses "$name > /dev/full" 1 'No space left on device' \
		bash -c '"$@" >/dev/full' - "$AGENT" "$@"
	unread "$name" "" "$@"
}

# NAME STDERR ARG...: ends with status 1 when its pipe has no reader, and without a word about it.
unread() {
	local name=$1 said=$2 got=0

	shift 2
	timeout -k 2 "$SECONDS_MAX" /usr/bin/python3 -c 'import os, subprocess, sys
read, write = os.pipe()
os.close(read)
sys.exit(subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=write).returncode)' \
		"$AGENT" "$@" >"$TMP/unread" 2>&1 || got=$?
	is "$name into a pipe that nobody reads: status 1, no word" "$got $(<"$TMP/unread")" "1 $said"
}

# ---- run ---------------------------------------------------------------------------------

# NAME PATTERN ARG...: `run ARG...` fails with status 1 and leaves no pin and no socket.
run_refuses() {
	local name=$1 pattern=$2 left

	shift 2
	refuses "run: $name" 1 "$pattern" "$AGENT" run --cgroup "$STAND_CG" \
		--pin "$STAND_PIN-other" --socket "$TMP/other.sock" --listen 127.0.0.1:0 "$@"
	left=$(find "$STAND_PIN-other" "$TMP/other.sock" 2>/dev/null) || true
	is "run: $name: leaves nothing behind" "$left" ""
}

# Nobody's agent: another user, no capability. The binary must be readable for that user.
check_privilege() {
	local nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all
		--inh-caps -all)

	cp "$AGENT" "$TMP/egress-agent"
	mkdir -m 1777 "$TMP/nobody"
	refuses "run: without privilege" 1 'privilege|permi|CAP_|root' \
		"${nobody[@]}" "$TMP/egress-agent" run --cgroup "$STAND_CG" \
		--pin "$STAND_PIN-other" --socket "$TMP/nobody/agent.sock" --listen 127.0.0.1:0
	refuses "run: root without capabilities" 1 'privilege|permi|CAP_|root' \
		setpriv --bounding-set -all "$TMP/egress-agent" run --cgroup "$STAND_CG" \
		--pin "$STAND_PIN-other" --socket "$TMP/nobody/agent.sock" --listen 127.0.0.1:0
	refuses "dump: without permission for the socket" 1 'permi' \
		"${nobody[@]}" "$TMP/egress-agent" dump --agent "unix:$STAND_SOCKET"
	is "check: pins of another user" \
		"$("${nobody[@]}" "$TMP/egress-agent" check --pin "$STAND_PIN" | grep bpffs | cut -d ';' -f 1)" \
		"FAIL  bpffs         $STAND_PIN: Permission denied"
	is "run: without privilege: leaves nothing behind" \
		"$(find "$STAND_PIN-other" "$TMP/nobody/agent.sock" 2>/dev/null || true)" ""
}

check_run() {
	local dir

	check_privilege
	run_refuses "cgroup is /" 'cgroup' --cgroup /
	run_refuses "cgroup is /tmp" '/tmp' --cgroup /tmp
	run_refuses "cgroup is missing" 'no-such-cgroup' --cgroup "$STAND_CG/no-such-cgroup"
	run_refuses "cgroup is a file" 'cgroup.procs' --cgroup "$STAND_CG/cgroup.procs"
	for dir in /sys/fs/cgroup/cpu /sys/fs/cgroup/memory; do
		[[ $(stat -f -c %T "$dir" 2>/dev/null) != cgroupfs ]] ||
			run_refuses "cgroup is of version 1" "$dir" --cgroup "$dir"
	done
	run_refuses "port in use" "${STAND_LISTEN#*:}" --listen "$STAND_LISTEN"
	run_refuses "port in use over IPv6 too" "${STAND_LISTEN#*:}" --listen ":${STAND_LISTEN#*:}"
	run_refuses "address of another machine" '192.0.2.1' --listen 192.0.2.1:9990
	run_refuses "socket in use" "$STAND_SOCKET" --socket "$STAND_SOCKET"
	run_refuses "socket in a missing directory" 'no-such-dir' --socket "$TMP/no-such-dir/a/b.sock"
	run_refuses "socket path too long" 'socket' --socket "$TMP/$(printf 'x%.0s' {1..120})"
	run_refuses "socket is a file of somebody" 'precious' --socket "$(precious_file)"
	is "run: somebody's file is still there" "$(cat "$TMP/precious")" "precious"
	run_refuses "registry folder is missing" "no-such-dir" --registry "$TMP/no-such-dir"
	mkdir "$TMP/registry"
	printf 'kind: [ServiceEntry\n' >"$TMP/registry/broken.yaml"
	run_refuses "registry folder has a file that is no YAML" "broken.yaml:" --registry "$TMP/registry"
	run_refuses "pin is not on bpffs" "$TMP" --pin "$TMP/pins"
	run_refuses "second instance with the same pins" 'another|already|in use|busy' \
		--pin "$STAND_PIN" --cgroup "$STAND_CG"
	passes "run: the first instance still answers" stand_agent dump -o json
	run_noise
}

precious_file() {
	echo precious >"$TMP/precious"
	echo "$TMP/precious"
}

# A log line is not an error line: an agent that runs says nothing that starts like one.
run_noise() {
	is "run: the log of a good start has no error line" \
		"$(grep -c '^egress-agent: ' "$STAND_DIR/agent.log" || true)" 0
}

# ---- dump --------------------------------------------------------------------------------

bad_server() {
	awk -v kind="$1" '$1 == kind { print $2 }' "$TMP/servers"
}

# Takes the client's whole patience: starts first, is judged last.
start_silent() {
	(
		status=0
		timeout -k 2 60 "$AGENT" dump --agent "http://127.0.0.1:$(bad_server silent)" \
			>"$TMP/silent.1" 2>"$TMP/silent.2" </dev/null || status=$?
		echo "$status $SECONDS" >"$TMP/silent.done"
	) &
}

judge_silent() {
	local status seconds

	stand_wait 60 test -s "$TMP/silent.done"
	read -r status seconds <"$TMP/silent.done"
	verdict "dump: a server that never answers" 1 'time' "$status" "$TMP/silent"
	((seconds <= 40)) || not_ok "dump: gives up in time" "$seconds s"
}

check_dump() {
	local kind command stale=$TMP/stale.sock

	/usr/bin/python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$stale"
	for command in dump generate; do
		refuses "$command: no agent" 1 "no-agent.sock.*" \
			"$AGENT" "$command" --agent "unix:$TMP/no-agent.sock"
		refuses "$command: a socket nobody listens on" 1 'stale.sock' \
			"$AGENT" "$command" --agent "unix:$stale"
		refuses "$command: an agent that is a file" 1 'servers' \
			"$AGENT" "$command" --agent "unix:$TMP/servers"
		for kind in closed hangup garbage error500 notfound html otherkind cutshort; do
			refuses "$command: a URL that answers with $kind" 1 "$(bad_server "$kind")" \
				"$AGENT" "$command" --agent "http://127.0.0.1:$(bad_server "$kind")"
		done
	done
	refuses "dump: a name that does not resolve" 1 'no-such-host.invalid' \
		"$AGENT" dump --agent http://no-such-host.invalid:9990
	for kind in table wide json tsv; do
		prints_in_vain "dump -o $kind" dump --agent "unix:$STAND_SOCKET" -o "$kind"
	done
	prints_in_vain "dump --watch" dump --agent "unix:$STAND_SOCKET" --watch
	# What is never printed cannot fail: only looking at the pipe ends this one.
	unread "dump --watch with nothing to print" "egress-agent: no destinations match" \
		dump --agent "unix:$STAND_SOCKET" --watch --host nobody
}

# ---- generate ----------------------------------------------------------------------------

# The files of bad input. Each is read with 1 GiB of memory and SECONDS_MAX of time.
bad_files() {
	local dir=$TMP/from

	mkdir "$dir"
	: >"$dir/empty"
	echo '{"apiVersion": "egress-agent/v1", "kind": "DestinationList", "destinations": [' \
		>"$dir/truncated"
	printf 'not json at all\n' >"$dir/text"
	printf '{"kind": "DestinationList"}\n{"kind": "DestinationList"}\n' >"$dir/two-documents"
	echo '{"apiVersion": "v1", "kind": "PodList", "items": []}' >"$dir/wrong-kind"
	echo '{"apiVersion": "egress-agent/v9", "kind": "DestinationList", "destinations": []}' \
		>"$dir/wrong-version"
	echo '[]' >"$dir/array"
	echo 'null' >"$dir/null"
	echo '{"apiVersion": "egress-agent/v1", "kind": "DestinationList"}' >"$dir/no-list"
	echo '{"apiVersion": "egress-agent/v1", "kind": "DestinationList", "destinations": {}}' \
		>"$dir/list-is-object"
	one_destination '.port = "443"' >"$dir/port-is-string"
	one_destination '.port = 65536' >"$dir/port-too-large"
	one_destination '.port = -1' >"$dir/port-negative"
	one_destination '.port = 443.5' >"$dir/port-fraction"
	one_destination '.host = 7' >"$dir/host-is-number"
	one_destination '.host = null' >"$dir/host-is-null"
	one_destination 'del(.host)' >"$dir/host-is-missing"
	one_destination '.protocol = "smtp"' >"$dir/protocol-unknown"
	one_destination '.connections.opened = -5' >"$dir/count-negative"
	one_destination '.connections = []' >"$dir/counts-are-list"
	one_destination '.source = "me"' >"$dir/source-is-string"
	one_destination '.firstSeen = "yesterday"' >"$dir/time-is-no-time"
	head -c 1000000 /dev/urandom >"$dir/random"
	printf '\xff\xfe{\x00}\x00' >"$dir/utf16"
	/usr/bin/python3 -c 'print("[" * 1000000)' >"$dir/deep-list"
	/usr/bin/python3 -c 'print("{\"a\":" * 1000000)' >"$dir/deep-object"
	/usr/bin/python3 -c 'print("{\"destinations\":" + "[" * 900 + "]" * 900 + "}")' >"$dir/deep-closed"
	head -c 104857600 /dev/zero | tr '\0' x >"$dir/garbage-100MB"
	head -c 104857600 /dev/zero >"$dir/zeros-100MB"
	truncate -s 300M "$dir/sparse-300MB"
}

# FILTER: a list with one good destination, changed by the jq FILTER.
one_destination() {
	jq -c "{apiVersion: \"egress-agent/v1\", kind: \"DestinationList\",
		destinations: [$GOOD_DESTINATION | $1]}" <<<null
}

GOOD_DESTINATION='{source: {namespace: "", workload: "w"}, host: "httpbin.org",
	nameSource: "sni", port: 443, transport: "tcp", protocol: "tls", scope: "external",
	visibility: "l4", registry: "unknown", interception: "none",
	connections: {opened: 1, closed: 1, failed: 0, active: 0}, bytes: {sent: 1, received: 1},
	requests: {total: 0, byCode: {}}, addresses: ["203.0.113.10"],
	firstSeen: "2026-01-01T00:00:01Z", lastSeen: "2026-01-01T00:09:59Z", findings: []}'

check_generate() {
	local file

	bad_files
	# The good one first: if it failed, the refusals below would prove nothing.
	one_destination . >"$TMP/good.json"
	passes "generate: the list the bad ones are made of is good" \
		"$AGENT" generate --from "$TMP/good.json"
	for file in "$TMP"/from/*; do
		refuses "generate --from ${file##*/}" 1 "${file##*/}" \
			prlimit --as=1073741824 "$AGENT" generate --from "$file"
	done
	# shellcheck disable=SC2016 # expanded by the shell inside
	refuses "generate --from - with a broken list" 1 'stdin|standard input|-' bash -c \
		'"$1" generate --from - <"$2"' - "$AGENT" "$TMP/from/truncated"
	refuses "generate --from a missing file" 1 'no-such-file' \
		"$AGENT" generate --from "$TMP/no-such-file"
	refuses "generate --from a directory" 1 'from' "$AGENT" generate --from "$TMP/from"
	refuses "generate --from a good and a bad file" 1 'truncated' \
		"$AGENT" generate --from "$TMP/good.json" --from "$TMP/from/truncated"
	prints_in_vain generate generate --from "$TMP/good.json"
	refuses "generate --output-dir that cannot be made" 1 '/proc/no-such' \
		"$AGENT" generate --from "$TMP/good.json" --output-dir /proc/no-such
	check_memory
}

# Valid JSON whose tree is 40 times its size: out of memory is an error line too, no crash.
check_memory() {
	/usr/bin/python3 -c 'print("[" + "1," * 20000000 + "1]")' >"$TMP/numbers-40MB"
	refuses "generate --from 40 MB of numbers with 1 GiB of memory" 1 'numbers-40MB' \
		prlimit --as=1073741824 "$AGENT" generate --from "$TMP/numbers-40MB"
}

# ---- configuration -----------------------------------------------------------------------

# NAME WANTED CMD...: the agent that `dump` looked for, as its error line tells.
asks_for() {
	local name=$1 wanted=$2 line

	shift 2
	line=$("$@" 2>&1 >/dev/null </dev/null) || true
	if [[ $line == *"$wanted"* ]]; then
		ok "$name: $line"
	else
		not_ok "$name" "wanted '$wanted' in: $line"
	fi
}

check_config() {
	local file=$TMP/agent.yaml

	echo "agent: unix:$TMP/from-file.sock" >"$file"
	asks_for "a config file beats the default" from-file.sock "$AGENT" dump --config "$file"
	asks_for "EGRESS_AGENT_CONFIG names the file, too" from-file.sock \
		env EGRESS_AGENT_CONFIG="$file" "$AGENT" dump
	asks_for "the environment beats the config file" from-environment.sock \
		env EGRESS_AGENT_AGENT="unix:$TMP/from-environment.sock" "$AGENT" dump --config "$file"
	asks_for "the command line beats the environment" from-line.sock \
		env EGRESS_AGENT_AGENT="unix:$TMP/from-environment.sock" \
		"$AGENT" dump --config "$file" --agent "unix:$TMP/from-line.sock"
	asks_for "the last of two wins on the command line" second.sock \
		"$AGENT" dump --agent "unix:$TMP/first.sock" --agent "unix:$TMP/second.sock"
	[[ -e /run/egress-agent/agent.sock ]] ||
		asks_for "the default" /run/egress-agent/agent.sock "$AGENT" dump
	asks_for "what Kubernetes sets for a service of our name is no option" from-file.sock \
		env EGRESS_AGENT_SERVICE_HOST=10.0.0.1 EGRESS_AGENT_PORT=tcp://10.0.0.1:9990 \
		EGRESS_AGENT_SERVICE_PORT=9990 "$AGENT" dump --config "$file"
	check_config_values
}

# TEXT PATTERN NAME: a config file with TEXT is wrong usage.
config_refuses() {
	printf "%b" "$1" >"$TMP/bad.yaml"
	refuses "config: $3" 2 "$2" "$AGENT" dump --config "$TMP/bad.yaml" \
		--agent "unix:$TMP/no-agent.sock"
}

check_config_values() {
	config_refuses '# a comment\nsort: host\nfrobnicate: 1\n' 'bad.yaml:3.*frobnicate' \
		"an unknown key names its line"
	config_refuses 'output: json\nsort: colour\n' 'bad.yaml:2.*sort' "a bad value names its line"
	config_refuses 'sort: [host, bytes]\n' 'sort' "a list where one value belongs"
	config_refuses 'sort: {host: bytes}\n' 'sort' "a mapping where a value belongs"
	config_refuses '- sort\n- host\n' 'bad.yaml' "a list at the top"
	config_refuses 'sort: host\n  bad: [\n' 'bad.yaml:' "broken YAML"
	config_refuses 'sort: host\nsort: bytes\n' 'sort' "a key that stands twice"
	echo 'max-destinations: many' >"$TMP/other.yaml"
	refuses "config: a key of another command is not dump's business" 1 'no-agent.sock' \
		"$AGENT" dump --config "$TMP/other.yaml" --agent "unix:$TMP/no-agent.sock"
	refuses "config: the command it belongs to refuses it" 2 'other.yaml:1.*max-destinations' \
		"$AGENT" run --config "$TMP/other.yaml"
	refuses "config: a missing file" 1 'no-such.yaml' "$AGENT" dump --config "$TMP/no-such.yaml"
	refuses "config: a directory" 1 "$TMP" "$AGENT" dump --config "$TMP"
	refuses "environment: a bad value names its variable" 2 'EGRESS_AGENT_SORT' \
		env EGRESS_AGENT_SORT=colour "$AGENT" dump
	refuses "environment: a dash becomes an underscore" 2 'EGRESS_AGENT_MAX_DESTINATIONS' \
		env EGRESS_AGENT_MAX_DESTINATIONS=many "$AGENT" run
	: >"$TMP/empty.yaml"
	refuses "config: an empty file is fine" 1 'no-agent.sock' \
		"$AGENT" dump --config "$TMP/empty.yaml" --agent "unix:$TMP/no-agent.sock"
}

listed() {
	stand_value '.destinations[].host' | grep -qF "\"$1\""
}

main() {
	AGENT=$STAND_AGENT_BIN
	TMP=$TRAFFIC_DIR
	SECONDS=0
	"$E2E/bad_servers.py" >"$TMP/servers" &
	SERVERS=$!
	stand_wait 10 grep -q '^closed ' "$TMP/servers"
	start_silent
	# A list that has something in it, for what is printed to be worth refusing.
	stand_run_in app curl -4 -fsS -o /dev/null http://www.gnu.org/status/200
	stand_wait 10 listed www.gnu.org
	check_usage
	check_values
	check_help
	check_run
	check_dump
	check_generate
	check_config
	judge_silent
}

# The servers are no process of the stand.
stop_servers() {
	tap_at_exit >&"$TRAFFIC_STDOUT"
	[[ -z $SERVERS ]] || kill "$SERVERS" 2>/dev/null || true
}

SERVERS=
traffic_stand_up
stand_trap stop_servers
main
tap_done
