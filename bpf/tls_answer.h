/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What follows a ClientHello in the clear, either side's: the version the server chose, and the alert that ends a
 * handshake.
 *
 * Owns: ServerHello and HelloRetryRequest (RFC 8446 section 4.1.3, 4.1.4), plaintext alerts (section 6; RFC 5246
 * section 7.2). Everything else is passed over by the lengths of its records, up to the first one that is
 * encrypted. Pure, and resumable at any byte; messages and alerts may span records.
 */
#ifndef TLS_ANSWER_H
#define TLS_ANSWER_H

#include "tls.h"

/* Bytes of one side without an end to its plaintext after which no more of it is read. */
#define EA_ANSWER_MAX EA_PRELUDE_MAX
/* A record header, a skip and a field are a round each; no honest record is shorter than a field. */
#define EA_ANSWER_ROUNDS 4096

#define EA_TLS_CHANGE_CIPHER_SPEC 20
#define EA_TLS_ALERT              21
#define EA_TLS_SERVER_HELLO       2
#define EA_TLS_ALERT_WARNING      1

/* First 8 bytes of the random that makes a ServerHello a HelloRetryRequest, RFC 8446 section 4.1.3. */
#define EA_TLS_RETRY_RANDOM 0xcf21ad74e59a6111ULL

enum ea_answer_state {
	EA_ANSWER_HEADER,     /* type(1) length(3) */
	EA_ANSWER_VERSION,    /* legacy_version(2) */
	EA_ANSWER_RANDOM,     /* its first 8 bytes */
	EA_ANSWER_SESSION,    /* length(1); behind it cipher suite(2) and compression(1) */
	EA_ANSWER_EXTENSIONS, /* length(2) */
	EA_ANSWER_EXTENSION,  /* type(2) length(2) */
	EA_ANSWER_SELECTED,   /* supported_versions: (2) */
	EA_ANSWER_PASS,       /* nothing more of handshake messages is wanted */
};

struct ea_answer {
	struct ea_cursor c; /* the packet at hand */
	__u64 field;        /* the integer being gathered */
	__u64 header;       /* the same for a record header, and */
	__u64 alert;        /* an alert */
	__u32 pos;          /* bytes of handshake messages read or skipped, all together */
	__u32 seek;         /* skip to here before the next field */
	__u32 end;          /* of the message */
	__u32 extensions_end;
	__u32 extension_end;
	__u32 passed;      /* payload bytes so far */
	__u32 next;        /* sequence number of the next byte in order; kept by flow_answer.h */
	__u16 record_left; /* bytes of the current record not read */
	__u16 version;     /* as the server chose it; 0: not known */
	__u16 legacy;      /* legacy_version, what was chosen if no extension says otherwise */
	__u8 type;         /* of the current record */
	__u8 state;        /* enum ea_answer_state */
	__u8 have;         /* bytes of field gathered */
	__u8 header_have;
	__u8 alert_have;
	__u8 retry;   /* it was a HelloRetryRequest: a ServerHello is still to come */
	__u8 begun;   /* a record header was accepted */
	__u8 placed;  /* `next` is known; this and `over` are kept by flow_answer.h, too */
	__u8 over;    /* nothing more is read */
	__u8 verdict; /* of the last step */
	__u8 ready;   /* kept by flow_answer.h: this is in use */
	__u8 pad[5];
	struct ea_window window;
};

static __always_inline int answer_gather(struct ea_answer *a, const struct ea_bytes *b,
					 __u64 *field, __u32 want)
{
	return tls_gather(&a->c, &a->window, b, field, want);
}

static __always_inline int answer_encrypted_next(const struct ea_answer *a, __u32 type)
{
	/* After a HelloRetryRequest it is there for middleboxes only, RFC 8446 appendix D.4. */
	return type == EA_TLS_CHANGE_CIPHER_SPEC && !a->retry;
}

