// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/api.c: the routes as http.c calls them, over a made-up observation. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <yaml.h>
#include <zlib.h>

#include "alloc.h"
#include "api.h"
#include "config.h"
#include "health.h"
#include "observation.h"
#include "util.h"

/* ---- what is observed ---- */

struct world {
	const char *not_ready, *not_synced;
	int error;                             /* of the next observations */
	bool registered;                       /* every host is, from the next observation on */
	const struct registry_store *registry; /* NULL: not known */
	uint64_t now_ms;
	unsigned int observed;
	struct health health;
	struct api *api;
	const char *accept[3], *encoding[3]; /* header lines of the next requests */
};

/* What the requests of one test send; one test at a time. */
static struct world *asking;

static const char *world_not_ready(void *data)
{
	return ((struct world *)data)->not_ready;
}

static const char *world_not_synced(void *data)
{
	return ((struct world *)data)->not_synced;
}

static uint64_t world_clock(void *data)
{
	return ((struct world *)data)->now_ms;
}

static const struct registry_store *world_registry(void *data)
{
	return ((struct world *)data)->registry;
}

static const struct agent_health *world_health(void *data)
{
	struct world *w = data;
	const struct health_input in = {
		.version = "1.2.3", .start_unix_ms = 1700000000123, .snapshots = w->observed};

	health_fill(&in, &w->health);
	return &w->health.view;
}

static int add_row(struct destination_list *list, const char *ns, const char *workload,
		   const char *host, enum protocol protocol, bool internal)
{
	const struct source source = {.ns = (char *)ns,
				      .workload = (char *)workload,
				      .workload_kind = (char *)"",
				      .canonical_service = (char *)"",
				      .canonical_revision = (char *)"",
				      .app = (char *)"",
				      .version = (char *)""};
	struct destination d = {.protocol = protocol,
				.name_source = protocol == PROTOCOL_TLS ? NAME_SOURCE_SNI
									: NAME_SOURCE_HTTP,
				.port = protocol == PROTOCOL_TLS ? 443 : 80,
				.internal = internal,
				.opened = 3,
				.closed = 3,
				.sent = 100,
				.tls_versions = protocol == PROTOCOL_TLS ? 1u << TLS_13 : 0,
				.first_ms = 1700000000000,
				.last_ms = 1700000001000};
	int r = source_copy(&source, &d.source);

	d.host = r == 0 ? strdup(host) : NULL;
	if (r == 0 && !d.host)
		r = -ENOMEM;
	if (r == 0 && protocol == PROTOCOL_HTTP) {
		const struct request_count add = {
			.code = 200, .method = EA_METHOD_GET, .count = 3, .first_byte_ns = 3000000};

		d.requests = 3;
		r = destination_add_requests(&d, &add);
	}
	if (r == 0)
		r = destination_list_add(list, &d);
	if (r < 0)
		destination_done(&d);
	return r;
}

static int world_fill(struct destination_list *list)
{
	int r = add_row(list, "shop", "cart", "api.example.com", PROTOCOL_TLS, false);

	if (r == 0)
		r = add_row(list, "shop", "web", "httpbin.org", PROTOCOL_HTTP, false);
	if (r == 0)
		r = add_row(list, "bank", "web", "httpbin.org", PROTOCOL_TLS, false);
	if (r == 0)
		r = add_row(list, "bank", "web", "localhost", PROTOCOL_HTTP, true);
	if (r == 0)
		r = add_row(list, "bank", "web", "10.1.2.3", PROTOCOL_TLS, false);
	if (r == 0)
		r = destination_list_normalize(list);
	return r;
}

static int world_list(void *data, struct destination_list *ret)
{
	struct destination_list list = {.generated_ms = 1700000002000, .since_ms = 1700000000000};
	struct world *w = data;
	int r = w->error;

	w->observed++;
	if (r == 0)
		r = world_fill(&list);
	if (r < 0) {
		destination_list_done(&list);
		return r;
	}
	for (size_t i = 0; i < list.n && w->registered; i++)
		list.items[i].registry = REGISTRY_REGISTERED;
	destination_list_judge(&list);
	*ret = list;
	return 0;
}

