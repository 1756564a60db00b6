// SPDX-License-Identifier: Apache-2.0
/* From the kernel's rows to the list: names, scopes, limits, sidecars. The cgroups are plain directories. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc.h"
#include "inventory.h"
#include "util.h"

#define POD_A "kubepods-pod11111111_2222_3333_4444_555555555555.slice"
#define POD_B "kubepods-pod66666666_7777_8888_9999_000000000000.slice"

#define POD_C    "kubepods-podaaaaaaaa_bbbb_cccc_dddd_eeeeeeeeeeee.slice"
#define HEX_16   "0123456789abcdef"
#define ID_APP   "a" HEX_16 HEX_16 HEX_16 "0123456789abcde"
#define ID_PROXY "b" HEX_16 HEX_16 HEX_16 "0123456789abcde"

enum { APP_A, PROXY_A, APP_B, APP_C, PROXY_C, N_CGROUPS };

struct world {
	char root[64];
	uint64_t ids[N_CGROUPS];
	struct cgroup_cache *cgroups;
	struct identities *identities;
	struct inventory *inventory;
	struct bpf_dest_row dests[64];
	struct bpf_request_row requests[16];
	struct bpf_address_row addresses[8];
	struct bpf_workload_row workloads[N_CGROUPS];
	struct bpf_snapshot s;
	struct inventory_view view;
};

static const char *const paths[N_CGROUPS] = {
	POD_A "/app",
	POD_A "/istio-proxy",
	POD_B "/other",
	POD_C "/cri-containerd-" ID_APP ".scope",
	POD_C "/cri-containerd-" ID_PROXY ".scope",
};

static void world_open(struct world *w, uint32_t max_hosts)
{
	struct inventory_options options = {.node = "n1", .max_hosts_per_workload = max_hosts};
	char path[256];

	memset(w, 0, sizeof(*w));
	strcpy(w->root, "/tmp/test_inventory.XXXXXX");
	assert_non_null(mkdtemp(w->root));
	for (int i = 0; i < N_CGROUPS; i++) {
		snprintf(path, sizeof(path), "%s/%s", w->root, paths[i]);
		*strrchr(path, '/') = 0;
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
		snprintf(path, sizeof(path), "%s/%s", w->root, paths[i]);
		assert_int_equal(mkdir(path, 0755), 0);
		assert_int_equal(cgroup_id(path, &w->ids[i]), 0);
		w->workloads[i].cgroup_id = w->ids[i];
	}
	assert_int_equal(cgroup_cache_new(w->root, &w->cgroups), 0);
	assert_true(cgroup_cache_refresh(w->cgroups) > 0);
	assert_int_equal(identities_new(w->cgroups, NULL, &w->identities), 0);
	assert_int_equal(inventory_new(&options, w->identities, &w->inventory), 0);
	w->s = (struct bpf_snapshot){.dests = w->dests,
				     .requests = w->requests,
				     .addresses = w->addresses,
				     .workloads = w->workloads,
				     .n_workloads = N_CGROUPS,
				     .since_ns = 1000000000,
				     .since_unix_ns = 1700000000000000000};
}

static int compare_workloads(const void *x, const void *y)
{
	const struct bpf_workload_row *a = x, *b = y;

	return (a->cgroup_id > b->cgroup_id) - (a->cgroup_id < b->cgroup_id);
}

static void world_close(struct world *w)
{
	char command[128];

	inventory_free(w->inventory);
	identities_free(w->identities);
	cgroup_cache_free(w->cgroups);
	snprintf(command, sizeof(command), "rm -r %s", w->root);
	assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
}

static struct bpf_dest_row *row(struct world *w, int cgroup, enum ea_proto proto,
				enum ea_source source, const char *host, uint16_t port)
{
	struct bpf_dest_row *r = &w->dests[w->s.n_dests];

	r->id = (uint32_t)(2 + w->s.n_dests++);
	r->key = (struct ea_dest_key){.cgroup_id = w->ids[cgroup],
				      .port = port,
				      .proto = proto,
				      .source = source,
				      .host_len = (uint16_t)strlen(host)};
	memcpy(r->key.host, host, strlen(host));
	r->first_ns = 2000000000;
	r->stats = (struct ea_stats){
		.opened = 1, .closed = 1, .sent = 10, .received = 20, .last_ns = 3000000000};
	return r;
}

static struct destination_list list_of(struct world *w)
{
	struct destination_list list = {0};

	qsort(w->workloads, N_CGROUPS, sizeof(w->workloads[0]), compare_workloads);
	assert_int_equal(inventory_list(w->inventory, &w->s, &w->view, 1700000009000, &list), 0);
	return list;
}

static const struct destination *find(const struct destination_list *list, const char *workload,
				      const char *host, enum protocol protocol)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i].source.workload, workload) == 0 &&
		    strcmp(list->items[i].host, host) == 0 && list->items[i].protocol == protocol)
			return &list->items[i];
	return NULL;
}

static void flag_proxy(struct world *w, int cgroup)
{
	for (int i = 0; i < N_CGROUPS; i++)
		if (w->workloads[i].cgroup_id == w->ids[cgroup])
			w->workloads[i].flags = EA_WORKLOAD_PROXY;
}

static void test_names_and_times(void **state)
{
	struct destination_list list;
	const struct destination *d;
	struct world w;

	(void)state;
	world_open(&w, 200);
	row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, "httpbin.org", 443)->stats.facts =
		EA_FACT_TLS12 | EA_FACT_TLS13 | EA_FACT_TLS13 << EA_FACT_CHOSEN_SHIFT |
		EA_FACT_ALPN_H2 | EA_FACT_ECH | EA_FACT_REDIRECTED;
	row(&w, APP_B, EA_PROTO_TLS, EA_SOURCE_SNI, "httpbin.org", 443)->stats.handshakes_failed =
		4;
	row(&w, APP_B, EA_PROTO_TLS, EA_SOURCE_SNI, "bad name", 443);
	row(&w, APP_B, EA_PROTO_TLS, EA_SOURCE_SNI, "", 443);
	row(&w, APP_B, EA_PROTO_HTTP, EA_SOURCE_HTTP, "192.0.2.7", 80);
	memcpy(row(&w, APP_B, EA_PROTO_TCP, EA_SOURCE_IP, "0123456789abcdef", 22)->key.host,
	       "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x09", 16);
	list = list_of(&w);
	d = find(&list, "app", "httpbin.org", PROTOCOL_TLS);
	assert_non_null(d);
	assert_int_equal(d->tls_versions, 1u << TLS_13);
	assert_int_equal(d->tls_offered, 1u << TLS_12 | 1u << TLS_13);
	assert_int_equal(find(&list, "other", "httpbin.org", PROTOCOL_TLS)->handshakes_failed, 4);
	assert_int_equal(d->alpn, 1u << ALPN_H2);
	assert_true(d->ech);
	assert_int_equal(d->interception, INTERCEPTION_SIDECAR);
	assert_int_equal(d->first_ms, 1700000001000);
	assert_int_equal(d->last_ms, 1700000002000);
	assert_int_equal(find(&list, "other", "httpbin.org", PROTOCOL_TLS)->interception,
			 INTERCEPTION_NONE);
	assert_int_equal(find(&list, "other", "~invalid", PROTOCOL_TLS)->opened, 2);
	assert_int_equal(find(&list, "other", "192.0.2.7", PROTOCOL_HTTP)->name_source,
			 NAME_SOURCE_HTTP);
	assert_int_equal(find(&list, "other", "192.0.2.9", PROTOCOL_TCP)->name_source,
			 NAME_SOURCE_IP);
	assert_int_equal(list.n, 5);
	destination_list_done(&list);
	world_close(&w);
}

static void test_scope(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, "in.example", 443)->key.internal = 1;
	row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, "both.example", 443)->key.internal = 1;
	row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, "both.example", 443);
	list = list_of(&w);
	assert_true(find(&list, "app", "in.example", PROTOCOL_TLS)->internal);
	assert_false(find(&list, "app", "both.example", PROTOCOL_TLS)->internal);
	assert_int_equal(find(&list, "app", "both.example", PROTOCOL_TLS)->opened, 2);
	destination_list_done(&list);
	world_close(&w);
}

/* The first hosts keep their line; the rest is one line per scope; totals add up; it stays so. */
static void test_limit(void **state)
{
	struct destination_list list;
	struct world w;
	char host[32];

	(void)state;
	world_open(&w, 3);
	for (int i = 0; i < 10; i++) {
		snprintf(host, sizeof(host), "h%d.example", i);
		row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, host, 443);
		row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, host, 8443);
		snprintf(host, sizeof(host), "i%d.example", i);
		row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, host, 443)->key.internal = 1;
	}
	for (int round = 0; round < 2; round++) {
		uint64_t external = 0, internal = 0;

		list = list_of(&w);
		for (size_t i = 0; i < list.n; i++)
			*(list.items[i].internal ? &internal : &external) += list.items[i].opened;
		assert_int_equal(external, 20);
		assert_int_equal(internal, 10);
		assert_non_null(find(&list, "app", "h2.example", PROTOCOL_TLS));
		assert_null(find(&list, "app", "h3.example", PROTOCOL_TLS));
		assert_non_null(find(&list, "app", "i2.example", PROTOCOL_TLS));
		assert_null(find(&list, "app", "i3.example", PROTOCOL_TLS));
		assert_int_equal(list.hosts_folded, 14);
		destination_list_done(&list);
	}
	world_close(&w);
}

