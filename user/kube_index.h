/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects of a collection are known, by namespace and name: what a relist needs to tell which of them have
 * vanished meanwhile.
 *
 * Must not know: what an object holds, where it came from.
 */
#ifndef KUBE_INDEX_H
#define KUBE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define KUBE_OBJECTS_MAX 65536 /* in one index */

/* Never NULL; ns is "" for objects that are in none, uid "" if the server told none. */
struct kube_id {
	const char *ns, *name, *uid;
};

struct kube_entry {
	struct kube_id id;
	uint64_t round; /* the one it was last seen in */
	struct kube_entry *chain;
};

struct kube_index {
	struct kube_entry **buckets; /* n_buckets: a power of two, or none yet */
	size_t n_buckets, n;
	uint64_t round;
};

void kube_index_done(struct kube_index *x);

struct kube_entry *kube_index_find(const struct kube_index *x, const char *ns, const char *name);
/* What is not there yet; seen in this round. -ENOSPC: KUBE_OBJECTS_MAX; -ENOMEM. */
int kube_index_add(struct kube_index *x, const struct kube_id *id, struct kube_entry **ret);
void kube_index_remove(struct kube_index *x, struct kube_entry *e);

/* A new round begins: what is not seen (e->round = x->round) before the sweep goes. */
void kube_index_begin(struct kube_index *x);
void kube_index_sweep(struct kube_index *x, void (*gone)(const struct kube_id *id, void *data),
		      void *data);

#endif
