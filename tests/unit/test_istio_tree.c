// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/istio_tree.c and istio_tree_read.c: the exact documents, and what is recognised as ours.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "istio_tree.h"
#include "util.h"
#include "yaml.h"

static struct istio_object *pair(void)
{
	static char *workloads[] = {(char *)"cart", (char *)"pay"};
	static struct istio_port ports[] = {
		{.number = 80, .target_port = 443},
		{.number = 443, .tls = true},
		{.number = 8080},
		{.number = 8443, .tls = true},
	};
	static struct istio_object object = {
		.ns = (char *)"shop",
		.name = (char *)"a-example-com-01234567",
		.host = (char *)"a.example.com",
		.ports = ports,
		.n_ports = 4,
		.originate = true,
		.resolution = ISTIO_DNS,
		.route = {.retries = OPT_OFF},
		.evidence = {.workloads = workloads,
			     .n_workloads = 2,
			     .connections = 12,
			     .requests = 7,
			     .first_ms = 1767225601999,
			     .last_ms = 1767226199000},
	};

	return &object;
}

#define METADATA                                                  \
	"metadata:\n"                                             \
	"  name: \"a-example-com-01234567\"\n"                    \
	"  namespace: \"shop\"\n"                                 \
	"  labels:\n"                                             \
	"    app.kubernetes.io/managed-by: \"egress-agent\"\n"    \
	"  annotations:\n"                                        \
	"    egress-agent/workloads: \"cart, pay\"\n"             \
	"    egress-agent/connections: \"12\"\n"                  \
	"    egress-agent/requests: \"7\"\n"                      \
	"    egress-agent/first-seen: \"2026-01-01T00:00:01Z\"\n" \
	"    egress-agent/last-seen: \"2026-01-01T00:09:59Z\"\n"

#define RULE                                             \
	"apiVersion: \"networking.istio.io/v1\"\n"       \
	"kind: \"DestinationRule\"\n" METADATA "spec:\n" \
	"  host: \"a.example.com\"\n"                    \
	"  exportTo:\n"                                  \
	"  - \".\"\n"                                    \
	"  trafficPolicy:\n"                             \
	"    portLevelSettings:\n"                       \
	"    - port:\n"                                  \
	"        number: 80\n"                           \
	"      tls:\n"                                   \
	"        mode: \"SIMPLE\"\n"                     \
	"        caCertificates: \"system\"\n"           \
	"        sni: \"a.example.com\"\n"               \
	"        subjectAltNames:\n"                     \
	"        - \"a.example.com\"\n"

#define ENTRY                                         \
	"apiVersion: \"networking.istio.io/v1\"\n"    \
	"kind: \"ServiceEntry\"\n" METADATA "spec:\n" \
	"  hosts:\n"                                  \
	"  - \"a.example.com\"\n"                     \
	"  exportTo:\n"                               \
	"  - \".\"\n"                                 \
	"  location: \"MESH_EXTERNAL\"\n"             \
	"  ports:\n"                                  \
	"  - number: 80\n"                            \
	"    name: \"http\"\n"                        \
	"    protocol: \"HTTP\"\n"                    \
	"    targetPort: 443\n"                       \
	"  - number: 443\n"                           \
	"    name: \"tls\"\n"                         \
	"    protocol: \"TLS\"\n"                     \
	"  - number: 8080\n"                          \
	"    name: \"http-8080\"\n"                   \
	"    protocol: \"HTTP\"\n"                    \
	"  - number: 8443\n"                          \
	"    name: \"tls-8443\"\n"                    \
	"    protocol: \"TLS\"\n"                     \
	"  resolution: \"DNS\"\n"

