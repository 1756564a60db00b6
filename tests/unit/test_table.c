// SPDX-License-Identifier: Apache-2.0
/*
 * table.c: columns, sizes, what fits a terminal, and names that try to write on it.
 *
 * Owns: expected tables. Must not know: terminals.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "made.h"
#include "table.h"
#include "util.h"

static struct destination *add(struct destination_list *list, const char *ns, const char *workload,
			       const char *host, uint16_t port, enum protocol protocol)
{
	struct destination d = made_row(ns, workload, host, port, protocol);

	d.name_source = NAME_SOURCE_SNI;
	assert_int_equal(destination_list_add(list, &d), 0);
	return &list->items[list->n - 1];
}

static char *format(const struct destination_list *list, enum table_form form, unsigned int width,
		    bool utf8)
{
	struct table_options options = {
		.form = form, .width = width, .utf8 = utf8, .coverage = true};
	char *text;
	size_t size;

	assert_int_equal(table_from_list(list, &options, &text, &size), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

static void assert_table(const struct destination_list *list, enum table_form form,
			 unsigned int width, bool utf8, const char *want)
{
	char *text = format(list, form, width, utf8);

	assert_string_equal(text, want);
	free(text);
}

static struct destination_list two_rows(const char *ns)
{
	struct destination_list list = {0};
	struct destination *d = add(&list, ns, "curl", "httpbin.org", 443, PROTOCOL_TLS);
	uint8_t ip[16] = {[10] = 0xff, [11] = 0xff, 54, 204, 94, 184};

	d->opened = 54;
	d->closed = 53;
	d->failed = 1;
	d->sent = 31122;
	d->received = 402133;
	d->tls_versions = 1u << TLS_12 | 1u << TLS_13;
	d->alpn = 1u << ALPN_H2 | 1u << ALPN_HTTP11;
	d->findings = 1u << FINDING_ECH | 1u << FINDING_PREEXISTING;
	d->first_ms = 1767225601000;
	d->last_ms = 1767226199000;
	destination_add_address(d, ip, 1);
	ip[15] = 185;
	destination_add_address(d, ip, 2);
	d = add(&list, ns, "curl", "plain.example", 80, PROTOCOL_HTTP);
	d->opened = 2;
	d->requests = 1234;
	d->tls_origination = true;
	d->interception = INTERCEPTION_SIDECAR;
	add(&list, "", "a.service", MODEL_HOST_OTHER, 0, PROTOCOL_TCP);
	return list;
}

static void test_narrow(void **state)
{
	struct destination_list list = two_rows("shop");

	(void)state;
	assert_table(&list, TABLE_NARROW, 0, false,
		     "NAMESPACE  WORKLOAD   HOST           PORT  PROTO  VIS  CONNS  ACTIVE  SENT  "
		     "RECEIVED  REQUESTS\n"
		     "shop       curl       httpbin.org     443  tls    l4      54       1   30K   "
		     "   392K         -\n"
		     "shop       curl       plain.example    80  http   l7       2       2     0   "
		     "      0      1234\n"
		     "-          a.service  ~other            -  tcp    l4       0       0     0   "
		     "      0         -\n");
	destination_list_done(&list);
}

/* With a registry: its word for each row, and the sum; what is internal is nobody's to name. */
static void test_coverage(void **state)
{
	struct destination_list list = two_rows("");
	struct destination *d;

	(void)state;
	list.items[0].registry = REGISTRY_REGISTERED;
	list.items[1].registry = REGISTRY_ORIGINATED;
	list.items[2].registry = REGISTRY_PASSTHROUGH;
	d = add(&list, "", "curl", "in.example", 80, PROTOCOL_HTTP);
	d->internal = true;
	assert_table(&list, TABLE_NARROW, 200, false,
		     "WORKLOAD   HOST           PORT  PROTO  VIS  CONNS  ACTIVE  SENT  RECEIVED  "
		     "REQUESTS  REGISTRY\n"
		     "curl       httpbin.org     443  tls    l4      54       1   30K      392K    "
		     "     -  registered\n"
		     "curl       plain.example    80  http   l7       2       2     0         0    "
		     "  1234  originated\n"
		     "a.service  ~other            -  tcp    l4       0       0     0         0    "
		     "     -  passthrough\n"
		     "curl       in.example       80  http   l7       0       0     0         0    "
		     "     0  unknown\n"
		     "\ncoverage: 3 external destinations, 2 the mesh can name (66 %), 1 at L7\n");
	destination_list_done(&list);
}

