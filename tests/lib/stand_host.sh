# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# stand_host.sh - what a stand takes from the host: processes, cgroups, bpffs, /etc; and how it
# gives them back. Owns: that nothing of it stays. Must not know pods, sidecars or the agent.
# Part of stand.sh, which sources it; not for use alone.

STAND_ID=$$
STAND_NAME=egress-agent-stand-$STAND_ID
STAND_DIR=/run/$STAND_NAME
STAND_ETC_MARK=/etc/netns/.egress-agent-stand
STAND_CGROUP2=
STAND_CG=
STAND_PIN=
declare -A STAND_PIDS=()

_stand_fail() {
	printf 'stand: %s\n' "$*" >&2
	return 1
}

stand_wait() {
	local deadline=$((SECONDS + $1)) seconds=$1

	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || { _stand_fail "waited $seconds s for: $*"; return 1; }
		sleep 0.1
	done
}

# ---- processes ---------------------------------------------------------------------------

# A zombie answers kill -0, but holds nothing any more.
_stand_alive() {
	local stat

	IFS= read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
	[[ ${stat##*) } != Z* ]]
}

# NAME CGROUP NETNS CMD...: in the background; an empty NETNS is the host's. The subshell
# enters the cgroup before it is CMD, so nothing it does escapes from there.
_stand_spawn() {
	local name=$1 cgroup=$2 netns=$3

	shift 3
	[[ -z $netns ]] || set -- ip netns exec "$netns" "$@"
	(
		echo 0 >"$cgroup/cgroup.procs" || exit 125
		exec "$@" </dev/null >>"$STAND_DIR/$name.log" 2>&1
	) &
	STAND_PIDS[$name]=$!
}

# NAME: TERM, then after 10 seconds KILL. Returns the exit status of the process.
_stand_stop() {
	local pid=${STAND_PIDS[$1]:-} status=0 i

	[[ -n $pid ]] || return 0
	kill -TERM "$pid" 2>/dev/null || true
	for ((i = 0; i < 100; i++)); do
		_stand_alive "$pid" || break
		sleep 0.1
	done
	((i < 100)) || kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || status=$?
	unset "STAND_PIDS[$1]"
	return "$status"
}

# Fails when NAME died, and shows what it said.
_stand_running() {
	_stand_alive "${STAND_PIDS[$1]:-0}" && return 0
	_stand_fail "$1 ended: $(tail -n 3 "$STAND_DIR/$1.log" 2>/dev/null | tr '\n' ' ')"
}

_stand_dead_or() {
	_stand_alive "${STAND_PIDS[$1]}" || return 0
	"${@:2}"
}

# NAME SECONDS CMD...: wait for CMD, but not for a process that has died.
_stand_ready() {
	stand_wait "$2" _stand_dead_or "$1" "${@:3}" ||
		{ tail -n 3 "$STAND_DIR/$1.log" >&2; return 1; }
	_stand_running "$1"
}

_stand_free_port() {
	local port i

	for ((i = 0; i < 50; i++)); do
		port=$((20000 + RANDOM % 10000))
		[[ -n $(ss -Htln "sport = :$port") ]] || { echo "$port"; return 0; }
	done
	_stand_fail "no free TCP port between 20000 and 30000"
}

# ---- cgroups -----------------------------------------------------------------------------

# The first cgroup2 mount that lets us make a directory; a mount of our own when there is none
# (or only a read-only one, as in many containers).
_stand_cgroup_mount() {
	local dir type

	while read -r _ dir type _; do
		[[ $type == cgroup2 ]] || continue
		STAND_CGROUP2=$(printf '%b' "$dir")
		STAND_CG=$STAND_CGROUP2/$STAND_NAME
		mkdir "$STAND_CG" 2>/dev/null && return 0
	done </proc/self/mounts
	STAND_CGROUP2=$STAND_DIR/cgroup2
	STAND_CG=$STAND_CGROUP2/$STAND_NAME
	mkdir "$STAND_CGROUP2"
	mount -t cgroup2 none "$STAND_CGROUP2" ||
		{ _stand_fail "cannot mount cgroup2: this root lacks CAP_SYS_ADMIN"; return 1; }
	mkdir "$STAND_CG"
}

_stand_cgroup_kill() {
	local dir pid

	[[ -d $1 ]] || return 0
	if { echo 1 >"$1/cgroup.kill"; } 2>/dev/null; then
		return 0
	fi
	while read -r dir; do
		while read -r pid; do
			kill -KILL "$pid" 2>/dev/null || true
		done <"$dir/cgroup.procs" 2>/dev/null || true
	done < <(find "$1" -depth -type d)
}

# Kill and remove until it is gone: a process forked just now may enter after the kill.
_stand_cgroup_remove() {
	local i

	for ((i = 0; i < 100; i++)); do
		[[ -d $1 ]] || return 0
		_stand_cgroup_kill "$1"
		find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[[ ! -d $1 ]] || sleep 0.1
	done
	_stand_fail "cgroup $1 is still busy"
}

# ---- bpffs and /etc ----------------------------------------------------------------------

# The host's bpffs, or one of our own.
_stand_bpffs() {
	local dir=/sys/fs/bpf

	if [[ $(stat -f -c %T "$dir" 2>/dev/null) != bpf_fs ]]; then
		dir=$STAND_DIR/bpf
		mkdir "$dir"
		mount -t bpf none "$dir" ||
			{ _stand_fail "cannot mount bpffs: this root lacks CAP_SYS_ADMIN"; return 1; }
	fi
	# shellcheck disable=SC2034 # for stand.sh
	STAND_PIN=$dir/$STAND_NAME
}

# Under the lock of /etc: the last stand that leaves removes what the first one had to make.
# `ip netns exec` can only mount over an /etc/hosts that exists; a bare chroot has none.
# A signal must not come between a thing and its mark.
_stand_etc_make() {
	(
		trap '' INT TERM HUP
		flock 9
		[[ -d /etc/netns ]] || { mkdir /etc/netns && : >"$STAND_ETC_MARK"; }
		[[ -e /etc/hosts ]] || { : >/etc/hosts && echo hosts >"$STAND_ETC_MARK"; }
		mkdir -p "/etc/netns/$1"
	) 9</etc
}

_stand_etc_remove() {
	(
		flock 9
		rm -rf /etc/netns/ea-*-"$STAND_ID"
		[[ -e $STAND_ETC_MARK && $(ls -A /etc/netns) == "${STAND_ETC_MARK##*/}" ]] || exit 0
		! grep -q hosts "$STAND_ETC_MARK" || [[ -s /etc/hosts ]] || rm -f /etc/hosts
		rm -f "$STAND_ETC_MARK"
		rmdir /etc/netns
	) 9</etc
}
