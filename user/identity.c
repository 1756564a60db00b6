// SPDX-License-Identifier: Apache-2.0
#include "identity.h"

#include <errno.h>
#include <string.h>

#define SIDECAR_CONTAINER "istio-proxy"
#define ZTUNNEL           "ztunnel" /* istiod's name for its DaemonSet's app, whatever the namespace */

static bool is_ztunnel(const struct pod *pod)
{
	const char *app = pod_label(pod, "app");

	return app && strcmp(app, ZTUNNEL) == 0 &&
	       strcmp(pod->source.workload_kind, "DaemonSet") == 0;
}

int identity_get(struct cgroup_cache *cgroups, struct pods *pods, uint64_t cgroup_id,
		 struct identity *ret)
{
	struct identity who = {.name = cgroup_cache_get(cgroups, cgroup_id)};
	const char *container = NULL;

	if (!who.name)
		return -ENOMEM;
	if (pods && who.name->container_id[0])
		who.pod = pods_by_container(pods, who.name->container_id, &container);
	if (pods && !who.pod && who.name->pod_uid[0])
		who.pod = pods_by_uid(pods, who.name->pod_uid);
	/* A gateway's only container is an istio-proxy as well: that is the application then, and no sidecar. */
	who.sidecar = who.pod && who.pod->sidecar && container &&
		      strcmp(container, SIDECAR_CONTAINER) == 0;
	who.may_proxy = who.pod && (is_ztunnel(who.pod) || (who.pod->sidecar && !container));
	*ret = who;
	return 0;
}

int identity_source(const struct identity *who, struct source *ret)
{
	struct source cgroup = {
		.ns = "",
		.workload = who->name->workload,
		.workload_kind = "",
		.canonical_service = "",
		.canonical_revision = "",
		.app = "",
		.version = "",
		.pod_uid = who->name->pod_uid,
	};

	return source_copy(who->pod ? &who->pod->source : &cgroup, ret);
}
