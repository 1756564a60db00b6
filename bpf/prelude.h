/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a client says before the protocol that carries a name.
 *
 * STARTTLS of any protocol is not parsed. One mechanism serves all: bytes that are neither TLS nor HTTP are passed
 * over, for a while, until the bytes that begin a ClientHello stand in the stream. Headers behind which anything
 * may follow, HTTP too, are passed over by their own length: SOCKS 4 and 5, PROXY version 2 (version 1 is a
 * line, and http_line.h's).
 *
 * Owns: the signature of a hello and the hand-over to tls.h in mid-record; the lengths of those headers. Pure, and
 * resumable at any byte.
 */
#ifndef PRELUDE_H
#define PRELUDE_H

#include "http.h"
#include "tls.h"

/* Bytes without a hello after which a connection is taken for what it is. */
#define EA_PASSED_MAX 1024

struct ea_prelude {
	struct ea_cursor c; /* the packet at hand */
	__u64 low;          /* the last 8 bytes, and */
	__u32 high;         /* the 3 before them */
	__u32 passed;       /* bytes so far */
	__u16 skip;         /* bytes of a header still to pass */
	__u8 first;         /* they are the connection's first */
	__u8 verdict;       /* of the last step */
	__u8 state;         /* enum ea_header_state */
	__u8 have;          /* bytes gathered in `low`, or place within the signature */
	__u8 pad[2];
};

enum ea_header_state {
	EA_HEADER_START,
	EA_HEADER_PROXY,        /* PROXY version 2: within its signature */
	EA_HEADER_PROXY_LENGTH, /* version and command, family, length(2) */
	EA_HEADER_SOCKS4,       /* command(1) port(2) address(4) */
	EA_HEADER_SOCKS4_USER,  /* up to a NUL */
	EA_HEADER_SOCKS4_NAME,  /* up to a NUL */
	EA_HEADER_SOCKS5,       /* number of methods(1) */
	EA_HEADER_SOCKS5_NEXT,  /* 1: user and password, RFC 1929; 5: the request */
	EA_HEADER_SOCKS5_USER,  /* length(1) */
	EA_HEADER_SOCKS5_PASSWORD,
	EA_HEADER_SOCKS5_REQUEST, /* command(1) reserved(1) type of address(1) */
	EA_HEADER_SOCKS5_NAME,    /* length(1) */
};

/* Of 12 bytes; see http_line.h for why the array is larger. */
static const char header_proxy_signature[17] = "\r\n\r\n\0\r\nQUIT\n";

/*
 * Record header and the hello's first fields, RFC 8446 sections 4, 4.1.2 and 5.1: 22, 3, <=4, length(2); 1,
 * length(3), 3, <=4. The hello must fill its record or go beyond it.
 */
static __always_inline int prelude_is_hello(const struct ea_prelude *p)
{
	__u32 record = p->low >> 48, message = (p->low >> 16) & 0xffff;

	if ((p->high & 0xffff00) != 0x160300 || (p->high & 0xff) > 4)
		return 0;
	if (((p->low >> 32) & 0xffff) != 0x0100 || ((p->low >> 8) & 0xff) != 3 ||
	    (p->low & 0xff) > 4)
		return 0;
	return record >= 6 && record <= EA_TLS_RECORD_MAX && message + 4 >= record && message >= 38;
}

/* The same where the first record is too short for all that: its header, and the hello's first byte. */
static __always_inline int prelude_is_short_hello(const struct ea_prelude *p)
{
	__u32 record = (p->low >> 8) & 0xffff;

	return (p->low >> 32 & 0xffff) == 0x1603 && (p->low >> 24 & 0xff) <= 4 && record &&
	       record < 6 && (p->low & 0xff) == EA_TLS_CLIENT_HELLO;
}

/* A hello in SSL 2.0's form, RFC 5246 appendix E.2, in the connection's first five bytes. It cannot carry a name. */
static __always_inline int prelude_is_ssl2(const struct ea_prelude *p)
{
	__u32 version = p->low & 0xffff;

	if (!p->first || p->passed != 5 || !(p->low >> 39 & 1) || ((p->low >> 16) & 0xff) != 1)
		return 0;
	return version == 2 || (version >= 0x0300 && version <= 0x0304);
}

/* The reader's state as if it had read those bytes itself. */
static __always_inline void prelude_hand_over(const struct ea_prelude *p, struct ea_tls *t)
{
	if (prelude_is_short_hello(p)) {
		*t = (struct ea_tls){
			.c = p->c,
			.field = EA_TLS_CLIENT_HELLO,
			.have = 1,
			.pos = 1,
			.record_left = ((p->low >> 8) & 0xffff) - 1,
			.started = 1,
		};
		return;
	}
	*t = (struct ea_tls){
		.c = p->c,
		.pos = 6,
		.seek = 6 + 32,
		.end = 4 + ((p->low >> 16) & 0xffff),
		.facts = tls_version_fact(p->low & 0xffff),
		.record_left = (p->low >> 48) - 6,
		.state = EA_TLS_SESSION,
		.started = 1,
	};
}

static __always_inline enum ea_verdict prelude_step(struct ea_prelude *p, const struct ea_bytes *b)
{
	__u8 byte;

	if (p->c.off >= p->c.end)
		return EA_MORE;
	if (p->passed >= EA_PASSED_MAX)
		return EA_NOT_MINE;
	if (ea_load(b, p->c.off, &byte, 1))
		return EA_MALFORMED;
	p->c.off++;
	p->passed++;
	p->high = p->high << 8 | p->low >> 56;
	p->low = p->low << 8 | byte;
	if (prelude_is_ssl2(p))
		return EA_NO_NAME;
	return prelude_is_hello(p) || prelude_is_short_hello(p) ? EA_DONE : EA_AGAIN;
}

struct prelude_run {
	const struct ea_bytes *bytes;
	struct ea_prelude *prelude;
};

static long prelude_round(__u32 i, void *ctx)
{
	struct prelude_run *r = ctx;

	(void)i;
	r->prelude->verdict = prelude_step(r->prelude, r->bytes);
	return r->prelude->verdict != EA_AGAIN;
}

/*
 * Read the bytes at c as the next ones of a client's stream. EA_DONE: a hello began, p->c is behind its eleventh
 * byte; EA_NO_NAME: it was one that has no names; EA_NOT_MINE: none came in time.
 */
static __always_inline enum ea_verdict ea_prelude_feed(struct ea_prelude *p,
						       const struct ea_bytes *b, struct ea_cursor c)
{
	struct prelude_run run = {.bytes = b, .prelude = p};

	p->c = c;
	p->verdict = EA_AGAIN;
	ea_repeat(EA_PASSED_MAX + 2, prelude_round, &run);
	return p->verdict;
}

/* May the byte begin a header? Line ends may as well stand before a request. */
static __always_inline int header_begins(__u8 byte)
{
	return byte == 4 || byte == 5 || byte == '\r' || byte == '\n';
}

/* Behind a header, or not within one yet. EA_DONE: the byte is not one of a header's. */
static __always_inline enum ea_verdict header_start(struct ea_prelude *p, __u8 byte)
{
	p->low = 0;
	p->have = byte == '\r';
	p->state = byte == 4      ? EA_HEADER_SOCKS4
		   : byte == 5    ? EA_HEADER_SOCKS5
		   : byte == '\r' ? EA_HEADER_PROXY
				  : EA_HEADER_START;
	return header_begins(byte) ? EA_AGAIN : EA_DONE;
}

/* Line ends that do not go on as the signature stand before something else. */
static __always_inline enum ea_verdict header_proxy(struct ea_prelude *p, __u8 byte)
{
	if (byte == (__u8)header_proxy_signature[p->have & 15]) {
		if (++p->have < 12)
			return EA_AGAIN;
		p->have = 0;
		p->state = EA_HEADER_PROXY_LENGTH;
		return EA_AGAIN;
	}
	return p->have > 4 ? EA_NOT_MINE : header_start(p, byte);
}

/* SOCKS 4: an address of 0.0.0.x says that a name follows (4A). */
static __always_inline enum ea_verdict header_socks4(struct ea_prelude *p)
{
	__u32 command = p->low >> 48 & 0xff, address = p->low & 0xffffffff;

	if (command != 1 && command != 2)
		return EA_NOT_MINE;
	p->have = address && address < 256;
	p->state = EA_HEADER_SOCKS4_USER;
	return EA_AGAIN;
}

/* RFC 1928 section 4: the address, and two bytes of port. */
static __always_inline enum ea_verdict header_socks5_request(struct ea_prelude *p)
{
	__u32 command = p->low >> 16 & 0xff, type = p->low & 0xff;

	if (command < 1 || command > 3)
		return EA_NOT_MINE;
	if (type == 3) {
		p->state = EA_HEADER_SOCKS5_NAME;
		return EA_AGAIN;
	}
	p->skip = type == 1 ? 4 + 2 : 16 + 2;
	p->state = EA_HEADER_START;
	return type == 1 || type == 4 ? EA_AGAIN : EA_NOT_MINE;
}

/* Bytes that the state wants together. */
static __always_inline __u32 header_want(const struct ea_prelude *p)
{
	switch (p->state) {
	case EA_HEADER_PROXY_LENGTH:
		return 4;
	case EA_HEADER_SOCKS4:
		return 7;
	case EA_HEADER_SOCKS5_REQUEST:
		return 3;
	}
	return 1;
}

/* A length: so many bytes are passed over, and `state` comes behind them. */
static __always_inline enum ea_verdict header_skip(struct ea_prelude *p, __u32 n, __u8 state)
{
	p->skip = n;
	p->state = state;
	return EA_AGAIN;
}

/* What the state wants stands in `low`. */
static __always_inline enum ea_verdict header_field(struct ea_prelude *p, __u8 byte)
{
	switch (p->state) {
	case EA_HEADER_PROXY_LENGTH:
		if (p->low >> 28 != 2)
			return EA_NOT_MINE;
		return header_skip(p, p->low & 0xffff, EA_HEADER_START);
	case EA_HEADER_SOCKS4:
		return header_socks4(p);
	case EA_HEADER_SOCKS5:
		return byte ? header_skip(p, byte, EA_HEADER_SOCKS5_NEXT) : EA_NOT_MINE;
	case EA_HEADER_SOCKS5_NEXT:
		p->state = byte == 1 ? EA_HEADER_SOCKS5_USER : EA_HEADER_SOCKS5_REQUEST;
		return byte == 1 || byte == 5 ? EA_AGAIN : EA_NOT_MINE;
	case EA_HEADER_SOCKS5_USER:
		return header_skip(p, byte, EA_HEADER_SOCKS5_PASSWORD);
	case EA_HEADER_SOCKS5_PASSWORD:
		return header_skip(p, byte, EA_HEADER_SOCKS5_NEXT);
	case EA_HEADER_SOCKS5_REQUEST:
		return header_socks5_request(p);
	}
	return header_skip(p, byte + 2, EA_HEADER_START); /* a name, and a port */
}

static __always_inline enum ea_verdict header_byte(struct ea_prelude *p, __u8 byte)
{
	enum ea_verdict v;

	switch (p->state) {
	case EA_HEADER_START:
		return header_start(p, byte);
	case EA_HEADER_PROXY:
		return header_proxy(p, byte);
	case EA_HEADER_SOCKS4_USER:
		if (!byte)
			p->state = p->have ? EA_HEADER_SOCKS4_NAME : EA_HEADER_START;
		return EA_AGAIN;
	case EA_HEADER_SOCKS4_NAME:
		if (!byte)
			p->state = EA_HEADER_START;
		return EA_AGAIN;
	}
	p->low = p->low << 8 | byte;
	if (++p->have < header_want(p))
		return EA_AGAIN;
	p->have = 0;
	v = header_field(p, byte);
	p->low = 0;
	return v;
}

static __always_inline enum ea_verdict header_step(struct ea_prelude *p, const struct ea_bytes *b)
{
	enum ea_verdict v;
	__u32 n;
	__u8 byte;

	if (p->c.off >= p->c.end)
		return EA_MORE;
	if (p->passed >= EA_PASSED_MAX)
		return EA_NOT_MINE;
	if (p->skip) {
		n = ea_min(p->skip, p->c.end - p->c.off);
		p->skip -= n;
		p->c.off += n;
		return EA_AGAIN;
	}
	if (ea_load(b, p->c.off, &byte, 1))
		return EA_MALFORMED;
	v = header_byte(p, byte);
	if (v == EA_AGAIN) {
		p->c.off++;
		p->passed++;
	}
	return v;
}

static long header_round(__u32 i, void *ctx)
{
	struct prelude_run *r = ctx;

	(void)i;
	r->prelude->verdict = header_step(r->prelude, r->bytes);
	return r->prelude->verdict != EA_AGAIN;
}

/*
 * Read the bytes at c as the next ones of a client's stream. EA_DONE: whatever headers there were are passed, and
 * p->c stands at the first byte behind them; EA_NOT_MINE: it began like a header and is none, p->c stands where that
 * was seen. Either way p is then ready for ea_prelude_feed().
 */
static __always_inline enum ea_verdict ea_header_feed(struct ea_prelude *p,
						      const struct ea_bytes *b, struct ea_cursor c)
{
	struct prelude_run run = {.bytes = b, .prelude = p};

	p->c = c;
	p->verdict = EA_AGAIN;
	ea_repeat(2 * EA_PASSED_MAX, header_round, &run);
	c = p->c;
	if (p->verdict != EA_MORE)
		*p = (struct ea_prelude){.c = c, .verdict = p->verdict};
	return p->verdict;
}

#endif
