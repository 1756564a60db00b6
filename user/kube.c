// SPDX-License-Identifier: Apache-2.0
/*
 * The Kubernetes API server and the loop over all that is watched there; see kube.h.
 *
 * Owns: its address, the token, time. Must not know: how a collection is followed (kube_watch.c), libcurl.
 */
#include "kube.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "kube_work.h"
#include "util.h"

static const char *const error_words[] = {
	[KUBE_ERROR_CONNECT] = "connect",
	[KUBE_ERROR_TLS] = "tls",
	[KUBE_ERROR_TIMEOUT] = "timeout",
	[KUBE_ERROR_CUT] = "cut",
	[KUBE_ERROR_EMPTY] = "empty",
	[KUBE_ERROR_GARBAGE] = "garbage",
	[KUBE_ERROR_UNAUTHORIZED] = "unauthorized",
	[KUBE_ERROR_FORBIDDEN] = "forbidden",
	[KUBE_ERROR_ABSENT] = "absent",
	[KUBE_ERROR_GONE] = "gone",
	[KUBE_ERROR_SERVER] = "server",
	[KUBE_ERROR_STATUS] = "status",
	[KUBE_ERROR_MEMORY] = "memory",
	[KUBE_ERROR_TOO_LARGE] = "too-large",
	[KUBE_ERROR_INVALID] = "invalid",
	[KUBE_ERROR_FULL] = "full",
};
_Static_assert(ARRAY_SIZE(error_words) == KUBE_ERROR_MAX, "a word for every error");

const char *kube_error_name(enum kube_error e)
{
	return error_words[e];
}

uint64_t kube_now_ms(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* xorshift64: agents of a cluster that lost their server must not all come back at once, that is all. */
uint64_t kube_random(struct kube *k, uint64_t max)
{
	k->random ^= k->random << 13;
	k->random ^= k->random >> 7;
	k->random ^= k->random << 17;
	return k->random % (max + 1);
}

/* ---- where the server is ---- */

int kube_url_in_cluster(char **ret_url)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"),
		   *port = getenv("KUBERNETES_SERVICE_PORT_HTTPS");
	bool v6 = host && strchr(host, ':');

	if (!port || !*port)
		port = getenv("KUBERNETES_SERVICE_PORT");
	if (!host || !*host || !port || !*port)
		return -ENOENT;
	return asprintf(ret_url, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port) < 0
		       ? -ENOMEM
		       : 0;
}

/* SCHEME://HOST[:PORT], perhaps a path (a proxy has one), no query, nothing a header could be made of. */
static bool url_usable(const char *url, bool with_token)
{
	const char *host = NULL;

	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0 && !with_token)
		host = url + 7;
	if (!host || !*host || *host == '/' || *host == ':')
		return false;
	for (const char *c = host; *c; c++) {
		if (*c <= ' ' || *c > '~' || strchr("?#@\\", *c))
			return false;
	}
	return true;
}

/* What the caller left 0 is as usual. */
static struct kube_timing timing_complete(struct kube_timing t)
{
	static const struct kube_timing usual = KUBE_TIMING_DEFAULT;

	t.connect_ms = t.connect_ms ? t.connect_ms : usual.connect_ms;
	t.stall_ms = t.stall_ms ? t.stall_ms : usual.stall_ms;
	t.watch_s = t.watch_s ? t.watch_s : usual.watch_s;
	t.backoff_ms = t.backoff_ms ? t.backoff_ms : usual.backoff_ms;
	t.backoff_max_ms = t.backoff_max_ms ? t.backoff_max_ms : usual.backoff_max_ms;
	t.absent_ms = t.absent_ms ? t.absent_ms : usual.absent_ms;
	return t;
}

static int copy_optional(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

int kube_new(const struct kube_options *options, struct kube **ret)
{
	struct kube *k;
	size_t n;
	int r;

	if (!url_usable(options->url, options->token_file))
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->timing = timing_complete(options->timing);
	if (getrandom(&k->random, sizeof(k->random), GRND_NONBLOCK) < 0 || k->random == 0)
		k->random = kube_now_ms() + 1;
	r = copy_optional(options->url, &k->url);
	if (r == 0)
		r = copy_optional(options->token_file, &k->token_file);
	if (r == 0)
		r = copy_optional(options->ca_file, &k->ca_file);
	if (r == 0)
		r = fetcher_new(k->ca_file, k->timing.connect_ms, &k->fetcher);
	if (r < 0) {
		kube_free(k);
		return r;
	}
	for (n = strlen(k->url); n > 0 && k->url[n - 1] == '/'; n--)
		k->url[n - 1] = '\0';
	*ret = k;
	return 0;
}

void kube_free(struct kube *k)
{
	if (!k)
		return;
	for (struct kube_watch *w = k->watches, *next; w; w = next) {
		next = w->next;
		kube_watch_free(w);
	}
	fetcher_free(k->fetcher);
	free(k->url);
	free(k->token_file);
	free(k->ca_file);
	free(k);
}

/* ---- the token ---- */

/* Kubelet replaces the file long before its token ends; reading it for every request is once in a few minutes. */
int kube_authorization(const struct kube *k, char **ret_header)
{
	if (k->token_file)
		return fetch_authorization(k->token_file, ret_header);
	*ret_header = NULL;
	return 0;
}

/* ---- the loop ---- */

int kube_watch(struct kube *k, const char *path, const char *field_selector,
	       const struct kube_sink *sink, void *data, struct kube_watch **ret)
{
	struct kube_watch *w;
	int r = kube_watch_new(k, path, field_selector, sink, data, &w);

	if (r < 0)
		return r;
	w->next = k->watches;
	k->watches = w;
	*ret = w;
	return 0;
}

int kube_epoll_fd(const struct kube *k)
{
	return fetcher_epoll_fd(k->fetcher);
}

int kube_timeout_ms(const struct kube *k)
{
	int timeout = fetcher_timeout_ms(k->fetcher);
	uint64_t now = kube_now_ms();

	for (const struct kube_watch *w = k->watches; w; w = w->next) {
		uint64_t left = w->due_ms > now ? w->due_ms - now : 0;

		if (timeout < 0 || left < (uint64_t)timeout)
			timeout = (int)MIN(left, 3600u * 1000);
	}
	return timeout;
}

void kube_run(struct kube *k)
{
	uint64_t now;

	fetcher_run(k->fetcher);
	now = kube_now_ms();
	for (struct kube_watch *w = k->watches; w; w = w->next)
		kube_watch_run(w, now);
}
