#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_container.sh - the image's root file system under runc, with just what the DaemonSet gives it.
# Owns: the node around the container (cgroup tree, bpffs, network, seccomp profiles) and what must come out.
# Must not know how a pod's fields become runc's (oci_config.py), nor what is in the image (image-root.sh).
#
# The container has namespaces of its own for everything but users. The cgroup tree is this machine's, whole; the bpffs
# is a new one, so that pins of an agent that runs here are not touched. Requests to the agent come from outside its
# pod, as the kubelet's and Prometheus' do; commands are run in it as `kubectl exec` would.
# shellcheck disable=SC2317 # cases are called through figures

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"
# shellcheck source=tests/lib/suite.sh
. "$STAND_REPO/tests/lib/suite.sh"

IMAGE=$STAND_REPO/build/image
BUNDLE=$STAND_DIR/bundle
NODE_BPF=$STAND_DIR/bpf
CONTAINER=$STAND_NAME-agent
AGENT_IP=198.51.100.3
declare -A PROFILES=()

# ---- the node ----------------------------------------------------------------------------

# FILTER: of the DaemonSet.
manifest() {
	/usr/bin/python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)' \
		<"$STAND_REPO/deploy/base/daemonset.yaml" |
		jq -r ".spec.template.spec | $1"
}

# NAME SUITE PACKAGE PATH: one runtime's default seccomp profile.
profile() {
	local dir=$STAND_REPO/build/$3-$2

	suite_unpack "$2" "$3" "$dir" || return 1
	PROFILES[$1]=$dir/usr/share/$4
}

profiles() {
	profile podman trixie golang-github-containers-common containers/seccomp.json &&
		profile docker trixie golang-github-docker-docker-dev \
			gocode/src/github.com/docker/docker/profiles/seccomp/default.json &&
		profile old bookworm golang-github-containers-common containers/seccomp.json
}

# What runc itself says to the simplest of containers; nothing when it is well.
runc_refuses() {
	mkdir -p "$BUNDLE"
	jq -n --arg root "$IMAGE" '{ociVersion: "1.0.2", root: {path: $root, readonly: true},
		process: {user: {uid: 0, gid: 0}, cwd: "/", args: ["/egress-agent", "version"]},
		mounts: [{destination: "/proc", type: "proc", source: "proc"},
			{destination: "/dev", type: "tmpfs", source: "tmpfs"}],
		linux: {namespaces: [{type: "mount"}, {type: "pid"}]}}' >"$BUNDLE/config.json"
	! run_once 2>&1
}

container_trap() {
	trap 'tap_at_exit >&"$TRAFFIC_STDOUT"; container_down' EXIT
	trap 'container_down; exit 129' HUP
	trap 'container_down; exit 130' INT
	trap 'container_down; exit 143' TERM
}

container_down() {
	[[ $BASHPID == "$STAND_ID" ]] || return 0
	trap '' INT TERM HUP
	container_remove
	stand_down
}

node_up() {
	local why

	((EUID == 0)) || { skip "the container" "needs root for runc, namespaces and BPF"; tap_done; }
	command -v runc >/dev/null || { skip "the container" "runc is missing: run tests/lib/packages.sh test"; tap_done; }
	why=$(stand_need 2>&1) || { not_ok "the stand" "$why"; tap_done; }
	profiles || { skip "the container" "no default seccomp profile could be fetched: $SUITE_WHY"; tap_done; }
	make -s -C "$STAND_REPO" image-root DIR="$IMAGE" >&2
	exec {TRAFFIC_STDOUT}>&1
	container_trap
	stand_up
	TRAFFIC_DIR=$STAND_DIR/traffic
	mkdir -p "$TRAFFIC_DIR" "$STAND_DIR/run" "$STAND_DIR/plain" "$NODE_BPF"
	mountpoint -q "$NODE_BPF" || mount -t bpf none "$NODE_BPF"
	stand_pod agent
	! why=$(runc_refuses) || { skip "the container" "runc makes none here: $why"; tap_done; }
}

# ---- the container -----------------------------------------------------------------------

container_runc() {
	runc --root "$STAND_DIR/runc" "$@"
}

