// SPDX-License-Identifier: Apache-2.0
/*
 * Help output, see opt_work.h. It fits 80 columns whatever a table says, but for usage and example lines.
 *
 * Owns: its layout. Must not know: how options are parsed.
 */
#include <ctype.h>
#include <string.h>

#include "opt_work.h"
#include "util.h"

#define HELP_WIDTH  79
#define HELP_COLUMN 26

/* Print text from `column` on, where the cursor stands, and continue there; ends the line. */
static void opt_print_wrapped(const char *text, int column)
{
	int at = column;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (at > column && at + 1 + len > HELP_WIDTH) {
			printf("\n%*s", column, "");
			at = column;
		}
		at += printf("%s%.*s", at > column ? " " : "", len, text);
		text += len;
		text += strspn(text, " ");
	}
	printf("\n");
}

static void opt_print_row(const char *left, const char *text)
{
	int n = printf("%s", left);

	if (n > HELP_COLUMN - 2)
		n = printf("\n") - 1;
	printf("%*s", HELP_COLUMN - n, "");
	opt_print_wrapped(text, HELP_COLUMN);
}

static void opt_print_option(const struct opt *opt)
{
	char left[512], text[1024], words[256] = "", by_name[8] = "    ";
	const char *arg = opt->arg ? opt->arg : "";
	size_t n;

	if (opt->short_name)
		snprintf(by_name, sizeof(by_name), "-%c, ", opt->short_name);
	if (opt->type == OPT_CHOICE)
		opt_join_choices(opt, opt->arg ? ", " : "|", words, sizeof(words));
	if (opt->type == OPT_CHOICE && !opt->arg)
		arg = words;
	if (opt->type == OPT_OPTIONAL_DURATION)
		snprintf(left, sizeof(left), "  %s--%s[=%s]", by_name, opt->name, arg);
	else
		snprintf(left, sizeof(left), "  %s--%s%s%s", by_name, opt->name, *arg ? " " : "",
			 arg);

	n = (size_t)snprintf(text, sizeof(text), "%s", opt->help);
	if (opt->type == OPT_CHOICE && opt->arg && !strchr(opt->arg, '|'))
		n += (size_t)snprintf(text + n, sizeof(text) - n, ": %s", words);
	if (opt->type == OPT_LIST)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "; repeatable");
	if (opt->type == OPT_FLAG && opt->def && strcmp(opt->def, "true") == 0)
		snprintf(text + n, sizeof(text) - n, " (default)");
	else if (opt->def && *opt->def)
		snprintf(text + n, sizeof(text) - n, " (default: %s)", opt->def);
	opt_print_row(left, text);
}

void opt_print_help(const struct command *command)
{
	char text[512];

	printf("Usage: egress-agent %s%s%s\n\n", command->name, *command->usage ? " " : "",
	       command->usage);
	snprintf(text, sizeof(text), "%s.", command->summary);
	text[0] = (char)toupper((unsigned char)text[0]);
	opt_print_wrapped(text, 0);
	printf("\nOptions:\n");
	for (size_t i = 0; i < command->n_opts; i++)
		opt_print_option(&command->opts[i]);
	opt_print_row("      --config FILE", "read options from this YAML file (option: value)");
	opt_print_row("  -h, --help", "print this help");
	printf("\nEvery option can also stand in the --config file under its long name and in the\n"
	       "environment as EGRESS_AGENT_<OPTION>. Command line, environment, file, default:\n"
	       "the first one that has a value wins.\n");
	if (command->example)
		printf("\nExample:\n  %s\n", command->example);
}

void opt_print_commands(const struct command *const *commands, size_t n)
{
	printf("Usage: egress-agent COMMAND [OPTION]...\n\n"
	       "See what leaves the pods, name it, measure it, write the Istio configuration.\n\n"
	       "Commands:\n");
	for (size_t i = 0; i < n; i++) {
		printf("  %-10s ", commands[i]->name);
		opt_print_wrapped(commands[i]->summary, 13);
	}
	printf("\n'egress-agent COMMAND --help' lists the options of a command.\n");
}
