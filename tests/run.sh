#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [LAYER...] - run the test layers (unit golden bpf e2e) and count their cases.
# Owns: which programs belong to a layer, and the closing line `N passed, N failed[, N skipped]`.
# Must not know what a case checks.
#
# Everything but unit prints `ok - `, `not ok - ` and `skip - ` lines; unit tests are cmocka programs, and each of
# their tests is a case. A program that ends with an error and no failed case of its own counts as one failure.
#
# VERBOSE=1 shows every ok line; failures and skips are always shown.
set -euo pipefail

cd "$(dirname "$0")/.."
PASSED=0 FAILED=0 SKIPPED=0
OUT=$(mktemp)
trap 'rm -f "$OUT"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# NAME STATUS PASSED FAILED SKIPPED BEGUN: add up one program's cases. BEGUN: $SECONDS when it was started.
account() {
	local name=$1 status=$2 passed=$3 failed=$4 skipped=$5 took=$((SECONDS - $6)) skips=

	if ((status != 0 && failed == 0)); then
		failed=1
		printf 'not ok - %s: exit status %s\n' "$name" "$status"
		tail -n 30 "$OUT"
	fi
	if ((passed + failed + skipped == 0)); then
		failed=1
		printf 'not ok - %s: ran no case\n' "$name"
	fi
	((skipped == 0)) || skips=", $skipped SKIPPED"
	PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
	printf '%-40s %4d s %5d passed, %d failed%s\n' "$name" "$took" "$passed" "$failed" "$skips"
}

count() {
	grep -c "$1" "$OUT" || true
}

# A cmocka program.
unit() {
	local status=0 begun=$SECONDS

	timeout 300 "$1" >"$OUT" 2>&1 || status=$?
	grep -E '^\[  FAILED  \]|ERROR|runtime error' "$OUT" | head -n 20 || true
	account "$1" "$status" "$(count '^\[       OK \]')" "$(count '^\[  FAILED  \] .*[^:]$')" \
		"$(count '^\[  SKIPPED \] .*[^:]$')" "$begun"
}

# A program that prints the test protocol.
tap() {
	local status=0 begun=$SECONDS show='^(not ok|skip) - '

	[[ -z ${VERBOSE:-} ]] || show='^(ok|not ok|skip) - '
	timeout 900 "$@" </dev/null >"$OUT" 2>"$OUT.err" || status=$?
	grep -E "$show" "$OUT" | sed 's/^skip/SKIP/' || true
	((status == 0)) || tail -n 20 "$OUT.err" >&2
	rm -f "$OUT.err"
	account "$*" "$status" "$(count '^ok - ')" "$(count '^not ok - ')" "$(count '^skip - ')" "$begun"
}

layer() {
	local program

	case $1 in
	unit) for program in build/test_*; do
		case $program in
		*.d | build/test_bpf) ;;
		*) unit "$program" ;;
		esac
	done ;;
	golden) for program in tests/golden/run.sh tests/golden/check_*.sh; do
		tap bash "$program"
	done ;;
	bpf) tap build/test_bpf ;;
	e2e) for program in tests/e2e/test_*.sh; do
		tap bash "$program"
	done ;;
	*)
		echo "run.sh: no such layer: $1 (unit golden bpf e2e)" >&2
		exit 2
		;;
	esac
}

(($#)) || set -- unit golden bpf e2e
for name in "$@"; do
	layer "$name"
done
if ((SKIPPED)); then
	printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
else
	printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
fi
((FAILED == 0))
