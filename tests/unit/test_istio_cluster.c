// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of plans beside a cluster (user/istio_cluster.c, istio_retired.c, config.c): what is in the way, what is
 * replaced, and what is said of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "config.h"
#include "util.h"
#include "yaml_tree.h"

#define SOURCE(ns_, workload_, app_)                                                               \
	{                                                                                          \
		.ns = (char *)(ns_), .workload = (char *)(workload_), .workload_kind = (char *)"", \
		.canonical_service = (char *)"", .canonical_revision = (char *)"",                 \
		.app = (char *)(app_), .version = (char *)""                                       \
	}

/* What is seen, in short: "NS HOST:PORT/tls" or "/http", a workload "cart" with the label app: cart. */
static void see_one(struct destination_list *list, const char *line)
{
	char ns[64] = "", host[256] = "", protocol[16] = "";
	unsigned int port = 0;
	struct source source = SOURCE(ns, "cart", "cart");
	struct destination d = {.opened = 3, .received = 1, .first_ms = 1, .last_ms = 2};

	assert_int_equal(sscanf(line, "%63s %255[^:]:%u/%15s", ns, host, &port, protocol), 4);
	d.host = strdup(host);
	d.port = (uint16_t)port;
	assert_int_equal(model_protocol_parse(protocol, &d.protocol), 0);
	d.name_source = d.protocol == PROTOCOL_TLS    ? NAME_SOURCE_SNI
			: d.protocol == PROTOCOL_HTTP ? NAME_SOURCE_HTTP
						      : NAME_SOURCE_DNS;
	d.tls_versions = d.protocol == PROTOCOL_TLS ? 1u << TLS_13 : 0;
	assert_int_equal(source_copy(&source, &d.source), 0);
	assert_int_equal(destination_list_add(list, &d), 0);
}

static struct destination_list see(const char *const *lines)
{
	struct destination_list list = {0};

	for (; *lines; lines++)
		see_one(&list, *lines);
	assert_int_equal(destination_list_normalize(&list), 0);
	destination_list_judge(&list);
	return list;
}

#define SEEN(...) ((const char *const[]){__VA_ARGS__, NULL})

static int put(const cJSON *document, void *data)
{
	const char *why = "";

	if (registry_put(data, document, &why))
		fail_msg("the registry does not take it: %s", why);
	return 0;
}

/* The cluster, as YAML; more may be put on top. */
static void cluster_add(struct registry_store *store, const char *yaml)
{
	char why[YAML_TREE_WHY_MAX] = "";
	unsigned int line = 0;

	if (yaml_tree_read(yaml, strlen(yaml), put, store, &line, why))
		fail_msg("%u: %s", line, why);
}

static struct registry_store *cluster_of(const char *yaml)
{
	struct registry_store *store = NULL;

	assert_int_equal(registry_new(&REGISTRY_OPTIONS_DEFAULT, &store), 0);
	cluster_add(store, yaml);
	return store;
}

static struct config config_of(const char *const *seen, const struct istio_options *options,
			       const struct registry_store *store)
{
	struct destination_list list = see(seen);
	struct config config = {0};

	assert_int_equal(config_make(&list, options, store, &config), 0);
	destination_list_done(&list);
	return config;
}

/* kubectl apply, and ask again: nothing more. */
static void apply(struct registry_store *store, const char *const *seen,
		  const struct istio_options *options)
{
	_cleanup_(config_done) struct config config = config_of(seen, options, store), again = {0};

	for (size_t i = 0; i < config.n_documents; i++)
		cluster_add(store, config.documents[i].yaml);
	again = config_of(seen, options, store);
	assert_int_equal(again.n_documents, 0);
}

static const char *document(const struct config *config, const char *kind, const char *name)
{
	for (size_t i = 0; i < config->n_documents; i++)
		if (strcmp(config->documents[i].kind, kind) == 0 &&
		    strncmp(config->documents[i].name, name, strlen(name)) == 0)
			return config->documents[i].yaml;
	return NULL;
}

static void assert_note(const struct config *config, const char *expected)
{
	for (size_t i = 0; i < config->n_notes; i++)
		if (strcmp(config->notes[i], expected) == 0)
			return;
	for (size_t i = 0; i < config->n_notes; i++)
		print_error("has: %s\n", config->notes[i]);
	fail_msg("no note: %s", expected);
}

