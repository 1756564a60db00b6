/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel itself knows about a socket, read through BTF (CO-RE): no copy of its structs, only the
 * fields needed, found by name when the programs are loaded. And what follows from it: the accounting of bytes.
 */
#ifndef SOCK_H
#define SOCK_H

#include "flow.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
};

struct tcp_sock {
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 bytes_received;
};
#pragma clang attribute pop

enum sock_flags {
	SOCK_DONE = 1,
};

/* Id of the cgroup that owns the socket; 0 if this kernel keeps it elsewhere. */
static __always_inline __u64 sock_cgroup_id(struct tcp_sock *tp)
{
	struct sock *sk = (struct sock *)tp;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	return sk->sk_cgrp_data.cgroup->kn->id;
}

/* Payload bytes handed to the network, each once. Neither SYN nor FIN is among them. */
static __always_inline __u64 sock_sent(struct tcp_sock *tp)
{
	return tp->bytes_sent - tp->bytes_retrans;
}

/* Payload bytes received in order. The kernel counts the peer's FIN as one; SOCK_DONE says it came. */
static __always_inline __u64 sock_received(struct tcp_sock *tp)
{
	__u64 received = tp->bytes_received;
	__u64 done = bpf_core_enum_value(enum sock_flags, SOCK_DONE);

	if (((struct sock *)tp)->__sk_common.skc_flags & (1UL << (done & 63)))
		received -= 1;
	return received;
}

/*
 * Add what was sent and received since the last time. The old value is taken before the new one is read, and
 * replaced only if nobody else did: the reader of live sockets may race the socket's end, and each byte must be
 * added once. A lost race is no loss, the winner was as fresh. Read without the socket's lock, the kernel's numbers
 * may for a moment be lower than before: nothing is ever taken back.
 */
static __always_inline __u64 flow_take(__u64 *counted, __u64 old, __u64 now)
{
	if ((__s64)(now - old) <= 0 || __sync_val_compare_and_swap(counted, old, now) != old)
		return 0;
	return now - old;
}

static __always_inline void flow_account(struct ea_flow *f, struct tcp_sock *tp, struct ea_stats *s)
{
	__u64 sent = __sync_fetch_and_add(&f->sent, 0);
	__u64 received = __sync_fetch_and_add(&f->received, 0);

	sent = flow_take(&f->sent, sent, sock_sent(tp));
	received = flow_take(&f->received, received, sock_received(tp));
	if (!sent && !received)
		return;
	__sync_fetch_and_add(&s->sent, sent);
	__sync_fetch_and_add(&s->received, received);
	s->last_ns = bpf_ktime_get_ns();
}

#endif
