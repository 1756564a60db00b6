// SPDX-License-Identifier: Apache-2.0
/*
 * Rows of a plan, see istio_work.h: what each destination is good for, and the notes about the others.
 *
 * Owns: which destination may be registered and why not. Must not know: ports, TLS origination, names of objects
 * (istio_object.c); what a legal host name is (name.c).
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "name.h"
#include "util.h"

static const char *const verdict_reasons[] = {
	[VERDICT_TLS] = "",
	[VERDICT_HTTP] = "",
	[VERDICT_NAME] = "", /* name_unregistrable() says it */
	[VERDICT_NAMESPACE] = "is called from a namespace whose name Kubernetes does not take",
	[VERDICT_PORT] = "0 is no port",
	[VERDICT_ECH] =
		"the client offers Encrypted ClientHello, so the name on the wire may not be the "
		"host it means",
	[VERDICT_NO_NAME] = "the connection itself carried no host name the mesh could match",
	[VERDICT_CONNECT] = "is reached through an HTTP proxy (CONNECT), the port is the proxy's; "
			    "register the proxy by hand",
	[VERDICT_HTTP_443] =
		"plaintext HTTP on the port of HTTPS: registered as HTTP it would break TLS "
		"to other hosts there",
	[VERDICT_HTTP2] = "HTTP/2 in plain text; register it by hand with protocol HTTP2 or GRPC",
	[VERDICT_QUIC] = "QUIC, which the mesh does not capture",
	[VERDICT_TCP] =
		"neither TLS nor HTTP: without addresses it would catch every destination on "
		"the port; register it by hand with addresses",
	[VERDICT_UDP] = "UDP, which the mesh does not capture",
};
_Static_assert(ARRAY_SIZE(verdict_reasons) == VERDICT_MAX, "a reason for every verdict");

/* Rows */

void istio_rows_free(struct plan_work *work)
{
	for (size_t i = 0; i < work->n_rows; i++) {
		free(work->rows[i].host);
		free(work->rows[i].wildcard);
	}
	free(work->rows);
	work->rows = NULL;
	work->n_rows = 0;
}

const char *istio_row_host(const struct row *row)
{
	return row->wildcard ? row->wildcard : row->host;
}

bool istio_row_registered(const struct row *row)
{
	return row->state == REGISTRY_REGISTERED || row->state == REGISTRY_ORIGINATED;
}

bool istio_row_covered(const struct row *row)
{
	return istio_row_registered(row) && !row->stray;
}

bool istio_row_is_plain_80(const struct row *row)
{
	return row->verdict == VERDICT_HTTP && row->d->port == 80 && !row->d->tls_origination &&
	       row->state != REGISTRY_ORIGINATED;
}

bool istio_group_covered(const struct group *group)
{
	for (size_t i = 0; i < group->n_selected; i++)
		if (!istio_row_covered(&group->rows[i]))
			return false;
	return true;
}

bool istio_group_uncovered(const struct group *group)
{
	for (size_t i = 0; i < group->n_selected; i++)
		if (istio_row_covered(&group->rows[i]))
			return false;
	return true;
}

/* Labels that the injector or the workload's owner gave the pod, as far as a list has them. */
struct registry_query istio_row_query(const struct row *row,
				      struct registry_label labels[ROW_LABELS_MAX])
{
	const struct source *source = &row->d->source;
	const struct registry_label known[] = {
		{"app", source->app},
		{"service.istio.io/canonical-name", source->canonical_service},
		{"service.istio.io/canonical-revision", source->canonical_revision},
		{"version", source->version},
	};
	size_t n = 0;

	_Static_assert(ARRAY_SIZE(known) == ROW_LABELS_MAX, "room for all");
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (*known[i].value)
			labels[n++] = known[i];
	return (struct registry_query){.ns = source->ns,
				       .labels = labels,
				       .n_labels = n,
				       .host = row->host,
				       .name_source = row->d->name_source,
				       .port = row->d->port,
				       .protocol = row->d->protocol};
}

