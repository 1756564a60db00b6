/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What most HTTP/1 heads consist of, several bytes at once: a round of the reader costs more than the byte it reads.
 *
 * Owns: the short ways. Each leaves the reader as its bytes one by one would have (http_line.h, http_field.h) and
 * returns 1, or leaves it untouched and returns 0 where it is not sure: fewer bytes at hand than it takes to tell, or
 * anything unusual among them. The first byte has been taken from the cursor by then.
 */
#ifndef HTTP_WORD_H
#define HTTP_WORD_H

#include "http_field.h"

/* Eight bytes of text as one number, the first one highest. */
#define EA_WORD(a, b, c, d, e, f, g, h)                                              \
	((__u64)(a) << 56 | (__u64)(b) << 48 | (__u64)(c) << 40 | (__u64)(d) << 32 | \
	 (__u64)(e) << 24 | (__u64)(f) << 16 | (__u64)(g) << 8 | (__u64)(h))

/* Bytes in the window from the one on that was just taken. */
static __always_inline __u32 http_at_hand(const struct ea_http *h)
{
	return h->window_len + 1 - (h->c.off - h->window_off);
}

/* Eight of them from `skip` on, the first one highest. What is beyond those at hand means nothing. */
static __always_inline __u64 http_word(const struct ea_http *h, __u32 skip)
{
	__u32 at = (h->c.off - 1 - h->window_off) & (EA_WINDOW - 1);

	return bpf_be64_to_cpu(ea_peek((const __u8 *)h->window + at + skip));
}

static __always_inline int http_is_digit(__u8 c)
{
	return c >= '0' && c <= '9';
}

/* A method of three or four letters that is known, and the space behind it. */
static __always_inline int http_method_word(struct ea_http *h)
{
	__u64 word = http_word(h, 0);
	__u32 len = (__u8)(word >> 24) == ' ' ? 4 : 3;
	__u8 method = http_method(word >> (64 - 8 * len));

	/* A NUL before three letters is not one of four. */
	if (h->pos || http_at_hand(h) < 5 || !(word >> 56) ||
	    (__u8)(word >> (56 - 8 * len)) != ' ' || method == EA_METHOD_OTHER)
		return 0;
	h->word = word >> (64 - 8 * len);
	h->pos = len;
	h->method = method;
	h->state = EA_HTTP_FORM;
	h->c.off += len;
	return 1;
}

/* "HTTP/1.", a digit, and the line's end. */
static __always_inline int http_version_word(struct ea_http *h)
{
	__u64 word = http_word(h, 0);

	if (h->pos || http_at_hand(h) < 10 ||
	    word >> 8 != EA_WORD(0, 'H', 'T', 'T', 'P', '/', '1', '.') || !http_is_digit(word) ||
	    http_word(h, 8) >> 48 != ('\r' << 8 | '\n'))
		return 0;
	h->pos = 8;
	h->state = EA_HTTP_FIELD;
	h->c.off += 9;
	return 1;
}

/* "HTTP/1.", a digit, a space and three digits. */
static __always_inline int http_status_word(struct ea_http *h)
{
	__u64 word = http_word(h, 0), code = http_word(h, 8);
	__u8 a = code >> 48, b = code >> 40, c = code >> 32;

	if (h->pos || http_at_hand(h) < 12 ||
	    word >> 8 != EA_WORD(0, 'H', 'T', 'T', 'P', '/', '1', '.') || !http_is_digit(word) ||
	    code >> 56 != ' ' || a == '0' || !http_is_digit(a) || !http_is_digit(b) ||
	    !http_is_digit(c))
		return 0;
	h->word = (a - '0') * 100 + (b - '0') * 10 + (c - '0');
	h->pos = 3;
	h->state = EA_HTTP_SKIP_LINE;
	h->c.off += 11;
	return 1;
}

/* Letters become small ones where the mask says that there is a letter: of '\r', that bit would make a '-'. */
#define EA_SMALL(a, b, c, d, e, f, g, h) (EA_WORD(a, b, c, d, e, f, g, h) << 5)

/* A field's name with its colon, or the line of a field that does not matter. */
static __always_inline int http_field_word(struct ea_http *h, __u8 first)
{
	__u64 w0 = http_word(h, 0), w1 = http_word(h, 8), w2 = http_word(h, 16);
	__u64 host = (w0 | EA_SMALL(1, 1, 1, 1, 0, 0, 0, 0)) >> 24 ^
		     EA_WORD(0, 0, 0, 'h', 'o', 's', 't', ':');
	__u64 length = ((w0 | EA_SMALL(1, 1, 1, 1, 1, 1, 1, 0)) ^
			EA_WORD('c', 'o', 'n', 't', 'e', 'n', 't', '-')) |
		       ((w1 | EA_SMALL(1, 1, 1, 1, 1, 1, 0, 0)) >> 8 ^
			EA_WORD(0, 'l', 'e', 'n', 'g', 't', 'h', ':'));
	__u64 coding = ((w0 | EA_SMALL(1, 1, 1, 1, 1, 1, 1, 1)) ^
			EA_WORD('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) |
		       ((w1 | EA_SMALL(0, 1, 1, 1, 1, 1, 1, 1)) ^
			EA_WORD('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n')) |
		       ((w2 | EA_SMALL(1, 0, 0, 0, 0, 0, 0, 0)) >> 48 ^ ('g' << 8 | ':'));

	if (first <= ' ' || h->flags & EA_HTTP_LOOSE || http_at_hand(h) < 18)
		return 0;
	h->pos = 0;
	h->fields = 0;
	if (!host && !(h->flags & (EA_HTTP_RESPONSE | EA_HTTP_HOST_DONE))) {
		h->fields = EA_FIELD_HOST;
		h->state = EA_HTTP_VALUE_HOST;
		h->c.off += 4;
	} else if (!length) {
		h->fields = EA_FIELD_LENGTH;
		h->state = EA_HTTP_VALUE_LENGTH;
		h->c.off += 14;
	} else if (!coding) {
		h->fields = EA_FIELD_CODING;
		h->state = EA_HTTP_VALUE_CODING;
		h->c.off += 17;
	} else {
		h->state = http_skip_past(h, '\n') ? EA_HTTP_FIELD : EA_HTTP_SKIP_LINE;
	}
	return 1;
}

/* Bytes of a Host field's value, up to eight, that cannot be anything but bytes of the host. */
static __always_inline int http_host_word(struct ea_http *h, __u8 *host)
{
	__u64 word = ea_peek((const __u8 *)h->window +
			     ((h->c.off - 1 - h->window_off) & (EA_WINDOW - 1)));
	__u32 n = word_first(word_blanks(word) | word_hits(word, ':') | word_hits(word, '/') |
			     word_hits(word, '?') | word_hits(word, '#') | word_hits(word, ',') |
			     word_hits(word, '[') | word_hits(word, ']'));

	n = ea_min(n, http_at_hand(h));
	if (!n || h->host_len > EA_HOST_MAX - 8)
		return 0;
	word &= ~0ULL >> (64 - 8 * n);
	__builtin_memcpy(host + (h->host_len & (EA_HOST_BUF - 1)), &word, sizeof(word));
	h->pos = 1;
	h->host_len += n;
	h->c.off += n - 1;
	return 1;
}

#endif
