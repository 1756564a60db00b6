// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent dump: what the agent has seen, as a table or data.
 *
 * Owns: the question to the agent (or to Prometheus, for all agents), the terminal (its size, repainting), what
 * --watch says and when it ends. Must not know: the kernel, HTTP (client.c), PromQL (prometheus.c), JSON (json.c),
 * columns (table.c).
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>

#include "client.h"
#include "commands.h"
#include "json.h"
#include "log.h"
#include "model.h"
#include "prometheus.h"
#include "table.h"
#include "text.h"
#include "util.h"

#define DESTINATIONS_PATH "/api/v1/destinations"
#define QUERY_MAX         8192u /* names are far shorter; so are the agent's limits */
#define WIDTH_DEFAULT     80
#define AGENT_DEFAULT     "unix:/run/egress-agent/agent.sock"

enum dump_output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_TSV };

struct dump_options {
	const char *agent;
	int output; /* enum dump_output */
	const char *ns, *workload, *host;
	int visibility, registry, sort, scope; /* enums of the model, _MAX: any */
	uint64_t watch_ms;
	struct prometheus_options prometheus;
};

struct terminal {
	bool is_terminal;
	bool utf8;
	unsigned int width, height; /* 0: not known */
};

static struct selection dump_selection(const struct dump_options *o)
{
	return (struct selection){
		.ns = o->ns,
		.workload = o->workload,
		.host = o->host,
		.visibility = (enum visibility)o->visibility,
		.registry = (enum registry)o->registry,
		.scope = (enum scope_filter)o->scope,
	};
}

/* Asking */

static int query_make(const struct dump_options *o, char **ret)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(QUERY_MAX);
	struct selection s = dump_selection(o);
	size_t size;

	text_puts(&t, DESTINATIONS_PATH "?scope=");
	text_puts(&t, model_scope_name(s.scope));
	client_query_add(&t, "namespace", s.ns);
	client_query_add(&t, "workload", s.workload);
	client_query_add(&t, "host", s.host);
	if (s.visibility != VISIBILITY_MAX)
		client_query_add(&t, "visibility", model_visibility_name(s.visibility));
	if (s.registry != REGISTRY_MAX)
		client_query_add(&t, "registry", model_registry_name(s.registry));
	return text_take(&t, ret, &size);
}

/* An answer as a list in the contract's order, selected once more: the agent may be older. */
static int dump_parse(const struct dump_options *o, const char *body, size_t size,
		      struct destination_list *ret, char **ret_why)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	struct selection s = dump_selection(o);
	int r = json_to_list(body, size, &list, ret_why);

	if (r < 0)
		return r;
	r = destination_list_normalize(&list);
	if (r < 0)
		return r;
	destination_list_select(&list, &s);
	*ret = list;
	list = (struct destination_list){0};
	return 0;
}

/* Printing */

static bool locale_is_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *value = getenv(names[i]);
		const char *charset = value ? strrchr(value, '.') : NULL;

		if (value && *value)
			return charset && (strcasecmp(charset, ".UTF-8") == 0 ||
					   strcasecmp(charset, ".UTF8") == 0);
	}
	return false;
}

static struct terminal terminal_look(void)
{
	struct terminal t = {.is_terminal = isatty(STDOUT_FILENO), .utf8 = locale_is_utf8()};
	const char *columns = getenv("COLUMNS");
	struct winsize size = {0};

	if (!t.is_terminal)
		return t;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
		t.width = size.ws_col;
		t.height = size.ws_row;
	}
	if (!t.width && columns)
		t.width = (unsigned int)MIN(strtoul(columns, NULL, 10), 10000ul);
	if (!t.width)
		t.width = WIDTH_DEFAULT;
	return t;
}

static bool output_is_data(const struct dump_options *o)
{
	return o->output == OUTPUT_JSON || o->output == OUTPUT_TSV;
}

static int dump_format(const struct dump_options *o, const struct terminal *t,
		       const struct destination_list *list, bool all, char **ret_text,
		       size_t *ret_size)
{
	/* Of hosts chosen by what is known of them it would say nothing but that. */
	struct table_options table = {
		.form = TABLE_NARROW,
		.width = t->width,
		.utf8 = t->utf8,
		.coverage = all && !o->host && o->registry == REGISTRY_MAX &&
			    o->visibility == VISIBILITY_MAX,
	};

	if (o->output == OUTPUT_JSON)
		return json_from_list(list, ret_text, ret_size);
	if (o->output == OUTPUT_WIDE)
		table.form = TABLE_WIDE;
	if (o->output == OUTPUT_TSV)
		table.form = TABLE_TSV;
	return table_from_list(list, &table, ret_text, ret_size);
}

