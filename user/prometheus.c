// SPDX-License-Identifier: Apache-2.0
/*
 * The whole cluster's destinations from Prometheus; see prometheus.h.
 *
 * First the moment all is asked about, then who reported, then how many series which workload has, then page after
 * page of workloads: what is known of their destinations, and each family of counters.
 *
 * Owns: the queries and their order. Must not know: HTTP, what answers look like.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "prometheus_work.h"
#include "util.h"

#define PROMQL_MAX (2u << 20)
#define NOTE_MAX   256

#define INFO     "egress_destination_info"
#define REQUESTS "egress_requests_total"

/* One call of prometheus_list(). */
struct pull {
	struct prometheus p;
	const char *ns, *workload;
	struct prometheus_agents agents;
	struct prometheus_plan plan;
	struct prometheus_rows rows;
	size_t family; /* that is being read */
	uint64_t unreadable, orphans;
	struct destination_list list;
};

static void pull_done(struct pull *q)
{
	prometheus_close(&q->p);
	prometheus_agents_done(&q->agents);
	prometheus_plan_done(&q->plan);
	prometheus_rows_done(&q->rows);
	destination_list_done(&q->list);
}

/* ---- PromQL ---- */

/* NAME{MATCHERS}; matchers may be NULL or empty. */
static void put_vector(struct text *t, const struct pull *q, const char *name, const char *matchers)
{
	const char *const parts[] = {q->p.options->selector, matchers};
	const char *comma = "";

	text_puts(t, name);
	text_add_char(t, '{');
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!parts[i] || !*parts[i])
			continue;
		text_puts(t, comma);
		text_puts(t, parts[i]);
		comma = ",";
	}
	text_add_char(t, '}');
}

/* The last value of each series in the range. */
static void put_last(struct text *t, const struct pull *q, const char *name, const char *matchers)
{
	text_puts(t, "last_over_time(");
	put_vector(t, q, name, matchers);
	text_add_char(t, '[');
	text_add_u64(t, q->p.options->range_ms);
	text_puts(t, "ms])");
}

typedef int series_fn(const struct prometheus_series *s, void *data);

static int ask(struct pull *q, struct text *promql, series_fn *series)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = text_take(promql, &text, &size);

	text_done(promql);
	return r < 0 ? r : prometheus_query(&q->p, text, series, q);
}

static int ask_last(struct pull *q, const char *name, const char *matchers, series_fn *series)
{
	struct text t = TEXT_INIT(PROMQL_MAX);

	put_last(&t, q, name, matchers);
	return ask(q, &t, series);
}

/* ---- who reported ---- */

static int on_time(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;

	q->p.at = s->value > 0 && s->value < 1e11 ? s->value : 0;
	return q->p.at > 0 ? 0 : -ERANGE;
}

static int agent_get(struct pull *q, const struct prometheus_series *s,
		     struct prometheus_agent **ret)
{
	int r = prometheus_agents_get(&q->agents, s, ret);

	if (r == -ENOSPC)
		prometheus_fail(&q->p, r,
				"more than %d agents reported in this range; take a "
				"shorter --range, or --prometheus-selector",
				PROMETHEUS_AGENTS_MAX);
	return r;
}

static uint64_t seconds_as_ms(const struct prometheus_series *s)
{
	return s->value > 0 && s->value < 1e11 ? (uint64_t)(s->value * 1000 + 0.5) : 0;
}

static int on_counters(const struct prometheus_series *s, void *data)
{
	const char *node = prometheus_label(s, "agent_node");
	struct prometheus_agent *agent;
	int r = agent_get(data, s, &agent);

	/* Another node under the same labels: the one whose counters are younger is there now. */
	if (r < 0 || !*node || seconds_as_ms(s) <= agent->since_ms)
		return r;
	free(agent->node);
	agent->since_ms = seconds_as_ms(s);
	agent->node = strdup(node);
	return agent->node ? 0 : -ENOMEM;
}

static int on_start(const struct prometheus_series *s, void *data)
{
	struct prometheus_agent *agent;
	int r = agent_get(data, s, &agent);

	if (r == 0)
		agent->start_ms = MAX(agent->start_ms, seconds_as_ms(s));
	return r;
}

static int on_folded(const struct prometheus_series *s, void *data)
{
	struct prometheus_agent *agent;
	int r = agent_get(data, s, &agent);

	if (r == 0)
		(void)prometheus_count(s, &agent->folded);
	return r;
}

static int on_dropped(const struct prometheus_series *s, void *data)
{
	struct prometheus_agent *agent;
	int r = agent_get(data, s, &agent);

	if (r == 0)
		(void)prometheus_count(s, &agent->dropped);
	return r;
}

static int pull_agents(struct pull *q)
{
	static const struct {
		const char *family, *matchers;
		series_fn *series;
	} families[] = {
		{"egress_agent_counters_start_time_seconds", NULL, on_counters},
		{"egress_agent_start_time_seconds", NULL, on_start},
		{"egress_agent_hosts_folded", NULL, on_folded},
		{"egress_agent_lost_total", "reason=\"destination_overflow\"", on_dropped},
	};
	int r = prometheus_query(&q->p, "time()", on_time, q);

	for (size_t i = 0; i < ARRAY_SIZE(families) && r == 0; i++)
		r = ask_last(q, families[i].family, families[i].matchers, families[i].series);
	return r < 0 ? r : prometheus_agents_judge(&q->agents);
}

/* ---- destinations ---- */

static int on_weight(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;
	uint64_t series = 0;

	(void)prometheus_count(s, &series);
	return prometheus_plan_add(&q->plan, prometheus_label(s, "source_workload_namespace"),
				   prometheus_label(s, "source_workload"), series);
}

