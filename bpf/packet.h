/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam between the parsers and the place they run in: how bytes are loaded, how a loop is bounded,
 * and the walk from the network header to the TCP payload.
 *
 * Compiled for BPF (bytes come from the skb) and natively (bytes come from a buffer): nothing above this
 * file may call a helper or know which of the two it is.
 */
#ifndef PACKET_H
#define PACKET_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#ifdef __bpf__
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#define ea_barrier(v) asm volatile("" : "+r"(v))
#else
#include <endian.h>
#include <string.h>
#include <sys/cdefs.h>
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#define bpf_ntohs(v)       be16toh(v)
#define bpf_htonl(v)       htobe32(v)
#define bpf_ntohl(v)       be32toh(v)
#define bpf_be64_to_cpu(v) be64toh(v)
#define ea_barrier(v)      ((void)(v))
#endif

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words of text are read with their first byte lowest"
#endif

/* Answers of the parsers. EA_AGAIN never leaves a feed function: it means "one step done, go on". */
enum ea_verdict {
	EA_MORE, /* everything given was read; not complete yet */
	EA_AGAIN,
	EA_DONE,      /* complete; for TLS: with a name */
	EA_END,       /* HTTP: the message, body included, is over */
	EA_NO_NAME,   /* complete, and carries none */
	EA_NOT_MINE,  /* not this protocol */
	EA_MALFORMED, /* this protocol, but its grammar is broken */
	EA_BUDGET,    /* longer than EA_PRELUDE_MAX */
};

/* Where bytes come from. Offsets count from the network header, `base` bytes into the packet. */
struct ea_bytes {
	__u32 base;
#ifdef __bpf__
	struct __sk_buff *skb;
#else
	const __u8 *data;
	__u32 size;
#endif
};

/* 0, or negative if any of the bytes is not there; `to` is then undefined. len is at least 1. */
static __always_inline long ea_load(const struct ea_bytes *b, __u32 off, void *to, __u32 len)
{
#ifdef __bpf__
	return bpf_skb_load_bytes(b->skb, b->base + off, to, len);
#else
	off += b->base;
	if (off > b->size || len > b->size - off)
		return -1;
	memcpy(to, b->data + off, len);
	return 0;
#endif
}

/*
 * n held within 1..max for the verifier (max a power of two). Some kernels refuse a length they believe
 * could be 0, whatever was compared before; the barrier keeps the compiler from dropping the masks.
 */
static __always_inline __u32 ea_clamp(__u32 n, __u32 max)
{
	n -= 1;
	ea_barrier(n);
	return (n & (max - 1)) + 1;
}

/*
 * Payload of one packet that was not read yet. Readers keep theirs in their own state, which lies in a map: the
 * verifier follows every value that a program holds on its stack, and would take each round of a loop that
 * moves `off` for a new case.
 */
struct ea_cursor {
	__u32 off;
	__u32 end;
};

