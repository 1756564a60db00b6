/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What run.c (the loop and the end) and run_start.c (the beginning) of egress-agent run share.
 *
 * Must not know: libbpf, libmicrohttpd, output formats.
 */
#ifndef RUN_H
#define RUN_H

#include "api.h"
#include "bpf.h"
#include "cgroup.h"
#include "cluster.h"
#include "health.h"
#include "http.h"
#include "http_tls.h"
#include "inventory.h"
#include "opt.h"
#include "sweep.h"

#define RUN_NODE_MAX 256
#define RUN_SOCKET   "/run/egress-agent/agent.sock"

struct run_options {
	const char *cgroup, *listen, *socket, *node, *pin;
	struct opt_list internal;
	const char *tls_cert, *tls_key, *client_ca;
	const char *kube, *kube_token, *kube_ca, *registry;
	const char *root_namespace, *cluster_domain;
	int outbound;
	uint32_t max_hosts, max_destinations;
	uint64_t idle_expiry_ms;
	int log_level, log_format;
};

struct run {
	const struct run_options *options;
	struct api_observer observer;
	const char *pin; /* NULL: nothing is pinned */
	char node[RUN_NODE_MAX];
	char *cgroup;
	struct ea_range *internal;
	size_t n_internal;

	struct http_tls *tls; /* NULL: plain HTTP */
	struct http_server *http;
	struct api *api;
	struct bpf_agent *bpf;
	struct cgroup_cache *cgroups;
	struct identities *identities;
	struct inventory *inventory;
	struct sweep sweep;
	struct cluster *cluster;

	int epoll_fd, signal_fd, timer_fd;
	bool adopted; /* counts of an earlier agent go on */
	bool ready;
	bool stopping;
	bool names_missing;   /* the kernel told of a cgroup that the walk did not find */
	bool snapshot_failed; /* the last one */
	struct health_input numbers;
	struct health health;
};

/* What an epoll event of run->epoll_fd is about. */
enum run_watch { WATCH_SIGNAL, WATCH_TIMER, WATCH_EVENTS, WATCH_HTTP, WATCH_CLUSTER, WATCH_MAX };

/* --outbound-policy, in the order of its words. */
enum run_outbound { OUTBOUND_ALLOW_ANY, OUTBOUND_REGISTRY_ONLY };

/*
 * From options and observer to a daemon ready for its loop. Returns the exit status; what was started until a
 * failure is in *run, for the caller to end.
 */
int run_start(struct run *run);

/* The command itself, for the table of options. */
int run_run(void *options, char **operands, int n_operands);

#endif
