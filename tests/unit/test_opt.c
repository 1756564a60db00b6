// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of user/opt.c: where values come from, which one wins, and what is said about wrong ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "alloc.h"
#include "opt_work.h"
#include "util.h"

#define OUTPUT_SIZE 16384

struct options {
	const char *string, *other;
	struct opt_list list;
	uint32_t number, free_number;
	uint64_t duration, watch;
	int choice, filter;
	bool flag, on;
};

#define AT(field) offsetof(struct options, field)

static const char *const words[] = {"red", "green", "blue", NULL};

static const struct opt opts[] = {
	{.name = "string",
	 .short_name = 's',
	 .type = OPT_STRING,
	 .offset = AT(string),
	 .arg = "TEXT",
	 .help = "a string",
	 .def = "preset"},
	{.name = "other-string",
	 .type = OPT_STRING,
	 .offset = AT(other),
	 .arg = "TEXT",
	 .help = "a string without a default, and with a help text that is so long that it takes "
		 "several lines to print it within the width of a terminal"},
	{.name = "list",
	 .type = OPT_LIST,
	 .offset = AT(list),
	 .arg = "ITEM",
	 .help = "a list",
	 .def = "first"},
	{.name = "number",
	 .short_name = 'n',
	 .type = OPT_UINT,
	 .offset = AT(number),
	 .arg = "N",
	 .help = "a number",
	 .def = "7",
	 .min = 5,
	 .max = 50},
	{.name = "free-number",
	 .type = OPT_UINT,
	 .offset = AT(free_number),
	 .arg = "N",
	 .help = "a number without limits"},
	{.name = "duration",
	 .type = OPT_DURATION,
	 .offset = AT(duration),
	 .arg = "DURATION",
	 .help = "a duration",
	 .def = "24h"},
	{.name = "watch",
	 .short_name = 'w',
	 .type = OPT_OPTIONAL_DURATION,
	 .offset = AT(watch),
	 .arg = "INTERVAL",
	 .help = "again and again",
	 .optional_def = "2s"},
	{.name = "choice",
	 .type = OPT_CHOICE,
	 .offset = AT(choice),
	 .help = "a word",
	 .def = "green",
	 .choices = words},
	{.name = "filter",
	 .type = OPT_CHOICE,
	 .offset = AT(filter),
	 .arg = "COLOUR",
	 .help = "a word or none",
	 .def = OPT_ANY,
	 .choices = words},
	{.name = "flag", .short_name = 'f', .type = OPT_FLAG, .offset = AT(flag), .help = "a flag"},
	{.name = "on",
	 .type = OPT_FLAG,
	 .offset = AT(on),
	 .help = "a flag that is on",
	 .def = "true"},
	{.name = "off", .type = OPT_FLAG_OFF, .offset = AT(on), .help = "turns --on off"},
};

/* What the last run of the command saw; strings and lists as one line. */
static struct {
	int runs;
	struct options options;
	char string[256], other[256], list[256], operands[256];
} got;

static int status_to_return;
static const char *text_to_print;
static bool flush_on_the_way;

static int run(void *options, char **operands, int n_operands)
{
	const struct options *o = options;

	got.runs++;
	got.options = *o;
	snprintf(got.string, sizeof(got.string), "%s", o->string ? o->string : "(null)");
	snprintf(got.other, sizeof(got.other), "%s", o->other ? o->other : "(null)");
	for (size_t i = 0; i < o->list.n; i++)
		snprintf(got.list + strlen(got.list), sizeof(got.list) - strlen(got.list), "%s;",
			 o->list.items[i]);
	for (int i = 0; i < n_operands; i++)
		snprintf(got.operands + strlen(got.operands),
			 sizeof(got.operands) - strlen(got.operands), "%s;", operands[i]);
	if (text_to_print)
		printf("%s", text_to_print);
	return flush_on_the_way ? opt_flush("paint") : status_to_return;
}

