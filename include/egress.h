/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The ABI between the BPF programs and user space: map keys and values, events, counters, limits.
 *
 * Owns: every struct that crosses the kernel boundary, byte for byte. Includes <linux/types.h> only,
 * so that it compiles for BPF, for the agent and for the native test build alike.
 *
 * Unless a field says otherwise: integers are in host byte order, times are nanoseconds of
 * CLOCK_MONOTONIC (bpf_ktime_get_ns), sizes are bytes. Change EA_ABI whenever a layout or a meaning
 * changes: an agent only adopts pinned maps that carry its own number.
 */
#ifndef EGRESS_H
#define EGRESS_H

#include <linux/types.h>

#define EA_ABI 7

/* RFC 1035 section 2.3.4: 255 octets on the wire, 253 characters as text. */
#define EA_HOST_MAX 253
#define EA_HOST_BUF 256

/* A ClientHello or a request head that is not complete after this many bytes is given up. */
#define EA_PRELUDE_MAX 16384

/* Requests in flight on one connection (pipelining) that can be paired with their answers. */
#define EA_PIPELINE_MAX 16

/* What the bytes on the connection are. Part of the destination key. */
enum ea_proto {
	EA_PROTO_TCP = 0, /* neither TLS nor HTTP, or never decided */
	EA_PROTO_TLS,
	EA_PROTO_HTTP,
	EA_PROTO_UDP, /* datagrams to port 443, not read */
	EA_PROTO_MAX,
};

/* Where the host of a destination came from. Part of the destination key. */
enum ea_source {
	EA_SOURCE_IP = 0,  /* host[0..16) is the address, IPv4 as ::ffff:a.b.c.d */
	EA_SOURCE_SNI,     /* TLS server_name, RFC 6066 section 3 */
	EA_SOURCE_HTTP,    /* HTTP Host or absolute-form, RFC 9112 section 3.2 */
	EA_SOURCE_CONNECT, /* HTTP CONNECT target */
	EA_SOURCE_OTHER,   /* beyond a limit: the sum of what was not given a line of its own */
	EA_SOURCE_MAX,
};

/* Request methods told apart; every other token counts as EA_METHOD_OTHER. */
enum ea_method {
	EA_METHOD_OTHER = 0,
	EA_METHOD_GET,
	EA_METHOD_HEAD,
	EA_METHOD_POST,
	EA_METHOD_PUT,
	EA_METHOD_DELETE,
	EA_METHOD_CONNECT,
	EA_METHOD_OPTIONS,
	EA_METHOD_TRACE,
	EA_METHOD_PATCH,
	EA_METHOD_MAX,
};

/*
 * Key of ea_dests: one destination as the kernel tells them apart.
 *
 * host is lower case, without port and trailing dot, and zero padded. It is hostile input: any byte
 * may stand in it. host_len 0 with source SNI, HTTP or CONNECT means a name that was there but is
 * longer than EA_HOST_MAX; with source OTHER it is the remainder of its cgroup, and port is 0.
 */
struct ea_dest_key {
	__u64 cgroup_id; /* inode of the leaf cgroup v2 directory that owns the socket */
	__u16 port;      /* remote port as the application asked for it */
	__u8 proto;      /* enum ea_proto */
	__u8 source;     /* enum ea_source */
	__u16 host_len;
	__u8 internal; /* 1: the address is within ea_internal; a host may be reached both ways */
	__u8 retired; /* 1: taken out of use by the agent; programs look for keys that have 0 here */
	__u8 host[EA_HOST_BUF];
};

/*
 * Ids from here on stand in cgroup_id for what the agent keeps itself: workloads whose cgroups are gone, by a hash of
 * who they were. No directory has such an inode. The first one is for all sidecars that are gone, as one.
 */
#define EA_CGROUP_OURS    (1ULL << 63)
#define EA_CGROUP_PROXIES EA_CGROUP_OURS

/* Value of ea_dests. The id is never reused while the maps live; 0 is no destination. */
struct ea_dest {
	__u32 id;
	__u32 pad;
	__u64 first_ns; /* when the destination was first seen */
};

/* Id of the destination that takes what has no room anywhere: the sum over all cgroups. */
#define EA_DEST_OVERFLOW 1

