// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/node.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cgroup.h"
#include "node.h"
#include "util.h"

/* A file that holds text, as a path. */
static const char *file_with(const char *text, int *ret_fd)
{
	static char path[64];

	*ret_fd = memfd_create("status", MFD_CLOEXEC);
	assert_true(*ret_fd >= 0);
	assert_int_equal(write(*ret_fd, text, strlen(text)), strlen(text));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_fd);
	return path;
}

static void effective_caps(void **state)
{
	const char *path;
	uint64_t caps = 0;
	int fd;

	(void)state;
	path = file_with("Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\n"
			 "CapEff:\t000000c000001000\nCapBnd:\t000001ffffffffff\n",
			 &fd);
	assert_int_equal(node_effective_caps(path, &caps), 0);
	assert_true(caps == 0xc000001000ULL);
	close(fd);
	path = file_with("Name:\tCapEff\n", &fd);
	assert_int_equal(node_effective_caps(path, &caps), -EINVAL);
	close(fd);
	assert_int_equal(node_effective_caps("/nowhere/at/all", &caps), -ENOENT);
	assert_int_equal(node_effective_caps("/proc/self/status", &caps), 0);
}

static void missing_caps(void **state)
{
	const uint64_t bpf = 1ULL << 39, net = 1ULL << 12, perfmon = 1ULL << 38, sys = 1ULL << 21;
	char buf[64];

	(void)state;
	assert_string_equal(node_missing_caps(0, buf, sizeof(buf)),
			    "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
	assert_string_equal(node_missing_caps(net, buf, sizeof(buf)), "CAP_BPF, CAP_PERFMON");
	assert_string_equal(node_missing_caps(bpf | perfmon, buf, sizeof(buf)), "CAP_NET_ADMIN");
	assert_string_equal(node_missing_caps(bpf | perfmon | net, buf, sizeof(buf)), "");
	assert_string_equal(node_missing_caps(sys, buf, sizeof(buf)), "");
	assert_string_equal(node_missing_caps(~(bpf | sys), buf, sizeof(buf)), "CAP_BPF");
}

static void assert_no_cgroup(const char *wanted, int error, const char *why_begins)
{
	_cleanup_free_ char *dir = NULL, *why = NULL;

	assert_int_equal(node_find_cgroup(wanted, &dir, &why), error);
	assert_null(dir);
	assert_non_null(why);
	if (strncmp(why, why_begins, strlen(why_begins)) != 0)
		fail_msg("'%s' does not begin with '%s'", why, why_begins);
	assert_non_null(strstr(why, "--cgroup"));
}

static void wrong_cgroups(void **state)
{
	(void)state;
	assert_no_cgroup("/nowhere/at/all", -ENOENT, "/nowhere/at/all: no such directory; ");
	assert_no_cgroup("/proc/self/status", -ENOTDIR, "/proc/self/status: not a directory; ");
	assert_no_cgroup("/proc", -ENOTSUP, "/proc: not in a cgroup v2 hierarchy; ");
}

static void default_cgroup(void **state)
{
	_cleanup_free_ char *mount = NULL, *dir = NULL, *why = NULL;

	(void)state;
	if (cgroup_find_mount("/proc/self/mounts", &mount) < 0) {
		assert_no_cgroup(NULL, -ENOENT, "/proc/self/mounts: no cgroup2 file system");
		return;
	}
	assert_int_equal(node_find_cgroup(NULL, &dir, &why), 0);
	assert_string_equal(dir, mount);
	assert_null(why);
}

static void usage(void **state)
{
	struct node_usage before = {0}, after = {0};
	volatile uint64_t work = 0;

	(void)state;
	assert_int_equal(node_usage(&before), 0);
	assert_true(before.resident_bytes > 100000);
	/* Until the clock of the process has moved: it must, as this loop is all that it does. */
	do {
		for (int i = 0; i < 1000000; i++)
			work += (uint64_t)i;
		assert_int_equal(node_usage(&after), 0);
	} while (after.cpu_seconds <= before.cpu_seconds);
}

static void bpffs(void **state)
{
	(void)state;
	assert_int_equal(node_check_bpffs("/proc"), -ENOTSUP);
	assert_int_equal(node_check_bpffs("/nowhere/at/all"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(effective_caps), cmocka_unit_test(missing_caps),
		cmocka_unit_test(wrong_cgroups),  cmocka_unit_test(default_cgroup),
		cmocka_unit_test(usage),          cmocka_unit_test(bpffs),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
