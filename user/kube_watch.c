// SPDX-License-Identifier: Apache-2.0
/*
 * One collection of the Kubernetes API, listed and then followed; see kube.h.
 *
 * A list gives a version, a watch from that version gives what changed since. A watch that ends is begun again where
 * it ended; only when the server has forgotten that version (or never had it, restored from a backup), or has said
 * something that could not be understood, is the list got again. What it no longer has was deleted meanwhile.
 *
 * Owns: that order, and what each failure leads to. Must not know: libcurl, sockets, what an object means.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kube_work.h"
#include "util.h"

#define WATCH_URL_MAX  8192
#define WATCH_STEP     4096  /* bytes of a list that renew its time */
#define WATCH_SETTLED  10000 /* ms after which a watch without any event is no failure */
#define WATCH_DOUBLING 16    /* of the back-off: beyond any limit */
#define WATCH_PATIENCE 8     /* failures in a row after which the version itself is doubted */

/* ---- failures ---- */

static bool needs_list(enum kube_error reason)
{
	switch (reason) {
	case KUBE_ERROR_GARBAGE:
	case KUBE_ERROR_FORBIDDEN:
	case KUBE_ERROR_ABSENT:
	case KUBE_ERROR_GONE:
	case KUBE_ERROR_STATUS:
	case KUBE_ERROR_MEMORY:
		return true;
	default:
		return false;
	}
}

static uint64_t retry_delay(struct kube_watch *w, enum kube_error reason, unsigned int after_s)
{
	const struct kube_timing *t = &w->kube->timing;
	unsigned int doubled = MIN(w->failures - 1, WATCH_DOUBLING);
	uint64_t delay = MIN((uint64_t)t->backoff_ms << doubled, t->backoff_max_ms);

	if (reason == KUBE_ERROR_FORBIDDEN || reason == KUBE_ERROR_ABSENT)
		delay = t->absent_ms;
	delay = delay / 2 + kube_random(w->kube, delay / 2);
	return MAX(delay, MIN((uint64_t)after_s * 1000, t->backoff_max_ms));
}

static void watch_wait(struct kube_watch *w, uint64_t delay_ms)
{
	w->phase = KUBE_WAITING;
	w->due_ms = kube_now_ms() + delay_ms;
}

/*
 * A server that has just started may not know of its custom resources yet; one that says so again, a minute later,
 * means it, and then there are no objects either.
 */
static void watch_absent(struct kube_watch *w)
{
	if (w->status.absent) {
		kube_index_begin(&w->index);
		kube_index_sweep(&w->index, kube_on_gone, w);
	}
	w->status.absent = true;
}

static void watch_fail(struct kube_watch *w, enum kube_error reason, unsigned int after_s,
		       const char *why)
{
	kube_note(w, reason, why);
	w->failures++;
	w->relist = w->relist || needs_list(reason) || w->failures % WATCH_PATIENCE == 0;
	w->page[0] = '\0';
	if (reason == KUBE_ERROR_ABSENT)
		watch_absent(w);
	else
		w->status.absent = false;
	watch_wait(w, retry_delay(w, reason, after_s));
}

/* ---- requests ---- */

static void url_escaped(struct text *t, const char *s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			     (c >= 'a' && c <= 'z') || strchr("-._~", c);
		const char escape[] = {'%', hex[c >> 4], hex[c & 15]};

		text_add(t, plain ? s : escape, plain ? 1 : sizeof(escape));
	}
}

static void url_param(struct text *t, const char *name, const char *value)
{
	if (t->error)
		return;
	text_add_char(t, memchr(t->data, '?', t->size) ? '&' : '?');
	text_puts(t, name);
	text_add_char(t, '=');
	url_escaped(t, value);
}

static void url_begin(struct kube_watch *w, struct text *t)
{
	text_puts(t, w->kube->url);
	text_puts(t, w->path);
	if (w->selector)
		url_param(t, "fieldSelector", w->selector);
}

static void request_begin(struct kube_watch *w, enum kube_phase phase, struct text *url)
{
	_cleanup_free_ char *text = NULL, *header = NULL;
	size_t size;
	int r;

	w->phase = phase;
	w->began_ms = kube_now_ms();
	w->due_ms = w->began_ms + w->kube->timing.stall_ms;
	w->head = false;
	w->bytes = 0;
	w->bytes_goal = WATCH_STEP;
	w->reply_size = 0;
	w->events_before = w->status.events;
	kube_scan_start(&w->scan, phase == KUBE_WATCHING ? KUBE_SCAN_WATCH : KUBE_SCAN_LIST,
			kube_on_item, w);
	r = kube_authorization(w->kube, &header);
	if (r < 0 && r != -ENOMEM) {
		watch_fail(w, KUBE_ERROR_UNAUTHORIZED, 0, "the token file cannot be used");
		return;
	}
	if (r == 0)
		r = text_take(url, &text, &size);
	if (r == 0)
		r = fetch_start(w->fetch, text, (const char *const[]){header, NULL});
	if (r < 0)
		watch_fail(w, KUBE_ERROR_MEMORY, 0, strerror(-r));
}