/* Bits of ea_stats.facts: what was seen on any connection of the destination. */
enum ea_fact {
	EA_FACT_SSL30 = 1 << 0, /* versions the client offered, RFC 8446 section 4.2.1 */
	EA_FACT_TLS10 = 1 << 1,
	EA_FACT_TLS11 = 1 << 2,
	EA_FACT_TLS12 = 1 << 3,
	EA_FACT_TLS13 = 1 << 4,
	EA_FACT_ECH = 1 << 5,     /* encrypted_client_hello offered: the name is the outer one */
	EA_FACT_ALPN_H2 = 1 << 8, /* ALPN protocols the client offered, RFC 7301 */
	EA_FACT_ALPN_HTTP11 = 1 << 9,
	EA_FACT_ALPN_HTTP10 = 1 << 10,
	EA_FACT_ALPN_OTHER = 1 << 11,
	EA_FACT_REDIRECTED = 1 << 16, /* a packet's destination was the mesh's outbound port */
	EA_FACT_DIRECT = 1 << 17,     /* a packet went where the application asked */
	/* Set by the agent only, where those who could tell are gone: a sidecar originated TLS for this plaintext. */
	EA_FACT_ORIGINATED = 1 << 18,
	/* bits 20 to 24: versions servers chose, EA_FACT_SSL30 .. EA_FACT_TLS13 shifted by EA_FACT_CHOSEN_SHIFT */
};

#define EA_FACT_CHOSEN_SHIFT 20

/*
 * Upper bounds of the distributions of times, in microseconds, ascending; what is beyond the last one falls into one
 * bucket more. Short: connect and TLS handshake. Long: requests, the bounds Istio's duration metrics have.
 */
#define EA_SHORT_BOUNDS_US                                                                 \
	{                                                                                  \
		1000, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, \
			5000000, 10000000                                                  \
	}
#define EA_LONG_BOUNDS_US                                                                        \
	{                                                                                        \
		500, 1000, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000,  \
			5000000, 10000000, 30000000, 60000000, 300000000, 600000000, 1800000000, \
			3600000000                                                               \
	}
#define EA_SHORT_BUCKETS 13
#define EA_LONG_BUCKETS  20

/* Each bucket holds what is beyond the bound before it and not beyond its own: not cumulative. */
struct ea_short_times {
	__u64 sum_ns;
	__u64 n[EA_SHORT_BUCKETS];
};

struct ea_long_times {
	__u64 sum_ns;
	__u64 n[EA_LONG_BUCKETS];
};

/* Value of ea_stats, keyed by the destination's id. All but last_ns, facts and addr are sums. What each
 * connection touches stands together, first: memory that is not at hand is what counting costs most. */
struct ea_stats {
	__u64 opened; /* connections established and attributed to this destination */
	__u64 closed; /* of those, the ones that ended */
	__u64 sent;   /* payload bytes, each counted once however often it was retransmitted */
	__u64 received;
	__u64 last_ns; /* last connection opened or closed, request or answer seen */
	__u32 facts;   /* enum ea_fact */
	__u32 pad;
	__u64 addr_ns;        /* when ea_addrs was last told of: */
	__u8 addr[16];        /* an address, as in struct ea_addr_key */
	__u64 failed;         /* attempts that never became established */
	__u64 requests;       /* complete request heads */
	__u64 request_bytes;  /* heads and bodies of requests to this host */
	__u64 response_bytes; /* of answers, interim ones included; what ea_requests has not got */
	__u64 handshakes_failed; /* TLS handshakes that an alert of either side ended in the clear */
	struct ea_short_times connect; /* SYN to established; of connections that were */
	struct ea_short_times
		handshake; /* end of the ClientHello to the first byte of the server's flight */
};

/* Key of ea_requests: answered requests of one destination. */
struct ea_request_key {
	__u32 dest_id;
	__u16 code;  /* 100..999 as received; 0: the connection ended without an answer */
	__u8 method; /* enum ea_method */
	__u8 pad;
};

/* Value of ea_requests. */
struct ea_request_stats {
	__u64 count;
	__u64 first_byte_ns; /* sum over count: end of the request's head to the answer's first byte */
	/* Heads and bodies of answers, counted at their end: ea_stats, which egress writes, need not be touched then. */
	__u64 response_bytes;
	struct ea_long_times
		duration; /* end of the request's head to the end of the answer; of those that came to an end */
};

