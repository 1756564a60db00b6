/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Distributions of times: an observation goes into its bucket. The bounds are egress.h's. Pure.
 *
 * The bucket is the number of bounds that are exceeded, counted without a branch: the verifier would follow each
 * bucket's way to the end of the program.
 */
#ifndef TIMES_H
#define TIMES_H

#include "egress.h"

/* 1 if the time is beyond the bound; what equals it is not. */
static __always_inline __u32 time_beyond(__u64 ns, __u32 bound_us)
{
	return ((__u64)bound_us * 1000 - ns) >> 63;
}

static __always_inline void short_times_add(struct ea_short_times *t, __u64 ns)
{
	const __u32 bounds_us[] = EA_SHORT_BOUNDS_US;
	__u32 at = 0;

	_Static_assert(sizeof(bounds_us) == (EA_SHORT_BUCKETS - 1) * sizeof(*bounds_us), "bounds");
	for (int i = 0; i < EA_SHORT_BUCKETS - 1; i++)
		at += time_beyond(ns, bounds_us[i]);
	__sync_fetch_and_add(&t->sum_ns, ns);
	__sync_fetch_and_add(&t->n[at], 1);
}

static __always_inline void long_times_add(struct ea_long_times *t, __u64 ns)
{
	const __u32 bounds_us[] = EA_LONG_BOUNDS_US;
	__u32 at = 0;

	_Static_assert(sizeof(bounds_us) == (EA_LONG_BUCKETS - 1) * sizeof(*bounds_us), "bounds");
	for (int i = 0; i < EA_LONG_BUCKETS - 1; i++)
		at += time_beyond(ns, bounds_us[i]);
	__sync_fetch_and_add(&t->sum_ns, ns);
	__sync_fetch_and_add(&t->n[at], 1);
}

/* Two CPUs' clocks may differ by a little: never less than nothing. */
static __always_inline __u64 time_between(__u64 from, __u64 to)
{
	return (__s64)(to - from) > 0 ? to - from : 0;
}

#endif
