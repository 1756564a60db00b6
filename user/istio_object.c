// SPDX-License-Identifier: Apache-2.0
/*
 * One Istio object of a plan, see istio_work.h: name, evidence, ports, route.
 *
 * Owns: which ports an object gets. Must not know: which rows may be used (istio_rows.c), when TLS may be originated
 * (istio_tls.c), YAML.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "istio_tree.h"
#include "istio_work.h"
#include "util.h"

/* RFC 1123 label: 63 bytes, of which a hyphen and the hash take 9. */
#define NAME_PREFIX_MAX 54

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
	free(object->mutual.credential);
	free(object->mutual.key);
	free(object->mutual.value);
	free(object->route.timeout);
	*object = (struct istio_object){0};
}

/*
 * The host with hyphens for dots, cut to fit, and 8 hex digits: FNV-1a, 64 bits, upper half XOR lower half.
 * The hash keeps a.b-c and a-b.c, and hosts cut at the same place, apart.
 */
void istio_object_name(const char *host, char ret[NAME_BUF])
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t n;

	for (const char *c = host; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	if (host[0] == '*')
		n = (size_t)snprintf(ret, NAME_PREFIX_MAX + 1, "wildcard%s", host + 1);
	else
		n = (size_t)snprintf(ret, NAME_PREFIX_MAX + 1, "%s", host);
	n = MIN(n, (size_t)NAME_PREFIX_MAX);
	for (size_t i = 0; i < n; i++)
		if (ret[i] == '.')
			ret[i] = '-';
	snprintf(ret + n, NAME_BUF - n, "-%08x", (uint32_t)(hash ^ hash >> 32));
}

bool istio_object_has(const struct istio_object *object, enum istio_kind kind)
{
	switch (kind) {
	case ISTIO_DESTINATION_RULE:
		return object->originate;
	case ISTIO_SERVICE_ENTRY:
		return *object->host;
	case ISTIO_VIRTUAL_SERVICE:
		return object->routed;
	default:
		return !*object->host;
	}
}

/* Evidence */

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

/* Ports */

static int note_conflict(struct plan_work *work, const struct row *row)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, "port ");
	text_add_u64(&text, row->d->port);
	text_puts(&text, " was seen with TLS and with plaintext HTTP; it is registered as TLS, the "
			 "plaintext requests will not match");
	return istio_note_add(&work->plan, &text);
}

struct istio_port *istio_object_port(struct istio_object *object, uint16_t number)
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

/* What the cluster's own entry has stays, so that the view of one node takes nothing away from another's. */
static void object_keep_ports(const struct registry_object *entry, struct istio_object *object)
{
	for (size_t i = 0; entry && i < istio_tree_n_ports(entry); i++) {
		struct istio_port kept = istio_tree_port(entry, i);
		struct istio_port *port = istio_object_port(object, kept.number);

		port->kept = true;
		port->tls = kept.tls;
	}
}

/*
 * Ports by evidence, on top of what is there. Of the rows, the useful and selected ones count. Room is left for two
 * more.
 */
static int object_ports(struct plan_work *work, const struct group *group,
			const struct registry_object *entry, struct istio_object *object)
{
	size_t n = group->n_selected, end;
	int r = 0;

	object->ports = calloc(n + (entry ? istio_tree_n_ports(entry) : 0) + 2,
			       sizeof(*object->ports));
	if (!object->ports)
		return -ENOMEM;
	object_keep_ports(entry, object);
	for (size_t i = 0; i < n && !r; i = end) {
		struct istio_port *port = istio_object_port(object, group->rows[i].d->port);
		bool http = false;

		for (end = i; end < n && group->rows[end].d->port == port->number; end++) {
			port->tls |= group->rows[end].verdict == VERDICT_TLS;
			http |= group->rows[end].verdict == VERDICT_HTTP;
		}
		if (port->tls && http)
			r = note_conflict(work, &group->rows[i]);
	}
	return r;
}

