// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of the registry's store: replacing, deleting, lists, limits, owners of a host, what is inside the cluster,
 * and running out of memory.
 */
#include "registry_help.h"

#include "alloc.h"
#include "json_tree.h"

#define MINE "labels {app.kubernetes.io/managed-by: egress-agent} "

static size_t count(const struct registry_store *store, enum registry_kind kind)
{
	struct registry_stats stats;

	registry_get_stats(store, &stats);
	return stats.objects[kind];
}

static void test_replace_and_delete(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	struct registry_stats empty, stats;
	const char *why = NULL;

	(void)state;
	registry_get_stats(store, &empty);
	assert_int_equal(empty.bytes, 0);
	help_put(store, "ServiceEntry a/x {hosts: [one.com, \"*w.com\"], addresses: [1.2.3.0/24], "
			"ports: [TLS443]}\n"
			"ServiceEntry b/x {hosts: [one.com], ports: [TLS443]}\n");
	assert_int_equal(count(store, REGISTRY_KIND_SERVICE_ENTRY), 2);
	help_put(store, "ServiceEntry a/x {hosts: [two.com], ports: [TLS443]}\n");
	assert_int_equal(count(store, REGISTRY_KIND_SERVICE_ENTRY), 2);
	help_check(store, "replaced",
		   CASES({"a tls one.com:443", "registered b/x"},
			 {"a tls two.com:443", "registered a/x"}));
	/* One that istiod would refuse takes its predecessor away. */
	assert_int_equal(
		help_put_line(store,
			      "ServiceEntry a/x {hosts: [two.com], resolution: x, ports: [TLS443]}",
			      &why),
		-EINVAL);
	assert_non_null(why);
	help_check(store, "refused", CASES({"a tls two.com:443", "passthrough"}));
	assert_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "a", "x"));
	assert_non_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "b", "x"));
	assert_null(registry_find(store, REGISTRY_KIND_SERVICE, "b", "x"));
	assert_false(registry_delete(store, REGISTRY_KIND_SERVICE_ENTRY, "a", "x"));
	assert_true(registry_delete(store, REGISTRY_KIND_SERVICE_ENTRY, "b", "x"));
	registry_get_stats(store, &stats);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(stats.rejected[REGISTRY_REASON_RESOLUTION], 1);
	help_check(store, "all gone", CASES({"a tls one.com:443", "passthrough"}));
	/* Names of any length are questions, too. */
	assert_false(registry_delete(store, REGISTRY_KIND_SIDECAR, "", why));
}

static void test_clear(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);

	(void)state;
	help_put(store, "ServiceEntry a/x {hosts: [x.com], ports: [TLS443]}\n"
			"ServiceEntry a/y {hosts: [y.com], ports: [TLS443]}\n"
			"DestinationRule a/x {host: x.com}\n");
	registry_clear(store, REGISTRY_KIND_SERVICE_ENTRY);
	assert_int_equal(count(store, REGISTRY_KIND_SERVICE_ENTRY), 0);
	assert_int_equal(count(store, REGISTRY_KIND_DESTINATION_RULE), 1);
	registry_clear(store, REGISTRY_KIND_DESTINATION_RULE);
	registry_clear(store, REGISTRY_KIND_DESTINATION_RULE);
	assert_int_equal(count(store, REGISTRY_KIND_DESTINATION_RULE), 0);
}

/* A new list in pages, while the old one still answers. */
static void test_lists(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);

	(void)state;
	help_put(store, "ServiceEntry a/x {hosts: [x.com], ports: [TLS443]}\n"
			"ServiceEntry a/y {hosts: [y.com], ports: [TLS443]}\n"
			"DestinationRule a/r {host: x.com}\n");
	registry_list_begin(store, REGISTRY_KIND_SERVICE_ENTRY);
	help_put(store, "ServiceEntry a/z {hosts: [z.com], ports: [TLS443]}\n");
	help_check(store, "between pages",
		   CASES({"a tls x.com:443", "registered a/x"},
			 {"a tls z.com:443", "registered a/z"}));
	help_put(store, "ServiceEntry a/x {hosts: [x.com], ports: [TLS443]}\n");
	registry_list_end(store, REGISTRY_KIND_SERVICE_ENTRY);
	help_check(store, "at the end",
		   CASES({"a tls x.com:443", "registered a/x"}, {"a tls y.com:443", "passthrough"},
			 {"a tls z.com:443", "registered a/z"}));
	assert_int_equal(count(store, REGISTRY_KIND_DESTINATION_RULE), 1);
	/* One that was broken off, and the next one. */
	registry_list_begin(store, REGISTRY_KIND_SERVICE_ENTRY);
	help_put(store, "ServiceEntry a/q {hosts: [q.com], ports: [TLS443]}\n");
	registry_list_begin(store, REGISTRY_KIND_SERVICE_ENTRY);
	help_put(store, "ServiceEntry a/x {hosts: [x.com], ports: [TLS443]}\n");
	registry_list_end(store, REGISTRY_KIND_SERVICE_ENTRY);
	assert_int_equal(count(store, REGISTRY_KIND_SERVICE_ENTRY), 1);
}

