/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a cgroup is: its own name, the pod it belongs to if that is known, and what it is for the mesh.
 *
 * Owns: that join. Must not know: destinations, where pods come from.
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
};

/*
 * pods may be NULL. 0 or -ENOMEM. What *ret points to is valid until the next look-up, and as long as neither the
 * pods nor the cgroups change.
 */
int identity_get(struct cgroup_cache *cgroups, struct pods *pods, uint64_t cgroup_id,
		 struct identity *ret);

/* Who calls, for the model. Without a pod: the cgroup's name, and the uid of the pod it says it is in. */
int identity_source(const struct identity *who, struct source *ret);

#endif
