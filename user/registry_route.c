// SPDX-License-Identifier: Apache-2.0
/*
 * VirtualServices out of JSON, with those checks of istiod's webhook that bear on where a request goes.
 *
 * Owns: the spec of a VirtualService. Must not know: single fields, the index.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define ROUTES_MAX 4096

static int reject_route(struct parse *parse, const char *why)
{
	return reg_parse_reject(parse, REGISTRY_REASON_ROUTE, why);
}

/* Matches */

/* Whether the list, absent meaning yes, has sidecars in it. */
static int has_mesh(struct parse *parse, const cJSON *in, bool *ret)
{
	const cJSON *list, *item;
	int r = reg_parse_list(parse, in, "gateways", ITEMS_MAX, "gateways: not a list", &list);

	if (r)
		return r;
	*ret = cJSON_GetArraySize(list) == 0;
	for (item = list ? list->child : NULL; item; item = item->next) {
		if (!cJSON_IsString(item))
			return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
						"gateways: not texts");
		*ret = *ret || strcmp(item->valuestring, "mesh") == 0;
	}
	return 0;
}

/* A condition on the request itself; `uri: {prefix: /}` is how many write "always". */
static bool is_condition(const cJSON *field)
{
	static const char *const others[] = {
		"name",       "port",          "gateways", "sourceLabels", "sourceNamespace",
		"statPrefix", "ignoreUriCase", NULL};
	const cJSON *prefix;
	size_t which;

	if (cJSON_IsNull(field) || reg_valid_word(field->string, others, &which))
		return false;
	if (strcmp(field->string, "uri") != 0)
		return true;
	prefix = cJSON_GetObjectItemCaseSensitive(field, "prefix");
	return !cJSON_IsString(prefix) || strcmp(prefix->valuestring, "/") != 0;
}

static int parse_match(struct parse *parse, const cJSON *in, struct route_match *ret)
{
	const cJSON *labels;
	const char *ns;
	int r;

	if (!cJSON_IsObject(in))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "http.match: not mappings");
	r = reg_parse_port(parse, in, "port", "http.match.port: not 1 to 65535", &ret->port);
	if (!r)
		r = has_mesh(parse, in, &ret->mesh);
	if (!r)
		r = reg_parse_object(parse, in, "sourceLabels", "http.match: not labels", &labels);
	if (!r)
		r = reg_parse_labels(parse, labels, "http.match: not labels", &ret->labels);
	if (!r)
		r = reg_parse_text(parse, in, "sourceNamespace",
				   "http.match.sourceNamespace: not a text", &ns);
	if (!r && ns && *ns)
		r = reg_parse_copy(parse, ns, &ret->ns);
	for (const cJSON *field = in->child; field; field = field->next)
		ret->conditional = ret->conditional || is_condition(field);
	return r;
}

static int parse_matches(struct parse *parse, const cJSON *in, struct http_route *ret)
{
	const cJSON *list, *item;
	int r = reg_parse_list(parse, in, "match", ROUTES_MAX, "http.match: not a list", &list);

	if (r || !list)
		return r;
	ret->matches = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
				       sizeof(*ret->matches));
	if (!ret->matches)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next)
		r = parse_match(parse, item, &ret->matches[ret->n_matches++]);
	return r;
}

/* Destinations */

static int parse_destination(struct parse *parse, const cJSON *in, int64_t *weights,
			     struct route_destination *ret)
{
	const cJSON *destination, *port;
	const char *host, *subset;
	int64_t weight;
	bool weighted;
	int r = reg_parse_object(parse, in, "destination", "http.route.destination: not a mapping",
				 &destination);

	if (!r)
		r = reg_parse_text(parse, destination, "host",
				   "http.route.destination.host: not a text", &host);
	if (!r)
		r = reg_parse_text(parse, destination, "subset",
				   "http.route.destination.subset: not a text", &subset);
	if (!r)
		r = reg_parse_object(parse, destination, "port",
				     "http.route.destination.port: not a mapping", &port);
	if (!r)
		r = reg_parse_port(parse, port, "number",
				   "http.route.destination.port: not 1 to 65535", &ret->port);
	if (!r)
		r = reg_parse_number(parse, in, "weight", "http.route.weight: not a number",
				     &weight, &weighted);
	if (r)
		return r;
	if (!host || strcmp(host, "*") == 0 || !reg_valid_wildcard_host(host))
		return reject_route(parse, "http.route.destination: no host");
	if (weight < 0)
		return reject_route(parse, "http.route.weight: negative");
	if (subset && *subset && !reg_valid_label(subset))
		return reject_route(parse, "http.route.destination.subset: not a label");
	*weights += weight;
	ret->idle = weight == 0;
	r = reg_parse_copy_service_host(parse, host, &ret->host);
	if (!r && subset && *subset)
		r = reg_parse_copy(parse, subset, &ret->subset);
	return r;
}