static void test_list_items(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	cJSON *item = cJSON_Parse("{\"metadata\":{\"name\":\"web\",\"namespace\":\"a\"},\"spec\":{"
				  "\"clusterIP\":\"10.0.0.1\"}}");
	enum registry_kind kind;
	const char *why;

	(void)state;
	assert_int_equal(registry_kind_of(item, &kind), -ENOENT);
	assert_int_equal(registry_put(store, item, &why), -ENOENT);
	assert_int_equal(registry_put_as(store, REGISTRY_KIND_SERVICE, item, &why), 0);
	assert_string_equal(registry_find(store, REGISTRY_KIND_SERVICE, "a", "web")->name, "web");
	cJSON_Delete(item);
	for (kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		assert_true(strlen(registry_kind_name(kind)) > 0);
	for (enum registry_reason reason = 0; reason < REGISTRY_REASON_MAX; reason++)
		assert_true(strlen(registry_reason_name(reason)) > 0);
}

static void test_limits(void **state)
{
	struct registry_options options = REGISTRY_OPTIONS_DEFAULT;
	struct registry_stats stats;
	struct registry_store *store;
	const char *why = NULL;

	(void)state;
	options.objects_max = 2;
	store = help_store(&options);
	help_put(store, "ServiceEntry a/x {hosts: [x.com], ports: [TLS443]}\n"
			"DestinationRule a/r {host: x.com}\n");
	assert_int_equal(
		help_put_line(store, "ServiceEntry a/y {hosts: [y.com], ports: [TLS443]}", &why),
		-ENOSPC);
	assert_string_equal(why, "the registry is full");
	/* Replacing needs no room. */
	help_put(store, "ServiceEntry a/x {hosts: [z.com], ports: [TLS443]}\n");
	registry_get_stats(store, &stats);
	assert_int_equal(stats.full, 1);
	assert_int_equal(stats.objects[REGISTRY_KIND_SERVICE_ENTRY], 1);
	assert_true(registry_delete(store, REGISTRY_KIND_DESTINATION_RULE, "a", "r"));
	help_put(store, "ServiceEntry a/y {hosts: [y.com], ports: [TLS443]}\n");
	registry_free(store);
	registry_free(NULL);
}

/* The original of one of ours is kept, but not without end; and one that is replaced for want of room is gone. */
static void test_large_source(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	cJSON *object = cJSON_Parse("{\"metadata\":{\"name\":\"x\",\"labels\":{\"app.kubernetes.io/"
				    "managed-by\":\"egress-agent\"}},"
				    "\"spec\":{\"hosts\":[\"x.com\"]}}");
	cJSON *spec = cJSON_GetObjectItem(object, "spec");
	struct registry_stats stats;
	const char *why = NULL;
	char *large = malloc((8u << 20) + 1);

	(void)state;
	memset(large, 'x', 8u << 20);
	large[8u << 20] = '\0';
	assert_int_equal(registry_put_as(store, REGISTRY_KIND_SERVICE_ENTRY, object, &why), 0);
	cJSON_AddItemToObject(spec, "note", cJSON_CreateString(large));
	assert_int_equal(registry_put_as(store, REGISTRY_KIND_SERVICE_ENTRY, object, &why),
			 -EINVAL);
	assert_string_equal(why, "larger than etcd takes");
	registry_get_stats(store, &stats);
	assert_int_equal(stats.bytes, 0);
	/* 40 of 7 MiB are more than there is room for; the last one takes its smaller self away. */
	large[7u << 20] = '\0';
	cJSON_ReplaceItemInObject(spec, "note", cJSON_CreateString(large));
	for (unsigned int i = 0; i < 40; i++) {
		char name[16];
		int r;

		snprintf(name, sizeof(name), "x%u", i);
		cJSON_ReplaceItemInObject(cJSON_GetObjectItem(object, "metadata"), "name",
					  cJSON_CreateString(name));
		r = registry_put_as(store, REGISTRY_KIND_SERVICE_ENTRY, object, &why);
		assert_int_equal(r, i < 18 ? 0 : -ENOSPC);
	}
	registry_get_stats(store, &stats);
	assert_true(stats.bytes > 18 * (7u << 20) && stats.bytes <= REGISTRY_BYTES_MAX);
	assert_int_equal(stats.full, 22);
	cJSON_DeleteItemFromObject(spec, "note");
	assert_int_equal(registry_put_as(store, REGISTRY_KIND_SERVICE_ENTRY, object, &why), 0);
	assert_non_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "default", "x39"));
	cJSON_AddItemToObject(spec, "note", cJSON_CreateString(large));
	assert_int_equal(registry_put_as(store, REGISTRY_KIND_SERVICE_ENTRY, object, &why),
			 -ENOSPC);
	assert_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "default", "x39"));
	free(large);
	cJSON_Delete(object);
}

