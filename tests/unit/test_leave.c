// SPDX-License-Identifier: Apache-2.0
/*
 * Destinations that leave: what inventory_plan() decides, carried out on maps in plain arrays (leave_help.h), over
 * random histories against a reference that only adds up; and the cases one by one.
 */
#include "leave_help.h"

#include "alloc.h"

/* ---- random histories ---- */

enum { WORKLOADS = 3, CGROUPS = 3, HOSTS = 12, STEPS = 400, OPEN_MAX = 64 };

struct sums {
	uint64_t opened, closed, failed, sent, requests;
};

struct use {
	uint64_t last_ns;
	uint64_t shown; /* opened of its line, as last seen; 0 without one */
};

struct history {
	struct world *w;
	unsigned int seed;
	struct sums truth[WORKLOADS][2];               /* by scope */
	struct sums other[WORKLOADS][2][PROTOCOL_MAX]; /* of ~other, as last seen */
	struct use use[WORKLOADS][HOSTS][2];           /* by TLS or HTTP */
	struct {
		char path[64];
		uint64_t id;
	} cgroup[WORKLOADS][CGROUPS];
	unsigned int n_cgroups;
	struct {
		uint32_t id;
		uint64_t cgroup;
		int workload, host, http;
	} open[OPEN_MAX];
	int n_open;
};

static unsigned int dice(struct history *h, unsigned int sides)
{
	return (unsigned int)rand_r(&h->seed) / 7 % sides;
}

static int scope_of(int host)
{
	return host & 1;
}

static void cgroup_new(struct history *h, int workload, int at)
{
	char *path = h->cgroup[workload][at].path;

	sprintf(path, "w%d.service/c%u", workload, h->n_cgroups++);
	h->cgroup[workload][at].id = cgroup_make(h->w, path);
}

static void sums_add(struct sums *to, uint64_t opened, uint64_t closed, uint64_t failed,
		     uint64_t sent, uint64_t requests)
{
	to->opened += opened;
	to->closed += closed;
	to->failed += failed;
	to->sent += sent;
	to->requests += requests;
}

static void call(struct history *h)
{
	int workload = (int)dice(h, WORKLOADS), host = (int)dice(h, HOSTS), http = (int)dice(h, 2);
	bool fails = dice(h, 5) == 0, stays = h->n_open < OPEN_MAX && dice(h, 3) == 0;
	struct ea_stats add = {.failed = fails, .opened = !fails, .sent = 100};
	struct bpf_dest_row *row;
	char name[32];

	sprintf(name, "h%d.example", host);
	row = row_get(h->w, h->cgroup[workload][dice(h, CGROUPS)].id,
		      http ? EA_PROTO_HTTP : EA_PROTO_TLS, name, scope_of(host));
	add.closed = !fails && !stays;
	add.requests = http && !fails;
	add.last_ns = h->w->now;
	stats_add(&row->stats, &add);
	sums_add(&h->truth[workload][scope_of(host)], add.opened, add.closed, add.failed, add.sent,
		 add.requests);
	h->use[workload][host][http].last_ns = h->w->now;
	if (fails || !stays)
		return;
	h->open[h->n_open].id = row->id;
	h->open[h->n_open].cgroup = row->key.cgroup_id;
	h->open[h->n_open].workload = workload;
	h->open[h->n_open].host = host;
	h->open[h->n_open++].http = http;
}

static bool is_there(const struct history *h, int workload, uint64_t id)
{
	for (int i = 0; i < CGROUPS; i++)
		if (h->cgroup[workload][i].id == id)
			return true;
	return false;
}

/*
 * Of a cgroup that is gone a connection is believed to be over when it was silent for the idle time: if it was not, its
 * end is the node's.
 */
static void hang_up(struct history *h, int at)
{
	int workload = h->open[at].workload, host = h->open[at].host, http = h->open[at].http;
	struct bpf_dest_row *row = row_by_id(&h->w->maps, h->open[at].id);

	assert_true(row || !is_there(h, workload, h->open[at].cgroup));
	if (row) {
		row->stats.closed++;
		row->stats.last_ns = h->w->now;
		sums_add(&h->truth[workload][scope_of(host)], 0, 1, 0, 0, 0);
		h->use[workload][host][http].last_ns = h->w->now;
	}
	h->open[at] = h->open[--h->n_open];
}