static int world_make(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	const struct api_observer observer = {.not_ready = world_not_ready,
					      .not_synced = world_not_synced,
					      .list = world_list,
					      .health = world_health,
					      .clock_ms = world_clock,
					      .registry = world_registry,
					      .data = w};

	w->now_ms = 5000;
	*state = w;
	return api_new(&observer, &w->api);
}

static int world_remove(void **state)
{
	struct world *w = *state;

	api_free(w->api);
	free(w);
	return 0;
}

/* ---- requests ---- */

/* Query parameters as name, value, ..., NULL. */
static const char *fake_param(const struct http_request *req, const char *name)
{
	const char *const *query = req->priv;

	for (size_t i = 0; query && query[i]; i += 2) {
		if (strcmp(query[i], name) == 0)
			return query[i + 1];
	}
	return NULL;
}

static const char *fake_unknown_param(const struct http_request *req, const char *const *known)
{
	const char *const *query = req->priv;

	for (size_t i = 0; query && query[i]; i += 2) {
		size_t k = 0;

		while (known[k] && strcmp(known[k], query[i]) != 0)
			k++;
		if (!known[k])
			return query[i];
	}
	return NULL;
}

static const char *fake_repeated_param(const struct http_request *req)
{
	const char *const *query = req->priv;

	for (size_t i = 0; query && query[i]; i += 2) {
		for (size_t k = 0; k < i; k += 2) {
			if (strcmp(query[i], query[k]) == 0)
				return query[i];
		}
	}
	return NULL;
}

static const char *fake_header(const struct http_request *req, const char *name)
{
	(void)req;
	(void)name;
	return NULL;
}

static void fake_each_header(const struct http_request *req, const char *name,
			     void (*each)(void *data, const char *value), void *data)
{
	const char *const *lines = strcmp(name, "Accept") == 0 ? asking->accept : asking->encoding;

	(void)req;
	for (size_t i = 0; lines[i]; i++)
		each(data, lines[i]);
}

static int call(struct world *w, const char *path, const char *const *query, struct http_reply *ret)
{
	struct http_request req = {.path = path,
				   .param = fake_param,
				   .unknown_param = fake_unknown_param,
				   .repeated_param = fake_repeated_param,
				   .header = fake_header,
				   .each_header = fake_each_header,
				   .priv = (void *)(uintptr_t)query};
	const struct http_route *routes;
	size_t n;

	asking = w;
	*ret = (struct http_reply){0};
	routes = api_routes(&n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(routes[i].path, path) == 0)
			return routes[i].handle(&req, w->api, ret);
	}
	fail_msg("no route %s", path);
	return 0;
}

#define QUERY(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A stream becomes a body. */
static void drain(struct http_reply *reply)
{
	size_t n = 1;

	assert_null(reply->body);
	while (n) {
		char *grown = realloc(reply->body, reply->size + 1000);

		assert_non_null(grown);
		reply->body = grown;
		assert_int_equal(
			reply->stream.read(reply->stream.data, grown + reply->size, 1000, &n), 0);
		reply->size += n;
	}
	reply->stream.free(reply->stream.data);
	reply->stream = (struct http_stream){0};
}

static void forget(struct http_reply *reply)
{
	free(reply->body);
	if (reply->stream.free)
		reply->stream.free(reply->stream.data);
}

/* The body of an answer that must have this status and type, as a string to be freed. */
static char *get(struct world *w, const char *path, const char *const *query, unsigned int status,
		 const char *type)
{
	struct http_reply reply;
	char *text;

	assert_int_equal(call(w, path, query, &reply), 0);
	assert_int_equal(reply.status ? reply.status : 200, status);
	assert_string_equal(reply.content_type, type);
	assert_null(reply.encoding);
	if (reply.stream.read)
		drain(&reply);
	text = malloc(reply.size + 1);
	memcpy(text, reply.body, reply.size);
	text[reply.size] = '\0';
	assert_int_equal(strlen(text), reply.size);
	free(reply.body);
	return text;
}