static void test_managed(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	const struct registry_object **items = NULL;
	char text[256] = "";
	size_t n = 0;

	(void)state;
	assert_int_equal(registry_managed(store, &items, &n), 0);
	assert_int_equal(n, 0);
	free(items);
	help_put(store, "ServiceEntry b/x " MINE "{hosts: [x.com], ports: [TLS443]}\n"
			"DestinationRule b/x " MINE "{host: x.com}\n"
			"ServiceEntry a/z " MINE "{hosts: [z.com], ports: [TLS443]}\n"
			"ServiceEntry a/y {hosts: [y.com], ports: [TLS443]}\n"
			"Sidecar a/s " MINE "{outboundTrafficPolicy: {}}\n");
	assert_int_equal(registry_managed(store, &items, &n), 0);
	for (size_t i = 0; i < n; i++) {
		const cJSON *spec = cJSON_GetObjectItemCaseSensitive(items[i]->source, "spec");

		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s %s/%s, ",
			 registry_kind_name(items[i]->kind), items[i]->ns, items[i]->name);
		assert_true(cJSON_IsObject(spec));
		assert_true(items[i]->managed);
	}
	assert_string_equal(
		text, "Sidecar a/s, ServiceEntry a/z, ServiceEntry b/x, DestinationRule b/x, ");
	assert_string_equal(
		cJSON_GetObjectItem(cJSON_GetObjectItem(items[3]->source, "spec"), "host")
			->valuestring,
		"x.com");
	assert_string_equal(cJSON_GetObjectItem(items[3]->source, "kind")->valuestring,
			    "DestinationRule");
	free(items);
	assert_false(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "a", "y")->managed);
	assert_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "a", "y")->source);
}

