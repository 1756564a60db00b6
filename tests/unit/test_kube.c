// SPDX-License-Identifier: Apache-2.0
/*
 * Unit tests of user/kube.c, kube_watch.c, kube_object.c and fetch.c: client and a scripted server in one thread, over
 * real sockets without TLS. (TLS, tokens and random events with faults: tests/e2e/test_kube.sh.)
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "kube_work.h"
#include "text.h"
#include "util.h"

#define DEADLINE_S 10
#define CONNS      8
#define REQUEST    16384

/* ---- time, which only passes when a test lets it ---- */

static int64_t clock_ms;

/* Takes the C library's place for the client and libcurl alike. */
int clock_gettime(clockid_t id, struct timespec *ret)
{
	(void)id;
	ret->tv_sec = 1000000 + clock_ms / 1000;
	ret->tv_nsec = clock_ms % 1000 * 1000000;
	return 0;
}

static double real_s(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the client under test, and a server ---- */

struct fixture {
	struct kube *kube;
	struct kube_watch *watch;
	struct text log;      /* what the sink was told, a line each */
	int refuse;           /* error that the sink answers objects with */
	size_t objects, most; /* that came in this turn of the loop; in one */

	int listen_fd;
	char url[64];
	int conns[CONNS];
	int current; /* the connection the last request came on */
	char request[REQUEST];
};

static int on_object(const cJSON *object, void *data)
{
	const cJSON *m = cJSON_GetObjectItem(object, "metadata");
	struct fixture *f = data;
	char line[128];

	f->objects++;
	if (f->refuse)
		return f->refuse;
	snprintf(line, sizeof(line), "+%s:%s ",
		 cJSON_GetStringValue(cJSON_GetObjectItem(m, "name")),
		 cJSON_GetStringValue(cJSON_GetObjectItem(m, "uid")));
	text_puts(&f->log, line);
	return 0;
}

static void on_deleted(const struct kube_id *id, void *data)
{
	struct fixture *f = data;
	char line[128];

	snprintf(line, sizeof(line), "-%s/%s:%s ", id->ns, id->name, id->uid);
	text_puts(&f->log, line);
}

static void on_reset(void *data)
{
	text_puts(&((struct fixture *)data)->log, "reset ");
}

static void on_synced(void *data)
{
	text_puts(&((struct fixture *)data)->log, "synced ");
}

static const struct kube_sink sink = {
	.object = on_object, .deleted = on_deleted, .reset = on_reset, .synced = on_synced};

static int server_make(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct fixture *f = calloc(1, sizeof(*f));
	socklen_t size = sizeof(a);

	signal(SIGPIPE, SIG_IGN);
	clock_ms = 0;
	f->log = TEXT_INIT(1 << 20);
	memset(f->conns, -1, sizeof(f->conns));
	f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	*state = f;
	if (bind(f->listen_fd, (struct sockaddr *)&a, size) < 0 || listen(f->listen_fd, 8) < 0 ||
	    getsockname(f->listen_fd, (struct sockaddr *)&a, &size) < 0)
		return -1;
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d/", ntohs(a.sin_port));
	return 0;
}

static int client_make(struct fixture *f)
{
	const struct kube_options options = {.url = f->url};
	int r = kube_new(&options, &f->kube);

	return r < 0 ? r
		     : kube_watch(f->kube, "/api/v1/pods", "spec.nodeName=n 1", &sink, f,
				  &f->watch);
}

static int fixture_make(void **state)
{
	return server_make(state) < 0 ? -1 : client_make(*state);
}

static int fixture_remove(void **state)
{
	struct fixture *f = *state;

	kube_free(f->kube);
	for (int i = 0; i < CONNS; i++)
		util_closep(&f->conns[i]);
	util_closep(&f->listen_fd);
	text_done(&f->log);
	free(f);
	return 0;
}

/* ---- the server's side ---- */

static void server_accept(struct fixture *f)
{
	int on = 1, fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (int i = 0; fd >= 0 && i < CONNS; i++) {
		if (f->conns[i] < 0) {
			f->conns[i] = fd;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			return;
		}
	}
	if (fd >= 0)
		fail_msg("more than %d connections", CONNS);
}

/* One request's head, if there is one. Connections that the client closed are closed. */
static bool server_read(struct fixture *f)
{
	for (int i = 0; i < CONNS; i++) {
		ssize_t n = f->conns[i] < 0 ? -1 : recv(f->conns[i], f->request, REQUEST - 1, 0);

		if (n == 0) {
			close(f->conns[i]);
			f->conns[i] = -1;
		}
		if (n <= 0)
			continue;
		/* On the loopback a head of this size comes whole. */
		f->request[n] = '\0';
		assert_non_null(strstr(f->request, "\r\n\r\n"));
		f->current = i;
		return true;
	}
	return false;
}

/* One turn of the caller's loop, as run.c does it. A millisecond passes, for libcurl's own timers. */
static void client_turn(struct fixture *f)
{
	struct pollfd p = {.fd = kube_epoll_fd(f->kube), .events = POLLIN};
	int timeout = kube_timeout_ms(f->kube);

	poll(&p, 1, timeout < 0 ? 2 : MIN(timeout, 2));
	clock_ms++;
	f->objects = 0;
	kube_run(f->kube);
	f->most = MAX(f->most, f->objects);
}

/* Nothing more happens before a timer of the client's. */
static void settle(struct fixture *f)
{
	struct pollfd p = {.fd = kube_epoll_fd(f->kube), .events = POLLIN};

	do
		client_turn(f);
	while (poll(&p, 1, 10) > 0 || kube_timeout_ms(f->kube) == 0);
}

/* The next request, its first line less the method. */
static const char *next_request(struct fixture *f)
{
	double end = real_s() + DEADLINE_S;

	while (real_s() < end) {
		client_turn(f);
		server_accept(f);
		if (server_read(f)) {
			assert_memory_equal(f->request, "GET ", 4);
			return strtok(f->request + 4, "\r\n");
		}
	}
	fail_msg("no request after %d s; log: %.*s", DEADLINE_S, (int)f->log.size, f->log.data);
	return NULL;
}

static void say(struct fixture *f, const char *bytes, size_t n)
{
	double end = real_s() + DEADLINE_S;

	while (n > 0 && real_s() < end) {
		ssize_t k = send(f->conns[f->current], bytes, n, MSG_NOSIGNAL);

		if (k > 0) {
			bytes += k;
			n -= (size_t)k;
		} else {
			client_turn(f);
		}
	}
	assert_int_equal(n, 0);
}

/* An answer that the client reads when it does. */
static void post(struct fixture *f, const char *status, const char *body)
{
	_cleanup_free_ char *text = NULL;
	int n = asprintf(&text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status,
			 strlen(body), body);

	say(f, text, (size_t)n);
}

static void reply(struct fixture *f, const char *status, const char *body)
{
	post(f, status, body);
	settle(f);
}

static void stream_begin(struct fixture *f)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

	say(f, head, sizeof(head) - 1);
	settle(f);
}

