// SPDX-License-Identifier: Apache-2.0
/*
 * kube_probe [-n] [-k SECONDS] [-s MS] URL TOKEN_FILE CA_FILE PATH[?SELECTOR]... - follow collections with user/kube.c and
 * user/pod.c on an epoll loop of its own, as the daemon does, and tell what is in their caches when asked on stdin:
 *
 *	dump		every object as "PATH<TAB>JSON"
 *	status		the state of every watch, JSON, a line each
 *	container ID	the pod a container belongs to, JSON or null
 *	uid UID		the pod with that uid or static pod's hash
 *	time		how long the loop was held up at most since the last time, CPU and memory
 *
 * Every answer ends in a line with a dot. -n: keep no objects (for measuring memory). -k: ask the server to end
 * watches after that many seconds. -s: take an answer for stalled after that many ms. Ends with stdin.
 */
#include <errno.h>
#include <search.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>

#include "kube.h"
#include "pod.h"
#include "util.h"

#define WATCHES_MAX 16
#define TICK_MS     2

struct collection {
	const char *path;
	struct kube_watch *watch;
	void *objects; /* tsearch tree of struct object */
	struct pods *pods;
	bool keep;
};

struct object {
	char *key; /* namespace/name */
	char *text;
};

struct probe {
	struct kube *kube;
	struct pods *pods;
	struct collection collections[WATCHES_MAX];
	size_t n;
	int epoll_fd, timer_fd;
	double next_tick, late_s,
		run_s; /* the worst since they were asked for; run_s: CPU time of one kube_run */
	char line[4096];
	size_t line_size;
};

static double clock_s(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double now_s(void)
{
	return clock_s(CLOCK_MONOTONIC);
}

static void die(const char *what, int error)
{
	fprintf(stderr, "kube_probe: %s: %s\n", what, strerror(-error));
	exit(1);
}

/* ---- what the API tells ---- */

static int compare_objects(const void *a, const void *b)
{
	return strcmp(((const struct object *)a)->key, ((const struct object *)b)->key);
}

static void object_free(void *data)
{
	struct object *o = data;

	free(o->key);
	free(o->text);
	free(o);
}

static struct object *object_new(const char *ns, const char *name)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o || asprintf(&o->key, "%s/%s", ns, name) < 0)
		die("object", -ENOMEM);
	return o;
}

static const char *meta(const cJSON *object, const char *key)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
		cJSON_GetObjectItemCaseSensitive(object, "metadata"), key));

	return s ? s : "";
}

static int on_object(const cJSON *object, void *data)
{
	struct collection *c = data;
	struct object *o, **found;

	if (c->pods && pods_object(object, c->pods) < 0)
		return -ENOMEM;
	if (!c->keep)
		return 0;
	o = object_new(meta(object, "namespace"), meta(object, "name"));
	found = tsearch(o, &c->objects, compare_objects);
	if (*found != o)
		object_free(o);
	free((*found)->text);
	(*found)->text = cJSON_PrintUnformatted(object);
	return 0;
}

static void on_deleted(const struct kube_id *id, void *data)
{
	struct collection *c = data;
	struct object *key, **found;

	if (c->pods)
		pods_deleted(id, c->pods);
	if (!c->keep)
		return;
	key = object_new(id->ns, id->name);
	found = tfind(key, &c->objects, compare_objects);
	if (!found) {
		/* What was never there cannot go: the caller compares, and this is not in any truth. */
		printf("UNKNOWN %s\n", key->key);
	} else {
		struct object *gone = *found;

		tdelete(key, &c->objects, compare_objects);
		object_free(gone);
	}
	object_free(key);
}

static const struct kube_sink sink = {.object = on_object, .deleted = on_deleted};

/* ---- answers ---- */

static const char *dump_path;

static void dump_one(const void *node, VISIT visit, int depth)
{
	const struct object *o = *(struct object *const *)node;

	(void)depth;
	if (visit == postorder || visit == leaf)
		printf("%s\t%s\n", dump_path, o->text);
}

