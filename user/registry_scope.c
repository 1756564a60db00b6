// SPDX-License-Identifier: Apache-2.0
/*
 * What one client sees of the registry: its Sidecar, what that imports, and which of several services with one host
 * it gets (istiod's SidecarScope).
 *
 * Owns: visibility and precedence. Must not know: what traffic matches a service (registry_resolve.c).
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

/* Sidecars */

/*
 * A namespace's own: with a matching selector, then without; else the root namespace's without one. Buckets have
 * those with a selector in front, older ones first.
 */
static const struct object *sidecar_in(const struct registry_store *store, const char *ns,
				       const struct registry_label *labels, size_t n_labels,
				       bool with_selector)
{
	struct index_key key = reg_index_key_text(INDEX_SIDECAR, "", ns);
	const struct bucket *bucket = reg_index_find(&store->index, &key);

	for (size_t i = 0; bucket && i < bucket->n; i++) {
		const struct object *sidecar = bucket->items[i];

		if (!sidecar->has_selector ||
		    (with_selector && reg_labels_match(&sidecar->selector, labels, n_labels)))
			return sidecar;
	}
	return NULL;
}

const struct object *reg_sidecar_find(const struct registry_store *store, const char *ns,
				      const struct registry_label *labels, size_t n_labels)
{
	const struct object *sidecar = sidecar_in(store, ns, labels, n_labels, true);

	return sidecar ? sidecar : sidecar_in(store, store->root_namespace, NULL, 0, false);
}

/*
 * A listener for the port takes it alone, else the one without a port does. Ones bound elsewhere are for programs
 * that connect to them on purpose.
 */
static void view_find_listener(struct view *view)
{
	const struct object *sidecar = view->sidecar;

	if (!sidecar || sidecar->n_listeners == 0)
		return;
	for (size_t i = 0; i < sidecar->n_listeners; i++) {
		const struct listener *listener = &sidecar->listeners[i];

		if (listener->any_port ||
		    (!listener->elsewhere && listener->port == view->query->port)) {
			view->listener = listener;
			return;
		}
	}
	view->closed = true;
}

void reg_view_init(struct view *view, const struct registry_store *store,
		   const struct registry_query *query)
{
	*view = (struct view){.store = store, .query = query};
	view->ns = query->ns && *query->ns ? query->ns : "default";
	if (!query->host || !reg_host_normalize(query->host, view->host))
		view->host[0] = '\0';
	view->sidecar = reg_sidecar_find(store, view->ns, query->labels, query->n_labels);
	view_find_listener(view);
}

/* Visibility */

static int compare_text(const void *key, const void *item)
{
	return strcmp(key, *(const char *const *)item);
}

bool reg_object_exported(const struct object *object, const char *ns)
{
	const struct exports *exports = &object->export;

	if (exports->all ||
	    (exports->given && exports->own && !exports->dot && strcmp(object->public.ns, ns) == 0))
		return true;
	return exports->n_others && bsearch(ns, exports->others, exports->n_others,
					    sizeof(*exports->others), compare_text);
}

bool reg_object_visible(const struct object *object, const char *ns)
{
	return (object->export.own && strcmp(object->public.ns, ns) == 0) ||
	       reg_object_exported(object, ns);
}

static const struct port *object_port(const struct object *object, uint16_t number)
{
	for (size_t i = 0; i < object->n_ports; i++)
		if (object->ports[i].number == number && object->ports[i].class != PORT_NONE)
			return &object->ports[i];
	return NULL;
}

bool reg_view_imports(const struct view *view, const struct object *object, const char *host)
{
	const struct listener *listener = view->listener;

	if (!reg_object_visible(object, view->ns))
		return false;
	for (size_t i = 0; listener && i < listener->n_hosts; i++) {
		const char *space = listener->spaces[i];

		if (strcmp(space, ".") == 0)
			space = view->ns;
		if ((strcmp(space, "*") == 0 || strcmp(space, object->public.ns) == 0) &&
		    reg_host_covered(host, listener->hosts[i]))
			return true;
	}
	return !listener;
}

