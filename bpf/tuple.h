/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Flows without sockets: found by their addresses and ports, begun by a SYN, ended by FIN or RST. Everything
 * else is flow_read.h, so that what holds for one source of packets holds for the other.
 */
#ifndef TUPLE_H
#define TUPLE_H

#include "flow_read.h"

struct ea_tuple {
	__u8 client[16], server[16];    /* network byte order, IPv4 as ::ffff:a.b.c.d */
	__u16 client_port, server_port; /* host byte order */
};

struct ea_tuple_flow {
	struct ea_flow flow;
	struct ea_parse parse;
	__u32 received_next; /* sequence number of the next byte received in order */
	__u32 fins;          /* 1: client's, 2: server's */
};

/* A SYN makes an entry from this: it is too large for the stack. */
static const struct ea_tuple_flow tuple_zero;

#ifdef __bpf__
/* The kernel evicts the oldest flows: they are lost to the counts of open ones, and were idle longest. Created
 * only where ea_packets is loaded; who feeds captures makes it a plain hash and ends its flows itself. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ea_tuple);
	__type(value, struct ea_tuple_flow);
} ea_tuples SEC(".maps");

static __always_inline struct ea_tuple_flow *tuple_find(const struct ea_tuple *key)
{
	return bpf_map_lookup_elem(&ea_tuples, key);
}

static __always_inline struct ea_tuple_flow *tuple_make(const struct ea_tuple *key)
{
	if (bpf_map_update_elem(&ea_tuples, key, &tuple_zero, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&ea_tuples, key);
}

static __always_inline void tuple_drop(const struct ea_tuple *key)
{
	bpf_map_delete_elem(&ea_tuples, key);
}
#else
static struct ea_tuple_flow *tuple_find(const struct ea_tuple *key);
static struct ea_tuple_flow *tuple_make(const struct ea_tuple *key);
static void tuple_drop(const struct ea_tuple *key);
#endif

static __always_inline struct ea_tuple tuple_of(const struct ea_segment *s, int from_client)
{
	struct ea_tuple t;

	if (from_client) {
		__builtin_memcpy(t.client, s->saddr, 16);
		__builtin_memcpy(t.server, s->daddr, 16);
		t.client_port = s->sport;
		t.server_port = s->dport;
	} else {
		__builtin_memcpy(t.client, s->daddr, 16);
		__builtin_memcpy(t.server, s->saddr, 16);
		t.client_port = s->dport;
		t.server_port = s->sport;
	}
	return t;
}

/* The same SYN once more: the connection began with the first. */
static __always_inline int tuple_syn_again(const struct ea_tuple *key, const struct ea_packet *pkt)
{
	struct ea_tuple_flow *t = tuple_find(key);

	return t && pkt->segment.syn && t->flow.phase == EA_PHASE_OPEN &&
	       !(t->flow.flags & EA_FLOW_ESTABLISHED) && t->flow.next == pkt->segment.seq + 1;
}

/* A SYN: the tuple's flow, begun anew. Where it begins without one, the time it took to connect is not known. */
static __always_inline void tuple_begin(const struct ea_packet *pkt)
{
	struct ea_tuple key = tuple_of(&pkt->segment, 1);
	struct ea_tuple_flow *t;

	if (tuple_syn_again(&key, pkt))
		return;
	t = tuple_make(&key);
	if (!t) {
		ea_count(EA_COUNT_NO_FLOW_MEMORY);
		return;
	}
	ea_count(EA_COUNT_FLOWS);
	t->flow.port = key.server_port;
	__builtin_memcpy(t->flow.addr, key.server, sizeof(t->flow.addr));
	flow_first(&t->flow, &pkt->segment);
	if (pkt->segment.syn)
		flow_connect(&t->flow);
}

/* Bytes are counted as they pass, each once. */
static __always_inline void tuple_add_bytes(struct ea_flow *f, __u64 sent, __u64 received)
{
	struct ea_stats *s;

	f->sent += sent;
	f->received += received;
	s = f->dest_id ? stats_get(f->dest_id) : NULL;
	if (!s)
		return;
	__sync_fetch_and_add(&s->sent, f->sent);
	__sync_fetch_and_add(&s->received, f->received);
	f->sent = f->received = 0;
}