static void assert_error(struct world *w, const char *path, const char *const *query,
			 unsigned int status, const char *message)
{
	_cleanup_free_ char *text = get(w, path, query, status, "application/json");
	cJSON *json = cJSON_Parse(text);
	char *got;

	assert_non_null(json);
	got = strdup(cJSON_GetStringValue(cJSON_GetObjectItem(json, "error")));
	cJSON_Delete(json);
	assert_string_equal(got, message);
	free(got);
}

/* ---- tests ---- */

static void health_pages(void **state)
{
	_cleanup_free_ char *alive = get(*state, "/healthz", NULL, 200,
					 "text/plain; charset=utf-8");
	_cleanup_free_ char *ready = get(*state, "/readyz", NULL, 200, "text/plain; charset=utf-8");
	_cleanup_free_ char *index = get(*state, "/", NULL, 200, "text/plain; charset=utf-8");
	const struct http_route *routes;
	size_t n;

	assert_string_equal(alive, "ok\n");
	assert_string_equal(ready, "ok\n");
	routes = api_routes(&n);
	for (size_t i = 0; i < n; i++)
		assert_non_null(strstr(index, routes[i].path));
}

static void before_it_is_ready(void **state)
{
	struct world *w = *state;
	char *alive;

	w->not_ready = "still \"loading\"";
	assert_error(w, "/readyz", NULL, 503, "not ready: still \"loading\"");
	assert_error(w, "/metrics", NULL, 503, "not ready: still \"loading\"");
	assert_error(w, "/api/v1/destinations", NULL, 503, "not ready: still \"loading\"");
	assert_error(w, "/api/v1/config", NULL, 503, "not ready: still \"loading\"");
	alive = get(w, "/healthz", NULL, 200, "text/plain; charset=utf-8");
	free(alive);
	assert_int_equal(w->observed, 0);
}

/* What is only incomplete is answered, but for plans; whoever waits for all of it asks /readyz. */
static void before_it_is_synced(void **state)
{
	struct world *w = *state;

	w->not_synced = "no list yet";
	assert_error(w, "/readyz", NULL, 503, "not ready: no list yet");
	assert_error(w, "/api/v1/config", NULL, 503, "not ready: no list yet");
	free(get(w, "/api/v1/destinations", NULL, 200, "application/json"));
}

/* The hosts of an answer, joined, in the order of the answer. */
static void assert_hosts(struct world *w, const char *const *query, const char *want)
{
	_cleanup_free_ char *text = get(w, "/api/v1/destinations", query, 200, "application/json");
	cJSON *json = cJSON_Parse(text), *row;
	char got[512] = "";

	assert_non_null(json);
	cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "destinations")) {
		strcat(got, got[0] ? " " : "");
		strcat(got, cJSON_GetStringValue(cJSON_GetObjectItem(row, "host")));
	}
	cJSON_Delete(json);
	assert_string_equal(got, want);
}

static void destinations_select(void **state)
{
	struct world *w = *state;

	assert_hosts(w, NULL, "10.1.2.3 httpbin.org api.example.com httpbin.org");
	assert_hosts(w, QUERY("namespace", "shop"), "api.example.com httpbin.org");
	assert_hosts(w, QUERY("namespace", ""), "");
	assert_hosts(w, QUERY("workload", "cart"), "api.example.com");
	assert_hosts(w, QUERY("host", "*.EXAMPLE.com"), "api.example.com");
	assert_hosts(w, QUERY("visibility", "l7"), "httpbin.org");
	assert_hosts(w, QUERY("visibility", "l4", "namespace", "bank"), "10.1.2.3 httpbin.org");
	assert_hosts(w, QUERY("registry", "unknown", "workload", "cart"), "api.example.com");
	assert_hosts(w, QUERY("registry", "blocked"), "");
	assert_hosts(w, QUERY("scope", "internal"), "localhost");
	assert_hosts(w, QUERY("scope", "all", "namespace", "bank"),
		     "10.1.2.3 httpbin.org localhost");
	/* The order stays that of the contract. */
	assert_hosts(w, QUERY("sort", "bytes", "namespace", "shop"), "api.example.com httpbin.org");
	assert_hosts(w, QUERY("sort", "last-seen", "namespace", "shop"),
		     "api.example.com httpbin.org");
	/* Nothing was lost from the list that is kept. */
	assert_hosts(w, NULL, "10.1.2.3 httpbin.org api.example.com httpbin.org");
	assert_int_equal(w->observed, 1);
}

