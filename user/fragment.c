// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fragment.h"
#include "util.h"

#define BUCKETS               1024
#define EXTENSION_HEADERS_MAX 8
#define PAYLOAD_MAX           65535
#define IPV6_HEADER           40

/* Headers of the first fragment, up to where the datagram's own bytes begin, stand before those bytes. */
struct piece {
	struct piece *next; /* by offset; pieces do not overlap */
	size_t offset, size, head;
	uint8_t bytes[];
};

/* Compared as bytes: without padding, and zeroed before it is filled. */
struct datagram_key {
	uint8_t src[16], dst[16];
	uint32_t id;
	uint16_t family, protocol; /* IPv6 does not tell datagrams apart by protocol */
};

struct datagram {
	struct datagram *next;          /* in its bucket */
	struct datagram *newer, *older; /* by first fragment */
	struct datagram_key key;
	int64_t second;      /* of the first fragment */
	size_t size;         /* of all, 0: the last fragment did not come yet */
	size_t held, memory; /* bytes of data so far, and what all this takes */
	struct piece *pieces;
};

struct fragments {
	struct datagram *buckets[BUCKETS];
	struct datagram *newest, *oldest;
	size_t n, memory;
	struct fragment_counts counts;
	uint8_t whole[IPV6_HEADER + PAYLOAD_MAX];
};

/* A fragment as it was read from its packet. */
struct fragment {
	struct datagram_key key;
	const uint8_t *head, *data;
	size_t head_size, offset, size;
	size_t next_at; /* IPv6: in head, the byte that names the fragment header */
	uint8_t next;   /*   and what the fragment header names */
	bool more;
};

enum kind { WHOLE, FRAGMENT, BROKEN };

int fragments_new(struct fragments **ret)
{
	struct fragments *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	*ret = f;
	return 0;
}

static size_t be16(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* All but the last are multiples of 8 bytes; none is empty, or ends beyond what a datagram can hold. */
static enum kind fragment_check(const struct fragment *g)
{
	if (!g->size || (g->more && g->size % 8) || g->offset + g->size > PAYLOAD_MAX)
		return BROKEN;
	return FRAGMENT;
}

static enum kind read_ipv4(const uint8_t *p, size_t size, struct fragment *ret)
{
	size_t header, total;

	if (size < 20 || (be16(p + 6) & 0x3fff) == 0)
		return WHOLE;
	header = (size_t)(p[0] & 15) * 4;
	total = be16(p + 2);
	if (header < 20 || total < header || total > size)
		return BROKEN;
	memcpy(ret->key.src, p + 12, 4);
	memcpy(ret->key.dst, p + 16, 4);
	ret->key.id = (uint32_t)be16(p + 4);
	ret->key.family = 4;
	ret->key.protocol = p[9];
	ret->head = p;
	ret->head_size = header;
	ret->data = p + header;
	ret->size = total - header;
	ret->offset = (be16(p + 6) & 0x1fff) * 8;
	ret->more = p[6] & 0x20;
	return fragment_check(ret);
}

/* The fragment header is at `at`; the byte that announced it is at next_at. */
static enum kind read_ipv6_fragment(const uint8_t *p, size_t size, size_t at, size_t next_at,
				    struct fragment *ret)
{
	size_t end = be16(p + 4) + IPV6_HEADER;

	if (end > size || at + 8 > end)
		return BROKEN;
	memcpy(ret->key.src, p + 8, 16);
	memcpy(ret->key.dst, p + 24, 16);
	memcpy(&ret->key.id, p + at + 4, 4);
	ret->key.family = 6;
	ret->head = p;
	ret->head_size = at;
	ret->next_at = next_at;
	ret->next = p[at];
	ret->data = p + at + 8;
	ret->size = end - at - 8;
	ret->offset = be16(p + at + 2) & 0xfff8;
	ret->more = p[at + 3] & 1;
	return fragment_check(ret);
}

static enum kind read_ipv6(const uint8_t *p, size_t size, struct fragment *ret)
{
	size_t at = IPV6_HEADER, next_at = 6;

	if (size < IPV6_HEADER)
		return WHOLE;
	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		if (p[next_at] == IPPROTO_FRAGMENT)
			return read_ipv6_fragment(p, size, at, next_at, ret);
		if (p[next_at] != IPPROTO_HOPOPTS && p[next_at] != IPPROTO_ROUTING &&
		    p[next_at] != IPPROTO_DSTOPTS)
			break;
		if (at + 2 > size)
			break;
		next_at = at;
		at += (p[at + 1] + 1u) * 8;
	}
	return WHOLE;
}

