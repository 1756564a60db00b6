// SPDX-License-Identifier: Apache-2.0
/*
 * Destinations from the rows of all agents; see prometheus_work.h.
 *
 * Owns: what holds of rows that were not reported at the end of the range any more. Must not know: labels, series.
 */
#include <errno.h>
#include <string.h>

#include "prometheus_work.h"
#include "util.h"

/* ---- rows that their agent gave up ---- */

/*
 * What was idle for long loses its line, and its counts go to the workload's ~other. Its series is in the range still:
 * it keeps what it counted, and ~other gives it back, so that nothing is counted twice.
 */

static const size_t tcp_fields[] = {
	offsetof(struct destination, opened),   offsetof(struct destination, closed),
	offsetof(struct destination, failed),   offsetof(struct destination, sent),
	offsetof(struct destination, received), offsetof(struct destination, handshakes_failed),
};
static const size_t http_fields[] = {
	offsetof(struct destination, request_bytes),
	offsetof(struct destination, response_bytes),
	offsetof(struct destination, requests),
};

static uint64_t *field_of(struct destination *d, size_t field)
{
	return (uint64_t *)((char *)d + field);
}

static bool fields_fit(struct destination *other, struct destination *d, const size_t *fields,
		       size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (*field_of(d, fields[i]) > (other ? *field_of(other, fields[i]) : 0))
			return false;
	}
	return true;
}

static void fields_take(struct destination *other, struct destination *d, const size_t *fields,
			size_t n)
{
	for (size_t i = 0; other && i < n; i++)
		*field_of(other, fields[i]) -= *field_of(d, fields[i]);
}

static struct request_count *request_of(struct destination *d, const struct request_count *key)
{
	for (size_t i = 0; d && i < d->n_by_code; i++) {
		if (d->by_code[i].code == key->code && d->by_code[i].method == key->method)
			return &d->by_code[i];
	}
	return NULL;
}

static bool requests_fit(struct destination *other, const struct destination *d)
{
	for (size_t i = 0; i < d->n_by_code; i++) {
		const struct request_count *has = request_of(other, &d->by_code[i]);

		if (d->by_code[i].count > (has ? has->count : 0))
			return false;
	}
	return true;
}

static void requests_take(struct destination *other, const struct destination *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_by_code; i++) {
		struct request_count *has = request_of(other, &d->by_code[i]);

		if (has)
			has->count -= d->by_code[i].count;
	}
	for (size_t i = 0; other && i < other->n_by_code; i++) {
		if (other->by_code[i].count)
			other->by_code[n++] = other->by_code[i];
	}
	if (other)
		other->n_by_code = n;
}

/* The workload's ~other of this kind, as the agent has it now. */
static struct prometheus_row *other_of(const struct prometheus_rows *rows,
				       const struct prometheus_row *row, enum prometheus_kind kind)
{
	struct prometheus_row probe = {.agent = row->agent, .kind = kind}, *found;
	char other[] = MODEL_HOST_OTHER;

	probe.d.source = row->d.source;
	probe.d.host = other;
	found = prometheus_rows_find(rows, &probe);
	return found && found->current ? found : NULL;
}

/* All or nothing: what is not in it was not given up, but is of counters that are gone. */
static void take_back(const struct prometheus_rows *rows, struct prometheus_row *row)
{
	struct prometheus_row *tcp_row = other_of(rows, row, PROMETHEUS_TCP);
	struct prometheus_row *http_row = other_of(rows, row, PROMETHEUS_HTTP);
	struct destination *tcp = tcp_row ? &tcp_row->d : NULL, *d = &row->d;
	struct destination *http = http_row ? &http_row->d : NULL;

	if (!fields_fit(tcp, d, tcp_fields, ARRAY_SIZE(tcp_fields)) ||
	    !fields_fit(http, d, http_fields, ARRAY_SIZE(http_fields)) || !requests_fit(http, d))
		return;
	fields_take(tcp, d, tcp_fields, ARRAY_SIZE(tcp_fields));
	fields_take(http, d, http_fields, ARRAY_SIZE(http_fields));
	requests_take(http, d);
	if (tcp)
		tcp_row->taken = true;
	if (http)
		http_row->taken = true;
}

/* Nothing but what was given back. */
static bool is_used_up(struct prometheus_row *row)
{
	return row->taken && fields_fit(NULL, &row->d, tcp_fields, ARRAY_SIZE(tcp_fields)) &&
	       fields_fit(NULL, &row->d, http_fields, ARRAY_SIZE(http_fields));
}

/* ---- the list ---- */

static enum protocol protocol_of(const struct prometheus_row *row)
{
	const struct destination *d = &row->d;

	if (row->kind == PROMETHEUS_TCP &&
	    (row->tls || d->tls_versions || d->alpn || d->name_source == NAME_SOURCE_SNI))
		return PROTOCOL_TLS;
	return row->kind == PROMETHEUS_TCP    ? PROTOCOL_TCP
	       : row->kind == PROMETHEUS_HTTP ? PROTOCOL_HTTP
	       : row->kind == PROMETHEUS_QUIC ? PROTOCOL_QUIC
					      : PROTOCOL_UDP;
}

static int order_compare(const void *a, const void *b)
{
	const struct prometheus_row *x = a, *y = b;
	int order = destination_compare(&x->d, &y->d);

	return order ? order : (int)y->current - (int)x->current;
}

/*
 * The registry's state and the mesh's part may have changed since an agent reported them that is gone: of rows of one
 * destination only current ones have a say, if there is one. Rows are in order_compare()'s order.
 */
static void forget_past_facts(struct prometheus_rows *rows)
{
	const struct prometheus_row *first = rows->items;

	for (size_t i = 0; i < rows->n; i++) {
		struct prometheus_row *row = &rows->items[i];

		if (destination_compare(&first->d, &row->d) != 0)
			first = row;
		if (!first->current || row->current)
			continue;
		row->d.registry = REGISTRY_UNKNOWN;
		row->d.interception = INTERCEPTION_NONE;
	}
}

/* Every connection past the mesh is a finding, as the agent has it. */
static void bypass_to(struct destination *d)
{
	bool udp = d->protocol == PROTOCOL_UDP || d->protocol == PROTOCOL_QUIC;

	if (d->interception == INTERCEPTION_BYPASS)
		d->findings |= 1u << (udp ? FINDING_QUIC_BYPASS : FINDING_MESH_BYPASS);
}

int prometheus_rows_list(struct prometheus_rows *rows, struct destination_list *ret)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	int r = 0;

	for (size_t i = 0; i < rows->n; i++) {
		if (!rows->items[i].current && !destination_is_sum(&rows->items[i].d))
			take_back(rows, &rows->items[i]);
	}
	for (size_t i = 0; i < rows->n; i++)
		rows->items[i].d.protocol = protocol_of(&rows->items[i]);
	if (rows->n > 1)
		qsort(rows->items, rows->n, sizeof(*rows->items), order_compare);
	forget_past_facts(rows);
	for (size_t i = 0; i < rows->n && r == 0; i++) {
		if (is_used_up(&rows->items[i]))
			continue;
		bypass_to(&rows->items[i].d);
		r = destination_list_add(&list, &rows->items[i].d);
	}
	if (r == 0)
		r = destination_list_normalize(&list);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct destination_list){0};
	return 0;
}
