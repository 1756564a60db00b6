// SPDX-License-Identifier: Apache-2.0
/*
 * The families of destinations: names, help, and what of the rows is summed where; see metrics_work.h.
 */
#include <stdio.h>

#include "metrics_work.h"
#include "util.h"

/* First and last row of an endpoint that have the family. */
#define ROWS_BEGIN(f, e) ((size_t)(e)->begin[(f)->first])
#define ROWS_END(f, e)   ((size_t)(e)->begin[(f)->last + 1])

/* When the endpoint's numbers began: with the first of its rows. */
static uint64_t created_ms(const struct family *f, const struct metrics_rows *rows,
			   const struct endpoint *e)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = ROWS_BEGIN(f, e); i < ROWS_END(f, e); i++)
		first = MIN(first, rows->rows[i]->first_ms);
	return first == UINT64_MAX ? 0 : first;
}

static bool has_tls(const struct family *f, const struct metrics_rows *rows,
		    const struct endpoint *e)
{
	for (size_t i = ROWS_BEGIN(f, e); i < ROWS_END(f, e); i++) {
		if (rows->rows[i]->protocol == PROTOCOL_TLS)
			return true;
	}
	return false;
}

static uint64_t sum_of(const struct family *f, const struct metrics_rows *rows,
		       const struct endpoint *e, size_t field)
{
	uint64_t sum = 0;

	for (size_t i = ROWS_BEGIN(f, e); i < ROWS_END(f, e); i++)
		sum = model_add(sum, *(const uint64_t *)((const char *)rows->rows[i] + field));
	return sum;
}

/* One counter: the sum over the endpoint's rows. */
static bool write_sum(struct lines *l, const struct family *f, const struct metrics_rows *rows,
		      const struct endpoint *e, size_t item)
{
	(void)item;
	metrics_labels(l, rows->rows[ROWS_BEGIN(f, e)], f->word);
	metrics_sample(l, &f->metric, "_total");
	metrics_value(l, sum_of(f, rows, e, f->field));
	metrics_created(l, &f->metric, created_ms(f, rows, e));
	return false;
}

/* The same where a row is TLS: of other endpoints there is nothing to tell, not even 0. */
static bool write_tls_sum(struct lines *l, const struct family *f, const struct metrics_rows *rows,
			  const struct endpoint *e, size_t item)
{
	return has_tls(f, rows, e) && write_sum(l, f, rows, e, item);
}

static void times_add(struct times *t, uint64_t sum_ns, const __u64 *counts)
{
	t->sum_ns = model_add(t->sum_ns, sum_ns);
	for (size_t i = 0; i < t->n; i++)
		t->counts[i] = model_add(t->counts[i], counts[i]);
}

static bool write_short(struct lines *l, const struct family *f, const struct metrics_rows *rows,
			const struct endpoint *e)
{
	static const uint32_t bounds[] = EA_SHORT_BOUNDS_US;
	struct times t = {.bounds_us = bounds, .n = EA_SHORT_BUCKETS};

	_Static_assert(ARRAY_SIZE(bounds) + 1 == EA_SHORT_BUCKETS, "one bucket is beyond them");
	for (size_t i = ROWS_BEGIN(f, e); i < ROWS_END(f, e); i++) {
		const struct ea_short_times *add =
			(const void *)((const char *)rows->rows[i] + f->field);

		times_add(&t, add->sum_ns, add->n);
	}
	metrics_labels(l, rows->rows[ROWS_BEGIN(f, e)], f->word);
	metrics_histogram(l, &f->metric, &t, created_ms(f, rows, e));
	return false;
}

/*
 * A histogram is there, with zeros, as soon as there can be an observation: a connection was opened, a ClientHello
 * seen, an answer begun. So it has been 0 in a scrape before a slow first one ends, and rate() sees that one; but
 * a host that nobody ever reached, a mistyped name say, has no 15 lines of zeros.
 */
static bool write_connect(struct lines *l, const struct family *f, const struct metrics_rows *rows,
			  const struct endpoint *e, size_t item)
{
	(void)item;
	return sum_of(f, rows, e, offsetof(struct destination, opened)) &&
	       write_short(l, f, rows, e);
}

static bool write_handshake(struct lines *l, const struct family *f,
			    const struct metrics_rows *rows, const struct endpoint *e, size_t item)
{
	(void)item;
	return has_tls(f, rows, e) && write_short(l, f, rows, e);
}

/* Where an item of all rows' by_code, one after the other, stands. */
struct place {
	size_t row, entry;
};

