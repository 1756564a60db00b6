/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first line of an HTTP/1 message, byte by byte.
 *
 * Owns: request line and status line, RFC 9112 sections 3 and 4: method, form and authority of the target, version;
 * which first lines are not HTTP's. A host's bytes too, for Host fields end where authorities do.
 */
#ifndef HTTP_LINE_H
#define HTTP_LINE_H

#include "http_types.h"

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

/*
 * Words are compared byte by byte. Their sizes exceed the next power of two: arrays of exactly 8, 16 or 32 bytes
 * would go to mergeable sections, which libbpf does not load.
 */
static const __u8 http_word_version[9] = "HTTP/1.";

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

/* The target of a request, up to a space. */
static __always_inline enum ea_verdict http_target(struct ea_http *h)
{
	__u32 from = h->c.off - h->window_off;
	__u32 lf = http_find(h, from, '\n'), space = http_find(h, from, ' ');

	if (lf < h->window_len && lf < space) {
		h->c.off = h->window_off + lf + 1;
		return http_line_without_version(h);
	}
	if (space >= h->window_len) {
		h->c.off = h->window_off + h->window_len;
		return EA_AGAIN;
	}
	h->c.off = h->window_off + space + 1;
	h->pos = 0;
	h->flags &= ~EA_HTTP_FOREIGN;
	h->state = EA_HTTP_VERSION;
	return EA_AGAIN;
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

#endif
