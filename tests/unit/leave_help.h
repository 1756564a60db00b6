/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For test_leave.c: the kernel's maps as the agent sees them, in plain arrays, cgroups as plain directories, and an
 * agent that can be started again over both.
 */
#ifndef LEAVE_HELP_H
#define LEAVE_HELP_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "inventory_work.h"
#include "util.h"

#define SECOND     1000000000ULL
#define EXPIRY     (100 * SECOND)
#define ROWS_MAX   4096
#define KEPT_MAX   256
#define CGROUP_MAX 4096

struct maps {
	struct bpf_dest_row rows[ROWS_MAX]; /* sorted by id, as they are made */
	size_t n;
	uint32_t next_id;
	struct bpf_workload_row workloads[CGROUP_MAX];
	size_t n_workloads;
	struct {
		uint64_t id;
		struct ea_identity identity;
	} kept[KEPT_MAX];
	size_t n_kept;
	uint64_t left[LEAVE_MAX];
};

struct world {
	char root[64], dead[64];
	unsigned int n_dead;
	struct maps maps;
	uint64_t now;
	struct cgroup_cache *cgroups;
	struct identities *identities;
	struct inventory *inventory;
	struct inventory_view view;
	struct leave_rules rules;
	uint32_t max_hosts;
};

/* ---- the store ---- */

static int store_put(uint64_t id, const struct ea_identity *identity, void *data)
{
	struct maps *m = data;
	size_t i = 0;

	while (i < m->n_kept && m->kept[i].id != id)
		i++;
	if (i == KEPT_MAX)
		return -E2BIG;
	m->n_kept += i == m->n_kept;
	m->kept[i].id = id;
	m->kept[i].identity = *identity;
	return 0;
}

static void store_forget(uint64_t id, void *data)
{
	struct maps *m = data;

	for (size_t i = 0; i < m->n_kept; i++)
		if (m->kept[i].id == id)
			m->kept[i--] = m->kept[--m->n_kept];
}

/* ---- the agent ---- */

static void agent_start(struct world *w)
{
	const struct inventory_options options = {.node = "n1",
						  .max_hosts_per_workload = w->max_hosts};
	const struct identity_store store = {store_put, store_forget, &w->maps};

	assert_int_equal(cgroup_cache_new(w->root, &w->cgroups), 0);
	assert_true(cgroup_cache_refresh(w->cgroups) > 0);
	assert_int_equal(identities_new(w->cgroups, &store, &w->identities), 0);
	for (size_t i = 0; i < w->maps.n_kept; i++)
		assert_int_equal(identity_restore(w->identities, w->maps.kept[i].id,
						  &w->maps.kept[i].identity),
				 0);
	assert_int_equal(inventory_new(&options, w->identities, &w->inventory), 0);
}

static void agent_end(struct world *w)
{
	inventory_free(w->inventory);
	identities_free(w->identities);
	cgroup_cache_free(w->cgroups);
}

static struct world *world_open(uint32_t max_hosts)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	strcpy(w->root, "/tmp/test_leave.XXXXXX");
	strcpy(w->dead, "/tmp/test_leave.XXXXXX");
	assert_non_null(mkdtemp(w->root));
	assert_non_null(mkdtemp(w->dead));
	w->maps.next_id = EA_DEST_OVERFLOW + 1;
	w->maps.rows[w->maps.n++] = (struct bpf_dest_row){
		.id = EA_DEST_OVERFLOW, .key.source = EA_SOURCE_OTHER, .first_ns = SECOND};
	w->now = 1000 * SECOND;
	w->max_hosts = max_hosts;
	w->rules = (struct leave_rules){
		.expiry_ns = EXPIRY, .moves_max = 100000, .workloads_max = 1000};
	agent_start(w);
	return w;
}

static void world_close(struct world *w)
{
	char command[192];

	agent_end(w);
	snprintf(command, sizeof(command), "rm -r %s %s", w->root, w->dead);
	assert_int_equal(system(command), 0); /* NOLINT: paths of our own making */
	free(w);
}

