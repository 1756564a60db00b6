// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/http.c over real sockets, clients and server in one thread. Hostile clients are the point:
 * whatever they do, a well-behaved one gets its answer.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "http.h"
#include "util.h"

#define ANSWER_MAX (1 << 16)
#define DEADLINE_S 10
#define BIG_BODY   (8u << 20)
#define HUGE_BODY  (100u << 20)

/* ---- time, which a test can let pass ---- */

static time_t clock_skew_s;
static bool clock_stands; /* but for the skew */

/* Takes the C library's place for the server and libmicrohttpd alike. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
	static struct timespec stood;
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_MONOTONIC) {
		stood = clock_stands ? stood : *ret;
		*ret = stood;
	}
	ret->tv_sec += clock_skew_s;
	return r;
}

static double real_s(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the server under test ---- */

struct fixture {
	char dir[64];
	char socket[128];
	struct http_server *server;
};

static int reply_with(struct http_reply *ret, const char *text)
{
	*ret = (struct http_reply){
		.content_type = "text/plain", .body = strdup(text), .size = strlen(text)};
	return 0;
}

static int handle_hello(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	return reply_with(ret, data);
}

static int handle_echo(const struct http_request *req, void *data, struct http_reply *ret)
{
	static const char *const known[] = {"a", "b", NULL};
	const char *a = req->param(req, "a"), *unknown = req->unknown_param(req, known),
		   *header = req->header(req, "X-Test"), *twice = req->repeated_param(req);
	char text[512];

	(void)data;
	snprintf(text, sizeof(text), "path=%s a=%s unknown=%s header=%s%s%s", req->path,
		 a ? a : "(none)", unknown ? unknown : "(none)", header ? header : "(none)",
		 twice ? " twice=" : "", twice ? twice : "");
	return reply_with(ret, text);
}

static int handle_broken(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	(void)ret;
	return -EIO;
}

static int handle_refused(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)data;
	return http_reply_error(ret, 400, "bad \"%s\"", req->param(req, "a"));
}

static int handle_zeros(struct http_reply *ret, size_t size)
{
	*ret = (struct http_reply){.status = 200,
				   .content_type = "application/octet-stream",
				   .body = calloc(1, size),
				   .size = size};
	return 0;
}

static int handle_big(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	return handle_zeros(ret, BIG_BODY);
}

static int handle_huge(const struct http_request *req, void *data, struct http_reply *ret)
{
	(void)req;
	(void)data;
	return handle_zeros(ret, HUGE_BODY);
}

/* Streams: as many bytes as are asked for, all 's'; how many are alive. */

struct stream {
	unsigned long left;
	bool fail;
};

static int streams_alive;

static int stream_read(void *data, char *buf, size_t size, size_t *ret_n)
{
	struct stream *s = data;

	if (s->fail && s->left == 0)
		return -ENOMEM;
	*ret_n = MIN(size, s->left);
	memset(buf, 's', *ret_n);
	s->left -= *ret_n;
	return 0;
}

static void stream_free(void *data)
{
	streams_alive--;
	free(data);
}

static int handle_stream(const struct http_request *req, void *data, struct http_reply *ret)
{
	const char *bytes = req->param(req, "bytes");
	struct stream *s = calloc(1, sizeof(*s));

	(void)data;
	s->left = strtoul(bytes ? bytes : "1000000000", NULL, 10);
	s->fail = req->param(req, "fail");
	streams_alive++;
	*ret = (struct http_reply){.content_type = "text/plain",
				   .vary = "Accept",
				   .stream = {stream_read, stream_free, s}};
	return 0;
}

/* As if each stream held one of two lists. */
static int handle_busy(const struct http_request *req, void *data, struct http_reply *ret)
{
	return streams_alive >= 2 ? -EBUSY : handle_stream(req, data, ret);
}

static int handle_lines(const struct http_request *req, void *data, struct http_reply *ret);

static const struct http_route routes[] = {
	{"/hello", handle_hello, true},    {"/echo", handle_echo, false},
	{"/broken", handle_broken, false}, {"/refused", handle_refused, false},
	{"/big", handle_big, false},       {"/huge", handle_huge, false},
	{"/stream", handle_stream, false}, {"/busy", handle_busy, false},
	{"/lines", handle_lines, false},
};

