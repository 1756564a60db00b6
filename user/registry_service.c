// SPDX-License-Identifier: Apache-2.0
/*
 * Kubernetes Services out of JSON, and the endpoints of a ServiceEntry, which have their own rules.
 *
 * Owns: what istiod makes of a Service (its host, its ports' protocols), the checks of endpoints. Must not know:
 * single fields, the index.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define UNIX_PREFIX "unix://"
#define OUTER_MAX   256 /* addresses of one Service; there are a few */

/* Services */

/* kube.ConvertProtocol: what appProtocol or the beginning of the name says, else sniffed. */
static enum port_class service_class(const char *protocol, const char *app, const char *name,
				     uint16_t number)
{
	static const struct {
		const char *word;
		enum port_class class;
	} apps[] = {{"kubernetes.io/h2c", PORT_HTTP},
		    {"kubernetes.io/ws", PORT_HTTP},
		    {"kubernetes.io/wss", PORT_TLS}};
	/* Servers that speak first, which sniffing would keep waiting. */
	static const uint16_t server_first[] = {25, 53, 3306, 27017};
	enum port_class class;
	char word[16];

	if (strcmp(protocol, "TCP") != 0)
		return PORT_NONE;
	for (size_t i = 0; i < ARRAY_SIZE(apps); i++)
		if (strcmp(app, apps[i].word) == 0)
			return apps[i].class;
	snprintf(word, sizeof(word), "%s", *app ? app : name);
	if (!*app)
		word[strcspn(word, "-")] = '\0';
	if (*word && reg_valid_protocol(word, &class) && class != PORT_NONE)
		return class;
	for (size_t i = 0; i < ARRAY_SIZE(server_first); i++)
		if (number == server_first[i])
			return PORT_TCP;
	return PORT_AUTO;
}

static int service_port(struct parse *parse, const cJSON *item, struct port *port)
{
	const char *protocol, *app, *name;
	int r = reg_parse_port(parse, item, "port", "ports: a port is not 1 to 65535",
			       &port->number);

	if (!r)
		r = reg_parse_text(parse, item, "protocol", "ports: a protocol is not a word",
				   &protocol);
	if (!r)
		r = reg_parse_text(parse, item, "appProtocol",
				   "ports: an appProtocol is not a word", &app);
	if (!r)
		r = reg_parse_text(parse, item, "name", "ports: a name is not a text", &name);
	if (!r && !port->number)
		r = reg_parse_reject(parse, REGISTRY_REASON_PORT, "ports: one has no number");
	if (!r)
		port->class = (uint8_t)service_class(protocol ? protocol : "TCP", app ? app : "",
						     name ? name : "", port->number);
	return r;
}

static int service_ports(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *list;
	int r = reg_parse_list(parse, parse->spec, "ports", ITEMS_MAX, "ports: not a list", &list);

	if (r || !list)
		return r;
	object->ports = reg_parse_array(parse, (size_t)cJSON_GetArraySize(list),
					sizeof(*object->ports));
	if (!object->ports)
		return -ENOMEM;
	for (const cJSON *item = list->child; item && !r; item = item->next)
		r = service_port(parse, item, &object->ports[object->n_ports++]);
	return r;
}

static void service_address(struct object *object, const cJSON *item)
{
	struct address_range *range = &object->addresses[object->n_addresses];

	if (!cJSON_IsString(item) || !reg_valid_address(item->valuestring, range->ip))
		return;
	range->prefix = 128;
	object->n_addresses++;
	object->has_address = true;
}

/* clusterIPs has clusterIP in it where the API server knows the field; "None" and "" are no addresses. */
static int service_addresses(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *list, *one = cJSON_GetObjectItemCaseSensitive(parse->spec, "clusterIP");
	int r = reg_parse_list(parse, parse->spec, "clusterIPs", 2, "clusterIPs: not a list of two",
			       &list);

	if (r)
		return r;
	object->addresses = reg_parse_array(parse, 3, sizeof(*object->addresses));
	if (!object->addresses)
		return -ENOMEM;
	for (const cJSON *item = list ? list->child : NULL; item; item = item->next)
		service_address(object, item);
	if (!object->n_addresses)
		service_address(object, one);
	return 0;
}

