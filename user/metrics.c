// SPDX-License-Identifier: Apache-2.0
/*
 * Prometheus text format 0.0.4; see metrics.h.
 *
 * Owns: the families, their labels and help. Must not know: HTTP, the kernel.
 *
 * Rows that differ only in what is no label of a family (a host's TLS and plaintext HTTP on one
 * port, say) are summed: two lines with the same labels would make Prometheus refuse the whole
 * scrape. So rows are sorted by their labels first, and a family walks over the groups. The labels
 * of a group are written once and copied into every family.
 */
#include <errno.h>
#include <string.h>

#include "metrics.h"
#include "text.h"
#include "util.h"

/* 65,536 destinations with names of usual length take about 150 MB; nobody wants to scrape more. */
#define METRICS_TEXT_MAX (256u << 20)

/* What the rows of one endpoint are told apart by; the word is the label request_protocol. */
enum kind { KIND_TCP, KIND_HTTP, KIND_QUIC, KIND_UDP, KIND_MAX };

static const char *const kind_words[] = {
	[KIND_TCP] = "tcp",
	[KIND_HTTP] = "http",
	[KIND_QUIC] = "quic",
	[KIND_UDP] = "udp",
};
_Static_assert(ARRAY_SIZE(kind_words) == KIND_MAX, "a word for every kind");

static enum kind row_kind(const struct destination *d)
{
	if (d->protocol == PROTOCOL_QUIC)
		return KIND_QUIC;
	if (d->protocol == PROTOCOL_UDP)
		return KIND_UDP;
	return d->visibility == VISIBILITY_L7 ? KIND_HTTP : KIND_TCP;
}

/* One source, host and port. */
struct endpoint {
	size_t begin[KIND_MAX + 1]; /* rows of kind k: begin[k]..begin[k + 1]-1 */
	size_t labels, labels_size; /* in exposition.labels: all labels but request_protocol */
};

struct exposition {
	const struct destination **rows; /* sorted by labels, then kind */
	size_t n_rows;
	struct endpoint *endpoints;
	size_t n_endpoints;
	struct text labels;
	struct text out;
};

static void exposition_done(struct exposition *x)
{
	free(x->rows);
	free(x->endpoints);
	text_done(&x->labels);
	text_done(&x->out);
}

/* A label's value: backslash, quote and newline escaped; what is not UTF-8 as the text \xHH. */
static void label_value(struct text *t, const char *s)
{
	size_t n = strlen(s), len = 0;

	/* Nearly all values are names and need none of it. */
	while (s[len] > 0x20 && s[len] < 0x7f && s[len] != '"' && s[len] != '\\')
		len++;
	text_add(t, s, len);
	for (s += len, n -= len; n; s += len, n -= len) {
		len = text_utf8_len(s, n);
		if (len == 0) {
			len = 1;
			text_add_char(t, '\\');
			text_add_hex(t, (unsigned char)*s);
		} else if (*s == '\n') {
			text_add(t, "\\n", 2);
		} else {
			if (*s == '"' || *s == '\\')
				text_add_char(t, '\\');
			text_add(t, s, len);
		}
	}
}

static void label(struct text *t, const char *name, const char *value)
{
	text_puts(t, name);
	text_add(t, "=\"", 2);
	label_value(t, value);
	text_add_char(t, '"');
}

static void labels_of(struct text *t, const struct destination *d)
{
	label(t, "{reporter", "source");
	label(t, ",source_workload", d->source.workload);
	label(t, ",source_workload_namespace", d->source.ns);
	label(t, ",source_canonical_service", d->source.canonical_service);
	label(t, ",source_canonical_revision", d->source.canonical_revision);
	label(t, ",source_app", d->source.app);
	label(t, ",source_version", d->source.version);
	label(t, ",destination_service", d->host);
	label(t, ",destination_service_name", d->host);
	text_puts(t, ",destination_port=\"");
	text_add_u64(t, d->port);
	text_puts(t, "\",request_protocol=\"");
}

/* workload_kind is no label, so it must not tell groups apart. */
static int labels_compare(const struct destination *a, const struct destination *b)
{
	const struct source *s = &a->source, *o = &b->source;
	int order = strcmp(s->ns, o->ns);

	if (order == 0)
		order = strcmp(s->workload, o->workload);
	if (order == 0)
		order = strcmp(a->host, b->host);
	if (order == 0)
		order = (a->port > b->port) - (a->port < b->port);
	if (order == 0)
		order = strcmp(s->canonical_service, o->canonical_service);
	if (order == 0)
		order = strcmp(s->canonical_revision, o->canonical_revision);
	if (order == 0)
		order = strcmp(s->app, o->app);
	return order ? order : strcmp(s->version, o->version);
}

