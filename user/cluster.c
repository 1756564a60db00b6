// SPDX-License-Identifier: Apache-2.0
#include "cluster.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry_dir.h"
#include "util.h"

/* v1beta1 is served by every Istio that is still met, v1 only since 1.22. */
#define ISTIO_API "/apis/networking.istio.io/v1beta1/"

#define FOLLOW_SLICES CLUSTER_WATCHES_MAX - 2
#define FOLLOW_PODS   CLUSTER_WATCHES_MAX - 1

static const struct {
	const char *collection, *path;
} collections[CLUSTER_WATCHES_MAX] = {
	[REGISTRY_KIND_SERVICE] = {"services", "/api/v1/services"},
	[REGISTRY_KIND_SERVICE_ENTRY] = {"serviceentries", ISTIO_API "serviceentries"},
	[REGISTRY_KIND_DESTINATION_RULE] = {"destinationrules", ISTIO_API "destinationrules"},
	[REGISTRY_KIND_SIDECAR] = {"sidecars", ISTIO_API "sidecars"},
	[REGISTRY_KIND_VIRTUAL_SERVICE] = {"virtualservices", ISTIO_API "virtualservices"},
	/* Only for the addresses: pods of other nodes are not listed. */
	[FOLLOW_SLICES] = {"endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"},
	[FOLLOW_PODS] = {"pods", "/api/v1/pods"},
};
_Static_assert(REGISTRY_KIND_MAX == FOLLOW_SLICES, "the registry's kinds, then where pods are");

struct follow {
	struct cluster *cluster;
	struct kube_watch *watch; /* NULL: not followed */
	bool troubled;            /* said so */
	bool settled;             /* the same */
	bool known;               /* it was complete once */
};

struct cluster {
	struct kube *kube; /* NULL: off */
	struct pods *pods;
	struct registry_store *registry;
	struct follow follow[CLUSTER_WATCHES_MAX];

	char *dir; /* of the registry; NULL: from the API, or none */
	struct registry_options mesh;
	char *root_namespace, *cluster_domain; /* the mesh's, owned */
	/* What the folder looked like when it was read, and when it was last looked at. */
	uint64_t dir_state, dir_seen;

	void (*say)(bool problem, const char *line, void *data);
	void *data;
};

static void say(const struct cluster *c, bool problem, const char *fmt, ...) _printf_(3, 4);

static void say(const struct cluster *c, bool problem, const char *fmt, ...)
{
	_cleanup_free_ char *line = NULL;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&line, fmt, args);
	va_end(args);
	if (n >= 0)
		c->say(problem, line, c->data);
}

/* ---- the registry from the API ---- */

static enum registry_kind kind_of(const struct follow *f)
{
	return (enum registry_kind)(f - f->cluster->follow);
}

static int registry_object_new(const cJSON *object, void *data)
{
	const struct follow *f = data;
	const char *why;
	int r = registry_put_as(f->cluster->registry, kind_of(f), object, &why);

	/* What istiod would not take is counted by the store, and is not there for the mesh either. */
	return r == -ENOMEM ? r : 0;
}

static void registry_object_gone(const struct kube_id *id, void *data)
{
	const struct follow *f = data;

	registry_delete(f->cluster->registry, kind_of(f), id->ns, id->name);
}

static const struct kube_sink registry_sink = {.object = registry_object_new,
					       .deleted = registry_object_gone};

static int slice_new(const cJSON *object, void *data)
{
	const struct follow *f = data;

	return registry_add_endpoints(f->cluster->registry, object);
}

/* Its pods' addresses stay, see registry_add_endpoints(). */
static void slice_gone(const struct kube_id *id, void *data)
{
	(void)id;
	(void)data;
}

static const struct kube_sink slices_sink = {.object = slice_new, .deleted = slice_gone};

/* ---- pods ---- */

/* Of this node also those that no Service selects. */
static int pod_addresses(const struct cluster *c, const cJSON *object)
{
	const cJSON *status = cJSON_GetObjectItemCaseSensitive(object, "status"), *item;
	int r = 0;

	if (!c->registry)
		return 0;
	cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(status, "podIPs")) {
		const cJSON *ip = cJSON_GetObjectItemCaseSensitive(item, "ip");

		if (!r)
			r = registry_add_pod_address(c->registry, cJSON_GetStringValue(ip));
	}
	return r;
}

static int pod_new(const cJSON *object, void *data)
{
	const struct follow *f = data;
	int r = pods_object(object, f->cluster->pods);

	return r ? r : pod_addresses(f->cluster, object);
}

