#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test_cluster.sh - the agent beside an API server: workloads have their names, and what the registry knows of each
# destination follows the three demos without a restart.
# Owns: the objects, and what must be told after each. Must not know how the agent follows them.

# shellcheck disable=SC2317 # what is waited for is called through stand_wait

set -euo pipefail
# shellcheck source=tests/e2e/traffic_lib.sh
. "$(dirname "$0")/traffic_lib.sh"

NS=test-ext-svc
# Names of containers are ids here: who is the sidecar, the pod list says.
export STAND_KUBE=1

api_start() {
	API=$STAND_DIR/api
	mkdir "$API"
	# It ends with its stdin, should this shell be killed.
	mkfifo "$API.stdin"
	# shellcheck disable=SC2034 # held, not used
	exec {API_STDIN}<>"$API.stdin"
	# shellcheck disable=SC2016 # for the inner shell
	_stand_spawn apiserver "$STAND_CG-outside" "" sh -c 'exec "$@" <"$0"' "$API.stdin" \
		python3 "$STAND_REPO/tests/lib/apiserver.py" --dir "$API"
	_stand_ready apiserver 20 test -e "$API/url"
}

# METHOD PATH [DATA]
api() {
	curl -q -fsS --max-time 10 --unix-socket "$API/control.sock" -X "$1" ${3:+--data-binary "$3"} "http://x$2" >/dev/null
}

api_apply() {
	api PUT /objects "$1"
}