static void add_leg(struct world *w, int cgroup, enum ea_proto proto, const char *host,
		    uint16_t port, uint32_t facts, uint64_t opened)
{
	struct bpf_dest_row *r = row(w, cgroup, proto,
				     proto == EA_PROTO_TLS ? EA_SOURCE_SNI : EA_SOURCE_HTTP, host,
				     port);

	r->stats.facts = facts;
	r->stats.opened = r->stats.closed = opened;
}

/* A sidecar's legs are hidden and tell of origination only as far as it opened more TLS than it was given. */
static void test_sidecar(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	flag_proxy(&w, PROXY_A);
	add_leg(&w, APP_A, EA_PROTO_HTTP, "originated.example", 80, EA_FACT_REDIRECTED, 3);
	add_leg(&w, PROXY_A, EA_PROTO_TLS, "originated.example", 443, EA_FACT_DIRECT, 1);
	add_leg(&w, APP_A, EA_PROTO_HTTP, "passed.example", 80, EA_FACT_REDIRECTED, 3);
	add_leg(&w, APP_A, EA_PROTO_TLS, "passed.example", 443, EA_FACT_REDIRECTED, 2);
	add_leg(&w, PROXY_A, EA_PROTO_TLS, "passed.example", 443, EA_FACT_DIRECT, 2);
	add_leg(&w, APP_B, EA_PROTO_HTTP, "originated.example", 80, EA_FACT_REDIRECTED, 1);
	list = list_of(&w);
	assert_true(find(&list, "app", "originated.example", PROTOCOL_HTTP)->tls_origination);
	assert_false(find(&list, "app", "passed.example", PROTOCOL_HTTP)->tls_origination);
	assert_false(find(&list, "other", "originated.example", PROTOCOL_HTTP)->tls_origination);
	assert_null(find(&list, "istio-proxy", "passed.example", PROTOCOL_TLS));
	assert_int_equal(list.n, 4);
	destination_list_done(&list);
	world_close(&w);
}

