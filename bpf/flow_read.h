/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which reader gets the bytes of a flow, and what is concluded of them when it ends.
 */
#ifndef FLOW_READ_H
#define FLOW_READ_H

#include "flow_answer.h"
#include "flow_response.h"

/* What is new in a packet that the pod sends, whoever reads it. p may be NULL, but not with HTTP. */
static __noinline int flow_in_order(struct ea_flow *f, struct ea_parse *p, struct ea_packet *pkt)
{
	return p && f->phase == EA_PHASE_HTTP
		       ? http_in_order(&p->http.request, &p->http.sent_next, pkt)
		       : packet_in_order(pkt, &f->next, NULL);
}

/* The connection is over: conclude what was being read. p may be NULL. */
static __always_inline void flow_close_readers(struct ea_flow *f, struct ea_parse *p)
{
	if (f->phase == EA_PHASE_ANSWER)
		flow_answer_end(f, p);
	else if (p)
		flow_http_close(p);
}

/* Attribute at its end what never came to a decision. p may be NULL. */
static __always_inline void flow_decide_late(struct ea_flow *f, struct ea_parse *p)
{
	if (!(f->flags & EA_FLOW_ESTABLISHED))
		ea_count(EA_COUNT_FAILED);
	else if (f->phase == EA_PHASE_OPEN)
		ea_count(EA_COUNT_SILENT);
	else if (f->phase == EA_PHASE_HTTP)
		ea_count(EA_COUNT_INCOMPLETE);
	else if (f->phase == EA_PHASE_PRELUDE || f->phase == EA_PHASE_HEADER)
		ea_count(EA_COUNT_TCP);
	if (f->phase == EA_PHASE_TLS && p)
		flow_tls_decide(f, p, p->tls.named ? EA_DONE : EA_MORE);
	else
		flow_attribute_ip(f, p, EA_PROTO_TCP, 0);
}

/* The first payload is sent, and looks like `phase`. */
static __always_inline void flow_begin(struct ea_flow *f, struct ea_parse *p, __u8 phase)
{
	if (phase != EA_PHASE_TLS)
		p->began_ns = bpf_ktime_get_ns();
	p->prelude.first = phase == EA_PHASE_PRELUDE;
	flow_turn_to(f, p, phase);
}

/* Payload of a ClientHello or behind it, if that is where the flow is. Returns 1 when the flow is decided. */
static __always_inline int flow_handshake(struct ea_flow *f, struct ea_parse *p,
					  struct ea_packet *pkt)
{
	if (f->phase == EA_PHASE_TLS && flow_tls(f, p, pkt))
		return 1;
	return f->phase == EA_PHASE_ANSWER ? flow_answer_sent(f, p, pkt) : 0;
}

/*
 * New payload of a flow that is not decided. p may be NULL for want of memory: such a flow is attributed at its end,
 * for the key on the stack that takes does not fit below this caller's. Returns 1 when the flow is decided.
 */
static __always_inline int flow_read(struct ea_flow *f, struct ea_parse *p, struct ea_packet *pkt)
{
	if (!p) {
		ea_count(EA_COUNT_NO_PARSE_MEMORY);
		f->phase = EA_PHASE_DECIDED;
		return 1;
	}
	if (f->phase == EA_PHASE_OPEN)
		flow_begin(f, p, flow_sniff(pkt));
	if (f->phase == EA_PHASE_HEADER)
		flow_header(f, p, pkt);
	/* A reader may find that the rest of the packet is for the next one. */
	if (f->phase == EA_PHASE_HTTP && flow_http_request(f, p, pkt))
		return 1;
	if (f->phase == EA_PHASE_PRELUDE && flow_prelude(f, p, pkt))
		return 1;
	return flow_handshake(f, p, pkt);
}

#endif