static void end_one(struct history *h)
{
	int workload = (int)dice(h, WORKLOADS), at = (int)dice(h, CGROUPS);

	cgroup_end(h->w, h->cgroup[workload][at].path);
	cgroup_new(h, workload, at);
}

/* Not used for so long, and no cgroup that is there has a connection open. */
static bool may_leave(const struct history *h, int workload, int host, int http)
{
	if (h->w->now - h->use[workload][host][http].last_ns < EXPIRY)
		return false;
	for (int i = 0; i < h->n_open; i++)
		if (h->open[i].workload == workload && h->open[i].host == host &&
		    h->open[i].http == http && is_there(h, workload, h->open[i].cgroup))
			return false;
	return true;
}

/* A line only leaves when it may. */
static void check_leave(struct world *w, const struct leave *leave, void *data)
{
	struct history *h = data;
	const struct ea_dest_key *key = &leave->row->key;
	struct identity who;
	int host, workload;

	if (!leave->fold || leave->why != LEAVE_IDLE)
		return;
	assert_int_equal(sscanf((const char *)key->host, "h%d.", &host), 1);
	assert_int_equal(identity_get(w->identities, NULL, key->cgroup_id, &who), 0);
	assert_int_equal(sscanf(who.name->workload, "w%d.", &workload), 1);
	assert_true(may_leave(h, workload, host, key->proto == EA_PROTO_HTTP));
}

static void reset_shown(struct history *h, bool all)
{
	if (all)
		memset(h->other, 0, sizeof(h->other));
	for (int i = 0; i < WORKLOADS; i++)
		for (int k = 0; k < HOSTS; k++)
			for (int http = 0; http < 2; http++)
				if (all || may_leave(h, i, k, http))
					h->use[i][k][http].shown = 0;
}

static void check_row(struct history *h, const struct destination *d, struct sums now[][2])
{
	int workload = d->source.workload[1] - '0', host;

	assert_true(workload >= 0 && workload < WORKLOADS);
	assert_string_equal(d->source.workload + 2, ".service");
	sums_add(&now[workload][d->internal], d->opened, d->closed, d->failed, d->sent,
		 d->requests);
	if (sscanf(d->host, "h%d.", &host) == 1) {
		struct use *use = &h->use[workload][host][d->protocol == PROTOCOL_HTTP];

		assert_true(d->opened >= use->shown);
		use->shown = d->opened;
	} else {
		struct sums *other = &h->other[workload][d->internal][d->protocol];

		assert_true(d->opened >= other->opened && d->sent >= other->sent);
		other->opened = d->opened;
		other->sent = d->sent;
	}
}

/* Whoever looks, whenever: all counts are there, under their workload and scope. */
static void check(struct history *h)
{
	struct sums now[WORKLOADS][2] = {0};
	struct destination_list list = list_of(h->w);

	for (size_t i = 0; i < list.n; i++)
		check_row(h, &list.items[i], now);
	assert_memory_equal(now, h->truth, sizeof(now));
	destination_list_done(&list);
}

static void history_step(struct history *h)
{
	switch (dice(h, 12)) {
	case 0:
		end_one(h);
		return;
	case 1:
		h->w->now += dice(h, 40) * SECOND;
		return;
	case 2:
	case 3:
		reset_shown(h, false);
		sweep_with(h->w, check_leave, h);
		return;
	case 4:
		if (dice(h, 5) == 0) {
			agent_end(h->w);
			agent_start(h->w);
			reset_shown(h, true);
		}
		return;
	case 5:
	case 6:
		if (h->n_open)
			hang_up(h, (int)dice(h, (unsigned int)h->n_open));
		return;
	default:
		call(h);
	}
}

