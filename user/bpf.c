// SPDX-License-Identifier: Apache-2.0
/* Load, pin or adopt, attach. Reading the maps is bpf_snapshot.c. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "bpf.h"
#include "bpf_agent.h"
#include "ranges.h"
#include "util.h"

/* Entries kept for the remainders of cgroups beyond max_destinations: one per protocol and scope. */
#define REMAINDERS_MAX (8192 * EA_PROTO_MAX * 2)
/* Flows of captures at a time; more than the feeder keeps. */
#define TUPLES_MAX 262144
/* Destinations (host, port, protocol) the kernel keeps per cgroup, for each host a workload may have. */
#define DESTS_PER_HOST 8

static void (*print_log)(int level, const char *text);

static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	_cleanup_free_ char *text = NULL;

	/* A verifier's log is one message of many lines, and its last ones matter. */
	if (!print_log || vasprintf(&text, fmt, args) < 0)
		return 0;
	print_log(level == LIBBPF_WARN ? 0 : level == LIBBPF_INFO ? 1 : 2, text);
	return 0;
}

void bpf_set_log(void (*print)(int level, const char *text))
{
	print_log = print;
	libbpf_set_print(print_libbpf);
}

static int why(char **ret_why, int r, const char *fmt, ...) _printf_(3, 4);

static int why(char **ret_why, int r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (vasprintf(ret_why, fmt, args) < 0)
		*ret_why = NULL;
	va_end(args);
	return r;
}

static int pin_path(const struct bpf_agent *a, const char *name, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s", a->pin, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The pin directory, on bpffs and ours alone: its lock is held as long as the fd is open. */
static int pin_open(struct bpf_agent *a, const char *dir, char **ret_why)
{
	bool made = mkdir(dir, 0700) == 0;
	struct statfs fs;

	if (!made && errno != EEXIST)
		return why(ret_why, -errno, "cannot create the pin directory %s: %s", dir,
			   strerror(errno));
	if (statfs(dir, &fs) < 0)
		return why(ret_why, -errno, "%s: %s", dir, strerror(errno));
	if (fs.f_type != BPF_FS_MAGIC) {
		if (made)
			rmdir(dir);
		return why(ret_why, -ENOENT, "%s is not on a bpf file system", dir);
	}
	a->pin_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->pin_fd < 0)
		return why(ret_why, -errno, "%s: %s", dir, strerror(errno));
	if (flock(a->pin_fd, LOCK_EX | LOCK_NB) < 0)
		return why(ret_why, -EBUSY, "another agent uses the pins in %s", dir);
	a->pin = strdup(dir);
	return a->pin ? 0 : -ENOMEM;
}

/* Maps made by this version of the ABI, complete? */
static bool pin_adoptable(const struct bpf_agent *a)
{
	struct bpf_map_info info = {};
	__u32 zero = 0, size = sizeof(info);
	struct ea_state state;
	char path[PATH_MAX];
	int fd, r;

	if (pin_path(a, "ea_state", path))
		return false;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	r = bpf_obj_get_info_by_fd(fd, &info, &size);
	if (!r && info.value_size == sizeof(state))
		r = bpf_map_lookup_elem(fd, &zero, &state);
	close(fd);
	return !r && info.value_size == sizeof(state) && state.abi == EA_ABI;
}

/* Pins of another ABI, or of a start that did not finish: nothing in them can be used, whatever their names. */
static void pin_clear(const struct bpf_agent *a, const char *pins)
{
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir = opendir(pins);

	while (dir && (d = readdir(dir)))
		if (strncmp(d->d_name, "ea_", 3) == 0 || strncmp(d->d_name, "link_ea_", 8) == 0)
			if (!pin_path(a, d->d_name, path))
				unlink(path);
	if (dir)
		closedir(dir);
}

/* The maps whose size is an option: a pinned one keeps what it was made with, whatever the options say now. */
static void pin_keep_size(struct bpf_agent *a, struct bpf_map *map, const char *path)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &size) && info.max_entries) {
		bpf_map__set_max_entries(map, info.max_entries);
		if (map == a->skel->maps.ea_dests && info.max_entries > REMAINDERS_MAX)
			a->max_destinations = MIN(a->max_destinations,
						  info.max_entries - REMAINDERS_MAX);
	}
	close(fd);
}