/* Nobody becomes a sidecar by answering on the port alone. */
static void test_no_sidecar_by_itself(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	flag_proxy(&w, APP_B);
	add_leg(&w, APP_B, EA_PROTO_TLS, "hidden.example", 443, EA_FACT_DIRECT, 1);
	add_leg(&w, APP_B, EA_PROTO_TCP, "x", 15001, EA_FACT_REDIRECTED, 1);
	list = list_of(&w);
	assert_non_null(find(&list, "other", "hidden.example", PROTOCOL_TLS));
	destination_list_done(&list);
	world_close(&w);
}

static void test_overflow(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	row(&w, APP_A, EA_PROTO_TLS, EA_SOURCE_SNI, "a.example", 443);
	w.dests[0].id = EA_DEST_OVERFLOW;
	w.dests[0].key = (struct ea_dest_key){.source = EA_SOURCE_OTHER};
	w.s.counters[EA_COUNT_DEST_FOLDED] = 5;
	w.s.counters[EA_COUNT_DEST_OVERFLOW] = 2;
	list = list_of(&w);
	assert_int_equal(list.n, 1);
	assert_string_equal(list.items[0].source.workload, "");
	assert_string_equal(list.items[0].host, "~other");
	assert_int_equal(list.destinations_dropped, 2);
	assert_int_equal(list.hosts_folded, 3);
	destination_list_done(&list);
	w.dests[0].stats = (struct ea_stats){0};
	list = list_of(&w);
	assert_int_equal(list.n, 0);
	destination_list_done(&list);
	world_close(&w);
}

