/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP/1 reader for one direction of a connection: heads are read, bodies are passed over exactly, so that a
 * body that looks like a head is not one.
 *
 * Owns: RFC 9112 (message format: request line, status line, fields, Content-Length, chunked). Pure: no map,
 * no static state; all it remembers is struct ea_http, so the stream may be cut at any byte.
 */
#ifndef BPF_HTTP_H
#define BPF_HTTP_H

#include "egress.h"
#include "packet.h"

#define EA_WINDOW 64
/* A GSO packet of 64 KiB in windows, plus a head of EA_PRELUDE_MAX bytes read byte by byte. */
#define EA_HTTP_ROUNDS    (2 * EA_PRELUDE_MAX)
#define EA_METHOD_LEN_MAX 32

/* "PROXY": not a method but the header line of the PROXY protocol, version 1. What it announces comes behind it. */
#define EA_HTTP_PROXY_WORD 0x50524f5859ULL
/*
 * "OPTIONS", which some send without a target; "SOURCE", Icecast's, whose version is "ICE/1.0"; "CCM_POST", that of
 * Microsoft's Configuration Manager.
 */
#define EA_HTTP_OPTIONS_WORD  0x4f5054494f4e53ULL
#define EA_HTTP_SOURCE_WORD   0x534f55524345ULL
#define EA_HTTP_CCM_POST_WORD 0x43434d5f504f5354ULL

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

/* Field names worth reading, as bits while a name is compared byte by byte. */
enum ea_http_field {
	EA_FIELD_HOST = 1 << 0,
	EA_FIELD_LENGTH = 1 << 1,
	EA_FIELD_CODING = 1 << 2,
};

/*
 * Words that are compared byte by byte. Sizes exceed the next power of two: arrays of exactly 8, 16 or 32 bytes
 * would go to mergeable sections, which libbpf does not load.
 */
static const __u8 http_word_version[9] = "HTTP/1.";
static const __u8 http_word_host[9] = "host:";
static const __u8 http_word_length[17] = "content-length:";
static const __u8 http_word_coding[33] = "transfer-encoding:";
static const __u8 http_word_chunked[9] = "chunked";

