// SPDX-License-Identifier: Apache-2.0
#include "identity.h"

#include <errno.h>
#include <string.h>

#include "kept.h"
#include "util.h"

#define SIDECAR_CONTAINER "istio-proxy"
#define ZTUNNEL           "ztunnel" /* istiod's name for its DaemonSet's app, whatever the namespace */
#define BUCKETS           4096      /* a power of two */
#define PROBES_MAX        16        /* ids tried for a workload whose own is another's */

struct identities {
	struct cgroup_cache *cgroups;
	struct identity_store store;
	struct kept *buckets[BUCKETS];
	uint64_t round;
	uint64_t walked;    /* the round of the last walk, plus 1 */
	size_t n_unsettled; /* at most: some may have settled since */
	struct identities_counts counts;
};

/* An id of EA_CGROUP_OURS that nothing is known of. */
static const struct cgroup_name nobody = {
	.path = "", .workload = "", .pod = "", .pod_uid = "", .container_id = ""};

int identities_new(struct cgroup_cache *cgroups, const struct identity_store *store,
		   struct identities **ret)
{
	struct identities *ids = calloc(1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	ids->cgroups = cgroups;
	if (store)
		ids->store = *store;
	*ret = ids;
	return 0;
}

void identities_free(struct identities *ids)
{
	if (!ids)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct kept *k = ids->buckets[i], *next; k; k = next) {
			next = k->chain;
			kept_free(k);
		}
	}
	free(ids);
}

void identities_get_counts(const struct identities *ids, struct identities_counts *ret)
{
	*ret = ids->counts;
}

/* ---- what is kept ---- */

static struct kept **bucket_of(struct identities *ids, uint64_t id)
{
	return &ids->buckets[(id * 0x9e3779b97f4a7c15ULL >> 32) & (BUCKETS - 1)];
}

/* Where the entry of this id is linked; *NULL if there is none. */
static struct kept **kept_at(struct identities *ids, uint64_t id)
{
	struct kept **at = bucket_of(ids, id);

	while (*at && (*at)->id != id)
		at = &(*at)->chain;
	return at;
}

static void kept_put(struct identities *ids, struct kept *k)
{
	struct kept **at = kept_at(ids, k->id), *before = *at;

	k->chain = before ? before->chain : NULL;
	k->seen = ids->round;
	*at = k;
	ids->counts.kept += !before;
	kept_free(before);
}

int identity_restore(struct identities *ids, uint64_t id, const struct ea_identity *identity)
{
	struct kept *k;
	int r = kept_unpack(id, identity, &k);

	if (r)
		return r == -EINVAL ? 0 : r;
	kept_put(ids, k);
	return 0;
}

static int store_put(struct identities *ids, uint64_t id, const struct ea_identity *identity)
{
	struct kept *k;
	int r = kept_unpack(id, identity, &k);

	if (r)
		return r;
	r = ids->store.put ? ids->store.put(id, identity, ids->store.data) : 0;
	if (r)
		kept_free(k);
	else
		kept_put(ids, k);
	return r;
}

void identities_forget_unused(struct identities *ids)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct kept **at = &ids->buckets[i];

		while (*at) {
			struct kept *k = *at;

			if (k->seen + 1 >= ids->round) {
				at = &k->chain;
				continue;
			}
			if (ids->store.forget)
				ids->store.forget(k->id, ids->store.data);
			*at = k->chain;
			kept_free(k);
			ids->counts.kept--;
		}
	}
	ids->round++;
}

/* ---- who ---- */

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

/* The pod and what follows from it, as the list has it. */
static void from_pods(struct pods *pods, struct identity *who)
{
	const char *container = NULL;

	who->pod = pod_of(pods, who->name, &container);
	if (who->pod && who->pod->sidecar && container) {
		who->sidecar = strcmp(container, SIDECAR_CONTAINER) == 0;
		who->application = !who->sidecar;
	}
	who->may_proxy = who->pod && (is_ztunnel(who->pod) || (who->pod->sidecar && !container));
}

