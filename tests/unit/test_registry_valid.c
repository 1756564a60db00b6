// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of what the registry takes and what it keeps out: the cases of registry_valid.cases, single words, limits, and
 * values of every wrong type.
 */
#include "registry_help.h"

#include "registry_work.h"

#define TAKEN (-1)

/* What happens to one object: taken, or kept out, counted under one reason, with a phrase that has `why` in it. */
static bool is_right(const char *yaml, int expected, const char *expected_why)
{
	_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
	int r, counted = TAKEN;
	struct registry_stats stats;
	const char *why = NULL;
	size_t kept = 0;

	r = help_put_yaml(store, yaml, &why);
	registry_get_stats(store, &stats);
	for (enum registry_kind kind = 0; kind < REGISTRY_KIND_MAX; kind++)
		kept += stats.objects[kind];
	for (int reason = 0; reason < REGISTRY_REASON_MAX; reason++) {
		assert_true(stats.rejected[reason] <= 1);
		if (stats.rejected[reason])
			counted = reason;
	}
	if (counted == expected && r == (expected == TAKEN ? 0 : -EINVAL) &&
	    kept == (expected == TAKEN) && !why == (expected == TAKEN) &&
	    (!why || strstr(why, expected_why)))
		return true;
	print_error("%s  %s: %s\n", yaml,
		    counted == TAKEN ? "taken"
				     : registry_reason_name((enum registry_reason)counted),
		    why ? why : "");
	return false;
}

static int parse_reason(const char *word, size_t n)
{
	for (int reason = 0; reason < REGISTRY_REASON_MAX; reason++) {
		const char *name = registry_reason_name((enum registry_reason)reason);

		if (strlen(name) == n && strncmp(name, word, n) == 0)
			return reason;
	}
	assert_true(n == 5 && strncmp(word, "taken", n) == 0);
	return TAKEN;
}

struct valid_reader {
	size_t n;
	bool wrong;
};

static void read_line(char *line, void *data)
{
	struct valid_reader *reader = data;
	char *equals = strstr(line, " = "), *colon;
	char yaml[8192];
	int reason;

	assert_non_null(equals);
	*equals = '\0';
	colon = equals + 3 + strcspn(equals + 3, ":");
	reason = parse_reason(equals + 3, (size_t)(colon - equals - 3));
	help_object(line, yaml, sizeof(yaml));
	if (!is_right(yaml, reason, *colon ? colon + 2 : ""))
		reader->wrong = true;
	reader->n++;
}

static void test_cases(void **state)
{
	struct valid_reader reader = {.n = 0};

	(void)state;
	help_read_cases("registry_valid.cases", read_line, &reader);
	assert_false(reader.wrong);
	assert_true(reader.n > 200);
}

