/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Now and then: what is idle or gone leaves the kernel's maps, who cgroups are is kept there.
 *
 * Owns: when, and what came of it. Must not know: which rows leave (inventory.h), how (bpf.h).
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "bpf.h"
#include "inventory.h"

struct sweep_options {
	struct bpf_agent *bpf;
	struct inventory *inventory;
	struct identities *identities;
	uint64_t expiry_ms; /* 0: never */
};

struct sweep_counts {
	uint64_t left[LEAVE_MAX]; /* rows by why; LEAVE_BACK: in use again */
	uint64_t strays;          /* rows that counted after they had left */
	uint64_t failures;        /* what could not be done, or not yet: it is tried again */
	double seconds;           /* the last one took so long */
};

struct sweep {
	struct sweep_options options;
	uint64_t next_ns; /* CLOCK_MONOTONIC; 0: now */
	struct sweep_counts counts;
};

/* To be called every second or so; does nothing until it is time. 0, or -errno when the maps could not be read. */
int sweep_tick(struct sweep *sweep, const struct inventory_view *view);

/* Identities of an earlier agent, from the maps. -ENOMEM. */
int sweep_restore(struct bpf_agent *bpf, struct identities *identities);

/* To be the identities' store; data is the struct bpf_agent. */
int sweep_store_put(uint64_t id, const struct ea_identity *identity, void *data);
void sweep_store_forget(uint64_t id, void *data);

#endif