static const struct command paint = {
	.name = "paint",
	.summary =
		"put colour on things, in a summary that is longer than one line of eighty columns",
	.usage = "[OPTION]... [FILE]",
	.example = "egress-agent paint --choice blue wall",
	.opts = opts,
	.n_opts = ARRAY_SIZE(opts),
	.max_operands = 1,
	.run = run,
	.options_size = sizeof(struct options),
};

/* A second command: shares --choice with other words, has a --depth of its own. */
static const char *const tools[] = {"brush", "roller", NULL};
static const struct opt scrub_opts[] = {
	{.name = "choice",
	 .type = OPT_CHOICE,
	 .offset = AT(choice),
	 .help = "a tool",
	 .def = "brush",
	 .choices = tools},
	{.name = "depth", .type = OPT_UINT, .offset = AT(number), .arg = "N", .help = "how deep"},
};
static const struct command scrub = {
	.name = "scrub",
	.summary = "clean things",
	.usage = "",
	.opts = scrub_opts,
	.n_opts = ARRAY_SIZE(scrub_opts),
	.run = run,
	.options_size = sizeof(struct options),
};
/* And one without any option. */
static int run_bare(void *options, char **operands, int n_operands)
{
	(void)options;
	(void)operands;
	got.runs++;
	return n_operands;
}

static const struct command version = {
	.name = "version", .summary = "print the version", .usage = "", .run = run_bare};

static const struct command *const commands[] = {&paint, &scrub, &version};

/* Running with both outputs caught */

static char out[OUTPUT_SIZE], err[OUTPUT_SIZE];
/* A file in memory: nothing is left behind, however the test ends. */
static char config_path[32];
static int config_fd;

static void catch_end(int caught, int saved, int fd, char *text)
{
	ssize_t n;

	assert_int_equal(dup2(saved, fd), fd);
	close(saved);
	assert_int_equal(lseek(caught, 0, SEEK_SET), 0);
	n = read(caught, text, OUTPUT_SIZE - 1);
	close(caught);
	assert_true(n >= 0);
	text[n] = '\0';
}

static int catch_begin(int fd, int *ret_saved)
{
	int caught = memfd_create("caught", 0);

	assert_true(caught >= 0);
	*ret_saved = dup(fd);
	assert_true(*ret_saved >= 0);
	assert_int_equal(dup2(caught, fd), fd);
	return caught;
}

/* The whole program with a command line of words separated by one blank. */
static int play(const char *line)
{
	int saved_out, saved_err, caught_out, caught_err, status, argc = 1;
	char copy[512], *argv[32] = {(char *)"egress-agent"}, *save = NULL;

	memset(&got, 0, sizeof(got));
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	fflush(stdout);
	caught_out = catch_begin(1, &saved_out);
	caught_err = catch_begin(2, &saved_err);
	status = opt_dispatch(commands, ARRAY_SIZE(commands), argc, argv);
	fflush(stdout);
	catch_end(caught_err, saved_err, 2, err);
	catch_end(caught_out, saved_out, 1, out);
	return status;
}

static void play_ok(const char *line)
{
	int status = play(line);

	if (status || got.runs != 1 || *err)
		fail_msg("'%s': status %d, %d runs: %s", line, status, got.runs, err);
}

/* Wrong usage: status 2, the command did not run, one line on stderr, and it is this one. */
static void play_wrong(const char *line, const char *message)
{
	char want[1024];
	int status = play(line);

	snprintf(want, sizeof(want), "egress-agent: %s\n", message);
	if (status != EXIT_USAGE || got.runs || *out || strcmp(err, want) != 0)
		fail_msg("'%s': status %d, %d runs\n got %s\nwant %s", line, status, got.runs, err,
			 want);
}

