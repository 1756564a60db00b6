// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent generate: destinations in, Istio objects out.
 *
 * Owns: who plans (the agent, which knows the cluster; or this process, from saved lists or Prometheus and a folder),
 * where the objects go (standard output or a directory), and what is said about both. Must not know: Istio's rules (istio.h),
 * YAML, JSON, HTTP (client.c).
 */
#include <errno.h>
#include <string.h>

#include "client.h"
#include "commands.h"
#include "config.h"
#include "json.h"
#include "log.h"
#include "out_dir.h"
#include "registry_dir.h"
#include "util.h"

#define DESTINATIONS_PATH "/api/v1/destinations?scope=external"
#define CONFIG_PATH       "/api/v1/config?format=json"
#define QUERY_MAX         8192u /* names are far shorter; so are the agent's limits */
#define READ_CHUNK        (64u << 10)

/* Input */

static int read_all(FILE *file, char **ret_text, size_t *ret_size)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0, capacity = 0;

	do {
		if (capacity - size < READ_CHUNK) {
			size_t more = MAX(2 * capacity, (size_t)2 * READ_CHUNK);
			char *grown = realloc(text, more);

			if (!grown)
				return -ENOMEM;
			text = grown;
			capacity = more;
		}
		size += fread(text + size, 1, READ_CHUNK, file);
		if (ferror(file))
			return errno ? -errno : -EIO;
		if (size > JSON_INPUT_MAX)
			return -EFBIG;
	} while (!feof(file));
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

static int read_file(const char *path, char **ret_text, size_t *ret_size)
{
	_cleanup_fclose_ FILE *file = NULL;

	if (strcmp(path, "-") == 0)
		return read_all(stdin, ret_text, ret_size);
	file = fopen(path, "re");
	return file ? read_all(file, ret_text, ret_size) : -errno;
}

/* name is where the text came from, for the message. Returns an exit status. */
static int parse_text(const char *name, const char *text, size_t size, struct destination_list *ret)
{
	_cleanup_free_ char *why = NULL;
	int r = json_to_list(text, size, ret, &why);

	if (r)
		return log_fail(
			"generate: cannot use %s: %s; give what 'egress-agent dump -o json' "
			"printed",
			name, why ? why : strerror(-r));
	return EXIT_DONE;
}

static int merge(const char *name, struct destination_list *list, struct destination_list *more)
{
	int r = destination_list_merge(list, more);

	if (r)
		return log_fail("generate: cannot merge %s: %s; give fewer lists at once", name,
				strerror(-r));
	return EXIT_DONE;
}

static const char *file_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "standard input" : path;
}

static int load_file(const char *path, struct destination_list *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *name = file_name(path);
	size_t size = 0;
	int r = read_file(path, &text, &size);

	if (r)
		return log_fail("generate: cannot read %s: %s; give --from a saved "
				"'egress-agent dump -o json'",
				name, strerror(-r));
	return parse_text(name, text, size, ret);
}

/* Yesterday's dump of a node says nothing that today's does not, if the agent ran all the time. */
static void drop_superseded(const struct opt_list *names, struct destination_list *lists)
{
	for (size_t i = 0; i < names->n; i++) {
		size_t latest = destination_list_latest(lists, names->n, i);

		if (latest == i)
			continue;
		log_note("generate: %s: left out: %s counts the same node (%s) from the same start "
			 "on and is not older",
			 file_name(names->items[i]), file_name(names->items[latest]),
			 lists[i].node);
		destination_list_done(&lists[i]);
	}
}

static int load_files(const struct opt_list *names, struct destination_list *list)
{
	struct destination_list *lists = calloc(names->n, sizeof(*lists));
	int status = EXIT_DONE;

	if (!lists)
		return log_fail("generate: out of memory; give fewer lists at once");
	for (size_t i = 0; i < names->n && !status; i++)
		status = load_file(names->items[i], &lists[i]);
	if (!status)
		drop_superseded(names, lists);
	for (size_t i = 0; i < names->n && !status; i++)
		status = merge(file_name(names->items[i]), list, &lists[i]);
	for (size_t i = 0; i < names->n; i++)
		destination_list_done(&lists[i]);
	free(lists);
	return status;
}

