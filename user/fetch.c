// SPDX-License-Identifier: Apache-2.0
/*
 * GETs through libcurl's multi interface; see fetch.h.
 *
 * libcurl tells which sockets it waits for and for how long; those go into an epoll instance of our own, which nests
 * in the caller's as the HTTP server's does. HTTP/1.1 only: a watch has its connection for itself, so that one that
 * stalls holds nothing else up.
 */
#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "util.h"

#ifndef EA_VERSION
#error "the build sets EA_VERSION"
#endif

#define FETCH_EVENTS      16
#define FETCH_KEEPALIVE_S 30L /* until a silent connection is asked for a sign of life ... */
#define FETCH_PROBE_S     10L /* ... and between the questions */
#define FETCH_BUDGET      (128u << 10) /* bytes of one answer that are passed on in one run */

struct fetcher {
	CURLM *multi;
	struct fetch *fetches;
	int epoll_fd;
	uint64_t due_ms; /* when libcurl wants to run; UINT64_MAX: not by itself */
	const char *ca_file;
	unsigned int connect_ms;
};

struct fetch {
	struct fetcher *fetcher;
	struct fetch *next;
	CURL *easy;
	struct curl_slist *headers;
	const struct fetch_sink *sink;
	void *data;
	bool running, stopped;
	size_t budget;
	bool paused; /* it was used up; it goes on in the next run */
	char why[CURL_ERROR_SIZE];
};

static uint64_t now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- libcurl's sockets and its timer ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
	struct fetcher *f = data;
	struct epoll_event event = {.data.fd = fd};
	int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		/* It may be closed already, which took it out as well. */
		epoll_ctl(f->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		curl_multi_assign(f->multi, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) |
		       (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	if (epoll_ctl(f->epoll_fd, op, fd, &event) < 0)
		return -1;
	curl_multi_assign(f->multi, fd, f);
	return 0;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
	struct fetcher *f = data;

	(void)multi;
	f->due_ms = ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)ms;
	return 0;
}

int fetcher_new(const char *ca_file, unsigned int connect_ms, struct fetcher **ret)
{
	struct fetcher *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->due_ms = UINT64_MAX;
	f->ca_file = ca_file;
	f->connect_ms = connect_ms;
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	f->multi = f->epoll_fd < 0 ? NULL : curl_multi_init();
	if (!f->multi) {
		int r = f->epoll_fd < 0 ? -errno : -ENOMEM;

		fetcher_free(f);
		return r;
	}
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	*ret = f;
	return 0;
}

void fetcher_free(struct fetcher *f)
{
	if (!f)
		return;
	curl_multi_cleanup(f->multi);
	util_closep(&f->epoll_fd);
	free(f);
}

int fetcher_epoll_fd(const struct fetcher *f)
{
	return f->epoll_fd;
}

int fetcher_timeout_ms(const struct fetcher *f)
{
	uint64_t now;

	for (const struct fetch *q = f->fetches; q; q = q->next) {
		if (q->paused)
			return 0;
	}
	if (f->due_ms == UINT64_MAX)
		return -1;
	now = now_ms();
	return f->due_ms > now ? (int)MIN(f->due_ms - now, 3600u * 1000) : 0;
}

/* ---- one request ---- */

/* A head ends in an empty line. */
static size_t on_header(char *bytes, size_t size, size_t n, void *data)
{
	struct fetch *q = data;
	long status = 0;

	if (size * n == 2 && memcmp(bytes, "\r\n", 2) == 0) {
		curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
		q->sink->head(status, q->data);
	}
	return size * n;
}

/*
 * libcurl reads on for as long as there is something to read. A list of many megabytes comes in pieces that leave the
 * loop time for all else.
 */
static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
	struct fetch *q = data;
	long status = 0;

	if (q->budget == 0) {
		q->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	q->budget -= MIN(q->budget, size * n);
	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
	if (q->sink->body(status, bytes, size * n, q->data) >= 0)
		return size * n;
	q->stopped = true;
	return CURL_WRITEFUNC_ERROR;
}

int fetch_new(struct fetcher *f, const struct fetch_sink *sink, void *data, struct fetch **ret)
{
	struct fetch *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	*q = (struct fetch){.fetcher = f, .sink = sink, .data = data};
	q->easy = curl_easy_init();
	if (!q->easy) {
		free(q);
		return -ENOMEM;
	}
	q->next = f->fetches;
	f->fetches = q;
	*ret = q;
	return 0;
}

void fetch_free(struct fetch *q)
{
	struct fetch **at;

	if (!q)
		return;
	fetch_cancel(q);
	for (at = &q->fetcher->fetches; *at != q; at = &(*at)->next)
		;
	*at = q->next;
	curl_easy_cleanup(q->easy);
	curl_slist_free_all(q->headers);
	free(q);
}

#define SET(option, value)                                            \
	do {                                                          \
		if (e == CURLE_OK)                                    \
			e = curl_easy_setopt(q->easy, option, value); \
	} while (0)

static CURLcode setup_peer(struct fetch *q)
{
	const struct fetcher *f = q->fetcher;
	CURLcode e = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NOSIGNAL, 1L);
	/* A resolver that does not answer is left behind, not waited for: the loop has other work. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)f->connect_ms);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, FETCH_KEEPALIVE_S);
	SET(CURLOPT_TCP_KEEPINTVL, FETCH_PROBE_S);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (f->ca_file) {
		SET(CURLOPT_CAINFO, f->ca_file);
		/* Or the system's would be trusted as well. */
		SET(CURLOPT_CAPATH, NULL);
		/* Read again for each connection: the cluster's CA may be replaced. */
		SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
	}
	return e;
}