static void write_config(const char *text)
{
	FILE *file = fopen(config_path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int clean_environment(void **state)
{
	(void)state;
	clearenv();
	text_to_print = NULL;
	flush_on_the_way = false;
	status_to_return = 0;
	return 0;
}

static int config_setup(void **state)
{
	(void)state;
	config_fd = memfd_create("config", 0);
	snprintf(config_path, sizeof(config_path), "/proc/self/fd/%d", config_fd);
	return config_fd < 0 ? -1 : 0;
}

static int config_teardown(void **state)
{
	(void)state;
	return close(config_fd);
}

/* Values */

static void test_defaults(void **state)
{
	(void)state;
	play_ok("paint");
	assert_string_equal(got.string, "preset");
	assert_string_equal(got.other, "(null)");
	assert_string_equal(got.list, "first;");
	assert_int_equal(got.options.number, 7);
	assert_int_equal(got.options.free_number, 0);
	assert_int_equal(got.options.duration, 86400000);
	assert_int_equal(got.options.watch, 0);
	assert_int_equal(got.options.choice, 1);
	assert_int_equal(got.options.filter, 3);
	assert_false(got.options.flag);
	assert_true(got.options.on);
	assert_string_equal(got.operands, "");
}

static void test_command_line(void **state)
{
	(void)state;
	play_ok("paint --string=x --other-string y --list a --list=b --number 50 --free-number "
		"4294967295 --duration 7d --watch=500ms --choice blue --filter red --flag --off "
		"wall");
	assert_string_equal(got.string, "x");
	assert_string_equal(got.other, "y");
	assert_string_equal(got.list, "a;b;");
	assert_int_equal(got.options.number, 50);
	assert_int_equal(got.options.free_number, UINT32_MAX);
	assert_int_equal(got.options.duration, 7 * 86400000);
	assert_int_equal(got.options.watch, 500);
	assert_int_equal(got.options.choice, 2);
	assert_int_equal(got.options.filter, 0);
	assert_true(got.options.flag);
	assert_false(got.options.on);
	assert_string_equal(got.operands, "wall;");
}

static void test_short_options(void **state)
{
	(void)state;
	play_ok("paint -fsx -n 5 -w wall");
	assert_string_equal(got.string, "x");
	assert_int_equal(got.options.number, 5);
	assert_int_equal(got.options.watch, 2000);
	assert_true(got.options.flag);
	assert_string_equal(got.operands, "wall;");
	play_ok("paint -w5m -- -f");
	assert_int_equal(got.options.watch, 300000);
	assert_false(got.options.flag);
	assert_string_equal(got.operands, "-f;");
}

static void test_last_one_wins(void **state)
{
	(void)state;
	play_ok("paint --string a -s b --string=c --off --on --number 5 --number 6");
	assert_string_equal(got.string, "c");
	assert_true(got.options.on);
	assert_int_equal(got.options.number, 6);
	play_ok("paint --on --off");
	assert_false(got.options.on);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{"0s", 0},         {"1ms", 1},        {"10s", 10000},  {"5m", 300000},
		{"24h", 86400000}, {"7d", 604800000}, {"010s", 10000}, {"10000d", 864000000000}};
	static const char *const bad[] = {
		"",    "5",   "s",    "-1s",    "1.5s", "5 s",   "5S",
		"5ss", "+5s", "0x5s", "10001d", "5w",   "1h30m", "99999999999999999999h"};
	char line[64], message[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		snprintf(line, sizeof(line), "paint --duration=%s", good[i].text);
		play_ok(line);
		assert_int_equal(got.options.duration, good[i].ms);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (strchr(bad[i], ' '))
			continue;
		snprintf(line, sizeof(line), "paint --duration=%s", bad[i]);
		snprintf(message, sizeof(message),
			 "paint: --duration: '%s' is not a duration (500ms, 10s, 5m, 24h, 7d); "
			 "see 'egress-agent paint --help'",
			 bad[i]);
		play_wrong(line, message);
	}
	play_wrong("paint --watch=0s",
		   "paint: --watch: '0s' is not a duration above 0 (500ms, 10s, "
		   "5m); see 'egress-agent paint --help'");
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {
		"4", "51", "", "-5", "+5", "5x", "0x10", "5.0", "18446744073709551622"};
	char line[64], message[128];

	(void)state;
	play_ok("paint --number=05");
	assert_int_equal(got.options.number, 5);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(line, sizeof(line), "paint --number=%s", bad[i]);
		snprintf(message, sizeof(message),
			 "paint: --number: '%s' is not a number from 5 to 50; see 'egress-agent "
			 "paint --help'",
			 bad[i]);
		play_wrong(line, message);
	}
	play_wrong("paint --free-number 4294967296",
		   "paint: --free-number: '4294967296' is not a number from 0 to 4294967295; see "
		   "'egress-agent paint --help'");
}

