// SPDX-License-Identifier: Apache-2.0
/*
 * metrics.c: what stands in the exposition, and that Prometheus can read it whatever the names
 * hold.
 *
 * Owns: a reader of the text format as strict as Prometheus'. Must not know: HTTP.
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
#include "metrics.h"
#include "text.h"
#include "util.h"

static struct health_counter counters[] = {
	{"egress_agent_flows", "outcome", "tls", 7},
	{"egress_agent_flows", "outcome", "ht\"tp\\\n", 8},
	{"egress_agent_events", NULL, NULL, 0x1p53},
	{"process_cpu_seconds", NULL, NULL, 0.094257},
};
static struct health_gauge gauges[] = {{"egress_agent_map_entries", "map", "dests", 1.5}};
static const struct health_help help[] = {
	{"egress_agent_flows", "Flows by outcome.\nTwo \\ lines."},
	{"egress_agent_events", "Events."},
	{"process_cpu_seconds", "Time."},
	{"egress_agent_map_entries", "Entries."},
	{NULL, NULL},
};

static const struct agent_health health = {
	.version = "v1.2",
	.start_unix_ms = 1767225600500,
	.counters = counters,
	.n_counters = ARRAY_SIZE(counters),
	.gauges = gauges,
	.n_gauges = ARRAY_SIZE(gauges),
	.help = help,
};
static const struct agent_health nothing = {.version = ""};

static char *copy_text(const char *s)
{
	char *copy = strdup(s);

	assert_non_null(copy);
	return copy;
}

static struct destination *add(struct destination_list *list, const char *host, uint16_t port,
			       enum protocol protocol)
{
	struct destination d = {
		.source = {.ns = copy_text("shop"),
			   .workload = copy_text("cart"),
			   .workload_kind = copy_text("Deployment"),
			   .canonical_service = copy_text("cart"),
			   .canonical_revision = copy_text("latest"),
			   .app = copy_text(""),
			   .version = copy_text("")},
		.host = copy_text(host),
		.port = port,
		.protocol = protocol,
		.name_source = protocol == PROTOCOL_HTTP ? NAME_SOURCE_HTTP : NAME_SOURCE_SNI,
		.visibility = protocol == PROTOCOL_HTTP || protocol == PROTOCOL_HTTP2
				      ? VISIBILITY_L7
				      : VISIBILITY_L4,
	};

	assert_int_equal(destination_list_add(list, &d), 0);
	return &list->items[list->n - 1];
}

static void requests(struct destination *d, uint16_t code, enum ea_method method, uint64_t count)
{
	const struct request_count add = {.code = code, .method = (uint8_t)method, .count = count};

	assert_int_equal(destination_add_requests(d, &add), 0);
}

static char *expose(const struct destination_list *list, const struct agent_health *h)
{
	char *text;
	size_t size;

	assert_int_equal(metrics_from_list(list, h, &text, &size), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

/* A reader that stops at the first thing Prometheus would refuse. */

struct reader {
	const char *p;
	char family[128]; /* of the last TYPE */
	char seen[64][128];
	size_t n_seen;
	const char *samples[4096]; /* first bytes of each, up to the value */
	size_t lengths[4096];
	size_t n_samples;
};

