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
	EA_PHASE_PROXY,   /* accepted on the mesh's port: tells of its owner, is no egress */
};

enum ea_flow_flag {
	EA_FLOW_ESTABLISHED = 1 << 0,
	EA_FLOW_COUNTED = 1 << 1,  /* in `opened` of its destination */
	EA_FLOW_CLOSED = 1 << 2,   /* or none of ours: EA_PHASE_PROXY */
	EA_FLOW_GAP = 1 << 3,      /* a gap was counted */
	EA_FLOW_TIMED = 1 << 4,    /* `time` is known */
	EA_FLOW_INTERNAL = 1 << 5, /* the address is within ea_internal */
	/* Where the first packet went, once it did; one of: */
	EA_FLOW_REDIRECTED = 1 << 6,
	EA_FLOW_DIRECT = 1 << 7,
};

#define EA_FLOW_FACT_SHIFT 10

_Static_assert(EA_FLOW_REDIRECTED << EA_FLOW_FACT_SHIFT == EA_FACT_REDIRECTED &&
		       EA_FLOW_DIRECT << EA_FLOW_FACT_SHIFT == EA_FACT_DIRECT,
	       "the path's facts");

/* Times in 32 bits are in units of about a microsecond, and wrap after 73 minutes. */
#define EA_TIME_SHIFT 10

enum ea_awaited_flag {
	EA_AWAITED_PLACED = 1 << 0, /* `next` is known */
	EA_AWAITED_BUSY = 1 << 1,   /* ingress runs outside the socket's lock, on any CPU */
	EA_AWAITED_OVER = 1 << 2,   /* nothing more is read */
	EA_AWAITED_ALERT = 1 << 3,  /* it ended in an alert */
	/* from bit 16 on: the version it chose, as it stands on the wire */
};

#define EA_AWAITED_VERSION_SHIFT 16

/* What is known of a TLS server's side between the ClientHello and the first encrypted record. */
struct ea_awaited {
	__u64 ns; /* when the ClientHello was complete; then, how long the first payload behind it took */
	__u32 next;   /* sequence number of the next byte in order */
	__u32 server; /* enum ea_awaited_flag; changed by whoever holds EA_AWAITED_BUSY */
};

/* Every followed socket carries this for its life: keep it small. With one word more it takes half as much again. */
struct ea_flow {
	__u64 cgroup_id;
	__u64 sent, received; /* bytes already added to the destination; only grow */
	__u32 dest_id;        /* 0: not decided */
	__u32 next;           /* sequence number of the next byte to be sent */
	__u32 time;           /* ns >> EA_TIME_SHIFT of the SYN; once established: since then */
	__u16 port;           /* remote, as the application asked for it */
	__u8 phase;           /* enum ea_phase */
	__u8 flags;           /* enum ea_flow_flag */
	union {
		__u8 addr[16]; /* remote, as the application asked for it */
		struct ea_awaited
			awaited; /* EA_PHASE_ANSWER and behind: the address is not needed any more */
	};
};

_Static_assert(sizeof(struct ea_flow) == 56, "with the kernel's 72 bytes before it: 128");

/* A request whose answer is awaited. */
struct ea_pending {
	__u64 asked_ns; /* when its head was complete */
	__u32 dest_id;
	__u32 turn; /* written last: enum ea_method, and the request's number on the connection, from 1 on, << 8 */
};

enum ea_answered_state {
	EA_ANSWERED_NONE,    /* no answer is being received: not yet, or its end was counted */
	EA_ANSWERED_HEAD,    /* its head was read */
	EA_ANSWERED_COUNTED, /* and is counted; its end is still to come */
};

/* The request whose answer is being received. */
struct ea_answered {
	__u64 asked_ns;
	__u64 first_ns; /* the answer's first byte */
	__u32 dest_id;
	__u16 code;
	__u8 method;  /* enum ea_method */
	__u8 state;   /* enum ea_answered_state */
	__u32 missed; /* some of what followed its head was not read: where it ends is not known */
	__u32 pad;
};

/* Longer names are looked up each time. */
#define EA_LAST_HOST_MAX 64

/* The destination of the connection's last request. */
struct ea_last {
	__u64 host[EA_LAST_HOST_MAX / 8]; /* as in its key */
	__u32 dest_id;                    /* 0: none is remembered */
	__u16 host_len;
	__u8 source;
	__u8 pad;
};

/*
 * Requests are read on one CPU, and their answers often on another one: a line of memory that both write is fetched from
 * the other CPU each time, for longer than it takes to read a head. So what each writes stands in lines of its own; one
 * line with each request and one with each answer is what has to pass.
 */
struct ea_http_pair {
	/* touched at egress only: */
	struct ea_http request;
	struct ea_last last;
	__u32 pushed; /* requests so far */
	__u32 sent_next; /* sequence number of the next byte to be sent, instead of the flow's `next` */
	__u64 pad[5];

	/* written at egress, read at ingress: */
	struct ea_pending pending[EA_PIPELINE_MAX];

	/* touched at ingress only, by whoever holds `busy`; egress reads the line of next: */
	struct ea_answered answered;
	__u64 first_ns; /* first byte of the answer at hand */
	__u64 heard_ns; /* last payload that was no repetition */
	__u32 next;     /* sequence number of the answer's next byte in order */
	__u32 popped;   /* answers so far */
	__u32 deaf;     /* answers are not understood any more */
	__u32 busy;     /* ingress runs outside the socket's lock, on any CPU */
	struct ea_http response;
};

/* Rarely written, by egress; ingress looks here with each packet. */
struct ea_http_order {
	__u32 resync;        /* egress asks ingress to start anew, at: */
	__u32 resync_next;   /*   this sequence number */
	__u32 resync_popped; /*   and this request */
	__u32 blind;         /* too many requests at once: answers are not paired any more */
};

/*
 * Needed while names are read; of TLS, only from one packet to the next. A name is copied into the key's host and may
 * run into `spill` while the verifier looks, never in fact. The readers do not share memory: egress may turn to the next
 * one while ingress still reads answers on another CPU.
 */
struct ea_parse {
	__u64 began_ns; /* first payload sent, unless it began a ClientHello */
	struct ea_prelude prelude;
	struct ea_http_order order;
	struct ea_dest_key key; /* from here to tls.window: touched at egress only */
	__u8 spill[EA_NAME_CHUNK];
	struct ea_tls tls;
	struct ea_answer client; /* touched at egress only, */
	struct ea_answer server; /* and at ingress, by whoever holds EA_AWAITED_BUSY */
	__u64 pad[5];
	struct ea_http_pair http;
};

/* In a socket's storage the kernel's pointer stands before it, at the beginning of a line. */
#define EA_IS_LINE(field) ((__builtin_offsetof(struct ea_parse, field) + sizeof(__u64)) % 64 == 0)

_Static_assert(EA_IS_LINE(key) && EA_IS_LINE(http.request) && EA_IS_LINE(http.pending) &&
		       EA_IS_LINE(http.answered) && EA_IS_LINE(http.response),
	       "lines of memory");
_Static_assert(sizeof(struct ea_parse) <= 2048 - 72, "with the kernel's 72 bytes before it: 2048");

#endif
