/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of a libmicrohttpd that has no epoll instance of its own, in one of ours.
 *
 * With one of its own, libmicrohttpd (0.9.75) takes a connection for readable until a read has failed, and does not see
 * that in a handshake: whoever begins one and falls silent makes it run for ever at zero time-out. Without, it says
 * which descriptors it waits for, at most 1,024, and asks for their state itself.
 *
 * Must not know: HTTP, TLS, connections.
 */
#ifndef HTTP_WATCH_H
#define HTTP_WATCH_H

#include <microhttpd.h>
#include <stdint.h>
#include <sys/select.h>

struct http_watch {
	int epoll_fd;               /* the caller's */
	int max;                    /* highest descriptor below which something may be watched */
	uint8_t events[FD_SETSIZE]; /* EPOLLIN, EPOLLOUT, EPOLLPRI; 0: not watched */
};

/*
 * Wait for what the daemon waits for now: after its start, and each time it has run. -errno: not for all of it, which
 * the next call makes good.
 */
int http_watch_sync(struct http_watch *w, struct MHD_Daemon *daemon);

/* A descriptor was opened: what was watched under its number went with whoever had it before. */
void http_watch_opened(struct http_watch *w, int fd);

#endif