static void destinations_wrong(void **state)
{
	static const char path[] = "/api/v1/destinations";
	struct world *w = *state;

	assert_error(w, path, QUERY("workload", "x", "nmespace", "y"), 400,
		     "unknown parameter 'nmespace'");
	assert_error(w, path, QUERY("visibility", "L7"), 400,
		     "'L7' is not a value of parameter 'visibility'");
	assert_error(w, path, QUERY("registry", ""), 400,
		     "'' is not a value of parameter 'registry'");
	assert_error(w, path, QUERY("scope", "mesh"), 400,
		     "'mesh' is not a value of parameter 'scope'");
	assert_error(w, path, QUERY("sort", "zzz"), 400,
		     "'zzz' is not a value of parameter 'sort'");
	assert_error(w, path, QUERY("host", "a", "scope", "all", "host", "a"), 400,
		     "parameter 'host' stands there twice");
	assert_error(w, path, QUERY("scope", "a\"\n\xff"), 400,
		     "'a\"\\x0a\\xff' is not a value of parameter 'scope'");
	assert_int_equal(w->observed, 0);
}

static void metrics_page(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *text = get(w, "/metrics", QUERY("any", "thing", "any", "more"), 200,
					"text/plain; version=0.0.4; charset=utf-8");

	assert_non_null(strstr(text, "egress_tcp_connections_opened_total{"));
	assert_non_null(strstr(text, "\negress_agent_build_info{version=\"1.2.3\"} 1\n"));
	assert_non_null(strstr(text, "\negress_agent_flows_total{outcome=\"tls_named\"} 0\n"));
	/* The numbers are those after this very observation. */
	assert_non_null(strstr(text, "\negress_agent_snapshots_total 1\n"));
	assert_null(strstr(text, "localhost"));
}

static void observations_are_reused(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 10; i++)
		assert_hosts(w, QUERY("workload", "cart"), "api.example.com");
	assert_int_equal(w->observed, 1);
	w->now_ms += OBSERVATION_MIN_MS - 1;
	assert_hosts(w, QUERY("workload", "cart"), "api.example.com");
	assert_int_equal(w->observed, 1);
	w->now_ms += 1;
	free(get(w, "/metrics", NULL, 200, "text/plain; version=0.0.4; charset=utf-8"));
	assert_int_equal(w->observed, 2);
	free(get(w, "/api/v1/config", NULL, 200, "application/yaml"));
	assert_int_equal(w->observed, 2);
}

/* Text for whoever says nothing, OpenMetrics and gzip for who asks; caches are told. */
static void metrics_negotiated(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *open = NULL, *plain = NULL;
	struct http_reply reply;
	char *text = calloc(1, 1 << 20);
	z_stream z = {0};

	w->accept[0] = "text/html";
	w->accept[1] = "application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1";
	open = get(w, "/metrics", NULL, 200,
		   "application/openmetrics-text; version=1.0.0; charset=utf-8");
	assert_string_equal(open + strlen(open) - 6, "# EOF\n");
	assert_non_null(strstr(open, "\negress_agent_snapshots_created 1700000000.123\n"));
	assert_non_null(
		strstr(open, "\negress_agent_flows_created{outcome=\"tcp\"} 1700000000.123\n"));
	w->accept[0] = NULL;
	plain = get(w, "/metrics", NULL, 200, "text/plain; version=0.0.4; charset=utf-8");
	assert_null(strstr(plain, "_created"));
	assert_null(strstr(plain, "# EOF"));

	w->encoding[0] = "br";
	w->encoding[1] = "gzip;q=0.5";
	assert_int_equal(call(w, "/metrics", NULL, &reply), 0);
	assert_string_equal(reply.encoding, "gzip");
	assert_string_equal(reply.vary, "Accept, Accept-Encoding");
	drain(&reply);
	assert_non_null(text);
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_in = (Bytef *)reply.body;
	z.avail_in = (uInt)reply.size;
	z.next_out = (Bytef *)text;
	z.avail_out = 1 << 20;
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	inflateEnd(&z);
	assert_string_equal(text, plain);
	free(reply.body);
	free(text);
}

