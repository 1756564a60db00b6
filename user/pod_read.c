// SPDX-License-Identifier: Apache-2.0
/*
 * One pod, out of the API's object: its labels, containers, and whether one of them is the mesh's; see pod.h.
 *
 * Owns: the rules of Istio's injector and CNI for that. Must not know: other pods, what a pod is called
 * (pod_source.c).
 */
#include <errno.h>
#include <string.h>

#include "json_tree.h"
#include "pod_work.h"
#include "util.h"

#define LABEL_KEY_MAX      317 /* prefix of 253, slash, name of 63 */
#define CONTAINER_ID_MAX   128
#define KEYS_MIN           4
#define SIDECAR_CONTAINER  "istio-proxy"
#define ROLE_GATEWAY       "router"
#define ANNOTATION_STATUS  "sidecar.istio.io/status"
#define ANNOTATION_AMBIENT "ambient.istio.io/redirection"
#define ANNOTATION_HASH    "kubernetes.io/config.hash"
#define ANNOTATION_MIRROR  "kubernetes.io/config.mirror"

/* ---- labels ---- */

static int compare_labels(const void *a, const void *b)
{
	return strcmp(((const struct pod_label *)a)->key, ((const struct pod_label *)b)->key);
}

static int label_add(struct pod_entry *e, const char *key, const char *value)
{
	struct pod_label *l = &e->pod.labels[e->pod.n_labels];

	if (e->pod.n_labels == POD_LABELS_MAX || !pod_is_word(key, LABEL_KEY_MAX, "-._/") ||
	    (*value && !pod_is_word(value, POD_LABEL_MAX, "-._"))) {
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
	const char *text = pod_string(at, "containerID"), *id = strstr(text, "://");

	if (!*text)
		return 0;
	if (!id || !pod_is_word(id + 3, CONTAINER_ID_MAX, "-._")) {
		e->cut++;
		return 0;
	}
	return pod_entry_add_container(e, id + 3, name);
}

/* A container that was started again had another id before, and counters under that. */
static int container_status_read(struct pod_entry *e, const cJSON *status)
{
	const char *name = pod_string(status, "name");
	int r;

	if (!pod_is_name(name))
		return 0;
	r = container_id_read(e, status, name);
	if (r == 0)
		r = container_id_read(e, pod_item(pod_item(status, "state"), "terminated"), name);
	if (r == 0)
		r = container_id_read(e, pod_item(pod_item(status, "lastState"), "terminated"),
				      name);
	return r;
}

static int containers_read(struct pod_entry *e, const cJSON *status)
{
	static const char *const lists[] = {"containerStatuses", "initContainerStatuses",
					    "ephemeralContainerStatuses"};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		const cJSON *c;

		cJSON_ArrayForEach(c, pod_item(status, lists[i])) {
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
		if (strcmp(pod_string(c, "name"), name) == 0)
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
	const char *text = pod_string(annotations, ANNOTATION_STATUS), *why;
	_cleanup_(json_tree_freep) cJSON *status = NULL;
	int r = *text ? json_tree_parse(text, strlen(text), &status, &why) : -EINVAL;

	*ret = r == 0 && (has_text(pod_item(status, "containers"), SIDECAR_CONTAINER) ||
			  has_text(pod_item(status, "initContainers"), SIDECAR_CONTAINER));
	return r == -ENOMEM ? r : 0;
}

/* `proxy router`, or the pod's only container: a gateway. It is the application, and what leaves is its own. */
static bool is_gateway(const cJSON *spec, const cJSON *container)
{
	const cJSON *role = cJSON_GetArrayItem(pod_item(container, "args"), 1);

	if (cJSON_IsString(role) && strcmp(role->valuestring, ROLE_GATEWAY) == 0)
		return true;
	return container == pod_item(spec, "containers")->child && !container->next;
}

/* A native sidecar is an init container that goes on running. */
static int sidecar_read(struct pod_entry *e, const cJSON *annotations, const cJSON *spec)
{
	const cJSON *container = find_container(pod_item(spec, "containers"), SIDECAR_CONTAINER);
	bool gateway = container && is_gateway(spec, container);

	if (!container)
		container = find_container(pod_item(spec, "initContainers"), SIDECAR_CONTAINER);
	return container && !gateway ? is_injected(annotations, &e->pod.sidecar) : 0;
}

/* ---- the whole ---- */

static int keys_read(struct pod_entry *e, const cJSON *metadata, const cJSON *status)
{
	const cJSON *annotations = pod_item(metadata, "annotations");
	const char *hash = pod_string(annotations, ANNOTATION_HASH);
	int r = key_add(e, POD_KEY_UID, e->pod.uid, NULL);

	/* Anybody can write the annotation, but only a kubelet makes mirror pods. */
	if (r == 0 && *pod_string(annotations, ANNOTATION_MIRROR) &&
	    pod_is_word(hash, POD_WORD_MAX, ""))
		r = key_add(e, POD_KEY_HASH, hash, NULL);
	return r < 0 ? r : containers_read(e, status);
}

static int entry_fill(struct pod_entry *e, const cJSON *metadata, const cJSON *spec,
		      const cJSON *status)
{
	const cJSON *annotations = pod_item(metadata, "annotations");
	int r = pod_source_read(metadata, &e->pod.source);

	if (r < 0)
		return r;
	e->pod.name = strdup(pod_string(metadata, "name"));
	e->pod.uid = strdup(pod_string(metadata, "uid"));
	if (!e->pod.name || !e->pod.uid)
		return -ENOMEM;
	r = labels_read(e, pod_item(metadata, "labels"));
	if (r == 0)
		r = keys_read(e, metadata, status);
	if (r == 0)
		r = sidecar_read(e, annotations, spec);
	e->pod.ambient = strcmp(pod_string(annotations, ANNOTATION_AMBIENT), "enabled") == 0;
	return r;
}

int pod_entry_read(const cJSON *object, struct pod_entry **ret)
{
	const cJSON *metadata = pod_item(object, "metadata");
	struct pod_entry *e;
	int r;

	if (!pod_is_name(pod_string(metadata, "namespace")) ||
	    !pod_is_name(pod_string(metadata, "name")) || !pod_is_name(pod_string(metadata, "uid")))
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	r = entry_fill(e, metadata, pod_item(object, "spec"), pod_item(object, "status"));
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
