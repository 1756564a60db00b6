#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh - bytes in, bytes out: runs commands on recorded input and compares what they print.
# Owns: the format of the cases. Must not know: what any command means by its output.
#
# A case is tests/golden/COMMAND/NAME.args: one argument a line, relative to that directory; a line
# "<FILE" redirects standard input. Next to it stand NAME.expected (standard output), NAME.stderr and,
# when it is not 0, NAME.status. Every case runs twice, under different time zones and locales, and must
# print the same bytes both times.
#
# Usage: tests/golden/run.sh [NAME-PATTERN]
#	ACCEPT=1	write the files from what the command prints now, then look at `git diff`
#	EGRESS_AGENT	the binary (default: build/egress-agent)
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lib/tap.sh
. "$HERE/../lib/tap.sh"
trap tap_at_exit EXIT

BINARY=$(readlink -m "${EGRESS_AGENT:-$HERE/../../build/egress-agent}")
PATTERN=${1:-*}
TMP=$(mktemp -d)
trap 'tap_at_exit; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM

# COMMAND ARGS-FILE TZ LOCALE OUT: runs the case; leaves OUT.expected, OUT.stderr, OUT.status.
play() {
	local command=$1 file=$2 zone=$3 locale=$4 out=$5 line stdin=/dev/null status=0
	local -a args=()

	while IFS= read -r line; do
		case $line in
		'<'*) stdin=${line#<} ;;
		*) args+=("$line") ;;
		esac
	done <"$file"
	env -i PATH="$PATH" TZ="$zone" LC_ALL="$locale" timeout 60 \
		"$BINARY" "$command" "${args[@]}" <"$stdin" >"$out.expected" 2>"$out.stderr" || status=$?
	printf '%d\n' "$status" >"$out.status"
}

# The files that say what CASE must give, from OUT.
accept() {
	local case=$1 out=$2 kind

	for kind in expected stderr status; do
		cp "$out.$kind" "$case.$kind"
	done
	[[ $(<"$case.status") != 0 ]] || rm -f "$case.status"
}

# The first difference between what CASE must give and OUT; nothing when there is none.
judge() {
	local case=$1 out=$2 kind

	for kind in status stderr expected; do
		if [[ $kind == status && ! -e $case.status ]]; then
			echo 0 >"$TMP/want"
		else
			cp "$case.$kind" "$TMP/want"
		fi
		diff -u "$TMP/want" "$out.$kind" >"$TMP/diff" && continue
		echo "$kind: $(tail -n +3 "$TMP/diff" | head -n 12)"
		return
	done
}

run_case() {
	local command=$1 case=$2 name=$1/$2 kind why=''

	play "$command" "$case.args" UTC C "$TMP/first"
	play "$command" "$case.args" Asia/Tokyo C.UTF-8 "$TMP/second"
	for kind in expected stderr status; do
		cmp -s "$TMP/first.$kind" "$TMP/second.$kind" || why="two runs differ in $kind"
	done
	if [[ -n $why ]]; then
		not_ok "$name" "$why"
	elif [[ -n ${ACCEPT:-} ]]; then
		accept "$case" "$TMP/first"
		ok "$name (accepted)"
	elif [[ ! -e $case.expected || ! -e $case.stderr ]]; then
		not_ok "$name" "no $case.expected or $case.stderr; ACCEPT=1 writes them"
	else
		why=$(judge "$case" "$TMP/first")
		if [[ -z $why ]]; then ok "$name"; else not_ok "$name" "$why"; fi
	fi
}

# An expected file whose case is gone would never be looked at again.
check_orphans() {
	local file

	for file in "$HERE"/*/*.{expected,stderr,status}; do
		[[ ! -e $file || -e ${file%.*}.args ]] || not_ok "${file##*/}" "has no .args file"
	done
}

main() {
	local args

	if [[ ! -x $BINARY ]]; then
		not_ok golden "$BINARY is not there; make builds it"
		tap_done
	fi
	for args in "$HERE"/*/*.args; do
		cd "$(dirname "$args")"
		args=${args##*/}
		# shellcheck disable=SC2053 # a pattern, not a string
		[[ ${args%.args} == $PATTERN ]] || continue
		run_case "${PWD##*/}" "${args%.args}"
	done
	check_orphans
	tap_done
}

main
