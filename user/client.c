// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP client for the agent's own API; see client.h. Owner of libcurl.
 *
 * Owns: which servers and protocols are allowed, limits, phrases for what went wrong.
 * Must not know: what the bodies mean. Never logs.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#include "client.h"
#include "json.h"
#include "text.h"
#include "util.h"

#define CLIENT_CONNECT_MS 2000L
#define CLIENT_TOTAL_MS   30000L
/* Bytes of an error page in a message. */
#define CLIENT_ERROR_SHOWN 450

struct request {
	CURL *curl;
	const char *socket; /* path, or NULL */
	char *url;
	struct text body;
};

static void request_done(struct request *q)
{
	curl_easy_cleanup(q->curl);
	free(q->url);
	text_done(&q->body);
}

/* A phrase for the user; without memory for it there is just the number. Returns error. */
static int client_fail(int error, char **ret_why, const char *fmt, ...) _printf_(3, 4);
static int client_fail(int error, char **ret_why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(ret_why, fmt, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

static void url_freep(CURLU **url)
{
	curl_url_cleanup(*url);
}

static bool url_has(CURLU *url, CURLUPart part)
{
	char *value = NULL;
	bool has = curl_url_get(url, part, &value, 0) == CURLUE_OK && strcmp(value, "/") != 0;

	curl_free(value);
	return has;
}

/* SCHEME://HOST[:PORT] and nothing else: a path would be lost in silence, a user has no use. */
static bool url_usable(const char *agent)
{
	_cleanup_(url_freep) CURLU *url = curl_url();

	if (!url || (strncmp(agent, "http://", 7) != 0 && strncmp(agent, "https://", 8) != 0))
		return false;
	return curl_url_set(url, CURLUPART_URL, agent, 0) == CURLUE_OK &&
	       !url_has(url, CURLUPART_PATH) && !url_has(url, CURLUPART_QUERY) &&
	       !url_has(url, CURLUPART_FRAGMENT) && !url_has(url, CURLUPART_USER);
}

/* Fill q->socket and q->url. */
static int request_address(struct request *q, const char *agent, const char *path, char **ret_why)
{
	size_t len = strlen(agent);
	int n;

	if (strncmp(agent, "unix:", 5) == 0)
		q->socket = agent + 5;
	else if (agent[0] == '/')
		q->socket = agent;
	if (q->socket && q->socket[0] != '/')
		return client_fail(-EINVAL, ret_why, "the path of the socket is not absolute");
	if (q->socket && strlen(q->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return client_fail(-EINVAL, ret_why,
				   "the path of the socket is longer than 107 bytes");
	if (!q->socket && !url_usable(agent))
		return client_fail(-EINVAL, ret_why,
				   "neither unix:PATH nor http://HOST:PORT nor https://HOST:PORT");
	while (len && agent[len - 1] == '/')
		len--;
	/* The host name only fills the Host field when it is a socket. */
	if (q->socket)
		n = asprintf(&q->url, "http://localhost%s", path);
	else
		n = asprintf(&q->url, "%.*s%s", (int)len, agent, path);
	if (n >= 0)
		return 0;
	q->url = NULL;
	return -ENOMEM;
}

static size_t request_write(char *data, size_t size, size_t n, void *body)
{
	struct text *t = body;

	text_add(t, data, size * n);
	return t->error ? 0 : size * n;
}

static int request_setup(struct request *q)
{
	CURL *c = q->curl;
	CURLcode e = curl_easy_setopt(c, CURLOPT_URL, q->url);

	/* A proxy from the environment is for other machines, not for a socket of this one. */
	if (e == CURLE_OK && q->socket)
		e = curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, q->socket);
	if (e == CURLE_OK && q->socket)
		e = curl_easy_setopt(c, CURLOPT_PROXY, "");
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CLIENT_CONNECT_MS);
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, CLIENT_TOTAL_MS);
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, request_write);
	if (e == CURLE_OK)
		e = curl_easy_setopt(c, CURLOPT_WRITEDATA, &q->body);
	return e == CURLE_OK ? 0 : -ENOMEM;
}

/* What a transfer that did not come through means to the caller. */
static int request_fail(const struct request *q, CURLcode e, char **ret_why)
{
	long os_error = 0;

	if (q->body.error == -EFBIG)
		return client_fail(-EFBIG, ret_why, "the answer is larger than 256 MiB");
	if (e == CURLE_OUT_OF_MEMORY || q->body.error == -ENOMEM)
		return -ENOMEM;
	if (e == CURLE_OPERATION_TIMEDOUT)
		return client_fail(-ETIMEDOUT, ret_why, "no answer in time");
	if (e == CURLE_COULDNT_CONNECT) {
		curl_easy_getinfo(q->curl, CURLINFO_OS_ERRNO, &os_error);
		if (!os_error)
			os_error = ECONNREFUSED;
		return client_fail(-(int)os_error, ret_why, "%s", strerror((int)os_error));
	}
	if (e == CURLE_PEER_FAILED_VERIFICATION)
		return client_fail(-EPROTO, ret_why,
				   "its certificate is for another name, or by an authority that "
				   "this system does not trust");
	return client_fail(-EPROTO, ret_why, "%s", curl_easy_strerror(e));
}
_Static_assert(JSON_INPUT_MAX == 256u << 20, "the message above");

/* Another status than 200, with the beginning of what the answer says of it. */
static int request_refused(const struct request *q, long status, char **ret_why)
{
	_cleanup_(text_done) struct text words = TEXT_INIT(4 * CLIENT_ERROR_SHOWN + 1);
	_cleanup_free_ char *shown = NULL;
	char start[CLIENT_ERROR_SHOWN + 1];
	size_t size = MIN(q->body.size, (size_t)CLIENT_ERROR_SHOWN);

	if (size)
		memcpy(start, q->body.data, size);
	while (size && start[size - 1] == '\n')
		size--;
	start[size] = '\0';
	text_add_printable(&words, start);
	if (!size || text_take(&words, &shown, &size))
		return client_fail(-EPROTO, ret_why, "it answered with status %ld", status);
	return client_fail(-EPROTO, ret_why, "it answered with status %ld: %s", status, shown);
}

int client_get(const char *agent, const char *path, char **ret_body, size_t *ret_size,
	       char **ret_why)
{
	_cleanup_(request_done) struct request q = {
		.curl = curl_easy_init(),
		/* text_take() adds a NUL. */
		.body = TEXT_INIT((size_t)JSON_INPUT_MAX + 1),
	};
	long status = 0;
	CURLcode e;
	int r;

	*ret_why = NULL;
	if (!q.curl)
		return -ENOMEM;
	r = request_address(&q, agent, path, ret_why);
	if (r < 0)
		return r;
	r = request_setup(&q);
	if (r < 0)
		return r;
	e = curl_easy_perform(q.curl);
	if (e != CURLE_OK)
		return request_fail(&q, e, ret_why);
	curl_easy_getinfo(q.curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return request_refused(&q, status, ret_why);
	return text_take(&q.body, ret_body, ret_size);
}

void client_query_add(struct text *t, const char *name, const char *value)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					 "0123456789-._~"; /* RFC 3986 section 2.3 */

	if (!value)
		return;
	text_add_char(t, '&');
	text_puts(t, name);
	text_add_char(t, '=');
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;
		const char escape[] = {'%', hex[c >> 4], hex[c & 15]};

		if (strchr(unreserved, c))
			text_add_char(t, *value);
		else
			text_add(t, escape, sizeof(escape));
	}
}
