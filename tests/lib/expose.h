/* SPDX-License-Identifier: Apache-2.0 */
/* A whole exposition, pulled in blocks of any size. Must not know: what stands in it. */
#ifndef EXPOSE_H
#define EXPOSE_H

#include <errno.h>
#include <stdlib.h>

#include "metrics.h"

/* *ret_text is NUL terminated and the caller's. 0, or what the exposition said. */
static inline int expose_blocks(const struct destination_list *list,
				const struct agent_health *health, enum metrics_format format,
				size_t block, char **ret_text, size_t *ret_size)
{
	struct metrics *m;
	char *text = NULL, *grown;
	size_t size = 0, room = 0, n = 1;
	int r = metrics_new(list, health, format, &m);

	if (r < 0)
		return r;
	while (r == 0 && n) {
		if (room < size + block + 1) {
			room = 2 * (size + block + 1);
			grown = realloc(text, room);
			if (!grown) {
				r = -ENOMEM;
				break;
			}
			text = grown;
		}
		r = metrics_read(m, text + size, block, &n);
		size += r == 0 ? n : 0;
	}
	metrics_free(m);
	if (r < 0) {
		free(text);
		return r;
	}
	text[size] = '\0';
	*ret_text = text;
	*ret_size = size;
	return 0;
}

static inline int expose_text(const struct destination_list *list,
			      const struct agent_health *health, char **ret_text, size_t *ret_size)
{
	return expose_blocks(list, health, METRICS_TEXT, 1 << 16, ret_text, ret_size);
}

#endif