# PROFILE OPTION...: what runc is to make of the DaemonSet.
configure() {
	"$STAND_REPO/tests/lib/oci_config.py" --deploy "$STAND_REPO/deploy" --root "$IMAGE" \
		--netns "/run/netns/ea-agent-$STAND_ID" --seccomp "${PROFILES[$1]}" --cgroup "/$CONTAINER" \
		--host "/sys/fs/cgroup=$STAND_CGROUP2" --host "/sys/fs/bpf=$NODE_BPF" \
		--empty "run=$STAND_DIR/run" --field spec.nodeName=node-1 "${@:2}" >"$BUNDLE/config.json"
}

# To its end, its output on ours.
run_once() {
	timeout 60 runc --root "$STAND_DIR/runc" run --bundle "$BUNDLE" "$CONTAINER" </dev/null
}

container_remove() {
	[[ ! -d $STAND_DIR/runc/$CONTAINER ]] || container_runc delete --force "$CONTAINER" >&2 || true
}

# The agent, until it is ready for the kubelet.
agent_up() {
	configure podman || return 1
	: >"$STAND_DIR/agent.log"
	_stand_spawn agent "$STAND_CG-outside" "" runc --root "$STAND_DIR/runc" run --bundle "$BUNDLE" "$CONTAINER"
	_stand_ready agent 20 ask "$(manifest '.containers[0].readinessProbe.httpGet.path')"
}

# SIGNAL: end it; AGENT_STATUS is its exit status.
agent_down() {
	AGENT_STATUS=0
	container_runc kill "$CONTAINER" "$1"
	wait "${STAND_PIDS[agent]}" || AGENT_STATUS=$?
	unset "STAND_PIDS[agent]"
	container_remove
}

# PATH: the agent's answer to somebody outside its pod.
ask() {
	stand_run_in outside curl -q -fsS --max-time 10 \
		"http://$AGENT_IP:$(manifest '.containers[0].ports[0].containerPort')$1"
}

# ARG...: as `kubectl exec ds/egress-agent -- /egress-agent ARG...`.
kubectl_exec() {
	container_runc exec "$CONTAINER" /egress-agent "$@"
}

# WORKLOAD HOST PORT FILTER: does the row of the list satisfy the jq FILTER?
row_is() {
	kubectl_exec dump -o json | jq -e --arg w "$1" --arg host "$2" --argjson port "$3" \
		"[.destinations[] | select(.source.workload == \$w and .host == \$host and .port == \$port)]
		| length == 1 and (.[0] | $4)"
}

# ---- cases -------------------------------------------------------------------------------

image_holds() {
	local programs

	programs=$(cd "$IMAGE" && find . -type f -perm /111 ! -name '*.so*' -printf '%P ')
	[[ $programs == "egress-agent " ]] || { echo "programs: $programs"; return 1; }
	[[ -s $IMAGE/etc/ssl/certs/ca-certificates.crt ]] || { echo "no CA certificates"; return 1; }
	[[ -z $(find "$IMAGE" -perm /6000) ]] || { echo "set-id files"; return 1; }
	echo "no shell, one program, $(find "$IMAGE" -name '*.so*' -type f | wc -l) shared objects," \
		"$(($(du -s --apparent-size "$IMAGE" | cut -f 1) / 1024)) MiB"
}

# PROFILE
check_passes() {
	configure "$1" --run check
	run_once >"$TRAFFIC_DIR/out" 2>&1 || { cat "$TRAFFIC_DIR/out"; return 1; }
	! grep -v '^ok ' "$TRAFFIC_DIR/out" || return 1
	echo "$(wc -l <"$TRAFFIC_DIR/out") lines, all ok"
}

probes_answer() {
	local path seen=

	for path in $(manifest '.containers[0] | .startupProbe, .livenessProbe, .readinessProbe | .httpGet.path'); do
		ask "$path" >/dev/null || return 1
		seen+="$path "
	done
	echo "200 for $seen"
}

