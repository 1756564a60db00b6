// SPDX-License-Identifier: Apache-2.0
/*
 * What a pod is called, by Istio's rules, so that it has the same labels in our metrics as in Istio's: workload (owner,
 * less what a controller appended), canonical service and revision, app, version.
 *
 * Owns: those rules. Must not know: containers, other pods.
 */
#include <stdio.h>
#include <string.h>

#include "pod_work.h"
#include "util.h"

#define CANONICAL_MAX 63 /* Istio puts it into a label */

/* A label's value, "" if it is absent (or no label that the API would take). */
static const char *label(const cJSON *labels, const char *key)
{
	const char *s = pod_string(labels, key);

	return pod_is_word(s, POD_LABEL_MAX, "-._") ? s : "";
}

static const char *first_label(const cJSON *labels, const char *const keys[3])
{
	for (size_t i = 0; i < 3; i++) {
		const char *s = label(labels, keys[i]);

		if (*s)
			return s;
	}
	return "";
}

struct workload {
	char name[POD_NAME_MAX + 1];
	const char *kind;
};

static void workload_set(struct workload *w, const char *name, size_t n, const char *kind)
{
	n = MIN(n, sizeof(w->name) - 1);
	memcpy(w->name, name, n);
	w->name[n] = '\0';
	w->kind = kind;
}

static const cJSON *controller(const cJSON *metadata)
{
	const cJSON *ref;

	cJSON_ArrayForEach(ref, pod_item(metadata, "ownerReferences")) {
		if (cJSON_IsTrue(pod_item(ref, "controller")))
			return ref;
	}
	return NULL;
}

/* A ReplicaSet is its owner's name and the hash that its pods carry as a label; the owner is what people know. */
static bool workload_hashed(struct workload *w, const char *name, const char *hash,
			    const char *kind)
{
	size_t n = strlen(name), k = strlen(hash);

	if (k == 0 || n < k || strcmp(name + n - k, hash) != 0)
		return false;
	if (n > k + 1 && name[n - k - 1] == '-')
		n -= k + 1;
	workload_set(w, name, n, kind);
	return true;
}

/* A CronJob's Job ends in the minute (or second) it was due: 8 to 10 digits. */
static bool workload_cron(struct workload *w, const char *name)
{
	const char *dash = strrchr(name, '-');
	size_t digits = dash ? strlen(dash + 1) : 0;

	if (digits < 8 || digits > 10 || dash == name || strspn(dash + 1, "0123456789") != digits)
		return false;
	workload_set(w, name, (size_t)(dash - name), "CronJob");
	return true;
}

static void workload_of_owner(struct workload *w, const cJSON *owner, const cJSON *labels)
{
	const char *name = pod_string(owner, "name"), *kind = pod_string(owner, "kind");
	const char *config = label(labels, "deploymentconfig");

	if (!pod_is_name(name) || !pod_is_word(kind, POD_WORD_MAX, ""))
		return;
	workload_set(w, name, strlen(name), kind);
	if (strcmp(kind, "ReplicaSet") == 0) {
		if (!workload_hashed(w, name, label(labels, "pod-template-hash"), "Deployment"))
			workload_hashed(w, name, label(labels, "rollouts-pod-template-hash"),
					"Rollout");
	} else if (strcmp(kind, "ReplicationController") == 0 && *config) {
		workload_set(w, config, strlen(config), "DeploymentConfig");
	} else if (strcmp(kind, "Job") == 0) {
		workload_cron(w, name);
	}
}

/* Only a name that a controller generated says something about that controller. */
static void workload_read(struct workload *w, const cJSON *metadata, const cJSON *labels)
{
	const char *name = pod_string(metadata, "name"),
		   *override = label(labels, "service.istio.io/workload-name");
	const cJSON *owner = *pod_string(metadata, "generateName") ? controller(metadata) : NULL;

	workload_set(w, name, strlen(name), "Pod");
	if (owner)
		workload_of_owner(w, owner, labels);
	if (*override)
		workload_set(w, override, strlen(override), w->kind);
}

int pod_source_read(const cJSON *metadata, struct source *ret)
{
	static const char *const names[] = {"service.istio.io/canonical-name",
					    "app.kubernetes.io/name", "app"};
	static const char *const revisions[] = {"service.istio.io/canonical-revision",
						"app.kubernetes.io/version", "version"};
	const cJSON *labels = pod_item(metadata, "labels");
	const char *service = first_label(labels, names),
		   *revision = first_label(labels, revisions);
	char fallback[CANONICAL_MAX + 1];
	struct workload w;
	struct source s;

	workload_read(&w, metadata, labels);
	snprintf(fallback, sizeof(fallback), "%.*s", CANONICAL_MAX, w.name);
	for (size_t n = strlen(fallback); n > 0 && fallback[n - 1] == '-'; n--)
		fallback[n - 1] = '\0';
	s = (struct source){
		.ns = (char *)pod_string(metadata, "namespace"),
		.workload = w.name,
		.workload_kind = (char *)w.kind,
		.canonical_service = (char *)(*service ? service : fallback),
		.canonical_revision = (char *)(*revision ? revision : "latest"),
		.app = (char *)label(labels, "app"),
		.version = (char *)label(labels, "version"),
	};
	return source_copy(&s, ret);
}