static void each_line(void *data, const char *value)
{
	strcat(strcat(data, "|"), value);
}

static int handle_lines(const struct http_request *req, void *data, struct http_reply *ret)
{
	char text[512] = "";

	(void)data;
	req->each_header(req, "X-Test", each_line, text);
	return reply_with(ret, text);
}

static int server_open(struct fixture *f, const char *listen_on, const char **which)
{
	const struct http_options options = {.listen = listen_on,
					     .socket_path = f->socket,
					     .routes = routes,
					     .n_routes = ARRAY_SIZE(routes),
					     .data = "hello"};

	return http_open(&options, &f->server, which);
}

static int fixture_make_dir(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	clock_skew_s = 0;
	clock_stands = false;
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_http.XXXXXX");
	*state = f;
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->socket, sizeof(f->socket), "%s/run/agent.sock", f->dir);
	return 0;
}

static int fixture_make(void **state)
{
	const char *which;

	return fixture_make_dir(state) < 0 ? -1 : server_open(*state, "127.0.0.1:0", &which);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int fixture_remove(void **state)
{
	struct fixture *f = *state;
	int r;

	http_close(f->server);
	r = nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return r;
}

/* ---- clients ---- */

/* One turn of the caller's loop, as run.c does it. */
static void server_turn(struct http_server *s, int wait_ms)
{
	struct pollfd p = {.fd = http_epoll_fd(s), .events = POLLIN};
	int timeout = http_timeout_ms(s);

	poll(&p, 1, timeout >= 0 ? MIN(timeout, wait_ms) : wait_ms);
	http_run(s);
}

static void server_settle(struct http_server *s)
{
	struct pollfd p = {.fd = http_epoll_fd(s), .events = POLLIN};

	do
		server_turn(s, 0);
	while (poll(&p, 1, 20) > 0 || http_timeout_ms(s) == 0);
}

static int dial_tcp(const char *address, const char *host)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_port = htons((in_port_t)atoi(strrchr(address, ':') + 1));
	inet_pton(AF_INET, host, &a.sin_addr);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int dial(struct fixture *f)
{
	return dial_tcp(http_address(f->server), "127.0.0.1");
}

static int dial_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything the server sends until it closes, as a string; fails the test if it does not close in time. */
static const char *hear(struct fixture *f, int fd)
{
	static char answer[ANSWER_MAX];
	double end = real_s() + DEADLINE_S;
	size_t n = 0;

	while (real_s() < end) {
		ssize_t k = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);

		if (k > 0)
			n += (size_t)k;
		if (k == 0 || (k < 0 && errno != EAGAIN)) {
			close(fd);
			answer[n] = '\0';
			return answer;
		}
		server_turn(f->server, 10);
	}
	fail_msg("no end of the answer after %d s", DEADLINE_S);
	return NULL;
}

static const char *ask(struct fixture *f, const char *request)
{
	int fd = dial(f);

	say(fd, request);
	return hear(f, fd);
}

#define CLOSE "Host: x\r\nConnection: close\r\n"

static void assert_status(const char *answer, int status)
{
	int got = 0;

	if (sscanf(answer, "HTTP/1.%*d %d", &got) != 1 || got != status)
		fail_msg("wanted %d, got: %.60s", status, answer);
}

static void assert_body(const char *answer, const char *want)
{
	const char *body = strstr(answer, "\r\n\r\n");

	assert_non_null(body);
	assert_string_equal(body + 4, want);
}