/* A listener for one port imports nothing that has not got it. */
static bool view_takes(const struct view *view, const struct object *object, const char *host)
{
	const struct listener *listener = view->listener;

	if (object->alias || !reg_view_imports(view, object, host))
		return false;
	return !listener || listener->any_port || listener->proxy ||
	       object_port(object, view->query->port);
}

/* Services */

/* canMergeServices: the later one's ports are added to the first. */
static bool can_merge(const struct object *first, const struct object *later)
{
	const struct exports *a = &first->export, *b = &later->export;

	if (first->public.kind == REGISTRY_KIND_SERVICE ||
	    later->public.kind == REGISTRY_KIND_SERVICE ||
	    strcmp(first->public.ns, later->public.ns) != 0 ||
	    first->resolution != later->resolution || a->given != b->given || a->all != b->all ||
	    a->own != b->own || a->dot != b->dot || a->n_others != b->n_others)
		return false;
	for (size_t i = 0; i < a->n_others; i++)
		if (strcmp(a->others[i], b->others[i]) != 0)
			return false;
	return reg_labels_equal(&first->labels, &later->labels) &&
	       reg_labels_equal(&first->selector, &later->selector);
}

/* Of one bucket, older first: the first Service of Kubernetes, else the first at all. */
static const struct object *bucket_head(const struct view *view, const struct bucket *bucket,
					const char *host)
{
	const struct object *first = NULL;

	for (size_t i = 0; bucket && i < bucket->n; i++) {
		const struct object *object = bucket->items[i];

		if (!view_takes(view, object, host))
			continue;
		if (object->public.kind == REGISTRY_KIND_SERVICE)
			return object;
		first = first ? first : object;
	}
	return first;
}

/* A listener of the Sidecar for one port has a protocol of its own, whatever the services declare. */
static enum port_class view_class(const struct view *view, enum port_class declared)
{
	return view->listener && !view->listener->any_port ? (enum port_class)view->listener->class
							   : declared;
}

static bool service_fill(const struct view *view, const struct object *object,
			 struct service *service)
{
	const struct port *port = object_port(object, view->query->port);

	if (!port)
		return false;
	service->object = object;
	service->declared = (enum port_class)port->class;
	service->class = view_class(view, service->declared);
	return true;
}

/* The port of the head, else of the oldest that merges with it. */
static bool bucket_service(const struct view *view, const struct bucket *bucket,
			   struct service *service)
{
	if (service_fill(view, service->head, service))
		return true;
	for (size_t i = 0; i < bucket->n; i++) {
		const struct object *object = bucket->items[i];

		if (object != service->head && can_merge(service->head, object) &&
		    view_takes(view, object, service->host) && service_fill(view, object, service))
			return true;
	}
	return false;
}

/* The object's own copy of the host, which outlives the caller's pattern. */
static const char *stable_host(const struct object *object, const char *host)
{
	size_t i = 0;

	while (i + 1 < object->n_hosts && strcmp(object->hosts[i], host) != 0)
		i++;
	return object->hosts[i];
}

bool reg_view_find(const struct view *view, const char *host, struct service *ret)
{
	struct index_key own_key = reg_index_key_text(INDEX_ENTRY_OWN, host, view->ns);
	struct index_key any_key = reg_index_key_text(INDEX_ENTRY_ANY, host, "");
	const struct bucket *bucket = reg_index_find(&view->store->index, &own_key);
	struct service service = {.host = host};

	service.head = bucket_head(view, bucket, host);
	if (!service.head) {
		bucket = reg_index_find(&view->store->index, &any_key);
		service.head = bucket_head(view, bucket, host);
	}
	if (!service.head || !bucket_service(view, bucket, &service))
		return false;
	service.host = stable_host(service.head, host);
	*ret = service;
	return true;
}

bool reg_view_owns(const struct view *view, const struct object *object, struct service *ret)
{
	for (size_t i = 0; i < object->n_hosts; i++)
		if (reg_view_find(view, object->hosts[i], ret) && ret->object == object)
			return true;
	return false;
}
