// SPDX-License-Identifier: Apache-2.0
/*
 * What is to leave the kernel's maps, and where its counts go; see inventory.h.
 *
 * Nothing is remembered between plans: a row that was taken out of use says so itself (ea_dest_key.retired), and where
 * it goes is decided anew from the snapshot at hand. So it does not matter which agent began.
 */
#include <errno.h>
#include <search.h>
#include <string.h>

#include "inventory_work.h"
#include "util.h"

/* A sidecar's own legs tell of its application's for a while after both are gone. */
#define PROXY_GRACE_NS 120000000000ULL
/* Whoever is gone is waited for that long after its last use to be named by a pod list that has not got it yet. */
#define NAME_GRACE_NS 3600000000000ULL

/* One cgroup, or workload without one, of the snapshot. */
struct party {
	uint64_t id;
	bool gone, proxy;
	bool rows, hosts; /* it has rows; other ones than remainders */
	bool forget;
	uint64_t last_ns;
};

/* One row. */
struct item {
	char *key;    /* of rows that are shown as one */
	char *source; /* the part of it that is the workload */
	const struct bpf_dest_row *row;
	struct party *party;
	bool line, internal, originated, settled;
	bool open; /* connections of it are; not believed of a cgroup that is gone if it is idle */
	uint64_t last_ns;
	enum leave_why why;
	struct ea_dest_key to;
};

struct leaving {
	struct pass *p;
	const struct leave_rules *rules;
	struct party *parties; /* sorted by id */
	size_t n_parties;
	struct item *items; /* sorted by key once all are there */
	size_t n;
	void *living; /* tsearch tree of struct set_member: workloads of which a cgroup is there */
	struct leave_plan plan;
};

static bool is_ours(uint64_t id)
{
	return id & EA_CGROUP_OURS;
}

static bool is_idle(const struct leaving *l, uint64_t last_ns)
{
	return l->rules->expiry_ns &&
	       (int64_t)(l->rules->now_ns - last_ns) >= (int64_t)l->rules->expiry_ns;
}

/* Unused for so long, or for the idle time if that is less. */
static bool is_past(const struct leaving *l, uint64_t last_ns, uint64_t grace_ns)
{
	if (l->rules->expiry_ns)
		grace_ns = MIN(grace_ns, l->rules->expiry_ns);
	return (int64_t)(l->rules->now_ns - last_ns) >= (int64_t)grace_ns;
}

/* ---- the cgroups ---- */

static int compare_party(const void *x, const void *y)
{
	const struct party *a = x, *b = y;

	return (a->id > b->id) - (a->id < b->id);
}

static struct party *party_find(const struct leaving *l, uint64_t id)
{
	const struct party key = {.id = id};

	return bsearch(&key, l->parties, l->n_parties, sizeof(key), compare_party);
}

/* Each once, with what is known before its rows are looked at. */
static int parties_judge(struct leaving *l)
{
	struct inventory *inv = l->p->inv;
	size_t n = 0;

	qsort(l->parties, l->n_parties, sizeof(*l->parties), compare_party);
	for (size_t i = 0; i < l->n_parties; i++)
		if (!n || l->parties[n - 1].id != l->parties[i].id)
			l->parties[n++] = l->parties[i];
	l->n_parties = n;
	for (size_t i = 0; i < n; i++) {
		struct party *party = &l->parties[i];
		int r = mesh_is_proxy(l->p, party->id);

		if (r < 0)
			return r;
		party->proxy = r;
		party->gone = identity_is_gone(inv->ids, party->id);
	}
	return 0;
}

static int parties_note(struct leaving *l)
{
	const struct bpf_snapshot *s = l->p->s;

	l->parties = calloc(s->n_dests + s->n_workloads + 1, sizeof(*l->parties));
	if (!l->parties)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_dests; i++)
		if (s->dests[i].id != EA_DEST_OVERFLOW)
			l->parties[l->n_parties++].id = s->dests[i].key.cgroup_id;
	for (size_t i = 0; i < s->n_workloads; i++)
		l->parties[l->n_parties++].id = s->workloads[i].cgroup_id;
	return parties_judge(l);
}

/* Those with rows are kept in mind, and the others' entries can go once they are gone. */
static int parties_keep(struct leaving *l)
{
	struct leave_plan *plan = &l->plan;
	struct inventory *inv = l->p->inv;

	plan->unused = calloc(l->n_parties + 1, sizeof(*plan->unused));
	if (!plan->unused)
		return -ENOMEM;
	for (size_t i = 0; i < l->n_parties; i++) {
		const struct party *party = &l->parties[i];

		if (party->rows)
			identity_keep(inv->ids, l->p->view->pods, party->id, party->proxy);
		else if (party->gone)
			plan->unused[plan->n_unused++] = party->id;
	}
	return 0;
}

/* ---- the rows ---- */

