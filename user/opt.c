// SPDX-License-Identifier: Apache-2.0
/*
 * Options, see opt.h.
 *
 * Owns: the four levels a value can come from, and every message about wrong usage.
 * Must not know: what any option means; YAML (yaml.c reads the file), what a value looks like (opt_value.c).
 */
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "log.h"
#include "opt_work.h"
#include "util.h"
#include "yaml.h"

/* Longest name of an option, so that the environment's form of it fits a buffer. */
#define OPT_NAME_MAX 64
#define OPT_ENV      "EGRESS_AGENT_"
/* getopt_long's value of the option with index 0; above every short name. */
#define OPT_VAL_FIRST 256

/* Where a value came from. A higher level is never overwritten by a lower one. */
enum opt_level { LEVEL_NONE, LEVEL_DEFAULT, LEVEL_FILE, LEVEL_ENV, LEVEL_ARGS };

struct opt_state {
	enum opt_level level; /* of what the option's target holds */
	bool in_file;
};

/* One parse of one command's options. */
struct opt_parse {
	const struct command *command;
	char *target;            /* the command's options struct; owned */
	struct opt_state *state; /* one per option; owned */
	char **arena;            /* strings the target points to; owned */
	size_t n_arena;
	const char *config;
	bool help;
};

/* Set by opt_dispatch(): whose options share a file and an environment with the command's own. */
static const struct command *const *known_commands;
static size_t n_known_commands;

static int opt_usage(const struct command *command, const char *fmt, ...) _printf_(2, 3);
static int opt_usage(const struct command *command, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_fail("%s: %s; see 'egress-agent %s --help'", command->name, text, command->name);
	return EXIT_USAGE;
}

static int opt_no_memory(const struct command *command)
{
	log_fail("%s: out of memory", command->name);
	return EXIT_CANNOT;
}

static void opt_parse_done(struct opt_parse *p)
{
	for (size_t i = 0; i < p->command->n_opts && p->target; i++)
		if (p->command->opts[i].type == OPT_LIST)
			free(((struct opt_list *)(p->target + p->command->opts[i].offset))->items);
	for (size_t i = 0; i < p->n_arena; i++)
		free(p->arena[i]);
	free(p->arena);
	free(p->state);
	free(p->target);
}