/* Key of ea_addrs: an address a destination was reached at. The value is the last time, in ns. */
struct ea_addr_key {
	__u32 dest_id;
	__u8 addr[16]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
};

/* Bits of ea_workload.flags. */
enum ea_workload_flag {
	EA_WORKLOAD_PROXY = 1 << 0, /* its sockets answer on the mesh's outbound port: a sidecar */
};

/* Value of ea_workloads, keyed by cgroup id. */
struct ea_workload {
	__u32 dests[2]; /* destinations created for this cgroup: external, internal */
	__u32 flags;    /* enum ea_workload_flag */
	__u32 pad;
};

/* Bits of ea_identity.flags. */
enum ea_identity_flag {
	EA_IDENTITY_POD = 1 << 0,       /* the pod was known: what follows is its workload's */
	EA_IDENTITY_SIDECAR = 1 << 1,   /* the pod has a sidecar */
	EA_IDENTITY_AMBIENT = 1 << 2,   /* the pod is in an ambient mesh */
	EA_IDENTITY_PROXY = 1 << 3,     /* the cgroup is the sidecar itself */
	EA_IDENTITY_MAY_PROXY = 1 << 4, /* it is one if its sockets say so, too */
	EA_IDENTITY_MESHED = 1 << 5,    /* a sidecar took connections of its pod */
	EA_IDENTITY_CUT = 1 << 6,       /* labels are missing for want of room */
};

#define EA_IDENTITY_MAX 1024

/*
 * Value of ea_identities: who a cgroup was, or who an id of EA_CGROUP_OURS stands for. Only the agent knows what is in
 * the text (user/kept.c): strings, each with its NUL.
 */
struct ea_identity {
	__u16 size;    /* bytes of text in use */
	__u8 flags;    /* enum ea_identity_flag */
	__u8 n_labels; /* pairs at the end of the text */
	char text[EA_IDENTITY_MAX - 4];
};

/* What ea_move is to do, and what came of it. */
enum ea_move_what {
	EA_MOVE_RENAME,  /* a destination gets another key; its id and so its counters stay */
	EA_MOVE_REQUEST, /* one kind of answered requests is added to another destination's */
	EA_MOVE_MERGE, /* all other counters are, and the destination's own entries are given back */
};

enum ea_move_flag {
	EA_MOVE_STRAY = 1 << 0,    /* there is no `from`: only counters are left, by id */
	EA_MOVE_OVERFLOW = 1 << 1, /* instead of `to`: EA_DEST_OVERFLOW */
};

enum ea_move_result {
	EA_MOVE_DONE,
	EA_MOVE_GONE,   /* nothing there to move */
	EA_MOVE_EXISTS, /* the new key is somebody's: RENAME only */
	EA_MOVE_FULL,   /* no room or memory; nothing was changed */
};

/* The packet that is ea_move's input. One run is all or nothing, whatever becomes of who asked for it. */
struct ea_move {
	struct ea_dest_key from, to;
	__u32 id;    /* of from */
	__u32 what;  /* enum ea_move_what */
	__u32 facts; /* added to those of the destination that has the counters then */
	__u16 code;  /* of REQUEST, as in struct ea_request_key */
	__u8 method;
	__u8 flags; /* enum ea_move_flag; not for RENAME */
};

/* Key of ea_internal, a longest-prefix-match trie of the address ranges that are not egress. The value is unused. */
struct ea_range {
	__u32 bits;    /* of addr, 0..128; an IPv4 range has 96 more than it is written with */
	__u8 addr[16]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
};

/* Records in the ring buffer ea_events; each begins with its type. */
enum ea_event_type {
	EA_EVENT_WORKLOAD =
		1, /* struct ea_event: first destination of a cgroup: look its name up while it exists */
	EA_EVENT_NAME, /* struct ea_name_event: only with ea_config.observe */
};

struct ea_event {
	__u32 type; /* enum ea_event_type */
	__u32 pad;
	__u64 cgroup_id;
};

/* A name was read, by the packet that is being processed. */
struct ea_name_event {
	__u32 type;             /* enum ea_event_type */
	__u8 proto;             /* enum ea_proto */
	__u8 source;            /* enum ea_source */
	__u16 host_len;         /* 0: longer than EA_HOST_MAX */
	__u8 host[EA_HOST_BUF]; /* as struct ea_dest_key */
};