static void stream(struct fixture *f, const char *text)
{
	_cleanup_free_ char *chunk = NULL;
	int n = asprintf(&chunk, "%zx\r\n%s\r\n", strlen(text), text);

	say(f, chunk, (size_t)n);
	settle(f);
}

static void stream_end(struct fixture *f)
{
	say(f, "0\r\n\r\n", 5);
	settle(f);
}

/* The connection breaks. */
static void hang_up(struct fixture *f)
{
	close(f->conns[f->current]);
	f->conns[f->current] = -1;
	settle(f);
}

/* ---- what is seen ---- */

static void assert_log(struct fixture *f, const char *want)
{
	size_t size;
	char *got;

	assert_int_equal(text_take(&f->log, &got, &size), 0);
	f->log = TEXT_INIT(1 << 20);
	assert_string_equal(got, want);
	free(got);
}

static struct kube_status status_of(struct fixture *f)
{
	struct kube_status s;

	kube_get_status(f->watch, &s);
	return s;
}

static uint64_t errors(struct fixture *f, enum kube_error e)
{
	return status_of(f).errors[e];
}

static void assert_part(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in '%s'", part, text);
}

static void assert_no_part(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' in '%s'", part, text);
}

static void assert_lists(struct fixture *f)
{
	assert_no_part(next_request(f), "watch=");
}

static void assert_watches(struct fixture *f, const char *version)
{
	const char *request = next_request(f);
	char part[64];

	snprintf(part, sizeof(part), "&resourceVersion=%s ", version);
	assert_part(request, "&watch=1&");
	assert_part(request, part);
}

/* Until the watch does something by itself; libcurl has timers of its own. */
static int left_ms(struct fixture *f)
{
	uint64_t now = kube_now_ms();

	return f->watch->due_ms > now ? (int)(f->watch->due_ms - now) : 0;
}

/* Nothing is asked for until a time within these; then it is that time. */
static void pass_backoff(struct fixture *f, int from_ms, int to_ms)
{
	int timeout = left_ms(f);

	/* A pause that may be none may be over. */
	if (from_ms == 0 && f->watch->phase != KUBE_WAITING)
		return;
	/* Turns of the loop that only wait for bytes take some milliseconds. */
	assert_in_range(timeout, MAX(0, from_ms - 100), to_ms);
	clock_ms += timeout;
}

#define OBJECT(name, uid, version)                                                \
	"{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"n\",\"uid\":\"" uid \
	"\",\"resourceVersion\":\"" version "\"}}"
#define EVENT(type, name, uid, version) \
	"{\"type\":\"" type "\",\"object\":" OBJECT(name, uid, version) "}\n"
#define LIST(version, items)                                                 \
	"{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"" version \
	"\"},\"items\":[" items "]}\n"

/* Listed one object a:1 at version 5, watching from there. */
static void follow(struct fixture *f)
{
	next_request(f);
	reply(f, "200 OK", LIST("5", OBJECT("a", "1", "3")));
	assert_watches(f, "5");
	stream_begin(f);
	assert_log(f, "reset +a:1 synced ");
}

/* ---- as it should be ---- */

static void lists_and_follows(void **state)
{
	struct fixture *f = *state;
	const char *request = next_request(f);

	assert_false(status_of(f).synced);
	assert_string_equal(request, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn%201&limit=500"
				     "&resourceVersion=0 HTTP/1.1");
	assert_part(f->request + strlen(f->request) + 2, "Accept: application/json\r\n");
	assert_no_part(f->request + strlen(f->request) + 2, "Authorization");
	reply(f, "200 OK", LIST("5", OBJECT("a", "1", "3") "," OBJECT("b", "2", "4")));
	assert_log(f, "reset +a:1 +b:2 synced ");
	assert_true(status_of(f).synced);

	request = next_request(f);
	assert_part(request, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn%201&watch=1"
			     "&allowWatchBookmarks=true&timeoutSeconds=");
	assert_in_range(atoi(strstr(request, "Seconds=") + 8), 240, 300);
	assert_part(request, "&resourceVersion=5 ");
	stream_begin(f);
	stream(f, EVENT("ADDED", "c", "3", "6") EVENT("MODIFIED", "a", "1", "7"));
	assert_log(f, "+c:3 +a:1 ");
	stream(f, EVENT("DELETED", "b", "2", "8") "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":"
						  "{\"resourceVersion\":\"9\"}}}\n");
	stream(f, EVENT("DELETED", "nobody", "9", "10"));
	assert_log(f, "-n/b:2 ");
	assert_int_equal(status_of(f).objects, 2);
	assert_int_equal(status_of(f).events, 5);
	assert_false(status_of(f).failing);

	/* The server ends it, as it was asked to; it goes on where it was. */
	stream_end(f);
	pass_backoff(f, 0, 500);
	assert_watches(f, "10");
	assert_log(f, "");
	assert_int_equal(status_of(f).lists, 1);
	assert_int_equal(status_of(f).watches, 2);
	assert_string_equal(status_of(f).last_error, "");
}

