// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <search.h>
#include <string.h>

#include "inventory.h"
#include "name.h"
#include "util.h"

/* Istio's TLS port: what a sidecar opens there for a plaintext leg is origination. */
#define TLS_PORT 443

struct inventory {
	char *node;
	uint32_t max_hosts;
	struct cgroup_cache *cgroups;
	void *hosts;  /* tsearch tree of struct host: those with a line of their own */
	void *owners; /* tsearch tree of struct owner: how many each workload has */
};

/* A workload's hosts of one scope, counted. */
struct owner {
	char *key;
	uint32_t hosts;
};

struct host {
	char *key;
};

/*
 * TLS connections to a host on one pod's way out: those a sidecar opened, less those it was given. What it opened
 * beyond what it passes through, it originated.
 */
struct tls_balance {
	char *key; /* "pod\nhost" */
	int64_t surplus;
};

static int compare_keys(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

int range_parse(const char *text, struct ea_range *ret)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned long bits, most;
	struct ea_range range;
	char *end;

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = 0;
	if (address_parse(address, range.addr))
		return -EINVAL;
	most = strchr(address, ':') ? 128 : 32;
	bits = most;
	if (slash) {
		bits = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || bits > most)
			return -EINVAL;
	}
	range.bits = (uint32_t)(bits + 128 - most);
	*ret = range;
	return 0;
}

int inventory_new(const struct inventory_options *options, struct cgroup_cache *cgroups,
		  struct inventory **ret)
{
	struct inventory *inv = calloc(1, sizeof(*inv));

	if (!inv)
		return -ENOMEM;
	inv->node = strdup(options->node);
	if (!inv->node) {
		inventory_free(inv);
		return -ENOMEM;
	}
	inv->max_hosts = options->max_hosts_per_workload;
	inv->cgroups = cgroups;
	*ret = inv;
	return 0;
}

static void free_keyed(void *item)
{
	free(*(char **)item);
	free(item);
}

void inventory_free(struct inventory *inv)
{
	if (!inv)
		return;
	tdestroy(inv->hosts, free_keyed);
	tdestroy(inv->owners, free_keyed);
	free(inv->node);
	free(inv);
}

/* The tree's entry for key, made (size bytes, the key first, zeroed) if it is not there. NULL without memory. */
static void *keyed_get(void **tree, const char *key, size_t size)
{
	void **found = tfind(&key, tree, compare_keys);
	char **item;

	if (found)
		return *found;
	item = calloc(1, size);
	if (!item)
		return NULL;
	*item = strdup(key);
	if (*item && tsearch(item, tree, compare_keys))
		return item;
	free_keyed(item);
	return NULL;
}

/*
 * Has this host a line of its own? Decided at its first sight and never taken back, or counters would jump.
 * 1 yes, 0 no (*n_folded counts the hosts), -ENOMEM.
 */
static int host_has_line(struct inventory *inv, const struct destination *d, void **folded,
			 uint64_t *n_folded)
{
	_cleanup_free_ char *owner_key = NULL, *host_key = NULL;
	struct owner *owner;

	if (d->host[0] == '~')
		return 1;
	/* No text of the three can hold a newline. */
	if (asprintf(&owner_key, "%d\n%s\n%s", d->internal, d->source.ns, d->source.workload) < 0 ||
	    asprintf(&host_key, "%s\n%s", owner_key, d->host) < 0)
		return -ENOMEM;
	if (tfind(&host_key, &inv->hosts, compare_keys))
		return 1;
	owner = keyed_get(&inv->owners, owner_key, sizeof(*owner));
	if (!owner)
		return -ENOMEM;
	if (owner->hosts >= inv->max_hosts) {
		*n_folded += !tfind(&host_key, folded, compare_keys);
		return keyed_get(folded, host_key, sizeof(struct host)) ? 0 : -ENOMEM;
	}
	if (!keyed_get(&inv->hosts, host_key, sizeof(struct host)))
		return -ENOMEM;
	owner->hosts++;
	return 1;
}

static int set_host(struct destination *d, const char *host)
{
	char *copy = strdup(host);

	if (!copy)
		return -ENOMEM;
	free(d->host);
	d->host = copy;
	return 0;
}

