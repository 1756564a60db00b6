// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What cost.py compares the agent's programs with: programs that do nothing, at the same hooks, and programs that do
 * nothing but remember sockets. And the means to run the
 * agent's programs by BPF_PROG_TEST_RUN as they run on a decided flow: the socket of a test run lives as long as
 * the run, so a program before them gives it a decided flow, in the agent's own map, and goes on to them.
 */
#include "flow_types.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PASS 1

/* The agent's map takes this one's place. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ea_flow);
} ea_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} then_egress SEC(".maps"), then_ingress SEC(".maps");

SEC("cgroup_skb/egress")
int empty_egress(struct __sk_buff *skb)
{
	(void)skb;
	return PASS;
}

SEC("cgroup_skb/ingress")
int empty_ingress(struct __sk_buff *skb)
{
	(void)skb;
	return PASS;
}

SEC("sockops")
int empty_sockops(struct bpf_sock_ops *ctx)
{
	(void)ctx;
	return 1;
}

/* The least that following connections takes: something remembered with each socket, and looked at with each packet. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ea_flow);
} followed SEC(".maps");

static __always_inline int look(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		bpf_sk_storage_get(&followed, sk, NULL, 0);
	return PASS;
}

SEC("cgroup_skb/egress")
int storage_egress(struct __sk_buff *skb)
{
	return look(skb);
}

SEC("cgroup_skb/ingress")
int storage_ingress(struct __sk_buff *skb)
{
	return look(skb);
}

SEC("sockops")
int storage_sockops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB && sk)
		bpf_sk_storage_get(&followed, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

/* Not PASS: the tail call failed, or there was nothing to decide. */
static __always_inline void decide(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct ea_flow *f;

	if (!sk)
		return;
	f = bpf_sk_storage_get(&ea_flows, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (f)
		f->phase = EA_PHASE_DECIDED;
}

SEC("cgroup_skb/egress")
int decided_egress(struct __sk_buff *skb)
{
	decide(skb);
	bpf_tail_call(skb, &then_egress, 0);
	return !PASS;
}

SEC("cgroup_skb/ingress")
int decided_ingress(struct __sk_buff *skb)
{
	decide(skb);
	bpf_tail_call(skb, &then_ingress, 0);
	return !PASS;
}