/* Rows with the same key are one to whoever looks; so is what the model merges. */
static int item_key(struct item *it, const struct destination *d)
{
	const struct source *s = &d->source;

	if (asprintf(&it->source, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s", s->ns, s->workload,
		     s->workload_kind, s->canonical_service, s->canonical_revision, s->app,
		     s->version, s->pod_uid ? s->pod_uid : "") < 0) {
		it->source = NULL;
		return -ENOMEM;
	}
	if (asprintf(&it->key, "%s\n%s\n%u\n%d", it->source, d->host, d->port, d->protocol) < 0) {
		it->key = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int item_of_destination(struct leaving *l, struct item *it)
{
	_cleanup_(destination_done) struct destination d = {0};
	uint64_t folded = 0;
	struct identity who;
	int r = identity_get(l->p->inv->ids, l->p->view->pods, it->party->id, &who);

	if (!r)
		r = row_fill(l->p, it->row, &who, &d);
	if (r)
		return r;
	r = host_has_line(l->p->inv, &d, &folded);
	if (r < 0)
		return r;
	it->line = r;
	it->internal = d.internal;
	it->originated = d.tls_origination;
	it->settled = identity_is_settled(&who, l->p->view->pods);
	r = item_key(it, &d);
	if (!r && !it->party->gone && !keyed_get(&l->living, it->source, sizeof(struct set_member)))
		r = -ENOMEM;
	return r;
}

static int item_note(struct leaving *l, const struct bpf_dest_row *row)
{
	struct item *it = &l->items[l->n++];
	const struct ea_stats *stats = &row->stats;

	it->row = row;
	it->party = party_find(l, row->key.cgroup_id);
	it->last_ns = MAX(stats->last_ns, row->first_ns);
	it->open = row->key.proto != EA_PROTO_UDP && stats->opened > stats->closed &&
		   !(it->party->gone && is_idle(l, it->last_ns));
	it->internal = row->key.internal;
	it->party->rows = true;
	it->party->hosts |= row->key.source != EA_SOURCE_OTHER;
	it->party->last_ns = MAX(it->party->last_ns, it->last_ns);
	if (!it->party->proxy)
		return item_of_destination(l, it);
	/* Shown nowhere: each is a line by itself. */
	return asprintf(&it->key, "~proxy\n%u", row->id) < 0 ? -ENOMEM : 0;
}

static int compare_item(const void *x, const void *y)
{
	const struct item *a = x, *b = y;

	return strcmp(a->key, b->key);
}

static int items_note(struct leaving *l)
{
	const struct bpf_snapshot *s = l->p->s;
	int r = 0;

	l->items = calloc(s->n_dests + 1, sizeof(*l->items));
	if (!l->items)
		return -ENOMEM;
	hosts_begin_round(l->p->inv);
	for (size_t i = 0; !r && i < s->n_dests; i++)
		if (s->dests[i].id != EA_DEST_OVERFLOW)
			r = item_note(l, &s->dests[i]);
	if (r)
		return r;
	hosts_end_round(l->p->inv);
	qsort(l->items, l->n, sizeof(*l->items), compare_item);
	return 0;
}

/* ---- too many workloads of which nothing lives ---- */

static int compare_age(const void *x, const void *y)
{
	const struct party *const *a = x, *const *b = y;

	return ((*a)->last_ns > (*b)->last_ns) - ((*a)->last_ns < (*b)->last_ns);
}

/* Is it a workload that has nothing but a remainder, and no cgroup? */
static bool is_remainder_only(const struct leaving *l, const struct item *it)
{
	return is_ours(it->party->id) && !it->party->proxy && !it->party->hosts &&
	       !tfind(&it->source, &l->living, keyed_compare);
}

/* A remainder stays, or a workload's sum would fall; but not for more workloads than there is room for. */
static int forget_oldest(struct leaving *l)
{
	_cleanup_free_ struct party **old = calloc(l->n + 1, sizeof(struct party *));
	size_t ours = 0, n = 0;

	if (!old)
		return -ENOMEM;
	for (size_t i = 0; i < l->n_parties; i++)
		ours += is_ours(l->parties[i].id);
	if (ours <= l->rules->workloads_max)
		return 0;
	for (size_t i = 0; i < l->n; i++) {
		if (!is_remainder_only(l, &l->items[i]) || l->items[i].party->forget)
			continue;
		l->items[i].party->forget = true;
		old[n++] = l->items[i].party;
	}
	qsort(old, n, sizeof(struct party *), compare_age);
	for (size_t i = ours - l->rules->workloads_max; i < n; i++)
		old[i]->forget = false;
	return 0;
}

/* ---- where it goes ---- */

/* Rows that are shown as one: from..end-1 of the items. */
struct group {
	size_t from, end;
	bool idle;
	bool internal; /* as the row is shown: external if any of it is */
};

static struct group group_at(const struct leaving *l, size_t from)
{
	struct group g = {.from = from, .end = from, .internal = true};
	uint64_t last_ns = 0;
	bool open = false;

	for (; g.end < l->n && strcmp(l->items[g.end].key, l->items[from].key) == 0; g.end++) {
		const struct item *it = &l->items[g.end];

		last_ns = MAX(last_ns, it->last_ns);
		open |= it->open;
		g.internal &= it->internal;
	}
	g.idle = !open && is_idle(l, last_ns);
	return g;
}

static void to_remainder(struct item *it, bool internal)
{
	it->to = (struct ea_dest_key){
		.cgroup_id = it->row->key.cgroup_id,
		.proto = it->row->key.proto,
		.source = EA_SOURCE_OTHER,
		.internal = internal,
	};
}

/* Evidence of what a sidecar did: idle or gone, it is one sum; a later one for all sidecars that are gone. */
static void decide_proxy(const struct leaving *l, struct item *it)
{
	if (is_ours(it->party->id))
		return;
	if (it->party->gone && is_past(l, it->last_ns, PROXY_GRACE_NS)) {
		it->why = LEAVE_GONE;
		to_remainder(it, it->row->key.internal);
		it->to.cgroup_id = EA_CGROUP_PROXIES;
	} else if (!it->open && it->row->key.source != EA_SOURCE_OTHER && is_idle(l, it->last_ns)) {
		it->why = LEAVE_IDLE;
		to_remainder(it, it->row->key.internal);
	}
}

static void decide(const struct leaving *l, const struct group *g, struct item *it)
{
	bool other = it->row->key.source == EA_SOURCE_OTHER;

	it->why = LEAVE_BACK;
	it->to = it->row->key;
	it->to.retired = 0;
	if (it->party->proxy) {
		decide_proxy(l, it);
	} else if (it->party->forget) {
		it->why = LEAVE_FORGOTTEN;
	} else if (g->idle && !other) {
		it->why = LEAVE_IDLE;
		to_remainder(it, it->line ? g->internal : it->internal);
	} else if (it->party->gone && !is_ours(it->party->id) && !it->open &&
		   (it->settled || is_past(l, it->last_ns, NAME_GRACE_NS))) {
		it->why = LEAVE_GONE;
	}
}

/* The workload's id in place of a cgroup's that is gone. -errno: there is no room for it, and the row waits. */
static int settle_party(struct leaving *l, struct item *it)
{
	struct inventory *inv = l->p->inv;
	struct identity who;
	uint64_t id;
	int r;

	if (!it->party->gone || is_ours(it->to.cgroup_id))
		return 0;
	r = identity_get(inv->ids, l->p->view->pods, it->party->id, &who);
	if (r)
		return r;
	who.meshed = mesh_has_sidecar(l->p, &who);
	r = identity_workload(inv->ids, &who, &id);
	if (!r)
		it->to.cgroup_id = id;
	return r;
}

static void plan_item(struct leaving *l, struct item *it, bool wait)
{
	bool retired = it->row->key.retired, moves = it->why != LEAVE_BACK;
	struct leave leave = {.row = it->row, .why = it->why, .fold = retired};

	if (!moves && !retired)
		return;
	if (retired) {
		/* Who has it open still counts for it. */
		if (it->open || (wait && moves))
			return;
		if (moves && settle_party(l, it))
			return;
	}
	leave.to = it->to;
	leave.facts = it->originated && it->why == LEAVE_GONE && !it->party->proxy
			      ? EA_FACT_ORIGINATED
			      : 0;
	l->plan.items[l->plan.n++] = leave;
}

static void plan_group(struct leaving *l, const struct group *g)
{
	bool wait = false;

	for (size_t i = g->from; i < g->end; i++) {
		struct item *it = &l->items[i];

		decide(l, g, it);
		wait |= it->why == LEAVE_IDLE && !it->row->key.retired;
	}
	for (size_t i = g->from; i < g->end; i++)
		plan_item(l, &l->items[i], wait && l->items[i].why == LEAVE_IDLE);
}

static int plan_all(struct leaving *l)
{
	struct group g;

	l->plan.items = calloc(l->n + 1, sizeof(*l->plan.items));
	if (!l->plan.items)
		return -ENOMEM;
	for (size_t at = 0; at < l->n; at = g.end) {
		l->plan.more = l->plan.n >= l->rules->moves_max;
		if (l->plan.more)
			break;
		g = group_at(l, at);
		plan_group(l, &g);
	}
	return 0;
}

int inventory_plan(struct inventory *inv, const struct bpf_snapshot *snapshot,
		   const struct inventory_view *view, const struct leave_rules *rules,
		   struct leave_plan *ret)
{
	struct pass pass = {.inv = inv, .s = snapshot, .view = view};
	struct leaving l = {.p = &pass, .rules = rules};
	int r = mesh_note(&pass);

	if (!r)
		r = parties_note(&l);
	if (!r)
		r = items_note(&l);
	if (!r)
		r = parties_keep(&l);
	if (!r)
		r = forget_oldest(&l);
	if (!r)
		r = plan_all(&l);
	for (size_t i = 0; i < l.n; i++) {
		free(l.items[i].key);
		free(l.items[i].source);
	}
	free(l.items);
	free(l.parties);
	tdestroy(l.living, keyed_free);
	pass_done(&pass);
	if (r)
		leave_plan_done(&l.plan);
	else
		*ret = l.plan;
	return r;
}

void leave_plan_done(struct leave_plan *plan)
{
	free(plan->items);
	free(plan->unused);
	*plan = (struct leave_plan){0};
}
