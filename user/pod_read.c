// SPDX-License-Identifier: Apache-2.0
/*
 * One pod, out of the API's object; see pod.h.
 *
 * The rules are those of Istio's injector and proxy, so that a pod has the same labels in our metrics as in Istio's:
 * workload (owner, less what a controller appended), canonical service and revision, app, version.
 *
 * Owns: those rules, and what a name may look like. The API server checks names, labels and container statuses, but
 * not what an owner is called: that is hostile input. Must not know: other pods.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "json_tree.h"
#include "pod_work.h"
#include "util.h"

#define NAME_MAX_BYTES     253 /* RFC 1123 subdomain */
#define KIND_MAX_BYTES     63
#define LABEL_KEY_MAX      317 /* prefix of 253, slash, name of 63 */
#define LABEL_VALUE_MAX    63
#define CONTAINER_ID_MAX   128
#define CANONICAL_MAX      63 /* Istio puts it into a label */
#define KEYS_MIN           4
#define SIDECAR_CONTAINER  "istio-proxy"
#define ROLE_GATEWAY       "router"
#define ANNOTATION_STATUS  "sidecar.istio.io/status"
#define ANNOTATION_AMBIENT "ambient.istio.io/redirection"
#define ANNOTATION_HASH    "kubernetes.io/config.hash"
#define ANNOTATION_MIRROR  "kubernetes.io/config.mirror"

/* ---- JSON ---- */

static const cJSON *item(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

/* "" if it is absent or no string. */
static const char *string(const cJSON *object, const char *key)
{
	const char *s = cJSON_GetStringValue(item(object, key));

	return s ? s : "";
}

static bool is_of(const char *s, size_t max, const char *more)
{
	size_t n = strnlen(s, max + 1);

	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)s[i]) && !strchr(more, s[i]))
			return false;
	}
	return n > 0 && n <= max;
}

static bool is_name(const char *s)
{
	return is_of(s, NAME_MAX_BYTES, "-._");
}