static void a_quiet_watch_is_no_failure(void **state)
{
	struct fixture *f = *state;

	follow(f);
	clock_ms += 240000;
	stream_end(f);
	pass_backoff(f, 0, 500);
	assert_watches(f, "5");
	assert_false(status_of(f).failing);
	assert_string_equal(status_of(f).last_error, "");
}

static void pages(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	reply(f, "200 OK",
	      "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"a+/=\"},\"items\":[" OBJECT(
		      "a", "1", "1") "]}");
	assert_false(status_of(f).synced);
	assert_part(next_request(f), "n%201&limit=500&continue=a%2B%2F%3D HTTP");
	reply(f, "200 OK",
	      "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"z\"},\"items\":[]}");
	assert_part(next_request(f), "n%201&limit=500&continue=z HTTP");
	reply(f, "200 OK", LIST("5", OBJECT("b", "2", "2")));
	assert_log(f, "reset +a:1 +b:2 synced ");
	assert_watches(f, "5");
}

/* A token that is too old: from the first page on, and what was on none of them is gone. */
static void expired_page(void **state)
{
	struct fixture *f = *state;

	follow(f);
	stream(f, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":"
		  "\"too old\"}}\n");
	pass_backoff(f, 250, 500);
	assert_part(next_request(f), "n%201&limit=500 HTTP");
	reply(f, "200 OK",
	      "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"x\"},\"items\":[" OBJECT(
		      "b", "2", "6") "]}");
	assert_part(next_request(f), "continue=x");
	reply(f, "410 Gone",
	      "{\"kind\":\"Status\",\"message\":\"The provided continue parameter is too old\"}");
	assert_string_equal(status_of(f).last_error,
			    "list: status 410: The provided continue parameter is too old");
	pass_backoff(f, 500, 1000);
	assert_part(next_request(f), "n%201&limit=500 HTTP");
	reply(f, "200 OK", LIST("8", OBJECT("c", "3", "8")));
	assert_log(f, "reset +b:2 reset +c:3 -n/b:2 -n/a:1 synced ");
	assert_watches(f, "8");
	assert_int_equal(errors(f, KUBE_ERROR_GONE), 2);
}

/* ---- gone versions, names used again ---- */

static void gone_in_the_stream(void **state)
{
	struct fixture *f = *state;

	follow(f);
	stream(f, EVENT("ADDED", "b", "2",
			"6") "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\","
			     "\"reason\":\"Expired\",\"message\":\"too old\",\"code\":410}}\n");
	assert_string_equal(status_of(f).last_error, "watch: too old");
	assert_true(status_of(f).failing);
	pass_backoff(f, 250, 500);
	assert_part(next_request(f), "limit=500 HTTP");
	reply(f, "200 OK", LIST("20", OBJECT("b", "2", "6")));
	assert_log(f, "+b:2 reset +b:2 -n/a:1 synced ");
	assert_watches(f, "20");
	assert_int_equal(errors(f, KUBE_ERROR_GONE), 1);
}

static void gone_as_status(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	reply(f, "200 OK", LIST("5", OBJECT("a", "1", "3")));
	assert_watches(f, "5");
	reply(f, "410 Gone", "");
	pass_backoff(f, 250, 500);
	assert_part(next_request(f), "limit=500 HTTP");
	reply(f, "200 OK", LIST("20", ""));
	assert_log(f, "reset +a:1 synced reset -n/a:1 synced ");
	assert_int_equal(errors(f, KUBE_ERROR_GONE), 1);
	assert_int_equal(status_of(f).objects, 0);
	/* Again and again: ever more slowly, as no event shows that it works. */
	assert_watches(f, "20");
	reply(f, "410 Gone", "");
	pass_backoff(f, 500, 1000);
	assert_lists(f);
	reply(f, "200 OK", LIST("21", ""));
	assert_watches(f, "21");
	reply(f, "410 Gone", "");
	pass_backoff(f, 1000, 2000);
}

/* Deleted and made again while nobody looked: not the same object, though its name is. */
static void another_uid(void **state)
{
	struct fixture *f = *state;

	follow(f);
	stream(f, EVENT("MODIFIED", "a", "2", "6"));
	assert_log(f, "-n/a:1 +a:2 ");
	hang_up(f);
	pass_backoff(f, 250, 500);
	assert_watches(f, "6");
	reply(f, "410 Gone", "");
	pass_backoff(f, 250, 1000);
	assert_lists(f);
	reply(f, "200 OK", LIST("9", OBJECT("a", "3", "9")));
	assert_log(f, "reset -n/a:2 +a:3 synced ");
	assert_int_equal(status_of(f).objects, 1);
}

/* ---- failures ---- */