static void test_requests(void **state)
{
	struct destination_list list;
	const struct destination *d;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_leg(&w, APP_A, EA_PROTO_HTTP, "r.example", 80, EA_FACT_DIRECT, 1);
	add_leg(&w, APP_B, EA_PROTO_HTTP, "r.example", 80, EA_FACT_DIRECT, 1);
	w.requests[0] =
		(struct bpf_request_row){2, 200, EA_METHOD_GET, {.count = 5, .first_byte_ns = 500}};
	w.requests[1] = (struct bpf_request_row){
		2, 404, EA_METHOD_HEAD, {.count = 1, .first_byte_ns = 100}};
	w.requests[2] = (struct bpf_request_row){
		3, 500, EA_METHOD_POST, {.count = 7, .first_byte_ns = 700}};
	w.s.n_requests = 3;
	list = list_of(&w);
	d = find(&list, "app", "r.example", PROTOCOL_HTTP);
	assert_int_equal(d->visibility, VISIBILITY_L7);
	assert_int_equal(d->n_by_code, 2);
	assert_int_equal(d->by_code[1].code, 404);
	assert_int_equal(find(&list, "other", "r.example", PROTOCOL_HTTP)->by_code[0].count, 7);
	destination_list_done(&list);
	world_close(&w);
}

static cJSON *parse(const char *text)
{
	cJSON *object = cJSON_Parse(text);

	assert_non_null(object);
	return object;
}

#define POD(spec, statuses, extra)                                                                 \
	"{\"metadata\": {\"namespace\": \"shop\", \"name\": \"cart-5d-x\", \"generateName\": "     \
	"\"cart-5d-\", \"uid\": \"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\", \"labels\": {\"app\": "  \
	"\"cart\", \"pod-template-hash\": \"5d\"}, " extra                                         \
	"\"ownerReferences\": [{\"kind\": \"ReplicaSet\", \"name\": \"cart-5d\", \"controller\": " \
	"true}]}, \"spec\": {\"containers\": [" spec "]}, \"status\": {\"containerStatuses\": "    \
	"[{\"name\": \"cart\", \"containerID\": \"containerd://" ID_APP "\"}" statuses "]}}"
#define PROXY_STATUS ", {\"name\": \"istio-proxy\", \"containerID\": \"containerd://" ID_PROXY "\"}"
#define CART         "{\"name\": \"cart\"}"
#define PROXY        ", {\"name\": \"istio-proxy\"}"
#define INJECTED                                          \
	"\"annotations\": {\"sidecar.istio.io/status\": " \
	"\"{\\\"containers\\\":[\\\"istio-proxy\\\"]}\"}, "

