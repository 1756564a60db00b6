// SPDX-License-Identifier: Apache-2.0
/*
 * The agent's HTTP server; see http.h.
 *
 * Two libmicrohttpd daemons (TCP and unix socket) without threads share one handler. libmicrohttpd's time-out
 * only knows idleness and its limit only refuses, so both are kept here as well: every connection has a slot
 * with the time its present phase began, and one that must go is shut down, which libmicrohttpd then notices.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

/* libmicrohttpd accepts up to ten connections in a row before one that was shut down is really gone. */
#define HTTP_SLOTS_MAX     (HTTP_CONNECTIONS_MAX + 16)
#define HTTP_BACKLOG       128
#define HTTP_REPLY_GRACE_S 2 /* a reader may not be cut for the sake of others before */
#define HTTP_ERROR_MAX     400

struct http_conn {
	bool used;
	bool busy; /* has a complete request whose answer is not read yet; else: waits for a request */
	bool dying; /* shut down, libmicrohttpd has yet to notice */
	int fd;
	uint64_t since_ms; /* when it became busy, or began to wait */
	size_t reply_bytes;
};

struct http_listener {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	struct http_conn conns[HTTP_SLOTS_MAX];
};

struct http_server {
	struct http_listener tcp, local;
	int epoll_fd;
	const struct http_route *routes;
	size_t n_routes;
	void *data;
	char address[INET6_ADDRSTRLEN + 16];
	char *socket_path; /* once it is ours */
	dev_t socket_dev;
	ino_t socket_ino;
	uint64_t reply_bytes; /* of all answers libmicrohttpd still holds */
	struct http_counts counts;
};

static uint64_t now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- connections and their limits ---- */

static void conn_cut(struct http_conn *c)
{
	c->dying = true;
	shutdown(c->fd, SHUT_RDWR);
}

/* The one in its present phase for longest, among those that wait or those that are busy. */
static struct http_conn *conn_oldest(struct http_listener *l, bool busy)
{
	struct http_conn *oldest = NULL;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &l->conns[i];

		if (c->used && !c->dying && c->busy == busy &&
		    (!oldest || c->since_ms < oldest->since_ms))
			oldest = c;
	}
	return oldest;
}

static size_t conn_count(const struct http_listener *l)
{
	size_t n = 0;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++)
		n += l->conns[i].used && !l->conns[i].dying;
	return n;
}

static void conn_make_room(struct http_listener *l)
{
	struct http_conn *victim;

	if (conn_count(l) < HTTP_CONNECTIONS_MAX)
		return;
	victim = conn_oldest(l, false);
	if (!victim)
		victim = conn_oldest(l, true);
	if (victim) {
		conn_cut(victim);
		l->server->counts.crowded++;
	}
}

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void conn_start(struct http_listener *l, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	conn_make_room(l);
	for (size_t i = 0; info && i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &l->conns[i];

		if (c->used)
			continue;
		*c = (struct http_conn){.used = true, .fd = info->connect_fd, .since_ms = now_ms()};
		*context = c;
		return;
	}
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_conn *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		conn_start(cls, connection, context);
	else if (c)
		c->used = false;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode code)
{
	struct http_conn *c = conn_of(connection);

	(void)cls;
	(void)request;
	(void)code;
	if (!c)
		return;
	c->busy = false;
	c->reply_bytes = 0;
	c->since_ms = now_ms();
}

static uint64_t conn_deadline(const struct http_conn *c)
{
	return c->since_ms + (c->busy ? HTTP_REPLY_TIMEOUT_S : HTTP_HEADER_TIMEOUT_S) * 1000ULL;
}

static void conn_cut_late(struct http_listener *l, uint64_t now)
{
	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &l->conns[i];

		if (c->used && !c->dying && conn_deadline(c) <= now) {
			conn_cut(c);
			l->server->counts.late++;
		}
	}
}

/* Bytes that those hold who were given time enough to read are freed by cutting them. */
static uint64_t conn_cut_slow_readers(struct http_listener *l, uint64_t now)
{
	uint64_t freed = 0;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &l->conns[i];

		if (!c->used || !c->busy || c->reply_bytes == 0)
			continue;
		if (!c->dying && c->since_ms + HTTP_REPLY_GRACE_S * 1000ULL <= now) {
			conn_cut(c);
			l->server->counts.too_much++;
		}
		freed += c->dying ? c->reply_bytes : 0;
	}
	return freed;
}

/* Whether an answer of this size may be held, too. */
static bool reply_fits(struct http_server *s, size_t size)
{
	uint64_t now = now_ms(), freed;

	if (s->reply_bytes == 0 || s->reply_bytes + size <= HTTP_REPLY_BYTES_MAX)
		return true;
	freed = conn_cut_slow_readers(&s->tcp, now) + conn_cut_slow_readers(&s->local, now);
	return s->reply_bytes + size <= HTTP_REPLY_BYTES_MAX + freed;
}

