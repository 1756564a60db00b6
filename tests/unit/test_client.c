// SPDX-License-Identifier: Apache-2.0
/*
 * client.c against a server that answers whatever a case wants, on a unix socket of its own.
 *
 * Owns: that server. Must not know: what the agent answers.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "client.h"
#include "util.h"

static char dir[] = "/tmp/test_client.XXXXXX";
static char path[sizeof(dir) + 16];

struct server {
	int fd;
	const char *answer; /* sent as it is, then the connection is closed */
	char request[1024];
	pthread_t thread;
};

static void *server_run(void *data)
{
	struct server *s = data;
	_cleanup_close_ int fd = accept(s->fd, NULL, NULL);
	size_t n = 0;
	ssize_t got;

	while (fd >= 0 && n < sizeof(s->request) - 1 && !strstr(s->request, "\r\n\r\n")) {
		got = read(fd, s->request + n, sizeof(s->request) - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	for (const char *p = s->answer; fd >= 0 && *p; p += got) {
		got = send(fd, p, strlen(p), MSG_NOSIGNAL);
		if (got <= 0)
			break;
	}
	return NULL;
}

static int listen_at(const char *where)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_true(strlen(where) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, where);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* One request to a server that gives this answer. */
static int get(const char *answer, struct server *s, char **ret_body, size_t *ret_size,
	       char **ret_why)
{
	char agent[sizeof(path) + 8];
	int r;

	*s = (struct server){.fd = listen_at(path), .answer = answer};
	assert_int_equal(listen(s->fd, 1), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
	snprintf(agent, sizeof(agent), "unix:%s", path);
	r = client_get(agent, "/api?x=%20y", ret_body, ret_size, ret_why);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->fd);
	unlink(path);
	return r;
}

static void test_body(void **state)
{
	char *body = NULL, *why = NULL;
	struct server s;
	size_t size;

	(void)state;
	assert_int_equal(
		get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &s, &body, &size, &why),
		0);
	assert_string_equal(body, "hello");
	assert_int_equal(size, 5);
	assert_null(why);
	assert_memory_equal(s.request, "GET /api?x=%20y HTTP/1.1\r\n", 26);
	free(body);
	assert_int_equal(
		get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"
		    "0\r\n\r\n",
		    &s, &body, &size, &why),
		0);
	assert_string_equal(body, "abcde");
	free(body);
	assert_int_equal(
		get("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", &s, &body, &size, &why), 0);
	assert_string_equal(body, "");
	free(body);
}

static void assert_fails(const char *answer, int error, const char *phrase)
{
	char *body = NULL, *why = NULL;
	struct server s;
	size_t size;

	assert_int_equal(get(answer, &s, &body, &size, &why), error);
	assert_null(body);
	assert_non_null(why);
	if (!strstr(why, phrase))
		fail_msg("'%s' does not say '%s'", why, phrase);
	free(why);
}

static void test_query(void **state)
{
	struct text text = TEXT_INIT(4096);
	_cleanup_free_ char *query = NULL;
	size_t size;

	(void)state;
	client_query_add(&text, "a", "x-._~9");
	client_query_add(&text, "nothing", NULL);
	client_query_add(&text, "b", "*.a&b=c %\xc3\n");
	client_query_add(&text, "c", "");
	assert_int_equal(text_take(&text, &query, &size), 0);
	assert_string_equal(query, "&a=x-._~9&b=%2A.a%26b%3Dc%20%25%C3%0A&c=");
}

static void test_bad_answers(void **state)
{
	(void)state;
	assert_fails("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n", -EPROTO,
		     "status 404");
	assert_fails("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", -EPROTO, "status 503");
	/* What the answer says of it goes along, cut and printable. */
	assert_fails("HTTP/1.1 409 Conflict\r\nContent-Length: 9\r\n\r\n{\"a\": \x1b}\n", -EPROTO,
		     "status 409: {\"a\": \\x1b}");
	assert_fails("HTTP/1.1 204 No Content\r\n\r\n", -EPROTO, "status 204");
	/* Not followed, wherever it points. */
	assert_fails(
		"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
		-EPROTO, "status 302");
	assert_fails("", -EPROTO, "");
	assert_fails("SSH-2.0-x\r\n", -EPROTO, "");
	assert_fails("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", -EPROTO, "");
}

static void test_nobody_there(void **state)
{
	char *body = NULL, *why = NULL, agent[sizeof(path) + 8];
	size_t size;
	int fd;

	(void)state;
	assert_int_equal(client_get(path, "/", &body, &size, &why), -ENOENT);
	assert_string_equal(why, strerror(ENOENT));
	free(why);
	fd = listen_at(path); /* bound, not listening: what a killed agent leaves */
	snprintf(agent, sizeof(agent), "unix:%s", path);
	assert_int_equal(client_get(agent, "/", &body, &size, &why), -ECONNREFUSED);
	assert_string_equal(why, strerror(ECONNREFUSED));
	free(why);
	close(fd);
	unlink(path);
	assert_int_equal(client_get("http://127.0.0.1:1", "/", &body, &size, &why), -ECONNREFUSED);
	free(why);
	assert_null(body);
}

static void test_unusable(void **state)
{
	static const char *const agents[] = {
		"",
		"unix:",
		"unix:relative",
		"relative/path",
		"localhost:9990",
		"ftp://127.0.0.1",
		"file:///etc/passwd",
		"http://",
		"http://127.0.0.1/path",
		"http://127.0.0.1?q",
		"http://127.0.0.1/#f",
		"http://user@127.0.0.1",
		"http://127.0.0.1:port",
		"HTTP://127.0.0.1:1",
	};
	char *body = NULL, *why = NULL, longest[200];
	size_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
		assert_int_equal(client_get(agents[i], "/", &body, &size, &why), -EINVAL);
		assert_non_null(why);
		free(why);
	}
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[108] = '\0';
	assert_int_equal(client_get(longest, "/", &body, &size, &why), -EINVAL);
	assert_string_equal(why, "the path of the socket is longer than 107 bytes");
	free(why);
	longest[107] = '\0';
	assert_int_equal(client_get(longest, "/", &body, &size, &why), -ENOENT);
	free(why);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/agent.sock", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_body),        cmocka_unit_test(test_query),
		cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_unusable),
	};

	/* Whoever runs this may have one set. */
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	unsetenv("all_proxy");
	return cmocka_run_group_tests(tests, setup, teardown);
}