static int rows_compare(const void *a, const void *b)
{
	const struct destination *x = *(const struct destination *const *)a;
	const struct destination *y = *(const struct destination *const *)b;
	int order = labels_compare(x, y);

	return order ? order : (int)row_kind(x) - (int)row_kind(y);
}

/* A list in the contract's order nearly always is in this one too. */
static bool rows_sorted(const struct exposition *x)
{
	for (size_t i = 1; i < x->n_rows; i++) {
		if (rows_compare(&x->rows[i - 1], &x->rows[i]) > 0)
			return false;
	}
	return true;
}

static int exposition_rows(struct exposition *x, const struct destination_list *list)
{
	x->rows = calloc(list->n + 1, sizeof(struct destination *));
	x->endpoints = calloc(list->n + 1, sizeof(*x->endpoints));
	if (!x->rows || !x->endpoints)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		if (!list->items[i].internal)
			x->rows[x->n_rows++] = &list->items[i];
	}
	if (!rows_sorted(x))
		qsort(x->rows, x->n_rows, sizeof(struct destination *), rows_compare);
	return 0;
}

/* Group rows with equal labels, and write the labels of each group. */
static void exposition_group(struct exposition *x)
{
	for (size_t i = 0; i < x->n_rows;) {
		const struct destination *first = x->rows[i];
		struct endpoint *e = &x->endpoints[x->n_endpoints++];

		for (unsigned int kind = 0; kind < KIND_MAX; kind++) {
			e->begin[kind] = i;
			while (i < x->n_rows && row_kind(x->rows[i]) == kind &&
			       labels_compare(first, x->rows[i]) == 0)
				i++;
		}
		e->begin[KIND_MAX] = i;
		e->labels = x->labels.size;
		labels_of(&x->labels, first);
		e->labels_size = x->labels.size - e->labels;
	}
}

static void family_head(struct text *t, const char *name, const char *suffix, const char *type,
			const char *help)
{
	text_puts(t, "# HELP ");
	text_puts(t, name);
	text_puts(t, suffix);
	text_add_char(t, ' ');
	for (; *help; help++) {
		if (*help == '\\' || *help == '\n')
			text_add(t, *help == '\n' ? "\\n" : "\\\\", 2);
		else
			text_add_char(t, *help);
	}
	text_puts(t, "\n# TYPE ");
	text_puts(t, name);
	text_puts(t, suffix);
	text_add_char(t, ' ');
	text_puts(t, type);
	text_add_char(t, '\n');
}

/* 'name{labels,request_protocol="kind"', for more labels or sample_end(). */
static void sample_begin(struct exposition *x, const char *name, const struct endpoint *e,
			 enum kind kind)
{
	text_puts(&x->out, name);
	if (x->labels.error == 0)
		text_add(&x->out, x->labels.data + e->labels, e->labels_size);
	text_puts(&x->out, kind_words[kind]);
	text_add_char(&x->out, '"');
}

static void sample_end(struct text *t, uint64_t value)
{
	text_add(t, "} ", 2);
	text_add_u64(t, value);
	text_add_char(t, '\n');
}

struct family {
	const char *name, *type, *help;
	enum kind first, last; /* the rows that have it, by kind */
	enum kind word;        /* request_protocol */
	size_t field;          /* offset of the number in struct destination, for write_sum */
	void (*write)(struct exposition *x, const struct family *f, const struct endpoint *e);
};

/* One line: the sum over the endpoint's rows. */
static void write_sum(struct exposition *x, const struct family *f, const struct endpoint *e)
{
	uint64_t sum = 0;

	for (size_t i = e->begin[f->first]; i < e->begin[f->last + 1]; i++)
		sum = model_add(sum, *(const uint64_t *)((const char *)x->rows[i] + f->field));
	sample_begin(x, f->name, e, f->word);
	sample_end(&x->out, sum);
}

/* The same where a row is TLS: of other endpoints there is nothing to tell, not even 0. */
static void write_tls_sum(struct exposition *x, const struct family *f, const struct endpoint *e)
{
	for (size_t i = e->begin[f->first]; i < e->begin[f->last + 1]; i++) {
		if (x->rows[i]->protocol == PROTOCOL_TLS) {
			write_sum(x, f, e);
			return;
		}
	}
}

static uint64_t row_requests(const struct destination *d, const struct request_count *key,
			     bool *ret_found)
{
	for (size_t i = 0; i < d->n_by_code; i++) {
		if (d->by_code[i].code == key->code && d->by_code[i].method == key->method) {
			*ret_found = true;
			return d->by_code[i].count;
		}
	}
	return 0;
}

