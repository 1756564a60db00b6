// SPDX-License-Identifier: Apache-2.0
/* Who is connected, what each is doing and since when; see http_conn.h. */
#include "http_conn.h"

#include <sys/socket.h>

static void conn_cut(struct http_conn *c)
{
	c->dying = true;
	shutdown(c->fd, SHUT_RDWR);
	if (c->drop)
		c->drop(c->held);
	http_conn_hold(c, NULL, NULL);
}

static bool conn_stalled(const struct http_conn *c, uint64_t now)
{
	return c->progress_ms + HTTP_REPLY_GRACE_S * 1000ULL <= now;
}

/* The one in its present phase for longest, among those that wait or those that are busy. */
static struct http_conn *conn_oldest(struct http_conns *conns, bool busy)
{
	struct http_conn *oldest = NULL;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &conns->slots[i];

		if (c->used && !c->dying && c->busy == busy &&
		    (!oldest || c->since_ms < oldest->since_ms))
			oldest = c;
	}
	return oldest;
}

static void conns_make_room(struct http_conns *conns)
{
	struct http_conn *victim;
	size_t n = 0;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++)
		n += conns->slots[i].used && !conns->slots[i].dying;
	if (n < HTTP_CONNECTIONS_MAX)
		return;
	victim = conn_oldest(conns, false);
	if (!victim)
		victim = conn_oldest(conns, true);
	conn_cut(victim);
	conns->counts->crowded++;
}

struct http_conn *http_conn_add(struct http_conns *conns, int fd, uint64_t now)
{
	conns_make_room(conns);
	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &conns->slots[i];

		if (!c->used) {
			*c = (struct http_conn){.used = true, .fd = fd, .since_ms = now};
			return c;
		}
	}
	return NULL;
}

void http_conn_busy(struct http_conn *c, size_t reply_bytes, uint64_t now)
{
	c->busy = true;
	c->reply_bytes = reply_bytes;
	c->since_ms = now;
	c->progress_ms = now;
}

void http_conn_progress(struct http_conn *c, uint64_t now)
{
	c->progress_ms = now;
}

void http_conn_hold(struct http_conn *c, void (*drop)(void *held), void *held)
{
	c->drop = drop;
	c->held = held;
}

void http_conn_waiting(struct http_conn *c, uint64_t now)
{
	c->busy = false;
	c->reply_bytes = 0;
	c->since_ms = now;
	http_conn_hold(c, NULL, NULL);
}

void http_conn_remove(struct http_conn *c)
{
	c->used = false;
}

static uint64_t conn_deadline(const struct http_conn *c)
{
	return c->since_ms + (c->busy ? HTTP_REPLY_TIMEOUT_S : HTTP_HEADER_TIMEOUT_S) * 1000ULL;
}

void http_conns_cut_late(struct http_conns *conns, uint64_t now)
{
	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &conns->slots[i];

		if (c->used && !c->dying && conn_deadline(c) <= now) {
			conn_cut(c);
			conns->counts->late++;
		}
	}
}

uint64_t http_conns_cut_readers(struct http_conns *conns, uint64_t now)
{
	uint64_t freed = 0;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &conns->slots[i];

		if (!c->used || c->reply_bytes == 0)
			continue;
		if (!c->dying && conn_stalled(c, now)) {
			conn_cut(c);
			conns->counts->too_much++;
		}
		freed += c->dying ? c->reply_bytes : 0;
	}
	return freed;
}

size_t http_conns_cut_stalled(struct http_conns *conns, uint64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		struct http_conn *c = &conns->slots[i];

		if (!c->used || c->dying || !c->held || !conn_stalled(c, now))
			continue;
		conn_cut(c);
		conns->counts->too_much++;
		n++;
	}
	return n;
}

uint64_t http_conns_timeout(const struct http_conns *conns, uint64_t now)
{
	uint64_t wait = UINT64_MAX;

	for (size_t i = 0; i < HTTP_SLOTS_MAX; i++) {
		const struct http_conn *c = &conns->slots[i];

		if (c->used && !c->dying) {
			uint64_t end = conn_deadline(c);

			wait = MIN(wait, end > now ? end - now : 0);
		}
	}
	return wait;
}
