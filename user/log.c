// SPDX-License-Identifier: Apache-2.0
/*
 * What a command says on stderr; see log.h.
 *
 * Owns: escaping and the two line formats. Every line leaves in one write, so that lines of several
 * processes on one terminal or pipe do not mix. Must not know: who calls.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Bytes of a message before escaping; what is longer ends in "...". */
#define LOG_LINE_TEXT_MAX 1000
#define LOG_FAIL_TEXT_MAX 4000 /* a path may be PATH_MAX long, and the advice after it matters */

/* An escaped byte takes at most 5 (\\x0a in JSON); 200 are for time, level, quotes and the like. */
#define LOG_OUT_MAX(text_max) (200 + 5 * (text_max))

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};
_Static_assert(ARRAY_SIZE(level_names) == LOG_LEVEL_MAX, "a word for every level");

static enum log_level log_max = LOG_INFO;
static enum log_format log_how = LOG_TEXT;

void log_setup(enum log_level level, enum log_format format)
{
	log_max = level;
	log_how = format;
}

/* Cut at the end of buf, marked; a trailing newline (libbpf's messages have one) is no part of the message. */
static size_t log_print(char *buf, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(buf, size, fmt, ap);
	size_t len = n < 0 ? 0 : MIN((size_t)n, size - 1);

	if (n >= 0 && (size_t)n >= size)
		memcpy(buf + size - 4, "...", 4);
	while (len > 0 && buf[len - 1] == '\n')
		len--;
	return len;
}

/*
 * Printable ASCII as it is, every other byte as \xHH: bytes above 0x7f may be C1 controls on a terminal and
 * broken UTF-8 in JSON. quoted: the text stands between double quotes, where a backslash needs another.
 */
static size_t log_escape(char *out, const char *text, size_t len, bool quoted)
{
	static const char hex[] = "0123456789abcdef";
	char *o = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c > 0x7e) {
			if (quoted)
				*o++ = '\\';
			*o++ = '\\';
			*o++ = 'x';
			*o++ = hex[c >> 4];
			*o++ = hex[c & 15];
			continue;
		}
		if (quoted && (c == '"' || c == '\\'))
			*o++ = '\\';
		*o++ = (char)c;
	}
	return (size_t)(o - out);
}

/* "2026-01-02T03:04:05.678Z"; returns its length. */
static size_t log_time(char *out, size_t size)
{
	struct timespec now = {0};
	struct tm tm = {0};
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, size - n, ".%03ldZ", now.tv_nsec / 1000000);
}

static void log_write(const char *line, size_t len)
{
	/* Nothing can be done about a stderr that cannot be written. */
	(void)!fwrite(line, 1, len, stderr);
	fflush(stderr);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[LOG_LINE_TEXT_MAX + 1], out[LOG_OUT_MAX(LOG_LINE_TEXT_MAX)], when[40];
	bool json = log_how == LOG_JSON;
	int saved_errno = errno;
	size_t len, n;
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, fmt);
	len = log_print(text, sizeof(text), fmt, ap);
	va_end(ap);

	log_time(when, sizeof(when));
	n = (size_t)snprintf(out, sizeof(out),
			     json ? "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\""
				  : "time=%s level=%s msg=\"",
			     when, level_names[level]);
	n += log_escape(out + n, text, len, true);
	n += (size_t)snprintf(out + n, sizeof(out) - n, json ? "\"}\n" : "\"\n");
	log_write(out, n);
	errno = saved_errno;
}

static void log_plain(const char *fmt, va_list ap) _printf_(1, 0);
static void log_plain(const char *fmt, va_list ap)
{
	static const char prefix[] = "egress-agent: ";
	char text[LOG_FAIL_TEXT_MAX + 1], out[LOG_OUT_MAX(LOG_FAIL_TEXT_MAX)];
	int saved_errno = errno;
	size_t len, n = sizeof(prefix) - 1;

	len = log_print(text, sizeof(text), fmt, ap);
	memcpy(out, prefix, n);
	n += log_escape(out + n, text, len, false);
	out[n++] = '\n';
	log_write(out, n);
	errno = saved_errno;
}

int log_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_plain(fmt, ap);
	va_end(ap);
	return 1;
}

void log_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_plain(fmt, ap);
	va_end(ap);
}
