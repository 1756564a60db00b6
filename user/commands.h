/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands main.c puts into its table, one file each.
 *
 * Owns: nothing but their names. Must not know: what they do.
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "opt.h"

extern const struct command run_command;
extern const struct command dump_command;
extern const struct command generate_command;
extern const struct command replay_command;
extern const struct command check_command;

#endif
