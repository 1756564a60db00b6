# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# stand.sh - pods, an outside world, a sidecar and the agent on one machine, without internet.
# Owns: the namespaces, cgroups, processes and files of one stand, and removing all of them.
# Must not know what a test or the demo asserts. Needs root and the packages of packages.sh.
#
# Usage (bash, set -euo pipefail):
#	. "$(dirname "$0")/../lib/stand.sh"
#	stand_trap [CMD]		# EXIT INT TERM HUP; CMD (say tap_at_exit) runs first on EXIT
#	stand_need			# one line on stderr and status 1 when this machine cannot
#	stand_up [NAME...]		# outside + pod "pod"; NAMEs are served besides STAND_NAMES.
#					# Call it as a plain command: it relies on set -e
#	stand_agent_start [OPTION...]	# run ... OPTION...; returns when /readyz answers 200
#	stand_run_in app curl -4 --cacert "$STAND_CA" https://httpbin.org/status/200
#	stand_down			# also from the trap; any time, any number of times
#
# Pods and containers
#	stand_pod POD			# one more pod: namespace, cgroup, addresses, container app
#	stand_container POD NAME	# one more container in it
#	stand_run_in WHERE CMD...	# run CMD there; its exit status is kept. WHERE is
#					# POD/NAME, NAME (of pod "pod": app), or outside
#	stand_cgroup WHERE		# print the cgroup's directory
#	stand_workload WHERE		# print what the agent calls it: the container id's first 12
# Sidecar
#	stand_sidecar_start MODE [POD [HOST...]]
#		# MODE passthrough, or originate: plaintext HTTP for the HOSTs (httpbin.org)
#		# leaves as TLS. Starting again changes the mode, the redirect stays.
#	stand_sidecar_stop [POD]
# Agent
#	stand_agent_start [OPTION...]	stand_agent_stop	(returns the agent's exit status)
#	stand_agent dump|generate [OPTION...]	# the client commands, through the agent's socket
#	stand_metrics			# GET /metrics
#	stand_metric NAME [LABEL=VALUE...]	# sum of the samples that carry all these labels
#	stand_value FILTER		# jq FILTER over dump -o json; compact, one line a result
# Prometheus
#	stand_prometheus_start [BINARY [CONF]]	# scrapes the agent every second
#	stand_prometheus_stop		# and forgets what it scraped
#	stand_query PROMQL		# print the answer, JSON of the HTTP API
# Outside
#	stand_address NAME 4|6		# print the address of a served name
#	stand_outside_log		# nginx's log: host port proto method uri status peer ssl= sni=
# Time
#	stand_wait SECONDS CMD...	# poll until CMD succeeds; else says what it waited for
#
# Variables a user may read: STAND_DIR STAND_CG STAND_CA STAND_LISTEN STAND_SOCKET STAND_PIN
# STAND_PROMETHEUS; processes log to $STAND_DIR/NAME.log (nginx, agent, prometheus,
# POD-sidecar). A user may set before stand_up: STAND_AGENT_BIN.
#
# Every name carries the shell's pid, so that stands can run beside each other and what a dead
# one left can be told apart. Names are fixed before the thing is made: whenever the trap runs,
# stand_down knows what may exist.

STAND_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/lib/stand_host.sh
. "$STAND_REPO/tests/lib/stand_host.sh"
STAND_CONF=$STAND_REPO/tests/e2e/conf
STAND_AGENT_BIN=${STAND_AGENT_BIN:-$STAND_REPO/build/egress-agent}
STAND_NAMES=(httpbin.org api.github.com www.google.com www.gnu.org edition.cnn.com
	wikipedia.org)
STAND_CA=$STAND_DIR/ca.crt
STAND_SOCKET=$STAND_DIR/agent.sock
STAND_OUT=ea-out-$STAND_ID
STAND_PROXY_UID=1337
STAND_LISTEN=
STAND_PROMETHEUS=
STAND_STARTED=
declare -A STAND_POD_DIRS=()
declare -A STAND_CONTAINERS=()
STAND_PODS=()

# The signals do not leave the work to the EXIT trap: bash runs that once, and a signal may come
# when it has just begun.
stand_trap() {
	# shellcheck disable=SC2064 # the command is meant to be fixed now
	trap "${1:-:}; stand_down" EXIT
	trap 'stand_down; exit 129' HUP
	trap 'stand_down; exit 130' INT
	trap 'stand_down; exit 143' TERM
}