/* ---- requests ---- */

struct http_params {
	struct MHD_Connection *connection;
	const char *names[HTTP_QUERY_PARAMS_MAX], *values[HTTP_QUERY_PARAMS_MAX];
	size_t n;
	const char *error; /* why the query is refused, or NULL */
};

static enum MHD_Result params_add(void *cls, enum MHD_ValueKind kind, const char *name,
				  size_t name_size, const char *value, size_t value_size)
{
	struct http_params *p = cls;

	(void)kind;
	if (p->n == HTTP_QUERY_PARAMS_MAX)
		p->error = "too many query parameters";
	else if (strlen(name) != name_size || (value && strlen(value) != value_size))
		p->error = "a query parameter contains a zero byte";
	if (p->error)
		return MHD_NO;
	p->names[p->n] = name;
	p->values[p->n++] = value ? value : "";
	return MHD_YES;
}

static const char *request_param(const struct http_request *req, const char *name)
{
	const struct http_params *p = req->priv;

	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->names[i], name) == 0)
			return p->values[i];
	}
	return NULL;
}

static const char *request_unknown_param(const struct http_request *req, const char *const *known)
{
	const struct http_params *p = req->priv;

	for (size_t i = 0; i < p->n; i++) {
		size_t k = 0;

		while (known[k] && strcmp(known[k], p->names[i]) != 0)
			k++;
		if (!known[k])
			return p->names[i];
	}
	return NULL;
}

static const char *request_header(const struct http_request *req, const char *name)
{
	const struct http_params *p = req->priv;

	return MHD_lookup_connection_value(p->connection, MHD_HEADER_KIND, name);
}

static bool request_has_body(struct MHD_Connection *c)
{
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND,
							 MHD_HTTP_HEADER_CONTENT_LENGTH);

	return (length && strspn(length, "0") != strlen(length)) ||
	       MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static const struct http_route *route_find(const struct http_server *s, const char *path)
{
	for (size_t i = 0; i < s->n_routes; i++) {
		if (strcmp(s->routes[i].path, path) == 0)
			return &s->routes[i];
	}
	return NULL;
}

/* ---- answers ---- */

static size_t error_escape(char *out, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	char *o = out;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c > 0x7e) {
			/* Shown as \xHH in the decoded text: a byte is not a code point. */
			memcpy(o, "\\\\x", 3);
			o[3] = hex[c >> 4];
			o[4] = hex[c & 15];
			o += 5;
			continue;
		}
		if (c == '"' || c == '\\')
			*o++ = '\\';
		*o++ = (char)c;
	}
	return (size_t)(o - out);
}

int http_reply_error(struct http_reply *ret, unsigned int status, const char *fmt, ...)
{
	static const char before[] = "{\"error\":\"", after[] = "\"}\n";
	char text[HTTP_ERROR_MAX + 1];
	size_t n = sizeof(before) - 1;
	va_list ap;
	char *body;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	body = malloc(sizeof(before) + sizeof(after) + 5 * strlen(text));
	if (!body)
		return -ENOMEM;
	memcpy(body, before, n);
	n += error_escape(body + n, text);
	memcpy(body + n, after, sizeof(after));
	*ret = (struct http_reply){.status = status,
				   .content_type = "application/json",
				   .body = body,
				   .size = n + sizeof(after) - 1};
	return 0;
}

/* Everything that can be wrong with a request before a route sees it, then the route. */
static int request_handle(struct http_server *s, struct MHD_Connection *connection,
			  const char *path, const char *method, struct http_reply *ret)
{
	struct http_params params = {.connection = connection};
	struct http_request req = {.path = path,
				   .param = request_param,
				   .unknown_param = request_unknown_param,
				   .header = request_header,
				   .priv = &params};
	const struct http_route *route = route_find(s, path);
	int r;

	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return http_reply_error(ret, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
	if (request_has_body(connection))
		return http_reply_error(ret, 413, "a request may not have a body");
	MHD_get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND, params_add, &params);
	if (params.error)
		return http_reply_error(ret, MHD_HTTP_BAD_REQUEST, "%s", params.error);
	if (!route)
		return http_reply_error(ret, MHD_HTTP_NOT_FOUND, "not found");
	r = route->handle(&req, s->data, ret);
	if (r < 0)
		return http_reply_error(ret, MHD_HTTP_INTERNAL_SERVER_ERROR, "%s", strerror(-r));
	return 0;
}

/* What libmicrohttpd holds of an answer until it is sent. */
struct http_body {
	struct http_server *server;
	char *text;
	size_t size;
};