static int row_host(const char *host, char **ret)
{
	struct text text = TEXT_INIT(NOTE_MAX);
	size_t size;
	int r;

	istio_text_outside(&text, host);
	r = text_take(&text, ret, &size);
	text_done(&text);
	if (r)
		return r;
	for (char *c = *ret; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (size > 1 && (*ret)[size - 1] == '.')
		(*ret)[size - 1] = '\0';
	return 0;
}

static enum verdict row_judge_protocol(const struct destination *d)
{
	bool named = d->name_source != NAME_SOURCE_DNS && d->name_source != NAME_SOURCE_IP;
	bool ech = d->ech || (d->findings & (1u << FINDING_ECH));

	switch (d->protocol) {
	case PROTOCOL_TLS:
		if (ech)
			return VERDICT_ECH;
		return named ? VERDICT_TLS : VERDICT_NO_NAME;
	case PROTOCOL_HTTP:
		if (d->name_source == NAME_SOURCE_CONNECT)
			return VERDICT_CONNECT;
		if (d->port == 443)
			return VERDICT_HTTP_443;
		return named ? VERDICT_HTTP : VERDICT_NO_NAME;
	case PROTOCOL_HTTP2:
		return VERDICT_HTTP2;
	case PROTOCOL_QUIC:
		return VERDICT_QUIC;
	case PROTOCOL_UDP:
		return VERDICT_UDP;
	default:
		return VERDICT_TCP;
	}
}

static enum verdict row_judge(const struct plan_work *work, const struct row *row)
{
	if (name_unregistrable(row->host))
		return VERDICT_NAME;
	if (!work->options->mesh_scope && *row->ns && !istio_namespace_valid(row->ns))
		return VERDICT_NAMESPACE;
	if (!row->d->port)
		return VERDICT_PORT;
	return row_judge_protocol(row->d);
}

/* Whether rows without a namespace belong to "default", where kubectl puts objects that have none. */
static bool has_default(const struct plan_work *work)
{
	for (size_t i = 0; work->store && i < work->list->n; i++)
		if (strcmp(work->list->items[i].source.ns, "default") == 0)
			return true;
	return false;
}

static bool is_internal(const struct plan_work *work, const struct destination *d)
{
	return d->internal ||
	       (work->store && registry_is_internal(work->store, d->source.ns, d->host,
						    d->n_addresses ? d->addresses[0].ip : NULL));
}

/* What belongs to the selection beside the registry's state, which the row may not know yet. */
static bool is_selected(const struct plan_work *work, const struct destination *d)
{
	struct selection selection = work->options->selection;

	selection.scope = SCOPE_ALL;
	selection.visibility = VISIBILITY_MAX;
	selection.registry = REGISTRY_MAX;
	return selection_matches(&selection, d);
}

static int row_fill(struct plan_work *work, const struct destination *d, bool to_default)
{
	const struct istio_options *options = work->options;
	enum registry wanted = options->selection.registry;
	struct row *row = &work->rows[work->n_rows];
	int r = row_host(d->host, &row->host);

	if (r)
		return r;
	work->n_rows++;
	row->d = d;
	row->ns = options->mesh_scope ? options->root_namespace : d->source.ns;
	if (to_default && !*row->ns)
		row->ns = "default";
	row->verdict = row_judge(work, row);
	istio_cluster_judge(work, row);
	row->selected = is_selected(work, d) && (wanted == REGISTRY_MAX || wanted == row->state);
	/* Somebody registered by hand what this tool would not have: nothing to complain of. */
	if (row->selected && row->verdict >= VERDICT_LEFT_OUT && options->only_unregistered &&
	    istio_row_registered(row)) {
		row->selected = false;
		work->n_registered++;
	}
	return 0;
}

int istio_rows_fill(struct plan_work *work)
{
	const struct destination_list *list = work->list;
	bool to_default = has_default(work);
	int r = 0;

	work->rows = calloc(MAX(list->n, 1u), sizeof(*work->rows));
	if (!work->rows)
		return -ENOMEM;
	for (size_t i = 0; i < list->n && !r; i++) {
		const struct destination *d = &list->items[i];

		if (is_internal(work, d))
			work->n_internal += is_selected(work, d);
		else
			r = row_fill(work, d, to_default);
	}
	return r;
}

/* What is left out */

/* Selected ones in front. */
static int compare_by_host(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = (int)y->selected - (int)x->selected;

	if (!r)
		r = strcmp(x->host, y->host);
	if (!r)
		r = (int)x->verdict - (int)y->verdict;
	return r ? r : (int)x->d->port - (int)y->d->port;
}

static const char *host_fault(const char *host)
{
	if (strcmp(host, MODEL_HOST_OTHER) == 0)
		return "stands for the hosts beyond a limit; raise --max-hosts-per-workload of the "
		       "agent";
	if (strcmp(host, MODEL_HOST_INVALID) == 0)
		return "stands for names that no host can have";
	return name_unregistrable(host);
}

/* One line for rows of one host and one verdict. */
static int note_left_out(struct plan_work *work, const struct row *rows, size_t n)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, rows->host);
	text_puts(&text, ": left out");
	if (rows->verdict == VERDICT_NAME) {
		text_puts(&text, ": ");
		text_puts(&text, host_fault(rows->host));
		return istio_note_add(&work->plan, &text);
	}
	if (rows->verdict != VERDICT_NAMESPACE)
		istio_text_ports(&text, rows, n);
	text_puts(&text, ": ");
	text_puts(&text, verdict_reasons[rows->verdict]);
	return istio_note_add(&work->plan, &text);
}

