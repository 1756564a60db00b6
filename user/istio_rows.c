// SPDX-License-Identifier: Apache-2.0
/*
 * Rows of a plan, see istio_work.h: what each destination is good for, and the notes about the others.
 *
 * Owns: which destination may be registered and why not, the form of a note. Must not know: ports, TLS
 * origination, names of objects (istio_object.c); what a legal host name is (name.c).
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "name.h"
#include "util.h"

/* Ports named in a note; the rest is a number. */
#define NOTE_PORTS_MAX 20
/* Bytes of any name from outside that are looked at, before escaping; legal ones have at most 253. */
#define OUTSIDE_MAX 255

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

void *istio_array_grow(void *items, size_t n, size_t item_size)
{
	if (n & (n - 1))
		return items;
	return realloc(items, MAX(2 * n, 1u) * item_size);
}

void istio_text_outside(struct text *text, const char *s)
{
	char cut[OUTSIDE_MAX + 1];

	snprintf(cut, sizeof(cut), "%s", s);
	text_add_printable(text, cut);
}

/* Notes */

int istio_note_add(struct istio_plan *plan, struct text *text)
{
	_cleanup_free_ char *line = NULL;
	char **grown;
	size_t size;
	int r = text_take(text, &line, &size);

	text_done(text);
	if (r)
		return r;
	grown = istio_array_grow(plan->notes, plan->n_notes, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	plan->notes = grown;
	plan->notes[plan->n_notes++] = TAKE_PTR(line);
	return 0;
}

void istio_text_count(struct text *text, uint64_t n, const char *noun)
{
	text_add_u64(text, n);
	text_add_char(text, ' ');
	text_puts(text, noun);
	text_puts(text, n == 1 ? "" : "s");
}

int istio_note_count(struct istio_plan *plan, uint64_t n, const char *rest)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	if (!n)
		return 0;
	istio_text_count(&text, n, "destination");
	text_add_char(&text, ' ');
	text_puts(&text, rest);
	return istio_note_add(plan, &text);
}

int istio_note_general(struct istio_plan *plan, const char *line)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, line);
	return istio_note_add(plan, &text);
}

struct text istio_note_begin(const struct plan_work *work, const struct row *row)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, row->host);
	if (!work->options->mesh_scope && *row->ns) {
		text_puts(&text, " in namespace ");
		text_puts(&text, row->ns);
	}
	text_puts(&text, ": ");
	return text;
}

int istio_note_object(struct plan_work *work, const struct row *row, const char *rest)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, rest);
	return istio_note_add(&work->plan, &text);
}

/* Rows */

/* Rows */

void istio_rows_free(struct plan_work *work)
{
	for (size_t i = 0; i < work->n_rows; i++)
		free(work->rows[i].host);
	free(work->rows);
	work->rows = NULL;
	work->n_rows = 0;
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

int istio_rows_fill(struct plan_work *work, const struct destination_list *list)
{
	const struct istio_options *options = work->options;
	int r;

	work->rows = calloc(MAX(list->n, 1u), sizeof(*work->rows));
	if (!work->rows)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		const struct destination *d = &list->items[i];
		struct row *row = &work->rows[work->n_rows];

		if (d->internal) {
			work->n_internal++;
			continue;
		}
		r = row_host(d->host, &row->host);
		if (r)
			return r;
		row->d = d;
		row->ns = options->mesh_scope ? options->root_namespace : d->source.ns;
		row->verdict = row_judge(work, row);
		work->n_rows++;
	}
	return 0;
}

/* What is left out */

static int compare_by_host(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->host, y->host);

	if (!r)
		r = (int)x->verdict - (int)y->verdict;
	return r ? r : (int)x->d->port - (int)y->d->port;
}

/* " on port 80" or " on ports 80, 81 and 7 more". rows: ascending by port. */
static void text_add_ports(struct text *text, const struct row *rows, size_t n)
{
	size_t distinct = 0;

	for (size_t i = 0; i < n; i++)
		distinct += i == 0 || rows[i].d->port != rows[i - 1].d->port;
	text_puts(text, distinct == 1 ? " on port " : " on ports ");
	for (size_t i = 0, shown = 0; i < n && shown < NOTE_PORTS_MAX; i++) {
		if (i && rows[i].d->port == rows[i - 1].d->port)
			continue;
		text_puts(text, shown++ ? ", " : "");
		text_add_u64(text, rows[i].d->port);
	}
	if (distinct > NOTE_PORTS_MAX) {
		text_puts(text, " and ");
		text_add_u64(text, distinct - NOTE_PORTS_MAX);
		text_puts(text, " more");
	}
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
		text_add_ports(&text, rows, n);
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

/* All rows of one host, sorted by verdict and port, the useful ones first. */
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
	size_t end;
	int r = 0;

	qsort(work->rows, work->n_rows, sizeof(*work->rows), compare_by_host);
	for (size_t i = 0; i < work->n_rows && !r; i = end) {
		for (end = i + 1;
		     end < work->n_rows && !strcmp(work->rows[end].host, work->rows[i].host);)
			end++;
		r = note_host(work, work->rows + i, end - i);
	}
	return r;
}
