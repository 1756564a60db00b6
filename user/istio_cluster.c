// SPDX-License-Identifier: Apache-2.0
/*
 * What is in the cluster already, see istio_work.h.
 *
 * Owns: when an object would be a second owner of its host, or of a name, and what is said then. Must not know: what
 * an object is made of (istio_object.c), how the registry finds owners (registry.h).
 *
 * Of our own objects an object replaces those with its names, if nobody but us has written in them. Everything else
 * that has the host, managed or not, is in the way.
 */
#include <errno.h>
#include <string.h>

#include "istio_tree.h"
#include "istio_work.h"
#include "util.h"

static const enum registry_kind kind_of[] = {
	[ISTIO_DESTINATION_RULE] = REGISTRY_KIND_DESTINATION_RULE,
	[ISTIO_SERVICE_ENTRY] = REGISTRY_KIND_SERVICE_ENTRY,
	[ISTIO_VIRTUAL_SERVICE] = REGISTRY_KIND_VIRTUAL_SERVICE,
	[ISTIO_SIDECAR] = REGISTRY_KIND_SIDECAR,
};
_Static_assert(ARRAY_SIZE(kind_of) == ISTIO_KIND_MAX, "every kind");

/* States */

/* A host with several addresses is registered when all of them are. */
void istio_cluster_judge(const struct plan_work *work, struct row *row)
{
	const struct destination *d = row->d;
	struct registry_label labels[ROW_LABELS_MAX];
	struct registry_query query = istio_row_query(row, labels);
	struct registry_answer answer;

	row->state = work->store ? REGISTRY_ORIGINATED : d->registry;
	for (size_t i = 0; work->store && i < MAX(d->n_addresses, 1u); i++) {
		query.address = d->n_addresses ? d->addresses[i].ip : NULL;
		registry_resolve(work->store, &query, &answer);
		if (answer.state != REGISTRY_ORIGINATED)
			row->state = answer.state;
		if (!istio_row_registered(row))
			return;
		row->stray |= !registry_is_meant(answer.object, row->host);
	}
}

bool istio_cluster_originates(const struct plan_work *work, const struct group *group)
{
	for (size_t i = 0; i < group->n_selected; i++) {
		struct registry_label labels[ROW_LABELS_MAX];
		struct registry_query query = istio_row_query(&group->rows[i], labels);
		struct registry_answer answer;

		query.port = 80;
		query.protocol = PROTOCOL_HTTP;
		query.name_source = NAME_SOURCE_HTTP;
		registry_resolve(work->store, &query, &answer);
		if (answer.state != REGISTRY_ORIGINATED)
			return false;
	}
	return true;
}

/* Owners */

/* The one of this name: ours to replace, or NULL; *ret_taken: somebody else's. */
static const struct registry_object *find_ours(const struct plan_work *work, enum istio_kind kind,
					       const char *ns, const char *host,
					       const struct registry_object **ret_taken)
{
	const struct registry_object *found;
	char name[NAME_BUF];

	istio_object_name(host, name);
	found = registry_find(work->store, kind_of[kind], ns, name);
	*ret_taken = NULL;
	if (!found || istio_tree_is_ours(found, host))
		return found;
	*ret_taken = found;
	return NULL;
}

static void put_in_the_way(struct cluster *cluster, const struct registry_object *object,
			   const char *after)
{
	if (cluster->in_the_way)
		return;
	cluster->in_the_way = object;
	cluster->after = after;
}

static const char *taken_why(const struct registry_object *taken, const char *host)
{
	const char *has = istio_tree_host(taken);

	if (has && strcmp(has, host) == 0)
		return " is ours, but somebody has changed more than a value in it; change it by "
		       "hand, or delete it to have it made anew";
	return " has the name that this one would get; rename it";
}

static void look_at_entries(const struct plan_work *work, const char *ns, const char *host,
			    const struct registry_owner *owner, struct cluster *cluster)
{
	const struct registry_object *taken;
	const struct registry_object *ours = find_ours(work, ISTIO_SERVICE_ENTRY, ns, host, &taken);
	const struct registry_object *other = owner->own && owner->own != ours ? owner->own : NULL;

	cluster->ours[ISTIO_SERVICE_ENTRY] = ours;
	/* Somebody else's with this name and the host is in the way for the host. */
	if (taken && (taken->managed || taken != owner->own))
		put_in_the_way(cluster, taken, taken_why(taken, host));
	if (!other && !ours)
		other = owner->exported ? owner->exported : owner->covering;
	if (!other || cluster->in_the_way)
		return;
	cluster->has_host = true;
	put_in_the_way(cluster, other,
		       other == owner->covering ? " covers the host with a wildcard"
						: " has the host already");
}

/* Of rules and routes: ours if there is one, else whatever is there for the host. */
static void look_at_others(const struct plan_work *work, enum istio_kind kind, const char *ns,
			   const char *host, const struct registry_owner *owner,
			   struct cluster *cluster, const struct registry_object **ret_other)
{
	const struct registry_object *taken;
	const struct registry_object *ours = find_ours(work, kind, ns, host, &taken);

