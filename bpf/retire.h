/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Destinations that leave: their counters go to another one, what they took is given back.
 *
 * The agent takes a destination out of use by giving it a key that no program looks for (RENAME; its id and counters
 * stay). Later, when nobody can be within a program that still found the old key, it gets the key it is to be counted
 * under (RENAME), or is added to whoever has that key (REQUEST, MERGE). A sum always gets what is added to it by the
 * latter: a flow that still has the id must not count for the sum from then on. What the agent must not do itself is
 * done here: one run cannot be cut short, so that an agent that is killed between any two of them leaves each count in
 * exactly one place.
 *
 * Must not know: when a destination leaves, and why.
 */
#ifndef RETIRE_H
#define RETIRE_H

#include "dest.h"

#define WORDS(type) ((int)(sizeof(type) / sizeof(__u64)))

/* Sums of 8 bytes each. The source is read while nobody adds to it. */
static __always_inline void words_add(void *to, const void *from, int n)
{
	__u64 *t = to;
	const __u64 *f = from;

	for (int i = 0; i < n; i++)
		if (f[i])
			__sync_fetch_and_add(&t[i], f[i]);
}

static __always_inline void stats_add(struct ea_stats *to, const struct ea_stats *from)
{
	_Static_assert(__builtin_offsetof(struct ea_stats, last_ns) == 4 * sizeof(__u64) &&
			       __builtin_offsetof(struct ea_stats, connect) -
					       __builtin_offsetof(struct ea_stats, failed) ==
				       5 * sizeof(__u64),
		       "sums, and nothing else, stand there");
	words_add(&to->opened, &from->opened, 4);
	words_add(&to->failed, &from->failed, 5);
	words_add(&to->connect, &from->connect, WORDS(to->connect));
	words_add(&to->handshake, &from->handshake, WORDS(to->handshake));
	__sync_fetch_and_or(&to->facts, from->facts);
	if (to->last_ns < from->last_ns)
		to->last_ns = from->last_ns;
}

static __always_inline void facts_add(__u32 id, __u32 facts)
{
	struct ea_stats *s = facts ? bpf_map_lookup_elem(&ea_stats, &id) : NULL;

	if (s)
		__sync_fetch_and_or(&s->facts, facts);
}

/* How many destinations a cgroup has, if anybody counts. */
static __always_inline void workload_less(const struct ea_dest_key *key)
{
	struct ea_workload *w = bpf_map_lookup_elem(&ea_workloads, &key->cgroup_id);

	if (w && w->dests[key->internal & 1])
		__sync_fetch_and_add(&w->dests[key->internal & 1], -1);
}

static __always_inline void workload_more(const struct ea_dest_key *key)
{
	struct ea_workload *w = bpf_map_lookup_elem(&ea_workloads, &key->cgroup_id);

	if (w)
		__sync_fetch_and_add(&w->dests[key->internal & 1], 1);
}

static __always_inline int move_rename(const struct ea_move *m)
{
	struct ea_dest *from = bpf_map_lookup_elem(&ea_dests, &m->from), d;

	if (!from || from->id != m->id)
		return EA_MOVE_GONE;
	d = *from;
	if (bpf_map_update_elem(&ea_dests, &m->to, &d, BPF_NOEXIST))
		return bpf_map_lookup_elem(&ea_dests, &m->to) ? EA_MOVE_EXISTS : EA_MOVE_FULL;
	bpf_map_delete_elem(&ea_dests, &m->from);
	workload_more(&m->to);
	workload_less(&m->from);
	facts_add(d.id, m->facts);
	return EA_MOVE_DONE;
}

/* Id of the destination that gets the counters, made if it is not there; 0 if there is no room. */
static __always_inline __u32 move_into(const struct ea_move *m)
{
	struct ea_dest *to, d = {.first_ns = bpf_ktime_get_ns()};

	if (m->flags & EA_MOVE_OVERFLOW)
		return EA_DEST_OVERFLOW;
	to = bpf_map_lookup_elem(&ea_dests, &m->to);
	if (to)
		return to->id;
	d.id = id_take(~0U);
	if (!d.id)
		return 0;
	if (!bpf_map_update_elem(&ea_dests, &m->to, &d, BPF_NOEXIST)) {
		workload_more(&m->to);
		return d.id;
	}
	id_return();
	to = bpf_map_lookup_elem(&ea_dests, &m->to);
	return to ? to->id : 0;
}

static __always_inline void first_to(const struct ea_move *m, __u64 first_ns)
{
	struct ea_dest *to = bpf_map_lookup_elem(&ea_dests, &m->to);

	if (to && first_ns < to->first_ns)
		to->first_ns = first_ns;
}

static __always_inline int move_request(const struct ea_move *m)
{
	static const struct ea_request_stats zero;
	struct ea_request_key from = {.dest_id = m->id, .code = m->code, .method = m->method},
			      to = from;
	struct ea_request_stats *f = bpf_map_lookup_elem(&ea_requests, &from), *t;

	if (!f)
		return EA_MOVE_GONE;
	to.dest_id = move_into(m);
	if (!to.dest_id)
		return EA_MOVE_FULL;
	bpf_map_update_elem(&ea_requests, &to, &zero, BPF_NOEXIST);
	t = bpf_map_lookup_elem(&ea_requests, &to);
	if (!t)
		return EA_MOVE_FULL;
	words_add(t, f, WORDS(*t));
	bpf_map_delete_elem(&ea_requests, &from);
	return EA_MOVE_DONE;
}

static __always_inline int move_merge(const struct ea_move *m)
{
	int stray = m->flags & EA_MOVE_STRAY;
	struct ea_dest *d = stray ? NULL : bpf_map_lookup_elem(&ea_dests, &m->from);
	__u32 id = m->id, into;
	struct ea_stats *s, *t;

	if (!stray && (!d || d->id != id))
		return EA_MOVE_GONE;
	into = move_into(m);
	s = bpf_map_lookup_elem(&ea_stats, &id);
	t = s && into ? stats_get(into) : NULL;
	if (!into || (s && !t))
		return EA_MOVE_FULL;
	if (t)
		stats_add(t, s);
	bpf_map_delete_elem(&ea_stats, &id);
	facts_add(into, m->facts);
	if (d) {
		first_to(m, d->first_ns);
		bpf_map_delete_elem(&ea_dests, &m->from);
		workload_less(&m->from);
		id_return();
	}
	return EA_MOVE_DONE;
}

#endif