/* The key's host as text: a name that may be shown, an address, or one of the two ~ words. */
static int host_from_key(const struct ea_dest_key *key, struct destination *d)
{
	char text[EA_HOST_BUF] = "";
	uint8_t ip[16];

	switch (key->source) {
	case EA_SOURCE_OTHER:
		return set_host(d, MODEL_HOST_OTHER);
	case EA_SOURCE_IP:
		return set_host(d, address_format(key->host, text, sizeof(text)));
	}
	if (key->host_len > EA_HOST_MAX)
		return set_host(d, MODEL_HOST_INVALID);
	memcpy(text, key->host, key->host_len);
	switch (name_classify(text, key->host_len)) {
	case NAME_HOST:
		return set_host(d, text);
	case NAME_IP:
		if (address_parse(text, ip) == 0)
			return set_host(d, address_format(ip, text, sizeof(text)));
		break;
	case NAME_INVALID:
		break;
	}
	return set_host(d, MODEL_HOST_INVALID);
}

static enum name_source name_source_of(const struct ea_dest_key *key)
{
	switch (key->source) {
	case EA_SOURCE_SNI:
		return NAME_SOURCE_SNI;
	case EA_SOURCE_HTTP:
		return NAME_SOURCE_HTTP;
	case EA_SOURCE_CONNECT:
		return NAME_SOURCE_CONNECT;
	}
	return NAME_SOURCE_IP;
}

static enum protocol protocol_of(const struct ea_dest_key *key)
{
	return key->proto == EA_PROTO_TLS    ? PROTOCOL_TLS
	       : key->proto == EA_PROTO_HTTP ? PROTOCOL_HTTP
	       : key->proto == EA_PROTO_UDP  ? PROTOCOL_UDP
					     : PROTOCOL_TCP;
}

