/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel side from user space: load, pin or adopt, attach, read. Owner of libbpf.
 *
 * Must not know: host names, JSON, HTTP. Numbers leave here as struct bpf_snapshot.
 */
#ifndef USER_BPF_H
#define USER_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "egress.h"

struct bpf_options {
	const char *cgroup; /* directory to attach to; NULL: load only (check) */
	const char *pin;    /* bpffs directory that outlives the agent; NULL: nothing is pinned */
	uint32_t max_destinations;
	uint32_t max_hosts_per_workload;
	uint16_t mesh_port;
	const struct ea_range *internal; /* address ranges that are not egress */
	size_t n_internal;
	bool packets; /* load ea_packets as well, for packets without sockets */
	bool observe; /* and have it tell of each name, by EA_EVENT_NAME; nothing else is loaded */
};

struct bpf_agent;

/*
 * Open, load and attach. With pins of the same ABI the maps and links are adopted: programs are replaced in
 * place and no count is lost (*ret_adopted). *ret_why (owned, may be NULL) is a phrase for the user on failure:
 * -EPERM privilege, -EBUSY another agent holds the pins, -EEXIST they are attached to another cgroup, -ENOTSUP kernel
 * lacks something, -ENOENT pin path not bpffs.
 */
int bpf_agent_open(const struct bpf_options *options, struct bpf_agent **ret, bool *ret_adopted,
		   char **ret_why);
void bpf_agent_close(struct bpf_agent *a); /* pinned maps and links stay */

/*
 * Push one Ethernet frame through ea_packets (needs options.packets), as if it had been captured. -errno if the
 * kernel did not run it; with options.observe BPF_PACKET_DECIDED if no more names will come of its flow, else 0.
 */
#define BPF_PACKET_DECIDED 1
int bpf_agent_packet(struct bpf_agent *a, const void *frame, size_t size);

/* Destinations the kernel keeps before it folds: the option, unless adopted maps are smaller. */
uint32_t bpf_agent_max_destinations(const struct bpf_agent *a);

/* cgroups the kernel tells apart; as ea_workloads in bpf/maps.h. */
#define BPF_WORKLOADS_MAX 65536

/* Entries that each map has room for; of destinations: before folding begins. */
struct bpf_capacity {
	uint32_t dests, requests, addresses, workloads;
};
void bpf_agent_capacity(const struct bpf_agent *a, struct bpf_capacity *ret);

/*
 * What the programs took since they were loaded, if the kernel keeps it (kernel.bpf_stats_enabled), else 0 entries.
 * Names are valid as long as the agent is.
 */
#define BPF_PROGRAMS_MAX 8
struct bpf_run_time {
	const char *program;
	uint64_t runs, ns;
};
size_t bpf_agent_run_times(const struct bpf_agent *a, struct bpf_run_time ret[BPF_PROGRAMS_MAX]);

/* Forget a cgroup that is gone; what it counted stays. */
void bpf_agent_forget_workload(struct bpf_agent *a, uint64_t cgroup_id);

/* Messages of libbpf and the verifier go to this callback (level: 0 warn, 1 info, 2 debug). */
void bpf_set_log(void (*print)(int level, const char *text));

/* Records that are longer than struct ea_event begin as one does; see enum ea_event_type. */
/* fd of the event ring buffer for epoll; bpf_agent_events() calls back once per event. */
int bpf_agent_event_fd(const struct bpf_agent *a);
int bpf_agent_events(struct bpf_agent *a, void (*each)(const struct ea_event *e, void *data),
		     void *data);

/* One destination as the kernel counted it, CPUs already summed. */
struct bpf_request_row {
	uint32_t dest_id;
	uint16_t code;
	uint8_t method;
	struct ea_request_stats stats;
};

struct bpf_address_row {
	uint32_t dest_id;
	uint8_t addr[16];
	uint64_t last_ns;
};

struct bpf_dest_row {
	struct ea_dest_key key;
	uint32_t id;
	uint64_t first_ns;
	struct ea_stats stats;
};

/* Everything at one moment; arrays sorted by id. Live connections' bytes are brought up to date first. */
struct bpf_snapshot {
	struct bpf_dest_row *dests;
	size_t n_dests;
	struct bpf_request_row *requests;
	size_t n_requests;
	struct bpf_address_row *addresses;
	size_t n_addresses;
	struct bpf_workload_row {
		uint64_t cgroup_id;
		uint32_t flags; /* enum ea_workload_flag */
	} * workloads;          /* sorted by cgroup_id */
	size_t n_workloads;
	uint32_t *
		strays; /* ids that still count and are nobody's, ascending; see bpf_agent_fold_stray() */
	size_t n_strays;
	uint64_t counters[EA_COUNT_MAX];
	uint64_t since_ns,
		since_unix_ns; /* one moment on both clocks, the same for the maps' life */
};

int bpf_agent_snapshot(struct bpf_agent *a, struct bpf_snapshot *ret);
void bpf_snapshot_done(struct bpf_snapshot *s);

/*
 * Take a row out of use: who connects to it from now on makes a new one. It keeps its counters, its key in snapshots
 * says `retired`, and flows that have its id still add to it. -ENOENT: it is not there; -ENOSPC.
 */
int bpf_agent_retire(struct bpf_agent *a, const struct bpf_dest_row *row);

/*
 * Count a retired row of this snapshot under `to` (NULL: the overflow) from now on, and give back what it took.
 * At least a second must have passed since it was retired, for programs that had found it before. facts are added to
 * those of `to`. Addresses go with it unless `to` is a sum. -ENOENT: it is not there any more; -ENOSPC: it stays, and
 * what was moved of it (answered requests) stays moved.
 */
int bpf_agent_fold(struct bpf_agent *a, const struct bpf_snapshot *s,
		   const struct bpf_dest_row *row, const struct ea_dest_key *to, uint32_t facts);

/* Add to the overflow what a flow that was idle for very long counted for a row that had been folded meanwhile. */
int bpf_agent_fold_stray(struct bpf_agent *a, const struct bpf_snapshot *s, uint32_t id);

/* Identities kept with the maps; as ea_identities in bpf/maps.h. `each` ends the reading with anything but 0. */
#define BPF_IDENTITIES_MAX 16384
int bpf_agent_identity_put(struct bpf_agent *a, uint64_t cgroup_id,
			   const struct ea_identity *identity);
void bpf_agent_identity_forget(struct bpf_agent *a, uint64_t cgroup_id);
int bpf_agent_identities(struct bpf_agent *a,
			 int (*each)(uint64_t cgroup_id, const struct ea_identity *identity,
				     void *data),
			 void *data);

#endif
