/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Destinations and their counters: find or create one for a key, add to it. Whatever has no room is counted in
 * a remainder, never lost: first its cgroup's own (EA_SOURCE_OTHER), then EA_DEST_OVERFLOW.
 *
 * Counters are added to atomically, those per CPU too: an egress program runs in process context and can be preempted
 * by another one on the same CPU.
 */
#ifndef DEST_H
#define DEST_H

#include "maps.h"

const volatile struct ea_config ea_config = {
	.max_dests = 65536,
	.max_dests_per_workload = 800,
	.mesh_port = 15001,
};

static __always_inline void ea_count(__u32 which)
{
	__u64 *v = bpf_map_lookup_elem(&ea_counters, &which);

	if (v)
		__sync_fetch_and_add(v, 1);
}

/* Tell of a name as it is read. Nothing where nobody asked: the branch is gone when the program is loaded. */
static __always_inline void ea_observe(const struct ea_dest_key *key)
{
	struct ea_name_event *e;

	if (!ea_config.observe)
		return;
	e = bpf_ringbuf_reserve(&ea_events, sizeof(*e), 0);
	if (!e) {
		ea_count(EA_COUNT_NO_EVENT);
		return;
	}
	e->type = EA_EVENT_NAME;
	e->proto = key->proto;
	e->source = key->source;
	e->host_len = key->host_len;
	__builtin_memcpy(e->host, key->host, sizeof(e->host));
	/* Who feeds captures looks after each packet: nobody waits to be woken. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* As exact as the last use of an address is known. */
#define EA_ADDR_FRESH_NS 10000000000ULL

/* Counters of a destination; NULL if there is no such destination any more. */
static __always_inline struct ea_stats *stats_find(__u32 id)
{
	return bpf_map_lookup_elem(&ea_stats, &id);
}

/* Counters of a destination, created if need be. NULL (counted) without memory. */
static __always_inline struct ea_stats *stats_get(__u32 id)
{
	static const struct ea_stats zero;
	struct ea_stats *s = bpf_map_lookup_elem(&ea_stats, &id);

	if (s)
		return s;
	bpf_map_update_elem(&ea_stats, &id, &zero, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&ea_stats, &id);
	if (!s)
		ea_count(EA_COUNT_NO_STATS);
	return s;
}

/* The row of answered requests, created if need be. NULL (counted) without memory. */
static __always_inline struct ea_request_stats *requests_get(const struct ea_request_key *key)
{
	static const struct ea_request_stats zero;
	struct ea_request_stats *s = bpf_map_lookup_elem(&ea_requests, key);

	if (s)
		return s;
	bpf_map_update_elem(&ea_requests, key, &zero, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&ea_requests, key);
	if (!s)
		ea_count(EA_COUNT_NO_STATS);
	return s;
}

/*
 * Destination id, whose counters are s, was reached at addr. The map is not told of the same address again at
 * once. Two CPUs that write s->addr at once may leave a mixture, which is no address of anybody's: then it is told.
 */
static __always_inline void addrs_touch(__u32 id, struct ea_stats *s, const __u8 addr[16],
					__u64 now)
{
	const __u64 *a = (const __u64 *)s->addr, *b = (const __u64 *)addr;
	struct ea_addr_key key = {.dest_id = id};
	__u64 *last;

	if (now - s->addr_ns < EA_ADDR_FRESH_NS && a[0] == b[0] && a[1] == b[1])
		return;
	__builtin_memcpy(s->addr, addr, sizeof(s->addr));
	s->addr_ns = now;
	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	last = bpf_map_lookup_elem(&ea_addrs, &key);
	if (last)
		*last = now;
	else
		bpf_map_update_elem(&ea_addrs, &key, &now, BPF_ANY);
}

/* The cgroup's entry; at first sight it is made and the agent told. NULL if the map is full. */
static __always_inline struct ea_workload *workload_get(__u64 cgroup_id)
{
	static const struct ea_workload zero;
	struct ea_workload *w = bpf_map_lookup_elem(&ea_workloads, &cgroup_id);
	struct ea_event *e;

	if (w)
		return w;
	if (!bpf_map_update_elem(&ea_workloads, &cgroup_id, &zero, BPF_NOEXIST)) {
		e = bpf_ringbuf_reserve(&ea_events, sizeof(*e), 0);
		if (e) {
			*e = (struct ea_event){.type = EA_EVENT_WORKLOAD, .cgroup_id = cgroup_id};
			bpf_ringbuf_submit(e, 0);
		} else {
			ea_count(EA_COUNT_NO_EVENT);
		}
	}
	return bpf_map_lookup_elem(&ea_workloads, &cgroup_id);
}

/* A new id, or 0 if `most` destinations exist. */
static __always_inline __u32 id_take(__u32 most)
{
	__u32 zero = 0, id = 0;
	struct ea_locked_state *s = bpf_map_lookup_elem(&ea_state, &zero);

	if (!s)
		return 0;
	bpf_spin_lock(&s->lock);
	if (s->dests < most) {
		s->dests++;
		id = s->next_id++;
	}
	bpf_spin_unlock(&s->lock);
	return id;
}

/* An id that did not become a destination. */
static __always_inline void id_return(void)
{
	__u32 zero = 0;
	struct ea_locked_state *s = bpf_map_lookup_elem(&ea_state, &zero);

	if (!s)
		return;
	bpf_spin_lock(&s->lock);
	s->dests--;
	bpf_spin_unlock(&s->lock);
}

/* Insert, or find what another CPU inserted meanwhile. 0 if there is no room. */
static __always_inline __u32 dest_insert(const struct ea_dest_key *key, struct ea_workload *w,
					 __u32 most)
{
	struct ea_dest d = {.id = id_take(most), .first_ns = bpf_ktime_get_ns()};
	struct ea_dest *found;

	if (!d.id)
		return 0;
	__sync_fetch_and_add(&w->dests[key->internal & 1], 1);
	if (!bpf_map_update_elem(&ea_dests, key, &d, BPF_NOEXIST))
		return d.id;
	__sync_fetch_and_add(&w->dests[key->internal & 1], -1);
	id_return();
	found = bpf_map_lookup_elem(&ea_dests, key);
	return found ? found->id : 0;
}

/* The remainder of the key's cgroup and scope. */
static __always_inline __u32 dest_fold(struct ea_dest_key *key, struct ea_workload *w)
{
	struct ea_dest *d;
	__u32 id;

	key->source = EA_SOURCE_OTHER;
	key->port = 0;
	key->host_len = 0;
	__builtin_memset(key->host, 0, sizeof(key->host));
	ea_count(EA_COUNT_DEST_FOLDED);
	d = bpf_map_lookup_elem(&ea_dests, key);
	if (d)
		return d->id;
	id = w ? dest_insert(key, w, ~0U) : 0;
	if (id)
		return id;
	ea_count(EA_COUNT_DEST_OVERFLOW);
	return EA_DEST_OVERFLOW;
}

/* Id of the key's destination; never 0. May change the key into the remainder's. */
static __noinline __u32 dest_get(struct ea_dest_key *key)
{
	struct ea_dest *d = bpf_map_lookup_elem(&ea_dests, key);
	struct ea_workload *w;
	__u32 id;

	if (d)
		return d->id;
	w = workload_get(key->cgroup_id);
	if (!w || w->dests[key->internal & 1] >= ea_config.max_dests_per_workload)
		return dest_fold(key, w);
	id = dest_insert(key, w, ea_config.max_dests);
	return id ? id : dest_fold(key, w);
}

#endif
