// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a sidecar opens TLS for plaintext HTTP: DestinationRules, and VirtualServices that send a request
 * somewhere else first.
 *
 * Owns: which rule is in force and what it says of a port. Must not know: which service gets a connection
 * (registry_resolve.c).
 *
 * The host of a rule is compared with the host of the service, not with the one that was asked for: a rule for
 * a.example.com has nothing to say of a ServiceEntry for *.example.com.
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

/* Rules */

/* Where to look: istiod asks the client's namespace, the service's, and the root namespace, in this order. */
enum rule_scope {
	RULES_LOCAL,      /* of the client's namespace, whatever they are exported to besides */
	RULES_ROOT_LOCAL, /* of the root namespace for clients in it: those for nobody else */
	RULES_EXPORTED,   /* of another namespace */
};

struct rule_search {
	const struct view *view;
	const char *ns;
	enum rule_scope scope;
	const struct bucket *bucket; /* found */
};

static bool rule_is_private(const struct object *rule)
{
	return !rule->export.all && rule->export.own && rule->export.n_others == 0;
}

static bool rule_in_scope(const struct rule_search *search, const struct object *rule)
{
	switch (search->scope) {
	case RULES_LOCAL:
		return rule->export.all || rule->export.own;
	case RULES_ROOT_LOCAL:
		return rule_is_private(rule);
	default:
		return !rule_is_private(rule);
	}
}

/* The most specific host decides, even if none of its rules then turns out to be for this client. */
static bool try_rule_host(const char *host, void *data)
{
	struct rule_search *search = data;
	struct index_key key = reg_index_key_text(INDEX_RULE, host, search->ns);
	const struct bucket *bucket = reg_index_find(&search->view->store->index, &key);

	for (size_t i = 0; bucket && i < bucket->n; i++) {
		if (rule_in_scope(search, bucket->items[i])) {
			search->bucket = bucket;
			return true;
		}
	}
	return false;
}

/* `.` does not count for an exported rule: its own namespace found it locally, or (the root one's quirk) not at all. */
static bool rule_is_for(const struct rule_search *search, const struct object *rule)
{
	const struct registry_query *query = search->view->query;

	if (!rule_in_scope(search, rule))
		return false;
	if (search->scope == RULES_EXPORTED)
		return !rule->has_selector && reg_object_exported(rule, search->view->ns);
	return !rule->has_selector ||
	       reg_labels_match(&rule->selector, query->labels, query->n_labels);
}

/* What the rules of one host say together: the first policy there is, and each subset's first one. */
struct rule_found {
	const struct object *rule;
	const struct policy *policy, *subset;
};

static const struct policy *find_subset(const struct object *rule, const char *name)
{
	for (size_t i = 0; name && i < rule->n_subsets; i++)
		if (strcmp(rule->subsets[i].name, name) == 0)
			return &rule->subsets[i].policy;
	return NULL;
}

/*
 * Buckets have rules for certain workloads in front, older ones first. Of two rules for one host, istiod takes the
 * second's policy only if the first has none.
 */
static void rule_collect(const struct rule_search *search, const char *subset,
			 struct rule_found *ret)
{
	for (size_t i = 0; i < search->bucket->n; i++) {
		const struct object *rule = search->bucket->items[i];

		if (!rule_is_for(search, rule))
			continue;
		if (!ret->rule)
			ret->rule = rule;
		if (!ret->policy && rule->policy.present) {
			ret->policy = &rule->policy;
			ret->rule = rule;
		}
		if (!ret->subset)
			ret->subset = find_subset(rule, subset);
	}
}

static bool rule_search(const struct view *view, enum rule_scope scope, const char *host,
			const char *ns, const char *subset, struct rule_found *ret)
{
	struct rule_search search = {.view = view, .ns = ns, .scope = scope};

	if (!try_rule_host(host, &search) &&
	    !reg_host_each_wildcard(host, true, try_rule_host, &search))
		return false;
	rule_collect(&search, subset, ret);
	/* A local rule for other workloads ends the search, one that is exported to others does not. */
	return ret->rule || scope != RULES_EXPORTED;
}

/* A port's settings replace the policy's as a whole; a subset's replace them field by field. */
static enum tls_mode policy_tls(const struct policy *policy, uint16_t port)
{
	if (!policy)
		return TLS_UNSET;
	for (size_t i = 0; i < policy->n_ports; i++)
		if (policy->ports[i].number == port)
			return policy->ports[i].tls ? (enum tls_mode)policy->ports[i].tls : TLS_OFF;
	return (enum tls_mode)policy->tls;
}

