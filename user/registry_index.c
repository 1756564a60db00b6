// SPDX-License-Identifier: Apache-2.0
/*
 * The index of the registry: from a host, an address range or a port to the objects that have it.
 *
 * Owns: the hash table, the keys of each kind of object, the order of precedence. Must not know: what the answer
 * is used for.
 *
 * What only its own namespace sees is found by (host, namespace), everything else by host alone: a host that a
 * thousand namespaces each registered for themselves, as generate does, costs a client one look-up.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "registry_work.h"
#include "util.h"

#define SLOTS_MIN 64
/* What the allocator adds to a bucket and its items, roughly, and the slot. */
#define ALLOC_BYTES 40
/* Of one item: there is room for up to twice as many. */
#define ITEM_BYTES (2 * sizeof(struct object *))

/* Keys */

static void key_add(struct index_key *key, const void *bytes, size_t n)
{
	/* Hosts and names are checked before they get here; a query's host is cut by its view. */
	n = MIN(n, sizeof(key->bytes) - key->size);
	memcpy(key->bytes + key->size, bytes, n);
	key->size += n;
}

/* The rest of the bytes is not looked at, and setting them all would cost more than the look-up. */
static struct index_key key_begin(enum index_type type)
{
	struct index_key key;

	key.size = 1;
	key.bytes[0] = (char)type;
	return key;
}

struct index_key reg_index_key_text(enum index_type type, const char *text, const char *ns)
{
	struct index_key key = key_begin(type);

	key_add(&key, text, strnlen(text, HOST_MAX));
	key_add(&key, "", 1);
	key_add(&key, ns, strnlen(ns, NS_MAX + 1));
	return key;
}

struct index_key reg_index_key_object(enum registry_kind kind, const char *ns, const char *name)
{
	struct index_key key = key_begin(INDEX_OBJECT);
	char byte = (char)kind;

	key_add(&key, &byte, 1);
	key_add(&key, name, strnlen(name, HOST_MAX));
	key_add(&key, "", 1);
	key_add(&key, ns, strnlen(ns, NS_MAX + 1));
	return key;
}

struct index_key reg_index_key_port(enum index_type type, uint16_t port, const char *ns)
{
	struct index_key key = key_begin(type);

	key_add(&key, &port, sizeof(port));
	key_add(&key, ns, strnlen(ns, NS_MAX + 1));
	return key;
}

struct index_key reg_index_key_range(const struct address_range *range)
{
	struct index_key key = key_begin(INDEX_ADDRESS);

	key_add(&key, range->ip, sizeof(range->ip));
	key_add(&key, &range->prefix, 1);
	return key;
}

