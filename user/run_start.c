// SPDX-License-Identifier: Apache-2.0
/*
 * How egress-agent run starts; see run.h. Each step says its own one line when it fails, with what to do about it,
 * and returns the exit status.
 *
 * Owns: the order of the steps and that wording. Must not know: what the daemon does once it runs.
 */
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "log.h"
#include "node.h"
#include "util.h"

#define RUN_MESH_PORT    15001 /* Istio's outbound capture port */
#define RUN_TICK_S       1
#define RUN_INTERNAL_MAX 1024

/* Every row of every output carries it: half a name would be another node's. */
static int start_node(struct run *run, const char *where, const char *node)
{
	if (strlen(node) >= sizeof(run->node)) {
		log_fail("run: %s: '%.32s...' is not a name of at most %zu bytes; "
			 "see 'egress-agent run --help'",
			 where, node, sizeof(run->node) - 1);
		return EXIT_USAGE;
	}
	memcpy(run->node, node, strlen(node) + 1);
	return EXIT_DONE;
}

/* The others (dump) name it to find this one, and may be started elsewhere. */
static int start_socket(const struct run *run)
{
	if (run->options->socket[0] == '/')
		return EXIT_DONE;
	log_fail("run: --socket: '%s' is not an absolute path; see 'egress-agent run --help'",
		 run->options->socket);
	return EXIT_USAGE;
}

static int start_tls_words(const struct run_options *o)
{
	if (!o->tls_cert == !o->tls_key && (o->tls_cert || !o->client_ca))
		return EXIT_DONE;
	log_fail("run: %s is given without %s; see 'egress-agent run --help'",
		 o->tls_cert  ? "--tls-cert"
		 : o->tls_key ? "--tls-key"
			      : "--client-ca",
		 o->tls_cert  ? "--tls-key"
		 : o->tls_key ? "--tls-cert"
			      : "--tls-cert and --tls-key");
	return EXIT_USAGE;
}

static int start_names(struct run *run)
{
	const char *node = run->options->node, *env = getenv("NODE_NAME");
	int status = start_socket(run);

	if (!status)
		status = start_tls_words(run->options);
	if (!status && node && *node)
		status = start_node(run, "--node", node);
	else if (!status && !node && env && *env)
		status = start_node(run, "NODE_NAME", env);
	else if (!status && gethostname(run->node, sizeof(run->node) - 1) < 0)
		status = log_fail("run: host name: %s; give one with --node", strerror(errno));
	run->pin = strcmp(run->options->pin, "off") == 0 ? NULL : run->options->pin;
	return status;
}

static int internal_add(struct run *run, const char *word)
{
	if (run->n_internal == RUN_INTERNAL_MAX) {
		log_fail("run: --internal-cidr: more than %d ranges; see 'egress-agent run --help'",
			 RUN_INTERNAL_MAX);
		return EXIT_USAGE;
	}
	if (range_parse(word, &run->internal[run->n_internal]) < 0) {
		log_fail("run: --internal-cidr: '%s' is not an address range such as 10.0.0.0/8 or "
			 "fd00::/8; see 'egress-agent run --help'",
			 word);
		return EXIT_USAGE;
	}
	run->n_internal++;
	return EXIT_DONE;
}

/* Each value is one range or several with commas between them, as the default has. */
static int start_internal(struct run *run)
{
	int status = EXIT_DONE;

	run->internal = calloc(RUN_INTERNAL_MAX, sizeof(*run->internal));
	if (!run->internal)
		return log_fail("run: out of memory");
	for (size_t i = 0; i < run->options->internal.n && !status; i++) {
		_cleanup_free_ char *words = strdup(run->options->internal.items[i]);
		char *rest = words, *word;

		if (!words)
			return log_fail("run: out of memory");
		while (!status && (word = strsep(&rest, ",")))
			status = internal_add(run, word);
	}
	return status;
}

/* Known before anything is touched: whoever lacks the privilege is told that, not that a directory is not his. */
static int start_privilege(void)
{
	char missing[64];
	uint64_t caps;

	if (node_effective_caps("/proc/self/status", &caps) < 0 ||
	    !*node_missing_caps(caps, missing, sizeof(missing)))
		return EXIT_DONE;
	return log_fail(
		"run: no privilege: %s missing; run it as root (sudo) or grant what is missing",
		missing);
}