/*
 * Rows on stdout. max_rows: 0, or what is left of the screen; what does not fit is counted, but in json and tsv,
 * where every line means something to a program.
 */
static int dump_print(const struct dump_options *o, const struct terminal *t,
		      struct destination_list *list, size_t max_rows)
{
	_cleanup_free_ char *text = NULL;
	struct destination_list view;
	size_t size;
	int r;

	if (o->output != OUTPUT_JSON)
		destination_list_sort(list, (enum sort_key)o->sort);
	view = *list;
	if (max_rows && view.n > max_rows && !output_is_data(o))
		view.n = max_rows;
	if (view.n || output_is_data(o)) {
		r = dump_format(o, t, &view, view.n == list->n, &text, &size);
		if (r < 0)
			return log_fail("dump: cannot print %zu destinations: %s; select fewer",
					list->n, strerror(-r));
		/* A failed write is found and reported by opt_flush(). */
		(void)!fwrite(text, 1, size, stdout);
	}
	if (view.n < list->n)
		printf("(%zu more)\n", list->n - view.n);
	return EXIT_DONE;
}

static void say_nothing_there(const struct dump_options *o)
{
	bool filtered = o->ns || o->workload || o->host || o->visibility != VISIBILITY_MAX ||
			o->registry != REGISTRY_MAX || o->scope != SCOPE_EXTERNAL;

	if (o->output != OUTPUT_JSON)
		log_note(filtered ? "no destinations match" : "no destinations seen yet");
}

/* Failing */

static const char *agent_path(const char *agent)
{
	return strncmp(agent, "unix:", 5) == 0 ? agent + 5 : agent;
}

static int fail_ask(const struct dump_options *o, int error, const char *why)
{
	const char *what_to_do = "is 'egress-agent run' active, or pass --agent";

	if (!why)
		why = strerror(-error);
	if (error == -EINVAL) {
		log_fail("dump: --agent: '%s': %s; see 'egress-agent dump --help'", o->agent, why);
		return EXIT_USAGE;
	}
	if (error == -EACCES || error == -EPERM)
		what_to_do = "run this as root or as a member of the socket's group";
	return log_fail("dump: cannot reach the agent at %s: %s; %s", agent_path(o->agent), why,
			what_to_do);
}

static int fail_parse(const struct dump_options *o, int error, const char *why)
{
	return log_fail("dump: cannot read the answer of %s: %s; is it an egress-agent of this "
			"version",
			agent_path(o->agent), why ? why : strerror(-error));
}

/* All agents */

static void note_prometheus(const char *line, void *data)
{
	(void)data;
	log_note("dump: --prometheus: %s", line);
}

/* What cannot be had together. Returns an exit status. */
static int prometheus_usage(const struct dump_options *o)
{
	char why[PROMETHEUS_WHY_MAX] = "";

	if (prometheus_fault(&o->prometheus, why, sizeof(why)))
		;
	else if (strcmp(o->agent, AGENT_DEFAULT) != 0)
		snprintf(why, sizeof(why), "--prometheus: asks for all agents, --agent for one");
	else if (o->watch_ms)
		snprintf(why, sizeof(why),
			 "--prometheus: nothing to --watch, it is a question "
			 "about a time that is over");
	else if (o->scope != SCOPE_EXTERNAL)
		snprintf(why, sizeof(why), "--scope: metrics hold external destinations only");
	else if (o->sort == SORT_LAST_SEEN)
		snprintf(why, sizeof(why),
			 "--sort: metrics do not say when a destination was seen "
			 "last");
	if (!*why)
		return EXIT_DONE;
	log_fail("dump: %s; see 'egress-agent dump --help'", why);
	return EXIT_USAGE;
}

static int dump_prometheus(const struct dump_options *o)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_free_ char *why = NULL;
	struct selection s = dump_selection(o);
	struct terminal t = terminal_look();
	char url[PROMETHEUS_WHY_MAX];
	int r, status = prometheus_usage(o);

	if (status)
		return status;
	r = prometheus_list(&o->prometheus, o->ns, o->workload, note_prometheus, NULL, &list, &why);
	if (r < 0)
		return log_fail("dump: cannot read from Prometheus at %s: %s",
				prometheus_shown(o->prometheus.url, url, sizeof(url)),
				why ? why : strerror(-r));
	destination_list_select(&list, &s);
	if (list.n == 0)
		say_nothing_there(o);
	return dump_print(o, &t, &list, 0);
}