/*
 * Indices into ea_counters, the data plane's own health, per CPU. "flows" are client connections.
 * The agent exports each under the name in user/bpf.c.
 */
enum ea_counter {
	EA_COUNT_FLOWS = 0,   /* connect() calls followed */
	EA_COUNT_TLS_NAMED,   /* flows decided: ClientHello with a name */
	EA_COUNT_TLS_UNNAMED, /* ClientHello complete, no server_name */
	EA_COUNT_HTTP,        /* HTTP/1 request head complete */
	EA_COUNT_TCP,         /* first payload byte starts neither */
	EA_COUNT_SILENT,      /* closed before any payload was sent */
	EA_COUNT_FAILED,      /* never established */
	EA_COUNT_INCOMPLETE,  /* closed within the hello or the first head */
	EA_COUNT_NOT_HTTP,    /* began like a method, was none */
	EA_COUNT_MALFORMED,   /* a hello or head that breaks its grammar */
	EA_COUNT_BUDGET,      /* hello or head longer than EA_PRELUDE_MAX */
	EA_COUNT_STEPS,       /* more rounds in one packet than any honest one takes */
	EA_COUNT_GAP,         /* a segment passed that starts beyond what was seen */
	EA_COUNT_PIPELINE,    /* more than EA_PIPELINE_MAX requests in flight: answers not paired */
	EA_COUNT_RESPONSE_LOST, /* an answer's head was not readable (gap or grammar) */
	EA_COUNT_RESPONSE_RACE, /* two CPUs had packets of one flow at once, one was not read */
	EA_COUNT_HANDSHAKE_ANSWERED, /* behind a ClientHello: a ServerHello */
	EA_COUNT_HANDSHAKE_FAILED,   /* an alert, with or without one */
	EA_COUNT_HANDSHAKE_UNREAD,   /* neither: closed, lost, or no TLS */
	EA_COUNT_DEST_FOLDED,        /* flows or requests counted under a cgroup's remainder */
	EA_COUNT_DEST_OVERFLOW,      /* and under EA_DEST_OVERFLOW, for want of room even there */
	EA_COUNT_NO_FLOW_MEMORY,     /* no socket storage for a new flow: connection not followed */
	EA_COUNT_NO_PARSE_MEMORY,    /* no socket storage to read a hello or head in */
	EA_COUNT_NO_STATS,           /* a statistics update failed: its increment is lost */
	EA_COUNT_NO_EVENT,    /* ring buffer full: a workload is named later than at first sight */
	EA_COUNT_LOAD_FAILED, /* bytes of a packet could not be read */
	EA_COUNT_MAX,
};

/* Value of ea_state (one entry): what must survive a restart of the agent. */
struct ea_state {
	__u32 lock;          /* struct bpf_spin_lock: guards next_id and dests */
	__u32 next_id;       /* id of the next destination; starts at EA_DEST_OVERFLOW + 1 */
	__u32 dests;         /* entries in ea_dests: the programs count up, ea_move down */
	__u32 abi;           /* EA_ABI of the agent that made the maps */
	__u64 since_ns;      /* CLOCK_MONOTONIC when the maps were made */
	__u64 since_unix_ns; /* CLOCK_REALTIME at the same moment: what turns one into the other */
};

/* Configuration, fixed at load time (rodata). */
struct ea_config {
	__u32 max_dests;              /* entries in ea_dests before folding starts */
	__u32 max_dests_per_workload; /* the same for one cgroup */
	__u16 mesh_port;              /* Istio's outbound capture port, 15001 */
	__u16 observe; /* not 0: tell of each name as it is read (captures, not live traffic) */
	/* First octets of addresses within ea_internal, IPv6 and IPv4, one bit each: most need no look-up then. */
	__u64 internal_octets[2][4];
};

_Static_assert(sizeof(struct ea_dest_key) == 272, "ABI");
_Static_assert(sizeof(struct ea_stats) == 336, "ABI");
_Static_assert(sizeof(struct ea_request_key) == 8, "ABI");
_Static_assert(sizeof(struct ea_addr_key) == 20, "ABI");
_Static_assert(sizeof(struct ea_state) == 32, "ABI");
_Static_assert(sizeof(struct ea_identity) == EA_IDENTITY_MAX, "ABI");
_Static_assert(sizeof(struct ea_move) == 560, "ABI");

#endif