static void list_begin(struct kube_watch *w)
{
	_cleanup_(text_done) struct text url = TEXT_INIT(WATCH_URL_MAX);
	char limit[16];

	if (!*w->page) {
		w->pages = 0;
		kube_index_begin(&w->index);
		if (w->sink->reset)
			w->sink->reset(w->data);
	}
	snprintf(limit, sizeof(limit), "%d", KUBE_LIMIT);
	url_begin(w, &url);
	url_param(&url, "limit", limit);
	if (*w->page)
		url_param(&url, "continue", w->page);
	else if (w->first)
		url_param(&url, "resourceVersion", "0");
	w->first = false;
	request_begin(w, KUBE_LISTING, &url);
}

static void watch_begin(struct kube_watch *w)
{
	_cleanup_(text_done) struct text url = TEXT_INIT(WATCH_URL_MAX);
	unsigned int seconds = w->kube->timing.watch_s;
	char text[16];

	seconds += (unsigned int)kube_random(w->kube, seconds / 4);
	snprintf(text, sizeof(text), "%u", seconds);
	url_begin(w, &url);
	url_param(&url, "watch", "1");
	url_param(&url, "allowWatchBookmarks", "true");
	url_param(&url, "timeoutSeconds", text);
	url_param(&url, "resourceVersion", w->version);
	w->status.watches++;
	w->watch_ms = seconds * 1000;
	request_begin(w, KUBE_WATCHING, &url);
}

/* ---- answers ---- */

static void on_head(long status, void *data)
{
	struct kube_watch *w = data;
	uint64_t now = kube_now_ms();

	w->head = true;
	w->due_ms = now + w->kube->timing.stall_ms;
	if (w->phase == KUBE_WATCHING && status == 200)
		w->due_ms += w->watch_ms;
}

/* An answer that only trickles in has its time renewed by every few KiB, not by every byte. */
static void on_bytes(struct kube_watch *w, size_t n)
{
	w->bytes += n;
	if (w->phase != KUBE_LISTING || w->bytes < w->bytes_goal)
		return;
	w->bytes_goal = w->bytes + WATCH_STEP;
	w->due_ms = kube_now_ms() + w->kube->timing.stall_ms;
}

static int on_body(long status, const char *bytes, size_t n, void *data)
{
	struct kube_watch *w = data;
	int r;

	if (status != 200) {
		size_t room = sizeof(w->reply) - w->reply_size;

		memcpy(w->reply + w->reply_size, bytes, MIN(n, room));
		w->reply_size += MIN(n, room);
		return n > room ? -EFBIG : 0;
	}
	on_bytes(w, n);
	r = kube_scan_feed(&w->scan, bytes, n);
	if (r == -EPROTO)
		return kube_stop(w, KUBE_ERROR_GARBAGE, "not what the API answers");
	if (r < 0 && r != -ECANCELED)
		return kube_stop(w, KUBE_ERROR_MEMORY, strerror(-r));
	return r;
}

static enum kube_error error_of_status(long status)
{
	switch (status) {
	case 401:
		return KUBE_ERROR_UNAUTHORIZED;
	case 403:
		return KUBE_ERROR_FORBIDDEN;
	case 404:
		return KUBE_ERROR_ABSENT;
	case 410:
		return KUBE_ERROR_GONE;
	case 429:
		return KUBE_ERROR_SERVER;
	default:
		return status >= 500 ? KUBE_ERROR_SERVER : KUBE_ERROR_STATUS;
	}
}

static void end_refused(struct kube_watch *w, const struct fetch_result *result)
{
	char why[KUBE_ERROR_TEXT_MAX + 1], text[sizeof(why) + 32];

	kube_status_read(w->reply, w->reply_size, why);
	snprintf(text, sizeof(text), "status %ld: %s", result->status, why);
	watch_fail(w, error_of_status(result->status), result->retry_after_s, text);
}