static void body_free(void *cls)
{
	struct http_body *b = cls;

	b->server->reply_bytes -= b->size;
	free(b->text);
	free(b);
}

static bool response_add_headers(struct MHD_Response *response, const struct http_reply *reply)
{
	static const char *const always[][2] = {
		{"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy", "default-src 'none'"},
		{"Cache-Control", "no-store"},
		{"Referrer-Policy", "no-referrer"},
		{"X-Frame-Options", "DENY"},
	};
	bool ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					  reply->content_type) == MHD_YES;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		ok = ok && MHD_add_response_header(response, always[i][0], always[i][1]) == MHD_YES;
	if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		ok = ok && MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES;
	if (reply->status == MHD_HTTP_SERVICE_UNAVAILABLE)
		ok = ok && MHD_add_response_header(response, "Retry-After", "1") == MHD_YES;
	return ok;
}

/* Takes reply->body over, whatever happens. */
static struct MHD_Response *response_make(struct http_server *s, struct http_reply *reply)
{
	struct http_body *b = calloc(1, sizeof(*b));
	struct MHD_Response *response;

	if (!b) {
		free(reply->body);
		return NULL;
	}
	*b = (struct http_body){.server = s, .text = reply->body, .size = reply->size};
	s->reply_bytes += reply->size;
	response = MHD_create_response_from_buffer_with_free_callback_cls(reply->size, reply->body,
									  body_free, b);
	if (!response) {
		body_free(b);
		return NULL;
	}
	if (!response_add_headers(response, reply)) {
		MHD_destroy_response(response);
		return NULL;
	}
	return response;
}

/* MHD_NO closes the connection. */
static enum MHD_Result reply_queue(struct http_server *s, struct MHD_Connection *connection,
				   struct http_reply *reply)
{
	struct http_conn *c = conn_of(connection);
	struct MHD_Response *response;
	enum MHD_Result result;

	if (!reply_fits(s, reply->size)) {
		s->counts.too_much++;
		free(reply->body);
		if (http_reply_error(reply, MHD_HTTP_SERVICE_UNAVAILABLE,
				     "other clients have not read their answers yet") < 0)
			return MHD_NO;
	}
	if (c)
		c->reply_bytes = reply->size;
	response = response_make(s, reply);
	if (!response)
		return MHD_NO;
	result = MHD_queue_response(connection, reply->status ? reply->status : MHD_HTTP_OK,
				    response);
	MHD_destroy_response(response);
	return result;
}

/* Called first when a request's head is complete; the answer is given then, before any body arrives. */
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
	(void)request;
	if (!c || request_handle(l->server, connection, url, method, &reply) < 0)
		return MHD_NO;
	c->busy = true;
	c->since_ms = now_ms();
	return reply_queue(l->server, connection, &reply);
}

/* ---- sockets ---- */

static int port_parse(const char *text, in_port_t *ret)
{
	size_t n = strspn(text, "0123456789");
	unsigned long port;

	if (n == 0 || n > 5 || text[n] != '\0')
		return -EINVAL;
	port = strtoul(text, NULL, 10);
	if (port > 65535)
		return -EINVAL;
	*ret = htons((in_port_t)port);
	return 0;
}

union http_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static int listen_parse(const char *text, union http_addr *ret)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	char host[INET6_ADDRSTRLEN];
	union http_addr a = {0};
	in_port_t port;

	if (!colon || port_parse(colon + 1, &port) < 0 || n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = port;
		if (inet_pton(AF_INET6, host + 1, &a.in6.sin6_addr) != 1)
			return -EINVAL;
	} else if (n == 0) {
		a.in6.sin6_family = AF_INET6; /* in6addr_any */
		a.in6.sin6_port = port;
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = port;
		if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
			return -EINVAL;
	}
	*ret = a;
	return 0;
}

static int socket_bind(const union http_addr *a, socklen_t size, bool v6only, int *ret)
{
	_cleanup_close_ int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					0);
	int on = 1, only = v6only;

	if (fd < 0)
		return -errno;
	if (a->sa.sa_family != AF_UNIX &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (a->sa.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
		return -errno;
	if (bind(fd, &a->sa, size) < 0 || listen(fd, HTTP_BACKLOG) < 0)
		return -errno;
	*ret = util_take_fd(&fd);
	return 0;
}

static int socket_address(int fd, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	union http_addr a = {0};
	socklen_t n = sizeof(a);

	if (getsockname(fd, &a.sa, &n) < 0)
		return -errno;
	if (a.sa.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s]:%u", host, ntohs(a.in6.sin6_port));
	} else {
		inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, ntohs(a.in.sin_port));
	}
	return 0;
}

