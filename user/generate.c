// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent generate: destinations in, Istio objects out.
 *
 * Owns: where the destinations come from (the agent or saved lists), where the objects go (standard output
 * or a directory), and what is said about both. Must not know: Istio's rules (istio.c), YAML (yaml.c),
 * JSON (json.c), HTTP (client.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "commands.h"
#include "istio.h"
#include "json.h"
#include "log.h"
#include "util.h"
#include "yaml.h"

#define DESTINATIONS_PATH "/api/v1/destinations?scope=external"
#define READ_CHUNK        (64u << 10)

struct generate_options {
	const char *agent;
	struct opt_list from;
	const char *ns, *workload, *host;
	int registry;
	int visibility, api_version, scope;
	const char *root_namespace;
	uint32_t min_connections;
	bool only_unregistered;
	const char *output_dir;
};

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

static int load_agent(const char *agent, struct destination_list *list)
{
	_cleanup_(destination_list_done) struct destination_list more = {0};
	_cleanup_free_ char *text = NULL, *why = NULL;
	size_t size = 0;
	int status, r = client_get(agent, DESTINATIONS_PATH, &text, &size, &why);

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
	status = parse_text(agent, text, size, &more);
	return status ? status : merge(agent, list, &more);
}

static int load(const struct generate_options *o, struct destination_list *list)
{
	return o->from.n ? load_files(&o->from, list) : load_agent(o->agent, list);
}

/* Output into a directory */

#define FILE_NAME_MAX 160 /* kind, namespace (63), name (63), hyphens, .yaml */

/* One object's file on its way: complete under temporary, then renamed to name. */
struct out_file {
	char name[FILE_NAME_MAX];
	char temporary[FILE_NAME_MAX + 40];
};

struct out_dir {
	const char *path;
	int fd;
	bool made; /* by us: goes away again if nothing gets into it */
	struct out_file *files;
	size_t n, n_renamed;
};

/* Leave no temporary file, and no directory that was made for nothing. */
static void out_dir_done(struct out_dir *dir)
{
	for (size_t i = dir->n_renamed; i < dir->n; i++)
		unlinkat(dir->fd, dir->files[i].temporary, 0);
	free(dir->files);
	util_closep(&dir->fd);
	if (dir->made && !dir->n_renamed)
		rmdir(dir->path);
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Write one temporary file; it is removed by out_dir_done() whatever happens. */
static int out_dir_write(struct out_dir *dir, const char *text, size_t size)
{
	struct out_file *file = &dir->files[dir->n];
	_cleanup_close_ int fd = -1;
	int flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC;

	snprintf(file->temporary, sizeof(file->temporary), ".%s.%ld.tmp", file->name,
		 (long)getpid());
	fd = openat(dir->fd, file->temporary, flags, 0666);
	if (fd < 0)
		return -errno;
	dir->n++;
	return write_all(fd, text, size);
}

static int out_dir_add(struct out_dir *dir, const struct istio_object *object, enum yaml_kind kind,
		       const struct istio_options *options)
{
	const char *word = kind == YAML_DESTINATION_RULE ? "destinationrule" : "serviceentry";
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = yaml_from_object(object, kind, options, &text, &size);

	if (r)
		return r;
	snprintf(dir->files[dir->n].name, FILE_NAME_MAX, "%s-%s%s%s.yaml", word, object->ns,
		 *object->ns ? "-" : "", object->name);
	return out_dir_write(dir, text, size);
}

static int out_dir_open(struct out_dir *dir, const struct istio_plan *plan)
{
	dir->files = calloc(2 * plan->n_objects, sizeof(*dir->files));
	if (!dir->files)
		return -ENOMEM;
	if (mkdir(dir->path, 0777) == 0)
		dir->made = true;
	else if (errno != EEXIST)
		return -errno;
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir->fd < 0 ? -errno : 0;
}

/* All files are complete before the first one gets its name. */
static int out_dir_fill(struct out_dir *dir, const struct istio_plan *plan,
			const struct istio_options *options)
{
	int r = out_dir_open(dir, plan);

	for (size_t i = 0; i < plan->n_objects && !r; i++) {
		if (plan->objects[i].originate)
			r = out_dir_add(dir, &plan->objects[i], YAML_DESTINATION_RULE, options);
		if (!r)
			r = out_dir_add(dir, &plan->objects[i], YAML_SERVICE_ENTRY, options);
	}
	for (size_t i = 0; i < dir->n && !r; i++) {
		if (renameat(dir->fd, dir->files[i].temporary, dir->fd, dir->files[i].name))
			r = -errno;
		else
			dir->n_renamed++;
	}
	return r;
}

static int store(const char *path, const struct istio_plan *plan,
		 const struct istio_options *options)
{
	struct out_dir dir = {.path = path, .fd = -1};
	size_t renamed, n;
	sigset_t ends, before;
	int r;

	/* Ctrl-C takes effect when no temporary file is left. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGQUIT);
	sigprocmask(SIG_BLOCK, &ends, &before);
	r = out_dir_fill(&dir, plan, options);
	renamed = dir.n_renamed;
	n = dir.n;
	out_dir_done(&dir);
	sigprocmask(SIG_SETMASK, &before, NULL);

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

/* The command */

static int print(const struct istio_plan *plan, const struct istio_options *options)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = yaml_from_plan(plan, options, &text, &size);

	if (r)
		return log_fail(
			"generate: cannot print %zu objects: %s; select fewer with --namespace "
			"or --host",
			plan->n_objects, strerror(-r));
	/* A failed write is found and reported by opt_main(). */
	(void)!fwrite(text, 1, size, stdout);
	return EXIT_DONE;
}

static int deliver(const struct generate_options *o, const struct destination_list *list,
		   const struct istio_options *options)
{
	_cleanup_(istio_plan_done) struct istio_plan plan = {0};
	int r = istio_plan_make(list, options, &plan);

	if (r)
		return log_fail("generate: cannot plan for %zu destinations: %s; select fewer with "
				"--namespace or --host",
				list->n, strerror(-r));
	for (size_t i = 0; i < plan.n_notes; i++)
		log_note("generate: %s", plan.notes[i]);
	if (!plan.n_objects) {
		log_note("generate: nothing to generate: %s",
			 list->n ? "every destination was left out, see above"
				 : "no external destination was seen that fits the selection");
		return EXIT_DONE;
	}
	return o->output_dir ? store(o->output_dir, &plan, options) : print(&plan, options);
}

static int generate_run(void *options, char **operands, int n_operands)
{
	const struct generate_options *o = options;
	_cleanup_(destination_list_done) struct destination_list list = {0};
	struct istio_options istio = {
		.visibility = (enum visibility)o->visibility,
		.v1beta1 = o->api_version,
		.mesh_scope = o->scope,
		.root_namespace = o->root_namespace,
		.min_connections = o->min_connections,
		.only_unregistered = o->only_unregistered,
	};
	struct selection selection = SELECTION_DEFAULT;
	int status;

	(void)operands;
	(void)n_operands;
	if (!istio_namespace_valid(o->root_namespace)) {
		log_fail("generate: --root-namespace: '%s' is not a namespace's name; see "
			 "'egress-agent generate --help'",
			 o->root_namespace);
		return EXIT_USAGE;
	}
	status = load(o, &list);
	if (status)
		return status;
	destination_list_judge(&list);
	selection.scope = SCOPE_ALL; /* the plan counts the internal ones */
	selection.ns = o->ns;
	selection.workload = o->workload;
	selection.host = o->host;
	selection.registry = (enum registry)o->registry;
	destination_list_select(&list, &selection);
	return deliver(o, &list, &istio);
}

static const char *const visibility_words[] = {"l4", "l7", NULL};
_Static_assert(ARRAY_SIZE(visibility_words) == VISIBILITY_MAX + 1, "a word for every visibility");
static const char *const registry_words[] = {"unknown",    "passthrough", "registered",
					     "originated", "blocked",     NULL};
_Static_assert(ARRAY_SIZE(registry_words) == REGISTRY_MAX + 1, "a word for every state");

#define AT(field) offsetof(struct generate_options, field)

static const struct opt generate_opts[] = {
	{.name = "agent",
	 .type = OPT_STRING,
	 .offset = AT(agent),
	 .arg = "unix:PATH|URL",
	 .help = "the agent to ask",
	 .def = "unix:/run/egress-agent/agent.sock"},
	{.name = "from",
	 .type = OPT_LIST,
	 .offset = AT(from),
	 .arg = "FILE",
	 .help = "read a saved 'dump -o json' instead of asking the agent, - for standard input; "
		 "several lists (one a node) are merged"},
	{.name = "namespace",
	 .short_name = 'n',
	 .type = OPT_STRING,
	 .offset = AT(ns),
	 .arg = "NS",
	 .help = "only destinations of this namespace"},
	{.name = "workload",
	 .type = OPT_STRING,
	 .offset = AT(workload),
	 .arg = "W",
	 .help = "only destinations of this workload"},
	{.name = "host",
	 .type = OPT_STRING,
	 .offset = AT(host),
	 .arg = "GLOB",
	 .help = "only hosts that match, such as '*.example.com'"},
	{.name = "registry",
	 .type = OPT_CHOICE,
	 .offset = AT(registry),
	 .arg = "STATE",
	 .help = "only destinations that Istio's registry knows in this way",
	 .def = OPT_ANY,
	 .choices = registry_words},
	{.name = "visibility",
	 .type = OPT_CHOICE,
	 .offset = AT(visibility),
	 .help = "what the mesh shall see: l4 names the hosts (ServiceEntry); l7 makes requests "
		 "readable, too, by opening TLS in the sidecar (ServiceEntry and DestinationRule)",
	 .def = "l4",
	 .choices = visibility_words},
	{.name = "api-version",
	 .type = OPT_CHOICE,
	 .offset = AT(api_version),
	 .help = "of networking.istio.io; v1beta1 for Istio before 1.22",
	 .def = "v1",
	 .choices = istio_api_version_words},
	{.name = "scope",
	 .type = OPT_CHOICE,
	 .offset = AT(scope),
	 .help = "one object in each namespace that calls the host, visible there; or one in the "
		 "root "
		 "namespace, visible everywhere",
	 .def = "namespace",
	 .choices = istio_scope_words},
	{.name = "root-namespace",
	 .type = OPT_STRING,
	 .offset = AT(root_namespace),
	 .arg = "NS",
	 .help = "where --scope mesh puts the objects",
	 .def = "istio-system"},
	{.name = "min-connections",
	 .type = OPT_UINT,
	 .offset = AT(min_connections),
	 .arg = "N",
	 .help = "leave out hosts with fewer connections and fewer requests",
	 .def = "1"},
	{.name = "only-unregistered",
	 .type = OPT_FLAG,
	 .offset = AT(only_unregistered),
	 .help = "leave out hosts that the registry has already",
	 .def = "true"},
	{.name = "all",
	 .type = OPT_FLAG_OFF,
	 .offset = AT(only_unregistered),
	 .help = "hosts that the registry has already, too"},
	{.name = "output-dir",
	 .type = OPT_STRING,
	 .offset = AT(output_dir),
	 .arg = "DIR",
	 .help = "write one file per object there, instead of all to standard output"},
};

const struct command generate_command = {
	.name = "generate",
	.summary = "print the ServiceEntry / DestinationRule set for the destinations",
	.usage = "[OPTION]...",
	.example = "egress-agent generate --visibility l7 -n shop | kubectl apply -f -",
	.opts = generate_opts,
	.n_opts = ARRAY_SIZE(generate_opts),
	.run = generate_run,
	.options_size = sizeof(struct generate_options),
};