static __always_inline __u32 ea_min(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

#define EA_WINDOW_MAX 128

/*
 * Bytes of the packet at hand, from `off`: a helper's call for each field would cost more than the field. A reader that
 * begins a packet sets len to 0.
 */
struct ea_window {
	__u64 bytes[EA_WINDOW_MAX / 8 + 1]; /* with room to read 8 bytes from the last one on */
	__u32 off;
	__u32 len;
};

/* 8 bytes from anywhere, in the order they stand in memory. */
static __always_inline __u64 ea_peek(const __u8 *from)
{
#ifdef __bpf__
	return *(const __u64 *)from;
#else
	__u64 v;

	memcpy(&v, from, sizeof(v));
	return v;
#endif
}

/* The n bytes at c, 1 to 8, that are known to be there, big endian. Negative on a failed load. */
static __always_inline int ea_window_load(struct ea_window *w, const struct ea_bytes *b,
					  struct ea_cursor c, __u32 n, __u64 *ret)
{
	__u32 at = c.off - w->off, len;

	if (at > w->len || n > w->len - at) {
		len = ea_clamp(ea_min(c.end - c.off, EA_WINDOW_MAX), EA_WINDOW_MAX);
		if (ea_load(b, c.off, w->bytes, len))
			return -1;
		w->off = c.off;
		w->len = len;
		at = 0;
	}
	ea_barrier(at);
	*ret = bpf_be64_to_cpu(ea_peek((const __u8 *)w->bytes + (at & (EA_WINDOW_MAX - 1)))) >>
	       (64 - 8 * n);
	return 0;
}

/*
 * Call round(i, ctx) until it returns non-zero or `most` rounds are done. bpf_loop needs Linux 5.17: a plain loop,
 * of which the verifier follows every round, would have room for 8 of them.
 */
static __always_inline void ea_repeat(__u32 most, long (*round)(__u32, void *), void *ctx)
{
#ifdef __bpf__
	bpf_loop(most, round, ctx, 0);
#else
	for (__u32 i = 0; i < most; i++)
		if (round(i, ctx))
			break;
#endif
}

/* What the walk finds. Integers in host byte order, addresses in network byte order (IPv4 as ::ffff:a.b.c.d). */
struct ea_segment {
	__u32 payload; /* offset of the first payload byte */
	__u32 len;     /* payload bytes */
	__u32 seq, ack;
	__u16 sport, dport;
	__u8 syn, ack_set, fin, rst;
	__u8 saddr[16], daddr[16];
};

#define EA_EXTENSION_HEADERS_MAX 6

/* The beginning of a packet: what any TCP packet has at least, so that one load gets it. */
union ea_start {
	struct iphdr ip4;
	struct ipv6hdr ip6;
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} tcp4; /* where the IP header has no options */
};

_Static_assert(sizeof(union ea_start) == 40, "an IPv6 header, or IPv4's and TCP's");

