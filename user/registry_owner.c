// SPDX-License-Identifier: Apache-2.0
/*
 * Who owns a host already; see registry.h.
 *
 * Owns: the look-ups for generate. Must not know: traffic.
 */
#include <string.h>

#include "registry_work.h"
#include "util.h"

/* Owners */

struct owner_search {
	const struct registry_store *store;
	const char *ns;
	bool mesh; /* what anybody exports counts */
	enum index_type own, any;
	const struct object *own_found, *any_found;
};

static bool owner_counts(const struct owner_search *search, const struct object *object)
{
	if (object->public.kind == REGISTRY_KIND_VIRTUAL_SERVICE && !object->mesh)
		return false;
	return search->mesh || reg_object_visible(object, search->ns);
}

/* In ns or not, older first, and those we do not manage before ours. */
static const struct object *owner_in(const struct owner_search *search, const struct bucket *bucket,
				     bool own)
{
	const struct object *ours = NULL;

	for (size_t i = 0; bucket && i < bucket->n; i++) {
		const struct object *object = bucket->items[i];

		if ((strcmp(object->public.ns, search->ns) == 0) != own ||
		    !owner_counts(search, object))
			continue;
		if (!object->public.managed)
			return object;
		ours = ours ? ours : object;
	}
	return ours;
}

static bool try_owner(const char *host, void *data)
{
	struct owner_search *search = data;
	struct index_key own = reg_index_key_text(search->own, host, search->ns);
	struct index_key any = reg_index_key_text(search->any, host, "");
	const struct bucket *others = reg_index_find(&search->store->index, &any);

	search->own_found = owner_in(search, reg_index_find(&search->store->index, &own), true);
	/* In ns itself, but exported to others only. */
	if (!search->own_found)
		search->own_found = owner_in(search, others, true);
	search->any_found = owner_in(search, others, false);
	return search->own_found || search->any_found;
}

static const struct registry_object *public_of(const struct object *object)
{
	return object ? &object->public : NULL;
}

/* A wildcard host is its own first wildcard, which is not one above it. */
struct covering_search {
	struct owner_search *owner;
	const char *host;
};

static bool try_covering(const char *pattern, void *data)
{
	struct covering_search *search = data;

	return strcmp(pattern, search->host) != 0 && try_owner(pattern, search->owner);
}

static void find_owner(struct owner_search *search, const char *host, struct registry_owner *ret)
{
	struct covering_search covering = {.owner = search, .host = host};

	try_owner(host, search);
	ret->own = public_of(search->own_found);
	ret->exported = public_of(search->any_found);
	if (reg_host_each_wildcard(host, search->store->n_partial > 0, try_covering, &covering))
		ret->covering = public_of(search->own_found ? search->own_found
							    : search->any_found);
}

/*
 * Rules are asked for in the client's namespace, in that of the service, and in the root namespace, and nowhere else;
 * they have one key, with the namespace they are in.
 */
static const struct object *rule_in(const struct owner_search *search, const char *host,
				    const char *ns)
{
	struct index_key key = reg_index_key_text(INDEX_RULE, host, ns);
	const struct bucket *bucket = reg_index_find(&search->store->index, &key);
	const struct object *ours = NULL;
	bool own = strcmp(ns, search->ns) == 0;

	/* One that its own namespace made for others only counts there all the same: it is a second one. */
	for (size_t i = 0; bucket && i < bucket->n; i++) {
		const struct object *rule = bucket->items[i];

		if (!own && !search->mesh && !reg_object_exported(rule, search->ns))
			continue;
		if (!rule->public.managed)
			return rule;
		ours = ours ? ours : rule;
	}
	return ours;
}

struct rule_owner_search {
	struct owner_search *owner;
	const char *host;
	const char *spaces[3]; /* where rules are asked for; the first is the client's */
	struct registry_owner *ret;
};

static bool try_rule(const char *host, void *data)
{
	struct rule_owner_search *search = data;
	bool exact = strcmp(host, search->host) == 0;

	for (size_t i = 0; i < ARRAY_SIZE(search->spaces); i++) {
		const struct object *rule =
			search->spaces[i] ? rule_in(search->owner, host, search->spaces[i]) : NULL;

		if (!rule)
			continue;
		if (!exact) {
			search->ret->covering = &rule->public;
			return true;
		}
		if (i == 0)
			search->ret->own = &rule->public;
		else if (!search->ret->exported)
			search->ret->exported = &rule->public;
	}
	return false;
}

static void find_rules(struct owner_search *search, const char *host,
		       const struct registry_owner *entries, struct registry_owner *ret)
{
	const char *root = search->store->root_namespace;
	const char *service = entries->exported ? entries->exported->ns : NULL;
	struct rule_owner_search rules = {.owner = search, .host = host, .ret = ret};

	rules.spaces[0] = search->ns;
	rules.spaces[1] = service && strcmp(service, search->ns) != 0 ? service : NULL;
	rules.spaces[2] = strcmp(root, search->ns) != 0 ? root : NULL;
	try_rule(host, &rules);
	reg_host_each_wildcard(host, search->store->n_partial > 0, try_rule, &rules);
}

void registry_get_owners(const struct registry_store *store, const char *ns, const char *host,
			 bool mesh_scope, struct registry_owners *ret)
{
	struct owner_search search = {.store = store,
				      .ns = ns && *ns ? ns : "default",
				      .mesh = mesh_scope,
				      .own = INDEX_ENTRY_OWN,
				      .any = INDEX_ENTRY_ANY};
	char normal[HOST_MAX + 1];

	*ret = (struct registry_owners){0};
	if (!reg_host_normalize(host, normal) || !*normal)
		return;
	find_owner(&search, normal, &ret->entries);
	find_rules(&search, normal, &ret->entries, &ret->rules);
	search.own = INDEX_ROUTE_OWN;
	search.any = INDEX_ROUTE_ANY;
	find_owner(&search, normal, &ret->routes);
}

const struct registry_object *registry_get_sidecar(const struct registry_store *store,
						   const char *ns)
{
	return public_of(reg_sidecar_find(store, ns && *ns ? ns : "default", NULL, 0));
}