static bool place_of(const struct family *f, const struct metrics_rows *rows,
		     const struct endpoint *e, size_t item, struct place *ret)
{
	for (size_t i = ROWS_BEGIN(f, e); i < ROWS_END(f, e); i++) {
		if (item < rows->rows[i]->n_by_code) {
			*ret = (struct place){i, item};
			return true;
		}
		item -= rows->rows[i]->n_by_code;
	}
	return false;
}

/* The first entry with the same code and, if it matters, method; else the row's n_by_code. They are sorted by both. */
static size_t find_code(const struct destination *d, const struct request_count *key,
			bool any_method)
{
	size_t low = 0, high = d->n_by_code;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct request_count *q = &d->by_code[mid];

		if (q->code < key->code ||
		    (q->code == key->code && !any_method && q->method < key->method))
			low = mid + 1;
		else
			high = mid;
	}
	if (low < d->n_by_code && d->by_code[low].code == key->code &&
	    (any_method || d->by_code[low].method == key->method))
		return low;
	return d->n_by_code;
}

/* Is this the first of the entries that make one line? */
static bool is_first(const struct family *f, const struct metrics_rows *rows,
		     const struct endpoint *e, const struct place *at, bool any_method)
{
	const struct request_count *key = &rows->rows[at->row]->by_code[at->entry];

	for (size_t i = ROWS_BEGIN(f, e); i < at->row; i++) {
		if (find_code(rows->rows[i], key, any_method) < rows->rows[i]->n_by_code)
			return false;
	}
	return find_code(rows->rows[at->row], key, any_method) == at->entry;
}

static void label_code(struct lines *l, uint16_t code)
{
	char word[8];

	snprintf(word, sizeof(word), "%u", code);
	metrics_label(l, "response_code", word);
}

/* A line per code and method. */
static bool write_requests(struct lines *l, const struct family *f, const struct metrics_rows *rows,
			   const struct endpoint *e, size_t item)
{
	const struct request_count *key;
	uint64_t sum = 0;
	struct place at;

	if (!place_of(f, rows, e, item, &at))
		return false;
	if (!is_first(f, rows, e, &at, false))
		return true;
	key = &rows->rows[at.row]->by_code[at.entry];
	for (size_t i = at.row; i < ROWS_END(f, e); i++) {
		const struct destination *d = rows->rows[i];
		size_t k = find_code(d, key, false);

		if (k < d->n_by_code)
			sum = model_add(sum, d->by_code[k].count);
	}
	metrics_labels(l, rows->rows[ROWS_BEGIN(f, e)], f->word);
	label_code(l, key->code);
	metrics_label(l, "request_method", model_method_name(key->method));
	metrics_sample(l, &f->metric, "_total");
	metrics_value(l, sum);
	metrics_created(l, &f->metric, created_ms(f, rows, e));
	return true;
}

/* A histogram per code; code 0, no answer, has no duration. */
static bool write_durations(struct lines *l, const struct family *f,
			    const struct metrics_rows *rows, const struct endpoint *e, size_t item)
{
	static const uint32_t bounds[] = EA_LONG_BOUNDS_US;
	struct times t = {.bounds_us = bounds, .n = EA_LONG_BUCKETS};
	const struct request_count *key;
	struct place at;

	_Static_assert(ARRAY_SIZE(bounds) + 1 == EA_LONG_BUCKETS, "one bucket is beyond them");
	if (!place_of(f, rows, e, item, &at))
		return false;
	key = &rows->rows[at.row]->by_code[at.entry];
	if (key->code == 0 || !is_first(f, rows, e, &at, true))
		return true;
	for (size_t i = at.row; i < ROWS_END(f, e); i++) {
		const struct destination *d = rows->rows[i];

		for (size_t k = find_code(d, key, true);
		     k < d->n_by_code && d->by_code[k].code == key->code; k++)
			times_add(&t, d->by_code[k].duration.sum_ns, d->by_code[k].duration.n);
	}
	metrics_labels(l, rows->rows[ROWS_BEGIN(f, e)], f->word);
	label_code(l, key->code);
	metrics_histogram(l, &f->metric, &t, created_ms(f, rows, e));
	return true;
}

