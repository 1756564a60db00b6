// SPDX-License-Identifier: Apache-2.0
/*
 * The agent's HTTP server; see http.h.
 *
 * Two libmicrohttpd daemons (TCP and unix socket) without threads share one handler. libmicrohttpd's time-out
 * only knows idleness and its limit only refuses, so both are kept here as well: every connection has a slot
 * with the time its present phase began, and one that must go is shut down, which libmicrohttpd then notices. With
 * TLS that phase includes the handshake, and each session gets the keys that are in use when it begins.
 */
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "http_conn.h"
#include "http_socket.h"
#include "http_tls.h"
#include "http_watch.h"
#include "http_work.h"

#define HTTP_ADDRESS_MAX 80

struct http_listener {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	struct http_tls *tls;    /* NULL: plain */
	struct http_watch watch; /* with TLS only */
	struct http_conns conns;
};

struct http_server {
	struct http_listener tcp, local;
	int epoll_fd;
	const struct http_route *routes;
	size_t n_routes;
	void *data;
	char address[HTTP_ADDRESS_MAX];
	char *socket_path; /* once it is ours */
	dev_t socket_dev;
	ino_t socket_ino;
	struct http_load load;
};

/* ---- connections ---- */

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void *tls_session(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return info ? info->tls_session : NULL;
}

/* One that cannot have its keys is shut down: its handshake would not come to an end anyway. */
static struct http_conn *conn_started(struct http_listener *l, struct MHD_Connection *connection,
				      int fd)
{
	struct http_conn *c = http_conn_add(&l->conns, fd, http_now_ms());

	if (!l->tls)
		return c;
	http_watch_opened(&l->watch, fd);
	if (!c || http_tls_begin(l->tls, tls_session(connection), &c->tls) < 0)
		shutdown(fd, SHUT_RDWR);
	return c;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_listener *l = cls;
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*context = info ? conn_started(l, connection, info->connect_fd) : NULL;
	} else if (*context) {
		http_tls_end(((struct http_conn *)*context)->tls);
		http_conn_remove(*context);
	}
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode code)
{
	struct http_conn *c = conn_of(connection);

	(void)cls;
	(void)request;
	(void)code;
	if (c)
		http_conn_waiting(c, http_now_ms());
}

/* Streams whose readers take nothing; what they hold is free at once. */
static bool cut_stalled(struct http_server *s)
{
	uint64_t now = http_now_ms();
	size_t n = http_conns_cut_stalled(&s->tcp.conns, now);

	return n + http_conns_cut_stalled(&s->local.conns, now) > 0;
}

/* Whether this answer may be held, too; readers that had their time make room for it. */
static bool reply_fits(struct http_server *s, const struct http_reply *reply)
{
	uint64_t now = http_now_ms(), freed;

	if (reply->stream.read) {
		if (s->load.streams >= HTTP_STREAMS_MAX)
			cut_stalled(s);
		return s->load.streams < HTTP_STREAMS_MAX;
	}
	if (s->load.reply_bytes == 0 || s->load.reply_bytes + reply->size <= HTTP_REPLY_BYTES_MAX)
		return true;
	freed = http_conns_cut_readers(&s->tcp.conns, now) +
		http_conns_cut_readers(&s->local.conns, now);
	return s->load.reply_bytes + reply->size <= HTTP_REPLY_BYTES_MAX + freed;
}

/* ---- requests ---- */

static const struct http_route *route_find(const struct http_server *s, const char *path)
{
	for (size_t i = 0; i < s->n_routes; i++) {
		if (strcmp(s->routes[i].path, path) == 0)
			return &s->routes[i];
	}
	return NULL;
}

static int reply_refused(struct http_server *s, struct http_reply *ret)
{
	s->load.counts.too_much++;
	return http_reply_error(ret, MHD_HTTP_SERVICE_UNAVAILABLE,
				"other clients have not read their answers yet");
}