/* Everything ends, and some time later next to nothing is left of it. */
static void history_end(struct history *h)
{
	struct maps *m = &h->w->maps;

	for (int i = 0; i < WORKLOADS; i++)
		for (int k = 0; k < CGROUPS; k++)
			cgroup_end(h->w, h->cgroup[i][k].path);
	while (h->n_open)
		hang_up(h, 0);
	h->w->now += 2 * EXPIRY;
	reset_shown(h, true);
	sweep_all(h->w);
	sweep(h->w);
	sweep(h->w);
	check(h);
	assert_true(m->n <= 1 + WORKLOADS * 2 * 2);
	assert_int_equal(m->n_workloads, 0);
	assert_int_equal(m->n_kept, WORKLOADS);
	assert_int_equal(h->w->inventory->n_hosts, 0);
	assert_null(h->w->inventory->hosts);
	assert_null(h->w->inventory->owners);
}

static void test_histories(void **state)
{
	uint64_t left[LEAVE_MAX] = {0};

	(void)state;
	for (unsigned int seed = 1; seed <= 20; seed++) {
		struct history *h = calloc(1, sizeof(*h));

		assert_non_null(h);
		h->seed = seed;
		/* Fewer lines than hosts in half of them. */
		h->w = world_open(seed & 1 ? 3 : 200);
		for (int i = 0; i < WORKLOADS * CGROUPS; i++)
			cgroup_new(h, i / CGROUPS, i % CGROUPS);
		for (int i = 0; i < STEPS; i++) {
			history_step(h);
			check(h);
		}
		history_end(h);
		for (int i = 0; i < LEAVE_MAX; i++)
			left[i] += h->w->maps.left[i];
		world_close(h->w);
		free(h);
	}
	/* It did happen. */
	assert_true(left[LEAVE_IDLE] > 200 && left[LEAVE_GONE] > 200 && left[LEAVE_BACK] > 10);
}

/* ---- one by one ---- */

static void count(struct world *w, struct bpf_dest_row *row, uint64_t opened)
{
	row->stats.opened += opened;
	row->stats.closed += opened;
	row->stats.last_ns = w->now;
}

/* A host that was reached both ways is shown as external: so is what becomes of it. */
static void test_scopes(void **state)
{
	struct world *w = world_open(200);
	uint64_t id = cgroup_make(w, "a.service");
	struct destination_list list;

	(void)state;
	count(w, row_get(w, id, EA_PROTO_TLS, "both.example", 0), 1);
	count(w, row_get(w, id, EA_PROTO_TLS, "both.example", 1), 2);
	w->now += EXPIRY;
	sweep_all(w);
	list = list_of(w);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].host, "~other");
	assert_false(list.items[0].internal);
	assert_int_equal(list.items[0].opened, 3);
	destination_list_done(&list);
	world_close(w);
}

/* Never, if so told; but what is gone is added up. */
static void test_no_expiry(void **state)
{
	struct world *w = world_open(200);
	uint64_t a = cgroup_make(w, "x.service/a"), b = cgroup_make(w, "x.service/b");
	struct destination_list list;

	(void)state;
	w->rules.expiry_ns = 0;
	count(w, row_get(w, a, EA_PROTO_TLS, "h.example", 0), 1);
	count(w, row_get(w, b, EA_PROTO_TLS, "h.example", 0), 2);
	w->now += 1000 * EXPIRY;
	assert_int_equal(sweep(w), 0);
	cgroup_end(w, "x.service/a");
	cgroup_end(w, "x.service/b");
	sweep_all(w);
	assert_int_equal(w->maps.n, 2);
	list = list_of(w);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].source.workload, "x.service");
	assert_int_equal(list.items[0].opened, 3);
	destination_list_done(&list);
	world_close(w);
}

/* Nobody tells that a flow of datagrams has ended. One whose end was lost waits for the idle time. */
static void test_never_closed(void **state)
{
	struct world *w = world_open(200);
	uint64_t id = cgroup_make(w, "a.service");

	(void)state;
	row_get(w, id, EA_PROTO_UDP, "u.example", 0)->stats.opened = 1;
	row_get(w, id, EA_PROTO_TLS, "t.example", 0)->stats.opened = 1;
	w->now += EXPIRY;
	sweep_all(w);
	assert_int_equal(w->maps.left[LEAVE_IDLE], 1);
	w->maps.rows[1].stats.last_ns = w->now;
	cgroup_end(w, "a.service");
	sweep_all(w);
	assert_int_equal(w->maps.left[LEAVE_GONE], 1); /* the remainder */
	w->now += EXPIRY;
	sweep_all(w);
	assert_int_equal(w->maps.left[LEAVE_GONE] + w->maps.left[LEAVE_IDLE], 3);
	world_close(w);
}