/* A line per code and method, written where the first of the (mostly one) rows has it. */
static void write_requests(struct exposition *x, const struct family *f, const struct endpoint *e)
{
	size_t begin = e->begin[f->first], end = e->begin[f->last + 1];

	for (size_t i = begin; i < end; i++) {
		for (size_t k = 0; k < x->rows[i]->n_by_code; k++) {
			const struct request_count *key = &x->rows[i]->by_code[k];
			uint64_t sum = key->count;
			bool before = false, found;

			for (size_t j = begin; j < i; j++)
				row_requests(x->rows[j], key, &before);
			if (before)
				continue;
			for (size_t j = i + 1; j < end; j++)
				sum = model_add(sum, row_requests(x->rows[j], key, &found));
			sample_begin(x, f->name, e, f->word);
			text_puts(&x->out, ",response_code=\"");
			text_add_u64(&x->out, key->code);
			text_add_char(&x->out, '"');
			label(&x->out, ",request_method", model_method_name(key->method));
			sample_end(&x->out, sum);
		}
	}
}

/* The words of a bit set, sorted as strings: h2,http/1.0,http/1.1. */
static void label_words(struct text *t, const char *name, uint32_t bits, const uint8_t *order,
			size_t n, const char *(*word)(unsigned int))
{
	const char *comma = "";

	text_puts(t, name);
	text_add(t, "=\"", 2);
	for (size_t i = 0; i < n; i++) {
		if (!(bits & 1u << order[i]))
			continue;
		text_puts(t, comma);
		text_puts(t, word(order[i]));
		comma = ",";
	}
	text_add_char(t, '"');
}

static const char *tls_version_word(unsigned int i)
{
	return model_tls_version_name((enum tls_version)i);
}

static const char *alpn_word(unsigned int i)
{
	return model_alpn_name((enum alpn)i);
}

static const uint8_t tls_version_order[] = {TLS_10, TLS_11, TLS_12, TLS_13, TLS_SSL30};
static const uint8_t alpn_order[] = {ALPN_H2, ALPN_HTTP10, ALPN_HTTP11, ALPN_OTHER};
_Static_assert(ARRAY_SIZE(tls_version_order) == TLS_VERSION_MAX, "every version has its place");
_Static_assert(ARRAY_SIZE(alpn_order) == ALPN_MAX, "every protocol has its place");

/* Facts of rows begin..end-1 of one kind, put together as destination_merge() does. */
static void write_info_kind(struct exposition *x, const struct family *f, const struct endpoint *e,
			    enum kind kind)
{
	struct destination all = *x->rows[e->begin[kind]];
	struct text *t = &x->out;

	for (size_t i = e->begin[kind] + 1; i < e->begin[kind + 1]; i++) {
		const struct destination *d = x->rows[i];

		all.registry = MAX(all.registry, d->registry);
		all.interception = MAX(all.interception, d->interception);
		all.name_source = MIN(all.name_source, d->name_source);
		all.tls_versions |= d->tls_versions;
		all.alpn |= d->alpn;
	}
	sample_begin(x, f->name, e, kind);
	label(t, ",visibility", model_visibility_name(all.visibility));
	label(t, ",registry", model_registry_name(all.registry));
	label(t, ",interception", model_interception_name(all.interception));
	label(t, ",name_source", destination_name_source(&all));
	label_words(t, ",tls_version", all.tls_versions, tls_version_order, TLS_VERSION_MAX,
		    tls_version_word);
	label_words(t, ",alpn", all.alpn, alpn_order, ALPN_MAX, alpn_word);
	sample_end(t, 1);
}

static void write_info(struct exposition *x, const struct family *f, const struct endpoint *e)
{
	for (unsigned int kind = f->first; kind <= f->last; kind++) {
		if (e->begin[kind] < e->begin[kind + 1])
			write_info_kind(x, f, e, (enum kind)kind);
	}
}

#define TCP_FAMILY  KIND_TCP, KIND_HTTP, KIND_TCP
#define L7_FAMILY   KIND_HTTP, KIND_HTTP, KIND_HTTP
#define FIELD(name) offsetof(struct destination, name)

static const struct family families[] = {
	{"egress_tcp_connections_opened_total", "counter",
	 "Connections established from the workload to the host.", TCP_FAMILY, FIELD(opened),
	 write_sum},
	{"egress_tcp_connections_closed_total", "counter",
	 "Established connections that have ended.", TCP_FAMILY, FIELD(closed), write_sum},
	{"egress_tcp_connections_failed_total", "counter",
	 "Connection attempts that were never established.", TCP_FAMILY, FIELD(failed), write_sum},
	{"egress_tcp_sent_bytes_total", "counter",
	 "Payload bytes sent by the workload, live connections included.", TCP_FAMILY, FIELD(sent),
	 write_sum},
	{"egress_tcp_received_bytes_total", "counter",
	 "Payload bytes received by the workload, live connections included.", TCP_FAMILY,
	 FIELD(received), write_sum},
	{"egress_tls_handshakes_failed_total", "counter",
	 "TLS handshakes that an alert ended before encryption began.", TCP_FAMILY,
	 FIELD(handshakes_failed), write_tls_sum},
	{"egress_requests_total", "counter",
	 "Plaintext HTTP requests by status code of the answer; code 0: none came.", L7_FAMILY, 0,
	 write_requests},
	{"egress_request_bytes_total", "counter",
	 "Bytes of plaintext HTTP requests, heads included.", L7_FAMILY, FIELD(request_bytes),
	 write_sum},
	{"egress_response_bytes_total", "counter",
	 "Bytes of answers to plaintext HTTP requests, heads included.", L7_FAMILY,
	 FIELD(response_bytes), write_sum},
	{"egress_destination_info", "gauge", "What is known of a destination; always 1.", KIND_TCP,
	 KIND_UDP, KIND_TCP, 0, write_info},
};

