/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One answer to GET /metrics: the format and encoding that the client asked for, as a stream over a list that it
 * keeps until it is read. Must not know: sockets, where lists come from, how formats are spelled.
 */
#ifndef SCRAPE_H
#define SCRAPE_H

#include "http.h"
#include "metrics.h"
#include "observation.h"

/* Takes the caller's reference to `seen` over, whatever happens. -errno as metrics_new() and gzip_new(). */
int scrape_reply(const struct http_request *req, struct observation *seen,
		 const struct agent_health *health, struct http_reply *ret);

#endif
