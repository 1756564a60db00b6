// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Entry points of the programs, attached once to a cgroup above all pods. They only watch: every path lets the
 * packet pass.
 *
 *   ea_sockops  client sockets: connect, established, closed. Makes and ends the flow.
 *   ea_egress   what the pod sends: ClientHello, request heads; datagrams to port 443.
 *   ea_ingress  what it receives: answers' heads, the server's side of a TLS handshake.
 *   ea_account  iterator over live sockets: brings their destinations' byte counts up to date.
 *   ea_packets  the same for packets without sockets, in either direction: for captures and tests, run by
 *		 BPF_PROG_TEST_RUN, and for nodes whose pods keep their sockets elsewhere. Not loaded by default.
 *   ea_move     destinations that leave: run by the agent, by BPF_PROG_TEST_RUN, never attached. See retire.h.
 *
 * A decided flow costs one look-up in its socket's storage per packet.
 */
#include "flow.h"
#include "flow_read.h"
#include "flow_udp.h"
#include "retire.h"
#include "sock.h"
#include "tuple.h"

#define PASS 1

/* A connection that speaks neither TLS nor HTTP, and could still turn to TLS, is shown as what it is after this. */
#define EA_PATIENCE_NS 2000000000ULL

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* base: where the network header starts. Negative if it is not TCP, or malformed below it. */
static __always_inline int packet_open(struct __sk_buff *skb, __u32 base, struct ea_packet *ret)
{
	ret->bytes.skb = skb;
	ret->bytes.base = base;
	if (skb->len < base || ea_walk(&ret->bytes, skb->len - base, &ret->segment))
		return -1;
	ret->cursor = (struct ea_cursor){
		.off = ret->segment.payload,
		.end = ret->segment.payload + ret->segment.len,
	};
	return 0;
}

/* A socket the mesh's outbound port accepted: its owner is a sidecar. Its own connections tell of others'. */
static __always_inline void proxy_mark(struct __sk_buff *skb, struct ea_flow *f)
{
	struct ea_workload *w = workload_get(bpf_skb_cgroup_id(skb));

	if (w)
		__sync_fetch_and_or(&w->flags, EA_WORKLOAD_PROXY);
	f->phase = EA_PHASE_DECIDED;
}

/* A side of a handshake without its window, which belongs to a packet. */
#define ANSWER_SIZE __builtin_offsetof(struct ea_answer, window)

/* NULL: none is free. Of the readers' state only what belongs to TLS is ever used here. */
static __always_inline struct ea_scratch *scratch_take(void)
{
	for (__u32 i = 0; i < EA_SCRATCHES; i++) {
		__u32 at = i;
		struct ea_scratch *s = bpf_map_lookup_elem(&ea_scratches, &at);

		if (!s || __sync_lock_test_and_set(&s->taken, 1))
			continue;
		__builtin_memset(&s->parse.key, 0,
				 __builtin_offsetof(struct ea_parse, tls.window) -
					 __builtin_offsetof(struct ea_parse, key));
		__builtin_memset(&s->parse.client, 0, ANSWER_SIZE);
		__builtin_memset(&s->parse.server, 0, ANSWER_SIZE);
		return s;
	}
	return NULL;
}

static __always_inline void scratch_give(struct ea_scratch *s)
{
	__sync_lock_test_and_set(&s->taken, 0);
}

/* The next packet needs what was read of this one. The server's side may have made the storage meanwhile. */
static __always_inline void egress_keep(struct bpf_sock *sk, struct ea_flow *f, struct ea_parse *p)
{
	struct ea_parse *kept = bpf_sk_storage_get(&ea_parses, sk, p, BPF_SK_STORAGE_GET_F_CREATE);

	if (kept) {
		__builtin_memcpy(&kept->client, &p->client, ANSWER_SIZE);
		return;
	}
	ea_count(EA_COUNT_NO_PARSE_MEMORY);
	f->phase = EA_PHASE_DECIDED;
}

/* The reader's storage, p, is made with the first byte that needs it (NULL), and goes with the decision. */
static __always_inline void egress_read(struct bpf_sock *sk, struct ea_flow *f, struct ea_parse *p,
					struct ea_packet *pkt)
{
	struct ea_scratch *s;
	__u8 phase = f->phase;
	int decided;

