/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's own health as metric families: which counter of the data plane has which name, label and help.
 *
 * Owns: the one table from enum ea_counter to names. Must not know: where numbers come from, how they are printed.
 */
#ifndef HEALTH_H
#define HEALTH_H

#include "bpf.h"
#include "cgroup.h"
#include "cluster.h"
#include "http.h"
#include "http_tls.h"
#include "inventory.h"
#include "metrics.h"
#include "node.h"
#include "sweep.h"

#define HEALTH_MAPS_MAX 8

/* Everything there is to say about the agent at one moment. */
struct health_input {
	const char *version;
	uint64_t start_unix_ms;
	uint64_t
		since_unix_ms; /* when the kernel began to count: its maps may be older than the agent */
	uint64_t counters[EA_COUNT_MAX];
	struct health_map {
		const char *map;
		uint64_t entries;
		uint64_t capacity; /* 0: not known, no line */
	} maps[HEALTH_MAPS_MAX];
	size_t n_maps;
	struct bpf_run_time programs[BPF_PROGRAMS_MAX];
	size_t n_programs; /* 0: the kernel does not measure them */
	uint64_t events;   /* that came from the kernel */
	const char *node;  /* whose counters these are; NULL: not known, no line */
	uint64_t snapshots, snapshot_failures;
	uint64_t hosts_folded;   /* without a line of their own */
	double snapshot_seconds; /* the last one took so long */
	struct cgroup_counts cgroups;
	struct http_counts http;
	bool tls; /* the HTTP server speaks it */
	struct http_tls_counts tls_counts;
	struct sweep_counts sweep;
	struct identities_counts identities;
	struct node_usage usage;
	struct inventory_counts named;
	struct cluster_watch_status watches[CLUSTER_WATCHES_MAX];
	size_t n_watches;
	struct pods_counts pods;        /* zero where there is no pod list */
	struct registry_stats registry; /* the same */
};

/* The lines, in fixed room: pointers in `view` lead into the struct itself, so it must stay where it is. */
struct health {
	struct agent_health view;
	struct health_counter counters[EA_COUNT_MAX + CLUSTER_WATCHES_MAX * KUBE_ERROR_MAX +
				       REGISTRY_REASON_MAX + 2 * BPF_PROGRAMS_MAX + LEAVE_MAX + 30];
	struct health_gauge
		gauges[2 * HEALTH_MAPS_MAX + 2 * CLUSTER_WATCHES_MAX + REGISTRY_KIND_MAX + 16];
};

void health_fill(const struct health_input *in, struct health *ret);

#endif