static bool name_byte(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static size_t read_name(struct reader *r)
{
	size_t n = 0;

	while (name_byte(r->p[n], n == 0))
		n++;
	assert_true(n > 0);
	r->p += n;
	return n;
}

static void expect(struct reader *r, const char *s)
{
	if (strncmp(r->p, s, strlen(s)) != 0)
		fail_msg("want '%s' at '%.60s'", s, r->p);
	r->p += strlen(s);
}

/* HELP and TYPE stand together, once per family. */
static void read_head(struct reader *r)
{
	const char *name;
	size_t n;

	expect(r, "# HELP ");
	name = r->p;
	n = read_name(r);
	assert_true(n < sizeof(r->family));
	snprintf(r->family, sizeof(r->family), "%.*s", (int)n, name);
	for (size_t i = 0; i < r->n_seen; i++)
		assert_string_not_equal(r->seen[i], r->family);
	memcpy(r->seen[r->n_seen++], r->family, sizeof(r->family));
	expect(r, " ");
	while (*r->p != '\n') {
		if (*r->p == '\\')
			assert_non_null(strchr("\\n", *++r->p));
		r->p++;
	}
	expect(r, "\n# TYPE ");
	expect(r, r->family);
	r->p += strncmp(r->p, " counter\n", 9) == 0 ? 9 : 0;
	if (r->p[-1] != '\n')
		expect(r, " gauge\n");
}

static void read_value_text(struct reader *r)
{
	while (*r->p != '"') {
		size_t len = text_utf8_len(r->p, strlen(r->p));

		assert_true(len > 0 && *r->p != '\n' && *r->p != '\0');
		if (*r->p == '\\') {
			assert_non_null(strchr("\\n\"", r->p[1]));
			len = 2;
		}
		r->p += len;
	}
}

static void read_sample(struct reader *r)
{
	const char *start = r->p;
	size_t n = read_name(r);
	char *end;

	assert_int_equal(n, strlen(r->family));
	assert_memory_equal(start, r->family, n);
	if (*r->p == '{') {
		do {
			r->p++;
			read_name(r);
			expect(r, "=\"");
			read_value_text(r);
			r->p++;
		} while (*r->p == ',');
		expect(r, "}");
	}
	assert_true(r->n_samples < ARRAY_SIZE(r->samples));
	r->samples[r->n_samples] = start;
	r->lengths[r->n_samples++] = (size_t)(r->p - start);
	expect(r, " ");
	strtod(r->p, &end);
	assert_true(end > r->p);
	r->p = end;
	expect(r, "\n");
}

static void check(const char *text)
{
	struct reader *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->p = text;
	while (*r->p) {
		if (*r->p == '#')
			read_head(r);
		read_sample(r);
	}
	for (size_t i = 0; i < r->n_samples; i++) {
		for (size_t j = 0; j < i; j++)
			assert_false(r->lengths[i] == r->lengths[j] &&
				     memcmp(r->samples[i], r->samples[j], r->lengths[i]) == 0);
	}
	free(r);
}

/* The line "NAME{...service...}" with all of `labels` in it must have this value. */
static void assert_sample(const char *text, const char *name, const char *labels, const char *value)
{
	size_t n = strlen(name);

	for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
		size_t len = strcspn(line, "\n");
		const char *at;

		if (strncmp(line, name, n) != 0 || (line[n] != '{' && line[n] != ' '))
			continue;
		at = memmem(line, len, labels, strlen(labels));
		if (!at)
			continue;
		if (strncmp(line + len - strlen(value) - 1, " ", 1) != 0 ||
		    strncmp(line + len - strlen(value), value, strlen(value)) != 0)
			fail_msg("%.*s is not %s", (int)len, line, value);
		return;
	}
	fail_msg("no %s with %s", name, labels);
}

#define SOURCE                                                                                    \
	"reporter=\"source\",source_workload=\"cart\",source_workload_namespace=\"shop\","        \
	"source_canonical_service=\"cart\",source_canonical_revision=\"latest\",source_app=\"\"," \
	"source_version=\"\","
#define HOST(host, port)                                                    \
	"destination_service=\"" host "\",destination_service_name=\"" host \
	"\",destination_port=\"" port "\",request_protocol="