static void end_of_list(struct kube_watch *w)
{
	if (w->scan.bad_list || !*w->scan.version || w->pages >= KUBE_PAGES_MAX) {
		watch_fail(w, KUBE_ERROR_GARBAGE, 0, "not a list of the API");
		return;
	}
	memcpy(w->page, w->scan.next, sizeof(w->page));
	w->pages++;
	if (!*w->page) {
		memcpy(w->version, w->scan.version, sizeof(w->version));
		kube_index_sweep(&w->index, kube_on_gone, w);
		w->relist = false;
		w->status.lists++;
		w->status.synced = true;
		w->status.absent = false;
		if (w->sink->synced)
			w->sink->synced(w->data);
	}
	watch_wait(w, 0);
}

/* Has it been quiet for so long that its end is the usual one? */
static bool watch_is_settled(const struct kube_watch *w, uint64_t now)
{
	return w->failures == 0 || (w->phase == KUBE_WATCHING && w->head &&
				    now - w->began_ms >= MIN(WATCH_SETTLED, w->watch_ms / 2));
}

static void end_of_watch(struct kube_watch *w)
{
	uint64_t now = kube_now_ms();

	if (w->status.events == w->events_before &&
	    now - w->began_ms < MIN(WATCH_SETTLED, w->watch_ms / 2)) {
		watch_fail(w, KUBE_ERROR_EMPTY, 0, "it ended at once, without an event");
		return;
	}
	w->failures = 0;
	watch_wait(w, kube_random(w->kube, w->kube->timing.backoff_ms));
}

static void end_complete(struct kube_watch *w)
{
	int r = kube_scan_end(&w->scan);

	if (r == -ENODATA)
		watch_fail(w, KUBE_ERROR_EMPTY, 0, "the answer is empty");
	else if (r < 0)
		watch_fail(w, KUBE_ERROR_CUT, 0, "the answer ends in the middle");
	else if (w->phase == KUBE_LISTING)
		end_of_list(w);
	else
		end_of_watch(w);
}

static void on_end(const struct fetch_result *result, void *data)
{
	static const enum kube_error errors[] = {
		[FETCH_REFUSED] = KUBE_ERROR_CONNECT, [FETCH_TLS] = KUBE_ERROR_TLS,
		[FETCH_CUT] = KUBE_ERROR_CUT,         [FETCH_STOPPED] = KUBE_ERROR_STATUS,
		[FETCH_MEMORY] = KUBE_ERROR_MEMORY,
	};
	struct kube_watch *w = data;

	_Static_assert(ARRAY_SIZE(errors) == FETCH_END_MAX, "an error for every end");
	if (result->status != 0 && result->status != 200)
		end_refused(w, result);
	else if (result->end == FETCH_STOPPED)
		watch_fail(w, w->stopped, 0, w->stop_text);
	else if (result->end != FETCH_COMPLETE)
		watch_fail(w, errors[result->end], 0, result->why);
	else
		end_complete(w);
}

/* ---- one turn ---- */

void kube_watch_run(struct kube_watch *w, uint64_t now)
{
	if (now < w->due_ms)
		return;
	if (w->phase != KUBE_WAITING) {
		fetch_cancel(w->fetch);
		watch_fail(w, KUBE_ERROR_TIMEOUT, 0,
			   w->head ? "the answer does not go on" : "no answer in time");
	} else if (w->relist) {
		list_begin(w);
	} else {
		watch_begin(w);
	}
}

void kube_get_status(const struct kube_watch *w, struct kube_status *ret)
{
	*ret = w->status;
	ret->objects = w->index.n;
	ret->failing = !watch_is_settled(w, kube_now_ms());
}

int kube_watch_new(struct kube *k, const char *path, const char *selector,
		   const struct kube_sink *sink, void *data, struct kube_watch **ret)
{
	static const struct fetch_sink answers = {.head = on_head, .body = on_body, .end = on_end};
	struct kube_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	*w = (struct kube_watch){
		.kube = k, .sink = sink, .data = data, .relist = true, .first = true};
	w->path = strdup(path);
	w->selector = selector ? strdup(selector) : NULL;
	if (!w->path || (selector && !w->selector) ||
	    fetch_new(k->fetcher, &answers, w, &w->fetch) < 0) {
		kube_watch_free(w);
		return -ENOMEM;
	}
	*ret = w;
	return 0;
}

void kube_watch_free(struct kube_watch *w)
{
	fetch_free(w->fetch);
	kube_scan_done(&w->scan);
	kube_index_done(&w->index);
	free(w->path);
	free(w->selector);
	free(w);
}