/* GET path from the agent; an exit status. */
static int ask_agent(const char *agent, const char *path, char **ret_text, size_t *ret_size)
{
	_cleanup_free_ char *why = NULL;
	int r = client_get(agent, path, ret_text, ret_size, &why);

	if (r == -EINVAL) {
		log_fail("generate: --agent: '%s': %s; see 'egress-agent generate --help'", agent,
			 why ? why : "not an agent's address");
		return EXIT_USAGE;
	}
	if (r)
		return log_fail(
			"generate: cannot ask the agent at %s: %s; start it with "
			"'egress-agent run', name it with --agent, or give a saved list with "
			"--from",
			agent, why ? why : strerror(-r));
	return EXIT_DONE;
}

static void note_prometheus(const char *line, void *data)
{
	(void)data;
	log_note("generate: --prometheus: %s", line);
}

/* Everything: what is not selected matters as well, when TLS is to be opened for those that are. */
static int load_prometheus(const struct prometheus_options *o, struct destination_list *list)
{
	_cleanup_free_ char *why = NULL;
	char url[PROMETHEUS_WHY_MAX];
	int r = prometheus_list(o, NULL, NULL, note_prometheus, NULL, list, &why);

	if (r)
		return log_fail("generate: cannot read from Prometheus at %s: %s",
				prometheus_shown(o->url, url, sizeof(url)),
				why ? why : strerror(-r));
	return EXIT_DONE;
}

static int load_agent(const char *agent, struct destination_list *list)
{
	_cleanup_(destination_list_done) struct destination_list more = {0};
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int status = ask_agent(agent, DESTINATIONS_PATH, &text, &size);

	if (!status)
		status = parse_text(agent, text, size, &more);
	return status ? status : merge(agent, list, &more);
}

/* What is in the cluster */

static void note_rejected(const char *line, void *data)
{
	(void)data;
	log_note("generate: --existing: %s", line);
}

static int load_existing(const struct generate_options *o, struct registry_store **ret)
{
	struct registry_options options = REGISTRY_OPTIONS_DEFAULT;
	_cleanup_free_ char *why = NULL;
	int r;

	if (!o->existing)
		return EXIT_DONE;
	options.root_namespace = o->plan.root_namespace;
	r = registry_dir_load(o->existing, &options, note_rejected, NULL, ret, &why);
	if (r) {
		const char *fault = why ? why : strerror(-r);
		/* Of a file in it, the folder's name is not said. */
		bool in_file = strncmp(fault, o->existing, strlen(o->existing)) != 0;

		return log_fail("generate: --existing: %s%s%s; give a folder of what "
				"'kubectl get -A -o yaml' printed",
				in_file ? o->existing : "", in_file ? "/" : "", fault);
	}
	return EXIT_DONE;
}

/* Planning */

static int fail_plan(const struct destination_list *list, int error)
{
	return log_fail("generate: cannot plan for %zu destinations: %s; select fewer with "
			"--namespace or --host",
			list->n, strerror(-error));
}

static int load_list(const struct generate_options *o, struct destination_list *list)
{
	if (o->prometheus.url)
		return load_prometheus(&o->prometheus, list);
	return o->from.n ? load_files(&o->from, list) : load_agent(o->agent, list);
}

/* In this process. */
static int plan_here(const struct generate_options *o, struct config *ret)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_(registry_freep) struct registry_store *store = NULL;
	int r, status = load_existing(o, &store);

	if (!status)
		status = load_list(o, &list);
	if (status)
		return status;
	destination_list_judge(&list);
	r = config_make(&list, &o->plan, store, ret);
	return r ? fail_plan(&list, r) : EXIT_DONE;
}

static void add_parameter(const char *name, const char *value, void *data)
{
	client_query_add(data, name, value);
}

/* By the agent. */
static int plan_there(const struct generate_options *o, struct config *ret)
{
	_cleanup_(text_done) struct text query = TEXT_INIT(QUERY_MAX);
	_cleanup_free_ char *path = NULL, *text = NULL;
	const char *why = NULL;
	size_t size = 0;
	int r, status;

	text_puts(&query, CONFIG_PATH);
	istio_options_each(&o->plan, add_parameter, &query);
	r = text_take(&query, &path, &size);
	if (r)
		return log_fail("generate: cannot ask for this selection: %s; give shorter names",
				strerror(-r));
	status = ask_agent(o->agent, path, &text, &size);
	if (status)
		return status;
	r = config_from_json(text, size, ret, &why);
	if (r)
		return log_fail("generate: cannot read the answer of %s: %s; is it an egress-agent "
				"of this version",
				o->agent, why ? why : strerror(-r));
	return EXIT_DONE;
}