static const struct {
	const char *ns, *host, *address;
	bool internal;
} internal_cases[] = {
	{"z", "web.prod.svc.cluster.local", NULL, true},
	{"z", "WEB.Prod.svc.cluster.local.", NULL, true},
	{"z", "no-such.prod.svc.cluster.local", NULL, true},
	{"z", "10-1-2-3.prod.pod.cluster.local", NULL, true},
	{"z", "cluster.local", NULL, true},
	{"z", "xcluster.local", NULL, false},
	{"z", "web.prod.svc", NULL, true},
	{"z", "nothing.at.all.svc", NULL, true},
	{"z", "web.prod", NULL, true},
	{"z", "no-such.prod", NULL, false},
	{"z", "web.other", NULL, false},
	{"prod", "web", NULL, true},
	{"z", "web", NULL, false},
	{NULL, "web", NULL, false},
	{"", "web", NULL, false},
	/* A pod of a headless one. */
	{"z", "db-0.db.prod", NULL, true},
	{"z", "db-0.db.prod.svc", NULL, true},
	{"z", "db-0.no-such.prod", NULL, false},
	/* What an ExternalName points to is outside, its own name is not. */
	{"z", "ext.prod", NULL, true},
	{"prod", "ext", NULL, true},
	{"z", "httpbin.org", NULL, false},
	/* A top-level domain that is a namespace, too. */
	{"z", "www.google.com", NULL, false},
	{"z", "shop.com", NULL, true},
	{"z", "api.shop.com", NULL, true},
	{"z", "a.api.shop.com", NULL, false},
	/* A name says nothing of a public address. */
	{"z", "web.prod.svc.cluster.local", "10.1.2.3", true},
	{"z", "web.prod.svc.cluster.local", "fd12::3", true},
	{"z", "web.prod.svc.cluster.local", "1.2.3.4", false},
	{"z", "web.prod.svc.cluster.local", "2600::1", false},
	{"z", "x.com", "10.96.0.7", true},
	{"z", NULL, "10.96.0.7", true},
	{"z", NULL, "fd00::7", true},
	{"z", NULL, "10.96.0.8", false},
	{"z", NULL, "1.2.3.4", false},
	{"z", NULL, NULL, false},
	{"z", "", NULL, false},
	/* Of a ServiceEntry, and one that istiod gave away: both outside. */
	{"z", NULL, "10.0.0.99", false},
	{"z", "entry.com", "240.240.0.1", false},
	{"z", NULL, "240.240.0.2", false},
	/* Of a Service: what the nodes take connections for. A load balancer that is a proxy is outside. */
	{"z", "shop.example.com", "192.0.2.9", true},
	{"z", NULL, "192.0.2.10", true},
	{"z", NULL, "192.0.2.11", false},
	{"z", NULL, "192.0.2.12", false},
	/* Of pods, but not what an EndpointSlice names beside them. */
	{"z", "web.prod", "2600::7", true},
	{"z", NULL, "10.8.0.1", true},
	{"z", NULL, "10.8.0.2", true},
	{"z", NULL, "198.51.100.1", false},
	{"z", NULL, "198.51.100.2", false},
	{"z", NULL, "240.240.0.3", false},
};

#define SLICE                                                                                      \
	"{\"endpoints\": [{\"addresses\": [\"10.8.0.1\", \"2600::7\"], \"targetRef\": {\"kind\": " \
	"\"Pod\"}}, {\"addresses\": [\"10.8.0.2\", \"10.8.0.1\", \"240.240.0.3\", 7, \"x\"], "     \
	"\"targetRef\": {\"kind\": \"Pod\"}}, {\"addresses\": [\"198.51.100.1\"]}, "               \
	"{\"addresses\": "                                                                         \
	"[\"198.51.100.2\"], \"targetRef\": {\"kind\": \"Node\"}}, 7]}"

static void put_slice(struct registry_store *store, const char *text)
{
	cJSON *slice = cJSON_Parse(text);

	assert_non_null(slice);
	assert_int_equal(registry_add_endpoints(store, slice), 0);
	cJSON_Delete(slice);
}

static bool is_inside(const struct registry_store *store, const char *text)
{
	uint8_t address[16];

	assert_int_equal(address_parse(text, address), 0);
	return registry_is_internal(store, "z", NULL, address);
}

/* As many as there is room for, the one not told for longest goes; and all of them into another store. */
static void test_pod_addresses(void **state)
{
	struct registry_store *store = help_store(NULL), *other = help_store(NULL);
	struct registry_stats stats;
	char text[64];

	(void)state;
	assert_int_equal(registry_add_pod_address(store, "10.9.0.1"), 0);
	assert_int_equal(registry_add_pod_address(store, "10.9.0.2"), 0);
	assert_int_equal(registry_add_pod_address(store, NULL), 0);
	for (int i = 0; i < REGISTRY_PODS_MAX - 1; i++) {
		snprintf(text, sizeof(text), "fd00::%x:%x", i >> 16, i & 0xffff);
		assert_int_equal(registry_add_pod_address(store, text), 0);
		if (i == 1000)
			assert_int_equal(registry_add_pod_address(store, "10.9.0.1"), 0);
	}
	registry_get_stats(store, &stats);
	assert_int_equal(stats.pods, REGISTRY_PODS_MAX);
	assert_int_equal(stats.pods_evicted, 1);
	assert_true(is_inside(store, "10.9.0.1"));
	assert_false(is_inside(store, "10.9.0.2"));
	assert_true(is_inside(store, "fd00::1:7"));

	assert_int_equal(registry_add_pod_address(other, "10.9.0.3"), 0);
	registry_take_pod_addresses(other, store);
	registry_get_stats(other, &stats);
	assert_int_equal(stats.pods, REGISTRY_PODS_MAX);
	assert_int_equal(stats.pods_evicted, 2);
	assert_true(is_inside(other, "10.9.0.1") && is_inside(other, "10.9.0.3"));
	assert_false(is_inside(store, "10.9.0.1"));
	registry_free(store);
	registry_free(other);
}