/* A ServiceEntry, spec in flow style without the braces. */
#define ENTRY_OF(ns, name, labels, spec)                                                      \
	"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " name \
	", namespace: " ns ", labels: {" labels "}}\nspec: {" spec "}\n"
#define PORT_TLS  "ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS"
#define PORT_HTTP "ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS"
#define RULE_OF(ns, name, spec)                                                                  \
	"---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " name \
	", namespace: " ns "}\nspec: {" spec "}\n"
#define OURS "app.kubernetes.io/managed-by: egress-agent"

/* Owners */

static void test_owners_are_in_the_way(void **state)
{
	static const struct {
		const char *cluster, *seen, *note;
	} cases[] = {
		{ENTRY_OF("shop", "mine", "", "hosts: [a.example.com], " PORT_TLS),
		 "shop a.example.com:8443/tls",
		 "a.example.com in namespace shop: left out: ServiceEntry shop/mine has the host "
		 "already; give it port 8443 with protocol TLS"},
		{ENTRY_OF("bank", "theirs", "", "hosts: [a.example.com], " PORT_TLS),
		 "shop a.example.com:80/http",
		 "a.example.com in namespace shop: left out: ServiceEntry bank/theirs has the host "
		 "already; give it port 80 with protocol HTTP"},
		{ENTRY_OF("bank", "theirs", "",
			  "hosts: [a.example.com], exportTo: [shop], " PORT_TLS),
		 "shop a.example.com:80/http",
		 "a.example.com in namespace shop: left out: ServiceEntry bank/theirs has the host "
		 "already; give it port 80 with protocol HTTP"},
		{ENTRY_OF("bank", "wild", "",
			  "hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: "
			  "TLS}], resolution: NONE"),
		 "shop a.b.example.com:80/http",
		 "a.b.example.com in namespace shop: left out: ServiceEntry bank/wild covers the "
		 "host with a wildcard; give it port 80 with protocol HTTP"},
		/* Ours, but in another namespace or under another name. */
		{ENTRY_OF("istio-system", "a-example-com-4396b5ad", OURS,
			  "hosts: [a.example.com], " PORT_TLS),
		 "shop a.example.com:80/http",
		 "a.example.com in namespace shop: left out: ServiceEntry "
		 "istio-system/a-example-com-4396b5ad has the host already; give it port 80 with "
		 "protocol HTTP"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(registry_freep) struct registry_store *store =
			cluster_of(cases[i].cluster);
		_cleanup_(config_done) struct config config =
			config_of(SEEN(cases[i].seen), &ISTIO_OPTIONS_DEFAULT, store);

		assert_int_equal(config.n_documents, 0);
		assert_note(&config, cases[i].note);
	}
}

/* What nobody sees is nobody's. */
static void test_private_objects_are_not_in_the_way(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(ENTRY_OF(
		"bank", "theirs", "", "hosts: [a.example.com], exportTo: ['.'], " PORT_TLS));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:443/tls"), &options, store);

		assert_int_equal(config.n_documents, 1);
	}
	/* With one for all, bank still has its own first. */
	options.mesh_scope = true;
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:443/tls", "bank a.example.com:80/http"),
				  &options, store);

		assert_int_equal(config.n_documents, 1);
		assert_null(strstr(config.documents[0].yaml, "80"));
		assert_note(&config, "a.example.com: left out for namespace bank: ServiceEntry "
				     "bank/theirs has the host there; give it port 80 with "
				     "protocol HTTP");
	}
}

static void test_covered_is_counted(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store =
		cluster_of(ENTRY_OF("bank", "theirs", "", "hosts: [a.example.com], " PORT_TLS));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = config_of(SEEN("shop a.example.com:443/tls"),
								&options, store),
					     all = {0}, l7 = {0};

	(void)state;
	assert_int_equal(config.n_documents, 0);
	assert_int_equal(config.n_notes, 1);
	assert_note(&config,
		    "1 destination left out: in the registry already; --all includes them");
	options.only_unregistered = false;
	all = config_of(SEEN("shop a.example.com:443/tls"), &options, store);
	assert_int_equal(all.n_documents, 0);
	assert_note(&all, "a.example.com in namespace shop: left out: ServiceEntry bank/theirs has "
			  "the host already");
	options.visibility = VISIBILITY_L7;
	l7 = config_of(SEEN("shop a.example.com:443/tls"), &options, store);
	assert_note(&l7, "a.example.com in namespace shop: left out: ServiceEntry bank/theirs has "
			 "the host already; for origination give its port 80 targetPort 443, and "
			 "the host a DestinationRule with TLS for port 80");
}

