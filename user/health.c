// SPDX-License-Identifier: Apache-2.0
/* The agent's own health as metric families; see health.h. */
#include "health.h"

#include "util.h"

#define FOLLOWED   "egress_agent_flows_followed"
#define FLOWS      "egress_agent_flows"
#define UNPARSED   "egress_agent_unparsed"
#define HANDSHAKES "egress_agent_tls_handshakes"
#define LOST       "egress_agent_lost"
#define FOLDED     "egress_agent_destinations_folded"

/* By index, so that the table is complete; families stand together because enum ea_counter groups them. */
static const struct {
	const char *family, *label, *value;
} counter_names[] = {
	[EA_COUNT_FLOWS] = {FOLLOWED, NULL, NULL},
	[EA_COUNT_TLS_NAMED] = {FLOWS, "outcome", "tls_named"},
	[EA_COUNT_TLS_UNNAMED] = {FLOWS, "outcome", "tls_unnamed"},
	[EA_COUNT_HTTP] = {FLOWS, "outcome", "http"},
	[EA_COUNT_TCP] = {FLOWS, "outcome", "tcp"},
	[EA_COUNT_SILENT] = {FLOWS, "outcome", "silent"},
	[EA_COUNT_FAILED] = {FLOWS, "outcome", "failed"},
	[EA_COUNT_INCOMPLETE] = {FLOWS, "outcome", "incomplete"},
	[EA_COUNT_NOT_HTTP] = {UNPARSED, "reason", "not_http"},
	[EA_COUNT_MALFORMED] = {UNPARSED, "reason", "malformed"},
	[EA_COUNT_BUDGET] = {UNPARSED, "reason", "budget"},
	[EA_COUNT_STEPS] = {UNPARSED, "reason", "steps"},
	[EA_COUNT_GAP] = {UNPARSED, "reason", "gap"},
	[EA_COUNT_PIPELINE] = {UNPARSED, "reason", "pipeline"},
	[EA_COUNT_RESPONSE_LOST] = {UNPARSED, "reason", "response_lost"},
	[EA_COUNT_RESPONSE_RACE] = {UNPARSED, "reason", "response_race"},
	[EA_COUNT_HANDSHAKE_ANSWERED] = {HANDSHAKES, "outcome", "answered"},
	[EA_COUNT_HANDSHAKE_FAILED] = {HANDSHAKES, "outcome", "failed"},
	[EA_COUNT_HANDSHAKE_UNREAD] = {HANDSHAKES, "outcome", "unread"},
	[EA_COUNT_DEST_FOLDED] = {FOLDED, NULL, NULL},
	[EA_COUNT_DEST_OVERFLOW] = {LOST, "reason", "destination_overflow"},
	[EA_COUNT_NO_FLOW_MEMORY] = {LOST, "reason", "no_flow_memory"},
	[EA_COUNT_NO_PARSE_MEMORY] = {LOST, "reason", "no_parse_memory"},
	[EA_COUNT_NO_STATS] = {LOST, "reason", "no_stats"},
	[EA_COUNT_NO_EVENT] = {LOST, "reason", "no_event"},
	[EA_COUNT_LOAD_FAILED] = {LOST, "reason", "load_failed"},
};
_Static_assert(ARRAY_SIZE(counter_names) == EA_COUNT_MAX, "a name for every counter");

