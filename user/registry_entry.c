// SPDX-License-Identifier: Apache-2.0
/*
 * ServiceEntries out of JSON, with the checks of istiod's webhook (ValidateServiceEntry) and of the CRD.
 *
 * Owns: the spec of a ServiceEntry, and the addresses istiod gives to it. Must not know: single fields, the index.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define ADDRESS_TEXT_MAX 64 /* the CRD's */

enum resolution {
	RESOLUTION_NONE,
	RESOLUTION_STATIC,
	RESOLUTION_DNS,
	RESOLUTION_DNS_RR,
	RESOLUTION_DYNAMIC
};

static const char *const resolutions[] = {"NONE",        "STATIC", "DNS", "DNS_ROUND_ROBIN",
					  "DYNAMIC_DNS", NULL};
static const char *const locations[] = {"MESH_EXTERNAL", "MESH_INTERNAL", NULL};

/* A ServiceEntry in the making. */
struct entry {
	struct parse *parse;
	enum resolution resolution;
	bool internal; /* MESH_INTERNAL */
	const cJSON *hosts, *ports, *endpoints;
	size_t n_endpoints;
	bool tcp;          /* a port that only an address can tell from another host's */
	bool sniffed_only; /* ports DYNAMIC_DNS knows: HTTP, TLS, GRPC, HTTP2 */
};

static int reject_host(struct entry *entry, const char *why)
{
	return reg_parse_reject(entry->parse, REGISTRY_REASON_HOST, why);
}

static int entry_enums(struct entry *entry)
{
	struct parse *parse = entry->parse;
	const char *resolution, *location;
	size_t which = 0;
	int r = reg_parse_text(parse, parse->spec, "resolution", "resolution: not a word",
			       &resolution);

	if (!r)
		r = reg_parse_text(parse, parse->spec, "location", "location: not a word",
				   &location);
	if (r)
		return r;
	if (resolution && !reg_valid_word(resolution, resolutions, &which))
		return reg_parse_reject(parse, REGISTRY_REASON_RESOLUTION,
					"resolution: none of NONE, STATIC, DNS, DNS_ROUND_ROBIN, "
					"DYNAMIC_DNS");
	entry->resolution = (enum resolution)which;
	which = 0;
	if (location && !reg_valid_word(location, locations, &which))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE,
					"location: neither MESH_EXTERNAL nor MESH_INTERNAL");
	entry->internal = which == 1;
	parse->object->resolution = (uint8_t)entry->resolution;
	return 0;
}

/* H1 to H9, S1, S10, S14. */
static int entry_host(struct entry *entry, const cJSON *item)
{
	const char *host = item->valuestring;
	bool dns = entry->resolution == RESOLUTION_DNS || entry->resolution == RESOLUTION_DNS_RR;

	if (!cJSON_IsString(item))
		return reg_parse_reject(entry->parse, REGISTRY_REASON_SHAPE, "hosts: not texts");
	if (strcmp(host, "*") == 0)
		return reject_host(entry, "hosts: `*` would be everything");
	if (!reg_valid_wildcard_host(host))
		return reject_host(entry, "hosts: not a host name, with or without a wildcard");
	if (dns && !entry->n_endpoints && !reg_valid_fqdn(host))
		return reject_host(entry,
				   "hosts: DNS cannot resolve a wildcard; it needs endpoints, "
				   "NONE or DYNAMIC_DNS");
	if (entry->resolution == RESOLUTION_DYNAMIC && !reg_host_is_wildcard(host))
		return reject_host(entry, "hosts: DYNAMIC_DNS is for wildcards");
	/* One without a dot stays as it is, and no rule can mean it. */
	return reg_parse_add_host(entry->parse, host, false);
}

static int entry_hosts(struct entry *entry)
{
	struct object *object = entry->parse->object;
	int r = reg_parse_list(entry->parse, entry->parse->spec, "hosts", HOSTS_MAX,
			       "hosts: not a list of at most 256", &entry->hosts);

	if (r)
		return r;
	if (cJSON_GetArraySize(entry->hosts) == 0)
		return reject_host(entry, "hosts: none");
	object->hosts = reg_parse_array(entry->parse, (size_t)cJSON_GetArraySize(entry->hosts),
					sizeof(*object->hosts));
	if (!object->hosts)
		return -ENOMEM;
	for (const cJSON *item = entry->hosts->child; item && !r; item = item->next)
		r = entry_host(entry, item);
	return r;
}

/* Ports: S2 to S5 */

static int reject_port(struct entry *entry, const char *why)
{
	return reg_parse_reject(entry->parse, REGISTRY_REASON_PORT, why);
}

static bool is_dynamic_protocol(const char *word)
{
	static const char *const words[] = {"http", "tls", "grpc", "http2"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasecmp(words[i], word) == 0)
			return true;
	return false;
}

