// SPDX-License-Identifier: Apache-2.0
/*
 * Rows put together by their labels; see metrics_work.h.
 *
 * Rows that differ only in what is no label of a family (a host's TLS and plaintext HTTP on one
 * port, say) are summed: two lines with the same labels would make Prometheus refuse the whole
 * scrape. So rows are sorted by their labels first, and a family walks over the groups.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "metrics_work.h"

static enum kind row_kind(const struct destination *d)
{
	if (d->protocol == PROTOCOL_QUIC)
		return KIND_QUIC;
	if (d->protocol == PROTOCOL_UDP)
		return KIND_UDP;
	return d->visibility == VISIBILITY_L7 ? KIND_HTTP : KIND_TCP;
}

/* The strings of a source are shared by its rows, mostly. */
static int text_compare(const char *a, const char *b)
{
	return a == b ? 0 : strcmp(a, b);
}

/* workload_kind is no label, so it must not tell groups apart. */
static int labels_compare(const struct destination *a, const struct destination *b)
{
	const struct source *s = &a->source, *o = &b->source;
	int order = text_compare(s->ns, o->ns);

	if (order == 0)
		order = text_compare(s->workload, o->workload);
	if (order == 0)
		order = strcmp(a->host, b->host);
	if (order == 0)
		order = (a->port > b->port) - (a->port < b->port);
	if (order == 0)
		order = text_compare(s->canonical_service, o->canonical_service);
	if (order == 0)
		order = text_compare(s->canonical_revision, o->canonical_revision);
	if (order == 0)
		order = text_compare(s->app, o->app);
	return order ? order : text_compare(s->version, o->version);
}

static int rows_compare(const void *a, const void *b)
{
	const struct destination *x = *(const struct destination *const *)a;
	const struct destination *y = *(const struct destination *const *)b;
	int order = labels_compare(x, y);

	return order ? order : (int)row_kind(x) - (int)row_kind(y);
}

/* A list in the contract's order nearly always is in this one too. */
static bool rows_sorted(const struct metrics_rows *r)
{
	for (size_t i = 1; i < r->n; i++) {
		if (rows_compare(&r->rows[i - 1], &r->rows[i]) > 0)
			return false;
	}
	return true;
}

static void rows_group(struct metrics_rows *r)
{
	for (size_t i = 0; i < r->n;) {
		const struct destination *first = r->rows[i];
		struct endpoint *e = &r->endpoints[r->n_endpoints++];

		for (unsigned int kind = 0; kind < KIND_MAX; kind++) {
			e->begin[kind] = (uint32_t)i;
			while (i < r->n && row_kind(r->rows[i]) == kind &&
			       labels_compare(first, r->rows[i]) == 0)
				i++;
		}
		e->begin[KIND_MAX] = (uint32_t)i;
	}
}

int metrics_rows_of(const struct destination_list *list, struct metrics_rows *ret)
{
	struct metrics_rows r = {
		.rows = calloc(list->n + 1, sizeof(struct destination *)),
		.endpoints = calloc(list->n + 1, sizeof(*r.endpoints)),
	};

	if (!r.rows || !r.endpoints || list->n > UINT32_MAX) {
		metrics_rows_done(&r);
		return -ENOMEM;
	}
	for (size_t i = 0; i < list->n; i++) {
		if (!list->items[i].internal)
			r.rows[r.n++] = &list->items[i];
	}
	if (!rows_sorted(&r))
		qsort(r.rows, r.n, sizeof(struct destination *), rows_compare);
	rows_group(&r);
	*ret = r;
	return 0;
}

void metrics_rows_done(struct metrics_rows *rows)
{
	free(rows->rows);
	free(rows->endpoints);
	*rows = (struct metrics_rows){0};
}
