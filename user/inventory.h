/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what the kernel counted to the model's list: cgroups become workloads, keys become hosts, a sidecar's
 * own leg becomes evidence, each row is asked for in the registry, limits are applied. Keeps what must not change between snapshots (which hosts of a
 * workload have a line of their own).
 *
 * Must not know: libbpf, HTTP, output formats.
 */
#ifndef INVENTORY_H
#define INVENTORY_H

#include "bpf.h"
#include "cgroup.h"
#include "model.h"
#include "pod.h"
#include "registry.h"

struct inventory;

struct inventory_options {
	const char *node;
	uint32_t max_hosts_per_workload; /* internal and external ones are counted apart */
};

int inventory_new(const struct inventory_options *options, struct cgroup_cache *cgroups,
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

#endif