struct ea_http {
	__u64 window[EA_WINDOW / 8]; /* bytes of the current packet, from window_off */
	struct ea_cursor c;          /* the packet at hand */
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

/* Have the window hold the byte at h->c.off. Negative on a failed load. Needs h->c.off < h->c.end. */
static __always_inline int http_window(struct ea_http *h, const struct ea_bytes *b)
{
	__u32 n;

	if (h->c.off - h->window_off < h->window_len)
		return 0;
	n = ea_clamp(ea_min(h->c.end - h->c.off, EA_WINDOW), EA_WINDOW);
	if (ea_load(b, h->c.off, h->window, n))
		return -1;
	h->window_off = h->c.off;
	h->window_len = n;
	return 0;
}

/*
 * Place of the first `byte` in the window at or behind `from`, or EA_WINDOW. Eight bytes at a time: the high bit
 * of each byte of `hits` says whether that byte of the word is the one looked for.
 */
static __always_inline __u32 http_find(const struct ea_http *h, __u32 from, __u8 byte)
{
	const __u64 low7 = 0x7f7f7f7f7f7f7f7fULL;
	__u64 pattern = 0x0101010101010101ULL * byte;

	for (__u32 i = 0; i < EA_WINDOW / 8; i++) {
		__u64 word, hits;

		if (i < from / 8)
			continue;
		word = h->window[i] ^ pattern;
		hits = ~(((word & low7) + low7) | word | low7);
		if (i == from / 8)
			hits &= ~0ULL << (from % 8 * 8);
		/* The lowest hit is 1 << 8k+7; the product's top byte is then k. */
		if (hits)
			return i * 8 + (((hits & -hits) >> 7) * 0x0001020304050607ULL >> 56);
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

/* The method of at most 8 characters, packed big endian. RFC 9110 section 9, RFC 5789. */
static __always_inline __u8 http_method(__u64 word)
{
	switch (word) {
	case 0x474554:
		return EA_METHOD_GET;
	case 0x48454144:
		return EA_METHOD_HEAD;
	case 0x504f5354:
		return EA_METHOD_POST;
	case 0x505554:
		return EA_METHOD_PUT;
	case 0x44454c455445:
		return EA_METHOD_DELETE;
	case 0x434f4e4e454354:
		return EA_METHOD_CONNECT;
	case 0x4f5054494f4e53:
		return EA_METHOD_OPTIONS;
	case 0x5452414345:
		return EA_METHOD_TRACE;
	case 0x5041544348:
		return EA_METHOD_PATCH;
	}
	return EA_METHOD_OTHER;
}

/* Only after a method that is known: every text protocol's first line would else be waited on. */
static __always_inline int http_may_lack_version(const struct ea_http *h)
{
	if (h->word == EA_HTTP_SOURCE_WORD)
		return 1;
	if (h->flags & EA_HTTP_FOREIGN)
		return 0;
	return h->method != EA_METHOD_OTHER || h->word == EA_HTTP_CCM_POST_WORD;
}

/*
 * The request line ended without a version. Servers answer such requests with 400, yet they are requests, if what
 * follows are fields with a Host among them. A line of the PROXY protocol is passed over.
 */
static __always_inline enum ea_verdict http_line_without_version(struct ea_http *h)
{
	if (h->word == EA_HTTP_PROXY_WORD) {
		http_reset(h);
		return EA_AGAIN;
	}
	if (!http_may_lack_version(h))
		return EA_NOT_MINE;
	h->flags = (h->flags & EA_HTTP_TUNNEL) | EA_HTTP_LOOSE;
	h->host_len = 0;
	h->state = EA_HTTP_FIELD;
	return EA_AGAIN;
}

static __always_inline enum ea_verdict http_method_byte(struct ea_http *h, __u8 c)
{
	/* RFC 9112 section 2.2: empty lines before a request are ignored. */
	if (!h->pos && (c == '\r' || c == '\n'))
		return EA_AGAIN;
	if (c == ' ' && h->pos) {
		h->method = h->pos <= 8 ? http_method(h->word) : EA_METHOD_OTHER;
		h->state = EA_HTTP_FORM;
		return EA_AGAIN;
	}
	if (h->word == EA_HTTP_OPTIONS_WORD && (c == '\r' || c == '\n')) {
		h->method = EA_METHOD_OPTIONS;
		h->state = EA_HTTP_TARGET;
		return c == '\r' ? EA_AGAIN : http_line_without_version(h);
	}
	if (!http_is_token(c) || ++h->pos > EA_METHOD_LEN_MAX)
		return EA_NOT_MINE;
	h->word = h->word << 8 | c;
	return EA_AGAIN;
}

/* A byte of the host. Returns 0 if it ended the host (the byte is not part of it). */
static __always_inline int http_host_byte(struct ea_http *h, __u8 *host, __u8 c)
{
	if (c <= ' ' || c == '/' || c == '?' || c == '#' || c == ',')
		return 0;
	if (c == ':' && !(h->flags & EA_HTTP_BRACKET))
		return 0;
	if (c == '[' || c == ']') {
		h->flags ^= EA_HTTP_BRACKET;
		return 1;
	}
	if (h->host_len > EA_HOST_MAX) {
		h->flags |= EA_HTTP_TOO_LONG;
		return 1;
	}
	host[h->host_len & (EA_HOST_BUF - 1)] = c;
	h->host_len++;
	return 1;
}

static __always_inline void http_form_byte(struct ea_http *h, __u8 c)
{
	h->pos = 0;
	if (h->method == EA_METHOD_CONNECT)
		h->state = EA_HTTP_AUTHORITY;
	else if (c == '/' || c == '*')
		h->state = EA_HTTP_TARGET;
	else
		h->state = EA_HTTP_SCHEME;
}

static __always_inline void http_scheme_byte(struct ea_http *h, __u8 c)
{
	if (h->pos == 0 && c == ':')
		h->pos = 1;
	else if (h->pos && c == '/') {
		if (++h->pos == 3)
			h->state = EA_HTTP_AUTHORITY;
	} else if (c == ' ') {
		h->pos = 0;
		h->state = EA_HTTP_VERSION;
	} else if (h->pos || !http_is_token(c))
		h->state = EA_HTTP_TARGET;
}

/* The authority of an absolute-form target; what stood before an '@' was userinfo. */
static __always_inline void http_authority_byte(struct ea_http *h, __u8 *host, __u8 c)
{
	if (c == '@') {
		h->host_len = 0;
		h->flags &= ~EA_HTTP_TOO_LONG;
		h->state = EA_HTTP_AUTHORITY;
		return;
	}
	if (h->state == EA_HTTP_AUTHORITY_PORT) {
		if (c != '/' && c != '?' && c > ' ')
			return;
	} else if (http_host_byte(h, host, c)) {
		return;
	} else if (c == ':') {
		h->state = EA_HTTP_AUTHORITY_PORT;
		return;
	}
	if (h->host_len)
		h->flags |= EA_HTTP_HOST_DONE;
	h->pos = 0;
	h->state = c == ' ' ? EA_HTTP_VERSION : EA_HTTP_TARGET;
}

/* "HTTP/1." then a digit. A target may hold spaces that it should not: back to it on a mismatch. */
static __always_inline enum ea_verdict http_version_byte(struct ea_http *h, __u8 c)
{
	if (h->pos < 7 ? c == http_word_version[h->pos & 7] : c >= '0' && c <= '9') {
		if (++h->pos == 8)
			h->state = EA_HTTP_LINE_END;
		return EA_AGAIN;
	}
	if (c == '\n')
		return http_line_without_version(h);
	/* "HTTP/" was there, or nothing at all: still HTTP's. */
	if (c != ' ' && c != '\r' && h->pos < 5)
		h->flags |= EA_HTTP_FOREIGN;
	h->pos = 0;
	if (c != ' ')
		h->state = EA_HTTP_TARGET;
	return EA_AGAIN;
}

/* Rest of the request line: nothing, or the target went on after all. */
static __always_inline void http_line_end_byte(struct ea_http *h, __u8 c)
{
	if (c == '\n') {
		h->state = EA_HTTP_FIELD;
	} else if (c != '\r' && c != ' ') {
		h->pos = 0;
		h->state = EA_HTTP_TARGET;
	}
}

static __always_inline enum ea_verdict http_status_byte(struct ea_http *h, __u8 c)
{
	if (h->state == EA_HTTP_STATUS_VERSION) {
		if (h->pos < 7 && c != http_word_version[h->pos & 7])
			return EA_MALFORMED;
		if (h->pos == 7 && !(c >= '0' && c <= '9'))
			return EA_MALFORMED;
		if (h->pos++ == 8) {
			if (c != ' ')
				return EA_MALFORMED;
			h->pos = 0;
			h->state = EA_HTTP_STATUS_CODE;
		}
		return EA_AGAIN;
	}
	if (c < '0' || c > '9')
		return EA_MALFORMED;
	h->word = h->word * 10 + (c - '0');
	if (++h->pos < 3)
		return EA_AGAIN;
	if (h->word < 100)
		return EA_MALFORMED;
	h->state = EA_HTTP_SKIP_LINE;
	return EA_AGAIN;
}

/* Compare the field's name with the three that matter, all at once. */
static __always_inline enum ea_verdict http_name_byte(struct ea_http *h, __u8 c)
{
	__u8 p = h->pos++, f = h->fields;

	c = http_lower(c);
	if (p > 4 || c != http_word_host[p & 7])
		f &= ~EA_FIELD_HOST;
	if (p > 14 || c != http_word_length[p & 15])
		f &= ~EA_FIELD_LENGTH;
	if (p > 17 || c != http_word_coding[p & 31])
		f &= ~EA_FIELD_CODING;
	h->fields = f;
	if (h->flags & EA_HTTP_LOOSE && c != ':')
		return http_is_token(c) ? EA_AGAIN : EA_NOT_MINE;
	if (f && c != ':')
		return EA_AGAIN;
	h->pos = 0;
	if (c == '\n') {
		h->state = EA_HTTP_FIELD;
		return EA_AGAIN;
	}
	h->state = f & EA_FIELD_HOST     ? EA_HTTP_VALUE_HOST
		   : f & EA_FIELD_LENGTH ? EA_HTTP_VALUE_LENGTH
		   : f & EA_FIELD_CODING ? EA_HTTP_VALUE_CODING
					 : EA_HTTP_SKIP_LINE;
	return EA_AGAIN;
}

static __always_inline void http_host_value_byte(struct ea_http *h, __u8 *host, __u8 c)
{
	if (!h->pos && (c == ' ' || c == '\t'))
		return;
	h->pos = 1;
	if (http_host_byte(h, host, c))
		return;
	if (h->host_len)
		h->flags |= EA_HTTP_HOST_DONE;
	h->state = c == '\n' ? EA_HTTP_FIELD : EA_HTTP_SKIP_LINE;
}

/* Digits, spaces around them allowed. Anything else makes the body's end unknown. */
static __always_inline void http_length_byte(struct ea_http *h, __u8 c)
{
	if (c >= '0' && c <= '9' && h->pos < 2) {
		if (!h->pos)
			h->body = 0;
		if (h->body >> 59)
			h->flags |= EA_HTTP_LENGTH_BAD;
		h->pos = 1;
		h->body = h->body * 10 + (c - '0');
	} else if (c == ' ' || c == '\t' || c == '\r') {
		h->pos += h->pos == 1;
	} else if (c == '\n') {
		h->flags |= h->pos ? EA_HTTP_LENGTH : 0;
		h->state = EA_HTTP_FIELD;
	} else {
		h->flags |= EA_HTTP_LENGTH_BAD;
		h->state = EA_HTTP_SKIP_LINE;
	}
}

/* RFC 9112 section 6.1: chunked counts if it is the last coding. */
static __always_inline void http_coding_byte(struct ea_http *h, __u8 c)
{
	c = http_lower(c);
	if (c == '\n') {
		if (h->pos == 7)
			h->flags |= EA_HTTP_CHUNKED;
		h->state = EA_HTTP_FIELD;
	} else if (c == '\r' || c == ' ' || c == '\t') {
		h->pos = h->pos == 7 ? 7 : 0;
	} else {
		h->pos = h->pos < 7 && c == http_word_chunked[h->pos & 7] ? h->pos + 1 : c == 'c';
	}
}

/* A line that begins with a blank goes on with the value of the one before (RFC 9112 section 5.2). */
static __always_inline void http_fold(struct ea_http *h)
{
	h->state = EA_HTTP_SKIP_LINE;
	if (h->fields & EA_FIELD_HOST && !(h->flags & EA_HTTP_HOST_DONE))
		h->state = EA_HTTP_VALUE_HOST;
	else if (h->fields & EA_FIELD_LENGTH && !(h->flags & EA_HTTP_LENGTH))
		h->state = EA_HTTP_VALUE_LENGTH;
	else if (h->fields & EA_FIELD_CODING) {
		h->state = EA_HTTP_VALUE_CODING;
		h->pos = h->flags & EA_HTTP_CHUNKED ? 7 : 0;
		h->flags &= ~EA_HTTP_CHUNKED;
	}
}

/* First byte of a line of the head: its end, a folded value, or a field. */
static __always_inline enum ea_verdict http_field_byte(struct ea_http *h, __u8 c)
{
	int loose = h->flags & EA_HTTP_LOOSE;

	if (c == '\n')
		return loose && !(h->flags & EA_HTTP_HOST_DONE) ? EA_NOT_MINE : EA_DONE;
	if (c == '\r')
		return EA_AGAIN;
	h->pos = 0;
	if ((c == ' ' || c == '\t') && !loose) {
		http_fold(h);
		return EA_AGAIN;
	}
	h->fields = EA_FIELD_LENGTH | EA_FIELD_CODING;
	if (!(h->flags & (EA_HTTP_RESPONSE | EA_HTTP_HOST_DONE)))
		h->fields |= EA_FIELD_HOST;
	h->state = EA_HTTP_FIELD_NAME;
	return http_name_byte(h, c);
}

static __always_inline int http_hex(__u8 c)
{
	c = http_lower(c);
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Chunk framing, RFC 9112 section 7.1. */
static __always_inline enum ea_verdict http_chunk_byte(struct ea_http *h, __u8 c)
{
	int digit = http_hex(c);

	if (h->state == EA_HTTP_CHUNK_END) {
		if (c != '\r' && c != '\n')
			return EA_MALFORMED;
		if (c == '\n')
			h->state = EA_HTTP_CHUNK_SIZE;
		return EA_AGAIN;
	}
	if (digit >= 0) {
		if (h->body >> 56)
			return EA_MALFORMED;
		h->body = h->body << 4 | (__u64)digit;
		h->pos = 1;
		return EA_AGAIN;
	}
	if (!h->pos)
		return EA_MALFORMED;
	h->pos = 0;
	if (c != '\n')
		h->state = EA_HTTP_CHUNK_SKIP;
	else
		h->state = h->body ? EA_HTTP_CHUNK_DATA : EA_HTTP_TRAILER;
	return EA_AGAIN;
}

static __always_inline enum ea_verdict http_trailer_byte(struct ea_http *h, __u8 c)
{
	if (c == '\n')
		return EA_END;
	if (c != '\r')
		h->state = EA_HTTP_TRAILER_SKIP;
	return EA_AGAIN;
}

/* One byte in a state that wants each. */
static __always_inline enum ea_verdict http_byte(struct ea_http *h, __u8 *host, __u8 c)
{
	switch (h->state) {
	case EA_HTTP_METHOD:
		return http_method_byte(h, c);
	case EA_HTTP_SCHEME:
		if (c == '\n')
			return http_line_without_version(h);
		http_scheme_byte(h, c);
		break;
	case EA_HTTP_AUTHORITY:
	case EA_HTTP_AUTHORITY_PORT:
		if (c == '\n')
			return http_line_without_version(h);
		http_authority_byte(h, host, c);
		break;
	case EA_HTTP_VERSION:
		return http_version_byte(h, c);
	case EA_HTTP_LINE_END:
		http_line_end_byte(h, c);
		break;
	case EA_HTTP_STATUS_VERSION:
	case EA_HTTP_STATUS_CODE:
		return http_status_byte(h, c);
	case EA_HTTP_FIELD:
		return http_field_byte(h, c);
	case EA_HTTP_FIELD_NAME:
		return http_name_byte(h, c);
	case EA_HTTP_VALUE_HOST:
		http_host_value_byte(h, host, c);
		break;
	case EA_HTTP_VALUE_LENGTH:
		http_length_byte(h, c);
		break;
	case EA_HTTP_VALUE_CODING:
		http_coding_byte(h, c);
		break;
	case EA_HTTP_CHUNK_SIZE:
	case EA_HTTP_CHUNK_END:
		return http_chunk_byte(h, c);
	case EA_HTTP_TRAILER:
		return http_trailer_byte(h, c);
	}
	return EA_AGAIN;
}

/* Pass over body bytes. EA_END when the message is over. */
static __always_inline enum ea_verdict http_body(struct ea_http *h)
{
	__u32 n = h->c.end - h->c.off;

	if (h->state == EA_HTTP_UNTIL_CLOSE || h->state == EA_HTTP_DEAD) {
		h->c.off = h->c.end;
		return EA_MORE;
	}
	if (n > h->body)
		n = h->body;
	h->c.off += n;
	h->body -= n;
	if (h->body)
		return EA_MORE;
	if (h->state == EA_HTTP_BODY)
		return EA_END;
	h->state = EA_HTTP_CHUNK_END;
	return EA_AGAIN;
}

/* The target of a request, up to a space. */
static __always_inline enum ea_verdict http_target(struct ea_http *h)
{
	__u32 from = h->c.off - h->window_off;
	__u32 lf = http_find(h, from, '\n');

	if (lf < h->window_len && lf < http_find(h, from, ' ')) {
		h->c.off = h->window_off + lf + 1;
		return http_line_without_version(h);
	}
	if (http_skip_past(h, ' ')) {
		h->pos = 0;
		h->flags &= ~EA_HTTP_FOREIGN;
		h->state = EA_HTTP_VERSION;
	}
	return EA_AGAIN;
}

static __always_inline enum ea_verdict http_skip_line(struct ea_http *h)
{
	if (!http_skip_past(h, '\n'))
		return EA_AGAIN;
	if (h->state == EA_HTTP_SKIP_LINE)
		h->state = EA_HTTP_FIELD;
	else if (h->state == EA_HTTP_TRAILER_SKIP || !h->body)
		h->state = EA_HTTP_TRAILER;
	else
		h->state = EA_HTTP_CHUNK_DATA;
	return EA_AGAIN;
}

static __always_inline enum ea_verdict http_move(struct ea_http *h, const struct ea_bytes *b,
						 __u8 *host)
{
	enum ea_verdict v;
	__u8 byte;

	if (http_window(h, b))
		return EA_MALFORMED;
	switch (h->state) {
	case EA_HTTP_TARGET:
		return http_target(h);
	case EA_HTTP_SKIP_LINE:
	case EA_HTTP_CHUNK_SKIP:
	case EA_HTTP_TRAILER_SKIP:
		return http_skip_line(h);
	}
	byte = ((const __u8 *)h->window)[(h->c.off - h->window_off) & (EA_WINDOW - 1)];
	if (h->state == EA_HTTP_FORM) {
		http_form_byte(h, byte);
		return EA_AGAIN;
	}
	h->c.off++;
	v = http_byte(h, host, byte);
	if (v == EA_NOT_MINE)
		h->c.off--; /* whoever reads on begins with it */
	return v;
}

static __always_inline int http_in_head(const struct ea_http *h)
{
	return h->state < EA_HTTP_BODY;
}

/*
 * One step. EA_DONE: a head is complete; the caller sets what follows it with http_begin_body(). EA_END: the
 * message is over; the caller calls http_reset(). EA_MORE: the packet is used up. host (requests only) has room
 * for EA_HOST_BUF zeroed bytes and then holds h->host_len bytes as they were sent, without port and brackets.
 */
static __always_inline enum ea_verdict http_step(struct ea_http *h, const struct ea_bytes *b,
						 __u8 *host)
{
	__u32 before = h->c.off;
	enum ea_verdict v;

	if (h->c.off >= h->c.end)
		return EA_MORE;
	if (http_in_body(h))
		v = http_body(h);
	else
		v = http_move(h, b, host);
	h->bytes += h->c.off - before;
	if (http_in_head(h))
		h->head += h->c.off - before;
	return v == EA_AGAIN && h->head > EA_PRELUDE_MAX ? EA_BUDGET : v;
}

/* After a head: chunked wins over Content-Length (RFC 9112 section 6.3). EA_END if there is no body. */
static __always_inline enum ea_verdict http_begin_body(struct ea_http *h)
{
	h->pos = 0;
	if (h->method == EA_METHOD_CONNECT)
		h->flags |= EA_HTTP_TUNNEL;
	if (h->flags & EA_HTTP_CHUNKED) {
		h->body = 0;
		h->state = EA_HTTP_CHUNK_SIZE;
		return EA_AGAIN;
	}
	if (h->flags & EA_HTTP_LENGTH_BAD) {
		h->body = ~0ULL;
		h->state = EA_HTTP_UNTIL_CLOSE;
		return EA_AGAIN;
	}
	if (h->flags & EA_HTTP_LENGTH && h->body) {
		h->state = EA_HTTP_BODY;
		return EA_AGAIN;
	}
	return EA_END;
}

#endif