/* ---- cgroups ---- */

static uint64_t cgroup_make(struct world *w, const char *path)
{
	char full[512];
	uint64_t id;

	snprintf(full, sizeof(full), "%s/%s", w->root, path);
	for (char *slash = full + strlen(w->root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(full, 0755);
		*slash = '/';
	}
	assert_int_equal(mkdir(full, 0755), 0);
	assert_int_equal(cgroup_id(full, &id), 0);
	return id;
}

/* Out of the tree, not removed: its inode must not be another cgroup's next. */
static void cgroup_end(struct world *w, const char *path)
{
	char from[512], to[512];

	snprintf(from, sizeof(from), "%s/%s", w->root, path);
	snprintf(to, sizeof(to), "%s/%u", w->dead, w->n_dead++);
	assert_int_equal(rename(from, to), 0);
}

/* ---- the maps ---- */

static struct bpf_dest_row *row_by_key(struct maps *m, const struct ea_dest_key *key)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->rows[i].id != EA_DEST_OVERFLOW &&
		    memcmp(&m->rows[i].key, key, sizeof(*key)) == 0)
			return &m->rows[i];
	return NULL;
}

static struct bpf_dest_row *row_by_id(struct maps *m, uint32_t id)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->rows[i].id == id)
			return &m->rows[i];
	return NULL;
}

static struct bpf_dest_row *row_make(struct world *w, const struct ea_dest_key *key)
{
	struct maps *m = &w->maps;

	assert_true(m->n < ROWS_MAX);
	m->rows[m->n] = (struct bpf_dest_row){
		.key = *key, .id = m->next_id++, .first_ns = w->now, .stats.last_ns = w->now};
	return &m->rows[m->n++];
}

static int compare_workload(const void *x, const void *y)
{
	const struct bpf_workload_row *a = x, *b = y;

	return (a->cgroup_id > b->cgroup_id) - (a->cgroup_id < b->cgroup_id);
}

/* Is it new? */
static bool workload_note(struct maps *m, uint64_t id, uint32_t flags)
{
	for (size_t i = 0; i < m->n_workloads; i++) {
		m->workloads[i].flags |= m->workloads[i].cgroup_id == id ? flags : 0;
		if (m->workloads[i].cgroup_id == id)
			return false;
	}
	assert_true(m->n_workloads < CGROUP_MAX);
	m->workloads[m->n_workloads++] = (struct bpf_workload_row){id, flags};
	qsort(m->workloads, m->n_workloads, sizeof(m->workloads[0]), compare_workload);
	return true;
}

/* What a program does that finds or makes a destination; the agent hears of a new cgroup. */
static struct bpf_dest_row *row_get(struct world *w, uint64_t cgroup, enum ea_proto proto,
				    const char *host, int internal)
{
	struct ea_dest_key key = {
		.cgroup_id = cgroup,
		.port = proto == EA_PROTO_HTTP ? 80 : 443,
		.proto = proto,
		.source = proto == EA_PROTO_HTTP ? EA_SOURCE_HTTP : EA_SOURCE_SNI,
		.host_len = (uint16_t)strlen(host),
		.internal = internal,
	};
	struct bpf_dest_row *row;

	memcpy(key.host, host, strlen(host));
	if (workload_note(&w->maps, cgroup, 0))
		identity_keep(w->identities, w->view.pods, cgroup, false);
	row = row_by_key(&w->maps, &key);
	return row ? row : row_make(w, &key);
}

static struct bpf_snapshot snapshot_of(struct world *w)
{
	return (struct bpf_snapshot){.dests = w->maps.rows,
				     .n_dests = w->maps.n,
				     .workloads = w->maps.workloads,
				     .n_workloads = w->maps.n_workloads,
				     .since_ns = SECOND,
				     .since_unix_ns = 1700000000 * SECOND};
}

static struct destination_list list_of(struct world *w)
{
	struct destination_list list = {0};
	struct bpf_snapshot s = snapshot_of(w);

	assert_int_equal(inventory_list(w->inventory, &s, &w->view, 1800000000000, &list), 0);
	return list;
}

