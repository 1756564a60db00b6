// SPDX-License-Identifier: Apache-2.0
/*
 * What of ours is in the cluster and not called for, see istio_work.h.
 *
 * Owns: how that is found and said. Must not know: why an object is not called for any more.
 *
 * One agent sees one node, and one list some days: such an object may be used where nobody looked. So it is told of
 * and never taken away.
 */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "istio_tree.h"
#include "istio_work.h"
#include "util.h"

int istio_retired_add(struct plan_work *work, const struct registry_object *object, const char *why,
		      const char *by)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	if (!work->options->diff)
		return 0;
	istio_text_object(&text, object);
	text_add_char(&text, ' ');
	text_puts(&text, why);
	text_add_char(&text, ' ');
	istio_text_outside(&text, by);
	return istio_strings_add(&work->plan.retired, &work->plan.n_retired, &text);
}

/* One of ours for a host, and whether a row called for it. */
struct owned {
	const struct registry_object *object;
	const char *host;
	bool called;
};

static int compare_owned(const void *a, const void *b)
{
	const struct owned *x = a, *y = b;

	return strcmp(x->host, y->host);
}

static bool is_for(const struct owned *owned, const struct row *row)
{
	const char *ns = *row->d->source.ns ? row->d->source.ns : "default";

	return istio_tree_is_exported(owned->object) || strcmp(owned->object->ns, ns) == 0;
}

static void call_host(struct owned *owned, size_t n, const char *host, const struct row *row)
{
	const struct owned key = {.host = host};
	struct owned *found = bsearch(&key, owned, n, sizeof(*owned), compare_owned);

	if (!found)
		return;
	while (found > owned && strcmp(found[-1].host, host) == 0)
		found--;
	for (; found < owned + n && strcmp(found->host, host) == 0; found++)
		found->called |= is_for(found, row);
}

/* The host and each wildcard above it. */
static void call_row(struct owned *owned, size_t n, const struct row *row)
{
	char pattern[260];

	if (row->verdict >= VERDICT_LEFT_OUT)
		return;
	call_host(owned, n, row->host, row);
	for (const char *dot = strchr(row->host, '.'); dot; dot = strchr(dot + 1, '.')) {
		snprintf(pattern, sizeof(pattern), "*%s", dot);
		call_host(owned, n, pattern, row);
	}
}

/* Of the namespaces and hosts that the list was selected by, or nobody can say that nothing calls for it. */
static bool is_looked_at(const struct plan_work *work, const struct registry_object *object,
			 const char *host)
{
	const struct selection *selection = &work->options->selection;

	return host && (!selection->ns || strcmp(selection->ns, object->ns) == 0) &&
	       (!selection->host || fnmatch(selection->host, host, FNM_CASEFOLD) == 0);
}

static int find_uncalled(struct plan_work *work, const struct registry_object **objects,
			 size_t n_objects)
{
	_cleanup_free_ struct owned *owned = calloc(MAX(n_objects, 1u), sizeof(*owned));
	size_t n = 0;
	int r = 0;

	if (!owned)
		return -ENOMEM;
	for (size_t i = 0; i < n_objects; i++) {
		const char *host = istio_tree_host(objects[i]);

		if (is_looked_at(work, objects[i], host))
			owned[n++] = (struct owned){.object = objects[i], .host = host};
	}
	qsort(owned, n, sizeof(*owned), compare_owned);
	for (size_t i = 0; i < work->n_rows; i++)
		call_row(owned, n, &work->rows[i]);
	for (size_t i = 0; i < n && !r; i++)
		if (!owned[i].called)
			r = istio_retired_add(work, owned[i].object,
					      "is not called for by anything here; its host is",
					      owned[i].host);
	return r;
}

int istio_retired_find(struct plan_work *work)
{
	const struct selection *selection = &work->options->selection;
	_cleanup_free_ const struct registry_object **objects = NULL;
	size_t n;
	int r;

	if (!work->options->diff || !work->store || selection->workload ||
	    selection->registry != REGISTRY_MAX)
		return 0;
	r = registry_managed(work->store, &objects, &n);
	if (!r)
		r = find_uncalled(work, objects, n);
	work->plan.n_retired = istio_strings_unique(work->plan.retired, work->plan.n_retired);
	return r;
}
