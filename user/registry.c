// SPDX-License-Identifier: Apache-2.0
/*
 * The registry's store, see registry.h.
 *
 * Owns: which objects there are, limits and counters. Must not know: what is in them.
 */
#include "registry.h"

#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

static const char *const reasons[] = {
	[REGISTRY_REASON_SHAPE] = "shape",
	[REGISTRY_REASON_METADATA] = "metadata",
	[REGISTRY_REASON_HOST] = "host",
	[REGISTRY_REASON_PORT] = "port",
	[REGISTRY_REASON_ADDRESS] = "address",
	[REGISTRY_REASON_ENDPOINT] = "endpoint",
	[REGISTRY_REASON_RESOLUTION] = "resolution",
	[REGISTRY_REASON_EXPORT] = "export",
	[REGISTRY_REASON_SELECTOR] = "selector",
	[REGISTRY_REASON_POLICY] = "policy",
	[REGISTRY_REASON_EGRESS] = "egress",
	[REGISTRY_REASON_ROUTE] = "route",
};
_Static_assert(ARRAY_SIZE(reasons) == REGISTRY_REASON_MAX, "a word for every reason");

const char *registry_reason_name(enum registry_reason reason)
{
	return reasons[reason];
}

int registry_new(const struct registry_options *options, struct registry_store **ret)
{
	_cleanup_(registry_freep) struct registry_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	r = reg_index_init(&store->index);
	if (!r)
		r = reg_memos_new(&store->memos);
	if (r)
		return r;
	store->root_namespace = strdup(options->root_namespace);
	store->cluster_domain = strdup(options->cluster_domain);
	if (!store->root_namespace || !store->cluster_domain)
		return -ENOMEM;
	store->registry_only = options->registry_only;
	store->private[REGISTRY_KIND_SERVICE] = options->services_private;
	store->private[REGISTRY_KIND_SERVICE_ENTRY] = options->services_private;
	store->private[REGISTRY_KIND_DESTINATION_RULE] = options->rules_private;
	store->private[REGISTRY_KIND_VIRTUAL_SERVICE] = options->routes_private;
	store->objects_max = MIN(options->objects_max, (size_t)REGISTRY_OBJECTS_MAX);
	*ret = TAKE_PTR(store);
	return 0;
}

/* What is counted about an object, as it comes (by 1) and goes (by -1). */
static void store_account(struct registry_store *store, const struct object *object, int by)
{
	size_t step = (size_t)by;

	if (object->public.kind != REGISTRY_KIND_DESTINATION_RULE &&
	    object->public.kind != REGISTRY_KIND_VIRTUAL_SERVICE)
		reg_memos_clear(store->memos);
	store->stats.objects[object->public.kind] += step;
	store->stats.bytes += step * object->bytes;
	for (size_t i = 0; i < object->n_addresses; i++)
		store->n_prefixes[object->addresses[i].prefix] += step;
	for (size_t i = 0; i < object->n_hosts; i++)
		if (object->hosts[i][0] == '*' && object->hosts[i][1] && object->hosts[i][1] != '.')
			store->n_partial += step;
}

static void store_link(struct registry_store *store, struct object *object)
{
	struct object **head = &store->objects[object->public.kind];

	object->next = *head;
	object->previous = NULL;
	if (*head)
		(*head)->previous = object;
	*head = object;
	store_account(store, object, 1);
}

static void store_remove(struct registry_store *store, struct object *object)
{
	struct object **from = object->previous ? &object->previous->next
						: &store->objects[object->public.kind];

	*from = object->next;
	if (object->next)
		object->next->previous = object->previous;
	store_account(store, object, -1);
	reg_index_remove_object(&store->index, object);
	reg_object_free(object);
}

void registry_clear(struct registry_store *store, enum registry_kind kind)
{
	while (store->objects[kind])
		store_remove(store, store->objects[kind]);
}

void registry_free(struct registry_store *store)
{
	if (!store)
		return;
	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		registry_clear(store, kind);
	reg_index_done(&store->index);
	reg_pods_done(&store->pods);
	free(store->memos);
	free(store->root_namespace);
	free(store->cluster_domain);
	free(store);
}

void registry_freep(struct registry_store **store)
{
	registry_free(*store);
}

static struct object *store_find(const struct registry_store *store, enum registry_kind kind,
				 const char *ns, const char *name)
{
	struct index_key key = reg_index_key_object(kind, *ns ? ns : "default", name);
	const struct bucket *bucket = reg_index_find(&store->index, &key);

	/* The store owns what the index only points to. */
	return bucket ? (struct object *)bucket->items[0] : NULL;
}

