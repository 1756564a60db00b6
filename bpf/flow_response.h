/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP answers of a connection: each head is paired with the oldest request that still waits.
 *
 * `busy` lets one CPU in. A request takes from the end of its head to the last byte of its answer, also where that is the
 * connection's end; one without an answer takes until the connection's end; one whose answer begins a tunnel, until that
 * answer. If the end passed unseen it came with the last packet there was. Each answered request makes one observation.
 */
#ifndef FLOW_RESPONSE_H
#define FLOW_RESPONSE_H

#include "flow_http.h"

/* The oldest request that waits; NULL if none does. */
static __always_inline struct ea_pending *http_oldest(struct ea_http_pair *pair)
{
	struct ea_pending *q = &pair->pending[pair->popped & (EA_PIPELINE_MAX - 1)];

	return (q->turn ^ (pair->popped + 1) << 8) >> 8 ? NULL : q;
}

/* The oldest request that waits becomes the one whose answer is received; code 0: there will be none. */
static __always_inline void http_pop(struct ea_http_pair *pair, __u32 code)
{
	struct ea_pending *q = &pair->pending[pair->popped & (EA_PIPELINE_MAX - 1)];

	pair->answered = (struct ea_answered){
		.asked_ns = q->asked_ns,
		.first_ns = code ? pair->first_ns : q->asked_ns,
		.dest_id = q->dest_id,
		.code = code,
		.method = (__u8)q->turn,
		.state = EA_ANSWERED_HEAD,
	};
	__sync_fetch_and_add(&pair->popped, 1);
}

/* Count what is not counted yet: the request as answered; its time and bytes if it is over. An answer may begin early. */
static __noinline void http_count_answer(struct ea_http_pair *pair, int over, __u64 end_ns)
{
	struct ea_answered *a = &pair->answered;
	struct ea_request_key key = {.dest_id = a->dest_id, .code = a->code, .method = a->method};
	struct ea_request_stats *s = requests_get(&key);

	if (s && a->state == EA_ANSWERED_HEAD) {
		__sync_fetch_and_add(&s->count, 1);
		__sync_fetch_and_add(&s->first_byte_ns, time_between(a->asked_ns, a->first_ns));
	}
	if (s && over) {
		long_times_add(&s->duration, time_between(a->asked_ns, end_ns));
		__sync_fetch_and_add(&s->response_bytes, pair->response.bytes);
		pair->response.bytes = 0;
	}
	a->state = over ? EA_ANSWERED_NONE : EA_ANSWERED_COUNTED;
}

/* Nothing more of the answer will be read. */
static __always_inline void http_answer_over(struct ea_http_pair *pair, __u64 now)
{
	if (pair->answered.state != EA_ANSWERED_NONE)
		http_count_answer(pair, 1, pair->answered.missed ? pair->heard_ns : now);
}

/* RFC 9112 section 6.3: what follows an answer's head depends on the request it answers. */
static __always_inline enum ea_verdict http_answer_body(struct ea_http *h, __u32 code, __u8 method)
{
	if (method == EA_METHOD_HEAD || code < 200 || code == 204 || code == 304)
		return EA_END;
	if (h->flags & (EA_HTTP_CHUNKED | EA_HTTP_LENGTH))
		return http_begin_body(h);
	h->state = EA_HTTP_UNTIL_CLOSE;
	h->body = ~0ULL;
	return EA_AGAIN;
}

/* 101, or 2xx to CONNECT: what follows is another protocol. */
static __always_inline int http_is_tunnel(__u32 code, __u8 method)
{
	return code == 101 || (method == EA_METHOD_CONNECT && code >= 200 && code < 300);
}

static __always_inline enum ea_verdict http_response_head(struct http_run *r)
{
	struct ea_http_pair *pair = &r->parse->http;
	struct ea_http *h = &pair->response;
	struct ea_pending *q = http_oldest(pair);
	__u32 code = h->word;
	__u8 method;

	if (r->parse->order.blind) {
		http_stop(h);
		return EA_AGAIN;
	}
	if (!q)
		return EA_MALFORMED; /* an answer to nothing that was seen */
	method = (__u8)q->turn;
	h->dest_id = q->dest_id;
	if (code < 200 && code != 101)
		return EA_END;
	http_pop(pair, code);
	if (http_is_tunnel(code, method)) {
		http_answer_over(pair, r->now);
		if (code == 101)
			http_stop(&pair->request);
		http_stop(h);
		return EA_AGAIN;
	}
	return http_answer_body(h, code, method);
}

