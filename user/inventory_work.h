/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind inventory.h share: one pass over a snapshot.
 *
 * inventory.c lists, inventory_row.c makes one row, inventory_host.c limits, inventory_mesh.c judges what the mesh did,
 * inventory_leave.c finds what is to leave. Must not know: the same as inventory.h.
 */
#ifndef INVENTORY_WORK_H
#define INVENTORY_WORK_H

#include "identity.h"
#include "inventory.h"

struct inventory {
	char *node;
	uint32_t max_hosts;
	struct identities *ids;
	void *hosts;  /* tsearch tree of struct host: all that the last list had */
	void *owners; /* tsearch tree of struct owner: how many each workload has */
	uint64_t round;
	size_t n_hosts, n_seen; /* of hosts, and of them in this round */
	struct inventory_counts counts;
};

/* A workload's hosts of one scope, counted. */
struct owner {
	char *key;
	uint32_t hosts, lines; /* known, and of them with a line of their own */
};

struct host {
	char *key;
	struct owner *owner;
	bool line;     /* it has one of its own, for as long as it is in the list */
	uint64_t seen; /* in this round */
};

struct set_member {
	char *key;
};

/* Everything of one snapshot that its rows need. */
struct pass {
	struct inventory *inv;
	const struct bpf_snapshot *s;
	const struct inventory_view *view;
	size_t request_at, address_at; /* both are sorted by id, as the destinations are */
	void *meshed; /* tsearch tree of struct set_member: pods with a connection that a sidecar took */
	void *tls; /* tsearch tree of struct tls_balance */
};

/* Trees of items whose first field is their key. keyed_compare is for tfind. */
int keyed_compare(const void *x, const void *y);
/* The tree's entry for key, made (size bytes, zeroed but for the key) if it is not there. NULL without memory. */
void *keyed_get(void **tree, const char *key, size_t size);
void keyed_free(void *item);

/*
 * Has this host a line of its own? Decided at its first sight, and not again while anything is counted for it, or
 * counters would jump. 1 yes, 0 no, -ENOMEM. *n_folded is raised by 1 for each host without one, once a round.
 */
int host_has_line(struct inventory *inv, const struct destination *d, uint64_t *n_folded);
/* Between these all rows of a snapshot are asked for; what has none any more is forgotten. */
void hosts_begin_round(struct inventory *inv);
void hosts_end_round(struct inventory *inv);
void hosts_free(struct inventory *inv);

/* The pass's trees. */
void pass_done(struct pass *p);
/* 1, 0 or -ENOMEM: is this row a destination, or only evidence of the mesh? */
int row_is_shown(const struct pass *p, const struct bpf_dest_row *row);

/* The key's host as text: a name that may be shown, an address, or one of the two ~ words. */
int row_host(const struct ea_dest_key *key, struct destination *d);
/* All of a row but its place in the list. To be called in the snapshot's order. */
int row_fill(struct pass *p, const struct bpf_dest_row *row, const struct identity *who,
	     struct destination *d);
/* No line of its own: its workload's and scope's sum. */
int row_fold(struct destination *d);

/* Before any row: which pods a sidecar serves, who originates TLS. The trees are the caller's to free. */
int mesh_note(struct pass *p);
/* A proxy's own legs are no destinations: the application's are. 1, 0 or -ENOMEM. */
int mesh_is_proxy(const struct pass *p, uint64_t cgroup_id);
/* A sidecar takes connections of this pod, as far as is known. */
bool mesh_has_sidecar(const struct pass *p, const struct identity *who);
/* Interception, what was seen of origination, findings about both. Needs the row's host and scope. */
int mesh_to(const struct pass *p, const struct identity *who, const struct bpf_dest_row *row,
	    struct destination *d);

#endif
