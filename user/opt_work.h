/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the four files behind opt.h share: values as text (opt_value.c), help (opt_help.c) and standard output
 * (opt_output.c); opt.c knows where values come from. Must not know: the same as opt.h.
 */
#ifndef OPT_WORK_H
#define OPT_WORK_H

#include "opt.h"

union opt_value {
	const char *string;
	uint32_t number;
	uint64_t ms;
	int choice;
	bool flag;
};

/* -EINVAL if text is no value of this option. A string is not copied. */
int opt_parse_value(const struct opt *opt, const char *text, union opt_value *ret);

/* Into the option's target, which is in the options struct `target`. Not for OPT_LIST. */
void opt_put_value(const struct opt *opt, void *target, union opt_value value);

/*
 * The value in the options struct `target` as text that opt_parse_value() takes: in buf, or a string of the target's
 * own. NULL if it is the default, or there is no text for it. Not for OPT_LIST.
 */
const char *opt_format_value(const struct opt *opt, const void *target, char *buf, size_t size);

/* What a value of this option must be, for "'text' is not ...". */
void opt_describe(const struct opt *opt, char *buf, size_t size);

int opt_count_choices(const struct opt *opt);
void opt_join_choices(const struct opt *opt, const char *separator, char *buf, size_t size);

/* To stdout, unflushed. */
void opt_print_help(const struct command *command);
void opt_print_commands(const struct command *const *commands, size_t n);

/*
 * Between the two every write to stdout is watched. -ENOMEM; the exit status, which is EXIT_CANNOT after one line if
 * the status was good but something could not be written.
 */
int opt_output_begin(void);
int opt_output_end(const char *name, int status);

#endif
