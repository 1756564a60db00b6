/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations as text for people and for cut and awk.
 *
 * Owns: columns, their order and widths, human sizes. Must not know: terminals (the width is a
 * parameter), where the text goes. Every cell is printable ASCII, whatever the names hold.
 */
#ifndef TABLE_H
#define TABLE_H

#include "model.h"

enum table_form {
	TABLE_NARROW, /* the columns that fit most terminals, cut to the width */
	TABLE_WIDE,   /* all columns, never cut */
	TABLE_TSV,    /* all columns, raw numbers, tabs; the header and its columns never change */
};

struct table_options {
	enum table_form form;
	unsigned int width; /* terminal columns for TABLE_NARROW; 0: as wide as it gets */
	bool utf8;          /* the one-character ellipsis may be used */
	bool coverage;      /* a last line says how much the mesh can name */
};

/* Rows in the list's order under a header. Owned by the caller. */
int table_from_list(const struct destination_list *list, const struct table_options *options,
		    char **ret_text, size_t *ret_size);

#endif