/* Types that the command above has not got, by their functions alone. */
static const struct opt off_or_number = {
	.name = "x", .type = OPT_UINT_OFF, .def = "off", .min = 1, .max = 9};
static const struct opt unbounded = {.name = "x", .type = OPT_UINT_OFF};
static const struct opt some_time = {.name = "x", .type = OPT_DURATION, .min = 1};

static void test_off_or_number(void **state)
{
	static const char *const bad[] = {"", "Off", "on", "0", "10", "-1", "off "};
	union opt_value value = {0};
	char text[64];

	(void)state;
	assert_int_equal(opt_parse_value(&off_or_number, "off", &value), 0);
	assert_int_equal(value.number, OPT_OFF);
	assert_int_equal(opt_parse_value(&off_or_number, "9", &value), 0);
	assert_int_equal(value.number, 9);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(opt_parse_value(&off_or_number, bad[i], &value), -EINVAL);
	/* No number is off. */
	assert_int_equal(opt_parse_value(&unbounded, "4294967295", &value), -EINVAL);
	assert_int_equal(opt_parse_value(&unbounded, "4294967294", &value), 0);
	opt_describe(&off_or_number, text, sizeof(text));
	assert_string_equal(text, "off or a number from 1 to 9");
	assert_int_equal(opt_parse_value(&some_time, "0s", &value), -EINVAL);
	assert_int_equal(opt_parse_value(&some_time, "1ms", &value), 0);
	opt_describe(&some_time, text, sizeof(text));
	assert_string_equal(text, "a duration above 0 (500ms, 10s, 5m, 24h, 7d)");
}

/* A value as text is a value again; what is the default has none. */
static void test_format(void **state)
{
	static const struct {
		const char *name, *text;
	} cases[] = {
		{"string", "other"}, {"other-string", ""}, {"number", "8"},   {"free-number", "5"},
		{"duration", "1ms"}, {"watch", "3000ms"},  {"choice", "red"}, {"filter", "blue"},
		{"flag", "true"},    {"on", "false"},
	};
	struct options o = {.string = "preset",
			    .number = 7,
			    .duration = 86400000,
			    .choice = 1,
			    .filter = 3,
			    .on = true};
	union opt_value value = {0};
	char buf[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(opts); i++)
		if (opts[i].def && opts[i].type != OPT_LIST)
			assert_null(opt_format_value(&opts[i], &o, buf, sizeof(buf)));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < ARRAY_SIZE(opts); k++) {
			const char *text;

			if (strcmp(opts[k].name, cases[i].name) != 0)
				continue;
			assert_int_equal(opt_parse_value(&opts[k], cases[i].text, &value), 0);
			opt_put_value(&opts[k], &o, value);
			text = opt_format_value(&opts[k], &o, buf, sizeof(buf));
			assert_non_null(text);
			assert_string_equal(text, cases[i].text);
		}
}