static int entry_port(struct entry *entry, const cJSON *item, struct port *port)
{
	struct parse *parse = entry->parse;
	const char *name = NULL, *protocol = NULL;
	enum port_class class = PORT_AUTO;
	uint16_t target;
	int r;

	if (!cJSON_IsObject(item))
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "ports: not mappings");
	r = reg_parse_port(parse, item, "number", "ports: a number is not 1 to 65535",
			   &port->number);
	if (!r)
		r = reg_parse_port(parse, item, "targetPort",
				   "ports: a targetPort is not 1 to 65535", &target);
	if (!r)
		r = reg_parse_text(parse, item, "name", "ports: a name is not a text", &name);
	if (!r)
		r = reg_parse_text(parse, item, "protocol", "ports: a protocol is not a word",
				   &protocol);
	if (r)
		return r;
	if (!port->number)
		return reject_port(entry, "ports: one has no number");
	if (!name || !reg_valid_label(name))
		return reject_port(entry, "ports: a name is not a label");
	if (protocol && !reg_valid_protocol(protocol, &class))
		return reject_port(entry, "ports: a protocol istiod does not know");
	port->class = (uint8_t) class;
	entry->tcp = entry->tcp || (class != PORT_HTTP && class != PORT_TLS);
	entry->sniffed_only = entry->sniffed_only && is_dynamic_protocol(protocol ? protocol : "");
	return 0;
}

/* By number: two equal ones become neighbours. */
static int compare_ports(const void *a, const void *b)
{
	return (int)((const struct port *)a)->number - (int)((const struct port *)b)->number;
}

/* At most 256, so that all pairs are not many. */
static bool has_equal_names(const cJSON *ports)
{
	for (const cJSON *a = ports->child; a; a = a->next)
		for (const cJSON *b = a->next; b; b = b->next)
			if (strcmp(cJSON_GetObjectItemCaseSensitive(a, "name")->valuestring,
				   cJSON_GetObjectItemCaseSensitive(b, "name")->valuestring) == 0)
				return true;
	return false;
}

static int entry_ports(struct entry *entry)
{
	struct object *object = entry->parse->object;
	int r = reg_parse_list(entry->parse, entry->parse->spec, "ports", PORTS_MAX,
			       "ports: not a list of at most 256", &entry->ports);

	if (r || !entry->ports)
		return r;
	object->ports = reg_parse_array(entry->parse, (size_t)cJSON_GetArraySize(entry->ports),
					sizeof(*object->ports));
	if (!object->ports)
		return -ENOMEM;
	for (const cJSON *item = entry->ports->child; item && !r; item = item->next)
		r = entry_port(entry, item, &object->ports[object->n_ports++]);
	if (r)
		return r;
	if (has_equal_names(entry->ports))
		return reject_port(entry, "ports: two have one name");
	qsort(object->ports, object->n_ports, sizeof(*object->ports), compare_ports);
	for (size_t i = 1; i < object->n_ports; i++)
		if (object->ports[i - 1].number == object->ports[i].number)
			return reject_port(entry, "ports: two have one number");
	return 0;
}

/* Addresses: S6 */

static int entry_address(struct entry *entry, const cJSON *item)
{
	struct object *object = entry->parse->object;
	struct address_range *range = &object->addresses[object->n_addresses];
	bool fixed = entry->resolution == RESOLUTION_NONE || entry->resolution == RESOLUTION_STATIC;

	if (!cJSON_IsString(item))
		return reg_parse_reject(entry->parse, REGISTRY_REASON_SHAPE,
					"addresses: not texts");
	if (strlen(item->valuestring) > ADDRESS_TEXT_MAX ||
	    !reg_valid_range(item->valuestring, range))
		return reg_parse_reject(entry->parse, REGISTRY_REASON_ADDRESS,
					"addresses: neither an address nor a range of them");
	if (strchr(item->valuestring, '/') && !fixed)
		return reg_parse_reject(entry->parse, REGISTRY_REASON_ADDRESS,
					"addresses: a range needs resolution NONE or STATIC");
	/* What istiod itself calls no address. */
	if (strcmp(item->valuestring, "0.0.0.0") == 0 || strcmp(item->valuestring, "::") == 0)
		return 0;
	object->n_addresses++;
	object->has_address = true;
	return 0;
}

/* One of status.addresses: {value, host}, or only a value from before 1.25, for the one host there is. */
static void entry_allocated(struct entry *entry, const cJSON *item)
{
	struct object *object = entry->parse->object;
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(item, "value");
	const cJSON *host = cJSON_GetObjectItemCaseSensitive(item, "host");
	struct address_range *range = &object->addresses[object->n_addresses];
	char normal[HOST_MAX + 1] = "";
	size_t which = 0;

	if (!cJSON_IsString(value) || !reg_valid_address(value->valuestring, range->ip) ||
	    !registry_is_allocated(range->ip))
		return;
	if (cJSON_IsString(host) && !reg_host_normalize(host->valuestring, normal))
		return;
	while (*normal && which < object->n_hosts && strcmp(object->hosts[which], normal) != 0)
		which++;
	if (which == object->n_hosts)
		return;
	range->prefix = 128;
	range->allocated = true;
	range->host = (uint16_t)which;
	object->n_addresses++;
}