static __always_inline void tuple_close(struct ea_tuple_flow *t)
{
	struct ea_flow *f = &t->flow;

	if (f->flags & EA_FLOW_CLOSED)
		return;
	f->flags |= EA_FLOW_CLOSED;
	if (!f->dest_id)
		flow_decide_late(f, &t->parse);
	flow_close_readers(f, &t->parse);
	tuple_add_bytes(f, 0, 0);
	flow_count_close(f, stats_get(f->dest_id));
}

/* Captures have holes: there the connection is read on from behind it, as if it had begun there. */
static __always_inline int tuple_begins_anew(struct ea_tuple_flow *t, const struct ea_packet *pkt)
{
	const struct ea_http *h = &t->parse.http.request;
	__u8 phase = t->flow.phase;
	__s32 ahead = (__s32)(pkt->segment.seq -
			      (phase == EA_PHASE_HTTP ? t->parse.http.sent_next : t->flow.next));

	if (!ea_config.observe || !pkt->segment.len || ahead <= 0 || phase >= EA_PHASE_ANSWER)
		return 0;
	return phase != EA_PHASE_HTTP || !http_in_body(h) || (__u64)ahead > h->body;
}

static __always_inline void tuple_sent(struct ea_tuple_flow *t, struct ea_packet *pkt)
{
	struct ea_flow *f = &t->flow;
	__u32 fresh;
	int order;

	if (!pkt->segment.syn && pkt->segment.ack_set)
		flow_established(f);
	if (!pkt->segment.len)
		return;
	order = flow_in_order(f, &t->parse, pkt);
	if (order < 0)
		flow_count_gap(f);
	if (order <= 0)
		return;
	fresh = pkt->cursor.end - pkt->cursor.off;
	if (f->phase != EA_PHASE_DECIDED)
		flow_read(f, &t->parse, pkt);
	tuple_add_bytes(f, fresh, 0);
}

static __always_inline void tuple_answer(struct ea_tuple_flow *t, struct ea_packet *pkt)
{
	if (!pkt->segment.len || t->flow.awaited.server & EA_AWAITED_OVER ||
	    !flow_answer_take(&t->flow))
		return;
	flow_answer_received(&t->flow, &t->parse, pkt);
	flow_answer_give(&t->flow);
}

static __always_inline void tuple_received(struct ea_tuple_flow *t, struct ea_packet *pkt)
{
	struct ea_cursor whole = pkt->cursor;

	if (pkt->segment.syn)
		t->received_next = pkt->segment.seq + 1;
	if (!pkt->segment.len && !pkt->segment.fin)
		return;
	if (packet_in_order(pkt, &t->received_next, NULL) > 0)
		tuple_add_bytes(&t->flow, 0, pkt->cursor.end - pkt->cursor.off);
	pkt->cursor = whole; /* answers have an order of their own */
	if (t->flow.phase == EA_PHASE_HTTP)
		flow_http_response(&t->flow, &t->parse, pkt);
	else if (t->flow.phase == EA_PHASE_ANSWER)
		tuple_answer(t, pkt);
}

/* Returns the flow's phase: EA_PHASE_DECIDED if no more names will come of it. */
static __noinline int tuple_packet(struct ea_packet *pkt)
{
	struct ea_tuple key = tuple_of(&pkt->segment, 1);
	struct ea_tuple_flow *t;
	int from_client = 1;

	if (pkt->segment.syn && !pkt->segment.ack_set)
		tuple_begin(pkt);
	t = tuple_find(&key);
	if (t && tuple_begins_anew(t, pkt)) {
		tuple_begin(pkt);
		t = tuple_find(&key);
	}
	if (!t) {
		key = tuple_of(&pkt->segment, 0);
		t = tuple_find(&key);
		from_client = 0;
	}
	if (!t)
		return EA_PHASE_DECIDED;
	if (from_client)
		tuple_sent(t, pkt);
	else
		tuple_received(t, pkt);
	if (pkt->segment.fin)
		t->fins |= from_client ? 1 : 2;
	if (!pkt->segment.rst && t->fins != 3)
		return t->flow.phase;
	tuple_close(t);
	tuple_drop(&key);
	return EA_PHASE_DECIDED;
}

#endif
