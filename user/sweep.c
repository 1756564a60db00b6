// SPDX-License-Identifier: Apache-2.0
/* See sweep.h. */
#include "sweep.h"

#include <errno.h>
#include <time.h>

#include "util.h"

#define SECOND_NS     1000000000ULL
#define PERIOD_MAX_NS (60 * SECOND_NS)
#define MOVES_MAX     4096 /* rows at a time: some 20 ms */
#define WORKLOADS_MAX 4096 /* that are gone and keep a remainder */
#define SHARE         10   /* of the time that passes, while there is much to do */

static uint64_t clock_ns(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* Often enough that an idle row leaves within a quarter more than its time, and not more than once a second. */
static uint64_t period_ns(const struct sweep *sweep)
{
	uint64_t quarter = sweep->options.expiry_ms * (SECOND_NS / 1000 / 4);

	if (!quarter)
		return PERIOD_MAX_NS;
	return MIN(MAX(quarter, SECOND_NS), PERIOD_MAX_NS);
}

/* One that is not there any more needs nothing done. */
static void move(struct sweep *sweep, const struct bpf_snapshot *s, const struct leave *leave)
{
	struct bpf_agent *bpf = sweep->options.bpf;
	const struct ea_dest_key *to = leave->why == LEAVE_FORGOTTEN ? NULL : &leave->to;
	int r = leave->fold ? bpf_agent_fold(bpf, s, leave->row, to, leave->facts)
			    : bpf_agent_retire(bpf, leave->row);

	if (r && r != -ENOENT)
		sweep->counts.failures++;
	if (!r && leave->fold)
		sweep->counts.left[leave->why]++;
}

static void apply(struct sweep *sweep, const struct bpf_snapshot *s, const struct leave_plan *plan)
{
	struct bpf_agent *bpf = sweep->options.bpf;

	for (size_t i = 0; i < plan->n; i++)
		move(sweep, s, &plan->items[i]);
	for (size_t i = 0; i < s->n_strays && i < MOVES_MAX; i++) {
		if (bpf_agent_fold_stray(bpf, s, s->strays[i]))
			sweep->counts.failures++;
		else
			sweep->counts.strays++;
	}
	for (size_t i = 0; i < plan->n_unused; i++)
		bpf_agent_forget_workload(bpf, plan->unused[i]);
}

int sweep_tick(struct sweep *sweep, const struct inventory_view *view)
{
	uint64_t now_ns = clock_ns();
	const struct leave_rules rules = {.now_ns = now_ns,
					  .expiry_ns = sweep->options.expiry_ms * 1000000,
					  .moves_max = MOVES_MAX,
					  .workloads_max = WORKLOADS_MAX};
	struct bpf_snapshot snapshot = {0};
	struct leave_plan plan = {0};
	uint64_t took;
	int r;

	identities_settle(sweep->options.identities, view->pods);
	if (now_ns < sweep->next_ns)
		return 0;
	r = bpf_agent_snapshot(sweep->options.bpf, &snapshot);
	if (!r)
		r = inventory_plan(sweep->options.inventory, &snapshot, view, &rules, &plan);
	if (!r) {
		apply(sweep, &snapshot, &plan);
		identities_forget_unused(sweep->options.identities);
	}
	took = clock_ns() - now_ns;
	sweep->counts.seconds = (double)took / SECOND_NS;
	/* What was taken out of use is to be folded soon, and there may be more; a large table has to wait longer. */
	sweep->next_ns = now_ns + took +
			 (!r && plan.n ? MAX(SECOND_NS, SHARE * took) : period_ns(sweep));
	leave_plan_done(&plan);
	bpf_snapshot_done(&snapshot);
	return r;
}

static int restore(uint64_t id, const struct ea_identity *identity, void *data)
{
	return identity_restore(data, id, identity);
}

int sweep_restore(struct bpf_agent *bpf, struct identities *identities)
{
	return bpf_agent_identities(bpf, restore, identities);
}

int sweep_store_put(uint64_t id, const struct ea_identity *identity, void *data)
{
	return bpf_agent_identity_put(data, id, identity);
}

void sweep_store_forget(uint64_t id, void *data)
{
	bpf_agent_identity_forget(data, id);
}