/* A TCP service without addresses takes what nobody else takes: that does not make it the host's. */
static void test_catch_all_covers_nothing(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		ENTRY_OF("bank", "tcp", "",
			 "hosts: [db.example.org], ports: [{number: 8080, name: tcp, protocol: "
			 "TCP}], resolution: DNS"));

	(void)state;
	apply(store, SEEN("shop a.example.com:8080/http"), &ISTIO_OPTIONS_DEFAULT);
	assert_non_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "shop",
				      "a-example-com-4396b5ad"));
}

static void test_sidecars_that_do_not_import(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, "
		"namespace: shop}\nspec: {egress: [{hosts: ['istio-system/*']}]}\n" ENTRY_OF(
			"bank", "theirs", "", "hosts: [b.example.com], " PORT_TLS));
	_cleanup_(config_done) struct config config =
		config_of(SEEN("shop a.example.com:443/tls", "shop b.example.com:443/tls"),
			  &ISTIO_OPTIONS_DEFAULT, store);

	(void)state;
	assert_int_equal(config.n_documents, 0);
	assert_note(&config, "a.example.com in namespace shop: left out: the Sidecar of shop/cart "
			     "would not import it; add it to that Sidecar's egress hosts");
	assert_note(&config, "b.example.com in namespace shop: left out: ServiceEntry bank/theirs "
			     "has the host already, but the Sidecar of those who call it does not "
			     "import it; add it to that Sidecar's egress hosts");
}

/* Rules and routes */

static void test_rules_of_others(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		RULE_OF("shop", "pool",
			"host: a.example.com, trafficPolicy: {connectionPool: {tcp: "
			"{maxConnections: 9}}}")
			RULE_OF("istio-system", "tls",
				"host: '*.example.org', trafficPolicy: {tls: {mode: SIMPLE}}"));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0};

	(void)state;
	options.visibility = VISIBILITY_L7;
	config = config_of(SEEN("shop a.example.com:443/tls", "shop b.example.org:443/tls"),
			   &options, store);
	assert_int_equal(config.n_documents, 1);
	assert_null(strstr(document(&config, "ServiceEntry", "a-example-com"), "targetPort"));
	assert_note(&config,
		    "a.example.com in namespace shop: no DestinationRule: DestinationRule "
		    "shop/pool has the host already; have it open TLS for port 80, and give that "
		    "port of the ServiceEntry targetPort 443");
	assert_note(&config,
		    "b.example.org in namespace shop: left out: DestinationRule istio-system/tls "
		    "has the sidecar open TLS for the host, and would for all that a ServiceEntry "
		    "lets in; settle both by hand");
}

static void test_routes_of_others(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, "
		"namespace: bank}\nspec: {hosts: [a.example.com], http: [{route: [{destination: "
		"{host: a.example.com}}]}]}\n");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0};

	(void)state;
	options.retries = 2;
	config = config_of(SEEN("shop a.example.com:80/http"), &options, store);
	assert_int_equal(config.n_documents, 1);
	assert_note(&config, "a.example.com in namespace shop: no VirtualService: VirtualService "
			     "bank/r has the host already; set timeout and retries there");
}

/* Our own */

static void test_update_keeps_ports(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	const char *yaml;

	(void)state;
	apply(store, SEEN("shop a.example.com:443/tls", "shop a.example.com:8080/http"), &options);
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:9000/tls"), &options, store);

		yaml = document(&config, "ServiceEntry", "a-example-com");
		assert_non_null(strstr(yaml, "number: 443"));
		assert_non_null(strstr(yaml, "number: 8080"));
		assert_non_null(strstr(yaml, "number: 9000"));
	}
	apply(store, SEEN("shop a.example.com:9000/tls"), &options);
}

