/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every part of the HTTP/1 reader works on.
 *
 * Owns: struct ea_http, its states and flags, and the window of the packet that bytes are read from. Must not know
 * what the bytes mean: lines are http_line.h's and http_field.h's, bodies http.h's.
 */
#ifndef HTTP_TYPES_H
#define HTTP_TYPES_H

#include "egress.h"
#include "packet.h"

#define EA_WINDOW 64
/* The longest that is read at once: "transfer-encoding:", in words. */
#define EA_WINDOW_AHEAD 24

enum ea_http_state {
	/* request line */
	EA_HTTP_METHOD,
	EA_HTTP_FORM,      /* first byte of the target tells its form */
	EA_HTTP_SCHEME,    /* absolute-form up to "://" */
	EA_HTTP_AUTHORITY, /* absolute-form or CONNECT */
	EA_HTTP_AUTHORITY_PORT,
	EA_HTTP_TARGET,  /* up to a space */
	EA_HTTP_VERSION, /* "HTTP/1.x" */
	EA_HTTP_LINE_END,
	/* status line */
	EA_HTTP_STATUS_VERSION,
	EA_HTTP_STATUS_CODE,
	/* fields */
	EA_HTTP_FIELD, /* start of a line within the head */
	EA_HTTP_FIELD_NAME,
	EA_HTTP_VALUE_HOST,
	EA_HTTP_VALUE_LENGTH,
	EA_HTTP_VALUE_CODING,
	EA_HTTP_SKIP_LINE,
	/* body */
	EA_HTTP_BODY, /* `body` bytes; all states before this one are within a head */
	EA_HTTP_UNTIL_CLOSE,
	EA_HTTP_CHUNK_SIZE,
	EA_HTTP_CHUNK_SKIP, /* chunk extensions up to the end of the line */
	EA_HTTP_CHUNK_DATA, /* `body` bytes */
	EA_HTTP_CHUNK_END,
	EA_HTTP_TRAILER,
	EA_HTTP_TRAILER_SKIP,
	EA_HTTP_DEAD, /* the stream is not understood any more: nothing is read */
};

enum ea_http_flag {
	EA_HTTP_RESPONSE = 1 << 0, /* reads answers, not requests; survives http_reset() */
	EA_HTTP_CHUNKED = 1 << 1,
	EA_HTTP_LENGTH = 1 << 2, /* Content-Length was given */
	EA_HTTP_HOST_DONE =
		1 << 3, /* the host is known: first Host field, or the target's authority */
	EA_HTTP_BRACKET = 1 << 4,  /* within [ ] of an IPv6 literal */
	EA_HTTP_TOO_LONG = 1 << 5, /* the host does not fit */
	EA_HTTP_LOOSE = 1 << 6,    /* no version in the request line: a Host must make up for it */
	EA_HTTP_FOREIGN =
		1 << 7, /* its last word is no HTTP version: RTSP, SIP, ICAP, a mere sentence */
	EA_HTTP_LENGTH_BAD =
		1 << 8,          /* Content-Length is no number: nobody knows where the body ends */
	EA_HTTP_TUNNEL = 1 << 9, /* behind a CONNECT; survives http_reset() */
};

struct ea_http {
	__u64 window[EA_WINDOW / 8 +
		     1];    /* bytes of the packet, from window_off; room as in struct ea_window */
	struct ea_cursor c; /* the packet at hand */
	__u64 body; /* body or chunk bytes still to pass; Content-Length or chunk size while they are read */
	__u64 word;  /* the method's first 8 characters, or the status code */
	__u64 bytes; /* of this message so far, not yet reported */
	__u32 window_off;
	__u32 window_len;
	__u32 head;    /* bytes of this head so far */
	__u32 dest_id; /* whom the bytes of the current message belong to; kept by flow_http.h */
	__u16 host_len;
	__u16 flags;  /* enum ea_http_flag */
	__u8 state;   /* enum ea_http_state */
	__u8 pos;     /* place within a fixed word, or bytes of the method */
	__u8 fields;  /* enum ea_http_field: candidates, then what the last line was */
	__u8 method;  /* enum ea_method, once read */
	__u8 verdict; /* of the last step */
	__u8 pad[7];
};