static bool map_is_sized(const struct bpf_agent *a, const struct bpf_map *map)
{
	return map == a->skel->maps.ea_dests || map == a->skel->maps.ea_stats ||
	       map == a->skel->maps.ea_requests || map == a->skel->maps.ea_addrs;
}

static int pin_maps(struct bpf_agent *a, bool adopt)
{
	struct bpf_map *map;
	char path[PATH_MAX];
	int r;

	bpf_object__for_each_map(map, a->skel->obj)
	{
		if (bpf_map__is_internal(map) || !bpf_map__autocreate(map))
			continue;
		r = pin_path(a, bpf_map__name(map), path);
		if (r)
			return r;
		if (adopt && map_is_sized(a, map))
			pin_keep_size(a, map, path);
		r = bpf_map__set_pin_path(map, path);
		if (r)
			return r;
	}
	a->skel->rodata->ea_config.max_dests = a->max_destinations;
	return 0;
}

static void configure(struct bpf_agent *a, const struct bpf_options *o)
{
	uint32_t entries = o->max_destinations + REMAINDERS_MAX;

	a->max_destinations = o->max_destinations;
	bpf_program__set_autoload(a->skel->progs.ea_packets, o->packets);
	/* There are no sockets in captures. */
	bpf_program__set_autoload(a->skel->progs.ea_sockops, !o->observe);
	bpf_program__set_autoload(a->skel->progs.ea_egress, !o->observe);
	bpf_program__set_autoload(a->skel->progs.ea_ingress, !o->observe);
	bpf_program__set_autoload(a->skel->progs.ea_account, !o->observe);
	bpf_program__set_autoload(a->skel->progs.ea_move, !o->observe);
	bpf_map__set_autocreate(a->skel->maps.ea_tuples, o->packets);
	a->skel->rodata->ea_config.observe = o->observe;
	if (o->observe) {
		/* Flows are ended by whoever feeds the packets: none is to be evicted before. */
		bpf_map__set_type(a->skel->maps.ea_tuples, BPF_MAP_TYPE_HASH);
		bpf_map__set_map_flags(a->skel->maps.ea_tuples, BPF_F_NO_PREALLOC);
		bpf_map__set_max_entries(a->skel->maps.ea_tuples, TUPLES_MAX);
	}
	a->skel->rodata->ea_config.max_dests = o->max_destinations;
	a->skel->rodata->ea_config.max_dests_per_workload =
		(uint32_t)MIN((uint64_t)o->max_hosts_per_workload * DESTS_PER_HOST, UINT32_MAX);
	a->skel->rodata->ea_config.mesh_port = o->mesh_port;
	ranges_octets(o->internal, o->n_internal, a->skel->rodata->ea_config.internal_octets);
	bpf_map__set_max_entries(a->skel->maps.ea_dests, entries);
	bpf_map__set_max_entries(a->skel->maps.ea_stats, entries + 1); /* and the overflow */
	bpf_map__set_max_entries(a->skel->maps.ea_requests, entries);
	bpf_map__set_max_entries(a->skel->maps.ea_addrs, MAX(o->max_destinations, 1024u));
}