static int start_cgroup(struct run *run)
{
	_cleanup_free_ char *why = NULL;
	int r = node_find_cgroup(run->options->cgroup, &run->cgroup, &why);

	if (r < 0)
		return log_fail("run: %s", why ? why : strerror(-r));
	r = cgroup_cache_new(run->cgroup, &run->cgroups);
	if (r < 0)
		return log_fail("run: %s: %s; name another directory with --cgroup", run->cgroup,
				strerror(-r));
	return EXIT_DONE;
}

static int listen_fail(const struct run_options *o, int r)
{
	if (r == -EINVAL) {
		log_fail("run: --listen: '%s' is not ADDR:PORT, [V6]:PORT or :PORT; "
			 "see 'egress-agent run --help'",
			 o->listen);
		return EXIT_USAGE;
	}
	if (r == -EADDRINUSE)
		return log_fail("run: %s: address already in use; stop what listens there (another "
				"egress-agent?) or choose another --listen",
				o->listen);
	return log_fail("run: %s: %s; choose another --listen", o->listen, strerror(-r));
}

static int socket_fail(const struct run_options *o, int r)
{
	if (r == -EADDRINUSE)
		return log_fail("run: %s: another egress-agent answers there; stop it or choose "
				"another --socket",
				o->socket);
	if (r == -EEXIST)
		return log_fail("run: %s: exists and is not a socket; remove it or choose another "
				"--socket",
				o->socket);
	return log_fail("run: %s: %s; choose another --socket", o->socket, strerror(-r));
}

static int start_tls(struct run *run)
{
	const struct http_tls_files files = {.cert = run->options->tls_cert,
					     .key = run->options->tls_key,
					     .client_ca = run->options->client_ca};
	_cleanup_free_ char *why = NULL;
	int r;

	if (!files.cert)
		return EXIT_DONE;
	r = http_tls_new(&files, &run->tls, &why);
	return r < 0 ? log_fail("run: TLS: %s; mend it or give another --tls-cert, --tls-key or "
				"--client-ca",
				why ? why : strerror(-r))
		     : EXIT_DONE;
}

/* Sockets are bound before any program is loaded, so that a port in use changes nothing in the kernel. */
static int start_http(struct run *run)
{
	const struct run_options *o = run->options;
	struct http_options options = {
		.listen = o->listen, .socket_path = o->socket, .tls = run->tls};
	const char *which;
	int r;

	if (api_new(&run->observer, &run->api) < 0)
		return log_fail("run: out of memory");
	options.routes = api_routes(&options.n_routes);
	options.data = run->api;
	r = http_open(&options, &run->http, &which);
	if (r == 0)
		return EXIT_DONE;
	if (strcmp(which, "listen") == 0)
		return listen_fail(o, r);
	if (strcmp(which, "socket") == 0)
		return socket_fail(o, r);
	return log_fail("run: HTTP server: %s", strerror(-r));
}

static const char *bpf_what_to_do(int r)
{
	switch (r) {
	case -EPERM:
	case -EACCES: /* start_privilege() has seen the capabilities */
		return "the capabilities are there: allow bpf() in the seccomp profile (or use a "
		       "newer container runtime), SELinux or AppArmor policy or user namespace";
	case -EEXIST:
		return "use another --pin, or remove those pins (rm -r) and with them their counts";
	case -EBUSY:
		return "stop the other one, or give this one its own --pin, --socket and --listen";
	case -ENOENT:
		return "mount a BPF file system (mount -t bpf bpf /sys/fs/bpf), choose another "
		       "--pin, or use --pin off";
	default:
		return "'egress-agent check' tells what is missing, --log-level debug what the "
		       "kernel said";
	}
}

/* libbpf's words are many and meant for developers; a verifier's log is one message of many lines. */
static void log_from_bpf(int level, const char *text)
{
	(void)level;
	while (*text) {
		int n = (int)strcspn(text, "\n");

		if (n > 0)
			log_line(LOG_DEBUG, "%.*s", n, text);
		text += n + (text[n] == '\n');
	}
}

static void say(bool problem, const char *line, void *data)
{
	(void)data;
	log_line(problem ? LOG_WARN : LOG_INFO, "%s", line);
}

