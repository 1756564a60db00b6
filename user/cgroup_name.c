// SPDX-License-Identifier: Apache-2.0
/*
 * What a cgroup is called, from its path alone; see cgroup.h.
 *
 * Owns: the naming rule and what a name may look like. Directory names are hostile input: whoever may make a cgroup
 * picks its name. Must not know: directories, ids, Kubernetes objects.
 */
#include "cgroup.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "util.h"

#define CGROUP_ID_HEX       64 /* a container id in full ... */
#define CGROUP_ID_SHOWN     12 /* ... and as everybody shortens it */
#define UID_MAX             36
#define CGROUP_WORKLOAD_MAX 255 /* bytes of a workload's name; longer ones end in "..." */

static char *copy_bytes(const char *s, size_t n)
{
	char *copy = malloc(n + 1);

	if (copy) {
		memcpy(copy, s, n);
		copy[n] = '\0';
	}
	return copy;
}

static bool is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!isxdigit((unsigned char)s[i]))
			return false;
	}
	return true;
}

static bool has_suffix(const char *s, size_t n, const char *suffix)
{
	size_t k = strlen(suffix);

	return n > k && memcmp(s + n - k, suffix, k) == 0;
}

/*
 * What stands before a container's id in its directory's name. crio-conmon- is not in the list: that is
 * CRI-O's monitor process, not the container.
 */
static bool container_prefix(const char *s, size_t n)
{
	static const char *const runtimes[] = {"cri-containerd-", "crio-", "docker-", "libpod-",
					       "nerdctl-"};

	if (n == 0 || s[n - 1] == ':')
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(runtimes); i++) {
		if (n == strlen(runtimes[i]) && memcmp(s, runtimes[i], n) == 0)
			return true;
	}
	return false;
}

/* The 64 hex digits in a container's directory name, or NULL. */
static const char *container_id(const char *s, size_t n)
{
	if (has_suffix(s, n, ".scope"))
		n -= strlen(".scope");
	if (n < CGROUP_ID_HEX || !is_hex(s + n - CGROUP_ID_HEX, CGROUP_ID_HEX))
		return NULL;
	return container_prefix(s, n - CGROUP_ID_HEX) ? s + n - CGROUP_ID_HEX : NULL;
}

static bool is_unit(const char *s, size_t n)
{
	return has_suffix(s, n, ".service") || has_suffix(s, n, ".scope");
}

