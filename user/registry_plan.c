// SPDX-License-Identifier: Apache-2.0
/*
 * Questions about objects that are not there yet, see registry.h.
 *
 * Owns: what would become of them. Must not know: why somebody wants to make them.
 */
#include <string.h>

#include "registry_work.h"

bool registry_would_import(const struct registry_store *store, const struct registry_query *query,
			   const char *ns)
{
	const struct listener *listener;
	struct view view;

	reg_view_init(&view, store, query);
	listener = view.listener;
	for (size_t i = 0; listener && i < listener->n_hosts; i++) {
		const char *space = listener->spaces[i];

		if (strcmp(space, ".") == 0)
			space = view.ns;
		if ((strcmp(space, "*") == 0 || strcmp(space, *ns ? ns : "default") == 0) &&
		    reg_host_covered(view.host, listener->hosts[i]))
			return true;
	}
	return !listener && !view.closed;
}

bool registry_is_meant(const struct registry_object *service, const char *host)
{
	/* The public part is the first of the whole. */
	const struct object *object = (const struct object *)service;
	char normal[HOST_MAX + 1];

	if (object->has_address || object->headless)
		return true;
	if (!reg_host_normalize(host, normal))
		return false;
	for (size_t i = 0; i < object->n_hosts; i++)
		if (reg_host_covered(normal, object->hosts[i]))
			return true;
	return false;
}

static bool opens_tls(const struct policy *policy)
{
	bool opens = policy->tls == TLS_ORIGINATE || policy->tls == TLS_ISTIO;

	for (size_t i = 0; i < policy->n_ports && !opens; i++)
		opens = policy->ports[i].tls == TLS_ORIGINATE || policy->ports[i].tls == TLS_ISTIO;
	return opens;
}

bool registry_rule_opens_tls(const struct registry_object *rule)
{
	const struct object *object = (const struct object *)rule;

	return rule->kind == REGISTRY_KIND_DESTINATION_RULE && opens_tls(&object->policy);
}
_Static_assert(offsetof(struct object, public) == 0, "the casts above");
