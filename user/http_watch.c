// SPDX-License-Identifier: Apache-2.0
/* What libmicrohttpd waits for, as an epoll instance's set; see http_watch.h. */
#include "http_watch.h"

#include <errno.h>
#include <sys/epoll.h>

#include "util.h"

_Static_assert((EPOLLIN | EPOLLOUT | EPOLLPRI) < 256, "events fit a byte");

static int watch_one(struct http_watch *w, int fd, uint8_t want)
{
	struct epoll_event event = {.events = want, .data.fd = fd};
	int op = w->events[fd] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (want == w->events[fd])
		return 0;
	/* Closing it took it out already, as a rule. */
	if (!want)
		epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(w->epoll_fd, op, fd, &event) < 0)
		return -errno;
	w->events[fd] = want;
	return 0;
}

int http_watch_sync(struct http_watch *w, struct MHD_Daemon *daemon)
{
	fd_set in, out, urgent;
	int max = -1, last, r = 0;

	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&urgent);
	/* MHD_NO: one did not fit; libmicrohttpd refuses such connections itself. */
	MHD_get_fdset2(daemon, &in, &out, &urgent, &max, FD_SETSIZE);
	last = MAX(max, w->max);
	for (int fd = 0; fd <= last; fd++) {
		unsigned int want = (FD_ISSET(fd, &in) ? EPOLLIN : 0u) |
				    (FD_ISSET(fd, &out) ? EPOLLOUT : 0u) |
				    (FD_ISSET(fd, &urgent) ? EPOLLPRI : 0u);
		int failed = watch_one(w, fd, (uint8_t)want);

		r = r ? r : failed;
	}
	w->max = max;
	return r;
}

void http_watch_opened(struct http_watch *w, int fd)
{
	if (fd < FD_SETSIZE)
		w->events[fd] = 0;
}