static int start_cluster(struct run *run)
{
	const struct run_options *o = run->options;
	struct cluster_options options = {
		.kube = o->kube,
		.token = o->kube_token,
		.ca = o->kube_ca,
		.registry = o->registry,
		.node = run->node,
		.mesh = REGISTRY_OPTIONS_DEFAULT,
		.timing = KUBE_TIMING_DEFAULT,
		.say = say,
	};
	_cleanup_free_ char *why = NULL;
	int r;

	options.mesh.root_namespace = o->root_namespace;
	options.mesh.cluster_domain = o->cluster_domain;
	options.mesh.registry_only = o->outbound == OUTBOUND_REGISTRY_ONLY;
	r = cluster_new(&options, &run->cluster, &why);
	if (r == 0)
		return EXIT_DONE;
	if (r == -EINVAL && why && strncmp(why, "--", 2) == 0) {
		log_fail("run: %s; see 'egress-agent run --help'", why);
		return EXIT_USAGE;
	}
	if (r == -EINVAL)
		return log_fail("run: --registry: %s; mend it or name another folder",
				why ? why : strerror(-r));
	return log_fail("run: --kube: %s", why ? why : strerror(-r));
}

/* Who is who, and since an earlier agent. */
static int start_inventory(struct run *run)
{
	const struct inventory_options listing = {
		.node = run->node, .max_hosts_per_workload = run->options->max_hosts};
	const struct identity_store store = {
		.put = sweep_store_put, .forget = sweep_store_forget, .data = run->bpf};
	int r = identities_new(run->cgroups, &store, &run->identities);

	if (!r)
		r = inventory_new(&listing, run->identities, &run->inventory);
	if (!r)
		r = sweep_restore(run->bpf, run->identities);
	if (r)
		return r;
	run->sweep.options = (struct sweep_options){.bpf = run->bpf,
						    .inventory = run->inventory,
						    .identities = run->identities,
						    .expiry_ms = run->options->idle_expiry_ms};
	cgroup_cache_refresh(run->cgroups);
	return 0;
}

static int start_bpf(struct run *run)
{
	const struct bpf_options options = {.cgroup = run->cgroup,
					    .pin = run->pin,
					    .max_destinations = run->options->max_destinations,
					    .max_hosts_per_workload = run->options->max_hosts,
					    .mesh_port = RUN_MESH_PORT,
					    .internal = run->internal,
					    .n_internal = run->n_internal};
	_cleanup_free_ char *why = NULL;
	int r;

	bpf_set_log(log_from_bpf);
	r = bpf_agent_open(&options, &run->bpf, &run->adopted, &why);
	if (r < 0)
		return log_fail("run: %s; %s", why ? why : strerror(-r), bpf_what_to_do(r));
	r = start_inventory(run);
	return r < 0 ? log_fail("run: %s", strerror(-r)) : EXIT_DONE;
}

/* Blocked from the beginning, so that a signal that comes while programs load is seen by the loop. */
static int start_signals(struct run *run)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return log_fail("run: signals: %s", strerror(errno));
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->signal_fd < 0)
		return log_fail("run: signalfd: %s", strerror(errno));
	return EXIT_DONE;
}

static int watch(struct run *run, int fd, enum run_watch what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};

	return epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int start_loop(struct run *run)
{
	const struct itimerspec tick = {.it_interval.tv_sec = RUN_TICK_S,
					.it_value.tv_sec = RUN_TICK_S};
	int r;

	run->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (run->epoll_fd < 0 || run->timer_fd < 0 ||
	    timerfd_settime(run->timer_fd, 0, &tick, NULL) < 0)
		return log_fail("run: event loop: %s", strerror(errno));
	r = watch(run, run->signal_fd, WATCH_SIGNAL);
	if (r == 0)
		r = watch(run, run->timer_fd, WATCH_TIMER);
	if (r == 0)
		r = watch(run, bpf_agent_event_fd(run->bpf), WATCH_EVENTS);
	if (r == 0)
		r = watch(run, http_epoll_fd(run->http), WATCH_HTTP);
	if (r == 0 && cluster_epoll_fd(run->cluster) >= 0)
		r = watch(run, cluster_epoll_fd(run->cluster), WATCH_CLUSTER);
	return r < 0 ? log_fail("run: event loop: %s", strerror(-r)) : EXIT_DONE;
}

int run_start(struct run *run)
{
	int status = start_names(run);

	if (!status)
		status = start_internal(run);
	if (!status)
		status = start_privilege();
	if (!status)
		status = start_signals(run);
	if (!status)
		status = start_cgroup(run);
	if (!status)
		status = start_tls(run);
	if (!status)
		status = start_http(run);
	if (!status)
		status = start_cluster(run);
	if (!status)
		status = start_bpf(run);
	if (!status)
		status = start_loop(run);
	return status;
}
