// SPDX-License-Identifier: Apache-2.0
/*
 * From destinations to Istio objects, see istio.h.
 *
 * Owns: which hosts the options leave out, the plan's order. Must not know: YAML, files, the agent; what one row is
 * good for (istio_rows.c), what is in the cluster (istio_cluster.c) or in an object (istio_object.c).
 *
 * The list is read three times: in the order (host, verdict, port) for what is left out, because a host is reported
 * once whoever called it; in the order (namespace, host, port) for what the options and the cluster leave of it; and
 * once more, when it is settled which hosts fold into a wildcard, for the objects.
 */
#include "istio.h"

#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "util.h"

/* By object, the selected rows in front. */
static int compare_by_object(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(istio_row_host(x), istio_row_host(y));
	if (!r)
		r = (int)y->selected - (int)x->selected;
	return r ? r : (int)x->d->port - (int)y->d->port;
}

void istio_plan_done(struct istio_plan *plan)
{
	for (size_t i = 0; i < plan->n_objects; i++)
		istio_object_free(&plan->objects[i]);
	free(plan->objects);
	for (size_t i = 0; i < plan->n_notes; i++)
		free(plan->notes[i]);
	free(plan->notes);
	for (size_t i = 0; i < plan->n_retired; i++)
		free(plan->retired[i]);
	free(plan->retired);
	*plan = (struct istio_plan){0};
}

/* Groups */

/* Useful rows to the front; the others stay behind them for istio_rows_free(). Returns how many there are. */
static size_t rows_gather(struct plan_work *work)
{
	size_t useful = 0;

	for (size_t i = 0; i < work->n_rows; i++) {
		struct row row = work->rows[i];

		if (row.verdict >= VERDICT_LEFT_OUT)
			continue;
		work->rows[i] = work->rows[useful];
		work->rows[useful++] = row;
	}
	return useful;
}

static bool same_object(const struct row *a, const struct row *b)
{
	return strcmp(a->ns, b->ns) == 0 && strcmp(istio_row_host(a), istio_row_host(b)) == 0;
}

/* The group that begins with the first of n rows. */
static struct group group_of(struct row *rows, size_t n)
{
	struct group group = {.rows = rows, .n_selected = rows->selected, .n = 1};

	for (; group.n < n && same_object(rows, &rows[group.n]); group.n++)
		group.n_selected += rows[group.n].selected;
	return group;
}

/* Sort n rows and cut them into groups; those without a selected row are left out. */
static int groups_make(struct row *rows, size_t n, struct group **ret, size_t *ret_n)
{
	struct group *groups = calloc(MAX(n, 1u), sizeof(*groups));
	size_t n_groups = 0;

	if (!groups)
		return -ENOMEM;
	qsort(rows, n, sizeof(*rows), compare_by_object);
	for (size_t i = 0; i < n;) {
		groups[n_groups] = group_of(rows + i, n - i);
		i += groups[n_groups].n;
		n_groups += groups[n_groups].n_selected > 0;
	}
	*ret = groups;
	*ret_n = n_groups;
	return 0;
}

/* Hosts */

static int note_too_few(struct plan_work *work, const struct row *row, uint64_t connections,
			uint64_t requests)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, "left out: seen in ");
	istio_text_count(&text, connections, "connection");
	text_puts(&text, " and ");
	istio_text_count(&text, requests, "request");
	text_puts(&text, ", fewer than --min-connections ");
	text_add_u64(&text, work->options->min_connections);
	return istio_note_add(&work->plan, &text);
}

/* Whether more is asked for than names in the registry, of what is registered already. */
static bool wants_more(const struct plan_work *work)
{
	const struct istio_options *o = work->options;

	return work->store &&
	       (o->visibility == VISIBILITY_L7 || o->timeout_ms || o->retries != OPT_OFF);
}

static bool is_registered(const struct plan_work *work, const struct group *group)
{
	return work->options->only_unregistered && istio_group_covered(group);
}

/* A host by itself, before it may become part of a wildcard. */
static int settle_host(struct plan_work *work, struct group *group)
{
	uint64_t connections = 0, requests = 0;

	for (size_t i = 0; i < group->n_selected; i++) {
		connections = model_add(connections, group->rows[i].d->opened);
		requests = model_add(requests, group->rows[i].d->requests);
	}
	if (MAX(connections, requests) >= work->options->min_connections)
		return istio_cluster_settle(work, group);
	if (is_registered(work, group) && !wants_more(work))
		return 0;
	for (size_t i = 0; i < group->n_selected; i++)
		group->rows[i].done = true;
	return note_too_few(work, group->rows, connections, requests);
}

