// SPDX-License-Identifier: Apache-2.0
/*
 * A growing text buffer with a limit, and the escapes and times that outputs share; see text.h.
 *
 * Owns: the buffer's growth, UTF-8 and RFC 3339. Must not know: what is written.
 */
#include <errno.h>
#include <time.h>

#include "text.h"
#include "util.h"

#define TEXT_CAPACITY_MIN 256

void text_done(struct text *t)
{
	free(t->data);
	*t = (struct text){0};
}

static int text_reserve(struct text *t, size_t n)
{
	size_t capacity = MAX(t->capacity, (size_t)TEXT_CAPACITY_MIN);
	char *data;

	/*
	 * One byte is kept for the NUL of text_take(): size stays below capacity, and that within
	 * max.
	 */
	if (n >= t->max || t->size >= t->max - n)
		return -EFBIG;
	if (t->size + n < t->capacity)
		return 0;
	while (capacity <= t->size + n)
		capacity *= 2;
	capacity = MIN(capacity, t->max);
	data = realloc(t->data, capacity);
	if (!data)
		return -ENOMEM;
	t->data = data;
	t->capacity = capacity;
	return 0;
}

char *text_grow(struct text *t, size_t n)
{
	char *room;

	if (t->error == 0)
		t->error = text_reserve(t, n);
	if (t->error)
		return NULL;
	room = t->data + t->size;
	t->size += n;
	return room;
}

int text_take(struct text *t, char **ret_data, size_t *ret_size)
{
	char *end = text_grow(t, 0);

	if (!end)
		return t->error;
	*end = '\0';
	*ret_size = t->size;
	*ret_data = TAKE_PTR(t->data);
	text_done(t);
	return 0;
}

void text_add_u64(struct text *t, uint64_t v)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	text_add(t, digits + i, sizeof(digits) - i);
}

void text_add_hex(struct text *t, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	const char escape[] = {'\\', 'x', hex[c >> 4], hex[c & 15]};

	text_add(t, escape, sizeof(escape));
}

void text_add_printable(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (*s >= 0x20 && *s < 0x7f)
			text_add_char(t, *s);
		else
			text_add_hex(t, (unsigned char)*s);
	}
}

/*
 * Length by the first byte and the range its second byte must be in: RFC 3629 section 4, as a
 * table.
 */
static size_t utf8_lead(unsigned char c, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	*ret_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef)
		return 3;
	return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

size_t text_utf8_len(const char *s, size_t n)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned char low, high;
	size_t len = utf8_lead(u[0], &low, &high);

	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (u[i] < low || u[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

void text_add_time(struct text *t, uint64_t unix_ms)
{
	/* 9999-12-31T23:59:59Z: RFC 3339 years have four digits. */
	time_t seconds = (time_t)MIN(unix_ms / 1000, UINT64_C(253402300799));
	struct tm tm;
	char buf[32];

	gmtime_r(&seconds, &tm);
	text_add(t, buf, strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%SZ", &tm));
}

/* Exactly n digits and then the byte `end`, if that is not 0. Returns what follows, or NULL. */
static const char *parse_digits(const char *s, size_t n, char end, int *ret)
{
	int v = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return NULL;
		v = v * 10 + (s[i] - '0');
	}
	if (end && s[n] != end)
		return NULL;
	*ret = v;
	return s + n + (end != 0);
}

/* [.fraction](Z|+hh:mm|-hh:mm) and nothing behind it. */
static int parse_time_tail(const char *s, int64_t *ret_ms, int64_t *ret_offset_s)
{
	int64_t weight = 100;
	int hours = 0, minutes = 0;
	bool negative;
	int64_t ms = 0;

	if (*s == '.') {
		if (s[1] < '0' || s[1] > '9')
			return -EINVAL;
		for (s++; *s >= '0' && *s <= '9'; s++, weight /= 10)
			ms += (*s - '0') * weight;
	}
	negative = *s == '-';
	if (*s == '+' || *s == '-') {
		s = parse_digits(s + 1, 2, ':', &hours);
		s = s ? parse_digits(s, 2, 0, &minutes) : NULL;
	} else {
		s = *s == 'Z' || *s == 'z' ? s + 1 : NULL;
	}
	if (!s || *s || hours > 23 || minutes > 59)
		return -EINVAL;
	*ret_ms = ms;
	*ret_offset_s = (negative ? -60 : 60) * (int64_t)(hours * 60 + minutes);
	return 0;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int text_parse_time(const char *s, uint64_t *ret_unix_ms)
{
	int64_t ms, offset, unix_s;
	struct tm tm = {0};
	int year, month;

	s = parse_digits(s, 4, '-', &year);
	s = s ? parse_digits(s, 2, '-', &month) : NULL;
	s = s ? parse_digits(s, 2, 0, &tm.tm_mday) : NULL;
	if (!s || (*s != 'T' && *s != 't'))
		return -EINVAL;
	s = parse_digits(s + 1, 2, ':', &tm.tm_hour);
	s = s ? parse_digits(s, 2, ':', &tm.tm_min) : NULL;
	s = s ? parse_digits(s, 2, 0, &tm.tm_sec) : NULL;
	if (!s || parse_time_tail(s, &ms, &offset) < 0)
		return -EINVAL;
	/* Second 60 is a leap second, RFC 3339 section 5.7. */
	if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > days_in_month(year, month) ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -EINVAL;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	unix_s = (int64_t)timegm(&tm) - offset;
	if (unix_s < 0)
		return -EINVAL;
	*ret_unix_ms = (uint64_t)unix_s * 1000 + (uint64_t)ms;
	return 0;
}
