/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files behind inventory.h share: one pass over a snapshot.
 *
 * inventory.c lists and limits, inventory_row.c makes one row, inventory_mesh.c judges what the mesh did. Must not
 * know: the same as inventory.h.
 */
#ifndef INVENTORY_WORK_H
#define INVENTORY_WORK_H

#include "identity.h"
#include "inventory.h"

struct inventory {
	char *node;
	uint32_t max_hosts;
	struct cgroup_cache *cgroups;
	void *hosts;  /* tsearch tree of struct host: those with a line of their own */
	void *owners; /* tsearch tree of struct owner: how many each workload has */
	struct inventory_counts counts;
};

struct host {
	char *key;
};

/* Everything of one snapshot that its rows need. */
struct pass {
	struct inventory *inv;
	const struct bpf_snapshot *s;
	const struct inventory_view *view;
	size_t request_at, address_at; /* both are sorted by id, as the destinations are */
	void *folded;                  /* tsearch tree of struct host: those without a line */
	void *meshed; /* tsearch tree of struct host: pods with a connection that a sidecar took */
	void *tls;    /* tsearch tree of struct tls_balance */
};

/* Trees of items whose first field is their key. keyed_compare is for tfind. */
int keyed_compare(const void *x, const void *y);
/* The tree's entry for key, made (size bytes, zeroed but for the key) if it is not there. NULL without memory. */
void *keyed_get(void **tree, const char *key, size_t size);
void keyed_free(void *item);

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
/* Interception, what was seen of origination, findings about both. Needs the row's host and scope. */
int mesh_to(const struct pass *p, const struct identity *who, const struct bpf_dest_row *row,
	    struct destination *d);

#endif
