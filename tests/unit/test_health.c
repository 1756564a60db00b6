// SPDX-License-Identifier: Apache-2.0
/* Unit tests of user/health.c: every number arrives under its own name, and the exposition takes all of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "expose.h"
#include "health.h"
#include "util.h"

/* Every number another one, so that none can stand in for another. */
static struct health_input example(void)
{
	struct health_input in = {
		.version = "1",
		.start_unix_ms = 1700000000000,
		.n_maps = 2,
		.node = "n1",
		.since_unix_ms = 1690000000125,
		.snapshots = 1001,
		.snapshot_failures = 1002,
		.snapshot_seconds = 0.125,
		.cgroups = {.names = 7, .evicted = 1003, .skipped = 1004},
		.http = {.crowded = 1005, .late = 1006, .too_much = 1007, .broken = 1009},
		.tls = true,
		.tls_counts = {.loaded = 1011, .refused = 1012, .large = 1013},
		.events = 1010,
		.usage = {.resident_bytes = 123456, .cpu_seconds = 1008.75}};

	for (size_t i = 0; i < EA_COUNT_MAX; i++)
		in.counters[i] = 2000 + i;
	in.named = (struct inventory_counts){11, 12, 13};
	in.watches[0].collection = "pods";
	in.watches[0].kube.objects = 14;
	in.watches[0].kube.synced = true;
	in.watches[0].kube.errors[KUBE_ERROR_GONE] = 3001;
	in.watches[1].collection = "services";
	in.watches[1].kube.objects = 15;
	in.watches[1].kube.errors[KUBE_ERROR_GONE] = 3002;
	in.n_watches = 2;
	in.pods.full = 3003;
	in.registry.objects[REGISTRY_KIND_SIDECAR] = 16;
	in.registry.rejected[REGISTRY_REASON_HOST] = 3004;
	in.registry.full = 3005;
	for (size_t i = 0; i < LEAVE_MAX; i++)
		in.sweep.left[i] = 4000 + i;
	in.sweep.strays = 4010;
	in.sweep.failures = 4011;
	in.identities.failures = 4012;
	in.sweep.seconds = 0.5;
	in.programs[0] = (struct bpf_run_time){"ea_egress", 3006, 3007500000000};
	in.programs[1] = (struct bpf_run_time){"ea_ingress", 3008, 3009500000000};
	in.n_programs = 2;
	in.maps[0] = (struct health_map){"destinations", 5, 64};
	in.maps[1] = (struct health_map){"addresses", 6, 0};
	return in;
}

static const char *const example_lines[] = {
	"egress_agent_flows_followed_total 2000",
	"egress_agent_flows_total{outcome=\"tls_named\"} 2001",
	"egress_agent_flows_total{outcome=\"tls_unnamed\"} 2002",
	"egress_agent_flows_total{outcome=\"http\"} 2003",
	"egress_agent_flows_total{outcome=\"tcp\"} 2004",
	"egress_agent_flows_total{outcome=\"silent\"} 2005",
	"egress_agent_flows_total{outcome=\"failed\"} 2006",
	"egress_agent_flows_total{outcome=\"incomplete\"} 2007",
	"egress_agent_unparsed_total{reason=\"not_http\"} 2008",
	"egress_agent_unparsed_total{reason=\"response_race\"} 2015",
	"egress_agent_tls_handshakes_total{outcome=\"answered\"} 2016",
	"egress_agent_tls_handshakes_total{outcome=\"failed\"} 2017",
	"egress_agent_tls_handshakes_total{outcome=\"unread\"} 2018",
	"egress_agent_destinations_folded_total 2019",
	"egress_agent_lost_total{reason=\"destination_overflow\"} 2020",
	"egress_agent_lost_total{reason=\"load_failed\"} 2025",
	"egress_agent_counters_start_time_seconds{agent_node=\"n1\"} 1690000000.125",
	"egress_agent_snapshots_total 1001",
	"egress_agent_snapshot_failures_total 1002",
	"egress_agent_cgroup_names_evicted_total 1003",
	"egress_agent_cgroups_skipped_total 1004",
	"egress_agent_http_connections_cut_total{reason=\"crowded\"} 1005",
	"egress_agent_http_connections_cut_total{reason=\"late\"} 1006",
	"egress_agent_http_connections_cut_total{reason=\"failed\"} 1009",
	"egress_agent_http_connections_cut_total{reason=\"tls_large\"} 1013",
	"egress_agent_http_replies_refused_total 1007",
	"egress_agent_http_tls_reloads_total{result=\"loaded\"} 1011",
	"egress_agent_http_tls_reloads_total{result=\"refused\"} 1012",
	"egress_agent_events_total 1010",
	"egress_agent_bpf_runs_total{program=\"ea_egress\"} 3006",
	"egress_agent_bpf_runs_total{program=\"ea_ingress\"} 3008",
	"egress_agent_bpf_run_seconds_total{program=\"ea_egress\"} 3007.5",
	"egress_agent_bpf_run_seconds_total{program=\"ea_ingress\"} 3009.5",
	"egress_agent_destinations_named{by=\"pod\"} 11",
	"egress_agent_destinations_named{by=\"container\"} 12",
	"egress_agent_destinations_named{by=\"cgroup\"} 13",
	"egress_agent_api_objects{collection=\"pods\"} 14",
	"egress_agent_api_objects{collection=\"services\"} 15",
	"egress_agent_api_synced{collection=\"pods\"} 1",
	"egress_agent_api_synced{collection=\"services\"} 0",
	"egress_agent_api_errors_total{reason=\"gone\"} 6003",
	"egress_agent_pods_lost_total{reason=\"full\"} 3003",
	"egress_agent_registry_objects{kind=\"Sidecar\"} 16",
	"egress_agent_registry_objects_rejected_total{reason=\"host\"} 3004",
	"egress_agent_registry_objects_rejected_total{reason=\"full\"} 3005",
	"egress_agent_destinations_left_total{reason=\"back\"} 4000",
	"egress_agent_destinations_left_total{reason=\"idle\"} 4001",
	"egress_agent_destinations_left_total{reason=\"cgroup_gone\"} 4002",
	"egress_agent_destinations_left_total{reason=\"forgotten\"} 4003",
	"egress_agent_destinations_left_total{reason=\"stray\"} 4010",
	"egress_agent_leave_failures_total{reason=\"map\"} 4011",
	"egress_agent_leave_failures_total{reason=\"identity\"} 4012",
	"egress_agent_sweep_duration_seconds 0.5",
	"process_cpu_seconds_total 1008.75",
	"process_resident_memory_bytes 123456",
	"egress_agent_snapshot_duration_seconds 0.125",
	"egress_agent_map_entries{map=\"destinations\"} 5",
	"egress_agent_map_entries{map=\"addresses\"} 6",
	"egress_agent_map_capacity{map=\"destinations\"} 64",
};

