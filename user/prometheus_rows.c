// SPDX-License-Identifier: Apache-2.0
/*
 * Rows from series; see prometheus_work.h. metrics.c is where they come from.
 *
 * Owns: what a label or a family means for a destination. Must not know: how series are got. Labels are as hostile as
 * packets: whoever can write to a Prometheus can write any.
 *
 * Where a workload speaks both plaintext HTTP and something else to one host and port, metrics have one number for the
 * connections of both: it goes to the row that is not HTTP, so that sums stay right.
 */
#include <errno.h>
#include <string.h>

#include "json.h"
#include "name.h"
#include "prometheus_work.h"
#include "util.h"

#define HOST_MAX 253

void prometheus_rows_done(struct prometheus_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		destination_done(&rows->items[i].d);
	free(rows->items);
	*rows = (struct prometheus_rows){0};
}

/* ---- labels ---- */

static const char *const kind_words[] = {
	[PROMETHEUS_TCP] = "tcp",
	[PROMETHEUS_HTTP] = "http",
	[PROMETHEUS_QUIC] = "quic",
	[PROMETHEUS_UDP] = "udp",
};
_Static_assert(ARRAY_SIZE(kind_words) == PROMETHEUS_KIND_MAX, "a word for every kind");

/* What rows are found by, with strings that belong to the series. */
struct probe {
	struct prometheus_row row;
	char host[HOST_MAX + 1];
};

static bool read_kind(const struct prometheus_series *s, enum prometheus_kind *ret)
{
	const char *word = prometheus_label(s, "request_protocol");

	for (unsigned int i = 0; i < PROMETHEUS_KIND_MAX; i++) {
		if (strcmp(kind_words[i], word) == 0) {
			*ret = (enum prometheus_kind)i;
			return true;
		}
	}
	return false;
}

static bool read_number(const char *text, unsigned long max, unsigned long *ret)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 5 || text[n])
		return false;
	*ret = strtoul(text, NULL, 10);
	return *ret <= max;
}

/* A name in lower case, an address in its one form, or a word for a sum; what is none of them is ~invalid. */
static void read_host(const char *text, char *ret, size_t size)
{
	size_t n = strlen(text);
	uint8_t ip[16];

	if (address_parse(text, ip) == 0) {
		address_format(ip, ret, size);
		return;
	}
	if (n > HOST_MAX ||
	    (strcmp(text, MODEL_HOST_OTHER) != 0 && name_classify(text, n) != NAME_HOST))
		text = MODEL_HOST_INVALID;
	snprintf(ret, size, "%s", text);
	for (char *c = ret; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
}

/* False: the series makes no sense. */
static bool read_source(const struct prometheus_series *s, struct source *ret)
{
	const char *const names[] = {
		"source_workload_namespace", "source_workload", "source_canonical_service",
		"source_canonical_revision", "source_app",      "source_version"};
	char **const fields[] = {
		&ret->ns,  &ret->workload, &ret->canonical_service, &ret->canonical_revision,
		&ret->app, &ret->version};

	_Static_assert(ARRAY_SIZE(names) == ARRAY_SIZE(fields), "a field for every label");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = prometheus_label(s, names[i]);

		if (strlen(value) > JSON_STRING_MAX)
			return false;
		*fields[i] = (char *)value; /* only looked at */
	}
	return true;
}

/* 1; 0 if the series makes no sense; -errno. */
static int probe_read(const struct prometheus_series *s, struct prometheus_agents *agents,
		      struct probe *p)
{
	unsigned long port;
	int r;

	*p = (struct probe){};
	if (!read_kind(s, &p->row.kind) || !read_source(s, &p->row.d.source) ||
	    !read_number(prometheus_label(s, "destination_port"), 65535, &port))
		return 0;
	p->row.d.port = (uint16_t)port;
	read_host(prometheus_label(s, "destination_service"), p->host, sizeof(p->host));
	p->row.d.host = p->host;
	r = prometheus_agents_get(agents, s, &p->row.agent);
	return r < 0 ? r : 1;
}

/* ---- facts ---- */