/* The index counts, too: a host costs more there than its name. */
static void test_index_bytes(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	struct registry_stats one, two;

	(void)state;
	help_put(store, "ServiceEntry a/x {hosts: [x.com], resolution: DNS, ports: [TLS443]}\n");
	registry_get_stats(store, &one);
	help_put(store, "ServiceEntry a/x {hosts: [x.com, y.com, z.com], resolution: DNS, ports: "
			"[TLS443]}\n");
	registry_get_stats(store, &two);
	assert_true(two.bytes > one.bytes + 2 * (size_t)100);
	registry_clear(store, REGISTRY_KIND_SERVICE_ENTRY);
	registry_get_stats(store, &two);
	assert_int_equal(two.bytes, 0);
}

/* What was found for one connection is used for the next, until it is not true any more. */
static void test_kept_answers(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	struct registry_query query = {.ns = "a", .protocol = PROTOCOL_TCP};
	struct registry_stats stats;
	struct registry_answer answer;

	(void)state;
	for (int i = 0; i < 2; i++) {
		help_check(store, "nothing yet",
			   CASES({"a tcp x.com:9000", "passthrough"},
				 {"a http x.com:9000", "passthrough"}));
		help_put(store, "ServiceEntry b/t {hosts: [t.com], ports: [{name: tcp, number: "
				"9000, protocol: TCP}], resolution: DNS}\n");
		help_check(store, "whatever comes",
			   CASES({"a tcp x.com:9000", "registered b/t"},
				 {"c tcp x.com:9000", "registered b/t"},
				 {"a http x.com:9000", "registered b/t"}));
		help_put(store, "ServiceEntry b/h {hosts: [h.com], ports: [{name: http, number: "
				"9000, protocol: HTTP}], resolution: DNS}\n");
		help_check(store, "HTTP is read now",
			   CASES({"a tcp x.com:9000", "registered b/t"},
				 {"a http x.com:9000", "passthrough"}));
		help_put(store, "Sidecar a/s {egress: [{hosts: [\"./*\"]}]}\n");
		help_check(store, "not imported",
			   CASES({"a tcp x.com:9000", "passthrough"},
				 {"c tcp x.com:9000", "registered b/t"}));
		assert_true(registry_delete(store, REGISTRY_KIND_SIDECAR, "a", "s"));
		help_check(store, "again", CASES({"a tcp x.com:9000", "registered b/t"}));
		registry_clear(store, REGISTRY_KIND_SERVICE_ENTRY);
	}
	/* More scopes than there is room for. */
	for (unsigned int port = 1; port <= UINT16_MAX; port++) {
		query.port = (uint16_t)port;
		registry_resolve(store, &query, &answer);
		assert_int_equal(answer.state, REGISTRY_PASSTHROUGH);
	}
	registry_get_stats(store, &stats);
	assert_true(stats.memos_dropped > 0);
}

/* MESH_INTERNAL: of the mesh, at a private address; found by who may see it only. */
static void test_mesh_internal(void **state)
{
	static const struct {
		const char *ns, *host, *address;
		bool internal;
	} cases[] = {
		{"a", "vm.example", "10.1.2.3", true}, {"a", "vm.example", NULL, true},
		{"a", "vm.example", "1.2.3.4", false}, {"b", "vm.example", "10.1.2.3", false},
		{"a", "ext.example", NULL, false},
	};
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	uint8_t address[16];

	(void)state;
	help_put(store,
		 "ServiceEntry a/vm {hosts: [vm.example], location: MESH_INTERNAL, exportTo: [.], "
		 "resolution: DNS, ports: [TLS443]}\n"
		 "ServiceEntry a/ext {hosts: [ext.example], location: MESH_EXTERNAL, "
		 "resolution: DNS, ports: [TLS443]}\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct registry_query query = {.ns = cases[i].ns,
						     .host = cases[i].host,
						     .name_source = NAME_SOURCE_SNI,
						     .port = 443,
						     .protocol = PROTOCOL_TLS,
						     .address = cases[i].address ? address : NULL};
		struct registry_answer answer;

		if (cases[i].address)
			assert_int_equal(address_parse(cases[i].address, address), 0);
		registry_resolve(store, &query, &answer);
		assert_int_equal(answer.internal, cases[i].internal);
	}
}