/* Where the nodes take connections for it, although sidecars do not listen there. ipMode Proxy: they leave first. */
static void service_outer(struct object *object, const cJSON *list, const char *key)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list) {
		const cJSON *ip = key ? cJSON_GetObjectItemCaseSensitive(item, key) : item;
		const cJSON *mode = cJSON_GetObjectItemCaseSensitive(item, "ipMode");
		struct address_range *range = &object->outer[object->n_outer];

		if (object->n_outer == OUTER_MAX || !cJSON_IsString(ip) ||
		    (cJSON_IsString(mode) && strcmp(mode->valuestring, "Proxy") == 0) ||
		    !reg_valid_address(ip->valuestring, range->ip))
			continue;
		range->prefix = 128;
		object->n_outer++;
	}
}

static int service_outers(struct parse *parse)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(parse->whole, "status");
	const cJSON *balancer = cJSON_GetObjectItemCaseSensitive(status, "loadBalancer");
	const cJSON *ingress = cJSON_GetObjectItemCaseSensitive(balancer, "ingress");
	const cJSON *given = cJSON_GetObjectItemCaseSensitive(parse->spec, "externalIPs");
	size_t n = (size_t)cJSON_GetArraySize(ingress) + (size_t)cJSON_GetArraySize(given);

	if (!n)
		return 0;
	parse->object->outer = reg_parse_array(parse, MIN(n, (size_t)OUTER_MAX) + 1,
					       sizeof(*parse->object->outer));
	if (!parse->object->outer)
		return -ENOMEM;
	service_outer(parse->object, ingress, "ip");
	service_outer(parse->object, given, NULL);
	return 0;
}