/* A family without samples is left out, its head too. */
static void exposition_family(struct exposition *x, const struct family *f)
{
	size_t start = x->out.size, samples;

	family_head(&x->out, f->name, "", f->type, f->help);
	samples = x->out.size;
	for (size_t i = 0; i < x->n_endpoints; i++) {
		const struct endpoint *e = &x->endpoints[i];

		if (e->begin[f->first] < e->begin[f->last + 1])
			f->write(x, f, e);
	}
	if (x->out.size == samples)
		x->out.size = start;
}

static const char *health_help(const struct agent_health *h, const char *family)
{
	for (const struct health_help *help = h->help; help && help->family; help++) {
		if (strcmp(help->family, family) == 0)
			return help->help;
	}
	return NULL;
}

/* The head, when *last is another family, and the sample up to the space before its value. */
static int health_begin(struct text *t, const struct agent_health *h, const char *family,
			const char *suffix, const char *type, const char **last)
{
	const char *help = health_help(h, family);

	if (!help)
		return -EINVAL;
	if (!*last || strcmp(*last, family) != 0)
		family_head(t, family, suffix, type, help);
	*last = family;
	text_puts(t, family);
	text_puts(t, suffix);
	return 0;
}

static void health_label(struct text *t, const char *name, const char *value)
{
	if (name) {
		text_add_char(t, '{');
		label(t, name, value);
		text_add_char(t, '}');
	}
	text_add_char(t, ' ');
}

/* With as few digits as read back as the same number: 0.1, not 0.10000000000000001. */
static void health_number(struct text *t, double number)
{
	char buf[40];
	int digits = 15;

	do {
		snprintf(buf, sizeof(buf), "%.*g", digits++, number);
	} while (digits <= 17 && strtod(buf, NULL) != number);
	text_puts(t, buf);
	text_add_char(t, '\n');
}

static int health_counters(struct text *t, const struct agent_health *h)
{
	const char *last = NULL;

	for (size_t i = 0; i < h->n_counters; i++) {
		const struct health_counter *c = &h->counters[i];
		int r = health_begin(t, h, c->family, "_total", "counter", &last);

		if (r < 0)
			return r;
		health_label(t, c->label, c->value);
		health_number(t, c->count);
	}
	return 0;
}

static int health_gauges(struct text *t, const struct agent_health *h)
{
	const char *last = NULL;

	for (size_t i = 0; i < h->n_gauges; i++) {
		const struct health_gauge *g = &h->gauges[i];
		int r = health_begin(t, h, g->family, "", "gauge", &last);

		if (r < 0)
			return r;
		health_label(t, g->label, g->value);
		health_number(t, g->number);
	}
	return 0;
}

static int health_write(struct text *t, const struct agent_health *h)
{
	int r;

	family_head(t, "egress_agent_build_info", "", "gauge", "The running version; always 1.");
	text_puts(t, "egress_agent_build_info");
	health_label(t, "version", h->version);
	text_puts(t, "1\n");
	family_head(t, "egress_agent_start_time_seconds", "", "gauge",
		    "When the agent started, in Unix time.");
	text_puts(t, "egress_agent_start_time_seconds ");
	health_number(t, (double)h->start_unix_ms / 1000);
	r = health_counters(t, h);
	return r < 0 ? r : health_gauges(t, h);
}

int metrics_from_list(const struct destination_list *list, const struct agent_health *health,
		      char **ret_text, size_t *ret_size)
{
	_cleanup_(exposition_done) struct exposition x = {
		.labels = TEXT_INIT(METRICS_TEXT_MAX),
		.out = TEXT_INIT(METRICS_TEXT_MAX),
	};
	int r = exposition_rows(&x, list);

	if (r < 0)
		return r;
	exposition_group(&x);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		exposition_family(&x, &families[i]);
	r = health_write(&x.out, health);
	if (r < 0)
		return r;
	return x.labels.error ? x.labels.error : text_take(&x.out, ret_text, ret_size);
}
