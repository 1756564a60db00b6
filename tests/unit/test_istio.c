// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/istio.c: which objects a list of destinations calls for, and what is said about the rest.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "istio.h"
#include "util.h"

/* One destination in short; everything not named is as an ordinary row has it. */
struct seen {
	const char *ns, *workload, *host, *app;
	uint16_t port;
	enum protocol protocol;
	enum name_source source; /* 0 (http): the protocol's own */
	enum registry registry;
	uint64_t opened, requests;
	uint64_t first_ms, last_ms;
	bool internal, ech, originated, never, unanswered;
};

static enum name_source own_source(const struct seen *seen)
{
	if (seen->source)
		return seen->source;
	if (seen->protocol == PROTOCOL_TLS || seen->protocol == PROTOCOL_QUIC)
		return NAME_SOURCE_SNI;
	return seen->protocol == PROTOCOL_HTTP ? NAME_SOURCE_HTTP : NAME_SOURCE_DNS;
}

static void add(struct destination_list *list, const struct seen *seen)
{
	struct source source = {
		.ns = (char *)(seen->ns ? seen->ns : "shop"),
		.workload = (char *)(seen->workload ? seen->workload : "cart"),
		.workload_kind = (char *)"",
		.canonical_service = (char *)"",
		.canonical_revision = (char *)"",
		.app = (char *)(seen->app ? seen->app : ""),
		.version = (char *)"",
	};
	struct destination d = {
		.host = strdup(seen->host),
		.port = seen->port,
		.protocol = seen->protocol,
		.name_source = own_source(seen),
		.registry = seen->registry,
		.internal = seen->internal,
		.ech = seen->ech,
		.tls_origination = seen->originated,
		.interception = INTERCEPTION_SIDECAR,
		.tls_versions = seen->protocol == PROTOCOL_TLS && !seen->unanswered ? 1u << TLS_13
										    : 0,
		.tls_offered = seen->protocol == PROTOCOL_TLS ? 1u << TLS_13 : 0,
		.opened = seen->never ? 0 : MAX(seen->opened, 1u),
		.requests = seen->requests,
		.first_ms = seen->first_ms,
		.last_ms = seen->last_ms,
	};

	assert_non_null(d.host);
	assert_int_equal(source_copy(&source, &d.source), 0);
	assert_int_equal(destination_list_add(list, &d), 0);
}

static struct istio_plan plan_of(const struct seen *seen, size_t n,
				 const struct istio_options *options)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	struct istio_plan plan = {0};

	for (size_t i = 0; i < n; i++)
		add(&list, &seen[i]);
	assert_int_equal(destination_list_normalize(&list), 0);
	destination_list_judge(&list);
	assert_int_equal(istio_plan_make(&list, options, NULL, &plan), 0);
	return plan;
}

/* PLAN(rows, .scope = x): the plan for rows with the default options but for one. */
#define PLAN(rows, changed)                                            \
	({                                                             \
		struct istio_options options_ = ISTIO_OPTIONS_DEFAULT; \
                                                                       \
		options_ changed;                                      \
		plan_of((rows), ARRAY_SIZE(rows), &options_);          \
	})

/* "80>443 443/tls": the ports of an object. */
static const char *ports(const struct istio_object *object)
{
	static char text[512];
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < object->n_ports && n < sizeof(text); i++) {
		const struct istio_port *port = &object->ports[i];

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", i ? " " : "",
				      port->number);
		if (port->target_port)
			n += (size_t)snprintf(text + n, sizeof(text) - n, ">%u", port->target_port);
		if (port->tls)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "/tls");
	}
	return text;
}

static const struct istio_object *find(const struct istio_plan *plan, const char *ns,
				       const char *host)
{
	for (size_t i = 0; i < plan->n_objects; i++)
		if (!strcmp(plan->objects[i].ns, ns) && !strcmp(plan->objects[i].host, host))
			return &plan->objects[i];
	return NULL;
}

/* How many notes begin with `start` and contain `part`. */
static size_t notes(const struct istio_plan *plan, const char *start, const char *part)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->n_notes; i++)
		n += !strncmp(plan->notes[i], start, strlen(start)) &&
		     strstr(plan->notes[i], part) != NULL;
	return n;
}