static void give_pod(struct world *w, const char *text)
{
	cJSON *object = parse(text);

	if (!w->view.pods)
		assert_int_equal(pods_new(&w->view.pods), 0);
	assert_int_equal(pods_object(object, w->view.pods), 0);
	cJSON_Delete(object);
}

/* The application's leg of one connection that was taken and of one that was not, the sidecar's own, and a datagram. */
static void add_mesh_legs(struct world *w)
{
	add_leg(w, APP_C, EA_PROTO_HTTP, "taken.example", 80, EA_FACT_REDIRECTED, 3);
	add_leg(w, APP_C, EA_PROTO_TLS, "past.example", 8443, EA_FACT_DIRECT, 1);
	add_leg(w, PROXY_C, EA_PROTO_TLS, "taken.example", 443, EA_FACT_DIRECT, 1);
	add_leg(w, APP_C, EA_PROTO_UDP, "udp.example", 443, EA_FACT_DIRECT, 1);
	add_leg(w, APP_C, EA_PROTO_TLS, "in.example", 443, EA_FACT_DIRECT, 1);
	w->dests[w->s.n_dests - 1].key.internal = 1;
}

static void check_row(const struct destination_list *list, const char *workload, const char *host,
		      enum protocol protocol, enum interception interception, uint32_t findings)
{
	const uint32_t mesh = 1u << FINDING_QUIC_BYPASS | 1u << FINDING_MESH_BYPASS;
	const struct destination *d = find(list, workload, host, protocol);

	assert_non_null(d);
	assert_int_equal(d->interception, interception);
	assert_int_equal(d->findings & mesh, findings);
}

