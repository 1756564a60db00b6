// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/cgroup.c: the naming rule over every layout there is, and the cache over real trees. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc.h"
#include "cgroup.h"
#include "util.h"

#define ID    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NODE  "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define SHORT "0123456789ab"
#define UID   "2f4cdd6a-11f2-4d4c-8d3e-0a1b2c3d4e5f"
#define UID_  "2f4cdd6a_11f2_4d4c_8d3e_0a1b2c3d4e5f"
#define HASH  "00112233445566778899aabbccddeeff"

#define SLICE "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice"
#define KIND                                                           \
	"/docker-" NODE ".scope/kubelet.slice/kubelet-kubepods.slice/" \
	"kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" UID_ ".slice"

static const struct {
	const char *path, *workload, *pod;
} names[] = {
	/* systemd driver: containerd, CRI-O, Docker; burstable, besteffort, guaranteed */
	{SLICE "/cri-containerd-" ID ".scope", SHORT, SLICE},
	{SLICE "/crio-" ID ".scope", SHORT, SLICE},
	{SLICE "/crio-conmon-" ID ".scope", "crio-conmon-" ID ".scope", SLICE},
	{SLICE "/docker-" ID ".scope", SHORT, SLICE},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
	 ".slice/cri-containerd-" ID ".scope",
	 SHORT, "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice"},
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", SHORT,
	 "/kubepods.slice/kubepods-pod" UID_ ".slice"},
	/* cgroupfs driver */
	{"/kubepods/burstable/pod" UID "/" ID, SHORT, "/kubepods/burstable/pod" UID},
	{"/kubepods/besteffort/pod" UID "/" ID, SHORT, "/kubepods/besteffort/pod" UID},
	{"/kubepods/pod" UID "/" ID, SHORT, "/kubepods/pod" UID},
	{"/kubepods/pod" UID "/crio-" ID, SHORT, "/kubepods/pod" UID},
	/* containerd's colon form: pod and container in one name */
	{"/system.slice/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID, SHORT,
	 "/system.slice/kubepods-burstable-pod" UID_ ".slice"},
	{"/kubepods-pod" UID_ ".slice:cri-containerd:" ID, SHORT, "/kubepods-pod" UID_ ".slice"},
	/* kind, minikube with Docker */
	{KIND "/cri-containerd-" ID ".scope", SHORT, KIND},
	{"/docker-" NODE ".scope/system.slice/containerd.service", "containerd.service",
	 "/docker-" NODE ".scope/system.slice"},
	{"/docker-" NODE ".scope", "fedcba987654", "/"},
	{"/docker/" NODE "/kubelet/kubepods/besteffort/pod" UID "/" ID, SHORT,
	 "/docker/" NODE "/kubelet/kubepods/besteffort/pod" UID},
	/* inside a cgroup namespace */
	{"/../../pod" UID "/" ID, SHORT, "/../../pod" UID},
	{"/../crio-" ID ".scope", SHORT, "/.."},
	/* static pods: a hash instead of a uid */
	{"/kubepods/burstable/pod" HASH "/" ID, SHORT, "/kubepods/burstable/pod" HASH},
	{"/kubepods.slice/kubepods-pod" HASH ".slice/crio-" ID ".scope/sub", SHORT,
	 "/kubepods.slice/kubepods-pod" HASH ".slice"},
	/* a container that divides its own cgroup further */
	{SLICE "/cri-containerd-" ID ".scope/init", SHORT, SLICE},
	{SLICE "/cri-containerd-" ID ".scope/system.slice/nginx.service", "nginx.service", SLICE},
	/* a pod within a pod: the inner one */
	{"/kubepods/pod" UID "/" NODE "/kubepods/pod" HASH "/" ID, SHORT,
	 "/kubepods/pod" UID "/" NODE "/kubepods/pod" HASH},
	/* Docker, Podman, nerdctl without Kubernetes */
	{"/system.slice/docker-" ID ".scope", SHORT, "/system.slice"},
	{"/docker/" ID, SHORT, "/docker"},
	{"/machine.slice/libpod-" ID ".scope/container", SHORT,
	 "/machine.slice/libpod-" ID ".scope"},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope", SHORT,
	 "/user.slice/user-1000.slice/user@1000.service/user.slice"},
	{"/default/nerdctl-" ID ".scope", SHORT, "/default"},
	/* systemd units, also from below */
	{"/system.slice/nginx.service", "nginx.service", "/system.slice"},
	{"/system.slice/nginx.service/worker/1", "nginx.service",
	 "/system.slice/nginx.service/worker"},
	{"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service",
	 "/system.slice/system-getty.slice"},
	{"/user.slice/user-0.slice/session-3.scope", "session-3.scope", "/user.slice/user-0.slice"},
	{"/init.scope", "init.scope", "/"},
	{"/system.slice/my\\x2dapp\\x2Dx.service", "my-app-x.service", "/system.slice"},
	{"/app\\x2dtwo.slice", "app-two.slice", "/"},
	/* an escape that would put a control byte or a terminal sequence there stays an escape */
	{"/a\\x0ab\\x1b.service", "a\\x0ab\\x1b.service", "/"},
	{"/caf\\xc3\\xa9.service", "caf\\xc3\\xa9.service", "/"},
	{"/a\\xzz\\x2.service", "a\\xzz\\x2.service", "/"},
	/* only units are unescaped */
	{"/my\\x2ddir", "my\\x2ddir", "/"},
	/* anything else: the directory's own name */
	{"/", "/", "/"},
	{"//", "/", "/"},
	{"/batch", "batch", "/"},
	{"/batch/", "batch", "/"},
	{"/lxc/web/", "web", "/lxc"},
	{"/a b\tc\n\xff", "a b\\x09c\\x0a\\xff", "/"},
	{"/.service", ".service", "/"},
	{"/.scope", ".scope", "/"},
	/* what only looks like one of the above */
	{"/x/" ID "0", ID "0", "/x"},
	{"/x/evil-" ID ".scope", "evil-" ID ".scope", "/x"},
	{"/x/evil-" ID, "evil-" ID, "/x"},
	{"/xpod" UID "/leaf/deep", "deep", "/xpod" UID "/leaf"},
	{"/pod" UID "0/leaf/deep", "deep", "/pod" UID "0/leaf"},
	{"/pod2f4cdd6a-11f2-4d4c-8d3e/leaf/deep", "deep", "/pod2f4cdd6a-11f2-4d4c-8d3e/leaf"},
	{"/pod/x/y", "y", "/pod/x"},
	{"/pod2f4cdd6a.11f2.4d4c.8d3e.0a1b2c3d4e5f/x/y", "y",
	 "/pod2f4cdd6a.11f2.4d4c.8d3e.0a1b2c3d4e5f/x"},
};