static void test_l4_ports_by_evidence(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "a.example.com", .port = 8443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com", .port = 8080, .protocol = PROTOCOL_HTTP},
		{.host = "b.example.com", .port = 9443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com", .port = 9443, .protocol = PROTOCOL_HTTP},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_int_equal(plan.n_objects, 2);
	assert_string_equal(ports(find(&plan, "shop", "a.example.com")),
			    "80 443/tls 8080 8443/tls");
	assert_string_equal(ports(find(&plan, "shop", "b.example.com")), "9443/tls");
	assert_false(plan.objects[0].originate);
	assert_int_equal(plan.n_notes, 1);
	assert_int_equal(notes(&plan, "b.example.com", "port 9443 was seen with TLS and with"), 1);
}

static void test_l7_originates_for_tls_on_443(void **state)
{
	static const struct seen rows[] = {
		{.host = "seen.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "both.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "both.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "done.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .originated = true},
	};
	static const char *const hosts[] = {"seen.example.com", "both.example.com",
					    "done.example.com"};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L7);

	(void)state;
	assert_int_equal(plan.n_objects, 3);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		assert_true(find(&plan, "shop", hosts[i])->originate);
		assert_string_equal(ports(find(&plan, "shop", hosts[i])), "80>443 443/tls");
	}
	assert_int_equal(notes(&plan, "", "plaintext requests to port 80"), 1);
	assert_int_equal(notes(&plan, "both.example.com", "plaintext requests to port 80"), 1);
	/* How to make use of it is said once, after the lines about hosts. */
	assert_non_null(strstr(plan.notes[plan.n_notes - 1], "http://"));
	assert_int_equal(plan.n_notes, 2);
}

static void test_l7_says_why_not(void **state)
{
	static const struct seen rows[] = {
		{.host = "plain.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "other.example.com", .port = 8443, .protocol = PROTOCOL_TLS},
		{.host = "other.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "odd.example.com", .port = 80, .protocol = PROTOCOL_TLS},
		{.host = "odd.example.com", .port = 443, .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L7);

	(void)state;
	assert_int_equal(plan.n_objects, 3);
	for (size_t i = 0; i < plan.n_objects; i++)
		assert_false(plan.objects[i].originate);
	assert_string_equal(ports(find(&plan, "shop", "plain.example.com")), "80");
	assert_string_equal(ports(find(&plan, "shop", "other.example.com")), "80 8443/tls");
	assert_string_equal(ports(find(&plan, "shop", "odd.example.com")), "80/tls 443/tls");
	assert_int_equal(notes(&plan, "plain.example.com", "only plaintext HTTP"), 1);
	assert_int_equal(notes(&plan, "other.example.com", "TLS was not seen on port 443"), 1);
	assert_int_equal(notes(&plan, "odd.example.com", "port 80 itself was seen with TLS"), 1);
	assert_int_equal(plan.n_notes, 3);
}

static void test_l4_warns_before_ending_origination(void **state)
{
	static const struct seen rows[] = {
		{.host = "done.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .originated = true},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_string_equal(ports(&plan.objects[0]), "80");
	assert_int_equal(notes(&plan, "done.example.com", "--visibility l7"), 1);
}

/* TLS that was asked for and never answered is no reason to send requests there. */
static void test_l7_needs_an_answer(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .unanswered = true},
		{.host = "b.example.com", .port = 443, .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L7);

	(void)state;
	assert_false(find(&plan, "shop", "a.example.com")->originate);
	assert_true(find(&plan, "shop", "b.example.com")->originate);
	assert_int_equal(notes(&plan, "a.example.com in namespace shop: no DestinationRule",
			       "no answer to it"),
			 1);
}

/* Who is not selected speaks plaintext to port 80, and would be sent over TLS: nobody asked for that. */
static void test_l7_spares_bystanders(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com", .workload = "pay", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "b.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com",
		 .workload = "pay",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .originated = true},
		{.host = "c.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.ns = "bank", .host = "c.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0}, mesh = {0}, all = {0};

	(void)state;
	options.visibility = VISIBILITY_L7;
	options.selection.workload = "cart";
	options.selection.ns = "shop";
	plan = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_false(find(&plan, "shop", "a.example.com")->originate);
	assert_string_equal(ports(find(&plan, "shop", "a.example.com")), "443/tls");
	assert_int_equal(notes(&plan, "a.example.com", "of shop/pay over TLS"), 1);
	assert_true(find(&plan, "shop", "b.example.com")->originate);
	/* Another namespace does not see the object, unless it is for all. */
	assert_true(find(&plan, "shop", "c.example.com")->originate);
	assert_null(find(&plan, "bank", "c.example.com"));
	options.mesh_scope = true;
	mesh = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_false(find(&mesh, "istio-system", "c.example.com")->originate);
	assert_int_equal(notes(&mesh, "c.example.com", "of bank/cart over TLS"), 1);
	/* Selected, it is what was asked for. */
	options = ISTIO_OPTIONS_DEFAULT;
	options.visibility = VISIBILITY_L7;
	all = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_true(find(&all, "shop", "a.example.com")->originate);
	assert_int_equal(notes(&all, "a.example.com", "were seen (shop/pay)"), 1);
}

static void test_mutual(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .app = "cart", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com",
		 .workload = "cart-v2",
		 .app = "cart",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP},
		{.host = "b.example.com", .app = "cart", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com",
		 .workload = "pay",
		 .app = "pay",
		 .port = 8443,
		 .protocol = PROTOCOL_TLS},
		{.host = "c.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "d.example.com",
		 .app = "-no-label",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0}, one = {0};
	const struct istio_object *a;

	(void)state;
	options.visibility = VISIBILITY_L7;
	options.credential = "client-cert";
	plan = plan_of(rows, ARRAY_SIZE(rows), &options);
	a = find(&plan, "shop", "a.example.com");
	assert_true(a->originate);
	assert_string_equal(a->mutual.credential, "client-cert");
	assert_string_equal(a->mutual.key, "app");
	assert_string_equal(a->mutual.value, "cart");
	assert_int_equal(
		notes(&plan, "the client certificate comes from the secret client-cert", ""), 1);
	for (const char *host = "bcd"; *host; host++) {
		char name[] = "?.example.com";

		name[0] = *host;
		assert_false(find(&plan, "shop", name)->originate);
		assert_int_equal(notes(&plan, name, "no client certificate"), 1);
	}
	/* One of the two callers alone has a label; the other does not speak plaintext to port 80. */
	options.selection.workload = "cart";
	options.selection.host = "b.*";
	one = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_true(find(&one, "shop", "b.example.com")->originate);
}

/* The rule is for some workloads, and the ServiceEntry's targetPort for all: plaintext would go to port 443. */
static void test_mutual_spares_others(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .app = "cart", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com",
		 .workload = "pay",
		 .app = "pay",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .originated = true},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};

	(void)state;
	options.visibility = VISIBILITY_L7;
	options.credential = "client-cert";
	options.selection.workload = "cart";
	plan = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_false(plan.objects[0].originate);
	assert_string_equal(ports(&plan.objects[0]), "443/tls");
	assert_int_equal(notes(&plan, "a.example.com", "of shop/pay would be sent to port 443"), 1);
}

