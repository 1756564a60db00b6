#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cost_suricata.sh DIR - print the command that runs Suricata: the installed one, else Debian's, unpacked in DIR.
# Owns: where it comes from. Bookworm has it in bookworm-backports only; with the libraries that this machine lacks it is
# fetched with apt from the mirror this machine is configured for, and never installed. Status 1 with a line on stderr if not.
set -euo pipefail

DIR=$1
SUITE=bookworm-backports

die() {
	printf 'suricata: %s\n' "$*" >&2
	exit 1
}

apt() {
	"$1" -qq -o Dir::State::lists="$DIR/apt/lists" -o Dir::Cache="$DIR/apt" -o Dir::Etc::SourceList="$DIR/apt/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none -o Debug::NoLocking=1 "${@:2}"
}

fetch() {
	local uri deb

	# shellcheck disable=SC2016 # apt's variables
	uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
		awk '$2 == "main" && !/security/ { print $1; exit }')
	[[ -n $uri ]] || die "apt on this machine has no mirror of Debian's main component"
	mkdir -p "$DIR/apt/lists/partial" "$DIR/apt/archives/partial"
	printf 'deb %s %s main\n' "$uri" bookworm "$uri" "$SUITE" >"$DIR/apt/sources.list"
	apt apt-get update
	apt apt-get install -y --no-install-recommends --download-only -t "$SUITE" suricata
	for deb in "$DIR"/apt/archives/*.deb; do
		dpkg-deb -x "$deb" "$DIR/root"
	done
	rm -rf "$DIR/apt"
}

if command -v suricata >/dev/null; then
	command -v suricata
	exit 0
fi
if [[ ! -x $DIR/root/usr/bin/suricata ]]; then
	mkdir -p "$DIR"
	fetch >"$DIR/log" 2>&1 || die "not installed, and $SUITE did not give it: $(tail -n 1 "$DIR/log")"
fi
libraries=("$DIR/root/usr/lib/"*-linux-gnu)
echo "env LD_LIBRARY_PATH=${libraries[0]} $DIR/root/usr/bin/suricata"