#define ROUTE                                           \
	"apiVersion: \"networking.istio.io/v1\"\n"      \
	"kind: \"VirtualService\"\n" METADATA "spec:\n" \
	"  hosts:\n"                                    \
	"  - \"a.example.com\"\n"                       \
	"  exportTo:\n"                                 \
	"  - \".\"\n"                                   \
	"  http:\n"                                     \
	"  - match:\n"                                  \
	"    - port: 80\n"                              \
	"    route:\n"                                  \
	"    - destination:\n"                          \
	"        host: \"a.example.com\"\n"             \
	"        port:\n"                               \
	"          number: 80\n"                        \
	"    timeout: \"3s\"\n"                         \
	"    retries:\n"                                \
	"      attempts: 2\n"                           \
	"  - match:\n"                                  \
	"    - port: 8080\n"                            \
	"    route:\n"                                  \
	"    - destination:\n"                          \
	"        host: \"a.example.com\"\n"             \
	"        port:\n"                               \
	"          number: 8080\n"                      \
	"    timeout: \"3s\"\n"                         \
	"    retries:\n"                                \
	"      attempts: 2\n"

/* The document as text; to be freed. */
static char *text_of(const struct istio_object *object, enum istio_kind kind,
		     const struct istio_options *options)
{
	cJSON *tree = NULL;
	char *text = NULL;
	size_t size;

	assert_int_equal(istio_tree_make(object, kind, options, &tree), 0);
	assert_int_equal(yaml_print(tree, &text, &size), 0);
	istio_tree_freep(&tree);
	return text;
}

static void check_document(const struct istio_object *object, enum istio_kind kind,
			   const char *expected)
{
	_cleanup_free_ char *text = text_of(object, kind, &ISTIO_OPTIONS_DEFAULT);

	assert_string_equal(text, expected);
}

static void test_documents(void **state)
{
	struct istio_object routed = *pair();

	(void)state;
	routed.routed = true;
	routed.route = (struct istio_route){.timeout = (char *)"3s", .retries = 2};
	check_document(pair(), ISTIO_DESTINATION_RULE, RULE);
	check_document(pair(), ISTIO_SERVICE_ENTRY, ENTRY);
	check_document(&routed, ISTIO_VIRTUAL_SERVICE, ROUTE);
}

/* Without annotations, as there is no evidence for a namespace. */
static void test_sidecar(void **state)
{
	const struct istio_object object = {
		.ns = (char *)"shop", .name = (char *)"lock", .host = (char *)""};

	(void)state;
	assert_true(istio_object_has(&object, ISTIO_SIDECAR));
	assert_false(istio_object_has(&object, ISTIO_SERVICE_ENTRY));
	check_document(&object, ISTIO_SIDECAR,
		       "apiVersion: \"networking.istio.io/v1\"\n"
		       "kind: \"Sidecar\"\n"
		       "metadata:\n"
		       "  name: \"lock\"\n"
		       "  namespace: \"shop\"\n"
		       "  labels:\n"
		       "    app.kubernetes.io/managed-by: \"egress-agent\"\n"
		       "spec:\n"
		       "  outboundTrafficPolicy:\n"
		       "    mode: \"REGISTRY_ONLY\"\n");
}

static void test_mutual(void **state)
{
	struct istio_object object = *pair();
	_cleanup_free_ char *text = NULL;

	(void)state;
	object.mutual = (struct istio_mutual){(char *)"cert", (char *)"app", (char *)"cart"};
	text = text_of(&object, ISTIO_DESTINATION_RULE, &ISTIO_OPTIONS_DEFAULT);
	assert_non_null(
		strstr(text, "  workloadSelector:\n    matchLabels:\n      app: \"cart\"\n"));
	assert_non_null(
		strstr(text, "        mode: \"MUTUAL\"\n        credentialName: \"cert\"\n"));
	assert_null(strstr(text, "caCertificates"));
}

static void test_options(void **state)
{
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	struct istio_object object = *pair();
	_cleanup_free_ char *text = NULL;

	(void)state;
	options.v1beta1 = true;
	object.exported = true;
	object.resolution = ISTIO_DYNAMIC_DNS;
	text = text_of(&object, ISTIO_SERVICE_ENTRY, &options);
	assert_non_null(strstr(text, "apiVersion: \"networking.istio.io/v1beta1\"\n"));
	assert_non_null(strstr(text, "exportTo:\n  - \"*\"\n"));
	assert_non_null(strstr(text, "resolution: \"DYNAMIC_DNS\"\n"));
}