static void facts_to(struct destination *d, uint32_t facts)
{
	static const struct {
		uint32_t fact;
		enum tls_version version;
	} versions[] = {
		{EA_FACT_SSL30, TLS_SSL30}, {EA_FACT_TLS10, TLS_10}, {EA_FACT_TLS11, TLS_11},
		{EA_FACT_TLS12, TLS_12},    {EA_FACT_TLS13, TLS_13},
	};
	static const struct {
		uint32_t fact;
		enum alpn alpn;
	} alpns[] = {
		{EA_FACT_ALPN_H2, ALPN_H2},
		{EA_FACT_ALPN_HTTP11, ALPN_HTTP11},
		{EA_FACT_ALPN_HTTP10, ALPN_HTTP10},
		{EA_FACT_ALPN_OTHER, ALPN_OTHER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		if (facts & versions[i].fact)
			d->tls_offered |= 1u << versions[i].version;
		if (facts & versions[i].fact << EA_FACT_CHOSEN_SHIFT)
			d->tls_versions |= 1u << versions[i].version;
	}
	for (size_t i = 0; i < ARRAY_SIZE(alpns); i++)
		if (facts & alpns[i].fact)
			d->alpn |= 1u << alpns[i].alpn;
	d->ech = facts & EA_FACT_ECH;
	d->interception = facts & EA_FACT_REDIRECTED ? INTERCEPTION_SIDECAR : INTERCEPTION_NONE;
}

/* Everything of one snapshot that the rows below need. */
struct pass {
	struct inventory *inv;
	const struct bpf_snapshot *s;
	size_t request_at, address_at; /* both are sorted by id, as the destinations are */
	void *folded;                  /* tsearch tree of struct host: those without a line */
	void *meshed; /* tsearch tree of struct host: pods with a connection that a sidecar took */
	void *tls;    /* tsearch tree of struct tls_balance */
};

/* Clock of the kernel to Unix milliseconds; the offset is fixed when the maps are made, so times stay put. */
static uint64_t unix_ms_of(const struct bpf_snapshot *s, uint64_t ns)
{
	int64_t since = (int64_t)(ns - s->since_ns);

	return ns ? (uint64_t)((int64_t)s->since_unix_ns + since) / 1000000 : 0;
}

static int requests_to(struct pass *p, uint32_t id, struct destination *d)
{
	const struct bpf_snapshot *s = p->s;
	int r = 0;

	while (p->request_at < s->n_requests && s->requests[p->request_at].dest_id < id)
		p->request_at++;
	for (; !r && p->request_at < s->n_requests; p->request_at++) {
		const struct bpf_request_row *q = &s->requests[p->request_at];

		if (q->dest_id != id)
			break;
		r = destination_add_requests(d, q->code, q->method, q->count, q->first_byte_ns);
	}
	return r;
}

static void addresses_to(struct pass *p, uint32_t id, struct destination *d)
{
	const struct bpf_snapshot *s = p->s;

	while (p->address_at < s->n_addresses && s->addresses[p->address_at].dest_id < id)
		p->address_at++;
	for (; p->address_at < s->n_addresses; p->address_at++) {
		const struct bpf_address_row *a = &s->addresses[p->address_at];

		if (a->dest_id != id)
			break;
		destination_add_address(d, a->addr, unix_ms_of(s, a->last_ns));
	}
}

static void stats_to(const struct bpf_snapshot *s, const struct bpf_dest_row *row,
		     struct destination *d)
{
	d->opened = row->stats.opened;
	/* Counted on two CPUs and read without a lock: an end may be seen before its beginning. */
	d->closed = MIN(row->stats.closed, row->stats.opened);
	if (row->key.proto == EA_PROTO_UDP)
		d->closed = d->opened; /* nobody tells */
	d->failed = row->stats.failed;
	d->handshakes_failed = row->stats.handshakes_failed;
	d->sent = row->stats.sent;
	d->received = row->stats.received;
	d->requests = row->stats.requests;
	d->request_bytes = row->stats.request_bytes;
	d->response_bytes = row->stats.response_bytes;
	d->first_ms = unix_ms_of(s, row->first_ns);
	d->last_ms = MAX(unix_ms_of(s, row->stats.last_ns), d->first_ms);
}

static int source_to(const struct cgroup_name *name, struct destination *d)
{
	struct source empty = {
		.ns = "",
		.workload = name->workload,
		.workload_kind = "",
		.canonical_service = "",
		.canonical_revision = "",
		.app = "",
		.version = "",
	};

	return source_copy(&empty, &d->source);
}

static int pod_host_key(const struct cgroup_name *name, const char *host, char **ret)
{
	return asprintf(ret, "%s\n%s", name->pod, host) < 0 ? -ENOMEM : 0;
}

static bool tls_originated(const struct pass *p, const char *key)
{
	struct tls_balance *const *b = tfind(&key, &p->tls, compare_keys);

	return b && (*b)->surplus > 0;
}

static int row_fill(struct pass *p, const struct bpf_dest_row *row, const struct cgroup_name *name,
		    struct destination *d)
{
	_cleanup_free_ char *key = NULL;
	int r = source_to(name, d);

	if (!r)
		r = host_from_key(&row->key, d);
	if (r)
		return r;
	d->name_source = name_source_of(&row->key);
	d->port = row->key.port;
	d->protocol = protocol_of(&row->key);
	facts_to(d, row->stats.facts);
	stats_to(p->s, row, d);
	d->internal = row->key.internal;
	addresses_to(p, row->id, d);
	r = requests_to(p, row->id, d);
	if (r || d->protocol != PROTOCOL_HTTP || d->interception != INTERCEPTION_SIDECAR)
		return r;
	r = pod_host_key(name, d->host, &key);
	if (!r)
		d->tls_origination = tls_originated(p, key);
	return r;
}

/* No line of its own: its workload's and scope's sum. */
static int row_fold(struct destination *d)
{
	d->port = 0;
	d->name_source = NAME_SOURCE_IP;
	d->n_addresses = 0;
	d->tls_origination = false;
	return set_host(d, MODEL_HOST_OTHER);
}

static bool is_flagged(const struct bpf_snapshot *s, uint64_t cgroup_id)
{
	size_t low = 0, high = s->n_workloads;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->workloads[mid].cgroup_id == cgroup_id)
			return s->workloads[mid].flags & EA_WORKLOAD_PROXY;
		if (s->workloads[mid].cgroup_id < cgroup_id)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/*
 * A sidecar's own legs are not shown: the application's are. A cgroup is believed to be one if its sockets answer on
 * the mesh's port and another one of its pod had a connection redirected there; it cannot say so by itself.
 */
static bool is_sidecar(const struct pass *p, uint64_t cgroup_id)
{
	const struct cgroup_name *name;

	if (!is_flagged(p->s, cgroup_id))
		return false;
	name = cgroup_cache_get(p->inv->cgroups, cgroup_id);
	return name && tfind(&name->pod, &p->meshed, compare_keys);
}

static int note_meshed(struct pass *p)
{
	for (size_t i = 0; i < p->s->n_dests; i++) {
		const struct bpf_dest_row *row = &p->s->dests[i];
		const struct cgroup_name *name;

		if (!(row->stats.facts & EA_FACT_REDIRECTED) ||
		    is_flagged(p->s, row->key.cgroup_id))
			continue;
		name = cgroup_cache_get(p->inv->cgroups, row->key.cgroup_id);
		if (!name || !keyed_get(&p->meshed, name->pod, sizeof(struct host)))
			return -ENOMEM;
	}
	return 0;
}

static int tls_add(struct pass *p, const struct bpf_dest_row *row, int64_t count)
{
	const struct cgroup_name *name = cgroup_cache_get(p->inv->cgroups, row->key.cgroup_id);
	_cleanup_(destination_done) struct destination d = {};
	_cleanup_free_ char *key = NULL;
	struct tls_balance *b;
	int r = name ? host_from_key(&row->key, &d) : -ENOMEM;

	if (!r)
		r = pod_host_key(name, d.host, &key);
	if (r)
		return r;
	b = keyed_get(&p->tls, key, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->surplus += count;
	return 0;
}

/* The sidecars' own legs are no destinations, but they tell where plaintext becomes TLS. */
static int tls_balance(struct pass *p)
{
	int r = 0;

	for (size_t i = 0; !r && i < p->s->n_dests; i++) {
		const struct bpf_dest_row *row = &p->s->dests[i];

		if (row->key.proto != EA_PROTO_TLS || row->key.source != EA_SOURCE_SNI ||
		    row->key.port != TLS_PORT)
			continue;
		if (is_sidecar(p, row->key.cgroup_id))
			r = tls_add(p, row, (int64_t)row->stats.opened);
		else if (row->stats.facts & EA_FACT_REDIRECTED)
			r = tls_add(p, row, -(int64_t)row->stats.opened);
	}
	return r;
}

static int add_row(struct pass *p, const struct bpf_dest_row *row, struct destination_list *list)
{
	/* The overflow is the sum over all cgroups: nobody's in particular. */
	static const struct cgroup_name nobody = {.path = "", .workload = "", .pod = ""};
	const struct cgroup_name *name = &nobody;
	struct destination d = {};
	int r;

	if (row->id != EA_DEST_OVERFLOW)
		name = cgroup_cache_get(p->inv->cgroups, row->key.cgroup_id);
	r = name ? row_fill(p, row, name, &d) : -ENOMEM;
	if (!r)
		r = host_has_line(p->inv, &d, &p->folded, &list->hosts_folded);
	if (r == 0)
		r = row_fold(&d);
	if (r >= 0)
		r = destination_list_add(list, &d);
	if (r)
		destination_done(&d);
	return r;
}

static bool is_shown(const struct pass *p, const struct bpf_dest_row *row)
{
	if (row->id == EA_DEST_OVERFLOW)
		return row->stats.opened || row->stats.failed || row->stats.requests;
	return !is_sidecar(p, row->key.cgroup_id);
}

/* In order of creation, so that the first hosts of a workload are the ones that keep their line. */
static int list_rows(struct pass *p, struct destination_list *list)
{
	const uint64_t *counters = p->s->counters;
	int r = note_meshed(p);

	if (!r)
		r = tls_balance(p);
	for (size_t i = 0; !r && i < p->s->n_dests; i++)
		if (is_shown(p, &p->s->dests[i]))
			r = add_row(p, &p->s->dests[i], list);
	/* Of what the kernel folded only the connections and requests are known, not the hosts. */
	list->hosts_folded += counters[EA_COUNT_DEST_FOLDED] - counters[EA_COUNT_DEST_OVERFLOW];
	list->destinations_dropped = counters[EA_COUNT_DEST_OVERFLOW];
	tdestroy(p->tls, free_keyed);
	tdestroy(p->meshed, free_keyed);
	tdestroy(p->folded, free_keyed);
	return r;
}

int inventory_list(struct inventory *inv, const struct bpf_snapshot *snapshot, uint64_t unix_ms,
		   struct destination_list *ret)
{
	struct pass pass = {.inv = inv, .s = snapshot};
	_cleanup_(destination_list_done) struct destination_list list = {
		.since_ms = snapshot->since_unix_ns / 1000000,
		.generated_ms = unix_ms,
	};
	int r;

	list.node = strdup(inv->node);
	if (!list.node)
		return -ENOMEM;
	r = list_rows(&pass, &list);
	if (!r)
		r = destination_list_normalize(&list);
	if (r)
		return r;
	destination_list_judge(&list);
	*ret = list;
	list = (struct destination_list){};
	return 0;
}
