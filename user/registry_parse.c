// SPDX-License-Identifier: Apache-2.0
/*
 * From JSON to an object of the registry: metadata, and which reader makes the rest.
 *
 * Owns: kinds and their words, names, the original of what we manage. Must not know: the specs of the kinds (one
 * file each), single fields (registry_field.c), the index.
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "text.h"
#include "util.h"

/* An object that etcd takes has less; each of its values takes some more here. */
#define SOURCE_SIZE_MAX  (8u << 20)
#define SOURCE_ALLOC     16 /* what the allocator adds to each */
#define MANAGED_BY_LABEL "app.kubernetes.io/managed-by"
#define MANAGED_BY       "egress-agent"

/* Metadata */

static const struct {
	const char *word;
	bool istio;
	int (*make)(struct parse *parse);
} kinds[] = {
	[REGISTRY_KIND_SERVICE] = {"Service", false, reg_parse_service},
	[REGISTRY_KIND_SERVICE_ENTRY] = {"ServiceEntry", true, reg_parse_service_entry},
	[REGISTRY_KIND_DESTINATION_RULE] = {"DestinationRule", true, reg_parse_destination_rule},
	[REGISTRY_KIND_SIDECAR] = {"Sidecar", true, reg_parse_sidecar},
	[REGISTRY_KIND_VIRTUAL_SERVICE] = {"VirtualService", true, reg_parse_virtual_service},
};
_Static_assert(ARRAY_SIZE(kinds) == REGISTRY_KIND_MAX, "a word and a reader for every kind");

const char *registry_kind_name(enum registry_kind kind)
{
	return kinds[kind].word;
}

static const char *text_or_empty(const cJSON *in, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

int registry_kind_of(const cJSON *json, enum registry_kind *ret)
{
	static const char *const versions[] = {"networking.istio.io/v1",
					       "networking.istio.io/v1beta1",
					       "networking.istio.io/v1alpha3", NULL};
	const char *version = text_or_empty(json, "apiVersion"),
		   *word = text_or_empty(json, "kind");
	size_t which;

	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++) {
		if (strcmp(kinds[kind].word, word) != 0)
			continue;
		if (kinds[kind].istio ? !reg_valid_word(version, versions, &which)
				      : strcmp(version, "v1") != 0)
			return -ENOENT;
		*ret = kind;
		return 0;
	}
	return -ENOENT;
}

static int parse_names(struct parse *parse)
{
	struct registry_object *public = &parse->object->public;
	const char *name, *ns;
	int r = reg_parse_text(parse, parse->metadata, "name", "metadata.name: not a text", &name);

	if (!r)
		r = reg_parse_text(parse, parse->metadata, "namespace",
				   "metadata.namespace: not a text", &ns);
	if (r)
		return r;
	if (!ns || !*ns)
		ns = "default";
	if (!name || !reg_valid_name(name))
		return reg_parse_reject(parse, REGISTRY_REASON_METADATA,
					"metadata.name: none that Kubernetes takes");
	if (!reg_valid_name(ns) || !reg_valid_label(ns))
		return reg_parse_reject(parse, REGISTRY_REASON_METADATA,
					"metadata.namespace: none that Kubernetes takes");
	r = reg_parse_copy(parse, name, &public->name);
	return r ? r : reg_parse_copy(parse, ns, &public->ns);
}

static int parse_marks(struct parse *parse)
{
	struct object *object = parse->object;
	const cJSON *labels, *annotations;
	int r = reg_parse_object(parse, parse->metadata, "labels", "metadata.labels: not a mapping",
				 &labels);

	if (!r)
		r = reg_parse_object(parse, parse->metadata, "annotations",
				     "metadata.annotations: not a mapping", &annotations);
	if (r)
		return r;
	if (kinds[object->public.kind].istio &&
	    cJSON_GetObjectItemCaseSensitive(annotations, "istio.io/dry-run"))
		return reg_parse_reject(parse, REGISTRY_REASON_METADATA,
					"metadata.annotations: istio.io/dry-run is for "
					"AuthorizationPolicies");
	object->public.managed = kinds[object->public.kind].istio &&
				 strcmp(text_or_empty(labels, MANAGED_BY_LABEL), MANAGED_BY) == 0;
	/* Of use for a service only: istiod merges two with the same ones. */
	if (object->public.kind == REGISTRY_KIND_SERVICE_ENTRY)
		r = reg_parse_labels(parse, labels, "metadata.labels: not texts", &object->labels);
	/* Absent in a file: as old as can be, like everything else there. */
	if (text_parse_time(text_or_empty(parse->metadata, "creationTimestamp"),
			    &object->created_ms))
		object->created_ms = 0;
	return r;
}