static void pod_gone(const struct kube_id *id, void *data)
{
	const struct follow *f = data;

	pods_deleted(id, f->cluster->pods);
}

static const struct kube_sink pods_sink = {.object = pod_new, .deleted = pod_gone};

static int follow(struct cluster *c, size_t i, const char *selector, const struct kube_sink *sink)
{
	c->follow[i].cluster = c;
	return kube_watch(c->kube, collections[i].path, selector, sink, &c->follow[i],
			  &c->follow[i].watch);
}

/* ---- the registry from a folder ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * 1099511628211u;
	return hash;
}

/* Changes whenever a file comes, goes or is written to. 0 if the folder cannot be read. */
static uint64_t dir_look(const char *path)
{
	uint64_t sum = 1;
	DIR *dir = opendir(path);
	struct dirent *d;

	if (!dir)
		return 0;
	while ((d = readdir(dir))) {
		struct stat st;
		uint64_t hash = mix(14695981039346656037u, d->d_name, strlen(d->d_name));

		if (d->d_name[0] == '.' || fstatat(dirfd(dir), d->d_name, &st, 0) < 0)
			continue;
		hash = mix(hash, &st.st_ino, sizeof(st.st_ino));
		hash = mix(hash, &st.st_size, sizeof(st.st_size));
		/* The order in which a directory is read says nothing. */
		sum += mix(hash, &st.st_mtim, sizeof(st.st_mtim));
	}
	closedir(dir);
	return sum;
}

static void dir_note(const char *line, void *data)
{
	say(data, true, "registry: %s; left out", line);
}

static int dir_read(struct cluster *c, char **ret_why)
{
	struct registry_store *store;
	uint64_t state = dir_look(c->dir);
	int r = registry_dir_load(c->dir, &c->mesh, dir_note, c, &store, ret_why);

	/* Also of a folder that could not be read: it is tried again when something has changed. */
	c->dir_state = state;
	if (r)
		return r;
	if (c->registry)
		registry_take_pod_addresses(store, c->registry);
	registry_free(c->registry);
	c->registry = store;
	return 0;
}

static void dir_tick(struct cluster *c)
{
	_cleanup_free_ char *why = NULL;
	uint64_t seen = dir_look(c->dir);
	int r;

	/* Somebody may be writing: only what stays as it is is read. */
	if (seen != c->dir_seen || seen == c->dir_state) {
		c->dir_seen = seen;
		return;
	}
	r = dir_read(c, &why);
	if (r)
		say(c, true, "registry: %s; what was read before still counts",
		    why ? why : strerror(-r));
	else
		say(c, false, "registry: %s read again", c->dir);
}

/* ---- making one ---- */

static int refuse(char **ret_why, const char *fmt, ...) _printf_(2, 3);

static int refuse(char **ret_why, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (vasprintf(ret_why, fmt, args) < 0)
		*ret_why = NULL;
	va_end(args);
	return -EINVAL;
}

/* The service account's file is for the API server of its own cluster only. */
static const char *account_file(const struct cluster_options *o, const char *named,
				const char *usual)
{
	bool own = strcmp(o->kube, "auto") == 0 && access(usual, R_OK) == 0;

	return named ? named : own ? usual : NULL;
}

static int kube_start(struct cluster *c, const struct cluster_options *o, char **ret_why)
{
	_cleanup_free_ char *url = NULL, *selector = NULL;
	struct kube_options options = {
		.token_file = account_file(o, o->token, KUBE_TOKEN_FILE),
		.ca_file = account_file(o, o->ca, KUBE_CA_FILE),
		.timing = o->timing,
	};
	int r;

	if (strcmp(o->kube, "off") == 0)
		return 0;
	if (strcmp(o->kube, "auto") == 0) {
		r = options.token_file ? kube_url_in_cluster(&url) : -ENOENT;
		if (r)
			return r == -ENOENT ? 0 : r;
	}
	options.url = url ? url : o->kube;
	r = kube_new(&options, &c->kube);
	if (r == -EINVAL)
		return refuse(
			ret_why,
			"--kube: '%s' is not auto, off or a URL (https://HOST:PORT, or http:// "
			"without a token)",
			options.url);
	if (!r && asprintf(&selector, "spec.nodeName=%s", o->node) < 0)
		r = -ENOMEM;
	if (!r)
		r = pods_new(&c->pods);
	return r ? r : follow(c, FOLLOW_PODS, selector, &pods_sink);
}

