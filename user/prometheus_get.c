// SPDX-License-Identifier: Apache-2.0
/*
 * Queries over HTTP, one after the other; see prometheus_work.h.
 *
 * Owns: the URL, the token, the tenant, time-outs, the size of an answer, the words for everything that can go wrong on the way.
 * Must not know: what is asked.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "json.h"
#include "prometheus_work.h"
#include "util.h"

#define CONNECT_MS 10000u
#define TOTAL      5 /* answers' time-outs, for all of them */
#define URL_MAX    (64u << 10)
#define TENANT     "X-Scope-OrgID: " /* of Cortex and Mimir */
#define TENANT_MAX 512

static uint64_t now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int prometheus_fail(struct prometheus *p, int error, const char *fmt, ...)
{
	va_list ap;

	if (p->why)
		return error;
	va_start(ap, fmt);
	if (vasprintf(&p->why, fmt, ap) < 0)
		p->why = NULL;
	va_end(ap);
	return error;
}

/* ---- the URL ---- */

/* SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH], nothing a header could be made of. */
static bool url_usable(const char *url)
{
	const char *host = NULL, *slash, *at;

	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	for (const char *c = host; c && *c; c++) {
		if (*c <= ' ' || *c > '~' || strchr("?#\\", *c))
			return false;
	}
	if (!host)
		return false;
	slash = strchrnul(host, '/');
	at = memchr(host, '@', (size_t)(slash - host));
	host = at ? at + 1 : host;
	return *host && *host != '/' && *host != ':' && !strchr(host, '@');
}