/* Requests close together share a list; so many older ones may still be read, and no more. */
static void lists_are_bounded(void **state)
{
	struct http_reply held[OBSERVATIONS_MAX], twin, more;
	struct world *w = *state;

	for (size_t i = 0; i < OBSERVATIONS_MAX; i++) {
		w->now_ms += OBSERVATION_MIN_MS;
		assert_int_equal(call(w, "/metrics", NULL, &held[i]), 0);
		assert_int_equal(call(w, "/metrics", NULL, &twin), 0);
		forget(&twin);
	}
	assert_int_equal(w->observed, OBSERVATIONS_MAX);
	w->now_ms += OBSERVATION_MIN_MS;
	assert_int_equal(call(w, "/metrics", NULL, &more), -EBUSY);
	assert_int_equal(call(w, "/api/v1/destinations", NULL, &more), -EBUSY);
	assert_int_equal(w->observed, OBSERVATIONS_MAX);
	drain(&held[1]);
	assert_non_null(strstr(held[1].body, "api.example.com"));
	assert_int_equal(call(w, "/metrics", NULL, &more), 0);
	assert_int_equal(w->observed, OBSERVATIONS_MAX + 1);
	/* What is held is not touched by time. */
	w->now_ms += OBSERVATION_MIN_MS;
	api_tick(w->api);
	drain(&more);
	assert_non_null(strstr(more.body, "api.example.com"));
	forget(&more);
	forget(&held[0]);
	forget(&held[1]);
	forget(&held[2]);
	api_tick(w->api);
	assert_hosts(w, QUERY("workload", "cart"), "api.example.com");
}

static void failed_observation(void **state)
{
	struct world *w = *state;
	struct http_reply reply;

	w->error = -EIO;
	assert_int_equal(call(w, "/metrics", NULL, &reply), -EIO);
	assert_int_equal(call(w, "/api/v1/destinations", NULL, &reply), -EIO);
	assert_int_equal(call(w, "/api/v1/config", NULL, &reply), -EIO);
	w->error = 0;
	assert_hosts(w, QUERY("workload", "cart"), "api.example.com");
}

/* Documents in a YAML text; fails the test if it is not YAML. */
static unsigned int count_documents(const char *text)
{
	unsigned int documents = 0;
	yaml_event_type_t type;
	yaml_parser_t parser;
	yaml_event_t event;

	assert_true(yaml_parser_initialize(&parser));
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, strlen(text));
	do {
		if (!yaml_parser_parse(&parser, &event))
			fail_msg("not YAML (%s): %s", parser.problem, text);
		type = event.type;
		documents += type == YAML_DOCUMENT_START_EVENT;
		yaml_event_delete(&event);
	} while (type != YAML_STREAM_END_EVENT);
	yaml_parser_delete(&parser);
	return documents;
}

static char *get_config(struct world *w, const char *const *query, unsigned int documents)
{
	char *text = get(w, "/api/v1/config", query, 200, "application/yaml");

	assert_int_equal(count_documents(text), documents);
	return text;
}

static void config_page(void **state)
{
	struct world *w = *state;
	char *text = get_config(w, NULL, 3);

	/* The IP address cannot be registered, one is internal, and the text says that something is missing. */
	assert_memory_equal(text, "# 2 notes on destinations left out", 34);
	assert_null(strstr(text, "10.1.2.3"));
	assert_null(strstr(text, "localhost"));
	assert_null(strstr(text, "DestinationRule"));
	free(text);

	text = get_config(w, QUERY("visibility", "l7", "namespace", "shop"), 3);
	assert_non_null(strstr(text, "DestinationRule"));
	assert_non_null(strstr(text, "networking.istio.io/v1\""));
	free(text);
	text = get_config(w, QUERY("api-version", "v1beta1", "workload", "cart"), 1);
	assert_non_null(strstr(text, "networking.istio.io/v1beta1"));
	free(text);
	text = get_config(w, QUERY("scope", "mesh", "root-namespace", "mesh-root", "host", "http*"),
			  1);
	assert_non_null(strstr(text, "mesh-root"));
	free(text);
	text = get_config(w, QUERY("workload", "cart", "min-connections", "3", "all", "true"), 1);
	free(text);
	text = get_config(w, QUERY("workload", "cart", "min-connections", "4", "all", "false"), 0);
	free(text);
	text = get_config(w, QUERY("workload", "cart", "registry", "unknown"), 1);
	free(text);
	text = get_config(w, QUERY("workload", "cart", "registry", "blocked"), 0);
	free(text);
	text = get_config(w, QUERY("workload", "cart"), 1);
	assert_int_not_equal(text[0], '#');
	free(text);
	text = get_config(w, QUERY("host", "no.such.host"), 0);
	assert_string_equal(text, "");
	free(text);
}

