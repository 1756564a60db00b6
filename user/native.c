// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../bpf/tuple.h"

#include "native.h"
#include "util.h"

/* Flows by their tuple, chained. Who feeds frames ends flows, and so bounds them. */
#define BUCKETS 65536

struct entry {
	struct entry *next;
	struct ea_tuple key;
	struct ea_tuple_flow flow;
};

static struct entry *buckets[BUCKETS];
static void (*on_name)(const struct ea_name_event *e, void *data);
static void *on_name_data;

static struct entry **bucket_of(const struct ea_tuple *key)
{
	const unsigned char *bytes = (const unsigned char *)key;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return &buckets[(hash ^ hash >> 16) % BUCKETS];
}

static struct entry **entry_find(const struct ea_tuple *key)
{
	struct entry **e = bucket_of(key);

	while (*e && memcmp(&(*e)->key, key, sizeof(*key)) != 0)
		e = &(*e)->next;
	return e;
}

static struct ea_tuple_flow *tuple_find(const struct ea_tuple *key)
{
	struct entry *e = *entry_find(key);

	return e ? &e->flow : NULL;
}

static struct ea_tuple_flow *tuple_make(const struct ea_tuple *key)
{
	struct entry **at = entry_find(key);

	if (*at) {
		memset(&(*at)->flow, 0, sizeof((*at)->flow));
		return &(*at)->flow;
	}
	*at = calloc(1, sizeof(**at));
	if (!*at)
		return NULL;
	(*at)->key = *key;
	return &(*at)->flow;
}

static void tuple_drop(const struct ea_tuple *key)
{
	struct entry **at = entry_find(key), *e = *at;

	if (!e)
		return;
	*at = e->next;
	free(e);
}

static void observe(const struct ea_dest_key *key, void *data)
{
	struct ea_name_event e = {
		.type = EA_EVENT_NAME,
		.proto = key->proto,
		.source = key->source,
		.host_len = key->host_len,
	};

	(void)data;
	memcpy(e.host, key->host, sizeof(e.host));
	on_name(&e, on_name_data);
}

void native_on_name(void (*name)(const struct ea_name_event *e, void *data), void *data)
{
	on_name = name;
	on_name_data = data;
	native_observe = name ? observe : NULL;
}

bool native_packet(const void *frame, size_t size)
{
	struct ea_packet p = {.bytes = {.base = ETH_HLEN, .data = frame, .size = (uint32_t)size}};

	if (size < ETH_HLEN || ea_walk(&p.bytes, (uint32_t)(size - ETH_HLEN), &p.segment))
		return true;
	p.cursor = (struct ea_cursor){p.segment.payload, p.segment.payload + p.segment.len};
	return tuple_packet(&p) == EA_PHASE_DECIDED;
}

void native_set_clock(uint64_t ns)
{
	native_clock = ns;
}

void native_counted(struct native_counts *ret)
{
	ret->stats = native_stats;
	memcpy(ret->requests, native_requests, sizeof(ret->requests));
}

void native_reset(void)
{
	memset(&native_stats, 0, sizeof(native_stats));
	memset(native_requests, 0, sizeof(native_requests));
	native_clock = 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (buckets[i]) {
			struct entry *e = buckets[i];

			buckets[i] = e->next;
			free(e);
		}
	}
}
