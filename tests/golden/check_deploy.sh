#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_deploy.sh - every folder that `kubectl apply -k` is to be used on renders, and what comes out is sound.
# Owns: where kubectl and Kubernetes' OpenAPI come from. Must not know what is sound (check_deploy.py).
#
# bookworm's kubectl (1.20) knows no components, so where this machine's own does not render, trixie's is unpacked to
# build/, as is the OpenAPI that trixie's kubectl source is tested with. Nothing is installed.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$HERE/../lib/tap.sh"
# shellcheck source=tests/lib/suite.sh
. "$HERE/../lib/suite.sh"
TMP=$(mktemp -d)
trap 'tap_at_exit; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM
cd "$HERE/../.."
OWN=0
CLIENTS=$(sed -n 's/^#\t//p' deploy/components/tls/kustomization.yaml)
OPENAPI=build/golang-k8s-kubectl-dev/usr/share/gocode/src/k8s.io/kubectl/testdata/openapi/swagger.json

# One that renders components, in KUBECTL.
kubectl_find() {
	KUBECTL=$(command -v kubectl || true)
	if [[ -n $KUBECTL ]] && "$KUBECTL" kustomize deploy/overlays/prometheus-operator >"$TMP/try" 2>&1; then
		return 0
	fi
	KUBECTL=build/kubectl/usr/bin/kubectl
	suite_unpack trixie kubectl build/kubectl
}

# FOLDER [TITLE]
check_folder() {
	local dir=$1 out=$TMP/${1//\//_}.yaml

	set -- "${2:-$1}"
	if ! "$KUBECTL" kustomize "$dir" >"$out" 2>"$TMP/err"; then
		not_ok "$1 renders" "$(<"$TMP/err")"
		return
	fi
	is "$1 renders without a word" "$(<"$TMP/err")" ""
	python "$1" --objects "$out"
}

# FOLDER COMPONENT [LINE...]: with one component, and more lines, as a user's own overlay would have it.
check_component() {
	local own=$TMP/own$((++OWN)) root

	mkdir -p "$own"
	root=$(realpath --relative-to="$own" .)
	printf '%s: [%s]\n' resources "$root/$1" components "$root/$2" >"$own/kustomization.yaml"
	printf '%s\n' "${@:3}" >>"$own/kustomization.yaml"
	check_folder "$own" "$1 with $2${3:+ and more}"
}

# The cases of check_deploy.py, as ours.
python() {
	local verdict name why

	while IFS=$'\t' read -r verdict name why; do
		case $verdict in
		ok) ok "$1: $name" ;;
		*) not_ok "$1: $name" "$why" ;;
		esac
	done < <(/usr/bin/python3 "$HERE/check_deploy.py" "${@:2}" --agent build/egress-agent --repository . \
		${SCHEMA:+--openapi "$SCHEMA"} || printf 'not ok\tcheck_deploy.py\tended early\n')
}

SCHEMA=
if suite_unpack trixie golang-k8s-kubectl-dev build/golang-k8s-kubectl-dev; then
	SCHEMA=$OPENAPI
else
	skip "objects agree with Kubernetes' OpenAPI" "it could not be fetched: $SUITE_WHY"
fi
if kubectl_find; then
	ok "kubectl renders components: $("$KUBECTL" version --client 2>/dev/null | paste -sd' ')"
	for dir in deploy/base deploy/overlays/*; do
		check_folder "$dir"
	done
	for dir in deploy/components/*; do
		check_component deploy/base "$dir"
	done
	# It changes what others bring, and clients' certificates are one line more.
	for dir in deploy/overlays/*; do
		check_component "$dir" deploy/components/tls
	done
	check_component deploy/overlays/prometheus-operator deploy/components/tls "${CLIENTS:?}"
else
	skip "kustomizations render" "no kubectl with components on this machine, and $SUITE_WHY"
	python "deploy/base, not rendered" --objects deploy/base/{namespace,rbac,priorityclass,daemonset,service}.yaml
fi
tap_done