static void config_of_what_is_registered(void **state)
{
	struct world *w = *state;

	w->registered = true;
	free(get_config(w, QUERY("workload", "cart"), 0));
	free(get_config(w, QUERY("workload", "cart", "all", "true"), 1));
	free(get_config(w, QUERY("workload", "cart", "all", "false"), 0));
	free(get_config(w, QUERY("workload", "cart", "only-unregistered", "false"), 1));
	free(get_config(w, QUERY("workload", "cart", "only-unregistered", "true"), 0));
	free(get_config(w, QUERY("workload", "cart", "all", "true", "only-unregistered", "false"),
			1));
	free(get_config(w, QUERY("workload", "cart", "all", "true", "registry", "registered"), 1));
}

/* The same question, answered for a program. */
static void config_as_json(void **state)
{
	_cleanup_free_ char *yaml = NULL, *json = NULL, *plain = NULL;
	_cleanup_(config_done) struct config config = {0};
	struct world *w = *state;
	const char *why = NULL;
	size_t size;

	json = get(w, "/api/v1/config", QUERY("format", "json", "workload", "web"), 200,
		   "application/json");
	assert_int_equal(config_from_json(json, strlen(json), &config, &why), 0);
	assert_int_equal(config.n_documents, 2);
	assert_int_equal(config.n_notes, 2);
	assert_string_equal(config.diff, "");
	assert_false(config.differs || config.refused);
	/* Without the comment on the notes, it is the same text. */
	assert_int_equal(config_to_yaml(&config, &yaml, &size), 0);
	plain = get_config(w, QUERY("format", "yaml", "workload", "web"), 2);
	assert_string_equal(strchr(plain, '\n') + 1, yaml);
}

static void config_beside_a_cluster(void **state)
{
	_cleanup_(registry_freep) struct registry_store *store = NULL;
	_cleanup_free_ char *diff = NULL, *json = NULL;
	struct world *w = *state;
	cJSON *entry = cJSON_Parse(
		"{\"apiVersion\": \"networking.istio.io/v1\", \"kind\": \"ServiceEntry\", "
		"\"metadata\": "
		"{\"name\": \"x\", \"namespace\": \"bank\"}, \"spec\": {\"hosts\": "
		"[\"httpbin.org\"], "
		"\"ports\": [{\"number\": 443, \"name\": \"tls\", \"protocol\": \"TLS\"}, "
		"{\"number\": "
		"80, \"name\": \"http\", \"protocol\": \"HTTP\"}], \"resolution\": \"DNS\"}}");
	const char *why = NULL;

	assert_error(w, "/api/v1/config", QUERY("diff", "true"), 409,
		     "diff: what is in the cluster is not known to this agent; start it with "
		     "--registry");
	assert_int_equal(registry_new(&REGISTRY_OPTIONS_DEFAULT, &store), 0);
	assert_int_equal(registry_put(store, entry, &why), 0);
	cJSON_Delete(entry);
	w->registry = store;
	free(get_config(w, NULL, 1));
	diff = get(w, "/api/v1/config", QUERY("diff", "true"), 200, "text/plain; charset=utf-8");
	assert_memory_equal(diff, "--- /dev/null\n+++ generated/ServiceEntry/shop/api-example-com-",
			    62);
	json = get(w, "/api/v1/config", QUERY("diff", "true", "format", "json"), 200,
		   "application/json");
	assert_non_null(strstr(json, "\"differs\": true"));
	assert_error(w, "/api/v1/config", QUERY("lockdown", "true"), 409,
		     "refused: not everything is registered, or a Sidecar is in the way; run "
		     "egress-agent generate to see what");
	free(TAKE_PTR(json));
	json = get(w, "/api/v1/config", QUERY("lockdown", "true", "format", "json"), 200,
		   "application/json");
	assert_non_null(strstr(json, "\"refused\": true"));
}

