// SPDX-License-Identifier: Apache-2.0
/*
 * Notes of a plan, see istio_work.h.
 *
 * Owns: their form. Must not know: when one is due.
 */
#include <errno.h>
#include <string.h>

#include "istio_work.h"
#include "util.h"

/* Ports or workloads named in a note; the rest is a number. */
#define NOTE_ITEMS_MAX 20
/* Bytes of any name from outside that are looked at, before escaping; legal ones have at most 253. */
#define OUTSIDE_MAX 255

void *istio_array_grow(void *items, size_t n, size_t item_size)
{
	if (n & (n - 1))
		return items;
	return realloc(items, MAX(2 * n, 1u) * item_size);
}

int istio_strings_add(char ***strings, size_t *n, struct text *text)
{
	_cleanup_free_ char *line = NULL;
	char **grown;
	size_t size;
	int r = text_take(text, &line, &size);

	text_done(text);
	if (r)
		return r;
	grown = istio_array_grow(*strings, *n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*strings = grown;
	grown[(*n)++] = TAKE_PTR(line);
	return 0;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t istio_strings_unique(char **strings, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(strings, n, sizeof(*strings), compare_strings);
	for (size_t i = 0; i < n; i++) {
		if (kept && strcmp(strings[kept - 1], strings[i]) == 0)
			free(strings[i]);
		else
			strings[kept++] = strings[i];
	}
	return kept;
}

void istio_text_outside(struct text *text, const char *s)
{
	char cut[OUTSIDE_MAX + 1];

	snprintf(cut, sizeof(cut), "%s", s);
	text_add_printable(text, cut);
}

void istio_text_count(struct text *text, uint64_t n, const char *noun)
{
	text_add_u64(text, n);
	text_add_char(text, ' ');
	text_puts(text, noun);
	text_puts(text, n == 1 ? "" : "s");
}

static void text_more(struct text *text, size_t n)
{
	if (n <= NOTE_ITEMS_MAX)
		return;
	text_puts(text, " and ");
	text_add_u64(text, n - NOTE_ITEMS_MAX);
	text_puts(text, " more");
}

void istio_text_ports(struct text *text, const struct row *rows, size_t n)
{
	size_t distinct = 0;

	for (size_t i = 0; i < n; i++)
		distinct += i == 0 || rows[i].d->port != rows[i - 1].d->port;
	text_puts(text, distinct == 1 ? " on port " : " on ports ");
	for (size_t i = 0, shown = 0; i < n && shown < NOTE_ITEMS_MAX; i++) {
		if (i && rows[i].d->port == rows[i - 1].d->port)
			continue;
		text_puts(text, shown++ ? ", " : "");
		text_add_u64(text, rows[i].d->port);
	}
	text_more(text, distinct);
}

void istio_text_object(struct text *text, const struct registry_object *object)
{
	text_puts(text, registry_kind_name(object->kind));
	text_add_char(text, ' ');
	istio_text_outside(text, object->ns);
	text_add_char(text, '/');
	istio_text_outside(text, object->name);
}

static int caller_name(const struct row *row, char ***names, size_t *n)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	if (*row->d->source.ns) {
		istio_text_outside(&text, row->d->source.ns);
		text_add_char(&text, '/');
	}
	istio_text_outside(&text, row->d->source.workload);
	return istio_strings_add(names, n, &text);
}

int istio_text_callers(struct text *text, const struct group *group,
		       bool (*fits)(const struct row *row, const void *data), const void *data)
{
	char **names = NULL;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < group->n && !r; i++)
		if (fits(&group->rows[i], data))
			r = caller_name(&group->rows[i], &names, &n);
	n = istio_strings_unique(names, n);
	for (size_t i = 0; i < n && i < NOTE_ITEMS_MAX && !r; i++) {
		text_puts(text, i ? ", " : "");
		text_puts(text, names[i]);
	}
	text_more(text, n);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return r;
}

int istio_note_add(struct istio_plan *plan, struct text *text)
{
	return istio_strings_add(&plan->notes, &plan->n_notes, text);
}

int istio_note_count(struct istio_plan *plan, uint64_t n, const char *rest)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	if (!n)
		return 0;
	istio_text_count(&text, n, "destination");
	text_add_char(&text, ' ');
	text_puts(&text, rest);
	return istio_note_add(plan, &text);
}

int istio_note_general(struct istio_plan *plan, const char *line)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, line);
	return istio_note_add(plan, &text);
}

struct text istio_note_begin(const struct plan_work *work, const struct row *row)
{
	struct text text = TEXT_INIT(NOTE_MAX);

	text_puts(&text, istio_row_host(row));
	if (!work->options->mesh_scope && *row->ns) {
		text_puts(&text, " in namespace ");
		text_puts(&text, row->ns);
	}
	text_puts(&text, ": ");
	return text;
}

int istio_note_object(struct plan_work *work, const struct row *row, const char *rest)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, rest);
	return istio_note_add(&work->plan, &text);
}

int istio_note_cluster(struct plan_work *work, const struct row *row, const char *before,
		       const struct registry_object *object, const char *after)
{
	struct text text = istio_note_begin(work, row);

	text_puts(&text, before);
	istio_text_object(&text, object);
	text_puts(&text, after);
	return istio_note_add(&work->plan, &text);
}
