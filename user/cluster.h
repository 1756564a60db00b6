/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon knows of the cluster around it: the pods of this node, and Istio's registry from the API or from a
 * folder. Both are optional, and both may come late or go stale: that degrades the view and is told, nothing else.
 *
 * Owns: which collections are followed, when the registry is complete enough to be believed, when the folder is read
 * again. Must not know: destinations, the kernel.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include "kube.h"
#include "pod.h"
#include "registry.h"

struct cluster_options {
	const char *kube;     /* "auto" (when in a pod), "off", or the API server's URL */
	const char *token;    /* file; NULL: with "auto" the service account's, else none */
	const char *ca;       /* the same; none: the system's authorities */
	const char *registry; /* "auto" (kube, when that is on), "kube", "off", or a folder */
	const char *node;     /* whose pods */
	struct registry_options mesh;
	struct kube_timing timing;
	/* One line about something that failed, or (again) works; without a newline. */
	void (*say)(bool problem, const char *line, void *data);
	void *data;
};

struct cluster;

/*
 * -EINVAL with *ret_why ("--registry: kube: needs --kube"): options that contradict each other, or a folder that
 * cannot be read now; else -errno. Strings are copied.
 */
int cluster_new(const struct cluster_options *options, struct cluster **ret, char **ret_why);
void cluster_free(struct cluster *c); /* NULL is fine */

/* For the caller's loop: poll the fd (-1: nothing to poll) for input, then or after the time-out call cluster_run(). */
int cluster_epoll_fd(const struct cluster *c);
int cluster_timeout_ms(const struct cluster *c);
void cluster_run(struct cluster *c);
/* Once a second: has the folder changed, what is there to say? */
void cluster_tick(struct cluster *c);

/* NULL: not configured. Valid until the next run or tick. */
struct pods *cluster_pods(struct cluster *c);
/* NULL: not configured, or not complete yet: better nothing than "passthrough" for what is only not listed yet. */
const struct registry_store *cluster_registry(struct cluster *c);

/* NULL: the pod list is there, or not configured; else a phrase that says what is missing. */
const char *cluster_not_ready(struct cluster *c);

/* The collections that are followed, for the agent's own metrics. */
#define CLUSTER_WATCHES_MAX 7
struct cluster_watch_status {
	const char *collection; /* "pods" .. */
	struct kube_status kube;
};
size_t cluster_watch_statuses(const struct cluster *c,
			      struct cluster_watch_status ret[CLUSTER_WATCHES_MAX]);

#endif
