// SPDX-License-Identifier: Apache-2.0
/*
 * What the registry answers to every connection of one client's scope to one port, kept until a service or a Sidecar
 * comes or goes: finding it goes through all services that have the port.
 *
 * Owns: the table, when it is emptied. Must not know: what is kept in it (registry_resolve.c).
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define MEMO_SLOTS 4096 /* a power of two */
#define MEMOS_MAX  16384

struct memos {
	struct memo *slots[MEMO_SLOTS];
	size_t n;
	uint64_t dropped; /* for want of room */
};

int reg_memos_new(struct memos **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void reg_memos_clear(struct memos *memos)
{
	for (size_t i = 0; memos->n && i < MEMO_SLOTS; i++) {
		for (struct memo *m = memos->slots[i], *next; m; m = next) {
			next = m->chain;
			free(m);
			memos->n--;
		}
		memos->slots[i] = NULL;
	}
}

void reg_memos_free(struct memos *memos)
{
	if (memos)
		reg_memos_clear(memos);
	free(memos);
}

uint64_t reg_memos_dropped(const struct memos *memos)
{
	return memos->dropped;
}

/* Namespaces are the cluster's own, and few: no secret is needed. */
static struct memo **memo_slot(struct memos *memos, const struct view *view)
{
	uint64_t hash = (uint64_t)(uintptr_t)view->sidecar ^ view->query->port;
	struct memo **slot;

	for (const char *c = view->ns; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	slot = &memos->slots[(hash ^ hash >> 32) & (MEMO_SLOTS - 1)];
	while (*slot &&
	       ((*slot)->sidecar != view->sidecar || (*slot)->port != view->query->port ||
		strcmp((*slot)->ns, view->ns) != 0))
		slot = &(*slot)->chain;
	return slot;
}

struct memo *reg_memo_get(const struct view *view)
{
	struct memos *memos = view->store->memos;
	struct memo **slot = memo_slot(memos, view), *memo;
	size_t len = strlen(view->ns);

	if (*slot)
		return *slot;
	if (memos->n == MEMOS_MAX) {
		memos->dropped += memos->n;
		reg_memos_clear(memos);
		slot = memo_slot(memos, view);
	}
	memo = calloc(1, sizeof(*memo) + len + 1);
	if (!memo)
		return NULL;
	memo->sidecar = view->sidecar;
	memo->port = view->query->port;
	memcpy(memo->ns, view->ns, len);
	*slot = memo;
	memos->n++;
	return memo;
}
