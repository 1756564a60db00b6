// SPDX-License-Identifier: Apache-2.0
/* What the daemon knows of its cluster: which options contradict each other, and the registry out of a folder. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/* One answer a connection: an empty list, but 403 for where pods are, and nothing to watch. */
static void serve_one(int fd)
{
	static const char list[] =
		"{\"kind\":\"List\",\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[]}";
	static const char refused[] = "{\"kind\":\"Status\",\"message\":\"no\",\"code\":403}";
	char request[4096], answer[512];
	size_t n = 0;
	ssize_t got = 1;

	while (got > 0 && n < sizeof(request) - 1 && !memmem(request, n, "\r\n\r\n", 4)) {
		got = read(fd, request + n, sizeof(request) - 1 - n);
		n += got > 0 ? (size_t)got : 0;
	}
	request[n] = '\0';
	if (strstr(request, "endpointslices"))
		n = (size_t)snprintf(answer, sizeof(answer),
				     "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"
				     "Content-Length: %zu\r\n\r\n%s",
				     strlen(refused), refused);
	else
		n = (size_t)snprintf(answer, sizeof(answer),
				     "HTTP/1.1 200 OK\r\nConnection: close\r\n"
				     "Content-Length: %zu\r\n\r\n%s",
				     strlen(list), list);
	if (!strstr(request, "watch=1") && write(fd, answer, n) < 0)
		_exit(1);
	close(fd);
}

/* Ends with the test, whose end of the pipe it watches. */
static void serve(int listener, int alive)
{
	struct pollfd fds[] = {{.fd = listener, .events = POLLIN}, {.fd = alive, .events = POLLIN}};

	while (poll(fds, 2, -1) > 0 && !fds[1].revents)
		serve_one(accept(listener, NULL, NULL));
	_exit(0);
}

static int server_start(char url[64], int *ret_alive)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), alive[2];
	socklen_t size = sizeof(address);
	pid_t pid;

	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 16), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(pipe(alive), 0);
	snprintf(url, 64, "http://127.0.0.1:%d", ntohs(address.sin_port));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(alive[1]);
		serve(listener, alive[0]);
	}
	close(listener);
	close(alive[0]);
	*ret_alive = alive[1];
	return pid;
}

/* A ClusterRole from before EndpointSlices were asked for: the registry is known all the same, and it is said. */
static void slices_forbidden(void **state)
{
	struct world *w = *state;
	struct cluster_options options = {
		.registry = "auto",
		.node = "n1",
		.mesh = REGISTRY_OPTIONS_DEFAULT,
		.timing = {.backoff_ms = 10, .backoff_max_ms = 50, .absent_ms = 50},
		.say = say,
		.data = w,
	};
	char url[64], *why;
	int alive, pid = server_start(url, &alive), status;

	options.kube = url;
	assert_int_equal(cluster_new(&options, &w->cluster, &why), 0);
	for (int i = 0; i < 2000 && !cluster_registry(w->cluster); i++) {
		struct pollfd fd = {.fd = cluster_epoll_fd(w->cluster), .events = POLLIN};

		poll(&fd, 1, 10);
		cluster_run(w->cluster);
	}
	assert_non_null(cluster_registry(w->cluster));
	assert_null(cluster_not_ready(w->cluster));
	cluster_tick(w->cluster);
	assert_true(w->problems > 0);
	cluster_free(w->cluster);
	w->cluster = NULL;
	close(alive);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
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
		WORLD_TEST(slices_forbidden),   WORLD_TEST(no_memory),
	};

	return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