# The manifest's privileges, in the kernel's words about the process.
confined() {
	local pid want=0 name status mounts="/ ro /host/bpf rw /host/cgroup ro /run/egress-agent rw"
	local -A bits=([BPF]=39 [NET_ADMIN]=12 [PERFMON]=38)

	pid=$(container_runc state "$CONTAINER" | jq .pid)
	for name in $(manifest '.containers[0].securityContext.capabilities.add[]'); do
		want=$((want | 1 << bits[$name]))
	done
	printf -v want '%016x %016x %016x' "$want" "$want" "$want"
	status=$(awk '/^Cap(Eff|Prm|Bnd):/ { print $2 }' "/proc/$pid/status" | paste -sd' ')
	[[ $status == "$want" ]] || { echo "capabilities $status, want $want"; return 1; }
	status=$(awk '/^(CapInh|CapAmb|NoNewPrivs|Seccomp):/ { printf "%s%s ", $1, $2 }' "/proc/$pid/status")
	[[ $status == "CapInh:0000000000000000 CapAmb:0000000000000000 NoNewPrivs:1 Seccomp:2 " ]] ||
		{ echo "$status"; return 1; }
	for name in cgroup net pid mnt ipc uts; do
		[[ $(readlink "/proc/$pid/ns/$name") != "$(readlink "/proc/self/ns/$name")" ]] ||
			{ echo "it shares the $name namespace"; return 1; }
	done
	status=$(awk '$5 == "/" || $5 ~ "^/host/|^/run/" { print $5, substr($6, 1, 2) }' "/proc/$pid/mountinfo" |
		LC_ALL=C sort -u | paste -sd' ')
	[[ $status == "$mounts" ]] || { echo "mounts: $status"; return 1; }
	echo "capabilities ${want%% *}, no new privileges, seccomp, own namespaces, root and cgroup tree read-only"
}

# One short TLS connection and one request of an application in another pod.
traffic_is_seen() {
	local workload metrics

	workload=$(stand_workload app)
	stand_run_in app curl -4 -fsS --cacert "$STAND_CA" -o /dev/null https://httpbin.org/status/200 || return 1
	stand_run_in app curl -6 -fsS -o /dev/null http://api.github.com/status/200 || return 1
	stand_wait 20 row_is "$workload" httpbin.org 443 '.protocol == "tls" and .nameSource == "sni"
		and .connections.closed == 1 and .visibility == "l4"' || { kubectl_exec dump -o json; return 1; }
	stand_wait 20 row_is "$workload" api.github.com 80 '.protocol == "http" and .requests.byCode == {"200": 1}
		and .visibility == "l7"' || { kubectl_exec dump -o json; return 1; }
	[[ $(kubectl_exec dump -o json | jq -r .node) == node-1 ]] || { echo "not its node's name"; return 1; }
	metrics=$(ask /metrics | grep -c '^egress_tcp_connections_opened_total{.*"httpbin.org"') || return 1
	kubectl_exec generate >"$TRAFFIC_DIR/generated" || return 1
	grep -q 'httpbin.org' "$TRAFFIC_DIR/generated" || { echo "generate does not name it"; return 1; }
	echo "TLS and HTTP, over IPv4 and IPv6, by workload $workload; $metrics series; dump and generate work in it"
}

# The agent may not open cgroups by id (CAP_DAC_READ_SEARCH); it must be quick enough without.
short_life() {
	local workload dir

	stand_container pod brief
	workload=$(stand_workload brief)
	dir=$(stand_cgroup brief)
	stand_run_in brief curl -4 -fsS --cacert "$STAND_CA" -o /dev/null https://www.gnu.org/status/200 || return 1
	stand_wait 20 row_is "$workload" www.gnu.org 443 '.connections.closed == 1' || return 1
	_stand_cgroup_remove "$dir" || return 1
	row_is "$workload" www.gnu.org 443 '.connections.closed == 1' >/dev/null || return 1
	echo "workload $workload, named before and after its cgroup went"
}

memory_fits() {
	local pid peak request

	pid=$(container_runc state "$CONTAINER" | jq .pid)
	peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status")
	request=$(manifest '.containers[0].resources.requests.memory')
	((peak < ${request%Mi})) || { echo "$peak MiB, requested are $request"; return 1; }
	echo "$peak MiB at most, now $(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status"), requested are $request"
}