static void test_origination_stays(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options l7 = ISTIO_OPTIONS_DEFAULT, l4 = ISTIO_OPTIONS_DEFAULT;
	const char *yaml;

	(void)state;
	l7.visibility = VISIBILITY_L7;
	l7.credential = "client-cert";
	apply(store, SEEN("shop a.example.com:443/tls"), &l7);
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:8443/tls"), &l4, store);

		/* The rule goes along as it is, certificate and all. */
		assert_int_equal(config.n_documents, 2);
		yaml = document(&config, "DestinationRule", "a-example-com");
		assert_non_null(strstr(yaml, "credentialName: \"client-cert\""));
		assert_non_null(strstr(yaml, "app: \"cart\""));
		yaml = document(&config, "ServiceEntry", "a-example-com");
		assert_non_null(strstr(yaml, "targetPort: 443"));
		assert_non_null(strstr(yaml, "number: 8443"));
	}
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:80/tls"), &l4, store);

		assert_int_equal(config.n_documents, 0);
		assert_note(&config,
			    "a.example.com in namespace shop: left out: port 80 was seen with TLS, "
			    "and DestinationRule shop/a-example-com-4396b5ad opens TLS there once "
			    "more; delete it first");
	}
}

/* TLS on port 80 that another node saw is TLS on port 80. */
static void test_no_origination_over_tls(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0};

	(void)state;
	apply(store, SEEN("shop a.example.com:80/tls"), &options);
	options.visibility = VISIBILITY_L7;
	config = config_of(SEEN("shop a.example.com:443/tls"), &options, store);
	assert_int_equal(config.n_documents, 1);
	assert_null(strstr(config.documents[0].yaml, "targetPort"));
	assert_note(&config, "a.example.com in namespace shop: no DestinationRule: port 80 itself "
			     "was seen with TLS");
}

/* Demo 2 to Demo 3: what is registered is not yet what l7 asks for. */
static void test_l7_on_top_of_l4(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0}, done = {0};

	(void)state;
	apply(store, SEEN("shop a.example.com:443/tls"), &options);
	options.visibility = VISIBILITY_L7;
	config = config_of(SEEN("shop a.example.com:443/tls"), &options, store);
	assert_int_equal(config.n_documents, 2);
	apply(store, SEEN("shop a.example.com:443/tls"), &options);
	/* The application has moved to http://. */
	done = config_of(SEEN("shop a.example.com:80/http"), &options, store);
	assert_int_equal(done.n_documents, 0);
}

/* A route that is there goes with the ports, or the new one's requests get a 404. */
static void test_route_goes_with_the_ports(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0};
	const char *yaml;

	(void)state;
	options.timeout_ms = 5000;
	options.retries = 1;
	apply(store, SEEN("shop a.example.com:80/http"), &options);
	config = config_of(SEEN("shop a.example.com:8080/http"), &ISTIO_OPTIONS_DEFAULT, store);
	yaml = document(&config, "VirtualService", "a-example-com");
	assert_non_null(strstr(yaml, "- port: 8080"));
	assert_non_null(strstr(yaml, "timeout: \"5s\""));
	assert_non_null(strstr(yaml, "attempts: 1"));
}

/* One for all does not shrink to one for some because somebody asks by namespace. */
static void test_exported_stays_exported(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0};

	(void)state;
	options.mesh_scope = true;
	apply(store, SEEN("shop a.example.com:443/tls"), &options);
	config = config_of(SEEN("istio-system a.example.com:80/http"), &ISTIO_OPTIONS_DEFAULT,
			   store);
	assert_int_equal(config.n_documents, 1);
	assert_non_null(strstr(config.documents[0].yaml, "exportTo:\n  - \"*\"\n"));
}

static void test_changed_by_hand(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		ENTRY_OF("shop", "a-example-com-4396b5ad", OURS,
			 "hosts: [a.example.com], subjectAltNames: [x.example.com], " PORT_TLS)
			ENTRY_OF("shop", "b-example-com-72516339", "",
				 "hosts: [other.example.org], " PORT_TLS));
	_cleanup_(config_done) struct config config =
		config_of(SEEN("shop a.example.com:80/http", "shop b.example.com:80/http"),
			  &ISTIO_OPTIONS_DEFAULT, store);

	(void)state;
	assert_note(&config,
		    "a.example.com in namespace shop: left out: ServiceEntry "
		    "shop/a-example-com-4396b5ad is ours, but somebody has changed more than a "
		    "value in it; change it by hand, or delete it to have it made anew");
	/* And a name is a name, whoever has it. */
	assert_note(&config, "b.example.com in namespace shop: left out: ServiceEntry "
			     "shop/b-example-com-72516339 "
			     "has the name that this one would get; rename it");
	assert_int_equal(config.n_documents, 0);
}

