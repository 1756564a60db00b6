/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lists of destinations that answers are made of: how often one is made, who still reads it, how many there are.
 *
 * A list of 20,000 destinations takes some 15 MB. Requests that come close together share one; it is given up
 * when the last of them was answered. Must not know: HTTP, formats, where lists come from.
 */
#ifndef OBSERVATION_H
#define OBSERVATION_H

#include "model.h"

/* However often somebody asks, the kernel's maps are read at most once in this time. */
#define OBSERVATION_MIN_MS 200
/* Lists alive at once: the present one, and what slower readers still hold. */
#define OBSERVATIONS_MAX 3

struct observations;

struct observation {
	struct destination_list list;
	uint64_t at_ms;
	unsigned int references;
	struct observations *of;
};

struct observations {
	int (*list)(void *data, struct destination_list *ret);
	uint64_t (*clock_ms)(void *data);
	void *data;
	struct observation *last; /* a reference of our own, or NULL */
	size_t n;
	bool freed; /* since memory was last given back */
};

/*
 * The present list, at most OBSERVATION_MIN_MS old; the caller's to give back. -EBUSY: OBSERVATIONS_MAX are held by
 * others; -ENOMEM, or what making the list said.
 */
int observation_get(struct observations *o, struct observation **ret);
void observation_put(struct observation *seen); /* NULL is fine */

/* Now and then: what nobody needs any more goes, and its memory back to the system. */
void observations_tick(struct observations *o);

/* All are given back by then. */
void observations_done(struct observations *o);

#endif