/* What a header's value may be, and no more: names of tenants are letters and digits, several of them with | between. */
static bool tenant_usable(const char *tenant)
{
	size_t n = strlen(tenant);

	for (const char *c = tenant; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	return n > 0 && n <= TENANT_MAX;
}

/* Whatever stands before the last @ may be a password, also where the rest is no URL. */
const char *prometheus_shown(const char *url, char *buf, size_t size)
{
	const char *at = strrchr(url, '@'), *scheme = strstr(url, "://");
	int n = at && scheme && scheme < at ? (int)(scheme + 3 - url) : 0;

	snprintf(buf, size, "%.*s%s", n, url, at ? at + 1 : url);
	return buf;
}

bool prometheus_fault(const struct prometheus_options *o, char *why, size_t size)
{
	char shown[PROMETHEUS_WHY_MAX / 2];

	if (!o->url)
		return false;
	if (!url_usable(o->url))
		snprintf(why, size,
			 "--prometheus: '%s' is neither http://HOST[:PORT][/PATH] nor "
			 "https://HOST[:PORT][/PATH]",
			 prometheus_shown(o->url, shown, sizeof(shown)));
	else if (o->token_file && strncmp(o->url, "https://", 8) != 0)
		snprintf(why, size,
			 "--prometheus-token: is only sent over https, and --prometheus "
			 "is http");
	else if (o->tenant && !tenant_usable(o->tenant))
		snprintf(why, size,
			 "--prometheus-tenant: is 1 to %d printable characters without spaces",
			 TENANT_MAX);
	else
		return false;
	return true;
}

/* ---- what comes ---- */

static void on_head(long status, void *data)
{
	(void)status;
	(void)data;
}

static int on_body(long status, const char *bytes, size_t n, void *data)
{
	struct prometheus *p = data;

	(void)status;
	text_add(&p->body, bytes, n);
	return p->body.error;
}

static void on_end(const struct fetch_result *result, void *data)
{
	struct prometheus *p = data;

	p->end = result->end;
	p->status = result->status;
	p->ended = true;
	if (result->end == FETCH_REFUSED)
		prometheus_fail(p, 0, "%s; is that where Prometheus is", result->why);
	else if (result->end == FETCH_TLS)
		prometheus_fail(p, 0, "%s; give who signed its certificate with --prometheus-ca",
				result->why);
	else if (result->end == FETCH_CUT)
		prometheus_fail(p, 0, "%s; try again", result->why);
}

static const struct fetch_sink sink = {on_head, on_body, on_end};

int prometheus_open(struct prometheus *p)
{
	const struct prometheus_options *o = p->options;
	size_t n = strlen(o->url);
	int r;

	p->deadline_ms = now_ms() + TOTAL * o->timeout_ms;
	while (n > 0 && o->url[n - 1] == '/')
		n--;
	p->base = malloc(n + 1);
	if (!p->base)
		return -ENOMEM;
	memcpy(p->base, o->url, n);
	p->base[n] = '\0';
	if (o->tenant && asprintf(&p->tenant, TENANT "%s", o->tenant) < 0) {
		p->tenant = NULL;
		return -ENOMEM;
	}
	r = o->token_file ? fetch_authorization(o->token_file, &p->authorization) : 0;
	if (r < 0)
		return prometheus_fail(p, r,
				       "--prometheus-token: %s: %s; give a file that holds "
				       "the token",
				       o->token_file, strerror(-r));
	r = fetcher_new(o->ca_file, CONNECT_MS, &p->fetcher);
	return r < 0 ? r : fetch_new(p->fetcher, &sink, p, &p->fetch);
}

void prometheus_close(struct prometheus *p)
{
	fetch_free(p->fetch);
	fetcher_free(p->fetcher);
	text_done(&p->body);
	free(p->base);
	free(p->authorization);
	free(p->tenant);
	free(p->why);
	p->fetch = NULL;
	p->fetcher = NULL;
	p->base = p->authorization = p->tenant = p->why = NULL;
}

/* ---- one query ---- */

static int query_url(const struct prometheus *p, const char *promql, char **ret)
{
	_cleanup_(text_done) struct text t = TEXT_INIT(URL_MAX);
	char seconds[40];
	size_t size;

	text_puts(&t, p->base);
	/* Thanos answers with what it has when a store is away, unless it is told not to. */
	text_puts(&t, "/api/v1/query?partial_response=false");
	client_query_add(&t, "query", promql);
	snprintf(seconds, sizeof(seconds), "%" PRIu64 "ms", p->options->timeout_ms);
	client_query_add(&t, "timeout", seconds);
	if (p->at > 0) {
		snprintf(seconds, sizeof(seconds), "%.3f", p->at);
		client_query_add(&t, "time", seconds);
	}
	return text_take(&t, ret, &size);
}

/* Until it ended, or time is over. */
static int wait_for_end(struct prometheus *p)
{
	uint64_t start = now_ms(), until = MIN(start + p->options->timeout_ms, p->deadline_ms);
	struct pollfd fd = {.fd = fetcher_epoll_fd(p->fetcher), .events = POLLIN};

	while (!p->ended) {
		uint64_t now = now_ms(), left = until > now ? until - now : 0;
		int patience = fetcher_timeout_ms(p->fetcher);

		if (left == 0) {
			fetch_cancel(p->fetch);
			return prometheus_fail(p, -ETIMEDOUT,
					       "no answer in time%s; take a shorter --range, fewer "
					       "namespaces, or a longer --prometheus-timeout",
					       until == p->deadline_ms ? ", all answers together"
								       : "");
		}
		if (patience < 0 || (uint64_t)patience > left)
			patience = (int)left;
		if (poll(&fd, 1, patience) < 0 && errno != EINTR)
			return -errno;
		fetcher_run(p->fetcher);
	}
	return 0;
}

static int fail_end(struct prometheus *p)
{
	if (p->end == FETCH_MEMORY || p->body.error == -ENOMEM)
		return -ENOMEM;
	if (p->body.error)
		return prometheus_fail(p, -EFBIG,
				       "an answer is larger than %u MiB; select one "
				       "namespace or workload, or take a shorter --range",
				       PROMETHEUS_ANSWER_MAX >> 20);
	return prometheus_fail(p, -EIO, "the answer ended early; try again");
}

/* What to do about an answer of this status. */
static const char *advice(long status)
{
	if (status >= 300 && status < 400)
		return "give the URL that it sends browsers to";
	if (status == 401 || status == 403)
		return "give --prometheus-token, --prometheus-tenant (Mimir, Cortex), or an "
		       "account that may ask";
	if (status == 404)
		return "give the path in front of /api/v1/query, too (Mimir: /prometheus)";
	if (status == 422 || status == 503 || status == 504)
		return "take a shorter --range, or one namespace";
	if (status == 400)
		return "look at --prometheus-selector";
	return "is that where Prometheus is";
}

static int fail_status(struct prometheus *p, int error, const char *words)
{
	return prometheus_fail(p, error < 0 ? error : -EPROTO,
			       "it answered with status %ld%s%s; %s", p->status, words ? ": " : "",
			       words ? words : "", advice(p->status));
}

/* Errors come in the same form, mostly with a status of their own. */
static int read_body(struct prometheus *p, const struct prometheus_reader *reader)
{
	_cleanup_free_ char *text = NULL, *words = NULL;
	size_t size = 0;
	int r = text_take(&p->body, &text, &size);

	if (r < 0)
		return r;
	if (p->status != 200) {
		/* A page for people says nothing in one line. */
		r = prometheus_read(text, size, reader, &words);
		return fail_status(p, -EPROTO, r == -EREMOTEIO ? words : NULL);
	}
	r = prometheus_read(text, size, reader, &words);
	if (r == -EREMOTEIO)
		return fail_status(p, r, words);
	if (r == -EINVAL && words)
		return prometheus_fail(p, r,
				       "its answer cannot be used: %s; is that where "
				       "Prometheus is (a page to log in is not)",
				       words);
	return r;
}

int prometheus_query(struct prometheus *p, const char *promql,
		     int (*series)(const struct prometheus_series *s, void *data), void *data)
{
	const struct prometheus_reader reader = {series, p->note, p->note_data, data};
	const char *headers[3] = {NULL};
	_cleanup_free_ char *url = NULL;
	int r = query_url(p, promql, &url), n = 0;

	if (r < 0)
		return r;
	text_done(&p->body);
	p->body = TEXT_INIT(PROMETHEUS_ANSWER_MAX);
	p->ended = false;
	if (p->authorization)
		headers[n++] = p->authorization;
	if (p->tenant)
		headers[n] = p->tenant;
	r = fetch_start(p->fetch, url, headers);
	if (r == 0)
		r = wait_for_end(p);
	if (r < 0)
		return r;
	return p->end == FETCH_COMPLETE ? read_body(p, &reader) : fail_end(p);
}
