// SPDX-License-Identifier: Apache-2.0
/*
 * Sidecars out of JSON, with the checks of istiod's webhook (ValidateSidecar).
 *
 * Owns: the spec of a Sidecar. Must not know: single fields, which Sidecar a workload has (registry_scope.c).
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define LISTENERS_MAX 1024
#define UNIX_PREFIX   "unix://"

static int reject_egress(struct parse *parse, const char *why)
{
	return reg_parse_reject(parse, REGISTRY_REASON_EGRESS, why);
}

/* Hosts: "ns/name" */

static int egress_host(struct parse *parse, const cJSON *item, struct listener *listener)
{
	char ns[NS_MAX + 1];
	const char *slash, *host;
	size_t i = listener->n_hosts;
	int r;

	if (!cJSON_IsString(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "egress.hosts: not texts");
	slash = strchr(item->valuestring, '/');
	if (!slash || (size_t)(slash - item->valuestring) >= sizeof(ns))
		return reject_egress(parse, "egress.hosts: one is not NAMESPACE/HOST");
	memcpy(ns, item->valuestring, (size_t)(slash - item->valuestring));
	ns[slash - item->valuestring] = '\0';
	host = slash + 1;
	if (strcmp(ns, "*") != 0 && strcmp(ns, ".") != 0 && strcmp(ns, "~") != 0 &&
	    !reg_valid_label(ns))
		return reject_egress(parse, "egress.hosts: a namespace is none");
	if (strcmp(host, "*") != 0 && (!reg_valid_wildcard_host(host) || !strchr(host, '.') ||
				       (reg_host_is_wildcard(host) && host[1] != '.')))
		return reject_egress(parse, "egress.hosts: a host is neither full nor *.DOMAIN");
	r = reg_parse_copy(parse, ns, &listener->spaces[i]);
	if (!r)
		r = reg_parse_copy_host(parse, host, &listener->hosts[i]);
	listener->n_hosts += r == 0;
	return r;
}

static int egress_hosts(struct parse *parse, const cJSON *in, struct listener *listener)
{
	const cJSON *list, *item;
	size_t n;
	int r = reg_parse_list(parse, in, "hosts", ITEMS_MAX, "egress.hosts: not a list", &list);

	if (r)
		return r;
	n = (size_t)cJSON_GetArraySize(list);
	if (!n)
		return reject_egress(parse, "egress.hosts: none");
	listener->hosts = reg_parse_array(parse, n, sizeof(*listener->hosts));
	listener->spaces = reg_parse_array(parse, n, sizeof(*listener->spaces));
	if (!listener->hosts || !listener->spaces)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next)
		r = egress_host(parse, item, listener);
	return r;
}

/* Ports */

/* Number, protocol and name of a listener's port. *ret_number may be 0 where a socket's path is allowed. */
static int listener_port(struct parse *parse, const cJSON *port, int64_t *ret_number,
			 enum port_class *ret_class, bool *ret_proxy)
{
	const char *protocol, *name;
	bool present;
	int r = reg_parse_number(parse, port, "number", "port.number: not a number", ret_number,
				 &present);

	if (!r)
		r = reg_parse_text(parse, port, "protocol", "port.protocol: not a word", &protocol);
	if (!r)
		r = reg_parse_text(parse, port, "name", "port.name: not a text", &name);
	if (r)
		return r;
	if (*ret_number < 0 || *ret_number > 65535)
		return reject_egress(parse, "port.number: not 1 to 65535");
	if (!reg_valid_protocol(protocol ? protocol : "", ret_class))
		return reject_egress(parse, "port.protocol: one istiod does not know");
	if (name && *name && !reg_valid_label(name))
		return reject_egress(parse, "port.name: not a label");
	if (reg_parse_has(port, "targetPort"))
		return reject_egress(parse, "port.targetPort: has no meaning here");
	*ret_proxy = protocol && strcasecmp(protocol, "HTTP_PROXY") == 0;
	return 0;
}

static bool is_any_address(const char *bind)
{
	return strcmp(bind, "0.0.0.0") == 0 || strcmp(bind, "::") == 0;
}

static int egress_bind(struct parse *parse, const cJSON *in, int64_t number,
		       struct listener *listener)
{
	static const char *const modes[] = {"DEFAULT", "IPTABLES", "NONE", NULL};
	const char *bind, *mode;
	size_t which = 0;
	uint8_t ip[16];
	bool path;
	int r = reg_parse_text(parse, in, "bind", "egress.bind: not a text", &bind);

	if (!r)
		r = reg_parse_text(parse, in, "captureMode", "egress.captureMode: not a word",
				   &mode);
	if (r)
		return r;
	bind = bind ? bind : "";
	path = strncmp(bind, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
	if (mode && !reg_valid_word(mode, modes, &which))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
					"egress.captureMode: none of DEFAULT, IPTABLES, NONE");
	if (number == 0 && (!path || which == 1))
		return reject_egress(parse, "egress.port: 0 is for the path of a socket");
	if (number > 0 && *bind && !reg_valid_address(bind, ip))
		return reject_egress(parse, "egress.bind: not an address");
	/* Intercepted connections have their destination's address, not the one somebody bound. */
	listener->elsewhere = which == 2 || (*bind && !is_any_address(bind));
	return 0;
}