static void test_wrong_usage(void **state)
{
#define SEE_HELP "; see 'egress-agent paint --help'"
	static const char *const cases[][2] = {
		{"", "no command given; see 'egress-agent --help'"},
		{"frob", "unknown command 'frob'; see 'egress-agent --help'"},
		{"pain", "unknown command 'pain'; see 'egress-agent --help'"},
		{"--frob paint", "unknown option '--frob'; see 'egress-agent --help'"},
		{"paint --frob", "paint: unknown option '--frob'" SEE_HELP},
		{"paint --frob=1", "paint: unknown option '--frob'" SEE_HELP},
		{"paint wall --frob", "paint: unknown option '--frob'" SEE_HELP},
		{"paint --o", "paint: unknown option '--o'" SEE_HELP}, /* on, off, other-string */
		{"paint -x", "paint: unknown option '-x'" SEE_HELP},
		{"paint -fx", "paint: unknown option '-x'" SEE_HELP},
		{"paint --string", "paint: option '--string' needs a value" SEE_HELP},
		{"paint -s", "paint: option '-s' needs a value" SEE_HELP},
		{"paint --config", "paint: option '--config' needs a value" SEE_HELP},
		{"paint --flag=true", "paint: option '--flag' takes no value" SEE_HELP},
		{"paint --help=x", "paint: option '--help' takes no value" SEE_HELP},
		{"paint a b", "paint: unexpected argument 'b'" SEE_HELP},
		{"paint --choice pink",
		 "paint: --choice: 'pink' is not one of red, green, blue" SEE_HELP},
		{"paint --choice=", "paint: --choice: '' is not one of red, green, blue" SEE_HELP},
		{"paint --filter=", "paint: --filter: '' is not one of red, green, blue" SEE_HELP},
		{"paint --frob --help", "paint: unknown option '--frob'" SEE_HELP},
		{"paint \x1b[31m x", "paint: unexpected argument 'x'" SEE_HELP},
		{"paint --\x1b[31m", "paint: unknown option '--\\x1b[31m'" SEE_HELP},
		{"version x",
		 "version: unexpected argument 'x'; see 'egress-agent version --help'"},
		{"version -v", "version: unknown option '-v'; see 'egress-agent version --help'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		play_wrong(cases[i][0], cases[i][1]);
}

/* Environment */

static void test_environment(void **state)
{
	(void)state;
	setenv("EGRESS_AGENT_OTHER_STRING", "from env", 1);
	setenv("EGRESS_AGENT_LIST", "a,b,,c", 1);
	setenv("EGRESS_AGENT_NUMBER", "42", 1);
	setenv("EGRESS_AGENT_FLAG", "true", 1);
	setenv("EGRESS_AGENT_OFF", "true", 1);
	setenv("EGRESS_AGENT_WATCH", "3s", 1);
	setenv("EGRESS_AGENT_STRING", "", 1);
	play_ok("paint");
	assert_string_equal(got.other, "from env");
	assert_string_equal(got.list, "a;b;c;");
	assert_int_equal(got.options.number, 42);
	assert_true(got.options.flag);
	assert_false(got.options.on);
	assert_int_equal(got.options.watch, 3000);
	assert_string_equal(got.string, "preset");
}

static void test_environment_refuses(void **state)
{
	(void)state;
	setenv("EGRESS_AGENT_NUMBER", "many", 1);
	play_wrong("paint", "paint: EGRESS_AGENT_NUMBER: 'many' is not a number from 5 to 50; see "
			    "'egress-agent paint --help'");
	clearenv();
	setenv("EGRESS_AGENT_FLAG", "yes", 1);
	play_wrong("paint", "paint: EGRESS_AGENT_FLAG: 'yes' is not true or false; see "
			    "'egress-agent paint --help'");
}

static void test_foreign_environment(void **state)
{
	(void)state;
	setenv("EGRESS_AGENT_PORT", "tcp://10.0.0.1:9990", 1); /* Kubernetes service links */
	setenv("EGRESS_AGENT_DEPTH", "x", 1);
	setenv("EGRESS_AGENT_HELP", "true", 1);
	play_ok("paint");
	/* The other command's word for a shared name is not this one's business... */
	setenv("EGRESS_AGENT_CHOICE", "roller", 1);
	play_ok("paint");
	assert_int_equal(got.options.choice, 1);
	play_wrong("scrub", "scrub: EGRESS_AGENT_DEPTH: 'x' is not a number from 0 to 4294967295; "
			    "see 'egress-agent scrub --help'");
	/* ... a word that is nobody's is an error, and so is the other's on the command line. */
	setenv("EGRESS_AGENT_CHOICE", "pink", 1);
	play_wrong("paint",
		   "paint: EGRESS_AGENT_CHOICE: 'pink' is not one of red, green, blue" SEE_HELP);
	clearenv();
	play_wrong("paint --choice roller",
		   "paint: --choice: 'roller' is not one of red, green, blue" SEE_HELP);
}

/* File */

static void play_config(const char *text, const char *line)
{
	char with[512];

	write_config(text);
	snprintf(with, sizeof(with), "%s --config %s", line, config_path);
	play_ok(with);
}

static void test_file(void **state)
{
	(void)state;
	play_config("# colours\nstring: from file\nlist: [a, 'b,c']\nnumber: 42\nflag: true\n"
		    "off: false\nduration: 5m\nchoice: blue\ndepth: ignored\n",
		    "paint");
	assert_string_equal(got.string, "from file");
	assert_string_equal(got.list, "a;b,c;");
	assert_int_equal(got.options.number, 42);
	assert_true(got.options.flag);
	assert_true(got.options.on);
	assert_int_equal(got.options.duration, 300000);
	assert_int_equal(got.options.choice, 2);
	play_config("list: one\non: false\n", "paint");
	assert_string_equal(got.list, "one;");
	assert_false(got.options.on);
	play_config("", "paint");
	assert_string_equal(got.string, "preset");
	play_config("choice: roller\n", "paint");
	assert_int_equal(got.options.choice, 1);
}

static void test_file_from_environment(void **state)
{
	(void)state;
	write_config("string: from file\n");
	setenv("EGRESS_AGENT_CONFIG", config_path, 1);
	play_ok("paint");
	assert_string_equal(got.string, "from file");
	setenv("EGRESS_AGENT_CONFIG", "/nonexistent", 1);
	play_config("string: other file\n", "paint");
	assert_string_equal(got.string, "other file");
}

static void test_file_refuses(void **state)
{
	static const struct {
		const char *text, *what;
	} cases[] = {
		{"string: x\nfrob: 1\n", "2: unknown key 'frob'"},
		{"String: x\n", "1: unknown key 'String'"},
		{"config: x\n", "1: unknown key 'config'"},
		{"help: true\n", "1: unknown key 'help'"},
		{"\nnumber: many\n", "2: number: 'many' is not a number from 5 to 50"},
		{"choice: pink\n", "1: choice: 'pink' is not one of red, green, blue"},
		{"flag: yes\n", "1: flag: 'yes' is not true or false"},
		{"string: [a, b]\n", "1: 'string' takes one value"},
		{"string: a\nstring: b\n", "2: 'string' takes one value"},
		{"string:\n", "1: 'string' needs a plain value"},
		{"string: {a: b}\n", "1: 'string' needs a plain value"},
		{"- string\n", "1: not a mapping (option: value)"},
		{"a: b\n---\n- a\n", "1: unknown key 'a'"},
		{"string: x\n---\n- a\n", "3: more than one document"},
	};
	char line[256], message[512];

	(void)state;
	snprintf(line, sizeof(line), "paint --config=%s", config_path);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_config(cases[i].text);
		snprintf(message, sizeof(message), "paint: %s:%s" SEE_HELP, config_path,
			 cases[i].what);
		play_wrong(line, message);
	}
}

static void test_file_unreadable(void **state)
{
	(void)state;
	assert_int_equal(play("paint --config /nonexistent/file"), EXIT_CANNOT);
	assert_int_equal(got.runs, 0);
	assert_string_equal(err, "egress-agent: paint: cannot read /nonexistent/file: No such file "
				 "or directory; give --config a YAML file\n");
	assert_int_equal(play("paint --config /tmp"), EXIT_CANNOT);
	assert_non_null(strstr(err, "cannot read /tmp: Is a directory"));
}

static void test_precedence(void **state)
{
	static const char text[] = "string: file\nother-string: file\nlist: [file, more]\n"
				   "number: 10\non: true\n";

	(void)state;
	setenv("EGRESS_AGENT_OTHER_STRING", "environment", 1);
	setenv("EGRESS_AGENT_NUMBER", "20", 1);
	setenv("EGRESS_AGENT_LIST", "environment", 1);
	setenv("EGRESS_AGENT_OFF", "true", 1);
	play_config(text, "paint --number 30 --list line --list two");
	assert_string_equal(got.string, "file");
	assert_string_equal(got.other, "environment");
	assert_int_equal(got.options.number, 30);
	assert_string_equal(got.list, "line;two;");
	assert_false(got.options.on);
	play_config(text, "paint --on");
	assert_string_equal(got.list, "environment;");
	assert_true(got.options.on);
}

/* Help and output */

static void check_width(const char *text)
{
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\n");

		if (len > 80 || (len && line[len - 1] == ' '))
			fail_msg("too long or ends in a blank: '%.*s'", (int)len, line);
	}
}