const struct object *reg_rule_find(const struct view *view, const char *host, const char *ns,
				   uint16_t port, const char *subset, enum tls_mode *ret_tls)
{
	const char *root = view->store->root_namespace;
	struct rule_found found = {0};
	enum rule_scope local = strcmp(view->ns, root) == 0 ? RULES_ROOT_LOCAL : RULES_LOCAL;

	*ret_tls = TLS_UNSET;
	if (!rule_search(view, local, host, view->ns, subset, &found) &&
	    !(ns && rule_search(view, RULES_EXPORTED, host, ns, subset, &found)) &&
	    !rule_search(view, RULES_EXPORTED, host, root, subset, &found))
		return NULL;
	*ret_tls = policy_tls(found.subset, port);
	if (*ret_tls == TLS_UNSET)
		*ret_tls = policy_tls(found.policy, port);
	return found.rule;
}

/* Routes */

/* What can be told without the request: port, gateway, and who asks. */
static bool match_applies(const struct view *view, const struct route_match *match)
{
	const struct registry_query *query = view->query;

	return match->mesh && !match->conditional && (!match->port || match->port == query->port) &&
	       (!match->ns || strcmp(match->ns, view->ns) == 0) &&
	       reg_labels_match(&match->labels, query->labels, query->n_labels);
}

static bool route_applies(const struct view *view, const struct http_route *route)
{
	for (size_t i = 0; i < route->n_matches; i++)
		if (match_applies(view, &route->matches[i]))
			return true;
	return route->n_matches == 0;
}

struct route_search {
	const struct view *view;
	const struct object *found;
};

static bool try_route_host(const char *host, void *data)
{
	struct route_search *search = data;
	struct index_key own = reg_index_key_text(INDEX_ROUTE_OWN, host, search->view->ns);
	struct index_key any = reg_index_key_text(INDEX_ROUTE_ANY, host, "");
	const struct bucket *buckets[] = {reg_index_find(&search->view->store->index, &own),
					  reg_index_find(&search->view->store->index, &any)};

	for (size_t b = 0; b < ARRAY_SIZE(buckets); b++) {
		for (size_t i = 0; buckets[b] && i < buckets[b]->n; i++) {
			const struct object *route = buckets[b]->items[i];

			if (!route->mesh || !reg_view_imports(search->view, route, host) ||
			    (search->found && reg_object_compare(search->found, route) < 0))
				continue;
			search->found = route;
		}
	}
	return search->found;
}

/* The first route that takes every request. Without one there is no telling, and the service itself counts. */
static const struct http_route *find_route(const struct view *view, const char *host)
{
	struct route_search search = {.view = view};

	if (!try_route_host(host, &search) &&
	    !reg_host_each_wildcard(host, true, try_route_host, &search))
		return NULL;
	for (size_t i = 0; i < search.found->n_routes; i++)
		if (route_applies(view, &search.found->routes[i]))
			return search.found->routes[i].delegated ? NULL : &search.found->routes[i];
	return NULL;
}

/*
 * A route's destination is looked up without the Sidecar's list: istiod adds it to what the Sidecar imports. Its
 * namespace is all that is wanted here.
 */
static const char *destination_namespace(const struct view *view, const char *host, uint16_t port)
{
	struct registry_query query = *view->query;
	struct view all = {.store = view->store, .query = &query, .ns = view->ns};
	struct service service;

	query.port = port;
	return reg_view_find(&all, host, &service) ? service.head->public.ns : NULL;
}

static bool destination_originates(const struct view *view,
				   const struct route_destination *destination,
				   const struct object **ret_rule)
{
	uint16_t port = destination->port ? destination->port : view->query->port;
	const char *ns = destination_namespace(view, destination->host, port);
	enum tls_mode tls;

	*ret_rule = reg_rule_find(view, destination->host, ns, port, destination->subset, &tls);
	return tls == TLS_ORIGINATE;
}

bool reg_service_originates(const struct view *view, const struct service *service,
			    const struct object **ret_rule)
{
	const struct http_route *route = service->declared == PORT_HTTP ||
							 service->declared == PORT_AUTO
						 ? find_route(view, service->host)
						 : NULL;
	enum tls_mode tls;

	if (!route) {
		*ret_rule = reg_rule_find(view, service->host, service->head->public.ns,
					  view->query->port, NULL, &tls);
		return tls == TLS_ORIGINATE;
	}
	/* Part of the requests over TLS is not over TLS. */
	for (size_t i = 0; i < route->n_destinations; i++)
		if (!route->destinations[i].idle &&
		    !destination_originates(view, &route->destinations[i], ret_rule))
			return false;
	return route->n_destinations > 0;
}