static void from_kept(const struct kept *k, struct identity *who)
{
	if (k->flags & EA_IDENTITY_POD)
		who->pod = &k->pod;
	who->sidecar = k->flags & EA_IDENTITY_PROXY;
	who->may_proxy = k->flags & EA_IDENTITY_MAY_PROXY;
	who->application = who->pod && who->pod->sidecar && !who->sidecar && !who->may_proxy;
	who->meshed = k->flags & EA_IDENTITY_MESHED;
	who->labels_cut = k->flags & EA_IDENTITY_CUT;
}

int identity_get(struct identities *ids, struct pods *pods, uint64_t cgroup_id,
		 struct identity *ret)
{
	const struct kept *k = *kept_at(ids, cgroup_id);
	bool ours = cgroup_id & EA_CGROUP_OURS;
	struct identity who = {.name = ours ? &nobody : cgroup_cache_get(ids->cgroups, cgroup_id)};

	if (!who.name)
		return -ENOMEM;
	if (k && !*who.name->path)
		who.name = &k->name;
	if (pods && !ours)
		from_pods(pods, &who);
	if (!who.pod && k)
		from_kept(k, &who);
	if (cgroup_id == EA_CGROUP_PROXIES)
		who.sidecar = true;
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

bool identity_is_settled(const struct identity *who, const struct pods *pods)
{
	return who->pod || !pods || !who->name->pod_uid[0];
}

bool identity_is_gone(struct identities *ids, uint64_t cgroup_id)
{
	const struct cgroup_name *name;

	if (cgroup_id & EA_CGROUP_OURS)
		return true;
	if (!cgroup_cache_is_gone(ids->cgroups, cgroup_id))
		return false;
	name = cgroup_cache_get(ids->cgroups, cgroup_id);
	if (!name || *name->path || ids->walked == ids->round + 1)
		return name != NULL;
	ids->walked = ids->round + 1;
	cgroup_cache_refresh(ids->cgroups);
	return cgroup_cache_is_gone(ids->cgroups, cgroup_id);
}

/* ---- keeping ---- */

static int keep(struct identities *ids, const struct identity *who, uint64_t id)
{
	const struct kept *k = *kept_at(ids, id);
	struct ea_identity identity;
	int r = kept_pack(who, false, &identity);

	if (r || (k && kept_is(k, &identity)))
		return r;
	return store_put(ids, id, &identity);
}

void identity_keep(struct identities *ids, struct pods *pods, uint64_t cgroup_id, bool proxy)
{
	struct kept *k = *kept_at(ids, cgroup_id);
	struct identity who;

	if (k)
		k->seen = ids->round;
	if (cgroup_id & EA_CGROUP_OURS)
		return;
	if (identity_get(ids, pods, cgroup_id, &who)) {
		ids->counts.failures++;
		return;
	}
	/* Of one that was never found there is nothing to keep. */
	who.sidecar |= proxy;
	if (*who.name->path && keep(ids, &who, cgroup_id))
		ids->counts.failures++;
	ids->n_unsettled += !identity_is_settled(&who, pods);
}

void identities_settle(struct identities *ids, struct pods *pods)
{
	if (!ids->n_unsettled)
		return;
	ids->n_unsettled = 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct kept *k = ids->buckets[i], *next; k; k = next) {
			uint64_t id = k->id, seen = k->seen;

			next = k->chain;
			if (k->flags & EA_IDENTITY_POD || !k->name.pod_uid[0] ||
			    k->id & EA_CGROUP_OURS)
				continue;
			/* This may put another one in its place. */
			identity_keep(ids, pods, id, false);
			(*kept_at(ids, id))->seen = seen;
		}
	}
}

int identity_workload(struct identities *ids, const struct identity *who, uint64_t *ret)
{
	struct ea_identity identity;
	int r = kept_pack(who, true, &identity);
	uint64_t id;

	if (r)
		return r;
	id = kept_hash(&identity);
	for (int i = 0; i < PROBES_MAX; i++) {
		uint64_t try = EA_CGROUP_OURS | (id + (uint64_t)i);
		struct kept *k = *kept_at(ids, try);

		if (try == EA_CGROUP_PROXIES || (k && !kept_is_workload(k, &identity)))
			continue;
		if (k)
			k->seen = ids->round;
		else
			r = store_put(ids, try, &identity);
		if (r)
			break;
		*ret = try;
		return 0;
	}
	ids->counts.failures++;
	return r ? r : -ENOSPC;
}
