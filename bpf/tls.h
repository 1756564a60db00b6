/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ClientHello reader: a resumable state machine over the TLS record and handshake layers.
 *
 * Owns: RFC 8446 sections 4.1.2, 4.2, 5.1; RFC 6066 section 3 (server_name); RFC 7301 (ALPN). Pure: no map, no
 * static state; all it remembers is struct ea_tls, so the hello may be cut at any byte, into any number of
 * segments and of TLS records.
 *
 * All positions count bytes of the handshake message, its 4-byte header included, record headers not.
 */
#ifndef BPF_TLS_H
#define BPF_TLS_H

#include "egress.h"
#include "packet.h"

/* A hello of EA_PRELUDE_MAX bytes in extensions of 4 bytes each needs a quarter as many rounds. */
#define EA_TLS_ROUNDS EA_PRELUDE_MAX
/* Bytes of a name copied per round; the name's buffer needs this much room behind EA_HOST_BUF. */
#define EA_NAME_CHUNK 32

enum ea_tls_state {
	EA_TLS_HEADER,        /* type(1) length(3) */
	EA_TLS_VERSION,       /* legacy_version(2), then random(32) */
	EA_TLS_SESSION,       /* length(1) */
	EA_TLS_CIPHERS,       /* length(2) */
	EA_TLS_COMPRESSION,   /* length(1) */
	EA_TLS_EXTENSIONS,    /* length(2) */
	EA_TLS_EXTENSION,     /* type(2) length(2) */
	EA_TLS_NAME_LIST,     /* length(2) */
	EA_TLS_NAME_ENTRY,    /* type(1) length(2) */
	EA_TLS_NAME,          /* the name's bytes */
	EA_TLS_VERSIONS,      /* supported_versions: length(1) */
	EA_TLS_VERSIONS_ITEM, /* (2) */
	EA_TLS_ALPN_LIST,     /* length(2) */
	EA_TLS_ALPN_ENTRY,    /* length(1) */
	EA_TLS_ALPN,          /* the protocol's bytes, up to 8 */
};

struct ea_tls {
	struct ea_cursor c; /* the packet at hand */
	__u64 field;        /* the integer being gathered */
	__u64 record;       /* the same for a record header, which may stand within a field */
	__u32 pos;          /* bytes of the message read or skipped */
	__u32 seek;         /* skip to here before the next field */
	__u32 end;          /* of the message */
	__u32 extensions_end;
	__u32 extension_end;
	__u32 facts;       /* enum ea_fact */
	__u32 name_len;    /* bytes announced, then read */
	__u32 name_pos;    /* bytes copied */
	__u16 record_left; /* bytes of the current record not read */
	__u8 state;        /* enum ea_tls_state */
	__u8 have;         /* bytes of field gathered */
	__u8 record_have;  /* bytes of a record header gathered */
	__u8 started;      /* a record header was accepted */
	__u8 named;        /* a server_name was read whole (or is too long to keep: name_len 0) */
	__u8 item_len;     /* bytes of the ALPN protocol */
	__u8 verdict;      /* of the last step */
	__u8 pad[3];
	struct ea_window window;
};

#define EA_TLS_RECORD_HEADER 5
#define EA_TLS_HANDSHAKE     22
#define EA_TLS_CLIENT_HELLO  1
/* RFC 8446 section 5.1 allows 2^14 for plaintext; RFC 5246 adds 2,048 for what old stacks may compress. */
#define EA_TLS_RECORD_MAX (16384 + 2048)

#define EA_EXT_SERVER_NAME        0
#define EA_EXT_ALPN               16
#define EA_EXT_SUPPORTED_VERSIONS 43
#define EA_EXT_ECH                0xfe0d

