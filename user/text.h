/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing text buffer with a limit, and the escapes and times that outputs share.
 *
 * Errors stick: after one, additions do nothing, and text_take() reports it. So a writer of
 * thousands of lines has one place that can fail. Must not know: what is written.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
	char *data; /* not terminated before text_take() */
	size_t size, capacity;
	size_t max; /* bytes; beyond it: -EFBIG */
	int error;  /* 0, -ENOMEM or -EFBIG */
};

#define TEXT_INIT(limit) ((struct text){.max = (limit)})

void text_done(struct text *t);

/*
 * Hand the bytes over, NUL terminated (not counted in *ret_size). The buffer is empty afterwards.
 */
int text_take(struct text *t, char **ret_data, size_t *ret_size);

/* Room for n more bytes, or NULL. The caller fills them. */
char *text_grow(struct text *t, size_t n);

/* Inline, as an exposition of 20,000 destinations makes a million of these calls. */
static inline void text_add(struct text *t, const char *bytes, size_t n)
{
	char *room;

	if (n < t->capacity - t->size && t->error == 0) {
		room = t->data + t->size;
		t->size += n;
	} else {
		room = text_grow(t, n);
	}
	if (room && n)
		memcpy(room, bytes, n);
}

static inline void text_add_char(struct text *t, char c)
{
	text_add(t, &c, 1);
}

void text_add_u64(struct text *t, uint64_t v);

static inline void text_puts(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

/* \xHH, for a byte that must not appear as it is. */
void text_add_hex(struct text *t, unsigned char c);

/*
 * Printable ASCII as it is, every other byte as \xHH: safe on a terminal, one column a byte, one
 * line.
 */
void text_add_printable(struct text *t, const char *s);

/*
 * Bytes of the UTF-8 sequence that s starts with (RFC 3629: no overlong forms, no surrogates, at
 * most U+10FFFF), or 0 if it is none. n: bytes available, at least 1.
 */
size_t text_utf8_len(const char *s, size_t n);

/* RFC 3339, UTC, whole seconds: "2026-01-01T00:00:00Z". */
void text_add_time(struct text *t, uint64_t unix_ms);

/*
 * RFC 3339 to Unix milliseconds; digits beyond the millisecond are cut off. -EINVAL: another form,
 * or a time before 1970.
 */
int text_parse_time(const char *s, uint64_t *ret_unix_ms);

#endif
