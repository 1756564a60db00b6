/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup v2 paths: where the hierarchy is mounted, which path an id has, and what to call it.
 *
 * Must not know: Kubernetes objects (pod.c names pods), destinations.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* First cgroup2 mount in mounts (a /proc/self/mounts text file). -ENOENT if there is none. */
int cgroup_find_mount(const char *mounts, char **ret_dir);

/* 0 if dir is a cgroup v2 directory; -ENOENT, -ENOTDIR, or -ENOTSUP if it is not on cgroup2. */
int cgroup_check(const char *dir);

/* Inode of the directory = cgroup id as BPF sees it. */
int cgroup_id(const char *dir, uint64_t *ret);

struct cgroup_name {
	char *path;     /* below the mount, starts with '/'; "" when the cgroup is gone */
	char *workload; /* systemd unit, container id shortened to 12, or the directory's own name; "cgroup-<id>" when gone */
	char *pod; /* path of the pod (or of the parent): containers that share it share a network and a sidecar */
	char *pod_uid; /* as the API writes it; of a static pod the 32 hex digits of its hash; "" outside of pods */
	char *container_id; /* in full: the container of the pod, outside of pods the nearest; "" if there is none */
};

void cgroup_name_done(struct cgroup_name *n);

/*
 * Names by id, kept after the directory is gone. An unknown id is looked up at once: by asking the kernel, or where
 * that is not allowed by walking the tree below `root`, as often as a tenth of the time allows.
 * Bounded: CGROUP_CACHE_MAX entries, the longest unused one goes first.
 */
#define CGROUP_CACHE_MAX 65536
struct cgroup_cache;
int cgroup_cache_new(const char *root, struct cgroup_cache **ret);
void cgroup_cache_free(struct cgroup_cache *c);
/* Walk now. Returns the number of directories seen or -errno. */
int cgroup_cache_refresh(struct cgroup_cache *c);
/* Never NULL except without memory. Valid until the next look-up of an unknown id or the next walk. */
const struct cgroup_name *cgroup_cache_get(struct cgroup_cache *c, uint64_t id);

/* The cache's own health: names held, names given up for want of room, directories too deep, too many or too long. */
struct cgroup_counts {
	size_t names;
	uint64_t evicted, skipped;
};
void cgroup_cache_counts(const struct cgroup_cache *c, struct cgroup_counts *ret);

/* The naming rule itself, from a path below the mount. -EINVAL if path does not start with '/'. */
int cgroup_name_from_path(const char *path, struct cgroup_name *ret);

/*
 * The pods that a path runs through, from the outermost: *at is 0 at first; false: no further one. Whoever may make
 * cgroups below its own (Docker in a pod, say) names them as it likes, so an inner one is only believed by whom the
 * outer ones mean nothing.
 */
struct cgroup_pod {
	char uid[36 + 1];          /* as pod_uid */
	char container_id[64 + 1]; /* of this pod's container; "" if there is none */
};
bool cgroup_path_pod(const char *path, size_t *at, struct cgroup_pod *ret);

/* What a cgroup is called that nobody could look up while it existed. */
int cgroup_name_gone(uint64_t id, struct cgroup_name *ret);

/* Is the directory of this id known to be removed? */
bool cgroup_cache_is_gone(struct cgroup_cache *c, uint64_t id);

#endif