/* The words of a bit set, sorted as strings: h2,http/1.0,http/1.1. */
static void label_words(struct lines *l, const char *name, uint32_t bits, const uint8_t *order,
			size_t n, const char *(*word)(unsigned int))
{
	char words[64];
	size_t at = 0;

	words[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (bits & 1u << order[i])
			at += (size_t)snprintf(words + at, sizeof(words) - at, "%s%s",
					       at ? "," : "", word(order[i]));
	}
	metrics_label(l, name, words);
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
static void write_info_kind(struct lines *l, const struct family *f,
			    const struct metrics_rows *rows, const struct endpoint *e,
			    enum kind kind)
{
	const struct destination *first = rows->rows[e->begin[kind]];
	enum registry registry = first->registry;
	enum interception interception = first->interception;
	enum name_source name_source = first->name_source;
	uint32_t tls_versions = 0, alpn = 0;

	for (size_t i = e->begin[kind]; i < e->begin[kind + 1]; i++) {
		const struct destination *d = rows->rows[i];

		registry = MAX(registry, d->registry);
		interception = MAX(interception, d->interception);
		name_source = MIN(name_source, d->name_source);
		tls_versions |= d->tls_versions;
		alpn |= d->alpn;
	}
	metrics_labels(l, first, kind);
	metrics_label(l, "visibility", model_visibility_name(first->visibility));
	metrics_label(l, "registry", model_registry_name(registry));
	metrics_label(l, "interception", model_interception_name(interception));
	metrics_label(l, "name_source",
		      *destination_name_source(first) ? model_name_source_name(name_source) : "");
	label_words(l, "tls_version", tls_versions, tls_version_order, TLS_VERSION_MAX,
		    tls_version_word);
	label_words(l, "alpn", alpn, alpn_order, ALPN_MAX, alpn_word);
	metrics_sample(l, &f->metric, "");
	metrics_value(l, 1);
}

static bool write_info(struct lines *l, const struct family *f, const struct metrics_rows *rows,
		       const struct endpoint *e, size_t item)
{
	(void)item;
	for (unsigned int kind = f->first; kind <= f->last; kind++) {
		if (e->begin[kind] < e->begin[kind + 1])
			write_info_kind(l, f, rows, e, (enum kind)kind);
	}
	return false;
}

#define TCP_FAMILY  KIND_TCP, KIND_HTTP, KIND_TCP
#define L7_FAMILY   KIND_HTTP, KIND_HTTP, KIND_HTTP
#define FIELD(name) offsetof(struct destination, name)

static const struct family families[] = {
	{{"egress_tcp_connections_opened", METRIC_COUNTER,
	  "Connections established from the workload to the host."},
	 TCP_FAMILY,
	 FIELD(opened),
	 write_sum},
	{{"egress_tcp_connections_closed", METRIC_COUNTER,
	  "Established connections that have ended."},
	 TCP_FAMILY,
	 FIELD(closed),
	 write_sum},
	{{"egress_tcp_connections_failed", METRIC_COUNTER,
	  "Connection attempts that were never established."},
	 TCP_FAMILY,
	 FIELD(failed),
	 write_sum},
	{{"egress_tcp_sent_bytes", METRIC_COUNTER,
	  "Payload bytes sent by the workload, live connections included."},
	 TCP_FAMILY,
	 FIELD(sent),
	 write_sum},
	{{"egress_tcp_received_bytes", METRIC_COUNTER,
	  "Payload bytes received by the workload, live connections included."},
	 TCP_FAMILY,
	 FIELD(received),
	 write_sum},
	{{"egress_tcp_connect_duration_seconds", METRIC_HISTOGRAM,
	  "Time from the SYN until a connection was established."},
	 TCP_FAMILY,
	 FIELD(connect),
	 write_connect},
	{{"egress_tls_handshakes_failed", METRIC_COUNTER,
	  "TLS handshakes that an alert ended before encryption began."},
	 TCP_FAMILY,
	 FIELD(handshakes_failed),
	 write_tls_sum},
	{{"egress_tls_handshake_duration_seconds", METRIC_HISTOGRAM,
	  "Time from the end of the ClientHello to the first byte of the server's first flight."},
	 TCP_FAMILY,
	 FIELD(handshake),
	 write_handshake},
	{{"egress_requests", METRIC_COUNTER,
	  "Plaintext HTTP requests by status code of the answer; code 0: none came."},
	 L7_FAMILY,
	 0,
	 write_requests},
	{{"egress_request_duration_seconds", METRIC_HISTOGRAM,
	  "Time from the end of a plaintext HTTP request's head to the end of its answer."},
	 L7_FAMILY,
	 0,
	 write_durations},
	{{"egress_request_bytes", METRIC_COUNTER,
	  "Bytes of plaintext HTTP requests, heads included."},
	 L7_FAMILY,
	 FIELD(request_bytes),
	 write_sum},
	{{"egress_response_bytes", METRIC_COUNTER,
	  "Bytes of answers to plaintext HTTP requests, heads included."},
	 L7_FAMILY,
	 FIELD(response_bytes),
	 write_sum},
	{{"egress_destination_info", METRIC_GAUGE, "What is known of a destination; always 1."},
	 KIND_TCP,
	 KIND_UDP,
	 KIND_TCP,
	 0,
	 write_info},
};

const struct family *metrics_families(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(families);
	return families;
}