static void test_no_namespace_column(void **state)
{
	struct destination_list list = two_rows("");

	(void)state;
	assert_table(&list, TABLE_NARROW, 200, false,
		     "WORKLOAD   HOST           PORT  PROTO  VIS  CONNS  ACTIVE  SENT  RECEIVED  "
		     "REQUESTS\n"
		     "curl       httpbin.org     443  tls    l4      54       1   30K      392K    "
		     "     -\n"
		     "curl       plain.example    80  http   l7       2       2     0         0    "
		     "  1234\n"
		     "a.service  ~other            -  tcp    l4       0       0     0         0    "
		     "     -\n");
	destination_list_done(&list);
}

static void test_wide(void **state)
{
	struct destination_list list = two_rows("");

	(void)state;
	/* The width is no concern of the wide table. */
	assert_table(&list, TABLE_WIDE, 20, true,
		     "WORKLOAD   HOST           PORT  PROTO  VIS  CONNS  ACTIVE  SENT  RECEIVED  "
		     "REQUESTS  INTERCEPTION"
		     "  REGISTRY  SOURCE  TLS      ALPN         ADDRESSES                    "
		     "FAILED  FIRST-SEEN          "
		     "  LAST-SEEN             FINDINGS         ORIGINATION\n"
		     "curl       httpbin.org     443  tls    l4      54       1   30K      392K    "
		     "     -  none        "
		     "  unknown   sni     1.2,1.3  h2,http/1.1  54.204.94.185,54.204.94.184       "
		     "1  2026-01-01T00:00:01Z"
		     "  2026-01-01T00:09:59Z  ech,preexisting  -\n"
		     "curl       plain.example    80  http   l7       2       2     0         0    "
		     "  1234  sidecar     "
		     "  unknown   sni     -        -            -                                 "
		     "0  -                   "
		     "  -                     -                yes\n"
		     "a.service  ~other            -  tcp    l4       0       0     0         0    "
		     "     -  none        "
		     "  unknown   -       -        -            -                                 "
		     "0  -                   "
		     "  -                     -                -\n");
	destination_list_done(&list);
}

static const char tsv_header[] = "NAMESPACE\tWORKLOAD\tHOST\tPORT\tPROTO\tVIS\tCONNS\tACTIVE\tSENT"
				 "\tRECEIVED\tREQUESTS\tINTERCEPTION\t"
				 "REGISTRY\tSOURCE\tTLS\tALPN\tADDRESSES\tFAILED\tFIRST-SEEN\tLAST-"
				 "SEEN\tFINDINGS\tORIGINATION\n";

static void test_tsv(void **state)
{
	struct destination_list list = two_rows(""), empty = {0};
	char *text = format(&list, TABLE_TSV, 20, true);

	(void)state;
	assert_memory_equal(text, tsv_header, strlen(tsv_header));
	assert_string_equal(
		text + strlen(tsv_header),
		"\tcurl\thttpbin.org\t443\ttls\tl4\t54\t1\t31122\t402133\t\tnone\tunknown\tsni\t"
		"1.2,1.3\th2,http/1.1\t54.204.94.185,54.204.94.184\t1\t2026-01-01T00:00:01Z\t"
		"2026-01-01T00:09:59Z\tech,preexisting\t\n"
		"\tcurl\tplain.example\t80\thttp\tl7\t2\t2\t0\t0\t1234\tsidecar\tunknown\tsni\t"
		"\t\t\t0\t\t\t\tyes\n"
		"\ta.service\t~"
		"other\t\ttcp\tl4\t0\t0\t0\t0\t\tnone\tunknown\t\t\t\t\t0\t\t\t\t\n");
	free(text);
	assert_table(&empty, TABLE_TSV, 0, false, tsv_header);
	destination_list_done(&list);
}

static void assert_size(uint64_t bytes, const char *want)
{
	struct destination_list list = {0};
	char *text, *line, *cell;

	add(&list, "", "w", "h", 1, PROTOCOL_TCP)->sent = bytes;
	text = format(&list, TABLE_NARROW, 0, false);
	line = strchr(text, '\n') + 1;
	/* w h 1 tcp l4 CONNS ACTIVE SENT */
	cell = strtok(line, " ");
	for (int i = 0; i < 7; i++)
		cell = strtok(NULL, " ");
	assert_string_equal(cell, want);
	free(text);
	destination_list_done(&list);
}

static void test_sizes(void **state)
{
	(void)state;
	assert_size(0, "0");
	assert_size(1023, "1023");
	assert_size(1024, "1.0K");
	assert_size(1024 + 205, "1.2K");
	assert_size(10 * 1024 - 1, "9.9K");
	assert_size(10 * 1024, "10K");
	assert_size(1024 * 1024 - 1, "1023K");
	assert_size(1024 * 1024, "1.0M");
	assert_size(UINT64_C(3) << 30, "3.0G");
	assert_size(MODEL_COUNT_MAX, "7.9E");
	assert_size(UINT64_MAX, "15E");
}