static void cut_streams(void **state)
{
	struct fixture *f = *state;

	/* A list, in the middle: once more, and nothing is thought gone. */
	next_request(f);
	stream_begin(f);
	stream(f, "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" OBJECT("a", "1",
										 "3") ",{\"meta");
	hang_up(f);
	assert_int_equal(errors(f, KUBE_ERROR_CUT), 1);
	assert_false(status_of(f).synced);
	pass_backoff(f, 250, 500);
	assert_log(f, "reset +a:1 ");
	follow(f);
	/* A watch, in the middle of an event: that one comes again. */
	stream(f,
	       EVENT("ADDED", "b", "2", "6") "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"na");
	hang_up(f);
	assert_int_equal(errors(f, KUBE_ERROR_CUT), 2);
	pass_backoff(f, 250, 500);
	assert_watches(f, "6");
	stream_begin(f);
	stream(f, EVENT("ADDED", "c", "3", "7"));
	/* An orderly end that is none. */
	stream(f, "{\"type\":");
	stream_end(f);
	assert_int_equal(errors(f, KUBE_ERROR_CUT), 3);
	pass_backoff(f, 250, 500);
	assert_watches(f, "7");
	assert_int_equal(status_of(f).lists, 1);
}

static void empty_answers(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	reply(f, "200 OK", "");
	assert_int_equal(errors(f, KUBE_ERROR_EMPTY), 1);
	assert_string_equal(status_of(f).last_error, "list: the answer is empty");
	pass_backoff(f, 250, 500);
	assert_part(next_request(f), "limit=500 HTTP");
	reply(f, "200 OK", LIST("5", ""));
	/* A watch that ends at once, again and again, is not asked for a thousand times a second. */
	for (int i = 0, ms = 1000; i < 6; i++, ms *= 2) {
		assert_watches(f, "5");
		reply(f, "200 OK", "");
		pass_backoff(f, ms / 2, ms);
		assert_true(status_of(f).failing);
	}
	assert_int_equal(errors(f, KUBE_ERROR_EMPTY), 7);
	/* When it stays for a while, it works. */
	assert_watches(f, "5");
	stream_begin(f);
	assert_true(status_of(f).failing);
	clock_ms += 10000;
	assert_false(status_of(f).failing);
	stream_end(f);
	pass_backoff(f, 0, 500);
	assert_watches(f, "5");
	reply(f, "200 OK", "");
	pass_backoff(f, 250, 500);
}

static void garbage(void **state)
{
	static const char *const answers[] = {
		"<html>hello</html>",
		"7",
		"{}",
		"{\"kind\":\"Status\",\"code\":200}",
		"{\"metadata\":{\"resourceVersion\":\"a\\\"b\"},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[7]}",
	};
	struct fixture *f = *state;
	static const char *const events[] = {
		"garbage\n",
		"{\"type\":\"WHAT\",\"object\":{}}\n",
		"{\"type\":\"ADDED\"}\n",
		"{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n",
		"{\"type\":\"ERROR\",\"object\":{\"code\":500}}\n",
		"{\"type\":\"ERROR\"}\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		assert_lists(f);
		reply(f, "200 OK", answers[i]);
		assert_int_equal(errors(f, KUBE_ERROR_GARBAGE), i + 1);
		pass_backoff(f, 0, 60000);
	}
	assert_int_equal(status_of(f).objects, 0);
	assert_log(f, "reset reset reset reset reset reset ");
	/* What could not be read may have been an event: all is listed again. */
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		follow(f);
		stream(f, EVENT("MODIFIED", "a", "1", "6"));
		stream(f, events[i]);
		assert_int_equal(errors(f, KUBE_ERROR_GARBAGE), ARRAY_SIZE(answers) + i + 1);
		assert_log(f, "+a:1 ");
		pass_backoff(f, 250, 500);
	}
}

static void statuses(void **state)
{
	static const struct {
		const char *status;
		enum kube_error error;
		bool list; /* what is asked next */
	} cases[] = {
		{"401 Unauthorized", KUBE_ERROR_UNAUTHORIZED, false},
		{"403 Forbidden", KUBE_ERROR_FORBIDDEN, true},
		{"404 Not Found", KUBE_ERROR_ABSENT, true},
		{"429 Too Many Requests", KUBE_ERROR_SERVER, false},
		{"500 Internal Server Error", KUBE_ERROR_SERVER, false},
		{"504 Gateway Timeout", KUBE_ERROR_SERVER, false},
		{"400 Bad Request", KUBE_ERROR_STATUS, true},
		{"302 Found\r\nLocation: /elsewhere", KUBE_ERROR_STATUS, true},
		{"204 No Content", KUBE_ERROR_STATUS, true},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t before = errors(f, cases[i].error);

		assert_lists(f);
		reply(f, "200 OK", LIST("5", OBJECT("a", "1", "3")));
		assert_watches(f, "5");
		reply(f, cases[i].status, "no reason");
		assert_int_equal(errors(f, cases[i].error), before + 1);
		assert_true(status_of(f).failing);
		assert_int_equal(status_of(f).objects, 1);
		pass_backoff(f, 0, 60000);
		if (!cases[i].list) {
			assert_watches(f, "5");
			reply(f, "410 Gone", "");
			pass_backoff(f, 0, 60000);
		}
	}
	assert_string_equal(kube_error_name(KUBE_ERROR_STATUS), "status");
	for (enum kube_error e = 0; e < KUBE_ERROR_MAX; e++)
		assert_true(*kube_error_name(e));
}