/* From the third family on; the two before it look the same. */
static const char all_families[] =
	"# HELP egress_tcp_connections_failed_total Connection attempts that were never "
	"established.\n"
	"# TYPE egress_tcp_connections_failed_total counter\n"
	"egress_tcp_connections_failed_total{" SOURCE HOST(
		"a.example",
		"80") "\"tcp\"} 1\n"
		      "# HELP egress_tcp_sent_bytes_total Payload bytes sent by the "
		      "workload, live connections included.\n"
		      "# TYPE egress_tcp_sent_bytes_total counter\n"
		      "egress_tcp_sent_bytes_total{" SOURCE HOST(
			      "a.example",
			      "80") "\"tcp\"} 10\n"
				    "# HELP egress_tcp_received_bytes_total Payload bytes "
				    "received by the workload, live connections "
				    "included.\n"
				    "# TYPE egress_tcp_received_bytes_total counter\n"
				    "egress_tcp_received_bytes_total{" SOURCE HOST(
					    "a.example",
					    "80") "\"tcp\"} 20\n"
						  "# HELP egress_requests_total Plaintext "
						  "HTTP requests by status code of the "
						  "answer; code 0: none "
						  "came.\n"
						  "# TYPE egress_requests_total counter\n"
						  "egress_requests_total{" SOURCE HOST(
							  "a.example",
							  "80") "\"http\",response_code="
								"\"0\",request_method="
								"\"GET\"} 1\n"
								"egress_requests_"
								"total{" SOURCE HOST(
									"a.example",
									"80") "\"http\","
									      "response_"
									      "code="
									      "\"504\","
									      "request_"
									      "method="
									      "\"POST\"} "
									      "5\n"
									      "# HELP "
									      "egress_"
									      "request_"
									      "bytes_total "
									      "Bytes of "
									      "plaintext "
									      "HTTP "
									      "requests, "
									      "heads "
									      "included.\n"
									      "# TYPE "
									      "egress_"
									      "request_"
									      "bytes_total "
									      "counter\n"
									      "egress_"
									      "request_"
									      "bytes_"
									      "total"
									      "{" SOURCE HOST(
										      "a."
										      "exam"
										      "ple",
										      "80") "\"http"
											    "\"} "
											    "7\n"
											    "# "
											    "HELP "
											    "egress"
											    "_respo"
											    "nse_"
											    "bytes_"
											    "total "
											    "Bytes "
											    "of "
											    "answer"
											    "s to "
											    "plaint"
											    "ext "
											    "HTTP "
											    "reques"
											    "ts, "
											    "heads "
											    "includ"
											    "ed.\n"
											    "# "
											    "TYPE "
											    "egress"
											    "_respo"
											    "nse_"
											    "bytes_"
											    "total "
											    "counte"
											    "r\n"
											    "egress"
											    "_respo"
											    "nse_"
											    "bytes_"
											    "total"
											    "{" SOURCE HOST(
												    "a.example",
												    "80") "\"http\"} 8\n"
													  "# HELP egress_destination_info What is known of a destination; always 1.\n"
													  "# TYPE egress_destination_info gauge\n"
													  "egress_destination_info{" SOURCE HOST(
														  "a.example",
														  "80") "\"http\",visibility=\"l7\",registry=\"unknown\",interception=\"sidecar\","
															"name_source=\"http\",tls_version=\"\",alpn=\"\"} 1\n"
															"# HELP egress_agent_build_info The running version; always 1.\n"
															"# TYPE egress_agent_build_info gauge\n"
															"egress_agent_build_info{version=\"\"} 1\n"
															"# HELP egress_agent_start_time_seconds When the agent started, in Unix time.\n"
															"# TYPE egress_agent_start_time_seconds gauge\n"
															"egress_agent_start_time_seconds 0\n";

static void test_all_families(void **state)
{
	struct destination_list list = {0};
	struct destination *d = add(&list, "a.example", 80, PROTOCOL_HTTP);
	char *text;

	(void)state;
	d->opened = 3;
	d->closed = 2;
	d->failed = 1;
	d->sent = 10;
	d->received = 20;
	d->requests = 9;
	d->request_bytes = 7;
	d->response_bytes = 8;
	d->interception = INTERCEPTION_SIDECAR;
	requests(d, 0, EA_METHOD_GET, 1);
	requests(d, 504, EA_METHOD_POST, 5);
	text = expose(&list, &nothing);
	check(text);
	assert_string_equal(strstr(text, "# HELP egress_tcp_connections_failed_total"),
			    all_families);
	free(text);
	destination_list_done(&list);
}

/* The product's point: nothing about requests of a host only seen over TLS. */
static void test_l4_has_no_requests(void **state)
{
	struct destination_list list = {0};
	struct destination *d = add(&list, "tls.example", 443, PROTOCOL_TLS);
	char *text;

	(void)state;
	d->opened = 1;
	d->requests = 5;
	d->request_bytes = 5;
	requests(d, 200, EA_METHOD_GET, 5);
	d->handshakes_failed = 6;
	d->tls_versions = 1u << TLS_13 | 1u << TLS_SSL30 | 1u << TLS_12;
	d->alpn = 1u << ALPN_H2 | 1u << ALPN_HTTP10 | 1u << ALPN_HTTP11;
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text, "egress_requests_total"));
	assert_null(strstr(text, "egress_request_bytes"));
	assert_null(strstr(text, "egress_response_bytes"));
	assert_sample(text, "egress_tcp_connections_opened_total", "tls.example", "1");
	assert_sample(text, "egress_tls_handshakes_failed_total", "tls.example", "6");
	assert_sample(
		text, "egress_destination_info",
		"visibility=\"l4\",registry=\"unknown\",interception=\"none\",name_source=\"sni\","
		"tls_version=\"1.2,1.3,ssl3.0\",alpn=\"h2,http/1.0,http/1.1\"",
		"1");
	free(text);
	destination_list_done(&list);
}