/* A copy that lives as long as the options struct; NULL when memory is out. */
static const char *opt_keep(struct opt_parse *p, const char *text)
{
	char **grown = realloc(p->arena, (p->n_arena + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	p->arena = grown;
	grown[p->n_arena] = strdup(text);
	return grown[p->n_arena] ? grown[p->n_arena++] : NULL;
}

/* Storing */

/* Options may share a target (--all and --only-unregistered): its state is that of the first one. */
static struct opt_state *opt_slot(struct opt_parse *p, const struct opt *opt)
{
	const struct opt *first = p->command->opts;

	while (first->offset != opt->offset)
		first++;
	return &p->state[first - p->command->opts];
}

static int opt_append(struct opt_list *list, const char *item)
{
	const char **grown = realloc(list->items, (list->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->items = grown;
	list->items[list->n++] = item;
	return 0;
}

/* Store a value unless a higher level has stored one. Strings are copied unless they come from argv. */
static int opt_store(struct opt_parse *p, const struct opt *opt, enum opt_level level,
		     union opt_value value)
{
	struct opt_state *state = opt_slot(p, opt);
	struct opt_list *list = (struct opt_list *)(p->target + opt->offset);
	enum opt_level before = state->level;

	if (level < before)
		return 0;
	if ((opt->type == OPT_STRING || opt->type == OPT_LIST) && level != LEVEL_ARGS) {
		value.string = opt_keep(p, value.string);
		if (!value.string)
			return -ENOMEM;
	}
	state->level = level;
	if (opt->type != OPT_LIST) {
		opt_put_value(opt, p->target, value);
		return 0;
	}
	if (level > before)
		list->n = 0;
	return opt_append(list, value.string);
}

static const struct opt *opt_find(const struct command *command, const char *name)
{
	for (size_t i = 0; i < command->n_opts; i++)
		if (strcmp(command->opts[i].name, name) == 0)
			return &command->opts[i];
	return NULL;
}

/* Whether another command has this option and, unless text is NULL, takes this value for it. */
static bool opt_is_elsewhere(const struct command *command, const char *name, const char *text)
{
	for (size_t i = 0; i < n_known_commands; i++) {
		const struct opt *opt;
		union opt_value ignored;

		if (known_commands[i] == command)
			continue;
		opt = opt_find(known_commands[i], name);
		if (opt && (!text || !opt_parse_value(opt, text, &ignored)))
			return true;
	}
	return false;
}

/*
 * Parse and store. where names the origin for the message ("--sort", "EGRESS_AGENT_SORT", "FILE:3: sort").
 * Returns 0 or an exit status.
 */
static int opt_set(struct opt_parse *p, const struct opt *opt, enum opt_level level,
		   const char *where, const char *text)
{
	union opt_value value = {0};
	char expected[320];

	if (opt_parse_value(opt, text, &value) == 0)
		return opt_store(p, opt, level, value) ? opt_no_memory(p->command) : 0;
	if (level != LEVEL_ARGS && opt_is_elsewhere(p->command, opt->name, text))
		return 0;
	opt_describe(opt, expected, sizeof(expected));
	return opt_usage(p->command, "%s: '%s' is not %s", where, text, expected);
}

/* The command line */

static int opt_has_arg(const struct opt *opt)
{
	if (opt->type == OPT_OPTIONAL_DURATION)
		return optional_argument;
	return opt->type == OPT_FLAG || opt->type == OPT_FLAG_OFF ? no_argument : required_argument;
}

_Static_assert(no_argument == 0 && required_argument == 1 && optional_argument == 2, "colons");

/*
 * getopt_long's two tables; shorts has room for 3 characters an option and 4 more. One colon behind a letter
 * is a value, two are an optional one: as many as getopt.h's words for it are numbers.
 */
static void opt_tables(const struct command *command, struct option *longs, char *shorts)
{
	size_t n = command->n_opts;

	*shorts++ = ':';
	*shorts++ = 'h';
	for (size_t i = 0; i < n; i++) {
		const struct opt *opt = &command->opts[i];
		int has_arg = opt_has_arg(opt);

		longs[i] = (struct option){opt->name, has_arg, NULL, OPT_VAL_FIRST + (int)i};
		if (!opt->short_name)
			continue;
		*shorts++ = opt->short_name;
		for (int colons = 0; colons < has_arg; colons++)
			*shorts++ = ':';
	}
	*shorts = '\0';
	longs[n] = (struct option){"config", required_argument, NULL, OPT_VAL_FIRST + (int)n};
	longs[n + 1] = (struct option){"help", no_argument, NULL, OPT_VAL_FIRST + (int)n + 1};
}

/* What getopt_long did not take: c is '?' or ':'. */
static int opt_bad_word(const struct command *command, int c, char **argv)
{
	const char *word = argv[optind - 1];
	int len = (int)strcspn(word, "=");

	if (optopt && optopt < OPT_VAL_FIRST) /* a short one */
		return opt_usage(command,
				 c == ':' ? "option '-%c' needs a value" : "unknown option '-%c'",
				 optopt);
	if (c == ':')
		return opt_usage(command, "option '%s' needs a value", word);
	if (optopt)
		return opt_usage(command, "option '%.*s' takes no value", len, word);
	return opt_usage(command, "unknown option '%.*s'", len, word);
}

/* Take what getopt_long found: c is a short name or OPT_VAL_FIRST and an index. */
static int opt_take(struct opt_parse *p, int c, const char *text)
{
	size_t n = p->command->n_opts, i = 0;
	const struct opt *opt;
	char where[OPT_NAME_MAX + 3];

	if (c == 'h' || c == OPT_VAL_FIRST + (int)n + 1) {
		p->help = true;
		return 0;
	}
	if (c == OPT_VAL_FIRST + (int)n) {
		p->config = text;
		return 0;
	}
	while (c != OPT_VAL_FIRST + (int)i && c != p->command->opts[i].short_name)
		i++;
	opt = &p->command->opts[i];
	if (!text)
		text = opt->type == OPT_OPTIONAL_DURATION ? opt->optional_def : "true";
	snprintf(where, sizeof(where), "--%s", opt->name);
	return opt_set(p, opt, LEVEL_ARGS, where, text);
}

/* Returns 0 or an exit status; p->help if help was asked for. Operands stand from optind on. */
static int opt_from_args(struct opt_parse *p, int argc, char **argv)
{
	const struct command *command = p->command;
	_cleanup_free_ struct option *longs = calloc(command->n_opts + 3, sizeof(*longs));
	_cleanup_free_ char *shorts = malloc(3 * command->n_opts + 4);
	int status = 0, c;

	if (!longs || !shorts)
		return opt_no_memory(command);
	opt_tables(command, longs, shorts);
	opterr = 0;
	optind = 0; /* glibc: start anew, as the unit tests do many times */
	while (!status && !p->help && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		status = c == '?' || c == ':' ? opt_bad_word(command, c, argv)
					      : opt_take(p, c, optarg);
	if (!status && !p->help && (size_t)(argc - optind) > command->max_operands)
		status = opt_usage(command, "unexpected argument '%s'",
				   argv[optind + (int)command->max_operands]);
	return status;
}

/* The environment */

/* NULL if not set or empty. */
static const char *opt_env(const char *name, char *buf, size_t size)
{
	const char *value;

	snprintf(buf, size, OPT_ENV "%s", name);
	for (char *c = buf; *c; c++)
		*c = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
	value = getenv(buf);
	return value && *value ? value : NULL;
}

static int opt_from_env_list(struct opt_parse *p, const struct opt *opt, const char *where,
			     const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	char *save = NULL;
	int status = 0;

	if (!copy)
		return opt_no_memory(p->command);
	for (char *item = strtok_r(copy, ",", &save); item && !status;
	     item = strtok_r(NULL, ",", &save))
		status = opt_set(p, opt, LEVEL_ENV, where, item);
	return status;
}

static int opt_from_env(struct opt_parse *p)
{
	char name[sizeof(OPT_ENV) + OPT_NAME_MAX];
	int status = 0;

	for (size_t i = 0; i < p->command->n_opts && !status; i++) {
		const struct opt *opt = &p->command->opts[i];
		const char *value = opt_env(opt->name, name, sizeof(name));

		if (!value)
			continue;
		if (opt->type == OPT_LIST)
			status = opt_from_env_list(p, opt, name, value);
		else
			status = opt_set(p, opt, LEVEL_ENV, name, value);
	}
	if (!p->config)
		p->config = opt_env("config", name, sizeof(name));
	return status;
}

/* The file */

static int opt_from_file_value(const char *key, const char *value, unsigned int line, void *data)
{
	struct opt_parse *p = data;
	const struct opt *opt = opt_find(p->command, key);
	char where[512];

	if (!opt && opt_is_elsewhere(p->command, key, NULL))
		return 0;
	if (!opt)
		return opt_usage(p->command, "%s:%u: unknown key '%s'", p->config, line, key);
	if (opt->type != OPT_LIST && p->state[opt - p->command->opts].in_file)
		return opt_usage(p->command, "%s:%u: '%s' takes one value", p->config, line, key);
	p->state[opt - p->command->opts].in_file = true;
	snprintf(where, sizeof(where), "%s:%u: %s", p->config, line, key);
	return opt_set(p, opt, LEVEL_FILE, where, value);
}

static int opt_from_file(struct opt_parse *p)
{
	_cleanup_free_ char *why = NULL;
	unsigned int line = 0;
	int r;

	if (!p->config)
		return 0;
	r = yaml_read_config(p->config, opt_from_file_value, p, &line, &why);
	if (r >= 0) /* the callback's exit status */
		return r;
	if (r == -EINVAL)
		return opt_usage(p->command, "%s:%u: %s", p->config, line,
				 why ? why : "not a flat YAML mapping");
	log_fail("%s: cannot read %s: %s; give --config a YAML file", p->command->name, p->config,
		 why ? why : strerror(-r));
	return EXIT_CANNOT;
}

static int opt_from_defaults(struct opt_parse *p)
{
	int status = 0;

	for (size_t i = 0; i < p->command->n_opts && !status; i++) {
		const struct opt *opt = &p->command->opts[i];
		union opt_value any = {0};

		if (!opt->def)
			continue;
		if (opt->type == OPT_CHOICE && strcmp(opt->def, OPT_ANY) == 0) {
			any.choice = opt_count_choices(opt);
			opt_store(p, opt, LEVEL_DEFAULT, any);
			continue;
		}
		status = opt_set(p, opt, LEVEL_DEFAULT, opt->name, opt->def);
	}
	return status;
}

/* Running */

static int opt_gather(struct opt_parse *p, int argc, char **argv)
{
	int status = opt_from_args(p, argc, argv);

	if (!status && !p->help)
		status = opt_from_env(p);
	if (!status && !p->help)
		status = opt_from_file(p);
	if (!status && !p->help)
		status = opt_from_defaults(p);
	return status;
}

int opt_main(const struct command *command, int argc, char **argv)
{
	_cleanup_(opt_parse_done) struct opt_parse p = {.command = command};
	int status;

	/* A reader that leaves (dump | head) must give an error to report, not a silent death. */
	signal(SIGPIPE, SIG_IGN);
	p.target = calloc(1, MAX(command->options_size, 1u));
	p.state = calloc(MAX(command->n_opts, 1u), sizeof(*p.state));
	if (!p.target || !p.state)
		return opt_no_memory(command);
	status = opt_gather(&p, argc, argv);
	if (status)
		return status;
	if (opt_output_begin())
		return opt_no_memory(command);
	if (p.help)
		opt_print_help(command);
	else
		status = command->run(p.target, argv + optind, argc - optind);
	return opt_output_end(command->name, status);
}

/* A socket opened as descriptor 1 would get the output: hold the place with something that fails. */
static void opt_guard_descriptors(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};

	for (int fd = 0; fd < (int)ARRAY_SIZE(modes); fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", modes[fd]);
}

static int opt_help_commands(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (opt_output_begin())
		return log_fail("help: out of memory");
	opt_print_commands(known_commands, n_known_commands);
	return opt_output_end("help", EXIT_DONE);
}

int opt_dispatch(const struct command *const *commands, size_t n_commands, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	opt_guard_descriptors();
	known_commands = commands;
	n_known_commands = n_commands;
	if (!name) {
		log_fail("no command given; see 'egress-agent --help'");
		return EXIT_USAGE;
	}
	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0)
		return opt_help_commands();
	if (strcmp(name, "--version") == 0)
		name = "version";
	for (size_t i = 0; i < n_commands; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return opt_main(commands[i], argc - 1, argv + 1);
	log_fail("unknown %s '%s'; see 'egress-agent --help'", *name == '-' ? "option" : "command",
		 name);
	return EXIT_USAGE;
}