static __always_inline enum ea_verdict answer_header(struct ea_answer *a, const struct ea_bytes *b)
{
	__u32 type, len;
	int n = answer_gather(a, b, &a->header,
			      ea_min(EA_TLS_RECORD_HEADER - a->header_have, a->c.end - a->c.off));

	if (n < 0)
		return EA_MALFORMED;
	a->header_have += n;
	if (a->header_have < EA_TLS_RECORD_HEADER)
		return EA_MORE;
	type = (a->header >> 32) & 0xff;
	len = a->header & 0xffff;
	if (type < EA_TLS_CHANGE_CIPHER_SPEC || type > EA_TLS_HANDSHAKE ||
	    ((a->header >> 24) & 0xff) != 3 || len > EA_TLS_RECORD_MAX)
		return a->begun ? EA_DONE : EA_NOT_MINE;
	a->begun = 1;
	if (answer_encrypted_next(a, type))
		return EA_DONE;
	a->header_have = 0;
	a->header = 0;
	a->type = type;
	a->record_left = len;
	return EA_AGAIN;
}

/* Level and description. A warning may be followed by a ServerHello all the same (RFC 6066 section 3). */
static __always_inline enum ea_verdict answer_alert(struct ea_answer *a, const struct ea_bytes *b,
						    __u32 available)
{
	int n = answer_gather(a, b, &a->alert, ea_min(2 - a->alert_have, available));

	if (n < 0)
		return EA_MALFORMED;
	a->record_left -= n;
	a->alert_have += n;
	if (a->alert_have < 2)
		return EA_AGAIN;
	if ((a->alert >> 8 & 0xff) != EA_TLS_ALERT_WARNING)
		return EA_END;
	a->alert = 0;
	a->alert_have = 0;
	return EA_AGAIN;
}

/* The hello is read. After a HelloRetryRequest the next one is waited for. */
static __always_inline enum ea_verdict answer_hello_over(struct ea_answer *a)
{
	if (!a->version)
		a->version = a->legacy;
	a->state = EA_ANSWER_PASS;
	if (a->retry == 1) {
		a->retry = 2;
		a->seek = a->end;
		a->state = EA_ANSWER_HEADER;
	}
	return EA_AGAIN;
}

static __always_inline enum ea_verdict answer_next_extension(struct ea_answer *a)
{
	a->seek = a->extension_end;
	a->state = EA_ANSWER_EXTENSION;
	return a->extension_end + 4 > a->extensions_end ? answer_hello_over(a) : EA_AGAIN;
}

static __always_inline enum ea_verdict answer_extension(struct ea_answer *a, __u64 v)
{
	a->extension_end = a->pos + (v & 0xffff);
	if (a->extension_end > a->extensions_end)
		return EA_MALFORMED;
	if (v >> 16 != EA_EXT_SUPPORTED_VERSIONS || (v & 0xffff) != 2)
		return answer_next_extension(a);
	a->state = EA_ANSWER_SELECTED;
	return EA_AGAIN;
}

/* Fields up to the extensions. */
static __always_inline enum ea_verdict answer_prefix(struct ea_answer *a, __u64 v)
{
	switch (a->state) {
	case EA_ANSWER_HEADER:
		if (v >> 24 != EA_TLS_SERVER_HELLO)
			return EA_NOT_MINE;
		a->end = a->pos + (v & 0xffffff);
		break;
	case EA_ANSWER_VERSION:
		if (v >> 8 != 3)
			return EA_NOT_MINE;
		a->legacy = v;
		break;
	case EA_ANSWER_RANDOM:
		if (v == EA_TLS_RETRY_RANDOM)
			a->retry = 1;
		a->seek = a->pos + 24;
		break;
	case EA_ANSWER_SESSION:
		a->seek = a->pos + v + 3;
		if (a->seek == a->end || a->seek + 2 > a->end)
			return a->seek == a->end ? answer_hello_over(a) : EA_MALFORMED;
		break;
	case EA_ANSWER_EXTENSIONS:
		a->extensions_end = a->pos + v;
		a->extension_end = a->pos;
		return a->extensions_end > a->end ? EA_MALFORMED : answer_next_extension(a);
	}
	a->state++;
	return a->seek > a->end ? EA_MALFORMED : EA_AGAIN;
}

