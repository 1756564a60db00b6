// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/istio_options.c: options by name, what contradicts, and the way to the agent and back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "istio_options.h"
#include "util.h"

static void test_parse(void **state)
{
	static const char *const good[][2] = {
		{"namespace", "shop"},
		{"workload", "cart"},
		{"host", "*.example.com"},
		{"registry", "blocked"},
		{"visibility", "l7"},
		{"api-version", "v1beta1"},
		{"scope", "mesh"},
		{"root-namespace", "istio-config"},
		{"wildcard", "3"},
		{"wildcard-resolution", "dynamic-dns"},
		{"min-connections", "4294967295"},
		{"all", "true"},
		{"timeout", "1500ms"},
		{"retries", "0"},
		{"mutual", "client-cert.v2"},
		{"lockdown", "true"},
		{"diff", "true"},
	};
	struct istio_options o = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(istio_options_parse(&o, good[i][0], good[i][1]), 0);
	assert_string_equal(o.selection.ns, "shop");
	assert_string_equal(o.selection.workload, "cart");
	assert_string_equal(o.selection.host, "*.example.com");
	assert_int_equal(o.selection.registry, REGISTRY_BLOCKED);
	assert_int_equal(o.visibility, VISIBILITY_L7);
	assert_true(o.v1beta1 && o.mesh_scope && o.dynamic_dns && !o.only_unregistered);
	assert_string_equal(o.root_namespace, "istio-config");
	assert_int_equal(o.wildcard, 3);
	assert_int_equal(o.min_connections, UINT32_MAX);
	assert_int_equal(o.timeout_ms, 1500);
	assert_int_equal(o.retries, 0);
	assert_string_equal(o.credential, "client-cert.v2");
	assert_true(o.lockdown && o.diff);
	assert_int_equal(istio_options_parse(&o, "only-unregistered", "true"), 0);
	assert_int_equal(istio_options_parse(&o, "wildcard", "off"), 0);
	assert_true(o.only_unregistered && o.wildcard == OPT_OFF);
}

static void test_refuse(void **state)
{
	static const char *const bad[][2] = {
		{"visibility", "l5"},
		{"api-version", "v2"},
		{"scope", "external"},
		{"root-namespace", ""},
		{"root-namespace", "A"},
		{"root-namespace", "-a"},
		{"root-namespace", "a-"},
		{"root-namespace", "a.b"},
		{"root-namespace", "a\nb"},
		{"min-connections", "-1"},
		{"min-connections", ""},
		{"min-connections", "4294967296"},
		{"min-connections", "1x"},
		{"min-connections", "99999999999999999999"},
		{"all", "yes"},
		{"only-unregistered", ""},
		{"wildcard", "0"},
		{"wildcard", "65537"},
		{"wildcard", "on"},
		{"wildcard-resolution", "dns"},
		{"timeout", "0s"},
		{"timeout", "3"},
		{"timeout", "off"},
		{"retries", "101"},
		{"retries", "-1"},
		{"mutual", ""},
		{"mutual", "Not_A_Secret"},
		{"mutual", "a..b"},
		{"mutual", "a.-b"},
		{"mutual", "-a"},
		{"mutual", "a."},
		{"lockdown", "maybe"},
		{"diff", "1"},
		{"registry", "somewhere"},
	};
	struct istio_options o = ISTIO_OPTIONS_DEFAULT, before = o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (istio_options_parse(&o, bad[i][0], bad[i][1]) != -EINVAL)
			fail_msg("%s=%s passes", bad[i][0], bad[i][1]);
	/* The command's own are none of a plan. */
	assert_int_equal(istio_options_parse(&o, "from", "x"), -ENOENT);
	assert_int_equal(istio_options_parse(&o, "agent", "x"), -ENOENT);
	assert_int_equal(istio_options_parse(&o, "output-dir", "x"), -ENOENT);
	assert_int_equal(istio_options_parse(&o, "existing", "x"), -ENOENT);
	assert_int_equal(istio_options_parse(&o, "", ""), -ENOENT);
	assert_memory_equal(&o, &before, sizeof(o));
}