/* Bytes that need not be looked at. */
static __always_inline int http_in_body(const struct ea_http *h)
{
	return h->state == EA_HTTP_BODY || h->state == EA_HTTP_CHUNK_DATA ||
	       h->state == EA_HTTP_UNTIL_CLOSE || h->state == EA_HTTP_DEAD;
}

static __always_inline int http_in_head(const struct ea_http *h)
{
	return h->state < EA_HTTP_BODY;
}

/* Ready for the next message of this direction. */
static __always_inline void http_reset(struct ea_http *h)
{
	h->flags &= EA_HTTP_RESPONSE | EA_HTTP_TUNNEL;
	h->state = h->flags & EA_HTTP_RESPONSE ? EA_HTTP_STATUS_VERSION : EA_HTTP_METHOD;
	h->body = 0;
	h->word = 0;
	h->head = 0;
	h->host_len = 0;
	h->pos = 0;
	h->fields = 0;
}

/*
 * Have the window hold the byte at h->c.off, and EA_WINDOW_AHEAD of them if the packet has as many. Negative on a
 * failed load. Needs h->c.off < h->c.end.
 */
static __always_inline int http_window(struct ea_http *h, const struct ea_bytes *b)
{
	__u32 at = h->c.off - h->window_off, left = h->c.end - h->c.off, n;

	if (at < h->window_len && h->window_len - at >= ea_min(left, EA_WINDOW_AHEAD))
		return 0;
	n = ea_clamp(ea_min(left, EA_WINDOW), EA_WINDOW);
	if (ea_load(b, h->c.off, h->window, n))
		return -1;
	h->window_off = h->c.off;
	h->window_len = n;
	return 0;
}

/* The high bit of each byte of the word that is the one given, and of no other. */
static __always_inline __u64 word_hits(__u64 word, __u8 byte)
{
	const __u64 low7 = 0x7f7f7f7f7f7f7f7fULL;

	word ^= 0x0101010101010101ULL * byte;
	return ~(((word & low7) + low7) | word | low7);
}

/* The same for bytes that are blanks or controls: up to 0x20. */
static __always_inline __u64 word_blanks(__u64 word)
{
	const __u64 low7 = 0x7f7f7f7f7f7f7f7fULL;

	return ~(((word & low7) + 0x5f5f5f5f5f5f5f5fULL) | word | low7);
}

/* Place of the first byte in memory that was hit, 0 to 7; 8: none. */
static __always_inline __u32 word_first(__u64 hits)
{
	/* The lowest hit is 1 << 8k+7; the product's top byte is then k. */
	return hits ? ((hits & -hits) >> 7) * 0x0001020304050607ULL >> 56 : 8;
}

/* Place of the first `byte` in the window at or behind `from`, or EA_WINDOW. Eight bytes at a time. */
static __always_inline __u32 http_find(const struct ea_http *h, __u32 from, __u8 byte)
{
	for (__u32 i = 0; i < EA_WINDOW / 8; i++) {
		__u64 hits;

		if (i < from / 8)
			continue;
		hits = word_hits(h->window[i], byte);
		if (i == from / 8)
			hits &= ~0ULL << (from % 8 * 8);
		if (hits)
			return i * 8 + word_first(hits);
	}
	return EA_WINDOW;
}

/* Move over the next `byte` if the window holds one (returns 1), else to the window's end. */
static __always_inline int http_skip_past(struct ea_http *h, __u8 byte)
{
	__u32 at = http_find(h, h->c.off - h->window_off, byte);

	if (at >= h->window_len) {
		h->c.off = h->window_off + h->window_len;
		return 0;
	}
	h->c.off = h->window_off + at + 1;
	return 1;
}

static __always_inline __u8 http_lower(__u8 c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* RFC 9110 section 5.6.2 */
static __always_inline int http_is_token(__u8 c)
{
	__u8 low = http_lower(c);

	if ((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9'))
		return 1;
	return c == '!' || (c >= '#' && c <= '\'') || c == '*' || c == '+' || c == '-' ||
	       c == '.' || c == '^' || c == '_' || c == '`' || c == '|' || c == '~';
}

#endif