static void test_hosts(void **state)
{
	static const char *const good[] = {
		"a",
		"a.b",
		"A.B",
		"xn--e1afmkfd.com",
		"a-b.c-d.com",
		"1.com",
		"a.1b",
		"istio.io.",
		"*.com",
		"*.a.b.com",
		"*a.com",
		"*-a.com",
		"123",
		"*",
		"a123456789012345678901234567890123456789012345678901234567890bc.com"};
	static const char *const bad[] = {
		"",         ".",
		"a..b",     ".a",
		"a_b.com",  "-a.com",
		"a-.com",   "a.-b",
		"a b",      "a.com/",
		"1.2.3.4",  "a.123",
		"[::1]",    "::1",
		"a.*.com",  "*.*.com",
		"**.com",   "*--a.com",
		"*-.com",   "a*.com",
		"*_.com",   "a1234567890123456789012345678901234567890123456789012345678901234.com",
		"a.com:80", "\xc3\xa9.com"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (!reg_valid_wildcard_host(good[i]))
			print_error("%s\n", good[i]);
		assert_true(reg_valid_wildcard_host(good[i]));
		assert_int_equal(reg_valid_fqdn(good[i]),
				 good[i][0] != '*' && strcmp(good[i], "123") != 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (reg_valid_wildcard_host(bad[i]))
			print_error("%s\n", bad[i]);
		assert_false(reg_valid_wildcard_host(bad[i]));
		assert_false(reg_valid_fqdn(bad[i]));
	}
}

/* H1: 255 bytes, labels of 63. */
static void test_host_length(void **state)
{
	char host[300];

	(void)state;
	for (size_t i = 0; i < sizeof(host) - 1; i++)
		host[i] = i % 50 == 49 ? '.' : 'a';
	host[255] = '\0';
	assert_true(reg_valid_fqdn(host));
	host[255] = 'a';
	host[256] = '\0';
	assert_false(reg_valid_fqdn(host));
	assert_false(reg_valid_wildcard_host(host));
}

/* "{hosts: [h0.com, h1.com, ..]}" or "{hosts: [a.com], ports: [{number: 1, name: p1}, ..]}" */
static void check_count(const char *begin, const char *item, unsigned int n, bool right)
{
	static char yaml[16384];
	size_t size;

	size = (size_t)snprintf(yaml, sizeof(yaml),
				V "kind: ServiceEntry\nmetadata: {namespace: a, name: x}\nspec: %s",
				begin);
	for (unsigned int i = 1; i <= n; i++) {
		size += (size_t)snprintf(yaml + size, sizeof(yaml) - size, item, i, i);
		assert_true(size < sizeof(yaml));
	}
	snprintf(yaml + size, sizeof(yaml) - size, "]}\n");
	assert_true(is_right(yaml, right ? TAKEN : REGISTRY_REASON_SHAPE, "at most 256"));
}

/* Counts of the CRD. */
static void test_limits(void **state)
{
	(void)state;
	check_count("{hosts: [", "h%u.com, ", 256, true);
	check_count("{hosts: [", "h%u.com, ", 257, false);
	check_count("{hosts: [a.com], ports: [", "{number: %u, name: p%u}, ", 256, true);
	check_count("{hosts: [a.com], ports: [", "{number: %u, name: p%u}, ", 257, false);
	check_count("{hosts: [a.com], addresses: [", "10.0.0.%u, ", 255, true);
	check_count("{hosts: [a.com], addresses: [1.2.3.4, 1.2.3.5, ", "10.0.0.%u, ", 255, false);
}

static void test_metadata(void **state)
{
	static const struct {
		const char *yaml;
		int error;
	} cases[] = {
		{"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: "
		 "x}\nspec: {hosts: [a.com]}\n",
		 0},
		{"apiVersion: networking.istio.io/v1beta1\nkind: ServiceEntry\nmetadata: {name: "
		 "x}\nspec: {hosts: [a.com]}\n",
		 0},
		{"apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\nmetadata: {name: "
		 "x.y-z.1}\nspec: {hosts: [a.com]}\n",
		 0},
		{"apiVersion: networking.istio.io/v2\nkind: ServiceEntry\nmetadata: {name: "
		 "x}\nspec: {hosts: [a.com]}\n",
		 -ENOENT},
		{"apiVersion: v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: "
		 "[a.com]}\n",
		 -ENOENT},
		{"apiVersion: networking.istio.io/v1\nkind: Service\nmetadata: {name: x}\nspec: "
		 "{}\n",
		 -ENOENT},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", -ENOENT},
		{"apiVersion: 1\nkind: [x]\n", -ENOENT},
		{"{}\n", -ENOENT},
		{"just text\n", -ENOENT},
		{"[a, b]\n", -ENOENT},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {}\n", 0},
		{"apiVersion: v1\nkind: Service\nspec: {}\n", -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: \"\"}\nspec: {}\n", -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: X}\nspec: {}\n", -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: a/b}\nspec: {}\n", -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: a.b}\nspec: {}\n",
		 -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: 5}\nspec: {}\n",
		 -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: []\nspec: {}\n", -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 0}]}\n",
		 -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{}]}\n",
		 -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIPs: [a, b, "
		 "c]}\n",
		 -EINVAL},
		{"apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
		int r = help_put_yaml(store, cases[i].yaml, NULL);

		if (r != cases[i].error)
			print_error("%s: %d\n", cases[i].yaml, r);
		assert_int_equal(r, cases[i].error);
	}
}

