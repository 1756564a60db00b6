/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP requests of a connection: each head makes or finds a destination, and waits for its answer (flow_response.h).
 *
 * Requests are read at egress under the socket's lock. Answers are read at ingress, where packets of one socket
 * may be on two CPUs at once and may be missing: every request tells (by its ACK number) from where answers are to be
 * read if some were missed.
 */
#ifndef FLOW_HTTP_H
#define FLOW_HTTP_H

#include "flow.h"

/* Report a message's bytes at least this often, so that long transfers are seen while they last. */
#define EA_BYTES_REPORT (1 << 20)

struct http_run {
	const struct ea_bytes *bytes;
	struct ea_flow *flow;
	struct ea_parse *parse;
	__u64 now;
	__u32 ack; /* of the packet that carries the request */
	__u32 has_ack;
};

static __always_inline void http_begin_packet(struct ea_http *h, const struct ea_packet *pkt)
{
	h->c = pkt->cursor;
	h->window_len = 0;
	h->verdict = EA_AGAIN;
}

/* What was read of a message so far, for its destination; kept while that is not known. */
static __always_inline void http_report_bytes(struct ea_http *h, __u64 now)
{
	struct ea_stats *s = h->bytes && h->dest_id ? stats_get(h->dest_id) : NULL;

	if (s && h->flags & EA_HTTP_RESPONSE)
		__sync_fetch_and_add(&s->response_bytes, h->bytes);
	else if (s)
		__sync_fetch_and_add(&s->request_bytes, h->bytes);
	if (s)
		s->last_ns = now;
	if (h->dest_id)
		h->bytes = 0;
}

/* Nothing of this direction is looked at any more; its bytes are still counted. */
static __always_inline void http_stop(struct ea_http *h)
{
	h->state = EA_HTTP_DEAD;
	h->body = ~0ULL;
}

/* What is new in the packet; bytes of a body that are missing are passed over, and counted. */
static __always_inline int http_in_order(struct ea_http *h, __u32 *next, struct ea_packet *pkt)
{
	__u64 before = h->body;
	int order = packet_in_order(pkt, next, http_in_body(h) ? &h->body : NULL);

	h->bytes += before - h->body;
	return order;
}

/* The key of the destination that a complete head names. */
static __always_inline void http_key(struct ea_flow *f, struct ea_parse *p)
{
	struct ea_http *h = &p->http.request;
	__u8 source = h->method == EA_METHOD_CONNECT ? EA_SOURCE_CONNECT : EA_SOURCE_HTTP;

	flow_key(f, &p->key, EA_PROTO_HTTP);
	if (!(h->flags & EA_HTTP_HOST_DONE))
		flow_key_ip(f, &p->key, EA_PROTO_HTTP);
	else
		flow_key_name(&p->key, source,
			      h->flags & EA_HTTP_TOO_LONG ? EA_HOST_MAX + 1 : h->host_len);
	if (p->key.source != EA_SOURCE_IP)
		ea_observe(&p->key);
}

/* Does the key name the same host as the one before on this connection? Of a key, nothing else can have changed. */
static __always_inline int http_is_last(const struct ea_parse *p)
{
	const struct ea_last *l = &p->http.last;
	const __u64 *host = (const __u64 *)p->key.host;
	__u64 differs = 0;

	if (!l->dest_id || l->host_len != p->key.host_len || l->source != p->key.source)
		return 0;
	for (int i = 0; i < EA_LAST_HOST_MAX / 8; i++)
		differs |= l->host[i] ^ host[i];
	return !differs;
}

/* Not what has no destination of its own: each time it goes there is counted. */
static __always_inline void http_remember(struct ea_parse *p, __u32 id)
{
	struct ea_last *l = &p->http.last;

	l->dest_id = p->key.source == EA_SOURCE_OTHER || p->key.host_len > EA_LAST_HOST_MAX ? 0
											    : id;
	l->host_len = p->key.host_len;
	l->source = p->key.source;
	__builtin_memcpy(l->host, p->key.host, sizeof(l->host));
}

/*
 * The destination a complete head names, and its counters (NULL without memory). To look for the same long key with
 * each request would be the dearest part of it.
 */
static __always_inline __u32 http_dest(struct ea_flow *f, struct ea_parse *p,
				       struct ea_stats **ret_stats)
{
	__u32 id = p->http.last.dest_id;
	struct ea_stats *s;

	http_key(f, p);
	s = http_is_last(p) ? stats_find(id) : NULL;
	if (!s) {
		id = dest_get(&p->key);
		http_remember(p, id);
		s = stats_get(id);
	}
	__builtin_memset(p->key.host, 0, sizeof(p->key.host));
	*ret_stats = s;
	return id;
}

enum { HTTP_RESYNC_AT = 1, HTTP_RESYNC_FIRST = 2 };

/*
 * Have ingress read answers from `seq` on if it did not see all before, or stopped understanding them. Called for
 * each request before it is pushed; an earlier call may still wait to be obeyed. Without an ACK (a request within
 * the SYN) answers begin with the first byte received.
 */
static __always_inline void http_resync(struct ea_parse *p, __u32 seq, int has_ack)
{
	struct ea_http_order *o = &p->order;
	__u32 known = o->resync ? o->resync_next : p->http.next;
	int lost = p->http.deaf && !o->resync;

	if (o->resync == HTTP_RESYNC_FIRST)
		return;
	if (p->http.pushed && !lost && (__s32)(seq - known) <= 0)
		return;
	o->resync_next = seq;
	o->resync_popped = p->http.pushed;
	__sync_lock_test_and_set(&o->resync, has_ack ? HTTP_RESYNC_AT : HTTP_RESYNC_FIRST);
}