# POD NAME: the object for a pod of the stand, as a Deployment's.
pod_object() {
	local pod=$1 name=$2 uid

	uid=$(stand_cgroup "$pod/app")
	uid=${uid%/*} uid=${uid##*-pod} uid=${uid%.slice}
	jq -n --arg ns "$NS" --arg name "$name" --arg uid "${uid//_/-}" --arg node "$NODE" \
		--arg app "containerd://$(_stand_hex "$pod/app")" \
		--arg proxy "containerd://$(_stand_hex "$pod/istio-proxy")" '{apiVersion: "v1", kind: "Pod",
		metadata: {namespace: $ns, name: "\($name)-5d4f-x", generateName: "\($name)-5d4f-", uid: $uid,
			annotations: {"sidecar.istio.io/status": "{\"containers\":[\"istio-proxy\"]}"},
			labels: {app: $name, version: "v7", "pod-template-hash": "5d4f"},
			ownerReferences: [{apiVersion: "apps/v1", kind: "ReplicaSet", name: "\($name)-5d4f",
				uid: "x", controller: true}]},
		spec: {nodeName: $node, containers: [{name: "app"}, {name: "istio-proxy", args: ["proxy", "sidecar"]}]},
		status: {phase: "Running", containerStatuses: [{name: "app", containerID: $app},
			{name: "istio-proxy", containerID: $proxy}]}}'
}

istio() {
	jq -n --arg kind "$1" --arg ns "$NS" --argjson spec "$2" '{apiVersion: "networking.istio.io/v1",
		kind: $kind, metadata: {namespace: $ns, name: "httpbin"}, spec: $spec}'
}

# FILTER: of the destinations that leave.
rows() {
	stand_agent dump -o json | jq -rc "[.destinations[] | $1] | sort"
}

says() {
	[[ $(rows "$1") == "$2" ]]
}

# TITLE FILTER WANT: at once or soon.
told() {
	stand_wait 10 says "$2" "$3" 2>/dev/null || true
	is "$1" "$(rows "$2")" "$3"
}

coverage() {
	stand_agent dump | sed -n 's/^coverage: //p'
}

covers() {
	[[ $(coverage) == "$1" ]]
}

covered() {
	stand_wait 10 covers "$2" 2>/dev/null || true
	is "$1" "$(coverage)" "$2"
}

call() {
	stand_run_in app curl -sS4 --cacert "$STAND_CA" --max-time 10 -o /dev/null "$@"
}

named() {
	local short uid

	short=$(stand_workload pod/app)
	call https://httpbin.org/status/200
	call https://httpbin.org/status/200
	told "before the pod is known: its container and the pod's uid" \
		'[.source.namespace, .source.workload, (.source.podUid | length), .host, .connections.opened]' \
		"[[\"\",\"$short\",36,\"httpbin.org\",2]]"
	api_apply "$(pod_object pod curl)"
	told "then the same connections are its workload's" \
		'[.source.namespace, .source.workload, .source.workloadKind, .source.canonicalService,
		.source.app, .source.version, .source.podUid, .connections.opened]' \
		"[[\"$NS\",\"curl\",\"Deployment\",\"curl\",\"curl\",\"v7\",null,2]]"
}

demos() {
	local entry rule pid=${STAND_PIDS[agent]}

	told "Demo 1: nothing is registered" '[.host, .port, .registry, .interception]' \
		'[["httpbin.org",443,"passthrough","sidecar"]]'
	covered "Demo 1 in one line" "1 external destination, 0 the mesh can name (0 %), 0 at L7"
	entry='{"hosts": ["httpbin.org"], "location": "MESH_EXTERNAL", "resolution": "DNS", "exportTo": ["."],
		"ports": [{"number": 80, "name": "http", "protocol": "HTTP"},
		{"number": 443, "name": "https", "protocol": "HTTPS"}]}'
	api_apply "$(istio ServiceEntry "$entry")"
	told "Demo 2: a ServiceEntry" '[.host, .port, .registry, .visibility]' \
		'[["httpbin.org",443,"registered","l4"]]'
	covered "Demo 2 in one line" "1 external destination, 1 the mesh can name (100 %), 0 at L7"
	rule='{"host": "httpbin.org", "exportTo": ["."], "trafficPolicy": {"portLevelSettings":
		[{"port": {"number": 80}, "tls": {"mode": "SIMPLE", "caCertificates": "system"}}]}}'
	api_apply "$(istio DestinationRule "$rule")"
	api_apply "$(istio ServiceEntry "$(jq '.ports[0].targetPort = 443' <<<"$entry")")"
	stand_sidecar_start originate
	call http://httpbin.org/status/200
	told "Demo 3: TLS is originated" '[.host, .port, .registry, .visibility, .requests.total]' \
		'[["httpbin.org",80,"originated","l7",1],["httpbin.org",443,"registered","l4",0]]'
	covered "Demo 3 in one line" "2 external destinations, 2 the mesh can name (100 %), 1 at L7"
	is "all that without a restart" "${STAND_PIDS[agent]} $(kill -0 "$pid" && echo alive)" "$pid alive"
}

# A pod that lives two seconds, and whose object is gone before anybody asks.
short_lived() {
	stand_pod brief
	api_apply "$(pod_object brief job)"
	stand_run_in brief/app curl -sS4 --cacert "$STAND_CA" --max-time 10 -o /dev/null https://www.gnu.org/
	api DELETE "/objects/pods/$NS/job-5d4f-x"
	rmdir "$(stand_cgroup brief/app)"
	sleep 1
	told "a pod that is gone is still named" \
		'select(.host == "www.gnu.org") | [.source.namespace, .source.workload]' "[[\"$NS\",\"job\"]]"
}

# What a sidecar does not take: datagrams, and here a port it is told to leave alone.
bypass() {
	local uid netns

	netns=ea-pod-$STAND_ID
	ip netns exec "$netns" nft insert rule inet "ea_$STAND_ID" output tcp dport 80 ip daddr \
		"$(stand_address wikipedia.org 4)" return
	call http://wikipedia.org/status/200
	told "an excluded port" 'select(.host == "wikipedia.org") | [.interception, .findings]' \
		'[["bypass",["mesh-bypass"]]]'
	stand_run_in app python3 -c 'import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"q" * 1200, (sys.argv[1], 443))' "$(stand_address wikipedia.org 4)"
	told "QUIC" 'select(.protocol == "udp") | [.interception, .findings]' \
		'[["bypass",["quic-bypass","ip-literal"]]]'
}

internal() {
	# Its name alone would not do: the address is no private one.
	api_apply "$(jq -n --arg ns "$NS" --arg ip "$(stand_address edition.cnn.com 4)" '{apiVersion: "v1",
		kind: "Service", metadata: {namespace: $ns, name: "db"}, spec: {clusterIP: $ip, ports: [{port: 80}]}}')"
	call -H "Host: db.$NS.svc.cluster.local" "http://$(stand_address edition.cnn.com 4)/status/200"
	stand_wait 10 internal_seen 2>/dev/null || true
	is "a Service of the cluster is internal" "$(stand_agent dump -o json --scope internal |
		jq -rc '[.destinations[].host]')" "[\"db.$NS.svc.cluster.local\"]"
}

internal_seen() {
	[[ $(stand_agent dump -o json --scope internal) == *"db.$NS"* ]]
}

# Of another node, so only its Service's endpoints tell; the second address is no pod's.
pods_elsewhere() {
	api_apply "$(jq -n --arg ns "$NS" --arg pod "$(stand_address www.gnu.org 4)" \
		--arg other "$(stand_address wikipedia.org 4)" '{apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice",
		metadata: {namespace: $ns, name: "web-x"}, addressType: "IPv4", endpoints: [
			{addresses: [$pod], targetRef: {kind: "Pod", name: "web-0"}}, {addresses: [$other]}]}')"
	stand_wait 10 elsewhere_seen 2>/dev/null || true
	is "a pod's address is internal, wherever it runs; what else a Service leads to is not" \
		"$(stand_agent dump -o json --scope all |
			jq -rc '[.destinations[] | select(.port != 443 or .protocol == "tls") | [.host, .scope]] |
				map(select(.[0] == "www.gnu.org" or .[0] == "wikipedia.org")) | unique')" \
		'[["wikipedia.org","external"],["www.gnu.org","internal"]]'
}

elsewhere_seen() {
	[[ $(stand_agent dump -o json --scope internal) == *www.gnu.org* ]]
}

# The server goes away for good: what is known stays, and the traffic is still counted.
server_gone() {
	_stand_stop apiserver
	call http://httpbin.org/status/200
	told "without the server: names and registry stay, counting goes on" \
		'select(.host == "httpbin.org" and .port == 80) | [.source.workload, .registry, .requests.total]' \
		'[["curl","originated",2]]'
	stand_wait 20 api_errors 2>/dev/null || true
	ok_if "and the failures are counted" api_errors
}

# Who it was is kept with the counts: neither the server nor the cgroup is needed for it.
restarted() {
	local pid=${STAND_PIDS[agent]}

	kill -KILL "$pid"
	wait "$pid" || true
	unset "STAND_PIDS[agent]"
	stand_agent_start --node "$NODE" --kube off
	told "after a restart without the server: pods that are gone, and those that are not, have their names" \
		'select(.host == "www.gnu.org" or .port == 80 and .host == "httpbin.org") |
		[.source.namespace, .source.workload, .source.workloadKind, .source.version, .interception]' \
		"[[\"$NS\",\"curl\",\"Deployment\",\"v7\",\"sidecar\"],[\"$NS\",\"job\",\"Deployment\",\"v7\",\"bypass\"]]"
	is "and no sidecar is taken for a destination's source" "$(rows .source.workload | jq -c unique)" '["curl","job"]'
}

api_errors() {
	[[ $(stand_metrics | awk '/^egress_agent_api_errors_total\{reason="connect"\}/ {print $2}') -gt 0 ]]
}

ok_if() {
	if "$2"; then ok "$1"; else not_ok "$1" "$2"; fi
}

traffic_stand_up_bare
NODE=stand-node
api_start
stand_sidecar_start passthrough
stand_agent_start --node "$NODE" --kube "$(<"$API/url")" --kube-token "$API/token" --kube-ca "$API/ca.crt"
named
demos
short_lived
bypass
internal
pods_elsewhere
server_gone
restarted
tap_done