/* Hosts are chosen by whoever may write objects, so the seed is a secret. */
static uint64_t key_hash(const struct index *index, const struct index_key *key)
{
	uint64_t hash = index->seed, word;

	for (size_t i = 0; i < key->size; i += sizeof(word)) {
		size_t n = MIN(key->size - i, sizeof(word));

		word = 0;
		memcpy(&word, key->bytes + i, n);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	hash = (hash ^ key->size) * UINT64_C(0xbf58476d1ce4e5b9);
	return hash ^ hash >> 32;
}

/* Table */

/* Without a random one the tables work all the same. */
uint64_t reg_index_seed(void)
{
	static const char somewhere;
	uint64_t seed = 0;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = (uint64_t)(uintptr_t)&somewhere;
	return seed ? seed : 1;
}

int reg_index_init(struct index *index)
{
	*index = (struct index){0};
	index->slots = calloc(SLOTS_MIN, sizeof(struct bucket *));
	if (!index->slots)
		return -ENOMEM;
	index->n_slots = SLOTS_MIN;
	index->seed = reg_index_seed();
	return 0;
}

static size_t bucket_bytes(const struct bucket *bucket)
{
	return sizeof(*bucket) + bucket->key_size + ALLOC_BYTES;
}

static void bucket_free(struct index *index, struct bucket *bucket)
{
	index->bytes -= bucket_bytes(bucket);
	free(bucket->items);
	free(bucket);
}

/* The objects are gone by now, and the buckets with them. */
void reg_index_done(struct index *index)
{
	free(index->slots);
	*index = (struct index){0};
}

static struct bucket **slot_find(const struct index *index, const struct index_key *key,
				 uint64_t hash)
{
	struct bucket **slot = &index->slots[hash & (index->n_slots - 1)];

	for (; *slot; slot = &(*slot)->next)
		if ((*slot)->hash == hash && (*slot)->key_size == key->size &&
		    memcmp((*slot)->key, key->bytes, key->size) == 0)
			break;
	return slot;
}

const struct bucket *reg_index_find(const struct index *index, const struct index_key *key)
{
	return *slot_find(index, key, key_hash(index, key));
}

/* Failing to grow only makes the chains longer. */
static void index_grow(struct index *index)
{
	struct bucket **slots = calloc(2 * index->n_slots, sizeof(struct bucket *));

	if (!slots)
		return;
	for (size_t i = 0; i < index->n_slots; i++) {
		for (struct bucket *bucket = index->slots[i], *next; bucket; bucket = next) {
			struct bucket **slot = &slots[bucket->hash & (2 * index->n_slots - 1)];

			next = bucket->next;
			bucket->next = *slot;
			*slot = bucket;
		}
	}
	free(index->slots);
	index->slots = slots;
	index->n_slots *= 2;
}

static int bucket_new(struct index *index, const struct index_key *key, struct bucket **ret)
{
	struct bucket *bucket = calloc(1, sizeof(*bucket) + key->size);
	uint64_t hash = key_hash(index, key);
	struct bucket **slot;

	if (!bucket)
		return -ENOMEM;
	bucket->hash = hash;
	bucket->key_size = key->size;
	memcpy(bucket->key, key->bytes, key->size);
	if (index->n_buckets >= index->n_slots)
		index_grow(index);
	slot = &index->slots[hash & (index->n_slots - 1)];
	bucket->next = *slot;
	*slot = bucket;
	index->n_buckets++;
	index->bytes += bucket_bytes(bucket);
	*ret = bucket;
	return 0;
}

int reg_object_compare(const struct object *a, const struct object *b)
{
	int r = (int)b->has_selector - (int)a->has_selector;

	if (!r || (a->public.kind != REGISTRY_KIND_DESTINATION_RULE &&
		   a->public.kind != REGISTRY_KIND_SIDECAR))
		r = (a->created_ms > b->created_ms) - (a->created_ms < b->created_ms);
	if (!r)
		r = strcmp(a->public.ns, b->public.ns);
	if (!r)
		r = strcmp(a->public.name, b->public.name);
	if (!r)
		r = (int)a->public.kind - (int)b->public.kind;
	/* A new version next to the one it replaces. */
	return r ? r : (a->sequence > b->sequence) - (a->sequence < b->sequence);
}

/* Where the object is, or would be. */
static size_t bucket_place(const struct bucket *bucket, const struct object *object)
{
	size_t low = 0, high = bucket->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (reg_object_compare(bucket->items[middle], object) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int bucket_add(struct index *index, struct bucket *bucket, const struct object *object)
{
	size_t place = bucket_place(bucket, object);

	if (bucket->n == bucket->capacity) {
		size_t capacity = MAX(2 * bucket->capacity, (size_t)1);
		const struct object **items = realloc(bucket->items,
						      capacity * sizeof(struct object *));

		if (!items)
			return -ENOMEM;
		bucket->items = items;
		bucket->capacity = capacity;
	}
	memmove(bucket->items + place + 1, bucket->items + place,
		(bucket->n - place) * sizeof(struct object *));
	bucket->items[place] = object;
	bucket->n++;
	index->bytes += ITEM_BYTES;
	return 0;
}

static void bucket_remove(struct index *index, struct bucket *bucket, const struct object *object)
{
	size_t place = bucket_place(bucket, object);

	if (place == bucket->n || bucket->items[place] != object)
		return;
	bucket->n--;
	index->bytes -= ITEM_BYTES;
	memmove(bucket->items + place, bucket->items + place + 1,
		(bucket->n - place) * sizeof(struct object *));
}

/* Keys of objects */

typedef int key_fn(struct index *index, const struct index_key *key, const struct object *object);

static int index_add(struct index *index, const struct index_key *key, const struct object *object)
{
	struct bucket *bucket = *slot_find(index, key, key_hash(index, key));
	int r = 0;

	if (!bucket)
		r = bucket_new(index, key, &bucket);
	return r ? r : bucket_add(index, bucket, object);
}

static int index_remove(struct index *index, const struct index_key *key,
			const struct object *object)
{
	struct bucket **slot = slot_find(index, key, key_hash(index, key)), *bucket = *slot;

	if (!bucket)
		return 0;
	bucket_remove(index, bucket, object);
	if (bucket->n == 0) {
		*slot = bucket->next;
		index->n_buckets--;
		bucket_free(index, bucket);
	}
	return 0;
}

static bool export_is_seen(const struct object *object, bool own)
{
	return object->export.all || (own ? object->export.own : object->export.n_others > 0);
}

/* own, any: the two types of key; the first is for the object's own namespace. */
static int each_host(struct index *index, const struct object *object, enum index_type own,
		     enum index_type any, key_fn *fn)
{
	int r = 0;

	for (size_t i = 0; i < object->n_hosts && !r; i++) {
		struct index_key in = reg_index_key_text(own, object->hosts[i], object->public.ns);
		struct index_key out = reg_index_key_text(any, object->hosts[i], "");

		if (export_is_seen(object, true))
			r = fn(index, &in, object);
		if (!r && export_is_seen(object, false))
			r = fn(index, &out, object);
	}
	return r;
}

static int each_port(struct index *index, const struct object *object, uint16_t number,
		     enum index_type own, enum index_type any, key_fn *fn)
{
	struct index_key in = reg_index_key_port(own, number, object->public.ns);
	struct index_key out = reg_index_key_port(any, number, "");
	int r = 0;

	if (export_is_seen(object, true))
		r = fn(index, &in, object);
	if (!r && export_is_seen(object, false))
		r = fn(index, &out, object);
	return r;
}

/* A port is found by what its listener on 0.0.0.0 does with it; one that reads HTTP is always there. */
static int each_service_port(struct index *index, const struct object *object, key_fn *fn)
{
	bool open = !object->has_address && !object->headless;
	int r = 0;

	for (size_t i = 0; i < object->n_ports && !r; i++) {
		const struct port *port = &object->ports[i];
		bool automatic = open && port->class == PORT_AUTO;

		if (automatic || (open && port->class == PORT_TCP))
			r = each_port(index, object, port->number, INDEX_TCP_OWN, INDEX_TCP_ANY,
				      fn);
		if (!r && (automatic || port->class == PORT_HTTP))
			r = each_port(index, object, port->number, INDEX_HTTP_OWN, INDEX_HTTP_ANY,
				      fn);
		if (!r && open && port->class == PORT_TLS)
			r = each_port(index, object, port->number, INDEX_TLS_OWN, INDEX_TLS_ANY,
				      fn);
	}
	return r;
}

static int each_address(struct index *index, const struct object *object, key_fn *fn)
{
	int r = 0;

	for (size_t i = 0; i < object->n_addresses && !r; i++) {
		struct index_key key = reg_index_key_range(&object->addresses[i]);

		r = fn(index, &key, object);
	}
	return r;
}

static int each_outer(struct index *index, const struct object *object, key_fn *fn)
{
	int r = 0;

	for (size_t i = 0; i < object->n_outer && !r; i++) {
		struct index_key key = reg_index_key_range(&object->outer[i]);

		key.bytes[0] = INDEX_OUTER;
		r = fn(index, &key, object);
	}
	return r;
}

static int each_rule_host(struct index *index, const struct object *object, key_fn *fn)
{
	struct index_key key = reg_index_key_text(INDEX_RULE, object->hosts[0], object->public.ns);

	return fn(index, &key, object);
}

static int each_key(struct index *index, const struct object *object, key_fn *fn)
{
	const struct registry_object *public = &object->public;
	struct index_key key = reg_index_key_object(public->kind, public->ns, public->name);
	struct index_key ns = reg_index_key_text(INDEX_SIDECAR, "", public->ns);
	int r = fn(index, &key, object);

	if (r)
		return r;
	switch (public->kind) {
	case REGISTRY_KIND_SERVICE:
	case REGISTRY_KIND_SERVICE_ENTRY:
		r = each_host(index, object, INDEX_ENTRY_OWN, INDEX_ENTRY_ANY, fn);
		if (!r)
			r = each_service_port(index, object, fn);
		if (!r)
			r = each_address(index, object, fn);
		return r ? r : each_outer(index, object, fn);
	case REGISTRY_KIND_DESTINATION_RULE:
		return each_rule_host(index, object, fn);
	case REGISTRY_KIND_SIDECAR:
		return fn(index, &ns, object);
	default:
		return each_host(index, object, INDEX_ROUTE_OWN, INDEX_ROUTE_ANY, fn);
	}
}

int reg_index_add_object(struct index *index, const struct object *object)
{
	int r = each_key(index, object, index_add);

	if (r)
		each_key(index, object, index_remove);
	return r;
}

void reg_index_remove_object(struct index *index, const struct object *object)
{
	each_key(index, object, index_remove);
}