/* Everything that can be wrong with a request before a route sees it, then the route. */
static int request_handle(struct http_server *s, struct MHD_Connection *connection,
			  const char *path, const char *method, struct http_reply *ret)
{
	const struct http_conn *c = conn_of(connection);
	const struct http_route *route = route_find(s, path);
	struct http_params params;
	struct http_request req;
	int r;

	/* First: who may not ask does not learn what there is. */
	if (c->tls && !(route && route->anybody) && !http_tls_knows(c->tls))
		return http_reply_error(
			ret, MHD_HTTP_FORBIDDEN,
			"only for clients with a certificate that --client-ca signed");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return http_reply_error(ret, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
	if (http_request_has_body(connection))
		return http_reply_error(ret, 413, "a request may not have a body");
	http_request_read(connection, path, &params, &req);
	if (params.error)
		return http_reply_error(ret, MHD_HTTP_BAD_REQUEST, "%s", params.error);
	if (!route)
		return http_reply_error(ret, MHD_HTTP_NOT_FOUND, "not found");
	r = route->handle(&req, s->data, ret);
	if (r == -EBUSY && cut_stalled(s))
		r = route->handle(&req, s->data, ret);
	if (r == -EBUSY)
		return reply_refused(s, ret);
	if (r < 0)
		return http_reply_error(ret, MHD_HTTP_INTERNAL_SERVER_ERROR, "%s", strerror(-r));
	return 0;
}

/* MHD_NO closes the connection. */
static enum MHD_Result reply_queue(struct http_server *s, struct MHD_Connection *connection,
				   struct http_reply *reply)
{
	struct http_conn *c = conn_of(connection);
	struct MHD_Response *response;
	enum MHD_Result result;
	unsigned int status;

	if (!reply_fits(s, reply)) {
		http_reply_done(reply);
		if (reply_refused(s, reply) < 0)
			return MHD_NO;
	}
	if (c)
		http_conn_busy(c, reply->size, http_now_ms());
	status = reply->status ? reply->status : MHD_HTTP_OK;
	response = http_response(&s->load, c, reply);
	if (!response)
		return MHD_NO;
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/*
 * Called first with a request's head, and again when its body, if there is one, has come. An answer to the first
 * call ends the connection, which is right for a body that nobody wants to read, and only for that.
 */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **request)
{
	struct http_listener *l = cls;
	struct http_conn *c = conn_of(connection);
	struct http_reply reply = {0};

	(void)version;
	(void)upload;
	(void)upload_size;
	if (!c || (l->tls && !c->tls))
		return MHD_NO;
	if (c->tls)
		http_tls_next(c->tls);
	if (!*request && !http_request_has_body(connection)) {
		*request = c;
		return MHD_YES;
	}
	if (request_handle(l->server, connection, url, method, &reply) < 0)
		return MHD_NO;
	reply.head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
	return reply_queue(l->server, connection, &reply);
}

/* ---- the server ---- */

/* Let the caller's epoll know when this one has something to do. */
static int listener_watch(struct http_server *s, struct http_listener *l)
{
	struct epoll_event event = {.events = EPOLLIN};
	const union MHD_DaemonInfo *info;

	if (l->tls) {
		l->watch.epoll_fd = s->epoll_fd;
		return http_watch_sync(&l->watch, l->daemon);
	}
	info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0)
		return -EIO;
	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0 ? -errno : 0;
}

/*
 * fd belongs to libmicrohttpd from here on. If it fails to start, versions differ in whether they close it; one
 * left open until the process ends is better than one closed twice.
 */
static int listener_start(struct http_server *s, struct http_listener *l, int fd)
{
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_CERT_CALLBACK, 0, http_tls_no_keys()},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (char *)(uintptr_t)HTTP_TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL},
	};
	unsigned int how = l->tls ? MHD_USE_TLS : MHD_USE_EPOLL;

	l->server = s;
	l->conns.counts = &s->load.counts;
	errno = 0;
	l->daemon =
		MHD_start_daemon(how, 0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
				 MHD_OPTION_CONNECTION_LIMIT, (unsigned int)HTTP_SLOTS_MAX,
				 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)HTTP_HEADER_TIMEOUT_S,
				 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_REQUEST_HEAD_MAX,
				 MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
				 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				 l->tls ? MHD_OPTION_ARRAY : MHD_OPTION_END, tls, MHD_OPTION_END);
	if (!l->daemon)
		return errno ? -errno : -EIO;
	return listener_watch(s, l);
}