static void every_line_is_printed(void **state)
{
	const struct health_input in = example();
	const struct destination_list list = {0};
	_cleanup_free_ char *text = NULL;
	static struct health health;
	char want[128];
	size_t size;

	(void)state;
	health_fill(&in, &health);
	assert_int_equal(expose_text(&list, &health.view, &text, &size), 0);
	for (size_t i = 0; i < ARRAY_SIZE(example_lines); i++) {
		snprintf(want, sizeof(want), "\n%s\n", example_lines[i]);
		if (!strstr(text, want))
			fail_msg("no line '%s' in:\n%s", example_lines[i], text);
	}
	assert_null(strstr(text, "map_capacity{map=\"addresses\"}"));
}

/* What the kernel counts began with its maps, what the agent counts with it. Programs that nobody times have no line. */
static void beginnings(void **state)
{
	struct health_input in = example();
	const struct destination_list list = {0};
	static struct health health;
	char *text;
	size_t size;

	(void)state;
	health_fill(&in, &health);
	assert_int_equal(
		expose_blocks(&list, &health.view, METRICS_OPENMETRICS, 1000, &text, &size), 0);
	assert_non_null(
		strstr(text, "\negress_agent_flows_created{outcome=\"http\"} 1690000000.125\n"));
	assert_non_null(strstr(text, "\negress_agent_snapshots_created 1700000000\n"));
	assert_non_null(strstr(text, "\negress_agent_events_created 1700000000\n"));
	free(text);
	in.n_programs = 0;
	health_fill(&in, &health);
	assert_int_equal(expose_text(&list, &health.view, &text, &size), 0);
	assert_null(strstr(text, "egress_agent_bpf_run"));
	free(text);
}

/* The format wants all lines of a family together; a head may come only once. */
static void families_stand_together(void **state)
{
	const struct health_input in = example();
	const struct destination_list list = {0};
	_cleanup_free_ char *text = NULL;
	static struct health health;
	char *save, *line;
	char heads[64][128];
	size_t n = 0, size;

	(void)state;
	health_fill(&in, &health);
	assert_int_equal(expose_text(&list, &health.view, &text, &size), 0);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "# TYPE ", 7) != 0)
			continue;
		for (size_t i = 0; i < n; i++)
			assert_string_not_equal(heads[i], line);
		assert_true(n < ARRAY_SIZE(heads) && strlen(line) < sizeof(heads[0]));
		strcpy(heads[n++], line);
	}
	assert_true(n > 15);
}

/* As many tables as there may be: all of them have room. */
static void room_for_all(void **state)
{
	struct health_input in = example();
	static struct health health;

	(void)state;
	for (in.n_maps = 0; in.n_maps < HEALTH_MAPS_MAX; in.n_maps++)
		in.maps[in.n_maps] = (struct health_map){"m", 1, 1};
	for (in.n_watches = 0; in.n_watches < CLUSTER_WATCHES_MAX; in.n_watches++)
		in.watches[in.n_watches].collection = "c";
	in.n_programs = BPF_PROGRAMS_MAX;
	health_fill(&in, &health);
	assert_true(health.view.n_counters < ARRAY_SIZE(health.counters));
	assert_true(health.view.n_gauges < ARRAY_SIZE(health.gauges));
	assert_true(health.view.n_gauges >= 2 * HEALTH_MAPS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_line_is_printed),
		cmocka_unit_test(beginnings),
		cmocka_unit_test(families_stand_together),
		cmocka_unit_test(room_for_all),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
