// SPDX-License-Identifier: Apache-2.0
/*
 * Destinations that leave the kernel's maps, by ea_move (bpf/retire.h), and the identities kept beside them.
 *
 * Order matters because this process may be killed between any two runs of the program: what is left then is in the
 * maps, and the next agent goes on from there. Answered requests go before the counters, and those together with the
 * key they belong to.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "bpf.h"
#include "bpf_agent.h"
#include "util.h"

/* One run. -ENOENT, -EEXIST, -ENOSPC as enum ea_move_result has it; -errno if the kernel did not run it. */
static int move(struct bpf_agent *a, const struct ea_move *m)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = m, .data_size_in = sizeof(*m));
	int r = bpf_prog_test_run_opts(bpf_program__fd(a->skel->progs.ea_move), &opts);

	a->known_next_id = 0; /* keys changed: have them read again */
	if (r)
		return r;
	switch (opts.retval) {
	case EA_MOVE_DONE:
		return 0;
	case EA_MOVE_EXISTS:
		return -EEXIST;
	case EA_MOVE_FULL:
		return -ENOSPC;
	}
	return -ENOENT;
}

int bpf_agent_retire(struct bpf_agent *a, const struct bpf_dest_row *row)
{
	struct ea_move m = {
		.from = row->key, .to = row->key, .id = row->id, .what = EA_MOVE_RENAME};

	m.to.retired = 1;
	return move(a, &m);
}

_Static_assert(offsetof(struct bpf_request_row, dest_id) == 0 &&
		       offsetof(struct bpf_address_row, dest_id) == 0,
	       "first_row() looks there");

/* The first of n rows, sorted by the id that each begins with, that is not below id. */
static size_t first_row(const void *rows, size_t n, size_t size, uint32_t id)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint32_t at;

		memcpy(&at, (const char *)rows + mid * size, sizeof(at));
		if (at < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* One that is not there any more was moved before. */
static int move_requests(struct bpf_agent *a, const struct bpf_snapshot *s, struct ea_move *m)
{
	size_t i = first_row(s->requests, s->n_requests, sizeof(*s->requests), m->id);
	int r = 0;

	m->what = EA_MOVE_REQUEST;
	for (; !r && i < s->n_requests && s->requests[i].dest_id == m->id; i++) {
		m->code = s->requests[i].code;
		m->method = s->requests[i].method;
		r = move(a, m);
		r = r == -ENOENT ? 0 : r;
	}
	return r;
}

/* The addresses of an id that is no more, or is a sum now; `into`: who has them from now on, 0 for nobody. */
static void move_addresses(struct bpf_agent *a, const struct bpf_snapshot *s, uint32_t id,
			   uint32_t into)
{
	size_t i = first_row(s->addresses, s->n_addresses, sizeof(*s->addresses), id);
	int fd = bpf_map__fd(a->skel->maps.ea_addrs);

	for (; i < s->n_addresses && s->addresses[i].dest_id == id; i++) {
		struct ea_addr_key key = {.dest_id = id};
		uint64_t last = 0;

		memcpy(key.addr, s->addresses[i].addr, sizeof(key.addr));
		bpf_map_delete_elem(fd, &key);
		key.dest_id = into;
		if (into &&
		    (bpf_map_lookup_elem(fd, &key, &last) || last < s->addresses[i].last_ns))
			bpf_map_update_elem(fd, &key, &s->addresses[i].last_ns, BPF_ANY);
	}
}

static uint32_t dest_id(struct bpf_agent *a, const struct ea_dest_key *key)
{
	struct ea_dest d;

	return bpf_map_lookup_elem(bpf_map__fd(a->skel->maps.ea_dests), key, &d) ? 0 : d.id;
}

int bpf_agent_fold(struct bpf_agent *a, const struct bpf_snapshot *s,
		   const struct bpf_dest_row *row, const struct ea_dest_key *to, uint32_t facts)
{
	/* The overflow is a sum as well. */
	bool sum = !to || to->source == EA_SOURCE_OTHER;
	struct ea_move m = {.from = row->key,
			    .id = row->id,
			    .what = EA_MOVE_RENAME,
			    .facts = facts,
			    .flags = to ? 0 : EA_MOVE_OVERFLOW};
	int r;

	if (to)
		m.to = *to;
	r = sum ? -EEXIST : move(a, &m);
	if (r != -EEXIST)
		return r;
	r = move_requests(a, s, &m);
	m.what = EA_MOVE_MERGE;
	if (!r)
		r = move(a, &m);
	if (!r)
		move_addresses(a, s, row->id, sum ? 0 : dest_id(a, to));
	return r;
}

int bpf_agent_fold_stray(struct bpf_agent *a, const struct bpf_snapshot *s, uint32_t id)
{
	struct ea_move m = {.id = id, .flags = EA_MOVE_STRAY | EA_MOVE_OVERFLOW};
	int r = move_requests(a, s, &m);

	m.what = EA_MOVE_MERGE;
	if (!r)
		r = move(a, &m);
	if (!r)
		move_addresses(a, s, id, 0);
	return r;
}

/* ---- identities ---- */

int bpf_agent_identity_put(struct bpf_agent *a, uint64_t cgroup_id,
			   const struct ea_identity *identity)
{
	return bpf_map_update_elem(bpf_map__fd(a->skel->maps.ea_identities), &cgroup_id, identity,
				   BPF_ANY);
}

void bpf_agent_identity_forget(struct bpf_agent *a, uint64_t cgroup_id)
{
	bpf_map_delete_elem(bpf_map__fd(a->skel->maps.ea_identities), &cgroup_id);
}

int bpf_agent_identities(struct bpf_agent *a,
			 int (*each)(uint64_t cgroup_id, const struct ea_identity *identity,
				     void *data),
			 void *data)
{
	int fd = bpf_map__fd(a->skel->maps.ea_identities), r = 0;
	_cleanup_free_ struct ea_identity *identity = malloc(sizeof(*identity));
	uint64_t id, *before = NULL, at;

	if (!identity)
		return -ENOMEM;
	while (!r && !bpf_map_get_next_key(fd, before, &id)) {
		if (!bpf_map_lookup_elem(fd, &id, identity))
			r = each(id, identity, data);
		at = id;
		before = &at;
	}
	return r;
}