/* Each of the words between commas; an unknown one is passed over: the agent may be newer. */
static void read_words(const char *text, int (*parse)(const char *word, unsigned int *ret),
		       uint32_t *bits)
{
	char word[32];

	while (*text) {
		size_t n = strcspn(text, ",");
		unsigned int bit;

		snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), text);
		if (n < sizeof(word) && parse(word, &bit) == 0)
			*bits |= 1u << bit;
		text += n + (text[n] == ',');
	}
}

static int parse_tls_version(const char *word, unsigned int *ret)
{
	enum tls_version v;
	int r = model_tls_version_parse(word, &v);

	if (r == 0)
		*ret = v;
	return r;
}

static int parse_alpn(const char *word, unsigned int *ret)
{
	enum alpn v;
	int r = model_alpn_parse(word, &v);

	if (r == 0)
		*ret = v;
	return r;
}

/* What protocol and host say when the label is missing; ~other never has it. */
static enum name_source name_source_of(const struct prometheus_row *row)
{
	uint8_t ip[16];

	if (strcmp(row->d.host, MODEL_HOST_OTHER) == 0 || address_parse(row->d.host, ip) == 0)
		return NAME_SOURCE_IP;
	return row->kind == PROMETHEUS_HTTP ? NAME_SOURCE_HTTP : NAME_SOURCE_SNI;
}

static void read_facts(const struct prometheus_series *s, struct prometheus_row *row)
{
	struct destination *d = &row->d;

	d->sparse = true;
	d->name_source = name_source_of(row);
	(void)model_name_source_parse(prometheus_label(s, "name_source"), &d->name_source);
	(void)model_registry_parse(prometheus_label(s, "registry"), &d->registry);
	(void)model_interception_parse(prometheus_label(s, "interception"), &d->interception);
	read_words(prometheus_label(s, "tls_version"), parse_tls_version, &d->tls_versions);
	read_words(prometheus_label(s, "alpn"), parse_alpn, &d->alpn);
	row->current = s->value > 0;
}

