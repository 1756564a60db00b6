// SPDX-License-Identifier: Apache-2.0
/* accept.c: what clients really send, what RFC 9110 allows them to, and what nobody should. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "accept.h"
#include "util.h"

#define T METRICS_TEXT
#define O METRICS_OPENMETRICS

/* Prometheus 2.42, 3.0 and later, 3.x with protobuf first, as they send them. */
#define PROMETHEUS_2                                                               \
	"application/openmetrics-text;version=1.0.0,application/openmetrics-text;" \
	"version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
#define PROMETHEUS_3                                                                 \
	"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"     \
	"application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;" \
	"escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
#define PROMETHEUS_3_PROTO                                                         \
	"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;" \
	"encoding=delimited;q=0.6," PROMETHEUS_3
#define PROMETHEUS_TEXT                                                                 \
	"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;" \
	"q=0.5,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2"
#define BROWSER "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

static const struct {
	const char *line;
	enum metrics_format want;
} media[] = {
	{"", T},
	{"*/*", T},
	{PROMETHEUS_2, O},
	{PROMETHEUS_3, O},
	{PROMETHEUS_3_PROTO, O},
	{PROMETHEUS_TEXT, T},
	{BROWSER, T},
	/* by name and version */
	{"application/openmetrics-text", O},
	{"application/openmetrics-text; version=1.0.0; charset=utf-8", O},
	{"APPLICATION/OpenMetrics-Text ; Version=\"1.0.0\" ; CharSet=\"UTF-8\"", O},
	{"application/openmetrics-text;version=0.0.1", T},
	{"application/openmetrics-text;version=2.0.0", T},
	{"application/openmetrics-text;charset=latin-1", T},
	{"application/openmetrics-text;flavour=mild", T},
	{"application/openmetrics-text;escaping=underscores", O},
	{"application/openmetrics-textual", T},
	{"text/plain;version=0.0.4", T},
	{"application/json", T},
	/* qualities */
	{"application/openmetrics-text;q=0.5,text/plain;q=0.4", O},
	{"application/openmetrics-text;q=0.4,text/plain;q=0.5", T},
	{"text/plain;q=0.501,application/openmetrics-text;q=0.502", O},
	{"text/plain,application/openmetrics-text;q=0.999", T},
	{"application/openmetrics-text;q=0", T},
	{"application/openmetrics-text;q=0.000, text/plain;q=0", T},
	{"application/openmetrics-text;Q=1.000", O},
	{"application/openmetrics-text;version=1.0.0;q=0,application/openmetrics-text", T},
	/* ties go to who is named */
	{"text/plain,application/openmetrics-text", O},
	{"application/openmetrics-text,text/plain", O},
	{"application/openmetrics-text,*/*", O},
	{"text/*,application/*", T},
	/* the more specific range says */
	{"*/*;q=1,text/plain;q=0", O},
	{"text/plain;q=0", T},
	{"application/*", O},
	{"application/*;q=0.9,text/*;q=0.8", O},
	{"text/*;q=0.3,application/*;q=0.9,application/openmetrics-text;q=0.1", T},
	{"text/plain;q=0.9,text/plain;version=0.0.4;q=0.1,application/openmetrics-text;q=0.5", O},
	{"text/plain;version=1.0.0;q=0.9,application/openmetrics-text;q=0.5", O},
	/* what is malformed is not there; what stands beside it is */
	{"application/openmetrics-text;q=2", T},
	{"application/openmetrics-text;q=1.001", T},
	{"application/openmetrics-text;q=0.1234", T},
	{"application/openmetrics-text;q=-1", T},
	{"application/openmetrics-text;q=", T},
	{"application/openmetrics-text;q", T},
	{"application/openmetrics-text;version", T},
	{"application/openmetrics-text;version=", T},
	{"application/openmetrics-text;version=\"1.0.0", T},
	{"application/openmetrics-text version=1.0.0", T},
	{"application/openmetrics-text;version=1.0.0 q=1", T},
	{"application/openmetrics-text;version=\"\\1.0.0\"", O},
	{"application/openmetrics-text;;q=0.5;", O},
	{",, ,application/openmetrics-text,", O},
	{"x;y=\"a,application/openmetrics-text\"", T},
	{"\"application/openmetrics-text\"", T},
	{"x;y=\",\",application/openmetrics-text", O},
	{";q=1", T},
	{"/;q=1,*;q=1", T},
};

static void test_media(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(media); i++) {
		struct accept_media a = {0};

		accept_media_line(&a, media[i].line);
		if (accept_media_choose(&a) != media[i].want)
			fail_msg("'%s' is %u", media[i].line, accept_media_choose(&a));
	}
}

/* Lines are one list, in whatever order. */
static void test_lines(void **state)
{
	struct accept_media a = {0};

	(void)state;
	accept_media_line(&a, "text/plain;q=0.5");
	accept_media_line(&a, "application/openmetrics-text;q=0.6");
	assert_int_equal(accept_media_choose(&a), O);
	accept_media_line(&a, "text/plain;version=0.0.4;q=0.7");
	assert_int_equal(accept_media_choose(&a), T);
}

static const struct {
	const char *line;
	bool want;
} encodings[] = {
	{"", false},
	{"gzip", true},
	{"GZip", true},
	{"x-gzip", true},
	{"gzip, deflate, br, zstd", true},
	{"deflate, gzip;q=1.0, *;q=0.5", true},
	{"deflate, br", false},
	{"identity", false},
	{"*", true},
	{"*;q=0", false},
	{"gzip;q=0", false},
	{"gzip;q=0, *", false},
	{"gzip;q=0.001", true},
	{"identity;q=0.5, gzip", true},
	{"identity, gzip;q=0.5", false},
	{"identity, gzip", true},
	{"gzip;q=0.5, *", false},
	{"identity;q=0", false},
	{"gzip;q=x", false},
	{"gzip;level=9", false},
	{"gzipped", false},
	{" \t gzip \t ; \t q=0.5", true},
};

static void test_encodings(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(encodings); i++) {
		struct accept_encoding a = {0};

		accept_encoding_line(&a, encodings[i].line);
		if (accept_encoding_gzip(&a) != encodings[i].want)
			fail_msg("'%s'", encodings[i].line);
	}
}

/* Any bytes at all: no byte beyond the line is looked at (the sanitizer says so), and it ends. */
static void test_any_bytes(void **state)
{
	static const char alphabet[] = "*/;,=\"\\ q01.gzipatexon-\t\x80\xff";
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		size_t n = (seed >> 8) % 40;
		char *line = malloc(n + 1);
		struct accept_media m = {0};
		struct accept_encoding e = {0};

		assert_non_null(line);
		for (size_t i = 0; i < n; i++) {
			seed = seed * 1664525 + 1013904223;
			line[i] = alphabet[(seed >> 8) % (sizeof(alphabet) - 1)];
		}
		line[n] = '\0';
		seed = seed * 1664525 + 1013904223;
		accept_media_line(&m, line);
		accept_encoding_line(&e, line);
		for (size_t f = 0; f < METRICS_FORMAT_MAX; f++)
			assert_true(m.formats[f].quality <= 1000);
		assert_true(e.gzip.quality <= 1000);
		free(line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_media),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_encodings),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests_name("accept", tests, NULL, NULL);
}