#define HOSTS_FOLDED      "egress_agent_hosts_folded"
#define EVENTS            "egress_agent_events"
#define BPF_RUNS          "egress_agent_bpf_runs"
#define BPF_SECONDS       "egress_agent_bpf_run_seconds"
#define SNAPSHOTS         "egress_agent_snapshots"
#define SNAPSHOT_FAILURES "egress_agent_snapshot_failures"
#define SNAPSHOT_SECONDS  "egress_agent_snapshot_duration_seconds"
#define CGROUPS_EVICTED   "egress_agent_cgroup_names_evicted"
#define CGROUPS_SKIPPED   "egress_agent_cgroups_skipped"
#define HTTP_CUT          "egress_agent_http_connections_cut"
#define HTTP_TOO_MUCH     "egress_agent_http_replies_refused"
#define TLS_FILES         "egress_agent_http_tls_reloads"
#define LEFT              "egress_agent_destinations_left"
#define LEAVE_FAILURES    "egress_agent_leave_failures"
#define SWEEP_SECONDS     "egress_agent_sweep_duration_seconds"
#define MAP_ENTRIES       "egress_agent_map_entries"
#define MAP_CAPACITY      "egress_agent_map_capacity"
#define NAMED             "egress_agent_destinations_named"
#define API_ERRORS        "egress_agent_api_errors"
#define API_OBJECTS       "egress_agent_api_objects"
#define API_SYNCED        "egress_agent_api_synced"
#define PODS_LOST         "egress_agent_pods_lost"
#define REGISTRY_OBJECTS  "egress_agent_registry_objects"
#define REGISTRY_REJECTED "egress_agent_registry_objects_rejected"
#define COUNTERS_START    "egress_agent_counters_start_time_seconds"
#define RESIDENT          "process_resident_memory_bytes"
#define CPU_SECONDS       "process_cpu_seconds"

static const struct health_help help[] = {
	{FOLLOWED, "Client connections followed from their connect() on."},
	{FLOWS, "Client connections by what their first bytes turned out to be."},
	{UNPARSED,
	 "Messages or connections given up on, by reason; their bytes are still counted."},
	{HANDSHAKES, "TLS handshakes behind a ClientHello by what could be read of their end: a "
		     "ServerHello, an alert, or neither."},
	{FOLDED,
	 "Connections or requests that the kernel counted under host ~other for want of room."},
	{HOSTS_FOLDED,
	 "Hosts without a line of their own, summed under ~other; of those folded in the "
	 "kernel, their connections and requests."},
	{LOST, "Connections, packets or counts lost in the kernel, by reason."},
	{EVENTS, "News that the kernel sent: of each workload at its first destination."},
	{BPF_RUNS, "Runs of a program in the kernel; only while kernel.bpf_stats_enabled is 1."},
	{BPF_SECONDS, "Time spent in a program in the kernel; only while "
		      "kernel.bpf_stats_enabled is 1."},
	{SNAPSHOTS, "Snapshots taken of the kernel's maps."},
	{SNAPSHOT_FAILURES, "Snapshots that could not be taken."},
	{SNAPSHOT_SECONDS, "How long the last snapshot of the kernel's maps took."},
	{CGROUPS_EVICTED, "Names of cgroups forgotten for want of room."},
	{CGROUPS_SKIPPED, "Cgroup directories not looked at because they are too deep, too many or "
			  "their path too long."},
	{HTTP_CUT, "HTTP connections closed by the agent, by reason."},
	{HTTP_TOO_MUCH, "HTTP answers refused or cut because slow readers held what others need."},
	{TLS_FILES, "Files of --tls-cert, --tls-key and --client-ca read again because they were "
		    "replaced, by result; refused: what was read before stays in use."},
	{LEFT, "Destinations of one cgroup that left the kernel's maps, by reason: idle, their "
	       "cgroup gone, their "
	       "workload gone and forgotten, or counted after they had left (stray); back: in use "
	       "again."},
	{LEAVE_FAILURES,
	 "Destinations that could not leave (yet), or identities that could not be kept, by "
	 "reason."},
	{SWEEP_SECONDS, "How long the last look for destinations that are to leave took."},
	{MAP_ENTRIES, "Entries in a table of the agent."},
	{MAP_CAPACITY, "Entries that a table of the agent has room for."},
	{NAMED,
	 "Rows of the last snapshot by what their workload is named after: its pod, a container "
	 "whose pod is not known, or a cgroup outside of pods."},
	{API_ERRORS, "What went wrong with the Kubernetes API, by reason."},
	{API_OBJECTS, "Objects that the API listed, by collection."},
	{API_SYNCED, "1 once a collection was listed completely."},
	{PODS_LOST, "Pods not kept, or (cut) fields of pods, by reason."},
	{REGISTRY_OBJECTS, "Objects in the registry, by kind."},
	{REGISTRY_REJECTED, "Objects kept out of the registry, by reason."},
	{COUNTERS_START, "Since when the node's counters count, in Unix time: an agent that is "
			 "started anew goes on with the same."},
	{RESIDENT, "Resident memory size in bytes."},
	{CPU_SECONDS, "Total user and system CPU time spent in seconds."},
	{NULL, NULL},
};

