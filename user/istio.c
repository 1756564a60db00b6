// SPDX-License-Identifier: Apache-2.0
/*
 * From destinations to Istio objects, see istio.h.
 *
 * Owns: which destination may be registered and why not, which ports an object gets, when TLS may be
 * originated. Must not know: YAML, files, the agent; what a legal host name is (name.c).
 *
 * The list is read twice: once in the order (host, verdict, port) for what is left out, because a host is
 * reported once whoever called it, and once in the order (namespace, host, port) for the objects.
 */
#include "istio.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "name.h"
#include "text.h"
#include "util.h"

/* A note is one line; a host is at most 253 bytes of it, and 1,012 when every byte is escaped. */
#define NOTE_MAX 4096
/* Ports named in a note; the rest is a number. */
#define NOTE_PORTS_MAX 20
/* Bytes of any name from outside that are looked at, before escaping; legal ones have at most 253. */
#define OUTSIDE_MAX 255
/* RFC 1123 label: 63 bytes, of which a hyphen and the hash take 9. */
#define NAME_PREFIX_MAX 54
#define NAME_BUF        64

/* What one row is good for. Everything from VERDICT_LEFT_OUT on is reported and not used. */
enum verdict {
	VERDICT_TLS,
	VERDICT_HTTP,
	VERDICT_LEFT_OUT,
	VERDICT_NAME = VERDICT_LEFT_OUT,
	VERDICT_NAMESPACE,
	VERDICT_PORT,
	VERDICT_ECH,
	VERDICT_NO_NAME,
	VERDICT_CONNECT,
	VERDICT_HTTP2,
	VERDICT_QUIC,
	VERDICT_TCP,
	VERDICT_UDP,
	VERDICT_MAX,
};

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
	[VERDICT_HTTP2] = "HTTP/2 in plain text; register it by hand with protocol HTTP2 or GRPC",
	[VERDICT_QUIC] = "QUIC, which the mesh does not capture",
	[VERDICT_TCP] =
		"neither TLS nor HTTP: without addresses it would catch every destination on "
		"the port; register it by hand with addresses",
	[VERDICT_UDP] = "UDP, which the mesh does not capture",
};
_Static_assert(ARRAY_SIZE(verdict_reasons) == VERDICT_MAX, "a reason for every verdict");

struct row {
	const struct destination *d;
	char *host;     /* lower case, without trailing dot, printable; owned */
	const char *ns; /* of the object it belongs to */
	enum verdict verdict;
};

/* All the work in progress. */
struct plan_work {
	const struct istio_options *options;
	struct istio_plan plan;
	struct row *rows;
	size_t n_rows;
	size_t n_internal, n_registered;
	bool originate; /* some object does */
};

/* Options as words */

const char *const istio_api_version_words[] = {"v1", "v1beta1", NULL};
const char *const istio_scope_words[] = {"namespace", "mesh", NULL};
static const char *const istio_bool_words[] = {"false", "true", NULL};

