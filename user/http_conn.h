/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is connected, what each is doing and since when: the limits that a slow or hostile client meets.
 *
 * A connection that must go is shut down; the server behind it notices that and closes it.
 * Must not know: HTTP, libmicrohttpd, the clock (times are parameters, in milliseconds).
 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http.h"

/* The server may accept up to ten connections in a row before one that was shut down is really gone. */
#define HTTP_SLOTS_MAX (HTTP_CONNECTIONS_MAX + 16)

struct http_conn {
	bool used;
	bool busy; /* has a complete request whose answer is not read yet; else: waits for a request */
	bool dying; /* shut down, the server has yet to notice */
	int fd;
	uint64_t since_ms; /* when it became busy, or began to wait */
	uint64_t
		progress_ms; /* when it last took something of its answer, as far as that is known */
	size_t reply_bytes;
	void (*drop)(
		void *held); /* of a stream: ends it; called once, when the connection is cut */
	void *held;
	struct http_tls_session *tls; /* the server's, or NULL */
};

/* Of one listener. */
struct http_conns {
	struct http_conn slots[HTTP_SLOTS_MAX];
	struct http_counts *counts; /* of the whole server */
};

/* A new connection, with room made for it. NULL if there is no slot, which the server's own limit prevents. */
struct http_conn *http_conn_add(struct http_conns *conns, int fd, uint64_t now);
void http_conn_busy(struct http_conn *c, size_t reply_bytes, uint64_t now);
void http_conn_progress(struct http_conn *c, uint64_t now);
void http_conn_hold(struct http_conn *c, void (*drop)(void *held), void *held);
void http_conn_waiting(struct http_conn *c, uint64_t now);
void http_conn_remove(struct http_conn *c);

/* Cut those that are over the time of their phase. */
void http_conns_cut_late(struct http_conns *conns, uint64_t now);

/*
 * Cut those that have taken nothing for HTTP_REPLY_GRACE_S: with a whole answer (returns the bytes that all that
 * were cut will free), or with a stream (returns how many; theirs has ended).
 */
#define HTTP_REPLY_GRACE_S 2
size_t http_conns_cut_stalled(struct http_conns *conns, uint64_t now);
uint64_t http_conns_cut_readers(struct http_conns *conns, uint64_t now);

/* Milliseconds until one of them is late, UINT64_MAX if there is none. */
uint64_t http_conns_timeout(const struct http_conns *conns, uint64_t now);

#endif
