/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine and this process offer: the cgroup to attach to, privileges, own use of memory and CPU.
 *
 * Owns: the files below /proc that say so, and the phrases for what is missing.
 * Must not know: BPF programs, destinations.
 */
#ifndef NODE_H
#define NODE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The cgroup v2 directory to attach to: `wanted`, or if NULL the first cgroup2 mount of this machine. On failure
 * *ret_why is "<directory or place>: <why>; <what to do>" (owned, may be NULL).
 */
int node_find_cgroup(const char *wanted, char **ret_dir, char **ret_why);

/* Effective capabilities from a /proc/PID/status file, bit n is capability n. -EINVAL: no such line. */
int node_effective_caps(const char *status_path, uint64_t *ret);

/* What the agent needs and `effective` lacks: "CAP_BPF, CAP_PERFMON", empty if nothing. Returns buf. */
const char *node_missing_caps(uint64_t effective, char *buf, size_t size);

struct node_usage {
	uint64_t resident_bytes;
	double cpu_seconds; /* user and system, since the process started */
};
int node_usage(struct node_usage *ret);

/* -ENOTSUP if `dir` is not on a BPF file system, -errno if it cannot be looked at. */
int node_check_bpffs(const char *dir);

#endif