static int parse_destinations(struct parse *parse, const cJSON *in, struct http_route *ret)
{
	const cJSON *list, *item;
	int64_t weights = 0;
	int r = reg_parse_list(parse, in, "route", ROUTES_MAX, "http.route: not a list", &list);

	if (r || !list)
		return r;
	ret->destinations = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
					    sizeof(*ret->destinations));
	if (!ret->destinations)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next)
		r = parse_destination(parse, item, &weights,
				      &ret->destinations[ret->n_destinations++]);
	if (!r && ret->n_destinations > 1 && weights == 0)
		r = reject_route(parse, "http.route: the weights are 0");
	/* A single one needs no weight. */
	if (!r && ret->n_destinations == 1)
		ret->destinations[0].idle = false;
	return r;
}

static int check_retries(struct parse *parse, const cJSON *in)
{
	const cJSON *retries;
	const char *timeout, *per_try;
	int64_t attempts;
	bool present;
	int r = reg_parse_text(parse, in, "timeout", "http.timeout: not a time", &timeout);

	if (!r)
		r = reg_parse_object(parse, in, "retries", "http.retries: not a mapping", &retries);
	if (!r)
		r = reg_parse_number(parse, retries, "attempts", "http.retries: not a number",
				     &attempts, &present);
	if (!r)
		r = reg_parse_text(parse, retries, "perTryTimeout", "http.retries: not a time",
				   &per_try);
	if (r)
		return r;
	/* 0s means no limit. */
	if ((timeout && strcmp(timeout, "0s") != 0 && !reg_valid_duration(timeout)) ||
	    (per_try && !reg_valid_duration(per_try)))
		return reject_route(parse, "http: a time is not 1ms or more");
	if (attempts < 0 || (retries && attempts == 0 &&
			     (per_try || reg_parse_has(retries, "retryOn") ||
			      reg_parse_has(retries, "retryRemoteLocalities"))))
		return reject_route(parse, "http.retries: settings without attempts");
	return 0;
}

static int parse_http(struct parse *parse, const cJSON *in, struct http_route *ret)
{
	int r;

	if (!cJSON_IsObject(in))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "http: not mappings");
	r = parse_matches(parse, in, ret);
	if (!r)
		r = parse_destinations(parse, in, ret);
	if (!r)
		r = check_retries(parse, in);
	ret->delegated = reg_parse_has(in, "delegate");
	if (!r && !ret->n_destinations && !ret->delegated && !reg_parse_has(in, "redirect") &&
	    !reg_parse_has(in, "directResponse"))
		r = reject_route(parse, "http: a route goes nowhere");
	return r;
}

static int parse_routes(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *http, *tls, *tcp, *item;
	int r = reg_parse_list(parse, parse->spec, "http", ROUTES_MAX, "http: not a list", &http);

	if (!r)
		r = reg_parse_list(parse, parse->spec, "tls", ROUTES_MAX, "tls: not a list", &tls);
	if (!r)
		r = reg_parse_list(parse, parse->spec, "tcp", ROUTES_MAX, "tcp: not a list", &tcp);
	if (r)
		return r;
	if (!cJSON_GetArraySize(http) && !cJSON_GetArraySize(tls) && !cJSON_GetArraySize(tcp))
		return reject_route(parse, "spec: no http, tls or tcp route");
	object->routes = reg_parse_array(parse, (size_t)cJSON_GetArraySize(http),
					 sizeof(*object->routes));
	if (!object->routes)
		return -ENOMEM;
	for (item = http ? http->child : NULL; item && !r; item = item->next)
		r = parse_http(parse, item, &object->routes[object->n_routes++]);
	return r;
}

static int parse_host(struct parse *parse, const cJSON *item)
{
	const char *host = item->valuestring;
	uint8_t ip[16];

	if (!cJSON_IsString(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "hosts: not texts");
	if (parse->object->mesh && strcmp(host, "*") == 0)
		return reg_parse_reject(parse, REGISTRY_REASON_HOST,
					"hosts: `*` is for gateways, not for sidecars");
	if (!reg_valid_wildcard_host(host) && !reg_valid_address(host, ip))
		return reg_parse_reject(parse, REGISTRY_REASON_HOST,
					"hosts: neither a host name nor an address");
	return reg_parse_add_host(parse, host, true);
}

/* None at all: a part that others delegate to. */
static int parse_hosts(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *list, *item;
	int r = reg_parse_list(parse, parse->spec, "hosts", HOSTS_MAX * 4, "hosts: not a list",
			       &list);

	if (r)
		return r;
	object->hosts = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
					sizeof(*object->hosts));
	if (!object->hosts)
		return -ENOMEM;
	for (item = list ? list->child : NULL; item && !r; item = item->next)
		r = parse_host(parse, item);
	return r;
}

int reg_parse_virtual_service(struct parse *parse)
{
	int r = has_mesh(parse, parse->spec, &parse->object->mesh);

	if (!r)
		r = parse_hosts(parse);
	if (!r)
		r = parse_routes(parse);
	return r ? r : reg_parse_export(parse, false);
}
