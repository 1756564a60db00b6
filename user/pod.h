/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pods of this node: from a container's id or a pod's uid to who that is, named by Istio's own rules.
 *
 * Owns: those rules, and the names of pods that are gone for as long as somebody asks for them. Pure: fed with the
 * API's objects. Must not know: the API server, cgroups, the kernel.
 */
#ifndef POD_H
#define POD_H

#include <cjson/cJSON.h>

#include "kube_index.h"
#include "model.h"

#define PODS_LIVE_MAX      16384 /* kubelet's own limit is a few hundred */
#define PODS_GONE_MAX      4096 /* kept after their end; the one not asked for longest goes first */
#define POD_CONTAINERS_MAX 64   /* ids of one pod, those of earlier starts included */
#define POD_LABELS_MAX     128

struct pod_label {
	char *key, *value;
};

struct pod {
	struct source
		source; /* canonical_revision is "latest" if nothing tells one, as Istio has it */
	char *name, *uid;
	struct pod_label *labels; /* sorted by key */
	size_t n_labels;
	bool sidecar; /* the injector added a container istio-proxy, native or not; no gateway */
	bool ambient; /* istio-cni redirects it: ambient.istio.io/redirection is enabled */
	bool gone;    /* deleted; kept because its counters are */
};

struct pods;
int pods_new(struct pods **ret);
void pods_free(struct pods *p); /* NULL is fine */

/*
 * A pod of the API, new or changed. -ENOMEM: what was known of it stays. One that cannot be one (no uid, no name) or
 * has no room is counted, and 0. Both have the form that struct kube_sink wants; data is the struct pods.
 */
int pods_object(const cJSON *object, void *data);
void pods_deleted(const struct kube_id *id, void *data);

/*
 * NULL if there is none. *ret_container (or NULL): the container's name. Valid until the next pods_object() or
 * pods_deleted().
 */
const struct pod *pods_by_container(struct pods *p, const char *id, const char **ret_container);
/* uid as the API writes it, or of a static pod the hash that its cgroup has instead. */
const struct pod *pods_by_uid(struct pods *p, const char *uid);

/* A label's value, or NULL. */
const char *pod_label(const struct pod *pod, const char *key);

struct pods_counts {
	size_t live, gone;
	uint64_t evicted; /* names of gone pods given up for want of room */
	uint64_t full;    /* pods not taken because of PODS_LIVE_MAX */
	uint64_t invalid; /* objects that are no pods */
	uint64_t cut;     /* labels or ids of a pod beyond their limit, or not usable */
};
void pods_get_counts(const struct pods *p, struct pods_counts *ret);

#endif