/* Shift up to `want` bytes, 1 to 8, into *field. Returns the number read; negative on a failed load. */
static __always_inline int tls_gather(struct ea_cursor *c, struct ea_window *w,
				      const struct ea_bytes *b, __u64 *field, __u32 want)
{
	__u32 n = ea_clamp(want, 8);
	__u64 raw;

	if (ea_window_load(w, b, *c, n, &raw))
		return -1;
	*field = ((*field << (4 * n)) << (4 * n)) | raw;
	c->off += n;
	return (int)n;
}

static __always_inline enum ea_verdict tls_record_header(struct ea_tls *t, const struct ea_bytes *b)
{
	__u32 type, version, len;
	int n = tls_gather(&t->c, &t->window, b, &t->record,
			   ea_min(EA_TLS_RECORD_HEADER - t->record_have, t->c.end - t->c.off));

	if (n < 0)
		return EA_MALFORMED;
	t->record_have += n;
	if (t->record_have < EA_TLS_RECORD_HEADER)
		return EA_MORE;
	type = (t->record >> 32) & 0xff;
	version = (t->record >> 24) & 0xff;
	len = t->record & 0xffff;
	t->record_have = 0;
	t->record = 0;
	if (type != EA_TLS_HANDSHAKE || version != 3 || len > EA_TLS_RECORD_MAX)
		return !t->started ? EA_NOT_MINE : t->named ? EA_DONE : EA_MALFORMED;
	t->record_left = len;
	t->started = 1;
	return EA_AGAIN;
}

/* The end, as far as names go: what follows cannot add one. */
static __always_inline enum ea_verdict tls_finish(const struct ea_tls *t)
{
	return t->named ? EA_DONE : EA_NO_NAME;
}

static __always_inline enum ea_verdict tls_broken(const struct ea_tls *t)
{
	return t->named ? EA_DONE : EA_MALFORMED;
}

/* Go on behind the current extension. */
static __always_inline enum ea_verdict tls_next_extension(struct ea_tls *t)
{
	t->seek = t->extension_end;
	t->state = EA_TLS_EXTENSION;
	if (t->extension_end + 4 > t->extensions_end)
		return tls_finish(t);
	return EA_AGAIN;
}

static __always_inline enum ea_verdict tls_extension(struct ea_tls *t, __u32 type, __u32 len)
{
	t->extension_end = t->pos + len;
	if (t->extension_end > t->extensions_end)
		return tls_broken(t);
	if (type == EA_EXT_SERVER_NAME && !t->named && len >= 5)
		t->state = EA_TLS_NAME_LIST;
	else if (type == EA_EXT_SUPPORTED_VERSIONS && len >= 3)
		t->state = EA_TLS_VERSIONS;
	else if (type == EA_EXT_ALPN && len >= 4)
		t->state = EA_TLS_ALPN_LIST;
	else {
		if (type == EA_EXT_ECH)
			t->facts |= EA_FACT_ECH;
		return tls_next_extension(t);
	}
	return EA_AGAIN;
}

/* One entry of the server_name list. Only type 0, host_name, is defined; others are passed over. */
static __always_inline enum ea_verdict tls_name_entry(struct ea_tls *t, __u32 type, __u32 len)
{
	__u32 end = t->pos + len;

	if (end > t->extension_end)
		return tls_broken(t);
	if (type != 0 || len == 0) {
		t->seek = end;
		return end + 3 > t->extension_end ? tls_next_extension(t) : EA_AGAIN;
	}
	/* One more than a name's 253: a trailing dot is dropped later. */
	if (len > EA_HOST_MAX + 1) {
		t->named = 1;
		t->name_len = 0;
		return tls_next_extension(t);
	}
	t->name_len = len;
	t->name_pos = 0;
	t->state = EA_TLS_NAME;
	return EA_AGAIN;
}

static __always_inline __u32 tls_version_fact(__u32 version)
{
	switch (version) {
	case 0x0300:
		return EA_FACT_SSL30;
	case 0x0301:
		return EA_FACT_TLS10;
	case 0x0302:
		return EA_FACT_TLS11;
	case 0x0303:
		return EA_FACT_TLS12;
	case 0x0304:
		return EA_FACT_TLS13;
	}
	return 0; /* GREASE (RFC 8701), drafts */
}

