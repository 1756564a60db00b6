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
	struct stream_segment segment;
	uint8_t data[];
};

struct direction {
	bool begun, finished, done; /* finished: its FIN was given out */
	uint32_t next;              /* sequence number of the next byte to give out */
	uint64_t frame;             /* packet of the last byte given out */
	struct held *held;
	size_t memory; /* of what is held */
};

struct stream {
	struct stream *next;          /* in its bucket */
	struct stream *newer, *older; /* by last packet */
	struct stream_end ends[2];
	struct direction directions[2]; /* [i]: what ends[i] sends */
	int client; /* whose SYN was captured; -1: nobody's, each direction is a connection */
};

struct streams {
	stream_fn fn;
	void *data;
	struct stream *buckets[BUCKETS];
	struct stream *newest, *oldest;
	size_t n, memory; /* memory: of all that is held */
};

/* A TCP packet: the segment, and its ends. */
struct packet {
	struct stream_end from, to;
	struct stream_segment segment;
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
static size_t ipv4_payload(const uint8_t *p, size_t *end, struct packet *ret)
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

static size_t ipv6_payload(const uint8_t *p, size_t *end, struct packet *ret)
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
static int packet_read(const uint8_t *p, size_t size, uint64_t frame, struct packet *ret)
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
	ret->segment = (struct stream_segment){
		.seq = be32(p + at + 4),
		.ack = be32(p + at + 8),
		.flags = p[at + 13] & (STREAM_FIN | STREAM_SYN | STREAM_RST | STREAM_ACK),
		.data = p + data,
		.size = end - data,
		.frame = frame,
	};
	return 1;
}

static bool end_is(const struct stream_end *a, const struct stream_end *b)
{
	return a->port == b->port && a->family == b->family &&
	       memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* The same for both directions. */
static size_t bucket_of(const struct packet *g)
{
	uint32_t hash = (uint32_t)g->from.port * g->to.port + g->from.port + g->to.port;

	for (size_t i = 0; i < 16; i++)
		hash = hash * 31 + (uint32_t)(g->from.ip[i] + g->to.ip[i]);
	return (hash ^ hash >> 15) % BUCKETS;
}

static struct stream **stream_find(struct streams *s, const struct packet *g, int *ret_direction)
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

static void held_drop(struct streams *s, struct direction *d)
{
	while (d->held) {
		struct held *h = d->held;

		d->held = h->next;
		free(h);
	}
	s->memory -= d->memory;
	d->memory = 0;
}

/* The direction whose sender is the client of the connection that `dir` belongs to. */
static int client_of(const struct stream *t, int dir)
{
	return t->client < 0 ? dir : t->client;
}

static bool call(struct streams *s, struct stream *t, int dir, struct stream_segment g)
{
	int client = client_of(t, dir);

	g.from = &t->ends[dir];
	g.to = &t->ends[!dir];
	g.answer = dir != client;
	if (dir == client && (g.size || g.flags & STREAM_SYN))
		t->directions[client].frame = g.frame;
	g.frame = t->directions[client].frame;
	return s->fn(&g, s->data);
}

/* End the connection that `dir` belongs to, if it began. */
static void connection_end(struct streams *s, struct stream *t, int dir)
{
	struct direction *client = &t->directions[client_of(t, dir)];

	if (client->begun && !client->done)
		call(s, t, client_of(t, dir),
		     (struct stream_segment){.flags = STREAM_RST, .seq = client->next});
	for (int i = 0; i < 2; i++) {
		if (client_of(t, i) != client_of(t, dir))
			continue;
		t->directions[i].done = true;
		held_drop(s, &t->directions[i]);
	}
}

static void emit(struct streams *s, struct stream *t, int dir, struct stream_segment g)
{
	if (call(s, t, dir, g))
		connection_end(s, t, dir);
}

/* Give bytes out that begin at or before the next one; what was given before is cut off. */
static void give(struct streams *s, struct stream *t, int dir, struct stream_segment g)
{
	struct direction *d = &t->directions[dir];
	uint32_t old = d->next - g.seq;

	if (old > g.size || d->finished)
		g.flags &= (uint8_t)~STREAM_FIN;
	if (d->done || (old >= g.size && !(g.flags & STREAM_FIN)))
		return;
	g.seq += old;
	g.data += old;
	g.size -= old;
	d->next = g.seq + (uint32_t)g.size;
	d->finished = d->finished || g.flags & STREAM_FIN;
	emit(s, t, dir, g);
}

/* Give out what is held and in order now. */
static void held_drain(struct streams *s, struct stream *t, int dir)
{
	struct direction *d = &t->directions[dir];

	while (d->held && (int32_t)(d->held->segment.seq - d->next) <= 0) {
		struct held *h = d->held;
		size_t memory = sizeof(*h) + h->segment.size;

		d->held = h->next;
		d->memory -= memory;
		s->memory -= memory;
		give(s, t, dir, h->segment);
		free(h);
	}
}

/* The bytes before the first held segment will not come. */
static void hole_give_up(struct streams *s, struct stream *t, int dir)
{
	struct direction *d = &t->directions[dir];

	if (d->held && (int32_t)(d->held->segment.seq - d->next) > 0)
		d->next = d->held->segment.seq;
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
	for (int i = 0; i < 2; i++)
		direction_flush(s, t, i);
	for (int i = 0; i < 2; i++)
		connection_end(s, t, i);
	for (int i = 0; i < 2; i++)
		t->directions[i] = (struct direction){.begun = false};
	t->client = -1;
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
	struct packet g = {.from = s->oldest->ends[0], .to = s->oldest->ends[1]};
	int direction = 0;
	struct stream **at = stream_find(s, &g, &direction);

	if (*at)
		stream_free(s, at);
}

static struct stream *stream_get(struct streams *s, const struct packet *g, int *ret_direction)
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
	t->client = -1;
	/* Evicting may have changed the chain: look again for its end. */
	at = stream_find(s, g, ret_direction);
	*at = t;
	*ret_direction = 0;
	lru_add(s, t);
	s->n++;
	return t;
}

