/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fields of an HTTP/1 head, byte by byte.
 *
 * Owns: RFC 9112 section 5 for the three that matter: Host, Content-Length, Transfer-Encoding; folded lines, and
 * where the head ends. What becomes of a length or coding is http.h's.
 */
#ifndef HTTP_FIELD_H
#define HTTP_FIELD_H

#include "http_line.h"

/* Field names worth reading, as bits while a name is compared byte by byte. */
enum ea_http_field {
	EA_FIELD_HOST = 1 << 0,
	EA_FIELD_LENGTH = 1 << 1,
	EA_FIELD_CODING = 1 << 2,
};

/* For the sizes see http_line.h. */
static const __u8 http_word_host[9] = "host:";
static const __u8 http_word_length[17] = "content-length:";
static const __u8 http_word_coding[33] = "transfer-encoding:";
static const __u8 http_word_chunked[9] = "chunked";

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

#endif
