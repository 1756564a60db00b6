// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "util.h"

#define BUCKETS 65536
/* A segment further ahead than any window is from another connection. */
#define AHEAD_MAX             (64 << 20)
#define EXTENSION_HEADERS_MAX 8

/* A segment that waits for the bytes before it, in order of seq. */
struct held {
	struct held *next;
	uint32_t seq;
	size_t size;
	uint64_t frame;
	uint8_t data[];
};

struct direction {
	bool begun, done;
	uint32_t next; /* sequence number of the next byte to give out */
	struct held *held;
	size_t held_bytes;
};

struct stream {
	struct stream *next;          /* in its bucket */
	struct stream *newer, *older; /* by last packet */
	struct stream_end ends[2];
	struct direction directions[2]; /* [i]: what ends[i] sends */
	bool syn; /* begun by a SYN that was captured: only its sender is the client */
};

struct streams {
	stream_fn fn;
	void *data;
	struct stream *buckets[BUCKETS];
	struct stream *newest, *oldest;
	size_t n, held;
};

struct segment {
	struct stream_end from, to;
	uint32_t seq, ack;
	bool syn, fin, rst, has_ack;
	const uint8_t *data;
	size_t size;
	uint64_t frame;
};

int streams_new(stream_fn fn, void *data, struct streams **ret)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->data = data;
	*ret = s;
	return 0;
}

static unsigned int be16(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static void map_ipv4(uint8_t to[16], const uint8_t *from)
{
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, from, 4);
}

/* Offset of the TCP header, 0 if there is none; *end is lowered to what IP says the packet holds. */
static size_t ipv4_payload(const uint8_t *p, size_t *end, struct segment *ret)
{
	size_t header, total;

	if (*end < 20)
		return 0;
	header = (size_t)(p[0] & 15) * 4;
	total = be16(p + 2);
	if (header < 20 || header > *end || p[9] != IPPROTO_TCP || be16(p + 6) & 0x3fff)
		return 0;
	/* 0: segmentation offload left the length to the card. */
	if (total >= header && total < *end)
		*end = total;
	map_ipv4(ret->from.ip, p + 12);
	map_ipv4(ret->to.ip, p + 16);
	ret->from.family = ret->to.family = 4;
	return header;
}

static size_t ipv6_payload(const uint8_t *p, size_t *end, struct segment *ret)
{
	size_t at = 40, total;
	uint8_t next;

	if (*end < 40)
		return 0;
	total = be16(p + 4) + 40u;
	if (total > 40 && total < *end)
		*end = total;
	memcpy(ret->from.ip, p + 8, 16);
	memcpy(ret->to.ip, p + 24, 16);
	ret->from.family = ret->to.family = 6;
	next = p[6];
	for (int i = 0; i < EXTENSION_HEADERS_MAX && next != IPPROTO_TCP; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return 0;
		if (at + 2 > *end)
			return 0;
		next = p[at];
		at += (p[at + 1] + 1u) * 8;
	}
	return next == IPPROTO_TCP ? at : 0;
}

/* 1 if the packet is TCP. */
static int segment_read(const uint8_t *p, size_t size, uint64_t frame, struct segment *ret)
{
	size_t end = size, at, data;

	if (!size)
		return 0;
	at = p[0] >> 4 == 4 ? ipv4_payload(p, &end, ret) : ipv6_payload(p, &end, ret);
	if (!at || at + 20 > end)
		return 0;
	data = at + (size_t)(p[at + 12] >> 4) * 4;
	if (data < at + 20 || data > end)
		return 0;
	ret->from.port = (uint16_t)be16(p + at);
	ret->to.port = (uint16_t)be16(p + at + 2);
	ret->seq = be32(p + at + 4);
	ret->ack = be32(p + at + 8);
	ret->fin = p[at + 13] & 1;
	ret->syn = p[at + 13] & 2;
	ret->rst = p[at + 13] & 4;
	ret->has_ack = p[at + 13] & 16;
	ret->data = p + data;
	ret->size = end - data;
	ret->frame = frame;
	return 1;
}