/* Rows whose labels coincide become one line; the L7 ones only count the readable part. */
static void test_sums(void **state)
{
	struct destination_list list = {0};
	struct destination *d;
	char *text;

	(void)state;
	for (unsigned int p = 0; p < PROTOCOL_MAX; p++) {
		d = add(&list, "one.example", 443, (enum protocol)p);
		d->opened = 1u << p;
		d->request_bytes = 1u << p;
		requests(d, 200, EA_METHOD_GET, 1u << p);
		requests(d, (uint16_t)(300 + p), EA_METHOD_PUT, 7);
		d->tls_versions = 1u << (p % TLS_VERSION_MAX);
	}
	/* A workload's kind is no label. */
	d = add(&list, "one.example", 443, PROTOCOL_TLS);
	d->source.workload_kind[0] = 'X';
	d->opened = 100;
	text = expose(&list, &nothing);
	check(text);
	/* All that run over TCP: 1 + 2 + 4 + 16 + 100. */
	assert_sample(text, "egress_tcp_connections_opened_total", "one.example", "123");
	/* HTTP and HTTP2: 2 + 4. */
	assert_sample(text, "egress_request_bytes_total", "one.example", "6");
	assert_sample(text, "egress_requests_total", "response_code=\"200\",request_method=\"GET\"",
		      "6");
	assert_sample(text, "egress_requests_total", "response_code=\"301\"", "7");
	assert_sample(text, "egress_requests_total", "response_code=\"302\"", "7");
	assert_null(strstr(text, "response_code=\"300\""));
	assert_sample(text, "egress_destination_info", "request_protocol=\"tcp\"", "1");
	assert_sample(text, "egress_destination_info", "request_protocol=\"http\"", "1");
	assert_sample(text, "egress_destination_info", "request_protocol=\"quic\"", "1");
	assert_sample(text, "egress_destination_info", "request_protocol=\"udp\"", "1");
	free(text);
	destination_list_done(&list);
}

static void test_internal_is_left_out(void **state)
{
	struct destination_list list = {0};
	char *text;

	(void)state;
	add(&list, "in.example", 80, PROTOCOL_HTTP)->internal = true;
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text, "in.example"));
	assert_null(strstr(text, "egress_tcp"));
	assert_null(strstr(text, "egress_destination_info"));
	free(text);
	destination_list_done(&list);
}

/* Of the two sums a workload may have, what leaves is the one that has series; its name came from nowhere. */
static void test_sums_of_both_scopes(void **state)
{
	struct destination_list list = {0};
	struct destination *d;
	char *text;

	(void)state;
	d = add(&list, MODEL_HOST_OTHER, 0, PROTOCOL_TLS);
	d->opened = 3;
	d = add(&list, MODEL_HOST_OTHER, 0, PROTOCOL_TLS);
	d->internal = true;
	d->opened = 100;
	text = expose(&list, &nothing);
	check(text);
	assert_sample(text, "egress_tcp_connections_opened_total", HOST("~other", "0") "\"tcp\"",
		      "3");
	assert_sample(text, "egress_destination_info", "interception=\"none\",name_source=\"\",",
		      "1");
	free(text);
	list.items[0].internal = true;
	text = expose(&list, &nothing);
	assert_null(strstr(text, "~other"));
	free(text);
	destination_list_done(&list);
}

