// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup v2 directories; see cgroup.h.
 *
 * Owns: the walk of the tree, where nothing is followed and everything is bounded, and the cache of what it found.
 * Must not know: how a name comes out of a path (cgroup_name.c), Kubernetes objects, destinations.
 */
#include "cgroup.h"

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

#define CGROUP_DEPTH_MAX     64 /* levels of the tree that are walked: one open directory each */
#define CGROUP_WALK_MAX      (2 * CGROUP_CACHE_MAX) /* directories in one walk */
#define CGROUP_BUCKETS       16384                  /* of the cache's hash table; a power of two */
#define CGROUP_WALK_BUDGET_S 0.25 /* of walks that look-ups of unknown ids may cause at once ... */
#define CGROUP_WALK_SHARE    0.1  /* ... and of the time that passes */
#define CGROUP_HANDLE_TYPE \
	0xfe /* FILEID_KERNFS of linux/exportfs.h, which user space does not get */

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

/* ---- the cache ---- */

struct cgroup_entry {
	uint64_t id;
	struct cgroup_name name;
	struct cgroup_entry *chain;         /* next in the bucket */
	struct cgroup_entry *newer, *older; /* by use */
};

struct cgroup_cache {
	char *root;  /* as realpath() has it */
	size_t skip; /* bytes of it that are the mount; for a tree that is no cgroup2, all */
	int root_fd; /* to look ids up directly; -1: this kernel or our privileges do not let us */
	struct cgroup_entry *buckets[CGROUP_BUCKETS];
	struct cgroup_entry *newest, *oldest;
	struct cgroup_counts counts;
	double budget_s; /* of walks that look-ups may still cause */
	double budget_at;
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

/* Fill root, skip and root_fd. */
static int cache_open_root(struct cgroup_cache *c, const char *root)
{
	_cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *end;
	int levels;

	if (fd < 0)
		return -errno;
	c->root = realpath(root, NULL);
	if (!c->root)
		return -errno;
	c->skip = strlen(c->root);
	if (cgroup_check(root) < 0)
		return 0;
	levels = levels_to_mount(fd);
	if (levels < 0)
		return levels;
	for (end = c->root + c->skip; levels > 0 && end > c->root; levels--) {
		do
			end--;
		while (end > c->root && *end != '/');
	}
	c->skip = (size_t)(end - c->root);
	c->root_fd = util_take_fd(&fd);
	return 0;
}

int cgroup_cache_new(const char *root, struct cgroup_cache **ret)
{
	struct cgroup_cache *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->root_fd = -1;
	c->budget_s = CGROUP_WALK_BUDGET_S;
	c->budget_at = now_s();
	r = cache_open_root(c, root);
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
	util_closep(&c->root_fd);
	free(c->root);
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
	(void)util_take_fd(&own); /* the directory stream closes it */
	while (r == 0 && (d = readdir(dir)))
		r = walk_child(w, fd, d, len, depth);
	w->path[len] = '\0';
	return r;
}

static int cache_walk(struct cgroup_cache *c, uint64_t wanted)
{
	_cleanup_free_ struct cgroup_walk *w = calloc(1, sizeof(*w));
	_cleanup_close_ int fd = -1;
	const char *prefix = c->root + c->skip;
	struct stat st;
	int r;

	if (!w)
		return -ENOMEM;
	fd = open(c->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	memcpy(w->path, prefix,
	       strlen(prefix) + 1); /* realpath() knows nothing longer than PATH_MAX */
	w->cache = c;
	w->wanted = wanted;
	w->dev = st.st_dev;
	r = walk_dir(w, util_take_fd(&fd), strlen(prefix), 0);
	return r < 0 ? r : w->seen;
}

int cgroup_cache_refresh(struct cgroup_cache *c)
{
	return cache_walk(c, 0);
}

/* ---- one id ---- */

/*
 * The kernel can open a cgroup by its id (5.5 and later, CAP_DAC_READ_SEARCH): microseconds instead of a walk, so
 * that even a container that lives for a moment gets its name. 0; -ESTALE: no such cgroup; -ENOTSUP: not here.
 */
static int cache_open_id(struct cgroup_cache *c, uint64_t id)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + sizeof(id)];
	} u = {.handle = {.handle_bytes = sizeof(id), .handle_type = CGROUP_HANDLE_TYPE}};
	_cleanup_close_ int fd = -1;
	char self[64], path[PATH_MAX];
	size_t len = strlen(c->root);
	struct stat st;
	ssize_t n;

	memcpy(u.handle.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(c->root_fd, &u.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ESTALE || errno == ENOENT ? -ESTALE : -ENOTSUP;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, path, sizeof(path) - 1);
	if (n < 0)
		return -ENOTSUP;
	path[n] = '\0';
	/* Not below the root, or removed a moment ago, which shows as another name. */
	if (strncmp(path, c->root, len) != 0 || (path[len] != '/' && path[len] != '\0') ||
	    lstat(path, &st) < 0 || st.st_ino != id)
		return -ESTALE;
	return cache_put(c, id, path[c->skip] ? path + c->skip : "/", true);
}

/*
 * Where only walks tell, a thousand ids whose cgroups are gone must not cost a thousand of them in a row: when they
 * have taken their share of the time, an unknown id is taken for gone. A later walk that does find it puts its name
 * right.
 */
static int cache_walk_for(struct cgroup_cache *c, uint64_t id)
{
	double start = now_s();
	int r;

	c->budget_s += (start - c->budget_at) * CGROUP_WALK_SHARE;
	c->budget_s = MIN(c->budget_s, CGROUP_WALK_BUDGET_S);
	c->budget_at = start;
	if (c->budget_s <= 0)
		return 0;
	r = cache_walk(c, id);
	c->budget_s -= now_s() - start;
	return r;
}

static int cache_look_up(struct cgroup_cache *c, uint64_t id)
{
	int r = -ENOTSUP;

	if (c->root_fd >= 0)
		r = cache_open_id(c, id);
	if (r != -ENOTSUP)
		return r;
	if (c->root_fd >= 0)
		close(util_take_fd(&c->root_fd));
	return cache_walk_for(c, id);
}

static struct cgroup_entry *cache_add_gone(struct cgroup_cache *c, uint64_t id)
{
	struct cgroup_name name;
	struct cgroup_entry *e;

	if (cgroup_name_gone(id, &name) < 0)
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
		if (cache_look_up(c, id) == -ENOMEM)
			return NULL;
		e = cache_find(c, id);
	}
	if (!e)
		return (e = cache_add_gone(c, id)) ? &e->name : NULL;
	use_unlink(c, e);
	use_as_newest(c, e);
	return &e->name;
}

bool cgroup_cache_is_gone(struct cgroup_cache *c, uint64_t id)
{
	const struct cgroup_name *name = cgroup_cache_get(c, id);
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (!name)
		return false;
	if (!*name->path)
		return true;
	if (asprintf(&path, "%.*s%s", (int)c->skip, c->root, name->path) < 0)
		return false;
	return stat(path, &st) < 0 ? errno == ENOENT : st.st_ino != id;
}
