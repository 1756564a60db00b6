// SPDX-License-Identifier: Apache-2.0
/*
 * In which portions to ask; see prometheus_work.h. The API has no pages for instant queries, so that many workloads
 * are asked about at once as have together not more series than one answer should hold.
 *
 * Owns: label matchers. Must not know: what is asked about the workloads.
 */
#include <errno.h>
#include <string.h>

#include "prometheus_work.h"
#include "util.h"

void prometheus_plan_done(struct prometheus_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		free(plan->weights[i].ns);
		free(plan->weights[i].workload);
	}
	free(plan->weights);
	*plan = (struct prometheus_plan){0};
}

int prometheus_plan_add(struct prometheus_plan *plan, const char *ns, const char *workload,
			uint64_t series)
{
	struct prometheus_weight w = {.series = series};

	if (plan->n == plan->capacity) {
		size_t capacity = MAX(2 * plan->capacity, (size_t)64);
		struct prometheus_weight *grown = realloc(plan->weights, capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->weights = grown;
		plan->capacity = capacity;
	}
	w.ns = strdup(ns);
	w.workload = w.ns ? strdup(workload) : NULL;
	if (!w.workload) {
		free(w.ns);
		return -ENOMEM;
	}
	plan->weights[plan->n++] = w;
	return 0;
}

static int weight_compare(const void *a, const void *b)
{
	const struct prometheus_weight *x = a, *y = b;
	int order = strcmp(x->ns, y->ns);

	return order ? order : strcmp(x->workload, y->workload);
}

void prometheus_plan_sort(struct prometheus_plan *plan)
{
	struct prometheus_weight *w = plan->weights;
	size_t n = 0;

	if (plan->n > 1)
		qsort(w, plan->n, sizeof(*w), weight_compare);
	for (size_t i = 0; i < plan->n; i++) {
		if (!n || weight_compare(&w[n - 1], &w[i]) != 0) {
			w[n++] = w[i];
			continue;
		}
		w[n - 1].series = model_add(w[n - 1].series, w[i].series);
		free(w[i].ns);
		free(w[i].workload);
	}
	plan->n = n;
}

/* A string of PromQL: Go's escapes, of which these are enough. */
static void put_quoted(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			text_add_char(t, '\\');
		if (*s == '\n')
			text_puts(t, "\\n");
		else
			text_add_char(t, *s);
	}
}

void prometheus_matcher(struct text *t, const char *name, const char *value)
{
	text_puts(t, name);
	text_puts(t, "=\"");
	put_quoted(t, value);
	text_add_char(t, '"');
}

/* One more alternative of NAME=~"A|B", which is still open. Expressions are anchored. */
static void put_alternative(struct text *t, const char *name, const char *value, bool first)
{
	if (first) {
		text_puts(t, name);
		text_puts(t, "=~\"");
	} else {
		text_add_char(t, '|');
	}
	for (; *value; value++) {
		const char one[] = {*value, '\0'};

		if (strchr(".\\+*?()|[]{}^$", *value))
			text_puts(t, "\\\\");
		put_quoted(t, one);
	}
}

/* The workloads of one namespace from `at` on: where they end, and their series. */
static size_t namespace_end(const struct prometheus_plan *plan, size_t at, uint64_t *ret_series)
{
	const char *ns = plan->weights[at].ns;

	*ret_series = 0;
	for (; at < plan->n && strcmp(plan->weights[at].ns, ns) == 0; at++)
		*ret_series = model_add(*ret_series, plan->weights[at].series);
	return at;
}

/* Whether what is in hand may grow by `more` series and by a name. */
static bool has_room(const struct text *t, uint64_t series, uint64_t more, const char *name)
{
	return series <= PROMETHEUS_PAGE_SERIES && more <= PROMETHEUS_PAGE_SERIES - series &&
	       t->size + 4 * strlen(name) < PROMETHEUS_PAGE_TEXT;
}

/* Whole namespaces; nothing if the first one is too large, or its first workloads were in an earlier page. */
static void page_of_namespaces(const struct prometheus_plan *plan, size_t *at, struct text *t)
{
	const struct prometheus_weight *w = &plan->weights[*at];
	uint64_t series = 0, more;

	if (*at && strcmp(w->ns, w[-1].ns) == 0)
		return;
	while (*at < plan->n) {
		const char *ns = plan->weights[*at].ns;
		size_t end = namespace_end(plan, *at, &more);

		if (!has_room(t, series, more, ns))
			break;
		put_alternative(t, "source_workload_namespace", ns, t->size == 0);
		series += more;
		*at = end;
	}
}

/* Workloads of one namespace, at least one. */
static void page_of_workloads(const struct prometheus_plan *plan, size_t *at, struct text *t)
{
	const struct prometheus_weight *w = &plan->weights[*at];
	const char *ns = w->ns;
	uint64_t series = 0;
	bool first = true;

	prometheus_matcher(t, "source_workload_namespace", ns);
	text_add_char(t, ',');
	for (; *at < plan->n && strcmp(w->ns, ns) == 0; w = &plan->weights[++*at], first = false) {
		if (!first && !has_room(t, series, w->series, w->workload))
			break;
		put_alternative(t, "source_workload", w->workload, first);
		series = model_add(series, w->series);
	}
}

int prometheus_plan_page(const struct prometheus_plan *plan, size_t *at, char **ret_matchers)
{
	/* One name may be as long as Prometheus has it; names of ours are short. */
	_cleanup_(text_done) struct text t = TEXT_INIT(1u << 20);
	size_t size, begin = *at;

	page_of_namespaces(plan, at, &t);
	if (*at == begin)
		page_of_workloads(plan, at, &t);
	text_add_char(&t, '"');
	return text_take(&t, ret_matchers, &size);
}
