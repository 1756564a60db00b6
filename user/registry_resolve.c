// SPDX-License-Identifier: Apache-2.0
/*
 * Which service gets a connection, see registry_resolve().
 *
 * Owns: the order in which a sidecar's listeners and routes match. Must not know: visibility and precedence of
 * services (registry_scope.c), DestinationRules (registry_tls.c).
 *
 * istiod gives a sidecar one listener for each address and port of a TCP or TLS service, and one for each port on
 * 0.0.0.0 with everything else in it; Envoy looks for a connection's very address first. On 0.0.0.0 it goes by the
 * most specific range of addresses, then by SNI, then by whether it reads like HTTP, and what is left is for the
 * one TCP service that named no address (pilot/pkg/networking/core/listener.go, Envoy's filter chain match).
 * Nothing falls back: inside a range only its services count.
 *
 * So a port declared HTTP never takes TLS, and one declared TLS takes plaintext HTTP only at an address of its own.
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

enum traffic { TRAFFIC_HTTP, TRAFFIC_TLS, TRAFFIC_TCP, TRAFFIC_NONE };

static enum traffic query_traffic(const struct registry_query *query)
{
	switch (query->protocol) {
	case PROTOCOL_HTTP:
	case PROTOCOL_HTTP2:
		return TRAFFIC_HTTP;
	case PROTOCOL_TLS:
		return TRAFFIC_TLS;
	case PROTOCOL_TCP:
		return TRAFFIC_TCP;
	default:
		return TRAFFIC_NONE; /* UDP, with QUIC in it, is not redirected */
	}
}

/* Whether the host stood in the connection, where the proxy can see it, too. */
static bool host_on_wire(const struct registry_query *query)
{
	return query->name_source == NAME_SOURCE_HTTP || query->name_source == NAME_SOURCE_SNI ||
	       query->name_source == NAME_SOURCE_CONNECT;
}

/* Addresses */

static struct address_range query_range(const uint8_t ip[16], unsigned int prefix)
{
	struct address_range range = {.prefix = (uint8_t)prefix};

	memcpy(range.ip, ip, prefix / 8);
	if (prefix % 8)
		range.ip[prefix / 8] = (uint8_t)(ip[prefix / 8] & (0xff00u >> prefix % 8));
	return range;
}

static const struct bucket *find_range(const struct registry_store *store,
				       const struct address_range *range)
{
	struct index_key key = reg_index_key_range(range);

	return store->n_prefixes[range->prefix] ? reg_index_find(&store->index, &key) : NULL;
}

/* Listens at the service's own address. An allocated one is a single host's. */
static bool owns_address(const struct view *view, const struct object *object, const uint8_t ip[16],
			 struct service *ret)
{
	if (!registry_is_allocated(ip) || object->has_address)
		return reg_view_owns(view, object, ret);
	for (size_t i = 0; i < object->n_addresses; i++) {
		const struct address_range *range = &object->addresses[i];

		if (range->allocated && memcmp(range->ip, ip, 16) == 0 &&
		    reg_view_find(view, object->hosts[range->host], ret) && ret->object == object)
			return true;
	}
	return false;
}

/* A listener of its own: whatever comes, whatever its name, is the service's. */
static bool match_address(const struct view *view, const uint8_t ip[16], struct service *ret)
{
	struct address_range range = query_range(ip, 128);
	const struct bucket *bucket = find_range(view->store, &range);

	for (size_t i = 0; bucket && i < bucket->n; i++)
		if (owns_address(view, bucket->items[i], ip, ret) && ret->class != PORT_HTTP &&
		    ret->class != PORT_NONE)
			return true;
	return false;
}

static bool is_more_specific(const char *host, const char *than)
{
	if (reg_host_is_wildcard(host) != reg_host_is_wildcard(than))
		return reg_host_is_wildcard(than);
	return strlen(host) > strlen(than);
}

/* Whether Envoy takes the service's host for the connection's SNI; it knows `*.` and no other wildcard. */
static bool covers_sni(const struct view *view, const char *host)
{
	if (!*view->host || !host_on_wire(view->query))
		return false;
	return reg_host_covered(view->host, host) &&
	       (!reg_host_is_wildcard(host) || host[1] == '.');
}

/* Of one range: TLS services by SNI, the most specific host first; else the first TCP service. */
static bool match_in_range(const struct view *view, const struct bucket *bucket,
			   enum traffic traffic, bool *ret_any, struct service *ret)
{
	struct service service, tls = {0}, tcp = {0};