static int dump_once(const struct dump_options *o, const char *query)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_free_ char *body = NULL, *why = NULL;
	struct terminal t = terminal_look();
	size_t size;
	int r = client_get(o->agent, query, &body, &size, &why);

	if (r < 0)
		return fail_ask(o, r, why);
	r = dump_parse(o, body, size, &list, &why);
	if (r < 0)
		return fail_parse(o, r, why);
	if (list.n == 0)
		say_nothing_there(o);
	return dump_print(o, &t, &list, 0);
}

/* Watching */

struct watch {
	const struct dump_options *o;
	const char *query;
	sigset_t signals;   /* that end it */
	sigset_t unblocked; /* the mask without them */
	size_t blocks;      /* printed so far */
	bool lost;          /* the agent did not answer the last time */
	bool said_empty;
};

/*
 * Only unblocked while waiting, for the agent or for the next round, when everything printed so far
 * is flushed: nothing is left to clean up, and an agent that hangs cannot hold the user for the
 * whole time-out.
 */
static void watch_end(int sig)
{
	(void)sig;
	_exit(EXIT_DONE);
}

static int watch_setup(struct watch *w)
{
	struct sigaction action = {.sa_handler = watch_end};

	sigemptyset(&w->signals);
	sigaddset(&w->signals, SIGINT);
	sigaddset(&w->signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &w->signals, &w->unblocked) < 0 ||
	    sigaction(SIGINT, &action, NULL) < 0 || sigaction(SIGTERM, &action, NULL) < 0)
		return log_fail("dump: cannot set up signals: %s; leave out --watch",
				strerror(errno));
	sigdelset(&w->unblocked, SIGINT);
	sigdelset(&w->unblocked, SIGTERM);
	return EXIT_DONE;
}

/*
 * A signal ends it all here. So does the reader's leaving, which must not wait for the next row: there may be none.
 * No event is asked for, so that only an error or a hang-up wakes.
 */
static int watch_pause(const struct watch *w)
{
	struct timespec pause = {
		.tv_sec = (time_t)(w->o->watch_ms / 1000),
		.tv_nsec = (long)(w->o->watch_ms % 1000) * 1000000,
	};
	struct pollfd reader = {.fd = STDOUT_FILENO};
	int r;

	do {
		r = ppoll(&reader, 1, &pause, &w->unblocked);
	} while (r < 0 && errno == EINTR); /* stopped and continued */
	return r > 0 ? EXIT_CANNOT : EXIT_DONE;
}

/* One line when the agent goes and one when it is back. An exit status for what will not pass. */
static int watch_state(struct watch *w, int error, const char *why)
{
	if (error == 0 && w->lost)
		log_note("dump: the agent at %s answers again", agent_path(w->o->agent));
	if (error < 0 && (w->blocks == 0 || error == -EINVAL || error == -ENOMEM))
		return fail_ask(w->o, error, why);
	if (error < 0 && !w->lost)
		log_note("dump: lost the agent at %s: %s; waiting for it", agent_path(w->o->agent),
			 why ? why : strerror(-error));
	w->lost = error < 0;
	return EXIT_DONE;
}

static int watch_print(struct watch *w, struct destination_list *list)
{
	struct terminal t = terminal_look();
	size_t max_rows = 0;
	int status;

	if (t.is_terminal) {
		fputs("\033[H\033[2J", stdout);
		/* Header, "(N more)" and the line the cursor is left on. */
		max_rows = t.height > 4 ? t.height - 3 : 1;
	} else if (w->blocks && list->n) {
		putchar('\n');
	}
	fflush(stdout);
	if (list->n == 0 && (t.is_terminal || !w->said_empty))
		say_nothing_there(w->o);
	w->said_empty = list->n == 0;
	status = dump_print(w->o, &t, list, max_rows);
	w->blocks++;
	return status ? status : opt_flush("dump");
}