static void test_help(void **state)
{
	static const char *const parts[] = {
		"Usage: egress-agent paint [OPTION]... [FILE]\n\nPut colour on things, in a "
		"summary",
		"\n  -s, --string TEXT       a string (default: preset)\n",
		"\n      --list ITEM         a list; repeatable (default: first)\n",
		"\n  -n, --number N          a number (default: 7)\n",
		"\n      --free-number N     a number without limits\n",
		"\n  -w, --watch[=INTERVAL]  again and again\n",
		"\n      --choice red|green|blue\n                          a word (default: "
		"green)\n",
		"\n      --filter COLOUR     a word or none: red, green, blue\n",
		"\n  -f, --flag              a flag\n",
		"\n      --on                a flag that is on (default)\n",
		"\n      --off               turns --on off\n",
		"\n      --config FILE ",
		"\n  -h, --help ",
		"\nExample:\n  egress-agent paint --choice blue wall\n",
	};
	char copy[OUTPUT_SIZE];

	(void)state;
	assert_int_equal(play("paint --help"), EXIT_DONE);
	assert_int_equal(got.runs, 0);
	assert_string_equal(err, "");
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (!strstr(out, parts[i]))
			fail_msg("no '%s' in:\n%s", parts[i], out);
	check_width(out);
	memcpy(copy, out, sizeof(copy));
	setenv("EGRESS_AGENT_NUMBER", "many", 1);
	assert_int_equal(play("paint -h a b"), EXIT_DONE);
	assert_string_equal(out, copy);
}

