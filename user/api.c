// SPDX-License-Identifier: Apache-2.0
/* What the agent answers over HTTP; see api.h. */
#include "api.h"

#include <errno.h>
#include <string.h>

#include "config.h"
#include "json.h"
#include "observation.h"
#include "scrape.h"
#include "util.h"

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"
#define TYPE_YAML "application/yaml"

struct api {
	struct api_observer observer;
	struct observations observations;
};

int api_new(const struct api_observer *observer, struct api **ret)
{
	struct api *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->observer = *observer;
	a->observations = (struct observations){
		.list = observer->list, .clock_ms = observer->clock_ms, .data = observer->data};
	*ret = a;
	return 0;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	observations_done(&api->observations);
	free(api);
}

void api_tick(struct api *api)
{
	observations_tick(&api->observations);
}

static void observation_putp(struct observation **seen)
{
	observation_put(*seen);
}

static int reply_text(struct http_reply *ret, unsigned int status, const char *text)
{
	char *body = strdup(text);

	if (!body)
		return -ENOMEM;
	*ret = (struct http_reply){
		.status = status, .content_type = TYPE_TEXT, .body = body, .size = strlen(body)};
	return 0;
}

/* Wrong parameters */

/* A word that a query parameter takes; the parser's type is that of the field it fills. */
#define PARSE_WORD(req, name, parse, field) \
	((req)->param(req, name) && (parse)((req)->param(req, name), field) < 0 ? (name) : NULL)

static int reply_bad_value(const struct http_request *req, const char *name, struct http_reply *ret)
{
	return http_reply_error(ret, 400, "'%s' is not a value of parameter '%s'",
				req->param(req, name), name);
}

/* 1: the request may go on; else the answer is made (0) or could not be made (-errno). known NULL: any parameter. */
static int api_check(struct api *a, const struct http_request *req, const char *const *known,
		     struct http_reply *ret)
{
	const char *unknown = known ? req->unknown_param(req, known) : NULL;
	const char *repeated = known ? req->repeated_param(req) : NULL;
	const char *why = a->observer.not_ready(a->observer.data);

	if (unknown)
		return http_reply_error(ret, 400, "unknown parameter '%s'", unknown);
	if (repeated)
		return http_reply_error(ret, 400, "parameter '%s' stands there twice", repeated);
	if (why)
		return http_reply_error(ret, 503, "not ready: %s", why);
	return 1;
}

/*
 * The rows that match, borrowed from the list: free items only. The list itself is kept for the next request.
 */
static int list_view(const struct destination_list *list, const struct selection *s,
		     struct destination_list *ret)
{
	struct destination *items = calloc(list->n + 1, sizeof(*items));
	size_t n = 0;

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		if (selection_matches(s, &list->items[i]))
			items[n++] = list->items[i];
	}
	*ret = *list;
	ret->items = items;
	ret->n = n;
	ret->capacity = n;
	return 0;
}

/* Pages */

static int page_index(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	return reply_text(
		ret, 200,
		"egress-agent\n"
		"\n"
		"/metrics              for Prometheus\n"
		"/api/v1/destinations  what is called from this node (JSON)\n"
		"/api/v1/config        Istio objects for it (YAML)\n"
		"/healthz              the process is alive\n"
		"/readyz               the programs are attached, the pod list is there\n");
}

static int page_healthz(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	return reply_text(ret, 200, "ok\n");
}

static int page_readyz(const struct http_request *req, void *data, struct http_reply *ret)
{
	struct api *a = data;
	const char *why = a->observer.not_ready(a->observer.data);

	(void)req;
	if (!why)
		why = a->observer.not_synced(a->observer.data);
	return why ? http_reply_error(ret, 503, "not ready: %s", why)
		   : reply_text(ret, 200, "ok\n");
}

static int page_metrics(const struct http_request *req, void *data, struct http_reply *ret)
{
	struct observation *seen;
	struct api *a = data;
	/* Exporters take any parameter: a scrape configuration may add some. */
	int r = api_check(a, req, NULL, ret);

	if (r <= 0)
		return r;
	r = observation_get(&a->observations, &seen);
	if (r < 0)
		return r;
	return scrape_reply(req, seen, a->observer.health(a->observer.data), ret);
}

static const char *destinations_params(const struct http_request *req, struct selection *s)
{
	enum sort_key sort; /* for people: the order of the JSON is part of its contract */
	const char *bad;

	*s = SELECTION_DEFAULT;
	s->ns = req->param(req, "namespace");
	s->workload = req->param(req, "workload");
	s->host = req->param(req, "host");
	bad = PARSE_WORD(req, "visibility", model_visibility_parse, &s->visibility);
	if (!bad)
		bad = PARSE_WORD(req, "registry", model_registry_parse, &s->registry);
	if (!bad)
		bad = PARSE_WORD(req, "scope", model_scope_parse, &s->scope);
	if (!bad)
		bad = PARSE_WORD(req, "sort", model_sort_parse, &sort);
	return bad;
}

static int page_destinations(const struct http_request *req, void *data, struct http_reply *ret)
{
	static const char *const known[] = {"namespace", "workload", "host", "visibility",
					    "registry",  "scope",    "sort", NULL};
	_cleanup_(observation_putp) struct observation *seen = NULL;
	struct destination_list view = {0};
	struct selection selection;
	struct api *a = data;
	const char *bad;
	int r = api_check(a, req, known, ret);

	if (r <= 0)
		return r;
	bad = destinations_params(req, &selection);
	if (bad)
		return reply_bad_value(req, bad, ret);
	r = observation_get(&a->observations, &seen);
	if (r == 0)
		r = list_view(&seen->list, &selection, &view);
	if (r < 0)
		return r;
	r = json_from_list(&view, &ret->body, &ret->size);
	free(view.items);
	if (r == 0)
		ret->content_type = TYPE_JSON;
	return r;
}

