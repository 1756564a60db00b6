// SPDX-License-Identifier: Apache-2.0
/* The documents of an Istio object as trees; see istio_tree.h. */
#include "istio_tree.h"

#include <errno.h>
#include <string.h>

#include "text.h"
#include "util.h"

/* ISTIO_WORKLOADS_MAX names of hostile length; Kubernetes takes 256 KiB of annotations an object. */
#define WORKLOADS_MAX (128u << 10)

void istio_tree_freep(cJSON **tree)
{
	cJSON_Delete(*tree);
}

/* Building. Errors stick, and everything after one does nothing: NULL is a node like any other. */

static cJSON *put(cJSON *in, const char *key, cJSON *item, int *error)
{
	bool added = in && item;

	if (added)
		added = cJSON_IsArray(in) ? cJSON_AddItemToArray(in, item)
					  : cJSON_AddItemToObject(in, key, item);
	if (added)
		return item;
	cJSON_Delete(item);
	*error = -ENOMEM;
	return NULL;
}

static cJSON *put_map(cJSON *in, const char *key, int *error)
{
	return put(in, key, cJSON_CreateObject(), error);
}

static cJSON *put_list(cJSON *in, const char *key, int *error)
{
	return put(in, key, cJSON_CreateArray(), error);
}

static void put_text(cJSON *in, const char *key, const char *value, int *error)
{
	put(in, key, cJSON_CreateString(value), error);
}

static void put_number(cJSON *in, const char *key, uint32_t value, int *error)
{
	put(in, key, cJSON_CreateNumber(value), error);
}

/* key: [value] */
static void put_single(cJSON *in, const char *key, const char *value, int *error)
{
	put_text(put_list(in, key, error), NULL, value, error);
}

/* Annotations */

static void put_built(cJSON *in, const char *key, struct text *text, int *error)
{
	_cleanup_free_ char *value = NULL;
	size_t size;
	int r = text_take(text, &value, &size);

	text_done(text);
	if (r)
		*error = r;
	else
		put_text(in, key, value, error);
}

/* A time that is not known (0) gets no annotation. */
static void put_time(cJSON *in, const char *key, uint64_t ms, int *error)
{
	struct text text = TEXT_INIT(64);

	if (!ms)
		return;
	text_add_time(&text, ms);
	put_built(in, key, &text, error);
}

static void put_count(cJSON *in, const char *key, uint64_t value, int *error)
{
	struct text text = TEXT_INIT(64);

	text_add_u64(&text, value);
	put_built(in, key, &text, error);
}

/* "a, b, c and 4 more" */
static void put_workloads(cJSON *in, const struct istio_evidence *evidence, int *error)
{
	size_t shown = MIN(evidence->n_workloads, (size_t)ISTIO_WORKLOADS_MAX);
	struct text text = TEXT_INIT(WORKLOADS_MAX);

	if (!shown)
		return;
	for (size_t i = 0; i < shown; i++) {
		text_puts(&text, i ? ", " : "");
		text_puts(&text, evidence->workloads[i]);
	}
	if (shown < evidence->n_workloads) {
		text_puts(&text, " and ");
		text_add_u64(&text, evidence->n_workloads - shown);
		text_puts(&text, " more");
	}
	put_built(in, "egress-agent/workloads", &text, error);
}

static void put_evidence(cJSON *in, const struct istio_evidence *evidence, int *error)
{
	cJSON *map = put_map(in, "annotations", error);

	put_workloads(map, evidence, error);
	put_count(map, "egress-agent/connections", evidence->connections, error);
	put_count(map, "egress-agent/requests", evidence->requests, error);
	put_time(map, "egress-agent/first-seen", evidence->first_ms, error);
	put_time(map, "egress-agent/last-seen", evidence->last_ms, error);
}

/* Documents */

static void put_metadata(cJSON *in, const struct istio_object *object, int *error)
{
	cJSON *map = put_map(in, "metadata", error);

	put_text(map, "name", object->name, error);
	if (*object->ns)
		put_text(map, "namespace", object->ns, error);
	/* Constant: istiod merges the ports of two ServiceEntries only when their labels are equal. */
	put_text(put_map(map, "labels", error), "app.kubernetes.io/managed-by", "egress-agent",
		 error);
	if (*object->host)
		put_evidence(map, &object->evidence, error);
}