static void answer_dump(struct probe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		dump_path = p->collections[i].path;
		twalk(p->collections[i].objects, dump_one);
	}
}

static void print_json(cJSON *tree)
{
	char *text = cJSON_PrintUnformatted(tree);

	printf("%s\n", text);
	free(text);
	cJSON_Delete(tree);
}

static void answer_status(struct probe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		cJSON *tree = cJSON_CreateObject(), *errors;
		struct kube_status s;

		kube_get_status(p->collections[i].watch, &s);
		cJSON_AddStringToObject(tree, "path", p->collections[i].path);
		cJSON_AddBoolToObject(tree, "synced", s.synced);
		cJSON_AddBoolToObject(tree, "absent", s.absent);
		cJSON_AddBoolToObject(tree, "failing", s.failing);
		cJSON_AddNumberToObject(tree, "objects", (double)s.objects);
		cJSON_AddNumberToObject(tree, "lists", (double)s.lists);
		cJSON_AddNumberToObject(tree, "watches", (double)s.watches);
		cJSON_AddNumberToObject(tree, "events", (double)s.events);
		cJSON_AddStringToObject(tree, "lastError", s.last_error);
		errors = cJSON_AddObjectToObject(tree, "errors");
		for (enum kube_error e = 0; e < KUBE_ERROR_MAX; e++)
			cJSON_AddNumberToObject(errors, kube_error_name(e), (double)s.errors[e]);
		print_json(tree);
	}
}

static void answer_pod(const struct pod *pod, const char *container)
{
	const struct source *s;
	cJSON *tree;

	if (!pod) {
		printf("null\n");
		return;
	}
	s = &pod->source;
	tree = cJSON_CreateObject();
	cJSON_AddStringToObject(tree, "name", pod->name);
	cJSON_AddStringToObject(tree, "uid", pod->uid);
	cJSON_AddStringToObject(tree, "namespace", s->ns);
	cJSON_AddStringToObject(tree, "workload", s->workload);
	cJSON_AddStringToObject(tree, "workloadKind", s->workload_kind);
	cJSON_AddStringToObject(tree, "canonicalService", s->canonical_service);
	cJSON_AddStringToObject(tree, "canonicalRevision", s->canonical_revision);
	cJSON_AddStringToObject(tree, "app", s->app);
	cJSON_AddStringToObject(tree, "version", s->version);
	cJSON_AddBoolToObject(tree, "sidecar", pod->sidecar);
	cJSON_AddBoolToObject(tree, "gone", pod->gone);
	cJSON_AddStringToObject(tree, "container", container);
	print_json(tree);
}

/* A number of /proc/self/status; what getrusage() calls the largest is that of whoever started us. */
static long status_kb(const char *field)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, field, strlen(field)) == 0)
			return atol(line + strlen(field));
	}
	return -1;
}

static void answer_time(struct probe *p)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	printf("{\"lateMs\":%.1f,\"runMs\":%.1f,\"cpuMs\":%ld,\"rssKb\":%ld,\"maxRssKb\":%ld}\n",
	       p->late_s * 1e3, p->run_s * 1e3,
	       (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
		       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000,
	       status_kb("VmRSS:"), status_kb("VmHWM:"));
	p->late_s = p->run_s = 0;
}

static void answer(struct probe *p, const char *line)
{
	const char *container = "";
	const struct pod *pod;

	if (strcmp(line, "dump") == 0) {
		answer_dump(p);
	} else if (strcmp(line, "status") == 0) {
		answer_status(p);
	} else if (strcmp(line, "time") == 0) {
		answer_time(p);
	} else if (strncmp(line, "container ", 10) == 0) {
		pod = pods_by_container(p->pods, line + 10, &container);
		answer_pod(pod, container);
	} else if (strncmp(line, "uid ", 4) == 0) {
		answer_pod(pods_by_uid(p->pods, line + 4), container);
	} else {
		printf("no such command: %s\n", line);
	}
	printf(".\n");
	fflush(stdout);
}

/* ---- the loop ---- */

