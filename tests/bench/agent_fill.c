// SPDX-License-Identifier: Apache-2.0
/*
 * agent_fill PIN N CGROUP... - write N destinations into an agent's pinned maps, spread over the cgroup directories.
 *
 * As the programs would have left them: three of four TLS, the others plaintext HTTP with two status codes; two
 * addresses each; distributions with some observations. Owns: that made-up picture. Must not know: the agent.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "egress.h"

#define BATCH 1024

static void die(const char *what)
{
	fprintf(stderr, "agent_fill: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int map_open(const char *pin, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", pin, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		die(path);
	return fd;
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (__u64)t.tv_sec * 1000000000 + (__u64)t.tv_nsec;
}

static struct ea_dest_key key_of(unsigned int i, __u64 cgroup_id)
{
	struct ea_dest_key key = {.cgroup_id = cgroup_id};

	key.proto = i % 4 ? EA_PROTO_TLS : EA_PROTO_HTTP;
	key.source = i % 4 ? EA_SOURCE_SNI : EA_SOURCE_HTTP;
	key.port = i % 4 ? 443 : 80;
	key.host_len = (__u16)snprintf((char *)key.host, sizeof(key.host),
				       "service-%u.region-%u.example.com", i, i % 7);
	return key;
}

static struct ea_stats stats_of(unsigned int i)
{
	struct ea_stats s = {.opened = 1000 + i,
			     .closed = 990 + i,
			     .failed = i % 3,
			     .sent = 100000ULL * i,
			     .received = 1000003ULL * i,
			     .last_ns = now_ns()};

	s.connect.sum_ns = 1234567ULL * i;
	s.connect.n[0] = i;
	s.connect.n[1] = 10;
	s.connect.n[6] = 3;
	if (i % 4) {
		s.facts = EA_FACT_TLS12 | EA_FACT_TLS13 | EA_FACT_ALPN_H2 |
			  EA_FACT_TLS13 << EA_FACT_CHOSEN_SHIFT;
		s.handshake = s.connect;
	} else {
		s.requests = 2ULL * i;
		s.request_bytes = 300ULL * i;
		s.response_bytes = 5000ULL * i;
	}
	return s;
}

struct maps {
	int dests, stats, requests, addresses;
};

static void fill_requests(const struct maps *m, __u32 id, unsigned int i)
{
	for (unsigned int k = 0; k < 2 && i % 4 == 0; k++) {
		struct ea_request_key key = {
			.dest_id = id, .code = k ? 503 : 200, .method = EA_METHOD_GET};
		struct ea_request_stats v = {.count = i, .first_byte_ns = 1000000ULL * i};

		v.duration.sum_ns = 20000000ULL * i;
		v.duration.n[4] = i;
		v.duration.n[9] = 2;
		if (bpf_map_update_elem(m->requests, &key, &v, BPF_ANY))
			die("ea_requests");
	}
}

static void fill_addresses(const struct maps *m, __u32 id, unsigned int i)
{
	for (unsigned int k = 0; k < 2; k++) {
		struct ea_addr_key key = {.dest_id = id,
					  .addr = {[10] = 0xff,
						   [11] = 0xff,
						   [12] = 203,
						   [13] = (__u8)(i >> 16),
						   [14] = (__u8)(i >> 8),
						   [15] = (__u8)(i + k)}};
		__u64 now = now_ns();

		if (bpf_map_update_elem(m->addresses, &key, &now, BPF_ANY))
			die("ea_addrs");
	}
}

static void fill(const struct maps *m, unsigned int n, const __u64 *cgroups, unsigned int n_cgroups)
{
	for (unsigned int i = 0; i < n; i++) {
		struct ea_dest dest = {.id = EA_DEST_OVERFLOW + 1 + i, .first_ns = now_ns()};
		struct ea_dest_key key = key_of(i, cgroups[i % n_cgroups]);
		struct ea_stats stats = stats_of(i);

		if (bpf_map_update_elem(m->dests, &key, &dest, BPF_ANY))
			die("ea_dests");
		if (bpf_map_update_elem(m->stats, &dest.id, &stats, BPF_ANY))
			die("ea_stats");
		fill_requests(m, dest.id, i);
		fill_addresses(m, dest.id, i);
	}
}

int main(int argc, char **argv)
{
	static __u64 cgroups[4096];
	unsigned int n = argc > 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	unsigned int n_cgroups = 0;
	struct ea_state state;
	struct maps m;
	__u32 zero = 0;
	int fd;

	if (argc < 4 || argc - 3 > 4096) {
		fprintf(stderr, "usage: agent_fill PIN N CGROUP...\n");
		return 2;
	}
	for (int i = 3; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0)
			die(argv[i]);
		cgroups[n_cgroups++] = st.st_ino;
	}
	m = (struct maps){map_open(argv[1], "ea_dests"), map_open(argv[1], "ea_stats"),
			  map_open(argv[1], "ea_requests"), map_open(argv[1], "ea_addrs")};
	fill(&m, n, cgroups, n_cgroups);
	fd = map_open(argv[1], "ea_state");
	if (bpf_map_lookup_elem(fd, &zero, &state))
		die("ea_state");
	state.next_id = EA_DEST_OVERFLOW + 1 + n;
	state.dests = n;
	if (bpf_map_update_elem(fd, &zero, &state, BPF_ANY))
		die("ea_state");
	return 0;
}