static void put_port(cJSON *in, const struct istio_port *port, int *error)
{
	const char *word = port->tls ? "tls" : "http";
	cJSON *map = put_map(in, NULL, error);
	char name[16];

	if (port->number == (port->tls ? 443 : 80))
		snprintf(name, sizeof(name), "%s", word);
	else
		snprintf(name, sizeof(name), "%s-%u", word, port->number);
	put_number(map, "number", port->number, error);
	put_text(map, "name", name, error);
	put_text(map, "protocol", port->tls ? "TLS" : "HTTP", error);
	if (port->target_port)
		put_number(map, "targetPort", port->target_port, error);
}

/* All specs must agree on exportTo: istioctl looks a rule's host up where both are visible. */
static const char *export_to(const struct istio_object *object)
{
	return object->exported ? "*" : ".";
}

static void put_service_entry(cJSON *spec, const struct istio_object *object, int *error)
{
	static const char *const resolutions[] = {
		[ISTIO_DNS] = "DNS", [ISTIO_NONE] = "NONE", [ISTIO_DYNAMIC_DNS] = "DYNAMIC_DNS"};
	_Static_assert(ARRAY_SIZE(resolutions) == ISTIO_RESOLUTION_MAX, "a word for each");
	cJSON *ports;

	put_single(spec, "hosts", object->host, error);
	put_single(spec, "exportTo", export_to(object), error);
	put_text(spec, "location", "MESH_EXTERNAL", error);
	ports = put_list(spec, "ports", error);
	for (size_t i = 0; i < object->n_ports; i++)
		put_port(ports, &object->ports[i], error);
	put_text(spec, "resolution", resolutions[object->resolution], error);
}

/*
 * sni alone would turn the check of the certificate's name off, and no caCertificates is what istioctl warns
 * about: all four fields together mean the same in every Istio since 1.18. A credential has the CA in it.
 */
static void put_tls(cJSON *in, const struct istio_object *object, int *error)
{
	cJSON *tls = put_map(in, "tls", error);
	const char *credential = object->mutual.credential;

	put_text(tls, "mode", credential ? "MUTUAL" : "SIMPLE", error);
	put_text(tls, credential ? "credentialName" : "caCertificates",
		 credential ? credential : "system", error);
	put_text(tls, "sni", object->host, error);
	put_single(tls, "subjectAltNames", object->host, error);
}

static void put_destination_rule(cJSON *spec, const struct istio_object *object, int *error)
{
	const struct istio_mutual *mutual = &object->mutual;
	cJSON *setting;

	put_text(spec, "host", object->host, error);
	put_single(spec, "exportTo", export_to(object), error);
	/* Sidecars ignore a credentialName in rules without a selector, and would send plaintext. */
	if (mutual->credential)
		put_text(put_map(put_map(spec, "workloadSelector", error), "matchLabels", error),
			 mutual->key, mutual->value, error);
	setting =
		put_map(put_list(put_map(spec, "trafficPolicy", error), "portLevelSettings", error),
			NULL, error);
	put_number(put_map(setting, "port", error), "number", 80, error);
	put_tls(setting, object, error);
}

/* One route a port: a route without a port would take the requests of them all. */
static void put_http_route(cJSON *in, const struct istio_object *object, uint16_t port, int *error)
{
	cJSON *http = put_map(in, NULL, error), *destination;

	put_number(put_map(put_list(http, "match", error), NULL, error), "port", port, error);
	destination = put_map(put_map(put_list(http, "route", error), NULL, error), "destination",
			      error);
	put_text(destination, "host", object->host, error);
	put_number(put_map(destination, "port", error), "number", port, error);
	if (object->route.timeout)
		put_text(http, "timeout", object->route.timeout, error);
	if (object->route.retries != OPT_OFF)
		put_number(put_map(http, "retries", error), "attempts", object->route.retries,
			   error);
}

static void put_virtual_service(cJSON *spec, const struct istio_object *object, int *error)
{
	cJSON *http;

	put_single(spec, "hosts", object->host, error);
	put_single(spec, "exportTo", export_to(object), error);
	http = put_list(spec, "http", error);
	for (size_t i = 0; i < object->n_ports; i++)
		if (!object->ports[i].tls)
			put_http_route(http, object, object->ports[i].number, error);
}

static void put_sidecar(cJSON *spec, const struct istio_object *object, int *error)
{
	(void)object;
	put_text(put_map(spec, "outboundTrafficPolicy", error), "mode", "REGISTRY_ONLY", error);
}