static int rows_add(struct prometheus_rows *rows, struct prometheus_row *row)
{
	if (rows->n == rows->capacity) {
		size_t capacity = MAX(2 * rows->capacity, (size_t)64);
		struct prometheus_row *grown = realloc(rows->items, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		rows->items = grown;
		rows->capacity = capacity;
	}
	rows->items[rows->n++] = *row;
	*row = (struct prometheus_row){0};
	return 0;
}

int prometheus_rows_info(struct prometheus_rows *rows, struct prometheus_agents *agents,
			 const struct prometheus_series *s)
{
	struct prometheus_row row = {0};
	struct probe p;
	int r = probe_read(s, agents, &p);

	rows->unreadable += r == 0;
	if (r <= 0 || p.row.agent->superseded)
		return MIN(r, 0);
	row.agent = p.row.agent;
	row.kind = p.row.kind;
	row.d.port = p.row.d.port;
	row.d.host = strdup(p.host);
	r = row.d.host ? source_copy(&p.row.d.source, &row.d.source) : -ENOMEM;
	if (r == 0) {
		read_facts(s, &row);
		row.agent->reported = true;
		r = rows_add(rows, &row);
	}
	destination_done(&row.d);
	return r;
}

/* ---- finding rows ---- */

static int row_compare(const void *a, const void *b)
{
	const struct prometheus_row *x = a, *y = b;
	int order = (x->agent->id > y->agent->id) - (x->agent->id < y->agent->id);

	if (order == 0)
		order = (int)x->kind - (int)y->kind;
	if (order == 0)
		order = source_compare(&x->d.source, &y->d.source);
	if (order == 0)
		order = strcmp(x->d.host, y->d.host);
	return order ? order : (x->d.port > y->d.port) - (x->d.port < y->d.port);
}

/* One destination had other facts before: what is current counts; of what all is past, the sum of it. */
static int row_fold(struct prometheus_row *into, struct prometheus_row *row)
{
	struct prometheus_row other;
	int r = 0;

	if (row->current && !into->current) {
		other = *into;
		*into = *row;
		*row = other;
	} else if (row->current == into->current) {
		r = destination_merge(&into->d, &row->d);
	}
	destination_done(&row->d);
	return r;
}

int prometheus_rows_sort(struct prometheus_rows *rows)
{
	size_t n = 0;
	int r = 0;

	if (rows->n > 1)
		qsort(rows->items, rows->n, sizeof(*rows->items), row_compare);
	for (size_t i = 0; i < rows->n; i++) {
		struct prometheus_row *row = &rows->items[i];

		if (n && row_compare(&rows->items[n - 1], row) == 0) {
			r = r ? r : row_fold(&rows->items[n - 1], row);
		} else if (n++ != i) {
			rows->items[n - 1] = *row;
			row->d = (struct destination){0};
		}
	}
	for (size_t i = n; r && i < rows->n; i++)
		destination_done(&rows->items[i].d);
	rows->n = n;
	return r;
}

struct prometheus_row *prometheus_rows_find(const struct prometheus_rows *rows,
					    struct prometheus_row *probe)
{
	struct prometheus_row *row = NULL;

	if (rows->n)
		row = bsearch(probe, rows->items, rows->n, sizeof(*rows->items), row_compare);
	if (row || !rows->n || probe->kind != PROMETHEUS_TCP)
		return row;
	probe->kind = PROMETHEUS_HTTP;
	return bsearch(probe, rows->items, rows->n, sizeof(*rows->items), row_compare);
}

/* ---- counters ---- */

#define FIELD(name) offsetof(struct destination, name)
#define NOT_A_FIELD SIZE_MAX
#define HANDSHAKES  "egress_tls_handshakes_failed_total"
#define REQUESTS    "egress_requests_total"

const char *const prometheus_families[] = {
	"egress_tcp_connections_opened_total",
	"egress_tcp_connections_closed_total",
	"egress_tcp_connections_failed_total",
	"egress_tcp_sent_bytes_total",
	"egress_tcp_received_bytes_total",
	HANDSHAKES,
	"egress_request_bytes_total",
	"egress_response_bytes_total",
	REQUESTS,
};
static const size_t family_fields[] = {
	FIELD(opened),        FIELD(closed),         FIELD(failed),
	FIELD(sent),          FIELD(received),       FIELD(handshakes_failed),
	FIELD(request_bytes), FIELD(response_bytes), NOT_A_FIELD,
};
_Static_assert(ARRAY_SIZE(family_fields) == PROMETHEUS_FAMILIES, "a field for every family");

/* 1; 0 if the series makes no sense; -ENOMEM. */
static int add_requests(const struct prometheus_series *s, struct destination *d, uint64_t count)
{
	enum ea_method method = EA_METHOD_OTHER;
	struct request_count add = {.count = count};
	unsigned long code;
	int r;

	if (!read_number(prometheus_label(s, "response_code"), 999, &code) ||
	    (code > 0 && code < 100))
		return 0;
	(void)model_method_parse(prometheus_label(s, "request_method"), &method);
	add.code = (uint16_t)code;
	add.method = (uint8_t)method;
	r = destination_add_requests(d, &add);
	d->requests = model_add(d->requests, count);
	return r < 0 ? r : 1;
}

static int add_count(const struct prometheus_series *s, size_t family, struct prometheus_row *row,
		     uint64_t count)
{
	uint64_t *field;

	if (family_fields[family] == NOT_A_FIELD)
		return add_requests(s, &row->d, count);
	/* Only what spoke TLS has it, be it 0. */
	row->tls |= strcmp(prometheus_families[family], HANDSHAKES) == 0;
	field = (uint64_t *)((char *)&row->d + family_fields[family]);
	*field = model_add(*field, count);
	return 1;
}

int prometheus_rows_count(struct prometheus_rows *rows, struct prometheus_agents *agents,
			  size_t family, const struct prometheus_series *s)
{
	struct prometheus_row *row;
	struct probe p;
	uint64_t count;
	int r = probe_read(s, agents, &p);

	if (r < 0)
		return r;
	if (r > 0 && p.row.agent->superseded)
		return 0;
	if (r == 0 || !prometheus_count(s, &count)) {
		rows->unreadable++;
		return 0;
	}
	row = prometheus_rows_find(rows, &p.row);
	rows->orphans += !row;
	r = row ? add_count(s, family, row, count) : 1;
	rows->unreadable += r == 0;
	return MIN(r, 0);
}