static int load(struct bpf_agent *a, char **ret_why)
{
	/* Kernels before 5.11 charge maps to this limit; where it cannot be raised, loading says so. */
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int r;

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	r = egress_bpf__load(a->skel);
	if (r == -EPERM)
		return why(ret_why, r, "the kernel does not allow loading BPF programs");
	/* EACCES among others: that is the verifier's word, not one about privileges. */
	if (r)
		return why(ret_why, -EINVAL, "the kernel refused the BPF programs: %s",
			   strerror(-r));
	return 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Fresh maps: give them their birth. Written last, so that half-made pins are never adopted. */
static int state_init(struct bpf_agent *a)
{
	struct ea_state state = {
		.next_id = EA_DEST_OVERFLOW + 1,
		.abi = EA_ABI,
		.since_ns = clock_ns(CLOCK_MONOTONIC),
		.since_unix_ns = clock_ns(CLOCK_REALTIME),
	};
	const struct ea_stats none = {};
	__u32 zero = 0, overflow = EA_DEST_OVERFLOW;
	int r;

	r = bpf_map_update_elem(bpf_map__fd(a->skel->maps.ea_stats), &overflow, &none, BPF_ANY);
	if (r)
		return r;
	return bpf_map_update_elem(bpf_map__fd(a->skel->maps.ea_state), &zero, &state, BPF_ANY);
}

/* The ranges of this start, in place of those of the last. */
static int write_internal(struct bpf_agent *a, const struct bpf_options *o)
{
	int fd = bpf_map__fd(a->skel->maps.ea_internal);
	struct ea_range key;
	__u32 value = 1;
	int r = 0;

	while (!bpf_map_get_next_key(fd, NULL, &key))
		if (bpf_map_delete_elem(fd, &key))
			break;
	for (size_t i = 0; !r && i < o->n_internal; i++)
		r = bpf_map_update_elem(fd, &o->internal[i], &value, BPF_ANY);
	return r;
}

/* Id of the cgroup a link is attached to; 0 once that is gone. */
static uint64_t link_cgroup(const struct bpf_link *link)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &size) ? 0 : info.cgroup.cgroup_id;
}

static int attach_new(struct bpf_program *prog, int cgroup_fd, const char *pin,
		      struct bpf_link **ret)
{
	struct bpf_link *link = bpf_program__attach_cgroup(prog, cgroup_fd);
	int r;

	if (!link)
		return -errno;
	r = *pin ? bpf_link__pin(link, pin) : 0;
	if (r)
		bpf_link__destroy(link);
	else
		*ret = link;
	return r;
}

/* Replace the program of the pinned link in place, or attach anew. The pin keeps it when the agent goes. */
static int attach_one(struct bpf_agent *a, struct bpf_program *prog, int cgroup_fd,
		      uint64_t cgroup_id, struct bpf_link **ret)
{
	char name[64], path[PATH_MAX] = "";
	struct bpf_link *link = NULL;
	uint64_t on;
	int r;

	snprintf(name, sizeof(name), "link_%s", bpf_program__name(prog));
	r = a->pin ? pin_path(a, name, path) : 0;
	if (r)
		return r;
	link = a->pin ? bpf_link__open(path) : NULL;
	if (!link)
		return attach_new(prog, cgroup_fd, path, ret);
	on = link_cgroup(link);
	if (on && on != cgroup_id) {
		bpf_link__destroy(link);
		return -EEXIST;
	}
	r = on ? bpf_link__update_program(link, prog) : 0;
	if (on && !r) {
		*ret = link;
		return 0;
	}
	bpf_link__destroy(link);
	if (r)
		return r;
	unlink(path); /* its cgroup is gone, and it with it */
	return attach_new(prog, cgroup_fd, path, ret);
}

/* Packets first, then sockets: a flow must not begin before its first packet can be seen. */
static int attach(struct bpf_agent *a, const char *cgroup, char **ret_why)
{
	_cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return why(ret_why, -errno, "%s: %s", cgroup, strerror(errno));
	r = attach_one(a, a->skel->progs.ea_ingress, fd, st.st_ino, &a->links[0]);
	if (!r)
		r = attach_one(a, a->skel->progs.ea_egress, fd, st.st_ino, &a->links[1]);
	if (!r)
		r = attach_one(a, a->skel->progs.ea_sockops, fd, st.st_ino, &a->links[2]);
	if (r == -EEXIST)
		return why(ret_why, r, "the programs pinned in %s watch another cgroup than %s",
			   a->pin, cgroup);
	if (r == -EPERM)
		return why(ret_why, r, "attaching to %s is not allowed", cgroup);
	if (r)
		return why(ret_why, r, "cannot attach to %s: %s", cgroup, strerror(-r));
	return 0;
}

/* Records go to whoever called bpf_agent_events(). */
static int event_record(void *ctx, void *data, size_t size)
{
	struct bpf_agent *a = ctx;

	if (size >= sizeof(struct ea_event) && a->each)
		a->each(data, a->each_data);
	return 0;
}

