/* SPDX-License-Identifier: Apache-2.0 */
/* The flow code of bpf/ compiled natively. Owner of that compilation; see engine.h for what it is for. */
#ifndef USER_NATIVE_H
#define USER_NATIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "egress.h"

/* Frames as for the kernel's ea_packets. Returns whether the flow is decided. One set of flows per process. */
bool native_packet(const void *frame, size_t size);
void native_on_name(void (*name)(const struct ea_name_event *e, void *data), void *data);
void native_reset(void); /* forget all flows */

#endif