static int plan_settle(struct plan_work *work, size_t n_rows)
{
	_cleanup_free_ struct group *groups = NULL;
	size_t n = 0;
	int r = groups_make(work->rows, n_rows, &groups, &n);

	for (size_t i = 0; i < n && !r; i++)
		r = settle_host(work, &groups[i]);
	return r ? r : istio_fold(work, groups, n);
}

/* Objects */

int istio_plan_push(struct istio_plan *plan, struct istio_object *object)
{
	struct istio_object *grown = istio_array_grow(plan->objects, plan->n_objects,
						      sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	plan->objects = grown;
	plan->objects[plan->n_objects++] = *object;
	*object = (struct istio_object){0};
	return 0;
}

/* Rows that the object does not cover by what it is: plaintext on a port of TLS, ports beyond the limit. */
static bool is_beyond(const struct istio_object *object, const struct row *row)
{
	for (size_t i = 0; i < object->n_ports; i++)
		if (object->ports[i].number == row->d->port)
			return object->ports[i].tls && row->verdict == VERDICT_HTTP;
	return true;
}

static int note_there(struct plan_work *work, const struct group *group,
		      const struct istio_object *object)
{
	struct text text;
	size_t n = 0;

	for (size_t i = 0; i < group->n_selected; i++)
		n += !istio_row_covered(&group->rows[i]) && !is_beyond(object, &group->rows[i]);
	if (!n)
		return 0;
	text = istio_note_begin(work, group->rows);
	text_puts(&text, "is in the cluster already as it would be generated, and yet not in force "
			 "for ");
	istio_text_count(&text, n, "destination");
	text_puts(&text, ": something else takes the connections");
	return istio_note_add(&work->plan, &text);
}

/* Of what may be left out for being registered, whether it is: with nothing new in it, or as it is. */
static int object_is_there(struct plan_work *work, const struct group *group,
			   const struct istio_object *object, bool *ret)
{
	int r;

	*ret = false;
	if (!work->options->only_unregistered || !work->store)
		return 0;
	r = istio_cluster_has(work, object, ret);
	if (r)
		return r;
	if (istio_group_covered(group)) {
		*ret |= !object->originate && !object->routed;
		work->n_registered += *ret ? group->n_selected : 0;
		return 0;
	}
	return *ret ? note_there(work, group, object) : 0;
}

static int plan_add_object(struct plan_work *work, const struct group *group,
			   const struct cluster *cluster)
{
	struct istio_object object = {0};
	bool there = false;
	int r = istio_object_make(work, group, cluster, &object);

	if (!r)
		r = object_is_there(work, group, &object, &there);
	if (!r && !there)
		r = istio_plan_push(&work->plan, &object);
	istio_object_free(&object);
	return r == -ENOENT ? 0 : r;
}

/* Beside what is in the cluster. */
static int consider_in_cluster(struct plan_work *work, const struct group *group)
{
	struct cluster cluster;
	bool none = false;
	int r;

	istio_cluster_look(work, group->rows->ns, istio_row_host(group->rows), &cluster);
	if (cluster.in_the_way)
		return istio_cluster_note(work, group, &cluster);
	r = istio_cluster_imports(work, group, &none);
	return r || none ? r : plan_add_object(work, group, &cluster);
}

/* Useful rows of one object. What the options leave out is told, the rest becomes an object. */
static int plan_consider(struct plan_work *work, const struct group *group)
{
	const struct cluster unknown = {0};
	int r = 0;

	if (group->rows->done)
		return 0;
	if (is_registered(work, group) && !wants_more(work)) {
		work->n_registered += group->n_selected;
		return 0;
	}
	if (work->store)
		return consider_in_cluster(work, group);
	if (work->options->only_unregistered && !istio_group_uncovered(group))
		r = istio_note_object(
			work, group->rows,
			"is registered in part; the ServiceEntry has all its ports, so that it "
			"can take the old one's place");
	return r ? r : plan_add_object(work, group, &unknown);
}

static int plan_add_objects(struct plan_work *work, size_t n_rows)
{
	_cleanup_free_ struct group *groups = NULL;
	size_t n = 0;
	int r = groups_make(work->rows, n_rows, &groups, &n);

	for (size_t i = 0; i < n && !r; i++)
		r = plan_consider(work, &groups[i]);
	return r;
}

static int compare_by_name(const void *a, const void *b)
{
	const struct istio_object *x = *(struct istio_object *const *)a;
	const struct istio_object *y = *(struct istio_object *const *)b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(x->name, y->name);
	return r ? r : strcmp(x->host, y->host);
}

static int note_collision(struct plan_work *work, const struct istio_object *object,
			  const struct istio_object *first)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, object->host);
	text_puts(&text, ": left out: its object would have the same name as the one of ");
	text_puts(&text, first->host);
	return istio_note_add(&work->plan, &text);
}