	if (phase == EA_PHASE_OPEN)
		phase = flow_sniff(pkt);
	/* Without storage the client stands between two records. */
	if (!p && phase == EA_PHASE_ANSWER && flow_answer_is_read(f, pkt)) {
		flow_answer_end(f, NULL);
		return;
	}
	s = !p && (phase == EA_PHASE_TLS || phase == EA_PHASE_ANSWER) ? scratch_take() : NULL;
	if (!p && !s)
		p = bpf_sk_storage_get(&ea_parses, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (s)
		p = &s->parse;
	if (f->phase == EA_PHASE_OPEN && p)
		flow_begin(f, p, phase);
	/* The verifier need not follow the other readers into a scratch. */
	decided = s ? flow_handshake(f, p, pkt) : flow_read(f, p, pkt);
	/* Bytes behind the hello's own packet count towards a limit. */
	if (s && !decided &&
	    (f->phase != EA_PHASE_ANSWER || phase == EA_PHASE_ANSWER ||
	     flow_answer_is_begun(&p->client)))
		egress_keep(sk, f, p);
	if (s)
		scratch_give(s);
	else if (decided && p)
		bpf_sk_storage_delete(&ea_parses, sk);
}

static __noinline void egress_undecided(struct __sk_buff *skb, struct bpf_sock *sk,
					struct ea_flow *f)
{
	struct ea_parse *p = NULL;
	struct ea_packet pkt;
	int order;

	if (packet_open(skb, 0, &pkt)) {
		ea_count(EA_COUNT_LOAD_FAILED);
		return;
	}
	if (f->phase == EA_PHASE_PROXY) {
		proxy_mark(skb, f);
		return;
	}
	if (!f->cgroup_id)
		f->cgroup_id = bpf_skb_cgroup_id(skb);
	if (!flow_facts(f))
		flow_first(f, &pkt.segment);
	if (!pkt.segment.len)
		return;
	if (f->phase != EA_PHASE_OPEN)
		p = bpf_sk_storage_get(&ea_parses, sk, NULL, 0);
	order = flow_in_order(f, p, &pkt);
	if (order < 0)
		flow_count_gap(f);
	if (order > 0)
		egress_read(sk, f, p, &pkt);
}

static __always_inline int addr_is_internal(const __u8 addr[16])
{
	const __u32 *words = (const __u32 *)addr;
	__u32 is_ipv4 = !(words[0] | words[1] | (words[2] ^ bpf_htonl(0xffff)));
	__u8 octet = is_ipv4 ? addr[12] : addr[0];
	struct ea_range key = {.bits = 128};

	if (!(ea_config.internal_octets[is_ipv4][octet / 64] >> octet % 64 & 1))
		return 0;
	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&ea_internal, &key) != NULL;
}

/* f may be NULL: the socket's first datagram to the port, or it is none. */
static __noinline void egress_udp(struct __sk_buff *skb, struct bpf_sock *sk, struct ea_flow *f)
{
	struct ea_bytes bytes = {.skb = skb};
	struct ea_segment seg = {};

	if (ea_walk_udp(&bytes, skb->len, &seg) || seg.dport != EA_UDP_PORT)
		return;
	if (!f) {
		f = bpf_sk_storage_get(&ea_flows, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!f) {
			ea_count(EA_COUNT_NO_FLOW_MEMORY);
			return;
		}
		f->cgroup_id = bpf_skb_cgroup_id(skb);
	}
	/* Nobody tells that a flow has ended: its destination may have left in the meantime. */
	if (!udp_same_address(f, seg.daddr) || !bpf_map_lookup_elem(&ea_stats, &f->dest_id))
		udp_turn_to(f, seg.daddr, addr_is_internal(seg.daddr));
	udp_add(f, seg.len, 0);
}

static __noinline void ingress_udp(struct __sk_buff *skb, struct ea_flow *f)
{
	struct ea_bytes bytes = {.skb = skb};
	struct ea_segment seg = {};

	if (!ea_walk_udp(&bytes, skb->len, &seg) && seg.sport == EA_UDP_PORT &&
	    udp_same_address(f, seg.saddr))
		udp_add(f, 0, seg.len);
}

/* Neither a client's TCP socket nor one that was seen before. */
static __always_inline int egress_is_udp(struct bpf_sock *sk)
{
	sk = bpf_sk_fullsock(sk);
	return sk && sk->protocol == IPPROTO_UDP;
}

SEC("cgroup_skb/egress")
int ea_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct ea_flow *f;

	if (!sk)
		return PASS;
	f = bpf_sk_storage_get(&ea_flows, sk, NULL, 0);
	if (f && f->phase == EA_PHASE_DECIDED)
		return PASS;
	if (f ? f->phase == EA_PHASE_UDP : egress_is_udp(sk))
		egress_udp(skb, sk, f);
	else if (f)
		egress_undecided(skb, sk, f);
	return PASS;
}

/* Of the server's side of a handshake. */
static __always_inline void ingress_answer(struct bpf_sock *sk, struct ea_flow *f,
					   struct ea_packet *pkt)
{
	struct ea_parse *p = bpf_sk_storage_get(&ea_parses, sk, NULL, 0), *kept;
	struct ea_scratch *s = p ? NULL : scratch_take();

