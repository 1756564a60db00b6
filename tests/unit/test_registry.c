// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of the registry's answers, registry_resolve(): the cases of registry.cases, one small registry each, and what
 * needs more than a question and an answer.
 */
#include "registry_help.h"

/* One case of the file in the making. */
struct case_reader {
	char name[128];
	char root[64];
	struct registry_options options;
	struct registry_store *store;
	size_t n_cases, n_questions;
	bool wrong;
};

static void read_options(struct case_reader *reader, char *text)
{
	char *rest = NULL;

	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (strcmp(word, "registry-only") == 0)
			reader->options.registry_only = true;
		else if (strcmp(word, "services-private") == 0)
			reader->options.services_private = true;
		else if (sscanf(word, "root=%63s", reader->root) == 1)
			reader->options.root_namespace = reader->root;
		else
			fail_msg("%s: unknown setting %s", reader->name, word);
	}
}

static void read_question(struct case_reader *reader, char *line, char *equals)
{
	*equals = '\0';
	if (!help_check_one(reader->store, reader->name, line, equals + 3))
		reader->wrong = true;
	reader->n_questions++;
}

static void read_line(char *line, void *data)
{
	struct case_reader *reader = data;
	char *equals = strstr(line, " = ");
	char yaml[8192];

	if (strncmp(line, "=== ", 4) == 0) {
		snprintf(reader->name, sizeof(reader->name), "%s", line + 4);
		reader->options = REGISTRY_OPTIONS_DEFAULT;
		registry_free(reader->store);
		reader->store = NULL;
		reader->n_cases++;
		return;
	}
	if (*line == '!') {
		read_options(reader, line + 1);
		return;
	}
	if (!reader->store)
		reader->store = help_store(&reader->options);
	if (equals) {
		read_question(reader, line, equals);
		return;
	}
	help_object(line, yaml, sizeof(yaml));
	help_put_all(reader->store, yaml);
}

static void test_cases(void **state)
{
	struct case_reader reader = {.wrong = false};

	(void)state;
	help_read_cases("registry.cases", read_line, &reader);
	registry_free(reader.store);
	assert_false(reader.wrong);
	assert_true(reader.n_cases > 50 && reader.n_questions > 200);
}

/* The three steps of the seed, as egress-agent itself writes them, on one registry. */
static void test_demos(void **state)
{
	static const char entry[] =
		"---\n" V "kind: ServiceEntry\n"
		"metadata: {name: httpbin-org-1a2b3c4d, namespace: test-ext-svc,\n"
		"  labels: {app.kubernetes.io/managed-by: egress-agent}}\n"
		"spec:\n"
		"  hosts: [httpbin.org]\n"
		"  exportTo: [\".\"]\n"
		"  location: MESH_EXTERNAL\n"
		"  ports:\n"
		"  - {number: 443, name: tls, protocol: TLS}\n"
		"  resolution: DNS\n";
	static const char pair[] = V
		"kind: DestinationRule\n"
		"metadata: {name: httpbin-org-1a2b3c4d, namespace: test-ext-svc}\n"
		"spec:\n"
		"  host: httpbin.org\n"
		"  exportTo: [\".\"]\n"
		"  trafficPolicy:\n"
		"    portLevelSettings:\n"
		"    - port: {number: 80}\n"
		"      tls: {mode: SIMPLE, caCertificates: system, sni: httpbin.org,\n"
		"            subjectAltNames: [httpbin.org]}\n"
		"---\n" V "kind: ServiceEntry\n"
		"metadata: {name: httpbin-org-1a2b3c4d, namespace: test-ext-svc}\n"
		"spec:\n"
		"  hosts: [httpbin.org]\n"
		"  exportTo: [\".\"]\n"
		"  location: MESH_EXTERNAL\n"
		"  ports:\n"
		"  - {number: 80, name: http, protocol: HTTP, targetPort: 443}\n"
		"  - {number: 443, name: tls, protocol: TLS}\n"
		"  resolution: DNS\n";
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);

	(void)state;
	help_check(store, "demo 1",
		   CASES({"test-ext-svc tls httpbin.org:443@54.204.94.184", "passthrough"},
			 {"test-ext-svc http httpbin.org:80@54.204.94.184", "passthrough"}));
	help_put_all(store, entry);
	help_check(store, "demo 2",
		   CASES({"test-ext-svc tls httpbin.org:443@54.204.94.184",
			  "registered test-ext-svc/httpbin-org-1a2b3c4d"},
			 {"test-ext-svc http httpbin.org:80@54.204.94.184", "passthrough"},
			 {"other tls httpbin.org:443@54.204.94.184", "passthrough"}));
	help_put_all(store, pair);
	help_check(store, "demo 3",
		   CASES({"test-ext-svc tls httpbin.org:443@54.204.94.184",
			  "registered test-ext-svc/httpbin-org-1a2b3c4d"},
			 {"test-ext-svc http httpbin.org:80@54.204.94.184",
			  "originated test-ext-svc/httpbin-org-1a2b3c4d by "
			  "test-ext-svc/httpbin-org-1a2b3c4d"}));
	/* And back. */
	assert_true(registry_delete(store, REGISTRY_KIND_SERVICE_ENTRY, "test-ext-svc",
				    "httpbin-org-1a2b3c4d"));
	help_check(store, "demo 1 again",
		   CASES({"test-ext-svc http httpbin.org:80", "passthrough"},
			 {"test-ext-svc tls httpbin.org:443", "passthrough"}));
}

