// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/log.c: what really arrives on stderr. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

static char seen[65536];
static int saved_stderr = -1, capture = -1;

static void capture_begin(void)
{
	fflush(stderr);
	capture = memfd_create("stderr", MFD_CLOEXEC);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(capture >= 0 && saved_stderr >= 0);
	assert_true(dup2(capture, STDERR_FILENO) >= 0);
}

/* What was written since capture_begin(), as a string. */
static const char *capture_end(void)
{
	ssize_t n;

	fflush(stderr);
	dup2(saved_stderr, STDERR_FILENO);
	n = pread(capture, seen, sizeof(seen) - 1, 0);
	close(saved_stderr);
	close(capture);
	assert_true(n >= 0);
	seen[n] = '\0';
	return seen;
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;
	int r;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	r = regexec(&re, text, 0, NULL, 0);
	regfree(&re);
	if (r != 0)
		fail_msg("'%s' does not match '%s'", text, pattern);
}

static size_t count_char(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

static void fail_is_one_line(void **state)
{
	int r;

	(void)state;
	capture_begin();
	r = log_fail("dump: %s: %s; start it with 'egress-agent run'", "/run/x.sock", "not there");
	assert_string_equal(
		capture_end(),
		"egress-agent: dump: /run/x.sock: not there; start it with 'egress-agent run'\n");
	assert_int_equal(r, 1);
}

static void note_is_like_fail(void **state)
{
	(void)state;
	capture_begin();
	log_note("generate: %d hosts left out", 3);
	assert_string_equal(capture_end(), "egress-agent: generate: 3 hosts left out\n");
}

static void hostile_bytes_are_escaped(void **state)
{
	(void)state;
	capture_begin();
	log_note("%s", "a\nb\r\x1b[31m\x7f\xc2\x9b\\n\"");
	assert_string_equal(capture_end(),
			    "egress-agent: a\\x0ab\\x0d\\x1b[31m\\x7f\\xc2\\x9b\\n\"\n");
}

static void trailing_newline_is_dropped(void **state)
{
	(void)state;
	capture_begin();
	log_note("libbpf says so\n");
	assert_string_equal(capture_end(), "egress-agent: libbpf says so\n");
}

static void long_text_is_cut(void **state)
{
	char text[10001];
	const char *out;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	capture_begin();
	log_fail("%s", text);
	out = capture_end();
	assert_true(strlen(out) > 4000 && strlen(out) < 4100);
	assert_string_equal(out + strlen(out) - 5, "x...\n");

	log_setup(LOG_INFO, LOG_TEXT);
	capture_begin();
	log_line(LOG_INFO, "%s", text);
	out = capture_end();
	assert_true(strlen(out) > 1000 && strlen(out) < 1100);
	assert_string_equal(out + strlen(out) - 6, "x...\"\n");
}

/* The worst case for the buffers: every byte takes as many as an escape can. */
static void all_bytes_escaped_still_fit(void **state)
{
	char text[5001];

	(void)state;
	memset(text, '\x01', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	capture_begin();
	log_fail("%s", text);
	log_setup(LOG_INFO, LOG_JSON);
	log_line(LOG_INFO, "%s", text);
	log_setup(LOG_INFO, LOG_TEXT);
	log_line(LOG_INFO, "%s", text);
	assert_int_equal(count_char(capture_end(), '\n'), 3);
}

static void text_line(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	capture_begin();
	log_line(LOG_INFO, "say \"%s\"", "a\\b\nlevel=error");
	assert_matches(capture_end(),
		       "^time=20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
		       "\\.[0-9]{3}Z level=info msg=\"say "
		       "\\\\\"a\\\\\\\\b\\\\\\\\x0alevel=error\\\\\"\"\n$");
}

static void json_line(void **state)
{
	const char *out;
	cJSON *json;

	(void)state;
	log_setup(LOG_WARN, LOG_JSON);
	capture_begin();
	log_line(LOG_WARN, "a \"quoted\"\tback\\slash\xff");
	out = capture_end();
	json = cJSON_Parse(out);
	assert_non_null(json);
	assert_int_equal(count_char(out, '\n'), 1);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "level")), "warn");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "msg")),
			    "a \"quoted\"\\x09back\\slash\\xff");
	assert_matches(cJSON_GetStringValue(cJSON_GetObjectItem(json, "time")),
		       "^[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z$");
	cJSON_Delete(json);
}

static void levels_filter(void **state)
{
	(void)state;
	for (int max = 0; max < LOG_LEVEL_MAX; max++) {
		log_setup((enum log_level)max, LOG_TEXT);
		capture_begin();
		for (int level = 0; level < LOG_LEVEL_MAX; level++)
			log_line((enum log_level)level, "x");
		assert_int_equal(count_char(capture_end(), '\n'), max + 1);
	}
}

static void errno_survives(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	capture_begin();
	errno = ENOSPC;
	log_line(LOG_INFO, "x");
	log_fail("x");
	log_note("x");
	assert_int_equal(errno, ENOSPC);
	capture_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_is_one_line),
		cmocka_unit_test(note_is_like_fail),
		cmocka_unit_test(hostile_bytes_are_escaped),
		cmocka_unit_test(trailing_newline_is_dropped),
		cmocka_unit_test(long_text_is_cut),
		cmocka_unit_test(all_bytes_escaped_still_fit),
		cmocka_unit_test(text_line),
		cmocka_unit_test(json_line),
		cmocka_unit_test(levels_filter),
		cmocka_unit_test(errno_survives),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
