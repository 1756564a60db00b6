/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two texts as a unified diff, which patch(1) and people read.
 *
 * Must not know: what the texts are.
 */
#ifndef DIFF_H
#define DIFF_H

#include "text.h"

/*
 * Lines that differ between two texts and are not at their ends take memory by the product of their numbers; beyond
 * this one, all of them are shown as changed.
 */
#define DIFF_CELLS_MAX (4u << 20)

/*
 * Add the diff to out: nothing if the texts are equal. Each ends in a newline or is empty. The names are printed as
 * they are, with "/dev/null" for NULL. -ENOMEM; out keeps its own errors.
 */
int diff_unified(const char *from_name, const char *from, const char *to_name, const char *to,
		 struct text *out);

#endif
