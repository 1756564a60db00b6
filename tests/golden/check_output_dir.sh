#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check_output_dir.sh - `generate --output-dir`: one file per object, all or nothing, nothing left behind.
# Owns: what stands in a directory afterwards. Must not know: what is in the objects.
#
#	EGRESS_AGENT	the binary (default: build/egress-agent)
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$HERE/../lib/tap.sh"
TMP=$(mktemp -d)
trap 'tap_at_exit; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM
AGENT=$(readlink -m "${EGRESS_AGENT:-$HERE/../../build/egress-agent}")
INPUT=$HERE/generate/demo-3.json
RULE=destinationrule-test-ext-svc-httpbin-org-56a99524.yaml
ENTRY=serviceentry-test-ext-svc-httpbin-org-56a99524.yaml

# DIR [ARG...]: generate the pair into DIR; leaves $TMP/out and $TMP/err, sets STATUS.
run() {
	local dir=$1

	shift
	STATUS=0
	"$AGENT" generate --from "$INPUT" --visibility l7 --output-dir "$dir" "$@" \
		>"$TMP/out" 2>"$TMP/err" || STATUS=$?
	[[ ! -s $TMP/out ]] || not_ok "stdout of $*" "not empty"
}

# What stands in DIR, hidden files too, in one line.
listing() {
	find "$1" -mindepth 1 -printf '%P\n' | LC_ALL=C sort | paste -sd' '
}

check_fresh() {
	umask 022
	run "$TMP/new"
	is "a missing directory is made and filled" "$STATUS $(listing "$TMP/new")" "0 $RULE $ENTRY"
	is "the files are the documents" \
		"$(cat "$TMP/new/$RULE" <(echo ---) "$TMP/new/$ENTRY" | sha256sum)" \
		"$(sha256sum <"$HERE/generate/demo-3-pair.expected")"
	is "the umask decides about their mode" "$(stat -c %a "$TMP/new/$ENTRY")" 644
	is "stderr says how many" "$(tail -n 1 "$TMP/err")" \
		"egress-agent: generate: 2 files written to $TMP/new"
}

check_again() {
	echo old >"$TMP/new/$ENTRY"
	echo mine >"$TMP/new/kustomization.yaml"
	echo target >"$TMP/target"
	rm "$TMP/new/$RULE"
	ln -s ../target "$TMP/new/$RULE"
	run "$TMP/new"
	is "a second run replaces its files and leaves others" \
		"$STATUS $(listing "$TMP/new") $(<"$TMP/new/kustomization.yaml")" \
		"0 $RULE kustomization.yaml $ENTRY mine"
	is "what it replaces is the name, not what a link leads to" \
		"$(<"$TMP/target") $(cat "$TMP/new/$RULE" <(echo ---) "$TMP/new/$ENTRY" | sha256sum)" \
		"target $(sha256sum <"$HERE/generate/demo-3-pair.expected")"
}

check_nothing_to_write() {
	run "$TMP/none" --host nowhere.example.com
	is "nothing to generate makes no directory" "$STATUS $(listing "$TMP" | grep -c none || true)" "0 0"
}

# NAME PATTERN: STATUS is 1, and one line on stderr beside the notes says PATTERN.
refused() {
	if [[ $STATUS != 1 ]]; then
		not_ok "$1" "exit $STATUS: $(<"$TMP/err")"
	elif [[ $(grep -cE "$2" "$TMP/err") != 1 ]]; then
		not_ok "$1" "no line with $2: $(<"$TMP/err")"
	else
		ok "$1: $(grep -E "$2" "$TMP/err")"
	fi
}

check_refused() {
	echo file >"$TMP/file"
	run "$TMP/file"
	refused "a file in the directory's place" "cannot write to $TMP/file: .*nothing was changed"
	run "$TMP/no/such"
	refused "a parent that is missing" "cannot write to $TMP/no/such: .*nothing was changed"
	run ''
	refused "an empty name" "cannot write to : .*nothing was changed"
}

# A disk that is full, played by a limit on the size of files: writing fails with EFBIG.
check_full_disk() {
	local before

	before=$(listing "$TMP/new" && cat "$TMP/new/"*)
	(
		trap '' XFSZ
		ulimit -f 0
		"$AGENT" generate --from "$INPUT" --visibility l7 --all --output-dir "$TMP/new"
	) 2>&1 >/dev/null | cat >"$TMP/err" && STATUS=0 || STATUS=$?
	refused "a full disk" "cannot write to $TMP/new: .*nothing was changed"
	is "a full disk leaves everything as it was" "$(listing "$TMP/new" && cat "$TMP/new/"*)" "$before"
	(
		trap '' XFSZ
		ulimit -f 0
		"$AGENT" generate --from "$INPUT" --output-dir "$TMP/fresh"
	) 2>&1 >/dev/null | cat >"$TMP/err" && STATUS=0 || STATUS=$?
	refused "a full disk and a new directory" "cannot write to $TMP/fresh: "
	is "no directory is left for nothing" "$(find "$TMP" -maxdepth 1 -name fresh)" ""
}

check_half_way() {
	mkdir -p "$TMP/half/$ENTRY/in-the-way"
	run "$TMP/half"
	refused "a name that cannot be taken" "only 1 of 2 files are in $TMP/half: "
	is "no temporary file stays" "$(listing "$TMP/half")" "$RULE $ENTRY $ENTRY/in-the-way"
}

main() {
	if [[ ! -x $AGENT ]]; then
		not_ok "generate --output-dir" "$AGENT is not there; make builds it"
		tap_done
	fi
	check_fresh
	check_again
	check_nothing_to_write
	check_refused
	check_full_disk
	check_half_way
	tap_done
}

main