stand_need() {
	local tool missing=

	[[ $(uname -s) == Linux ]] ||
		{ _stand_fail "not Linux: the agent is made of Linux BPF programs"; return 1; }
	((EUID == 0)) ||
		{ _stand_fail "not root: namespaces, cgroups and BPF need it; use sudo"; return 1; }
	grep -qw cgroup2 /proc/filesystems ||
		{ _stand_fail "this kernel has no cgroup2: use one with CONFIG_CGROUP_BPF"; return 1; }
	[[ -e /proc/sys/net/ipv6/conf/default ]] ||
		{ _stand_fail "this kernel has no IPv6: boot without ipv6.disable=1"; return 1; }
	[[ -x $STAND_AGENT_BIN ]] ||
		{ _stand_fail "$STAND_AGENT_BIN is missing: run make first"; return 1; }
	for tool in ip ss nft nginx haproxy prometheus openssl curl jq flock; do
		command -v "$tool" >/dev/null || missing+=" $tool"
	done
	[[ -z $missing ]] ||
		{ _stand_fail "missing:$missing; run tests/lib/packages.sh stand"; return 1; }
}

# ---- network -----------------------------------------------------------------------------

# New namespace: loopback up, no waiting for duplicate addresses, IPv6 on whatever the host says.
_stand_netns() {
	ip netns add "$1"
	# shellcheck disable=SC2016 # expanded by the shell inside
	ip netns exec "$1" sh -c 'for i in all default lo; do
		echo 0 >/proc/sys/net/ipv6/conf/$i/disable_ipv6
		echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad
	done'
	ip -n "$1" link set lo up
}

stand_address() {
	local i

	for i in "${!STAND_NAMES[@]}"; do
		[[ ${STAND_NAMES[i]} == "$1" ]] || continue
		case $2 in
		4) echo "203.0.113.$((10 + i))" ;;
		6) echo "2001:db8:113::$((10 + i))" ;;
		esac
		return 0
	done
	_stand_fail "no such name outside: $1"
}

# Names resolve without DNS (`ip netns exec` mounts /etc/netns/NS/hosts over /etc/hosts); the
# sidecar knows the same names.
_stand_names() {
	local name

	echo "127.0.0.1 localhost" >"$STAND_DIR/hosts"
	echo "::1 localhost" >>"$STAND_DIR/hosts"
	: >"$STAND_DIR/names.v4.map"
	: >"$STAND_DIR/names.v6.map"
	for name in "${STAND_NAMES[@]}"; do
		printf '%s %s\n%s %s\n' "$(stand_address "$name" 4)" "$name" \
			"$(stand_address "$name" 6)" "$name" >>"$STAND_DIR/hosts"
		printf '%s %s\n' "$name" "$(stand_address "$name" 4)" >>"$STAND_DIR/names.v4.map"
		printf '%s %s\n' "$name" "$(stand_address "$name" 6)" >>"$STAND_DIR/names.v6.map"
	done
}

# ---- outside -----------------------------------------------------------------------------

_stand_certificates() {
	local san

	san=$(printf ',DNS:%s' "${STAND_NAMES[@]}")
	(
		cd "$STAND_DIR"
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
			-subj "/CN=egress-agent stand CA" -keyout ca.key -out ca.crt
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
			-subj "/CN=${STAND_NAMES[0]}" -keyout nginx/server.key -out nginx/server.csr
		printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "${san#,}" >nginx/server.ext
		openssl x509 -req -in nginx/server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
			-days 2 -extfile nginx/server.ext -out nginx/server.crt
	) >"$STAND_DIR/openssl.log" 2>&1 ||
		_stand_fail "openssl: $(tail -n 1 "$STAND_DIR/openssl.log")"
}

# One location per code. A text keeps the connection alive where nginx would close it (400,
# 500); 204 and 304 carry none; 444 is nginx's own "hang up" and left out.
_stand_status_conf() {
	local code

	for code in {200..206} {300..308} {400..431} 451 {500..511}; do
		case $code in
		204 | 304) printf 'location = /status/%s { return %s; }\n' "$code" "$code" ;;
		301 | 302 | 303 | 307 | 308)
			printf 'location = /status/%s { return %s /status/200; }\n' "$code" "$code" ;;
		*) printf 'location = /status/%s { return %s "%s\\n"; }\n' "$code" "$code" "$code" ;;
		esac
	done
}