static void test_health(void **state)
{
	struct destination_list list = {0};
	struct agent_health wrong = health;
	char *text = expose(&list, &health);
	size_t size;

	(void)state;
	check(text);
	assert_string_equal(
		text,
		"# HELP egress_agent_build_info The running version; always 1.\n"
		"# TYPE egress_agent_build_info gauge\n"
		"egress_agent_build_info{version=\"v1.2\"} 1\n"
		"# HELP egress_agent_start_time_seconds When the agent started, in Unix time.\n"
		"# TYPE egress_agent_start_time_seconds gauge\n"
		"egress_agent_start_time_seconds 1767225600.5\n"
		"# HELP egress_agent_flows_total Flows by outcome.\\nTwo \\\\ lines.\n"
		"# TYPE egress_agent_flows_total counter\n"
		"egress_agent_flows_total{outcome=\"tls\"} 7\n"
		"egress_agent_flows_total{outcome=\"ht\\\"tp\\\\\\n\"} 8\n"
		"# HELP egress_agent_events_total Events.\n"
		"# TYPE egress_agent_events_total counter\n"
		"egress_agent_events_total 9007199254740992\n"
		"# HELP process_cpu_seconds_total Time.\n"
		"# TYPE process_cpu_seconds_total counter\n"
		"process_cpu_seconds_total 0.094257\n"
		"# HELP egress_agent_map_entries Entries.\n"
		"# TYPE egress_agent_map_entries gauge\n"
		"egress_agent_map_entries{map=\"dests\"} 1.5\n");
	free(text);
	wrong.help = help + 1;
	assert_int_equal(metrics_from_list(&list, &wrong, &text, &size), -EINVAL);
}

/* Labels with every byte there is. */
static void test_hostile_labels(void **state)
{
	struct destination_list list = {0};
	struct destination *d = add(&list, MODEL_HOST_INVALID, 443, PROTOCOL_TLS);
	char all[256], *text;

	(void)state;
	for (unsigned int c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	free(d->source.workload);
	d->source.workload = copy_text(all);
	free(d->source.ns);
	d->source.ns = copy_text("\"} 1\negress_forged_total 1\n# HELP x \xc3\xa9\xc3");
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text, "\negress_forged_total"));
	assert_non_null(strstr(
		text, "source_workload_namespace=\"\\\"} 1\\negress_forged_total 1\\n# HELP x "
		      "\xc3\xa9\\\\xc3\""));
	free(text);
	destination_list_done(&list);
}

/* Many rows of few names: whatever coincides, the exposition is one Prometheus reads. */
static void test_random_rows(void **state)
{
	static const char *const hosts[] = {"a.example", "b.example", "1.2.3.4", MODEL_HOST_OTHER};
	uint32_t seed = 5;

	(void)state;
	for (int round = 0; round < 30; round++) {
		struct destination_list list = {0};
		uint64_t opened = 0, sum = 0;
		char *text;

		for (int i = 0; i < 40; i++) {
			struct destination *d;

			seed = seed * 1664525 + 1013904223;
			d = add(&list, hosts[seed >> 30], seed >> 29 & 1 ? 80 : 443,
				(enum protocol)((seed >> 16) % PROTOCOL_MAX));
			d->internal = seed >> 15 & 1;
			d->source.version[0] = '\0';
			d->opened = seed >> 8 & 0xff;
			if (!d->internal && d->protocol != PROTOCOL_QUIC &&
			    d->protocol != PROTOCOL_UDP)
				opened += d->opened;
			requests(d, (uint16_t)(200 + (seed >> 12) % 3), EA_METHOD_GET, 1);
		}
		text = expose(&list, &nothing);
		check(text);
		for (const char *line = text; line;
		     line = strstr(line + 1, "\negress_tcp_connections_opened_total{"))
			sum += line == text ? 0 : strtoull(strchr(line, '}') + 2, NULL, 10);
		assert_true(sum == opened);
		free(text);
		destination_list_done(&list);
	}
}

static void test_no_memory(void **state)
{
	struct destination_list list = {0};
	bool failed = true;

	(void)state;
	requests(add(&list, "a.example", 80, PROTOCOL_HTTP), 200, EA_METHOD_GET, 1);
	add(&list, "b.example", 443, PROTOCOL_TLS);
	for (unsigned long n = 1; failed; n++) {
		char *text = NULL;
		size_t size;
		int r;

		alloc_fail_at(n);
		r = metrics_from_list(&list, &health, &text, &size);
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
		cmocka_unit_test(test_all_families),
		cmocka_unit_test(test_l4_has_no_requests),
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_internal_is_left_out),
		cmocka_unit_test(test_sums_of_both_scopes),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_hostile_labels),
		cmocka_unit_test(test_random_rows),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
