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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc.h"
#include "expose.h"
#include "made.h"
#include "metrics.h"
#include "text.h"
#include "util.h"

static struct health_counter counters[] = {
	{"egress_agent_flows", "outcome", "tls", 7, 0},
	{"egress_agent_flows", "outcome", "ht\"tp\\\n", 8, 1767225600001},
	{"egress_agent_events", NULL, NULL, 0x1p53, 0},
	{"process_cpu_seconds", NULL, NULL, 0.094257, 0},
};
static struct health_gauge gauges[] = {{"egress_agent_map_entries", "map", "dests", 1.5}};
static const struct health_help help[] = {
	{"egress_agent_flows", "Flows \"by\" outcome.\nTwo \\ lines."},
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

static struct destination *add(struct destination_list *list, const char *host, uint16_t port,
			       enum protocol protocol)
{
	struct destination d = made_row("shop", "cart", host, port, protocol);

	made_set(&d.source.workload_kind, "Deployment");
	made_set(&d.source.canonical_service, "cart");
	made_set(&d.source.canonical_revision, "latest");
	assert_int_equal(destination_list_add(list, &d), 0);
	return &list->items[list->n - 1];
}

static void requests(struct destination *d, uint16_t code, enum ea_method method, uint64_t count)
{
	const struct request_count add = {.code = code, .method = (uint8_t)method, .count = count};

	assert_int_equal(destination_add_requests(d, &add), 0);
}

static char *expose_as(const struct destination_list *list, const struct agent_health *h,
		       enum metrics_format format)
{
	char *text;
	size_t size;

	assert_int_equal(expose_blocks(list, h, format, 1 << 16, &text, &size), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

static char *expose(const struct destination_list *list, const struct agent_health *h)
{
	return expose_as(list, h, METRICS_TEXT);
}

/* A reader of both formats that stops at the first thing Prometheus would refuse. */

struct sample {
	const char *start; /* the whole line */
	size_t key;        /* its length up to the value */
	size_t name;
	const char *value;
};

struct reader {
	const char *p;
	enum metrics_format format;
	char family[128]; /* of the last TYPE, without _total */
	char type[16];
	char seen[64][128];
	size_t n_seen;
	struct sample samples[8192];
	size_t n;
	size_t family_first; /* sample */
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

static bool next_is(const struct reader *r, const char *s)
{
	return strncmp(r->p, s, strlen(s)) == 0;
}

static bool ends_with(const char *s, const char *end)
{
	return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void read_help(struct reader *r, const char *name)
{
	expect(r, "# HELP ");
	expect(r, name);
	expect(r, " ");
	for (; *r->p != '\n'; r->p++) {
		if (*r->p == '\\')
			assert_non_null(
				strchr(r->format == METRICS_TEXT ? "\\n" : "\\n\"", *++r->p));
		else if (*r->p == '"')
			assert_int_equal(r->format, METRICS_TEXT);
	}
	expect(r, "\n");
}

static void read_type(struct reader *r, const char *name)
{
	size_t n;

	expect(r, "# TYPE ");
	expect(r, name);
	expect(r, " ");
	n = strcspn(r->p, "\n");
	assert_true(n < sizeof(r->type));
	snprintf(r->type, sizeof(r->type), "%.*s", (int)n, r->p);
	r->p += n;
	expect(r, "\n");
}

/* In OpenMetrics a unit is told exactly when the name ends in one. */
static void read_unit(struct reader *r, const char *name)
{
	const char *unit = ends_with(name, "_seconds") ? "seconds"
			   : ends_with(name, "_bytes") ? "bytes"
						       : NULL;

	if (!unit)
		return;
	expect(r, "# UNIT ");
	expect(r, name);
	expect(r, " ");
	expect(r, unit);
	expect(r, "\n");
}

/* All that is said of a family stands together, once. */
static void read_head(struct reader *r)
{
	char name[128];

	assert_true(sscanf(r->p, "# %*s %127s", name) == 1);
	if (r->format == METRICS_TEXT) {
		read_help(r, name);
		read_type(r, name);
		assert_int_equal(strcmp(r->type, "counter") == 0, ends_with(name, "_total"));
		if (ends_with(name, "_total"))
			name[strlen(name) - 6] = '\0';
	} else {
		read_type(r, name);
		read_unit(r, name);
		read_help(r, name);
		assert_false(ends_with(name, "_total"));
	}
	assert_true(strcmp(r->type, "counter") == 0 || strcmp(r->type, "gauge") == 0 ||
		    strcmp(r->type, "histogram") == 0);
	for (size_t i = 0; i < r->n_seen; i++)
		assert_string_not_equal(r->seen[i], name);
	assert_true(r->n_seen < ARRAY_SIZE(r->seen));
	strcpy(r->seen[r->n_seen++], name);
	strcpy(r->family, name);
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

/* What may stand behind a family's name. */
static void check_suffix(const struct reader *r, const struct sample *s)
{
	static const struct {
		const char *type, *suffix;
		bool open_only;
	} suffixes[] = {
		{"counter", "_total", false},
		{"counter", "_created", true},
		{"gauge", "", false},
		{"histogram", "_bucket", false},
		{"histogram", "_sum", false},
		{"histogram", "_count", false},
		{"histogram", "_created", true},
	};
	size_t n = strlen(r->family);

	assert_true(s->name >= n && memcmp(s->start, r->family, n) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (strcmp(suffixes[i].type, r->type) == 0 &&
		    strlen(suffixes[i].suffix) == s->name - n &&
		    memcmp(s->start + n, suffixes[i].suffix, s->name - n) == 0 &&
		    (!suffixes[i].open_only || r->format == METRICS_OPENMETRICS))
			return;
	}
	fail_msg("'%.60s' is no sample of %s %s", s->start, r->type, r->family);
}

static bool sample_is(const struct reader *r, const struct sample *s, const char *suffix)
{
	size_t n = strlen(r->family);

	return s->name == n + strlen(suffix) && memcmp(s->start + n, suffix, strlen(suffix)) == 0;
}

static void read_sample(struct reader *r)
{
	struct sample s = {.start = r->p};
	char *end;

	s.name = read_name(r);
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
	s.key = (size_t)(r->p - s.start);
	expect(r, " ");
	s.value = r->p;
	strtod(r->p, &end);
	assert_true(end > r->p);
	r->p = end;
	expect(r, "\n");
	check_suffix(r, &s);
	assert_true(r->n < ARRAY_SIZE(r->samples));
	r->samples[r->n++] = s;
}

static double le_of(const struct sample *s)
{
	const char *le = memmem(s->start, s->key, ",le=\"", 5);

	assert_non_null(le);
	return strncmp(le + 5, "+Inf", 4) == 0 ? 1e300 : strtod(le + 5, NULL);
}

/* Labels without le; what of a line tells one histogram from another. */
static size_t labels_of(const struct sample *s, char *out, size_t size)
{
	const char *labels = s->start + s->name, *le = memmem(s->start, s->key, ",le=\"", 5);
	size_t n = le ? (size_t)(le - labels) : s->key - s->name - 1;

	assert_true(n < size);
	memcpy(out, labels, n);
	return n;
}

/* Buckets from the smallest to +Inf, none less than the one before it; then sum, count and perhaps created. */
static size_t check_histogram(const struct reader *r, size_t at)
{
	static char want[1 << 16], have[1 << 16];
	size_t n = labels_of(&r->samples[at], want, sizeof(want)), i = at;
	double le = -1, count = 0, sum;

	for (; i < r->n && sample_is(r, &r->samples[i], "_bucket") && le < 1e300; i++) {
		assert_int_equal(labels_of(&r->samples[i], have, sizeof(have)), n);
		assert_memory_equal(want, have, n);
		assert_true(le_of(&r->samples[i]) > le);
		assert_true(strtod(r->samples[i].value, NULL) >= count);
		le = le_of(&r->samples[i]);
		count = strtod(r->samples[i].value, NULL);
	}
	assert_true(le == 1e300 && i + 1 < r->n);
	assert_true(sample_is(r, &r->samples[i], "_sum"));
	sum = strtod(r->samples[i++].value, NULL);
	assert_true(sum >= 0);
	assert_true(sample_is(r, &r->samples[i], "_count"));
	assert_true(strtod(r->samples[i].value, NULL) == count);
	assert_int_equal(labels_of(&r->samples[i++], have, sizeof(have)), n);
	assert_memory_equal(want, have, n);
	if (i < r->n && sample_is(r, &r->samples[i], "_created"))
		i++;
	return i;
}

static void check_family(const struct reader *r)
{
	size_t i = r->family_first;

	if (strcmp(r->type, "histogram") == 0) {
		while (i < r->n)
			i = check_histogram(r, i);
	}
	/* OpenMetrics: a counter's lines of the same labels stand together. */
	for (; i < r->n; i++) {
		if (!sample_is(r, &r->samples[i], "_created"))
			continue;
		assert_true(i > r->family_first && sample_is(r, &r->samples[i - 1], "_total"));
		assert_int_equal(r->samples[i].key - r->samples[i].name,
				 r->samples[i - 1].key - r->samples[i - 1].name);
		assert_memory_equal(r->samples[i].start + r->samples[i].name,
				    r->samples[i - 1].start + r->samples[i - 1].name,
				    r->samples[i].key - r->samples[i].name);
	}
}

static int compare_samples(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	int order = memcmp(x->start, y->start, MIN(x->key, y->key));

	return order ? order : (x->key > y->key) - (x->key < y->key);
}

/* The samples, sorted; the caller's. */
static struct reader *read_all(const char *text, enum metrics_format format)
{
	struct reader *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->p = text;
	r->format = format;
	while (*r->p && !next_is(r, "# EOF")) {
		read_head(r);
		r->family_first = r->n;
		while (*r->p && *r->p != '#')
			read_sample(r);
		assert_true(r->n > r->family_first);
		check_family(r);
	}
	if (format == METRICS_OPENMETRICS)
		expect(r, "# EOF\n");
	assert_true(*r->p == '\0');
	qsort(r->samples, r->n, sizeof(r->samples[0]), compare_samples);
	for (size_t i = 1; i < r->n; i++)
		assert_true(compare_samples(&r->samples[i - 1], &r->samples[i]) != 0);
	return r;
}

static void check(const char *text)
{
	free(read_all(text, METRICS_TEXT));
}

static bool is_created(const struct sample *s)
{
	return s->name > 8 && memcmp(s->start + s->name - 8, "_created", 8) == 0;
}

/* Both formats can be read, and say the same; OpenMetrics also when each counter was 0. */
static void check_both(const struct destination_list *list, const struct agent_health *h)
{
	char *text = expose_as(list, h, METRICS_TEXT),
	     *open = expose_as(list, h, METRICS_OPENMETRICS);
	struct reader *a = read_all(text, METRICS_TEXT), *b = read_all(open, METRICS_OPENMETRICS);
	size_t j = 0;

	for (size_t i = 0; i < b->n; i++) {
		if (is_created(&b->samples[i]))
			continue;
		assert_true(j < a->n);
		assert_int_equal(compare_samples(&a->samples[j], &b->samples[i]), 0);
		assert_int_equal(strcspn(a->samples[j].value, "\n"),
				 strcspn(b->samples[i].value, "\n"));
		assert_memory_equal(a->samples[j].value, b->samples[i].value,
				    strcspn(a->samples[j].value, "\n"));
		j++;
	}
	assert_int_equal(j, a->n);
	assert_int_equal(a->n_seen, b->n_seen);
	free(a);
	free(b);
	free(text);
	free(open);
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

/* clang-format off */
#define A_TCP  "{" SOURCE HOST("a.example", "80") "\"tcp\""
#define A_HTTP "{" SOURCE HOST("a.example", "80") "\"http\""

/* From the third family on; the two before it look the same. */
static const char all_families[] =
	"# HELP egress_tcp_connections_failed_total Connection attempts that were never established.\n"
	"# TYPE egress_tcp_connections_failed_total counter\n"
	"egress_tcp_connections_failed_total" A_TCP "} 1\n"
	"# HELP egress_tcp_sent_bytes_total Payload bytes sent by the workload, live connections included.\n"
	"# TYPE egress_tcp_sent_bytes_total counter\n"
	"egress_tcp_sent_bytes_total" A_TCP "} 10\n"
	"# HELP egress_tcp_received_bytes_total Payload bytes received by the workload, live connections included.\n"
	"# TYPE egress_tcp_received_bytes_total counter\n"
	"egress_tcp_received_bytes_total" A_TCP "} 20\n"
	"# HELP egress_tcp_connect_duration_seconds Time from the SYN until a connection was established.\n"
	"# TYPE egress_tcp_connect_duration_seconds histogram\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.001\"} 0\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.005\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.01\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.025\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.05\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.1\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.25\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"0.5\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"1.0\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"2.5\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"5.0\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"10.0\"} 2\n"
	"egress_tcp_connect_duration_seconds_bucket" A_TCP ",le=\"+Inf\"} 3\n"
	"egress_tcp_connect_duration_seconds_sum" A_TCP "} 12.00400005\n"
	"egress_tcp_connect_duration_seconds_count" A_TCP "} 3\n"
	"# HELP egress_requests_total Plaintext HTTP requests by status code of the answer; code 0: none came.\n"
	"# TYPE egress_requests_total counter\n"
	"egress_requests_total" A_HTTP ",response_code=\"0\",request_method=\"GET\"} 1\n"
	"egress_requests_total" A_HTTP ",response_code=\"504\",request_method=\"POST\"} 5\n"
	"# HELP egress_request_duration_seconds Time from the end of a plaintext HTTP request's head to the end of its answer.\n"
	"# TYPE egress_request_duration_seconds histogram\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.0005\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.001\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.005\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.01\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.025\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.05\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.1\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.25\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"0.5\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"1.0\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"2.5\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"5.0\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"10.0\"} 0\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"30.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"60.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"300.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"600.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"1800.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"3600.0\"} 4\n"
	"egress_request_duration_seconds_bucket" A_HTTP ",response_code=\"504\",le=\"+Inf\"} 4\n"
	"egress_request_duration_seconds_sum" A_HTTP ",response_code=\"504\"} 60\n"
	"egress_request_duration_seconds_count" A_HTTP ",response_code=\"504\"} 4\n"
	"# HELP egress_request_bytes_total Bytes of plaintext HTTP requests, heads included.\n"
	"# TYPE egress_request_bytes_total counter\n"
	"egress_request_bytes_total" A_HTTP "} 7\n"
	"# HELP egress_response_bytes_total Bytes of answers to plaintext HTTP requests, heads included.\n"
	"# TYPE egress_response_bytes_total counter\n"
	"egress_response_bytes_total" A_HTTP "} 8\n"
	"# HELP egress_destination_info What is known of a destination; always 1.\n"
	"# TYPE egress_destination_info gauge\n"
	"egress_destination_info" A_HTTP ",visibility=\"l7\",registry=\"unknown\",interception=\"sidecar\","
		"name_source=\"http\",tls_version=\"\",alpn=\"\"} 1\n"
	"# HELP egress_agent_build_info The running version; always 1.\n"
	"# TYPE egress_agent_build_info gauge\n"
	"egress_agent_build_info{version=\"\"} 1\n"
	"# HELP egress_agent_start_time_seconds When the agent started, in Unix time.\n"
	"# TYPE egress_agent_start_time_seconds gauge\n"
	"egress_agent_start_time_seconds 0\n";

/* Some of the same in the other format. */
static const char *const open_parts[] = {
	"# TYPE egress_tcp_connections_opened counter\n"
	"# HELP egress_tcp_connections_opened Connections established from the workload to the host.\n"
	"egress_tcp_connections_opened_total" A_TCP "} 3\n"
	"egress_tcp_connections_opened_created" A_TCP "} 1767225600.05\n"
	"# TYPE egress_tcp_connections_closed counter\n",
	"# TYPE egress_tcp_sent_bytes counter\n"
	"# UNIT egress_tcp_sent_bytes bytes\n"
	"# HELP egress_tcp_sent_bytes Payload",
	"# TYPE egress_tcp_connect_duration_seconds histogram\n"
	"# UNIT egress_tcp_connect_duration_seconds seconds\n"
	"# HELP egress_tcp_connect_duration_seconds Time",
	"egress_tcp_connect_duration_seconds_count" A_TCP "} 3\n"
	"egress_tcp_connect_duration_seconds_created" A_TCP "} 1767225600.05\n"
	"# TYPE egress_requests counter\n",
	"egress_requests_total" A_HTTP ",response_code=\"0\",request_method=\"GET\"} 1\n"
	"egress_requests_created" A_HTTP ",response_code=\"0\",request_method=\"GET\"} 1767225600.05\n"
	"egress_requests_total" A_HTTP ",response_code=\"504\",request_method=\"POST\"} 5\n",
	"# TYPE egress_destination_info gauge\n"
	"# HELP egress_destination_info What is known of a destination; always 1.\n"
	"egress_destination_info" A_HTTP,
	"# TYPE egress_agent_start_time_seconds gauge\n"
	"# UNIT egress_agent_start_time_seconds seconds\n"
	"# HELP egress_agent_start_time_seconds When the agent started, in Unix time.\n"
	"egress_agent_start_time_seconds 0\n"
	"# EOF\n",
};
/* clang-format on */

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
	d->first_ms = 1767225600050;
	d->connect = (struct ea_short_times){.sum_ns = 12004000050, .n = {[1] = 2, [12] = 1}};
	requests(d, 0, EA_METHOD_GET, 1);
	requests(d, 504, EA_METHOD_POST, 5);
	d->by_code[1].duration = (struct ea_long_times){.sum_ns = 60000000000, .n = {[13] = 4}};
	text = expose(&list, &nothing);
	check(text);
	assert_string_equal(strstr(text, "# HELP egress_tcp_connections_failed_total"),
			    all_families);
	free(text);
	text = expose_as(&list, &nothing, METRICS_OPENMETRICS);
	for (size_t i = 0; i < ARRAY_SIZE(open_parts); i++) {
		if (!strstr(text, open_parts[i]))
			fail_msg("no '%s' in:\n%s", open_parts[i], text);
	}
	free(text);
	check_both(&list, &nothing);
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
	assert_null(strstr(text, "egress_request_duration"));
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
		"# HELP egress_agent_flows_total Flows \"by\" outcome.\\nTwo \\\\ lines.\n"
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
	text = expose_as(&list, &health, METRICS_OPENMETRICS);
	free(read_all(text, METRICS_OPENMETRICS));
	assert_non_null(strstr(
		text, "# TYPE egress_agent_flows counter\n"
		      "# HELP egress_agent_flows Flows \\\"by\\\" outcome.\\nTwo \\\\ lines.\n"
		      "egress_agent_flows_total{outcome=\"tls\"} 7\n"
		      "egress_agent_flows_created{outcome=\"tls\"} 1767225600.5\n"
		      "egress_agent_flows_total{outcome=\"ht\\\"tp\\\\\\n\"} 8\n"
		      "egress_agent_flows_created{outcome=\"ht\\\"tp\\\\\\n\"} 1767225600.001\n"));
	assert_non_null(strstr(text, "# UNIT process_cpu_seconds seconds\n"
				     "# HELP process_cpu_seconds Time.\n"
				     "process_cpu_seconds_total 0.094257\n"
				     "process_cpu_seconds_created 1767225600.5\n"));
	free(text);
	wrong.help = help + 1;
	assert_int_equal(expose_text(&list, &wrong, &text, &size), -EINVAL);
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
	made_set(&d->source.workload, all);
	made_set(&d->source.ns, "\"} 1\negress_forged_total 1\n# HELP x \xc3\xa9\xc3");
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text, "\negress_forged_total"));
	assert_non_null(strstr(
		text, "source_workload_namespace=\"\\\"} 1\\negress_forged_total 1\\n# HELP x "
		      "\xc3\xa9\\\\xc3\""));
	free(text);
	check_both(&list, &health);
	destination_list_done(&list);
}

static const char *const bucket = "egress_tcp_connect_duration_seconds_bucket";

/* There where there can be an observation, and nowhere else; sums over rows, exactly. */
static void test_histograms(void **state)
{
	struct destination_list list = {0};
	struct destination *d;
	char *text;

	(void)state;
	add(&list, "failed.example", 443, PROTOCOL_TCP)->failed = 1000;
	add(&list, "opened.example", 443, PROTOCOL_TLS)->opened = 1;
	d = add(&list, "quic.example", 443, PROTOCOL_QUIC);
	d->opened = 1;
	for (int i = 0; i < 2; i++) {
		d = add(&list, "two.example", 443, i ? PROTOCOL_TLS : PROTOCOL_TCP);
		d->opened = 3;
		d->connect = (struct ea_short_times){.sum_ns = 1000000001, .n = {1, 2, [12] = 4}};
		d->handshake = (struct ea_short_times){.sum_ns = 7, .n = {[11] = 5}};
	}
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text, "seconds_count{" SOURCE HOST("failed.example", "443")));
	assert_null(strstr(text, "seconds_count{" SOURCE HOST("quic.example", "443")));
	assert_sample(text, bucket, HOST("opened.example", "443") "\"tcp\",le=\"+Inf\"", "0");
	assert_sample(text, "egress_tls_handshake_duration_seconds_count", "opened.example", "0");
	assert_sample(text, "egress_tls_handshake_duration_seconds_sum", "opened.example", "0");
	assert_sample(text, bucket, HOST("two.example", "443") "\"tcp\",le=\"0.001\"", "2");
	assert_sample(text, bucket, HOST("two.example", "443") "\"tcp\",le=\"0.005\"", "6");
	assert_sample(text, bucket, HOST("two.example", "443") "\"tcp\",le=\"10.0\"", "6");
	assert_sample(text, bucket, HOST("two.example", "443") "\"tcp\",le=\"+Inf\"", "14");
	assert_sample(text, "egress_tcp_connect_duration_seconds_sum", "two.example",
		      "2.000000002");
	assert_sample(text, "egress_tls_handshake_duration_seconds_sum", "two.example",
		      "0.000000014");
	assert_sample(text, "egress_tls_handshake_duration_seconds_bucket",
		      HOST("two.example", "443") "\"tcp\",le=\"5.0\"", "0");
	assert_sample(text, "egress_tls_handshake_duration_seconds_bucket",
		      HOST("two.example", "443") "\"tcp\",le=\"10.0\"", "10");
	free(text);
	check_both(&list, &nothing);
	destination_list_done(&list);
}

/* A histogram for each code, over methods and rows; none of requests that were never answered. */
static void test_durations(void **state)
{
	struct destination_list list = {0};
	char *text;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct destination *d = add(&list, "a.example", 80,
					    i ? PROTOCOL_HTTP2 : PROTOCOL_HTTP);

		requests(d, 0, EA_METHOD_GET, 9);
		requests(d, 200, EA_METHOD_GET, 3);
		requests(d, 200, EA_METHOD_POST, 3);
		requests(d, (uint16_t)(300 + i), EA_METHOD_GET, 3);
		d->by_code[1].duration = (struct ea_long_times){.sum_ns = 5, .n = {1}};
		d->by_code[2].duration = (struct ea_long_times){.sum_ns = 10, .n = {[19] = 2}};
	}
	text = expose(&list, &nothing);
	check(text);
	assert_null(strstr(text,
			   "egress_request_duration_seconds_count" A_HTTP ",response_code=\"0\"}"));
	assert_sample(text, "egress_request_duration_seconds_count", "response_code=\"200\"", "6");
	assert_sample(text, "egress_request_duration_seconds_sum", "response_code=\"200\"",
		      "0.00000003");
	assert_sample(text, "egress_request_duration_seconds_bucket",
		      "response_code=\"200\",le=\"3600.0\"", "2");
	assert_sample(text, "egress_request_duration_seconds_count", "response_code=\"300\"", "0");
	assert_sample(text, "egress_request_duration_seconds_count", "response_code=\"301\"", "0");
	free(text);
	check_both(&list, &nothing);
	destination_list_done(&list);
}

static uint32_t random_below(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % n;
}

/* A number of any size: a few bits, now and then nearly the largest there is. */
static uint64_t random_number(uint32_t *seed)
{
	if (random_below(seed, 50) == 0)
		return MODEL_COUNT_MAX - random_below(seed, 3);
	return random_below(seed, 3) ? random_below(seed, 1000) : 0;
}

static void random_row(struct destination_list *list, uint32_t *seed)
{
	static const char *const hosts[] = {"a.example",   "b.example",      "1.2.3.4",
					    "2001:db8::1", MODEL_HOST_OTHER, MODEL_HOST_INVALID};
	struct destination *d = add(list, hosts[random_below(seed, ARRAY_SIZE(hosts))],
				    random_below(seed, 2) ? 80 : 443,
				    (enum protocol)random_below(seed, PROTOCOL_MAX));

	d->internal = random_below(seed, 4) == 0;
	d->source.workload[0] = (char)(1 + random_below(seed, 255));
	d->first_ms = random_below(seed, 3) * 1234567;
	d->opened = random_number(seed);
	d->sent = random_number(seed);
	d->connect.sum_ns = random_number(seed);
	d->handshake.sum_ns = random_number(seed);
	for (int i = 0; i < EA_SHORT_BUCKETS; i++) {
		d->connect.n[i] = random_number(seed);
		d->handshake.n[i] = random_number(seed);
	}
	for (uint32_t n = random_below(seed, 6); n; n--) {
		struct request_count q = {
			.code = random_below(seed, 5) ? (uint16_t)(200 + random_below(seed, 3)) : 0,
			.method = (uint8_t)random_below(seed, EA_METHOD_MAX),
			.count = random_number(seed),
			.duration.sum_ns = random_number(seed)};

		q.duration.n[random_below(seed, EA_LONG_BUCKETS)] = random_number(seed);
		assert_int_equal(destination_add_requests(d, &q), 0);
	}
}

/* However it is cut into blocks, the bytes are the same. */
static void assert_blocks_agree(const struct destination_list *list, enum metrics_format format)
{
	static const size_t blocks[] = {1, 2, 7, 100, 4095, 4096, 1 << 16};
	char *whole = expose_as(list, &health, format), *text;
	size_t size;

	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		assert_int_equal(expose_blocks(list, &health, format, blocks[i], &text, &size), 0);
		assert_string_equal(text, whole);
		free(text);
	}
	free(whole);
}