static void naming_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct cgroup_name n = {0};
		size_t len = strlen(names[i].path);

		assert_int_equal(cgroup_name_from_path(names[i].path, &n), 0);
		while (len > 1 && names[i].path[len - 1] == '/')
			len--;
		assert_int_equal(strlen(n.path), len);
		assert_memory_equal(n.path, names[i].path, len);
		if (strcmp(n.workload, names[i].workload) != 0 || strcmp(n.pod, names[i].pod) != 0)
			fail_msg("%s: workload '%s', pod '%s'", names[i].path, n.workload, n.pod);
		cgroup_name_done(&n);
	}
}

/* Who a path belongs to, in every layout there is: pod uid and container id, "" where there is none. */
#define BURSTABLE "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
#define NESTED                                   \
	"/kubelet.slice/kubelet-kubepods.slice/" \
	"kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" UID_ ".slice"

static const struct {
	const char *path, *uid, *id;
} identities[] = {
	/* systemd driver; guaranteed, burstable, besteffort */
	{"/kubepods.slice/kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", UID, ID},
	{BURSTABLE UID_ ".slice/cri-containerd-" ID ".scope", UID, ID},
	{BURSTABLE UID_ ".slice/crio-" ID ".scope", UID, ID},
	{BURSTABLE UID_ ".slice/crio-" ID ".scope/container", UID, ID},
	{BURSTABLE UID_ ".slice/docker-" ID ".scope", UID, ID},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
	 ".slice/cri-containerd-" ID ".scope",
	 UID, ID},
	/* CRI-O's monitor is in the pod, but no container */
	{BURSTABLE UID_ ".slice/crio-conmon-" ID ".scope", UID, ""},
	{"/kubepods/pod" UID "/crio-conmon-" ID, UID, ""},
	/* cgroupfs driver: containerd and Docker, CRI-O */
	{"/kubepods/pod" UID "/" ID, UID, ID},
	{"/kubepods/burstable/pod" UID "/" ID, UID, ID},
	{"/kubepods/besteffort/pod" UID "/" ID, UID, ID},
	{"/kubepods/burstable/pod" UID "/crio-" ID, UID, ID},
	/* the colon form, and as a directory of containerd's service */
	{"/system.slice/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID, UID, ID},
	{"/kubepods-pod" UID_ ".slice:cri-containerd:" ID, UID, ID},
	{"/system.slice/containerd.service/kubepods-burstable-pod" UID_ ".slice:cri-containerd:" ID,
	 UID, ID},
	{"/kubepods-burstable-pod" UID_ ".slice:crio:" ID "/sub", UID, ID},
	/* kind, minikube with Docker, kind with Podman, k3d */
	{KIND "/cri-containerd-" ID ".scope", UID, ID},
	{KIND "/crio-conmon-" ID ".scope", UID, ""},
	{"/docker-" NODE ".scope" NESTED "/cri-containerd-" ID ".scope", UID, ID},
	{"/docker/" NODE "/kubelet/kubepods/besteffort/pod" UID "/" ID, UID, ID},
	{"/docker/" NODE "/kubepods/pod" UID "/" ID, UID, ID},
	{"/machine.slice/libpod-" NODE ".scope/container" NESTED "/cri-containerd-" ID ".scope",
	 UID, ID},
	{"/docker-" NODE ".scope/system.slice/containerd.service", "", NODE},
	/* seen inside a cgroup namespace */
	{"/../../pod" UID "/" ID, UID, ID},
	{"/../../../burstable/pod" UID "/" ID, UID, ID},
	{"/../../kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", UID, ID},
	{"/../crio-" ID ".scope", "", ID},
	{"/../cri-containerd-" ID ".scope", "", ID},
	{"/../crio-conmon-" ID ".scope", "", ""},
	{"/" ID, "", ID},
	{"/", "", ""},
	/* static pods: a hash instead of a uid */
	{"/kubepods/burstable/pod" HASH "/" ID, HASH, ID},
	{"/kubepods.slice/kubepods-pod" HASH ".slice/cri-containerd-" ID ".scope", HASH, ID},
	{BURSTABLE HASH ".slice/crio-" ID ".scope", HASH, ID},
	{KIND "/../kubelet-kubepods-besteffort-pod" HASH ".slice/cri-containerd-" ID ".scope", HASH,
	 ID},
	/* the pod itself, its sandbox's neighbours, levels above it */
	{BURSTABLE UID_ ".slice", UID, ""},
	{"/kubepods/burstable/pod" UID, UID, ""},
	{"/kubepods/burstable", "", ""},
	{"/kubepods.slice", "", ""},
	/* a container that divides its own cgroup: systemd or Docker inside, the pod's container counts */
	{BURSTABLE UID_ ".slice/cri-containerd-" ID ".scope/init", UID, ID},
	{BURSTABLE UID_ ".slice/cri-containerd-" ID ".scope/system.slice/nginx.service", UID, ID},
	{BURSTABLE UID_ ".slice/cri-containerd-" ID ".scope/docker/" NODE, UID, ID},
	{"/kubepods/pod" UID "/" ID "/system.slice/docker-" NODE ".scope", UID, ID},
	/* a pod within a pod's container: the inner one */
	{"/kubepods/pod" UID "/" NODE "/kubepods/pod" HASH "/" ID, HASH, ID},
	/* upper case is the same uid */
	{"/kubepods/pod2F4CDD6A-11F2-4D4C-8D3E-0A1B2C3D4E5F/" ID, UID, ID},
	/* no Kubernetes */
	{"/system.slice/docker-" ID ".scope", "", ID},
	{"/docker/" ID, "", ID},
	{"/machine.slice/libpod-" ID ".scope/container", "", ID},
	{"/default/nerdctl-" ID ".scope", "", ID},
	{"/system.slice/nginx.service", "", ""},
	/* what only looks like one of the above */
	{"/kubepods/pod" UID "0/" ID, "", ID},
	{"/kubepods/xpod" UID "/" ID, "", ID},
	{"/kubepods/pod2f4cdd6a-11f2-4d4c-8d3e/" ID, "", ID},
	{"/kubepods/pod" HASH "0/" ID, "", ID},
	{"/kubepods/pod" UID "/" ID "0", UID, ""},
	{"/kubepods/pod" UID "/evil-" ID, UID, ""},
	{"/kubepods/pod" UID "/x\n" ID, UID, ""},
};