/* A server that was restored from a backup does not know the version, and does not say so: 504. */
static void unknown_version(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	reply(f, "200 OK", LIST("5000", OBJECT("a", "1", "3")));
	for (int i = 0; i < 8; i++) {
		assert_watches(f, "5000");
		reply(f, "504 Gateway Timeout", "{\"message\":\"Too large resource version\"}");
		pass_backoff(f, 250, 60000);
	}
	assert_lists(f);
	reply(f, "200 OK", LIST("70", OBJECT("b", "2", "3")));
	assert_log(f, "reset +a:1 synced reset +b:2 -n/a:1 synced ");
	assert_watches(f, "70");
}

/* What the server says is shown, but not what a terminal would do with it; and never more than there is room for. */
static void messages(void **state)
{
	static char large[3000];
	struct fixture *f = *state;

	next_request(f);
	reply(f, "403 Forbidden", "{\"message\":\"no\\u001b[31m\\nentry\"}");
	assert_string_equal(status_of(f).last_error, "list: status 403: no?[31m?entry");
	pass_backoff(f, 30000, 60000);
	next_request(f);
	memset(large, 'x', sizeof(large) - 1);
	reply(f, "500 Oops", large);
	assert_int_equal(strlen(status_of(f).last_error), KUBE_ERROR_TEXT_MAX);
	assert_part(status_of(f).last_error, "list: status 500: xxx");
	assert_int_equal(errors(f, KUBE_ERROR_SERVER), 1);
}

/* A server that asks for patience gets it, as far as there is any. */
static void retry_after(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	reply(f, "429 Too Many\r\nRetry-After: 7", "");
	assert_in_range(left_ms(f), 6000, 7000);
	clock_ms += 7000;
	next_request(f);
	reply(f, "503 Busy\r\nRetry-After: 100000", "");
	assert_in_range(left_ms(f), 59000, 60000);
}

/* A custom resource that is not installed: asked for once a minute, and no failure of anything else. */
static void absent_collection(void **state)
{
	struct fixture *f = *state;

	for (int i = 1; i <= 3; i++) {
		assert_lists(f);
		reply(f, "404 Not Found", "404 page not found\n");
		assert_true(status_of(f).absent);
		assert_false(status_of(f).synced);
		assert_int_equal(errors(f, KUBE_ERROR_ABSENT), i);
		pass_backoff(f, 30000, 60000);
	}
	/* Installed. */
	assert_log(f, "reset reset reset ");
	follow(f);
	assert_true(status_of(f).synced);
	assert_false(status_of(f).absent);
	/* A server that starts may say so for a moment: nothing is forgotten until it says so again. */
	clock_ms += 240000;
	stream_end(f);
	pass_backoff(f, 0, 500);
	assert_watches(f, "5");
	reply(f, "404 Not Found", "");
	assert_log(f, "");
	assert_int_equal(status_of(f).objects, 1);
	pass_backoff(f, 30000, 60000);
	assert_lists(f);
	reply(f, "404 Not Found", "");
	assert_log(f, "reset -n/a:1 ");
	assert_int_equal(status_of(f).objects, 0);
	assert_true(status_of(f).absent);
	pass_backoff(f, 30000, 60000);
	assert_lists(f);
	reply(f, "403 Forbidden", "");
	assert_false(status_of(f).absent);
	pass_backoff(f, 30000, 60000);
}

/* ---- time-outs ---- */

static void no_connection(void **state)
{
	struct fixture *f = *state;

	/* The port is bound, but nobody listens any more. */
	int fd = f->listen_fd;

	f->listen_fd = -1;
	close(fd);
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_CONNECT), 1);
	assert_part(status_of(f).last_error, "list: Failed to connect");
	/* Ever less often, but never less than once a minute. */
	for (int i = 2, ms = 500; i < 20; i++, ms = MIN(2 * ms, 60000)) {
		assert_in_range(left_ms(f), ms / 2 - 50, ms);
		clock_ms += left_ms(f);
		settle(f);
		assert_int_equal(errors(f, KUBE_ERROR_CONNECT), i);
	}
}

static void no_answer(void **state)
{
	struct fixture *f = *state;

	next_request(f);
	assert_in_range(left_ms(f), 25000, 30000);
	clock_ms += 30000;
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 1);
	assert_string_equal(status_of(f).last_error, "list: no answer in time");
	pass_backoff(f, 250, 500);
	/* A watch whose answer does not begin. */
	assert_lists(f);
	reply(f, "200 OK", LIST("5", ""));
	assert_watches(f, "5");
	clock_ms += 30000;
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 2);
	pass_backoff(f, 500, 1000);
	assert_watches(f, "5");
}

/* A byte now and then keeps a list alive for ever, but not this one. */
static void stalled_list(void **state)
{
	static char spaces[4097];
	struct fixture *f = *state;

	memset(spaces, ' ', 4096);
	next_request(f);
	stream_begin(f);
	for (int i = 0; i < 3; i++) {
		stream(f, " ");
		clock_ms += 9000;
		settle(f);
		assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 0);
	}
	clock_ms += 3000;
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 1);
	assert_string_equal(status_of(f).last_error, "list: the answer does not go on");
	pass_backoff(f, 250, 500);
	/* Nor after a good beginning. */
	next_request(f);
	stream_begin(f);
	stream(f, spaces);
	for (int i = 0; i < 3; i++) {
		clock_ms += 9000;
		stream(f, " ");
	}
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 1);
	clock_ms += 4000;
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 2);
	pass_backoff(f, 500, 1000);
	/* One that comes on, slowly, may take its time. */
	next_request(f);
	stream_begin(f);
	for (int i = 0; i < 10; i++) {
		stream(f, spaces);
		clock_ms += 20000;
		settle(f);
	}
	stream(f, LIST("5", OBJECT("a", "1", "3")));
	stream_end(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 2);
	assert_watches(f, "5");
}