static __always_inline __u32 tls_alpn_fact(__u64 protocol, __u32 len)
{
	if (len == 2 && protocol == 0x6832)
		return EA_FACT_ALPN_H2;
	if (len == 8 && protocol == 0x687474702f312e31ULL)
		return EA_FACT_ALPN_HTTP11;
	if (len == 8 && protocol == 0x687474702f312e30ULL)
		return EA_FACT_ALPN_HTTP10;
	return len == 2 && (protocol & 0x0f0f) == 0x0a0a ? 0 : EA_FACT_ALPN_OTHER; /* GREASE */
}

/* An ALPN entry's length was read, or an entry passed: the next one, or the end of the list. */
static __always_inline enum ea_verdict tls_alpn_next(struct ea_tls *t, __u32 end)
{
	t->seek = end;
	t->state = EA_TLS_ALPN_ENTRY;
	return end >= t->extension_end ? tls_next_extension(t) : EA_AGAIN;
}

static __always_inline enum ea_verdict tls_alpn_entry(struct ea_tls *t, __u32 len)
{
	if (len == 0 || len > 8 || t->pos + len > t->extension_end) {
		t->facts |= len > 8 ? EA_FACT_ALPN_OTHER : 0;
		return tls_alpn_next(t, t->pos + len);
	}
	t->item_len = len;
	t->state = EA_TLS_ALPN;
	return EA_AGAIN;
}

/* Bytes of the field that the current state reads. */
static __always_inline __u32 tls_want(const struct ea_tls *t)
{
	switch (t->state) {
	case EA_TLS_HEADER:
	case EA_TLS_EXTENSION:
		return 4;
	case EA_TLS_NAME_ENTRY:
		return 3;
	case EA_TLS_SESSION:
	case EA_TLS_COMPRESSION:
	case EA_TLS_VERSIONS:
	case EA_TLS_ALPN_ENTRY:
		return 1;
	case EA_TLS_ALPN:
		return t->item_len;
	}
	return 2;
}

/* Fields before the extensions: each is a length to skip over, all within the message. */
static __always_inline enum ea_verdict tls_prefix(struct ea_tls *t, __u64 v)
{
	switch (t->state) {
	case EA_TLS_HEADER:
		if (v >> 24 != EA_TLS_CLIENT_HELLO)
			return EA_NOT_MINE;
		t->end = 4 + (v & 0xffffff);
		if (t->end > EA_PRELUDE_MAX)
			return EA_BUDGET;
		break;
	case EA_TLS_VERSION:
		t->facts |= tls_version_fact(v);
		t->seek = t->pos + 32;
		break;
	case EA_TLS_EXTENSIONS:
		t->extensions_end = t->pos + v;
		t->extension_end = t->pos;
		if (t->extensions_end > t->end)
			return EA_MALFORMED;
		return tls_next_extension(t);
	default:
		t->seek = t->pos + v;
		if (t->state == EA_TLS_COMPRESSION && t->seek + 2 > t->end)
			return t->seek > t->end ? EA_MALFORMED : EA_NO_NAME;
	}
	if (t->seek > t->end)
		return EA_MALFORMED;
	t->state++;
	return EA_AGAIN;
}