/* The command */

static int store(const char *path, const struct config *config)
{
	size_t n = config->n_documents, renamed = 0;
	int r = out_dir_store(path, config, &renamed);

	if (r && renamed)
		return log_fail("generate: only %zu of %zu files are in %s: %s; clear "
				"the way and run it again",
				renamed, n, path, strerror(-r));
	if (r)
		return log_fail(
			"generate: cannot write to %s: %s; give --output-dir a directory that "
			"can be written, nothing was changed",
			path, strerror(-r));
	log_note("generate: %zu file%s written to %s", renamed, renamed == 1 ? "" : "s", path);
	return EXIT_DONE;
}

static int print(const struct config *config)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = config_to_yaml(config, &text, &size);

	if (r)
		return log_fail("generate: cannot print %zu documents: %s; select fewer with "
				"--namespace or --host",
				config->n_documents, strerror(-r));
	/* A failed write is found and reported by opt_main(). */
	(void)!fwrite(text, 1, size, stdout);
	return EXIT_DONE;
}

static int deliver(const struct generate_options *o, const struct config *config)
{
	for (size_t i = 0; i < config->n_notes; i++)
		log_note("generate: %s", config->notes[i]);
	if (config->refused)
		return log_fail("generate: --lockdown: refused: something that was seen is not "
				"registered, or a Sidecar is in the way, see above; register it "
				"first, or select a namespace with --namespace");
	if (o->plan.diff) {
		(void)!fputs(config->diff, stdout);
		return config->differs ? EXIT_DIFFERS : EXIT_DONE;
	}
	if (!config->n_documents) {
		log_note("generate: nothing to generate: %s",
			 config->n_notes
				 ? "every destination was left out, see above"
				 : "no external destination was seen that fits the selection");
		return EXIT_DONE;
	}
	return o->output_dir ? store(o->output_dir, config) : print(config);
}

/* What the plan's options do not know of each other. */
static bool usage_fault(const struct generate_options *o, char *why, size_t size)
{
	const char *fault = NULL;

	if (istio_options_fault(&o->plan, why, size) || prometheus_fault(&o->prometheus, why, size))
		return true;
	if (o->plan.diff && o->output_dir)
		fault = "--diff: prints a diff and no objects, --output-dir has nothing to write";
	else if (o->plan.diff && (o->from.n || o->prometheus.url) && !o->existing)
		fault = "--diff: needs --existing beside --from or --prometheus, to know what is "
			"in the cluster";
	else if (o->prometheus.url && o->from.n)
		fault = "--prometheus: asks for all agents, --from reads saved lists";
	else if (o->prometheus.url && strcmp(o->agent, GENERATE_AGENT) != 0)
		fault = "--prometheus: asks for all agents, --agent for one";
	if (fault)
		snprintf(why, size, "%s", fault);
	return fault;
}

static int generate_run(void *options, char **operands, int n_operands)
{
	const struct generate_options *o = options;
	_cleanup_(config_done) struct config config = {0};
	char why[ISTIO_WHY_MAX];
	int status;

	(void)operands;
	(void)n_operands;
	if (usage_fault(o, why, sizeof(why))) {
		log_fail("generate: %s; see 'egress-agent generate --help'", why);
		return EXIT_USAGE;
	}
	status = o->from.n || o->existing || o->prometheus.url ? plan_here(o, &config)
							       : plan_there(o, &config);
	return status ? status : deliver(o, &config);
}

const struct command generate_command = {
	.name = "generate",
	.summary = "print the ServiceEntry / DestinationRule set for the destinations",
	.usage = "[OPTION]...",
	.example = "egress-agent generate --visibility l7 -n shop | kubectl apply -f -",
	.opts = generate_opts,
	.n_opts = GENERATE_OPTS,
	.run = generate_run,
	.options_size = sizeof(struct generate_options),
};