/* Before the pod list the container's id and the pod's uid are shown; the same counts go to the workload after it. */
static void test_pods(void **state)
{
	struct destination_list list;
	const struct destination *d;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_mesh_legs(&w);
	list = list_of(&w);
	d = find(&list, "a0123456789a", "taken.example", PROTOCOL_HTTP);
	assert_non_null(d);
	assert_string_equal(d->source.pod_uid, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee");
	assert_non_null(find(&list, "b0123456789a", "taken.example", PROTOCOL_TLS));
	destination_list_done(&list);

	give_pod(&w, POD(CART PROXY, PROXY_STATUS, INJECTED));
	list = list_of(&w);
	assert_int_equal(list.n, 4);
	check_row(&list, "cart", "taken.example", PROTOCOL_HTTP, INTERCEPTION_SIDECAR, 0);
	check_row(&list, "cart", "past.example", PROTOCOL_TLS, INTERCEPTION_BYPASS,
		  1u << FINDING_MESH_BYPASS);
	check_row(&list, "cart", "udp.example", PROTOCOL_UDP, INTERCEPTION_BYPASS,
		  1u << FINDING_QUIC_BYPASS);
	check_row(&list, "cart", "in.example", PROTOCOL_TLS, INTERCEPTION_BYPASS, 0);
	d = find(&list, "cart", "taken.example", PROTOCOL_HTTP);
	assert_string_equal(d->source.ns, "shop");
	assert_string_equal(d->source.workload_kind, "Deployment");
	assert_string_equal(d->source.canonical_service, "cart");
	assert_true(!d->source.pod_uid || !*d->source.pod_uid);
	assert_true(d->tls_origination);
	assert_int_equal(d->opened, 3);
	destination_list_done(&list);
	pods_free(w.view.pods);
	world_close(&w);
}

/* Nobody is left out for what it is called, or for listening where a sidecar would. */
static void test_posing_as_sidecar(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_mesh_legs(&w);
	give_pod(&w, POD(CART PROXY, PROXY_STATUS, ""));
	list = list_of(&w);
	assert_non_null(find(&list, "cart", "taken.example", PROTOCOL_TLS));
	destination_list_done(&list);

	/* What the injector did not put there may be a proxy all the same: it took the application's connections. */
	flag_proxy(&w, PROXY_C);
	list = list_of(&w);
	assert_null(find(&list, "cart", "taken.example", PROTOCOL_TLS));
	destination_list_done(&list);

	give_pod(&w, POD(CART PROXY, PROXY_STATUS, INJECTED));
	flag_proxy(&w, APP_C);
	list = list_of(&w);
	assert_non_null(find(&list, "cart", "past.example", PROTOCOL_TLS));
	assert_int_equal(list.n, 4);
	destination_list_done(&list);
	pods_free(w.view.pods);
	world_close(&w);
}

/* A cgroup within a pod's container that is called after another pod: that pod does nothing of it. */
static void test_posing_as_pod(void **state)
{
	_cleanup_free_ char *real = NULL, *inner = NULL;
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	assert_true(asprintf(&real, "%s/" POD_B "/" ID_PROXY, w.root) > 0);
	assert_true(asprintf(&inner, "%s/" POD_C, real) > 0);
	assert_int_equal(mkdir(real, 0755) | mkdir(inner, 0755), 0);
	assert_int_equal(cgroup_id(inner, &w.ids[APP_B]), 0);
	assert_true(cgroup_cache_refresh(w.cgroups) > 0);
	add_leg(&w, APP_B, EA_PROTO_TLS, "a.example", 443, EA_FACT_DIRECT, 1);
	give_pod(&w, POD(CART, "", ""));
	/* The outer pod is not of this node, as on a kind node in a pod. */
	list = list_of(&w);
	assert_non_null(find(&list, "cart", "a.example", PROTOCOL_TLS));
	destination_list_done(&list);
	give_pod(&w, "{\"metadata\": {\"namespace\": \"ci\", \"name\": \"docker-0\", \"uid\": "
		     "\"66666666-7777-8888-9999-000000000000\"}}");
	list = list_of(&w);
	assert_int_equal(list.n, 1);
	assert_non_null(find(&list, "docker-0", "a.example", PROTOCOL_TLS));
	destination_list_done(&list);
	pods_free(w.view.pods);
	world_close(&w);
}

/* After a restart of the agent nothing is left of a pod that is gone but that its proxy was one. */
static void test_gone_proxy(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_leg(&w, APP_A, EA_PROTO_TLS, "a.example", 443, EA_FACT_DIRECT, 1);
	w.dests[0].key.cgroup_id = w.workloads[APP_A].cgroup_id = 999999999;
	w.workloads[APP_A].flags = EA_WORKLOAD_PROXY;
	list = list_of(&w);
	assert_int_equal(list.n, 0);
	destination_list_done(&list);
	world_close(&w);
}

/* ztunnel's legs are its pods': believed of a pod of that name whose sockets answer on the mesh's port. */
static void test_ztunnel(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_leg(&w, APP_C, EA_PROTO_TLS, "a.example", 443, EA_FACT_DIRECT, 1);
	give_pod(&w, "{\"metadata\": {\"namespace\": \"istio-system\", \"name\": \"ztunnel-x\", "
		     "\"generateName\": \"ztunnel-\", \"uid\": "
		     "\"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\", "
		     "\"labels\": {\"app\": \"ztunnel\"}, \"ownerReferences\": [{\"kind\": "
		     "\"DaemonSet\", \"name\": \"ztunnel\", \"controller\": true}]}, \"spec\": "
		     "{\"containers\": [{\"name\": \"istio-proxy\"}]}}");
	list = list_of(&w);
	assert_int_equal(list.n, 1);
	destination_list_done(&list);
	flag_proxy(&w, APP_C);
	list = list_of(&w);
	assert_int_equal(list.n, 0);
	destination_list_done(&list);
	pods_free(w.view.pods);
	world_close(&w);
}

/* No sidecar: nothing went past anything. Ambient: ztunnel takes connections in the pod's own network. */
static void test_other_meshes(void **state)
{
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	add_leg(&w, APP_C, EA_PROTO_TLS, "direct.example", 443, EA_FACT_DIRECT, 1);
	give_pod(&w, POD(CART, "", ""));
	list = list_of(&w);
	check_row(&list, "cart", "direct.example", PROTOCOL_TLS, INTERCEPTION_NONE, 0);
	destination_list_done(&list);

	add_leg(&w, APP_C, EA_PROTO_TLS, "taken.example", 443, EA_FACT_REDIRECTED, 1);
	give_pod(&w, POD(CART, "",
			 "\"annotations\": {\"ambient.istio.io/redirection\": \"enabled\"}, "));
	list = list_of(&w);
	check_row(&list, "cart", "taken.example", PROTOCOL_TLS, INTERCEPTION_AMBIENT, 0);
	check_row(&list, "cart", "direct.example", PROTOCOL_TLS, INTERCEPTION_BYPASS,
		  1u << FINDING_MESH_BYPASS);
	destination_list_done(&list);
	pods_free(w.view.pods);
	world_close(&w);
}

/* Where the last row was reached. */
static void add_address(struct world *w, const char ip[16])
{
	struct bpf_address_row *a = &w->addresses[w->s.n_addresses++];

	*a = (struct bpf_address_row){.dest_id = w->dests[w->s.n_dests - 1].id,
				      .last_ns = 2000000000};
	memcpy(a->addr, ip, sizeof(a->addr));
}

/* TLS without a name. */
static void add_nameless(struct world *w, int cgroup, const char ip[16], uint16_t port)
{
	struct bpf_dest_row *r = row(w, cgroup, EA_PROTO_TLS, EA_SOURCE_IP, "", port);

	memcpy(r->key.host, ip, 16);
	r->key.host_len = 16;
	r->stats.facts = EA_FACT_REDIRECTED;
	add_address(w, ip);
}

static void put(struct registry_store *store, const char *text)
{
	cJSON *object = parse(text);
	const char *why;

	assert_int_equal(registry_put(store, object, &why), 0);
	cJSON_Delete(object);
}

static void covers(const struct destination_list *list, struct coverage want)
{
	struct coverage c;

	destination_list_coverage(list, &c);
	assert_memory_equal(&c, &want, sizeof(c));
}

/* Each row is asked for as its own namespace sees it; what is in the cluster is internal. */
static void test_registry(void **state)
{
	const struct registry_options options = REGISTRY_OPTIONS_DEFAULT;
	struct registry_store *store;
	struct destination_list list;
	struct world w;

	(void)state;
	world_open(&w, 200);
	give_pod(&w, POD(CART PROXY, PROXY_STATUS, ""));
	assert_int_equal(registry_new(&options, &store), 0);
	put(store,
	    "{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"ServiceEntry\", "
	    "\"metadata\": {\"namespace\": \"shop\", \"name\": \"a\"}, \"spec\": {\"hosts\": "
	    "[\"known.example\"], \"exportTo\": [\".\"], \"location\": \"MESH_EXTERNAL\", "
	    "\"resolution\": \"DNS\", \"ports\": [{\"number\": 443, \"name\": \"tls\", "
	    "\"protocol\": \"TLS\"}]}}");
	put(store,
	    "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"namespace\": "
	    "\"shop\", \"name\": \"db\"}, \"spec\": {\"clusterIP\": \"10.0.0.9\", \"ports\": "
	    "[{\"port\": 80}]}}");
	put(store,
	    "{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"ServiceEntry\", "
	    "\"metadata\": {\"namespace\": \"shop\", \"name\": \"b\"}, \"spec\": {\"hosts\": "
	    "[\"db.example\"], \"location\": \"MESH_EXTERNAL\", \"resolution\": \"DNS\", "
	    "\"ports\": [{\"number\": 8443, \"name\": \"tls\", \"protocol\": \"TLS\"}]}, "
	    "\"status\": {\"addresses\": [{\"value\": \"240.240.0.3\"}]}}");
	w.view.registry = store;
	add_leg(&w, APP_C, EA_PROTO_TLS, "known.example", 443, EA_FACT_REDIRECTED, 1);
	add_leg(&w, APP_C, EA_PROTO_TLS, "unknown.example", 443, EA_FACT_REDIRECTED, 1);
	add_leg(&w, APP_A, EA_PROTO_TLS, "known.example", 443, EA_FACT_REDIRECTED, 1);
	add_leg(&w, APP_C, EA_PROTO_HTTP, "db.shop.svc.cluster.local", 80, EA_FACT_REDIRECTED, 1);
	add_leg(&w, APP_C, EA_PROTO_HTTP, "web.shop.svc.cluster.local", 80, EA_FACT_REDIRECTED, 1);
	add_address(&w, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\2\3");
	add_leg(&w, APP_C, EA_PROTO_HTTP, "x.svc", 80, EA_FACT_REDIRECTED, 1);
	add_address(&w, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\0\x71\x09");
	add_nameless(&w, APP_C, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xf0\xf0\0\3", 8443);
	add_nameless(&w, APP_C, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xf0\xf0\0\4", 8443);
	list = list_of(&w);
	assert_int_equal(find(&list, "cart", "known.example", PROTOCOL_TLS)->registry,
			 REGISTRY_REGISTERED);
	assert_int_equal(find(&list, "cart", "unknown.example", PROTOCOL_TLS)->registry,
			 REGISTRY_PASSTHROUGH);
	/* With a pod list, a workload that is not in it has no proxy that could be asked. */
	assert_int_equal(find(&list, "app", "known.example", PROTOCOL_TLS)->registry,
			 REGISTRY_UNKNOWN);
	assert_true(find(&list, "cart", "db.shop.svc.cluster.local", PROTOCOL_HTTP)->internal);
	assert_true(find(&list, "cart", "web.shop.svc.cluster.local", PROTOCOL_HTTP)->internal);
	/* A name is what the client says. */
	assert_false(find(&list, "cart", "x.svc", PROTOCOL_HTTP)->internal);
	/* What istiod allocated to a host is that host, for the proxy. */
	assert_int_equal(find(&list, "cart", "240.240.0.3", PROTOCOL_TLS)->registry,
			 REGISTRY_REGISTERED);
	assert_int_equal(find(&list, "cart", "240.240.0.4", PROTOCOL_TLS)->registry,
			 REGISTRY_PASSTHROUGH);
	covers(&list, (struct coverage){.destinations = 6, .named = 2, .unknown = 1});
	destination_list_done(&list);
	registry_free(store);
	pods_free(w.view.pods);
	world_close(&w);
}

/* Every allocation failing in turn: -ENOMEM, nothing leaked (the sanitizer tells), and the next list is right. */
static void test_no_memory(void **state)
{
	struct destination_list list = {0};
	struct world w;
	int r = -ENOMEM;

	(void)state;
	world_open(&w, 1);
	flag_proxy(&w, PROXY_A);
	add_leg(&w, APP_A, EA_PROTO_HTTP, "a.example", 80, EA_FACT_REDIRECTED, 3);
	add_leg(&w, PROXY_A, EA_PROTO_TLS, "a.example", 443, EA_FACT_DIRECT, 1);
	add_leg(&w, APP_A, EA_PROTO_HTTP, "b.example", 80, EA_FACT_REDIRECTED, 3);
	qsort(w.workloads, N_CGROUPS, sizeof(w.workloads[0]), compare_workloads);
	for (unsigned int n = 1; n < 500 && r; n++) {
		alloc_fail_at(n);
		r = inventory_list(w.inventory, &w.s, &w.view, 1, &list);
		alloc_fail_at(0);
		assert_true(r == 0 || r == -ENOMEM);
	}
	assert_int_equal(r, 0);
	assert_int_equal(list.n, 2);
	destination_list_done(&list);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_times),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_sidecar),
		cmocka_unit_test(test_no_sidecar_by_itself),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_pods),
		cmocka_unit_test(test_posing_as_sidecar),
		cmocka_unit_test(test_posing_as_pod),
		cmocka_unit_test(test_gone_proxy),
		cmocka_unit_test(test_ztunnel),
		cmocka_unit_test(test_other_meshes),
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