static void add_counter(struct health *h, const char *family, const char *label, const char *value,
			double count)
{
	if (h->view.n_counters < ARRAY_SIZE(h->counters))
		h->counters[h->view.n_counters++] = (struct health_counter){
			.family = family, .label = label, .value = value, .count = count};
}

static void add_gauge(struct health *h, const char *family, const char *label, const char *value,
		      double number)
{
	if (h->view.n_gauges < ARRAY_SIZE(h->gauges))
		h->gauges[h->view.n_gauges++] = (struct health_gauge){family, label, value, number};
}

static void fill_kernel(const struct health_input *in, struct health *h)
{
	for (size_t i = 0; i < EA_COUNT_MAX; i++) {
		add_counter(h, counter_names[i].family, counter_names[i].label,
			    counter_names[i].value, (double)in->counters[i]);
		h->counters[i].created_ms = in->since_unix_ms;
	}
	for (size_t i = 0; i < in->n_programs; i++)
		add_counter(h, BPF_RUNS, "program", in->programs[i].program,
			    (double)in->programs[i].runs);
	for (size_t i = 0; i < in->n_programs; i++)
		add_counter(h, BPF_SECONDS, "program", in->programs[i].program,
			    (double)in->programs[i].ns / 1e9);
	add_counter(h, EVENTS, NULL, NULL, (double)in->events);
}

/* A reason is one line, whichever collection it befell. */
static void fill_errors(const struct health_input *in, struct health *h)
{
	for (size_t e = 0; in->n_watches && e < KUBE_ERROR_MAX; e++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < in->n_watches; i++)
			sum += in->watches[i].kube.errors[e];
		add_counter(h, API_ERRORS, "reason", kube_error_name((enum kube_error)e),
			    (double)sum);
	}
	if (in->n_watches) {
		add_counter(h, PODS_LOST, "reason", "evicted", (double)in->pods.evicted);
		add_counter(h, PODS_LOST, "reason", "full", (double)in->pods.full);
		add_counter(h, PODS_LOST, "reason", "invalid", (double)in->pods.invalid);
		add_counter(h, PODS_LOST, "reason", "cut", (double)in->pods.cut);
	}
	for (size_t i = 0; i < REGISTRY_REASON_MAX; i++)
		add_counter(h, REGISTRY_REJECTED, "reason",
			    registry_reason_name((enum registry_reason)i),
			    (double)in->registry.rejected[i]);
	add_counter(h, REGISTRY_REJECTED, "reason", "full", (double)in->registry.full);
	add_counter(h, REGISTRY_REJECTED, "reason", "pod_address",
		    (double)in->registry.pods_evicted);
}

static void fill_cluster(const struct health_input *in, struct health *h)
{
	add_gauge(h, NAMED, "by", "pod", (double)in->named.pods);
	add_gauge(h, NAMED, "by", "container", (double)in->named.containers);
	add_gauge(h, NAMED, "by", "cgroup", (double)in->named.cgroups);
	for (size_t i = 0; i < in->n_watches; i++)
		add_gauge(h, API_OBJECTS, "collection", in->watches[i].collection,
			  (double)in->watches[i].kube.objects);
	for (size_t i = 0; i < in->n_watches; i++)
		add_gauge(h, API_SYNCED, "collection", in->watches[i].collection,
			  in->watches[i].kube.synced);
	for (size_t i = 0; i < REGISTRY_KIND_MAX; i++)
		add_gauge(h, REGISTRY_OBJECTS, "kind", registry_kind_name((enum registry_kind)i),
			  (double)in->registry.objects[i]);
}