/* If it did not yet, with the byte `next`. A SYN goes before it, the server's with the ACK of what made it speak. */
static void direction_begin(struct streams *s, struct stream *t, int dir, uint32_t next,
			    const struct stream_segment *g)
{
	struct direction *d = &t->directions[dir];
	bool answer = dir != client_of(t, dir);

	if (d->begun || d->done)
		return;
	d->begun = true;
	d->next = next;
	emit(s, t, dir,
	     (struct stream_segment){
		     .flags = STREAM_SYN | (answer ? g->flags & STREAM_ACK : 0),
		     .seq = next - 1,
		     .ack = answer ? g->ack : 0,
		     .frame = g->frame,
	     });
}

/* Keep a segment until what is before it comes. */
static int hold(struct streams *s, struct stream *t, int dir, const struct stream_segment *g)
{
	size_t memory = sizeof(struct held) + g->size;
	struct direction *d = &t->directions[dir];
	struct held **at = &d->held, *h;

	while (*at && (int32_t)((*at)->segment.seq - g->seq) < 0)
		at = &(*at)->next;
	if (*at && (*at)->segment.seq == g->seq && (*at)->segment.size >= g->size)
		return 0;
	h = malloc(memory);
	if (!h)
		return -ENOMEM;
	*h = (struct held){.next = *at, .segment = *g};
	h->segment.data = h->data;
	memcpy(h->data, g->data, g->size);
	*at = h;
	d->memory += memory;
	s->memory += memory;
	while (d->held && (d->memory > STREAM_HELD_MAX || s->memory > STREAMS_HELD_MAX))
		hole_give_up(s, t, dir);
	return 0;
}

static int data_in(struct streams *s, struct stream *t, int dir, const struct stream_segment *g)
{
	struct direction *d = &t->directions[dir];
	int32_t ahead;

	if (!g->size && !(d->begun && g->flags & STREAM_FIN))
		return 0;
	direction_begin(s, t, dir, g->seq, g); /* from the middle of a connection */
	if (d->done)
		return 0;
	ahead = (int32_t)(g->seq - d->next);
	if (ahead > AHEAD_MAX || ahead < -AHEAD_MAX)
		return 0;
	if (ahead > 0)
		return hold(s, t, dir, g);
	give(s, t, dir, *g);
	held_drain(s, t, dir);
	return 0;
}

/* A SYN of a client: its connection begins, after whatever used these ports before. */
static void syn_in(struct streams *s, struct stream *t, int dir, const struct stream_segment *g)
{
	if (t->client >= 0 && t->directions[dir].begun && g->seq + 1 == t->directions[dir].next)
		return; /* sent again */
	stream_close(s, t);
	t->client = dir;
	direction_begin(s, t, dir, g->seq + 1, g);
}

int streams_packet(struct streams *s, const uint8_t *packet, size_t size, uint64_t frame)
{
	struct packet p = {.from = {.port = 0}};
	struct stream_segment *g = &p.segment;
	struct stream *t;
	int dir = 0;

	if (!packet_read(packet, size, frame, &p))
		return 0;
	t = stream_get(s, &p, &dir);
	if (!t)
		return -ENOMEM;
	if (g->flags & STREAM_SYN) {
		if (!(g->flags & STREAM_ACK))
			syn_in(s, t, dir, g);
		else if (t->client == !dir)
			direction_begin(s, t, dir, g->seq + 1, g);
		g->seq++;
	}
	/* Anybody may send an RST: a captured one ends nothing, for what comes after it is on the wire, too. */
	g->flags &= STREAM_FIN | STREAM_ACK;
	return data_in(s, t, dir, g);
}

void streams_finish(struct streams *s)
{
	/* Oldest first, so that what was held comes out in the order of the capture as far as it can. */
	for (struct stream *t = s->oldest; t; t = t->newer)
		stream_close(s, t);
}

void streams_free(struct streams *s)
{
	while (s && s->oldest)
		evict_oldest(s);
	free(s);
}