	for (size_t i = 0; i < bucket->n; i++) {
		const struct object *object = bucket->items[i];

		for (size_t j = 0; j < object->n_hosts; j++) {
			const char *host = object->hosts[j];

			if (!reg_view_find(view, host, &service) || service.object != object ||
			    service.class == PORT_HTTP || service.class == PORT_NONE)
				continue;
			*ret_any = true;
			if (service.class != PORT_TLS)
				tcp = tcp.object ? tcp : service;
			else if (traffic == TRAFFIC_TLS && covers_sni(view, host) &&
				 (!tls.object || is_more_specific(host, tls.host)))
				tls = service;
		}
	}
	*ret = tls.object ? tls : tcp;
	return ret->object;
}

/* *ret_any: some range has services for the port, and nothing outside of it counts. */
static bool match_range(const struct view *view, const uint8_t ip[16], enum traffic traffic,
			bool *ret_any, struct service *ret)
{
	for (unsigned int prefix = 128; prefix-- > 0 && !*ret_any;) {
		struct address_range range = query_range(ip, prefix);
		const struct bucket *bucket = find_range(view->store, &range);

		if (bucket && match_in_range(view, bucket, traffic, ret_any, ret))
			return true;
	}
	return false;
}

/* Names */

/* One look-up by name, and what it found. */
struct by_name {
	const struct view *view;
	enum traffic traffic; /* TRAFFIC_NONE: whatever has the port */
	struct service service;
};

/* Listens at 0.0.0.0. Where the address is not known, it might be one of the service's own. */
static bool is_open(const struct view *view, const struct service *service)
{
	return !service->object->headless &&
	       (!service->object->has_address || !view->query->address);
}

/* The first service in the bucket whose listener is of one of two classes; open: one without an address. */
static bool first_of(const struct view *view, enum index_type type, bool open, enum port_class a,
		     enum port_class b, struct service *ret)
{
	bool own = type == INDEX_TCP_OWN || type == INDEX_HTTP_OWN || type == INDEX_TLS_OWN;
	struct index_key key = reg_index_key_port(type, view->query->port, own ? view->ns : "");
	const struct bucket *bucket = reg_index_find(&view->store->index, &key);

	for (size_t i = 0; bucket && i < bucket->n; i++) {
		const struct object *object = bucket->items[i];

		if (open && (object->has_address || object->headless))
			continue;
		if (reg_view_owns(view, object, ret) && (ret->class == a || ret->class == b))
			return true;
	}
	return false;
}

static bool view_overrides(const struct view *view)
{
	return view->listener && !view->listener->any_port;
}

/*
 * The one service that takes what nothing else on the port did. A listener of the Sidecar's own may make TCP of
 * ports that are declared otherwise.
 */
static struct service find_rest(const struct view *view)
{
	const enum index_type types[] = {INDEX_TCP_OWN,  INDEX_TCP_ANY, INDEX_HTTP_OWN,
					 INDEX_HTTP_ANY, INDEX_TLS_OWN, INDEX_TLS_ANY};
	size_t n = view_overrides(view) ? ARRAY_SIZE(types) : 2;
	struct service best = {0}, service;

	for (size_t i = 0; i < n; i++)
		if (first_of(view, types[i], true, PORT_TCP, PORT_AUTO, &service) &&
		    (!best.object || reg_object_compare(service.object, best.object) < 0))
			best = service;
	return best;
}

static bool match_rest(const struct view *view, struct service *ret)
{
	struct memo *memo = reg_memo_get(view);

	*ret = memo && memo->rest_known ? memo->rest : find_rest(view);
	if (memo) {
		memo->rest = *ret;
		memo->rest_known = true;
	}
	return ret->object;
}

static bool find_http(const struct view *view)
{
	struct service service;

	return first_of(view, INDEX_HTTP_OWN, false, PORT_HTTP, PORT_AUTO, &service) ||
	       first_of(view, INDEX_HTTP_ANY, false, PORT_HTTP, PORT_AUTO, &service);
}

/* Whether the listener on 0.0.0.0 reads HTTP: then what is HTTP goes by Host, or nowhere. */
static bool reads_http(const struct view *view)
{
	struct service service;
	struct memo *memo;
	bool http;

	if (view_overrides(view))
		return view->listener->class == PORT_HTTP ||
		       (view->listener->class == PORT_AUTO && match_rest(view, &service));
	memo = reg_memo_get(view);
	http = memo && memo->http_known ? memo->http : find_http(view);
	if (memo) {
		memo->http = http;
		memo->http_known = true;
	}
	return http;
}

/*
 * HTTP: declared so, or to be sniffed, on a port where HTTP is read at 0.0.0.0, of whatever service. TLS: listens
 * there itself, as the SNI would not be asked for at an address of its own.
 */
static bool takes_by_name(const struct by_name *by, const struct service *service)
{
	bool open = is_open(by->view, service);

	if (by->traffic == TRAFFIC_NONE)
		return true;
	if (by->traffic == TRAFFIC_TLS)
		return service->class == PORT_TLS && open;
	if (service->declared != PORT_HTTP && service->declared != PORT_AUTO)
		return false;
	return service->class == PORT_HTTP || (service->class == PORT_AUTO && open) ||
	       reads_http(by->view);
}

