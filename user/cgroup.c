// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup v2 paths and names; see cgroup.h.
 *
 * Owns: the naming rule, the walk of the tree and the cache of what it found. Directory names are hostile
 * input (whoever may make a cgroup picks its name): nothing is followed, everything is bounded.
 * Must not know: Kubernetes objects, destinations.
 */
#include "cgroup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "util.h"

#define CGROUP_ID_HEX        64  /* a container id in full ... */
#define CGROUP_ID_SHOWN      12  /* ... and as everybody shortens it */
#define CGROUP_WORKLOAD_MAX  255 /* bytes of a workload's name; longer ones end in "..." */
#define CGROUP_DEPTH_MAX     64  /* levels of the tree that are walked: one open directory each */
#define CGROUP_WALK_MAX      (2 * CGROUP_CACHE_MAX) /* directories in one walk */
#define CGROUP_BUCKETS       16384                  /* of the cache's hash table; a power of two */
#define CGROUP_WALKS_BURST   8   /* walks that look-ups of unknown ids may cause at once ... */
#define CGROUP_WALK_REFILL_S 0.1 /* ... and the time after which they may cause one more */

/* ---- where and what ---- */

int cgroup_find_mount(const char *mounts, char **ret_dir)
{
	FILE *f = setmntent(mounts, "re");
	int r = -ENOENT;
	struct mntent *m;

	if (!f)
		return -errno;
	while (r == -ENOENT && (m = getmntent(f))) {
		char *dir;

		if (strcmp(m->mnt_type, "cgroup2") != 0)
			continue;
		dir = strdup(m->mnt_dir);
		if (dir)
			*ret_dir = dir;
		r = dir ? 0 : -ENOMEM;
	}
	endmntent(f);
	return r;
}

int cgroup_check(const char *dir)
{
	struct statfs fs;
	struct stat st;

	if (stat(dir, &st) < 0 || statfs(dir, &fs) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return fs.f_type == CGROUP2_SUPER_MAGIC ? 0 : -ENOTSUP;
}

int cgroup_id(const char *dir, uint64_t *ret)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return -errno;
	*ret = st.st_ino;
	return 0;
}

/* ---- the naming rule ---- */

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

