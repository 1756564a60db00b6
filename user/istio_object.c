// SPDX-License-Identifier: Apache-2.0
/*
 * One Istio object of a plan, see istio_work.h: name, evidence, ports, origination.
 *
 * Owns: which ports an object gets and when TLS may be originated. Must not know: which rows may be used
 * (istio_rows.c), YAML.
 */
#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "util.h"

/* RFC 1123 label: 63 bytes, of which a hyphen and the hash take 9. */
#define NAME_PREFIX_MAX 54
#define NAME_BUF        64

/* Objects */

void istio_object_free(struct istio_object *object)
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

size_t istio_strings_unique(char **strings, size_t n)
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
		istio_text_outside(&text, d->source.ns);
		text_add_char(&text, '/');
	}
	istio_text_outside(&text, d->source.workload);
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
	evidence->n_workloads = istio_strings_unique(evidence->workloads, evidence->n_workloads);
	return r;
}

static int note_conflict(struct plan_work *work, const struct row *row)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, "port ");
	text_add_u64(&text, row->d->port);
	text_puts(&text, " was seen with TLS and with plaintext HTTP; it is registered as TLS, the "
			 "plaintext requests will not match");
	return istio_note_add(&work->plan, &text);
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
		return istio_note_object(work, row,
					 "no DestinationRule: port 80 itself was seen with TLS");
	if (facts->tls_other)
		return istio_note_object(
			work, row,
			"no DestinationRule: TLS was not seen on port 443, where port 80's "
			"requests would be sent");
	return istio_note_object(
		work, row,
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
		return istio_note_object(
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
	return istio_note_object(
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
	text = istio_note_begin(work, row);
	istio_text_count(&text, over, "port");
	text_puts(&text, " left out: a ServiceEntry takes 256; the highest ones are missing");
	return istio_note_add(&work->plan, &text);
}

int istio_object_make(struct plan_work *work, const struct row *rows, size_t n,
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
