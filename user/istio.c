// SPDX-License-Identifier: Apache-2.0
/*
 * From destinations to Istio objects, see istio.h.
 *
 * Owns: the options as words, which hosts the options leave out, the plan's order. Must not know: YAML, files,
 * the agent; what one row is good for (istio_rows.c), what is in an object (istio_object.c).
 *
 * The list is read twice: once in the order (host, verdict, port) for what is left out, because a host is
 * reported once whoever called it, and once in the order (namespace, host, port) for the objects.
 */
#include "istio.h"

#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "util.h"

/* Options as words */

const char *const istio_api_version_words[] = {"v1", "v1beta1", NULL};
const char *const istio_scope_words[] = {"namespace", "mesh", NULL};
static const char *const istio_bool_words[] = {"false", "true", NULL};

static int istio_parse_word(const char *const words[], const char *word, bool *ret)
{
	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int istio_parse_number(const char *text, uint32_t *ret)
{
	uint64_t value = 0;

	if (!*text || strlen(text) > 10)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	if (value > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

static int istio_parse_all(const char *value, struct istio_options *options)
{
	bool all = false;
	int r = istio_parse_word(istio_bool_words, value, &all);

	if (!r)
		options->only_unregistered = !all;
	return r;
}

int istio_options_parse(struct istio_options *options, const char *name, const char *value)
{
	if (strcmp(name, "visibility") == 0)
		return model_visibility_parse(value, &options->visibility);
	if (strcmp(name, "api-version") == 0)
		return istio_parse_word(istio_api_version_words, value, &options->v1beta1);
	if (strcmp(name, "scope") == 0)
		return istio_parse_word(istio_scope_words, value, &options->mesh_scope);
	if (strcmp(name, "min-connections") == 0)
		return istio_parse_number(value, &options->min_connections);
	if (strcmp(name, "only-unregistered") == 0)
		return istio_parse_word(istio_bool_words, value, &options->only_unregistered);
	if (strcmp(name, "all") == 0)
		return istio_parse_all(value, options);
	if (strcmp(name, "root-namespace") != 0)
		return -ENOENT;
	if (!istio_namespace_valid(value))
		return -EINVAL;
	options->root_namespace = value;
	return 0;
}

bool istio_namespace_valid(const char *ns)
{
	size_t len = strlen(ns);

	return len > 0 && len <= 63 &&
	       ns[strspn(ns, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0' && ns[0] != '-' &&
	       ns[len - 1] != '-';
}

static int compare_by_object(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = strcmp(x->ns, y->ns);

	if (!r)
		r = strcmp(x->host, y->host);
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
	*plan = (struct istio_plan){0};
}

static int plan_add_object(struct plan_work *work, const struct row *rows, size_t n)
{
	struct istio_plan *plan = &work->plan;
	struct istio_object object = {0}, *grown;
	int r = istio_object_make(work, rows, n, &object);

	if (!r) {
		grown = istio_array_grow(plan->objects, plan->n_objects, sizeof(*grown));
		if (grown)
			plan->objects = grown;
		r = grown ? 0 : -ENOMEM;
	}
	if (r)
		istio_object_free(&object);
	else
		plan->objects[plan->n_objects++] = object;
	return r;
}

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

/* Useful rows of one object. What the options leave out is told, the rest becomes an object. */
static int plan_consider(struct plan_work *work, const struct row *rows, size_t n)
{
	uint64_t connections = 0, requests = 0;
	size_t covered = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		enum registry state = rows[i].d->registry;

		covered += state == REGISTRY_REGISTERED || state == REGISTRY_ORIGINATED;
		connections = model_add(connections, rows[i].d->opened);
		requests = model_add(requests, rows[i].d->requests);
	}
	if (work->options->only_unregistered && covered == n) {
		work->n_registered += n;
		return 0;
	}
	if (MAX(connections, requests) < work->options->min_connections)
		return note_too_few(work, rows, connections, requests);
	if (work->options->only_unregistered && covered)
		r = istio_note_object(
			work, rows,
			"is registered in part; the ServiceEntry has all its ports, so that it "
			"can take the old one's place");
	return r ? r : plan_add_object(work, rows, n);
}

static bool rows_same_object(const struct row *a, const struct row *b)
{
	return strcmp(a->ns, b->ns) == 0 && strcmp(a->host, b->host) == 0;
}

static int plan_add_objects(struct plan_work *work)
{
	size_t useful = 0, end;
	int r = 0;

	/* Useful rows to the front; the others stay behind them for istio_rows_free(). */
	for (size_t i = 0; i < work->n_rows; i++) {
		struct row row = work->rows[i];

		if (row.verdict >= VERDICT_LEFT_OUT)
			continue;
		work->rows[i] = work->rows[useful];
		work->rows[useful++] = row;
	}
	qsort(work->rows, useful, sizeof(*work->rows), compare_by_object);
	for (size_t i = 0; i < useful && !r; i = end) {
		for (end = i + 1;
		     end < useful && rows_same_object(&work->rows[i], &work->rows[end]);)
			end++;
		r = plan_consider(work, work->rows + i, end - i);
	}
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

static int plan_note_general(struct plan_work *work, const struct destination_list *list)
{
	struct istio_plan *plan = &work->plan;
	int r = 0;

	plan->n_notes = istio_strings_unique(plan->notes, plan->n_notes);
	if (work->originate)
		r = istio_note_general(
			plan, "the DestinationRules take effect where an application calls http:// "
			      "instead of https://; the sidecar opens TLS for it");
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

static int plan_fill(struct plan_work *work, const struct destination_list *list)
{
	int r = istio_rows_fill(work, list);

	if (!r)
		r = istio_note_hosts(work);
	if (!r)
		r = plan_add_objects(work);
	if (!r)
		r = plan_drop_collisions(work);
	return r ? r : plan_note_general(work, list);
}

int istio_plan_make(const struct destination_list *list, const struct istio_options *options,
		    struct istio_plan *ret)
{
	struct plan_work work = {.options = options};
	int r;

	if (options->mesh_scope && !istio_namespace_valid(options->root_namespace))
		return -EINVAL;
	r = plan_fill(&work, list);
	istio_rows_free(&work);
	if (r)
		istio_plan_done(&work.plan);
	else
		*ret = work.plan;
	return r;
}