	cluster->ours[kind] = ours;
	if (owner->own && owner->own != ours)
		*ret_other = owner->own;
	else if (taken)
		*ret_other = taken;
	else if (!ours)
		*ret_other = owner->exported ? owner->exported : owner->covering;
}

void istio_cluster_look(const struct plan_work *work, const char *ns, const char *host,
			struct cluster *ret)
{
	struct registry_owners owners;

	*ret = (struct cluster){0};
	if (!work->store)
		return;
	registry_get_owners(work->store, ns, host, work->options->mesh_scope, &owners);
	look_at_entries(work, ns, host, &owners.entries, ret);
	look_at_others(work, ISTIO_DESTINATION_RULE, ns, host, &owners.rules, ret, &ret->rule);
	look_at_others(work, ISTIO_VIRTUAL_SERVICE, ns, host, &owners.routes, ret, &ret->route);
	/* It sleeps as long as nobody registers the host. */
	if (ret->rule && registry_rule_opens_tls(ret->rule))
		put_in_the_way(ret, ret->rule,
			       " has the sidecar open TLS for the host, and would for all that a "
			       "ServiceEntry lets in; settle both by hand");
}

/* Before objects are made */

/* Our wildcard that covers the host in its own namespace. */
static const char *own_wildcard(const struct row *row, const struct registry_owner *owner)
{
	const struct registry_object *covering = owner->covering;
	const char *host = covering ? istio_tree_host(covering) : NULL;
	const char *ns = *row->ns ? row->ns : "default";
	char name[NAME_BUF];

	if (!host || !istio_tree_is_ours(covering, host) || strcmp(covering->ns, ns) != 0)
		return NULL;
	istio_object_name(host, name);
	return strcmp(covering->name, name) == 0 ? host : NULL;
}

static int rows_into_wildcard(struct group *group, const char *wildcard)
{
	for (size_t i = 0; i < group->n; i++) {
		group->rows[i].wildcard = strdup(wildcard);
		if (!group->rows[i].wildcard)
			return -ENOMEM;
	}
	return 0;
}

static void rows_foldable(struct group *group, bool foldable)
{
	for (size_t i = 0; i < group->n_selected; i++)
		group->rows[i].foldable = foldable;
}

/*
 * Rules and routes for the host itself do not matter to a wildcard's service, which has another host. But a wildcard
 * cannot originate: what does so now keeps its own object.
 */
static bool may_fold(const struct cluster *cluster)
{
	return (!cluster->in_the_way ||
		cluster->in_the_way->kind == REGISTRY_KIND_DESTINATION_RULE) &&
	       !cluster->ours[ISTIO_DESTINATION_RULE];
}

int istio_cluster_settle(struct plan_work *work, struct group *group)
{
	const struct row *row = group->rows;
	struct registry_owners owners;
	struct cluster cluster;
	const char *wildcard;
	int r;

	if (!work->store) {
		rows_foldable(group, istio_group_uncovered(group));
		return 0;
	}
	registry_get_owners(work->store, row->ns, row->host, work->options->mesh_scope, &owners);
	wildcard = own_wildcard(row, &owners.entries);
	if (wildcard && !owners.entries.own && !owners.entries.exported)
		return rows_into_wildcard(group, wildcard);
	istio_cluster_look(work, row->ns, row->host, &cluster);
	rows_foldable(group, may_fold(&cluster));
	if (!wildcard || !cluster.ours[ISTIO_SERVICE_ENTRY] || !row->foldable)
		return 0;
	/* Left from before the wildcard. Who folds now takes it for gone. */
	r = istio_retired_add(work, cluster.ours[ISTIO_SERVICE_ENTRY], "is covered, too, by",
			      wildcard);
	return r || work->options->wildcard == OPT_OFF ? r : rows_into_wildcard(group, wildcard);
}

static int note_private(struct plan_work *work, const struct row *row,
			const struct registry_object *own)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, "left out for namespace ");
	istio_text_outside(&text, own->ns);
	text_puts(&text, ": ");
	istio_text_object(&text, own);
	text_puts(&text, " has the host there; give it port ");
	text_add_u64(&text, row->d->port);
	text_puts(&text,
		  row->verdict == VERDICT_TLS ? " with protocol TLS" : " with protocol HTTP");
	return istio_note_add(&work->plan, &text);
}

int istio_cluster_private(struct plan_work *work)
{
	const struct istio_options *options = work->options;
	struct registry_owners owners;
	int r = 0;

	if (!work->store || !options->mesh_scope)
		return 0;
	for (size_t i = 0; i < work->n_rows && !r; i++) {
		struct row *row = &work->rows[i];
		const struct registry_object *own;

		if (row->verdict >= VERDICT_LEFT_OUT || !row->selected || istio_row_covered(row))
			continue;
		registry_get_owners(work->store, row->d->source.ns, row->host, false, &owners);
		own = owners.entries.own;
		if (!own || strcmp(own->ns, options->root_namespace) == 0)
			continue;
		row->selected = false;
		r = note_private(work, row, own);
	}
	return r;
}