static int open_readers(struct bpf_agent *a, char **ret_why)
{
	union bpf_iter_link_info target = {
		.map.map_fd = (__u32)bpf_map__fd(a->skel->maps.ea_flows)};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &target,
		    .link_info_len = sizeof(target));

	if (bpf_program__autoload(a->skel->progs.ea_account))
		a->iter = bpf_program__attach_iter(a->skel->progs.ea_account, &opts);
	if (!a->iter && bpf_program__autoload(a->skel->progs.ea_account))
		return why(ret_why, -errno, "cannot iterate over live sockets: %s",
			   strerror(errno));
	a->events = ring_buffer__new(bpf_map__fd(a->skel->maps.ea_events), event_record, a, NULL);
	if (!a->events)
		return why(ret_why, -errno, "cannot read events: %s", strerror(errno));
	return 0;
}

static int open_pins(struct bpf_agent *a, const struct bpf_options *o, bool *ret_adopted,
		     char **ret_why)
{
	int r = pin_open(a, o->pin, ret_why);

	if (r)
		return r;
	*ret_adopted = pin_adoptable(a);
	if (!*ret_adopted)
		pin_clear(a, o->pin);
	return pin_maps(a, *ret_adopted);
}

static int agent_start(struct bpf_agent *a, const struct bpf_options *o, bool *ret_adopted,
		       char **ret_why)
{
	int r;

	a->skel = egress_bpf__open();
	if (!a->skel)
		return why(ret_why, -errno, "cannot open the BPF object: %s", strerror(errno));
	configure(a, o);
	r = o->pin ? open_pins(a, o, ret_adopted, ret_why) : 0;
	if (!r)
		r = load(a, ret_why);
	if (r)
		return r;
	r = *ret_adopted ? 0 : state_init(a);
	if (!r)
		r = write_internal(a, o);
	if (r)
		return why(ret_why, r, "cannot initialise the maps: %s", strerror(-r));
	r = open_readers(a, ret_why);
	return r || !o->cgroup ? r : attach(a, o->cgroup, ret_why);
}

int bpf_agent_open(const struct bpf_options *options, struct bpf_agent **ret, bool *ret_adopted,
		   char **ret_why)
{
	struct bpf_agent *a = calloc(1, sizeof(*a));
	bool adopted = false;
	int r;

	*ret_why = NULL;
	if (!a)
		return -ENOMEM;
	a->pin_fd = -1;
	r = agent_start(a, options, &adopted, ret_why);
	if (r) {
		bpf_agent_close(a);
		return r;
	}
	*ret = a;
	*ret_adopted = adopted;
	return 0;
}

void bpf_agent_close(struct bpf_agent *a)
{
	if (!a)
		return;
	ring_buffer__free(a->events);
	bpf_link__destroy(a->iter);
	for (size_t i = 0; i < ARRAY_SIZE(a->links); i++)
		bpf_link__destroy(a->links[i]);
	egress_bpf__destroy(a->skel);
	bpf_dest_cache_done(a);
	free(a->pin);
	if (a->pin_fd >= 0)
		close(a->pin_fd);
	free(a);
}

int bpf_agent_packet(struct bpf_agent *a, const void *frame, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (__u32)size);
	int r = bpf_prog_test_run_opts(bpf_program__fd(a->skel->progs.ea_packets), &opts);

	return r ? r : opts.retval ? BPF_PACKET_DECIDED : 0;
}

uint32_t bpf_agent_max_destinations(const struct bpf_agent *a)
{
	return a->max_destinations;
}

void bpf_agent_forget_workload(struct bpf_agent *a, uint64_t cgroup_id)
{
	bpf_map_delete_elem(bpf_map__fd(a->skel->maps.ea_workloads), &cgroup_id);
}

int bpf_agent_event_fd(const struct bpf_agent *a)
{
	return ring_buffer__epoll_fd(a->events);
}

int bpf_agent_events(struct bpf_agent *a, void (*each)(const struct ea_event *e, void *data),
		     void *data)
{
	int n;

	a->each = each;
	a->each_data = data;
	n = ring_buffer__consume(a->events);
	a->each = NULL;
	return n < 0 ? n : 0;
}