	if (s)
		p = &s->parse;
	else if (!p)
		p = bpf_sk_storage_get(&ea_parses, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!p) {
		ea_count(EA_COUNT_NO_PARSE_MEMORY);
		return;
	}
	if (flow_answer_received(f, p, pkt) && s) {
		kept = bpf_sk_storage_get(&ea_parses, sk, p, BPF_SK_STORAGE_GET_F_CREATE);
		if (kept) {
			__builtin_memcpy(&kept->server, &p->server, ANSWER_SIZE);
		} else {
			/* What was read is lost: the next packet must not be taken for the first. */
			ea_count(EA_COUNT_NO_PARSE_MEMORY);
			__sync_fetch_and_or(&f->awaited.server, EA_AWAITED_OVER);
		}
	}
	if (s)
		scratch_give(s);
}

static __noinline void ingress_read(struct __sk_buff *skb, struct bpf_sock *sk, struct ea_flow *f)
{
	struct ea_parse *p;
	struct ea_packet pkt;

	if (packet_open(skb, 0, &pkt))
		return;
	if (f->phase == EA_PHASE_ANSWER) {
		if (!pkt.segment.len || !flow_answer_take(f))
			return;
		ingress_answer(sk, f, &pkt);
		flow_answer_give(f);
		return;
	}
	p = bpf_sk_storage_get(&ea_parses, sk, NULL, 0);
	if (p && (pkt.segment.len || pkt.segment.fin))
		flow_http_response(f, p, &pkt);
}

/* Is there anything in the packets of the server's side? */
static __always_inline int ingress_is_read(const struct ea_flow *f)
{
	if (f->phase == EA_PHASE_ANSWER)
		return !(f->awaited.server & EA_AWAITED_OVER);
	return f->phase == EA_PHASE_HTTP;
}

SEC("cgroup_skb/ingress")
int ea_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct ea_flow *f;

	if (!sk)
		return PASS;
	f = bpf_sk_storage_get(&ea_flows, sk, NULL, 0);
	if (f && ingress_is_read(f))
		ingress_read(skb, sk, f);
	else if (f && f->phase == EA_PHASE_UDP)
		ingress_udp(skb, f);
	return PASS;
}

/*
 * The remote end as the application asked for it, before any NAT. Each field is read into a variable of its own,
 * kept apart by barriers: the compiler would else compute an address within ctx, which the verifier refuses.
 */
static __always_inline void sockops_remote(struct bpf_sock_ops *ctx, struct ea_flow *f)
{
	__u32 *addr = (__u32 *)f->addr;
	__u32 ip4 = ctx->remote_ip4, ip6[4];

	ea_barrier(ip4);
	for (int i = 0; i < 4; i++) {
		ip6[i] = ctx->remote_ip6[i];
		ea_barrier(ip6[i]);
	}
	f->port = bpf_ntohl(ctx->remote_port);
	if (ctx->family == 2 /* AF_INET */) {
		ea_map_ipv4(f->addr, ip4);
		return;
	}
	for (int i = 0; i < 4; i++)
		addr[i] = ip6[i];
}

static __always_inline struct ea_flow *sockops_flow_new(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct ea_flow *f;

	if (!sk)
		return NULL;
	f = bpf_sk_storage_get(&ea_flows, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!f) {
		ea_count(EA_COUNT_NO_FLOW_MEMORY);
		return NULL;
	}
	/* A socket may be connected again after AF_UNSPEC. */
	if (f->cgroup_id || f->flags) {
		__builtin_memset(f, 0, sizeof(*f));
		bpf_sk_storage_delete(&ea_parses, sk);
	}
	return f;
}

static __always_inline void sockops_connect(struct bpf_sock_ops *ctx)
{
	struct ea_flow *f = sockops_flow_new(ctx);
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!f || !sk)
		return;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		f->cgroup_id = sock_cgroup_id(tp);
	sockops_remote(ctx, f);
	if (addr_is_internal(f->addr))
		f->flags |= EA_FLOW_INTERNAL;
	flow_connect(f);
	ea_count(EA_COUNT_FLOWS);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void sockops_established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct ea_flow *f = sk ? bpf_sk_storage_get(&ea_flows, sk, NULL, 0) : NULL;

	if (f)
		flow_established(f);
}