static void test_routes(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com", .port = 443, .protocol = PROTOCOL_TLS},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan none = {0}, plan = {0}, odd = {0};

	(void)state;
	none = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_false(none.objects[0].routed);
	options.timeout_ms = 90000;
	plan = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_true(find(&plan, "shop", "a.example.com")->routed);
	assert_string_equal(find(&plan, "shop", "a.example.com")->route.timeout, "90s");
	assert_int_equal(find(&plan, "shop", "a.example.com")->route.retries, OPT_OFF);
	assert_false(find(&plan, "shop", "b.example.com")->routed);
	assert_int_equal(notes(&plan, "b.example.com", "no VirtualService"), 1);
	options.timeout_ms = 1001;
	options.retries = 0;
	odd = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_string_equal(find(&odd, "shop", "a.example.com")->route.timeout, "1001ms");
	assert_int_equal(find(&odd, "shop", "a.example.com")->route.retries, 0);
}

static void test_wildcards(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "x.y.example.com", .port = 8443, .protocol = PROTOCOL_TLS},
		{.host = "example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.co.uk", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.other.co.uk", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "c.another.co.uk", .port = 443, .protocol = PROTOCOL_TLS},
		{.ns = "bank", .host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan off = {0}, three = {0}, dynamic = {0},
						     l7 = {0};
	const struct istio_object *wild;

	(void)state;
	off = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_int_equal(off.n_objects, 8);
	options.wildcard = 3;
	three = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_int_equal(three.n_objects, 6);
	wild = find(&three, "shop", "*.example.com");
	assert_string_equal(ports(wild), "80 443/tls 8443/tls");
	assert_int_equal(wild->resolution, ISTIO_NONE);
	assert_int_equal(strncmp(wild->name, "wildcard-example-com-", 21), 0);
	/* A wildcard does not cover the domain itself, and one namespace does not fold for another. */
	assert_int_equal(find(&three, "shop", "example.com")->resolution, ISTIO_DNS);
	assert_non_null(find(&three, "bank", "a.example.com"));
	options.wildcard = 1;
	options.dynamic_dns = true;
	dynamic = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_non_null(find(&dynamic, "bank", "*.example.com"));
	assert_non_null(find(&dynamic, "shop", "*.other.co.uk"));
	assert_null(find(&dynamic, "shop", "*.co.uk"));
	assert_int_equal(find(&dynamic, "shop", "*.example.com")->resolution, ISTIO_DYNAMIC_DNS);
	options.visibility = VISIBILITY_L7;
	l7 = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_false(find(&l7, "shop", "*.example.com")->originate);
	assert_int_equal(
		notes(&l7, "*.example.com in namespace shop: no DestinationRule", "one name"), 1);
	assert_true(find(&l7, "shop", "example.com")->originate);
}

/* Without a registry a registered host is somebody's, who may have named it alone: it does not fold. */
static void test_wildcards_of_what_is_registered(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_REGISTERED},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .wildcard = 2);

	(void)state;
	assert_int_equal(plan.n_objects, 1);
	assert_string_equal(plan.objects[0].host, "a.example.com");
}