/* A field is complete: act on it. */
static __always_inline enum ea_verdict tls_field(struct ea_tls *t)
{
	__u64 v = t->field;

	t->field = 0;
	t->have = 0;
	if (t->state <= EA_TLS_EXTENSIONS)
		return tls_prefix(t, v);
	switch (t->state) {
	case EA_TLS_EXTENSION:
		return tls_extension(t, v >> 16, v & 0xffff);
	case EA_TLS_NAME_ENTRY:
		return tls_name_entry(t, v >> 16, v & 0xffff);
	case EA_TLS_VERSIONS_ITEM:
		t->facts |= tls_version_fact(v);
		return t->pos + 2 > t->extension_end ? tls_next_extension(t) : EA_AGAIN;
	case EA_TLS_ALPN_ENTRY:
		return tls_alpn_entry(t, v);
	case EA_TLS_ALPN:
		t->facts |= tls_alpn_fact(v, t->item_len);
		return tls_alpn_next(t, t->pos);
	case EA_TLS_VERSIONS:
		/* RFC 8446 section 4.2.1: legacy_version says nothing when this is here. */
		t->facts &= ~(EA_FACT_SSL30 | EA_FACT_TLS10 | EA_FACT_TLS11 | EA_FACT_TLS12);
	}
	t->state++; /* a list's length: the extension's own end bounds it */
	return EA_AGAIN;
}

static __always_inline void tls_advance(struct ea_tls *t, __u32 n)
{
	t->pos += n;
	t->record_left -= n;
}

static __always_inline enum ea_verdict tls_copy_name(struct ea_tls *t, const struct ea_bytes *b,
						     __u8 *host, __u32 available)
{
	__u32 n = ea_min(ea_min(t->name_len - t->name_pos, available), EA_NAME_CHUNK);

	n = ea_clamp(n, EA_NAME_CHUNK);
	if (ea_load(b, t->c.off, host + (t->name_pos & (EA_HOST_BUF - 1)), n))
		return EA_MALFORMED;
	t->c.off += n;
	tls_advance(t, n);
	t->name_pos += n;
	if (t->name_pos < t->name_len)
		return EA_AGAIN;
	t->named = 1;
	return tls_next_extension(t);
}

/* One step: a record header, or a skip and a field or a piece of the name. */
static __always_inline enum ea_verdict tls_step(struct ea_tls *t, const struct ea_bytes *b,
						__u8 *host)
{
	__u32 available, n;
	int got;

	if (t->c.off >= t->c.end)
		return EA_MORE;
	if (!t->record_left)
		return tls_record_header(t, b);
	available = ea_min(t->c.end - t->c.off, t->record_left);
	if (t->pos < t->seek) {
		n = ea_min(t->seek - t->pos, available);
		t->c.off += n;
		tls_advance(t, n);
		available -= n;
		if (!available)
			return EA_AGAIN;
	}
	if (t->state == EA_TLS_NAME)
		return tls_copy_name(t, b, host, available);
	got = tls_gather(&t->c, &t->window, b, &t->field, ea_min(tls_want(t) - t->have, available));
	if (got < 0)
		return EA_MALFORMED;
	tls_advance(t, got);
	t->have += got;
	return t->have < tls_want(t) ? EA_AGAIN : tls_field(t);
}

struct tls_run {
	const struct ea_bytes *bytes;
	struct ea_tls *tls;
	__u8 *host;
};

static long tls_round(__u32 i, void *ctx)
{
	struct tls_run *r = ctx;

	(void)i;
	r->tls->verdict = tls_step(r->tls, r->bytes, r->host);
	return r->tls->verdict != EA_AGAIN;
}

/*
 * Read the bytes at c as the next ones of a client's stream. t is zeroed before the first. host has room
 * for EA_HOST_BUF + EA_NAME_CHUNK zeroed bytes; on EA_DONE it holds t->name_len bytes of name as they were
 * sent (0: longer than EA_HOST_MAX). EA_AGAIN: the bound on rounds was reached.
 */
static __always_inline enum ea_verdict ea_tls_feed(struct ea_tls *t, const struct ea_bytes *b,
						   struct ea_cursor c, __u8 *host)
{
	struct tls_run run = {.bytes = b, .tls = t, .host = host};

	t->c = c;
	t->window.len = 0;
	t->verdict = EA_AGAIN;
	ea_repeat(EA_TLS_ROUNDS, tls_round, &run);
	return t->verdict;
}

#endif
