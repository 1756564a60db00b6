// SPDX-License-Identifier: Apache-2.0
/*
 * Read the maps into one struct bpf_snapshot.
 *
 * Order matters where counters depend on each other: a reader must never see the effect without the cause. Answers
 * are read before requests, requests before the keys they belong to.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bpf.h"
#include "bpf_agent.h"
#include "util.h"

/* Entries asked for per system call; a bucket that holds more makes it double. */
#define BATCH 4096

void bpf_dest_cache_done(struct bpf_agent *a)
{
	free(a->known);
	a->known = NULL;
	a->n_known = 0;
}

/* All of a hash map. */
struct dump {
	void *keys;
	void *values;
	size_t n;
};

static void dump_done(struct dump *d)
{
	free(d->keys);
	free(d->values);
}

#define _cleanup_dump_ _cleanup_(dump_done)

static size_t cpus(void)
{
	int n = libbpf_num_possible_cpus();

	return n > 0 ? (size_t)n : 1;
}

static int dump_grow(struct dump *d, size_t room, size_t key_size, size_t value_size)
{
	void *keys = realloc(d->keys, room * key_size);
	void *values;

	if (!keys)
		return -ENOMEM;
	d->keys = keys;
	values = realloc(d->values, room * value_size);
	if (!values)
		return -ENOMEM;
	d->values = values;
	return 0;
}

/* One system call's worth, behind what is there. 1: there is more; 0: that was all. */
static int dump_batch(int fd, struct dump *d, size_t *room, size_t key_size, size_t value_size,
		      void *place, bool first)
{
	__u32 n = BATCH;
	int r;

	while (*room < d->n + n) {
		*room = MAX(*room * 2, d->n + n);
		r = dump_grow(d, *room, key_size, value_size);
		if (r)
			return r;
	}
	n = (__u32)(*room - d->n);
	r = bpf_map_lookup_batch(fd, first ? NULL : place, place, (char *)d->keys + d->n * key_size,
				 (char *)d->values + d->n * value_size, &n, NULL);
	if (r == -ENOSPC) {
		*room *= 2;
		r = dump_grow(d, *room, key_size, value_size);
		return r ? r : 1;
	}
	if (r && r != -ENOENT)
		return r;
	d->n += n;
	return r != -ENOENT;
}

static int dump_map(const struct bpf_map *map, struct dump *ret)
{
	size_t key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map), room = 0;
	_cleanup_dump_ struct dump d = {};
	_cleanup_free_ char *place = calloc(1, MAX(key_size, sizeof(__u32)));
	size_t before;
	bool first = true;
	int r;

	if (!place)
		return -ENOMEM;
	do {
		before = d.n;
		r = dump_batch(bpf_map__fd(map), &d, &room, key_size, value_size, place, first);
		first = first && d.n == before;
	} while (r > 0);
	if (r < 0)
		return r;
	ret->keys = TAKE_PTR(d.keys);
	ret->values = TAKE_PTR(d.values);
	ret->n = d.n;
	return 0;
}

/* Run the iterator over all live sockets to its end; it prints nothing. */
static int account_live(struct bpf_agent *a)
{
	_cleanup_close_ int fd = a->iter ? bpf_iter_create(bpf_link__fd(a->iter)) : -EOPNOTSUPP;
	char nothing[64];
	ssize_t n;

	if (fd < 0)
		return fd;
	do {
		n = read(fd, nothing, sizeof(nothing));
	} while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	return n < 0 ? -errno : 0;
}

static int compare_request(const void *x, const void *y)
{
	const struct bpf_request_row *a = x, *b = y;

	if (a->dest_id != b->dest_id)
		return a->dest_id < b->dest_id ? -1 : 1;
	if (a->code != b->code)
		return a->code < b->code ? -1 : 1;
	return (a->method > b->method) - (a->method < b->method);
}

static int read_requests(struct bpf_agent *a, struct bpf_snapshot *s)
{
	_cleanup_dump_ struct dump d = {};
	int r = dump_map(a->skel->maps.ea_requests, &d);

	if (r)
		return r;
	s->requests = calloc(MAX(d.n, 1u), sizeof(*s->requests));
	if (!s->requests)
		return -ENOMEM;
	for (size_t i = 0; i < d.n; i++) {
		const struct ea_request_key *key = (struct ea_request_key *)d.keys + i;
		const struct ea_request_stats *v = (struct ea_request_stats *)d.values + i;

		s->requests[i] = (struct bpf_request_row){
			.dest_id = key->dest_id,
			.code = key->code,
			.method = key->method,
			.stats = *v,
		};
	}
	s->n_requests = d.n;
	qsort(s->requests, s->n_requests, sizeof(*s->requests), compare_request);
	return 0;
}