static void test_internal(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	uint8_t address[16];

	(void)state;
	help_put(store,
		 "Service prod/web {clusterIPs: [10.96.0.7, \"fd00::7\"], ports: [{port: 80}]}\n"
		 "Service prod/db {clusterIP: None}\n"
		 "Service prod/ext {type: ExternalName, externalName: httpbin.org}\n"
		 "Service com/shop {clusterIP: 10.96.0.9}\n"
		 "Service prod/odd {clusterIP: 240.240.0.2}\n"
		 "ServiceEntry a/e {hosts: [entry.com], addresses: [10.0.0.99], resolution: "
		 "STATIC} status {addresses: [{value: 240.240.0.1}]}\n"
		 "Service prod/edge {clusterIP: 10.96.0.10, externalIPs: [192.0.2.9, nowhere, 7]} "
		 "status {loadBalancer: {ingress: [{ip: 192.0.2.10, ipMode: VIP}, {hostname: x}, "
		 "{ip: 192.0.2.11, ipMode: Proxy}, {ip: no}]}}\n"
		 "Service prod/old {clusterIP: 10.96.0.11, externalIPs: [192.0.2.12]}\n");
	assert_true(registry_delete(store, REGISTRY_KIND_SERVICE, "prod", "old"));
	put_slice(store, SLICE);
	for (size_t i = 0; i < ARRAY_SIZE(internal_cases); i++) {
		bool internal;

		if (internal_cases[i].address)
			assert_int_equal(address_parse(internal_cases[i].address, address), 0);
		internal = registry_is_internal(store, internal_cases[i].ns, internal_cases[i].host,
						internal_cases[i].address ? address : NULL);
		if (internal != internal_cases[i].internal)
			print_error("%s %s %s\n", internal_cases[i].ns, internal_cases[i].host,
				    internal_cases[i].address);
		assert_int_equal(internal, internal_cases[i].internal);
	}
}

static void test_cluster_domain(void **state)
{
	struct registry_options options = REGISTRY_OPTIONS_DEFAULT;
	struct registry_store *store;

	(void)state;
	options.cluster_domain = "k8s.example.com";
	store = help_store(&options);
	help_put(store,
		 "Service prod/web {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}\n");
	assert_true(registry_is_internal(store, "z", "x.k8s.example.com", NULL));
	assert_false(registry_is_internal(store, "z", "web.prod.svc.cluster.local", NULL));
	help_check(store, "another domain",
		   CASES({"z http web.prod.svc.k8s.example.com:80", "registered prod/web"}));
	registry_free(store);
}

/* "own/exported/covering" of entries, rules and routes. */
static void check_owners(const struct registry_store *store, const char *ns, const char *host,
			 bool mesh, const char *expected)
{
	struct registry_owners owners;
	const struct registry_owner *groups[] = {&owners.entries, &owners.rules, &owners.routes};
	static const char *const names[] = {"entries", "rules", "routes"};
	char text[512] = "";

	registry_get_owners(store, ns, host, mesh, &owners);
	for (size_t i = 0; i < 3; i++) {
		if (!groups[i]->own && !groups[i]->exported && !groups[i]->covering)
			continue;
		help_name(text, sizeof(text), names[i], NULL);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s:", names[i]);
		help_name(text, sizeof(text), " own ", groups[i]->own);
		help_name(text, sizeof(text), " exported ", groups[i]->exported);
		help_name(text, sizeof(text), " covering ", groups[i]->covering);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "; ");
	}
	if (strcmp(text, expected) != 0)
		print_error("%s %s %d\n", ns, host, mesh);
	assert_string_equal(text, expected);
}

