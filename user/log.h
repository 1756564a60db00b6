/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command says on stderr.
 *
 * Owns: levels, the text (logfmt) and JSON line formats, and the one-line error of a command that ends.
 * Must not know: who calls.
 */
#ifndef LOG_H
#define LOG_H

#include "util.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVEL_MAX };
enum log_format { LOG_TEXT, LOG_JSON, LOG_FORMAT_MAX };

void log_setup(enum log_level level, enum log_format format);

/*
 * One line per state change of the daemon: RFC 3339 time with milliseconds, level, message. The message
 * is escaped (control bytes as \xHH) and cut at 1,000 bytes, so no input can forge a line.
 */
void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);

/*
 * "egress-agent: <fmt>" on stderr, one line, control bytes escaped; returns 1 so that a command can
 * `return log_fail("dump: ...; ...")`.
 */
int log_fail(const char *fmt, ...) _printf_(1, 2);

/* The same without failing: "egress-agent: <fmt>" on stderr. For notes about data (generate's left-outs). */
void log_note(const char *fmt, ...) _printf_(1, 2);

#endif
