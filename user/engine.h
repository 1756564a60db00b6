/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classifier behind `replay`: the programs in the kernel, or the same source compiled natively. Frames in,
 * names out; both give the same names for the same frames.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "egress.h"

/* A frame may not be longer: a test run's packet has to fit a page. */
#define ENGINE_FRAME_MAX 3072

enum engine_kind { ENGINE_BPF, ENGINE_NATIVE };

/* A name was read by the frame being pushed; host as in struct ea_dest_key. */
typedef void (*engine_name_fn)(const struct ea_name_event *e, void *data);

struct engine;

/* -errno with *ret_why as bpf_agent_open(). */
int engine_open(enum engine_kind kind, engine_name_fn name, void *data, struct engine **ret,
		char **ret_why);
void engine_close(struct engine *e);

/* Push one Ethernet frame. *ret_decided: no more names will come of its flow. -errno if it was not run. */
int engine_push(struct engine *e, const void *frame, size_t size, bool *ret_decided);

#endif
