/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is remembered about one connection. Private to the programs: lives in socket storage and is never read
 * by user space, so it is not part of the ABI (but pinned storage outlives a program: see EA_ABI).
 */
#ifndef FLOW_TYPES_H
#define FLOW_TYPES_H

#include "egress.h"
#include "http.h"
#include "prelude.h"
#include "tls.h"
#include "tls_answer.h"

enum ea_phase {
	EA_PHASE_OPEN,    /* no payload sent yet */
	EA_PHASE_HEADER,  /* within what may be a SOCKS or PROXY header */
	EA_PHASE_TLS,     /* within a ClientHello */
	EA_PHASE_HTTP,    /* heads are read in both directions */
	EA_PHASE_PRELUDE, /* something else, perhaps a ClientHello after it */
	EA_PHASE_ANSWER,  /* named: behind a ClientHello, before the first encrypted record */
	EA_PHASE_DECIDED, /* nothing is read any more */
	EA_PHASE_UDP,     /* not TCP: see flow_udp.h */
};

enum ea_flow_flag {
	EA_FLOW_ESTABLISHED = 1 << 0,
	EA_FLOW_COUNTED = 1 << 1, /* in `opened` of its destination */
	EA_FLOW_CLOSED = 1 << 2,
	EA_FLOW_GAP = 1 << 3,   /* a gap was counted */
	EA_FLOW_FIRST = 1 << 4, /* the first packet was seen */
	EA_FLOW_PROXY = 1 << 5, /* accepted on the mesh's port: tells of its owner, is no egress */
	EA_FLOW_INTERNAL = 1 << 6, /* the address is within ea_internal */
};

/* Every followed socket carries this for its life: keep it small. */
struct ea_flow {
	__u64 cgroup_id;
	__u64 start_ns;       /* established */
	__u64 sent, received; /* bytes already added to the destination; only grow */
	__u32 dest_id;        /* 0: not decided */
	__u32 facts;          /* enum ea_fact of the path (redirected or direct) */
	__u32 next;           /* sequence number of the next byte to be sent */
	__u16 port;           /* remote, as the application asked for it */
	__u8 phase;           /* enum ea_phase */
	__u8 flags;           /* enum ea_flow_flag */
	__u8 addr[16];        /* remote, as the application asked for it */
};

/* A request whose answer is awaited. */
struct ea_pending {
	__u32 dest_id;
	__u32 time; /* ns >> EA_TIME_SHIFT when its head was complete; wraps after 73 minutes */
};

#define EA_TIME_SHIFT 10

struct ea_http_pair {
	struct ea_http request;  /* touched at egress only */
	struct ea_http response; /* touched at ingress only, by whoever holds `busy` */
	struct ea_pending pending[EA_PIPELINE_MAX];
	__u8 method[EA_PIPELINE_MAX];
	__u32 pushed,
		popped; /* requests and answers so far: egress counts the one, ingress the other */
	__u32 next;     /* sequence number of the answer's next byte in order */
	__u32 blind;    /* too many requests at once: answers are not paired any more */
	__u32 resync;   /* egress asks ingress to start anew, at: */
	__u32 resync_next;   /*   this sequence number */
	__u32 resync_popped; /*   and this request */
	__u32 busy;          /* ingress runs outside the socket's lock, on any CPU */
	__u32 first_byte;    /* time of the current answer's first byte, as ea_pending.time */
};

/*
 * Needed while names are read. The key comes first: a name is copied into its host and may run into `spill` while
 * the verifier looks, never in fact. The readers do not share memory: egress may turn to the next one while
 * ingress still reads answers on another CPU.
 */
struct ea_parse {
	struct ea_dest_key key;
	__u8 spill[EA_NAME_CHUNK];
	struct ea_tls tls;
	struct ea_prelude prelude;
	struct ea_http_pair http;
	struct ea_answer client; /* touched at egress only, */
	struct ea_answer server; /* and at ingress, by whoever holds: */
	__u32 server_busy;
	__u32 pad;
};

#endif