/* A watch that the server does not end, on a connection that may be dead. */
static void endless_watch(void **state)
{
	struct fixture *f = *state;

	follow(f);
	clock_ms += 240000;
	settle(f);
	stream(f, EVENT("MODIFIED", "a", "1", "6"));
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 0);
	clock_ms += 91000;
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 1);
	pass_backoff(f, 250, 500);
	assert_watches(f, "6");
}

/* An event whose bytes trickle in: nothing waits for it, and it is complete when it is. */
static void slow_event(void **state)
{
	static const char event[] = EVENT("ADDED", "b", "2", "6");
	struct fixture *f = *state;
	struct kube_watch *other;
	char byte[2] = "";

	follow(f);
	for (size_t i = 0; event[i] != '\n'; i++) {
		byte[0] = event[i];
		assert_log(f, "");
		stream(f, byte);
		clock_ms += 1000;
	}
	assert_log(f, "+b:2 ");
	/* Another collection in the meantime. */
	stream(f, "{\"type\":");
	assert_int_equal(kube_watch(f->kube, "/api/v1/services", NULL, &sink, f, &other), 0);
	assert_part(next_request(f), "/api/v1/services?limit=500&resourceVersion=0 ");
	reply(f, "200 OK", LIST("9", OBJECT("s", "9", "9")));
	assert_log(f, "reset +s:9 synced ");
	assert_int_equal(errors(f, KUBE_ERROR_TIMEOUT), 0);
}

/* ---- objects that are not taken ---- */

static char *large_object(const char *name, size_t size)
{
	char *text = NULL, *fill = malloc(size + 1);

	memset(fill, 'x', size);
	fill[size] = '\0';
	assert_true(asprintf(&text,
			     "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"n\",\"uid\":\"1\"},"
			     "\"x\":\"%s\"}",
			     name, fill) > 0);
	free(fill);
	return text;
}

/* Known by name all the same: what was known of it stays, and its end is seen. */
static void too_large_objects(void **state)
{
	_cleanup_free_ char *large = large_object("a", KUBE_OBJECT_MAX), *list = NULL,
			    *event = NULL;
	struct fixture *f = *state;

	follow(f);
	assert_true(asprintf(&event, "{\"type\":\"MODIFIED\",\"object\":%s}\n", large) > 0);
	stream(f, event);
	assert_int_equal(errors(f, KUBE_ERROR_TOO_LARGE), 1);
	assert_string_equal(status_of(f).last_error, "watch: an object is too large");
	stream(f, EVENT("ADDED", "b", "2", "7"));
	assert_log(f, "+b:2 ");
	assert_false(status_of(f).failing);
	stream(f, "{\"type\":\"ERROR\",\"object\":{\"code\":410}}");
	pass_backoff(f, 250, 500);
	assert_lists(f);
	assert_true(asprintf(&list, "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[%s,%s]}",
			     large, OBJECT("c", "3", "8")) > 0);
	reply(f, "200 OK", list);
	assert_log(f, "reset +c:3 -n/b:2 synced ");
	assert_int_equal(errors(f, KUBE_ERROR_TOO_LARGE), 2);
	assert_watches(f, "9");
	stream_begin(f);
	memcpy(strstr(event, "MODIFIED"), "DELETED\",", 9);
	event[17] = ' ';
	stream(f, event);
	assert_log(f, "-n/a:1 ");
}

static void invalid_objects(void **state)
{
	struct fixture *f = *state;

	follow(f);
	/* Brackets that fit, but no JSON; in a list as well as in an event. */
	stream(f, "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\",\"namespace\":"
		  "\"n\",\"uid\":\"1\"},x}}\n");
	stream(f, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"z\",\"namespace\":"
		  "\"n\"},\"x\":\"\xff\"}}\n");
	assert_int_equal(errors(f, KUBE_ERROR_INVALID), 2);
	assert_log(f, "");
	assert_int_equal(status_of(f).objects, 1);
	stream(f, "{\"type\":\"ERROR\",\"object\":{\"code\":410}}");
	pass_backoff(f, 250, 500);
	assert_lists(f);
	reply(f, "200 OK",
	      LIST("9", OBJECT("b", "2",
			       "7") ",{\"metadata\":{\"name\":\"a\\n\"}},"
				    "{\"metadata\":{\"name\":\"q\",\"namespace\":\"\\u0061\"}},"
				    "{\"metadata\":{}},{\"metadata\":{\"name\":\"a\","
				    "\"namespace\":\"n\",\"uid\":\"1\"},x}"));
	assert_int_equal(errors(f, KUBE_ERROR_INVALID), 6);
	assert_log(f, "reset +b:2 synced ");
	assert_int_equal(status_of(f).objects, 2);
}

/* A NUL in an annotation must neither cut a string nor keep anybody's watch from going on. */
static void zero_bytes(void **state)
{
	struct fixture *f = *state;

	follow(f);
	stream(f, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\",\"uid\":\"2\","
		  "\"annotations\":"
		  "{\"x\":\"\\u0000\"}}}}\n");
	assert_log(f, "+b:2 ");
	assert_int_equal(errors(f, KUBE_ERROR_INVALID), 0);
}

