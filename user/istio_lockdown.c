// SPDX-License-Identifier: Apache-2.0
/*
 * Sidecars that block what is not registered, see istio_work.h.
 *
 * Owns: when a namespace may be locked down, and what is in the way. Must not know: how a destination is registered.
 *
 * Only what passes a sidecar is held by it: UDP, QUIC with it, does not. Everything else that was seen has to be
 * registered, whoever in the namespace called it; or it would fail from then on.
 */
#include <errno.h>
#include <string.h>

#include "istio_tree.h"
#include "istio_work.h"
#include "util.h"

#define LOCKDOWN_NAME "egress-agent-lockdown"

/* Lines about what is in the way; the rest is a number. */
#define LOCKDOWN_NOTES_MAX 1000

static bool passes_sidecar(const struct destination *d)
{
	return d->protocol != PROTOCOL_UDP && d->protocol != PROTOCOL_QUIC;
}

static int compare_places(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->d->source.ns, y->d->source.ns);

	if (!r)
		r = strcmp(x->host, y->host);
	return r ? r : (int)x->d->port - (int)y->d->port;
}

/*
 * A connection that ended before its first byte counts as raw TCP. Where others to the same host and port are
 * registered, it would have been. rows: sorted by place; one is the i-th of them.
 */
static bool is_silent(const struct plan_work *work, size_t i)
{
	const struct row *row = &work->rows[i];
	size_t first = i;

	if (row->d->protocol != PROTOCOL_TCP || row->d->sent || row->d->received)
		return false;
	while (first && compare_places(&work->rows[first - 1], row) == 0)
		first--;
	for (; first < work->n_rows && compare_places(&work->rows[first], row) == 0; first++)
		if (istio_row_registered(&work->rows[first]))
			return true;
	return false;
}

static bool is_in_question(const struct plan_work *work, const struct row *row)
{
	const char *ns = work->options->selection.ns;

	return *row->d->source.ns && (!ns || strcmp(ns, row->d->source.ns) == 0);
}

static int note_uncovered(struct plan_work *work, const struct row *row)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, "not registered: namespace ");
	istio_text_outside(&text, row->d->source.ns);
	text_puts(&text, ", workload ");
	istio_text_outside(&text, row->d->source.workload);
	text_puts(&text, ": ");
	text_puts(&text, row->host);
	istio_text_ports(&text, row, 1);
	text_puts(&text, " (");
	text_puts(&text, model_protocol_name(row->d->protocol));
	text_puts(&text, ", ");
	text_puts(&text, model_registry_name(row->state));
	text_add_char(&text, ')');
	return istio_note_add(&work->plan, &text);
}

/* How many destinations are in the way. Sorts the rows by place. */
static int note_all_uncovered(struct plan_work *work, size_t *ret_n)
{
	size_t n = 0;
	int r = 0;

	qsort(work->rows, work->n_rows, sizeof(*work->rows), compare_places);
	for (size_t i = 0; i < work->n_rows && !r; i++) {
		const struct row *row = &work->rows[i];

		if (!is_in_question(work, row) || !passes_sidecar(row->d) ||
		    istio_row_registered(row) || is_silent(work, i))
			continue;
		if (n++ < LOCKDOWN_NOTES_MAX)
			r = note_uncovered(work, row);
	}
	work->plan.n_notes = istio_strings_unique(work->plan.notes, work->plan.n_notes);
	if (!r && n > LOCKDOWN_NOTES_MAX)
		r = istio_note_count(&work->plan, n - LOCKDOWN_NOTES_MAX,
				     "more are not registered");
	*ret_n = n;
	return r;
}

/* Sidecars */

static int sidecar_make(const char *ns, const struct registry_object *ours,
			struct istio_object *object)
{
	object->ns = strdup(ns);
	object->name = strdup(LOCKDOWN_NAME);
	object->host = strdup("");
	object->replaces[ISTIO_SIDECAR] = ours;
	return object->ns && object->name && object->host ? 0 : -ENOMEM;
}

