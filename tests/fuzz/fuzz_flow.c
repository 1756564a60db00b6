// SPDX-License-Identifier: Apache-2.0
/*
 * Whole connections through the flow code compiled natively. The input is: a byte that says how the client's stream is
 * cut, one that says how the server's is, two with the length of the client's stream, then both streams. Whatever they
 * are, the names must be those of the streams in one piece each, and another connection in between must not matter.
 * Each connection and each answered request took one time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egress.h"
#include "native.h"

#define SYN 2
#define RST 4
#define ACK 16

#define HEADERS   54 /* Ethernet, IPv4, TCP */
#define NAMES_MAX (64 << 10)

enum { CLIENT, SERVER };

struct conn {
	uint16_t port;
	uint32_t seq[2];
};

static char names[NAMES_MAX];
static size_t names_len;

static void on_name(const struct ea_name_event *e, void *data)
{
	(void)data;
	if (e->host_len > EA_HOST_MAX)
		abort();
	for (size_t i = e->host_len; i < sizeof(e->host); i++)
		if (e->host[i])
			abort(); /* keys are compared whole */
	if (names_len + e->host_len + 3 > sizeof(names))
		return;
	names[names_len++] = (char)('0' + e->proto);
	names[names_len++] = (char)('0' + e->source);
	memcpy(names + names_len, e->host, e->host_len);
	names_len += e->host_len;
	names[names_len++] = '\n';
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* One packet, in memory of exactly its size. */
static void send_packet(struct conn *c, int from, uint8_t flags, const uint8_t *data, size_t size)
{
	uint8_t *p = calloc(1, HEADERS + size);

	if (!p)
		abort();
	p[12] = 8;
	p[14] = 0x45;
	p[23] = 6;
	memcpy(p + 26, from == CLIENT ? "\x0a\0\0\1\x0a\0\0\2" : "\x0a\0\0\2\x0a\0\0\1", 8);
	p[from == CLIENT ? 34 : 36] = (uint8_t)(c->port >> 8);
	p[from == CLIENT ? 35 : 37] = (uint8_t)c->port;
	p[from == CLIENT ? 37 : 35] = 80;
	put32(p + 38, c->seq[from]);
	put32(p + 42, c->seq[!from]);
	p[46] = 5 << 4;
	p[47] = flags;
	if (size)
		memcpy(p + HEADERS, data, size);
	native_packet(p, HEADERS + size);
	free(p);
	c->seq[from] += (uint32_t)size + (flags & SYN ? 1 : 0);
}

struct streams {
	const uint8_t *data[2];
	size_t size[2];
};

/* The client's stream first, then the server's: what is read of the one must not depend on when the other comes. */
static void run(const struct streams *s, const size_t piece[2], int between)
{
	static const uint8_t other_data[] = "GET / HTTP/1.1\r\nHost: ";
	struct conn c = {1, {0xfffffff0, 7}}, other = {2, {1, 1}};

	names_len = 0;
	send_packet(&c, CLIENT, SYN, NULL, 0);
	send_packet(&c, SERVER, SYN | ACK, NULL, 0);
	if (between) {
		send_packet(&other, CLIENT, SYN, NULL, 0);
		send_packet(&other, CLIENT, ACK, other_data, sizeof(other_data) - 1);
	}
	for (int from = CLIENT; from <= SERVER; from++) {
		for (size_t at = 0, n; at < s->size[from]; at += n) {
			n = piece[from] < s->size[from] - at ? piece[from] : s->size[from] - at;
			send_packet(&c, from, ACK, s->data[from] + at, n);
			if (between)
				send_packet(&other, CLIENT, ACK, (const uint8_t *)"a", 1);
		}
	}
	send_packet(&c, CLIENT, RST, NULL, 0);
	if (between)
		send_packet(&other, CLIENT, RST, NULL, 0);
}

static uint64_t sum(const __u64 *n, size_t buckets)
{
	uint64_t total = 0;

	while (buckets--)
		total += *n++;
	return total;
}

/* All connections are over. */
static void check_times(void)
{
	struct native_counts c;

	native_counted(&c);
	if (sum(c.stats.connect.n, EA_SHORT_BUCKETS) != c.stats.opened ||
	    sum(c.stats.handshake.n, EA_SHORT_BUCKETS) > c.stats.opened ||
	    c.stats.opened != c.stats.closed)
		abort();
	for (size_t i = 0; i < sizeof(c.requests) / sizeof(c.requests[0]); i++)
		if (sum(c.requests[i].duration.n, EA_LONG_BUCKETS) != c.requests[i].count)
			abort();
	native_reset();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char first[NAMES_MAX];
	size_t first_len, client;
	struct streams s;

	if (size < 4)
		return 0;
	native_on_name(on_name, NULL);
	client = (size_t)data[2] << 8 | data[3];
	if (client > size - 4)
		client = size - 4;
	s = (struct streams){{data + 4, data + 4 + client}, {client, size - 4 - client}};
	run(&s, (size_t[2]){size, size}, 0);
	memcpy(first, names, names_len);
	first_len = names_len;
	for (int between = 0; between < 2; between++) {
		run(&s, (size_t[2]){data[0] + 1u, data[1] + 1u}, between);
		if (names_len != first_len || memcmp(names, first, first_len) != 0)
			abort();
	}
	check_times();
	return 0;
}
