# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# suite.sh - packages of another Debian suite than this machine's, fetched and unpacked, never installed.
# Owns: the apt lists of those suites, in build/apt, and their use of the mirror this machine is configured for.
# Must not know what a package is for.
#
# Usage (bash, set -euo pipefail):
#	. "$(dirname "$0")/../lib/suite.sh"
#	suite_update SUITE		# its lists, at most once a day; status 1 with the reason in $SUITE_WHY
#	suite_apt SUITE CMD ARG...	# apt-get, apt-cache and such, with that suite only
#	suite_download SUITE PACKAGE DIR	# the newest .deb into DIR; status 1, $SUITE_WHY
#	suite_unpack SUITE PACKAGE DIR	# what is in it, to DIR. One fetched before will do when the mirror has no newer one
#					# or cannot be reached. Status 1, $SUITE_WHY
# shellcheck disable=SC2034 # the reason is for whoever sources this

SUITE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/apt
SUITE_WHY=

suite_apt() {
	local dir=$SUITE_DIR/$1

	"$2" -q -o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
		-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=2 \
		-o Acquire::http::Timeout=30 "${@:3}"
}

# The mirror of the release this machine runs.
_suite_mirror() {
	local release

	# shellcheck source=/dev/null
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt's variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
		awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }'
}

suite_update() {
	local dir=$SUITE_DIR/$1 uri keys=/usr/share/keyrings/debian-archive-keyring.gpg by='' out

	[[ -z $(find "$dir/updated" -mmin -1440 2>/dev/null) ]] || return 0
	uri=$(_suite_mirror) || true
	if [[ -z $uri ]]; then
		SUITE_WHY="apt on this machine has no mirror of Debian's main component"
		return 1
	fi
	[[ ! -e $keys ]] || by="[signed-by=$keys] "
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/status"
	echo "deb $by$uri $1 main" >"$dir/sources.list"
	if ! out=$(suite_apt "$1" apt-get update -o APT::Update::Error-Mode=any 2>&1); then
		SUITE_WHY=$(grep -m 3 '^[EW]:' <<<"$out" || tail -n 3 <<<"$out")
		return 1
	fi
	touch "$dir/updated"
}

suite_download() {
	local out

	if ! out=$(cd "$3" && suite_apt "$1" apt-get download "$2" 2>&1); then
		SUITE_WHY=$(tail -n 3 <<<"$out")
		return 1
	fi
}

# The version stands in DIR.version, so that a half-made DIR is never taken for a whole one.
suite_unpack() {
	local version='' work

	if suite_update "$1"; then
		version=$(suite_apt "$1" apt-cache show --no-all-versions "$2" 2>/dev/null | sed -n 's/^Version: //p')
		[[ -n $version ]] || SUITE_WHY="$1 has no package $2"
	fi
	[[ -n $version || ! -e $3.version ]] || return 0
	[[ -n $version ]] || return 1
	[[ ! -e $3.version || $(<"$3.version") != "$version" ]] || return 0
	rm -rf "$3" "$3.version"
	mkdir -p "$3"
	work=$(mktemp -d "$3.XXXXXX")
	if ! suite_download "$1" "$2" "$work" || ! dpkg-deb -x "$work"/*.deb "$3"; then
		rm -rf "$work"
		return 1
	fi
	rm -rf "$work"
	echo "$version" >"$3.version"
}