/* Remember a request until its answer. Too many: answers are not paired on this connection any more. */
static __always_inline void http_push(struct ea_parse *p, __u32 id, __u64 now)
{
	struct ea_http_pair *pair = &p->http;
	struct ea_pending *q = &pair->pending[pair->pushed & (EA_PIPELINE_MAX - 1)];

	if (p->order.blind)
		return;
	if (pair->pushed - pair->popped >= EA_PIPELINE_MAX) {
		ea_count(EA_COUNT_PIPELINE);
		p->order.blind = 1;
		return;
	}
	q->asked_ns = now;
	q->dest_id = id;
	pair->pushed++;
	__sync_lock_test_and_set(&q->turn, pair->pushed << 8 | pair->request.method);
}

static __always_inline void http_request_head(struct http_run *r)
{
	struct ea_http_pair *pair = &r->parse->http;
	struct ea_stats *s;
	__u32 id = http_dest(r->flow, r->parse, &s);

	if (!r->flow->dest_id) {
		ea_count(EA_COUNT_HTTP);
		flow_attribute(r->flow, id, 0);
	}
	if (s) {
		__sync_fetch_and_add(&s->requests, 1);
		__sync_fetch_and_add(&s->request_bytes, pair->request.bytes);
		pair->request.bytes = 0;
		stats_facts(s, flow_facts(r->flow));
		s->last_ns = r->now;
		/* The connection's first destination got its address with the connection. */
		if (id != pair->request.dest_id && id != r->flow->dest_id)
			addrs_touch(id, s, r->flow->addr, r->now);
	}
	pair->request.dest_id = id;
	http_resync(r->parse, r->ack, r->has_ack);
	http_push(r->parse, id, r->now);
}

static long http_request_round(__u32 i, void *ctx)
{
	struct http_run *r = ctx;
	struct ea_http *h = &r->parse->http.request;

	(void)i;
	h->verdict = http_step(h, r->bytes, r->parse->key.host);
	if (h->verdict == EA_DONE) {
		http_request_head(r);
		h->verdict = http_begin_body(h);
	}
	if (h->verdict == EA_END) {
		http_report_bytes(h, r->now);
		http_reset(h);
		h->verdict = EA_AGAIN;
	}
	return h->verdict != EA_AGAIN;
}

/*
 * Not HTTP, or not any more. Before the first head it may be what stands before a ClientHello; behind a CONNECT it
 * is the tunnel's content. Else no more requests are looked for.
 */
static __always_inline void http_not_mine(struct ea_flow *f, struct ea_parse *p,
					  struct ea_packet *pkt)
{
	struct ea_http *h = &p->http.request;
	int tunnel = f->dest_id && h->flags & EA_HTTP_TUNNEL;
	/* Then the byte is at hand. Behind some that were HTTP's the packet may be used up: no peeking. */
	int first = h->state == EA_HTTP_METHOD && !h->pos;

	if (f->dest_id && !tunnel) {
		http_stop(h);
		return;
	}
	pkt->cursor = h->c;
	__builtin_memset(p->key.host, 0, sizeof(p->key.host));
	flow_turn_from_http(f, p,
			    tunnel && first && flow_sniff(pkt) == EA_PHASE_TLS ? EA_PHASE_TLS
									       : EA_PHASE_PRELUDE);
	__builtin_memset(&p->tls, 0, sizeof(p->tls));
	__builtin_memset(&p->prelude, 0, sizeof(p->prelude));
}

/* Too long, or broken: heads of requests are not looked for in what follows. */
static __always_inline void http_give_up(struct ea_flow *f, struct ea_parse *p, enum ea_verdict v)
{
	ea_count(v == EA_BUDGET  ? EA_COUNT_BUDGET
		 : v == EA_AGAIN ? EA_COUNT_STEPS
				 : EA_COUNT_MALFORMED);
	http_stop(&p->http.request);
	if (f->dest_id)
		return;
	flow_attribute_ip(f, p, EA_PROTO_TCP, 0);
	flow_turn_from_http(f, p, EA_PHASE_DECIDED);
}

/* Payload the pod sends on an HTTP connection. Returns 1 when the flow is decided; it may also change its phase. */
static __always_inline int flow_http_request(struct ea_flow *f, struct ea_parse *p,
					     struct ea_packet *pkt)
{
	struct http_run run = {
		.bytes = &pkt->bytes,
		.flow = f,
		.parse = p,
		.now = bpf_ktime_get_ns(),
		.ack = pkt->segment.ack,
		.has_ack = pkt->segment.ack_set,
	};

	struct ea_http *h = &p->http.request;

	http_begin_packet(h, pkt);
	ea_repeat(EA_HTTP_ROUNDS, http_request_round, &run);
	if (h->bytes >= EA_BYTES_REPORT)
		http_report_bytes(h, run.now);
	if (h->verdict == EA_NOT_MINE) {
		ea_count(EA_COUNT_NOT_HTTP);
		http_not_mine(f, p, pkt);
	} else if (h->verdict != EA_MORE) {
		http_give_up(f, p, h->verdict);
	}
	return f->phase == EA_PHASE_DECIDED;
}

#endif