static const struct {
	const char *name;
	void (*put)(cJSON *spec, const struct istio_object *object, int *error);
} kinds[] = {
	[ISTIO_DESTINATION_RULE] = {"DestinationRule", put_destination_rule},
	[ISTIO_SERVICE_ENTRY] = {"ServiceEntry", put_service_entry},
	[ISTIO_VIRTUAL_SERVICE] = {"VirtualService", put_virtual_service},
	[ISTIO_SIDECAR] = {"Sidecar", put_sidecar},
};
_Static_assert(ARRAY_SIZE(kinds) == ISTIO_KIND_MAX, "every kind");

const char *istio_kind_name(enum istio_kind kind)
{
	return kinds[kind].name;
}

int istio_tree_make(const struct istio_object *object, enum istio_kind kind,
		    const struct istio_options *options, cJSON **ret)
{
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = free};
	_cleanup_(istio_tree_freep) cJSON *tree = NULL;
	int error = 0;

	cJSON_InitHooks(&hooks);
	tree = cJSON_CreateObject();
	put_text(tree, "apiVersion",
		 options->v1beta1 ? "networking.istio.io/v1beta1" : "networking.istio.io/v1",
		 &error);
	put_text(tree, "kind", kinds[kind].name, &error);
	put_metadata(tree, object, &error);
	kinds[kind].put(put_map(tree, "spec", &error), object, &error);
	if (!error)
		*ret = TAKE_PTR(tree);
	return error;
}

void istio_tree_strip(cJSON *tree)
{
	cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "metadata"),
						"annotations");
}

/* The cluster's. cJSON 1.7.15 loses items when they are moved within a list, so it is copied in order. */

static cJSON *copy_like(const cJSON *tree, const cJSON *like, int *error);

/* The fields that like has, in its order, then the others. NOLINTNEXTLINE(misc-no-recursion) */
static void copy_fields(const cJSON *tree, const cJSON *like, cJSON *to, int *error)
{
	const cJSON *key, *item;

	cJSON_ArrayForEach(key, like) {
		item = cJSON_GetObjectItemCaseSensitive(tree, key->string);
		if (item)
			put(to, key->string, copy_like(item, key, error), error);
	}
	cJSON_ArrayForEach(item, tree) {
		if (!cJSON_GetObjectItemCaseSensitive(like, item->string))
			put(to, item->string, cJSON_Duplicate(item, true), error);
	}
}

/* Items are like the item in the same place, or like the first. NOLINTNEXTLINE(misc-no-recursion) */
static void copy_items(const cJSON *tree, const cJSON *like, cJSON *to, int *error)
{
	const cJSON *item, *place = like->child;

	cJSON_ArrayForEach(item, tree) {
		put(to, NULL, copy_like(item, place ? place : like->child, error), error);
		place = place ? place->next : NULL;
	}
}

/* As deep as like is. NOLINTNEXTLINE(misc-no-recursion) */
static cJSON *copy_like(const cJSON *tree, const cJSON *like, int *error)
{
	bool map = cJSON_IsObject(tree) && cJSON_IsObject(like);
	cJSON *copy;

	if (!like || (!map && !(cJSON_IsArray(tree) && cJSON_IsArray(like))))
		return cJSON_Duplicate(tree, true);
	copy = map ? cJSON_CreateObject() : cJSON_CreateArray();
	(map ? copy_fields : copy_items)(tree, like, copy, error);
	return copy;
}

int istio_tree_of_cluster(const struct registry_object *object, const cJSON *like, cJSON **ret)
{
	cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = free};
	_cleanup_(istio_tree_freep) cJSON *tree = NULL;
	const cJSON *spec = cJSON_GetObjectItemCaseSensitive(object->source, "spec");
	int error = 0;

	cJSON_InitHooks(&hooks);
	tree = cJSON_Duplicate(like, true);
	if (!tree)
		return -ENOMEM;
	istio_tree_strip(tree);
	cJSON_DeleteItemFromObjectCaseSensitive(tree, "spec");
	put(tree, "spec",
	    spec ? copy_like(spec, cJSON_GetObjectItemCaseSensitive(like, "spec"), &error)
		 : cJSON_CreateObject(),
	    &error);
	if (!error)
		*ret = TAKE_PTR(tree);
	return error;
}