static int sidecar_add(struct plan_work *work, const char *ns, const struct registry_object *ours)
{
	struct istio_object object = {0};
	bool there = false;
	int r = sidecar_make(ns, ours, &object);

	if (!r && work->options->only_unregistered)
		r = istio_cluster_has(work, &object, &there);
	if (!r && !there)
		r = istio_plan_push(&work->plan, &object);
	istio_object_free(&object);
	return r;
}

static int note_sidecar(struct plan_work *work, const char *ns, const struct registry_object *found)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, "namespace ");
	text_puts(&text, ns);
	text_puts(&text, ": ");
	istio_text_object(&text, found);
	text_puts(&text,
		  strcmp(found->ns, ns) == 0
			  ? " is there already, and a second one would not count; set its "
			    "outboundTrafficPolicy.mode to REGISTRY_ONLY"
			  : " counts there, with its egress hosts, and one of the namespace's "
			    "own would take its place; give the namespace a copy with "
			    "outboundTrafficPolicy.mode REGISTRY_ONLY");
	work->plan.refused = true;
	return istio_note_add(&work->plan, &text);
}

static int refuse_namespace(struct plan_work *work, const char *ns, const char *why)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, "namespace ");
	istio_text_outside(&text, ns);
	text_puts(&text, why);
	work->plan.refused = true;
	return istio_note_add(&work->plan, &text);
}

static int sidecar_plan(struct plan_work *work, const char *ns)
{
	const struct registry_object *found, *named;

	if (!istio_namespace_valid(ns))
		return refuse_namespace(work, ns, ": Kubernetes does not take the name");
	if (strcmp(ns, work->options->root_namespace) == 0)
		return refuse_namespace(work, ns,
					" is the mesh's root namespace, and a Sidecar there counts "
					"for every namespace that has none");
	if (!work->store)
		return sidecar_add(work, ns, NULL);
	named = registry_find(work->store, REGISTRY_KIND_SIDECAR, ns, LOCKDOWN_NAME);
	found = registry_get_sidecar(work->store, ns);
	if (named && !istio_tree_is_ours(named, ""))
		return note_sidecar(work, ns, named);
	if (found && found != named)
		return note_sidecar(work, ns, found);
	return sidecar_add(work, ns, named);
}

/* How many destinations over UDP, and without a namespace, are not in question. */
static int note_rest(struct plan_work *work)
{
	size_t udp = 0, nowhere = 0;
	int r;

	for (size_t i = 0; i < work->n_rows; i++) {
		udp += is_in_question(work, &work->rows[i]) && !passes_sidecar(work->rows[i].d);
		nowhere += !*work->rows[i].d->source.ns;
	}
	r = istio_note_count(&work->plan, udp,
			     "over UDP or QUIC: sidecars do not capture them, and will not block "
			     "them");
	return r ? r
		 : istio_note_count(&work->plan, nowhere,
				    "left out: called from outside of any namespace");
}

/* The rows are sorted by place. */
static int plan_sidecars(struct plan_work *work)
{
	const char *before = "";
	int r = 0;

	for (size_t i = 0; i < work->n_rows && !r; i++) {
		const char *ns = work->rows[i].d->source.ns;

		if (!is_in_question(work, &work->rows[i]) || strcmp(ns, before) == 0)
			continue;
		before = ns;
		r = sidecar_plan(work, ns);
	}
	return r;
}

static void drop_objects(struct istio_plan *plan)
{
	for (size_t i = 0; i < plan->n_objects; i++)
		istio_object_free(&plan->objects[i]);
	plan->n_objects = 0;
}

int istio_lockdown(struct plan_work *work)
{
	const struct destination_list *list = work->list;
	size_t uncovered;
	int r = note_all_uncovered(work, &uncovered);

	work->plan.refused = uncovered > 0 || list->destinations_dropped > 0;
	if (!r && list->destinations_dropped)
		r = istio_note_count(&work->plan, list->destinations_dropped,
				     "may be missing: the agent had no room for them; raise its "
				     "--max-destinations");
	if (!r)
		r = plan_sidecars(work);
	if (!r)
		r = note_rest(work);
	if (work->plan.refused)
		drop_objects(&work->plan);
	return r;
}
