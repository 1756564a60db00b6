/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent answers over HTTP: /metrics, /healthz, /readyz, /api/v1/destinations, /api/v1/config.
 *
 * Owns: the routes, their query parameters and content types.
 * Must not know: sockets (http.c), the kernel (the observer's business), how a format is printed.
 */
#ifndef API_H
#define API_H

#include "http.h"
#include "metrics.h"
#include "model.h"
#include "registry.h"

/* Where the answers come from. */
struct api_observer {
	/* NULL if answers can be given, else a phrase that says why not yet. */
	const char *(*not_ready)(void *data);
	/* The same for what the answers still lack, but can be given without: /readyz and /api/v1/config ask. */
	const char *(*not_synced)(void *data);
	/* Destinations of all scopes, normalised and judged, as of now; 0 or -errno. */
	int (*list)(void *data, struct destination_list *ret);
	/* The agent's own numbers; valid until the next call. */
	const struct agent_health *(*health)(void *data);
	uint64_t (*clock_ms)(void *data); /* monotonic */
	/* What is in the cluster, for /api/v1/config; it, or its answer, is NULL if that is not known. */
	const struct registry_store *(*registry)(void *data);
	void *data;
};

struct api;
int api_new(const struct api_observer *observer, struct api **ret);
void api_free(struct api *api); /* when the server is closed: answers may still be read */

/* About once a second: memory that answers took goes back to the system. */
void api_tick(struct api *api);

/* For http_open(), with the struct api as its `data`. */
const struct http_route *api_routes(size_t *ret_n);

#endif