static bool try_name(const char *host, void *data)
{
	struct by_name *by = data;
	struct service service;

	/* Envoy wants something in the place of the star. */
	if (reg_host_is_wildcard(host) && strcmp(host + 1, by->view->host) == 0)
		return false;
	if (!reg_view_find(by->view, host, &service) || !takes_by_name(by, &service))
		return false;
	by->service = service;
	return true;
}

/* Exact, then wildcards, longest first. Only HTTP knows others than `*.`. */
static bool match_name(struct by_name *by)
{
	bool partial = by->traffic != TRAFFIC_TLS && by->view->store->n_partial > 0;

	return *by->view->host && (try_name(by->view->host, by) ||
				   reg_host_each_wildcard(by->view->host, partial, try_name, by));
}

/* An HTTP service's routes have its address as a domain, and inside the cluster a Service's shorter names. */
static bool match_other_names(struct by_name *by)
{
	const struct object *service = reg_service_by_short_name(by->view->store, by->view->ns,
								 by->view->host);
	const struct bucket *bucket;
	struct address_range range;

	if (service && try_name(service->hosts[0], by))
		return true;
	if (!reg_valid_range(by->view->host, &range) || range.prefix != 128)
		return false;
	bucket = find_range(by->view->store, &range);
	for (size_t i = 0; bucket && i < bucket->n; i++)
		if (owns_address(by->view, bucket->items[i], range.ip, &by->service) &&
		    takes_by_name(by, &by->service))
			return true;
	return false;
}

/* In order */

static bool match_http(struct by_name *by, struct service *ret)
{
	if (host_on_wire(by->view->query) && (match_name(by) || match_other_names(by))) {
		*ret = by->service;
		return true;
	}
	return !reads_http(by->view) && match_rest(by->view, ret);
}

static bool match_tls(struct by_name *by, struct service *ret)
{
	if (host_on_wire(by->view->query) && match_name(by)) {
		*ret = by->service;
		return true;
	}
	return match_rest(by->view, ret);
}

static bool match(struct by_name *by, struct service *ret)
{
	const uint8_t *address = by->view->query->address;
	bool in_range = false;

	if (address && match_address(by->view, address, ret))
		return true;
	if (address && match_range(by->view, address, by->traffic, &in_range, ret))
		return true;
	if (in_range)
		return false;
	switch (by->traffic) {
	case TRAFFIC_HTTP:
		return match_http(by, ret);
	case TRAFFIC_TLS:
		return match_tls(by, ret);
	default:
		return match_rest(by->view, ret);
	}
}

/* The answer */

static void answer_service(const struct view *view, const struct service *service,
			   enum traffic traffic, struct registry_answer *ret)
{
	const struct object *rule = NULL;
	bool originates = traffic == TRAFFIC_HTTP && reg_service_originates(view, service, &rule);

	ret->state = originates ? REGISTRY_ORIGINATED : REGISTRY_REGISTERED;
	ret->object = &service->object->public;
	ret->internal = service->object->internal &&
			(!view->query->address || reg_address_is_private(view->query->address));
	if (traffic == TRAFFIC_HTTP)
		ret->rule = rule ? &rule->public : NULL;
}

static void answer_policy(const struct view *view, struct registry_answer *ret)
{
	const struct object *sidecar = view->sidecar;
	bool own = sidecar && sidecar->has_outbound_policy;

	ret->state = REGISTRY_PASSTHROUGH;
	if (own ? !sidecar->registry_only : !view->store->registry_only)
		return;
	ret->state = REGISTRY_BLOCKED;
	ret->object = own ? &sidecar->public : NULL;
}

/* Nobody took it; who would have, had it spoken otherwise or elsewhere? */
static void answer_near(const struct view *view, struct registry_answer *ret)
{
	struct by_name by = {.view = view, .traffic = TRAFFIC_NONE};

	if (!view->closed && match_name(&by))
		ret->near = &by.service.object->public;
}

void registry_resolve(const struct registry_store *store, const struct registry_query *query,
		      struct registry_answer *ret)
{
	struct by_name by = {.traffic = query_traffic(query)};
	struct service service;
	struct view view;

	*ret = (struct registry_answer){.state = REGISTRY_PASSTHROUGH};
	if (by.traffic == TRAFFIC_NONE)
		return;
	reg_view_init(&view, store, query);
	by.view = &view;
	if (!view.closed && match(&by, &service)) {
		answer_service(&view, &service, by.traffic, ret);
		return;
	}
	answer_policy(&view, ret);
	answer_near(&view, ret);
}