static void test_random_lists(void **state)
{
	uint32_t seed = 11;

	(void)state;
	for (int round = 0; round < 40; round++) {
		struct destination_list list = {0};

		for (uint32_t n = random_below(&seed, 60); n; n--)
			random_row(&list, &seed);
		check_both(&list, &health);
		if (round % 10 == 0) {
			assert_blocks_agree(&list, METRICS_TEXT);
			assert_blocks_agree(&list, METRICS_OPENMETRICS);
		}
		destination_list_done(&list);
	}
}

/* A server may answer with any code: still no block is large, and no time is lost over them. */
static void test_many_codes(void **state)
{
	struct destination_list list = {0};
	struct destination *d = add(&list, "a.example", 80, PROTOCOL_HTTP);
	struct metrics *m;
	static char buf[1 << 20];
	size_t n = 1, largest = 0, lines = 0;

	(void)state;
	d->first_ms = 1;
	d->by_code = calloc(900 * (EA_METHOD_MAX - 1), sizeof(*d->by_code));
	assert_non_null(d->by_code);
	for (uint16_t code = 100; code < 1000; code++)
		for (unsigned int method = 1; method < EA_METHOD_MAX; method++)
			d->by_code[d->n_by_code++] = (struct request_count){
				.code = code, .method = (uint8_t)method, .count = 1};
	assert_int_equal(metrics_new(&list, &nothing, METRICS_OPENMETRICS, &m), 0);
	while (n) {
		assert_int_equal(metrics_read(m, buf, sizeof(buf), &n), 0);
		largest = MAX(largest, n);
		for (size_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	}
	metrics_free(m);
	assert_true(largest < 64 << 10);
	/* Each code's histogram and each method's counter, with their beginnings. */
	assert_true(lines > 900 * (EA_LONG_BUCKETS + 3) + 2 * 900 * (EA_METHOD_MAX - 1));
	destination_list_done(&list);
}

static void promtool(const struct destination_list *list)
{
	char *text = expose(list, &health), said[1024] = "";
	char path[] = "/tmp/test_metrics.XXXXXX", command[128];
	int fd = mkstemp(path), status;
	FILE *out;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	snprintf(command, sizeof(command), "promtool check metrics <%s 2>&1", path);
	out = popen(command, "r");
	assert_non_null(out);
	said[fread(said, 1, sizeof(said) - 1, out)] = '\0';
	status = pclose(out);
	unlink(path);
	free(text);
	assert_string_equal(said, "");
	assert_int_equal(status, 0);
}

/* Prometheus' own linter has nothing to say, of nothing and of everything. */
static void test_promtool(void **state)
{
	struct destination_list list = {0};
	uint32_t seed = 3;

	(void)state;
	if (system("command -v promtool >/dev/null") != 0) {
		print_message("SKIP promtool check metrics: promtool is not installed\n");
		skip();
	}
	promtool(&list);
	for (int i = 0; i < 100; i++)
		random_row(&list, &seed);
	promtool(&list);
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

	(void)state;
	requests(add(&list, "a.example", 80, PROTOCOL_HTTP), 200, EA_METHOD_GET, 1);
	add(&list, "b.example", 443, PROTOCOL_TLS)->opened = 1;
	for (unsigned int format = 0; format < METRICS_FORMAT_MAX; format++) {
		bool failed = true;

		for (unsigned long n = 1; failed; n++) {
			char *text = NULL;
			size_t size;
			int r;

			alloc_fail_at(n);
			r = expose_blocks(&list, &health, (enum metrics_format)format, 100, &text,
					  &size);
			failed = alloc_failed();
			alloc_fail_at(0);
			assert_int_equal(r, failed ? -ENOMEM : 0);
			assert_true(failed == !text);
			free(text);
		}
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
		cmocka_unit_test(test_histograms),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_random_lists),
		cmocka_unit_test(test_many_codes),
		cmocka_unit_test(test_promtool),
		cmocka_unit_test(test_random_rows),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
