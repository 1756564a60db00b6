/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One connection from connect() to close: which bytes are new, whose they are, what the outcome is counted as.
 *
 * Owns: struct ea_flow and its phases, the in-order guard, TLS names and preludes. HTTP is flow_http.h and
 * flow_response.h, the rest of a TLS handshake flow_answer.h; flow_read.h says which of them gets the bytes.
 */
#ifndef FLOW_H
#define FLOW_H

#include "flow_types.h"
#include "times.h"
#ifdef __bpf__
#include "dest.h"
#else
#include "native.h"
#endif

/* A packet at a hook. */
struct ea_packet {
	struct ea_bytes bytes;
	struct ea_cursor cursor;
	struct ea_segment segment;
};

/*
 * Leave in the cursor what was not seen before, and move *next behind it. `passable` bytes may be missing
 * (a body's, whose content does not matter); it is lowered by what is. Returns 1 if something is left, 0 for
 * a retransmission, negative for a gap.
 */
static __always_inline int packet_in_order(struct ea_packet *p, __u32 *next, __u64 *passable)
{
	__u32 seq = p->segment.seq + p->segment.syn;
	__s32 ahead = (__s32)(seq - *next);

	if (ahead < 0) {
		if ((__u32)-ahead >= p->segment.len)
			return 0;
		p->cursor.off += (__u32)-ahead;
	} else if (ahead > 0) {
		if (!passable || (__u64)ahead > *passable)
			return -1;
		*passable -= (__u64)ahead;
	}
	*next = seq + p->segment.len;
	return p->segment.len ? 1 : 0;
}

/* The parts of a key that every destination of the flow shares. */
static __always_inline void flow_key(const struct ea_flow *f, struct ea_dest_key *key, __u8 proto)
{
	key->cgroup_id = f->cgroup_id;
	key->port = f->port;
	key->proto = proto;
	key->internal = !!(f->flags & EA_FLOW_INTERNAL);
	key->retired = 0;
}

/* No name: the address is the host. Needs the key's host zeroed. */
static __always_inline void flow_key_ip(const struct ea_flow *f, struct ea_dest_key *key,
					__u8 proto)
{
	flow_key(f, key, proto);
	key->source = EA_SOURCE_IP;
	key->host_len = sizeof(f->addr);
	__builtin_memcpy(key->host, f->addr, sizeof(f->addr));
}

/* A name of len bytes stands in the key's host; longer than allowed, it is kept as length 0. */
static __always_inline void flow_key_name(struct ea_dest_key *key, __u8 source, __u32 len)
{
	len = ea_name_finish(key->host, len);
	if (len > EA_HOST_MAX) {
		len = 0;
		__builtin_memset(key->host, 0, sizeof(key->host));
	}
	ea_name_pad(key->host, len);
	key->source = source;
	key->host_len = len;
}

/*
 * The flow's bytes are another reader's from now on. While HTTP is read, where it stands is kept with HTTP's state: with
 * each answer ingress looks at the flow, which is not written to by then. (No branches here: the verifier would follow each.)
 */
static __always_inline void flow_turn_to(struct ea_flow *f, struct ea_parse *p, __u8 phase)
{
	p->http.sent_next = f->next;
	f->phase = phase;
}

/* The same from HTTP. */
static __always_inline void flow_turn_from_http(struct ea_flow *f, const struct ea_parse *p,
						__u8 phase)
{
	f->next = p->http.sent_next;
	f->phase = phase;
}

/* The parts of the destination's facts that the first packet told. */
static __always_inline __u32 flow_facts(const struct ea_flow *f)
{
	return (__u32)(f->flags & (EA_FLOW_REDIRECTED | EA_FLOW_DIRECT)) << EA_FLOW_FACT_SHIFT;
}

/* Most are known already: no atomic operation for those. */
static __always_inline void stats_facts(struct ea_stats *s, __u32 facts)
{
	if (facts & ~s->facts)
		__sync_fetch_and_or(&s->facts, facts);
}