static void test_unknown_facts_are_absent(void **state)
{
	struct istio_object object = *pair();
	_cleanup_free_ char *text = NULL;

	(void)state;
	object.ns = (char *)"";
	object.evidence = (struct istio_evidence){0};
	text = text_of(&object, ISTIO_SERVICE_ENTRY, &ISTIO_OPTIONS_DEFAULT);
	assert_null(strstr(text, "namespace:"));
	assert_null(strstr(text, "workloads"));
	assert_null(strstr(text, "seen"));
	assert_non_null(strstr(text, "egress-agent/connections: \"0\"\n"));
}

static void test_many_workloads(void **state)
{
	struct istio_object object = *pair();
	char *workloads[ISTIO_WORKLOADS_MAX + 2];
	_cleanup_free_ char *text = NULL, *full = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(workloads); i++)
		workloads[i] = (char *)"w";
	object.evidence.workloads = workloads;
	object.evidence.n_workloads = ISTIO_WORKLOADS_MAX;
	full = text_of(&object, ISTIO_SERVICE_ENTRY, &ISTIO_OPTIONS_DEFAULT);
	assert_non_null(strstr(full, "w, w, w\"\n"));
	object.evidence.n_workloads = ISTIO_WORKLOADS_MAX + 2;
	text = text_of(&object, ISTIO_SERVICE_ENTRY, &ISTIO_OPTIONS_DEFAULT);
	assert_non_null(strstr(text, "w, w, w and 2 more\"\n"));
}

static void test_out_of_memory(void **state)
{
	struct istio_object object = *pair();

	(void)state;
	object.mutual = (struct istio_mutual){(char *)"cert", (char *)"app", (char *)"cart"};
	object.route = (struct istio_route){.timeout = (char *)"3s", .retries = 2};
	for (enum istio_kind kind = 0; kind < ISTIO_KIND_MAX; kind++) {
		cJSON *tree = NULL;
		unsigned long n = 0;
		int r;

		do {
			alloc_fail_at(++n);
			r = istio_tree_make(&object, kind, &ISTIO_OPTIONS_DEFAULT, &tree);
			assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
			assert_true(!r == (tree != NULL));
		} while (r);
		alloc_fail_at(0);
		assert_true(n > 20);
		istio_tree_freep(&tree);
	}
}

/* The cluster's */

/* An object of the cluster whose document is what istio_tree_make() gives, with the spec changed. */
struct there {
	struct registry_object object;
	cJSON *tree, *spec;
};

static struct there there_of(const struct istio_object *object, enum istio_kind kind)
{
	static const enum registry_kind kinds[] = {
		REGISTRY_KIND_DESTINATION_RULE, REGISTRY_KIND_SERVICE_ENTRY,
		REGISTRY_KIND_VIRTUAL_SERVICE, REGISTRY_KIND_SIDECAR};
	struct there there = {.object = {.kind = kinds[kind], .managed = true}};

	assert_int_equal(istio_tree_make(object, kind, &ISTIO_OPTIONS_DEFAULT, &there.tree), 0);
	there.object.source = there.tree;
	there.spec = cJSON_GetObjectItem(there.tree, "spec");
	return there;
}

static void there_done(struct there *there)
{
	istio_tree_freep(&there->tree);
}

static struct istio_object everything(void)
{
	struct istio_object object = *pair();

	object.mutual = (struct istio_mutual){(char *)"cert", (char *)"app", (char *)"cart"};
	object.routed = true;
	object.route = (struct istio_route){.timeout = (char *)"3s", .retries = 2};
	return object;
}