static long http_response_round(__u32 i, void *ctx)
{
	struct http_run *r = ctx;
	struct ea_http_pair *pair = &r->parse->http;
	struct ea_http *h = &pair->response;

	(void)i;
	if (h->state == EA_HTTP_STATUS_VERSION && h->pos == 0)
		pair->first_ns = r->now;
	h->verdict = http_step(h, r->bytes, r->parse->key.host);
	if (h->verdict == EA_DONE)
		h->verdict = http_response_head(r);
	if (h->verdict == EA_END) {
		http_answer_over(pair, r->now);
		http_report_bytes(h, r->now);
		http_reset(h);
		h->verdict = EA_AGAIN;
	}
	return h->verdict != EA_AGAIN;
}

/* Start anew where egress said; requests before that one stay without an answer. */
static __always_inline void http_obey_resync(struct ea_parse *p, __u32 seq)
{
	struct ea_http_pair *pair = &p->http;
	struct ea_http_order *o = &p->order;

	if (!o->resync)
		return;
	http_answer_over(pair, pair->heard_ns);
	if (pair->popped != o->resync_popped)
		ea_count(EA_COUNT_RESPONSE_LOST);
	pair->popped = o->resync_popped;
	pair->next = o->resync == HTTP_RESYNC_FIRST ? seq : o->resync_next;
	pair->response.flags = EA_HTTP_RESPONSE;
	http_reset(&pair->response);
	pair->deaf = 0;
	/* Last: until then egress goes by what it asked for. */
	__sync_lock_test_and_set(&o->resync, 0);
}

/* What is new of the answers in the packet. */
static __always_inline void http_read_answers(struct http_run *run, struct ea_packet *pkt)
{
	struct ea_http_pair *pair = &run->parse->http;
	struct ea_http *h = &pair->response;

	http_begin_packet(h, pkt);
	ea_repeat(EA_HTTP_ROUNDS, http_response_round, run);
	if (h->verdict != EA_MORE) {
		ea_count(EA_COUNT_RESPONSE_LOST);
		pair->answered.missed = 1;
		http_stop(h);
	}
	pair->deaf = h->state == EA_HTTP_DEAD;
	if (pair->answered.state == EA_ANSWERED_HEAD)
		http_count_answer(pair, 0, 0);
	if (h->bytes >= EA_BYTES_REPORT)
		http_report_bytes(h, run->now);
}

static __always_inline void http_read_response(struct ea_flow *f, struct ea_parse *p,
					       struct ea_packet *pkt)
{
	struct ea_http_pair *pair = &p->http;
	__u32 seq = pkt->segment.seq + pkt->segment.syn;
	struct http_run run = {
		.bytes = &pkt->bytes,
		.flow = f,
		.parse = p,
		.now = bpf_ktime_get_ns(),
	};
	int order;

	http_obey_resync(p, seq);
	order = http_in_order(&pair->response, &pair->next, pkt);
	if (order < 0)
		pair->answered.missed = 1;
	if (order)
		pair->heard_ns = run.now;
	if (order > 0)
		http_read_answers(&run, pkt);
	/* Here ends what has no length, and what was cut off. */
	if (pkt->segment.fin && pair->next == seq + pkt->segment.len)
		http_answer_over(pair, run.now);
}

/* Payload the pod receives on an HTTP connection, and its end. */
static __always_inline void flow_http_response(struct ea_flow *f, struct ea_parse *p,
					       struct ea_packet *pkt)
{
	if (__sync_lock_test_and_set(&p->http.busy, 1)) {
		ea_count(EA_COUNT_RESPONSE_RACE);
		return;
	}
	http_read_response(f, p, pkt);
	__sync_lock_test_and_set(&p->http.busy, 0);
}

struct http_close_run {
	struct ea_http_pair *pair;
	__u64 now;
};

static long http_close_round(__u32 i, void *ctx)
{
	struct http_close_run *r = ctx;

	(void)i;
	if (r->pair->popped == r->pair->pushed)
		return 1;
	http_pop(r->pair, 0);
	http_count_answer(r->pair, 1, r->now);
	return 0;
}

/* The connection is over: what waits will not be answered any more, unless an answer is being read right now. */
static __always_inline void flow_http_close(struct ea_parse *p)
{
	struct ea_http_pair *pair = &p->http;
	struct http_close_run run = {.pair = pair, .now = bpf_ktime_get_ns()};

	http_report_bytes(&pair->request, run.now);
	if (__sync_lock_test_and_set(&pair->busy, 1))
		return;
	http_answer_over(pair, run.now);
	http_report_bytes(&pair->response, run.now);
	if (!p->order.blind)
		ea_repeat(EA_PIPELINE_MAX, http_close_round, &run);
}

#endif