/* Rows without a namespace land in "default" beside those of that namespace. */
static void test_no_namespace_is_default(void **state)
{
	struct destination_list list = see(SEEN("default a.example.com:443/tls"));
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	_cleanup_(config_done) struct config config = {0};
	struct destination nowhere = {.host = strdup("a.example.com"),
				      .port = 80,
				      .protocol = PROTOCOL_HTTP,
				      .name_source = NAME_SOURCE_HTTP,
				      .opened = 1};
	const struct source source = SOURCE("", "unit", "");

	(void)state;
	assert_int_equal(source_copy(&source, &nowhere.source), 0);
	assert_int_equal(destination_list_add(&list, &nowhere), 0);
	assert_int_equal(destination_list_normalize(&list), 0);
	assert_int_equal(config_make(&list, &ISTIO_OPTIONS_DEFAULT, store, &config), 0);
	assert_int_equal(config.n_documents, 1);
	assert_non_null(strstr(config.documents[0].yaml, "number: 80"));
	assert_non_null(strstr(config.documents[0].yaml, "number: 443"));
	destination_list_done(&list);
}

/* Wildcards */

static void test_wildcards_beside_a_cluster(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store =
		cluster_of(ENTRY_OF("bank", "theirs", "", "hosts: [c.example.com], " PORT_TLS));
	struct istio_options fold = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0}, later = {0}, diff = {0};

	(void)state;
	fold.wildcard = 3;
	/* Another's host counts for nobody's fold. */
	config = config_of(SEEN("shop a.example.com:443/tls", "shop b.example.com:443/tls",
				"shop c.example.com:8443/tls"),
			   &fold, store);
	assert_int_equal(config.n_documents, 2);
	assert_non_null(document(&config, "ServiceEntry", "a-example-com"));
	apply(store, SEEN("shop a.example.com:443/tls"), &ISTIO_OPTIONS_DEFAULT);
	apply(store,
	      SEEN("shop a.example.com:443/tls", "shop b.example.com:443/tls",
		   "shop d.example.com:443/tls"),
	      &fold);
	assert_non_null(registry_find(store, REGISTRY_KIND_SERVICE_ENTRY, "shop",
				      "wildcard-example-com-be281c23"));
	/* It takes a new host's new port, whether folding is asked for or not. */
	later = config_of(SEEN("shop e.example.com:9443/tls"), &ISTIO_OPTIONS_DEFAULT, store);
	assert_int_equal(later.n_documents, 1);
	assert_non_null(strstr(later.documents[0].yaml, "- \"*.example.com\""));
	assert_non_null(strstr(later.documents[0].yaml, "number: 443"));
	/* And a's own object is not needed any more. */
	fold.diff = true;
	diff = config_of(SEEN("shop a.example.com:443/tls"), &fold, store);
	assert_false(diff.differs);
	assert_string_equal(diff.diff,
			    "# ServiceEntry shop/a-example-com-4396b5ad is covered, too, by "
			    "*.example.com; delete it by hand if nothing elsewhere needs it\n");
}

/* What is registered one by one stays like that, until one more needs a wildcard anyway. */
static void test_registered_hosts_do_not_fold(void **state)
{
	const char *const *seen = SEEN("shop a.example.com:443/tls", "shop b.example.com:443/tls");
	_cleanup_(registry_freep) struct registry_store *store = cluster_of("");
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0}, more = {0}, all = {0};

	(void)state;
	apply(store, seen, &options);
	options.wildcard = 2;
	config = config_of(seen, &options, store);
	assert_int_equal(config.n_documents, 0);
	more = config_of(SEEN("shop a.example.com:443/tls", "shop c.example.com:443/tls"), &options,
			 store);
	assert_int_equal(more.n_documents, 1);
	assert_non_null(document(&more, "ServiceEntry", "wildcard-example-com"));
	options.only_unregistered = false;
	all = config_of(seen, &options, store);
	assert_non_null(document(&all, "ServiceEntry", "wildcard-example-com"));
}

/* A diff */

