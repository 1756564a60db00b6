// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent check: can this node run the agent? One line a question, what to do where the answer is no.
 *
 * Owns: the questions and their wording. Must not know: how any of it is done; it asks the modules that do it.
 */
#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "bpf.h"
#include "commands.h"
#include "egress.h"
#include "node.h"
#include "util.h"

#define CHECK_BTF     "/sys/kernel/btf/vmlinux"
#define CHECK_STATUS  "/proc/self/status"
#define CHECK_TEXT    5000
#define CHECK_MESH    15001
#define KERNEL_NEEDED KERNEL_AT(5, 17) /* bpf_loop */
#define KERNEL_MEMCG \
	KERNEL_AT(5, 11) /* from here on BPF memory is the cgroup's, RLIMIT_MEMLOCK no matter */

#define KERNEL_AT(major, minor) ((major)*1000u + (minor))

struct check_options {
	const char *cgroup, *pin;
};

/* What one question came to; text is the detail, with what to do when it failed. */
struct check_result {
	bool ok;
	char text[CHECK_TEXT];
};

static void result_set(struct check_result *ret, bool ok, const char *fmt, ...) _printf_(3, 4);
static void result_set(struct check_result *ret, bool ok, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ret->text, sizeof(ret->text), fmt, ap);
	va_end(ap);
	ret->ok = ok;
}

/* 6001 for "6.1.0-18-amd64"; 0 if it looks otherwise. */
static unsigned int kernel_version(struct utsname *ret_name)
{
	unsigned int major, minor;

	if (uname(ret_name) < 0 || sscanf(ret_name->release, "%u.%u", &major, &minor) != 2)
		return 0;
	return KERNEL_AT(major, minor);
}

static void check_kernel(const struct check_options *o, struct check_result *ret)
{
	struct utsname name = {.release = "?"};
	bool ok = kernel_version(&name) >= KERNEL_NEEDED;

	(void)o;
	result_set(ret, ok, "%s%s", name.release, ok ? "" : "; use Linux 5.17 or later");
}

static void check_btf(const struct check_options *o, struct check_result *ret)
{
	(void)o;
	if (access(CHECK_BTF, R_OK) == 0)
		result_set(ret, true, "%s", CHECK_BTF);
	else if (errno == ENOENT)
		result_set(ret, false,
			   "%s is missing; use a kernel built with CONFIG_DEBUG_INFO_BTF",
			   CHECK_BTF);
	else
		result_set(ret, false, "%s: %s; let this user read it", CHECK_BTF, strerror(errno));
}

static void check_cgroup(const struct check_options *o, struct check_result *ret)
{
	_cleanup_free_ char *dir = NULL, *why = NULL;
	int r = node_find_cgroup(o->cgroup, &dir, &why);

	if (r == 0)
		result_set(ret, true, "%s", dir);
	else
		result_set(ret, false, "%s", why ? why : strerror(-r));
}

static void check_capabilities(const struct check_options *o, struct check_result *ret)
{
	char missing[64];
	uint64_t caps;
	int r = node_effective_caps(CHECK_STATUS, &caps);

	(void)o;
	if (r < 0)
		result_set(ret, false, "%s: %s; mount /proc", CHECK_STATUS, strerror(-r));
	else if (*node_missing_caps(caps, missing, sizeof(missing)))
		result_set(ret, false, "%s missing; run as root or grant them", missing);
	else
		result_set(ret, true, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
}

static void check_memlock(const struct check_options *o, struct check_result *ret)
{
	struct rlimit limit = {0};
	struct utsname name;

	(void)o;
	if (kernel_version(&name) >= KERNEL_MEMCG)
		result_set(ret, true, "no limit on BPF memory but the cgroup's");
	else if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max == RLIM_INFINITY)
		result_set(ret, true, "RLIMIT_MEMLOCK may be raised");
	else
		result_set(
			ret, false,
			"RLIMIT_MEMLOCK is %llu KiB and kernels before 5.11 charge BPF maps to it; "
			"set it to unlimited (ulimit -l unlimited, LimitMEMLOCK=infinity)",
			(unsigned long long)limit.rlim_max / 1024);
}