/* Remember which one is ours: it is removed at the end, and only if it still is. */
static int socket_remember(struct http_server *s, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	s->socket_path = strdup(path);
	s->socket_dev = st.st_dev;
	s->socket_ino = st.st_ino;
	return s->socket_path ? 0 : -ENOMEM;
}

/*
 * TCP first: of two agents that start at once, the one that loses the port must not take the other's unix
 * socket for a stale one.
 */
static int server_start(struct http_server *s, const struct http_options *o, const char **ret_which)
{
	_cleanup_close_ int tcp = -1, local = -1;
	int r;

	*ret_which = "listen";
	r = http_socket_tcp(o->listen, &tcp);
	if (r == 0)
		r = http_socket_address(tcp, s->address, sizeof(s->address));
	if (r < 0)
		return r;
	*ret_which = "socket";
	r = http_socket_local(o->socket_path, &local);
	if (r == 0)
		r = socket_remember(s, o->socket_path);
	if (r < 0)
		return r;
	*ret_which = "server";
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return -errno;
	r = listener_start(s, &s->tcp, util_take_fd(&tcp));
	return r < 0 ? r : listener_start(s, &s->local, util_take_fd(&local));
}

int http_open(const struct http_options *options, struct http_server **ret, const char **ret_which)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	*ret_which = "server";
	if (!s)
		return -ENOMEM;
	s->epoll_fd = -1;
	s->routes = options->routes;
	s->n_routes = options->n_routes;
	s->data = options->data;
	s->tcp.tls = options->tls;
	r = server_start(s, options, ret_which);
	if (r < 0) {
		http_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

int http_epoll_fd(const struct http_server *s)
{
	return s->epoll_fd;
}

const char *http_address(const struct http_server *s)
{
	return s->address;
}

void http_get_counts(const struct http_server *s, struct http_counts *ret)
{
	*ret = s->load.counts;
}

/* Milliseconds until this listener wants to run, UINT64_MAX for never. */
static uint64_t listener_timeout(struct http_listener *l, uint64_t now)
{
	uint64_t own = http_conns_timeout(&l->conns, now);
	unsigned long long mhd;

	return MHD_get_timeout(l->daemon, &mhd) == MHD_YES ? MIN(own, mhd) : own;
}

int http_timeout_ms(struct http_server *s)
{
	uint64_t now = http_now_ms(), tcp = listener_timeout(&s->tcp, now),
		 local = listener_timeout(&s->local, now), wait = MIN(tcp, local);

	return wait == UINT64_MAX ? -1 : (int)MIN(wait, 3600 * 1000);
}

void http_run(struct http_server *s)
{
	uint64_t now = http_now_ms();

	http_conns_cut_late(&s->tcp.conns, now);
	http_conns_cut_late(&s->local.conns, now);
	MHD_run(s->tcp.daemon);
	if (s->tcp.tls)
		http_watch_sync(&s->tcp.watch, s->tcp.daemon);
	MHD_run(s->local.daemon);
}

void http_close(struct http_server *s)
{
	struct stat st;

	if (!s)
		return;
	if (s->tcp.daemon)
		MHD_stop_daemon(s->tcp.daemon);
	if (s->local.daemon)
		MHD_stop_daemon(s->local.daemon);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	/* Somebody may have put another socket in its place. */
	if (s->socket_path && lstat(s->socket_path, &st) == 0 && st.st_dev == s->socket_dev &&
	    st.st_ino == s->socket_ino)
		unlink(s->socket_path);
	free(s->socket_path);
	free(s);
}
