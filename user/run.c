// SPDX-License-Identifier: Apache-2.0
/*
 * egress-agent run: the daemon. One process, one thread, one epoll loop over signals, a timer, the kernel's
 * events and the HTTP server.
 *
 * Owns: the options, the loop, the end, and what is logged. Must not know: libbpf, libmicrohttpd, output formats.
 */
#include "run.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>

#include "commands.h"
#include "log.h"
#include "node.h"
#include "util.h"

#ifndef EA_VERSION
#error "the build sets EA_VERSION"
#endif

/* Blocks of this size and more are mapped one by one, and go back to the system when they are freed. */
#define RUN_MMAP_MIN (256 << 10)

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t = {0};

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- what the API observes ---- */

static const char *observe_not_ready(void *data)
{
	const struct run *run = data;

	return run->ready ? NULL : "the programs are not attached yet";
}

static const char *observe_not_synced(void *data)
{
	const struct run *run = data;

	return cluster_not_ready(run->cluster);
}

static uint64_t observe_clock_ms(void *data)
{
	(void)data;
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

static void numbers_from_snapshot(struct run *run, const struct bpf_snapshot *s)
{
	struct health_input *n = &run->numbers;
	struct bpf_capacity room;

	_Static_assert(HEALTH_MAPS_MAX >= 4 + 2, "two more are added for names");
	bpf_agent_capacity(run->bpf, &room);
	n->maps[0] = (struct health_map){"destinations", s->n_dests, room.dests};
	n->maps[1] = (struct health_map){"requests", s->n_requests, room.requests};
	n->maps[2] = (struct health_map){"addresses", s->n_addresses, room.addresses};
	n->maps[3] = (struct health_map){"workloads", s->n_workloads, room.workloads};
	n->n_maps = 4;
	n->since_unix_ms = s->since_unix_ns / 1000000;
	n->node = run->node;
	memcpy(n->counters, s->counters, sizeof(n->counters));
}

/* Said once when it begins to fail, and once when it works again. */
static void snapshot_result(struct run *run, int r)
{
	run->numbers.snapshots += r == 0;
	run->numbers.snapshot_failures += r < 0;
	if (r < 0 && !run->snapshot_failed)
		log_line(LOG_ERROR, "reading the kernel's maps failed: %s", strerror(-r));
	if (r == 0 && run->snapshot_failed)
		log_line(LOG_INFO, "reading the kernel's maps works again");
	run->snapshot_failed = r < 0;
}

static struct inventory_view view_of(const struct run *run)
{
	return (struct inventory_view){.pods = cluster_pods(run->cluster),
				       .registry = cluster_registry(run->cluster)};
}

static int observe_list(void *data, struct destination_list *ret)
{
	struct run *run = data;
	const struct inventory_view view = view_of(run);
	struct bpf_snapshot snapshot = {0};
	uint64_t start = clock_ns(CLOCK_MONOTONIC);
	int r = bpf_agent_snapshot(run->bpf, &snapshot);

	if (r == 0) {
		r = inventory_list(run->inventory, &snapshot, &view,
				   clock_ns(CLOCK_REALTIME) / 1000000, ret);
		numbers_from_snapshot(run, &snapshot);
		if (r == 0)
			run->numbers.hosts_folded = ret->hosts_folded;
		bpf_snapshot_done(&snapshot);
	}
	run->numbers.snapshot_seconds = (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e9;
	snapshot_result(run, r);
	return r;
}

static const struct registry_store *observe_registry(void *data)
{
	return cluster_registry(((struct run *)data)->cluster);
}

static const struct agent_health *observe_health(void *data)
{
	struct run *run = data;
	struct health_input in = run->numbers;

	cgroup_cache_counts(run->cgroups, &in.cgroups);
	http_get_counts(run->http, &in.http);
	in.tls = run->tls;
	if (run->tls)
		http_tls_get_counts(run->tls, &in.tls_counts);
	in.n_programs = bpf_agent_run_times(run->bpf, in.programs);
	node_usage(&in.usage);
	inventory_get_counts(run->inventory, &in.named);
	in.n_watches = cluster_watch_statuses(run->cluster, in.watches);
	if (cluster_pods(run->cluster))
		pods_get_counts(cluster_pods(run->cluster), &in.pods);
	if (cluster_registry(run->cluster))
		registry_get_stats(cluster_registry(run->cluster), &in.registry);
	in.sweep = run->sweep.counts;
	identities_get_counts(run->identities, &in.identities);
	in.maps[in.n_maps++] = (struct health_map){"cgroup_names", in.cgroups.names,
						   CGROUP_CACHE_MAX};
	in.maps[in.n_maps++] = (struct health_map){"identities", in.identities.kept,
						   BPF_IDENTITIES_MAX};
	health_fill(&in, &run->health);
	return &run->health.view;
}

/* ---- what is logged at the start ---- */

/* An address that means "all" is none to click on. */
static void log_where(const struct run *run)
{
	const char *address = http_address(run->http), *port = strrchr(address, ':');
	const char *scheme = run->tls ? "https" : "http";
	bool all = strncmp(address, "[::]:", 5) == 0 || strncmp(address, "0.0.0.0:", 8) == 0;
	bool usual = strcmp(run->options->socket, RUN_SOCKET) == 0;

	log_line(LOG_INFO, "metrics at %s://%s/metrics", scheme, address);
	if (all)
		log_line(LOG_INFO, "on this machine: %s://localhost%s/metrics", scheme, port);
	log_line(LOG_INFO, "to see what is called: egress-agent dump%s%s",
		 usual ? "" : " --agent unix:", usual ? "" : run->options->socket);
}

static void log_started(const struct run *run)
{
	if (!run->pin)
		log_line(LOG_INFO, "attached to %s until this process ends", run->cgroup);
	else if (run->adopted)
		log_line(LOG_INFO, "attached to %s, going on with the counts kept in %s",
			 run->cgroup, run->pin);
	else
		log_line(LOG_INFO, "attached to %s, counting from zero, kept in %s", run->cgroup,
			 run->pin);
	if (bpf_agent_max_destinations(run->bpf) != run->options->max_destinations)
		log_line(LOG_WARN,
			 "the maps kept in %s have room for %u destinations, not %u; remove "
			 "them to change that",
			 run->pin, bpf_agent_max_destinations(run->bpf),
			 run->options->max_destinations);
	log_where(run);
}

/* ---- the loop ---- */

/* Look a new workload's name up while it exists: a pod may be gone before anybody asks. */
static void on_event(const struct ea_event *e, void *data)
{
	struct run *run = data;
	const struct cgroup_name *name;

	run->numbers.events++;
	if (e->type != EA_EVENT_WORKLOAD)
		return;
	name = cgroup_cache_get(run->cgroups, e->cgroup_id);
	if (!name || !*name->path)
		run->names_missing = true;
	else
		identity_keep(run->identities, cluster_pods(run->cluster), e->cgroup_id, false);
}

/* Once is enough: a cgroup that is not there now was gone before we looked. */
static void find_names(struct run *run)
{
	if (run->names_missing)
		cgroup_cache_refresh(run->cgroups);
	run->names_missing = false;
}

/* Who rotates certificates replaces the files; what is broken there must not end what works. */
static void follow_tls(struct run *run)
{
	_cleanup_free_ char *why = NULL;
	int r;

	if (!run->tls)
		return;
	r = http_tls_follow(run->tls, observe_clock_ms(run), &why);
	if (r > 0)
		log_line(LOG_INFO, "TLS: new files are in use for new connections");
	if (r < 0)
		log_line(LOG_WARN, "TLS: %s; going on with what was read before",
			 why ? why : strerror(-r));
}

static void on_timer(struct run *run)
{
	const struct inventory_view view = view_of(run);
	uint64_t ticks;
	int r;

	if (read(run->timer_fd, &ticks, sizeof(ticks)) < 0)
		return;
	cluster_tick(run->cluster);
	api_tick(run->api);
	find_names(run);
	follow_tls(run);
	r = sweep_tick(&run->sweep, &view);
	if (r < 0)
		snapshot_result(run, r);
}

static void on_signal(struct run *run)
{
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			log_line(LOG_INFO, "SIGHUP ignored: there is nothing to read again");
			continue;
		}
		run->stopping = true;
	}
}