/* A label's value, "" if it is absent (or no label that the API would take). */
static const char *label(const cJSON *labels, const char *key)
{
	const char *s = string(labels, key);

	return is_of(s, LABEL_VALUE_MAX, "-._") ? s : "";
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

/* ---- workload ---- */

struct workload {
	char name[NAME_MAX_BYTES + 1];
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

	cJSON_ArrayForEach(ref, item(metadata, "ownerReferences")) {
		if (cJSON_IsTrue(item(ref, "controller")))
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
	const char *name = string(owner, "name"), *kind = string(owner, "kind");
	const char *config = label(labels, "deploymentconfig");

	if (!is_name(name) || !is_of(kind, KIND_MAX_BYTES, ""))
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
	const char *name = string(metadata, "name"),
		   *override = label(labels, "service.istio.io/workload-name");
	const cJSON *owner = *string(metadata, "generateName") ? controller(metadata) : NULL;

	workload_set(w, name, strlen(name), "Pod");
	if (owner)
		workload_of_owner(w, owner, labels);
	if (*override)
		workload_set(w, override, strlen(override), w->kind);
}

static int source_read(const cJSON *metadata, struct source *ret)
{
	static const char *const names[] = {"service.istio.io/canonical-name",
					    "app.kubernetes.io/name", "app"};
	static const char *const revisions[] = {"service.istio.io/canonical-revision",
						"app.kubernetes.io/version", "version"};
	const cJSON *labels = item(metadata, "labels");
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
		.ns = (char *)string(metadata, "namespace"),
		.workload = w.name,
		.workload_kind = (char *)w.kind,
		.canonical_service = (char *)(*service ? service : fallback),
		.canonical_revision = (char *)(*revision ? revision : "latest"),
		.app = (char *)label(labels, "app"),
		.version = (char *)label(labels, "version"),
	};
	return source_copy(&s, ret);
}

/* ---- labels ---- */

static int compare_labels(const void *a, const void *b)
{
	return strcmp(((const struct pod_label *)a)->key, ((const struct pod_label *)b)->key);
}

static int label_add(struct pod_entry *e, const char *key, const char *value)
{
	struct pod_label *l = &e->pod.labels[e->pod.n_labels];

	if (e->pod.n_labels == POD_LABELS_MAX || !is_of(key, LABEL_KEY_MAX, "-._/") ||
	    (*value && !is_of(value, LABEL_VALUE_MAX, "-._"))) {
		e->cut++;
		return 0;
	}
	l->key = strdup(key);
	l->value = strdup(value);
	e->pod.n_labels++;
	return l->key && l->value ? 0 : -ENOMEM;
}

static int labels_read(struct pod_entry *e, const cJSON *labels)
{
	size_t n = MIN((size_t)cJSON_GetArraySize(labels), POD_LABELS_MAX);
	const cJSON *l;
	int r = 0;

	if (n == 0)
		return 0;
	e->pod.labels = calloc(n, sizeof(*e->pod.labels));
	if (!e->pod.labels)
		return -ENOMEM;
	cJSON_ArrayForEach(l, labels) {
		const char *value = cJSON_GetStringValue(l);

		if (r == 0 && l->string)
			r = label_add(e, l->string, value ? value : "");
	}
	if (r == 0)
		qsort(e->pod.labels, e->pod.n_labels, sizeof(*e->pod.labels), compare_labels);
	return r;
}

/* ---- containers ---- */

static int keys_grow(struct pod_entry *e)
{
	size_t capacity = e->keys_capacity ? 2 * e->keys_capacity : KEYS_MIN;
	struct pod_key *keys;

	if (e->n_keys < e->keys_capacity)
		return 0;
	keys = realloc(e->keys, capacity * sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	e->keys = keys;
	e->keys_capacity = capacity;
	return 0;
}

static int key_add(struct pod_entry *e, enum pod_key_kind kind, const char *text, const char *name)
{
	struct pod_key *k;

	if (keys_grow(e) < 0)
		return -ENOMEM;
	k = &e->keys[e->n_keys++];
	*k = (struct pod_key){.kind = kind, .entry = e, .text = strdup(text)};
	if (name)
		k->container = strdup(name);
	return k->text && (!name || k->container) ? 0 : -ENOMEM;
}

int pod_entry_add_container(struct pod_entry *e, const char *id, const char *name)
{
	size_t containers = 0;

	for (size_t i = 0; i < e->n_keys; i++) {
		containers += e->keys[i].kind == POD_KEY_CONTAINER;
		if (e->keys[i].kind == POD_KEY_CONTAINER && strcmp(e->keys[i].text, id) == 0)
			return 0;
	}
	if (containers < POD_CONTAINERS_MAX)
		return key_add(e, POD_KEY_CONTAINER, id, name);
	e->cut++;
	return 0;
}

/* "containerd://ID", "cri-o://ID", "docker://ID"; absent before the container starts. */
static int container_id_read(struct pod_entry *e, const cJSON *at, const char *name)
{
	const char *text = string(at, "containerID"), *id = strstr(text, "://");

	if (!*text)
		return 0;
	if (!id || !is_of(id + 3, CONTAINER_ID_MAX, "-._")) {
		e->cut++;
		return 0;
	}
	return pod_entry_add_container(e, id + 3, name);
}

/* A container that was started again had another id before, and counters under that. */
static int container_status_read(struct pod_entry *e, const cJSON *status)
{
	const char *name = string(status, "name");
	int r;

	if (!is_name(name))
		return 0;
	r = container_id_read(e, status, name);
	if (r == 0)
		r = container_id_read(e, item(item(status, "state"), "terminated"), name);
	if (r == 0)
		r = container_id_read(e, item(item(status, "lastState"), "terminated"), name);
	return r;
}

static int containers_read(struct pod_entry *e, const cJSON *status)
{
	static const char *const lists[] = {"containerStatuses", "initContainerStatuses",
					    "ephemeralContainerStatuses"};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const cJSON *c;

		cJSON_ArrayForEach(c, item(status, lists[i])) {
			if (r == 0)
				r = container_status_read(e, c);
		}
	}
	return r;
}

static const cJSON *find_container(const cJSON *list, const char *name)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, list) {
		if (strcmp(string(c, "name"), name) == 0)
			return c;
	}
	return NULL;
}

