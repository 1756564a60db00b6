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

#define POD_A "kubepods-pod11111111_2222_3333_4444_555555555555.slice"
#define POD_B "kubepods-pod66666666_7777_8888_9999_000000000000.slice"

enum { APP_A, PROXY_A, APP_B, N_CGROUPS };

struct world {
	char root[64];
	uint64_t ids[N_CGROUPS];
	struct cgroup_cache *cgroups;
	struct inventory *inventory;
	struct bpf_dest_row dests[64];
	struct bpf_request_row requests[16];
	struct bpf_workload_row workloads[N_CGROUPS];
	struct bpf_snapshot s;
};

static const char *const paths[N_CGROUPS] = {POD_A "/app", POD_A "/istio-proxy", POD_B "/other"};

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
	assert_int_equal(inventory_new(&options, w->cgroups, &w->inventory), 0);
	w->s = (struct bpf_snapshot){.dests = w->dests,
				     .requests = w->requests,
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
	assert_int_equal(inventory_list(w->inventory, &w->s, 1700000009000, &list), 0);
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
	w.requests[0] = (struct bpf_request_row){2, 200, EA_METHOD_GET, 5, 500};
	w.requests[1] = (struct bpf_request_row){2, 404, EA_METHOD_HEAD, 1, 100};
	w.requests[2] = (struct bpf_request_row){3, 500, EA_METHOD_POST, 7, 700};
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

static void test_range_parse(void **state)
{
	static const char *const wrong[] = {"",         "x",          "10.0.0.0/33", "10.0.0.0/",
					    "10.0.0/8", "::1/129",    "::1/-1",      "10.0.0.0/8x",
					    "/8",       "10.0.0.0/+8"};
	struct ea_range r;

	(void)state;
	assert_int_equal(range_parse("10.0.0.0/8", &r), 0);
	assert_int_equal(r.bits, 104);
	assert_int_equal(r.addr[12], 10);
	assert_int_equal(range_parse("192.0.2.1", &r), 0);
	assert_int_equal(r.bits, 128);
	assert_int_equal(range_parse("fd00::/8", &r), 0);
	assert_int_equal(r.bits, 8);
	assert_int_equal(range_parse("::/0", &r), 0);
	assert_int_equal(r.bits, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(range_parse(wrong[i], &r), -EINVAL);
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
		r = inventory_list(w.inventory, &w.s, 1, &list);
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
		cmocka_unit_test(test_range_parse),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests_name("inventory", tests, NULL, NULL);
}