static void too_many_objects(void **state)
{
	struct fixture *f = *state;
	struct text list = TEXT_INIT(SIZE_MAX);
	char item[96], *text;
	size_t size;

	next_request(f);
	text_puts(&list, "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[");
	for (int i = 0; i < KUBE_OBJECTS_MAX + 3; i++) {
		snprintf(item, sizeof(item), "%s{\"metadata\":{\"name\":\"p%d\",\"uid\":\"u\"}}",
			 i ? "," : "", i);
		text_puts(&list, item);
	}
	text_puts(&list, "]}");
	assert_int_equal(text_take(&list, &text, &size), 0);
	reply(f, "200 OK", text);
	free(text);
	assert_int_equal(errors(f, KUBE_ERROR_FULL), 3);
	assert_int_equal(status_of(f).objects, KUBE_OBJECTS_MAX);
	assert_true(status_of(f).synced);
	/* All of it was there to read, but the loop had time for other things in between: about 128 KiB a turn. */
	assert_in_range(f->most, 1000, 4000);
	assert_watches(f, "5");
	stream_begin(f);
	stream(f, "{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"name\":\"p7\",\"uid\":\"u\"}}}"
		  "\n" EVENT("ADDED", "x", "9", "9"));
	assert_int_equal(errors(f, KUBE_ERROR_FULL), 3);
	assert_int_equal(status_of(f).objects, KUBE_OBJECTS_MAX);
}

/* What could not be taken is not thought known, and comes again with the next list. */
static void sink_refuses(void **state)
{
	struct fixture *f = *state;

	follow(f);
	f->refuse = -ENOMEM;
	stream(f, EVENT("ADDED", "b", "2", "6"));
	assert_int_equal(errors(f, KUBE_ERROR_MEMORY), 1);
	assert_int_equal(status_of(f).objects, 1);
	pass_backoff(f, 250, 500);
	assert_lists(f);
	reply(f, "200 OK", LIST("6", OBJECT("a", "1", "3") "," OBJECT("b", "2", "6")));
	assert_int_equal(errors(f, KUBE_ERROR_MEMORY), 2);
	f->refuse = 0;
	pass_backoff(f, 500, 1000);
	assert_lists(f);
	reply(f, "200 OK", LIST("6", OBJECT("a", "1", "3") "," OBJECT("b", "2", "6")));
	assert_log(f, "reset reset +a:1 +b:2 synced ");
	assert_int_equal(status_of(f).objects, 2);
}

static void endless_pages(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < KUBE_PAGES_MAX; i++) {
		assert_lists(f);
		post(f, "200 OK",
		     "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"x\"},\"items\":[]}");
	}
	assert_lists(f);
	assert_int_equal(errors(f, KUBE_ERROR_GARBAGE), 0);
	reply(f, "200 OK",
	      "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"x\"},\"items\":[]}");
	assert_int_equal(errors(f, KUBE_ERROR_GARBAGE), 1);
	pass_backoff(f, 250, 500);
	assert_part(next_request(f), "limit=500 HTTP");
}

/* ---- options ---- */

static void urls(void **state)
{
	static const struct {
		const char *url, *token;
		int r;
	} cases[] = {
		{"https://10.0.0.1:443", "/x", 0},
		{"https://[fd00::1]:6443/", NULL, 0},
		{"http://127.0.0.1:8001", NULL, 0},
		/* A token does not travel in the clear. */
		{"http://127.0.0.1:8001", "/x", -EINVAL},
		{"ftp://x", NULL, -EINVAL},
		{"file:///etc/passwd", NULL, -EINVAL},
		{"kubernetes", NULL, -EINVAL},
		{"", NULL, -EINVAL},
		{"https://", NULL, -EINVAL},
		{"https:///x", NULL, -EINVAL},
		{"https://a b", NULL, -EINVAL},
		{"https://user@host", NULL, -EINVAL},
		{"https://host?x", NULL, -EINVAL},
		{"https://host\r\nX: y", NULL, -EINVAL},
	};
	struct kube *k = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct kube_options options = {.url = cases[i].url,
						     .token_file = cases[i].token};
		int r = kube_new(&options, &k);

		if (r != cases[i].r)
			fail_msg("%s: %d", cases[i].url, r);
		if (r == 0)
			kube_free(k);
	}
	kube_free(NULL);
}

static void in_cluster(void **state)
{
	char *url = NULL;

	(void)state;
	unsetenv("KUBERNETES_SERVICE_HOST");
	unsetenv("KUBERNETES_SERVICE_PORT");
	unsetenv("KUBERNETES_SERVICE_PORT_HTTPS");
	assert_int_equal(kube_url_in_cluster(&url), -ENOENT);
	setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
	assert_int_equal(kube_url_in_cluster(&url), -ENOENT);
	setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	assert_int_equal(kube_url_in_cluster(&url), 0);
	assert_string_equal(url, "https://10.96.0.1:443");
	free(url);
	setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	setenv("KUBERNETES_SERVICE_PORT_HTTPS", "6443", 1);
	assert_int_equal(kube_url_in_cluster(&url), 0);
	assert_string_equal(url, "https://[fd00::1]:6443");
	free(url);
	setenv("KUBERNETES_SERVICE_HOST", "", 1);
	assert_int_equal(kube_url_in_cluster(&url), -ENOENT);
}

static void write_file(const char *path, const char *text, size_t n)
{
	FILE *file = fopen(path, "w");

	assert_int_equal(fwrite(text, 1, n, file), n);
	fclose(file);
}