static int watch_round(struct watch *w)
{
	_cleanup_(destination_list_done) struct destination_list list = {0};
	_cleanup_free_ char *body = NULL, *why = NULL;
	size_t size;
	int r, status;

	sigprocmask(SIG_UNBLOCK, &w->signals, NULL);
	r = client_get(w->o->agent, w->query, &body, &size, &why);
	sigprocmask(SIG_BLOCK, &w->signals, NULL);
	status = watch_state(w, r, why);
	if (status != EXIT_DONE || r < 0)
		return status;
	r = dump_parse(w->o, body, size, &list, &why);
	if (r < 0)
		return fail_parse(w->o, r, why);
	return watch_print(w, &list);
}

static int dump_watch(const struct dump_options *o, const char *query)
{
	struct watch w = {.o = o, .query = query};
	int status = watch_setup(&w);

	while (status == EXIT_DONE) {
		status = watch_round(&w);
		if (status == EXIT_DONE)
			status = watch_pause(&w);
	}
	return status;
}

static int dump_run(void *options, char **operands, int n_operands)
{
	const struct dump_options *o = options;
	_cleanup_free_ char *query = NULL;
	int r = query_make(o, &query);

	(void)operands;
	(void)n_operands;
	if (o->prometheus.url)
		return dump_prometheus(o);
	if (r < 0)
		return log_fail("dump: cannot ask for this selection: %s; give shorter names",
				strerror(-r));
	return o->watch_ms ? dump_watch(o, query) : dump_once(o, query);
}

static const char *const output_words[] = {"table", "wide", "json", "tsv", NULL};
static const char *const visibility_words[] = {"l4", "l7", NULL};
static const char *const registry_words[] = {"unknown",    "passthrough", "registered",
					     "originated", "blocked",     NULL};
static const char *const sort_words[] = {"bytes", "connections", "requests",
					 "host",  "last-seen",   NULL};
static const char *const scope_words[] = {"external", "internal", "all", NULL};
_Static_assert(ARRAY_SIZE(visibility_words) == VISIBILITY_MAX + 1, "every word");
_Static_assert(ARRAY_SIZE(registry_words) == REGISTRY_MAX + 1, "every word");
_Static_assert(ARRAY_SIZE(sort_words) == SORT_MAX + 1, "every word");
_Static_assert(ARRAY_SIZE(scope_words) == SCOPE_MAX + 1, "every word");

#define TARGET(field) .offset = offsetof(struct dump_options, field)

static const struct opt dump_opts[] = {
	{"agent", 0, OPT_STRING, TARGET(agent), .arg = "unix:PATH|URL",
	 .help = "where the agent answers", .def = AGENT_DEFAULT},
	{"output", 'o', OPT_CHOICE, TARGET(output), .arg = "FORM",
	 .help = "what to print, json always in the same order", .def = "table",
	 .choices = output_words},
	{"namespace", 'n', OPT_STRING, TARGET(ns), .arg = "NS",
	 .help = "only this namespace's workloads"},
	{"workload", 0, OPT_STRING, TARGET(workload), .arg = "W", .help = "only this workload"},
	{"host", 0, OPT_STRING, TARGET(host), .arg = "GLOB",
	 .help = "only hosts like this: '*.example.com'"},
	{"visibility", 0, OPT_CHOICE, TARGET(visibility), .arg = "l4|l7",
	 .help = "only what the mesh can see this far into", .def = OPT_ANY,
	 .choices = visibility_words},
	{"registry", 0, OPT_CHOICE, TARGET(registry), .arg = "STATE",
	 .help = "only what Istio's registry knows this way", .def = OPT_ANY,
	 .choices = registry_words},
	{"scope", 0, OPT_CHOICE, TARGET(scope), .arg = "SCOPE",
	 .help = "only this side of run's --internal-cidr", .def = "external",
	 .choices = scope_words},
	{"sort", 0, OPT_CHOICE, TARGET(sort), .arg = "KEY",
	 .help = "order of the rows, largest or latest first", .def = "bytes",
	 .choices = sort_words},
	{"watch", 0, OPT_OPTIONAL_DURATION, TARGET(watch_ms), .arg = "INTERVAL",
	 .help = "print again and again, 2s or INTERVAL apart", .optional_def = "2s"},
	PROMETHEUS_OPT_ROWS(offsetof(struct dump_options, prometheus)),
};

const struct command dump_command = {
	.name = "dump",
	.summary = "list the destinations that pods talk to",
	.usage = "[OPTION]...",
	.example = "egress-agent dump --host '*.example.com' --sort last-seen --watch=5s",
	.opts = dump_opts,
	.n_opts = ARRAY_SIZE(dump_opts),
	.run = dump_run,
	.options_size = sizeof(struct dump_options),
};