/* Count the connection as opened, and how long it took, once it is both established and attributed: to s. */
static __always_inline void flow_count_open(struct ea_flow *f, struct ea_stats *s, __u64 now)
{
	if (!(f->flags & EA_FLOW_ESTABLISHED) || f->flags & EA_FLOW_COUNTED)
		return;
	f->flags |= EA_FLOW_COUNTED;
	__sync_fetch_and_add(&s->opened, 1);
	if (f->flags & EA_FLOW_TIMED)
		short_times_add(&s->connect, (__u64)f->time << EA_TIME_SHIFT);
	s->last_ns = now;
}

/* Its SYN is about to be sent. */
static __always_inline void flow_connect(struct ea_flow *f)
{
	f->time = bpf_ktime_get_ns() >> EA_TIME_SHIFT;
	f->flags |= EA_FLOW_TIMED;
}

/* With Fast Open it may have sent payload before, and be attributed. */
static __always_inline void flow_established(struct ea_flow *f)
{
	struct ea_stats *s;
	__u64 now;

	if (f->flags & EA_FLOW_ESTABLISHED)
		return;
	now = bpf_ktime_get_ns();
	f->time = (__u32)(now >> EA_TIME_SHIFT) - f->time;
	f->flags |= EA_FLOW_ESTABLISHED;
	s = f->dest_id ? stats_get(f->dest_id) : NULL;
	if (s)
		flow_count_open(f, s, now);
}

/* The flow belongs to destination id from now on. */
static __noinline void flow_attribute(struct ea_flow *f, __u32 id, __u32 facts)
{
	__u64 now = bpf_ktime_get_ns();
	struct ea_stats *s;

	/* The reader of live sockets may have been first, for want of patience. */
	if (__sync_val_compare_and_swap(&f->dest_id, 0, id) != 0)
		return;
	s = stats_get(id);
	if (!s)
		return;
	addrs_touch(id, s, f->addr, now);
	stats_facts(s, facts | flow_facts(f));
	flow_count_open(f, s, now);
}

/* Attribute the flow to its address without a reader's storage. Apart, for its 272 bytes of stack. */
static __noinline void flow_attribute_bare(struct ea_flow *f, __u8 proto)
{
	struct ea_dest_key key = {};

	flow_key_ip(f, &key, proto);
	flow_attribute(f, dest_get(&key), 0);
}

/* Attribute the flow to its address, for want of a name. p may be NULL. */
static __always_inline void flow_attribute_ip(struct ea_flow *f, struct ea_parse *p, __u8 proto,
					      __u32 facts)
{
	if (!p) {
		flow_attribute_bare(f, proto);
		return;
	}
	__builtin_memset(p->key.host, 0, sizeof(p->key.host));
	flow_key_ip(f, &p->key, proto);
	flow_attribute(f, dest_get(&p->key), facts);
}

/* First packet: whose it is, and whether the mesh takes it. */
static __always_inline void flow_first(struct ea_flow *f, const struct ea_segment *seg)
{
	f->next = seg->seq + seg->syn;
	f->flags |= seg->dport == ea_config.mesh_port && f->port != ea_config.mesh_port
			    ? EA_FLOW_REDIRECTED
			    : EA_FLOW_DIRECT;
}

static __always_inline void flow_count_gap(struct ea_flow *f)
{
	if (f->flags & EA_FLOW_GAP)
		return;
	f->flags |= EA_FLOW_GAP;
	ea_count(EA_COUNT_GAP);
}

static __always_inline __u32 flow_tls_outcome(enum ea_verdict v)
{
	switch (v) {
	case EA_DONE:
		return EA_COUNT_TLS_NAMED;
	case EA_NO_NAME:
		return EA_COUNT_TLS_UNNAMED;
	case EA_NOT_MINE:
		return EA_COUNT_TCP;
	case EA_BUDGET:
		return EA_COUNT_BUDGET;
	case EA_AGAIN:
		return EA_COUNT_STEPS;
	case EA_MORE:
		return EA_COUNT_INCOMPLETE;
	default:
		return EA_COUNT_MALFORMED;
	}
}