static int istio_parse_word(const char *const words[], const char *word, bool *ret)
{
	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int istio_parse_number(const char *text, uint32_t *ret)
{
	uint64_t value = 0;

	if (!*text || strlen(text) > 10)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	if (value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int istio_parse_all(const char *value, struct istio_options *options)
{
	bool all = false;
	int r = istio_parse_word(istio_bool_words, value, &all);

	if (!r)
		options->only_unregistered = !all;
	return r;
}

int istio_options_parse(struct istio_options *options, const char *name, const char *value)
{
	if (strcmp(name, "visibility") == 0)
		return model_visibility_parse(value, &options->visibility);
	if (strcmp(name, "api-version") == 0)
		return istio_parse_word(istio_api_version_words, value, &options->v1beta1);
	if (strcmp(name, "scope") == 0)
		return istio_parse_word(istio_scope_words, value, &options->mesh_scope);
	if (strcmp(name, "min-connections") == 0)
		return istio_parse_number(value, &options->min_connections);
	if (strcmp(name, "only-unregistered") == 0)
		return istio_parse_word(istio_bool_words, value, &options->only_unregistered);
	if (strcmp(name, "all") == 0)
		return istio_parse_all(value, options);
	if (strcmp(name, "root-namespace") != 0)
		return -ENOENT;
	if (!istio_namespace_valid(value))
		return -EINVAL;
	options->root_namespace = value;
	return 0;
}

bool istio_namespace_valid(const char *ns)
{
	size_t len = strlen(ns);

	return len > 0 && len <= 63 &&
	       ns[strspn(ns, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' && ns[0] != '-' &&
	       ns[len - 1] != '-';
}

/* Room for one more item, or NULL. Only this grows the array, by powers of two: n tells when it is full. */
static void *array_grow(void *items, size_t n, size_t item_size)
{
	if (n & (n - 1))
		return items;
	return realloc(items, MAX(2 * n, 1u) * item_size);
}

/* Text from outside, cut and printable. */
static void text_add_outside(struct text *text, const char *s)
{
	char cut[OUTSIDE_MAX + 1];

	snprintf(cut, sizeof(cut), "%s", s);
	text_add_printable(text, cut);
}

/* Notes */

/* Take over what text holds, or its error. */
static int note_add(struct istio_plan *plan, struct text *text)
{
	_cleanup_free_ char *line = NULL;
	char **grown;
	size_t size;
	int r = text_take(text, &line, &size);

	text_done(text);
	if (r)
		return r;
	grown = array_grow(plan->notes, plan->n_notes, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	plan->notes = grown;
	plan->notes[plan->n_notes++] = TAKE_PTR(line);
	return 0;
}

static void note_add_count(struct text *text, uint64_t n, const char *noun)
{
	text_add_u64(text, n);
	text_add_char(text, ' ');
	text_puts(text, noun);
	text_puts(text, n == 1 ? "" : "s");
}

/* A general note: "N destination(s) <rest>"; nothing if there are none. */
static int note_count(struct istio_plan *plan, uint64_t n, const char *rest)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	if (!n)
		return 0;
	note_add_count(&text, n, "destination");
	text_add_char(&text, ' ');
	text_puts(&text, rest);
	return note_add(plan, &text);
}

static int note_general(struct istio_plan *plan, const char *line)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, line);
	return note_add(plan, &text);
}

/* "HOST: " or "HOST in namespace NS: ", for notes about one object. */
static struct text note_begin(const struct plan_work *work, const struct row *row)
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

static int note_object(struct plan_work *work, const struct row *row, const char *rest)
{
	struct text text = note_begin(work, row);

	text_puts(&text, rest);
	return note_add(&work->plan, &text);
}

/* Rows */

static void rows_free(struct plan_work *work)
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

	text_add_outside(&text, host);
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

static int rows_fill(struct plan_work *work, const struct destination_list *list)
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

static int compare_by_host(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->host, y->host);

	if (!r)
		r = (int)x->verdict - (int)y->verdict;
	return r ? r : (int)x->d->port - (int)y->d->port;
}

static int compare_by_object(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(x->host, y->host);
	return r ? r : (int)x->d->port - (int)y->d->port;
}

/* What is left out */

/* " on port 80" or " on ports 80, 81 and 7 more". rows: ascending by port. */
static void note_add_ports(struct text *text, const struct row *rows, size_t n)
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
		return note_add(&work->plan, &text);
	}
	if (rows->verdict != VERDICT_NAMESPACE)
		note_add_ports(&text, rows, n);
	text_puts(&text, ": ");
	text_puts(&text, verdict_reasons[rows->verdict]);
	return note_add(&work->plan, &text);
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

static int plan_note_hosts(struct plan_work *work)
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

/* Objects */

static void object_free(struct istio_object *object)
{
	free(object->ns);
	free(object->name);
	free(object->host);
	free(object->ports);
	for (size_t i = 0; i < object->evidence.n_workloads; i++)
		free(object->evidence.workloads[i]);
	free(object->evidence.workloads);
	*object = (struct istio_object){0};
}

void istio_plan_done(struct istio_plan *plan)
{
	for (size_t i = 0; i < plan->n_objects; i++)
		object_free(&plan->objects[i]);
	free(plan->objects);
	for (size_t i = 0; i < plan->n_notes; i++)
		free(plan->notes[i]);
	free(plan->notes);
	*plan = (struct istio_plan){0};
}

/*
 * The host with hyphens for dots, cut to fit, and 8 hex digits: FNV-1a, 64 bits, upper half XOR lower half.
 * The hash keeps a.b-c and a-b.c, and hosts cut at the same place, apart.
 */
static void object_make_name(const char *host, char ret[NAME_BUF])
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t n = 0;

	for (const char *c = host; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	for (const char *c = host; *c && n < NAME_PREFIX_MAX; c++)
		ret[n++] = *c;
	for (size_t i = 0; i < n; i++)
		if (ret[i] == '.')
			ret[i] = '-';
	snprintf(ret + n, NAME_BUF - n, "-%08x", (uint32_t)(hash ^ hash >> 32));
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sort and drop equal lines. Returns how many are left. */
static size_t strings_unique(char **strings, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(strings, n, sizeof(*strings), compare_strings);
	for (size_t i = 0; i < n; i++) {
		if (kept && strcmp(strings[kept - 1], strings[i]) == 0)
			free(strings[i]);
		else
			strings[kept++] = strings[i];
	}
	return kept;
}

static int evidence_add_workload(const struct plan_work *work, const struct destination *d,
				 struct istio_evidence *evidence)
{
	struct text text = TEXT_INIT(NOTE_MAX);
	size_t size;
	int r;

	if (!*d->source.workload)
		return 0;
	if (work->options->mesh_scope && *d->source.ns) {
		text_add_outside(&text, d->source.ns);
		text_add_char(&text, '/');
	}
	text_add_outside(&text, d->source.workload);
	r = text_take(&text, &evidence->workloads[evidence->n_workloads], &size);
	text_done(&text);
	if (!r)
		evidence->n_workloads++;
	return r;
}

static int object_evidence(const struct plan_work *work, const struct row *rows, size_t n,
			   struct istio_evidence *evidence)
{
	int r = 0;

	evidence->workloads = calloc(n, sizeof(*evidence->workloads));
	if (!evidence->workloads)
		return -ENOMEM;
	for (size_t i = 0; i < n && !r; i++) {
		const struct destination *d = rows[i].d;

		evidence->connections = model_add(evidence->connections, d->opened);
		evidence->requests = model_add(evidence->requests, d->requests);
		if (d->first_ms && (!evidence->first_ms || d->first_ms < evidence->first_ms))
			evidence->first_ms = d->first_ms;
		evidence->last_ms = MAX(evidence->last_ms, d->last_ms);
		r = evidence_add_workload(work, d, evidence);
	}
	evidence->n_workloads = strings_unique(evidence->workloads, evidence->n_workloads);
	return r;
}

static int note_conflict(struct plan_work *work, const struct row *row)
{
	struct text text = note_begin(work, row);

	text_puts(&text, "port ");
	text_add_u64(&text, row->d->port);
	text_puts(&text, " was seen with TLS and with plaintext HTTP; it is registered as TLS, the "
			 "plaintext requests will not match");
	return note_add(&work->plan, &text);
}

/* Ports by evidence. rows: useful ones only, ascending by port. Room is for two more. */
static int object_ports(struct plan_work *work, const struct row *rows, size_t n,
			struct istio_object *object)
{
	size_t end;
	int r = 0;

	object->ports = calloc(n + 2, sizeof(*object->ports));
	if (!object->ports)
		return -ENOMEM;
	for (size_t i = 0; i < n && !r; i = end) {
		bool tls = false, http = false;

		for (end = i; end < n && rows[end].d->port == rows[i].d->port; end++) {
			tls |= rows[end].verdict == VERDICT_TLS;
			http |= rows[end].verdict == VERDICT_HTTP;
		}
		object->ports[object->n_ports++] = (struct istio_port){.number = rows[i].d->port,
								       .tls = tls};
		if (tls && http)
			r = note_conflict(work, &rows[i]);
	}
	return r;
}

/* Find the port or insert it where it belongs; there is room, see object_ports(). */
static struct istio_port *object_port(struct istio_object *object, uint16_t number)
{
	size_t i = 0;

	while (i < object->n_ports && object->ports[i].number < number)
		i++;
	if (i < object->n_ports && object->ports[i].number == number)
		return &object->ports[i];
	memmove(&object->ports[i + 1], &object->ports[i],
		(object->n_ports - i) * sizeof(*object->ports));
	object->n_ports++;
	object->ports[i] = (struct istio_port){.number = number};
	return &object->ports[i];
}

/* What decides about origination, over all useful rows of an object. */
struct tls_facts {
	bool tls_80, tls_443, tls_other;
	bool originated; /* the sidecar turns the plaintext on port 80 into TLS already */
	bool plain_80;   /* plaintext on port 80 that it does not */
};

static struct tls_facts object_tls_facts(const struct row *rows, size_t n)
{
	struct tls_facts facts = {0};

	for (size_t i = 0; i < n; i++) {
		const struct destination *d = rows[i].d;

		if (rows[i].verdict == VERDICT_TLS) {
			facts.tls_80 |= d->port == 80;
			facts.tls_443 |= d->port == 443;
			facts.tls_other |= d->port != 80 && d->port != 443;
		} else if (d->port == 80) {
			facts.originated |= d->tls_origination;
			facts.plain_80 |= !d->tls_origination;
		}
	}
	return facts;
}

static int note_no_origination(struct plan_work *work, const struct row *row,
			       const struct tls_facts *facts)
{
	if (facts->tls_80)
		return note_object(work, row,
				   "no DestinationRule: port 80 itself was seen with TLS");
	if (facts->tls_other)
		return note_object(
			work, row,
			"no DestinationRule: TLS was not seen on port 443, where port 80's "
			"requests would be sent");
	return note_object(work, row,
			   "no DestinationRule needed: only plaintext HTTP was seen, which is "
			   "readable as it is");
}

/*
 * Port 80 to 443 with TLS opened by the sidecar. 443 stays registered even when only the sidecar's TLS was
 * seen on it: an application that moves to http:// must not make its own entry shrink at the next run.
 */
static int object_originate(struct plan_work *work, const struct row *rows, size_t n,
			    struct istio_object *object)
{
	struct tls_facts facts = object_tls_facts(rows, n);
	struct istio_port *http;

	if (work->options->visibility != VISIBILITY_L7 && facts.originated)
		return note_object(
			work, rows,
			"TLS origination is in use on port 80; this ServiceEntry has none and "
			"would end it; use --visibility l7");
	if (work->options->visibility != VISIBILITY_L7)
		return 0;
	if (facts.tls_80 || (!facts.tls_443 && !facts.originated))
		return note_no_origination(work, rows, &facts);

	http = object_port(object, 80);
	http->target_port = 443;
	object_port(object, 443)->tls = true;
	object->originate = true;
	work->originate = true;
	if (!facts.plain_80)
		return 0;
	return note_object(
		work, rows,
		"plaintext requests to port 80 were seen; with this DestinationRule they are "
		"sent over TLS to port 443");
}

/* The CRD takes so many and no more. Ports 80 and 443 are among the lowest. */
static int object_cap_ports(struct plan_work *work, const struct row *row,
			    struct istio_object *object)
{
	struct text text;
	size_t over;

	if (object->n_ports <= ISTIO_PORTS_MAX)
		return 0;
	over = object->n_ports - ISTIO_PORTS_MAX;
	object->n_ports = ISTIO_PORTS_MAX;
	text = note_begin(work, row);
	note_add_count(&text, over, "port");
	text_puts(&text, " left out: a ServiceEntry takes 256; the highest ones are missing");
	return note_add(&work->plan, &text);
}

static int object_make(struct plan_work *work, const struct row *rows, size_t n,
		       struct istio_object *object)
{
	char name[NAME_BUF];
	int r;

	object_make_name(rows->host, name);
	object->name = strdup(name);
	object->ns = strdup(rows->ns);
	object->host = strdup(rows->host);
	if (!object->name || !object->ns || !object->host)
		return -ENOMEM;
	r = object_evidence(work, rows, n, &object->evidence);
	if (!r)
		r = object_ports(work, rows, n, object);
	if (!r)
		r = object_originate(work, rows, n, object);
	return r ? r : object_cap_ports(work, rows, object);
}

static int plan_add_object(struct plan_work *work, const struct row *rows, size_t n)
{
	struct istio_plan *plan = &work->plan;
	struct istio_object object = {0}, *grown;
	int r = object_make(work, rows, n, &object);

	if (!r) {
		grown = array_grow(plan->objects, plan->n_objects, sizeof(*grown));
		if (grown)
			plan->objects = grown;
		r = grown ? 0 : -ENOMEM;
	}
	if (r)
		object_free(&object);
	else
		plan->objects[plan->n_objects++] = object;
	return r;
}

static int note_too_few(struct plan_work *work, const struct row *row, uint64_t connections,
			uint64_t requests)
{
	struct text text = note_begin(work, row);

	text_puts(&text, "left out: seen in ");
	note_add_count(&text, connections, "connection");
	text_puts(&text, " and ");
	note_add_count(&text, requests, "request");
	text_puts(&text, ", fewer than --min-connections ");
	text_add_u64(&text, work->options->min_connections);
	return note_add(&work->plan, &text);
}

/* Useful rows of one object. What the options leave out is told, the rest becomes an object. */
static int plan_consider(struct plan_work *work, const struct row *rows, size_t n)
{
	uint64_t connections = 0, requests = 0;
	size_t covered = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		enum registry state = rows[i].d->registry;

		covered += state == REGISTRY_REGISTERED || state == REGISTRY_ORIGINATED;
		connections = model_add(connections, rows[i].d->opened);
		requests = model_add(requests, rows[i].d->requests);
	}
	if (work->options->only_unregistered && covered == n) {
		work->n_registered += n;
		return 0;
	}
	if (MAX(connections, requests) < work->options->min_connections)
		return note_too_few(work, rows, connections, requests);
	if (work->options->only_unregistered && covered)
		r = note_object(
			work, rows,
			"is registered in part; the ServiceEntry has all its ports, so that it "
			"can take the old one's place");
	return r ? r : plan_add_object(work, rows, n);
}

static bool rows_same_object(const struct row *a, const struct row *b)
{
	return strcmp(a->ns, b->ns) == 0 && strcmp(a->host, b->host) == 0;
}

static int plan_add_objects(struct plan_work *work)
{
	size_t useful = 0, end;
	int r = 0;

	/* Useful rows to the front; the others stay behind them for rows_free(). */
	for (size_t i = 0; i < work->n_rows; i++) {
		struct row row = work->rows[i];

		if (row.verdict >= VERDICT_LEFT_OUT)
			continue;
		work->rows[i] = work->rows[useful];
		work->rows[useful++] = row;
	}
	qsort(work->rows, useful, sizeof(*work->rows), compare_by_object);
	for (size_t i = 0; i < useful && !r; i = end) {
		for (end = i + 1;
		     end < useful && rows_same_object(&work->rows[i], &work->rows[end]);)
			end++;
		r = plan_consider(work, work->rows + i, end - i);
	}
	return r;
}

static int compare_by_name(const void *a, const void *b)
{
	const struct istio_object *x = *(struct istio_object *const *)a;
	const struct istio_object *y = *(struct istio_object *const *)b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(x->name, y->name);
	return r ? r : strcmp(x->host, y->host);
}

static int note_collision(struct plan_work *work, const struct istio_object *object,
			  const struct istio_object *first)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, object->host);
	text_puts(&text, ": left out: its object would have the same name as the one of ");
	text_puts(&text, first->host);
	return note_add(&work->plan, &text);
}