static void test_lockdown(void **state)
{
	static const struct seen good[] = {
		{.host = "a.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_REGISTERED},
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TCP},
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_QUIC},
		{.ns = "", .host = "b.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.ns = "bank",
		 .host = "b.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .registry = REGISTRY_ORIGINATED},
	};
	static const struct seen bad[] = {
		{.ns = "bank",
		 .host = "b.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .registry = REGISTRY_ORIGINATED},
		{.host = "192.0.2.1", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "~invalid", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "db.example.com",
		 .port = 5432,
		 .protocol = PROTOCOL_TCP,
		 .registry = REGISTRY_BLOCKED},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0}, refused = {0}, bank = {0};

	(void)state;
	options.lockdown = true;
	plan = plan_of(good, ARRAY_SIZE(good), &options);
	assert_false(plan.refused);
	assert_int_equal(plan.n_objects, 2);
	assert_string_equal(plan.objects[0].ns, "bank");
	assert_string_equal(plan.objects[1].ns, "shop");
	assert_true(istio_object_has(&plan.objects[0], ISTIO_SIDECAR));
	assert_int_equal(notes(&plan, "1 destination over UDP or QUIC", ""), 1);
	assert_int_equal(notes(&plan, "1 destination left out: called from outside", ""), 1);
	refused = plan_of(bad, ARRAY_SIZE(bad), &options);
	assert_true(refused.refused);
	assert_int_equal(refused.n_objects, 0);
	assert_int_equal(notes(&refused, "not registered: namespace shop, workload cart: ", ""), 3);
	assert_int_equal(
		notes(&refused, "not registered: ", "db.example.com on port 5432 (tcp, blocked)"),
		1);
	options.selection.ns = "bank";
	bank = plan_of(bad, ARRAY_SIZE(bad), &options);
	assert_false(bank.refused);
	assert_int_equal(bank.n_objects, 1);
	/* A Sidecar in the root namespace would be everybody's. */
	options.root_namespace = "bank";
	istio_plan_done(&bank);
	bank = plan_of(bad, ARRAY_SIZE(bad), &options);
	assert_true(bank.refused);
	assert_int_equal(notes(&bank, "namespace bank", "root namespace"), 1);
}

/* Destinations that had no room may be anybody's. */
static void test_lockdown_needs_the_whole(void **state)
{
	struct destination_list list = {.destinations_dropped = 1};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};

	(void)state;
	options.lockdown = true;
	assert_int_equal(istio_plan_make(&list, &options, NULL, &plan), 0);
	assert_true(plan.refused);
	assert_int_equal(notes(&plan, "1 destination may be missing", ""), 1);
}

static void test_selection(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "b.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_PASSTHROUGH},
		{.host = "192.0.2.1", .port = 443, .protocol = PROTOCOL_TLS},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};

	(void)state;
	options.selection.registry = REGISTRY_PASSTHROUGH;
	plan = plan_of(rows, ARRAY_SIZE(rows), &options);
	assert_int_equal(plan.n_objects, 1);
	assert_string_equal(plan.objects[0].host, "b.example.com");
	/* Nothing is said of what nobody asked for. */
	assert_int_equal(plan.n_notes, 0);
}

