// SPDX-License-Identifier: Apache-2.0
/* What the programs cost, and what the maps have room for; see bpf.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf.h"
#include "bpf_agent.h"

void bpf_agent_capacity(const struct bpf_agent *a, struct bpf_capacity *ret)
{
	*ret = (struct bpf_capacity){
		.dests = a->max_destinations,
		.requests = bpf_map__max_entries(a->skel->maps.ea_requests),
		.addresses = bpf_map__max_entries(a->skel->maps.ea_addrs),
		.workloads = bpf_map__max_entries(a->skel->maps.ea_workloads),
	};
}

size_t bpf_agent_run_times(const struct bpf_agent *a, struct bpf_run_time ret[BPF_PROGRAMS_MAX])
{
	struct bpf_program *program;
	bool kept = false;
	size_t n = 0;

	bpf_object__for_each_program(program, a->skel->obj)
	{
		struct bpf_prog_info info = {0};
		__u32 size = sizeof(info);
		int fd = bpf_program__fd(program);

		if (n == BPF_PROGRAMS_MAX || fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
			continue;
		kept |= info.run_cnt != 0;
		ret[n++] = (struct bpf_run_time){.program = bpf_program__name(program),
						 .runs = info.run_cnt,
						 .ns = info.run_time_ns};
	}
	return kept ? n : 0;
}