/* The highest one that the cluster has not got. */
static size_t object_last_new(const struct istio_object *object)
{
	size_t i = object->n_ports - 1;

	while (i && object->ports[i].kept)
		i--;
	return i;
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
	while (object->n_ports > ISTIO_PORTS_MAX) {
		size_t i = object_last_new(object);

		object->n_ports--;
		memmove(&object->ports[i], &object->ports[i + 1],
			(object->n_ports - i) * sizeof(*object->ports));
	}
	text = istio_note_begin(work, row);
	istio_text_count(&text, over, "port");
	text_puts(&text, " left out: a ServiceEntry takes 256; the highest ones are missing");
	return istio_note_add(&work->plan, &text);
}

/* Routes */

static bool object_has_http(const struct istio_object *object)
{
	for (size_t i = 0; i < object->n_ports; i++)
		if (!object->ports[i].tls)
			return true;
	return false;
}

static char *make_timeout(uint64_t ms)
{
	bool seconds = ms % 1000 == 0;
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 "%s", seconds ? ms / 1000 : ms,
		 seconds ? "s" : "ms");
	return strdup(text);
}

/* Options win over what is there. */
static int object_fill_route(const struct plan_work *work, const struct registry_object *route,
			     struct istio_object *object)
{
	const struct istio_options *options = work->options;
	const char *timeout = NULL;

	object->route.retries = OPT_OFF;
	if (route)
		istio_tree_route(route, &timeout, &object->route.retries);
	if (options->retries != OPT_OFF)
		object->route.retries = options->retries;
	if (options->timeout_ms)
		object->route.timeout = make_timeout(options->timeout_ms);
	else if (timeout)
		object->route.timeout = strdup(timeout);
	object->routed = true;
	object->replaces[ISTIO_VIRTUAL_SERVICE] = route;
	return (options->timeout_ms || timeout) && !object->route.timeout ? -ENOMEM : 0;
}

/* A route of ours that is there goes with the ports: requests to one that it has not got would get a 404. */
static int object_route(struct plan_work *work, const struct group *group,
			const struct cluster *cluster, struct istio_object *object)
{
	const struct istio_options *options = work->options;
	const struct registry_object *route = cluster->ours[ISTIO_VIRTUAL_SERVICE];
	bool asked = options->timeout_ms || options->retries != OPT_OFF;

	if (!asked && !route)
		return 0;
	if (!object_has_http(object))
		return asked ? istio_note_object(
				       work, group->rows,
				       "no VirtualService: what passes through as TLS has "
				       "no requests to time or repeat")
			     : 0;
	if (cluster->route)
		return istio_note_cluster(work, group->rows, "no VirtualService: ", cluster->route,
					  " has the host already; set timeout and retries there");
	return object_fill_route(work, route, object);
}

/* All of it */

static enum istio_resolution object_resolution(const struct plan_work *work,
					       const struct registry_object *entry,
					       const char *host)
{
	bool dynamic = work->options->dynamic_dns;

	if (*host != '*')
		return ISTIO_DNS;
	/* Who does not fold now has nothing to say of what is folded. */
	if (work->options->wildcard == OPT_OFF && entry)
		dynamic = istio_tree_is_dynamic(entry);
	return dynamic ? ISTIO_DYNAMIC_DNS : ISTIO_NONE;
}

int istio_object_make(struct plan_work *work, const struct group *group,
		      const struct cluster *cluster, struct istio_object *object)
{
	const struct registry_object *entry = cluster->ours[ISTIO_SERVICE_ENTRY];
	const char *host = istio_row_host(group->rows);
	char name[NAME_BUF];
	int r;

	istio_object_name(host, name);
	object->name = strdup(name);
	object->ns = strdup(group->rows->ns);
	object->host = strdup(host);
	if (!object->name || !object->ns || !object->host)
		return -ENOMEM;
	object->resolution = object_resolution(work, entry, host);
	object->replaces[ISTIO_SERVICE_ENTRY] = entry;
	/* Who asks for less does not take it away from those who have more. */
	object->exported = work->options->mesh_scope || (entry && istio_tree_is_exported(entry));
	r = object_evidence(work, group->rows, group->n_selected, &object->evidence);
	if (!r)
		r = object_ports(work, group, entry, object);
	if (!r)
		r = istio_object_originate(work, group, cluster, object);
	if (!r)
		r = object_cap_ports(work, group->rows, object);
	return r ? r : object_route(work, group, cluster, object);
}