# A pod's end that nobody announced; the next one goes on.
replaced() {
	local workload since

	workload=$(stand_workload app)
	since=$(kubectl_exec dump -o json | jq -r .observedSince)
	agent_down KILL
	stand_run_in app curl -4 -fsS --cacert "$STAND_CA" -o /dev/null https://httpbin.org/status/200 || return 1
	agent_up || return 1
	stand_wait 20 row_is "$workload" httpbin.org 443 '.connections.closed == 2' || return 1
	[[ $(kubectl_exec dump -o json | jq -r .observedSince) == "$since" ]] || { echo "observedSince changed"; return 1; }
	echo "killed and replaced; the connection in between was counted"
}

stops() {
	local start=$EPOCHREALTIME ms

	agent_down TERM
	ms=$(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
	((AGENT_STATUS == 0)) || { echo "exit $AGENT_STATUS"; return 1; }
	((ms < 1000 * $(manifest .terminationGracePeriodSeconds))) || { echo "took $ms ms"; return 1; }
	echo "exit 0 after $ms ms"
}

# TEXT PROFILE OPTION...: it ends with status 1 and one line, which has TEXT.
refuses() {
	local status=0

	configure "${@:2}" || return 1
	run_once >"$TRAFFIC_DIR/out" 2>"$TRAFFIC_DIR/err" || status=$?
	((status == 1)) || { echo "exit $status: $(<"$TRAFFIC_DIR/err")"; return 1; }
	[[ $(wc -l <"$TRAFFIC_DIR/err") == 1 && ! -s $TRAFFIC_DIR/out ]] ||
		{ echo "not one line: $(<"$TRAFFIC_DIR/err")"; return 1; }
	cat "$TRAFFIC_DIR/err"
	grep -E '^egress-agent: run: .+; .+' "$TRAFFIC_DIR/err" | grep -qE "$1"
}

# CAPABILITY: `check` names it, and so does the kernel refuse the programs: the manifest has none to spare.
check_misses() {
	local status=0

	configure podman --drop "$1" --run check
	run_once >"$TRAFFIC_DIR/out" 2>&1 || status=$?
	((status == 1)) || { echo "exit $status"; return 1; }
	grep -E "^FAIL +capabilities +$1 missing; " "$TRAFFIC_DIR/out" || return 1
	grep -qE '^FAIL +programs ' "$TRAFFIC_DIR/out" || { echo "but the kernel loads the programs without it"; return 1; }
	[[ $(grep -c '^FAIL' "$TRAFFIC_DIR/out") == 2 ]] || { cat "$TRAFFIC_DIR/out"; return 1; }
}

no_bpffs() {
	refuses 'is not on a bpf file system' podman --host "/sys/fs/bpf=$STAND_DIR/plain" || return 1
	[[ -z $(ls -A "$STAND_DIR/plain") ]] || { echo "it left $(ls -A "$STAND_DIR/plain")"; return 1; }
}

check_refusals() {
	local cap

	for cap in $(manifest '.containers[0].securityContext.capabilities.add[]'); do
		figures "without CAP_$cap, run" refuses "CAP_$cap missing" podman --drop "CAP_$cap"
		figures "without CAP_$cap, check" check_misses "CAP_$cap"
	done
	figures "a seccomp profile that does not know CAP_BPF" refuses 'not allow.*seccomp' old
	figures "a node without bpffs" no_bpffs
}

main() {
	figures "the image" image_holds
	figures "check, with Podman's and CRI-O's seccomp profile" check_passes podman
	figures "check, with Docker's and containerd's" check_passes docker
	if ! agent_up; then
		not_ok "run becomes ready" "$(tail -n 3 "$STAND_DIR/agent.log")"
		return
	fi
	figures "run becomes ready, probes" probes_answer
	figures "its privileges" confined
	figures "traffic of another pod" traffic_is_seen
	figures "a container that lives for a moment" short_life
	figures "memory" memory_fits
	figures "replaced" replaced
	figures "SIGTERM" stops
	check_refusals
}

node_up
main
tap_done