static bool end_is(const struct stream_end *a, const struct stream_end *b)
{
	return a->port == b->port && a->family == b->family &&
	       memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* The same for both directions. */
static size_t bucket_of(const struct segment *g)
{
	uint32_t hash = (uint32_t)g->from.port * g->to.port + g->from.port + g->to.port;

	for (size_t i = 0; i < 16; i++)
		hash = hash * 31 + (uint32_t)(g->from.ip[i] + g->to.ip[i]);
	return (hash ^ hash >> 15) % BUCKETS;
}

static struct stream **stream_find(struct streams *s, const struct segment *g, int *ret_direction)
{
	struct stream **t = &s->buckets[bucket_of(g)];

	for (; *t; t = &(*t)->next) {
		if (end_is(&(*t)->ends[0], &g->from) && end_is(&(*t)->ends[1], &g->to)) {
			*ret_direction = 0;
			break;
		}
		if (end_is(&(*t)->ends[1], &g->from) && end_is(&(*t)->ends[0], &g->to)) {
			*ret_direction = 1;
			break;
		}
	}
	return t;
}

static bool emit(struct streams *s, const struct stream *t, int d, enum stream_event event,
		 const struct held *h)
{
	return s->fn(event, &t->ends[d], &t->ends[!d], h->seq, h->data, h->size, h->frame, s->data);
}

static void held_drop(struct streams *s, struct direction *d)
{
	while (d->held) {
		struct held *h = d->held;

		d->held = h->next;
		free(h);
	}
	s->held -= d->held_bytes;
	d->held_bytes = 0;
}

/* Give bytes out that begin at or before the next one; what was given before is cut off. */
static void give(struct streams *s, struct stream *t, int dir, uint32_t seq, const uint8_t *data,
		 size_t size, uint64_t frame)
{
	struct direction *d = &t->directions[dir];
	uint32_t old = d->next - seq;

	if (old >= size || d->done)
		return;
	d->next = seq + (uint32_t)size;
	d->done = s->fn(STREAM_DATA, &t->ends[dir], &t->ends[!dir], seq + old, data + old,
			size - old, frame, s->data);
	if (d->done)
		held_drop(s, d);
}

/* Give out what is held and in order now. */
static void held_drain(struct streams *s, struct stream *t, int dir)
{
	struct direction *d = &t->directions[dir];

	while (d->held && (int32_t)(d->held->seq - d->next) <= 0) {
		struct held *h = d->held;

		d->held = h->next;
		d->held_bytes -= h->size;
		s->held -= h->size;
		give(s, t, dir, h->seq, h->data, h->size, h->frame);
		free(h);
	}
}

/* The bytes before the first held segment will not come. */
static void hole_give_up(struct streams *s, struct stream *t, int dir)
{
	struct direction *d = &t->directions[dir];

	if (d->held && (int32_t)(d->held->seq - d->next) > 0)
		d->next = d->held->seq;
	held_drain(s, t, dir);
}

static void direction_flush(struct streams *s, struct stream *t, int dir)
{
	while (t->directions[dir].held)
		hole_give_up(s, t, dir);
}

static void lru_remove(struct streams *s, struct stream *t)
{
	*(t->newer ? &t->newer->older : &s->newest) = t->older;
	*(t->older ? &t->older->newer : &s->oldest) = t->newer;
}

static void lru_add(struct streams *s, struct stream *t)
{
	t->newer = NULL;
	t->older = s->newest;
	*(s->newest ? &s->newest->newer : &s->oldest) = t;
	s->newest = t;
}

static void stream_close(struct streams *s, struct stream *t)
{
	for (int i = 0; i < 2; i++) {
		direction_flush(s, t, i);
		if (t->directions[i].begun)
			emit(s, t, i, STREAM_END, &(struct held){.seq = t->directions[i].next});
		t->directions[i] = (struct direction){.begun = false};
	}
	t->syn = false;
}

static void stream_free(struct streams *s, struct stream **at)
{
	struct stream *t = *at;

	stream_close(s, t);
	lru_remove(s, t);
	*at = t->next;
	s->n--;
	free(t);
}

static void evict_oldest(struct streams *s)
{
	struct segment g = {.from = s->oldest->ends[0], .to = s->oldest->ends[1]};
	int direction = 0;
	struct stream **at = stream_find(s, &g, &direction);

	if (*at)
		stream_free(s, at);
}

static struct stream *stream_get(struct streams *s, const struct segment *g, int *ret_direction)
{
	struct stream **at = stream_find(s, g, ret_direction), *t = *at;

	if (t) {
		lru_remove(s, t);
		lru_add(s, t);
		return t;
	}
	if (s->n >= STREAMS_MAX)
		evict_oldest(s);
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->ends[0] = g->from;
	t->ends[1] = g->to;
	/* Evicting may have changed the chain: look again for its end. */
	at = stream_find(s, g, ret_direction);
	*at = t;
	*ret_direction = 0;
	lru_add(s, t);
	s->n++;
	return t;
}

static void direction_begin(struct streams *s, struct stream *t, int dir, uint32_t next,
			    uint64_t frame)
{
	t->directions[dir].begun = true;
	t->directions[dir].next = next;
	emit(s, t, dir, STREAM_BEGIN, &(struct held){.seq = next, .frame = frame});
}

/* Keep a segment until what is before it comes. */
static int hold(struct streams *s, struct stream *t, int dir, const struct segment *g)
{
	struct direction *d = &t->directions[dir];
	struct held **at = &d->held, *h;

	while (*at && (int32_t)((*at)->seq - g->seq) < 0)
		at = &(*at)->next;
	if (*at && (*at)->seq == g->seq && (*at)->size >= g->size)
		return 0;
	h = malloc(sizeof(*h) + g->size);
	if (!h)
		return -ENOMEM;
	*h = (struct held){.next = *at, .seq = g->seq, .size = g->size, .frame = g->frame};
	memcpy(h->data, g->data, g->size);
	*at = h;
	d->held_bytes += g->size;
	s->held += g->size;
	while (d->held && (d->held_bytes > STREAM_HELD_MAX || s->held > STREAMS_HELD_MAX))
		hole_give_up(s, t, dir);
	return 0;
}

static int data_in(struct streams *s, struct stream *t, int dir, const struct segment *g)
{
	struct direction *d = &t->directions[dir];
	int32_t ahead;

	if (!g->size || d->done)
		return 0;
	if (!d->begun) {
		/* From the middle of a connection; the server of one that began here is not asked. */
		if (t->syn)
			return 0;
		direction_begin(s, t, dir, g->seq, g->frame);
	}
	ahead = (int32_t)(g->seq - d->next);
	if (ahead > AHEAD_MAX || ahead < -AHEAD_MAX)
		return 0;
	if (ahead > 0)
		return hold(s, t, dir, g);
	give(s, t, dir, g->seq, g->data, g->size, g->frame);
	held_drain(s, t, dir);
	return 0;
}

/* A SYN of a client: its connection begins, after whatever used these ports before. */
static void syn_in(struct streams *s, struct stream *t, int dir, const struct segment *g)
{
	if (t->syn && t->directions[dir].begun && g->seq + 1 == t->directions[dir].next)
		return; /* sent again */
	stream_close(s, t);
	t->syn = true;
	direction_begin(s, t, dir, g->seq + 1, g->frame);
}

int streams_packet(struct streams *s, const uint8_t *packet, size_t size, uint64_t frame)
{
	struct segment g = {.frame = 0};
	struct stream *t;
	int dir = 0;

	if (!segment_read(packet, size, frame, &g))
		return 0;
	t = stream_get(s, &g, &dir);
	if (!t)
		return -ENOMEM;
	if (g.syn && !g.has_ack)
		syn_in(s, t, dir, &g);
	if (g.syn)
		g.seq++;
	return data_in(s, t, dir, &g);
}

void streams_finish(struct streams *s)
{
	/* Oldest first, so that what was held comes out in the order of the capture as far as it can. */
	for (struct stream *t = s->oldest; t; t = t->newer)
		stream_close(s, t);
}

void streams_free(struct streams *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (s->buckets[i])
			stream_free(s, &s->buckets[i]);
	free(s);
}
