// SPDX-License-Identifier: Apache-2.0
/* What the daemon knows of its cluster: which options contradict each other, and the registry out of a folder. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc.h"
#include "cluster.h"
#include "util.h"

struct world {
	char dir[64];
	struct cluster *cluster;
	char said[4096];
	unsigned int problems;
};

static void say(bool problem, const char *line, void *data)
{
	struct world *w = data;

	w->problems += problem;
	snprintf(w->said, sizeof(w->said), "%s", line);
}

static int open_with(struct world *w, const char *kube, const char *registry, char **ret_why)
{
	struct cluster_options options = {
		.kube = kube,
		.registry = registry,
		.node = "n1",
		.mesh = REGISTRY_OPTIONS_DEFAULT,
		.timing = KUBE_TIMING_DEFAULT,
		.say = say,
		.data = w,
	};

	return cluster_new(&options, &w->cluster, ret_why);
}

static void write_file(const struct world *w, const char *name, const char *text)
{
	_cleanup_free_ char *path = NULL;
	FILE *f;

	assert_true(asprintf(&path, "%s/%s", w->dir, name) > 0);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int make(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->dir, "/tmp/test_cluster.XXXXXX");
	*state = w;
	return mkdtemp(w->dir) ? 0 : -1;
}

static int remove_all(void **state)
{
	struct world *w = *state;
	char command[128];

	cluster_free(w->cluster);
	snprintf(command, sizeof(command), "rm -r %s", w->dir);
	assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
	free(w);
	return 0;
}

#define ENTRY(host)                                                                               \
	"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: " \
	"shop}\nspec:\n  hosts: [" host "]\n  location: MESH_EXTERNAL\n  resolution: DNS\n  "     \
	"ports: [{number: 443, name: tls, protocol: TLS}]\n"

static enum registry state_of(const struct world *w, const char *host)
{
	const struct registry_query query = {.ns = "shop",
					     .host = host,
					     .name_source = NAME_SOURCE_SNI,
					     .port = 443,
					     .protocol = PROTOCOL_TLS};
	struct registry_answer answer;

	assert_non_null(cluster_registry(w->cluster));
	registry_resolve(cluster_registry(w->cluster), &query, &answer);
	return answer.state;
}

static void nothing_configured(void **state)
{
	struct cluster_watch_status watches[CLUSTER_WATCHES_MAX];
	struct world *w = *state;
	char *why;

	assert_int_equal(open_with(w, "off", "auto", &why), 0);
	assert_null(cluster_pods(w->cluster));
	assert_null(cluster_registry(w->cluster));
	assert_null(cluster_not_ready(w->cluster));
	assert_int_equal(cluster_epoll_fd(w->cluster), -1);
	assert_int_equal(cluster_timeout_ms(w->cluster), -1);
	assert_int_equal(cluster_watch_statuses(w->cluster, watches), 0);
	cluster_run(w->cluster);
	cluster_tick(w->cluster);
	assert_string_equal(w->said, "");
}

static void contradictions(void **state)
{
	struct world *w = *state;
	char *why;

	assert_int_equal(open_with(w, "off", "kube", &why), -EINVAL);
	assert_string_equal(why, "--registry: kube needs an API server, and --kube has none");
	free(why);
	assert_int_equal(open_with(w, "nonsense", "off", &why), -EINVAL);
	assert_non_null(strstr(why, "--kube: 'nonsense'"));
	free(why);
	assert_int_equal(open_with(w, "off", "/nonexistent/folder", &why), -EINVAL);
	assert_non_null(strstr(why, "/nonexistent/folder"));
	free(why);
}

/* Nothing is known before the first list: better no registry than one that knows nothing. */
static void not_listed_yet(void **state)
{
	struct cluster_watch_status watches[CLUSTER_WATCHES_MAX];
	struct world *w = *state;
	char *why;

	assert_int_equal(open_with(w, "http://127.0.0.1:1", "auto", &why), 0);
	assert_non_null(cluster_pods(w->cluster));
	assert_null(cluster_registry(w->cluster));
	assert_string_equal(cluster_not_ready(w->cluster), "the pod list is not there yet");
	assert_true(cluster_epoll_fd(w->cluster) >= 0);
	assert_int_equal(cluster_watch_statuses(w->cluster, watches), CLUSTER_WATCHES_MAX);
	assert_string_equal(watches[CLUSTER_WATCHES_MAX - 1].collection, "pods");
}

/* Read again when a file changes, comes or goes; what cannot be read changes nothing. */
static void folder(void **state)
{
	struct world *w = *state;
	char *why;

	write_file(w, "a.yaml", ENTRY("one.example"));
	assert_int_equal(open_with(w, "off", w->dir, &why), 0);
	assert_int_equal(state_of(w, "one.example"), REGISTRY_REGISTERED);
	cluster_tick(w->cluster);
	assert_string_equal(w->said, "");

	write_file(w, "a.yaml", ENTRY("another.example"));
	cluster_tick(w->cluster);
	assert_int_equal(state_of(w, "one.example"),
			 REGISTRY_REGISTERED); /* it may not be all yet */
	cluster_tick(w->cluster);
	assert_non_null(strstr(w->said, "read again"));
	assert_int_equal(state_of(w, "one.example"), REGISTRY_PASSTHROUGH);
	assert_int_equal(state_of(w, "another.example"), REGISTRY_REGISTERED);

	write_file(w, "b.yaml", "kind: [\n");
	cluster_tick(w->cluster);
	cluster_tick(w->cluster);
	assert_int_equal(w->problems, 1);
	assert_non_null(strstr(w->said, "b.yaml:"));
	assert_int_equal(state_of(w, "another.example"), REGISTRY_REGISTERED);
	cluster_tick(w->cluster);
	assert_int_equal(w->problems, 1); /* said once */

	write_file(w, "b.yaml", ENTRY("bad_host.example"));
	cluster_tick(w->cluster);
	cluster_tick(w->cluster);
	assert_int_equal(w->problems, 2); /* istiod would not take it, the rest is there */
	assert_non_null(strstr(w->said, "read again"));
	assert_int_equal(state_of(w, "bad_host.example"), REGISTRY_PASSTHROUGH);
}

/* Every allocation failing in turn: refused, nothing leaked. */
static void no_memory(void **state)
{
	struct world *w = *state;
	int r = -ENOMEM;

	write_file(w, "a.yaml", ENTRY("one.example"));
	for (unsigned int n = 1; n < 3000 && r; n++) {
		char *why = NULL;

		alloc_fail_at(n);
		r = open_with(w, "off", w->dir, &why);
		alloc_fail_at(0);
		assert_true(r == 0 || r == -ENOMEM || r == -EINVAL);
		free(why);
	}
	assert_int_equal(r, 0);
	assert_int_equal(state_of(w, "one.example"), REGISTRY_REGISTERED);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, make, remove_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(nothing_configured), WORLD_TEST(contradictions),
		WORLD_TEST(not_listed_yet),     WORLD_TEST(folder),
		WORLD_TEST(no_memory),
	};

	return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