static void test_durations(void **state)
{
	static const char *const good[] = {
		"1ms",       "1s",         "1.5s",   "0.001s",        "1h2m3s",
		"300s",      "2h45m30.5s", "1000us", ".5s",           "1.s",
		"1000000ns", "0.1s",       "0.7s",   "1000\xc2\xb5s", "86400s"};
	static const char *const bad[] = {"",    "0s",      "1us",        "999us", "1.5ms",
					  "-1s", "+1s",     "1",          "s",     "1d",
					  "1s ", " 1s",     "1 s",        "1e3s",  ".s",
					  "1s2", "0.0001s", "999999999h", "1001us"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (!reg_valid_duration(good[i]))
			print_error("%s\n", good[i]);
		assert_true(reg_valid_duration(good[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (reg_valid_duration(bad[i]))
			print_error("%s\n", bad[i]);
		assert_false(reg_valid_duration(bad[i]));
	}
}

static const char *const one_of_each[] = {
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"ServiceEntry\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\","
	"\"labels\":{\"app.kubernetes.io/"
	"managed-by\":\"egress-agent\"},\"annotations\":{\"k\":\"v\"},"
	"\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},"
	"\"spec\":{\"hosts\":[\"a.com\"],\"addresses\":[\"1.2.3.4\"],\"exportTo\":[\"b\","
	"\".\"],\"location\":\"MESH_EXTERNAL\",\"resolution\":\"STATIC\","
	"\"ports\":[{\"number\":80,\"name\":\"http\",\"protocol\":\"HTTP\",\"targetPort\":"
	"443}],\"endpoints\":[{\"address\":\"1.2.3.4\",\"ports\":{\"http\":80}}]},"
	"\"status\":{\"addresses\":[{\"value\":\"240.240.0.1\",\"host\":\"a.com\"}]}}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"DestinationRule\",\"metadata\":{\"name\":\"x\",\"namespace\":"
	"\"a\"},"
	"\"spec\":{\"host\":\"a.com\",\"workloadSelector\":{\"matchLabels\":{\"a\":\"b\"}},"
	"\"exportTo\":[\".\"],\"trafficPolicy\":{\"tls\":{\"mode\":\"SIMPLE\","
	"\"credentialName\":\"c\",\"subjectAltNames\":[\"a\"],\"insecureSkipVerify\":false}"
	","
	"\"connectionPool\":{\"http\":{\"maxRetries\":1,\"idleTimeout\":\"1s\","
	"\"useClientProtocol\":true,\"h2UpgradePolicy\":\"DEFAULT\"},\"tcp\":{"
	"\"tcpKeepalive\":{\"time\":\"1s\"}}},"
	"\"outlierDetection\":{\"interval\":\"1s\",\"maxEjectionPercent\":5},"
	"\"loadBalancer\":{\"warmup\":{\"duration\":\"1s\",\"aggression\":2}},"
	"\"portLevelSettings\":[{\"port\":{\"number\":80},\"tls\":{\"mode\":\"DISABLE\"}}]}"
	",\"subsets\":[{\"name\":\"v1\",\"trafficPolicy\":{\"tls\":{}}}]}}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"Sidecar\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\"},"
	"\"spec\":{\"workloadSelector\":{\"labels\":{\"a\":\"b\"}},\"egress\":[{\"port\":{"
	"\"number\":80,\"protocol\":\"HTTP\",\"name\":\"p\"},\"bind\":\"1.2.3.4\","
	"\"captureMode\":\"NONE\",\"hosts\":[\"a/b.com\"]},{\"hosts\":[\"*/*\"]}],"
	"\"ingress\":[{\"port\":{\"number\":80}}],\"outboundTrafficPolicy\":{\"mode\":"
	"\"ALLOW_ANY\",\"egressProxy\":{\"host\":\"a.b\",\"port\":{\"number\":1}}}}}",
	"{\"apiVersion\":\"networking.istio.io/"
	"v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\"}"
	","
	"\"spec\":{\"hosts\":[\"a.com\"],\"gateways\":[\"mesh\"],\"exportTo\":[\".\"],"
	"\"http\":[{\"match\":[{\"port\":80,\"uri\":{\"prefix\":\"/"
	"\"},\"sourceLabels\":{\"a\":\"b\"},\"sourceNamespace\":\"n\",\"gateways\":["
	"\"mesh\"]}],"
	"\"route\":[{\"destination\":{\"host\":\"a.com\",\"subset\":\"v1\",\"port\":{"
	"\"number\":80}},\"weight\":1}],\"timeout\":\"1s\",\"retries\":{\"attempts\":1,"
	"\"perTryTimeout\":\"1s\"}}]}}",
	"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"x\","
	"\"namespace\":\"a\",\"annotations\":{\"networking.istio.io/exportTo\":\".,b\"}},"
	"\"spec\":{\"type\":\"ClusterIP\",\"clusterIP\":\"10.0.0.1\",\"clusterIPs\":[\"10."
	"0.0.1\"],\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\","
	"\"appProtocol\":\"http\"}]}}",
};

static const char *const other_values[] = {"null",  "true",         "17",       "-1.5",   "\"\"",
					   "\"*\"", "\"a\"",        "[]",       "[null]", "[[]]",
					   "{}",    "{\"a\":null}", "{\"\":{}}"};

/* One value replaced by each of the others in turn. */
static size_t put_others(struct registry_store *store, const cJSON *root, cJSON *value)
{
	cJSON keep = *value;

	for (size_t i = 0; i < ARRAY_SIZE(other_values); i++) {
		cJSON *other = cJSON_Parse(other_values[i]);
		const char *why = NULL;
		int r;

		assert_non_null(other);
		value->type = other->type;
		value->valuestring = other->valuestring;
		value->valueint = other->valueint;
		value->valuedouble = other->valuedouble;
		value->child = other->child;
		r = registry_put(store, root, &why);
		assert_true(r == 0 || r == -EINVAL || r == -ENOENT);
		assert_int_equal(r == -EINVAL, why != NULL);
		*value = keep;
		cJSON_Delete(other);
	}
	return ARRAY_SIZE(other_values);
}

/* Every single value of a good object has every other type once: nothing breaks, and memory stays sound. */
static void test_every_type(void **state)
{
	size_t n_put = 0;

	(void)state;
	for (size_t o = 0; o < ARRAY_SIZE(one_of_each); o++) {
		_cleanup_(registry_freep) struct registry_store *store = help_store(NULL);
		cJSON *root = cJSON_Parse(one_of_each[o]), *values[256];
		const char *why = NULL;
		size_t n = 0;

		assert_non_null(root);
		assert_int_equal(registry_put(store, root, &why), 0);
		values[n++] = root;
		for (size_t at = 0; at < n; at++)
			for (cJSON *child = values[at]->child; child; child = child->next) {
				assert_true(n < ARRAY_SIZE(values));
				values[n++] = child;
			}
		for (size_t at = 0; at < n; at++)
			n_put += put_others(store, root, values[at]);
		cJSON_Delete(root);
	}
	assert_true(n_put > 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),       cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_host_length), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_metadata),    cmocka_unit_test(test_durations),
		cmocka_unit_test(test_every_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