static int service_export_entry(struct parse *parse, const char *word, const char **others)
{
	struct exports *exports = &parse->object->export;

	if (strcmp(word, "*") == 0)
		exports->all = true;
	else if (strcmp(word, ".") == 0 || strcmp(word, parse->object->public.ns) == 0)
		exports->own = true;
	else if (strcmp(word, "~") == 0)
		exports->nobody = true;
	else if (reg_valid_label(word))
		return reg_parse_copy(parse, word, &others[exports->n_others++]);
	return 0;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The annotation networking.istio.io/exportTo, a list with commas; nobody validates it. */
static int service_export(struct parse *parse)
{
	const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(parse->metadata, "annotations");
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(annotations,
							     "networking.istio.io/exportTo");
	struct exports *exports = &parse->object->export;
	char *text, *word, *rest = NULL;
	const char **others;
	int r = 0;

	if (!cJSON_IsString(item) || !*item->valuestring) {
		exports->own = true;
		exports->all = !parse->store->private[REGISTRY_KIND_SERVICE];
		return 0;
	}
	text = reg_arena_copy(&parse->object->arena, item->valuestring, strlen(item->valuestring));
	others = reg_parse_array(parse, strlen(item->valuestring) / 2 + 1, sizeof(*others));
	if (!text || !others)
		return -ENOMEM;
	for (word = strtok_r(text, ", ", &rest); word && !r; word = strtok_r(NULL, ", ", &rest))
		r = service_export_entry(parse, word, others);
	qsort(others, exports->n_others, sizeof(*others), compare_texts);
	exports->others = others;
	/* `*` wins over `~`, and `~` over everything else. */
	if (exports->nobody && !exports->all)
		*exports = (struct exports){0};
	return r;
}

int reg_parse_service(struct parse *parse)
{
	struct object *object = parse->object;
	char host[NAME_LEN_MAX + NS_MAX + HOST_MAX + 8];
	const char *type;
	int r = reg_parse_text(parse, parse->spec, "type", "type: not a word", &type);

	if (!r)
		r = service_ports(parse);
	if (!r)
		r = service_addresses(parse);
	if (!r)
		r = service_outers(parse);
	if (!r)
		r = service_export(parse);
	if (r)
		return r;
	object->hosts = reg_parse_array(parse, 1, sizeof(*object->hosts));
	if (!object->hosts)
		return -ENOMEM;
	object->alias = type && strcmp(type, "ExternalName") == 0;
	object->headless = !object->has_address;
	/* Only another name for what it points to, without a listener of its own. */
	if (object->alias)
		object->n_ports = 0;
	snprintf(host, sizeof(host), "%s.%s.svc.%s", object->public.name, object->public.ns,
		 parse->store->cluster_domain);
	return reg_parse_copy_host(parse, host, &object->hosts[object->n_hosts++]);
}

/* Endpoints */

static int reject_endpoint(struct parse *parse, const char *why)
{
	return reg_parse_reject(parse, REGISTRY_REASON_ENDPOINT, why);
}

static bool is_declared(const cJSON *ports, const char *name)
{
	const cJSON *port;

	cJSON_ArrayForEach(port, ports) {
		if (strcmp(cJSON_GetObjectItemCaseSensitive(port, "name")->valuestring, name) == 0)
			return true;
	}
	return false;
}

static int endpoint_ports(struct parse *parse, const cJSON *endpoint, const cJSON *declared,
			  size_t *ret_n)
{
	const cJSON *ports, *port;
	uint16_t number;
	int r = reg_parse_object(parse, endpoint, "ports", "endpoints: ports are not a mapping",
				 &ports);

	*ret_n = (size_t)cJSON_GetArraySize(ports);
	if (*ret_n > PORTS_MAX)
		return reject_endpoint(parse, "endpoints: more ports than a ServiceEntry has");
	for (port = ports ? ports->child : NULL; port && !r; port = port->next) {
		r = reg_parse_port(parse, ports, port->string,
				   "endpoints: a port is not 1 to 65535", &number);
		if (!r && !is_declared(declared, port->string))
			r = reject_endpoint(parse, "endpoints: a port that is not declared");
	}
	return r;
}

/* S12 and S13. */
static int endpoint_check(struct parse *parse, const cJSON *endpoint, const cJSON *declared,
			  bool fixed)
{
	const char *address, *network;
	uint8_t ip[16];
	size_t n_ports = 0;
	int r;

	if (!cJSON_IsObject(endpoint))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "endpoints: not mappings");
	r = reg_parse_text(parse, endpoint, "address", "endpoints: an address is not a text",
			   &address);
	if (!r)
		r = reg_parse_text(parse, endpoint, "network", "endpoints: a network is not a text",
				   &network);
	if (!r)
		r = endpoint_ports(parse, endpoint, declared, &n_ports);
	if (r)
		return r;
	if (!address || !*address)
		return network && *network && fixed
			       ? 0
			       : reject_endpoint(parse, "endpoints: one has no address");
	if (fixed && strncmp(address, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return n_ports == 0 && cJSON_GetArraySize(declared) == 1
			       ? 0
			       : reject_endpoint(parse,
						 "endpoints: a socket's path needs one port, "
						 "declared and not repeated");
	if (reg_valid_address(address, ip))
		return 0;
	if (fixed)
		return reject_endpoint(parse, "endpoints: STATIC needs addresses");
	return reg_valid_fqdn(address)
		       ? 0
		       : reject_endpoint(parse, "endpoints: neither an address nor a host name");
}

int reg_parse_endpoints(struct parse *parse, const cJSON *endpoints, const cJSON *ports, bool fixed)
{
	const cJSON *endpoint;
	int r = 0;

	for (endpoint = endpoints->child; endpoint && !r; endpoint = endpoint->next)
		r = endpoint_check(parse, endpoint, ports, fixed);
	return r;
}