/* Addresses istiod gave away: the hosts they stand for. */
static void test_allocated(void **state)
{
	static const char objects[] =
		"ServiceEntry a/two {hosts: [x.com, y.com], resolution: DNS, ports: [HTTP80, "
		"TLS443]} "
		"status {addresses: [{value: 240.240.0.1, host: x.com}, {value: 240.240.0.2, host: "
		"y.com}, {value: \"2001:2::1\", host: x.com}, {value: 10.0.0.9, host: x.com}, "
		"{value: 240.240.0.7, host: z.com}, 17]}\n"
		"ServiceEntry a/db {hosts: [db.com], resolution: DNS, ports: [{number: 5432, name: "
		"tcp, protocol: TCP}]} status {addresses: [{value: 240.240.0.3}]}\n";
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	uint8_t address[16];

	(void)state;
	help_put(store, objects);
	help_check(store, "allocated",
		   CASES({"a tls? -:443@240.240.0.1", "registered a/two"},
			 {"a tls x.com:443@2001:2::1", "registered a/two"},
			 {"a tls x.com:443@54.1.2.3", "registered a/two"},
			 {"a tls z.com:443@240.240.0.9", "passthrough"},
			 {"a tcp -:5432@240.240.0.3", "registered a/db"},
			 {"a http x.com:80@240.240.0.1", "registered a/two"},
			 {"a tls? -:443@240.240.0.7", "passthrough"},
			 {"a tls? -:443@10.0.0.9", "passthrough"}));
	assert_int_equal(address_parse("240.240.0.2", address), 0);
	assert_true(registry_is_allocated(address));
	assert_int_equal(address_parse("240.241.0.1", address), 0);
	assert_false(registry_is_allocated(address));
	assert_int_equal(address_parse("2001:2::ffff", address), 0);
	assert_true(registry_is_allocated(address));
	assert_int_equal(address_parse("2001:2:1::", address), 0);
	assert_false(registry_is_allocated(address));
}

/* Names no host can have, and such as are no names of services. */
static void test_odd_questions(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	static char host[400];
	struct registry_query query = {
		.ns = "", .port = 80, .protocol = PROTOCOL_HTTP, .name_source = NAME_SOURCE_HTTP};
	static const char *const hosts[] = {"",       ".",        "..",   "*",        "*.com",
					    "~other", "~invalid", "a..b", "\xff\x01", "x.com\n"};
	struct registry_answer answer;

	(void)state;
	help_put(store, "ServiceEntry default/e {hosts: [x.com, \"*.com\"], resolution: NONE, "
			"ports: [HTTP80]}");
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		query.host = hosts[i];
		registry_resolve(store, &query, &answer);
		assert_int_equal(answer.state, i == 4 ? REGISTRY_REGISTERED : REGISTRY_PASSTHROUGH);
	}
	memset(host, 'a', sizeof(host) - 1);
	memcpy(host + 300, ".com", 5);
	query.host = host;
	registry_resolve(store, &query, &answer);
	assert_int_equal(answer.state, REGISTRY_PASSTHROUGH);
	query.host = "x.com";
	query.ns = NULL;
	registry_resolve(store, &query, &answer);
	assert_int_equal(answer.state, REGISTRY_REGISTERED);
	query.port = 0;
	registry_resolve(store, &query, &answer);
	assert_int_equal(answer.state, REGISTRY_PASSTHROUGH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_demos),
		cmocka_unit_test(test_allocated),
		cmocka_unit_test(test_odd_questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