static CURLcode setup_request(struct fetch *q, const char *url)
{
	CURLcode e = CURLE_OK;

	SET(CURLOPT_URL, url);
	SET(CURLOPT_HTTPHEADER, q->headers);
	SET(CURLOPT_USERAGENT, "egress-agent/" EA_VERSION);
	SET(CURLOPT_PRIVATE, q);
	SET(CURLOPT_ERRORBUFFER, q->why);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, q);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, q);
	return e;
}

static int headers_add(struct fetch *q, const char *line)
{
	struct curl_slist *more = curl_slist_append(q->headers, line);

	if (!more)
		return -ENOMEM;
	q->headers = more;
	return 0;
}

int fetch_start(struct fetch *q, const char *url, const char *const headers[])
{
	int r;

	if (q->running)
		return -EBUSY;
	curl_easy_reset(q->easy);
	curl_slist_free_all(q->headers);
	q->headers = NULL;
	q->stopped = false;
	q->why[0] = '\0';
	r = headers_add(q, "Accept: application/json");
	for (; r == 0 && *headers; headers++)
		r = headers_add(q, *headers);
	if (r < 0)
		return r;
	if (setup_peer(q) != CURLE_OK || setup_request(q, url) != CURLE_OK ||
	    curl_multi_add_handle(q->fetcher->multi, q->easy) != CURLM_OK)
		return -ENOMEM;
	q->running = true;
	q->budget = FETCH_BUDGET;
	return 0;
}

void fetch_cancel(struct fetch *q)
{
	if (q->running)
		curl_multi_remove_handle(q->fetcher->multi, q->easy);
	q->running = q->paused = false;
}

/* ---- the end of one ---- */

static enum fetch_end end_of(const struct fetch *q, CURLcode e)
{
	switch (e) {
	case CURLE_OK:
		return FETCH_COMPLETE;
	case CURLE_OUT_OF_MEMORY:
		return FETCH_MEMORY;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT: /* only connecting has a limit here */
		return FETCH_REFUSED;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
		return FETCH_TLS;
	default:
		return q->stopped ? FETCH_STOPPED : FETCH_CUT;
	}
}

static void fetch_ended(struct fetch *q, CURLcode e)
{
	struct fetch_result result = {.end = end_of(q, e)};
	curl_off_t after = 0;

	curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &result.status);
	curl_easy_getinfo(q->easy, CURLINFO_RETRY_AFTER, &after);
	result.retry_after_s = (unsigned int)MAX(0, MIN(after, 3600));
	result.why = *q->why ? q->why : curl_easy_strerror(e);
	fetch_cancel(q);
	q->sink->end(&result, q->data);
}

/* A new run, and those that were stopped in the last one go on. */
static void budgets_renew(struct fetcher *f)
{
	for (struct fetch *q = f->fetches; q; q = q->next) {
		CURLcode e;

		q->budget = FETCH_BUDGET;
		if (!q->paused)
			continue;
		q->paused = false;
		e = curl_easy_pause(q->easy, CURLPAUSE_CONT);
		if (e != CURLE_OK)
			fetch_ended(q, e);
	}
}

void fetcher_run(struct fetcher *f)
{
	struct epoll_event events[FETCH_EVENTS];
	CURLMsg *m;
	int n, left;

	budgets_renew(f);
	n = epoll_wait(f->epoll_fd, events, FETCH_EVENTS, 0);
	for (int i = 0; i < n; i++) {
		uint32_t what = events[i].events;

		curl_multi_socket_action(f->multi, events[i].data.fd,
					 (what & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
						 (what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
						 (what & EPOLLERR ? CURL_CSELECT_ERR : 0),
					 &left);
	}
	if (f->due_ms <= now_ms()) {
		f->due_ms = UINT64_MAX;
		curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &left);
	}
	while ((m = curl_multi_info_read(f->multi, &left))) {
		struct fetch *q = NULL;

		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&q);
		if (m->msg == CURLMSG_DONE && q)
			fetch_ended(q, m->data.result);
	}
}

/* ---- the token ---- */

static int token_read(const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t n = 0;
	ssize_t k;

	if (fd < 0)
		return -errno;
	while ((k = read(fd, buf + n, size - n)) > 0)
		n += (size_t)k;
	if (k < 0)
		return -errno;
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
		n--;
	if (n == 0 || n == size)
		return n == 0 ? -ENODATA : -EFBIG;
	for (size_t i = 0; i < n; i++) {
		if (buf[i] <= ' ' || buf[i] > '~')
			return -EBADMSG;
	}
	buf[n] = '\0';
	return 0;
}

int fetch_authorization(const char *token_file, char **ret_header)
{
	static const char field[] = "Authorization: Bearer ";
	_cleanup_free_ char *header = malloc(sizeof(field) + FETCH_TOKEN_MAX);
	int r;

	if (!header)
		return -ENOMEM;
	memcpy(header, field, sizeof(field));
	r = token_read(token_file, header + sizeof(field) - 1, FETCH_TOKEN_MAX);
	if (r == 0)
		*ret_header = TAKE_PTR(header);
	return r;
}