static int socket_open_tcp(const char *text, int *ret)
{
	bool all = text[0] == ':';
	union http_addr a;
	int r = listen_parse(text, &a);

	if (r < 0)
		return r;
	r = socket_bind(&a, a.sa.sa_family == AF_INET6 ? sizeof(a.in6) : sizeof(a.in), !all, ret);
	if (all && r == -EAFNOSUPPORT) {
		/* A kernel without IPv6: all addresses are those of IPv4. */
		a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = a.in6.sin6_port};
		r = socket_bind(&a, sizeof(a.in), false, ret);
	}
	return r;
}

/* 0 if path is free now: nothing was there, or a socket where nobody answers. */
static int socket_clear_stale(const char *path, const union http_addr *a)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: its queue is full, so somebody listens. */
	if (connect(fd, &a->sa, sizeof(a->un)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED && errno != ENOENT)
		return -errno;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int socket_make_dir(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int socket_open_local(struct http_server *s, const char *path, int *ret)
{
	union http_addr a = {.un = {.sun_family = AF_UNIX}};
	_cleanup_close_ int fd = -1;
	struct stat st;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(a.un.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.un.sun_path, path, strlen(path) + 1);
	r = socket_make_dir(path);
	if (r == 0)
		r = socket_clear_stale(path, &a);
	if (r < 0)
		return r;
	mask = umask(0117); /* so that it is 0660 from its first moment */
	r = socket_bind(&a, sizeof(a.un), false, &fd);
	umask(mask);
	if (r < 0)
		return r;
	if (stat(path, &st) < 0)
		return -errno;
	s->socket_path = strdup(path);
	if (!s->socket_path)
		return -ENOMEM;
	s->socket_dev = st.st_dev;
	s->socket_ino = st.st_ino;
	*ret = util_take_fd(&fd);
	return 0;
}

/* ---- the server ---- */

/*
 * fd belongs to libmicrohttpd from here on. If it fails to start, versions differ in whether they close it; one
 * left open until the process ends is better than one closed twice.
 */
static int listener_start(struct http_server *s, struct http_listener *l, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	const union MHD_DaemonInfo *info;

	l->server = s;
	errno = 0;
	l->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)HTTP_SLOTS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)HTTP_HEADER_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_REQUEST_HEAD_MAX,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, NULL, MHD_OPTION_END);
	if (!l->daemon)
		return errno ? -errno : -EIO;
	info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info || info->epoll_fd < 0)
		return -EIO;
	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, info->epoll_fd, &event) < 0 ? -errno : 0;
}

static int server_start(struct http_server *s, const char *listen_on, const char *socket_path,
			const char **ret_which)
{
	_cleanup_close_ int tcp = -1, local = -1;
	int r;

	*ret_which = "listen";
	r = socket_open_tcp(listen_on, &tcp);
	if (r == 0)
		r = socket_address(tcp, s->address, sizeof(s->address));
	if (r < 0)
		return r;
	*ret_which = "socket";
	r = socket_open_local(s, socket_path, &local);
	if (r < 0)
		return r;
	*ret_which = "server";
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return -errno;
	r = listener_start(s, &s->tcp, util_take_fd(&tcp));
	return r < 0 ? r : listener_start(s, &s->local, util_take_fd(&local));
}

int http_open(const char *listen, const char *socket_path, const struct http_route *routes,
	      size_t n_routes, void *data, struct http_server **ret, const char **ret_which)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	*ret_which = "server";
	if (!s)
		return -ENOMEM;
	s->epoll_fd = -1;
	s->routes = routes;
	s->n_routes = n_routes;
	s->data = data;
	r = server_start(s, listen, socket_path, ret_which);
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
	*ret = s->counts;
}

/* Milliseconds until this listener wants to run, UINT64_MAX for never. */
static uint64_t listener_timeout(struct http_listener *l, uint64_t now)
{
	unsigned long long mhd;
	uint64_t wait = MHD_get_timeout(l->daemon, &mhd) == MHD_YES ? mhd : UINT64_MAX;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		const struct http_conn *c = &l->conns[i];

		if (c->used && !c->dying) {
			uint64_t end = conn_deadline(c);

			wait = MIN(wait, end > now ? end - now : 0);
		}
	}
	return wait;
}

int http_timeout_ms(struct http_server *s)
{
	uint64_t now = now_ms(), tcp = listener_timeout(&s->tcp, now),
		 local = listener_timeout(&s->local, now), wait = MIN(tcp, local);

	return wait == UINT64_MAX ? -1 : (int)MIN(wait, 3600 * 1000);
}

void http_run(struct http_server *s)
{
	uint64_t now = now_ms();

	conn_cut_late(&s->tcp, now);
	conn_cut_late(&s->local, now);
	MHD_run(s->tcp.daemon);
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