static void test_diff(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		ENTRY_OF("shop", "a-example-com-4396b5ad", OURS,
			 "resolution: DNS, location: MESH_EXTERNAL, exportTo: ['.'], hosts: "
			 "[a.example.com], ports: [{name: tls, number: 443, protocol: TLS}]")
			ENTRY_OF("shop", "old-example-org-01234567", OURS,
				 "hosts: [old.example.org], " PORT_HTTP));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0}, unknown = {0};
	struct destination_list none = {0};

	(void)state;
	options.diff = true;
	config = config_of(SEEN("shop a.example.com:80/http"), &options, store);
	assert_true(config.differs);
	assert_string_equal(config.diff,
			    "--- cluster/ServiceEntry/shop/a-example-com-4396b5ad\n"
			    "+++ generated/ServiceEntry/shop/a-example-com-4396b5ad\n"
			    "@@ -12,6 +12,9 @@\n"
			    "   - \".\"\n"
			    "   location: \"MESH_EXTERNAL\"\n"
			    "   ports:\n"
			    "+  - number: 80\n"
			    "+    name: \"http\"\n"
			    "+    protocol: \"HTTP\"\n"
			    "   - number: 443\n"
			    "     name: \"tls\"\n"
			    "     protocol: \"TLS\"\n"
			    "# ServiceEntry shop/old-example-org-01234567 is not called for by "
			    "anything here; its host is old.example.org; delete it by hand if "
			    "nothing elsewhere needs it\n");
	assert_int_equal(config_make(&none, &options, NULL, &unknown), -ENODATA);
}

/* Who was looked for can be missed, nobody else. */
static void test_retired_by_selection(void **state)
{
	static const char cluster[] =
		ENTRY_OF("shop", "x-01234567", OURS, "hosts: [x.example.org], " PORT_TLS)
			ENTRY_OF("bank", "y-01234567", OURS, "hosts: [y.example.org], " PORT_TLS)
				ENTRY_OF("bank", "z-01234567", OURS,
					 "hosts: [z.example.org], exportTo: ['*'], " PORT_TLS);
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(cluster);
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	const char *const *seen = SEEN("shop z.example.org:443/tls");
	_cleanup_(config_done) struct config all = {0}, bank = {0}, host = {0}, workload = {0};

	(void)state;
	options.diff = true;
	all = config_of(seen, &options, store);
	assert_non_null(strstr(all.diff, "bank/y-"));
	assert_non_null(strstr(all.diff, "shop/x-"));
	assert_null(strstr(all.diff, "bank/z-"));
	options.selection.ns = "bank";
	bank = config_of(seen, &options, store);
	assert_non_null(strstr(bank.diff, "bank/y-"));
	assert_null(strstr(bank.diff, "shop/x-"));
	options.selection.host = "X*";
	options.selection.ns = NULL;
	host = config_of(seen, &options, store);
	assert_null(strstr(host.diff, "bank/y-"));
	assert_non_null(strstr(host.diff, "shop/x-"));
	options.selection = ISTIO_OPTIONS_DEFAULT.selection;
	options.selection.workload = "cart";
	workload = config_of(seen, &options, store);
	assert_string_equal(workload.diff, "");
}

/* Lockdown */

#define SIDECAR_OF(ns, spec)                                                                 \
	"---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, " \
	"namespace: " ns "}\nspec: {" spec "}\n"

static void test_lockdown(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store =
		cluster_of(ENTRY_OF("bank", "theirs", "", "hosts: [a.example.com], " PORT_TLS));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	options.lockdown = true;
	apply(store, SEEN("shop a.example.com:443/tls"), &options);
	{
		_cleanup_(config_done) struct config config =
			config_of(SEEN("shop a.example.com:443/tls", "shop b.example.com:443/tls"),
				  &options, store);

		assert_true(config.refused);
		assert_int_equal(config.n_documents, 0);
		assert_note(&config, "not registered: namespace shop, workload cart: b.example.com "
				     "on port 443 (tls, blocked)");
	}
}

static void test_lockdown_beside_sidecars(void **state)
{
	static const char entry[] = ENTRY_OF("bank", "theirs", "",
					     "hosts: [a.example.com], " PORT_TLS);
	static const struct {
		const char *sidecar, *note;
	} cases[] = {
		{SIDECAR_OF("shop", "egress: [{hosts: ['*/*']}]"),
		 "namespace shop: Sidecar shop/default is there already, and a second one would "
		 "not count; set its outboundTrafficPolicy.mode to REGISTRY_ONLY"},
		{SIDECAR_OF("istio-system", "egress: [{hosts: ['*/*']}]"),
		 "namespace shop: Sidecar istio-system/default counts there, with its egress "
		 "hosts, "
		 "and one of the namespace's own would take its place; give the namespace a copy "
		 "with outboundTrafficPolicy.mode REGISTRY_ONLY"},
	};
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	options.lockdown = true;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(registry_freep) struct registry_store *store =
			cluster_of(cases[i].sidecar);
		_cleanup_(config_done) struct config config = {0};

		cluster_add(store, entry);
		config = config_of(SEEN("shop a.example.com:443/tls"), &options, store);
		assert_true(config.refused);
		assert_note(&config, cases[i].note);
	}
}