static void check_bpffs(const struct check_options *o, struct check_result *ret)
{
	_cleanup_free_ char *copy = NULL;
	const char *parent;
	int r;

	if (strcmp(o->pin, "off") == 0) {
		result_set(ret, true, "not needed: --pin is off");
		return;
	}
	copy = strdup(o->pin);
	parent = copy ? dirname(copy) : "";
	r = copy ? node_check_bpffs(parent) : -ENOMEM;
	/* The folder itself may be there already, and be another user's. */
	if (r == 0 && access(access(o->pin, F_OK) == 0 ? o->pin : parent, W_OK | X_OK) < 0)
		result_set(ret, false,
			   "%s: %s; let this user write there, mount it without 'ro', or choose "
			   "another --pin",
			   o->pin, strerror(errno));
	else if (r == 0)
		result_set(ret, true, "%s", parent);
	else
		result_set(ret, false,
			   "%s: %s; mount one there (mount -t bpf bpf %s) or choose another --pin",
			   parent, r == -ENOTSUP ? "not a BPF file system" : strerror(-r), parent);
}

static void load_log(int level, const char *text)
{
	(void)level;
	(void)text;
}

static const char *load_what_to_do(int r)
{
	char missing[64];
	uint64_t caps;

	if (r != -EPERM && r != -EACCES)
		return "see the lines above, then 'egress-agent run --log-level debug'";
	if (node_effective_caps(CHECK_STATUS, &caps) < 0 ||
	    *node_missing_caps(caps, missing, sizeof(missing)))
		return "run as root or grant the capabilities above";
	return "allow bpf() in the seccomp profile (or use a newer container runtime), SELinux or "
	       "AppArmor policy or user namespace";
}

/* Nothing is attached and nothing pinned: the kernel's verifier says yes or no, and all is gone again. */
static void check_load(const struct check_options *o, struct check_result *ret)
{
	const struct bpf_options options = {
		.max_destinations = 1024, .max_hosts_per_workload = 200, .mesh_port = CHECK_MESH};
	_cleanup_free_ char *why = NULL;
	struct bpf_agent *agent;
	bool adopted;
	int r;

	(void)o;
	bpf_set_log(load_log);
	r = bpf_agent_open(&options, &agent, &adopted, &why);
	if (r == 0) {
		bpf_agent_close(agent);
		result_set(ret, true, "all programs pass this kernel's verifier");
		return;
	}
	result_set(ret, false, "%s; %s", why ? why : strerror(-r), load_what_to_do(r));
}

static int check_run(void *data, char **operands, int n_operands)
{
	static const struct {
		const char *name;
		void (*ask)(const struct check_options *o, struct check_result *ret);
	} questions[] = {
		{"kernel", check_kernel},   {"btf", check_btf},
		{"cgroup", check_cgroup},   {"capabilities", check_capabilities},
		{"memlock", check_memlock}, {"bpffs", check_bpffs},
		{"programs", check_load},
	};
	bool all = true;
	int status = EXIT_DONE;

	(void)operands;
	(void)n_operands;
	for (size_t i = 0; i < ARRAY_SIZE(questions) && !status; i++) {
		struct check_result result = {0};

		questions[i].ask(data, &result);
		printf("%-4s  %-12s  %s\n", result.ok ? "ok" : "FAIL", questions[i].name,
		       result.text);
		status = opt_flush("check");
		all = all && result.ok;
	}
	return all ? status : EXIT_CANNOT;
}

static const struct opt check_opts[] = {
	{.name = "cgroup",
	 .type = OPT_STRING,
	 .offset = offsetof(struct check_options, cgroup),
	 .arg = "DIR",
	 .help = "cgroup v2 directory the agent is to attach to (default: the first cgroup2 "
		 "mount)"},
	{.name = "pin",
	 .type = OPT_STRING,
	 .offset = offsetof(struct check_options, pin),
	 .arg = "DIR",
	 .help = "directory the agent is to keep its maps in, on a BPF file system; 'off' for none",
	 .def = "/sys/fs/bpf/egress-agent"},
};

const struct command check_command = {
	.name = "check",
	.summary = "say whether this node can run the agent, line by line, and what is missing",
	.usage = "[OPTION]...",
	.example = "sudo egress-agent check",
	.opts = check_opts,
	.n_opts = ARRAY_SIZE(check_opts),
	.run = check_run,
	.options_size = sizeof(struct check_options),
};
