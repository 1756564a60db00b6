// SPDX-License-Identifier: Apache-2.0
/*
 * Which agents reported, and which of them have the same counters; see prometheus_work.h.
 *
 * An agent that is started anew goes on with the counts kept in its node's maps, mostly under another address, and so
 * under other labels: what it reports has what the one before reported. The agents' own word on it is the node's name
 * and since when the maps count; where that is the same, the agent that was started last stands for all.
 *
 * Owns: what an agent is told by. Must not know: rows, how series are got.
 */
#include <errno.h>
#include <search.h>
#include <string.h>

#include "prometheus_work.h"
#include "util.h"

#define KEY_MAX (PROMETHEUS_LABELS_MAX * 4096u)

/* The labels that agents themselves put on; all others tell where a series was scraped. Sorted. */
static const char *const own_labels[] = {
	"__name__",
	"agent_node",
	"alpn",
	"destination_port",
	"destination_service",
	"destination_service_name",
	"interception",
	"name_source",
	"reason",
	"registry",
	"reporter",
	"request_method",
	"request_protocol",
	"response_code",
	"source_app",
	"source_canonical_revision",
	"source_canonical_service",
	"source_version",
	"source_workload",
	"source_workload_namespace",
	"tls_version",
	"visibility",
};

static bool is_own(const char *name)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(own_labels) && strcmp(own_labels[i], name) < 0)
		i++;
	return i < ARRAY_SIZE(own_labels) && strcmp(own_labels[i], name) == 0;
}

static int agent_key(const struct prometheus_series *s, char **ret)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(KEY_MAX);
	size_t size;

	for (size_t i = 0; i < s->n_labels; i++) {
		if (is_own(s->labels[i].name))
			continue;
		text_puts(&t, s->labels[i].name);
		text_add_char(&t, '=');
		text_puts(&t, s->labels[i].value);
		text_add_char(&t, '\n');
	}
	return text_take(&t, ret, &size);
}

static int agent_compare(const void *a, const void *b)
{
	const struct prometheus_agent *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static void agent_free(void *item)
{
	struct prometheus_agent *agent = item;

	free(agent->key);
	free(agent->node);
	free(agent);
}

void prometheus_agents_done(struct prometheus_agents *a)
{
	for (size_t i = 0; i < a->n; i++) {
		tdelete(a->items[i], &a->tree, agent_compare);
		agent_free(a->items[i]);
	}
	free(a->items);
	*a = (struct prometheus_agents){0};
}

static int agent_new(struct prometheus_agents *a, char **key, struct prometheus_agent **ret)
{
	struct prometheus_agent *agent;

	if (a->n == PROMETHEUS_AGENTS_MAX)
		return -ENOSPC;
	if (!a->items)
		a->items = calloc(PROMETHEUS_AGENTS_MAX, sizeof(struct prometheus_agent *));
	agent = a->items ? calloc(1, sizeof(*agent)) : NULL;
	if (!agent)
		return -ENOMEM;
	agent->id = a->n;
	agent->key = *key;
	if (!tsearch(agent, &a->tree, agent_compare)) {
		free(agent);
		return -ENOMEM;
	}
	*key = NULL;
	a->items[a->n++] = agent;
	*ret = agent;
	return 0;
}

int prometheus_agents_get(struct prometheus_agents *a, const struct prometheus_series *s,
			  struct prometheus_agent **ret)
{
	_cleanup_free_ char *key = NULL;
	struct prometheus_agent probe, **found;
	int r = agent_key(s, &key);

	if (r < 0)
		return r;
	probe.key = key;
	found = tfind(&probe, &a->tree, agent_compare);
	if (!found)
		return agent_new(a, &key, ret);
	*ret = *found;
	return 0;
}

int prometheus_agents_judge(struct prometheus_agents *a)
{
	_cleanup_free_ struct destination_list *lists = calloc(a->n + 1, sizeof(*lists));

	if (!lists)
		return -ENOMEM;
	for (size_t i = 0; i < a->n; i++) {
		lists[i].node = a->items[i]->node;
		lists[i].since_ms = a->items[i]->since_ms;
		lists[i].generated_ms = a->items[i]->start_ms;
	}
	for (size_t i = 0; i < a->n; i++)
		a->items[i]->superseded = destination_list_latest(lists, a->n, i) != i;
	return 0;
}
