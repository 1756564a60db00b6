/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what the kernel counted to the model's list: cgroups become workloads, keys become hosts, a sidecar's
 * own leg becomes evidence, each row is asked for in the registry, limits are applied, and what is to leave is found.
 * Keeps what must not change between snapshots (which hosts of a workload have a line of their own).
 *
 * Must not know: libbpf, HTTP, output formats.
 */
#ifndef INVENTORY_H
#define INVENTORY_H

#include "bpf.h"
#include "identity.h"
#include "model.h"
#include "registry.h"

struct inventory;

struct inventory_options {
	const char *node;
	uint32_t max_hosts_per_workload; /* internal and external ones are counted apart */
};

int inventory_new(const struct inventory_options *options, struct identities *ids,
		  struct inventory **ret);
void inventory_free(struct inventory *inv);

/* What is known of the cluster just now; each may be NULL: then nothing is said of it. */
struct inventory_view {
	struct pods *pods;
	const struct registry_store *registry;
};

/* How many of the last list's rows have which kind of name: a workload's, only a container's, a cgroup's. */
struct inventory_counts {
	uint64_t pods, containers, cgroups;
};
void inventory_get_counts(const struct inventory *inv, struct inventory_counts *ret);

/*
 * Destinations of all scopes, normalised and judged. unix_ms: the time of the snapshot. -ENOMEM on failure; what
 * was already remembered about hosts stays.
 */
int inventory_list(struct inventory *inv, const struct bpf_snapshot *snapshot,
		   const struct inventory_view *view, uint64_t unix_ms,
		   struct destination_list *ret);

/* ---- what leaves ---- */

/* Why a row's counts are to be somewhere else. */
enum leave_why {
	LEAVE_BACK,      /* not at all: it is in use again */
	LEAVE_IDLE,      /* nobody used the host for so long: to its workload's ~other */
	LEAVE_GONE,      /* its cgroup is gone: to its workload's row */
	LEAVE_FORGOTTEN, /* one workload too many of which nothing lives: to the node's ~other */
	LEAVE_MAX,
};

struct leave {
	const struct bpf_dest_row *row; /* of the snapshot */
	enum leave_why why;
	bool fold;             /* it is out of use: add it to `to`; else: take it out of use */
	struct ea_dest_key to; /* not for LEAVE_FORGOTTEN: that is the overflow */
	uint32_t facts;        /* for bpf_agent_fold() */
};

struct leave_rules {
	uint64_t now_ns;        /* CLOCK_MONOTONIC */
	uint64_t expiry_ns;     /* idle for so long; 0: never */
	size_t moves_max;       /* about so many at a time: what is shown as one goes as one */
	uint32_t workloads_max; /* workloads without a cgroup that keep a remainder */
};

struct leave_plan {
	struct leave *items;
	size_t n;
	bool more;        /* than moves_max */
	uint64_t *unused; /* cgroups that are gone and have no row left */
	size_t n_unused;
};

/*
 * What is to be done with which row now. Rows that are shown as one leave together, and in two steps: taken out of use
 * by one plan, added to where they go by a later one (who makes it sees to it that a second passes). Identities are
 * kept as needed for that. -ENOMEM.
 */
int inventory_plan(struct inventory *inv, const struct bpf_snapshot *snapshot,
		   const struct inventory_view *view, const struct leave_rules *rules,
		   struct leave_plan *ret);
void leave_plan_done(struct leave_plan *plan);

#endif