static int pull_weight(struct pull *q, const char *family, const char *matchers)
{
	struct text t = TEXT_INIT(PROMQL_MAX);

	text_puts(&t, "count by (source_workload_namespace, source_workload) (");
	put_last(&t, q, family, matchers);
	text_add_char(&t, ')');
	return ask(q, &t, on_weight);
}

/* How much there is to ask for; a request has one series for each method and code, so they may be the most. */
static int pull_plan(struct pull *q)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(PROMQL_MAX);
	_cleanup_free_ char *matchers = NULL;
	size_t size;
	int r;

	if (q->ns)
		prometheus_matcher(&t, "source_workload_namespace", q->ns);
	if (q->ns && q->workload)
		text_add_char(&t, ',');
	if (q->workload)
		prometheus_matcher(&t, "source_workload", q->workload);
	r = text_take(&t, &matchers, &size);
	if (r == 0)
		r = pull_weight(q, INFO, matchers);
	if (r == 0)
		r = pull_weight(q, REQUESTS, matchers);
	if (r == 0)
		prometheus_plan_sort(&q->plan);
	return r;
}

static int on_info(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;

	return prometheus_rows_info(&q->rows, &q->agents, s);
}

static int on_count(const struct prometheus_series *s, void *data)
{
	struct pull *q = data;

	return prometheus_rows_count(&q->rows, &q->agents, q->family, s);
}

/* Of value 1 what is reported at the end of the range, of value 0 what was before. */
static int pull_info(struct pull *q, const char *matchers)
{
	struct text t = TEXT_INIT(PROMQL_MAX);
	int r;

	put_vector(&t, q, INFO, matchers);
	text_puts(&t, " or 0 * ");
	put_last(&t, q, INFO, matchers);
	r = ask(q, &t, on_info);
	return r < 0 ? r : prometheus_rows_sort(&q->rows);
}

static int pull_page(struct pull *q, const char *matchers)
{
	_cleanup_(destination_list_done) struct destination_list page = {0};
	int r = pull_info(q, matchers);

	for (q->family = 0; q->family < PROMETHEUS_FAMILIES && r == 0; q->family++)
		r = ask_last(q, prometheus_families[q->family], matchers, on_count);
	if (r == 0)
		r = prometheus_rows_list(&q->rows, &page);
	if (r == 0)
		r = destination_list_merge(&q->list, &page);
	q->unreadable += q->rows.unreadable;
	q->orphans += q->rows.orphans;
	prometheus_rows_done(&q->rows);
	return r;
}

static int pull_pages(struct pull *q)
{
	int r = 0;

	for (size_t at = 0; at < q->plan.n && r == 0;) {
		_cleanup_(text_done) struct text t = TEXT_INIT(PROMQL_MAX);
		_cleanup_free_ char *page = NULL, *matchers = NULL;
		size_t size;

		r = prometheus_plan_page(&q->plan, &at, &page);
		if (r < 0)
			return r;
		text_puts(&t, page);
		/* Whole namespaces, but only one workload of them was asked for. */
		if (q->workload) {
			text_add_char(&t, ',');
			prometheus_matcher(&t, "source_workload", q->workload);
		}
		r = text_take(&t, &matchers, &size);
		if (r == 0)
			r = pull_page(q, matchers);
	}
	return r;
}

/* ---- the whole ---- */

static void pull_note(struct pull *q, uint64_t n, const char *fmt) _printf_(3, 0);
static void pull_note(struct pull *q, uint64_t n, const char *fmt)
{
	char line[NOTE_MAX];

	if (!n || !q->p.note)
		return;
	snprintf(line, sizeof(line), fmt, n);
	q->p.note(line, q->p.note_data);
}

/* What all agents together say of the list, and what there is to say about it. */
static void pull_header(struct pull *q)
{
	struct destination_list *list = &q->list;
	uint64_t silent = 0;

	for (size_t i = 0; i < q->agents.n; i++) {
		const struct prometheus_agent *a = q->agents.items[i];

		if (a->superseded)
			continue;
		silent += a->reported && !a->node;
		if (a->since_ms && (!list->since_ms || a->since_ms < list->since_ms))
			list->since_ms = a->since_ms;
		list->hosts_folded = model_add(list->hosts_folded, a->folded);
		list->destinations_dropped = model_add(list->destinations_dropped, a->dropped);
	}
	list->generated_ms = (uint64_t)(q->p.at * 1000);
	pull_note(
		q, silent,
		"agents that do not say since when they count: %" PRIu64 "; they are older, or "
		"egress_agent_counters_start_time_seconds is not kept: what they counted before a "
		"restart may be counted twice");
	pull_note(q, q->orphans, "series left out, there is no " INFO " for them: %" PRIu64);
	pull_note(q, q->unreadable,
		  "series left out, their labels or values are none of an agent's: %" PRIu64);
}

static int pull_all(struct pull *q)
{
	int r = prometheus_open(&q->p);

	if (r == 0)
		r = pull_agents(q);
	if (r == 0)
		r = pull_plan(q);
	if (r == 0)
		r = pull_pages(q);
	if (r == 0)
		pull_header(q);
	return r;
}

int prometheus_list(const struct prometheus_options *o, const char *ns, const char *workload,
		    void (*note)(const char *line, void *data), void *data,
		    struct destination_list *ret, char **ret_why)
{
	struct pull q = {
		.p = {.options = o, .note = note, .note_data = data},
		.ns = ns,
		.workload = workload,
	};
	int r = pull_all(&q);

	*ret_why = NULL;
	if (r == 0) {
		destination_list_judge(&q.list);
		*ret = q.list;
		q.list = (struct destination_list){0};
	} else {
		*ret_why = TAKE_PTR(q.p.why);
	}
	pull_done(&q);
	return r;
}
