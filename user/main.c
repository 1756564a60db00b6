// SPDX-License-Identifier: Apache-2.0
/*
 * The command table.
 *
 * Owns: which commands there are, and `version`. Must not know: what any other command does.
 */
#include <stdio.h>

#include "commands.h"
#include "util.h"

#ifndef EA_VERSION
#error "the build sets EA_VERSION"
#endif

static int version_run(void *options, char **operands, int n_operands)
{
	(void)options;
	(void)operands;
	(void)n_operands;
	printf("egress-agent %s\n", EA_VERSION);
	return EXIT_DONE;
}

static const struct command version_command = {
	.name = "version",
	.summary = "print the version",
	.usage = "",
	.example = "egress-agent version",
	.run = version_run,
};

int main(int argc, char **argv)
{
	static const struct command *const commands[] = {
		&run_command,    &dump_command,  &generate_command,
		&replay_command, &check_command, &version_command,
	};

	return opt_dispatch(commands, ARRAY_SIZE(commands), argc, argv);
}
