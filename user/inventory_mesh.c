// SPDX-License-Identifier: Apache-2.0
/*
 * What the mesh did with connections: whose legs are a proxy's own, who originates TLS, what went past the mesh. See
 * inventory_work.h.
 */
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "inventory_work.h"
#include "util.h"

/* Istio's TLS port: what a sidecar opens there for a plaintext leg is origination. */
#define TLS_PORT 443

/*
 * TLS connections to a host on one pod's way out: those a sidecar opened, less those it was given. What it opened
 * beyond what it passes through, it originated.
 */
struct tls_balance {
	char *key; /* "pod\nhost" */
	int64_t surplus;
};

static int who_is(const struct pass *p, uint64_t cgroup_id, struct identity *ret)
{
	return identity_get(p->inv->ids, p->view->pods, cgroup_id, ret);
}

/* The programs saw its sockets answer on the mesh's port. */
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

/* A sidecar was seen to take a connection of this pod's. */
static bool is_meshed(const struct pass *p, const struct cgroup_name *name)
{
	return tfind(&name->pod, &p->meshed, keyed_compare) != NULL;
}

/*
 * A sidecar is known from the pod list. Else a cgroup is believed to be a proxy if its sockets answer on the mesh's
 * port and something else says so, too: its pod, another cgroup's connection redirected there, or (after a restart of
 * the agent) that it is gone, and nobody is left to ask.
 */
int mesh_is_proxy(const struct pass *p, uint64_t cgroup_id)
{
	struct identity who;
	int r = who_is(p, cgroup_id, &who);

	if (r)
		return r;
	/* An application that listens on that port is none for it, where the pod has its sidecar. */
	if (who.application)
		return 0;
	return who.sidecar || (is_flagged(p->s, cgroup_id) &&
			       (who.may_proxy || is_meshed(p, who.name) || !*who.name->path));
}

static int note_meshed(struct pass *p)
{
	for (size_t i = 0; i < p->s->n_dests; i++) {
		const struct bpf_dest_row *row = &p->s->dests[i];
		struct identity who;

		if (!(row->stats.facts & EA_FACT_REDIRECTED) ||
		    row->key.cgroup_id & EA_CGROUP_OURS || is_flagged(p->s, row->key.cgroup_id))
			continue;
		if (who_is(p, row->key.cgroup_id, &who) ||
		    !keyed_get(&p->meshed, who.name->pod, sizeof(struct set_member)))
			return -ENOMEM;
	}
	return 0;
}

static int pod_host_key(const struct cgroup_name *name, const char *host, char **ret)
{
	return asprintf(ret, "%s\n%s", name->pod, host) < 0 ? -ENOMEM : 0;
}

static int balance_add(struct pass *p, const struct bpf_dest_row *row, int64_t count)
{
	_cleanup_(destination_done) struct destination d = {};
	_cleanup_free_ char *key = NULL;
	struct tls_balance *b;
	struct identity who;
	int r = who_is(p, row->key.cgroup_id, &who);

	if (!r)
		r = row_host(&row->key, &d);
	if (!r)
		r = pod_host_key(who.name, d.host, &key);
	if (r)
		return r;
	b = keyed_get(&p->tls, key, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->surplus += count;
	return 0;
}

/* The sidecars' own legs are no destinations, but they tell where plaintext becomes TLS. */
static int note_balance(struct pass *p)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < p->s->n_dests; i++) {
		const struct bpf_dest_row *row = &p->s->dests[i];

		if (row->key.proto != EA_PROTO_TLS || row->key.source != EA_SOURCE_SNI ||
		    row->key.port != TLS_PORT || row->key.cgroup_id & EA_CGROUP_OURS)
			continue;
		r = mesh_is_proxy(p, row->key.cgroup_id);
		if (r > 0)
			r = balance_add(p, row, (int64_t)row->stats.opened);
		else if (r == 0 && row->stats.facts & EA_FACT_REDIRECTED)
			r = balance_add(p, row, -(int64_t)row->stats.opened);
	}
	return r < 0 ? r : 0;
}

int mesh_note(struct pass *p)
{
	int r = note_meshed(p);

	return r ? r : note_balance(p);
}

static int origination_to(const struct pass *p, const struct identity *who, struct destination *d)
{
	_cleanup_free_ char *key = NULL;
	struct tls_balance *const *b;
	int r = pod_host_key(who->name, d->host, &key);

	if (r)
		return r;
	b = tfind(&key, &p->tls, keyed_compare);
	d->tls_origination |= b && (*b)->surplus > 0;
	return 0;
}

/* Within the pod no proxy is asked. */
static bool is_loopback(const struct destination *d)
{
	static const uint8_t v4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127}, v6[16] = {[15] = 1};

	return d->n_addresses && (memcmp(d->addresses[0].ip, v4, sizeof(v4)) == 0 ||
				  memcmp(d->addresses[0].ip, v6, sizeof(v6)) == 0);
}

/* Connections that a meshed pod made past its proxy. Within the cluster that is often meant to be: no finding. */
static void bypass_to(struct destination *d)
{
	if (d->interception == INTERCEPTION_NONE)
		d->interception = INTERCEPTION_BYPASS;
	if (!d->internal)
		d->findings |= 1u << (d->protocol == PROTOCOL_UDP ? FINDING_QUIC_BYPASS
								  : FINDING_MESH_BYPASS);
}

bool mesh_has_sidecar(const struct pass *p, const struct identity *who)
{
	return (who->pod && who->pod->sidecar) || who->meshed || is_meshed(p, who->name);
}

int mesh_to(const struct pass *p, const struct identity *who, const struct bpf_dest_row *row,
	    struct destination *d)
{
	bool sidecar = mesh_has_sidecar(p, who);
	bool ambient = who->pod && who->pod->ambient;

	if (row->stats.facts & EA_FACT_REDIRECTED)
		d->interception = ambient && !who->pod->sidecar ? INTERCEPTION_AMBIENT
								: INTERCEPTION_SIDECAR;
	if (row->stats.facts & EA_FACT_DIRECT && (sidecar || ambient) && !is_loopback(d))
		bypass_to(d);
	if (d->protocol == PROTOCOL_HTTP && d->interception == INTERCEPTION_SIDECAR)
		return origination_to(p, who, d);
	return 0;
}