static int registry_start(struct cluster *c, const struct cluster_options *o, char **ret_why)
{
	bool wanted = strcmp(o->registry, "kube") == 0;
	int r;

	if (strcmp(o->registry, "off") == 0)
		return 0;
	if (wanted && !c->kube)
		return refuse(ret_why, "--registry: kube needs an API server, and --kube has none");
	if (!wanted && strcmp(o->registry, "auto") != 0) {
		c->dir = strdup(o->registry);
		if (!c->dir)
			return -ENOMEM;
		r = dir_read(c, ret_why);
		/* What is wrong with a folder is the user's to mend. */
		return r && r != -ENOMEM ? -EINVAL : r;
	}
	if (!c->kube)
		return 0;
	r = registry_new(&c->mesh, &c->registry);
	for (size_t i = 0; !r && i < REGISTRY_KIND_MAX; i++)
		r = follow(c, i, NULL, &registry_sink);
	return r ? r : follow(c, FOLLOW_SLICES, NULL, &slices_sink);
}

int cluster_new(const struct cluster_options *options, struct cluster **ret, char **ret_why)
{
	struct cluster *c = calloc(1, sizeof(*c));
	int r;

	*ret_why = NULL;
	if (!c)
		return -ENOMEM;
	c->say = options->say;
	c->data = options->data;
	c->mesh = options->mesh;
	c->mesh.root_namespace = c->root_namespace = strdup(options->mesh.root_namespace);
	c->mesh.cluster_domain = c->cluster_domain = strdup(options->mesh.cluster_domain);
	r = c->root_namespace && c->cluster_domain ? kube_start(c, options, ret_why) : -ENOMEM;
	if (!r)
		r = registry_start(c, options, ret_why);
	if (r) {
		cluster_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	kube_free(c->kube);
	pods_free(c->pods);
	registry_free(c->registry);
	free(c->dir);
	free(c->root_namespace);
	free(c->cluster_domain);
	free(c);
}

int cluster_epoll_fd(const struct cluster *c)
{
	return c->kube ? kube_epoll_fd(c->kube) : -1;
}

int cluster_timeout_ms(const struct cluster *c)
{
	return c->kube ? kube_timeout_ms(c->kube) : -1;
}

void cluster_run(struct cluster *c)
{
	if (c->kube)
		kube_run(c->kube);
}

/*
 * Listed once, or known not to exist; what was known stays so. A server that is only starting answers 404 as well: one
 * is not enough. Where the pods are may be kept from us, as a ClusterRole of an older version does.
 */
static bool follow_settled(struct follow *f)
{
	struct kube_status status;

	if (!f->watch || f->known)
		return true;
	kube_get_status(f->watch, &status);
	f->known = status.synced || (status.absent && status.errors[KUBE_ERROR_ABSENT] > 1) ||
		   (f == &f->cluster->follow[FOLLOW_SLICES] &&
		    status.errors[KUBE_ERROR_FORBIDDEN] > 1);
	return f->known;
}

/* Said when a collection begins to fail and when it is followed again, not in between. */
static void follow_tick(struct cluster *c, size_t i)
{
	struct follow *f = &c->follow[i];
	struct kube_status status;

	if (!f->watch)
		return;
	kube_get_status(f->watch, &status);
	if (status.failing == f->troubled && (f->settled || !follow_settled(f)))
		return;
	f->troubled = status.failing;
	f->settled = follow_settled(f);
	if (status.absent)
		say(c, false, "the API server has no %s", collections[i].collection);
	else if (status.failing)
		say(c, true, "following %s failed: %s; tried again for ever",
		    collections[i].collection, status.last_error);
	else
		say(c, false, "following %s, %zu so far", collections[i].collection,
		    status.objects);
}

void cluster_tick(struct cluster *c)
{
	for (size_t i = 0; i < CLUSTER_WATCHES_MAX; i++)
		follow_tick(c, i);
	if (c->dir)
		dir_tick(c);
}

struct pods *cluster_pods(struct cluster *c)
{
	return c->pods;
}

const struct registry_store *cluster_registry(struct cluster *c)
{
	for (size_t i = 0; !c->dir && i <= FOLLOW_SLICES; i++)
		if (!follow_settled(&c->follow[i]))
			return NULL;
	return c->registry;
}

const char *cluster_not_ready(struct cluster *c)
{
	return follow_settled(&c->follow[FOLLOW_PODS]) ? NULL : "the pod list is not there yet";
}

size_t cluster_watch_statuses(const struct cluster *c,
			      struct cluster_watch_status ret[CLUSTER_WATCHES_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < CLUSTER_WATCHES_MAX; i++) {
		if (!c->follow[i].watch)
			continue;
		ret[n].collection = collections[i].collection;
		kube_get_status(c->follow[i].watch, &ret[n++].kube);
	}
	return n;
}