static bool has_text(const cJSON *list, const char *text)
{
	const cJSON *t;

	cJSON_ArrayForEach(t, list) {
		if (cJSON_IsString(t) && strcmp(t->valuestring, text) == 0)
			return true;
	}
	return false;
}

/* Whether istiod's injector says that it is the one who added the container. Native ones are init containers. */
static int is_injected(const cJSON *annotations, bool *ret)
{
	const char *text = string(annotations, ANNOTATION_STATUS), *why;
	_cleanup_(json_tree_freep) cJSON *status = NULL;
	int r = *text ? json_tree_parse(text, strlen(text), &status, &why) : -EINVAL;

	*ret = r == 0 && (has_text(item(status, "containers"), SIDECAR_CONTAINER) ||
			  has_text(item(status, "initContainers"), SIDECAR_CONTAINER));
	return r == -ENOMEM ? r : 0;
}

/* `proxy router`, or the pod's only container: a gateway. It is the application, and what leaves is its own. */
static bool is_gateway(const cJSON *spec, const cJSON *container)
{
	const cJSON *role = cJSON_GetArrayItem(item(container, "args"), 1);

	if (cJSON_IsString(role) && strcmp(role->valuestring, ROLE_GATEWAY) == 0)
		return true;
	return container == item(spec, "containers")->child && !container->next;
}

/* A native sidecar is an init container that goes on running. */
static int sidecar_read(struct pod_entry *e, const cJSON *annotations, const cJSON *spec)
{
	const cJSON *container = find_container(item(spec, "containers"), SIDECAR_CONTAINER);
	bool gateway = container && is_gateway(spec, container);

	if (!container)
		container = find_container(item(spec, "initContainers"), SIDECAR_CONTAINER);
	return container && !gateway ? is_injected(annotations, &e->pod.sidecar) : 0;
}

/* ---- the whole ---- */

static int keys_read(struct pod_entry *e, const cJSON *metadata, const cJSON *status)
{
	const cJSON *annotations = item(metadata, "annotations");
	const char *hash = string(annotations, ANNOTATION_HASH);
	int r = key_add(e, POD_KEY_UID, e->pod.uid, NULL);

	/* Anybody can write the annotation, but only a kubelet makes mirror pods. */
	if (r == 0 && *string(annotations, ANNOTATION_MIRROR) && is_of(hash, KIND_MAX_BYTES, ""))
		r = key_add(e, POD_KEY_HASH, hash, NULL);
	return r < 0 ? r : containers_read(e, status);
}

static int entry_fill(struct pod_entry *e, const cJSON *metadata, const cJSON *spec,
		      const cJSON *status)
{
	const cJSON *annotations = item(metadata, "annotations");
	int r = source_read(metadata, &e->pod.source);

	if (r < 0)
		return r;
	e->pod.name = strdup(string(metadata, "name"));
	e->pod.uid = strdup(string(metadata, "uid"));
	if (!e->pod.name || !e->pod.uid)
		return -ENOMEM;
	r = labels_read(e, item(metadata, "labels"));
	if (r == 0)
		r = keys_read(e, metadata, status);
	if (r == 0)
		r = sidecar_read(e, annotations, spec);
	e->pod.ambient = strcmp(string(annotations, ANNOTATION_AMBIENT), "enabled") == 0;
	return r;
}

int pod_entry_read(const cJSON *object, struct pod_entry **ret)
{
	const cJSON *metadata = item(object, "metadata");
	struct pod_entry *e;
	int r;

	if (!is_name(string(metadata, "namespace")) || !is_name(string(metadata, "name")) ||
	    !is_name(string(metadata, "uid")))
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	r = entry_fill(e, metadata, item(object, "spec"), item(object, "status"));
	if (r < 0) {
		pod_entry_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

void pod_entry_free(struct pod_entry *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->pod.n_labels; i++) {
		free(e->pod.labels[i].key);
		free(e->pod.labels[i].value);
	}
	for (size_t i = 0; i < e->n_keys; i++) {
		free(e->keys[i].text);
		free(e->keys[i].container);
	}
	source_done(&e->pod.source);
	free(e->pod.name);
	free(e->pod.uid);
	free(e->pod.labels);
	free(e->keys);
	free(e);
}