/* As the agent's answer */

static void test_json_round_trip(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store =
		cluster_of(ENTRY_OF("bank", "theirs", "", "hosts: [b.example.com], " PORT_TLS));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	_cleanup_(config_done) struct config config = {0}, again = {0};
	_cleanup_free_ char *json = NULL, *yaml = NULL, *yaml_again = NULL;
	const char *why = NULL;
	size_t size = 0;

	(void)state;
	options.visibility = VISIBILITY_L7;
	options.diff = true;
	config = config_of(SEEN("shop a.example.com:443/tls", "shop b.example.com:80/http"),
			   &options, store);
	assert_int_equal(config_to_json(&config, &json, &size), 0);
	assert_int_equal(config_from_json(json, size, &again, &why), 0);
	assert_int_equal(again.n_documents, 2);
	assert_int_equal(again.n_notes, config.n_notes);
	for (size_t i = 0; i < config.n_notes; i++)
		assert_string_equal(again.notes[i], config.notes[i]);
	assert_string_equal(again.diff, config.diff);
	assert_true(again.differs && !again.refused);
	assert_int_equal(config_to_yaml(&config, &yaml, &size), 0);
	assert_int_equal(config_to_yaml(&again, &yaml_again, &size), 0);
	assert_string_equal(yaml_again, yaml);
}

/* An answer may come from anybody. */
static void test_json_refuses(void **state)
{
#define HEAD "{\"apiVersion\": \"egress-agent/v1\", \"kind\": \"ConfigPlan\", "
#define DOC(kind, ns, name, yaml)                                            \
	HEAD "\"documents\": [{\"kind\": \"" kind "\", \"namespace\": \"" ns \
	     "\", \"name\": \"" name "\", \"yaml\": \"" yaml                 \
	     "\"}], \"notes\": [], \"diff\": \"\"}"
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		HEAD "\"documents\": [], \"notes\": []}",
		HEAD "\"documents\": {}, \"notes\": [], \"diff\": \"\"}",
		HEAD "\"documents\": [], \"notes\": [1], \"diff\": \"\"}",
		HEAD "\"documents\": [], \"notes\": \"\", \"diff\": \"\"}",
		HEAD "\"documents\": [], \"notes\": [\"\\u001b[31m\"], \"diff\": \"\"}",
		HEAD "\"documents\": [], \"notes\": [], \"diff\": 3}",
		HEAD "\"documents\": [], \"notes\": [], \"diff\": \"\"",
		DOC("Pod", "shop", "a", "x\\n"),
		DOC("ServiceEntry", "../shop", "a", "x\\n"),
		DOC("ServiceEntry", "shop", "../../etc/passwd", "x\\n"),
		DOC("ServiceEntry", "shop", "", "x\\n"),
		DOC("ServiceEntry", "shop", "a", "\\u0007\\n"),
		DOC("ServiceEntry", "shop", "a", "\xc3\xa9\\n"),
		"{\"apiVersion\": \"egress-agent/v2\", \"kind\": \"ConfigPlan\", \"documents\": "
		"[], "
		"\"notes\": [], \"diff\": \"\"}",
	};
	static const char good[] = DOC("ServiceEntry", "", "a", "x\\n");
	_cleanup_(config_done) struct config config = {0};
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (config_from_json(bad[i], strlen(bad[i]), &config, &why) != -EINVAL)
			fail_msg("takes %s", bad[i]);
		assert_non_null(why);
	}
	assert_int_equal(config_from_json(good, strlen(good), &config, &why), 0);
	assert_string_equal(config.documents[0].yaml, "x\n");
}

/* Every allocation fails once: -ENOMEM, nothing leaks (the sanitizer looks), the output is untouched. */
static void check_out_of_memory(const char *const *seen, const struct istio_options *options,
				const struct registry_store *store)
{
	struct destination_list list = see(seen);
	struct config config = {.n_notes = 77};
	unsigned long n = 0;
	int r;

	do {
		alloc_fail_at(++n);
		r = config_make(&list, options, store, &config);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
		if (r)
			assert_int_equal(config.n_notes, 77);
	} while (r);
	alloc_fail_at(0);
	assert_true(n > 20);
	config_done(&config);
	destination_list_done(&list);
}