/* Used again between the two steps: it goes back to what it was. */
static void test_back(void **state)
{
	struct world *w = world_open(200);
	uint64_t id = cgroup_make(w, "a.service");
	struct destination_list list;

	(void)state;
	count(w, row_get(w, id, EA_PROTO_TLS, "h.example", 0), 1);
	w->now += EXPIRY;
	assert_int_equal(sweep(w), 1);
	count(w, row_get(w, id, EA_PROTO_TLS, "h.example", 0), 2);
	list = list_of(w);
	assert_int_equal(find(&list, "a.service", "h.example", PROTOCOL_TLS)->opened, 3);
	destination_list_done(&list);
	sweep_all(w);
	list = list_of(w);
	assert_int_equal(list.n, 1);
	assert_int_equal(find(&list, "a.service", "h.example", PROTOCOL_TLS)->opened, 3);
	destination_list_done(&list);
	assert_int_equal(w->maps.n, 2);
	assert_int_equal(w->maps.left[LEAVE_BACK], 1);
	world_close(w);
}

/* As long as a row of a line is still in use, none of it goes: half a line would be one that has fallen. */
static void test_together(void **state)
{
	struct world *w = world_open(200);
	uint64_t a = cgroup_make(w, "x.service/a"), b = cgroup_make(w, "x.service/b");
	struct destination_list list;

	(void)state;
	count(w, row_get(w, a, EA_PROTO_TLS, "h.example", 0), 1);
	count(w, row_get(w, b, EA_PROTO_TLS, "h.example", 0), 2);
	w->maps.rows[1].key.retired = 1; /* as an agent leaves it that is killed between the two */
	w->now += EXPIRY;
	assert_int_equal(sweep(w), 1);
	list = list_of(w);
	assert_int_equal(find(&list, "x.service", "h.example", PROTOCOL_TLS)->opened, 3);
	destination_list_done(&list);
	assert_int_equal(sweep(w), 2);
	list = list_of(w);
	assert_int_equal(list.n, 1);
	assert_int_equal(find(&list, "x.service", "~other", PROTOCOL_TLS)->opened, 3);
	destination_list_done(&list);
	world_close(w);
}

/* A sidecar and its application end: no leg of the one becomes a destination, and what was originated stays so. */
static void test_sidecar(void **state)
{
	struct world *w = world_open(200);
	uint64_t app = cgroup_make(w, "pod/app"), proxy = cgroup_make(w, "pod/istio-proxy");
	struct bpf_dest_row *row = row_get(w, app, EA_PROTO_HTTP, "o.example", 0);
	struct destination_list list;

	(void)state;
	count(w, row, 1);
	row->stats.facts = EA_FACT_REDIRECTED;
	count(w, row_get(w, proxy, EA_PROTO_TLS, "o.example", 0), 1);
	workload_note(&w->maps, proxy, EA_WORKLOAD_PROXY);
	for (int i = 0; i < 6; i++) {
		/* The application first, then its sidecar, then the agent. */
		if (i == 1)
			cgroup_end(w, "pod/app");
		if (i == 3)
			cgroup_end(w, "pod/istio-proxy");
		sweep(w);
		if (i == 4) {
			agent_end(w);
			agent_start(w);
		}
		list = list_of(w);
		assert_int_equal(list.n, 1);
		assert_int_equal(list.items[0].interception, INTERCEPTION_SIDECAR);
		assert_true(list.items[0].tls_origination);
		destination_list_done(&list);
	}
	w->now += EXPIRY;
	sweep_all(w);
	assert_int_equal(w->maps.n, 3);
	assert_int_equal(w->maps.n_workloads, 0);
	list = list_of(w);
	assert_int_equal(list.n, 1);
	destination_list_done(&list);
	world_close(w);
}

