// SPDX-License-Identifier: Apache-2.0
/*
 * exposition NODE STEP text|openmetrics - what an agent would answer to its STEP-th scrape, without a kernel to read from.
 *
 * Owns: a scene of a few destinations of every sort, and how far their counters move with each step. Every family
 * that the agent can export has a sample here; check_monitoring.py looks up there what dashboards and rules ask for.
 * Must not know: how anything is printed (metrics.c, health.c). What other lists would read as: ../unit/expose.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expose.h"
#include "health.h"
#include "made.h"
#include "util.h"

#define START_MS 1767225600000 /* of everything; Unix */

struct scene {
	const char *ns, *workload, *host;
	uint16_t port;
	enum protocol protocol;
	enum registry registry;
	enum interception interception;
	enum name_source name_source;
	uint64_t opened, failed, alerts; /* with each step */
	uint64_t requests, errors;       /* of them; plaintext HTTP only */
};

static const struct scene scenes[] = {
	{"shop", "checkout", "api.payments.example", 443, PROTOCOL_TLS, REGISTRY_PASSTHROUGH,
	 INTERCEPTION_SIDECAR, NAME_SOURCE_SNI, 5, 0, 1, 0, 0},
	{"shop", "checkout", "rates.bank.example", 80, PROTOCOL_HTTP, REGISTRY_ORIGINATED,
	 INTERCEPTION_SIDECAR, NAME_SOURCE_HTTP, 2, 0, 0, 40, 4},
	{"shop", "catalog", "cdn.example", 443, PROTOCOL_TLS, REGISTRY_REGISTERED,
	 INTERCEPTION_SIDECAR, NAME_SOURCE_SNI, 9, 0, 0, 0, 0},
	{"shop", "catalog", "cdn.example", 443, PROTOCOL_UDP, REGISTRY_PASSTHROUGH,
	 INTERCEPTION_BYPASS, NAME_SOURCE_IP, 1, 0, 0, 0, 0},
	{"shop", "catalog", "198.51.100.7", 9000, PROTOCOL_TCP, REGISTRY_BLOCKED,
	 INTERCEPTION_SIDECAR, NAME_SOURCE_IP, 1, 3, 0, 0, 0},
	{"shop", "catalog", MODEL_HOST_OTHER, 0, PROTOCOL_TCP, REGISTRY_UNKNOWN, INTERCEPTION_NONE,
	 NAME_SOURCE_IP, 2, 0, 0, 0, 0},
	{"mail", "sender", "smtp.example", 587, PROTOCOL_TLS, REGISTRY_PASSTHROUGH,
	 INTERCEPTION_BYPASS, NAME_SOURCE_SNI, 3, 1, 0, 0, 0},
	{"", "backup.service", "storage.example", 443, PROTOCOL_TLS, REGISTRY_UNKNOWN,
	 INTERCEPTION_NONE, NAME_SOURCE_SNI, 1, 0, 0, 0, 0},
};

/* Answers of 200, and of 503 in the slowest times but one. */
static void add_requests(struct destination *d, const struct scene *s, uint64_t step)
{
	struct request_count good = {.code = 200, .method = EA_METHOD_GET};
	struct request_count bad = {.code = 503, .method = EA_METHOD_POST};

	good.count = (s->requests - s->errors) * step;
	good.duration.n[4] = good.count;
	good.duration.sum_ns = good.count * 40000000;
	bad.count = s->errors * step;
	bad.duration.n[EA_LONG_BUCKETS - 3] = bad.count;
	bad.duration.sum_ns = bad.count * 1000000000;
	d->requests = s->requests * step;
	d->request_bytes = d->requests * 300;
	d->response_bytes = d->requests * 2000;
	if (destination_add_requests(d, &good) < 0 || destination_add_requests(d, &bad) < 0)
		abort();
}

/* What one agent knows of the first destination, another one knows otherwise: it is one all the same. */
static enum interception interception_of(const struct scene *s, uint64_t node)
{
	return s == scenes && node % 2 ? INTERCEPTION_AMBIENT : s->interception;
}

static void add_row(struct destination_list *list, const struct scene *s, uint64_t node,
		    uint64_t step)
{
	struct destination d = made_row(s->ns, s->workload, s->host, s->port, s->protocol);

	made_set(&d.source.workload_kind, "Deployment");
	made_set(&d.source.canonical_service, s->workload);
	made_set(&d.source.canonical_revision, "latest");
	made_set(&d.source.app, s->workload);
	d.registry = s->registry;
	d.interception = interception_of(s, node);
	d.name_source = s->name_source;
	d.tls_versions = s->protocol == PROTOCOL_TLS ? 1u << TLS_13 : 0;
	d.first_ms = START_MS;
	d.opened = 1 + s->opened * step;
	d.closed = s->opened * step;
	d.failed = s->failed * step;
	d.handshakes_failed = s->alerts * step;
	d.sent = 1000 * s->opened * step;
	d.received = 5000 * s->opened * step;
	d.connect.n[5] = d.opened;
	d.connect.sum_ns = d.opened * 20000000;
	if (s->protocol == PROTOCOL_TLS) {
		d.handshake.n[6] = d.opened;
		d.handshake.sum_ns = d.opened * 30000000;
	}
	if (s->protocol == PROTOCOL_HTTP)
		add_requests(&d, s, step);
	if (destination_list_add(list, &d) < 0)
		abort();
}

/* Counters of trouble do not move. */
static void fill_health(struct health *h, uint64_t step)
{
	struct health_input in = {
		.version = "golden",
		.start_unix_ms = START_MS,
		.maps = {{"destinations", 100 + step, 16384}, {"requests", 50, 0}},
		.n_maps = 2,
		.snapshots = step,
		.snapshot_seconds = 0.004,
		.usage = {.resident_bytes = 19 << 20, .cpu_seconds = 0.01 * (double)step},
	};

	in.counters[EA_COUNT_FLOWS] = 30 * step;
	in.counters[EA_COUNT_TLS_NAMED] = 20 * step;
	in.counters[EA_COUNT_HTTP] = 10 * step;
	in.watches[0].collection = "pods";
	in.watches[0].kube.synced = true;
	in.n_watches = 1;
	health_fill(&in, h);
}

int main(int argc, char **argv)
{
	static struct health health;
	struct destination_list list = {0};
	uint64_t node, step;
	char *text;
	size_t size;
	int r;

	if (argc != 4 || (strcmp(argv[3], "text") != 0 && strcmp(argv[3], "openmetrics") != 0)) {
		fprintf(stderr, "usage: exposition NODE STEP text|openmetrics\n");
		return 2;
	}
	node = strtoull(argv[1], NULL, 10);
	step = strtoull(argv[2], NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(scenes); i++)
		add_row(&list, &scenes[i], node, step * (node + 1));
	fill_health(&health, step);
	r = expose_blocks(&list, &health.view,
			  argv[3][0] == 't' ? METRICS_TEXT : METRICS_OPENMETRICS, 4096, &text,
			  &size);
	if (r < 0)
		return 1;
	r = fwrite(text, 1, size, stdout) == size && fflush(stdout) == 0 ? 0 : 1;
	free(text);
	destination_list_done(&list);
	return r;
}
