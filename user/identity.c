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

static const struct pod *pod_by_name(struct pods *pods, const char *container, const char *uid,
				     const char **ret_container)
{
	const struct pod *pod = *container ? pods_by_container(pods, container, ret_container)
					   : NULL;

	return pod || !*uid ? pod : pods_by_uid(pods, uid);
}

/* A path may run through several pods: the outermost one of this node is the real one. */
static const struct pod *pod_of(struct pods *pods, const struct cgroup_name *name,
				const char **ret_container)
{
	const struct pod *pod = NULL;
	struct cgroup_pod at;
	size_t next = 0;

	while (!pod && cgroup_path_pod(name->path, &next, &at))
		pod = pod_by_name(pods, at.container_id, at.uid, ret_container);
	return pod ? pod : pod_by_name(pods, name->container_id, name->pod_uid, ret_container);
}

int identity_get(struct cgroup_cache *cgroups, struct pods *pods, uint64_t cgroup_id,
		 struct identity *ret)
{
	struct identity who = {.name = cgroup_cache_get(cgroups, cgroup_id)};
	const char *container = NULL;

	if (!who.name)
		return -ENOMEM;
	if (pods)
		who.pod = pod_of(pods, who.name, &container);
	if (who.pod && who.pod->sidecar && container) {
		who.sidecar = strcmp(container, SIDECAR_CONTAINER) == 0;
		who.application = !who.sidecar;
	}
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
