/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind http.h share that touch libmicrohttpd.
 *
 * http.c is the server and its limits, http_request.c reads a request, http_reply.c makes an answer. Must not know:
 * the same as http.h.
 */
#ifndef HTTP_WORK_H
#define HTTP_WORK_H

#include <microhttpd.h>
#include <stdbool.h>

#include "http.h"
#include "http_conn.h"

/* A request's query. */
struct http_params {
	struct MHD_Connection *connection;
	const char *names[HTTP_QUERY_PARAMS_MAX], *values[HTTP_QUERY_PARAMS_MAX];
	size_t n;
	const char *error; /* why the query is refused, or NULL */
};

/* *ret leads into *params, which must stay where it is. */
void http_request_read(struct MHD_Connection *connection, const char *path,
		       struct http_params *params, struct http_request *ret);
bool http_request_has_body(struct MHD_Connection *connection);

/* What all answers that libmicrohttpd holds take, and what befell them. */
struct http_load {
	uint64_t reply_bytes;
	size_t streams;
	struct http_counts counts;
};

uint64_t http_now_ms(void);

/* A response that owns what the reply held, whatever happens; NULL without memory. */
struct MHD_Response *http_response(struct http_load *load, struct http_conn *conn,
				   struct http_reply *reply);
void http_reply_done(struct http_reply *reply); /* one that is not to be sent */

#endif