/* A hello ended, this way or that (EA_MORE: with the connection). */
static __always_inline void flow_tls_decide(struct ea_flow *f, struct ea_parse *p,
					    enum ea_verdict v)
{
	ea_count(flow_tls_outcome(v));
	if (v != EA_DONE) {
		if (f->dest_id)
			return; /* within a tunnel that has a name of its own */
		flow_attribute_ip(f, p, v == EA_NOT_MINE ? EA_PROTO_TCP : EA_PROTO_TLS,
				  v == EA_NOT_MINE ? 0 : p->tls.facts);
		return;
	}
	flow_key(f, &p->key, EA_PROTO_TLS);
	flow_key_name(&p->key, EA_SOURCE_SNI, p->tls.name_len);
	ea_observe(&p->key);
	if (!f->dest_id)
		flow_attribute(f, dest_get(&p->key), p->tls.facts);
}

/* Bytes before a ClientHello, if one comes. Returns 1 when the flow is decided; EA_PHASE_TLS: the hello began, and
 * the packet's cursor stands behind its beginning. */
static __always_inline int flow_prelude(struct ea_flow *f, struct ea_parse *p,
					struct ea_packet *pkt)
{
	enum ea_verdict v = ea_prelude_feed(&p->prelude, &pkt->bytes, pkt->cursor);

	if (v == EA_MORE)
		return 0;
	if (v == EA_DONE) {
		prelude_hand_over(&p->prelude, &p->tls);
		pkt->cursor = p->prelude.c;
		f->phase = EA_PHASE_TLS;
		return 0;
	}
	f->phase = EA_PHASE_DECIDED;
	if (v == EA_NO_NAME)
		ea_count(EA_COUNT_TLS_UNNAMED);
	else
		ea_count(EA_COUNT_TCP);
	if (!f->dest_id)
		flow_attribute_ip(f, p, v == EA_NO_NAME ? EA_PROTO_TLS : EA_PROTO_TCP, 0);
	return 1;
}

/* Next payload byte: which reader, if any. TLS: RFC 8446 section 5.1; else a method's first letter. */
static __always_inline __u8 flow_sniff(const struct ea_packet *pkt)
{
	__u8 byte;

	if (ea_load(&pkt->bytes, pkt->cursor.off, &byte, 1)) {
		ea_count(EA_COUNT_LOAD_FAILED);
		return EA_PHASE_PRELUDE;
	}
	if (byte == EA_TLS_HANDSHAKE)
		return EA_PHASE_TLS;
	if (header_begins(byte))
		return EA_PHASE_HEADER;
	return http_is_token(byte) ? EA_PHASE_HTTP : EA_PHASE_PRELUDE;
}

/* Bytes of SOCKS or PROXY headers. What comes behind them is read as if the connection began there. */
static __always_inline void flow_header(struct ea_flow *f, struct ea_parse *p,
					struct ea_packet *pkt)
{
	enum ea_verdict v = ea_header_feed(&p->prelude, &pkt->bytes, pkt->cursor);

	if (v == EA_MORE)
		return;
	pkt->cursor = p->prelude.c;
	flow_turn_to(f, p, v == EA_DONE ? flow_sniff(pkt) : EA_PHASE_PRELUDE);
	p->prelude.first = v == EA_DONE;
}

/* Count an end. Bytes have been added before. */
static __always_inline void flow_count_close(struct ea_flow *f, struct ea_stats *s)
{
	f->phase = EA_PHASE_DECIDED;
	if (!s)
		return;
	if (f->flags & EA_FLOW_ESTABLISHED)
		__sync_fetch_and_add(&s->closed, 1);
	else
		__sync_fetch_and_add(&s->failed, 1);
	s->last_ns = bpf_ktime_get_ns();
}

#endif
