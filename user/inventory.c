// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <search.h>
#include <string.h>

#include "inventory_work.h"
#include "util.h"

int keyed_compare(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

int inventory_new(const struct inventory_options *options, struct identities *ids,
		  struct inventory **ret)
{
	struct inventory *inv = calloc(1, sizeof(*inv));

	if (!inv)
		return -ENOMEM;
	inv->node = strdup(options->node);
	if (!inv->node) {
		inventory_free(inv);
		return -ENOMEM;
	}
	inv->max_hosts = options->max_hosts_per_workload;
	inv->ids = ids;
	*ret = inv;
	return 0;
}

void keyed_free(void *item)
{
	free(*(char **)item);
	free(item);
}

void inventory_free(struct inventory *inv)
{
	if (!inv)
		return;
	hosts_free(inv);
	free(inv->node);
	free(inv);
}

void *keyed_get(void **tree, const char *key, size_t size)
{
	void **found = tfind(&key, tree, keyed_compare);
	char **item;

	if (found)
		return *found;
	item = calloc(1, size);
	if (!item)
		return NULL;
	*item = strdup(key);
	if (*item && tsearch(item, tree, keyed_compare))
		return item;
	keyed_free(item);
	return NULL;
}

static void count_name(struct inventory *inv, const struct identity *who)
{
	struct inventory_counts *c = &inv->counts;

	*(who->pod ? &c->pods : who->name->container_id[0] ? &c->containers : &c->cgroups) += 1;
}

static int add_row(struct pass *p, const struct bpf_dest_row *row, struct destination_list *list)
{
	/* The overflow is the sum over all cgroups: nobody's in particular. */
	static const struct cgroup_name nobody = {
		.path = "", .workload = "", .pod = "", .pod_uid = "", .container_id = ""};
	struct identity who = {.name = &nobody};
	struct destination d = {};
	int r = 0;

	if (row->id != EA_DEST_OVERFLOW)
		r = identity_get(p->inv->ids, p->view->pods, row->key.cgroup_id, &who);
	if (!r)
		r = row_fill(p, row, &who, &d);
	if (!r)
		count_name(p->inv, &who);
	if (!r)
		r = host_has_line(p->inv, &d, &list->hosts_folded);
	if (r == 0)
		r = row_fold(&d);
	if (r >= 0)
		r = destination_list_add(list, &d);
	if (r)
		destination_done(&d);
	return r;
}

int row_is_shown(const struct pass *p, const struct bpf_dest_row *row)
{
	int r;

	if (row->id == EA_DEST_OVERFLOW)
		return row->stats.opened || row->stats.failed || row->stats.requests;
	r = mesh_is_proxy(p, row->key.cgroup_id);
	return r < 0 ? r : !r;
}

/* In order of creation, so that the first hosts of a workload are the ones that keep their line. */
static int list_rows(struct pass *p, struct destination_list *list)
{
	const uint64_t *counters = p->s->counters;
	int r = mesh_note(p);

	hosts_begin_round(p->inv);
	for (size_t i = 0; !r && i < p->s->n_dests; i++) {
		r = row_is_shown(p, &p->s->dests[i]);
		if (r > 0)
			r = add_row(p, &p->s->dests[i], list);
	}
	/* Of what the kernel folded only the connections and requests are known, not the hosts. */
	list->hosts_folded += counters[EA_COUNT_DEST_FOLDED] - counters[EA_COUNT_DEST_OVERFLOW];
	list->destinations_dropped = counters[EA_COUNT_DEST_OVERFLOW];
	if (!r)
		hosts_end_round(p->inv);
	return r;
}

void pass_done(struct pass *p)
{
	tdestroy(p->tls, keyed_free);
	tdestroy(p->meshed, keyed_free);
}

int inventory_list(struct inventory *inv, const struct bpf_snapshot *snapshot,
		   const struct inventory_view *view, uint64_t unix_ms,
		   struct destination_list *ret)
{
	struct pass pass = {.inv = inv, .s = snapshot, .view = view};
	_cleanup_(destination_list_done) struct destination_list list = {
		.since_ms = snapshot->since_unix_ns / 1000000,
		.generated_ms = unix_ms,
	};
	int r;

	list.node = strdup(inv->node);
	if (!list.node)
		return -ENOMEM;
	inv->counts = (struct inventory_counts){0};
	r = list_rows(&pass, &list);
	pass_done(&pass);
	if (!r)
		r = destination_list_normalize(&list);
	if (r)
		return r;
	destination_list_judge(&list);
	*ret = list;
	list = (struct destination_list){};
	return 0;
}

void inventory_get_counts(const struct inventory *inv, struct inventory_counts *ret)
{
	*ret = inv->counts;
}