static void test_reads_what_it_made(void **state)
{
	struct istio_object object = everything(), simple = *pair();
	const char *key = NULL, *value = NULL, *timeout = NULL;
	uint32_t retries = 0;

	(void)state;
	for (enum istio_kind kind = 0; kind < ISTIO_SIDECAR; kind++) {
		_cleanup_(there_done) struct there there = there_of(&object, kind);

		assert_true(istio_tree_is_ours(&there.object, "a.example.com"));
		assert_false(istio_tree_is_ours(&there.object, "b.example.com"));
		assert_string_equal(istio_tree_host(&there.object), "a.example.com");
		assert_false(istio_tree_is_exported(&there.object));
		there.object.managed = false;
		assert_false(istio_tree_is_ours(&there.object, "a.example.com"));
	}
	{
		_cleanup_(there_done) struct there entry = there_of(&object, ISTIO_SERVICE_ENTRY);
		_cleanup_(there_done) struct there rule = there_of(&object, ISTIO_DESTINATION_RULE);
		_cleanup_(there_done) struct there plain = there_of(&simple,
								    ISTIO_DESTINATION_RULE);
		_cleanup_(there_done) struct there route = there_of(&object, ISTIO_VIRTUAL_SERVICE);

		assert_int_equal(istio_tree_n_ports(&entry.object), 4);
		for (size_t i = 0; i < 4; i++) {
			struct istio_port port = istio_tree_port(&entry.object, i);

			assert_int_equal(port.number, object.ports[i].number);
			assert_int_equal(port.target_port, object.ports[i].target_port);
			assert_true(port.tls == object.ports[i].tls && port.kept);
		}
		assert_false(istio_tree_is_dynamic(&entry.object));
		assert_string_equal(istio_tree_credential(&rule.object, &key, &value), "cert");
		assert_string_equal(key, "app");
		assert_string_equal(value, "cart");
		assert_null(istio_tree_credential(&plain.object, &key, &value));
		istio_tree_route(&route.object, &timeout, &retries);
		assert_string_equal(timeout, "3s");
		assert_int_equal(retries, 2);
	}
}

/* What anybody may have done to a spec: JSON of a field that replaces one of its own. */
static void test_changed_by_hand(void **state)
{
	static const struct {
		enum istio_kind kind;
		const char *key, *json;
	} cases[] = {
		{ISTIO_SERVICE_ENTRY, "subjectAltNames", "[\"x.example.com\"]"},
		{ISTIO_SERVICE_ENTRY, "hosts", "[\"a.example.com\", \"b.example.com\"]"},
		{ISTIO_SERVICE_ENTRY, "hosts", "\"a.example.com\""},
		{ISTIO_SERVICE_ENTRY, "exportTo", "[\"bank\"]"},
		{ISTIO_SERVICE_ENTRY, "exportTo", "[\".\", \"bank\"]"},
		{ISTIO_SERVICE_ENTRY, "ports", "{}"},
		{ISTIO_SERVICE_ENTRY, "ports",
		 "[{\"number\": 9, \"name\": \"x\", \"protocol\": \"GRPC\"}]"},
		{ISTIO_SERVICE_ENTRY, "ports",
		 "[{\"number\": 0, \"name\": \"x\", \"protocol\": \"TLS\"}]"},
		{ISTIO_SERVICE_ENTRY, "ports",
		 "[{\"number\": 81, \"name\": \"x\", \"protocol\": \"HTTP\", \"targetPort\": "
		 "443}]"},
		{ISTIO_DESTINATION_RULE, "trafficPolicy", "{\"tls\": {\"mode\": \"SIMPLE\"}}"},
		{ISTIO_DESTINATION_RULE, "trafficPolicy", "{\"portLevelSettings\": []}"},
		{ISTIO_DESTINATION_RULE, "workloadSelector", "{\"matchLabels\": {}}"},
		{ISTIO_DESTINATION_RULE, "workloadSelector",
		 "{\"matchLabels\": {\"app\": \"a\", \"version\": \"b\"}}"},
		{ISTIO_DESTINATION_RULE, "workloadSelector", "{\"matchLabels\": {\"app\": 1}}"},
		{ISTIO_DESTINATION_RULE, "subsets", "[]"},
		{ISTIO_VIRTUAL_SERVICE, "gateways", "[\"mesh\"]"},
		{ISTIO_VIRTUAL_SERVICE, "http", "[]"},
		{ISTIO_VIRTUAL_SERVICE, "http", "[{\"match\": [{\"port\": 80}], \"route\": []}]"},
		{ISTIO_VIRTUAL_SERVICE, "tls", "[]"},
		{ISTIO_SIDECAR, "egress", "[{\"hosts\": [\"./*\"]}]"},
	};
	struct istio_object object = everything(), lock = object;

	(void)state;
	lock.host = (char *)"";
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool sidecar = cases[i].kind == ISTIO_SIDECAR;
		const struct istio_object *made = sidecar ? &lock : &object;
		_cleanup_(there_done) struct there there = there_of(made, cases[i].kind);

		assert_true(istio_tree_is_ours(&there.object, made->host));
		cJSON_DeleteItemFromObject(there.spec, cases[i].key);
		cJSON_AddItemToObject(there.spec, cases[i].key, cJSON_Parse(cases[i].json));
		if (istio_tree_is_ours(&there.object, made->host))
			fail_msg("case %zu passes for ours", i);
	}
}