/* IPv6 extension headers up to `protocol` (RFC 8200 section 4). 0 with the offset of its header. */
static __always_inline int ea_walk_ipv6(const struct ea_bytes *b, const struct ipv6hdr *ip,
					__u8 protocol, struct ea_segment *seg, __u32 *ret_off)
{
	__u32 off = sizeof(*ip);
	__u8 next = ip->nexthdr, opt[2];

	__builtin_memcpy(seg->saddr, &ip->saddr, sizeof(seg->saddr));
	__builtin_memcpy(seg->daddr, &ip->daddr, sizeof(seg->daddr));
	for (int i = 0; i < EA_EXTENSION_HEADERS_MAX; i++) {
		if (next == protocol) {
			*ret_off = off;
			return 0;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return -1;
		if (ea_load(b, off, opt, sizeof(opt)))
			return -1;
		next = opt[0];
		off += (opt[1] + 1) * 8;
	}
	return -1;
}

static __always_inline void ea_map_ipv4(__u8 to[16], __u32 addr)
{
	__u32 *words = (__u32 *)to;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = addr;
}

static __always_inline int ea_walk_ipv4(const struct iphdr *ip, __u8 protocol,
					struct ea_segment *seg, __u32 *ret_off)
{
	if (ip->protocol != protocol)
		return -1;
	ea_map_ipv4(seg->saddr, ip->saddr);
	ea_map_ipv4(seg->daddr, ip->daddr);
	*ret_off = ip->ihl * 4;
	return 0;
}

static __always_inline int ea_walk_ip(const struct ea_bytes *b, const union ea_start *start,
				      __u8 protocol, struct ea_segment *seg, __u32 *ret_off)
{
	return start->ip4.version == 4   ? ea_walk_ipv4(&start->ip4, protocol, seg, ret_off)
	       : start->ip4.version == 6 ? ea_walk_ipv6(b, &start->ip6, protocol, seg, ret_off)
					 : -1;
}

/*
 * From the network header to the TCP payload. size is the packet's length from the network header (a GSO
 * packet's own, not the IP header's, which may be 0). Negative if it is not TCP or cut short.
 */
static __always_inline int ea_walk(const struct ea_bytes *b, __u32 size, struct ea_segment *ret)
{
	union ea_start start;
	struct tcphdr tcp;
	__u32 off = 0, data;

	if (ea_load(b, 0, &start, sizeof(start)) || ea_walk_ip(b, &start, IPPROTO_TCP, ret, &off))
		return -1;
	if (off == sizeof(start.ip4))
		tcp = start.tcp4.tcp;
	else if (ea_load(b, off, &tcp, sizeof(tcp)))
		return -1;
	data = off + tcp.doff * 4;
	if (data > size)
		return -1;
	ret->payload = data;
	ret->len = size - data;
	ret->seq = bpf_ntohl(tcp.seq);
	ret->ack = bpf_ntohl(tcp.ack_seq);
	ret->sport = bpf_ntohs(tcp.source);
	ret->dport = bpf_ntohs(tcp.dest);
	ret->syn = tcp.syn;
	ret->ack_set = tcp.ack;
	ret->fin = tcp.fin;
	ret->rst = tcp.rst;
	return 0;
}

/* The same for UDP, whose packets may be shorter; of the segment only addresses, ports and payload are set. */
static __always_inline int ea_walk_udp(const struct ea_bytes *b, __u32 size, struct ea_segment *ret)
{
	union ea_start start;
	struct udphdr udp;
	__u32 off = 0;

	if (ea_load(b, 0, &start, sizeof(start.ip4)) ||
	    (start.ip4.version == 6 && ea_load(b, 0, &start, sizeof(start))) ||
	    ea_walk_ip(b, &start, IPPROTO_UDP, ret, &off) || ea_load(b, off, &udp, sizeof(udp)))
		return -1;
	off += sizeof(udp);
	if (off > size)
		return -1;
	ret->payload = off;
	ret->len = size - off;
	ret->sport = bpf_ntohs(udp.source);
	ret->dport = bpf_ntohs(udp.dest);
	return 0;
}

/*
 * A name as it was copied from the wire, made comparable: lower case, no trailing dot, zero padded. host has
 * room for EA_HOST_BUF bytes. Returns its length.
 */
static __always_inline __u32 ea_name_finish(__u8 *host, __u32 len)
{
	__u64 *words = (__u64 *)host;

	if (len && len < EA_HOST_BUF && host[(len - 1) & (EA_HOST_BUF - 1)] == '.')
		host[--len & (EA_HOST_BUF - 1)] = 0;
	for (int i = 0; i < EA_HOST_BUF / 8; i++) {
		__u64 w = words[i];
		__u64 low = w & 0x7f7f7f7f7f7f7f7fULL;
		/* High bit per byte: at least 'A', and beyond 'Z'. */
		__u64 ge_a = low + 0x3f3f3f3f3f3f3f3fULL;
		__u64 gt_z = low + 0x2525252525252525ULL;

		if ((__u32)i * 8 >= len)
			break;
		words[i] = w | ((ge_a & ~gt_z & ~w & 0x8080808080808080ULL) >> 2);
	}
	return len;
}

/*
 * Zero what stands behind a name of len bytes: userinfo that turned out to be none of it. len is below
 * EA_HOST_BUF. In words, as the first byte is the lowest one.
 */
static __always_inline void ea_name_pad(__u8 *host, __u32 len)
{
	__u64 *words = (__u64 *)host;
	__s64 last = len / 8 & (EA_HOST_BUF / 8 - 1);

	words[last] &= (1ULL << (len % 8 * 8)) - 1;
	/* All ones up to the last word, else nothing; a branch would double the verifier's work at each word. */
	for (__s64 i = 1; i < EA_HOST_BUF / 8; i++)
		words[i] &= (__u64)((i - last - 1) >> 63);
}

#endif