/* ---- what ea_move does ---- */

static void stats_add(struct ea_stats *to, const struct ea_stats *from)
{
	to->opened += from->opened;
	to->closed += from->closed;
	to->failed += from->failed;
	to->sent += from->sent;
	to->requests += from->requests;
	to->facts |= from->facts;
	to->last_ns = MAX(to->last_ns, from->last_ns);
}

static void row_remove(struct maps *m, struct bpf_dest_row *row)
{
	size_t at = (size_t)(row - m->rows);

	memmove(row, row + 1, (m->n - at - 1) * sizeof(*row));
	m->n--;
}

static void row_fold_into(struct world *w, struct bpf_dest_row *row, const struct leave *leave)
{
	struct maps *m = &w->maps;
	struct bpf_dest_row *to = leave->why == LEAVE_FORGOTTEN ? row_by_id(m, EA_DEST_OVERFLOW)
								: row_by_key(m, &leave->to);
	uint32_t id = row->id;

	if (!to && leave->to.source != EA_SOURCE_OTHER) {
		row->key = leave->to;
		row->stats.facts |= leave->facts;
		return;
	}
	if (!to) {
		to = row_make(w, &leave->to);
		to->stats.last_ns = 0;
		row = row_by_id(m, id);
	}
	stats_add(&to->stats, &row->stats);
	to->stats.facts |= leave->facts;
	to->first_ns = MIN(to->first_ns, row->first_ns);
	row_remove(m, row);
}

static struct leave_plan plan_of(struct world *w, struct bpf_snapshot *s)
{
	struct leave_plan plan = {0};

	w->rules.now_ns = w->now;
	assert_int_equal(inventory_plan(w->inventory, s, &w->view, &w->rules, &plan), 0);
	return plan;
}

/* One look, and all that follows from it, a second before the next. Returns how many rows it concerned. */
static size_t sweep_with(struct world *w,
			 void (*each)(struct world *w, const struct leave *leave, void *data),
			 void *data)
{
	struct bpf_snapshot s = snapshot_of(w);
	struct maps *copy = malloc(sizeof(*copy));
	struct leave_plan plan;
	size_t n;

	/* The plan points into the snapshot, which stays as it was. */
	assert_non_null(copy);
	*copy = w->maps;
	s.dests = copy->rows;
	s.workloads = copy->workloads;
	plan = plan_of(w, &s);
	for (size_t i = 0; i < plan.n; i++) {
		struct bpf_dest_row *row = row_by_id(&w->maps, plan.items[i].row->id);

		assert_non_null(row);
		if (each)
			each(w, &plan.items[i], data);
		if (plan.items[i].fold) {
			assert_true(row->key.retired);
			w->maps.left[plan.items[i].why]++;
			row_fold_into(w, row, &plan.items[i]);
		} else {
			assert_false(row->key.retired);
			row->key.retired = 1;
		}
	}
	for (size_t i = 0; i < plan.n_unused; i++)
		for (size_t k = 0; k < w->maps.n_workloads; k++)
			if (w->maps.workloads[k].cgroup_id == plan.unused[i])
				memmove(&w->maps.workloads[k], &w->maps.workloads[k + 1],
					(--w->maps.n_workloads - k) * sizeof(w->maps.workloads[0]));
	identities_forget_unused(w->identities);
	n = plan.n;
	leave_plan_done(&plan);
	free(copy);
	w->now += SECOND;
	return n;
}

static size_t sweep(struct world *w)
{
	return sweep_with(w, NULL, NULL);
}

/* Until nothing is left to do. */
static void sweep_all(struct world *w)
{
	int rounds = 0;

	while (sweep(w))
		assert_true(++rounds < 20);
}

static const struct destination *find(const struct destination_list *list, const char *workload,
				      const char *host, enum protocol protocol)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i].source.workload, workload) == 0 &&
		    strcmp(list->items[i].host, host) == 0 && list->items[i].protocol == protocol)
			return &list->items[i];
	return NULL;
}

#endif
