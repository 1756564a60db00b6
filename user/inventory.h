/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what the kernel counted to the model's list: cgroups become workloads, keys become hosts, a sidecar's
 * own leg becomes evidence, limits are applied. Keeps what must not change between snapshots (which hosts of a
 * workload have a line of their own).
 *
 * Must not know: libbpf, HTTP, output formats.
 */
#ifndef INVENTORY_H
#define INVENTORY_H

#include "bpf.h"
#include "cgroup.h"
#include "model.h"

struct inventory;

/* "10.0.0.0/8", "fd00::/8", or a bare address; -EINVAL. */
int range_parse(const char *text, struct ea_range *ret);

struct inventory_options {
	const char *node;
	uint32_t max_hosts_per_workload; /* internal and external ones are counted apart */
};

int inventory_new(const struct inventory_options *options, struct cgroup_cache *cgroups,
		  struct inventory **ret);
void inventory_free(struct inventory *inv);

/*
 * Destinations of all scopes, normalised and judged. unix_ms: the time of the snapshot. -ENOMEM on failure; what
 * was already remembered about hosts stays.
 */
int inventory_list(struct inventory *inv, const struct bpf_snapshot *snapshot, uint64_t unix_ms,
		   struct destination_list *ret);

#endif