static void fill_sweep(const struct health_input *in, struct health *h)
{
	static const char *const whys[] = {[LEAVE_BACK] = "back",
					   [LEAVE_IDLE] = "idle",
					   [LEAVE_GONE] = "cgroup_gone",
					   [LEAVE_FORGOTTEN] = "forgotten"};

	_Static_assert(ARRAY_SIZE(whys) == LEAVE_MAX, "a word for every reason");
	for (size_t i = 0; i < LEAVE_MAX; i++)
		add_counter(h, LEFT, "reason", whys[i], (double)in->sweep.left[i]);
	add_counter(h, LEFT, "reason", "stray", (double)in->sweep.strays);
	add_counter(h, LEAVE_FAILURES, "reason", "map", (double)in->sweep.failures);
	add_counter(h, LEAVE_FAILURES, "reason", "identity", (double)in->identities.failures);
	add_gauge(h, SWEEP_SECONDS, NULL, NULL, in->sweep.seconds);
}

void health_fill(const struct health_input *in, struct health *ret)
{
	struct health *h = ret;

	*h = (struct health){.view = {.version = in->version,
				      .start_unix_ms = in->start_unix_ms,
				      .counters = h->counters,
				      .gauges = h->gauges,
				      .help = help}};
	fill_kernel(in, h);
	add_counter(h, SNAPSHOTS, NULL, NULL, in->snapshots);
	add_counter(h, SNAPSHOT_FAILURES, NULL, NULL, in->snapshot_failures);
	add_counter(h, CGROUPS_EVICTED, NULL, NULL, in->cgroups.evicted);
	add_counter(h, CGROUPS_SKIPPED, NULL, NULL, in->cgroups.skipped);
	add_counter(h, HTTP_CUT, "reason", "crowded", in->http.crowded);
	add_counter(h, HTTP_CUT, "reason", "late", in->http.late);
	add_counter(h, HTTP_CUT, "reason", "failed", in->http.broken);
	if (in->tls)
		add_counter(h, HTTP_CUT, "reason", "tls_large", (double)in->tls_counts.large);
	add_counter(h, HTTP_TOO_MUCH, NULL, NULL, in->http.too_much);
	if (in->tls) {
		add_counter(h, TLS_FILES, "result", "loaded", (double)in->tls_counts.loaded);
		add_counter(h, TLS_FILES, "result", "refused", (double)in->tls_counts.refused);
	}
	fill_errors(in, h);
	add_counter(h, CPU_SECONDS, NULL, NULL, in->usage.cpu_seconds);
	fill_cluster(in, h);
	fill_sweep(in, h);
	add_gauge(h, HOSTS_FOLDED, NULL, NULL, (double)in->hosts_folded);
	if (in->since_unix_ms && in->node)
		add_gauge(h, COUNTERS_START, "agent_node", in->node,
			  (double)in->since_unix_ms / 1000);
	add_gauge(h, SNAPSHOT_SECONDS, NULL, NULL, in->snapshot_seconds);
	add_gauge(h, RESIDENT, NULL, NULL, (double)in->usage.resident_bytes);
	for (size_t i = 0; i < in->n_maps; i++)
		add_gauge(h, MAP_ENTRIES, "map", in->maps[i].map, (double)in->maps[i].entries);
	for (size_t i = 0; i < in->n_maps; i++) {
		if (in->maps[i].capacity)
			add_gauge(h, MAP_CAPACITY, "map", in->maps[i].map,
				  (double)in->maps[i].capacity);
	}
}
