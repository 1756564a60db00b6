/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A TLS connection between its ClientHello and its first encrypted record: which version the server chose, and
 * whether an alert of either side ended it there.
 *
 * The client's side is read at egress under the socket's lock, the server's at ingress, where packets of one socket
 * may be on two CPUs at once and out of order. Only egress and the socket's end conclude. As it is with answers of
 * HTTP, what cannot be read degrades the view and is counted.
 */
#ifndef FLOW_ANSWER_H
#define FLOW_ANSWER_H

#include "flow.h"

/* The client's side, as it is behind a hello that filled its record. */
static __always_inline struct ea_answer *answer_client(struct ea_parse *p)
{
	struct ea_answer *a = &p->client;

	if (a->ready)
		return a;
	a->ready = 1;
	a->state = EA_ANSWER_PASS;
	a->type = EA_TLS_HANDSHAKE;
	a->begun = 1;
	return a;
}

/* The server's side: nothing of it was read, or it would stand here. */
static __always_inline struct ea_answer *answer_server(const struct ea_flow *f, struct ea_parse *p)
{
	struct ea_answer *a = &p->server;

	if (a->ready)
		return a;
	a->ready = 1;
	a->next = f->awaited.next;
	a->placed = f->awaited.server & EA_AWAITED_PLACED;
	return a;
}

/* The hello is read. What stands behind it in its packet, at the packet's cursor, is the client's as well. */
static __always_inline void flow_answer_begin(struct ea_flow *f, struct ea_parse *p,
					      struct ea_packet *pkt)
{
	pkt->cursor = p->tls.c;
	answer_client(p)->record_left = p->tls.record_left;
	/* What the client had received by now is no answer to its hello: greetings before a STARTTLS. */
	f->awaited = (struct ea_awaited){
		.ns = bpf_ktime_get_ns(),
		.next = pkt->segment.ack,
		.server = pkt->segment.ack_set ? EA_AWAITED_PLACED : 0,
	};
	f->phase = EA_PHASE_ANSWER;
}

/*
 * Bytes within a ClientHello. Returns 1 when the flow is decided. Behind a whole hello the handshake is followed, but
 * not in a tunnel: its destination is the tunnel's.
 */
static __noinline int flow_tls(struct ea_flow *f, struct ea_parse *p, struct ea_packet *pkt)
{
	enum ea_verdict v = ea_tls_feed(&p->tls, &pkt->bytes, pkt->cursor, p->key.host);
	int tunnel = f->dest_id != 0;

	if (v == EA_MORE)
		return 0;
	flow_tls_decide(f, p, v);
	f->phase = EA_PHASE_DECIDED;
	if (tunnel || (v != EA_DONE && v != EA_NO_NAME))
		return 1;
	flow_answer_begin(f, p, pkt);
	return 0;
}

/*
 * Nothing more of the handshake can be read. p is not needed any more, and may be NULL. A server's hello makes an
 * observation of the handshake's time, the first one where there are two: a HelloRetryRequest is the server's first
 * flight, too. An alert alone makes none.
 */
static __always_inline void flow_answer_end(struct ea_flow *f, const struct ea_parse *p)
{
	struct ea_stats *s = stats_get(f->dest_id);
	int failed = f->awaited.server & EA_AWAITED_ALERT || (p && p->client.verdict == EA_END);
	__u32 version = tls_version_fact(f->awaited.server >> EA_AWAITED_VERSION_SHIFT);

	f->phase = EA_PHASE_DECIDED;
	ea_count(failed    ? EA_COUNT_HANDSHAKE_FAILED
		 : version ? EA_COUNT_HANDSHAKE_ANSWERED
			   : EA_COUNT_HANDSHAKE_UNREAD);
	if (!s)
		return;
	if (version) {
		stats_facts(s, version << EA_FACT_CHOSEN_SHIFT);
		short_times_add(&s->handshake, f->awaited.ns);
	}
	if (failed)
		__sync_fetch_and_add(&s->handshakes_failed, 1);
}

/* Does what the client sends begin a record that is encrypted, and is the server waited for no more? Then the handshake
 * has been read, as it mostly is by now: no reader is needed to tell. */
static __always_inline int flow_answer_is_read(const struct ea_flow *f, const struct ea_packet *pkt)
{
	__u8 type;

	if (!(f->awaited.server & EA_AWAITED_OVER) ||
	    ea_load(&pkt->bytes, pkt->cursor.off, &type, 1))
		return 0;
	return type != EA_TLS_ALERT && type != EA_TLS_HANDSHAKE;
}

/* Payload behind the hello. Returns 1 when the flow is decided. */
static __always_inline int flow_answer_sent(struct ea_flow *f, struct ea_parse *p,
					    struct ea_packet *pkt)
{
	struct ea_answer *a = answer_client(p);

	if (a->over)
		a->passed += pkt->cursor.end - pkt->cursor.off;
	else
		a->over = ea_answer_feed(a, &pkt->bytes, pkt->cursor) != EA_MORE;
	/* A server whose packets are not seen is not waited for. */
	if (!a->over || (!(f->awaited.server & EA_AWAITED_OVER) && a->passed <= EA_ANSWER_MAX))
		return 0;
	flow_answer_end(f, p);
	return 1;
}

/* Is the client within a record, or waited for no more? Else the next packet begins as the one behind the hello does. */
static __always_inline int flow_answer_is_begun(const struct ea_answer *client)
{
	return client->record_left || client->header_have || client->alert_have || client->over;
}

static __always_inline void answer_read(struct ea_flow *f, struct ea_answer *a,
					struct ea_packet *pkt)
{
	__u64 passable = a->state == EA_ANSWER_PASS ? a->record_left : 0, missing = passable;

	if (!a->placed) {
		a->next = pkt->segment.seq + pkt->segment.syn;
		a->placed = 1;
	}
	if (packet_in_order(pkt, &a->next, &missing) <= 0)
		return;
	a->record_left -= passable - missing;
	if (!a->passed)
		f->awaited.ns = time_between(f->awaited.ns, bpf_ktime_get_ns());
	a->over = ea_answer_feed(a, &pkt->bytes, pkt->cursor) != EA_MORE;
}

/* To be called before anything of the server's side is touched, its packets may be on two CPUs at once. */
static __always_inline int flow_answer_take(struct ea_flow *f)
{
	__u32 was = __sync_fetch_and_or(&f->awaited.server, EA_AWAITED_BUSY);

	if (was & EA_AWAITED_BUSY)
		ea_count(EA_COUNT_RESPONSE_RACE);
	return !(was & EA_AWAITED_BUSY);
}

/*
 * Payload received since the hello was sent, between flow_answer_take() and flow_answer_give(). Returns 1 if the next
 * packet has to know of p->server.
 */
static __always_inline int flow_answer_received(struct ea_flow *f, struct ea_parse *p,
						struct ea_packet *pkt)
{
	struct ea_answer *a = answer_server(f, p);

	answer_read(f, a, pkt);
	f->awaited.next = a->next;
	f->awaited.server = EA_AWAITED_BUSY | (a->placed ? EA_AWAITED_PLACED : 0) |
			    (a->over ? EA_AWAITED_OVER : 0) |
			    (a->verdict == EA_END ? EA_AWAITED_ALERT : 0) |
			    (__u32)a->version << EA_AWAITED_VERSION_SHIFT;
	return a->passed && !a->over;
}

static __always_inline void flow_answer_give(struct ea_flow *f)
{
	__sync_fetch_and_and(&f->awaited.server, ~EA_AWAITED_BUSY);
}

#endif