_stand_outside() {
	local name size

	_stand_netns "$STAND_OUT"
	ip -n "$STAND_OUT" addr add 198.51.100.1/32 dev lo
	for name in "${STAND_NAMES[@]}"; do
		ip -n "$STAND_OUT" addr add "$(stand_address "$name" 4)/32" dev lo
		ip -n "$STAND_OUT" addr add "$(stand_address "$name" 6)/128" dev lo nodad
	done
	mkdir "$STAND_CG-outside"
	STAND_CONTAINERS[outside]=$STAND_CG-outside
	mkdir -p "$STAND_DIR/nginx/html/bytes"
	_stand_certificates
	cp "$STAND_CONF/nginx.conf" "$STAND_DIR/nginx/"
	_stand_status_conf >"$STAND_DIR/nginx/status.conf"
	for size in 0 1 10 100 1000 1024 10000 65536 100000 1000000 1048576 10000000; do
		truncate -s "$size" "$STAND_DIR/nginx/html/bytes/$size"
	done
	_stand_spawn nginx "$STAND_CG-outside" "$STAND_OUT" \
		nginx -p "$STAND_DIR/nginx/" -c "$STAND_DIR/nginx/nginx.conf"
	_stand_ready nginx 10 ip netns exec "$STAND_OUT" curl -sf http://127.0.0.1/
}

stand_outside_log() {
	cat "$STAND_DIR/nginx/access.log"
}

# ---- pods --------------------------------------------------------------------------------

_stand_hex() {
	printf '%s' "$STAND_NAME/$1" | sha256sum | cut -c1-64
}

# POD/NAME, NAME or outside -> POD/NAME or outside
_stand_where() {
	case $1 in
	outside | */*) echo "$1" ;;
	*) echo "pod/$1" ;;
	esac
}

stand_cgroup() {
	local where

	where=$(_stand_where "$1")
	[[ -n ${STAND_CONTAINERS[$where]:-} ]] || { _stand_fail "no such container: $1"; return 1; }
	echo "${STAND_CONTAINERS[$where]}"
}

stand_workload() {
	local leaf

	leaf=$(stand_cgroup "$1")
	leaf=${leaf##*/cri-containerd-}
	echo "${leaf:0:12}"
}

# Named as kubelet and containerd do; the sidecar keeps its plain name, because off Kubernetes
# there is no pod list that would tell which id it is. STAND_KUBE says that there is one.
stand_container() {
	local dir=${STAND_POD_DIRS[$1]} leaf=$2

	[[ $2 == istio-proxy && -z ${STAND_KUBE:-} ]] || leaf=cri-containerd-$(_stand_hex "$1/$2").scope
	mkdir -p "$dir/$leaf"
	STAND_CONTAINERS[$1/$2]=$dir/$leaf
}

