// SPDX-License-Identifier: Apache-2.0
/*
 * What of the cluster's documents is ours; see istio_tree.h.
 *
 * Owns: which specs this tool may have written, and their values. Must not know: what is made of them.
 */
#include <string.h>

#include "istio_tree.h"
#include "util.h"

static const cJSON *get(const cJSON *in, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(in, key);
}

static const cJSON *spec_of(const struct registry_object *object)
{
	return object && object->source ? get(object->source, "spec") : NULL;
}

static const char *text_of(const cJSON *in, const char *key)
{
	return cJSON_GetStringValue(get(in, key));
}

static bool is_text(const cJSON *in, const char *key, const char *value)
{
	const char *text = text_of(in, key);

	return text && strcmp(text, value) == 0;
}

/* The only item of the list, or NULL. */
static const cJSON *single(const cJSON *list)
{
	return cJSON_IsArray(list) && cJSON_GetArraySize(list) == 1 ? list->child : NULL;
}

static bool is_single(const cJSON *list, const char *value)
{
	const char *text = cJSON_GetStringValue(single(list));

	return text && strcmp(text, value) == 0;
}

/* Whether all keys of the mapping are among these. */
static bool has_only(const cJSON *map, const char *const keys[])
{
	const cJSON *item;

	if (!cJSON_IsObject(map))
		return false;
	cJSON_ArrayForEach(item, map) {
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], item->string) != 0)
			i++;
		if (!keys[i])
			return false;
	}
	return true;
}

#define ONLY(map, ...) has_only(map, (const char *const[]){__VA_ARGS__, NULL})

static bool in_range(const cJSON *number, double min, double max)
{
	return cJSON_IsNumber(number) && number->valuedouble >= min && number->valuedouble <= max;
}

/* To all or to its own namespace, and not to some. */
static bool is_our_export(const cJSON *spec)
{
	const cJSON *list = get(spec, "exportTo");

	return !list || !list->child || is_single(list, "*") || is_single(list, ".");
}

static bool is_our_port(const cJSON *port)
{
	const cJSON *target = get(port, "targetPort");

	return ONLY(port, "number", "name", "protocol", "targetPort") &&
	       in_range(get(port, "number"), 1, 65535) &&
	       (is_text(port, "protocol", "HTTP") || is_text(port, "protocol", "TLS")) &&
	       (!target || (in_range(target, 443, 443) && in_range(get(port, "number"), 80, 80)));
}

static bool is_our_entry(const cJSON *spec, const char *host)
{
	const cJSON *ports = get(spec, "ports"), *port;

	if (!ONLY(spec, "hosts", "exportTo", "location", "ports", "resolution") ||
	    !is_single(get(spec, "hosts"), host) || !cJSON_IsArray(ports) ||
	    cJSON_GetArraySize(ports) > ISTIO_PORTS_MAX)
		return false;
	cJSON_ArrayForEach(port, ports) {
		if (!is_our_port(port))
			return false;
	}
	return true;
}

static bool is_our_selector(const cJSON *selector)
{
	const cJSON *labels = get(selector, "matchLabels");

	return ONLY(selector, "matchLabels") && cJSON_GetArraySize(labels) == 1 &&
	       cJSON_IsString(labels->child);
}

static bool is_our_rule(const cJSON *spec, const char *host)
{
	const cJSON *policy = get(spec, "trafficPolicy"), *selector = get(spec, "workloadSelector");
	const cJSON *setting = single(get(policy, "portLevelSettings")), *tls = get(setting, "tls");
	bool mutual = text_of(tls, "credentialName");

	return ONLY(spec, "host", "exportTo", "trafficPolicy", "workloadSelector") &&
	       is_text(spec, "host", host) && ONLY(policy, "portLevelSettings") &&
	       ONLY(setting, "port", "tls") &&
	       in_range(get(get(setting, "port"), "number"), 80, 80) &&
	       ONLY(tls, "mode", "caCertificates", "credentialName", "sni", "subjectAltNames") &&
	       is_text(tls, "mode", mutual ? "MUTUAL" : "SIMPLE") && mutual == (selector != NULL) &&
	       (!mutual || is_our_selector(selector));
}

