// SPDX-License-Identifier: Apache-2.0
/* The lists of destinations that answers are made of; see observation.h. */
#include "observation.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "util.h"

void observation_put(struct observation *seen)
{
	if (!seen || --seen->references)
		return;
	seen->of->n--;
	seen->of->freed = true;
	destination_list_done(&seen->list);
	free(seen);
}

static bool is_fresh(const struct observations *o)
{
	return o->last && o->clock_ms(o->data) - o->last->at_ms < OBSERVATION_MIN_MS;
}

static int observe(struct observations *o, struct observation **ret)
{
	struct observation *seen;
	int r;

	if (o->n >= OBSERVATIONS_MAX)
		return -EBUSY;
	seen = calloc(1, sizeof(*seen));
	if (!seen)
		return -ENOMEM;
	r = o->list(o->data, &seen->list);
	if (r < 0) {
		free(seen);
		return r;
	}
	seen->at_ms = o->clock_ms(o->data);
	seen->references = 1;
	seen->of = o;
	o->n++;
	*ret = seen;
	return 0;
}

int observation_get(struct observations *o, struct observation **ret)
{
	int r;

	if (!is_fresh(o)) {
		/* First: there need not be room for two. */
		observation_put(TAKE_PTR(o->last));
		r = observe(o, &o->last);
		if (r < 0)
			return r;
	}
	o->last->references++;
	*ret = o->last;
	return 0;
}

void observations_tick(struct observations *o)
{
	if (o->last && !is_fresh(o))
		observation_put(TAKE_PTR(o->last));
	if (!o->freed)
		return;
	/* A list is many small pieces, which the C library keeps for itself unless told. */
	malloc_trim(0);
	o->freed = false;
}

void observations_done(struct observations *o)
{
	observation_put(TAKE_PTR(o->last));
}
