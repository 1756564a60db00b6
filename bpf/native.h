/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What stands in for dest.h where the flow code is compiled natively: names are handed to a callback, counters are
 * summed in one place, destinations have no numbers of their own. One user a translation unit: user/native.c.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include <stddef.h>

#include "flow_types.h"

static const struct ea_config ea_config = {.mesh_port = 15001, .observe = 1};

static __u64 native_counters[EA_COUNT_MAX];
static struct ea_stats native_stats;
static struct ea_request_stats native_requests[10]; /* by the code's first digit */
static __u64 native_clock;
static void (*native_observe)(const struct ea_dest_key *key, void *data);
static void *native_observe_data;

static inline void ea_count(__u32 which)
{
	native_counters[which]++;
}

static inline void ea_observe(const struct ea_dest_key *key)
{
	if (native_observe)
		native_observe(key, native_observe_data);
}

static inline struct ea_stats *stats_get(__u32 id)
{
	(void)id;
	return &native_stats;
}

static inline struct ea_stats *stats_find(__u32 id)
{
	return stats_get(id);
}

static inline struct ea_request_stats *requests_get(const struct ea_request_key *key)
{
	return &native_requests[key->code / 100];
}

static inline void addrs_touch(__u32 id, struct ea_stats *s, const __u8 addr[16], __u64 now)
{
	(void)id;
	(void)s;
	(void)addr;
	(void)now;
}

static inline __u32 dest_get(struct ea_dest_key *key)
{
	(void)key;
	return EA_DEST_OVERFLOW + 1;
}

/* Times are not shown for captures, and answers need no clock to be paired: it stands, unless a test sets it. */
static inline __u64 bpf_ktime_get_ns(void)
{
	return native_clock;
}

#endif
