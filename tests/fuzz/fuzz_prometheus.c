// SPDX-License-Identifier: Apache-2.0
/*
 * Two answers of a Prometheus with any content, a NUL between them: what is known of destinations, and counters (taken
 * for every family in turn). What comes out is a list that the product prints and reads back, row by row the same.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "prometheus_work.h"
#include "util.h"

struct pull {
	struct prometheus_agents agents;
	struct prometheus_rows rows;
	struct prometheus_plan plan;
	size_t family;
};

static int on_info(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;
	int r = prometheus_rows_info(&q->rows, &q->agents, s);

	if (r == 0 &&
	    prometheus_plan_add(&q->plan, prometheus_label(s, "source_workload_namespace"),
				prometheus_label(s, "source_workload"),
				(uint64_t)s->n_labels * 1000) < 0)
		abort();
	return r;
}

static int on_count(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;

	return prometheus_rows_count(&q->rows, &q->agents, q->family, s);
}

static void on_note(const char *line, void *data)
{
	(void)data;
	for (; *line; line++) {
		if (*line < 0x20 || *line > 0x7e)
			abort();
	}
}

static void read_answer(const char *text, size_t size, struct pull *q,
			int (*series)(const struct prometheus_series *s, void *data))
{
	const struct prometheus_reader reader = {series, on_note, NULL, q};
	_cleanup_free_ char *why = NULL;
	int r = prometheus_read(text, size, &reader, &why);

	if (r < 0 && r != -ENOSPC && !why)
		abort();
	if (why)
		on_note(why, NULL);
}

/* Printed and read back it is as many rows of the same names. */
static void check_list(struct destination_list *list)
{
	_cleanup_(destination_list_done) struct destination_list again = {0};
	_cleanup_free_ char *text = NULL, *why = NULL;
	size_t size;

	destination_list_judge(list);
	if (json_from_list(list, &text, &size) < 0 || json_to_list(text, size, &again, &why) < 0)
		abort();
	if (again.n != list->n)
		abort();
	for (size_t i = 0; i < list->n; i++) {
		if (destination_compare(&list->items[i], &again.items[i]) != 0 ||
		    (i && destination_compare(&list->items[i - 1], &list->items[i]) >= 0))
			abort();
	}
}

static void check_pages(struct prometheus_plan *plan)
{
	prometheus_plan_sort(plan);
	for (size_t at = 0, before = 0; at < plan->n; before = at) {
		_cleanup_free_ char *page = NULL;

		if (prometheus_plan_page(plan, &at, &page) < 0 || (at <= before && at))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	const char *text = (const char *)data, *cut = size ? memchr(text, '\0', size) : NULL;
	size_t first = cut ? (size_t)(cut - text) : size;
	struct pull q = {0};

	read_answer(text, first, &q, on_info);
	if (prometheus_agents_judge(&q.agents) < 0 || prometheus_rows_sort(&q.rows) < 0)
		abort();
	for (q.family = 0; cut && q.family < PROMETHEUS_FAMILIES; q.family++)
		read_answer(cut + 1, size - first - 1, &q, on_count);
	if (prometheus_rows_list(&q.rows, &list) < 0)
		abort();
	check_list(&list);
	check_pages(&q.plan);
	prometheus_plan_done(&q.plan);
	prometheus_rows_done(&q.rows);
	prometheus_agents_done(&q.agents);
	return 0;
}