static bool is_our_http(const cJSON *http)
{
	const cJSON *timeout = get(http, "timeout"), *retries = get(http, "retries");

	return ONLY(http, "match", "route", "timeout", "retries") &&
	       ONLY(single(get(http, "match")), "port") &&
	       ONLY(single(get(http, "route")), "destination") &&
	       (!timeout || cJSON_IsString(timeout)) &&
	       (!retries ||
		(ONLY(retries, "attempts") && in_range(get(retries, "attempts"), 0, 1000)));
}

static bool is_our_route(const cJSON *spec, const char *host)
{
	const cJSON *list = get(spec, "http"), *http;

	if (!ONLY(spec, "hosts", "exportTo", "http") || !is_single(get(spec, "hosts"), host) ||
	    !cJSON_IsArray(list) || !list->child)
		return false;
	cJSON_ArrayForEach(http, list) {
		if (!is_our_http(http))
			return false;
	}
	return true;
}

bool istio_tree_is_ours(const struct registry_object *object, const char *host)
{
	const cJSON *spec = spec_of(object);

	if (!spec || !object->managed || !is_our_export(spec))
		return false;
	switch (object->kind) {
	case REGISTRY_KIND_SERVICE_ENTRY:
		return is_our_entry(spec, host);
	case REGISTRY_KIND_DESTINATION_RULE:
		return is_our_rule(spec, host);
	case REGISTRY_KIND_VIRTUAL_SERVICE:
		return is_our_route(spec, host);
	case REGISTRY_KIND_SIDECAR:
		return ONLY(spec, "outboundTrafficPolicy") &&
		       ONLY(get(spec, "outboundTrafficPolicy"), "mode");
	default:
		return false;
	}
}

const char *istio_tree_host(const struct registry_object *object)
{
	const cJSON *spec = spec_of(object), *hosts = get(spec, "hosts");

	return hosts ? cJSON_GetStringValue(hosts->child) : text_of(spec, "host");
}

bool istio_tree_is_exported(const struct registry_object *object)
{
	const cJSON *list = get(spec_of(object), "exportTo");

	return !list || !list->child || is_single(list, "*");
}

size_t istio_tree_n_ports(const struct registry_object *entry)
{
	return (size_t)cJSON_GetArraySize(get(spec_of(entry), "ports"));
}

struct istio_port istio_tree_port(const struct registry_object *entry, size_t i)
{
	const cJSON *port = cJSON_GetArrayItem(get(spec_of(entry), "ports"), (int)i);
	const cJSON *target = get(port, "targetPort");

	return (struct istio_port){.number = (uint16_t)get(port, "number")->valuedouble,
				   .target_port = target ? (uint16_t)target->valuedouble : 0,
				   .tls = is_text(port, "protocol", "TLS"),
				   .kept = true};
}

bool istio_tree_is_dynamic(const struct registry_object *entry)
{
	return is_text(spec_of(entry), "resolution", "DYNAMIC_DNS");
}

const char *istio_tree_credential(const struct registry_object *rule, const char **ret_key,
				  const char **ret_value)
{
	const cJSON *spec = spec_of(rule);
	const cJSON *setting = single(get(get(spec, "trafficPolicy"), "portLevelSettings"));
	const cJSON *labels = get(get(spec, "workloadSelector"), "matchLabels");
	const char *credential = text_of(get(setting, "tls"), "credentialName");

	if (!credential)
		return NULL;
	*ret_key = labels->child->string;
	*ret_value = labels->child->valuestring;
	return credential;
}

void istio_tree_route(const struct registry_object *route, const char **ret_timeout,
		      uint32_t *ret_retries)
{
	const cJSON *http = get(spec_of(route), "http")->child;

	*ret_timeout = text_of(http, "timeout");
	*ret_retries = OPT_OFF;
	if (get(http, "retries"))
		*ret_retries = (uint32_t)get(get(http, "retries"), "attempts")->valuedouble;
}
