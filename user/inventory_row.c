// SPDX-License-Identifier: Apache-2.0
/* One destination as the kernel counted it, made a row of the model; see inventory_work.h. */
#include <errno.h>
#include <string.h>

#include "inventory_work.h"
#include "name.h"
#include "util.h"

static int set_host(struct destination *d, const char *host)
{
	char *copy = strdup(host);

	if (!copy)
		return -ENOMEM;
	free(d->host);
	d->host = copy;
	return 0;
}

int row_host(const struct ea_dest_key *key, struct destination *d)
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
	d->tls_origination = facts & EA_FACT_ORIGINATED;
}

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

		const struct request_count add = {
			.code = q->code,
			.method = q->method,
			.count = q->stats.count,
			.first_byte_ns = q->stats.first_byte_ns,
			.duration = q->stats.duration,
		};

		if (q->dest_id != id)
			break;
		d->response_bytes = model_add(d->response_bytes, q->stats.response_bytes);
		r = destination_add_requests(d, &add);
	}
	return r;
}

static int addresses_to(struct pass *p, uint32_t id, struct destination *d)
{
	const struct bpf_snapshot *s = p->s;
	int r = 0;

	while (p->address_at < s->n_addresses && s->addresses[p->address_at].dest_id < id)
		p->address_at++;
	for (; !r && p->address_at < s->n_addresses; p->address_at++) {
		const struct bpf_address_row *a = &s->addresses[p->address_at];

		if (a->dest_id != id)
			break;
		r = destination_add_address(d, a->addr, unix_ms_of(s, a->last_ns));
	}
	return r;
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
	d->connect = row->stats.connect;
	d->handshake = row->stats.handshake;
	d->sent = row->stats.sent;
	d->received = row->stats.received;
	d->requests = row->stats.requests;
	d->request_bytes = row->stats.request_bytes;
	d->response_bytes = row->stats.response_bytes; /* and what its requests' rows have */
	d->first_ms = unix_ms_of(s, row->first_ns);
	d->last_ms = MAX(unix_ms_of(s, row->stats.last_ns), d->first_ms);
}

/* The registry's word, as this workload's proxy would have it. */
static void registry_to(const struct pass *p, const struct identity *who, struct destination *d)
{
	struct registry_label labels[POD_LABELS_MAX];
	struct registry_query query = {
		.ns = d->source.ns,
		.labels = labels,
		.host = d->host,
		.name_source = d->name_source,
		.port = d->port,
		.protocol = d->protocol,
		.address = d->n_addresses ? d->addresses[0].ip : NULL,
	};
	struct registry_answer answer;

	if (!p->view->registry)
		return;
	if (registry_is_internal(p->view->registry, query.ns, query.host, query.address))
		d->internal = true;
	/* Of a workload that is not known nobody can say what its proxy would do. */
	if (d->internal || d->host[0] == '~' || (p->view->pods && (!who->pod || who->labels_cut)))
		return;
	for (; who->pod && query.n_labels < who->pod->n_labels; query.n_labels++)
		labels[query.n_labels] =
			(struct registry_label){who->pod->labels[query.n_labels].key,
						who->pod->labels[query.n_labels].value};
	registry_resolve(p->view->registry, &query, &answer);
	if (answer.internal)
		d->internal = true;
	else
		d->registry = answer.state;
}

int row_fill(struct pass *p, const struct bpf_dest_row *row, const struct identity *who,
	     struct destination *d)
{
	int r = identity_source(who, &d->source);

	if (!r)
		r = row_host(&row->key, d);
	if (r)
		return r;
	d->name_source = name_source_of(&row->key);
	d->port = row->key.port;
	d->protocol = protocol_of(&row->key);
	facts_to(d, row->stats.facts);
	stats_to(p->s, row, d);
	d->internal = row->key.internal;
	/* A sum has no address: nothing must depend on which one was the last. */
	if (row->key.source != EA_SOURCE_OTHER)
		r = addresses_to(p, row->id, d);
	if (!r)
		r = requests_to(p, row->id, d);
	if (r)
		return r;
	registry_to(p, who, d);
	return mesh_to(p, who, row, d);
}

/* No line of its own: its workload's and scope's sum. */
int row_fold(struct destination *d)
{
	d->port = 0;
	d->name_source = NAME_SOURCE_IP;
	d->n_addresses = 0;
	d->tls_origination = false;
	d->registry = REGISTRY_UNKNOWN;
	return set_host(d, MODEL_HOST_OTHER);
}