/*
 * Of the TCP rows among a host's rows, the ones on a port that is not registered anyway: a connection that
 * ended before its first byte counts as raw TCP, and is no news there. They move to the front, in order.
 */
static size_t rows_news(const struct row *host_rows, struct row *tcp_rows, size_t n)
{
	uint8_t used[(UINT16_MAX + 1) / 8] = {0};
	size_t kept = 0;

	for (; host_rows->verdict < VERDICT_LEFT_OUT; host_rows++)
		used[host_rows->d->port / 8] |= (uint8_t)(1u << host_rows->d->port % 8);
	for (size_t i = 0; i < n; i++) {
		struct row row = tcp_rows[i];

		if (used[row.d->port / 8] & (1u << row.d->port % 8))
			continue;
		tcp_rows[i] = tcp_rows[kept];
		tcp_rows[kept++] = row;
	}
	return kept;
}

/* All selected rows of one host, sorted by verdict and port, the useful ones first. */
static int note_host(struct plan_work *work, struct row *rows, size_t n)
{
	size_t end, news;
	int r = 0;

	for (size_t i = 0; i < n && !r; i = end) {
		for (end = i + 1; end < n && rows[end].verdict == rows[i].verdict;)
			end++;
		news = end - i;
		if (rows[i].verdict < VERDICT_LEFT_OUT)
			continue;
		if (rows[i].verdict == VERDICT_TCP)
			news = rows_news(rows, rows + i, news);
		if (news)
			r = note_left_out(work, rows + i, news);
	}
	return r;
}

int istio_note_hosts(struct plan_work *work)
{
	size_t n = 0, end;
	int r = 0;

	qsort(work->rows, work->n_rows, sizeof(*work->rows), compare_by_host);
	while (n < work->n_rows && work->rows[n].selected)
		n++;
	for (size_t i = 0; i < n && !r; i = end) {
		for (end = i + 1; end < n && !strcmp(work->rows[end].host, work->rows[i].host);)
			end++;
		r = note_host(work, work->rows + i, end - i);
	}
	return r;
}