/* The original of what we manage */

static size_t source_size(const cJSON *item)
{
	size_t size = sizeof(*item) + SOURCE_ALLOC;

	if (item->string)
		size += strlen(item->string) + SOURCE_ALLOC;
	if (item->valuestring)
		size += strlen(item->valuestring) + SOURCE_ALLOC;
	for (item = item->child; item; item = item->next)
		size += source_size(item);
	return size;
}

static int source_add(cJSON *to, const cJSON *from, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, key);
	cJSON *copy = item ? cJSON_Duplicate(item, true) : NULL;

	if (!item)
		return 0;
	if (copy && cJSON_AddItemToObject(to, key, copy))
		return 0;
	cJSON_Delete(copy);
	return -ENOMEM;
}

static int keep_source(struct parse *parse)
{
	static const char *const top[] = {"apiVersion", "kind", "spec"};
	static const char *const inner[] = {"name", "namespace", "labels", "annotations"};
	struct object *object = parse->object;
	cJSON *metadata;
	int r = 0;

	if (!object->public.managed)
		return 0;
	if (source_size(parse->whole) > SOURCE_SIZE_MAX)
		return reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "larger than etcd takes");
	object->source = cJSON_CreateObject();
	metadata = object->source ? cJSON_AddObjectToObject(object->source, "metadata") : NULL;
	if (!metadata)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(top) && !r; i++)
		r = source_add(object->source, parse->whole, top[i]);
	for (size_t i = 0; i < ARRAY_SIZE(inner) && !r; i++)
		r = source_add(metadata, parse->metadata, inner[i]);
	if (r)
		return r;
	object->public.source = object->source;
	object->bytes += source_size(object->source);
	return 0;
}

/* Objects */

void reg_object_free(struct object *object)
{
	if (!object)
		return;
	cJSON_Delete(object->source);
	reg_arena_done(&object->arena);
	free(object);
}

static void object_freep(struct object **object)
{
	reg_object_free(*object);
}

static int parse_whole(struct parse *parse)
{
	int r = reg_parse_object(parse, parse->whole, "metadata", "metadata: not a mapping",
				 &parse->metadata);

	if (!r)
		r = reg_parse_object(parse, parse->whole, "spec", "spec: not a mapping",
				     &parse->spec);
	if (!r && !parse->spec)
		r = reg_parse_reject(parse, REGISTRY_REASON_SHAPE, "spec: none");
	if (!r)
		r = parse_names(parse);
	if (!r)
		r = parse_marks(parse);
	if (!r)
		r = kinds[parse->object->public.kind].make(parse);
	return r ? r : keep_source(parse);
}

int reg_parse_make(const struct registry_store *store, enum registry_kind kind, const cJSON *json,
		   struct object **ret, enum registry_reason *ret_reason, const char **ret_why)
{
	_cleanup_(object_freep) struct object *object = calloc(1, sizeof(*object));
	struct parse parse = {.store = store, .whole = json, .object = object};
	int r;

	if (!object)
		return -ENOMEM;
	object->public.kind = kind;
	r = parse_whole(&parse);
	object->bytes += sizeof(*object) + object->arena.total;
	if (r == -EINVAL) {
		*ret_reason = parse.reason;
		*ret_why = parse.why;
	}
	if (!r)
		*ret = TAKE_PTR(object);
	return r;
}