/* Pods within pods, outermost first, as "uid/container's id "; a pod has its own container, never an inner one's. */
static void pods_of_a_path(void **state)
{
	static const struct {
		const char *path, *pods;
	} cases[] = {
		{"/system.slice/nginx.service", ""},
		{"", ""},
		{"/kubepods/pod" UID "/" ID, UID "/" ID " "},
		{KIND "/cri-containerd-" ID ".scope", UID "/" ID " "},
		{"/kubepods-pod" UID_ ".slice:cri-containerd:" ID, UID "/" ID " "},
		{"/kubepods/pod" UID "/" NODE "/kubepods/pod" HASH "/" ID,
		 UID "/" NODE " " HASH "/" ID " "},
		{"/kubepods/pod" UID "/unknown/pod" HASH "/" ID, UID "/ " HASH "/" ID " "},
		{"/pod" HASH "/" NODE "/pod" HASH "/pod" UID "/x",
		 HASH "/" NODE " " HASH "/ " UID "/ "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[512] = "";
		struct cgroup_pod pod;

		for (size_t at = 0; cgroup_path_pod(cases[i].path, &at, &pod);)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s/%s ",
				 pod.uid, pod.container_id);
		assert_string_equal(text, cases[i].pods);
	}
}

static void identity_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
		struct cgroup_name n = {0};

		assert_int_equal(cgroup_name_from_path(identities[i].path, &n), 0);
		if (strcmp(n.pod_uid, identities[i].uid) != 0 ||
		    strcmp(n.container_id, identities[i].id) != 0)
			fail_msg("%s: uid '%s', id '%s'", identities[i].path, n.pod_uid,
				 n.container_id);
		cgroup_name_done(&n);
	}
	/* A cgroup that is gone has neither. */
	{
		struct cgroup_name n;

		assert_int_equal(cgroup_name_gone(7, &n), 0);
		assert_string_equal(n.pod_uid, "");
		assert_string_equal(n.container_id, "");
		cgroup_name_done(&n);
	}
}