/* Notes */

static bool would_import(const struct plan_work *work, const struct row *row, const char *ns)
{
	struct registry_label labels[ROW_LABELS_MAX];
	struct registry_query query = istio_row_query(row, labels);

	query.host = istio_row_host(row);
	return registry_would_import(work->store, &query, ns);
}

/* "; give it port 443 with protocol TLS, port 80 with protocol HTTP", of the rows that are not covered. */
static void text_missing_ports(struct text *text, const struct group *group)
{
	uint16_t before = 0;
	size_t shown = 0;

	for (size_t i = 0; i < group->n_selected && shown < ISTIO_WORKLOADS_MAX; i++) {
		const struct row *row = &group->rows[i];

		if (istio_row_covered(row) || row->d->port == before)
			continue;
		before = row->d->port;
		text_puts(text, shown++ ? ", port " : "; give it port ");
		text_add_u64(text, row->d->port);
		text_puts(text, row->verdict == VERDICT_TLS ? " with protocol TLS"
							    : " with protocol HTTP");
	}
}

/* Whether nobody who is not covered would import the object in the way. */
static bool imported_by_nobody(const struct plan_work *work, const struct group *group,
			       const char *ns)
{
	for (size_t i = 0; i < group->n_selected; i++)
		if (!istio_row_covered(&group->rows[i]) && would_import(work, &group->rows[i], ns))
			return false;
	return true;
}

static bool wants_origination(const struct plan_work *work, const struct group *group)
{
	return work->options->visibility == VISIBILITY_L7 && istio_tls_possible(group) &&
	       !istio_cluster_originates(work, group);
}

int istio_cluster_note(struct plan_work *work, const struct group *group,
		       const struct cluster *cluster)
{
	bool covered = istio_group_covered(group), origination = wants_origination(work, group);
	struct text text;

	if (covered && !origination && work->options->only_unregistered) {
		work->n_registered += group->n_selected;
		return 0;
	}
	text = istio_note_begin(work, group->rows);
	text_puts(&text, "left out: ");
	istio_text_object(&text, cluster->in_the_way);
	text_puts(&text, cluster->after);
	if (cluster->has_host && covered && origination)
		text_puts(&text, "; for origination give its port 80 targetPort 443, and the host "
				 "a DestinationRule with TLS for port 80");
	else if (cluster->has_host && !covered &&
		 imported_by_nobody(work, group, cluster->in_the_way->ns))
		text_puts(&text, ", but the Sidecar of those who call it does not import it; add "
				 "it to that Sidecar's egress hosts");
	else if (cluster->has_host)
		text_missing_ports(&text, group);
	return istio_note_add(&work->plan, &text);
}

static bool is_not_imported(const struct row *row, const void *data)
{
	const struct plan_work *work = data;

	return row->selected && !istio_row_covered(row) && !would_import(work, row, row->ns);
}

int istio_cluster_imports(struct plan_work *work, const struct group *group, bool *ret_none)
{
	size_t uncovered = 0, not_imported = 0;
	struct text text;
	int r;

	for (size_t i = 0; i < group->n_selected; i++) {
		uncovered += !istio_row_covered(&group->rows[i]);
		not_imported += is_not_imported(&group->rows[i], work);
	}
	*ret_none = not_imported && not_imported == uncovered;
	if (!not_imported)
		return 0;
	text = istio_note_begin(work, group->rows);
	text_puts(&text, *ret_none ? "left out: the Sidecar of " : "the Sidecar of ");
	r = istio_text_callers(&text, group, is_not_imported, work);
	text_puts(&text, " would not import it; add it to that Sidecar's egress hosts");
	if (!r)
		return istio_note_add(&work->plan, &text);
	text_done(&text);
	return r;
}

/* Sameness */

static int document_is_there(const struct plan_work *work, const struct istio_object *object,
			     enum istio_kind kind, bool *ret)
{
	_cleanup_(istio_tree_freep) cJSON *tree = NULL;
	const cJSON *spec;
	int r;

	*ret = false;
	if (!object->replaces[kind])
		return 0;
	r = istio_tree_make(object, kind, work->options, &tree);
	if (r)
		return r;
	spec = cJSON_GetObjectItemCaseSensitive(object->replaces[kind]->source, "spec");
	*ret = cJSON_Compare(cJSON_GetObjectItemCaseSensitive(tree, "spec"), spec, true);
	return 0;
}

int istio_cluster_has(const struct plan_work *work, const struct istio_object *object, bool *ret)
{
	bool has = true;
	int r = 0;

	for (enum istio_kind kind = 0; kind < ISTIO_KIND_MAX && has && !r; kind++)
		if (istio_object_has(object, kind))
			r = document_is_there(work, object, kind, &has);
	if (!r)
		*ret = has;
	return r;
}
