// SPDX-License-Identifier: Apache-2.0
/* What this machine and this process offer; see node.h. */
#include "node.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "cgroup.h"
#include "util.h"

#define NODE_MOUNTS  "/proc/self/mounts"
#define NODE_WHY_MAX 5000 /* a path and a phrase */

static void node_say(char **ret_why, const char *fmt, ...) _printf_(2, 3);
static void node_say(char **ret_why, const char *fmt, ...)
{
	char text[NODE_WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	*ret_why = strdup(text);
}

static const char *cgroup_trouble(int r)
{
	switch (r) {
	case -ENOENT:
		return "no such directory";
	case -ENOTDIR:
		return "not a directory";
	case -ENOTSUP:
		return "not in a cgroup v2 hierarchy";
	default:
		return strerror(-r);
	}
}

int node_find_cgroup(const char *wanted, char **ret_dir, char **ret_why)
{
	_cleanup_free_ char *dir = NULL;
	int r;

	*ret_why = NULL;
	if (wanted) {
		dir = strdup(wanted);
		r = dir ? 0 : -ENOMEM;
	} else {
		r = cgroup_find_mount(NODE_MOUNTS, &dir);
		if (r == -ENOENT)
			node_say(ret_why,
				 "%s: no cgroup2 file system is mounted; mount one "
				 "(mount -t cgroup2 none /sys/fs/cgroup) or name one with --cgroup",
				 NODE_MOUNTS);
	}
	if (r < 0)
		return r;
	r = cgroup_check(dir);
	if (r < 0) {
		node_say(ret_why,
			 "%s: %s; name a directory below a cgroup2 mount with --cgroup "
			 "(findmnt -t cgroup2 lists the mounts)",
			 dir, cgroup_trouble(r));
		return r;
	}
	*ret_dir = TAKE_PTR(dir);
	return 0;
}

int node_effective_caps(const char *status_path, uint64_t *ret)
{
	_cleanup_fclose_ FILE *f = fopen(status_path, "re");
	unsigned long long caps;
	char line[256];

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1) {
			*ret = caps;
			return 0;
		}
	}
	return -EINVAL;
}

const char *node_missing_caps(uint64_t effective, char *buf, size_t size)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {{CAP_BPF, "CAP_BPF"},
		      {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
		      {CAP_PERFMON, "CAP_PERFMON"}};
	size_t n = 0;

	buf[0] = '\0';
	if (effective & 1ULL << CAP_SYS_ADMIN) /* stands for all three */
		return buf;
	for (size_t i = 0; i < ARRAY_SIZE(needed) && n < size; i++) {
		if (!(effective & 1ULL << needed[i].cap))
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "",
					      needed[i].name);
	}
	return buf;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int node_usage(struct node_usage *ret)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long pages;
	struct rusage used;

	if (!f || getrusage(RUSAGE_SELF, &used) < 0)
		return -errno;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		return -EIO;
	ret->resident_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	ret->cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
	return 0;
}

int node_check_bpffs(const char *dir)
{
	struct statfs fs;

	if (statfs(dir, &fs) < 0)
		return -errno;
	return fs.f_type == BPF_FS_MAGIC ? 0 : -ENOTSUP;
}
