/* SPDX-License-Identifier: Apache-2.0 */
/* What bpf.c and bpf_snapshot.c share; nobody else includes it. */
#ifndef BPF_AGENT_H
#define BPF_AGENT_H

#include "bpf.h"
#include "egress.skel.h"

struct bpf_agent {
	struct egress_bpf *skel;
	uint32_t max_destinations;
	char *pin;  /* NULL: nothing is pinned */
	int pin_fd; /* holds the lock on the pin directory */
	struct bpf_link *links[3];
	struct bpf_link *iter;
	struct ring_buffer *events;
	void (*each)(const struct ea_event *e, void *data);
	void *each_data;

	/* Keys by id, read again only when the kernel has made new ones. */
	struct known_dest {
		struct ea_dest_key key;
		uint32_t id;
		uint64_t first_ns;
	} * known; /* sorted by id */
	size_t n_known;
	uint32_t known_next_id;
};

void bpf_dest_cache_done(struct bpf_agent *a);

#endif