static void assert_served(struct fixture *f)
{
	const char *answer = ask(f, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");

	assert_status(answer, 200);
	assert_body(answer, "hello");
}

/* ---- requests and answers ---- */

static void assert_header(const char *answer, const char *line)
{
	char want[128];

	snprintf(want, sizeof(want), "\r\n%s\r\n", line);
	if (!strstr(answer, want))
		fail_msg("no '%s' in: %s", line, answer);
}

static void every_page_has_security_headers(void **state)
{
	static const char *const requests[] = {
		"GET /hello HTTP/1.1\r\n" CLOSE "\r\n",
		"HEAD /hello HTTP/1.1\r\n" CLOSE "\r\n",
		"GET /nothing HTTP/1.1\r\n" CLOSE "\r\n",
		"GET /broken HTTP/1.1\r\n" CLOSE "\r\n",
		"GET /refused?a=x HTTP/1.1\r\n" CLOSE "\r\n",
		"DELETE /hello HTTP/1.1\r\n" CLOSE "\r\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const char *answer = ask(f, requests[i]);

		assert_header(answer, "X-Content-Type-Options: nosniff");
		assert_header(answer, "Content-Security-Policy: default-src 'none'");
		assert_header(answer, "Cache-Control: no-store");
		assert_header(answer, "Referrer-Policy: no-referrer");
		assert_header(answer, "X-Frame-Options: DENY");
		assert_null(strcasestr(answer, "\r\nServer:"));
		assert_null(strcasestr(answer, "microhttpd"));
	}
}

static void get_and_head(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask(f, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");

	assert_status(answer, 200);
	assert_header(answer, "Content-Type: text/plain");
	assert_header(answer, "Content-Length: 5");
	assert_body(answer, "hello");
	answer = ask(f, "HEAD /hello HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(answer, 200);
	assert_header(answer, "Content-Length: 5");
	assert_body(answer, "");
	answer = ask(f, "GET /hello HTTP/1.0\r\n\r\n");
	assert_status(answer, 200);
	assert_body(answer, "hello");
}

static void other_methods_are_refused(void **state)
{
	static const char *const methods[] = {"POST",  "PUT", "DELETE",   "OPTIONS", "TRACE",
					      "PATCH", "get", "PROPFIND", "CONNECT", "X"};
	struct fixture *f = *state;
	char request[128];

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		const char *answer;

		snprintf(request, sizeof(request), "%s /hello HTTP/1.1\r\n" CLOSE "\r\n",
			 methods[i]);
		answer = ask(f, request);
		assert_status(answer, 405);
		assert_header(answer, "Allow: GET, HEAD");
		assert_body(answer, "{\"error\":\"only GET and HEAD\"}\n");
	}
}

/* Refused with the head, whether the body comes or not: it is never waited for. */
static void bodies_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_status(ask(f, "GET /hello HTTP/1.1\r\n" CLOSE "Content-Length: 5\r\n\r\nhello"),
		      413);
	assert_status(ask(f, "GET /hello HTTP/1.1\r\n" CLOSE "Content-Length: 1000000\r\n\r\n"),
		      413);
	assert_status(ask(f, "GET /hello HTTP/1.1\r\n" CLOSE
			     "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		      413);
	assert_status(ask(f, "POST /hello HTTP/1.1\r\n" CLOSE "Content-Length: 1000000\r\n\r\nx"),
		      405);
	assert_status(ask(f, "GET /hello HTTP/1.1\r\n" CLOSE "Content-Length: 0\r\n\r\n"), 200);
}

static void unknown_paths(void **state)
{
	static const char *const paths[] = {"/",   "/hell", "/hello/", "//hello",  "/hello%2f",
					    "/..", "/%00",  "*",       "/hello%20"};
	struct fixture *f = *state;
	char request[128];

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		const char *answer;

		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" CLOSE "\r\n", paths[i]);
		answer = ask(f, request);
		assert_status(answer, 404);
		assert_header(answer, "Content-Type: application/json");
		assert_body(answer, "{\"error\":\"not found\"}\n");
	}
}

static void parameters(void **state)
{
	struct fixture *f = *state;

	assert_body(ask(f, "GET /echo HTTP/1.1\r\n" CLOSE "\r\n"),
		    "path=/echo a=(none) unknown=(none) header=(none)");
	assert_body(ask(f, "GET /echo?a=%2a.x+y%26&b=1&a=2 HTTP/1.1\r\n" CLOSE "x-test: h\r\n\r\n"),
		    "path=/echo a=*.x y& unknown=(none) header=h twice=a");
	assert_body(ask(f, "GET /echo?c=1&b&a=2&b=3 HTTP/1.1\r\n" CLOSE "\r\n"),
		    "path=/echo a=2 unknown=c header=(none) twice=b");
	assert_body(ask(f, "GET /echo?b&c=1&d=2 HTTP/1.1\r\n" CLOSE "\r\n"),
		    "path=/echo a=(none) unknown=c header=(none)");
	assert_body(ask(f, "GET /echo?a HTTP/1.1\r\n" CLOSE "\r\n"),
		    "path=/echo a= unknown=(none) header=(none)");
	assert_status(ask(f, "GET /echo?a=x%00y HTTP/1.1\r\n" CLOSE "\r\n"), 400);
}

static void too_many_parameters(void **state)
{
	struct fixture *f = *state;
	char request[1024];
	size_t n;

	for (int count = HTTP_QUERY_PARAMS_MAX; count <= HTTP_QUERY_PARAMS_MAX + 1; count++) {
		n = (size_t)snprintf(request, sizeof(request), "GET /echo?");
		for (int i = 0; i < count; i++)
			n += (size_t)snprintf(request + n, sizeof(request) - n, "a=%d&", i);
		request[n - 1] = '\0'; /* the last & */
		strcat(request, " HTTP/1.1\r\n" CLOSE "\r\n");
		assert_status(ask(f, request), count > HTTP_QUERY_PARAMS_MAX ? 400 : 200);
	}
}

static void errors_are_json(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask(f, "GET /broken HTTP/1.1\r\n" CLOSE "\r\n");

	assert_status(answer, 500);
	assert_body(answer, "{\"error\":\"Input/output error\"}\n");
	answer = ask(f, "GET /refused?a=%22%0a%5c%ff%3cb%3e HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(answer, 400);
	assert_header(answer, "Content-Type: application/json");
	assert_body(answer, "{\"error\":\"bad \\\"\\\"\\\\x0a\\\\\\\\xff<b>\\\"\"}\n");
}

static void kept_alive(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	const char *answer;

	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
		"GET /hello HTTP/1.1\r\n" CLOSE "\r\n");
	answer = hear(f, fd);
	assert_status(answer, 200);
	answer = strstr(answer, "\r\n\r\nhello") + strlen("\r\n\r\nhello");
	assert_status(answer, 404);
	answer = strstr(answer, "not found\"}\n") + strlen("not found\"}\n");
	assert_status(answer, 200);
	assert_body(answer, "hello");
}

static void garbage(void **state)
{
	static const char *const requests[] = {
		"\r\n\r\n\r\n\r\n",
		"\x16\x03\x01\x02\x01\x01\x01\x01\xfc\x03\x03\r\n\r\n",
		"GET\r\n\r\n",
		"GET /hello\r\n\r\n",
		"GET /hello HTTP/9.9\r\n\r\n",
		"GET /hello HTTP/1.1\r\nno colon\r\n\r\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		char got[16] = "";
		int fd = dial(f);

		say(fd, requests[i]);
		shutdown(fd, SHUT_WR);
		server_settle(f->server);
		if (recv(fd, got, sizeof(got) - 1, 0) > 0)
			assert_memory_equal(got, "HTTP/1.", 7);
		assert_served(f);
		close(fd);
	}
}

/* ---- addresses ---- */

static void listen_addresses(void **state)
{
	static const char *const wrong[] = {
		"",      "127.0.0.1", "127.0.0.1:",   "127.0.0.1:x", ":",       "::1:9990",
		"[::1]", "[::1]9990", ":65536",       ":-1",         ":+1",     "localhost:0",
		"[x]:0", "1.2.3:0",   "127.0.0.1:0x", ": 1",         ":000000", "[127.0.0.1]:0"};
	struct fixture *f = *state;
	const char *which;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		which = NULL;
		assert_int_equal(server_open(f, wrong[i], &which), -EINVAL);
		assert_string_equal(which, "listen");
		assert_null(f->server);
	}
	assert_int_equal(server_open(f, "127.0.0.1:0", &which), 0);
	assert_int_equal(strncmp(http_address(f->server), "127.0.0.1:", 10), 0);
	assert_int_not_equal(atoi(http_address(f->server) + 10), 0);
	assert_served(f);
}

static bool have_ipv6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static int dial_v6(struct fixture *f)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin6_port = htons((in_port_t)atoi(strrchr(http_address(f->server), ':') + 1));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void listen_all_is_dual_stack(void **state)
{
	struct fixture *f = *state;
	const char *which;
	int fd;

	if (!have_ipv6()) {
		print_message("skip - listen_all_is_dual_stack: no IPv6 here\n");
		skip();
	}
	assert_int_equal(server_open(f, ":0", &which), 0);
	assert_served(f);
	fd = dial_v6(f);
	say(fd, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(hear(f, fd), 200);
	http_close(f->server);

	assert_int_equal(server_open(f, "[::1]:0", &which), 0);
	assert_int_equal(strncmp(http_address(f->server), "[::1]:", 6), 0);
	fd = dial_v6(f);
	say(fd, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(hear(f, fd), 200);
}

static void port_in_use(void **state)
{
	struct fixture *f = *state, other = *f;
	const char *which;
	struct stat st;

	snprintf(other.socket, sizeof(other.socket), "%s/other.sock", f->dir);
	assert_int_equal(server_open(&other, http_address(f->server), &which), -EADDRINUSE);
	assert_string_equal(which, "listen");
	assert_int_equal(stat(other.socket, &st), -1);
	assert_served(f);
}

/* ---- the unix socket ---- */

static void socket_serves(void **state)
{
	struct fixture *f = *state;
	int fd = dial_unix(f->socket);
	const char *answer;
	struct stat st;

	say(fd, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");
	answer = hear(f, fd);
	assert_status(answer, 200);
	assert_body(answer, "hello");
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	*strrchr(f->socket, '/') = '\0';
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static void socket_is_removed(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	FILE *file;

	http_close(f->server);
	f->server = NULL;
	assert_int_equal(stat(f->socket, &st), -1);

	/* But not what somebody else put in its place. */
	assert_int_equal(server_open(f, "127.0.0.1:0", &(const char *){NULL}), 0);
	assert_int_equal(unlink(f->socket), 0);
	file = fopen(f->socket, "w");
	fclose(file);
	http_close(f->server);
	f->server = NULL;
	assert_int_equal(stat(f->socket, &st), 0);
}

static void socket_stale_and_live(void **state)
{
	struct fixture *f = *state, second = *f;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *which;
	int fd;

	/* Live: somebody answers. */
	assert_int_equal(server_open(&second, "127.0.0.1:0", &which), -EADDRINUSE);
	assert_string_equal(which, "socket");
	assert_served(f);

	/* Stale: the owner died without removing it. */
	http_close(f->server);
	f->server = NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(a.sun_path, f->socket);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
	assert_int_equal(server_open(f, "127.0.0.1:0", &which), 0);
	fd = dial_unix(f->socket);
	say(fd, "GET /hello HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(hear(f, fd), 200);
}

static void socket_trouble(void **state)
{
	struct fixture *f = *state;
	const char *which = NULL;
	FILE *file;

	snprintf(f->socket, sizeof(f->socket), "%s/file", f->dir);
	file = fopen(f->socket, "w");
	fclose(file);
	assert_int_equal(server_open(f, "127.0.0.1:0", &which), -EEXIST);
	assert_string_equal(which, "socket");
	snprintf(f->socket, sizeof(f->socket), "%s/no/such/dir/x", f->dir);
	assert_int_equal(server_open(f, "127.0.0.1:0", &which), -ENOENT);
	snprintf(f->socket, sizeof(f->socket), "/tmp/%0110d", 0);
	assert_int_equal(server_open(f, "127.0.0.1:0", &which), -ENAMETOOLONG);
	assert_null(f->server);
}

/* ---- hostile clients ---- */

#define CROWD 200

static struct http_counts counts_of(struct fixture *f)
{
	struct http_counts c;

	http_get_counts(f->server, &c);
	return c;
}

static void crowd_blocks_nobody(struct fixture *f, const char *each_says, bool local)
{
	int crowd[CROWD];

	for (int i = 0; i < CROWD; i++) {
		crowd[i] = local ? dial_unix(f->socket) : dial(f);
		say(crowd[i], each_says);
		if (i % 50 == 49)
			server_settle(f->server);
	}
	assert_served(f);
	server_settle(f->server);
	assert_true(counts_of(f).crowded >= CROWD - HTTP_CONNECTIONS_MAX);
	for (int i = 0; i < CROWD; i++)
		close(crowd[i]);
	server_settle(f->server);
	assert_served(f);
}

static void idle_crowd(void **state)
{
	crowd_blocks_nobody(*state, "", false);
}

static void half_request_crowd(void **state)
{
	crowd_blocks_nobody(*state, "GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ", false);
}

static void kept_alive_crowd(void **state)
{
	crowd_blocks_nobody(*state, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", false);
}

static void slow_reader_crowd(void **state)
{
	crowd_blocks_nobody(*state, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\nGET /big HTTP/1.1\r\nHo",
			    false);
}

static void unix_crowd(void **state)
{
	crowd_blocks_nobody(*state, "GET / HT", true);
}

/* Whoever reads nothing holds his own answer up, nobody else's, and still gets all of it when he reads. */
static void slow_reader(void **state)
{
	static char sink[1 << 16];
	struct fixture *f = *state;
	double end = real_s() + DEADLINE_S;
	int fd = dial(f);
	size_t n = 0;
	ssize_t k;

	say(fd, "GET /big HTTP/1.1\r\n" CLOSE "\r\n");
	server_settle(f->server);
	for (int i = 0; i < 3; i++)
		assert_served(f);
	while ((k = recv(fd, sink, sizeof(sink), 0)) != 0 && real_s() < end) {
		n += k > 0 ? (size_t)k : 0;
		server_turn(f->server, 1);
	}
	close(fd);
	assert_in_range(n, BIG_BODY, BIG_BODY + 1000);
}

static void line_of_a_megabyte(void **state)
{
	_cleanup_free_ char *line = malloc(1 << 20);
	static const char *const starts[] = {"GET /", "GET /hello HTTP/1.1\r\nX-Long: "};
	struct fixture *f = *state;

	memset(line, 'x', 1 << 20);
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		int fd = dial(f);
		double deadline = real_s() + DEADLINE_S;
		bool end = false;
		size_t sent = 0;
		char got[64] = "";

		say(fd, starts[i]);
		while (!end && real_s() < deadline) {
			ssize_t k = send(fd, line + sent, (1 << 20) - sent,
					 MSG_NOSIGNAL | MSG_DONTWAIT);

			sent += k > 0 ? (size_t)k : 0;
			end = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT) >= 0;
			end = end || (k < 0 && errno != EAGAIN);
			server_turn(f->server, 1);
		}
		/* Refused without waiting for the end of the line. */
		assert_true(end);
		if (got[0])
			assert_memory_equal(got, "HTTP/1.1 4", 10);
		assert_served(f);
		close(fd);
	}
}

static void vanishing_clients(void **state)
{
	struct linger hard = {.l_onoff = 1};
	struct fixture *f = *state;

	for (int i = 0; i < 50; i++) {
		int fd = dial(f);

		say(fd, i % 2 ? "GET /big HTTP/1.1\r\n" CLOSE "\r\n" : "GET /hel");
		if (i % 3)
			server_turn(f->server, 5);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	server_settle(f->server);
	assert_served(f);
	assert_int_equal(counts_of(f).crowded, 0);
}

/* A byte now and then keeps an idle time-out away for ever; the head as a whole has one, too. */
static void slow_head_is_cut(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char c;

	say(fd, "GET /hello HTTP/1.1\r\n");
	server_settle(f->server);
	for (int i = 0; i < 2; i++) {
		clock_skew_s += 4;
		say(fd, "X: y\r\n");
		server_settle(f->server);
		assert_int_equal(recv(fd, &c, 1, 0), -1);
		assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(counts_of(f).late, 0);
	assert_in_range(http_timeout_ms(f->server), 0, 2000);
	clock_skew_s += 3;
	assert_string_equal(hear(f, fd), "");
	assert_int_equal(counts_of(f).late, 1);
	assert_served(f);
}

/* As slow on the other side: a reader that takes a little now and then, for ever. */
static void slow_reading_is_cut(void **state)
{
	static char sink[1 << 20];
	struct fixture *f = *state;
	int fd = dial(f);

	say(fd, "GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
	server_settle(f->server);
	for (int i = 0; i < 7; i++) {
		size_t n = 0;
		ssize_t k;

		while ((k = recv(fd, sink, sizeof(sink), 0)) > 0)
			n += (size_t)k;
		assert_true(n > 0 && k < 0); /* all that was there, but not the end */
		server_settle(f->server);
		assert_int_equal(counts_of(f).late, 0);
		clock_skew_s += 8;
	}
	clock_skew_s += 8;
	server_settle(f->server);
	assert_int_equal(counts_of(f).late, 1);
	close(fd);
	assert_served(f);
}

/* Answers that nobody reads cannot take all memory: the third huge one is refused until the first two had time. */
static void unread_answers_are_bounded(void **state)
{
	struct fixture *f = *state;
	int first = dial(f), second;
	char head[16] = "";

	say(first, "GET /huge HTTP/1.1\r\nHost: x\r\n\r\n");
	server_settle(f->server);
	second = dial_unix(f->socket);
	say(second, "GET /huge HTTP/1.1\r\n" CLOSE "\r\n");
	server_settle(f->server);
	/* 100 MB are held: another 100 do not fit. */
	assert_status(hear(f, second), 503);
	assert_int_equal(counts_of(f).too_much, 1);
	assert_served(f);

	clock_skew_s += 3;
	second = dial_unix(f->socket);
	say(second, "GET /huge HTTP/1.1\r\n" CLOSE "\r\n");
	server_settle(f->server);
	assert_int_equal(counts_of(f).too_much, 2); /* the first one was cut */
	assert_int_equal(recv(second, head, sizeof(head) - 1, 0), sizeof(head) - 1);
	assert_string_equal(head, "HTTP/1.1 200 OK");
	close(first);
	close(second);
}

/* The bytes of a chunked body; fails the test unless it is whole. */
static size_t chunks_size(const char *body)
{
	size_t sum = 0;
	char *end;

	for (;;) {
		size_t n = strtoul(body, &end, 16);

		assert_true(end > body && strncmp(end, "\r\n", 2) == 0);
		if (n == 0)
			return sum;
		assert_int_equal(strspn(end + 2, "s"), n);
		body = end + 2 + n + 2;
		sum += n;
	}
}

static void streams(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask(f, "GET /stream?bytes=40000 HTTP/1.1\r\n" CLOSE "\r\n");

	assert_status(answer, 200);
	assert_header(answer, "Transfer-Encoding: chunked");
	assert_header(answer, "X-Content-Type-Options: nosniff");
	assert_header(answer, "Vary: Accept");
	assert_int_equal(chunks_size(strstr(answer, "\r\n\r\n") + 4), 40000);
	assert_int_equal(streams_alive, 0);
	answer = ask(f, "GET /stream?bytes=0 HTTP/1.1\r\n" CLOSE "\r\n");
	assert_int_equal(chunks_size(strstr(answer, "\r\n\r\n") + 4), 0);
	/* Who does not know chunks is told the end by the connection's. */
	answer = ask(f, "GET /stream?bytes=40000 HTTP/1.0\r\n\r\n");
	assert_status(answer, 200);
	assert_int_equal(strspn(strstr(answer, "\r\n\r\n") + 4, "s"), 40000);
	answer = ask(f, "HEAD /stream?bytes=40000 HTTP/1.1\r\n" CLOSE "\r\n");
	assert_status(answer, 200);
	assert_body(answer, "");
	answer = ask(f, "GET /lines HTTP/1.1\r\nX-Test: a\r\nx-test: b, c\r\n" CLOSE "\r\n");
	assert_body(answer, "|a|b, c");
	assert_int_equal(streams_alive, 0);
}

/* One that breaks must not look like a whole one. */
static void broken_stream(void **state)
{
	struct fixture *f = *state;
	const char *answer = ask(f, "GET /stream?bytes=20000&fail HTTP/1.1\r\n" CLOSE "\r\n");

	assert_status(answer, 200);
	assert_null(strstr(answer, "\r\n0\r\n"));
	assert_int_equal(counts_of(f).broken, 1);
	assert_int_equal(streams_alive, 0);
	assert_served(f);
}

static int start_stream(struct fixture *f, const char *path)
{
	int fd = dial_unix(f->socket);
	char request[128];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	say(fd, request);
	server_settle(f->server);
	return fd;
}

static void assert_begins(int fd, const char *want)
{
	char head[16] = "";

	assert_int_equal(recv(fd, head, strlen(want), 0), strlen(want));
	assert_string_equal(head, want);
}

/* So many at a time. Who reads nothing makes way for the next, and what he held is free at once. */
static void streams_are_bounded(void **state)
{
	struct fixture *f = *state;
	int fds[HTTP_STREAMS_MAX + 2];
	static char sink[1 << 20];

	clock_stands = true;
	for (size_t i = 0; i <= HTTP_STREAMS_MAX; i++)
		fds[i] = start_stream(f, "/stream");
	assert_int_equal(streams_alive, HTTP_STREAMS_MAX);
	assert_begins(fds[HTTP_STREAMS_MAX], "HTTP/1.1 503");
	assert_int_equal(counts_of(f).too_much, 1);
	assert_served(f);
	clock_skew_s += 3;
	/* The first one reads on, the others do not. */
	while (recv(fds[0], sink, sizeof(sink), 0) > 0)
		;
	server_settle(f->server);
	fds[HTTP_STREAMS_MAX + 1] = start_stream(f, "/stream");
	assert_begins(fds[HTTP_STREAMS_MAX + 1], "HTTP/1.1 200");
	assert_int_equal(streams_alive, 2);
	assert_int_equal(counts_of(f).too_much, HTTP_STREAMS_MAX);
	while (recv(fds[0], sink, sizeof(sink), 0) > 0)
		;
	server_settle(f->server);
	assert_true(recv(fds[0], sink, sizeof(sink), 0) > 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	server_settle(f->server);
	assert_int_equal(streams_alive, 0);
}

/* A page whose means are all in use is asked again when those that do not read are gone. */
static void busy_pages(void **state)
{
	struct fixture *f = *state;
	int fds[3];

	clock_stands = true;
	for (size_t i = 0; i < 3; i++)
		fds[i] = start_stream(f, "/busy");
	assert_begins(fds[2], "HTTP/1.1 503");
	assert_int_equal(counts_of(f).too_much, 1);
	close(fds[2]);
	clock_skew_s += 3;
	fds[2] = start_stream(f, "/busy");
	assert_begins(fds[2], "HTTP/1.1 200");
	assert_int_equal(counts_of(f).too_much, 3);
	assert_int_equal(streams_alive, 1);
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
	server_settle(f->server);
	assert_int_equal(streams_alive, 0);
}

static void streams_end_in_time(void **state)
{
	struct fixture *f = *state;
	int fd = start_stream(f, "/stream");

	clock_skew_s += 61;
	server_settle(f->server);
	assert_int_equal(streams_alive, 0);
	assert_int_equal(counts_of(f).late, 1);
	close(fd);
	assert_served(f);
	fd = start_stream(f, "/stream");
	http_close(f->server);
	f->server = NULL;
	assert_int_equal(streams_alive, 0);
	close(fd);
}

static void close_with_open_connections(void **state)
{
	struct fixture *f = *state;
	int idle = dial(f), reading = dial_unix(f->socket);

	say(reading, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	server_settle(f->server);
	http_close(f->server);
	f->server = NULL;
	close(idle);
	close(reading);
	http_close(NULL);
}

#define DIR_TEST(f)    cmocka_unit_test_setup_teardown(f, fixture_make_dir, fixture_remove)
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_make, fixture_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVER_TEST(every_page_has_security_headers),
		SERVER_TEST(get_and_head),
		SERVER_TEST(other_methods_are_refused),
		SERVER_TEST(bodies_are_refused),
		SERVER_TEST(unknown_paths),
		SERVER_TEST(parameters),
		SERVER_TEST(too_many_parameters),
		SERVER_TEST(errors_are_json),
		SERVER_TEST(kept_alive),
		SERVER_TEST(garbage),
		DIR_TEST(listen_addresses),
		DIR_TEST(listen_all_is_dual_stack),
		SERVER_TEST(port_in_use),
		SERVER_TEST(socket_serves),
		SERVER_TEST(socket_is_removed),
		SERVER_TEST(socket_stale_and_live),
		DIR_TEST(socket_trouble),
		SERVER_TEST(idle_crowd),
		SERVER_TEST(half_request_crowd),
		SERVER_TEST(kept_alive_crowd),
		SERVER_TEST(slow_reader_crowd),
		SERVER_TEST(unix_crowd),
		SERVER_TEST(slow_reader),
		SERVER_TEST(line_of_a_megabyte),
		SERVER_TEST(vanishing_clients),
		SERVER_TEST(slow_head_is_cut),
		SERVER_TEST(slow_reading_is_cut),
		SERVER_TEST(unread_answers_are_bounded),
		SERVER_TEST(streams),
		SERVER_TEST(broken_stream),
		SERVER_TEST(streams_are_bounded),
		SERVER_TEST(busy_pages),
		SERVER_TEST(streams_end_in_time),
		SERVER_TEST(close_with_open_connections),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