static void test_left_out_with_reason(void **state)
{
	static const struct {
		struct seen seen;
		const char *note;
	} cases[] = {
		{{.host = "192.0.2.1", .port = 443, .protocol = PROTOCOL_TLS}, "IP address"},
		{{.host = "2001:db8::1", .port = 443, .protocol = PROTOCOL_TLS}, "IP address"},
		{{.host = "a_b.example.com", .port = 443, .protocol = PROTOCOL_TLS}, "underscore"},
		{{.host = "single", .port = 443, .protocol = PROTOCOL_TLS}, "is a short name"},
		{{.host = "a.b.svc", .port = 80, .protocol = PROTOCOL_HTTP}, "inside the cluster"},
		{{.host = MODEL_HOST_OTHER, .port = 443, .protocol = PROTOCOL_TLS}, "limit"},
		{{.host = MODEL_HOST_INVALID, .port = 443, .protocol = PROTOCOL_TLS}, "no host"},
		{{.host = "e.example.com", .port = 443, .protocol = PROTOCOL_TLS, .ech = true},
		 "port 443: the client offers Encrypted ClientHello"},
		{{.host = "n.example.com",
		  .port = 443,
		  .protocol = PROTOCOL_TLS,
		  .source = NAME_SOURCE_DNS},
		 "port 443: the connection itself carried no host name"},
		{{.host = "p.example.com",
		  .port = 3128,
		  .protocol = PROTOCOL_HTTP,
		  .source = NAME_SOURCE_CONNECT},
		 "port 3128: is reached through an HTTP proxy"},
		{{.host = "h.example.com", .port = 443, .protocol = PROTOCOL_HTTP},
		 "port 443: plaintext HTTP on the port of HTTPS"},
		{{.host = "g.example.com", .port = 50051, .protocol = PROTOCOL_HTTP2},
		 "port 50051: HTTP/2 in plain text"},
		{{.host = "q.example.com", .port = 443, .protocol = PROTOCOL_QUIC},
		 "port 443: QUIC"},
		{{.host = "t.example.com", .port = 5432, .protocol = PROTOCOL_TCP},
		 "port 5432: neither TLS nor HTTP"},
		{{.host = "u.example.com", .port = 53, .protocol = PROTOCOL_UDP}, "port 53: UDP"},
		{{.ns = "No_Namespace",
		  .host = "x.example.com",
		  .port = 443,
		  .protocol = PROTOCOL_TLS},
		 "namespace"},
		{{.host = "few.example.com", .port = 443, .protocol = PROTOCOL_TLS, .never = true},
		 "seen in 0 connections and 0 requests"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(istio_plan_done) struct istio_plan plan = plan_of(&cases[i].seen, 1,
									    &ISTIO_OPTIONS_DEFAULT);

		assert_int_equal(plan.n_objects, 0);
		assert_int_equal(plan.n_notes, 1);
		if (!notes(&plan, cases[i].seen.host, cases[i].note))
			fail_msg("'%s' is not about %s", plan.notes[0], cases[i].note);
	}
}

static void test_one_line_a_host_whoever_called_it(void **state)
{
	static const struct seen rows[] = {
		{.ns = "a", .host = "db.example.com", .port = 5432, .protocol = PROTOCOL_TCP},
		{.ns = "b", .host = "db.example.com", .port = 5432, .protocol = PROTOCOL_TCP},
		{.ns = "b",
		 .workload = "x",
		 .host = "db.example.com",
		 .port = 6432,
		 .protocol = PROTOCOL_TCP},
		{.ns = "a", .host = "192.0.2.1", .port = 80, .protocol = PROTOCOL_HTTP},
		{.ns = "b", .host = "192.0.2.1", .port = 443, .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_int_equal(plan.n_notes, 2);
	assert_int_equal(notes(&plan, "192.0.2.1: left out: is an IP address", ""), 1);
	assert_int_equal(notes(&plan, "db.example.com: left out on ports 5432, 6432: ", ""), 1);
}

static void test_silent_connections_are_no_news(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TCP},
		{.host = "a.example.com", .port = 22, .protocol = PROTOCOL_TCP},
		{.host = "a.example.com", .port = 9000, .protocol = PROTOCOL_TCP},
		{.host = "a.example.com", .port = 9000, .protocol = PROTOCOL_HTTP},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_string_equal(ports(&plan.objects[0]), "443/tls 9000");
	assert_int_equal(plan.n_notes, 1);
	assert_int_equal(notes(&plan, "a.example.com: left out on port 22: ", ""), 1);
}

static void test_scope_namespace_and_mesh(void **state)
{
	static const struct seen rows[] = {
		{.ns = "bank",
		 .workload = "pay",
		 .host = "a.example.com",
		 .port = 443,
		 .opened = 2,
		 .protocol = PROTOCOL_TLS,
		 .first_ms = 2000,
		 .last_ms = 9000},
		{.ns = "shop",
		 .workload = "cart",
		 .host = "a.example.com",
		 .port = 443,
		 .opened = 3,
		 .protocol = PROTOCOL_TLS,
		 .first_ms = 1000,
		 .last_ms = 3000},
		{.ns = "shop",
		 .workload = "cart",
		 .host = "a.example.com",
		 .port = 80,
		 .opened = 1,
		 .requests = 7,
		 .protocol = PROTOCOL_HTTP},
		{.ns = "",
		 .workload = "cron.service",
		 .host = "a.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan by_ns = PLAN(rows, .mesh_scope = false);
	_cleanup_(istio_plan_done) struct istio_plan mesh = PLAN(rows, .mesh_scope = true);
	const struct istio_object *shop = find(&by_ns, "shop", "a.example.com");

	(void)state;
	assert_int_equal(by_ns.n_objects, 3);
	assert_string_equal(by_ns.objects[0].ns, "");
	assert_int_equal(shop->evidence.connections, 4);
	assert_int_equal(shop->evidence.requests, 7);
	assert_int_equal(shop->evidence.first_ms, 1000);
	assert_int_equal(shop->evidence.last_ms, 3000);
	assert_int_equal(shop->evidence.n_workloads, 1);
	assert_string_equal(shop->evidence.workloads[0], "cart");

	assert_int_equal(mesh.n_objects, 1);
	assert_string_equal(mesh.objects[0].ns, "istio-system");
	assert_string_equal(mesh.objects[0].name, shop->name);
	assert_int_equal(mesh.objects[0].evidence.connections, 7);
	assert_int_equal(mesh.objects[0].evidence.last_ms, 9000);
	assert_int_equal(mesh.objects[0].evidence.n_workloads, 3);
	assert_string_equal(mesh.objects[0].evidence.workloads[0], "bank/pay");
	assert_string_equal(mesh.objects[0].evidence.workloads[1], "cron.service");
	assert_string_equal(mesh.objects[0].evidence.workloads[2], "shop/cart");
}

static void test_only_unregistered(void **state)
{
	static const struct seen rows[] = {
		{.host = "reg.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_REGISTERED},
		{.host = "ori.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .registry = REGISTRY_ORIGINATED},
		{.host = "pas.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_PASSTHROUGH},
		{.host = "blo.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_BLOCKED},
		{.host = "par.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_REGISTERED},
		{.host = "par.example.com",
		 .port = 8443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_UNKNOWN},
	};
	_cleanup_(istio_plan_done) struct istio_plan some = PLAN(rows, .only_unregistered = true);
	_cleanup_(istio_plan_done) struct istio_plan all = PLAN(rows, .only_unregistered = false);

	(void)state;
	assert_int_equal(some.n_objects, 3);
	assert_null(find(&some, "shop", "reg.example.com"));
	assert_null(find(&some, "shop", "ori.example.com"));
	/* The new object takes the old one's place: it must not lose the port that is registered. */
	assert_string_equal(ports(find(&some, "shop", "par.example.com")), "443/tls 8443/tls");
	assert_int_equal(notes(&some, "par.example.com", "in part"), 1);
	assert_int_equal(notes(&some, "2 destinations left out", "--all"), 1);
	assert_int_equal(all.n_objects, 5);
	assert_int_equal(all.n_notes, 0);
}

static void test_internal_is_counted_not_generated(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS, .internal = true},
		{.host = "192.0.2.1", .port = 443, .protocol = PROTOCOL_TLS, .internal = true},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L7);

	(void)state;
	assert_int_equal(plan.n_objects, 0);
	assert_int_equal(plan.n_notes, 1);
	assert_string_equal(plan.notes[0], "2 destinations left out: internal");
}

static void test_min_connections(void **state)
{
	static const struct seen rows[] = {
		{.host = "few.example.com", .port = 443, .protocol = PROTOCOL_TLS, .opened = 4},
		{.host = "two.example.com", .port = 443, .protocol = PROTOCOL_TLS, .opened = 3},
		{.host = "two.example.com", .port = 8443, .protocol = PROTOCOL_TLS, .opened = 2},
		/* One kept-alive connection with many requests counts by its requests. */
		{.host = "req.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .opened = 1,
		 .requests = 5},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .min_connections = 5);
	_cleanup_(istio_plan_done) struct istio_plan any = PLAN(rows, .min_connections = 0);

	(void)state;
	assert_int_equal(plan.n_objects, 2);
	assert_null(find(&plan, "shop", "few.example.com"));
	assert_int_equal(notes(&plan, "few.example.com in namespace shop: left out: seen in 4", ""),
			 1);
	assert_int_equal(any.n_objects, 3);
}

static void check_name(const struct istio_object *object)
{
	size_t len = strlen(object->name);

	assert_true(len <= 63);
	assert_int_equal(strspn(object->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), len);
	assert_true(object->name[0] != '-' && object->name[len - 1] != '-');
}

static void test_object_names(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.b-c.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a-b.c.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffff.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
		{.host = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffff.example.org",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
		{.host = "httpbin.org", .port = 443, .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_int_equal(plan.n_objects, 5);
	for (size_t i = 0; i < plan.n_objects; i++) {
		check_name(&plan.objects[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(plan.objects[i].name, plan.objects[j].name);
	}
	/* Objects are found again by name: it must never change for a host. */
	assert_string_equal(find(&plan, "shop", "httpbin.org")->name, "httpbin-org-56a99524");
}

/* Two hosts found by search, whose names are cut at the same place and whose hashes are equal. */
static void test_colliding_names(void **state)
{
#define SIXTY_X "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	static const struct seen rows[] = {
		{.host = SIXTY_X ".e702.example", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = SIXTY_X ".113ab.example", .port = 443, .protocol = PROTOCOL_TLS},
		{.ns = "bank",
		 .host = SIXTY_X ".e702.example",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .visibility = VISIBILITY_L4);

	(void)state;
	assert_int_equal(plan.n_objects, 2);
	assert_non_null(find(&plan, "bank", SIXTY_X ".e702.example"));
	assert_non_null(find(&plan, "shop", SIXTY_X ".113ab.example"));
	assert_int_equal(notes(&plan, SIXTY_X ".e702.example: left out", "same name"), 1);
}

static void test_ports_are_capped(void **state)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};

	(void)state;
	for (uint16_t i = 0; i < 300; i++) {
		struct seen seen = {.host = "a.example.com",
				    .port = (uint16_t)(200 + i),
				    .protocol = PROTOCOL_TLS};

		add(&list, &seen);
	}
	assert_int_equal(destination_list_normalize(&list), 0);
	assert_int_equal(istio_plan_make(&list, &ISTIO_OPTIONS_DEFAULT, NULL, &plan), 0);
	assert_int_equal(plan.objects[0].n_ports, ISTIO_PORTS_MAX);
	assert_int_equal(plan.objects[0].ports[0].number, 200);
	assert_int_equal(notes(&plan, "a.example.com", "44 ports left out"), 1);
}

/* The model may hold what no file reader lets through: nothing may leave as it came. */
static void test_hostile_strings(void **state)
{
	char longest[5000];
	struct seen rows[] = {
		{.host = "evil\x1b[31m\n.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = longest, .port = 443, .protocol = PROTOCOL_TLS},
		{.workload = longest,
		 .host = "a.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
		{.workload = "\xff\n---\xe2\x80\xa8",
		 .host = "b.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS},
		{.host = "UPPER.Example.COM.", .port = 443, .protocol = PROTOCOL_TLS},
	};

	(void)state;
	memset(longest, '\x01', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (int mesh = 0; mesh < 2; mesh++) {
		_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows, .mesh_scope = mesh);

		assert_int_equal(plan.n_objects, 3);
		assert_int_equal(plan.n_notes, 2);
		assert_non_null(find(&plan, mesh ? "istio-system" : "shop", "upper.example.com"));
		for (size_t i = 0; i < plan.n_notes; i++)
			for (const char *c = plan.notes[i]; *c; c++)
				assert_in_range((unsigned char)*c, 0x20, 0x7e);
		for (size_t i = 0; i < plan.n_objects; i++)
			for (const char *c = plan.objects[i].evidence.workloads[0]; *c; c++)
				assert_in_range((unsigned char)*c, 0x20, 0x7e);
	}
}

static void test_sums_do_not_wrap(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .opened = INT64_MAX},
		{.host = "a.example.com",
		 .port = 80,
		 .protocol = PROTOCOL_HTTP,
		 .opened = INT64_MAX,
		 .requests = INT64_MAX},
	};
	_cleanup_(istio_plan_done) struct istio_plan plan = PLAN(rows,
								 .min_connections = UINT32_MAX);

	(void)state;
	assert_int_equal(plan.objects[0].evidence.connections, INT64_MAX);
	assert_int_equal(plan.objects[0].evidence.requests, INT64_MAX);
}

static void test_lost_destinations_are_mentioned(void **state)
{
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};
	struct destination_list list = {.destinations_dropped = 2, .hosts_folded = 3};

	(void)state;
	assert_int_equal(istio_plan_make(&list, &ISTIO_OPTIONS_DEFAULT, NULL, &plan), 0);
	assert_int_equal(plan.n_objects, 0);
	assert_int_equal(notes(&plan, "5 destinations may be missing", "--max-destinations"), 1);
}

static void test_bad_root_namespace_is_refused(void **state)
{
	struct istio_options o = {.mesh_scope = true, .root_namespace = "No Such"};
	struct destination_list list = {0};
	struct istio_plan plan = {.n_notes = 77};

	(void)state;
	assert_int_equal(istio_plan_make(&list, &o, NULL, &plan), -EINVAL);
	assert_int_equal(plan.n_notes, 77);
}

/* Every allocation fails once: -ENOMEM, nothing leaks (the sanitizer looks), the output is untouched. */
static void test_out_of_memory(void **state)
{
	static const struct seen rows[] = {
		{.host = "a.example.com", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = "a.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "a.example.com", .port = 5432, .protocol = PROTOCOL_TCP},
		{.host = "p.example.com", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "c.example.com", .port = 8443, .protocol = PROTOCOL_TLS},
		{.host = "c.example.com", .port = 8443, .protocol = PROTOCOL_HTTP},
		{.host = "192.0.2.1", .port = 80, .protocol = PROTOCOL_HTTP},
		{.host = "i.example.com", .port = 80, .protocol = PROTOCOL_HTTP, .internal = true},
		{.host = "n.example.com", .port = 80, .protocol = PROTOCOL_HTTP, .never = true},
		{.host = SIXTY_X ".e702.example", .port = 443, .protocol = PROTOCOL_TLS},
		{.host = SIXTY_X ".113ab.example", .port = 443, .protocol = PROTOCOL_TLS},
		{.ns = "bank",
		 .host = "r.example.com",
		 .port = 443,
		 .protocol = PROTOCOL_TLS,
		 .registry = REGISTRY_REGISTERED},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(destination_list_done) struct destination_list list = {0};
	struct istio_plan plan = {.n_notes = 77};
	unsigned long n = 0;
	int r;

	(void)state;
	options.visibility = VISIBILITY_L7;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		add(&list, &rows[i]);
	assert_int_equal(destination_list_normalize(&list), 0);
	do {
		alloc_fail_at(++n);
		r = istio_plan_make(&list, &options, NULL, &plan);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		if (r)
			assert_int_equal(plan.n_notes, 77);
	} while (r);
	alloc_fail_at(0);
	assert_true(n > 50);
	assert_int_equal(plan.n_objects, 4);
	istio_plan_done(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_l4_ports_by_evidence),
		cmocka_unit_test(test_l7_originates_for_tls_on_443),
		cmocka_unit_test(test_l7_says_why_not),
		cmocka_unit_test(test_l4_warns_before_ending_origination),
		cmocka_unit_test(test_l7_needs_an_answer),
		cmocka_unit_test(test_l7_spares_bystanders),
		cmocka_unit_test(test_mutual),
		cmocka_unit_test(test_mutual_spares_others),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_wildcards),
		cmocka_unit_test(test_wildcards_of_what_is_registered),
		cmocka_unit_test(test_lockdown),
		cmocka_unit_test(test_lockdown_needs_the_whole),
		cmocka_unit_test(test_selection),
		cmocka_unit_test(test_left_out_with_reason),
		cmocka_unit_test(test_one_line_a_host_whoever_called_it),
		cmocka_unit_test(test_silent_connections_are_no_news),
		cmocka_unit_test(test_scope_namespace_and_mesh),
		cmocka_unit_test(test_only_unregistered),
		cmocka_unit_test(test_internal_is_counted_not_generated),
		cmocka_unit_test(test_min_connections),
		cmocka_unit_test(test_object_names),
		cmocka_unit_test(test_colliding_names),
		cmocka_unit_test(test_ports_are_capped),
		cmocka_unit_test(test_hostile_strings),
		cmocka_unit_test(test_sums_do_not_wrap),
		cmocka_unit_test(test_lost_destinations_are_mentioned),
		cmocka_unit_test(test_bad_root_namespace_is_refused),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