static void test_out_of_memory(void **state)
{
	const char *const *seen = SEEN("shop a.example.com:443/tls", "shop a.example.com:80/http",
				       "shop b.example.com:443/tls", "shop b.example.com:80/http",
				       "shop c.example.com:8443/tls", "bank a.example.com:443/tls",
				       "shop d.example.org:443/tls", "shop e.example.org:443/tls",
				       "bank p.example.net:80/http", "shop p.example.net:443/tls");
	_cleanup_(registry_freep) struct registry_store *store = cluster_of(
		ENTRY_OF("bank", "theirs", "", "hosts: [p.example.net], " PORT_TLS)
			RULE_OF("istio-system", "tls",
				"host: '*.example.org', trafficPolicy: {tls: {mode: SIMPLE}}")
				SIDECAR_OF("bank", "egress: [{hosts: ['istio-system/*']}]"));
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;

	(void)state;
	options.visibility = VISIBILITY_L7;
	options.credential = "cert";
	options.timeout_ms = 1000;
	options.diff = true;
	check_out_of_memory(seen, &options, store);
	options.diff = false;
	apply(store, seen, &options);
	options.diff = true;
	options.wildcard = 2;
	check_out_of_memory(SEEN("shop a.example.com:9000/tls", "shop x.example.com:443/tls",
				 "shop y.example.com:443/tls"),
			    &options, store);
	options = ISTIO_OPTIONS_DEFAULT;
	options.mesh_scope = true;
	options.only_unregistered = false;
	check_out_of_memory(seen, &options, store);
	options = ISTIO_OPTIONS_DEFAULT;
	options.lockdown = true;
	check_out_of_memory(seen, &options, store);
}

static void test_json_out_of_memory(void **state)
{
	_cleanup_(config_done) struct config config =
		config_of(SEEN("shop a.example.com:443/tls", "shop b.example.com:7/tcp"),
			  &ISTIO_OPTIONS_DEFAULT, NULL);
	struct config again = {.n_notes = 77};
	_cleanup_free_ char *json = NULL, *text = NULL;
	const char *why = NULL;
	unsigned long n = 0;
	size_t size, ignored;
	int r;

	(void)state;
	assert_int_equal(config_to_json(&config, &json, &size), 0);
	do {
		alloc_fail_at(++n);
		r = config_from_json(json, size, &again, &why);
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
	} while (r);
	assert_true(n > 10);
	config_done(&again);
	n = 0;
	do {
		alloc_fail_at(++n);
		free(TAKE_PTR(text));
		r = config_to_json(&config, &text, &ignored);
		if (!r) {
			free(TAKE_PTR(text));
			r = config_to_yaml(&config, &text, &ignored);
		}
		assert_int_equal(r, alloc_failed() ? -ENOMEM : 0);
	} while (r);
	alloc_fail_at(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owners_are_in_the_way),
		cmocka_unit_test(test_private_objects_are_not_in_the_way),
		cmocka_unit_test(test_covered_is_counted),
		cmocka_unit_test(test_catch_all_covers_nothing),
		cmocka_unit_test(test_sidecars_that_do_not_import),
		cmocka_unit_test(test_rules_of_others),
		cmocka_unit_test(test_routes_of_others),
		cmocka_unit_test(test_update_keeps_ports),
		cmocka_unit_test(test_origination_stays),
		cmocka_unit_test(test_no_origination_over_tls),
		cmocka_unit_test(test_l7_on_top_of_l4),
		cmocka_unit_test(test_route_goes_with_the_ports),
		cmocka_unit_test(test_exported_stays_exported),
		cmocka_unit_test(test_changed_by_hand),
		cmocka_unit_test(test_no_namespace_is_default),
		cmocka_unit_test(test_wildcards_beside_a_cluster),
		cmocka_unit_test(test_registered_hosts_do_not_fold),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_retired_by_selection),
		cmocka_unit_test(test_lockdown),
		cmocka_unit_test(test_lockdown_beside_sidecars),
		cmocka_unit_test(test_json_round_trip),
		cmocka_unit_test(test_json_refuses),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_json_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
