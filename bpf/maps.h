/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map: who writes, who reads, who evicts, why this size. All are pinned by user space under their own
 * names, so that they outlive the agent; max_entries marked "set at load" is only a default.
 */
#ifndef MAPS_H
#define MAPS_H

#include "egress.h"
#include "packet.h"
#include "flow_types.h"

/* Destinations by key. Programs insert, the agent reads and deletes. Entries are allocated one by one: an idle
 * node pays for what it has. Room beyond the folding limit is for the remainders, at most one per cgroup and
 * protocol. Set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct ea_dest_key);
	__type(value, struct ea_dest);
} ea_dests SEC(".maps");

/*
 * Counters by destination id. Programs add, the agent reads and deletes with the destination. Not per CPU: memory for
 * that is refilled too slowly, and when many destinations were new at once counts were lost; what adds does so
 * atomically anyway, a few times per connection or request (of UDP: per packet). Set at load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct ea_stats);
} ea_stats SEC(".maps");

/* Answered requests by destination, code and method. As ea_stats. Set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct ea_request_key);
	__type(value, struct ea_request_stats);
} ea_requests SEC(".maps");

/* Addresses a destination was reached at, last use. Programs write, the kernel evicts the oldest. Set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct ea_addr_key);
	__type(value, __u64);
} ea_addrs SEC(".maps");

/* cgroups with destinations of their own, or sidecars. Programs insert, the agent deletes those that are gone and
 * have no destination left. Beyond it a cgroup's destinations go to the overflow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct ea_workload);
} ea_workloads SEC(".maps");

/* Who cgroups are, for when they and the agent are gone. Only the agent writes, reads and deletes. One entry per
 * container that called out and is there or not yet counted under its workload, and one per such workload. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct ea_identity);
} ea_identities SEC(".maps");

/* Address ranges that are internal. The agent writes them at its start, programs read. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct ea_range);
	__type(value, __u32);
} ea_internal SEC(".maps");

/* The data plane's health. Programs add, the agent reads. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EA_COUNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} ea_counters SEC(".maps");

/* Ids, limits, birth: struct ea_state under a lock that BTF has to know. */
struct ea_locked_state {
	struct bpf_spin_lock lock;
	__u32 next_id;
	__u32 dests;
	__u32 abi;
	__u64 since_ns;
	__u64 since_unix_ns;
};

_Static_assert(sizeof(struct ea_locked_state) == sizeof(struct ea_state), "ABI");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ea_locked_state);
} ea_state SEC(".maps");

/* News for the agent, rare by construction: one per cgroup. 64 KiB hold 2,700 of them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} ea_events SEC(".maps");

/* One per client socket; freed with the socket, so nothing evicts. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ea_flow);
} ea_flows SEC(".maps");

/* While a hello or head is read that takes more than a packet, and as long as a socket speaks HTTP. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ea_parse);
} ea_parses SEC(".maps");

/*
 * Where a packet of a TLS handshake is read that says all there is to say in itself, as most do: to make a socket's
 * storage for it and to free it costs more than the reading. Taken and given back within one run of a program; more
 * than one per CPU, because a program that runs for a process may be preempted by another, and either be interrupted.
 */
#define EA_SCRATCHES 3

struct ea_scratch {
	__u32 taken;
	__u32 pad;
	struct ea_parse parse;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EA_SCRATCHES);
	__type(key, __u32);
	__type(value, struct ea_scratch);
} ea_scratches SEC(".maps");

#endif