static int hex_value(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* The next byte of a name; in a unit's name systemd writes some of them as \xHH. */
static unsigned char display_next(const char *s, size_t n, size_t *pos, bool unit)
{
	size_t i = *pos;

	if (unit && n - i >= 4 && s[i] == '\\' && s[i + 1] == 'x' && is_hex(s + i + 2, 2)) {
		*pos += 4;
		return (unsigned char)(hex_value(s[i + 2]) << 4 | hex_value(s[i + 3]));
	}
	(*pos)++;
	return (unsigned char)s[i];
}

/*
 * Write a name into buf (CGROUP_WORKLOAD_MAX + 1 bytes) as printable ASCII, all else as \xHH, while it stays within
 * max bytes. Returns the bytes written; *ret_all: whether that was all of it.
 */
static size_t display_write(const char *s, size_t n, size_t max, char *buf, bool *ret_all)
{
	bool unit = is_unit(s, n) || has_suffix(s, n, ".slice");
	size_t used = 0;

	for (size_t i = 0; i < n;) {
		unsigned char c = display_next(s, n, &i, unit);
		bool plain = c >= 0x20 && c <= 0x7e;

		*ret_all = used + (plain ? 1 : 4) <= max;
		if (!*ret_all)
			break;
		used += (size_t)snprintf(buf + used, max + 1 - used, plain ? "%c" : "\\x%02x", c);
	}
	return used;
}

/* A directory's name fit for any output, and bounded. */
static char *display_name(const char *s, size_t n)
{
	char buf[CGROUP_WORKLOAD_MAX + 1];
	bool all = true;
	size_t used = display_write(s, n, CGROUP_WORKLOAD_MAX, buf, &all);

	if (!all) {
		used = display_write(s, n, CGROUP_WORKLOAD_MAX - 3, buf, &all);
		memcpy(buf + used, "...", 3);
		used += 3;
	}
	return copy_bytes(buf, used);
}

/* Start of the last component of path[0..end), which neither is empty nor ends in '/'. */
static size_t component_start(const char *path, size_t end)
{
	while (end > 0 && path[end - 1] != '/')
		end--;
	return end;
}

/*
 * The nearest container or unit from the leaf up, so that a process below foo.service/sub is foo.service
 * and a service inside a container that runs systemd is that service.
 */
static char *workload_name(const char *path, size_t len)
{
	size_t start;

	if (len <= 1)
		return strdup("/");
	for (size_t end = len; end > 1; end = start > 0 ? start - 1 : 0) {
		const char *id;

		start = component_start(path, end);
		id = container_id(path + start, end - start);
		if (id)
			return copy_bytes(id, CGROUP_ID_SHOWN);
		if (is_unit(path + start, end - start))
			return display_name(path + start, end - start);
	}
	start = component_start(path, len);
	return display_name(path + start, len - start);
}

/*
 * Length of a pod's uid at s, 0 if there is none: 8-4-4-4-12 hex digits with '-' or (systemd) '_', or the 32 hex
 * digits that a static pod has instead.
 */
static size_t uid_length(const char *s, size_t n)
{
	static const size_t groups[] = {8, 4, 4, 4, 12};
	size_t pos = 0;

	if (n >= 32 && is_hex(s, 32))
		return 32;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (i > 0 && (pos >= n || (s[pos] != '-' && s[pos] != '_')))
			return 0;
		pos += i > 0;
		if (n - pos < groups[i] || !is_hex(s + pos, groups[i]))
			return 0;
		pos += groups[i];
	}
	return pos;
}

/* Where a pod stands in a path. */
struct pod_at {
	size_t component;       /* start of the directory name that has it */
	size_t end;             /* of the pod's own part of the path */
	size_t uid, uid_length; /* uid_length 0: no pod */
};

/*
 * Is the directory name at path[start..end) a pod's? A ':' ends the pod's own part before the name does:
 * containerd's colon form has pod and container in one name.
 */
static bool pod_in_component(const char *path, size_t start, size_t end, struct pod_at *ret)
{
	for (size_t i = start; i + 3 < end; i++) {
		size_t k, after;

		if (memcmp(path + i, "pod", 3) != 0 || (i > start && path[i - 1] != '-'))
			continue;
		k = uid_length(path + i + 3, end - i - 3);
		after = i + 3 + k;
		if (k > 0 && (after == end || path[after] == '.' || path[after] == ':')) {
			const char *colon = memchr(path + after, ':', end - after);

			*ret = (struct pod_at){.component = start,
					       .end = colon ? (size_t)(colon - path) : end,
					       .uid = i + 3,
					       .uid_length = k};
			return true;
		}
	}
	return false;
}

/* The innermost pod of a path. */
static struct pod_at pod_find(const char *path, size_t len)
{
	struct pod_at pod = {0};
	size_t start;

	for (size_t end = len; end > 1; end = start > 0 ? start - 1 : 0) {
		start = component_start(path, end);
		if (pod_in_component(path, start, end, &pod))
			break;
	}
	return pod;
}

static char *pod_path(const char *path, size_t len, const struct pod_at *pod)
{
	size_t start;

	if (pod->uid_length > 0)
		return copy_bytes(path, pod->end);
	start = component_start(path, len);
	return start > 1 ? copy_bytes(path, start - 1) : strdup("/");
}

/* As the API writes it: lower case, with hyphens where systemd makes us see underscores. */
static void uid_copy(const char *path, const struct pod_at *pod, char uid[UID_MAX + 1])
{
	for (size_t i = 0; i < pod->uid_length; i++) {
		char c = path[pod->uid + i];

		uid[i] = (char)(c == '_' ? '-' : tolower((unsigned char)c));
	}
	uid[pod->uid_length] = '\0';
}

