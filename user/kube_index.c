// SPDX-License-Identifier: Apache-2.0
/*
 * Known objects by namespace and name; see kube_index.h. A hash table with chains that doubles when it is full.
 *
 * Owns: its entries and their strings. Must not know: what an object holds.
 */
#include "kube_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BUCKETS_MIN 64

void kube_index_done(struct kube_index *x)
{
	for (size_t i = 0; i < x->n_buckets; i++) {
		for (struct kube_entry *e = x->buckets[i], *next; e; e = next) {
			next = e->chain;
			free(e);
		}
	}
	free(x->buckets);
	*x = (struct kube_index){0};
}

/* FNV-1a, 64 bits, over namespace, a byte that no name has, and name. */
static uint64_t index_hash(const char *ns, const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *c = ns; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	hash = (hash ^ '/') * UINT64_C(0x100000001b3);
	for (const char *c = name; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 32;
}

static struct kube_entry **index_bucket(const struct kube_index *x, const char *ns,
					const char *name)
{
	return &x->buckets[index_hash(ns, name) & (x->n_buckets - 1)];
}

struct kube_entry *kube_index_find(const struct kube_index *x, const char *ns, const char *name)
{
	struct kube_entry *e = x->n_buckets ? *index_bucket(x, ns, name) : NULL;

	while (e && (strcmp(e->id.name, name) != 0 || strcmp(e->id.ns, ns) != 0))
		e = e->chain;
	return e;
}

static int index_grow(struct kube_index *x)
{
	struct kube_index larger = *x;

	if (x->n < x->n_buckets)
		return 0;
	larger.n_buckets = x->n_buckets ? 2 * x->n_buckets : INDEX_BUCKETS_MIN;
	larger.buckets = calloc(larger.n_buckets, sizeof(struct kube_entry *));
	if (!larger.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < x->n_buckets; i++) {
		for (struct kube_entry *e = x->buckets[i], *next; e; e = next) {
			struct kube_entry **to = index_bucket(&larger, e->id.ns, e->id.name);

			next = e->chain;
			e->chain = *to;
			*to = e;
		}
	}
	free(x->buckets);
	*x = larger;
	return 0;
}

static char *copy_to(char *to, const char *from, const char **ret)
{
	size_t size = strlen(from) + 1;

	memcpy(to, from, size);
	*ret = to;
	return to + size;
}

int kube_index_add(struct kube_index *x, const struct kube_id *id, struct kube_entry **ret)
{
	struct kube_entry *e, **bucket;
	char *strings;

	if (x->n >= KUBE_OBJECTS_MAX)
		return -ENOSPC;
	if (index_grow(x) < 0)
		return -ENOMEM;
	e = calloc(1, sizeof(*e) + strlen(id->ns) + strlen(id->name) + strlen(id->uid) + 3);
	if (!e)
		return -ENOMEM;
	strings = copy_to((char *)(e + 1), id->ns, &e->id.ns);
	strings = copy_to(strings, id->name, &e->id.name);
	copy_to(strings, id->uid, &e->id.uid);
	e->round = x->round;
	bucket = index_bucket(x, id->ns, id->name);
	e->chain = *bucket;
	*bucket = e;
	x->n++;
	*ret = e;
	return 0;
}

void kube_index_remove(struct kube_index *x, struct kube_entry *e)
{
	struct kube_entry **at = index_bucket(x, e->id.ns, e->id.name);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	x->n--;
	free(e);
}

void kube_index_begin(struct kube_index *x)
{
	x->round++;
}

void kube_index_sweep(struct kube_index *x, void (*gone)(const struct kube_id *id, void *data),
		      void *data)
{
	for (size_t i = 0; i < x->n_buckets; i++) {
		struct kube_entry **at = &x->buckets[i];

		while (*at) {
			struct kube_entry *e = *at;

			if (e->round == x->round) {
				at = &e->chain;
				continue;
			}
			*at = e->chain;
			x->n--;
			gone(&e->id, data);
			free(e);
		}
	}
}