/*
 * Hosts are chosen by whoever calls them, and 32 bits of FNV can be made equal on purpose: an object must not
 * silently take the place of another one.
 */
static int plan_drop_collisions(struct plan_work *work)
{
	struct istio_plan *plan = &work->plan;
	_cleanup_free_ struct istio_object **by_name = NULL;
	struct istio_object *first = NULL;
	size_t kept = 0;
	int r = 0;

	by_name = calloc(MAX(plan->n_objects, 1u), sizeof(struct istio_object *));
	if (!by_name)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_objects; i++)
		by_name[i] = &plan->objects[i];
	qsort(by_name, plan->n_objects, sizeof(struct istio_object *), compare_by_name);
	for (size_t i = 0; i < plan->n_objects && !r; i++) {
		if (!first || strcmp(first->name, by_name[i]->name) != 0 ||
		    strcmp(first->ns, by_name[i]->ns) != 0) {
			first = by_name[i];
			continue;
		}
		r = note_collision(work, by_name[i], first);
		istio_object_free(by_name[i]);
	}
	for (size_t i = 0; i < plan->n_objects; i++)
		if (plan->objects[i].name)
			plan->objects[kept++] = plan->objects[i];
	plan->n_objects = kept;
	return r;
}

/* Notes */

static bool does_originate(const struct istio_object *object)
{
	return object->originate;
}

static bool has_credential(const struct istio_object *object)
{
	return object->mutual.credential;
}

static bool has_object(const struct istio_plan *plan,
		       bool (*fits)(const struct istio_object *object))
{
	for (size_t i = 0; i < plan->n_objects; i++)
		if (fits(&plan->objects[i]))
			return true;
	return false;
}

static int note_mutual(struct plan_work *work)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, "the client certificate comes from the secret ");
	text_puts(&text, work->options->credential);
	text_puts(&text, " in each namespace, which the workloads' service account must be able to "
			 "read; a workload without the DestinationRule's label that calls http:// "
			 "would send plaintext to port 443");
	return istio_note_add(&work->plan, &text);
}

static int plan_note_general(struct plan_work *work)
{
	const struct destination_list *list = work->list;
	struct istio_plan *plan = &work->plan;
	int r = 0;

	plan->n_notes = istio_strings_unique(plan->notes, plan->n_notes);
	if (has_object(plan, does_originate))
		r = istio_note_general(
			plan, "the DestinationRules take effect where an application calls http:// "
			      "instead of https://; the sidecar opens TLS for it");
	if (!r && work->options->credential && has_object(plan, has_credential))
		r = note_mutual(work);
	if (!r)
		r = istio_note_count(plan, work->n_registered,
				     "left out: in the registry already; --all includes them");
	if (!r)
		r = istio_note_count(plan, work->n_internal, "left out: internal");
	if (!r)
		r = istio_note_count(plan,
				     model_add(list->destinations_dropped, list->hosts_folded),
				     "may be missing: the agent had no room for them; raise its "
				     "--max-destinations or --max-hosts-per-workload");
	return r;
}

static int plan_fill(struct plan_work *work)
{
	size_t useful = 0;
	int r = istio_rows_fill(work);

	if (!r && work->options->lockdown)
		return istio_lockdown(work);
	if (!r)
		r = istio_note_hosts(work);
	if (!r)
		r = istio_cluster_private(work);
	if (!r) {
		useful = rows_gather(work);
		r = plan_settle(work, useful);
	}
	if (!r)
		r = plan_add_objects(work, useful);
	if (!r)
		r = plan_drop_collisions(work);
	if (!r)
		r = istio_retired_find(work);
	return r ? r : plan_note_general(work);
}

int istio_plan_make(const struct destination_list *list, const struct istio_options *options,
		    const struct registry_store *store, struct istio_plan *ret)
{
	struct plan_work work = {.options = options, .store = store, .list = list};
	char why[ISTIO_WHY_MAX];
	int r;

	if (istio_options_fault(options, why, sizeof(why)))
		return -EINVAL;
	r = plan_fill(&work);
	istio_rows_free(&work);
	if (r)
		istio_plan_done(&work.plan);
	else
		*ret = work.plan;
	return r;
}