static char *pod_uid(const char *path, const struct pod_at *pod)
{
	char uid[UID_MAX + 1];

	uid_copy(path, pod, uid);
	return strdup(uid);
}

/* The container of a pod, not one that runs within that container: the first below the pod. */
static const char *container_of_pod(const char *path, size_t len, size_t start)
{
	while (start < len) {
		const char *slash = memchr(path + start, '/', len - start);
		size_t end = slash ? (size_t)(slash - path) : len;
		const char *id = container_id(path + start, end - start);

		if (id)
			return id;
		start = end + 1;
	}
	return NULL;
}

/* The nearest container from the leaf up. */
static const char *container_of_path(const char *path, size_t len)
{
	size_t start;

	for (size_t end = len; end > 1; end = start > 0 ? start - 1 : 0) {
		const char *id;

		start = component_start(path, end);
		id = container_id(path + start, end - start);
		if (id)
			return id;
	}
	return NULL;
}

static char *container_name(const char *path, size_t len, const struct pod_at *pod)
{
	const char *id = pod->uid_length > 0 ? container_of_pod(path, len, pod->component)
					     : container_of_path(path, len);

	return id ? copy_bytes(id, CGROUP_ID_HEX) : strdup("");
}

/* The next pod from *at on, which is then behind its directory's name. */
static bool pod_next(const char *path, size_t len, size_t *at, struct pod_at *ret)
{
	bool found = false;

	while (!found && *at < len) {
		size_t start = *at, end = start + strcspn(path + start, "/");

		*at = end + 1;
		found = pod_in_component(path, start, end, ret);
	}
	return found;
}

bool cgroup_path_pod(const char *path, size_t *at, struct cgroup_pod *ret)
{
	size_t len = strlen(path), next;
	struct pod_at pod, inner;
	const char *id;

	if (!pod_next(path, len, at, &pod))
		return false;
	next = *at;
	id = container_of_pod(path, pod_next(path, len, &next, &inner) ? inner.component : len,
			      pod.component);
	uid_copy(path, &pod, ret->uid);
	snprintf(ret->container_id, sizeof(ret->container_id), "%.*s", CGROUP_ID_HEX, id ? id : "");
	return true;
}

void cgroup_name_done(struct cgroup_name *n)
{
	free(n->path);
	free(n->workload);
	free(n->pod);
	free(n->pod_uid);
	free(n->container_id);
	*n = (struct cgroup_name){0};
}

static int name_complete(struct cgroup_name *n, struct cgroup_name *ret)
{
	if (!n->path || !n->workload || !n->pod || !n->pod_uid || !n->container_id) {
		cgroup_name_done(n);
		return -ENOMEM;
	}
	*ret = *n;
	return 0;
}

int cgroup_name_from_path(const char *path, struct cgroup_name *ret)
{
	size_t len = strlen(path);
	struct cgroup_name n;
	struct pod_at pod;

	if (path[0] != '/')
		return -EINVAL;
	while (len > 1 && path[len - 1] == '/')
		len--;
	n.path = copy_bytes(path, len);
	n.workload = workload_name(path, len);
	pod = pod_find(path, len);
	n.pod = pod_path(path, len, &pod);
	n.pod_uid = pod_uid(path, &pod);
	n.container_id = container_name(path, len, &pod);
	return name_complete(&n, ret);
}

int cgroup_name_gone(uint64_t id, struct cgroup_name *ret)
{
	struct cgroup_name n;
	char text[32];

	snprintf(text, sizeof(text), "cgroup-%llu", (unsigned long long)id);
	n.path = strdup("");
	n.workload = strdup(text);
	n.pod = strdup(text);
	n.pod_uid = strdup("");
	n.container_id = strdup("");
	return name_complete(&n, ret);
}