/* False at the end of stdin. */
static bool on_stdin(struct probe *p)
{
	ssize_t n = read(STDIN_FILENO, p->line + p->line_size, sizeof(p->line) - p->line_size);
	char *start = p->line, *end;

	if (n <= 0)
		return false;
	p->line_size += (size_t)n;
	while ((end = memchr(start, '\n', (size_t)(p->line + p->line_size - start)))) {
		*end = '\0';
		answer(p, start);
		start = end + 1;
	}
	p->line_size -= (size_t)(start - p->line);
	memmove(p->line, start, p->line_size);
	/* What was printed meanwhile is the caller's time. */
	p->next_tick = now_s() + TICK_MS / 1e3;
	return p->line_size < sizeof(p->line);
}

static void on_tick(struct probe *p)
{
	double now = now_s();
	uint64_t ticks;

	if (read(p->timer_fd, &ticks, sizeof(ticks)) < 0)
		return;
	p->late_s = MAX(p->late_s, now - p->next_tick);
	p->next_tick = now + TICK_MS / 1e3;
}

static void loop(struct probe *p)
{
	struct epoll_event events[4];
	bool running = true;

	while (running) {
		int n = epoll_wait(p->epoll_fd, events, 4, kube_timeout_ms(p->kube));
		double start;

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == STDIN_FILENO)
				running = on_stdin(p);
			else if (events[i].data.fd == p->timer_fd)
				on_tick(p);
		}
		start = clock_s(CLOCK_THREAD_CPUTIME_ID);
		kube_run(p->kube);
		p->run_s = MAX(p->run_s, clock_s(CLOCK_THREAD_CPUTIME_ID) - start);
	}
}

static void add(struct probe *p, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll", -errno);
}

static void start(struct probe *p, struct kube_options *options, char **paths, bool keep)
{
	const struct itimerspec tick = {.it_interval.tv_nsec = TICK_MS * 1000000,
					.it_value.tv_nsec = TICK_MS * 1000000};
	int r = kube_new(options, &p->kube);

	if (r < 0 || (r = pods_new(&p->pods)) < 0)
		die(options->url, r);
	for (; *paths && p->n < WATCHES_MAX; paths++) {
		struct collection *c = &p->collections[p->n++];
		char *path = strsep(paths, "?"), *selector = *paths;

		*c = (struct collection){.path = path, .keep = keep};
		c->pods = strcmp(path, "/api/v1/pods") == 0 ? p->pods : NULL;
		r = kube_watch(p->kube, path, selector, &sink, c, &c->watch);
		if (r < 0)
			die(path, r);
		*paths = path;
	}
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	add(p, STDIN_FILENO);
	add(p, p->timer_fd);
	add(p, kube_epoll_fd(p->kube));
	timerfd_settime(p->timer_fd, 0, &tick, NULL);
	p->next_tick = now_s() + TICK_MS / 1e3;
}

int main(int argc, char **argv)
{
	/* Short, so that a test does not wait for what takes minutes in a cluster. */
	struct kube_options options = {.timing = {.connect_ms = 2000,
						  .stall_ms = 1000,
						  .watch_s = 2,
						  .backoff_ms = 10,
						  .backoff_max_ms = 100,
						  .absent_ms = 100}};
	struct probe p = {0};
	bool keep = true;
	int c;

	while ((c = getopt(argc, argv, "nk:s:")) != -1) {
		if (c == 'n')
			keep = false;
		else if (c == 'k')
			options.timing.watch_s = (unsigned int)atoi(optarg);
		else if (c == 's')
			options.timing.stall_ms = (unsigned int)atoi(optarg);
		else
			return 2;
	}
	if (argc - optind < 4)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	options.url = argv[optind];
	options.token_file = argv[optind + 1];
	options.ca_file = argv[optind + 2];
	start(&p, &options, argv + optind + 3, keep);
	loop(&p);
	kube_free(p.kube);
	pods_free(p.pods);
	for (size_t i = 0; i < p.n; i++)
		tdestroy(p.collections[i].objects, object_free);
	close(p.epoll_fd);
	close(p.timer_fd);
	return 0;
}
