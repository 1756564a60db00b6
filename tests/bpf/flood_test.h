/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More than a million names that nobody has seen before, from one cgroup: what the maps hold stays as small as README says, and
 * every connection is in them. Part of test_bpf.c, whose connections and results it uses.
 */
#ifndef FLOOD_TEST_H
#define FLOOD_TEST_H

#include <dirent.h>

/* Connections; one in eleven is HTTP. EA_FLOOD=N: fewer, where a machine is slow. */
#define FLOOD 1100000

/* As README has it: of one workload with 200 hosts, in the maps that grow with what is counted. */
#define FLOOD_ROWS   1602
#define FLOOD_MEMORY (4u << 20)

/* The kernel's own word on the maps of this process whose entries are allocated one by one. */
static size_t grown_memory(void)
{
	static const char *const maps[] = {"ea_dests", "ea_stats", "ea_requests", "ea_workloads"};
	size_t sum = 0;

	for (int fd = 0; fd < 256; fd++) {
		struct bpf_map_info info = {0};
		__u32 size = sizeof(info);
		char path[64], line[128];
		unsigned long bytes;
		bool ours = false;
		FILE *f;

		if (bpf_obj_get_info_by_fd(fd, &info, &size))
			continue;
		for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
			ours |= strcmp(info.name, maps[i]) == 0;
		sprintf(path, "/proc/self/fdinfo/%d", fd);
		f = ours ? fopen(path, "r") : NULL;
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "memlock: %lu", &bytes) == 1)
				sum += bytes;
		if (f)
			fclose(f);
	}
	return sum;
}

static void random_name(unsigned int *seed, char *name)
{
	int n = 8 + rand_r(seed) % 16;

	for (int i = 0; i < n; i++)
		name[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[rand_r(seed) / 64 % 36];
	strcpy(name + n, ".example");
}

/* In as few packets as it takes. */
static void flood_one(struct bpf_agent *agent, uint16_t port, const void *data, size_t size)
{
	struct conn c = {agent, false, port, {1, 1}};

	send_segment(&c, CLIENT, SYN, "", 0);
	send_segment(&c, SERVER, SYN | ACK, "", 0);
	send_segment(&c, CLIENT, ACK, data, size);
	send_segment(&c, CLIENT, RST, "", 0);
}

static void flood_told(struct bpf_agent *agent, size_t before, uint64_t n)
{
	struct bpf_snapshot s;
	uint64_t opened = 0, closed = 0, requests = 0;
	size_t memory = grown_memory() - before;

	if (bpf_agent_snapshot(agent, &s)) {
		result(false, "flood: no snapshot");
		return;
	}
	for (size_t i = 0; i < s.n_dests; i++) {
		opened += s.dests[i].stats.opened;
		closed += s.dests[i].stats.closed;
		requests += s.dests[i].stats.requests;
	}
	result(opened == n && closed == n && requests == n / 11 && s.n_dests <= FLOOD_ROWS + 1 &&
		       s.counters[EA_COUNT_DEST_FOLDED] >= opened - FLOOD_ROWS &&
		       !s.counters[EA_COUNT_DEST_OVERFLOW] && !s.counters[EA_COUNT_NO_STATS],
	       "flood: %llu connections to random hosts in %zu rows, %llu of them folded, %llu "
	       "requests",
	       (unsigned long long)opened, s.n_dests,
	       (unsigned long long)s.counters[EA_COUNT_DEST_FOLDED], (unsigned long long)requests);
	result(memory < FLOOD_MEMORY, "flood: the maps grew by %zu KiB, %u are allowed",
	       memory >> 10, FLOOD_MEMORY >> 10);
	bpf_snapshot_done(&s);
}

static void flood(void)
{
	struct bpf_agent *agent = agent_with_room(200);
	size_t before = grown_memory();
	const char *fewer = getenv("EA_FLOOD");
	uint64_t n_all = fewer ? strtoul(fewer, NULL, 10) : FLOOD;
	unsigned int seed = 1;
	char name[64], request[128];

	for (uint64_t i = 0; i < n_all; i++) {
		random_name(&seed, name);
		if (i % 11 == 10) {
			int n = sprintf(request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name);

			flood_one(agent, 80, request, (size_t)n);
		} else {
			struct stream hello = hello_stream(&(struct hello){.sni = name});

			flood_one(agent, 443, hello.data, hello.size);
		}
	}
	flood_told(agent, before, n_all);
	bpf_agent_close(agent);
}

#endif
