/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * HTTP/1 reader for one direction of a connection: heads are read, bodies are passed over exactly, so that a
 * body that looks like a head is not one.
 *
 * Owns: the order of RFC 9112's parts and the bodies (Content-Length, chunked, trailers). The lines of a head are
 * http_line.h's and http_field.h's. Pure: no map, no static state; all it remembers is struct ea_http, so the stream
 * may be cut at any byte. Users call http_reset(), http_step(), http_begin_body() and http_in_body().
 */
#ifndef BPF_HTTP_H
#define BPF_HTTP_H

#include "http_word.h"

/* A GSO packet of 64 KiB in windows, plus a head of EA_PRELUDE_MAX bytes read byte by byte. */
#define EA_HTTP_ROUNDS (2 * EA_PRELUDE_MAX)

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
		return http_method_word(h) ? EA_AGAIN : http_method_byte(h, c);
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
		return http_version_word(h) ? EA_AGAIN : http_version_byte(h, c);
	case EA_HTTP_LINE_END:
		http_line_end_byte(h, c);
		break;
	case EA_HTTP_STATUS_VERSION:
		return http_status_word(h) ? EA_AGAIN : http_status_byte(h, c);
	case EA_HTTP_STATUS_CODE:
		return http_status_byte(h, c);
	case EA_HTTP_FIELD:
		return http_field_word(h, c) ? EA_AGAIN : http_field_byte(h, c);
	case EA_HTTP_FIELD_NAME:
		return http_name_byte(h, c);
	case EA_HTTP_VALUE_HOST:
		if (!http_host_word(h, host))
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