static void config_wrong(void **state)
{
	static const char *const wrong[][2] = {
		{"visibility", "l5"},
		{"api-version", "v2"},
		{"scope", "external"},
		{"root-namespace", ""},
		{"root-namespace", "A"},
		{"root-namespace", "-a"},
		{"root-namespace", "a b"},
		{"root-namespace", "a."},
		{"min-connections", "-1"},
		{"min-connections", ""},
		{"min-connections", "1x"},
		{"min-connections", "4294967296"},
		{"min-connections", "0x10"},
		{"min-connections", "99999999999999999999"},
		{"all", "yes"},
		{"all", ""},
		{"only-unregistered", "1"},
		{"registry", "somewhere"},
		{"format", "xml"},
		{"wildcard", "0"},
		{"timeout", "soon"},
		{"retries", "-1"},
		{"mutual", "No Secret"},
		{"lockdown", "perhaps"},
	};
	struct world *w = *state;
	char message[128];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(message, sizeof(message), "'%s' is not a value of parameter '%s'",
			 wrong[i][1], wrong[i][0]);
		assert_error(w, "/api/v1/config", QUERY(wrong[i][0], wrong[i][1]), 400, message);
	}
	assert_error(w, "/api/v1/config", QUERY("sort", "bytes"), 400, "unknown parameter 'sort'");
	assert_error(w, "/api/v1/config", QUERY("from", "x"), 400, "unknown parameter 'from'");
	assert_error(w, "/api/v1/config", QUERY("mutual", "cert"), 400,
		     "--mutual: needs --visibility l7, which opens the TLS that it is about");
	assert_error(w, "/api/v1/config", QUERY("all", "true", "all", "true"), 400,
		     "parameter 'all' stands there twice");
	assert_error(w, "/api/v1/config", QUERY("all", "true", "only-unregistered", "true"), 400,
		     "'all' contradicts 'only-unregistered'");
	assert_error(w, "/api/v1/config", QUERY("only-unregistered", "false", "all", "false"), 400,
		     "'all' contradicts 'only-unregistered'");
}

/* Every page, with every allocation failing in turn: -ENOMEM, nothing leaked, and it works afterwards. */
static void without_memory(void **state)
{
	static const char *const paths[] = {
		"/", "/metrics", "/healthz", "/readyz", "/api/v1/destinations", "/api/v1/config"};
	struct world *w = *state;

	w->encoding[0] = "gzip";
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		for (unsigned long n = 1;; n++) {
			struct http_reply reply;
			int r;

			w->now_ms += OBSERVATION_MIN_MS;
			alloc_fail_at(n);
			r = call(w, paths[i], NULL, &reply);
			if (!alloc_failed()) {
				assert_int_equal(r, 0);
				forget(&reply);
				break;
			}
			assert_int_equal(r, -ENOMEM);
			assert_null(reply.body);
		}
		alloc_fail_at(0);
	}
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(health_pages),
		WORLD_TEST(before_it_is_ready),
		WORLD_TEST(before_it_is_synced),
		WORLD_TEST(destinations_select),
		WORLD_TEST(destinations_wrong),
		WORLD_TEST(metrics_page),
		WORLD_TEST(observations_are_reused),
		WORLD_TEST(metrics_negotiated),
		WORLD_TEST(lists_are_bounded),
		WORLD_TEST(failed_observation),
		WORLD_TEST(config_page),
		WORLD_TEST(config_of_what_is_registered),
		WORLD_TEST(config_as_json),
		WORLD_TEST(config_beside_a_cluster),
		WORLD_TEST(config_wrong),
		WORLD_TEST(without_memory),
	};

	return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