static void dispatch(struct run *run, enum run_watch what)
{
	switch (what) {
	case WATCH_SIGNAL:
		on_signal(run);
		return;
	case WATCH_TIMER:
		on_timer(run);
		return;
	case WATCH_EVENTS:
		bpf_agent_events(run->bpf, on_event, run);
		return;
	default: /* HTTP and the cluster run after every wait: they have time-outs as well */
		return;
	}
}

/* -1 is never. */
static int sooner(int a, int b)
{
	return a < 0 ? b : b < 0 ? a : MIN(a, b);
}

static int loop(struct run *run)
{
	struct epoll_event events[WATCH_MAX];

	while (!run->stopping) {
		int patience = sooner(http_timeout_ms(run->http), cluster_timeout_ms(run->cluster));
		int n = epoll_wait(run->epoll_fd, events, WATCH_MAX, patience);

		if (n < 0 && errno != EINTR)
			return log_fail("run: event loop: %s", strerror(errno));
		for (int i = 0; i < n; i++)
			dispatch(run, (enum run_watch)events[i].data.u32);
		cluster_run(run->cluster);
		http_run(run->http);
	}
	return EXIT_DONE;
}

/* ---- stop ---- */

static void stop_announce(const struct run *run)
{
	sigset_t set;

	if (run->pin)
		log_line(LOG_INFO,
			 "stopping; the programs stay attached and keep counting, and the next "
			 "start "
			 "goes on from there (rm -r %s detaches them)",
			 run->pin);
	else
		log_line(LOG_INFO, "stopping; the programs are detached");
	/* From here on a second signal ends the process at once. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void run_done(struct run *run)
{
	http_close(run->http);
	http_tls_free(run->tls);
	api_free(run->api);
	cluster_free(run->cluster);
	if (run->inventory)
		inventory_free(run->inventory);
	identities_free(run->identities);
	if (run->bpf)
		bpf_agent_close(run->bpf);
	cgroup_cache_free(run->cgroups);
	free(run->cgroup);
	free(run->internal);
	util_closep(&run->epoll_fd);
	util_closep(&run->signal_fd);
	util_closep(&run->timer_fd);
}

int run_run(void *data, char **operands, int n_operands)
{
	const struct run_options *options = data;
	struct run *run = calloc(1, sizeof(*run));
	int status;

	(void)operands;
	(void)n_operands;
	if (!run)
		return log_fail("run: out of memory");
	run->options = options;
	run->observer = (struct api_observer){.not_ready = observe_not_ready,
					      .not_synced = observe_not_synced,
					      .list = observe_list,
					      .health = observe_health,
					      .clock_ms = observe_clock_ms,
					      .registry = observe_registry,
					      .data = run};
	run->numbers.version = EA_VERSION;
	run->numbers.start_unix_ms = clock_ns(CLOCK_REALTIME) / 1000000;
	run->epoll_fd = run->signal_fd = run->timer_fd = -1;
	/*
	 * Fixed, or each large block that is freed would raise it: snapshots would come to lie on the heap, among what
	 * stays, and their memory would not go back.
	 */
	mallopt(M_MMAP_THRESHOLD, RUN_MMAP_MIN);
	log_setup((enum log_level)options->log_level, (enum log_format)options->log_format);
	status = run_start(run);
	if (!status) {
		run->ready = true;
		log_started(run);
		status = loop(run);
		stop_announce(run);
	}
	run_done(run);
	free(run);
	if (!status)
		log_line(LOG_INFO, "stopped");
	return status;
}