static __always_inline enum ea_verdict answer_field(struct ea_answer *a)
{
	__u64 v = a->field;

	a->field = 0;
	a->have = 0;
	if (a->state <= EA_ANSWER_EXTENSIONS)
		return answer_prefix(a, v);
	if (a->state == EA_ANSWER_EXTENSION)
		return answer_extension(a, v);
	a->version = v;
	return answer_next_extension(a);
}

static __always_inline __u32 answer_want(const struct ea_answer *a)
{
	switch (a->state) {
	case EA_ANSWER_HEADER:
	case EA_ANSWER_EXTENSION:
		return 4;
	case EA_ANSWER_RANDOM:
		return 8;
	case EA_ANSWER_SESSION:
		return 1;
	}
	return 2;
}

static __always_inline void answer_advance(struct ea_answer *a, __u32 n)
{
	a->pos += n;
	a->record_left -= n;
}

/* Bytes of handshake messages. */
static __always_inline enum ea_verdict answer_message(struct ea_answer *a, const struct ea_bytes *b,
						      __u32 available)
{
	__u32 skip = a->state == EA_ANSWER_PASS ? available
		     : a->pos < a->seek         ? ea_min(a->seek - a->pos, available)
						: 0;
	int got;

	a->c.off += skip;
	answer_advance(a, skip);
	available -= skip;
	if (!available)
		return EA_AGAIN;
	got = answer_gather(a, b, &a->field, ea_min(answer_want(a) - a->have, available));
	if (got < 0)
		return EA_MALFORMED;
	answer_advance(a, got);
	a->have += got;
	return a->have < answer_want(a) ? EA_AGAIN : answer_field(a);
}

static __always_inline enum ea_verdict answer_step(struct ea_answer *a, const struct ea_bytes *b)
{
	__u32 available;

	if (a->c.off >= a->c.end)
		return EA_MORE;
	if (!a->record_left)
		return answer_header(a, b);
	available = ea_min(a->c.end - a->c.off, a->record_left);
	if (a->type == EA_TLS_HANDSHAKE)
		return answer_message(a, b, available);
	if (a->type == EA_TLS_ALERT)
		return answer_alert(a, b, available);
	a->c.off += available;
	a->record_left -= available;
	return EA_AGAIN;
}

struct answer_run {
	const struct ea_bytes *bytes;
	struct ea_answer *answer;
};

static long answer_round(__u32 i, void *ctx)
{
	struct answer_run *r = ctx;

	(void)i;
	r->answer->verdict = answer_step(r->answer, r->bytes);
	return r->answer->verdict != EA_AGAIN;
}

/*
 * Read the bytes at c as the next ones of one side's stream. a is zeroed before the first, for a client with
 * state EA_ANSWER_PASS and what is left of the hello's record. EA_DONE: what follows is encrypted; EA_END: an
 * alert; EA_NOT_MINE: no TLS handshake. a->version may become known before any of these.
 */
static __always_inline enum ea_verdict ea_answer_feed(struct ea_answer *a, const struct ea_bytes *b,
						      struct ea_cursor c)
{
	struct answer_run run = {.bytes = b, .answer = a};

	a->c = c;
	a->window.len = 0;
	a->passed += c.end - c.off;
	a->verdict = EA_AGAIN;
	ea_repeat(EA_ANSWER_ROUNDS, answer_round, &run);
	return a->verdict == EA_MORE && a->passed > EA_ANSWER_MAX ? EA_BUDGET : a->verdict;
}

#endif
