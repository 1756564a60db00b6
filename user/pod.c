// SPDX-License-Identifier: Apache-2.0
/*
 * The pods of this node, found by container, uid or static pod's hash; see pod.h.
 *
 * Owns: the table, and which of the gone ones are kept. Must not know: what a pod's object looks like (pod_read.c).
 */
#include "pod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pod_work.h"
#include "util.h"

#define PODS_BUCKETS 8192 /* a power of two */

struct pods {
	struct pod_key *buckets[PODS_BUCKETS];
	struct pod_entry *newest, *oldest; /* of the gone ones */
	struct pod_entry *live;            /* the others, by `older` */
	struct pods_counts counts;
};

int pods_new(struct pods **ret)
{
	struct pods *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

static void list_free(struct pod_entry *e)
{
	for (struct pod_entry *older; e; e = older) {
		older = e->older;
		pod_entry_free(e);
	}
}

void pods_free(struct pods *p)
{
	if (!p)
		return;
	list_free(p->newest);
	list_free(p->live);
	free(p);
}

void pods_get_counts(const struct pods *p, struct pods_counts *ret)
{
	*ret = p->counts;
}

/* ---- keys ---- */

static struct pod_key **bucket_of(struct pods *p, const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	return &p->buckets[(hash ^ hash >> 32) & (PODS_BUCKETS - 1)];
}

/* A live pod's before a gone one's, if both have it. */
static struct pod_key *key_find(struct pods *p, enum pod_key_kind kind, const char *text)
{
	struct pod_key *found = NULL;

	for (struct pod_key *k = *bucket_of(p, text); k; k = k->chain) {
		if (k->kind != kind || strcmp(k->text, text) != 0)
			continue;
		if (!k->entry->pod.gone)
			return k;
		found = found ? found : k;
	}
	return found;
}

static void keys_link(struct pods *p, struct pod_entry *e)
{
	for (size_t i = 0; i < e->n_keys; i++) {
		struct pod_key **bucket = bucket_of(p, e->keys[i].text);

		e->keys[i].chain = *bucket;
		*bucket = &e->keys[i];
	}
}

static void keys_unlink(struct pods *p, struct pod_entry *e)
{
	for (size_t i = 0; i < e->n_keys; i++) {
		struct pod_key **at = bucket_of(p, e->keys[i].text);

		while (*at != &e->keys[i])
			at = &(*at)->chain;
		*at = e->keys[i].chain;
	}
}

/* ---- the two lists ---- */

static struct pod_entry **list_first(struct pods *p, const struct pod_entry *e)
{
	return e->pod.gone ? &p->newest : &p->live;
}

static void list_push(struct pods *p, struct pod_entry *e)
{
	struct pod_entry **first = list_first(p, e);

	e->newer = NULL;
	e->older = *first;
	if (e->older)
		e->older->newer = e;
	else if (e->pod.gone)
		p->oldest = e;
	*first = e;
	*(e->pod.gone ? &p->counts.gone : &p->counts.live) += 1;
}

static void list_remove(struct pods *p, struct pod_entry *e)
{
	*(e->newer ? &e->newer->older : list_first(p, e)) = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else if (e->pod.gone)
		p->oldest = e->newer;
	*(e->pod.gone ? &p->counts.gone : &p->counts.live) -= 1;
}

static void entry_forget(struct pods *p, struct pod_entry *e)
{
	keys_unlink(p, e);
	list_remove(p, e);
	pod_entry_free(e);
}

/* ---- what the API tells ---- */

/* Containers that the object no longer names: their counters are still there. Latest first, as they were added. */
static int keep_containers(struct pod_entry *e, const struct pod_entry *before)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < before->n_keys; i++) {
		const struct pod_key *k = &before->keys[i];

		if (k->kind == POD_KEY_CONTAINER)
			r = pod_entry_add_container(e, k->text, k->container);
	}
	return r;
}

int pods_object(const cJSON *object, void *data)
{
	struct pods *p = data;
	struct pod_entry *e = NULL;
	struct pod_key *known;
	int r = pod_entry_read(object, &e);

	if (r < 0) {
		p->counts.invalid += r == -EINVAL;
		return r == -EINVAL ? 0 : r;
	}
	known = key_find(p, POD_KEY_UID, e->pod.uid);
	if (known)
		r = keep_containers(e, known->entry);
	if (r < 0 || ((!known || known->entry->pod.gone) && p->counts.live >= PODS_LIVE_MAX)) {
		p->counts.full += r == 0;
		pod_entry_free(e);
		return r;
	}
	if (known)
		entry_forget(p, known->entry);
	p->counts.cut += e->cut;
	keys_link(p, e);
	list_push(p, e);
	return 0;
}

void pods_deleted(const struct kube_id *id, void *data)
{
	struct pods *p = data;
	struct pod_key *k = key_find(p, POD_KEY_UID, id->uid);

	if (!k)
		return;
	list_remove(p, k->entry);
	k->entry->pod.gone = true;
	list_push(p, k->entry);
	if (p->counts.gone > PODS_GONE_MAX) {
		entry_forget(p, p->oldest);
		p->counts.evicted++;
	}
}

/* ---- what is asked ---- */

static const struct pod *key_use(struct pods *p, const struct pod_key *k)
{
	if (!k)
		return NULL;
	if (k->entry->pod.gone) {
		list_remove(p, k->entry);
		list_push(p, k->entry);
	}
	return &k->entry->pod;
}

const struct pod *pods_by_container(struct pods *p, const char *id, const char **ret_container)
{
	const struct pod_key *k = key_find(p, POD_KEY_CONTAINER, id);

	if (k && ret_container)
		*ret_container = k->container;
	return key_use(p, k);
}

const struct pod *pods_by_uid(struct pods *p, const char *uid)
{
	const struct pod_key *k = key_find(p, POD_KEY_UID, uid);

	return key_use(p, k ? k : key_find(p, POD_KEY_HASH, uid));
}

static int compare_key(const void *key, const void *l)
{
	return strcmp(key, ((const struct pod_label *)l)->key);
}

const char *pod_label(const struct pod *pod, const char *key)
{
	const struct pod_label *l = pod->n_labels ? bsearch(key, pod->labels, pod->n_labels,
							    sizeof(*l), compare_key)
						  : NULL;

	return l ? l->value : NULL;
}