static const char *text_or_empty(const cJSON *in, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, key);

	return cJSON_IsString(item) ? item->valuestring : "";
}

/* What an unacceptable object should have replaced is not in force any more. */
static void store_forget(struct registry_store *store, enum registry_kind kind, const cJSON *json)
{
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(json, "metadata");

	registry_delete(store, kind, text_or_empty(metadata, "namespace"),
			text_or_empty(metadata, "name"));
}

static bool store_has_room(const struct registry_store *store, const struct object *object,
			   const struct object *old)
{
	size_t n = 0;

	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		n += store->stats.objects[kind];
	return n - (old ? 1 : 0) < store->objects_max &&
	       store->stats.bytes - (old ? old->bytes : 0) + object->bytes + store->index.bytes <=
		       REGISTRY_BYTES_MAX;
}

/* The new one gets into the index before the old one leaves it: nothing has changed if there is no memory. */
static int store_add(struct registry_store *store, struct object *object, struct object *old)
{
	int r;

	object->sequence = ++store->sequence;
	object->generation = store->generation[object->public.kind];
	r = reg_index_add_object(&store->index, object);
	if (r)
		return r;
	if (old)
		store_remove(store, old);
	store_link(store, object);
	return 0;
}

int registry_put_as(struct registry_store *store, enum registry_kind kind, const cJSON *json,
		    const char **ret_why)
{
	enum registry_reason reason = REGISTRY_REASON_SHAPE;
	struct object *object = NULL, *old;
	int r = reg_parse_make(store, kind, json, &object, &reason, ret_why);

	if (r == -EINVAL) {
		store->stats.rejected[reason]++;
		store_forget(store, kind, json);
	}
	if (r)
		return r;
	old = store_find(store, object->public.kind, object->public.ns, object->public.name);
	if (!store_has_room(store, object, old)) {
		store->stats.full++;
		*ret_why = "the registry is full";
		if (old)
			store_remove(store, old);
		reg_object_free(object);
		return -ENOSPC;
	}
	r = store_add(store, object, old);
	if (r)
		reg_object_free(object);
	return r;
}

int registry_put(struct registry_store *store, const cJSON *json, const char **ret_why)
{
	enum registry_kind kind;
	int r = registry_kind_of(json, &kind);

	return r ? r : registry_put_as(store, kind, json, ret_why);
}

bool registry_delete(struct registry_store *store, enum registry_kind kind, const char *ns,
		     const char *name)
{
	struct object *object = store_find(store, kind, ns, name);

	if (object)
		store_remove(store, object);
	return object;
}

void registry_list_begin(struct registry_store *store, enum registry_kind kind)
{
	store->generation[kind]++;
}

void registry_list_end(struct registry_store *store, enum registry_kind kind)
{
	for (struct object *object = store->objects[kind], *next; object; object = next) {
		next = object->next;
		if (object->generation != store->generation[kind])
			store_remove(store, object);
	}
}

void registry_get_stats(const struct registry_store *store, struct registry_stats *ret)
{
	*ret = store->stats;
	ret->bytes += store->index.bytes;
	ret->pods = store->pods.n;
	ret->memos_dropped = reg_memos_dropped(store->memos);
	ret->pods_evicted = store->pods.evicted;
}

const struct registry_object *registry_find(const struct registry_store *store,
					    enum registry_kind kind, const char *ns,
					    const char *name)
{
	const struct object *object = store_find(store, kind, ns, name);

	return object ? &object->public : NULL;
}

static int compare_managed(const void *a, const void *b)
{
	const struct registry_object *x = *(const struct registry_object *const *)a;
	const struct registry_object *y = *(const struct registry_object *const *)b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(x->name, y->name);
	return r ? r : (int)x->kind - (int)y->kind;
}

int registry_managed(const struct registry_store *store, const struct registry_object ***ret,
		     size_t *ret_n)
{
	const struct registry_object **items;
	size_t n = 0, total = 0;

	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		total += store->stats.objects[kind];
	items = calloc(MAX(total, (size_t)1), sizeof(struct registry_object *));
	if (!items)
		return -ENOMEM;
	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		for (const struct object *o = store->objects[kind]; o; o = o->next)
			if (o->public.managed)
				items[n++] = &o->public;
	qsort(items, n, sizeof(struct registry_object *), compare_managed);
	*ret = items;
	*ret_n = n;
	return 0;
}
