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

/* The hello is read. What stands behind it in its packet, at the packet's cursor, is the client's as well. */
static __always_inline void flow_answer_begin(struct ea_flow *f, struct ea_parse *p,
					      struct ea_packet *pkt)
{
	pkt->cursor = p->tls.c;
	__builtin_memset(&p->client, 0, sizeof(p->client));
	__builtin_memset(&p->server, 0, sizeof(p->server));
	p->client.state = EA_ANSWER_PASS;
	p->client.type = EA_TLS_HANDSHAKE;
	p->client.record_left = p->tls.record_left;
	p->client.begun = 1;
	/* What the client had received by now is no answer to its hello: greetings before a STARTTLS. */
	p->server.next = pkt->segment.ack;
	p->server.placed = pkt->segment.ack_set;
	p->hello_ns = bpf_ktime_get_ns();
	f->phase = EA_PHASE_ANSWER;
}

/*
 * Bytes within a ClientHello. Returns 1 when the flow is decided. Behind a whole hello the handshake is followed, but
 * not in a tunnel: its destination is the tunnel's.
 */
static __always_inline int flow_tls(struct ea_flow *f, struct ea_parse *p, struct ea_packet *pkt)
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
 * Nothing more of the handshake can be read. p is not needed any more. A server's hello makes an observation of the
 * handshake's time, the first one where there are two: a HelloRetryRequest is the server's first flight, too. An
 * alert alone makes none.
 */
static __always_inline void flow_answer_end(struct ea_flow *f, const struct ea_parse *p)
{
	struct ea_stats *s = stats_get(f->dest_id);
	int failed = p->client.verdict == EA_END || p->server.verdict == EA_END;
	__u32 version = tls_version_fact(p->server.version);

	f->phase = EA_PHASE_DECIDED;
	ea_count(failed    ? EA_COUNT_HANDSHAKE_FAILED
		 : version ? EA_COUNT_HANDSHAKE_ANSWERED
			   : EA_COUNT_HANDSHAKE_UNREAD);
	if (!s)
		return;
	if (version) {
		stats_facts(s, version << EA_FACT_CHOSEN_SHIFT);
		short_times_add(&s->handshake, time_between(p->hello_ns, p->answered_ns));
	}
	if (failed)
		__sync_fetch_and_add(&s->handshakes_failed, 1);
}

/* Payload behind the hello. Returns 1 when the flow is decided. */
static __always_inline int flow_answer_sent(struct ea_flow *f, struct ea_parse *p,
					    struct ea_packet *pkt)
{
	struct ea_answer *a = &p->client;

	if (a->over)
		a->passed += pkt->cursor.end - pkt->cursor.off;
	else
		a->over = ea_answer_feed(a, &pkt->bytes, pkt->cursor) != EA_MORE;
	/* A server whose packets are not seen is not waited for. */
	if (!a->over || (!p->server.over && a->passed <= EA_ANSWER_MAX))
		return 0;
	flow_answer_end(f, p);
	return 1;
}

static __always_inline void answer_read(struct ea_parse *p, struct ea_packet *pkt)
{
	struct ea_answer *a = &p->server;
	__u64 passable = a->state == EA_ANSWER_PASS ? a->record_left : 0, missing = passable;

	if (!a->placed) {
		a->next = pkt->segment.seq + pkt->segment.syn;
		a->placed = 1;
	}
	if (packet_in_order(pkt, &a->next, &missing) <= 0)
		return;
	a->record_left -= passable - missing;
	if (!a->passed)
		p->answered_ns = bpf_ktime_get_ns();
	a->over = ea_answer_feed(a, &pkt->bytes, pkt->cursor) != EA_MORE;
}

/* Payload received since the hello was sent. */
static __always_inline void flow_answer_received(struct ea_parse *p, struct ea_packet *pkt)
{
	struct ea_answer *a = &p->server;

	if (a->over)
		return;
	if (__sync_lock_test_and_set(&p->server_busy, 1)) {
		ea_count(EA_COUNT_RESPONSE_RACE);
		return;
	}
	answer_read(p, pkt);
	__sync_lock_test_and_set(&p->server_busy, 0);
}

#endif
