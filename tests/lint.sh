#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh - what a machine can say about the source: format, clang-tidy, shellcheck, licence lines.
# Owns: the rules that are enforced. Changes nothing. Exit 1 if anything is found.
set -euo pipefail

cd "$(dirname "$0")/.."
STATUS=0

say() {
	printf 'lint: %s\n' "$1"
	STATUS=1
}

mapfile -t c < <(git ls-files '*.c' '*.h')
mapfile -t shell < <(git ls-files '*.sh' .ci/run)
mapfile -t python < <(git ls-files '*.py')

clang-format --dry-run -Werror "${c[@]}" || say "run 'make format'"

mapfile -t tidy < <(git ls-files 'user/*.c')
printf '%s\0' "${tidy[@]}" | xargs -0 -n 6 -P 2 sh -c \
	'clang-tidy --quiet --warnings-as-errors="*" "$@" -- -std=gnu11 -D_GNU_SOURCE -DEA_VERSION=\"lint\" -iquote include -iquote user -iquote build 2>/dev/null' sh ||
	say 'clang-tidy found something'

shellcheck -x "${shell[@]}" || say 'shellcheck found something'
for file in "${python[@]}"; do
	/usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$file" ||
		say "$file does not parse"
done

# House rule: no function over 60 lines.
awk 'FNR == 1 { open = 0 }
/^{/ { open = FNR }
/^}/ { if (open && FNR - open > 60) { printf "%s:%d: function of %d lines\n", FILENAME, open, FNR - open; bad = 1 } open = 0 }
END { exit bad }' "${c[@]}" || say 'functions over 60 lines'

for file in "${c[@]}" "${shell[@]}" "${python[@]}" Makefile; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: ' || say "$file has no SPDX line"
done
((STATUS == 0)) && echo 'lint: clean'
exit "$STATUS"