/* Points into what was read: counters are the largest part of a snapshot, and once is enough. */
struct stats_row {
	__u32 id;
	const struct ea_stats *stats;
};

static int compare_stats(const void *x, const void *y)
{
	const struct stats_row *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

static int read_stats(struct bpf_agent *a, struct dump *d, struct stats_row **ret)
{
	struct stats_row *rows;
	int r = dump_map(a->skel->maps.ea_stats, d);

	if (r)
		return r;
	rows = calloc(MAX(d->n, 1u), sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++)
		rows[i] = (struct stats_row){((__u32 *)d->keys)[i],
					     (struct ea_stats *)d->values + i};
	qsort(rows, d->n, sizeof(*rows), compare_stats);
	*ret = rows;
	return 0;
}

static int compare_dest(const void *x, const void *y)
{
	const struct known_dest *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

/* The overflow has no key of its own in the kernel. */
static void overflow_row(struct known_dest *row, uint64_t since_ns)
{
	*row = (struct known_dest){
		.id = EA_DEST_OVERFLOW, .first_ns = since_ns, .key.source = EA_SOURCE_OTHER};
}

/* Keys by id, if the kernel made new ones since the last time. */
static int refresh_known(struct bpf_agent *a, const struct ea_state *state)
{
	_cleanup_dump_ struct dump d = {};
	struct known_dest *rows;
	int r;

	if (a->known && a->known_next_id == state->next_id)
		return 0;
	r = dump_map(a->skel->maps.ea_dests, &d);
	if (r)
		return r;
	rows = calloc(d.n + 1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	overflow_row(&rows[0], state->since_ns);
	for (size_t i = 0; i < d.n; i++) {
		const struct ea_dest *v = (struct ea_dest *)d.values + i;

		rows[i + 1].key = ((struct ea_dest_key *)d.keys)[i];
		rows[i + 1].id = v->id;
		rows[i + 1].first_ns = v->first_ns;
	}
	qsort(rows, d.n + 1, sizeof(*rows), compare_dest);
	free(a->known);
	a->known = rows;
	a->n_known = d.n + 1;
	/* An id is taken before its key is inserted: only a later look can be sure to have it. */
	a->known_next_id = d.n == state->dests ? state->next_id : 0;
	return 0;
}

/*
 * Both sides are sorted by id: keys with their numbers. A destination without numbers has nothing to show yet; numbers
 * were read first, so those without a key have lost it.
 */
static int join(struct bpf_agent *a, const struct stats_row *stats, size_t n,
		struct bpf_snapshot *s)
{
	size_t at = 0;

	s->dests = calloc(MAX(n, 1u), sizeof(*s->dests));
	s->strays = calloc(n + s->n_requests + 1, sizeof(*s->strays));
	if (!s->dests || !s->strays)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		while (at < a->n_known && a->known[at].id < stats[i].id)
			at++;
		if (at == a->n_known || a->known[at].id != stats[i].id) {
			s->strays[s->n_strays++] = stats[i].id;
			continue;
		}
		s->dests[s->n_dests++] = (struct bpf_dest_row){.key = a->known[at].key,
							       .id = a->known[at].id,
							       .first_ns = a->known[at].first_ns,
							       .stats = *stats[i].stats};
	}
	return 0;
}

static int compare_id(const void *x, const void *y)
{
	const uint32_t *a = x, *b = y;

	return (*a > *b) - (*a < *b);
}

/* Requests of nobody: their destination may have no counters of its own any more. */
static void add_stray_requests(struct bpf_agent *a, struct bpf_snapshot *s)
{
	size_t at = 0, n = s->n_strays;
	uint32_t last = 0;

	for (size_t i = 0; i < s->n_requests; i++) {
		uint32_t id = s->requests[i].dest_id;

		while (at < a->n_known && a->known[at].id < id)
			at++;
		if ((at == a->n_known || a->known[at].id != id) && id != last &&
		    !bsearch(&id, s->strays, n, sizeof(id), compare_id))
			s->strays[s->n_strays++] = id;
		last = id;
	}
	qsort(s->strays, s->n_strays, sizeof(*s->strays), compare_id);
}

static int read_dests(struct bpf_agent *a, struct bpf_snapshot *s)
{
	_cleanup_free_ struct stats_row *stats = NULL;
	_cleanup_dump_ struct dump d = {};
	struct ea_state state;
	__u32 zero = 0;
	int r = read_stats(a, &d, &stats);

	if (!r)
		r = bpf_map_lookup_elem(bpf_map__fd(a->skel->maps.ea_state), &zero, &state);
	if (!r)
		r = refresh_known(a, &state);
	if (r)
		return r;
	s->since_ns = state.since_ns;
	s->since_unix_ns = state.since_unix_ns;
	r = join(a, stats, d.n, s);
	if (!r)
		add_stray_requests(a, s);
	return r;
}

static int compare_address(const void *x, const void *y)
{
	const struct bpf_address_row *a = x, *b = y;

	if (a->dest_id != b->dest_id)
		return a->dest_id < b->dest_id ? -1 : 1;
	return memcmp(a->addr, b->addr, sizeof(a->addr));
}

static int read_addresses(struct bpf_agent *a, struct bpf_snapshot *s)
{
	_cleanup_dump_ struct dump d = {};
	int r = dump_map(a->skel->maps.ea_addrs, &d);

	if (r)
		return r;
	s->addresses = calloc(MAX(d.n, 1u), sizeof(*s->addresses));
	if (!s->addresses)
		return -ENOMEM;
	for (size_t i = 0; i < d.n; i++) {
		const struct ea_addr_key *key = (struct ea_addr_key *)d.keys + i;

		s->addresses[i].dest_id = key->dest_id;
		memcpy(s->addresses[i].addr, key->addr, sizeof(key->addr));
		s->addresses[i].last_ns = ((__u64 *)d.values)[i];
	}
	s->n_addresses = d.n;
	qsort(s->addresses, d.n, sizeof(*s->addresses), compare_address);
	return 0;
}

static int compare_workload(const void *x, const void *y)
{
	const struct bpf_workload_row *a = x, *b = y;

	return (a->cgroup_id > b->cgroup_id) - (a->cgroup_id < b->cgroup_id);
}

static int read_workloads(struct bpf_agent *a, struct bpf_snapshot *s)
{
	_cleanup_dump_ struct dump d = {};
	int r = dump_map(a->skel->maps.ea_workloads, &d);

	if (r)
		return r;
	s->workloads = calloc(MAX(d.n, 1u), sizeof(*s->workloads));
	if (!s->workloads)
		return -ENOMEM;
	for (size_t i = 0; i < d.n; i++)
		s->workloads[i] = (struct bpf_workload_row){
			.cgroup_id = ((__u64 *)d.keys)[i],
			.flags = ((struct ea_workload *)d.values)[i].flags,
		};
	s->n_workloads = d.n;
	qsort(s->workloads, d.n, sizeof(*s->workloads), compare_workload);
	return 0;
}

static int read_counters(struct bpf_agent *a, struct bpf_snapshot *s)
{
	size_t n_cpus = cpus();
	_cleanup_free_ __u64 *values = calloc(n_cpus, sizeof(*values));

	if (!values)
		return -ENOMEM;
	for (__u32 i = 0; i < EA_COUNT_MAX; i++) {
		int r = bpf_map_lookup_elem(bpf_map__fd(a->skel->maps.ea_counters), &i, values);

		if (r)
			return r;
		for (size_t cpu = 0; cpu < n_cpus; cpu++)
			s->counters[i] += values[cpu];
	}
	return 0;
}

int bpf_agent_snapshot(struct bpf_agent *a, struct bpf_snapshot *ret)
{
	static int (*const steps[])(struct bpf_agent *, struct bpf_snapshot *) = {
		read_requests, read_dests, read_addresses, read_workloads, read_counters,
	};
	struct bpf_snapshot s = {};
	int r = account_live(a);

	for (size_t i = 0; !r && i < ARRAY_SIZE(steps); i++)
		r = steps[i](a, &s);
	if (r) {
		bpf_snapshot_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void bpf_snapshot_done(struct bpf_snapshot *s)
{
	free(s->dests);
	free(s->requests);
	free(s->addresses);
	free(s->workloads);
	free(s->strays);
	*s = (struct bpf_snapshot){};
}
