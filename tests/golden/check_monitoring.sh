#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_monitoring.sh - recording rules, alerts and dashboard of deploy/: sound, proved by promtool's tests, and answered by
# a real Prometheus.
# Owns: which files, and which Prometheus. Must not know: what is sound (check_monitoring.py), what answers
# (monitoring_live.py), what kustomize makes of them (check_deploy.sh).
#
# A current Prometheus comes from sid's package, unpacked to build/.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$HERE/../lib/tap.sh"
# shellcheck source=tests/lib/suite.sh
. "$HERE/../lib/suite.sh"
TMP=$(mktemp -d)
CHILD=
trap 'tap_at_exit; finish' EXIT
trap 'exit 130' INT TERM
cd "$HERE/../.."
OBJECT=deploy/components/prometheus-rules/prometheusrule.yaml
MONITOR=deploy/components/podmonitor/podmonitor.yaml
DASHBOARD=deploy/components/grafana-dashboard/egress-agent.json
RULES=build/egress-agent.rules.yaml

# shellcheck disable=SC2317 # from the trap
finish() {
	if [[ -n $CHILD ]]; then
		kill "$CHILD" 2>/dev/null || true
		wait "$CHILD" || true
	fi
	rm -rf "$TMP"
}

# PROGRAM OPTION...: its cases, as ours.
python() {
	local verdict name why

	TMPDIR=$TMP /usr/bin/python3 "$HERE/$1" "${@:2}" --rules "$RULES" --dashboard "$DASHBOARD" >"$TMP/cases" &
	CHILD=$!
	wait "$CHILD" || printf 'not ok\t%s\tended early\n' "$1" >>"$TMP/cases"
	CHILD=
	while IFS=$'\t' read -r verdict name why; do
		case $verdict in
		ok) ok "$name" ;;
		*) not_ok "$name" "$why" ;;
		esac
	done <"$TMP/cases"
}

main() {
	local file

	for file in "$RULES" build/exposition; do
		[[ -s $file ]] || { not_ok monitoring "$file is not there; make check-build makes it"; tap_done; }
	done
	build/exposition 0 3 text >"$TMP/exposition"
	is "promtool has nothing to say of the exposition that all this is held against" \
		"$(promtool check metrics <"$TMP/exposition" 2>&1)" ""
	passes "promtool check rules, all its lint" promtool check rules --lint=all --lint-fatal "$RULES"
	python check_monitoring.py --object "$OBJECT" --tests "$HERE/monitoring" --exposition "$TMP/exposition"
	python monitoring_live.py --prometheus prometheus --exposition build/exposition --podmonitor "$MONITOR"
	if suite_unpack sid prometheus build/prometheus-sid; then
		python monitoring_live.py --prometheus build/prometheus-sid/usr/bin/prometheus --exposition build/exposition --podmonitor "$MONITOR"
	else
		skip "in a current Prometheus: rules and dashboard answer" "it could not be fetched: $SUITE_WHY"
	fi
	tap_done
}

main