/* Remainders of workloads of which nothing lives are bounded: the oldest go, into the node's. */
static void test_forgotten(void **state)
{
	struct world *w = world_open(200);
	struct destination_list list;
	char path[32];

	(void)state;
	w->rules.workloads_max = 2;
	for (int i = 0; i < 5; i++) {
		sprintf(path, "w%d.service", i);
		count(w, row_get(w, cgroup_make(w, path), EA_PROTO_TLS, "h.example", 0), 1);
		cgroup_end(w, path);
		w->now += SECOND;
	}
	w->now += EXPIRY;
	sweep_all(w);
	list = list_of(w);
	assert_int_equal(list.n, 3);
	assert_non_null(find(&list, "w4.service", "~other", PROTOCOL_TLS));
	assert_non_null(find(&list, "w3.service", "~other", PROTOCOL_TLS));
	assert_string_equal(list.items[0].source.workload, "");
	assert_int_equal(list.items[0].opened, 3);
	destination_list_done(&list);
	assert_int_equal(w->maps.left[LEAVE_FORGOTTEN], 3);
	world_close(w);
}

/* What is shown as one leaves as one, however little is done at a time. */
static void test_bounded(void **state)
{
	struct world *w = world_open(200);
	struct bpf_snapshot s;
	struct leave_plan plan;
	char path[32], host[32];

	(void)state;
	for (int i = 0; i < 4; i++) {
		uint64_t id;

		sprintf(path, "w.service/c%d", i);
		id = cgroup_make(w, path);
		for (int k = 0; k < 10; k++) {
			sprintf(host, "h%d.example", k);
			count(w, row_get(w, id, EA_PROTO_TLS, host, 0), 1);
		}
	}
	w->now += EXPIRY;
	w->rules.moves_max = 6;
	s = snapshot_of(w);
	plan = plan_of(w, &s);
	assert_int_equal(plan.n, 8);
	assert_true(plan.more);
	leave_plan_done(&plan);
	sweep_all(w);
	assert_int_equal(w->maps.n, 1 + 4);
	world_close(w);
}

/* ---- pods ---- */

#define HEX_16 "0123456789abcdef"
#define ID_APP "a" HEX_16 HEX_16 HEX_16 "0123456789abcde"
#define POD_C \
	"kubepods-podaaaaaaaa_bbbb_cccc_dddd_eeeeeeeeeeee.slice/cri-containerd-" ID_APP ".scope"

static void give_pod(struct world *w)
{
	cJSON *object = cJSON_Parse(
		"{\"metadata\": {\"namespace\": \"shop\", \"name\": \"cart-5d-x\", "
		"\"generateName\": \"cart-5d-\", \"uid\": "
		"\"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\", "
		"\"labels\": {\"app\": \"cart\", \"pod-template-hash\": \"5d\"}, "
		"\"ownerReferences\": [{\"kind\": \"ReplicaSet\", \"name\": \"cart-5d\", "
		"\"controller\": true}]}, \"spec\": {\"containers\": [{\"name\": \"cart\"}]}, "
		"\"status\": {\"containerStatuses\": [{\"name\": \"cart\", \"containerID\": "
		"\"containerd://" ID_APP "\"}]}}");

	assert_non_null(object);
	assert_int_equal(pods_object(object, w->view.pods), 0);
	cJSON_Delete(object);
}

static void check_named(struct world *w, const char *ns, const char *workload)
{
	struct destination_list list = list_of(w);

	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].source.ns, ns);
	assert_string_equal(list.items[0].source.workload, workload);
	assert_int_equal(list.items[0].opened, 1);
	destination_list_done(&list);
}

static void restart_without_pods(struct world *w)
{
	pods_free(w->view.pods);
	assert_int_equal(pods_new(&w->view.pods), 0);
	agent_end(w);
	agent_start(w);
}