/*
 * Hosts are chosen by whoever calls them, and 32 bits of FNV can be made equal on purpose: an object must not
 * silently take the place of another one.
 */
static int plan_drop_collisions(struct plan_work *work)
{
	struct istio_plan *plan = &work->plan;
	_cleanup_free_ struct istio_object **by_name = NULL;
	struct istio_object *first = NULL;
	size_t kept = 0;
	int r = 0;

	by_name = calloc(MAX(plan->n_objects, 1u), sizeof(struct istio_object *));
	if (!by_name)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_objects; i++)
		by_name[i] = &plan->objects[i];
	qsort(by_name, plan->n_objects, sizeof(struct istio_object *), compare_by_name);
	for (size_t i = 0; i < plan->n_objects && !r; i++) {
		if (!first || strcmp(first->name, by_name[i]->name) ||
		    strcmp(first->ns, by_name[i]->ns)) {
			first = by_name[i];
			continue;
		}
		r = note_collision(work, by_name[i], first);
		object_free(by_name[i]);
	}
	for (size_t i = 0; i < plan->n_objects; i++)
		if (plan->objects[i].name)
			plan->objects[kept++] = plan->objects[i];
	plan->n_objects = kept;
	return r;
}

static int plan_note_general(struct plan_work *work, const struct destination_list *list)
{
	struct istio_plan *plan = &work->plan;
	int r = 0;

	plan->n_notes = strings_unique(plan->notes, plan->n_notes);
	if (work->originate)
		r = note_general(
			plan, "the DestinationRules take effect where an application calls http:// "
			      "instead of https://; the sidecar opens TLS for it");
	if (!r)
		r = note_count(plan, work->n_registered,
			       "left out: in the registry already; --all includes them");
	if (!r)
		r = note_count(plan, work->n_internal, "left out: internal");
	if (!r)
		r = note_count(plan, model_add(list->destinations_dropped, list->hosts_folded),
			       "may be missing: the agent had no room for them; raise its "
			       "--max-destinations or --max-hosts-per-workload");
	return r;
}

static int plan_fill(struct plan_work *work, const struct destination_list *list)
{
	int r = rows_fill(work, list);

	if (!r)
		r = plan_note_hosts(work);
	if (!r)
		r = plan_add_objects(work);
	if (!r)
		r = plan_drop_collisions(work);
	return r ? r : plan_note_general(work, list);
}

int istio_plan_make(const struct destination_list *list, const struct istio_options *options,
		    struct istio_plan *ret)
{
	struct plan_work work = {.options = options};
	int r;

	if (options->mesh_scope && !istio_namespace_valid(options->root_namespace))
		return -EINVAL;
	r = plan_fill(&work, list);
	rows_free(&work);
	if (r)
		istio_plan_done(&work.plan);
	else
		*ret = work.plan;
	return r;
}
