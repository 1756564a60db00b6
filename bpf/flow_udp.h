/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * UDP to port 443: QUIC, or what wants to pass for it. Sidecars take TCP only, so it leaves a meshed pod unseen; here
 * it is counted by address. What stands in the datagrams is not read.
 *
 * A flow is a socket and the address it last sent to: one that talks to several servers in turn is a new flow at each
 * turn, and what comes from another server than the last is not counted. Nobody tells when a flow ends. Senders of one socket are not locked
 * against each other: two that change the address at once may be counted as one flow more or less.
 */
#ifndef FLOW_UDP_H
#define FLOW_UDP_H

#include "flow.h"

#define EA_UDP_PORT 443

/* Payload bytes added to the flow's destination. */
static __always_inline void udp_add(const struct ea_flow *f, __u64 sent, __u64 received)
{
	__u32 id = f->dest_id;
	struct ea_stats *s = id ? stats_get(id) : NULL;

	if (!s)
		return;
	__sync_fetch_and_add(&s->sent, sent);
	__sync_fetch_and_add(&s->received, received);
	s->last_ns = bpf_ktime_get_ns();
}

static __always_inline int udp_same_address(const struct ea_flow *f, const __u8 addr[16])
{
	const __u64 *a = (const __u64 *)f->addr, *b = (const __u64 *)addr;

	return f->dest_id && a[0] == b[0] && a[1] == b[1];
}

/* The flow's address, and with it its destination, is another one now. f->cgroup_id is set. */
static __always_inline void udp_turn_to(struct ea_flow *f, const __u8 addr[16], int internal)
{
	f->phase = EA_PHASE_UDP;
	f->flags = EA_FLOW_ESTABLISHED | EA_FLOW_DIRECT | (internal ? EA_FLOW_INTERNAL : 0);
	f->port = EA_UDP_PORT;
	f->dest_id = 0;
	__builtin_memcpy(f->addr, addr, sizeof(f->addr));
	flow_attribute_bare(f, EA_PROTO_UDP);
}

#endif