static void test_help_of_all(void **state)
{
	(void)state;
	assert_int_equal(play("--help"), EXIT_DONE);
	assert_string_equal(err, "");
	check_width(out);
	assert_non_null(strstr(out, "\n  paint      put colour on things, "));
	assert_non_null(strstr(out, "\n  scrub      clean things\n"));
	assert_int_equal(play("-h"), EXIT_DONE);
	assert_int_equal(play("version -h"), EXIT_DONE);
	check_width(out);
	play_ok("--version");
}

static void test_status_is_the_commands(void **state)
{
	(void)state;
	text_to_print = "data";
	status_to_return = EXIT_DIFFERS;
	assert_int_equal(play("paint"), EXIT_DIFFERS);
	assert_string_equal(out, "data");
}

/* Run paint with this as its standard output. */
static int play_into(int fd)
{
	int saved_out = dup(1), saved_err, caught_err, status;
	char *argv[] = {(char *)"egress-agent", (char *)"paint", NULL};

	assert_true(saved_out >= 0 && fd >= 0);
	fflush(stdout);
	assert_int_equal(dup2(fd, 1), 1);
	caught_err = catch_begin(2, &saved_err);
	status = opt_dispatch(commands, ARRAY_SIZE(commands), 2, argv);
	catch_end(caught_err, saved_err, 2, err);
	assert_int_equal(dup2(saved_out, 1), 1);
	close(saved_out);
	close(fd);
	assert_false(ferror(stdout));
	return status;
}

/* More than any buffer of stdio: it fails in the middle of the command's printing. */
static const char *much_text(void)
{
	static char text[1 << 18];

	memset(text, 'x', sizeof(text) - 1);
	return text;
}

static const char full_disk[] =
	"egress-agent: paint: cannot write to standard output: No space left on device; the output "
	"is not complete\n";

