/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An identity in the form that outlives the agent: struct ea_identity, to and from.
 *
 * Owns: what stands in its text. Must not know: where it is kept, which id has it.
 */
#ifndef KEPT_H
#define KEPT_H

#include "identity.h"

/* An identity as it was when it was packed. */
struct kept {
	uint64_t id;
	struct cgroup_name name; /* of a workload without cgroup: no path, no pod, no container */
	struct pod pod;          /* only with EA_IDENTITY_POD: source, labels, sidecar, ambient */
	uint8_t flags;           /* enum ea_identity_flag */

	/* For whoever keeps many of them. */
	struct kept *chain;
	uint64_t seen;

	uint16_t size;
	uint8_t n_labels;
	char text[]; /* everything above points into it, but for the name of a cgroup */
};

/*
 * A cgroup's identity, or (workload) only that of its workload, the same for all its cgroups but for the labels.
 * -ENOSPC: too long; labels beyond the room are left out, and EA_IDENTITY_CUT says so.
 */
int kept_pack(const struct identity *who, bool workload, struct ea_identity *ret);
/* -EINVAL: it was not packed by this; -ENOMEM. */
int kept_unpack(uint64_t id, const struct ea_identity *identity, struct kept **ret);
void kept_free(struct kept *k);

/* The same, to the byte? */
bool kept_is(const struct kept *k, const struct ea_identity *identity);
/* The same workload, whatever its labels? */
bool kept_is_workload(const struct kept *k, const struct ea_identity *identity);
/* Of what kept_is_workload() compares. */
uint64_t kept_hash(const struct ea_identity *identity);

#endif
