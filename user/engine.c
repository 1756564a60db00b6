// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>

#include "bpf.h"
#include "engine.h"
#include "native.h"

struct engine {
	struct bpf_agent *bpf; /* NULL: native */
	engine_name_fn name;
	void *data;
};

/* The programs' own counters of destinations are not looked at here, only their events. */
static int open_bpf(struct engine *e, char **ret_why)
{
	struct bpf_options options = {
		.max_destinations = 1,
		.max_hosts_per_workload = 1,
		.mesh_port = 15001,
		.packets = true,
		.observe = true,
	};
	bool adopted;

	return bpf_agent_open(&options, &e->bpf, &adopted, ret_why);
}

int engine_open(enum engine_kind kind, engine_name_fn name, void *data, struct engine **ret,
		char **ret_why)
{
	struct engine *e = calloc(1, sizeof(*e));
	int r = 0;

	*ret_why = NULL;
	if (!e)
		return -ENOMEM;
	e->name = name;
	e->data = data;
	if (kind == ENGINE_BPF)
		r = open_bpf(e, ret_why);
	else
		native_on_name(name, data);
	if (r) {
		free(e);
		return r;
	}
	*ret = e;
	return 0;
}

void engine_close(struct engine *e)
{
	if (!e)
		return;
	if (!e->bpf)
		native_reset();
	bpf_agent_close(e->bpf);
	free(e);
}

static void on_event(const struct ea_event *event, void *data)
{
	struct engine *e = data;

	if (event->type == EA_EVENT_NAME)
		e->name((const struct ea_name_event *)event, e->data);
}

int engine_push(struct engine *e, const void *frame, size_t size, bool *ret_decided)
{
	int phase;

	if (!e->bpf) {
		*ret_decided = native_packet(frame, size);
		return 0;
	}
	phase = bpf_agent_packet(e->bpf, frame, size);
	if (phase < 0)
		return phase;
	*ret_decided = phase == BPF_PACKET_DECIDED;
	return bpf_agent_events(e->bpf, on_event, e);
}