/* The same fields in another order are the same text; others come last. */
static void test_cluster_in_order(void **state)
{
	_cleanup_(there_done) struct there there = there_of(pair(), ISTIO_SERVICE_ENTRY);
	cJSON *like = NULL, *tree = NULL,
	      *mixed = cJSON_Parse("{\"spec\": {\"zone\": 1, \"resolution\": \"DNS\", \"ports\": "
				   "[{\"protocol\": \"TLS\", "
				   "\"number\": 443}], \"hosts\": [\"a.example.com\"]}}");
	const struct registry_object object = {.source = mixed};
	_cleanup_free_ char *text = NULL;
	size_t size;

	(void)state;
	assert_int_equal(
		istio_tree_make(pair(), ISTIO_SERVICE_ENTRY, &ISTIO_OPTIONS_DEFAULT, &like), 0);
	assert_int_equal(istio_tree_of_cluster(&object, like, &tree), 0);
	assert_int_equal(yaml_print(tree, &text, &size), 0);
	assert_string_equal(text, "apiVersion: \"networking.istio.io/v1\"\n"
				  "kind: \"ServiceEntry\"\n"
				  "metadata:\n"
				  "  name: \"a-example-com-01234567\"\n"
				  "  namespace: \"shop\"\n"
				  "  labels:\n"
				  "    app.kubernetes.io/managed-by: \"egress-agent\"\n"
				  "spec:\n"
				  "  hosts:\n"
				  "  - \"a.example.com\"\n"
				  "  ports:\n"
				  "  - number: 443\n"
				  "    protocol: \"TLS\"\n"
				  "  resolution: \"DNS\"\n"
				  "  zone: 1\n");
	istio_tree_freep(&like);
	istio_tree_freep(&tree);
	cJSON_Delete(mixed);
}

static void test_cluster_out_of_memory(void **state)
{
	struct istio_object object = everything();
	_cleanup_(there_done) struct there there = there_of(&object, ISTIO_VIRTUAL_SERVICE);
	cJSON *tree = NULL;
	unsigned long n = 0;
	int r;

	(void)state;
	do {
		alloc_fail_at(++n);
		r = istio_tree_of_cluster(&there.object, there.tree, &tree);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		assert_true(!r == (tree != NULL));
	} while (r);
	alloc_fail_at(0);
	assert_true(n > 20);
	istio_tree_freep(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_sidecar),
		cmocka_unit_test(test_mutual),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_unknown_facts_are_absent),
		cmocka_unit_test(test_many_workloads),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_reads_what_it_made),
		cmocka_unit_test(test_changed_by_hand),
		cmocka_unit_test(test_cluster_in_order),
		cmocka_unit_test(test_cluster_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