static void check_fault(const struct istio_options *o, const char *part)
{
	char why[ISTIO_WHY_MAX] = "";

	assert_int_equal(istio_options_fault(o, why, sizeof(why)), part != NULL);
	if (part && !strstr(why, part))
		fail_msg("no %s in %s", part, why);
}

static void test_contradictions(void **state)
{
	struct istio_options o = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	check_fault(&o, NULL);
	o.credential = "cert";
	check_fault(&o, "--mutual: needs --visibility l7");
	o.visibility = VISIBILITY_L7;
	check_fault(&o, NULL);
	o.mesh_scope = true;
	check_fault(&o, "--mutual: needs --scope namespace");
	o.credential = "No Secret";
	check_fault(&o, "--mutual: 'No Secret'");
	o = ISTIO_OPTIONS_DEFAULT;
	o.dynamic_dns = true;
	check_fault(&o, NULL);
	o.v1beta1 = true;
	check_fault(&o, "--wildcard-resolution: 'dynamic-dns'");
	o = ISTIO_OPTIONS_DEFAULT;
	o.root_namespace = "No Such";
	check_fault(&o, "--root-namespace: 'No Such'");
}

/* What is asked of the agent: parsed there, it is the same again. */
struct trip {
	struct istio_options o;
	unsigned int n;
};

static void parse_again(const char *name, const char *value, void *data)
{
	struct trip *trip = data;

	/* Buffers of the caller's do not outlive the call; the strings in the options do. */
	assert_int_equal(istio_options_parse(&trip->o, name, value), 0);
	trip->n++;
}

static void test_round_trip(void **state)
{
	struct istio_options o = {
		.visibility = VISIBILITY_L7,
		.v1beta1 = true,
		.mesh_scope = true,
		.root_namespace = "root",
		.min_connections = 0,
		.only_unregistered = false,
		.wildcard = 5,
		.timeout_ms = 86400000,
		.retries = 7,
		.lockdown = true,
		.diff = true,
		.selection = {.ns = "shop",
			      .workload = "a&b=c",
			      .host = "*",
			      .visibility = VISIBILITY_MAX,
			      .registry = REGISTRY_ORIGINATED,
			      .scope = SCOPE_ALL},
	};
	struct trip trip = {.o = ISTIO_OPTIONS_DEFAULT};

	(void)state;
	istio_options_each(&o, parse_again, &trip);
	assert_int_equal(trip.n, 15);
	assert_memory_equal(&trip.o, &o, sizeof(o));
	o = ISTIO_OPTIONS_DEFAULT;
	trip = (struct trip){0};
	istio_options_each(&o, parse_again, &trip);
	assert_int_equal(trip.n, 0);
}

/* Every option of a plan has a name that istio_options_parse() knows, and the table's defaults are the macro's. */
static void test_names_and_defaults(void **state)
{
	const char *names[GENERATE_OPTS + 1];
	struct istio_options o = ISTIO_OPTIONS_DEFAULT;
	size_t n = 0;

	(void)state;
	istio_options_names(names);
	for (; names[n]; n++)
		assert_int_not_equal(istio_options_parse(&o, names[n], "\x01"), -ENOENT);
	assert_int_equal(n, GENERATE_OPTS - 4 - PROMETHEUS_OPTS);
	for (size_t i = 0; i < GENERATE_OPTS; i++)
		if (generate_opts[i].def && *generate_opts[i].def &&
		    generate_opts[i].offset < sizeof(o))
			assert_int_equal(istio_options_parse(&o, generate_opts[i].name,
							     generate_opts[i].def),
					 0);
	assert_string_equal(o.root_namespace, "istio-system");
	o.root_namespace = ISTIO_OPTIONS_DEFAULT.root_namespace;
	o.selection.ns = o.selection.workload = o.selection.host = NULL;
	assert_memory_equal(&o, &ISTIO_OPTIONS_DEFAULT, sizeof(o));
}

static void test_namespace_valid(void **state)
{
	char label[65];

	(void)state;
	memset(label, 'a', sizeof(label));
	label[64] = '\0';
	assert_false(istio_namespace_valid(label));
	label[63] = '\0';
	assert_true(istio_namespace_valid(label));
	assert_true(istio_namespace_valid("0"));
	assert_false(istio_namespace_valid("a_b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_names_and_defaults),
		cmocka_unit_test(test_namespace_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