static struct datagram **bucket_of(struct fragments *f, const struct datagram_key *key)
{
	const uint8_t *bytes = (const uint8_t *)key;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < sizeof(*key); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return &f->buckets[(hash ^ hash >> 16) % BUCKETS];
}

static struct datagram **datagram_find(struct fragments *f, const struct datagram_key *key)
{
	struct datagram **d = bucket_of(f, key);

	while (*d && memcmp(&(*d)->key, key, sizeof(*key)) != 0)
		d = &(*d)->next;
	return d;
}

static void datagram_drop(struct fragments *f, struct datagram *d)
{
	*datagram_find(f, &d->key) = d->next;
	*(d->newer ? &d->newer->older : &f->newest) = d->older;
	*(d->older ? &d->older->newer : &f->oldest) = d->newer;
	for (struct piece *p = d->pieces, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	f->memory -= d->memory;
	f->n--;
	free(d);
}

static struct datagram *datagram_get(struct fragments *f, const struct datagram_key *key,
				     int64_t second)
{
	struct datagram *d = *datagram_find(f, key), **bucket = bucket_of(f, key);

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->key = *key;
	d->memory = sizeof(*d);
	d->second = second;
	d->next = *bucket;
	*bucket = d;
	d->older = f->newest;
	*(f->newest ? &f->newest->newer : &f->oldest) = d;
	f->newest = d;
	f->n++;
	f->memory += d->memory;
	return d;
}

static void drop_old(struct fragments *f, int64_t second)
{
	while (f->oldest && second - f->oldest->second > FRAGMENT_SECONDS_MAX) {
		f->counts.missing++;
		datagram_drop(f, f->oldest);
	}
}

/* The oldest go, be it the one that just grew. */
static void make_room(struct fragments *f)
{
	while (f->n > FRAGMENT_DATAGRAMS_MAX || f->memory > FRAGMENT_BYTES_MAX) {
		f->counts.evicted++;
		datagram_drop(f, f->oldest);
	}
}

enum fit { FITS, DUPLICATE, OVERLAPS, USED_AGAIN };

/*
 * How a fragment stands to what there is. As in Linux one that lies within what is there is a duplicate, and one that
 * partly does is nobody's honest work; but within and of other bytes, its id stands for another datagram by now.
 */
static enum fit datagram_fit(const struct datagram *d, const struct fragment *g)
{
	size_t end = g->offset + g->size, covered = 0, last = 0;
	bool same = true;

	for (const struct piece *p = d->pieces; p; p = p->next) {
		size_t from = MAX(p->offset, g->offset), to = MIN(p->offset + p->size, end);

		last = p->offset + p->size;
		if (from >= to)
			continue;
		covered += to - from;
		if (memcmp(p->bytes + p->head + (from - p->offset), g->data + (from - g->offset),
			   to - from) != 0)
			same = false;
	}
	if (covered == g->size && !same)
		return USED_AGAIN;
	if (g->more ? d->size && end >= d->size : d->size ? end != d->size : end < last)
		return OVERLAPS;
	if (covered == g->size)
		return DUPLICATE;
	return covered ? OVERLAPS : FITS;
}

static struct piece *piece_new(const struct fragment *g)
{
	size_t head = g->offset ? 0 : g->head_size;
	struct piece *p = malloc(sizeof(*p) + head + g->size);

	if (!p)
		return NULL;
	*p = (struct piece){.offset = g->offset, .size = g->size, .head = head};
	memcpy(p->bytes, g->head, head);
	memcpy(p->bytes + head, g->data, g->size);
	if (head && g->key.family == 6)
		p->bytes[g->next_at] = g->next;
	return p;
}

static void datagram_add(struct fragments *f, struct datagram *d, struct piece *p, bool more)
{
	size_t memory = sizeof(*p) + p->head + p->size;
	struct piece **at = &d->pieces;

	while (*at && (*at)->offset < p->offset)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	if (!more)
		d->size = p->offset + p->size;
	d->held += p->size;
	d->memory += memory;
	f->memory += memory;
}

/* 1 if the datagram is within what IP can say of a length. */
static int put_together(struct fragments *f, const struct piece *pieces, int family,
			struct capture_packet *ret)
{
	size_t uncounted = family == 4 ? 0 : IPV6_HEADER, at = pieces->head;

	memcpy(f->whole, pieces->bytes, at);
	for (const struct piece *p = pieces; p; at += p->size, p = p->next) {
		if (at + p->size > uncounted + PAYLOAD_MAX) {
			f->counts.broken++;
			return 0;
		}
		memcpy(f->whole + at, p->bytes + p->head, p->size);
	}
	put16(f->whole + (family == 4 ? 2 : 4), at - uncounted);
	if (family == 4)
		put16(f->whole + 6, 0);
	f->counts.whole++;
	ret->data = f->whole;
	ret->size = at;
	return 1;
}

/* RFC 6946: a fragment that is the whole datagram has nothing to do with others of its id. */
static int single_packet(struct fragments *f, const struct fragment *g, struct capture_packet *ret)
{
	_cleanup_free_ struct piece *p = piece_new(g);

	return p ? put_together(f, p, g->key.family, ret) : -ENOMEM;
}

/* A fragment that is wanted. */
static int fragment_add(struct fragments *f, const struct fragment *g,
			struct capture_packet *packet)
{
	_cleanup_free_ struct piece *p = piece_new(g);
	struct datagram *d = p ? datagram_get(f, &g->key, packet->second) : NULL;
	int r;

	if (!d)
		return -ENOMEM;
	datagram_add(f, d, TAKE_PTR(p), g->more);
	if (d->held == d->size) {
		r = put_together(f, d->pieces, g->key.family, packet);
		datagram_drop(f, d);
		return r;
	}
	make_room(f);
	return 0;
}

static int fragment_in(struct fragments *f, const struct fragment *g, struct capture_packet *packet)
{
	struct datagram *d = *datagram_find(f, &g->key);
	enum fit fit = d ? datagram_fit(d, g) : FITS;

	if (fit == DUPLICATE)
		return 0;
	if (fit != FITS) {
		f->counts.overlap++;
		datagram_drop(f, d);
	}
	return fit == OVERLAPS ? 0 : fragment_add(f, g, packet);
}

int fragments_packet(struct fragments *f, struct capture_packet *packet)
{
	struct fragment g;
	enum kind kind;

	memset(&g, 0, sizeof(g));
	kind = packet->size && packet->data[0] >> 4 == 6
		       ? read_ipv6(packet->data, packet->size, &g)
		       : read_ipv4(packet->data, packet->size, &g);
	if (kind == WHOLE)
		return 1;
	drop_old(f, packet->second);
	if (kind == FRAGMENT)
		return g.offset || g.more ? fragment_in(f, &g, packet)
					  : single_packet(f, &g, packet);
	f->counts.broken++;
	return 0;
}

struct fragment_counts fragments_counts(const struct fragments *f)
{
	struct fragment_counts counts = f->counts;

	counts.missing += f->n;
	return counts;
}

void fragments_free(struct fragments *f)
{
	while (f && f->oldest)
		datagram_drop(f, f->oldest);
	free(f);
}