static void naming_needs_a_slash(void **state)
{
	struct cgroup_name n;

	(void)state;
	assert_int_equal(cgroup_name_from_path("", &n), -EINVAL);
	assert_int_equal(cgroup_name_from_path("kubepods", &n), -EINVAL);
}

/* The longest names there are, every byte of them one that grows when escaped. */
static void long_names_are_bounded(void **state)
{
	static const char bytes[] = "z\x01\\";
	struct cgroup_name n;
	char path[258];

	(void)state;
	for (const char *b = bytes; *b; b++) {
		for (size_t len = 1; len <= 255; len++) {
			path[0] = '/';
			memset(path + 1, *b, len);
			path[len + 1] = '\0';
			assert_int_equal(cgroup_name_from_path(path, &n), 0);
			assert_true(strlen(n.workload) <= 255);
			if (*b == 'z')
				assert_string_equal(n.workload, path + 1);
			if (*b == '\x01' && len > 63)
				assert_string_equal(n.workload + strlen(n.workload) - 3, "...");
			cgroup_name_done(&n);
		}
	}
}

static void naming_without_memory(void **state)
{
	struct cgroup_name n;
	int r;

	(void)state;
	for (unsigned long k = 1;; k++) {
		alloc_fail_at(k);
		r = cgroup_name_from_path("/kubepods/pod" UID "/" ID, &n);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	cgroup_name_done(&n);
	for (unsigned long k = 1;; k++) {
		alloc_fail_at(k);
		r = cgroup_name_gone(1, &n);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	cgroup_name_done(&n);
}

/* ---- trees ---- */

struct tree {
	char root[64];
};

static int tree_make(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	snprintf(t->root, sizeof(t->root), "/tmp/test_cgroup.XXXXXX");
	*state = t;
	return mkdtemp(t->root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int tree_remove(void **state)
{
	struct tree *t = *state;
	int r = nftw(t->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);

	free(t);
	return r;
}

/* Make a directory below the tree and return its id. */
static uint64_t add_dir(const struct tree *t, const char *name)
{
	char path[512];
	uint64_t id;

	snprintf(path, sizeof(path), "%s%s", t->root, name);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(cgroup_id(path, &id), 0);
	return id;
}

static void remove_dir(const struct tree *t, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", t->root, name);
	assert_int_equal(rmdir(path), 0);
}

static struct cgroup_cache *open_cache(const struct tree *t)
{
	struct cgroup_cache *c;

	assert_int_equal(cgroup_cache_new(t->root, &c), 0);
	return c;
}

static void finds_mount(void **state)
{
	struct tree *t = *state;
	char file[128];
	char *dir = NULL;
	FILE *f;

	snprintf(file, sizeof(file), "%s/mounts", t->root);
	assert_int_equal(cgroup_find_mount(file, &dir), -ENOENT);
	f = fopen(file, "w");
	fputs("proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n", f);
	fclose(f);
	assert_int_equal(cgroup_find_mount(file, &dir), -ENOENT);
	assert_null(dir);
	f = fopen(file, "a");
	fputs("cgroup2 /mnt/a\\040b cgroup2 rw 0 0\ncgroup2 /other cgroup2 rw 0 0\n", f);
	fclose(f);
	assert_int_equal(cgroup_find_mount(file, &dir), 0);
	assert_string_equal(dir, "/mnt/a b");
	free(dir);
}

static void check_tells_what_is_wrong(void **state)
{
	struct tree *t = *state;

	assert_int_equal(cgroup_check("/nowhere/at/all"), -ENOENT);
	assert_int_equal(cgroup_check("/proc/self/status"), -ENOTDIR);
	assert_int_equal(cgroup_check(t->root), -ENOTSUP);
}

static void cache_finds_and_keeps(void **state)
{
	struct tree *t = *state;
	uint64_t slice = add_dir(t, "/system.slice");
	uint64_t unit = add_dir(t, "/system.slice/a.service"), late;
	struct cgroup_cache *c = open_cache(t);
	const struct cgroup_name *n;
	uint64_t root;

	assert_int_equal(cgroup_cache_refresh(c), 3);
	n = cgroup_cache_get(c, unit);
	assert_string_equal(n->workload, "a.service");
	assert_string_equal(n->path, "/system.slice/a.service");
	assert_string_equal(n->pod, "/system.slice");
	assert_string_equal(cgroup_cache_get(c, slice)->workload, "system.slice");
	assert_int_equal(cgroup_id(t->root, &root), 0);
	assert_string_equal(cgroup_cache_get(c, root)->workload, "/");

	/* Unknown: the tree is walked. */
	late = add_dir(t, "/system.slice/b.service");
	assert_string_equal(cgroup_cache_get(c, late)->workload, "b.service");

	/* Gone: the name stays. */
	remove_dir(t, "/system.slice/a.service");
	assert_int_equal(cgroup_cache_refresh(c), 3);
	assert_string_equal(cgroup_cache_get(c, unit)->workload, "a.service");
	cgroup_cache_free(c);
}

static void cache_unknown_id(void **state)
{
	struct tree *t = *state;
	struct cgroup_cache *c = open_cache(t);
	const struct cgroup_name *n = cgroup_cache_get(c, 18446744073709551615ull);

	assert_string_equal(n->workload, "cgroup-18446744073709551615");
	assert_string_equal(n->path, "");
	assert_ptr_equal(cgroup_cache_get(c, 18446744073709551615ull), n);
	cgroup_cache_free(c);
}

/* An id that was taken for gone (too many unknown ones at once) gets its name from a later walk. */
static void cache_walk_corrects(void **state)
{
	struct tree *t = *state;
	struct cgroup_cache *c = open_cache(t);
	char path[128];
	uint64_t id;

	/* The directory exists, but not below the root, when it is asked for. */
	id = add_dir(t, "/x");
	snprintf(path, sizeof(path), "%s.aside", t->root);
	{
		char from[128];

		snprintf(from, sizeof(from), "%s/x", t->root);
		assert_int_equal(rename(from, path), 0);
		assert_string_equal(cgroup_cache_get(c, id)->path, "");
		assert_int_equal(rename(path, from), 0);
	}
	assert_int_equal(cgroup_cache_refresh(c), 2);
	assert_string_equal(cgroup_cache_get(c, id)->workload, "x");
	cgroup_cache_free(c);
}

static void cache_ignores_links_and_files(void **state)
{
	struct tree *t = *state;
	struct cgroup_cache *c = open_cache(t);
	char path[128];
	uint64_t id;
	FILE *f;

	add_dir(t, "/a");
	snprintf(path, sizeof(path), "%s/a/up", t->root);
	assert_int_equal(symlink("..", path), 0);
	snprintf(path, sizeof(path), "%s/a/proc", t->root);
	assert_int_equal(symlink("/proc", path), 0);
	snprintf(path, sizeof(path), "%s/a/cgroup.procs", t->root);
	f = fopen(path, "w");
	fclose(f);
	assert_int_equal(cgroup_cache_refresh(c), 2);
	assert_int_equal(cgroup_id("/proc", &id), 0);
	assert_string_equal(cgroup_cache_get(c, id)->path, "");
	cgroup_cache_free(c);
}

static void cache_hostile_names(void **state)
{
	struct tree *t = *state;
	uint64_t id = add_dir(t, "/x\n\x1b]0;title\x07.service");
	struct cgroup_cache *c = open_cache(t);

	assert_string_equal(cgroup_cache_get(c, id)->workload, "x\\x0a\\x1b]0;title\\x07.service");
	cgroup_cache_free(c);
}

/* A tree that is deeper than anybody needs costs neither the stack nor file descriptors. */
static void cache_depth_is_bounded(void **state)
{
	struct tree *t = *state;
	struct cgroup_cache *c = open_cache(t);
	struct cgroup_counts counts;
	char name[512] = "";
	int seen;

	for (int i = 0; i < 100; i++) {
		memcpy(name + 2 * i, "/d", 3);
		add_dir(t, name);
	}
	seen = cgroup_cache_refresh(c);
	assert_true(seen > 32 && seen < 100);
	cgroup_cache_counts(c, &counts);
	assert_int_equal(counts.skipped, 1);
	assert_int_equal(counts.names, seen);
	cgroup_cache_free(c);
}

/* Beyond the limit the id that nobody asked for longest is given up. */
static void cache_evicts_unused(void **state)
{
	const uint64_t fake = 1ull << 40;
	struct tree *t = *state;
	uint64_t used = add_dir(t, "/used"), unused = add_dir(t, "/unused");
	struct cgroup_cache *c = open_cache(t);
	struct cgroup_counts counts;

	assert_string_equal(cgroup_cache_get(c, used)->workload, "used");
	remove_dir(t, "/used");
	remove_dir(t, "/unused");
	for (uint64_t i = 0; i < CGROUP_CACHE_MAX; i++) {
		assert_non_null(cgroup_cache_get(c, fake + i));
		if (i % 1000 == 0)
			assert_string_equal(cgroup_cache_get(c, used)->path, "/used");
	}
	cgroup_cache_counts(c, &counts);
	assert_int_equal(counts.names, CGROUP_CACHE_MAX);
	/* There was no room for the fakes and all that was known before; walks may have met the root again. */
	assert_true(counts.evicted >= 3);
	assert_string_equal(cgroup_cache_get(c, used)->path, "/used");
	assert_string_equal(cgroup_cache_get(c, unused)->path, "");
	cgroup_cache_free(c);
}

static void cache_missing_root(void **state)
{
	struct tree *t = *state;
	struct cgroup_cache *c;
	char sub[128];

	assert_int_equal(cgroup_cache_new("/nowhere/at/all", &c), -ENOENT);
	add_dir(t, "/sub");
	snprintf(sub, sizeof(sub), "%s/sub", t->root);
	assert_int_equal(cgroup_cache_new(sub, &c), 0);
	remove_dir(t, "/sub");
	assert_int_equal(cgroup_cache_refresh(c), -ENOENT);
	assert_string_equal(cgroup_cache_get(c, 7)->workload, "cgroup-7");
	cgroup_cache_free(c);
}

static void cache_without_memory(void **state)
{
	struct tree *t = *state;
	uint64_t id = add_dir(t, "/a.service");
	struct cgroup_cache *c = NULL;
	int r;

	for (unsigned long k = 1;; k++) {
		alloc_fail_at(k);
		r = cgroup_cache_new(t->root, &c);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	cgroup_cache_free(c);

	for (unsigned long k = 1;; k++) {
		const struct cgroup_name *n;

		c = open_cache(t);
		alloc_fail_at(k);
		n = cgroup_cache_get(c, id);
		if (alloc_failed())
			assert_null(n);
		else
			assert_string_equal(n->workload, "a.service");
		cgroup_cache_free(c);
		if (!alloc_failed())
			break;
	}
	alloc_fail_at(0);
}

/* Without CAP_DAC_READ_SEARCH the kernel opens no directory by its id. */
static void set_read_search(bool on)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	assert_int_equal(syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(1u << CAP_DAC_READ_SEARCH);
	data[0].effective |= on ? data[0].permitted & 1u << CAP_DAC_READ_SEARCH : 0;
	assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

/* A cache below `top`, a directory of a cgroup2 mount, finds names that are paths below that mount. */
static void assert_real_names(const struct tree *top, const char *base)
{
	struct cgroup_cache *c = open_cache(top);
	const struct cgroup_name *n;
	char want[192];
	uint64_t id, outside;

	add_dir(top, "/kubepods");
	id = add_dir(top, "/kubepods/" ID);
	n = cgroup_cache_get(c, id);
	snprintf(want, sizeof(want), "%s/kubepods/" ID, base);
	assert_string_equal(n->path, want);
	assert_string_equal(n->workload, SHORT);
	remove_dir(top, "/kubepods/" ID);
	assert_int_equal(cgroup_cache_refresh(c), 2);
	assert_string_equal(cgroup_cache_get(c, id)->path, want);

	/* The root by its own path; nothing from outside of it. */
	assert_int_equal(cgroup_id(top->root, &id), 0);
	assert_string_equal(cgroup_cache_get(c, id)->path, base);
	snprintf(want, sizeof(want), "%s/..", top->root);
	assert_int_equal(cgroup_id(want, &outside), 0);
	assert_string_equal(cgroup_cache_get(c, outside)->path, "");
	cgroup_cache_free(c);

	/* Gone before anybody asked. */
	c = open_cache(top);
	id = add_dir(top, "/gone");
	remove_dir(top, "/gone");
	assert_string_equal(cgroup_cache_get(c, id)->path, "");
	remove_dir(top, "/kubepods");
	cgroup_cache_free(c);
}

/* The real thing, both ways of looking an id up. */
static void cache_on_cgroup2(void **state)
{
	_cleanup_free_ char *mount = NULL;
	struct tree top = {""}, *t = *state;
	const char *base = strrchr(t->root, '/');

	if (cgroup_find_mount("/proc/self/mounts", &mount) < 0 || access(mount, W_OK) < 0 ||
	    strlen(mount) > 30) {
		print_message("skip - cache_on_cgroup2: no cgroup2 mount to write to\n");
		skip();
	}
	strcat(strcpy(top.root, mount), base); /* both are short, see above */
	if (mkdir(top.root, 0755) < 0) {
		print_message("skip - cache_on_cgroup2: cannot make a cgroup: %s\n",
			      strerror(errno));
		skip();
	}
	assert_int_equal(cgroup_check(top.root), 0);
	set_read_search(true);
	assert_real_names(&top, base);
	set_read_search(false);
	assert_real_names(&top, base);
	set_read_search(true);
	assert_int_equal(rmdir(top.root), 0);
}

#define TREE_TEST(f) cmocka_unit_test_setup_teardown(f, tree_make, tree_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(naming_rule),
		cmocka_unit_test(identity_rule),
		cmocka_unit_test(pods_of_a_path),
		cmocka_unit_test(naming_needs_a_slash),
		cmocka_unit_test(long_names_are_bounded),
		cmocka_unit_test(naming_without_memory),
		TREE_TEST(finds_mount),
		TREE_TEST(check_tells_what_is_wrong),
		TREE_TEST(cache_finds_and_keeps),
		TREE_TEST(cache_unknown_id),
		TREE_TEST(cache_walk_corrects),
		TREE_TEST(cache_ignores_links_and_files),
		TREE_TEST(cache_hostile_names),
		TREE_TEST(cache_depth_is_bounded),
		TREE_TEST(cache_evicts_unused),
		TREE_TEST(cache_missing_root),
		TREE_TEST(cache_without_memory),
		TREE_TEST(cache_on_cgroup2),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