/* Columns on the screen: bytes, but three for one ellipsis. */
static size_t line_width(const char *line)
{
	size_t width = 0;

	for (; *line && *line != '\n'; line++)
		width += ((unsigned char)*line & 0xc0) != 0x80;
	return width;
}

static void assert_fits(const struct destination_list *list, unsigned int width, bool utf8)
{
	char *text = format(list, TABLE_NARROW, width, utf8);
	size_t first = line_width(text);

	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		assert_true(line_width(line) <= width);
	assert_true(first > 0);
	free(text);
}

static void test_fits_any_width(void **state)
{
	struct destination_list list = two_rows("a-namespace-with-a-long-name");
	struct destination *d;

	(void)state;
	d = add(&list, "n", "a-workload-with-quite-a-long-name-too-5d8f7c9b6d",
		"a-very-long-label-of-some-bucket.and-another-one.s3.eu-central-1.amazonaws.com",
		65535, PROTOCOL_QUIC);
	d->opened = d->sent = d->received = MODEL_COUNT_MAX;
	for (unsigned int width = 20; width < 300; width++) {
		assert_fits(&list, width, true);
		assert_fits(&list, width, false);
	}
	destination_list_done(&list);
}

/*
 * What matters most stays longest: hosts in full as long as they can, their ends when they are cut.
 */
static void test_cut(void **state)
{
	struct destination_list list = {0};

	(void)state;
	add(&list, "", "curl", "0123456789012345678901234567890123456789.example.com", 443,
	    PROTOCOL_TLS);
	assert_table(
		&list, TABLE_NARROW, 80, true,
		"WORKLOAD HOST                 PORT PROTO VIS CONNS ACTIVE SENT RECEIVED REQUESTS\n"
		"curl     012345678…xample.com  443 tls   l4      0      0    0        0        "
		"-\n");
	assert_table(
		&list, TABLE_NARROW, 80, false,
		"WORKLOAD HOST                 PORT PROTO VIS CONNS ACTIVE SENT RECEIVED REQUESTS\n"
		"curl     01234567...ample.com  443 tls   l4      0      0    0        0        "
		"-\n");
	assert_table(
		&list, TABLE_NARROW, 79, true,
		"WORKLOAD HOST                       PORT PROTO VIS CONNS SENT RECEIVED REQUESTS\n"
		"curl     012345678901…9.example.com  443 tls   l4      0    0        0        "
		"-\n");
	assert_table(&list, TABLE_NARROW, 20, true,
		     "HOST\n"
		     "012345678…xample.com\n");
	destination_list_done(&list);
}

/* No escape sequence, tab or newline of a name gets through, in any form. */
static void test_hostile_names(void **state)
{
	struct destination_list list = {0};
	char all[256];

	(void)state;
	for (unsigned int c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	add(&list, "\x1b]0;owned\a", all, MODEL_HOST_INVALID, 443, PROTOCOL_TLS);
	for (enum table_form form = TABLE_NARROW; form <= TABLE_TSV; form++) {
		char *text = format(&list, form, 0, true);
		size_t lines = 0, tabs = 0;

		for (const char *s = text; *s; s++) {
			lines += *s == '\n';
			tabs += *s == '\t';
			assert_true((*s >= 0x20 && *s < 0x7f) || *s == '\n' || *s == '\t');
		}
		assert_int_equal(lines, 2);
		assert_int_equal(tabs, form == TABLE_TSV ? 2 * 21 : 0);
		assert_non_null(strstr(text, "\\x1b]0;owned\\x07"));
		assert_non_null(strstr(text, "\\xfe\\xff"));
		free(text);
	}
	destination_list_done(&list);
}

static void test_no_memory(void **state)
{
	struct destination_list list = two_rows("shop");
	struct table_options options = {.form = TABLE_WIDE};
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		char *text = NULL;
		size_t size;
		int r;

		alloc_fail_at(n);
		r = table_from_list(&list, &options, &text, &size);
		failed = alloc_failed();
		alloc_fail_at(0);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_true(failed == !text);
		free(text);
	}
	destination_list_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_narrow),   cmocka_unit_test(test_no_namespace_column),
		cmocka_unit_test(test_wide),     cmocka_unit_test(test_tsv),
		cmocka_unit_test(test_sizes),    cmocka_unit_test(test_fits_any_width),
		cmocka_unit_test(test_cut),      cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_coverage), cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