/* A directory's name fit for any output: printable ASCII, all else as \xHH, bounded. */
static char *display_name(const char *s, size_t n)
{
	bool unit = is_unit(s, n) || has_suffix(s, n, ".slice");
	char buf[CGROUP_WORKLOAD_MAX + 1];
	size_t used = 0;

	for (size_t i = 0; i < n;) {
		unsigned char c = display_next(s, n, &i, unit);
		size_t need = c < 0x20 || c > 0x7e ? 4 : 1;

		/* Three bytes stay free for the dots, until the name's last byte is in. */
		if (used + need > CGROUP_WORKLOAD_MAX - (i < n ? 3 : 0)) {
			memcpy(buf + used, "...", 3);
			used += 3;
			break;
		}
		snprintf(buf + used, sizeof(buf) - used, need == 4 ? "\\x%02x" : "%c", c);
		used += need;
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

/*
 * Where a pod's own part of a directory name ends, 0 if the name is no pod's. A ':' ends it before the name
 * does: containerd's colon form has pod and container in one name.
 */
static size_t pod_length(const char *s, size_t n)
{
	for (size_t i = 0; i + 3 < n; i++) {
		size_t k, end;

		if (memcmp(s + i, "pod", 3) != 0 || (i > 0 && s[i - 1] != '-'))
			continue;
		k = uid_length(s + i + 3, n - i - 3);
		end = i + 3 + k;
		if (k > 0 && (end == n || s[end] == '.' || s[end] == ':')) {
			const char *colon = memchr(s + end, ':', n - end);

			return colon ? (size_t)(colon - s) : n;
		}
	}
	return 0;
}

static char *pod_path(const char *path, size_t len)
{
	size_t start;

	for (size_t end = len; end > 1; end = start > 0 ? start - 1 : 0) {
		size_t k;

		start = component_start(path, end);
		k = pod_length(path + start, end - start);
		if (k > 0)
			return copy_bytes(path, start + k);
	}
	start = component_start(path, len);
	return start > 1 ? copy_bytes(path, start - 1) : strdup("/");
}

void cgroup_name_done(struct cgroup_name *n)
{
	free(n->path);
	free(n->workload);
	free(n->pod);
	*n = (struct cgroup_name){0};
}

static int name_complete(struct cgroup_name *n, struct cgroup_name *ret)
{
	if (!n->path || !n->workload || !n->pod) {
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

	if (path[0] != '/')
		return -EINVAL;
	while (len > 1 && path[len - 1] == '/')
		len--;
	n.path = copy_bytes(path, len);
	n.workload = workload_name(path, len);
	n.pod = pod_path(path, len);
	return name_complete(&n, ret);
}

/* What a cgroup is called that nobody could look up while it existed. */
static int name_gone(uint64_t id, struct cgroup_name *ret)
{
	struct cgroup_name n;
	char text[32];

	snprintf(text, sizeof(text), "cgroup-%llu", (unsigned long long)id);
	n.path = strdup("");
	n.workload = strdup(text);
	n.pod = strdup(text);
	return name_complete(&n, ret);
}

/* ---- the cache ---- */

struct cgroup_entry {
	uint64_t id;
	struct cgroup_name name;
	struct cgroup_entry *chain;         /* next in the bucket */
	struct cgroup_entry *newer, *older; /* by use */
};

struct cgroup_cache {
	char *root;
	char *prefix; /* path of root below the mount, "" if root is the mount */
	struct cgroup_entry *buckets[CGROUP_BUCKETS];
	struct cgroup_entry *newest, *oldest;
	struct cgroup_counts counts;
	double walks; /* that look-ups may still cause, refilled as time passes */
	double walks_at;
};

static double now_s(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Levels from fd up to the top of its file system. */
static int levels_to_mount(int fd)
{
	_cleanup_close_ int at = dup(fd);
	struct stat here, above;
	int levels = 0;

	while (at >= 0 && levels < CGROUP_DEPTH_MAX && fstat(at, &here) == 0) {
		int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (up < 0)
			return -errno;
		close(at);
		at = up;
		if (fstat(up, &above) < 0)
			return -errno;
		if (above.st_dev != here.st_dev || above.st_ino == here.st_ino)
			return levels;
		levels++;
	}
	return -ELOOP;
}

/* "/kubepods.slice" if root is that directory of a cgroup2 mount; "" for the mount and for other trees. */
static int find_prefix(const char *root, char **ret)
{
	_cleanup_free_ char *real = realpath(root, NULL);
	_cleanup_close_ int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *prefix;
	int levels;

	if (!real || fd < 0)
		return -errno;
	levels = cgroup_check(root) == 0 ? levels_to_mount(fd) : 0;
	if (levels < 0)
		return levels;
	for (prefix = real + strlen(real); levels > 0 && prefix > real; levels--) {
		do
			prefix--;
		while (prefix > real && *prefix != '/');
	}
	*ret = strdup(prefix);
	return *ret ? 0 : -ENOMEM;
}

int cgroup_cache_new(const char *root, struct cgroup_cache **ret)
{
	struct cgroup_cache *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->walks = CGROUP_WALKS_BURST;
	c->walks_at = now_s();
	c->root = strdup(root);
	r = c->root ? find_prefix(root, &c->prefix) : -ENOMEM;
	if (r < 0) {
		cgroup_cache_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void cgroup_cache_free(struct cgroup_cache *c)
{
	if (!c)
		return;
	for (struct cgroup_entry *e = c->newest, *older; e; e = older) {
		older = e->older;
		cgroup_name_done(&e->name);
		free(e);
	}
	free(c->root);
	free(c->prefix);
	free(c);
}

void cgroup_cache_counts(const struct cgroup_cache *c, struct cgroup_counts *ret)
{
	*ret = c->counts;
}

static struct cgroup_entry **bucket_of(struct cgroup_cache *c, uint64_t id)
{
	return &c->buckets[(id * 0x9e3779b97f4a7c15ULL >> 32) & (CGROUP_BUCKETS - 1)];
}

static struct cgroup_entry *cache_find(struct cgroup_cache *c, uint64_t id)
{
	struct cgroup_entry *e = *bucket_of(c, id);

	while (e && e->id != id)
		e = e->chain;
	return e;
}

static void use_unlink(struct cgroup_cache *c, struct cgroup_entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	e->newer = e->older = NULL;
}

static void use_as_newest(struct cgroup_cache *c, struct cgroup_entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void use_as_oldest(struct cgroup_cache *c, struct cgroup_entry *e)
{
	e->older = NULL;
	e->newer = c->oldest;
	*(c->oldest ? &c->oldest->older : &c->newest) = e;
	c->oldest = e;
}

static void cache_evict_oldest(struct cgroup_cache *c)
{
	struct cgroup_entry *e = c->oldest, **at = bucket_of(c, e->id);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	use_unlink(c, e);
	cgroup_name_done(&e->name);
	free(e);
	c->counts.names--;
	c->counts.evicted++;
}

/* A new entry with room made for it; the caller gives it its place in the order of use. */
static struct cgroup_entry *cache_add(struct cgroup_cache *c, uint64_t id)
{
	struct cgroup_entry *e, **bucket;

	if (c->counts.names >= CGROUP_CACHE_MAX)
		cache_evict_oldest(c);
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	bucket = bucket_of(c, id);
	e->id = id;
	e->chain = *bucket;
	*bucket = e;
	c->counts.names++;
	return e;
}

/*
 * A directory that the walk met. Nobody asked for it yet, so it is the first to go if there are more directories
 * than room, unless it is the one this walk was made for.
 */
static int cache_put(struct cgroup_cache *c, uint64_t id, const char *path, bool wanted)
{
	struct cgroup_entry *e = cache_find(c, id);
	struct cgroup_name name;
	int r;

	if (e && strcmp(e->name.path, path) == 0)
		return 0;
	r = cgroup_name_from_path(path, &name);
	if (r < 0)
		return r;
	if (e) {
		cgroup_name_done(&e->name);
	} else {
		e = cache_add(c, id);
		if (!e) {
			cgroup_name_done(&name);
			return -ENOMEM;
		}
		(wanted ? use_as_newest : use_as_oldest)(c, e);
	}
	e->name = name;
	return 0;
}

/* ---- the walk ---- */

struct cgroup_walk {
	struct cgroup_cache *cache;
	uint64_t wanted; /* 0: none */
	dev_t dev;
	int seen;
	char path[PATH_MAX];
};

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int walk_dir(struct cgroup_walk *w, int fd, size_t len, unsigned int depth);

/* Not a directory, gone in the meantime, not ours to read: all of them are passed over. */
static int walk_child(struct cgroup_walk *w, int fd, const struct dirent *d, size_t len,
		      unsigned int depth)
{
	size_t n = strlen(d->d_name);
	int child;

	if (d->d_type != DT_DIR && d->d_type != DT_UNKNOWN)
		return 0;
	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
		return 0;
	if (depth >= CGROUP_DEPTH_MAX || len + n + 2 > sizeof(w->path) ||
	    w->seen >= CGROUP_WALK_MAX) {
		w->cache->counts.skipped++;
		return 0;
	}
	child = openat(fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (child < 0)
		return 0;
	w->path[len] = '/';
	memcpy(w->path + len + 1, d->d_name, n + 1);
	return walk_dir(w, child, len + 1 + n, depth + 1);
}

/* The directory `fd` (taken over), whose path stands in w->path[0..len), and all below it. */
static int walk_dir(struct cgroup_walk *w, int fd, size_t len, unsigned int depth)
{
	_cleanup_close_ int own = fd;
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *d;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || st.st_dev != w->dev)
		return 0;
	w->seen++;
	r = cache_put(w->cache, st.st_ino, len > 0 ? w->path : "/", st.st_ino == w->wanted);
	/* Two links are the entry above and ".": no directory below, so no need to read 60 files' names. */
	if (r < 0 || st.st_nlink == 2)
		return r;
	dir = fdopendir(fd);
	if (!dir)
		return errno == ENOMEM ? -ENOMEM : 0;
	own = -1;
	while (r == 0 && (d = readdir(dir)))
		r = walk_child(w, fd, d, len, depth);
	w->path[len] = '\0';
	return r;
}

static int cache_walk(struct cgroup_cache *c, uint64_t wanted)
{
	_cleanup_free_ struct cgroup_walk *w = calloc(1, sizeof(*w));
	_cleanup_close_ int fd = -1;
	size_t len = strlen(c->prefix);
	struct stat st;
	int r;

	if (!w)
		return -ENOMEM;
	fd = open(c->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (len >= sizeof(w->path))
		return -ENAMETOOLONG;
	memcpy(w->path, c->prefix, len + 1);
	w->cache = c;
	w->wanted = wanted;
	w->dev = st.st_dev;
	r = walk_dir(w, util_take_fd(&fd), len, 0);
	return r < 0 ? r : w->seen;
}

int cgroup_cache_refresh(struct cgroup_cache *c)
{
	return cache_walk(c, 0);
}

/*
 * A thousand ids whose cgroups are gone must not cost a thousand walks in a row: after a burst, an unknown id
 * is taken for gone unless time has passed. A later walk that does find it puts its name right.
 */
static bool walk_allowed(struct cgroup_cache *c)
{
	double now = now_s();

	c->walks += (now - c->walks_at) / CGROUP_WALK_REFILL_S;
	c->walks = MIN(c->walks, CGROUP_WALKS_BURST);
	c->walks_at = now;
	if (c->walks < 1)
		return false;
	c->walks--;
	return true;
}

static struct cgroup_entry *cache_add_gone(struct cgroup_cache *c, uint64_t id)
{
	struct cgroup_name name;
	struct cgroup_entry *e;

	if (name_gone(id, &name) < 0)
		return NULL;
	e = cache_add(c, id);
	if (!e) {
		cgroup_name_done(&name);
		return NULL;
	}
	e->name = name;
	use_as_newest(c, e);
	return e;
}

const struct cgroup_name *cgroup_cache_get(struct cgroup_cache *c, uint64_t id)
{
	struct cgroup_entry *e = cache_find(c, id);

	if (!e) {
		if (walk_allowed(c) && cache_walk(c, id) == -ENOMEM)
			return NULL;
		e = cache_find(c, id);
	}
	if (!e)
		return (e = cache_add_gone(c, id)) ? &e->name : NULL;
	use_unlink(c, e);
	use_as_newest(c, e);
	return &e->name;
}