static int entry_addresses(struct entry *entry)
{
	struct object *object = entry->parse->object;
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(entry->parse->whole, "status");
	const cJSON *given = cJSON_GetObjectItemCaseSensitive(status, "addresses"), *list, *item;
	/* Two for each host, IPv4 and IPv6; the status is istiod's own and is not checked by anyone. */
	size_t n_given = MIN((size_t)cJSON_GetArraySize(given), (size_t)2 * HOSTS_MAX);
	int r = reg_parse_list(entry->parse, entry->parse->spec, "addresses", ADDRESSES_MAX,
			       "addresses: not a list of at most 256", &list);

	if (r)
		return r;
	object->addresses = reg_parse_array(entry->parse,
					    (size_t)cJSON_GetArraySize(list) + n_given,
					    sizeof(*object->addresses));
	if (!object->addresses)
		return -ENOMEM;
	for (item = list ? list->child : NULL; item && !r; item = item->next)
		r = entry_address(entry, item);
	for (item = given ? given->child : NULL; item && n_given && !r;
	     item = item->next, n_given--)
		entry_allocated(entry, item);
	return r;
}

/* What only all fields together show: S8, S9, S11, S14, S15 */
static int entry_check(struct entry *entry)
{
	const struct object *object = entry->parse->object;
	const cJSON *labels = cJSON_GetObjectItemCaseSensitive(entry->parse->metadata, "labels");
	const cJSON *waypoint = cJSON_GetObjectItemCaseSensitive(labels, "istio.io/use-waypoint");
	const char *why = NULL;

	if (object->has_selector && entry->endpoints)
		why = "endpoints: not together with a workloadSelector";
	else if (entry->resolution == RESOLUTION_NONE && entry->n_endpoints)
		why = "endpoints: none with resolution NONE";
	else if (entry->resolution == RESOLUTION_DNS_RR && entry->n_endpoints > 1)
		why = "endpoints: at most one with DNS_ROUND_ROBIN";
	else if (entry->resolution == RESOLUTION_DYNAMIC && entry->n_endpoints)
		why = "endpoints: none with DYNAMIC_DNS";
	if (why)
		return reg_parse_reject(entry->parse, REGISTRY_REASON_ENDPOINT, why);
	if (entry->resolution == RESOLUTION_DYNAMIC && object->has_address)
		return reg_parse_reject(entry->parse, REGISTRY_REASON_ADDRESS,
					"addresses: none with DYNAMIC_DNS");
	if (entry->resolution == RESOLUTION_DYNAMIC && !entry->sniffed_only)
		return reject_port(entry, "ports: DYNAMIC_DNS knows HTTP, HTTP2, GRPC and TLS");
	if (entry->resolution == RESOLUTION_DYNAMIC && entry->internal &&
	    cJSON_IsString(waypoint) && strcmp(waypoint->valuestring, "none") != 0)
		return reg_parse_reject(entry->parse, REGISTRY_REASON_RESOLUTION,
					"resolution: DYNAMIC_DNS inside the mesh has no waypoint");
	if (entry->resolution != RESOLUTION_NONE && cJSON_GetArraySize(entry->hosts) > 1 &&
	    entry->tcp)
		return reject_port(entry, "ports: several hosts need HTTP or TLS to be told apart");
	return 0;
}

int reg_parse_service_entry(struct parse *parse)
{
	struct entry entry = {.parse = parse, .sniffed_only = true};
	int r = entry_enums(&entry);

	if (!r)
		r = reg_parse_list(parse, parse->spec, "endpoints", ENDPOINTS_MAX,
				   "endpoints: not a list of at most 4096", &entry.endpoints);
	entry.n_endpoints = (size_t)cJSON_GetArraySize(entry.endpoints);
	if (!r)
		r = entry_hosts(&entry);
	if (!r)
		r = entry_ports(&entry);
	if (!r)
		r = entry_addresses(&entry);
	if (!r)
		r = reg_parse_selector(parse, parse->spec, "workloadSelector", "labels",
				       &parse->object->has_selector, &parse->object->selector);
	if (!r)
		r = reg_parse_export(parse, true);
	if (!r)
		r = entry_check(&entry);
	if (!r && entry.endpoints)
		r = reg_parse_endpoints(parse, entry.endpoints, entry.ports,
					entry.resolution == RESOLUTION_STATIC);
	parse->object->internal = entry.internal;
	/* Listens on its endpoints' addresses, which are not known here. */
	parse->object->headless = entry.resolution == RESOLUTION_NONE &&
				  parse->object->has_selector;
	return r;
}