static void tokens(void **state)
{
	char path[] = "/tmp/test_kube.XXXXXX", *header = NULL;
	struct kube k = {.token_file = path};
	static char large[FETCH_TOKEN_MAX];
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	assert_int_equal(kube_authorization(&k, &header), -ENODATA);
	write_file(path, "a.b-c_d\n", 8);
	assert_int_equal(kube_authorization(&k, &header), 0);
	assert_string_equal(header, "Authorization: Bearer a.b-c_d");
	free(header);
	write_file(path, "e.f", 3);
	assert_int_equal(kube_authorization(&k, &header), 0);
	assert_string_equal(header, "Authorization: Bearer e.f");
	free(header);
	/* Nothing that would end the header's line. */
	write_file(path, "a\r\nX: y", 7);
	assert_int_equal(kube_authorization(&k, &header), -EBADMSG);
	write_file(path, "a\0b", 3);
	assert_int_equal(kube_authorization(&k, &header), -EBADMSG);
	memset(large, 'x', sizeof(large));
	write_file(path, large, sizeof(large));
	assert_int_equal(kube_authorization(&k, &header), -EFBIG);
	write_file(path, large, sizeof(large) - 1);
	assert_int_equal(kube_authorization(&k, &header), 0);
	free(header);
	alloc_fail_at(1);
	assert_int_equal(kube_authorization(&k, &header), -ENOMEM);
	alloc_fail_at(0);
	unlink(path);
	assert_int_equal(kube_authorization(&k, &header), -ENOENT);
	k.token_file = NULL;
	assert_int_equal(kube_authorization(&k, &header), 0);
	assert_null(header);
}

/* No token to read is a failure like another: tried again, and said. */
static void missing_token(void **state)
{
	const struct kube_options options = {.url = "https://127.0.0.1:1",
					     .token_file = "/nowhere/at/all"};
	struct fixture *f = *state;

	assert_int_equal(kube_new(&options, &f->kube), 0);
	assert_int_equal(kube_watch(f->kube, "/x", NULL, &sink, f, &f->watch), 0);
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_UNAUTHORIZED), 1);
	assert_string_equal(status_of(f).last_error, "list: the token file cannot be used");
	pass_backoff(f, 250, 500);
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_UNAUTHORIZED), 2);
	assert_int_equal(errors(f, KUBE_ERROR_CONNECT), 0);
}

/* TLS where there is none. */
static void not_tls(void **state)
{
	struct fixture *f = *state;
	char url[80];
	const struct kube_options options = {.url = url};

	snprintf(url, sizeof(url), "https%s", f->url + 4);
	assert_int_equal(kube_new(&options, &f->kube), 0);
	assert_int_equal(kube_watch(f->kube, "/x", NULL, &sink, f, &f->watch), 0);
	while (f->conns[0] < 0) {
		client_turn(f);
		server_accept(f);
	}
	f->current = 0;
	say(f, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	settle(f);
	assert_int_equal(errors(f, KUBE_ERROR_TLS), 1);
	pass_backoff(f, 250, 500);
}

/* ---- without memory ---- */

/* Answer whatever comes next. */
static bool serve(struct fixture *f)
{
	server_accept(f);
	if (!server_read(f))
		return false;
	if (strstr(f->request, "watch=1")) {
		stream_begin(f);
		stream(f, EVENT("ADDED", "c", "3", "6"));
	} else if (strstr(f->request, "continue=")) {
		post(f, "200 OK", LIST("5", OBJECT("b", "2", "4")));
	} else {
		post(f, "200 OK",
		     "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"x\"},\"items\":"
		     "[" OBJECT("a", "1", "3") "]}");
	}
	return true;
}

/* Wherever memory is missing once, in the end all three objects are there. */
static void without_memory(void **state)
{
	struct fixture *f = *state;
	unsigned long n;

	for (n = 1;; n++) {
		double end = real_s() + DEADLINE_S;
		int r;

		f->kube = NULL;
		alloc_fail_at(n);
		r = client_make(f);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			kube_free(f->kube);
			continue;
		}
		while (status_of(f).objects < 3 && real_s() < end) {
			client_turn(f);
			if (!serve(f) && kube_timeout_ms(f->kube) > 100 && !status_of(f).events)
				clock_ms += status_of(f).failing ? 1000 : 0;
		}
		if (status_of(f).objects != 3)
			fail_msg("allocation %lu: %zu objects", n, status_of(f).objects);
		kube_free(f->kube);
		f->kube = NULL;
		while (server_read(f))
			;
		if (!alloc_failed())
			break;
	}
	alloc_fail_at(0);
	/* There were that many, and more: each object's tree alone takes ten. */
	assert_true(n > 40);
}

#define KUBE_TEST(f)   cmocka_unit_test_setup_teardown(f, fixture_make, fixture_remove)
#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, server_make, fixture_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		KUBE_TEST(lists_and_follows),
		KUBE_TEST(a_quiet_watch_is_no_failure),
		KUBE_TEST(pages),
		KUBE_TEST(expired_page),
		KUBE_TEST(gone_in_the_stream),
		KUBE_TEST(gone_as_status),
		KUBE_TEST(another_uid),
		KUBE_TEST(cut_streams),
		KUBE_TEST(empty_answers),
		KUBE_TEST(garbage),
		KUBE_TEST(statuses),
		KUBE_TEST(unknown_version),
		KUBE_TEST(messages),
		KUBE_TEST(retry_after),
		KUBE_TEST(absent_collection),
		KUBE_TEST(no_connection),
		KUBE_TEST(no_answer),
		KUBE_TEST(stalled_list),
		KUBE_TEST(endless_watch),
		KUBE_TEST(slow_event),
		KUBE_TEST(too_large_objects),
		KUBE_TEST(invalid_objects),
		KUBE_TEST(zero_bytes),
		KUBE_TEST(too_many_objects),
		KUBE_TEST(sink_refuses),
		KUBE_TEST(endless_pages),
		cmocka_unit_test(urls),
		cmocka_unit_test(in_cluster),
		cmocka_unit_test(tokens),
		SERVER_TEST(missing_token),
		SERVER_TEST(not_tls),
		SERVER_TEST(without_memory),
	};

	return cmocka_run_group_tests_name("kube", tests, NULL, NULL);
}