static int egress_port(struct parse *parse, const cJSON *in, struct listener *listener)
{
	enum port_class class = PORT_AUTO;
	int64_t number = 0;
	const cJSON *port;
	int r = reg_parse_object(parse, in, "port", "egress.port: not a mapping", &port);

	if (r)
		return r;
	if (port) {
		r = listener_port(parse, port, &number, &class, &listener->proxy);
		if (!r)
			r = egress_bind(parse, in, number, listener);
	}
	listener->port = (uint16_t)number;
	listener->class = (uint8_t) class;
	listener->any_port = !port;
	return r;
}

static int parse_egress(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *list, *item;
	int r = reg_parse_list(parse, parse->spec, "egress", LISTENERS_MAX, "egress: not a list",
			       &list);

	if (r || !list)
		return r;
	object->listeners = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
					    sizeof(*object->listeners));
	if (!object->listeners)
		return -ENOMEM;
	for (item = list->child; item && !r; item = item->next) {
		struct listener *listener = &object->listeners[object->n_listeners++];

		if (!cJSON_IsObject(item))
			return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
						"egress: not mappings");
		r = egress_port(parse, item, listener);
		if (!r)
			r = egress_hosts(parse, item, listener);
		if (!r && listener->any_port && item->next)
			r = reject_egress(parse, "egress: the one without a port is not the last");
	}
	return r;
}

/* Sockets' paths have no port and are told apart by the path; nobody here looks at them. */
static int check_ports(struct parse *parse)
{
	const struct object *object = parse->object;

	for (size_t i = 0; i < object->n_listeners; i++)
		for (size_t j = 0; j < i; j++)
			if (object->listeners[i].port &&
			    object->listeners[i].port == object->listeners[j].port)
				return reject_egress(parse, "egress: two have one port");
	return 0;
}

/* Only what istiod would not take: inbound traffic is none of ours. */
static int parse_ingress(struct parse *parse, size_t *ret_n)
{
	const cJSON *list, *item, *port;
	enum port_class class;
	int64_t number = 0;
	bool proxy;
	int r = reg_parse_list(parse, parse->spec, "ingress", LISTENERS_MAX, "ingress: not a list",
			       &list);

	if (r)
		return r;
	*ret_n = (size_t)cJSON_GetArraySize(list);
	for (item = list ? list->child : NULL; item && !r; item = item->next) {
		r = reg_parse_object(parse, item, "port", "ingress.port: not a mapping", &port);
		if (!r && !port)
			r = reject_egress(parse, "ingress: one has no port");
		if (!r)
			r = listener_port(parse, port, &number, &class, &proxy);
		if (!r && number == 0)
			r = reject_egress(parse, "ingress: one has no port");
	}
	return r;
}

/* The mode's zero value, and so what `{}` means, is REGISTRY_ONLY. */
static int parse_outbound(struct parse *parse)
{
	static const char *const modes[] = {"REGISTRY_ONLY", "ALLOW_ANY", NULL};
	const cJSON *policy, *proxy;
	const char *mode, *host;
	size_t which = 0;
	int r = reg_parse_object(parse, parse->spec, "outboundTrafficPolicy",
				 "outboundTrafficPolicy: not a mapping", &policy);

	if (r || !policy)
		return r;
	r = reg_parse_text(parse, policy, "mode", "outboundTrafficPolicy.mode: not a word", &mode);
	if (!r)
		r = reg_parse_object(parse, policy, "egressProxy",
				     "outboundTrafficPolicy.egressProxy: not a mapping", &proxy);
	if (!r)
		r = reg_parse_text(parse, proxy, "host", "egressProxy.host: not a text", &host);
	if (r)
		return r;
	if (mode && !reg_valid_word(mode, modes, &which))
		return reject_egress(parse, "outboundTrafficPolicy.mode: neither ALLOW_ANY nor "
					    "REGISTRY_ONLY");
	if (proxy &&
	    (which != 1 || !host || !reg_valid_fqdn(host) || !reg_parse_has(proxy, "port")))
		return reject_egress(parse, "outboundTrafficPolicy.egressProxy: needs ALLOW_ANY, "
					    "a host and a port");
	parse->object->has_outbound_policy = true;
	parse->object->registry_only = which == 0;
	return 0;
}

int reg_parse_sidecar(struct parse *parse)
{
	struct object *object = parse->object;
	size_t n_ingress = 0;
	int r = reg_parse_selector(parse, parse->spec, "workloadSelector", "labels",
				   &object->has_selector, &object->selector);

	if (!r)
		r = parse_egress(parse);
	if (!r)
		r = check_ports(parse);
	if (!r)
		r = parse_ingress(parse, &n_ingress);
	if (!r)
		r = parse_outbound(parse);
	if (!r && !object->n_listeners && !n_ingress && !object->has_outbound_policy &&
	    !reg_parse_has(parse->spec, "inboundConnectionPool"))
		r = reject_egress(parse, "spec: empty");
	object->export.own = true;
	return r;
}
