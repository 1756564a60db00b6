// SPDX-License-Identifier: Apache-2.0
/*
 * What the registry answers to every connection of one client's scope to one port, kept until a service or a Sidecar
 * comes or goes: finding it goes through all services that have the port.
 *
 * Owns: the table, which has fixed room. Must not know: what is kept in it (registry_resolve.c).
 */
#include <errno.h>
#include <string.h>

#include "registry_work.h"
#include "util.h"

#define MEMO_SETS 2048 /* a power of two */
#define MEMO_WAYS 8

struct memos {
	struct memo sets[MEMO_SETS][MEMO_WAYS];
	uint64_t changes; /* what was kept before the last one is not true any more */
	uint64_t dropped; /* for want of room */
};

int reg_memos_new(struct memos **ret)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)->changes = 1;
	return 0;
}

void reg_memos_clear(struct memos *memos)
{
	memos->changes++;
}

uint64_t reg_memos_dropped(const struct memos *memos)
{
	return memos->dropped;
}

/* Namespaces are the cluster's own, and few: no secret is needed. */
static uint64_t view_hash(const struct view *view)
{
	uint64_t hash = (uint64_t)(uintptr_t)view->sidecar ^ view->query->port;

	for (const char *c = view->ns; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

static bool is_of_view(const struct memo *memo, const struct view *view)
{
	return memo->sidecar == view->sidecar && memo->port == view->query->port &&
	       strcmp(memo->ns, view->ns) == 0;
}

struct memo *reg_memo_get(const struct view *view)
{
	struct memos *memos = view->store->memos;
	uint64_t hash = view_hash(view);
	struct memo *set = memos->sets[hash & (MEMO_SETS - 1)], *memo = NULL;

	if (strlen(view->ns) > NS_MAX)
		return NULL;
	for (size_t i = 0; i < MEMO_WAYS; i++) {
		if (set[i].change != memos->changes)
			memo = memo ? memo : &set[i];
		else if (is_of_view(&set[i], view))
			return &set[i];
	}
	if (!memo)
		memo = &set[memos->dropped++ % MEMO_WAYS];
	*memo = (struct memo){
		.sidecar = view->sidecar, .port = view->query->port, .change = memos->changes};
	memcpy(memo->ns, view->ns, strlen(view->ns));
	return memo;
}