/* Is the local end a loopback address? That is where Istio's REDIRECT sends to. */
static __always_inline int sockops_on_loopback(struct bpf_sock_ops *ctx)
{
	__u32 ip4 = ctx->local_ip4, a = ctx->local_ip6[0], b = ctx->local_ip6[1],
	      c = ctx->local_ip6[2], d = ctx->local_ip6[3];

	ea_barrier(ip4);
	ea_barrier(a);
	ea_barrier(b);
	ea_barrier(c);
	ea_barrier(d);
	if (ctx->family == 2 /* AF_INET */)
		return ip4 == bpf_htonl(0x7f000001);
	if (a || b)
		return 0;
	return c ? c == bpf_htonl(0xffff) && d == bpf_htonl(0x7f000001) : d == bpf_htonl(1);
}

/*
 * A connection was accepted. On the mesh's port it tells that its owner is a sidecar; only over loopback, or
 * anybody outside could make one of a pod. A flow that exists connected to a socket that connected to it.
 */
static __always_inline void sockops_accepted(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct ea_flow *f = sk ? bpf_sk_storage_get(&ea_flows, sk, NULL, 0) : NULL;

	if (f && !(f->flags & EA_FLOW_CLOSED)) {
		sockops_established(ctx);
		return;
	}
	if (ctx->local_port != ea_config.mesh_port || !sockops_on_loopback(ctx))
		return;
	f = sockops_flow_new(ctx);
	if (!f)
		return;
	f->phase = EA_PHASE_PROXY;
	f->flags = EA_FLOW_CLOSED;
}

static __noinline void sockops_close(struct bpf_sock *sk, struct ea_flow *f)
{
	struct ea_parse *p = bpf_sk_storage_get(&ea_parses, sk, NULL, 0);
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct ea_stats *s;

	if (!f->dest_id)
		flow_decide_late(f, p);
	flow_close_readers(f, p);
	s = stats_get(f->dest_id);
	if (tp && s)
		flow_account(f, tp, s);
	flow_count_close(f, s);
}

static __always_inline void sockops_state(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct ea_flow *f;

	if (ctx->args[1] != BPF_TCP_CLOSE || !sk)
		return;
	f = bpf_sk_storage_get(&ea_flows, sk, NULL, 0);
	if (!f || f->flags & EA_FLOW_CLOSED)
		return;
	f->flags |= EA_FLOW_CLOSED;
	sockops_close(sk, f);
}

SEC("sockops")
int ea_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		sockops_connect(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		sockops_established(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		sockops_accepted(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		sockops_state(ctx);
		break;
	}
	return 1;
}

/* Context of the iterator; the fields are found by name in the kernel's BTF. */
struct bpf_iter__bpf_sk_storage_map {
	struct sock *sk;
	void *value;
} __attribute__((preserve_access_index));

/* It sent something else than TLS or HTTP, which has not turned to either for a while. */
static __always_inline int account_is_overdue(struct sock *sk, const struct ea_flow *f)
{
	struct ea_parse *p;

	if (f->phase != EA_PHASE_PRELUDE && f->phase != EA_PHASE_HEADER)
		return 0;
	p = bpf_sk_storage_get(&ea_parses, sk, NULL, 0);
	return p && p->began_ns && bpf_ktime_get_ns() - p->began_ns > EA_PATIENCE_NS;
}

SEC("iter/bpf_sk_storage_map")
int ea_account(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct ea_flow *f = ctx->value;
	struct sock *sk = ctx->sk;
	struct ea_stats *s;
	struct tcp_sock *tp;

	if (!f || !sk || f->flags & EA_FLOW_CLOSED)
		return 0;
	if (!f->dest_id && account_is_overdue(sk, f))
		flow_attribute_bare(f, EA_PROTO_TCP);
	if (!f->dest_id)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	/* Not for a datagram socket: that counters are missing tells it that its destination has left. */
	s = tp ? stats_get(f->dest_id) : NULL;
	if (tp && s)
		flow_account(f, tp, s);
	return 0;
}

/* Ethernet only; other links are unwrapped by whoever feeds the packets. */
SEC("tc")
int ea_packets(struct __sk_buff *skb)
{
	struct ea_packet pkt;
	int phase = EA_PHASE_DECIDED;

	if (!packet_open(skb, ETH_HLEN, &pkt))
		phase = tuple_packet(&pkt);
	/* Who feeds captures wants to know; on an interface every packet passes (TC_ACT_OK). */
	return ea_config.observe && phase == EA_PHASE_DECIDED;
}

/* The packet is a struct ea_move, and the answer an enum ea_move_result. */
SEC("tc")
int ea_move(struct __sk_buff *skb)
{
	const struct ea_move *m = (const void *)(long)skb->data;

	if ((const void *)(m + 1) > (const void *)(long)skb->data_end)
		return EA_MOVE_GONE;
	if (m->what == EA_MOVE_RENAME)
		return move_rename(m);
	return m->what == EA_MOVE_REQUEST ? move_request(m) : move_merge(m);
}
