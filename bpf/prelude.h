/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a client says before its ClientHello: STARTTLS of any protocol, PROXY and SOCKS headers, CONNECT. None of
 * them is parsed. One mechanism serves all: bytes that are neither TLS nor HTTP are passed over, for a while,
 * until the eleven bytes that begin every ClientHello stand in the stream.
 *
 * Owns: that signature, and the hand-over to tls.h in mid-record. Pure, and resumable at any byte.
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
	__u8 first;         /* they are the connection's first */
	__u8 verdict;       /* of the last step */
};

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

/* A hello in SSL 2.0's form, RFC 5246 appendix E.2, in the connection's first five bytes. It cannot carry a name. */
static __always_inline int prelude_is_ssl2(const struct ea_prelude *p)
{
	__u32 version = p->low & 0xffff;

	if (!p->first || p->passed != 5 || !(p->low >> 39 & 1) || ((p->low >> 16) & 0xff) != 1)
		return 0;
	return version == 2 || (version >= 0x0300 && version <= 0x0304);
}

/* The reader's state as if it had read those eleven bytes itself. */
static __always_inline void prelude_hand_over(const struct ea_prelude *p, struct ea_tls *t)
{
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
	return prelude_is_hello(p) ? EA_DONE : EA_AGAIN;
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

#endif
