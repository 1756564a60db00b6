/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's HTTP server on TCP and on the unix socket. Owner of libmicrohttpd.
 *
 * Owns: listening sockets, limits (connections, header time-out, request size), methods, security headers,
 * 403/404/405 answers. Must not know: what the pages say. Handlers make them whole, so that a slow reader only holds its
 * own copy, or give a stream, which is bounded by how many there may be.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

/*
 * Per listener. A connection more than that costs the one its place that has waited longest without a complete
 * request, so idle connections never keep a new client out.
 */
#define HTTP_CONNECTIONS_MAX 64
#define HTTP_HEADER_TIMEOUT_S \
	10 /* from connect, or the last answer, to the end of a request's head */
#define HTTP_REPLY_TIMEOUT_S  60 /* to read an answer */
#define HTTP_QUERY_PARAMS_MAX 32
#define HTTP_REQUEST_HEAD_MAX (16 * 1024)    /* bytes of memory for one connection's head */
#define HTTP_REPLY_BYTES_MAX  (192ULL << 20) /* bytes of all answers not yet read, together */

#define HTTP_STREAMS_MAX 8 /* answers being read as they are made */

/* An answer that is made while it is sent: nobody knows its size, and nobody holds it. */
struct http_stream {
	/* The next bytes, at most size; *ret_n 0: that was all. -errno breaks the connection off. */
	int (*read)(void *data, char *buf, size_t size, size_t *ret_n);
	void (*free)(void *data); /* also when the client has gone, or must go, before the end */
	void *data;
};

/* A finished answer; body is malloc'ed and taken over by the server, and so is a stream. One or the other. */
struct http_reply {
	unsigned int status; /* 200 if left 0 */
	const char *content_type;
	const char *encoding; /* Content-Encoding, or NULL */
	const char *vary;     /* Vary, or NULL */
	char *body;
	size_t size;
	struct http_stream stream;
	bool head; /* set by the server: only the headers will be sent */
};

struct http_request {
	const char *path;
	/* First value of a query parameter, or NULL. */
	const char *(*param)(const struct http_request *req, const char *name);
	/* Name of the first parameter not in the NULL-terminated list, or NULL. */
	const char *(*unknown_param)(const struct http_request *req, const char *const *known);
	/* Name of the first parameter that stands there twice, or NULL. */
	const char *(*repeated_param)(const struct http_request *req);
	const char *(*header)(const struct http_request *req, const char *name);
	/* Each line of a header that may stand there several times. */
	void (*each_header)(const struct http_request *req, const char *name,
			    void (*each)(void *data, const char *value), void *data);
	void *priv;
};

/*
 * A JSON error page {"error": "<fmt>"}; every byte that is not printable ASCII is escaped, and the text is cut at
 * 400 bytes. Returns 0 or -ENOMEM, so that a handler can `return http_reply_error(...)`.
 */
int http_reply_error(struct http_reply *ret, unsigned int status, const char *fmt, ...)
	_printf_(3, 4);

struct http_route {
	const char *path;
	/*
	 * Returns 0 with *ret_reply filled, or -errno (answered 500; -EBUSY: 503, asked once more if streams that
	 * nobody reads could be ended). GET and HEAD only arrive here.
	 */
	int (*handle)(const struct http_request *req, void *data, struct http_reply *ret_reply);
	bool anybody; /* also for clients without a certificate, where TLS asks them for one */
};

struct http_server;
struct http_tls;

struct http_options {
	const char *listen, *socket_path;
	struct http_tls *tls; /* of the TCP listener; NULL: plain HTTP */
	const struct http_route *routes;
	size_t n_routes;
	void *data;
};

/*
 * Listen on `listen` (ADDR:PORT, [v6]:PORT or :PORT, which is all addresses of both families; port 0: any free
 * one) and on the unix socket `socket_path` (mode 0660; a stale one, where nobody answers, is replaced;
 * -EADDRINUSE if somebody does; -EEXIST if it is no socket; its directory is made, mode 0755, if its parent
 * exists). -EINVAL: `listen` is not an address. *ret_which is "listen" or "socket" on failure, "server" if the
 * server itself cannot start. The server keeps `routes`, `data` and `tls`; the caller keeps them alive.
 */
int http_open(const struct http_options *options, struct http_server **ret, const char **ret_which);

/* For the caller's epoll: poll for input, then call http_run; and call it when http_timeout_ms (-1: none) has passed. */
int http_epoll_fd(const struct http_server *s);
int http_timeout_ms(struct http_server *s);
void http_run(struct http_server *s);

/* "127.0.0.1:9990": the address really bound (port 0 resolved). */
const char *http_address(const struct http_server *s);

/* What the limits did, since the start. */
struct http_counts {
	uint64_t crowded;  /* connections cut to make room for a newer one */
	uint64_t late;     /* connections cut at a time-out */
	uint64_t too_much; /* answers refused or cut for the room that all of them have together */
	uint64_t broken;   /* streams that could not be made to their end */
};
void http_get_counts(const struct http_server *s, struct http_counts *ret);

void http_close(struct http_server *s); /* NULL is fine; removes the unix socket */

#endif