stand_pod() {
	local pod=$1 netns=ea-$1-$STAND_ID index=$((${#STAND_PODS[@]} + 2)) uid

	STAND_PODS+=("$pod")
	uid=$(_stand_hex "$pod")
	uid=${uid:0:8}_${uid:8:4}_4${uid:13:3}_8${uid:17:3}_${uid:20:12}
	STAND_POD_DIRS[$pod]=$STAND_CG/kubepods.slice/kubepods-burstable.slice
	STAND_POD_DIRS[$pod]+=/kubepods-burstable-pod$uid.slice
	mkdir -p "${STAND_POD_DIRS[$pod]}"
	stand_container "$pod" app

	_stand_etc_make "$netns"
	cp "$STAND_DIR/hosts" "/etc/netns/$netns/hosts"
	_stand_netns "$netns"
	ip link add eth0 netns "$netns" type veth peer name "veth$index" netns "$STAND_OUT"
	ip -n "$STAND_OUT" link set "veth$index" up
	ip -n "$STAND_OUT" addr add fe80::1/64 dev "veth$index" nodad
	ip -n "$STAND_OUT" route add "198.51.100.$index/32" dev "veth$index"
	ip -n "$STAND_OUT" route add "2001:db8:100::$index/128" dev "veth$index"
	ip -n "$netns" link set eth0 up
	ip -n "$netns" addr add "198.51.100.$index/24" dev eth0
	ip -n "$netns" addr add "2001:db8:100::$index/64" dev eth0 nodad
	ip -n "$netns" route add default via 198.51.100.1
	ip -n "$netns" route add default via fe80::1 dev eth0
}

stand_run_in() {
	local where pod cgroup

	where=$(_stand_where "$1")
	pod=${where%%/*}
	[[ $pod != outside ]] || pod=out
	cgroup=$(stand_cgroup "$1") || return 125
	shift
	(
		echo 0 >"$cgroup/cgroup.procs" || exit 125
		# What the caller set for his own curl must not reach the application's.
		unset http_proxy https_proxy all_proxy no_proxy HTTPS_PROXY ALL_PROXY NO_PROXY
		export HOME=$STAND_DIR CURL_HOME=$STAND_DIR
		exec ip netns exec "ea-$pod-$STAND_ID" "$@"
	)
}

# ---- sidecar -----------------------------------------------------------------------------

# As istio-iptables does: everything the pod sends over TCP, but not what stays inside the pod
# and not what the proxy itself sends.
_stand_redirect() {
	ip netns exec "ea-$1-$STAND_ID" nft -f - <<END
table inet ea_$STAND_ID
delete table inet ea_$STAND_ID
table inet ea_$STAND_ID {
	chain output {
		type nat hook output priority -100
		meta skuid $STAND_PROXY_UID return
		meta skgid $STAND_PROXY_UID return
		oifname "lo" return
		ip daddr 127.0.0.0/8 return
		ip6 daddr ::1 return
		meta l4proto tcp redirect to :15001
	}
}
END
}

stand_sidecar_start() {
	local mode=$1 pod=${2:-pod} dir
	local hosts=("${@:3}")

	dir=$STAND_DIR/$pod-sidecar
	((${#hosts[@]})) || hosts=(httpbin.org)
	case $mode in
	passthrough) hosts=() ;;
	originate) ;;
	*) _stand_fail "no such sidecar mode: $mode"; return 1 ;;
	esac
	_stand_stop "$pod-sidecar" || true
	mkdir -p "$dir"
	cp "$STAND_CONF/haproxy.cfg" "$STAND_DIR"/names.v?.map "$STAND_CA" "$dir/"
	printf '%s\n' "${hosts[@]}" >"$dir/originate.lst"
	stand_container "$pod" istio-proxy
	_stand_spawn "$pod-sidecar" "$(stand_cgroup "$pod/istio-proxy")" "ea-$pod-$STAND_ID" \
		env EA_DIR="$dir" haproxy -db -f "$dir/haproxy.cfg"
	_stand_ready "$pod-sidecar" 10 _stand_listening "$pod" 15001
	_stand_redirect "$pod"
}

# Both families listen.
_stand_listening() {
	(($(ip netns exec "ea-$1-$STAND_ID" ss -Htln "sport = :$2" | wc -l) == 2))
}

stand_sidecar_stop() {
	local pod=${1:-pod}

	ip netns exec "ea-$pod-$STAND_ID" nft delete table inet "ea_$STAND_ID" 2>/dev/null || true
	_stand_stop "$pod-sidecar" || true
	[[ -z ${STAND_CONTAINERS[$pod/istio-proxy]:-} ]] ||
		_stand_cgroup_remove "${STAND_CONTAINERS[$pod/istio-proxy]}"
	unset "STAND_CONTAINERS[$pod/istio-proxy]"
}

# ---- agent -------------------------------------------------------------------------------

stand_agent_start() {
	[[ -z ${STAND_PIDS[agent]:-} ]] || { _stand_fail "the agent runs already"; return 1; }
	# The second start keeps the first one's port: something may be scraping it.
	[[ -n $STAND_LISTEN ]] || STAND_LISTEN=127.0.0.1:$(_stand_free_port)
	_stand_spawn agent "$STAND_CG-outside" "" "$STAND_AGENT_BIN" run --cgroup "$STAND_CG" \
		--pin "$STAND_PIN" --socket "$STAND_SOCKET" --listen "$STAND_LISTEN" "$@"
	_stand_ready agent 15 _stand_get "http://$STAND_LISTEN/readyz"
}

stand_agent_stop() {
	_stand_stop agent
}

stand_agent() {
	local command=$1

	shift
	"$STAND_AGENT_BIN" "$command" --agent "unix:$STAND_SOCKET" "$@"
}

_stand_get() {
	curl -q -fsS --noproxy '*' --max-time 10 "$@"
}

stand_metrics() {
	_stand_get "http://$STAND_LISTEN/metrics"
}

# Reads a text exposition on stdin.
_stand_metric_sum() {
	awk -v want="$*" '
	BEGIN { n = split(want, w, " ") }
	{
		name = $0; sub(/[{ ].*/, "", name)
		if (name != w[1]) next
		labels = ""
		if (match($0, /\{.*\}/)) labels = "," substr($0, RSTART + 1, RLENGTH - 2) ","
		for (i = 2; i <= n; i++) {
			eq = index(w[i], "=")
			l = "," substr(w[i], 1, eq) "\"" substr(w[i], eq + 1) "\","
			if (!index(labels, l)) next
		}
		sum += $NF
	}
	END { printf "%.0f\n", sum }'
}

stand_metric() {
	stand_metrics | _stand_metric_sum "$@"
}

stand_value() {
	stand_agent dump -o json | jq -c "$1"
}

# ---- prometheus --------------------------------------------------------------------------

stand_prometheus_start() {
	local binary=${1:-prometheus} conf=${2:-$STAND_CONF/prometheus.yml} port

	port=$(_stand_free_port)
	STAND_PROMETHEUS=127.0.0.1:$port
	sed "s/@AGENT@/$STAND_LISTEN/" "$conf" >"$STAND_DIR/prometheus.yml"
	_stand_spawn prometheus "$STAND_CG-outside" "" "$binary" --log.level=warn \
		--config.file="$STAND_DIR/prometheus.yml" --storage.tsdb.path="$STAND_DIR/tsdb" \
		--web.listen-address="$STAND_PROMETHEUS"
	_stand_ready prometheus 20 _stand_get "http://$STAND_PROMETHEUS/-/ready"
}

stand_prometheus_stop() {
	_stand_stop prometheus || true
	rm -rf "$STAND_DIR/tsdb" "$STAND_DIR/prometheus.log"
}

stand_query() {
	_stand_get --get --data-urlencode "query=$1" "http://$STAND_PROMETHEUS/api/v1/query"
}

# ---- up and down -------------------------------------------------------------------------

stand_up() {
	stand_need
	[[ ! -e $STAND_DIR && ! -e /run/netns/$STAND_OUT ]] || _stand_remove
	STAND_STARTED=yes
	unset "${!EGRESS_AGENT_@}"
	STAND_NAMES+=("$@")
	mkdir -m 755 "$STAND_DIR"
	_stand_cgroup_mount
	_stand_bpffs
	_stand_names
	_stand_outside
	stand_pod pod
}

# By name, not by what was noted down: right at any moment of stand_up, and for what a killed
# stand of the same pid left behind.
_stand_remove() {
	local dir name pins

	for name in agent prometheus "${!STAND_PIDS[@]}"; do
		_stand_stop "$name"
	done
	while read -r dir; do
		_stand_cgroup_remove "$dir/$STAND_NAME"
		_stand_cgroup_remove "$dir/$STAND_NAME-outside"
	done < <(awk '$3 == "cgroup2" { print $2 }' /proc/self/mounts)
	for name in /run/netns/ea-*-"$STAND_ID"; do
		[[ ! -e $name ]] || ip netns del "${name##*/}"
	done
	_stand_etc_remove
	for pins in "/sys/fs/bpf/$STAND_NAME" "$STAND_DIR/bpf/$STAND_NAME"; do
		[[ ! -d $pins ]] || rm -rf "$pins"
	done
	for dir in "$STAND_DIR/bpf" "$STAND_DIR/cgroup2"; do
		! mountpoint -q "$dir" || umount "$dir" || umount -l "$dir"
	done
	rm -rf --one-file-system "$STAND_DIR"
}

stand_down() {
	local traps

	# A subshell owns nothing; and a second Ctrl-C must not cut the removal short.
	[[ $BASHPID == "$STAND_ID" && -n $STAND_STARTED ]] || return 0
	traps=$(trap -p INT TERM HUP)
	trap '' INT TERM HUP
	_stand_remove || true
	STAND_STARTED=
	STAND_PIDS=()
	STAND_POD_DIRS=()
	STAND_CONTAINERS=()
	STAND_PODS=()
	trap - INT TERM HUP
	eval "$traps"
}