/* Who it was stays known: without the list, without the cgroup, without the agent. */
static void test_pod_is_kept(void **state)
{
	struct world *w = world_open(200);

	(void)state;
	assert_int_equal(pods_new(&w->view.pods), 0);
	count(w, row_get(w, cgroup_make(w, POD_C), EA_PROTO_TLS, "h.example", 0), 1);
	give_pod(w);
	sweep(w);
	restart_without_pods(w);
	check_named(w, "shop", "cart");
	cgroup_end(w, POD_C);
	restart_without_pods(w);
	check_named(w, "shop", "cart");
	sweep_all(w);
	assert_int_equal(w->maps.left[LEAVE_GONE], 1);
	restart_without_pods(w);
	check_named(w, "shop", "cart");
	pods_free(w->view.pods);
	world_close(w);
}

/* A pod that the list may yet have is waited for, but not for ever. */
static void test_pod_comes_late(void **state)
{
	struct world *w = world_open(200);

	(void)state;
	assert_int_equal(pods_new(&w->view.pods), 0);
	count(w, row_get(w, cgroup_make(w, POD_C), EA_PROTO_TLS, "h.example", 0), 1);
	sweep(w);
	cgroup_end(w, POD_C);
	restart_without_pods(w);
	check_named(w, "", "a0123456789a");
	assert_int_equal(sweep(w), 0);
	give_pod(w);
	check_named(w, "shop", "cart");
	restart_without_pods(w);
	w->rules.expiry_ns = 0;
	w->now += 3590 * SECOND;
	assert_int_equal(sweep(w), 0);
	w->now += 10 * SECOND;
	sweep_all(w);
	check_named(w, "", "a0123456789a");
	assert_int_equal(w->maps.left[LEAVE_GONE], 1);
	pods_free(w->view.pods);
	world_close(w);
}

/* First seen in the second after the list had it, killed in the next: settled in between. */
static void test_settle(void **state)
{
	struct world *w = world_open(200);
	uint64_t id = cgroup_make(w, POD_C);

	(void)state;
	assert_int_equal(pods_new(&w->view.pods), 0);
	count(w, row_get(w, id, EA_PROTO_TLS, "h.example", 0), 1);
	identity_keep(w->identities, w->view.pods, id, false);
	identities_settle(w->identities, w->view.pods);
	give_pod(w);
	identities_settle(w->identities, w->view.pods);
	cgroup_end(w, POD_C);
	restart_without_pods(w);
	check_named(w, "shop", "cart");
	pods_free(w->view.pods);
	world_close(w);
}

/* Every allocation failing in turn: -ENOMEM, nothing leaked (the sanitizer tells), and the next plan is right. */
static void test_no_memory(void **state)
{
	struct world *w = world_open(1);
	struct leave_plan plan = {0};
	struct bpf_snapshot s;
	int r = -ENOMEM;

	(void)state;
	for (int i = 0; i < 3; i++) {
		char name[32];

		sprintf(name, "%d.service", i);
		count(w, row_get(w, cgroup_make(w, name), EA_PROTO_TLS, "a.example", 0), 1);
		count(w, row_get(w, w->maps.rows[1].key.cgroup_id, EA_PROTO_TLS, name, 0), 1);
	}
	w->now += EXPIRY;
	w->rules.now_ns = w->now;
	sweep(w);
	s = snapshot_of(w);
	for (unsigned int n = 1; n < 2000 && r; n++) {
		alloc_fail_at(n);
		r = inventory_plan(w->inventory, &s, &w->view, &w->rules, &plan);
		alloc_fail_at(0);
		assert_true(r == 0 || r == -ENOMEM);
	}
	assert_int_equal(r, 0);
	assert_int_equal(plan.n, 6);
	leave_plan_done(&plan);
	world_close(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_histories),   cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_no_expiry),   cmocka_unit_test(test_never_closed),
		cmocka_unit_test(test_back),        cmocka_unit_test(test_sidecar),
		cmocka_unit_test(test_forgotten),   cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_pod_is_kept), cmocka_unit_test(test_pod_comes_late),
		cmocka_unit_test(test_settle),      cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_together),
	};

	return cmocka_run_group_tests_name("leave", tests, NULL, NULL);
}