static void test_owners(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);

	(void)state;
	help_put(store, "ServiceEntry a/x {hosts: [x.com], exportTo: [.], ports: [TLS443]}\n"
			"ServiceEntry b/x {hosts: [x.com], exportTo: [\"*\"], ports: [TLS443]}\n"
			"ServiceEntry c/w {hosts: [\"*.w.com\"], resolution: NONE, exportTo: [a], "
			"ports: [TLS443]}\n"
			"ServiceEntry d/ww {hosts: [\"*.com\"], resolution: NONE, exportTo: [d], "
			"ports: [TLS443]}\n"
			"DestinationRule b/x {host: x.com}\n"
			"DestinationRule istio-system/com {host: \"*.com\"}\n"
			"DestinationRule c/x {host: x.com}\n"
			"DestinationRule a/w {host: \"*.w.com\"}\n"
			"VirtualService a/x {hosts: [x.com], http: [{route: [{destination: {host: "
			"x.com}}]}]}\n"
			"VirtualService a/gw {hosts: [g.com], gateways: [gw], http: [{route: "
			"[{destination: {host: x.com}}]}]}\n");
	check_owners(store, "a", "x.com", false,
		     "entries: own a/x exported b/x; rules: exported b/x covering "
		     "istio-system/com; routes: own a/x; ");
	check_owners(store, "b", "x.com", false,
		     "entries: own b/x; rules: own b/x covering istio-system/com; routes: exported "
		     "a/x; ");
	check_owners(store, "z", "X.com.", false,
		     "entries: exported b/x; rules: exported b/x covering istio-system/com; "
		     "routes: exported a/x; ");
	check_owners(store, "a", "q.w.com", false, "entries: covering c/w; rules: covering a/w; ");
	check_owners(store, "b", "q.w.com", false, "rules: covering istio-system/com; ");
	check_owners(store, "d", "q.w.com", false,
		     "entries: covering d/ww; rules: covering istio-system/com; ");
	/* For all: whatever anybody exports, and not what somebody keeps. */
	check_owners(store, "istio-system", "q.w.com", true,
		     "entries: covering c/w; rules: covering istio-system/com; ");
	check_owners(store, "istio-system", "p.com", true, "rules: covering istio-system/com; ");
	check_owners(store, "a", "*.w.com", false,
		     "entries: exported c/w; rules: own a/w covering istio-system/com; ");
	check_owners(store, "d", "*.com", false,
		     "entries: own d/ww; rules: exported istio-system/com; ");
	check_owners(store, "a", "g.com", false, "rules: covering istio-system/com; ");
	check_owners(store, "a", "nobody.org", false, "");
	check_owners(store, "", "", false, "");
}

/* Ours stands back where another one is there, too. */
static void test_owners_managed(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	struct registry_owners owners;

	(void)state;
	help_put(store, "ServiceEntry a/a-ours " MINE "{hosts: [x.com], ports: [TLS443]}\n"
			"DestinationRule a/a-ours " MINE "{host: x.com}\n");
	registry_get_owners(store, "a", "x.com", false, &owners);
	assert_true(owners.entries.own->managed);
	assert_true(owners.rules.own->managed);
	help_put(store, "ServiceEntry a/theirs {hosts: [x.com], ports: [TLS443]}\n"
			"DestinationRule a/theirs {host: x.com}\n");
	registry_get_owners(store, "a", "x.com", false, &owners);
	assert_string_equal(owners.entries.own->name, "theirs");
	assert_string_equal(owners.rules.own->name, "theirs");
	help_put(store, "ServiceEntry istio-system/mesh " MINE "{hosts: [y.com], ports: [TLS443]}\n"
			"DestinationRule istio-system/mesh " MINE "{host: y.com}\n");
	registry_get_owners(store, "a", "y.com", false, &owners);
	assert_string_equal(owners.entries.exported->name, "mesh");
	assert_string_equal(owners.rules.exported->name, "mesh");
}

static void test_sidecar(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);

	(void)state;
	assert_null(registry_get_sidecar(store, "a"));
	help_put(
		store,
		"Sidecar istio-system/root {outboundTrafficPolicy: {}}\n"
		"Sidecar a/some {workloadSelector: {labels: {a: b}}, outboundTrafficPolicy: {}}\n");
	assert_string_equal(registry_get_sidecar(store, "a")->name, "root");
	help_put(store, "Sidecar a/all {outboundTrafficPolicy: {}}\n");
	assert_string_equal(registry_get_sidecar(store, "a")->name, "all");
	assert_string_equal(registry_get_sidecar(store, "")->name, "root");
}

