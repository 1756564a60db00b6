/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a cgroup is: its own name, the pod it belongs to if that is known, and what it is for the mesh. Also when the
 * cgroup is gone, its pod is forgotten, or the agent was started again: what was known is kept in a store.
 *
 * Owns: that join, what is kept, and the ids (EA_CGROUP_OURS) of workloads that have no cgroup any more. Must not
 * know: destinations, where pods come from, what the store is.
 */
#ifndef IDENTITY_H
#define IDENTITY_H

#include "cgroup.h"
#include "pod.h"

struct identity {
	const struct cgroup_name *name;
	const struct pod *pod; /* NULL: not in one, or not known */
	bool sidecar;          /* the mesh's own container in an application's pod */
	bool application;      /* another container of such a pod */
	bool may_proxy; /* so would say its labels (ztunnel), or its pod has one and this container is not told yet */
	bool meshed;     /* of a workload without cgroup: a sidecar took connections of its pod */
	bool labels_cut; /* the pod's labels are not all there */
};

/* Where identities outlive the agent. Either may be NULL. put: 0 or -errno. */
struct identity_store {
	int (*put)(uint64_t id, const struct ea_identity *identity, void *data);
	void (*forget)(uint64_t id, void *data);
	void *data;
};

struct identities;
int identities_new(struct cgroup_cache *cgroups, const struct identity_store *store,
		   struct identities **ret);
void identities_free(struct identities *ids); /* NULL is fine */

/*
 * pods may be NULL. 0 or -ENOMEM. What *ret points to is valid until the next look-up, and as long as neither the
 * pods nor the cgroups nor what is kept changes.
 */
int identity_get(struct identities *ids, struct pods *pods, uint64_t cgroup_id,
		 struct identity *ret);

/* Who calls, for the model. Without a pod: the cgroup's name, and the uid of the pod it says it is in. */
int identity_source(const struct identity *who, struct source *ret);

/* Is this all that will be known of it? Not if it says it is in a pod that the list may yet have. */
bool identity_is_settled(const struct identity *who, const struct pods *pods);

/*
 * Is the cgroup of this id known to be removed? Those of EA_CGROUP_OURS never had one: true. One that is only not found
 * is looked for once more, in a walk at most once between two calls of identities_forget_unused().
 */
bool identity_is_gone(struct identities *ids, uint64_t cgroup_id);

/* From the store, at the start. 0 also for one that cannot be read; -ENOMEM. */
int identity_restore(struct identities *ids, uint64_t id, const struct ea_identity *identity);

/*
 * Have the cgroup's identity in the store, as far as it is known just now. proxy: it was found to be a sidecar by what
 * it does; without a pod that says otherwise it stays one. What could not be kept is counted.
 */
void identity_keep(struct identities *ids, struct pods *pods, uint64_t cgroup_id, bool proxy);

/* The same again for those that were not settled. Cheap if there are none. */
void identities_settle(struct identities *ids, struct pods *pods);

/*
 * The id under which counts of the workload are kept that have no cgroup any more; in the store when this returns.
 * -errno of the store: it has no room.
 */
int identity_workload(struct identities *ids, const struct identity *who, uint64_t *ret);

/* Once a round: forget whom nobody asked identity_keep() or identity_workload() for in this round and the last. */
void identities_forget_unused(struct identities *ids);

struct identities_counts {
	size_t kept;
	uint64_t failures; /* could not be stored: too long, or no room */
};
void identities_get_counts(const struct identities *ids, struct identities_counts *ret);

#endif
