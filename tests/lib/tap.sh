# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# tap.sh - the test protocol of this repository, for tests written in bash.
# Owns: the lines a test prints and its exit status. Must not know what is under test.
#
# A test prints one line a case on stdout, and nothing else there:
#	ok - NAME
#	not ok - NAME: WHY
#	skip - NAME: WHY
# and exits 0 when no case failed, 1 otherwise. Everything else goes to stderr.
#
# Usage:
#	set -euo pipefail
#	. "$(dirname "$0")/../lib/tap.sh"
#	trap tap_at_exit EXIT		# with the stand: stand_trap tap_at_exit (stand.sh)
#	ok NAME				# the case passed
#	not_ok NAME WHY			# the case failed
#	skip NAME WHY			# the case cannot run here; WHY is mandatory
#	is NAME GOT WANT		# ok when both strings are equal
#	passes NAME CMD...		# ok when CMD exits 0; what it printed becomes the WHY
#	fails NAME STATUS CMD...	# ok when CMD exits with exactly STATUS (not 0)
#	relay NAME CMD...		# CMD prints lines of this protocol: they become ours
#	tap_done			# last line of the script: exits 0 or 1
#
# A script that dies before tap_done (set -e, a signal, an `exit`) gets a "not ok" line from
# tap_at_exit, so that a crash never looks like a short but green run. A script that ran no
# case at all fails too. ok, not_ok, skip, is, passes and fails always return 0: under set -e a
# failed case must not stop the cases behind it.

TAP_PASSED=0
TAP_FAILED=0
TAP_SKIPPED=0
TAP_DONE=

# One line, printable, at most 400 characters: a WHY often is somebody else's output.
_tap_line() {
	local text=${1//[$'\n\r\t']/ }

	text=${text//[^[:print:]]/?}
	((${#text} <= 400)) || text="${text:0:397}..."
	printf '%s' "$text"
}

ok() {
	TAP_PASSED=$((TAP_PASSED + 1))
	printf 'ok - %s\n' "$(_tap_line "$1")"
}

not_ok() {
	TAP_FAILED=$((TAP_FAILED + 1))
	printf 'not ok - %s: %s\n' "$(_tap_line "$1")" "$(_tap_line "${2:-no reason given}")"
}

skip() {
	TAP_SKIPPED=$((TAP_SKIPPED + 1))
	printf 'skip - %s: %s\n' "$(_tap_line "$1")" "$(_tap_line "${2:?skip needs a reason}")"
}

is() {
	if [[ $2 == "$3" ]]; then
		ok "$1"
	else
		not_ok "$1" "got '$2', want '$3'"
	fi
}

passes() {
	local name=$1 out status=0

	shift
	out=$("$@" 2>&1) || status=$?
	if ((status == 0)); then
		ok "$name"
	else
		not_ok "$name" "exit $status: $out"
	fi
}

fails() {
	local name=$1 want=$2 out status=0

	shift 2
	out=$("$@" 2>&1) || status=$?
	if ((status == want)); then
		ok "$name"
	else
		not_ok "$name" "exit $status, want $want: $out"
	fi
}

relay() {
	local name=$1 line

	shift
	while IFS= read -r line; do
		case $line in
		'ok - '*) ok "${line#ok - }" ;;
		'not ok - '*) not_ok "${line#not ok - }" 'see above' ;;
		*) not_ok "$name prints the test protocol" "$line" ;;
		esac
	done < <("$@" || printf 'not ok - %s: exit %s\n' "$name" "$?")
}

tap_done() {
	TAP_DONE=yes
	((TAP_PASSED + TAP_FAILED + TAP_SKIPPED)) || not_ok "${0##*/}" "no case ran"
	((TAP_FAILED == 0)) || exit 1
	exit 0
}

# For trap ... EXIT. Returns 0: under set -e anything else would end the trap before the
# commands behind it; bash keeps the exit status the script had.
tap_at_exit() {
	local status=$?

	[[ -n $TAP_DONE ]] || not_ok "${0##*/}" "ended early, exit $status"
	return 0
}