static void test_full_disk(void **state)
{
	(void)state;
	text_to_print = "data";
	assert_int_equal(play_into(open("/dev/full", O_WRONLY)), EXIT_CANNOT);
	assert_string_equal(err, full_disk);
	text_to_print = much_text();
	assert_int_equal(play_into(open("/dev/full", O_WRONLY)), EXIT_CANNOT);
	assert_string_equal(err, full_disk);
	status_to_return = EXIT_DIFFERS;
	assert_int_equal(play_into(open("/dev/full", O_WRONLY)), EXIT_CANNOT);
	assert_string_equal(err, full_disk);
	/* What failed otherwise has said so. */
	status_to_return = EXIT_USAGE;
	assert_int_equal(play_into(open("/dev/full", O_WRONLY)), EXIT_USAGE);
	assert_string_equal(err, "");
}

/* A command that flushes between its lines: the same line, once. */
static void test_full_disk_on_the_way(void **state)
{
	(void)state;
	flush_on_the_way = true;
	text_to_print = "data";
	assert_int_equal(play_into(open("/dev/full", O_WRONLY)), EXIT_CANNOT);
	assert_string_equal(err, full_disk);
	play_ok("paint");
	assert_string_equal(out, "data");
}

/* dump | head: the reader has what it wants. */
static void test_reader_left(void **state)
{
	const char *const texts[] = {"data", much_text()};
	int ends[2];

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(texts); i++) {
		flush_on_the_way = i % 2;
		text_to_print = texts[i / 2];
		assert_int_equal(pipe(ends), 0);
		close(ends[0]);
		assert_int_equal(play_into(ends[1]), EXIT_CANNOT);
		assert_string_equal(err, "");
	}
}

static void test_closed_output(void **state)
{
	int saved_out = dup(1), saved_err, caught_err, status;
	char *argv[] = {(char *)"egress-agent", (char *)"paint", NULL};

	(void)state;
	text_to_print = "data";
	assert_true(saved_out >= 0);
	fflush(stdout);
	caught_err = catch_begin(2, &saved_err);
	close(1);
	status = opt_dispatch(commands, ARRAY_SIZE(commands), 2, argv);
	/* The place is held: what the command opens next must not become its output. */
	assert_true(fcntl(1, F_GETFD) >= 0);
	catch_end(caught_err, saved_err, 2, err);
	assert_int_equal(dup2(saved_out, 1), 1);
	close(saved_out);
	assert_int_equal(status, EXIT_CANNOT);
	assert_non_null(strstr(err, "cannot write to standard output"));
}

static void test_out_of_memory(void **state)
{
	unsigned long n = 0;
	char line[256];
	int status;

	(void)state;
	write_config("string: file\nlist: [a, b]\n");
	setenv("EGRESS_AGENT_OTHER_STRING", "environment", 1);
	snprintf(line, sizeof(line), "paint --number 9 --config %s", config_path);
	do {
		alloc_fail_at(++n);
		status = play(line);
		if (alloc_failed()) {
			assert_int_equal(status, EXIT_CANNOT);
			assert_int_equal(got.runs, 0);
			assert_true(strstr(err, "emory") &&
				    strchr(err, '\n') == strrchr(err, '\n'));
		}
	} while (alloc_failed());
	alloc_fail_at(0);
	assert_int_equal(status, EXIT_DONE);
	assert_string_equal(got.list, "a;b;");
	assert_true(n > 8);
}

#define TEST(name) cmocka_unit_test_setup(name, clean_environment)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defaults),
		TEST(test_command_line),
		TEST(test_short_options),
		TEST(test_last_one_wins),
		TEST(test_durations),
		TEST(test_numbers),
		TEST(test_off_or_number),
		TEST(test_format),
		TEST(test_wrong_usage),
		TEST(test_environment),
		TEST(test_environment_refuses),
		TEST(test_foreign_environment),
		TEST(test_file),
		TEST(test_file_from_environment),
		TEST(test_file_refuses),
		TEST(test_file_unreadable),
		TEST(test_precedence),
		TEST(test_help),
		TEST(test_help_of_all),
		TEST(test_status_is_the_commands),
		TEST(test_full_disk),
		TEST(test_full_disk_on_the_way),
		TEST(test_reader_left),
		TEST(test_closed_output),
		TEST(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
