/* SPDX-License-Identifier: Apache-2.0 */
/* The flow code of bpf/ compiled natively. Owner of that compilation; see engine.h for what it is for. */
#ifndef USER_NATIVE_H
#define USER_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "egress.h"

/* Frames as for the kernel's ea_packets. Returns whether the flow is decided. One set of flows per process. */
bool native_packet(const void *frame, size_t size);
void native_on_name(void (*name)(const struct ea_name_event *e, void *data), void *data);
void native_reset(void); /* forget all flows, and what they counted */

/* For tests: the flows' clock in ns (it stands still otherwise), and what all flows counted together. */
struct native_counts {
	struct ea_stats stats;
	struct ea_request_stats requests[10]; /* by the first digit of the answer's code */
};

void native_set_clock(uint64_t ns);
void native_counted(struct native_counts *ret);

#endif