static const char *const one_of_each[] = {
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"ServiceEntry\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\","
	"\"labels\":{\"app.kubernetes.io/managed-by\":\"egress-agent\"}},"
	"\"spec\":{\"hosts\":[\"x.com\",\"y.com\"],\"addresses\":[\"1.2.3.4\",\"10.0.0.0/"
	"8\"],\"exportTo\":[\"b\",\".\"],\"resolution\":\"STATIC\",\"ports\":[{\"number\":"
	"443,\"name\":\"tls\",\"protocol\":\"TLS\"}]}}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"DestinationRule\",\"metadata\":{\"name\":\"x\",\"namespace\":"
	"\"a\"},\"spec\":{\"host\":\"x.com\",\"subsets\":[{\"name\":\"s\"}],"
	"\"trafficPolicy\":{\"portLevelSettings\":[{\"port\":{\"number\":80},\"tls\":{}}]}}"
	"}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"Sidecar\",\"metadata\":{\"name\":\"x\",\"namespace\":\"b\"},"
	"\"spec\":{\"workloadSelector\":{\"labels\":{\"a\":\"b\"}},\"egress\":[{\"hosts\":["
	"\"*/*\"]}]}}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\"}"
	",\"spec\":{\"hosts\":[\"x.com\"],\"http\":[{\"match\":[{\"sourceLabels\":{\"a\":"
	"\"b\"}}],\"route\":[{\"destination\":{\"host\":\"x.com\",\"subset\":\"s\"}}]}]}}",
	"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\","
	"\"namespace\":\"a\",\"annotations\":{\"networking.istio.io/"
	"exportTo\":\".,b\"}},\"spec\":{\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"port\":80}"
	"]}}",
};

/* Again and again, one allocation further each time: nothing has changed until it works. */
static void put_without_memory(struct registry_store *store, const cJSON *object)
{
	struct registry_stats before, after;
	const char *why = NULL;
	int r;

	for (unsigned long n = 1;; n++) {
		registry_get_stats(store, &before);
		alloc_fail_at(n);
		r = registry_put(store, object, &why);
		if (!alloc_failed())
			break;
		alloc_fail_at(0);
		registry_get_stats(store, &after);
		assert_int_equal(r, -ENOMEM);
		assert_memory_equal(&before, &after, sizeof(before));
		assert_true(n < 1000);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
}

static struct registry_store *new_without_memory(void)
{
	struct registry_store *store = NULL;
	int r;

	for (unsigned long n = 1;; n++) {
		alloc_fail_at(n);
		r = registry_new(&REGISTRY_OPTIONS_DEFAULT, &store);
		if (!alloc_failed())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	alloc_fail_at(0);
	assert_int_equal(r, 0);
	return store;
}

static void list_without_memory(const struct registry_store *store)
{
	const struct registry_object **items = NULL;
	size_t n_items = 0;
	int r;

	alloc_fail_at(1);
	r = registry_managed(store, &items, &n_items);
	alloc_fail_at(0);
	assert_int_equal(r, -ENOMEM);
	assert_int_equal(registry_managed(store, &items, &n_items), 0);
	assert_int_equal(n_items, 1);
	free(items);
}

/* One of everything, new and in place of itself. */
static void test_out_of_memory(void **state)
{
	struct registry_store *store = new_without_memory();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(one_of_each); i++) {
		_cleanup_(json_tree_freep) cJSON *object = NULL;
		const char *why = NULL;

		assert_int_equal(
			json_tree_parse(one_of_each[i], strlen(one_of_each[i]), &object, &why), 0);
		put_without_memory(store, object);
		put_without_memory(store, object);
	}
	help_check(store, "after that",
		   CASES({"a tls x.com:443@1.2.3.4", "registered a/x"},
			 {"b tls x.com:443@10.0.0.1", "registered a/x"}));
	list_without_memory(store);
	registry_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replace_and_delete),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_list_items),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_large_source),
		cmocka_unit_test(test_managed),
		cmocka_unit_test(test_internal),
		cmocka_unit_test(test_pod_addresses),
		cmocka_unit_test(test_mesh_internal),
		cmocka_unit_test(test_kept_answers),
		cmocka_unit_test(test_index_bytes),
		cmocka_unit_test(test_cluster_domain),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_owners_managed),
		cmocka_unit_test(test_sidecar),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