/* Whether the answer is the YAML itself, or a ConfigPlan with all that there is to say. */
static const char *config_format(const struct http_request *req, bool *ret_json)
{
	const char *format = req->param(req, "format");

	*ret_json = format && strcmp(format, "json") == 0;
	return !format || *ret_json || strcmp(format, "yaml") == 0 ? NULL : "format";
}

/* The name of the first parameter with a wrong value, or NULL. */
static const char *config_params(const struct http_request *req, const char *const *known,
				 struct istio_options *o)
{
	for (size_t i = 0; known[i]; i++) {
		const char *value = req->param(req, known[i]);

		/* -ENOENT: the format. */
		if (value && istio_options_parse(o, known[i], value) == -EINVAL)
			return known[i];
	}
	return NULL;
}

/* On a command line the last of the two wins; which one is the last is not known here. */
static bool config_contradicts(const struct http_request *req)
{
	struct istio_options all = ISTIO_OPTIONS_DEFAULT, only = ISTIO_OPTIONS_DEFAULT;
	const char *a = req->param(req, "all"), *o = req->param(req, "only-unregistered");

	if (!a || !o)
		return false;
	istio_options_parse(&all, "all", a);
	istio_options_parse(&only, "only-unregistered", o);
	return all.only_unregistered != only.only_unregistered;
}

/*
 * libyaml writes no comments, so the one about the plan's notes is put before its text. Their words stay out: they
 * hold host names, and a comment has no quotes to keep those in.
 */
static int config_text(const struct config *config, struct http_reply *ret)
{
	_cleanup_free_ char *yaml = NULL;
	char note[128] = "";
	size_t size, n = 0;
	int r = config_to_yaml(config, &yaml, &size);

	if (r < 0)
		return r;
	if (config->n_notes)
		n = (size_t)snprintf(note, sizeof(note),
				     "# %zu note%s on destinations left out or worth a look; "
				     "run egress-agent generate to see why\n",
				     config->n_notes, config->n_notes == 1 ? "" : "s");
	ret->body = malloc(n + size + 1);
	if (!ret->body)
		return -ENOMEM;
	memcpy(ret->body, note, n);
	memcpy(ret->body + n, yaml, size);
	ret->size = n + size;
	ret->content_type = TYPE_YAML;
	return 0;
}

/* Only the diff, as a file for patch(1). */
static int config_diff(struct config *config, struct http_reply *ret)
{
	ret->size = strlen(config->diff);
	ret->body = TAKE_PTR(config->diff);
	ret->content_type = TYPE_TEXT;
	return 0;
}

static int config_reply(struct config *config, const struct istio_options *options, bool json,
			struct http_reply *ret)
{
	int r;

	if (json) {
		r = config_to_json(config, &ret->body, &ret->size);
		if (r == 0)
			ret->content_type = TYPE_JSON;
		return r;
	}
	if (config->refused)
		return http_reply_error(ret, 409,
					"refused: not everything is registered, or a Sidecar is in "
					"the way; run egress-agent generate to see what");
	return options->diff ? config_diff(config, ret) : config_text(config, ret);
}

static const struct registry_store *api_registry(const struct api *a)
{
	return a->observer.registry ? a->observer.registry(a->observer.data) : NULL;
}

/* The parameters are right: plan and answer. */
static int config_answer(struct api *a, const struct istio_options *options, bool json,
			 struct http_reply *ret)
{
	_cleanup_(observation_putp) struct observation *seen = NULL;
	_cleanup_(config_done) struct config config = {0};
	int r = observation_get(&a->observations, &seen);

	if (r < 0)
		return r;
	r = config_make(&seen->list, options, api_registry(a), &config);
	if (r == -ENODATA)
		return http_reply_error(ret, 409,
					"diff: what is in the cluster is not known to this agent; "
					"start it with --registry");
	return r < 0 ? r : config_reply(&config, options, json, ret);
}

static int page_config(const struct http_request *req, void *data, struct http_reply *ret)
{
	struct istio_options options = ISTIO_OPTIONS_DEFAULT;
	const char *known[GENERATE_OPTS + 2] = {"format"}, *bad, *lacks;
	struct api *a = data;
	char why[ISTIO_WHY_MAX];
	bool json = false;
	int r;

	istio_options_names(known + 1);
	r = api_check(a, req, known, ret);
	if (r <= 0)
		return r;
	/* Half a cluster would make second owners of what is only not listed yet. */
	lacks = a->observer.not_synced(a->observer.data);
	if (lacks)
		return http_reply_error(ret, 503, "not ready: %s", lacks);
	bad = config_format(req, &json);
	if (!bad)
		bad = config_params(req, known, &options);
	if (bad)
		return reply_bad_value(req, bad, ret);
	if (config_contradicts(req))
		return http_reply_error(ret, 400, "'all' contradicts 'only-unregistered'");
	if (istio_options_fault(&options, why, sizeof(why)))
		return http_reply_error(ret, 400, "%s", why);
	return config_answer(a, &options, json, ret);
}

const struct http_route *api_routes(size_t *ret_n)
{
	static const struct http_route routes[] = {
		{"/", page_index, false},
		{"/metrics", page_metrics, false},
		/* Kubelets show no certificate; and there is nothing in these. */
		{"/healthz", page_healthz, true},
		{"/readyz", page_readyz, true},
		{"/api/v1/destinations", page_destinations, false},
		{"/api/v1/config", page_config, false},
	};

	*ret_n = ARRAY_SIZE(routes);
	return routes;
}
