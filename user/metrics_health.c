// SPDX-License-Identifier: Apache-2.0
/* The agent's own families; see metrics_work.h. Must not know: which ones there are (health.c). */
#include <errno.h>
#include <string.h>

#include "metrics_work.h"

static const char *health_help(const struct agent_health *h, const char *family)
{
	for (const struct health_help *help = h->help; help && help->family; help++) {
		if (strcmp(help->family, family) == 0)
			return help->help;
	}
	return NULL;
}

/* *m is the family of the sample before; a new one gets its head. */
static int health_family(struct lines *l, const struct agent_health *h, const char *family,
			 enum metric_type type, struct metric *m)
{
	if (m->name && strcmp(m->name, family) == 0)
		return 0;
	*m = (struct metric){family, type, health_help(h, family)};
	l->headed = false;
	return m->help ? 0 : -EINVAL;
}

static void health_labels(struct lines *l, const char *name, const char *value)
{
	metrics_label_none(l);
	if (name)
		metrics_label(l, name, value);
}

static int health_counters(struct lines *l, const struct agent_health *h)
{
	struct metric m = {0};

	for (size_t i = 0; i < h->n_counters; i++) {
		const struct health_counter *c = &h->counters[i];
		int r = health_family(l, h, c->family, METRIC_COUNTER, &m);

		if (r < 0)
			return r;
		health_labels(l, c->label, c->value);
		metrics_sample(l, &m, "_total");
		metrics_number(l, c->count);
		metrics_created(l, &m, c->created_ms ? c->created_ms : h->start_unix_ms);
	}
	return 0;
}

static int health_gauges(struct lines *l, const struct agent_health *h)
{
	struct metric m = {0};

	for (size_t i = 0; i < h->n_gauges; i++) {
		const struct health_gauge *g = &h->gauges[i];
		int r = health_family(l, h, g->family, METRIC_GAUGE, &m);

		if (r < 0)
			return r;
		health_labels(l, g->label, g->value);
		metrics_sample(l, &m, "");
		metrics_number(l, g->number);
	}
	return 0;
}

int metrics_health(struct lines *l, const struct agent_health *health)
{
	static const struct metric build = {"egress_agent_build_info", METRIC_GAUGE,
					    "The running version; always 1."};
	static const struct metric start = {"egress_agent_start_time_seconds", METRIC_GAUGE,
					    "When the agent started, in Unix time."};
	int r;

	l->headed = false;
	health_labels(l, "version", health->version);
	metrics_sample(l, &build, "");
	metrics_value(l, 1);
	l->headed = false;
	health_labels(l, NULL, NULL);
	metrics_sample(l, &start, "");
	metrics_number(l, (double)health->start_unix_ms / 1000);
	r = health_counters(l, health);
	return r < 0 ? r : health_gauges(l, health);
}
