// SPDX-License-Identifier: Apache-2.0
/*
 * Which hosts of a workload have a line of their own; see inventory_work.h.
 *
 * A host without one is summed under ~other for as long as the kernel counts anything for it, also when lines become
 * free: what ~other has shown must not leave it again.
 */
#include <errno.h>
#include <search.h>
#include <string.h>

#include "inventory_work.h"
#include "util.h"

static struct host *host_new(struct inventory *inv, const char *owner_key, const char *host_key)
{
	struct owner *owner = keyed_get(&inv->owners, owner_key, sizeof(*owner));
	struct host *host = owner ? keyed_get(&inv->hosts, host_key, sizeof(*host)) : NULL;

	if (!host)
		return NULL;
	host->owner = owner;
	host->line = owner->lines < inv->max_hosts;
	owner->lines += host->line;
	owner->hosts++;
	inv->n_hosts++;
	return host;
}

int host_has_line(struct inventory *inv, const struct destination *d, uint64_t *n_folded)
{
	_cleanup_free_ char *owner_key = NULL, *host_key = NULL;
	struct host **found, *host;

	if (d->host[0] == '~')
		return 1;
	/* No text of the three can hold a newline. */
	if (asprintf(&owner_key, "%d\n%s\n%s", d->internal, d->source.ns, d->source.workload) < 0 ||
	    asprintf(&host_key, "%s\n%s", owner_key, d->host) < 0)
		return -ENOMEM;
	found = tfind(&host_key, &inv->hosts, keyed_compare);
	host = found ? *found : host_new(inv, owner_key, host_key);
	if (!host)
		return -ENOMEM;
	if (host->seen != inv->round) {
		host->seen = inv->round;
		inv->n_seen++;
		*n_folded += !host->line;
	}
	return host->line;
}

struct unseen {
	uint64_t round;
	struct host **items;
	size_t n;
};

static void note_unseen(const void *node, VISIT which, void *data)
{
	struct host *host = *(struct host *const *)node;
	struct unseen *u = data;

	if ((which == postorder || which == leaf) && host->seen != u->round)
		u->items[u->n++] = host;
}

static void host_forget(struct inventory *inv, struct host *host)
{
	struct owner *owner = host->owner;

	tdelete(host, &inv->hosts, keyed_compare);
	owner->lines -= host->line;
	owner->hosts--;
	keyed_free(host);
	if (owner->hosts)
		return;
	tdelete(owner, &inv->owners, keyed_compare);
	keyed_free(owner);
}

void hosts_begin_round(struct inventory *inv)
{
	inv->round++;
	inv->n_seen = 0;
}

void hosts_end_round(struct inventory *inv)
{
	struct unseen u = {.round = inv->round};

	if (inv->n_seen == inv->n_hosts)
		return;
	u.items = calloc(inv->n_hosts, sizeof(struct host *));
	if (!u.items)
		return; /* they are forgotten another time */
	twalk_r(inv->hosts, note_unseen, &u);
	for (size_t i = 0; i < u.n; i++)
		host_forget(inv, u.items[i]);
	inv->n_hosts -= u.n;
	free(u.items);
}

void hosts_free(struct inventory *inv)
{
	tdestroy(inv->hosts, keyed_free);
	tdestroy(inv->owners, keyed_free);
}
