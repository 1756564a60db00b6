/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options: one table per command is the parser, the help text, the defaults and the target struct.
 *
 * Owns: getopt_long, the environment (EGRESS_AGENT_<OPTION>), the --config file's keys, help output and
 * the one-line usage errors. Command line > environment > file > default.
 * Must not know: what any option means.
 *
 * Every command has -h/--help and --config FILE (EGRESS_AGENT_CONFIG) without listing them. An empty
 * environment variable counts as not set. A list given at one level replaces the list of the level below.
 * One file and one environment may serve all commands: a key or variable of another command is ignored,
 * and so is a value that only the other command's option of the same name takes (`scope: mesh` is
 * generate's, dump has a --scope of its own). This needs opt_dispatch(), which knows all commands.
 */
#ifndef OPT_H
#define OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
	OPT_STRING, /* const char *; the table's default may be NULL */
	OPT_LIST, /* struct opt_list; repeatable; in a file: a sequence or one scalar; in the environment: comma separated */
	OPT_UINT, /* uint32_t, min..max */
	OPT_UINT_OFF, /* the same, or the word off: OPT_OFF */
	OPT_DURATION, /* uint64_t milliseconds, at least min; written 500ms, 10s, 5m, 24h, 7d */
	OPT_CHOICE, /* int: index into choices; with the default OPT_ANY their number (the enum's _MAX) */
	OPT_FLAG, /* bool; no value on the command line; true/false elsewhere */
	OPT_OPTIONAL_DURATION, /* like OPT_DURATION, value optional on the command line (--watch[=2s]); 0 is "not given" */
	OPT_FLAG_OFF, /* like OPT_FLAG but turns its bool off: a second name that shares another flag's target */
};

/* Value of an OPT_UINT_OFF that is off. */
#define OPT_OFF UINT32_MAX

/* Default of an OPT_CHOICE that means: none chosen, no filter. */
#define OPT_ANY ""

struct opt_list {
	const char **items; /* owned by opt_main(), valid until the command's run() returns */
	size_t n;
};

struct opt {
	const char *name; /* long name without dashes */
	char short_name;  /* 0 if none */
	enum opt_type type;
	size_t offset;     /* of the target in the command's options struct */
	const char *arg;   /* "DIR", "ADDR:PORT"; NULL for flags */
	const char *help;  /* one phrase, lower case, no full stop */
	const char *def;   /* default in text form, parsed like a value; NULL: zero/NULL/off */
	uint32_t min, max; /* OPT_UINT, OPT_UINT_OFF; max 0: no limit but the type's */
	const char *const *choices; /* OPT_CHOICE, NULL-terminated */
	const char *optional_def;   /* OPT_OPTIONAL_DURATION: value when given without one */
};

struct command {
	const char *name;
	const char *summary; /* one line for the list of commands */
	const char *usage;   /* "[OPTION]... [FILE]" or similar, after the command's name */
	const char *example; /* one command line, shown under "Example:" */
	const struct opt *opts;
	size_t n_opts;
	size_t max_operands;
	int (*run)(void *options, char **operands, int n_operands); /* returns the exit status */
	size_t options_size;
};

enum { EXIT_DONE = 0, EXIT_CANNOT = 1, EXIT_USAGE = 2, EXIT_DIFFERS = 3 };

/*
 * Parse argv (argv[0] is the command's name) and run it. -h/--help prints usage, every option with its
 * default, and the example to stdout and returns 0. A wrong word prints one line
 *   egress-agent: run: unknown option '--foo'; see 'egress-agent run --help'
 * and returns EXIT_USAGE; an unreadable or wrong config file names the file and line (EXIT_USAGE for an
 * unknown key or bad value, EXIT_CANNOT if it cannot be read). stdout is flushed and checked: a failed
 * write (a full disk) makes the status EXIT_CANNOT with one line, a reader that has left (dump | head) makes it
 * EXIT_CANNOT without.
 */
int opt_main(const struct command *command, int argc, char **argv);

/*
 * For a command that prints bit by bit: flush stdout and check all that was written so far, as opt_main() does at
 * the end. Returns EXIT_DONE, or EXIT_CANNOT, which the command is to end with: the line has been said.
 */
int opt_flush(const char *name);

/*
 * The whole program: argv[1] names one of the commands, or is -h/--help, which lists them (--version: the
 * command of that name). No command or an unknown one is wrong usage. Returns the exit status.
 */
int opt_dispatch(const struct command *const *commands, size_t n_commands, int argc, char **argv);

#endif
